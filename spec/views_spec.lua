-- What other programs need of library.db: views that ask for nothing but SQLite, with the types
-- that docs/schema.md names, in each of the ways in which it is opened.
local fixture = require "support.fixture"
local dkjson = require "dkjson"

local HOME = os.getenv("SDLUA_HOME") or require "sd.root"
local VIEWS = { "locations", "entries", "directories", "contents", "jobs", "errors", "skips" }

local quote = fixture.quote
local dir, tree, library

setup(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(([[mkdir -p %s/a/b "$(printf '%s/\377')" && cd %s && printf x > a/one &&
    printf y > "$(printf '\377/\376')" && : > "$(printf 'a/n\nl\033')" && ln -s one a/link &&
    ln -s "$(printf '\377')" a/odd && mkfifo a/b/pipe && printf x > a/same]]):format(tree, tree,
    tree))
  local result = fixture.run_sdlua("index", "--mode", "deep", "--library", library, tree)
  assert.equal(0, result.status, result.err)
  -- Rows of each kind, also of what went wrong.
  fixture.sh(("sqlite3 %s/library.db \"INSERT INTO job_error(job_id, location_id, path, operation,"
    .. " error, message, at) VALUES(1, 1, x'ff', 'Discovery', 'EACCES', 'no', 5); INSERT INTO"
    .. " job_skip VALUES(1, 1, 'x', 'pseudo'); PRAGMA wal_checkpoint(TRUNCATE)\""):format(library))
end)

teardown(function() fixture.remove(dir) end)

-- By view and column, what docs/schema.md says of its type.
local function documented()
  local text, types = fixture.read(HOME .. "/docs/schema.md"), {}
  for _, view in ipairs(VIEWS) do
    types[view] = {}
    local section = text:match("\n## " .. view .. "\n(.-)\n## ")
    for names, type in section:gmatch("\n| ([%l_, ]+) | ([%u%l ]*[A-Z]+) |") do
      for name in names:gmatch("[%l_]+") do types[view][name] = type end
    end
  end
  return types
end

-- Rows by the sqlite3 program, of the library opened as the words of a URI say.
local function rows(how, sql)
  return dkjson.decode(fixture.sh(("sqlite3 -json %s %s"):format(
    quote("file:" .. library .. "/library.db" .. how), quote(sql))))
end

describe("a view", function()
  it("has values of the documented types", function()
    local types = documented()
    for _, view in ipairs(VIEWS) do
      local n = 0
      for column, type in pairs(types[view]) do
        local wrong = fixture.sql(library, ("SELECT typeof(\"%s\") FROM %s WHERE typeof(\"%s\") NOT"
          .. " IN ('null', %s) LIMIT 1"):format(column, view, column,
          "'" .. type:lower():gsub(" or ", "', '") .. "'"))
        assert.same({}, wrong, view .. "." .. column)
        n = n + 1
      end
      assert.is_true(n >= 4, view)
      assert.is_true(tonumber(fixture.sql(library, "SELECT count(*) FROM " .. view)[1][1]) > 0)
    end
  end)

  it("declares them as far as SQLite lets it", function()
    local types = documented()
    for _, view in ipairs(VIEWS) do
      for _, row in ipairs(fixture.sql(library, ("SELECT name, type FROM pragma_table_info('%s')")
        :format(view))) do
        local name, declared, type = row[1], row[2], types[view][row[1]]
        if type == "TEXT or BLOB" then assert.is_true(declared == "ANY" or declared == "", name)
        elseif declared ~= "" then assert.equal(type, (declared:gsub("^INT$", "INTEGER")), name) end
      end
    end
    -- What is not computed has the type of its table, through all views in between.
    for name, type in pairs { id = "INTEGER", parent_id = "INTEGER", size = "INTEGER",
      mtime_ns = "INTEGER", mime = "TEXT" } do
      assert.same({ { type } }, fixture.sql(library,
        ("SELECT type FROM pragma_table_info('entries') WHERE name = '%s'"):format(name)))
    end
  end)

  -- DuckDB parses the SQL of a view. What it cannot run itself it prints and hands back, each part
  -- of a union in parentheses; and `at` is a keyword of it. Its INTEGER has 32 bits.
  it("has SQL that others can parse and print", function()
    for _, view in ipairs(VIEWS) do
      local sql = fixture.sql(library, ("SELECT sql FROM sqlite_schema WHERE name = '%s'"):format(
        view))[1][1]
      for _, word in ipairs { "UNION", "WITH", "INTERSECT", "EXCEPT" } do
        assert.is_nil(sql:find("%f[%w]" .. word .. "%f[%W]"), view)
      end
      assert.is_nil(sql:find("[ ,(]at%f[%W]"), view)
      assert.is_nil(sql:find("AS INTEGER", 1, true), view)
    end
  end)

  it("finds an entry by its id, or by its directory's, without a scan", function()
    for sql, search in pairs {
      ["SELECT path FROM entries WHERE id = 3"] = "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)",
      ["SELECT name, size FROM entries WHERE parent_id = 2"] =
        "SEARCH e USING INDEX entry_name (parent_id=?)",
      ["SELECT path FROM directories WHERE id = 2"] =
        "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)" } do
      local plan = fixture.sh(("sqlite3 -readonly %s/library.db %s"):format(library,
        quote("EXPLAIN QUERY PLAN " .. sql)))
      assert.is_truthy(plan:find(search, 1, true), plan)
    end
  end)
end)

