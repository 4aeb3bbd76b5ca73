-- Libraries that older versions made: c_tests/fixtures has one of each.
local fixture = require "support.fixture"

local quote = fixture.quote
local FIXTURES = os.getenv("SDLUA_HOME") .. "/c_tests/fixtures/"
local dir, tree, library

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(("mkdir -p %s/a && echo 1 > %s/a/f"):format(tree, tree))
end)

after_each(function() fixture.remove(dir) end)

local function index(into)
  return fixture.run_sdlua("index", "--progress", "none", "--mode", "deep", "--library", into, tree)
end

-- What each column, index, trigger and view is, whatever statements made it so.
local function shape(of)
  local rows = fixture.sql(of, [[SELECT 'column', s.name, c.cid || ' ' || c.name || ' ' || c.type
      || ' ' || c."notnull" || ' ' || coalesce(c.dflt_value, '-') || ' ' || c.pk
    FROM sqlite_schema s JOIN pragma_table_info(s.name) c WHERE s.type = 'table'
    UNION ALL SELECT type, name, hex(sql) FROM sqlite_schema
    WHERE type <> 'table' AND sql IS NOT NULL ORDER BY 1, 2, 3]])
  local lines = {}
  for i, row in ipairs(rows) do lines[i] = table.concat(row, " ") end
  return lines
end

for version = 1, 2 do
  describe("a library of version " .. version, function()
    before_each(function()
      fixture.sh(("mkdir -m 700 %s && sqlite3 %s/library.db < %s >/dev/null"):format(quote(library),
        quote(library), quote(("%slibrary-v%d.sql"):format(FIXTURES, version))))
    end)

    it("becomes what a new one is, and keeps its rows", function()
      local before = fixture.sql(library,
        "SELECT id, hex(path), uuid, size FROM entries ORDER BY id")
      local result = index(library)
      assert.equal(0, result.status, result.err)
      assert.equal(0, index(dir .. "/new").status)
      assert.same(shape(dir .. "/new"), shape(library))
      assert.same({ { "ok" } }, fixture.sql(library, "PRAGMA integrity_check"))
      assert.same(before, fixture.sql(library,
        "SELECT id, hex(path), uuid, size FROM entries WHERE location_id = 1 ORDER BY id"))
      assert.same({ { "", "0" }, { "a", "0" }, { "a/f", "1" } }, fixture.sql(library, [[
        SELECT path, hash IS NOT NULL FROM entries WHERE location_id = 2 ORDER BY path]]))
    end)
  end)
end
