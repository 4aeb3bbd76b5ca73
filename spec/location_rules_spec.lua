-- Rules of a location: what `sdlua index` leaves out, counts and remembers; `sdlua rules`.
-- rules_spec.lua looks at what a rule set says of a path.
local fixture = require "support.fixture"
local dkjson = require "dkjson"
local rules = require "sd.rules"

local dir, tree, library

before_each(function()
  dir = fixture.sh("realpath " .. fixture.temp()):match("[^\n]+")
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. fixture.quote(tree))
end)

after_each(function() fixture.remove(dir) end)

local function sh(script)
  return fixture.sh(("cd %s && { %s; }"):format(fixture.quote(tree), script))
end

local function index(...)
  local result = fixture.run_sdlua("index", "--library", library, "--json", "--progress", "none",
    "--mode", "shallow", tree, ...)
  assert.equal(0, result.status, result.err)
  return dkjson.decode(result.out)
end

local function ask(...)
  local result = fixture.run_sdlua("rules", ...)
  assert.equal(0, result.status, result.err)
  return result.out
end

-- The paths that the library has, but for the root.
local function paths()
  local list = {}
  for path in pairs(fixture.entries(library)) do
    if path ~= "" then list[#list + 1] = path end
  end
  table.sort(list)
  return table.concat(list, " ")
end

local function uuid_of(path)
  return fixture.sql(library, ("SELECT uuid FROM entries WHERE path = '%s'"):format(path))[1][1]
end

describe("sdlua index", function()
  it("leaves out what its rules say, and counts it by rule", function()
    sh [[mkdir -p a/.git src/node_modules .hidden
      touch a/x.o a/y.c a/.git/config src/main.c src/node_modules/m .hidden/f k.tmp
      echo '*.o' >a/.gitignore]]
    local output = index("--rules", "gitignore,no_git,no_dev_dirs,no_hidden", "--exclude", "*.tmp")
    assert.equal("a a/y.c src src/main.c", paths())
    assert.same({ gitignore = 1, no_git = 1, no_dev_dirs = 1, no_hidden = 2, exclude = 1 },
      output.skipped)
    local result = fixture.run_sdlua("index", "--library", library, "--progress", "none", tree)
    assert.matches(": complete: 3 directories, 5 entries, 0 B, .*6 skipped %(1 exclude,"
      .. " 1 gitignore, 1 no_dev_dirs, 1 no_git, 2 no_hidden%)", result.out)
  end)

  it("remembers them; others in the next run remove and add what they say", function()
    sh "mkdir -p a b && echo 1 >a/x.o && echo 2 >a/y.c && echo 3 >b/z.jpg && touch .dot"
    index("--rules", "no_hidden", "--exclude", "*.o")
    assert.equal("a a/y.c b b/z.jpg", paths())
    local uuid = uuid_of "a/y.c"
    sh "echo 4 >b/new.o && echo 5 >b/new.c"
    assert.same({ exclude = 2, no_hidden = 1 }, index().skipped)
    assert.equal("a a/y.c b b/new.c b/z.jpg", paths())
    index("--include", "*.c", "--include", "*.o")
    assert.equal("a a/x.o a/y.c b b/new.c b/new.o", paths())
    assert.same({}, index("--rules", "none").skipped)
    assert.equal(".dot a a/x.o a/y.c b b/new.c b/new.o b/z.jpg", paths())
    assert.same({}, index().skipped)
    assert.equal(uuid, uuid_of "a/y.c")
    fixture.check_nothing_left(library)
    fixture.check_library(library)
  end)

  it("has the totals of what stays", function()
    sh "mkdir -p a/b && head -c 1000 /dev/zero >a/b/big.bin && head -c 10 /dev/zero >a/b/small"
    index("--exclude", "big.*")
    local sql = "SELECT path, files, dirs FROM directories ORDER BY path"
    local expected = { { "", "1", "2" }, { "a", "1", "1" }, { "a/b", "1", "0" } }
    assert.same(expected, fixture.sql(library, sql))
    index("--rules", "none")
    index("--max-size", "999")
    assert.same(expected, fixture.sql(library, sql))
  end)

  it("knows sizes, ages, and what a directory has in it", function()
    sh [[mkdir -p p/src q/src && touch p/Makefile p/src/f q/src/g &&
      touch -d '3 days ago' q/src/old &&
      head -c 2048 /dev/zero >q/src/big]]
    index("--min-size", "2K")
    assert.equal("p p/src q q/src q/src/big", paths())
    index("--max-size", "2047", "--newer", "2d")
    assert.equal("p p/Makefile p/src p/src/f q q/src q/src/g", paths())
    index("--older", "2d")
    assert.equal("p p/src q q/src q/src/old", paths())
    index("--accept-children", "Makefile")
    assert.equal("p p/Makefile p/src p/src/f q q/src", paths())
    local output = index("--reject-children", "Makefile")
    assert.equal("p q q/src q/src/big q/src/g q/src/old", paths())
    assert.same({ reject_children = 1 }, output.skipped)
  end)

  it("refuses a rule that is none before there is a library", function()
    for _, case in ipairs {
      { "--rules", "no_gti", 'unknown rule "no_gti"' },
      { "--rules", "none,no_git", 'unknown rule "none"' },
      { "--exclude", "[", 'not a pattern: "["' },
      { "--reject-children", "a/b", "not the name of a file" },
      { "--min-size", "x", "--min-size: 'x' is not a size" },
      { "--max-size", "0", "--max-size: '0'" },
      { "--newer", "2024-02-30", "--newer: '2024-02-30' is not a time" },
    } do
      local result = fixture.run_sdlua("index", "--library", library, tree, case[1], case[2])
      assert.equal(2, result.status, case[2])
      assert.matches(case[3], result.err, 1, true)
    end
    assert.is_false(fixture.run({ "test", "-e", library }).status == 0)
  end)

  it("agrees with git about whole trees", function()
    if not fixture.has("git") then return pending("git is not installed") end
    sh [[git init -q . && mkdir -p lib/build lib/keep docs/tmp && touch lib/a.o lib/build/x \
      lib/keep/y.o docs/tmp/n docs/n.log docs/important.log top.log lib/build.c && \
      printf '*.log\nbuild/\n/top*\n' >.gitignore && \
      printf '!important.log\ntmp\n' >docs/.gitignore && mkdir -p .git/info && \
      printf '*.o\n!keep/*.o\n' >lib/.gitignore && echo lib/build.c >.git/info/exclude]]
    index("--rules", "gitignore", "--exclude", "/.git")
    local expected = {}
    for path in sh "git ls-files --cached --others --exclude-standard":gmatch("[^\n]+") do
      expected[#expected + 1] = path
    end
    table.sort(expected)
    local files = {}
    for path, fields in pairs(fixture.entries(library)) do
      if fields:find("^file") then files[#files + 1] = path end
    end
    table.sort(files)
    assert.same(expected, files)
  end)
end)

describe("sdlua rules", function()
  it("test names the rule that decides, and the pattern", function()
    sh "mkdir -p a/.git b && touch a/f b/x.log a/.git/c && echo '*.log' >b/.gitignore"
    index("--rules", "no_git,gitignore", "--max-size", "3")
    local function test(...) return ask("test", "--library", library, ...) end
    local f, log, config = tree .. "/a/f", tree .. "/b/x.log", tree .. "/a/.git/c"
    assert.equal(f .. ": stays\n", test(f))
    assert.equal(log .. ": left out by gitignore (b/.gitignore:1:*.log)\n", test(log))
    assert.equal(config .. ": left out with a/.git by no_git (.git)\n", test(config))
    local rows = dkjson.decode(test("--json", log, tree .. "/b/.gitignore", tree))
    assert.same({ path = log, root = tree, accepted = false, rule = "gitignore", about = "b/x.log",
      detail = "b/.gitignore:1:*.log" }, rows[1])
    assert.equal("max_size", rows[2].rule)
    assert.is_true(rows[3].accepted)
    -- Those that are given are asked, and not stored.
    assert.equal(f .. ": left out by exclude (f)\n", test("--exclude", "f", f))
    assert.equal(log .. ": stays\n", test("--rules", "none", log))
    assert.equal(f .. ": stays\n", test(f))
  end)

  it("test needs no library where a root is named", function()
    sh "mkdir a && touch a/f"
    local f = tree .. "/a/f"
    assert.equal(f .. ": left out with a by exclude (a/)\n", ask("test", "--root", tree,
      "--exclude", "a/", "--library", library, f))
    local result = fixture.run_sdlua("rules", "test", "--root", tree, dir)
    assert.equal(1, result.status)
    assert.matches("not below the root", result.err, 1, true)
    result = fixture.run_sdlua("rules", "test", "--library", library, f)
    assert.equal(10, result.status)
    index()
    result = fixture.run_sdlua("rules", "test", "--library", library, dir)
    assert.equal(1, result.status)
    assert.matches("in no location of the library", result.err, 1, true)
  end)

  it("show prints options that mean the same", function()
    sh "mkdir a && touch a/f a/it\\'s"
    index("--rules", "no_git, no_hidden", "--exclude", "it's", "-x", "--newer", "2000-01-01")
    local line = ask("show", "--library", library)
    local words = line:match("^" .. tree:gsub("%p", "%%%0") .. ": (.*)\n$")
    assert.equal("--rules no_git,no_hidden --exclude 'it'\\''s' --newer 2000-01-01"
      .. " --one-file-system", words)
    local sql = "SELECT rules FROM location_rules"
    local before = fixture.sql(library, sql)
    index("--rules", "none")
    assert.same({}, fixture.sql(library, sql))
    assert.equal(tree .. ": --rules none\n", ask("show", "--library", library))
    fixture.sh(("%s index --library %s --progress none %s %s"):format(fixture.quote(fixture.sdlua),
      fixture.quote(library), words, fixture.quote(tree)))
    assert.same(before, fixture.sql(library, sql))
    assert.equal(words, dkjson.decode(ask("show", "--json", "--library", library))[1].options)
  end)

  it("show prints patterns that begin as options do", function()
    sh "touch -- -a -b c"
    index("--exclude=-[b\\]]", "--exclude=-b", "--reject-children=--x")
    local words = ask("show", "--library", library):match(": (.*)\n$")
    assert.equal("--exclude='-[b\\]]' --exclude=-b --reject-children=--x", words)
    fixture.sh(("%s index --library %s --progress none %s %s"):format(fixture.quote(fixture.sdlua),
      fixture.quote(library), words, fixture.quote(tree)))
    assert.equal("-a c", paths())
    assert.equal(words .. "\n", ask("show", "--library", library):match(": (.*)$"))
  end)

  it("list names what --rules takes", function()
    local names = {}
    for _, rule in ipairs(dkjson.decode(ask("list", "--json"))) do
      names[#names + 1] = rule.name
      assert.is_true(#rule.about > 5)
    end
    assert.equal(10, #names)
    assert.equal(tree .. ": stays\n", ask("test", "--root", tree, "--rules",
      table.concat(names, ","), tree))
    assert.matches("^gitignore%s+what", ask("list"))
  end)

  it("says how it is used", function()
    assert.matches("usage: sdlua rules list|show|test", ask("--help"), 1, true)
    for _, words in ipairs { {}, { "lits" }, { "test" } } do
      assert.equal(2, fixture.run_sdlua("rules", table.unpack(words)).status)
    end
  end)
end)

describe("sd.rules", function()
  it("reads times", function()
    local now = 1700000000
    for text, expected in pairs { ["0s"] = now, ["90s"] = now - 90, ["2m"] = now - 120,
      ["1h"] = now - 3600, ["30d"] = now - 30 * 86400, ["2w"] = now - 14 * 86400,
      ["1y"] = now - 365 * 86400, ["@12"] = 12, ["@-12"] = -12,
      ["2024-05-01"] = os.time { year = 2024, month = 5, day = 1, hour = 0 },
      ["2024-05-01 12:30"] = os.time { year = 2024, month = 5, day = 1, hour = 12, min = 30 },
      ["2024-05-01T12:30:59"] = os.time { year = 2024, month = 5, day = 1, hour = 12, min = 30,
        sec = 59 } } do
      assert.equal(expected, rules.time(text, now), text)
    end
    for _, text in ipairs { "", "d", "1", "1.5d", "-1d", "1 d", "99999999999999999999d", "@",
      "@1.5", "@99999999999999999999", "2024", "2024-13-01", "2024-02-30", "2024-05-01x",
      "2024-05-01 25:00", "2024-05-01 12" } do
      local at, why = rules.time(text, now)
      assert.is_nil(at, text)
      assert.matches("is not a time", why, 1, true)
    end
  end)

  it("has one text for the same options, and gives them back", function()
    local options = { rules = "no_hidden, no_git,no_git", exclude = { "\xff*", "b" }, max_size = 5,
      remote = false, include = {} }
    local text = rules.text(options)
    assert.equal(text, rules.text { max_size = 5, exclude = { "\xff*", "b" },
      rules = "no_git,no_hidden" })
    assert.same({ rules = "no_git,no_hidden", exclude = { "\xff*", "b" }, max_size = 5 },
      rules.options(text))
    assert.equal("{}", rules.text { rules = "" })
  end)

  it("refuses options that are none", function()
    for _, case in ipairs {
      { { exclud = {} }, "no option 'exclud'" }, { { exclude = "x" }, "exclude is not a table" },
      { { rules = 1 }, "rules is not a string" }, { { newer = "soon" }, "newer: 'soon'" },
    } do
      local ok, failure = pcall(rules.text, case[1])
      assert.is_false(ok)
      assert.matches(case[2], failure.message, 1, true)
      assert.equal(2, failure.exit)
    end
    assert.is_false(pcall(rules.options, "["))
    assert.is_false(pcall(rules.options, "1"))
  end)
end)