describe("library.db", function()
  local COUNT = "SELECT count(*) AS n FROM entries"

  it("can be opened read-only, as what does not change, and as a copy of one file", function()
    local n = tonumber(fixture.sh(("find %s -printf x | wc -c"):format(quote(tree))))
    for _, how in ipairs { "?mode=ro", "?immutable=1" } do
      for _, view in ipairs(VIEWS) do rows(how, "SELECT * FROM " .. view .. " LIMIT 1") end
      assert.equal(n, rows(how, COUNT)[1].n)
    end
    local copy = dir .. "/copy.db"
    fixture.sh(("cp %s/library.db %s"):format(library, copy))
    assert.equal(n .. "\n", fixture.sh(("sqlite3 -readonly %s %s"):format(copy, quote(COUNT))))
  end)

  it("is read by Python's sqlite3, in the way of Datasette", function()
    if not fixture.has("python3") then return pending("python3 is not installed") end
    fixture.write(dir .. "/read.py", [[
import json, sqlite3, sys
out = {}
for how in "mode=ro", "immutable=1":
    db = sqlite3.connect("file:%s?%s" % (sys.argv[1], how), uri=True)
    db.text_factory = lambda b: str(b, "utf-8", "replace")
    for view in sys.argv[2:]:
        columns = [row[1] for row in db.execute('PRAGMA table_xinfo("%s")' % view)]
        rows = db.execute('SELECT * FROM [%s] LIMIT 101' % view).fetchall()
        assert all(len(row) == len(columns) for row in rows)
        out[view] = len(rows)
    db.execute("SELECT json_object('p', path) FROM entries WHERE typeof(path) = 'text'").fetchall()
print(json.dumps(out))
]])
    local out = fixture.sh(("python3 %s/read.py %s/library.db %s"):format(dir, library,
      table.concat(VIEWS, " ")))
    local counts = dkjson.decode(out)
    assert.equal(tonumber(fixture.sh(("find %s -printf x | wc -c"):format(quote(tree)))),
      counts.entries)
    assert.equal(1, counts.errors)
  end)

  it("is whole in one file when a run has ended", function()
    local place = dir .. "/fresh"
    assert.equal(0, fixture.run_sdlua("index", "--library", place, tree).status)
    local n = fixture.sh(("sqlite3 'file:%s/library.db?immutable=1' %s"):format(place,
      quote(COUNT)))
    assert.equal(fixture.sh(("find %s -printf x | wc -c"):format(quote(tree))), n)
  end)
end)
