-- ls, tree, stat, du, top: as the real ones have it, from the index, also when the disk is away.
local fixture = require "support.fixture"
local dkjson = require "dkjson"

local quote, sdlua = fixture.quote, fixture.sdlua
local dir, tree, library

-- Hostile names, links of both kinds, every kind of node that anybody may make, sizes and times.
local MAKE = [[mkdir -p %s && cd %s && mkdir -p a/b/c 'sp ace' empty .hidden &&
  seq 5000 > a/numbers && seq 100 > a/b/small && : > a/b/c/zero && truncate -s 5G a/sparse &&
  ln a/numbers a/b/again &&
  ln a/numbers third && ln a/b/small 'sp ace/link' && ln -s a/b symlink &&
  ln -s nowhere a/dangling &&
  ln -s "$(printf 'to\033\377')" a/odd && mkfifo a/fifo && : > "$(printf 'a/n\new')" &&
  : > "$(printf 'a/\377\376')" && : > "$(printf 'a/esc\033[2J')" && : > a/-dash &&
  : > "a/q'\"uote" && : > a/%%s && : > "a/$(printf 'x%%.0s' $(seq 255))" &&
  chmod 4751 a/numbers && chmod 1777 empty &&
  chmod 000 a/b/small && touch -d '1969-12-31 23:59:58.25Z' a/b/c/zero &&
  touch -d '2001-02-03 04:05:06.000000007' .hidden && echo '#' > a/Image.JPG &&
  echo '#' > b.tar.gz]]

setup(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(MAKE:format(tree, tree))
  assert.is_true(fixture.run_sdlua("index", "--library", library, tree).status % 3 == 0)
end)

teardown(function() fixture.remove(dir) end)

local function ask(command, ...)
  local result = fixture.run({ sdlua, command, "--library", library, ... },
    "cd " .. quote(tree) .. " &&")
  assert.equal(0, result.status, result.err)
  assert.equal("", result.err)
  return result.out
end

-- A command of the system in the tree.
local function real(command)
  return fixture.sh(("cd %s && LC_ALL=C %s"):format(quote(tree), command))
end

local function bytes(value)
  return type(value) == "table" and fixture.unhex(value.hex) or value
end

