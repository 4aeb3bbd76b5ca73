-- Trees that nobody sane would make, and that exist: `entries` is what find says of them.
local fixture = require "support.fixture"
local uv = require "sd.core".luv

local dir, tree, library

local function index(...)
  return fixture.run_sdlua("index", "--library", library, "--progress", "none", tree, ...)
end

-- `where` is shell text in front of sdlua.
local function index_in(where, ...)
  local words = { fixture.sdlua, "index", "--library", library, "--progress", "none", tree, ... }
  return fixture.run(words, where)
end

local function shell(text, ...)
  return fixture.sh(("cd %s && { %s\n}"):format(fixture.quote(tree), text:format(...)))
end

local function same_as_find(where)
  assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree, where)))
  fixture.check_library(library)
end

local function same_as_xxhsum(where)
  assert.same({}, fixture.differences(fixture.hashes(library), fixture.sums(tree, where)))
end

local function writes_nothing(...)
  local result = index_in(...)
  assert.equal(0, result.status, result.err)
  local changes = require "dkjson".decode(result.out).changes
  assert.equal(0, changes.new + changes.modified + changes.moved + changes.deleted)
end

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. tree)
end)

after_each(function() fixture.remove(dir) end)

local NAMES = {
  "new\nline", "\n", "tab\there", "\t", "return\r", "\r\n", "bell\a\b\f\v", "\27[31mred\27[0m",
  "\127", "\1", "'single'", '"double"', "`back`", "$(touch x)", "$HOME", ";", "&", "|", "*", "?",
  "[a-z]", "%s", "%n%n%n", "%P", "back\\slash", "\\", "\\n", "-", "--", "-rf", "--help", "-0", " ",
  "   ", " leading", "trailing ", "...", "..a", "~", "#", ",", ":", "a:b", "=", "{}", "NULL",
  "\255", "\254\255", "caf\233", "\192\175", "\237\160\128", "\244\144\128\128", "cut \226\130",
  "\239\191\189", "\226\128\174rtl", "\239\187\191bom", "\u{e9}", "e\u{301}", "\u{c5}", "A\u{30a}",
  "\u{212b}", "\u{1f600}", "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}", "\u{10ffff}", "\u{fffe}",
  "case", "CASE", "Case", ("x"):rep(255), ("\255"):rep(255), ("\u{1f600}"):rep(63),
  ("\n"):rep(255), "blob\255",
}

-- Each name as a file, a folder with something in it, and a link.
local function make_names()
  for i, name in ipairs(NAMES) do
    for _, parent in ipairs { "files/", "links/", "folders/" } do
      assert(uv.fs_mkdir(tree .. "/" .. parent, 493) or i > 1)
    end
    fixture.write(tree .. "/files/" .. name, name .. " is what this is called")
    assert(uv.fs_symlink("../files/" .. name, tree .. "/links/" .. name))
    assert(uv.fs_mkdir(tree .. "/folders/" .. name, 493))
    fixture.write(tree .. "/folders/" .. name .. "/" .. name, name)
    fixture.write(tree .. "/folders/" .. name .. "/plain", "plain")
  end
end

