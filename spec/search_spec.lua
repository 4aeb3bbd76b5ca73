-- sdlua search: names and paths as find and grep find them, every filter, while a job writes.
local fixture = require "support.fixture"
local dkjson = require "dkjson"

local quote, sdlua = fixture.quote, fixture.sdlua
local dir, tree, library

-- More names than are searched without the index of names.
local MAKE = [[mkdir -p %s && cd %s && mkdir -p src/lib.d docs/img 'sp ace/IMG' .git &&
  mkdir -p deep/a/b/src/c &&
  seq 6000 | awk '{ d = $1 %% 3 == 0 ? "src" : $1 %% 3 == 1 ? "docs/img" : "deep/a/b/src/c"
    n = $1 %% 7 == 0 ? "IMG_" $1 ".JPG" : $1 %% 7 == 1 ? "report-" $1 ".txt" : "file" $1
    printf "" > (d "/" n) }' &&
  printf 12345 > src/lib.c && printf abc > docs/Report.pdf && : > "$(printf 'src/\377bad.txt')" &&
  : > "$(printf 'src/n\newline')" && : > "$(printf 'docs/\303\211t\303\251.md')" &&
  : > 'sp ace/a*b' &&
  : > 'sp ace/[x]' && : > "$(printf 'docs/e\033[2J')" && : > -dash && ln -s lib.c src/link &&
  mkfifo src/pipe && truncate -s 3M docs/big.bin && head -c 20000 /dev/urandom > docs/one.dat &&
  cp docs/one.dat src/copy.dat && ln docs/one.dat docs/hard.dat && chmod 4755 src/lib.c &&
  chmod 600 docs/Report.pdf && touch -d '2001-02-03 04:05:06' src/lib.c &&
  touch -d '1969-12-01' docs/Report.pdf && printf '\211PNG\r\n\032\n' > docs/pic.png]]

setup(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(MAKE:format(tree, tree))
  assert.equal(0, fixture.run_sdlua("index", "--mode", "deep", "--library", library, tree).status)
  local packs = fixture.sql(library, "SELECT count(*) FROM name_pack")[1][1]
  assert.is_true(tonumber(packs) > 50, packs)
end)

teardown(function() fixture.remove(dir) end)

local function run(...)
  return fixture.run_sdlua("search", "--library", library, ...)
end

local function ok(result)
  assert.equal(0, result.status, result.err)
  assert.equal("", result.err)
  return result.out
end

-- path -> true, of what is behind each zero byte
local function set(text)
  local found = {}
  for path in text:gmatch("([^\0]*)\0") do
    assert.is_nil(found[path], path .. " is there twice")
    found[path] = true
  end
  return found
end

local function search(...)
  return set(ok(run("-0", ...)))
end

local function find(test)
  return set(fixture.sh(("LC_ALL=C find %s %s -print0"):format(quote(tree), test)))
end

local function size(map)
  local n = 0
  for _ in pairs(map) do n = n + 1 end
  return n
end

local function assert_same(expected, found, what)
  local wrong = fixture.differences(expected, found)
  if #wrong > 0 then error(what .. ": " .. table.concat(wrong, "\n"), 2) end
end

-- The lines of a file that grep gives, names with a newline included.
local function grep(options, pattern, of_names)
  fixture.write(dir .. "/pattern", pattern)
  local list = ("find %s -print0"):format(quote(tree))
  if of_names then list = ("find %s -printf '%%f\\t%%p\\0'"):format(quote(tree)) end
  return set(fixture.sh(("%s | LC_ALL=C grep -z %s -f %s/pattern || true"):format(list, options,
    dir)))
end

local function escape_glob(s)
  return (s:gsub("[%*%?%[%]\\]", "\\%0"))
end

