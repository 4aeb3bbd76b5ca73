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

    it("counts the names of one file once, before and after a run", function()
      fixture.sh(("sqlite3 %s/library.db \"UPDATE entry SET nlink = 2, ino = 3 WHERE kind = 1;"
        .. " UPDATE entry SET size = 5, allocated = 4096 WHERE id = 4;"
        .. " UPDATE directory SET allocated = allocated + 4096\""):format(quote(library)))
      local function du()
        return fixture.run_sdlua("du", "--exact", "--library", library, "/data").out
      end
      if version > 1 then assert.equal("12288\t/data\n", du()) end
      assert.equal(0, fixture.run_sdlua("location", "list", "--library", library).status)
      assert.equal("12288\t/data\n", du())
      local scan = "SELECT count(*) FROM link_scan"
      assert.equal("1", fixture.sql(library, scan)[1][1])
      assert.equal(0, index(library).status)
      assert.equal("0", fixture.sql(library, scan)[1][1])
      assert.equal("12288\t/data\n", du())
      assert.same({ { "4096" }, { "4096" } }, fixture.sql(library,
        "SELECT excess_allocated FROM directory WHERE location_id = 1"))
    end)

    it("keeps what lies below a mount, which it told by its device only", function()
      fixture.sh(("sqlite3 %s/library.db 'UPDATE entry SET dev = dev + 1 WHERE id ="
        .. " (SELECT max(id) FROM entry WHERE kind = 2 AND parent_id > 0)'"):format(quote(library)))
      assert.equal(0, fixture.run_sdlua("location", "list", "--library", library).status)
      assert.same(fixture.sql(library, "SELECT max(id) FROM entry WHERE kind = 2"),
        fixture.sql(library, "SELECT id FROM entry WHERE mode & 262144"))
    end)

    it("is read as it is, or says what is to be done", function()
      for _, words in ipairs { { "search", "three" }, { "ls" }, { "tree" }, { "du" },
        { "export" }, { "top", "files" }, { "sql", "SELECT count(unverified) FROM entries" } } do
        local before = fixture.sh(("cd %s && sha256sum library.db"):format(quote(library)))
        words[#words + 1] = "--library"
        words[#words + 1] = library
        local result = fixture.run_sdlua(table.unpack(words))
        if version == 1 then
          assert.equal(13, result.status, words[1] .. result.err)
          assert.is_truthy(result.err:find("an older sdlua (schema 1", 1, true), result.err)
        else
          assert.equal(0, result.status, words[1] .. result.err)
          assert.is_true(#result.out > 0, words[1])
        end
        assert.equal(before, fixture.sh(("cd %s && sha256sum library.db"):format(quote(library))))
      end
      local listed = fixture.run_sdlua("location", "list", "--library", library)
      assert.equal(0, listed.status, listed.err)
      local found = fixture.run_sdlua("search", "three", "--library", library)
      assert.equal("/data/one/three\n", found.out, found.err)
    end)
  end)
end