describe("hostile names", function()
  it("are stored byte for byte, and their files hashed", function()
    make_names()
    local result = index("--mode", "deep")
    assert.equal(0, result.status, result.err)
    same_as_find()
    same_as_xxhsum()
  end)

  it("are recognised by a rescan", function()
    make_names()
    assert.equal(0, index("--mode", "deep").status)
    writes_nothing(nil, "--mode", "deep", "--json")
    shell("rm -rf files && mv folders moved")
    assert.equal(0, index("--mode", "deep").status)
    same_as_find()
    same_as_xxhsum()
  end)

  it("are TEXT where they are valid UTF-8, and BLOB where they are not", function()
    make_names()
    assert.equal(0, index("--mode", "shallow").status)
    local expected, found = {}, {}
    for _, name in ipairs(NAMES) do
      expected["files/" .. name] = utf8.len(name) and "text" or "blob"
    end
    for _, row in ipairs(fixture.sql(library, "SELECT hex(CAST(path AS BLOB)), typeof(path),"
      .. " typeof(name) FROM entries")) do
      local path = row[1]:gsub("%x%x", function(b) return string.char(tonumber(b, 16)) end)
      if path:find("^files/") then
        found[path] = row[2]
        assert.equal(row[2], row[3])
      end
    end
    assert.same({}, fixture.differences(found, expected))
  end)

  it("may be those of the root and of the library", function()
    tree = dir .. "/-r\n%s\255\27[2J"
    library = dir .. "/li\nb?mode=memory#%20\255"
    assert(uv.fs_mkdir(tree, 493))
    shell("echo a >file; mkdir folder; echo b >folder/file")
    assert.equal(0, index("--mode", "deep").status)
    same_as_find()
    same_as_xxhsum()
    writes_nothing(nil, "--mode", "deep", "--json")
  end)

  it("cannot move the cursor of a terminal or break a line of JSON", function()
    make_names()
    for i, format in ipairs { "plain", "json" } do
      library = dir .. "/library" .. i
      local result = fixture.run_sdlua("index", "--library", library, "--progress", format,
        "--mode", "deep", tree)
      assert.equal(0, result.status)
      assert.is_nil(result.err:find("[^\n\32-\126\128-\255]"), result.err)
      for line in result.err:gmatch("[^\n]+") do
        assert.is_true(utf8.len(line) ~= nil, line)
        if format == "json" then assert.is_table((require "dkjson".decode(line)), line) end
      end
    end
  end)
end)

-- The tree at `path` and the library agree, told by sort and cmp: the listings are too long for
-- Lua.
local function same_as_find_streamed(path)
  local sql = "SELECT kind || '|' || size || '|' || mtime_ns || '|' || printf('%o', mode)"
    .. " || '|' || nlink || '|' || dev || '|' || ino || '|' || path FROM entries"
  local kinds = "s/^f/file/;s/^d/directory/;s/^l/symlink/"
  local command = ([[cd %s && export LC_ALL=C &&
    find %s -printf '%%y|%%s|%%T@|%%m|%%n|%%D|%%i|%%P\n' |
      sed -E '%s;s/^([^|]*\|[^|]*\|[0-9]+)\.([0-9]{9})0/\1\2/' | sort >expected &&
    sqlite3 -readonly %s/library.db %s | sort >found &&
    cmp expected found && wc -l <found]]):format(
      fixture.quote(dir), fixture.quote(path), kinds, fixture.quote(library), fixture.quote(sql))
  local lines = fixture.sh(command)
  fixture.sh(("rm %s/expected %s/found"):format(dir, dir))
  return math.tointeger(tonumber(lines))
end

-- A chain of folders. mkdir -p and find go down step by step, so that no path is too long for them.
local function make_chain(name, depth)
  shell("mkdir -p %s", (name .. "/"):rep(depth))
end

-- Runs a command for each folder of the tree that a test of find selects: "$1".
local function in_folders(test, command)
  shell("find . -depth -type d %s -execdir sh -c %s sh {} \\;", test, fixture.quote(command))
end