describe("a PATTERN", function()
  for _, pattern in ipairs { "report", "1", "77", ".txt", "a*b", "[x]", "\xff", "\255bad", "n\new",
    "-", "lib.c", "nosuchname", "é", " ", "\27", "IMG_4200.JPG" } do
    it(("is found in names as find does: %q"):format(pattern), function()
      assert_same(find("-name " .. quote("*" .. escape_glob(pattern) .. "*")),
        search("--", pattern), pattern)
    end)
  end

  for _, pattern in ipairs { "report", "img_", "SRC" } do
    it("is found in any case: " .. pattern, function()
      local expected = find("-iname " .. quote("*" .. pattern .. "*"))
      assert.is_true(size(expected) > 0)
      assert_same(expected, search("-i", pattern), pattern)
    end)
  end

  it("minds case where it has a letter in upper case, with --smart-case", function()
    assert_same(find "-iname '*img*'", search("-S", "img"), "img")
    assert_same(find "-name '*IMG*'", search("-S", "IMG"), "IMG")
    assert_same(find "-iname '*report*'", search("--smart-case", "report"), "report")
    assert.equal(1, size(search("-S", "É")))
    assert.equal(1, size(search("-i", "ÉTÉ")))
    assert.equal(0, size(search("ÉTÉ")))
  end)

  for _, pattern in ipairs { "*.JPG", "?ile5?", "[r-t]*-1*.txt", "[!a-z]*", "*", "IMG_???.JPG",
    "-*", "*\xff*", ".g?t", "[[:upper:]]*", "*[^[:alnum:].]*", "[[:foo:]]*",
    "[[:space:][:digit:]_-]*" } do
    it(("is a shell pattern with --glob: %q"):format(pattern), function()
      assert_same(find("-name " .. quote(pattern)), search("--glob", "--", pattern), pattern)
    end)
  end

  for _, pattern in ipairs { "^IMG_\\d+\\.JPG$", "^.{5}$", "(?i)^report", "\\.(txt|pdf)$",
    "^\\W" } do
    it("is a regular expression with --regex: " .. pattern, function()
      local listed, paths, wanted = ("cd %s && find %s"):format(dir, quote(tree)), {}, {}
      for path in fixture.sh(listed .. " -print0"):gmatch("[^\0]+") do paths[#paths + 1] = path end
      local numbers = fixture.sh(("%s -printf '%%f\\0' | LC_ALL=C grep -zPn -e %s | tr '\\0' '\\n'")
        :format(listed, quote(pattern)))
      for number in ("\n" .. numbers):gmatch("\n(%d+):") do
        wanted[paths[tonumber(number)]] = true
      end
      assert_same(wanted, search("--regex", pattern), pattern)
    end)
  end

  for _, pattern in ipairs { "report", "src/", "img/IMG_", "b/src/c/file", "/", "tree", "tree/",
    "tree/src", "deep/a", "sp ace/", "nosuch/", "c/", "\xff", "/.git", "e" } do
    it(("is found in whole paths with --path: %q"):format(pattern), function()
      assert_same(grep("-F", pattern), search("--path", "--", pattern), pattern)
      assert_same(grep("-F -i", pattern), search("-p", "-i", "--", pattern), pattern)
    end)
  end

  it("is a pattern of whole paths with --path", function()
    assert_same(grep("-P", "src/[^/]*\\.txt$"), search("-p", "-e", "src/[^/]*\\.txt$"), "regex")
    assert_same(find("-path '*/src/*' -name '*.txt' ! -path '*/src/*/*'"),
      search("-p", "-g", "**/src/*.txt"), "glob")
    assert_same(find("-path '*/deep/*' -name 'file*'"), search("-p", "-g", "**/deep/**/file*"),
      "glob")
  end)

  it("may be what chance gives", function()
    fixture.seed "search"
    local all = {}
    for path in pairs(find "") do all[#all + 1] = path end
    table.sort(all)
    for _ = 1, 12 do
      local path = all[math.random(#all)]
      local from = math.random(#path)
      local pattern = path:sub(from, from + math.random(0, 8))
      if not pattern:find("\n", 1, true) then
        assert_same(grep("-F", pattern), search("-p", "--", pattern), pattern)
        local name = pattern:match("[^/]+")
        if name then
          assert_same(find("-name " .. quote("*" .. escape_glob(name) .. "*")),
            search("--", name), name)
        end
      end
    end
  end)

  it("that wants characters looks for them where a name has some", function()
    assert_same(search("--regex", "^lib"), search("--regex", "(*UTF)^lib"), "(*UTF)")
  end)

  it("that is wrong is shown with its place", function()
    local result = run("--regex", "a(b")
    assert.equal(2, result.status)
    assert.equal("sdlua: the pattern is wrong at character 4: missing closing parenthesis\n  a(b\n"
      .. "     ^\n", result.err)
    for pattern, where in pairs { ["éé("] = { "character 4", "éé(\n     ^" },
      ["日本("] = { "character 4", "日本(\n       ^" },
      ["\xff\n("] = { "byte 4", "\\xff?(\n        ^" } } do
      result = run("--regex", "--path", pattern)
      assert.equal(2, result.status)
      assert.equal(("sdlua: the pattern is wrong at %s: missing closing parenthesis\n  %s\n")
        :format(where[1], where[2]), result.err)
    end
    result = run("--regex", "--path", "[z-a]")
    assert.equal(2, result.status)
    assert.is_truthy(result.err:find("range out of order", 1, true), result.err)
    assert.equal(2, run("--glob", "--regex", "a").status)
    assert.equal(2, run("-i", "-S", "a").status)
  end)
end)

describe("a filter", function()
  local CASES = {
    { "--kind", "file", "-type f" }, { "-k", "d", "-type d" },
    { "--kind", "l,fifo", "\\( -type l -o -type p \\)" },
    { "--extension", "txt", "-iname '?*.txt'" },
    { "-x", "JPG,.Pdf", "\\( -iname '?*.jpg' -o -iname '?*.pdf' \\)" },
    { "--min-size", "5", "-size +4c" }, { "--min-size", "3M", "-size +3145727c" },
    { "--max-size", "5", "-size -6c" }, { "--mode", "600", "-perm 600" },
    { "--mode=-4000", "-perm -4000" }, { "--mode", "/4002", "-perm /4002" },
    { "--mode=-000", "-perm -000" }, { "--mode", "/000", "-perm /000" },
    { "--owner", "root", "-user root" }, { "--owner", "0", "-uid 0" }, { "--group", "0", "-gid 0" },
    { "--newer", "2001-02-03 04:05:06", "-newermt '2001-02-03 04:05:05.999999999'" },
    { "--older", "2001-02-03 04:05:06", "! -newermt '2001-02-03 04:05:06'" },
    { "--older", "1970-01-01", "! -newermt '1970-01-01'" }, { "--newer", "1h", "-mmin -60" },
    { "--newer", "9999-12-31", "-false" }, { "--older", "9999-12-31", "" },
    { "--newer", "@99999999999999", "-false" }, { "--older", "@-99999999999999", "-false" },
    { "--newer", "99999999999y", "" }, { "--older", "99999999999y", "-false" },
    { "--newer", "9223372036854775807y", "" }, { "--older", "400y", "-false" },
    { "--newer", "400y", "" }, { "--newer", "300y", "" }, { "--older", "300y", "-false" },
    { "--newer", "@981173106", "-newermt '@981173105.999999999'" },
  }
  for _, case in ipairs(CASES) do
    local words = table.move(case, 1, #case - 1, 1, {})
    it("lets through what find does: " .. table.concat(words, " "), function()
      assert_same(find(case[#case]), search(table.unpack(words)), case[#case])
    end)
  end

  it("goes with others and with a pattern", function()
    assert_same(find "-path '*/src/*' -type f -name '*IMG*1*'",
      search("-k", "f", "-p", "-e", "/src/.*IMG[^/]*1[^/]*$"), "a pattern of paths")
    assert_same(find "-type f -name '*report*' -size -1c -perm 644",
      search("report", "--kind", "file", "--max-size", "0", "--mode", "644"), "all")
    assert_same(find "-path '*report*' -type f -size -1c",
      search("-p", "report", "-k", "f", "--max-size", "0"), "path")
  end)

  it("looks at and below a directory, or in a location", function()
    local expected = set(fixture.sh(("find %s/deep/a -print0"):format(quote(tree))))
    assert_same(expected, search("--in", tree .. "/deep/a"), "--in")
    expected = set(fixture.sh(("find %s/deep/a -name '*report*' -print0"):format(quote(tree))))
    assert_same(expected, search("--in", tree .. "/deep/a", "report"), "--in with a pattern")
    assert_same(find "", search("--in", tree), "--in the root")
    assert_same(find "", search("--location", tree), "--location")
    assert_same(find "", search("--location", "1"), "--location by id")
    for _, words in ipairs { { "--in", "/nowhere" }, { "--location", "99" } } do
      local result = run(table.unpack(words))
      assert.equal(1, result.status)
      assert.is_truthy(result.err:find(words[2] .. ":", 1, true), result.err)
    end
  end)

  it("asks for content", function()
    local png = tree .. "/docs/pic.png"
    assert_same({ [png] = true }, search("--mime", "image/png"), "mime")
    assert_same({ [png] = true }, search("--mime", "image/*", "pic"), "mime")
    assert_same({ [png] = true }, search("--content", "image"), "content")
    local hash = fixture.sh(("xxhsum -H2 %s/docs/one.dat"):format(quote(tree))):match("^%x+")
    local three = { [tree .. "/docs/one.dat"] = true, [tree .. "/docs/hard.dat"] = true,
      [tree .. "/src/copy.dat"] = true }
    assert_same(three, search("--hash", hash), "hash")
    assert_same(three, search("--hash", hash:sub(1, 9):upper()), "beginning of a hash")
    assert_same(three, search("--duplicates"), "duplicates")
  end)

  it("with a wrong value is refused by name", function()
    for _, words in ipairs { { "--kind", "nonsense" }, { "--min-size", "many" },
      { "--newer", "yesterday" }, { "--newer", "2001-02-31" }, { "--mode", "999" },
      { "--owner", "nobody at all" }, { "--hash", "xyz" }, { "--content", "img" },
      { "--sort", "x" }, { "--limit", "-1" },
      { "--extension", "a,,b" }, { "--format", "{nosuch}" }, { "--format", "{" } } do
      local result = run(table.unpack(words))
      assert.equal(2, result.status, table.concat(words, " "))
      assert.is_truthy(result.err:find("Usage: sdlua search", 1, true))
      assert.is_nil(result.err:find("traceback", 1, true))
    end
  end)
end)

describe("the answer", function()
  it("is counted", function()
    assert.equal(size(find "-name '*report*'") .. "\n", ok(run("--count", "report")))
    assert.equal(size(find "") .. "\n", ok(run "-c"))
    assert.equal("2\n", ok(run("-c", "--limit", "2", "report")))
  end)

  it("is sorted and limited", function()
    local function list(...)
      local paths = {}
      for path in ok(run("-0", ...)):gmatch("([^\0]*)\0") do paths[#paths + 1] = path end
      return paths
    end
    local expected = {}
    for path in fixture.sh(("find %s -name '*report*' -print0 | LC_ALL=C sort -z"):format(
      quote(tree))):gmatch("([^\0]*)\0") do expected[#expected + 1] = path end
    assert.same(expected, list("--sort", "path", "report"))
    assert.same({ expected[#expected] }, list("--sort", "path", "-r", "-n", "1", "report"))
    assert.same({ tree .. "/docs/big.bin" }, list("--sort", "size", "-n", "1", "-k", "f"))
    assert.same({ tree .. "/docs/Report.pdf" }, list("--sort", "mtime", "-r", "-n", "1"))
    assert.equal(5, #list("-n", "5"))
    assert.equal(0, #list("-n", "0"))
  end)

  it("is lines, JSON, or what one wants", function()
    assert.equal(tree .. "/src/lib.c\n", ok(run("lib.c")))
    local rows = dkjson.decode(ok(run("--json", "--sort", "path", "lib")))
    assert.equal(2, #rows)
    assert.same({ tree .. "/src/lib.c", "file", 5, 2541, 981173106000000000 },
      { rows[1].path, rows[1].kind, rows[1].size, rows[1].mode, rows[1].mtime_ns })
    assert.equal("[\n]\n", ok(run("--json", "nosuchname")))
    rows = dkjson.decode(ok(run("--json", "bad")))
    assert.equal(fixture.unhex(rows[1].path.hex), tree .. "/src/\xffbad.txt")
    assert.equal("lib.c\t5\tfile\n", ok(run("--format", "{name}\\t{size}\\t{kind}", "lib.c")))
    assert.equal("x\0x\0", ok(run("--format", "x\\0", "-g", "lib*")))
    assert.equal("\xffbad.txt ()\n", ok(run("--format", "{name} ({hash})", "bad")))
  end)

  it("has in JSON all columns of the view, as the view has them", function()
    local other = dir .. "/other"
    fixture.sh(("cp -r %s %s && sqlite3 %s/library.db \"UPDATE directory SET unverified = 1"
      .. " WHERE path = 'docs'; UPDATE directory SET unverified = 2 WHERE path = 'src';"
      .. " INSERT INTO vanished(location_id, job_id, entry_id, parent_id, name, heir_dir, keep)"
      .. " SELECT 1, 9, id, parent_id, name, parent_id, 1 FROM entry WHERE name = 'lib.c';"
      .. " INSERT OR REPLACE INTO device(id, st_dev) SELECT DISTINCT dev, 4711 FROM entry\"")
      :format(library, other, other))
    local function rows_of(text)
      local rows = dkjson.decode(text)
      for _, row in ipairs(rows) do row.path, row.name, row.target = nil, nil, nil end
      return rows
    end
    local function found(...) return rows_of(ok(fixture.run_sdlua(...))) end
    local function view(condition)
      return rows_of(fixture.sh(("sqlite3 -readonly -json %s/library.db \"SELECT * FROM entries"
        .. " WHERE %s ORDER BY id\""):format(other, condition)))
    end
    local all = found("search", "--json", "--library", other)
    table.sort(all, function(a, b) return a.id < b.id end)
    local expected, reasons = view "1", {}
    assert.equal(#expected, #all)
    for i, row in ipairs(expected) do
      assert.same(row, all[i])
      reasons[row.unverified or "none"] = true
    end
    assert.same({ missing = true, unreadable = true, unmounted = true, none = true }, reasons)
    assert.equal(4711, all[1].dev)
    local listed = found("ls", "--json", "--library", other, tree .. "/docs")
    table.sort(listed, function(a, b) return a.id < b.id end)
    assert.same(view "path LIKE 'docs/%' AND path NOT LIKE 'docs/%/%'", listed)
    local one = view("path = 'src/lib.c'")[1]
    assert.equal(("%d %s %d %d missing 4711\n"):format(one.id, one.uuid, one.location_id,
      one.parent_id), ok(fixture.run_sdlua("search", "--library", other, "--format",
      "{id} {uuid} {location_id} {parent_id} {unverified} {dev}", "lib.c")))
    assert.is_truthy(ok(fixture.run_sdlua("stat", "--library", other, tree .. "/src/lib.c"))
      :find("\nunverified     missing\n", 1, true))
  end)

  it("sends nothing that moves a cursor to a terminal", function()
    if not fixture.has("script") then return pending("script is not installed") end
    for _, words in ipairs { "", "--json", "--format '{name} {path}'", "-p" } do
      local command = ("%s search --library %s %s '2J'"):format(quote(sdlua), quote(library), words)
      local text = fixture.sh(("TERM=xterm LC_ALL=C.UTF-8 script -qec %s /dev/null </dev/null")
        :format(quote(command)))
      assert.is_truthy(text:find("2J", 1, true))
      assert.is_nil(text:gsub("\r\n", "\n"):find("[\0-\9\11-\31\127]"), words)
    end
  end)
end)

describe("a search", function()
  it("is right while a job writes, and after it was killed", function()
    local place, big = dir .. "/busy", dir .. "/big"
    fixture.sh(([[mkdir %s && cd %s && for d in 1 2 3 4 5 6 7 8; do mkdir d$d && (cd d$d &&
      seq 4000 | awk '{ f = "needle" $1; printf "" > f; close(f) }'); done]]):format(big, big))
    local wanted = 8 * 4000
    local last = 0
    local process = fixture.start { sdlua, "index", "--library", place, "--mode", "shallow",
      "--progress", "none", big }
    while not process:sleep(30) do
      local result = fixture.run_sdlua("search", "--library", place, "--count", "needle")
      if result.status == 0 then
        local n = tonumber(result.out)
        assert.is_true(n >= last and n <= wanted, n)
        last = n
      else
        assert.equal(10, result.status, result.err)
      end
    end
    assert.equal(0, (process:wait()))
    local function count()
      return tonumber(ok(fixture.run_sdlua("search", "--library", place, "-c", "needle")))
    end
    assert.equal(wanted, count())
    fixture.sh(("cd %s && rm -r d3 && mv d4 moved && mv d5/needle77 d5/other && touch d6/needleX")
      :format(big))
    wanted = wanted - 4000 - 1 + 1
    for _ = 1, 6 do
      process = fixture.start { sdlua, "index", "--library", place, "--mode", "shallow", big }
      process:sleep(math.random(5, 60))
      process:kill "sigkill"
      process:wait(5000)
      assert.equal(tonumber(fixture.sql(place, "SELECT count(*) FROM entries WHERE name LIKE"
        .. " '%needle%'")[1][1]), count())
    end
    assert.equal(0, fixture.run_sdlua("index", "--library", place, "--mode", "shallow", big).status)
    assert.equal(wanted, count())
    for pattern, n in pairs { ["d3/"] = 0, ["/moved/"] = 4000 } do
      assert.equal(n, tonumber(ok(fixture.run_sdlua("search", "--library", place, "-c", "-p",
        pattern))))
    end
  end)

  it("leaves a rescan of an unchanged tree without a page to write", function()
    local function pages()
      return fixture.sql(library, "SELECT (SELECT group_concat(id) FROM name_pack), (SELECT"
        .. " count(*) FROM name_gram), (SELECT count(*) FROM name_todo)")[1]
    end
    local before = pages()
    local result = fixture.run_sdlua("index", "--mode", "deep", "--json", "--library", library,
      tree)
    assert.equal(0, result.status)
    local changes = dkjson.decode(result.out).changes
    assert.equal(0, changes.new + changes.modified + changes.moved + changes.deleted)
    assert.same(before, pages())
  end)
end)
