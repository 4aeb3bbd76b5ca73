-- Questions to a library from Lua: rows one by one, while others write, and nothing is changed.
local fixture = require "support.fixture"
local sd = require "sd"
local core = require "sd.core"

local dir, tree, library

setup(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(([[mkdir -p %s/a && cd %s && printf hello > a/hello &&
    printf x > "$(printf 'a/\377')" && ln -s a link]]):format(tree, tree))
  assert.equal(0, fixture.run_sdlua("index", "--library", library, tree).status)
end)

teardown(function() fixture.remove(dir) end)

local function open()
  return assert(sd.query.open(library))
end

-- The failure that a function raises.
local function failure_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(sd.failure.is(err), tostring(err))
  return err
end

describe("a query", function()
  it("gives rows as find has them", function()
    local query <close> = open()
    local found = {}
    for row in query:each("SELECT path(id) AS path FROM entries") do found[row.path] = true end
    local truth = {}
    for path in fixture.sh(("find %s -print0"):format(tree)):gmatch("[^\0]+") do
      truth[path] = true
    end
    assert.same(truth, found)
  end)

  it("has nil for NULL, and keeps what follows", function()
    local query <close> = open()
    local cursor = query:cursor("SELECT NULL, 1, NULL, 'x'")
    local row = sd.query.next(cursor, { "old", "old", "old", "old" })
    assert.same({ nil, 1, nil, "x" }, { row[1], row[2], row[3], row[4] })
    assert.is_nil(sd.query.next(cursor))
    assert.same({ n = 7 }, query:row("SELECT NULL AS x, 7 AS n"))
    assert.is_nil(query:row("SELECT 1 WHERE 0"))
  end)

  it("binds values as they are", function()
    local query <close> = open()
    local row = query:row("SELECT ? AS a, ? AS b, ? AS c, ? AS d, typeof(?3) AS e, typeof(?5) AS f",
      { 1, 2.5, "\xff", nil, sd.blob "x", n = 5 })
    assert.same({ a = 1, b = 2.5, c = "\xff", e = "blob", f = "blob" }, row)
  end)

  it("names the place of what is wrong", function()
    local query <close> = open()
    local err = failure_of(query.rows, query, "SELECT id,\n  'é', nosuch\nFROM entries")
    assert.same({ "ESQL", 2 }, { err.code, err.exit })
    assert.equal("SQL: no such column: nosuch", err.message)
    assert.equal("    'é', nosuch\n         ^", err.usage)
  end)

  it("takes one statement, with all of its values", function()
    local query <close> = open()
    for _, case in ipairs { { "", {} }, { "-- nothing", {} }, { "SELECT 1; SELECT 2", {} },
      { "SELECT ?", {} }, { "SELECT 1", { 1 } } } do
      local err = failure_of(query.rows, query, case[1], case[2])
      assert.same({ "ESQL", 2 }, { err.code, err.exit })
    end
    assert.equal(1, #query:rows("SELECT 1; -- the end"))
    assert.has_error(function() query:rows("SELECT ?", { {} }) end)
  end)

  it("changes nothing", function()
    local query <close> = open()
    for _, sql in ipairs { "DELETE FROM entry", "PRAGMA journal_mode=DELETE", "BEGIN",
      "ATTACH '" .. dir .. "/x.db' AS x", "VACUUM INTO '" .. dir .. "/x.db'" } do
      assert.equal(2, failure_of(query.rows, query, sql).exit)
    end
    assert.is_nil(io.open(dir .. "/x.db"))
  end)

  it("does not hold a million rows", function()
    local query <close> = open()
    local before, n = core.sys.max_rss(), 0
    for row in query:each("WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM c"
      .. " WHERE i < 1000000) SELECT i, printf('%.200c', 'x') AS text FROM c") do
      n = n + #row.text
    end
    assert.equal(200000000, n)
    if fixture.is_sanitized() then return end -- its allocator keeps what was freed
    assert.is_true(core.sys.max_rss() - before < 32 * 1024 * 1024)
  end)

  it("sees one state as long as it stays, and the last one else", function()
    local query <close> = open()
    local function seen() return query:row("SELECT count(*) AS n FROM entries").n end
    local before = seen()
    query:stay()
    assert.equal(before, seen())
    fixture.write(tree .. "/new", "")
    assert.equal(0, fixture.run_sdlua("index", "--library", library, tree).status)
    assert.equal(before, seen())
    query.core:leave()
    assert.equal(before + 1, seen())
  end)

  it("is answered while the library is locked", function()
    local lib = assert(sd.library.open(library))
    local query <close> = open()
    assert.is_true(query:row("SELECT count(*) AS n FROM entries").n > 1)
    lib:close()
  end)

  it("ends with its last cursor", function()
    local query = open()
    local cursor = query:cursor("SELECT 1 UNION ALL SELECT 2")
    query:close()
    query:close()
    assert.same({ 1 }, sd.query.next(cursor))
    assert.has_error(function() query:rows("SELECT 1") end)
    cursor:close()
    cursor:close()
    assert.has_error(function() cursor:next() end)
    for _ = 1, 3 do -- in whatever order they are collected
      local q = open()
      q:cursor("SELECT 1")
      collectgarbage()
    end
  end)
end)

describe("a query of no library", function()
  it("makes nothing", function()
    local place = dir .. "/nosuch"
    local query, message, code = sd.query.open(place)
    assert.is_nil(query)
    assert.equal("ENOLIB", code)
    assert.is_truthy(message:find(place, 1, true))
    assert.equal(10, failure_of(sd.query.must_open, place).exit)
    assert.is_nil(io.open(place))
  end)

  it("says what is there instead", function()
    local place = dir .. "/other"
    fixture.sh("mkdir " .. place)
    fixture.write(place .. "/library.db", ("no database "):rep(100))
    assert.equal(12, failure_of(sd.query.must_open, place).exit)
    fixture.sh(("rm %s/library.db && cp %s/library.db %s && sqlite3 %s/library.db"
      .. " 'PRAGMA user_version = 99'"):format(place, library, place, place))
    assert.equal(13, failure_of(sd.query.must_open, place).exit)
  end)
end)

describe("a signal", function()
  for name, status in pairs { sigint = 130, sigterm = 143 } do
    it(("ends a query that catches it: %s"):format(name), function()
      fixture.write(dir .. "/endless.lua", ([[
local core, query = require "sd.core", require "sd.query"
core.reader.catch()
local q = query.must_open(%q)
local ok, err = pcall(q.rows, q, "WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM c)"
  .. " SELECT sum(i) FROM c")
os.exit(ok and 0 or err.exit)]]):format(library))
      local process = fixture.start { fixture.sdlua, dir .. "/endless.lua" }
      process:sleep(300)
      process:kill(name)
      local ended, ms = process:wait(5000)
      assert.equal(status, ended)
      assert.is_true(ms < 200, ms)
    end)
  end

  it("ends the process where it is the second one, whatever the first was", function()
    fixture.write(dir .. "/deaf.lua", 'require "sd.core".reader.catch()\nprint "on"\n'
      .. "io.stdout:flush()\nwhile true do require 'sd.core'.luv.sleep(10) end")
    for first, second in pairs { sigint = "sigterm", sigterm = "sigint" } do
      local out = dir .. "/" .. first
      local process = fixture.start({ fixture.sdlua, dir .. "/deaf.lua" }, { out = out })
      repeat process:sleep(20) until fixture.read(out) ~= ""
      process:kill(first)
      process:sleep(100)
      assert.is_nil(process.exit)
      process:kill(second)
      assert.equal(second == "sigint" and 130 or 143, (process:wait(5000)))
    end
  end)
end)