describe("deep trees", function()
  it("of 10 000 folders in each other are indexed whole", function()
    make_chain("d", 10000)
    in_folders("-links 2", 'echo bottom >"$1/file"; ln -s file "$1/link"')
    local result = index("--mode", "deep")
    assert.equal(0, result.status, result.err)
    assert.equal(10003, same_as_find_streamed(tree))
    assert.same({ { "1" } },
      fixture.sql(library, "SELECT count(*) FROM entries WHERE hash IS NOT NULL"))
    assert.same({ { "1", "9999" } },
      fixture.sql(library, "SELECT files, dirs - 1 FROM directories WHERE path = ''"))
    writes_nothing(nil, "--mode", "deep", "--json")
  end)

  for _, mode in ipairs { "shallow", "content", "deep" } do
    it(("with paths longer than PATH_MAX fit into 32 descriptors, mode %s"):format(mode), function()
      make_chain(("n"):rep(255), 60)
      make_chain(("\255"):rep(255), 40)
      in_folders("", 'echo $$ >"$1/file"; : >"$1/empty"; ln -s file "$1/link"')
      in_folders("-links 2", 'for i in 1 2 3 4 5 6 7 8; do mkdir "$1/$i"; echo $i >"$1/$i/f"; done')
      local result = index_in("ulimit -n 32;", "--mode", mode)
      assert.equal(0, result.status, result.err)
      same_as_find()
      if mode == "shallow" then assert.same({}, fixture.hashes(library)) else same_as_xxhsum() end
      writes_nothing("ulimit -n 32;", "--mode", mode, "--json")
    end)
  end

  it("with branches on all levels fit into 32 descriptors and eight threads", function()
    make_chain("b", 200)
    in_folders("-name b", 'for i in 1 2 3 4 5; do mkdir "$1/$i"; echo $$ $i >"$1/$i/file"; done')
    local result = index_in("ulimit -n 32;", "--mode", "deep", "--threads", "8")
    assert.equal(0, result.status, result.err)
    same_as_find()
    same_as_xxhsum()
  end)

  it("lose what is beyond PATH_MAX when it goes", function()
    make_chain(("n"):rep(255), 40)
    in_folders("", 'echo $$ >"$1/file"')
    assert.equal(0, index("--mode", "deep").status)
    in_folders("-links 2", 'rm "$1/file"; mkdir "$1/new"; echo new >"$1/new/file"')
    assert.equal(0, index("--mode", "deep").status)
    same_as_find()
    same_as_xxhsum()
    shell("rm -rf n* file")
    assert.equal(0, index("--mode", "deep").status)
    same_as_find()
    assert.same({ { "0" } },
      fixture.sql(library, "SELECT count(*) FROM contents WHERE entries > 0"))
  end)
end)

local MIB = 1024 * 1024

describe("a folder of 1 000 000 files", function()
  it("is indexed whole within 96 MiB, and rescanned", function()
    local count = fixture.is_sanitized() and 100000 or 1000000
    local where, mounts <close> = "", fixture.mounts("mount -t tmpfs none " .. fixture.quote(tree))
    if mounts then where = mounts.where end
    fixture.sh(("%s sh -c 'cd %s && seq -f f%%.0f %d | xargs touch'"):format(where, tree, count))
    local decode = require "dkjson".decode
    local result = index_in(where, "--mode", "shallow", "--json")
    assert.equal(0, result.status, result.err)
    local first = decode(result.out)
    assert.equal(count, first.changes.new)
    fixture.sh(([[export LC_ALL=C; cd %s; lib=%s/library.db
      %s find %s -printf '%%P|%%s|%%T@|%%i\n' | sed -E 's/\.([0-9]{9})0/\1/' | sort >expected
      sqlite3 -readonly -separator '|' "$lib" 'SELECT path, size, mtime_ns, ino FROM entries' |
      sort >found; cmp expected found]]):format(dir, library, where, tree))
    result = index_in(where, "--mode", "shallow", "--json")
    assert.equal(0, result.status, result.err)
    local second = decode(result.out)
    assert.same({ new = 0, modified = 0, moved = 0, deleted = 0, unchanged = count },
      second.changes)
    fixture.check_library(library)
    print(("\npeak memory, MiB: first %.1f, rescan %.1f"):format(first.metrics.max_rss / MIB,
      second.metrics.max_rss / MIB))
    if not fixture.is_sanitized() then
      assert.is_true(first.metrics.max_rss <= 96 * MIB, first.metrics.max_rss)
      assert.is_true(second.metrics.max_rss <= 96 * MIB, second.metrics.max_rss)
    end
  end)
end)