-- In a terminal, with its control sequences as they came.
local function in_terminal(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = quote(word) end
  local command = ("cd %s && %s --library %s"):format(quote(tree),
    table.concat(words, " "):gsub("^'(%w+)'", quote(sdlua) .. " %1"), quote(library))
  return (fixture.sh(("TERM=xterm LC_ALL=C.UTF-8 script -qec %s /dev/null </dev/null"):format(
    quote(command))):gsub("\r\n", "\n"))
end

local DIRECTORIES = { ".", "a", "a/b", "a/b/c", "sp ace", "empty", ".hidden" }

describe("sdlua ls", function()
  it("lists names as ls -A does, byte for byte", function()
    for _, path in ipairs(DIRECTORIES) do
      assert.equal(real("ls -A " .. quote(path)), ask("ls", path))
      assert.equal(real(("find %s -mindepth 1 -maxdepth 1 -printf '%%f\\0' | sort -z"):format(
        quote(path))), ask("ls", "-0", path))
    end
    assert.equal(real "ls -A", ask "ls")
    assert.equal(real "ls -Ar a", ask("ls", "--reverse", "a"))
  end)

  it("says of each what ls -l says", function()
    for _, path in ipairs(DIRECTORIES) do
      local theirs = real(("ls -lAn --time-style='+%%Y-%%m-%%d %%H:%%M' -N %s | sed 1d"):format(
        quote(path)))
      local function squeezed(text) return (text:gsub(" +", " ")) end
      assert.equal(squeezed(theirs), squeezed(ask("ls", "-l", "-n", path)))
    end
    for _, path in ipairs { "a", "empty", "a/numbers", "symlink" } do
      local theirs = real("ls -ld --time-style='+%Y-%m-%d %H:%M' " .. path)
      assert.equal(theirs, ask("ls", "-l", "-d", path))
    end
  end)

  it("sorts by size and by time", function()
    local last
    for line in ask("ls", "--exact", "--sort", "size", "-ln", "a"):gmatch("[^\n]+") do
      local size = tonumber(line:match("^%S+ +%d+ +%d+ +%d+ +(%d+) "))
      if size then
        assert.is_true(not last or size <= last, line)
        last = size
      end
    end
    assert.equal("zero\n", ask("ls", "--sort", "time", "a/b/c"))
    assert.equal(ask("ls", "--sort", "time", "a"):match("[^\n]*"),
      ask("ls", "--sort", "time", "--reverse", "a"):match("([^\n]*)\n$"))
  end)

  it("heads each of several directories", function()
    for _, paths in ipairs { ".hidden a/numbers empty", "a a/b", "a/numbers third" } do
      local words = {}
      for word in paths:gmatch("%S+") do words[#words + 1] = word end
      assert.equal(real("ls -A " .. paths), ask("ls", table.unpack(words)))
    end
  end)

  it("has all fields in JSON", function()
    local rows = dkjson.decode(ask("ls", "--json", "a", "a/b/small"))
    local expected, found = {}, {}
    local text = real("find a -mindepth 1 -maxdepth 1 -printf '%P\\0%s|%m|%U|%G|%n|%i|%l\\0'"
      .. " ; find a/b/small -printf 'b/small\\0%s|%m|%U|%G|%n|%i|%l\\0'")
    for path, rest in text:gmatch("([^\0]*)\0([^\0]*)\0") do expected[path] = rest end
    for _, row in ipairs(rows) do
      local path = bytes(row.path)
      assert.equal(path:match("[^/]*$"), bytes(row.name))
      found[path:sub(#tree + 4)] = ("%d|%o|%d|%d|%d|%d|%s"):format(row.size, row.mode, row.uid,
        row.gid, row.nlink, row.ino, bytes(row.target) or "")
    end
    assert.same({}, fixture.differences(found, expected))
  end)

  it("sends nothing that moves a cursor to a terminal", function()
    if not fixture.has("script") then return pending("script is not installed") end
    for _, words in ipairs { { "ls", "a" }, { "ls", "-l", "a" }, { "ls", "-l", "a/odd" },
      { "tree", "-s" }, { "stat", "a/odd" }, { "du", "-a", "-d", "9" }, { "top", "files" },
      { "top", "oldest" }, { "ls", "--json", "a" }, { "stat", "--format", "{path}", "a/odd" } } do
      local text = in_terminal(table.unpack(words))
      assert.is_truthy(#text > 5)
      if words[1] == "du" then text = text:gsub("\t", " ") end
      assert.is_nil(text:find("[\0-\9\11-\31\127\255]"), table.concat(words, " "))
    end
    assert.is_truthy(in_terminal("ls", "a"):find("esc\\x1b[2J\n", 1, true))
  end)
end)

describe("a PATH", function()
  it("may be relative, absolute, through a symlink, or a symlink itself", function()
    assert.equal(ask("ls", "a/b"), ask("ls", tree .. "/a/b"))
    assert.equal(ask("ls", "a/b"), ask("ls", "./a/../a//b/"))
    assert.equal(ask("ls", "a/b/c"), ask("ls", "symlink/c"))
    assert.equal("symlink\n", ask("ls", "symlink"))
    assert.equal(ask("ls", "a/b"), ask("ls", "symlink/"))
    assert.equal(ask("ls", "a/b"), ask("ls", "symlink/."))
    assert.equal("a/dangling\n", ask("ls", "a/dangling"))
    fixture.sh(("ln -s %s %s/elsewhere"):format(quote(tree), dir))
    assert.equal(ask("ls", "a"), ask("ls", dir .. "/elsewhere/a"))
  end)

  it("that is not there is named, with the location where there is one", function()
    for path, part in pairs { [tree .. "/nosuch\27"] = tree .. "/nosuch\\x1b: not in the index of "
      .. tree,
      ["/nowhere/at/all"] = "/nowhere/at/all: in no location of the library " .. library } do
      for _, command in ipairs { "ls", "stat", "tree", "du" } do
        local result = fixture.run_sdlua(command, "--library", library, path)
        assert.equal(1, result.status)
        assert.equal("sdlua: " .. part .. "\n", result.err)
        assert.equal("", result.out)
      end
    end
  end)

  it("is all locations where there is none and the working directory is elsewhere", function()
    local result = fixture.run({ sdlua, "ls", "--library", library }, "cd / &&")
    assert.equal(real "ls -A", result.out)
  end)

  it("works when the disk is away", function()
    local before = { ask("ls", "-l", "a"), ask("tree"), ask("stat", "a/numbers"),
      ask("du", "-d", "9") }
    local function after(...)
      local result = fixture.run { sdlua, (...), "--library", library, select(2, ...) }
      assert.equal(0, result.status, result.err)
      return result.out
    end
    fixture.sh(("mv %s %s.away"):format(tree, tree))
    local found = { after("ls", "-l", tree .. "/a"), after("tree", tree),
      after("stat", tree .. "/a/numbers"), after("du", "-d", "9", tree) }
    fixture.sh(("mv %s.away %s"):format(tree, tree))
    before[2], before[4] = before[2]:gsub("^%.\n", tree .. "\n"), before[4]:gsub("\t%.",
      function() return "\t" .. tree end)
    assert.same(before, found)
  end)
end)

describe("sdlua tree", function()
  it("shows every entry once, below its directory", function()
    local stack, found = {}, { ["."] = true }
    local out = ask("tree"):gsub("n\new", "n\\new")
    for line in out:gmatch("([^\n]*)\n") do
      local depth, rest = 1, line
      while rest:find("^│   ") or rest:find("^    ") do
        depth, rest = depth + 1, rest:gsub("^│?   ? ?", "", 1)
      end
      local name = rest:match("^├── (.*)$") or rest:match("^└── (.*)$")
      if name then
        stack[depth] = name:gsub(" %-> .*$", "")
        found["./" .. table.concat(stack, "/", 1, depth)] = true
      end
    end
    local truth = {}
    for path in real "find . -print0":gmatch("[^\0]+") do
      truth[path:gsub("n\new", "n\\new")] = true
    end
    truth["./a/odd"], found["./a/odd"] = true, true
    assert.same(truth, found)
    local dirs = tonumber(real "find . -type d | wc -l")
    local all = tonumber(real "find . -print0 | tr -dc '\\0' | wc -c")
    assert.is_truthy(out:find(("\n%d directories, %d files\n$"):format(dirs, all - dirs)), out)
  end)

  it("stops at a level, and shows directories alone", function()
    assert.equal(".\n├── .hidden\n├── a\n│   └── b\n│       └── c\n├── empty\n└── sp ace\n\n"
      .. "7 directories\n", ask("tree", "-d"))
    assert.equal(".\n├── .hidden\n├── a\n├── empty\n└── sp ace\n\n5 directories\n",
      ask("tree", "-d", "-L", "1"))
  end)

  it("nests objects in JSON", function()
    local all = dkjson.decode(ask("tree", "--json"))
    assert.equal(tree, all[1].name)
    local n = 0
    local function count(node)
      n = n + 1
      for _, child in ipairs(node.contents or {}) do count(child) end
    end
    count(all[1])
    assert.equal(tonumber(real "find . -print0 | tr -dc '\\0' | wc -c"), n)
  end)

  it("goes as deep as the disk", function()
    local deep, place = dir .. "/deep", dir .. "/deep.library"
    fixture.sh(("mkdir %s && cd %s && perl -e 'for (1..2000) { mkdir q(d) x 20; chdir q(d) x 20 }'")
      :format(deep, deep))
    local indexed = fixture.run_sdlua("index", "--library", place, "--mode", "shallow", deep)
    assert.equal(0, indexed.status)
    local result = fixture.run_sdlua("tree", "--library", place, deep)
    assert.equal(0, result.status, result.err)
    assert.is_truthy(result.out:find("2,001 directories, 0 files", 1, true))
    local longest = fixture.run_sdlua("sql", "--library", place, "--no-header",
      "SELECT max(length(path(id))) FROM entries")
    assert.equal(#deep + 2000 * 21, tonumber(longest.out))
    result = fixture.run_sdlua("stat", "--library", place, "--format", "{files} {dirs}",
      deep .. ("/" .. ("d"):rep(20)):rep(100))
    assert.equal("0 1900\n", result.out)
  end)
end)

describe("sdlua stat", function()
  it("says what stat says", function()
    for _, path in ipairs { "a", "a/numbers", "a/b/small", "symlink", "a/fifo", "a/b/c/zero",
      ".hidden", "a/sparse", "a/q'\"uote" } do
      local theirs = real(("stat -c '%%s %%b %%a %%u %%g %%h %%i %%.9Y %%.9Z' %s"):format(
        quote(path)))
      local size, blocks, mode, uid, gid, links, ino, mtime, ctime =
        theirs:match("(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+)")
      local row = dkjson.decode(ask("stat", "--json", path))[1]
      local function ns(text) -- of the second before, and what is behind it
        local seconds, fraction = text:match("(-?%d+)%.(%d+)")
        if seconds:sub(1, 1) == "-" then
          return math.tointeger(seconds) * 1000000000 - math.tointeger(tonumber(fraction))
        end
        return math.tointeger(seconds) * 1000000000 + math.tointeger(tonumber(fraction))
      end
      assert.same({ tonumber(size), tonumber(blocks) * 512, tonumber(mode, 8), tonumber(uid),
        tonumber(gid), tonumber(links), tonumber(ino), ns(mtime), ns(ctime) },
        { row.size, row.allocated, row.mode, row.uid, row.gid, row.nlink, row.ino, row.mtime_ns,
          row.ctime_ns }, path)
    end
  end)

  it("is readable", function()
    local out = ask("stat", "a/numbers", "a")
    for _, part in ipairs { "mode           4751 (-rwsr-x--x)", "kind           directory",
      "location       " .. tree, "links          3", "below          ", "\n\npath " } do
      assert.is_truthy(out:find(part, 1, true), part .. " in " .. out)
    end
    assert.is_truthy(out:find(real("stat -c 'modified       %y' a/numbers"), 1, true))
    assert.is_truthy(ask("stat", "empty"):find("drwxrwxrwt", 1, true))
    assert.is_truthy(ask("stat", "a/b/c/zero"):find(
      real("stat -c '%y' a/b/c/zero"):match("%S+ %S+"), 1, true))
  end)

  it("writes lines as one wants them", function()
    assert.equal("numbers\t23893\na\t4096\n", (ask("stat", "--format", "{name}\\t{size}",
      "a/numbers", "a"):gsub("a\t%d+", "a\t4096")))
    assert.equal("x{y}\\\0", ask("stat", "--format", "x\\{y\\}\\\\\\0", "a"))
    for format, part in pairs { ["{nosuch}"] = "no field {nosuch}", ["{"] = "'{' at character 1",
      ["a\\q"] = "unknown escape '\\\\q'" } do
      local result = fixture.run_sdlua("stat", "--library", library, "--format", format, tree)
      assert.equal(2, result.status)
      assert.is_truthy(result.err:find(part, 1, true), result.err)
    end
  end)
end)

describe("sdlua du", function()
  -- What du says of each directory alone: path -> size.
  local function truth(options)
    local map = {}
    for path in real "find . -type d -print0":gmatch("[^\0]+") do
      map[path] = tonumber(real(("du -s %s -B1 %s"):format(options, quote(path))):match("^%d+"))
    end
    return map
  end

  local function ours(...)
    local map = {}
    for size, path in ask("du", "-d", "99", "-0", ...):gmatch("(%d+)\t([^\0]*)\0") do
      map[path] = tonumber(size)
    end
    return map
  end

  -- The size of a directory itself counts in some versions of du --apparent-size, not in others.
  local function apparent(links)
    local map = {}
    for path in real "find . -type d -print0":gmatch("[^\0]+") do
      local seen, sum = {}, 0
      local text = real(("find %s -printf '%%D:%%i %%s\\n'"):format(quote(path)))
      for inode, size in text:gmatch("(%S+) (%d+)\n") do
        if links or not seen[inode] then sum = sum + tonumber(size) end
        seen[inode] = true
      end
      map[path] = sum
    end
    return map
  end

  it("says what du says, each inode once", function()
    assert.same(truth "", ours())
    assert.same(apparent(false), ours "--apparent")
  end)

  it("says what du --count-links says", function()
    assert.same(truth "-l", ours "-l")
    assert.same(apparent(true), ours("--apparent", "--count-links"))
  end)

  it("lists all files with --all, as du -a does", function()
    local expected, found = {}, {}
    for size, path in real("du -a -l -B1 -0 a"):gmatch("(%d+)\t([^\0]*)\0") do
      expected[path] = size
    end
    for size, path in ask("du", "-a", "-l", "-0", "a"):gmatch("(%d+)\t([^\0]*)\0") do
      assert.is_nil(found[path])
      found[path] = size
    end
    assert.is_truthy(expected["a/b/small"])
    assert.same(expected, found)
    assert.equal(real "du -a -l -B1 -d 0 a", ask("du", "-a", "-l", "-d", "0", "a"))
  end)

  it("comes in the order of du: what is below comes before", function()
    local out = ask("du", "-d", "2", "-a")
    assert.equal(".", out:match("\t([^\n]*)\n$"))
    assert.is_true(out:find("\t./a/b\n", 1, true) < out:find("\t./a\n", 1, true))
    assert.is_nil(out:find("\t./a/b/c\n", 1, true))
    assert.is_truthy(out:find("\t./a/numbers\n", 1, true))
    local last
    for size in ask("du", "-d", "9", "--sort", "size"):gmatch("(%d+)\t") do
      assert.is_true(not last or tonumber(size) <= last)
      last = tonumber(size)
    end
    assert.equal(1, select(2, ask("du"):gsub("\n", "")))
  end)

  it("is about files too, and has JSON", function()
    assert.equal(real "du -B1 a/numbers", ask("du", "a/numbers"))
    local rows = dkjson.decode(ask("du", "--json", "a"))
    assert.same({ 1, "a", "directory" }, { #rows, rows[1].path, rows[1].kind })
    assert.equal(tonumber(real("find a -mindepth 1 ! -type d ! -type l -print0 | tr -dc '\\0'"
      .. " | wc -c")), rows[1].files)
  end)

  it("says sizes for people", function()
    assert.is_truthy(ask("du", "--human", "--apparent", "a/sparse"):find("^5%.00 GiB\ta/sparse\n$"))
  end)
end)

describe("sdlua top", function()
  it("finds the largest files", function()
    local sizes = {}
    for size in real("find . -type f -printf '%s\\n' | sort -rn | head -n 4"):gmatch("%d+") do
      sizes[#sizes + 1] = tonumber(size)
    end
    local found = {}
    for _, row in ipairs(dkjson.decode(ask("top", "files", "-n", "4", "--apparent", "--json"))) do
      found[#found + 1] = row.size
    end
    assert.same(sizes, found)
    assert.is_truthy(ask("top", "files", "--apparent"):find("^ *5368709120 "))
  end)

  it("finds the largest directories, with what is below", function()
    local rows = dkjson.decode(ask("top", "dirs", "--json", "-n", "3"))
    local expected = {}
    for size, path in real("du -l -B1 . | sort -rn | head -n 3"):gmatch("(%d+)\t([^\n]*)\n") do
      expected[#expected + 1] = size .. (path:sub(2) == "" and "" or path:sub(2))
    end
    local found = {}
    for i, row in ipairs(rows) do
      found[i] = ("%d%s"):format(row.allocated, row.path:sub(#tree + 1))
    end
    assert.same(expected, found)
  end)

  it("adds up extensions and owners", function()
    local rows = dkjson.decode(ask("top", "extensions", "--json", "-n", "99"))
    local by = {}
    for _, row in ipairs(rows) do by[row.extension or ""] = row.files end
    assert.equal(1, by.jpg)
    assert.equal(1, by.gz)
    assert.equal(tonumber(real "find . -type f -print0 | tr -dc '\\0' | wc -c"), (function()
      local n = 0
      for _, files in pairs(by) do n = n + files end
      return n
    end)())
    local owners = dkjson.decode(ask("top", "owners", "--json"))
    assert.equal(tonumber(real "id -u"), owners[1].uid)
    assert.is_truthy(ask("top", "owners"):find(real "id -un"))
  end)

  it("finds what was not changed for the longest time", function()
    local first = dkjson.decode(ask("top", "oldest", "--json"))[1]
    assert.equal(tree .. "/a/b/c/zero", first.path)
    assert.equal(-1750000000, first.mtime_ns)
  end)

  it("looks below a PATH", function()
    local rows = dkjson.decode(ask("top", "files", "--json", "-n", "99", "a/b"))
    assert.equal(tonumber(real "find a/b -type f | wc -l"), #rows)
    assert.equal(2, #dkjson.decode(ask("top", "dirs", "--json", "a/b")))
  end)

  it("refuses another word", function()
    local result = fixture.run_sdlua("top", "--library", library, "nonsense")
    assert.equal(2, result.status)
    assert.is_truthy(result.err:find("must be one of", 1, true))
  end)
end)
