-- `sdlua index` against what find, stat and xxhsum say of the same tree.
local fixture = require "support.fixture"

local dir, tree, library

local function index(...)
  return fixture.run_sdlua("index", "--library", library, "--progress", "none", tree, ...)
end

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. tree)
end)

after_each(function() fixture.remove(dir) end)

-- Files of many sizes in many folders, links of both kinds, empty files and folders.
local function make_mixed(count)
  local script = { "cd " .. fixture.quote(tree) }
  for i = 1, count // 100 do
    local folder = ("d%d/e%d"):format(i % 17, i)
    script[#script + 1] = "mkdir -p " .. folder
  end
  fixture.sh(table.concat(script, "\n"))
  for i = 1, count do
    local folder = ("%s/d%d/e%d"):format(tree, (i % (count // 100) + 1) % 17,
      i % (count // 100) + 1)
    if i % 50 == 0 then fixture.sh(("ln -s ../e%d/x %s/l%d"):format(i, folder, i))
    else fixture.write(("%s/f%d"):format(folder, i), ("%d\n"):format(i):rep(i % 7)) end
  end
  fixture.sh(("cd %s && ln d1/e1/f* d2/ 2>/dev/null; true"):format(fixture.quote(tree)))
end

describe("sdlua index", function()
  it("stores what find says of 50 000 mixed entries", function()
    make_mixed(50000)
    local result = index("--mode", "shallow")
    assert.equal(0, result.status, result.err)
    assert.same({}, fixture.differences(fixture.entries(library), fixture.find(tree)))
    fixture.check_library(library)
  end)

  it("gives the same totals as find", function()
    make_mixed(2000)
    assert.equal(0, index("--mode", "shallow").status)
    local row = fixture.sql(library,
      "SELECT files, dirs, bytes FROM directories WHERE path = ''")[1]
    local function count(test)
      return fixture.sh(("find %s -mindepth 1 %s | wc -l"):format(fixture.quote(tree), test))
        :match("%d+")
    end
    assert.equal(count("! -type d ! -type l"), row[1])
    assert.equal(count("-type d"), row[2])
    local bytes = 0
    for size in fixture.sh(("find %s -mindepth 1 -printf '%%s\\n'"):format(fixture.quote(tree)))
      :gmatch("%d+") do
      bytes = bytes + size
    end
    assert.equal(tostring(bytes), row[3])
  end)

  it("hashes as xxhsum does in deep mode", function()
    make_mixed(300)
    fixture.sh(("head -c 300000 /dev/urandom > %s/large; head -c 102400 /dev/zero > %s/limit")
      :format(tree, tree))
    assert.equal(0, index("--mode", "deep").status)
    local expected, found = {}, {}
    local sums = fixture.sh(("cd %s && find . -type f -size +0 -exec xxhsum -H2 {} +")
      :format(fixture.quote(tree)))
    for hash, path in sums:gmatch("(%x+)  %./([^\n]*)\n") do expected[path] = hash end
    for _, row in ipairs(fixture.sql(library,
      "SELECT path, hash FROM entries WHERE hash IS NOT NULL")) do
      found[row[1]] = row[2]
    end
    assert.same({}, fixture.differences(found, expected))
  end)

  it("samples large files in content mode, and hashes small ones whole", function()
    fixture.sh(("head -c 102401 /dev/urandom > %s/large; echo x > %s/small; : > %s/empty")
      :format(tree, tree, tree))
    assert.equal(0, index().status)
    assert.same({ { "empty", "" }, { "large", "sampled" }, { "small", "full" } },
      fixture.sql(library, "SELECT path, hash_kind FROM entries WHERE kind = 'file' ORDER BY path"))
  end)

  it("hashes a file with several names once", function()
    fixture.sh(("cd %s && echo same > a && ln a b && mkdir c && ln a c/d && echo same > e")
      :format(tree))
    assert.equal(0, index("--mode", "deep").status)
    assert.same({ { "1", "4" } },
      fixture.sql(library, "SELECT count(*), sum(entries) FROM contents"))
    assert.same({ { "4" } },
      fixture.sql(library, "SELECT count(*) FROM entries WHERE hash IS NOT NULL"))
  end)

  it("raises the mode of what is there", function()
    make_mixed(500)
    assert.equal(0, index("--mode", "shallow").status)
    assert.same({ { "0" } }, fixture.sql(library, "SELECT count(*) FROM contents"))
    assert.equal(0, index("--mode", "content").status)
    assert.equal(0, index("--mode", "deep").status)
    local fresh = dir .. "/fresh"
    assert.equal(0, fixture.run_sdlua("index", "--library", fresh, "--progress", "none", "--mode",
      "deep", tree).status)
    local sql = "SELECT path, hash, hash_kind, mime FROM entries ORDER BY 1"
    assert.same(fixture.sql(fresh, sql), fixture.sql(library, sql))
    sql = "SELECT hash, size, entries FROM contents ORDER BY 1, 2"
    assert.same(fixture.sql(fresh, sql), fixture.sql(library, sql))
  end)

  it("sees what was added, changed and removed", function()
    make_mixed(1000)
    assert.equal(0, index().status)
    fixture.sh(([[cd %s && rm -r d3 && mv d4 new && echo changed > d5/e5/added && find d6 -type f |
      head -20 | while read -r f; do echo more >> "$f"; done && rm -r d7/e7 && echo file > d7/e7]])
      :format(tree))
    local result = index()
    assert.equal(0, result.status, result.err)
    assert.same({}, fixture.differences(fixture.entries(library), fixture.find(tree)))
    fixture.check_library(library)
    local fresh = dir .. "/fresh"
    assert.equal(0, fixture.run_sdlua("index", "--library", fresh, "--progress", "none",
      tree).status)
    for _, sql in ipairs {
      "SELECT path, hash FROM entries ORDER BY 1",
      "SELECT path, files, dirs, bytes, allocated FROM directories ORDER BY 1",
      "SELECT hash, size, entries FROM contents ORDER BY 1, 2",
    } do
      assert.same(fixture.sql(fresh, sql), fixture.sql(library, sql))
    end
  end)

  it("writes nothing where nothing has changed", function()
    make_mixed(1000)
    assert.equal(0, index().status)
    local sql = "SELECT * FROM entry UNION ALL SELECT entry_id, anchor, path, scanned_at, files,"
      .. " dirs, symlinks, file_bytes, bytes, allocated, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM directory"
    local before = fixture.sql(library, sql)
    local result = index("--json")
    assert.equal(0, result.status)
    local output = require "dkjson".decode(result.out)
    local changes = output.changes
    assert.equal(0, changes.new + changes.modified + changes.moved + changes.deleted)
    assert.same(before, fixture.sql(library, sql))
  end)
end)
