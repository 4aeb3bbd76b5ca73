-- sdlua du where files have many names: each directory as `du -s` of it alone, whether that is
-- stored or added up, and whichever way the names are found.
local fixture = require "support.fixture"

local quote, sdlua = fixture.quote, fixture.sdlua
local dir, tree, library, noted -- the latter is the same; its directories are to be reckoned anew

local function change(of, sql)
  fixture.sh(("sqlite3 %s/library.db %s"):format(of, quote(sql)))
end

local function note(of)
  change(of, "INSERT INTO link_todo VALUES(0, 0)")
end

local function index(into, ...)
  local result = fixture.run_sdlua("index", "--mode", "shallow", "--progress", "none", "--library",
    into, ...)
  assert.equal(0, result.status, result.err)
  fixture.check_settled(into)
end

-- 60 files with 50 names each, over 50 directories; one file with 4000 names; links that cross all
-- of them; a directory of plain files and one of few links.
local MAKE = [[
  local uv, root = require "luv", ...
  local function mkdir(path) assert(uv.fs_mkdir(path, 493)) end
  local function write(path, n)
    local file = assert(io.open(path, "wb"))
    file:write(("x"):rep(n))
    file:close()
  end
  mkdir(root)
  for _, name in ipairs { "first", "many", "one", "plain", "few" } do mkdir(root .. "/" .. name) end
  for i = 1, 60 do write(("%s/first/f%d"):format(root, i), i * 977 % 20000) end
  for d = 1, 49 do
    local to = ("%s/many/d%d"):format(root, d)
    mkdir(to)
    for i = 1, 60 do assert(uv.fs_link(("%s/first/f%d"):format(root, i), to .. "/n" .. i)) end
  end
  write(root .. "/one/file", 123456)
  for d = 1, 40 do
    local to = ("%s/one/d%d"):format(root, d)
    mkdir(to)
    for i = 1, 99 do assert(uv.fs_link(root .. "/one/file", to .. "/n" .. i)) end
  end
  for i = 1, 5000 do write(("%s/plain/f%d"):format(root, i), 1) end
  mkdir(root .. "/few/below")
  for i = 1, 3 do assert(uv.fs_link(root .. "/one/file", ("%s/few/l%d"):format(root, i))) end
  assert(uv.fs_link(root .. "/first/f7", root .. "/few/below/seven"))
  assert(uv.fs_link(root .. "/first/f7", root .. "/few/seven"))
]]

setup(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.write(dir .. "/make.lua", MAKE)
  assert.equal(0, fixture.run_sdlua(dir .. "/make.lua", tree).status)
  index(library, tree)
  noted = dir .. "/noted"
  fixture.sh(("cp -r %s %s"):format(library, noted))
  note(noted)
end)

teardown(function() fixture.remove(dir) end)

local function ours(of, ...)
  local map = {}
  local result = fixture.run({ sdlua, "du", "-0", "--library", of, ... },
    ("cd %s &&"):format(quote(tree)))
  assert.equal(0, result.status, result.err)
  for size, path in result.out:gmatch("(%d+)\t([^\0]*)\0") do map[path] = tonumber(size) end
  return map
end

local function truth(paths)
  local map = {}
  for _, path in ipairs(paths) do
    map[path] = tonumber(fixture.sh(("cd %s && du -s -B1 %s"):format(quote(tree), quote(path)))
      :match("^%d+"))
  end
  return map
end

local PATHS = { ".", "first", "many", "many/d1", "one", "one/d7", "plain", "few", "few/below" }

describe("sdlua du", function()
  it("counts each file once in each directory that is asked for alone", function()
    for path, size in pairs(truth(PATHS)) do
      assert.same({ [path] = size }, ours(library, path))
      assert.same({ [path] = size }, ours(noted, path))
    end
  end)

  it("does so for each of several, one below the other", function()
    assert.same(truth(PATHS), ours(library, table.unpack(PATHS)))
    assert.same(truth(PATHS), ours(noted, table.unpack(PATHS)))
    local all = {}
    for path in fixture.sh(("cd %s && find . -type d -print0"):format(quote(tree)))
      :gmatch("[^\0]+") do
      all[#all + 1] = path
    end
    assert.same(truth(all), ours(library, "-d", "9"))
    assert.same(truth(all), ours(noted, "-d", "9"))
  end)

  it("adds up the sizes of files in the same way", function()
    local bytes = fixture.sh(("cd %s && find . -printf '%%i %%s\\n' | sort -u |"
      .. " awk '{ n += $2 } END { printf \"%%.0f\", n }'"):format(quote(tree)))
    assert.same({ ["."] = tonumber(bytes) }, ours(library, "--apparent", "."))
    assert.same({ ["."] = tonumber(bytes) }, ours(noted, "--apparent", "."))
  end)

  it("takes what is stored, unless something is noted", function()
    local place, size = dir .. "/changed", truth { "many" }.many
    fixture.sh(("cp -r %s %s"):format(library, place))
    change(place, "UPDATE directory SET excess_allocated = excess_allocated + 512"
      .. " WHERE path = 'many'")
    assert.same({ many = size - 512 }, ours(place, "many"))
    for _, sql in ipairs { "INSERT INTO link_todo VALUES(0, 0)", "INSERT INTO link_moved VALUES(0)",
      "INSERT INTO link_scan VALUES(1, 0, 0)" } do
      change(place, sql)
      assert.same({ many = size }, ours(place, "many"), sql)
      change(place, "DELETE FROM " .. sql:match("link_%w+"))
    end
    assert.same({ many = size - 512 }, ours(place, "many"))
  end)

  it("counts a file of several sizes as the largest", function()
    local place = dir .. "/sizes"
    fixture.sh(("cp -r %s %s"):format(noted, place))
    change(place, "UPDATE entry SET allocated = allocated + 4096 * (name = 'l1')"
      .. " WHERE parent_id IN (SELECT entry_id FROM directory WHERE path = 'few');"
      .. " UPDATE directory SET allocated = allocated + 4096 WHERE path IN ('', 'few')")
    local wanted = truth { "few", "few/below", "." }
    wanted.few, wanted["."] = wanted.few + 4096, wanted["."] + 4096
    for path, size in pairs(wanted) do assert.same({ [path] = size }, ours(place, path)) end
    assert.same(wanted, ours(place, "few", "few/below", "."))
    index(place, tree) -- which notices nothing: the rows' fingerprints are as they were
    for path, size in pairs(wanted) do assert.same({ [path] = size }, ours(place, path)) end
  end)

  it("follows names that come, move and go", function()
    local root, place = dir .. "/living", dir .. "/living.library"
    local function sh(script) fixture.sh(("cd %s && %s"):format(root, script)) end
    fixture.sh("mkdir " .. root)
    local STEPS = {
      "mkdir -p a/b c && head -c 20000 /dev/zero >a/f && ln a/f a/b/f && ln a/f c/f && ln a/f c/g",
      "mv a/b c/", "rm c/f", "mv c/b a/ && mv c x", "ln a/f a/b/h && head -c 70000 /dev/zero >>a/f",
      "rm a/f && echo new >a/f", "rm -r x", "rm a/b/h", "mkdir x && ln a/b/f x/f && ln a/f x/g",
      "mv a y && mkdir a && mv y/b a/b && ln x/g a/g", "rm -r y a",
    }
    for _, step in ipairs(STEPS) do
      sh(step)
      index(place, root)
      for path in fixture.sh(("cd %s && find . -type d"):format(root)):gmatch("[^\n]+") do
        local size = fixture.sh(("du -s -B1 %s/%s"):format(root, path)):match("^%d+")
        local result = fixture.run_sdlua("du", "--exact", "--library", place, root .. "/" .. path)
        assert.equal(size, result.out:match("^%d+"), step .. ": " .. path)
      end
    end
    assert.equal("0", fixture.sql(place, "SELECT count(*) FROM link_excess")[1][1])
  end)

  it("knows what is of another location, and what has lost its place", function()
    local place, other = dir .. "/two", dir .. "/other"
    fixture.sh(("mkdir %s && ln %s/one/file %s/x && ln %s/one/file %s/y"):format(other, tree, other,
      tree, other))
    index(place, tree, other)
    for _, noting in ipairs { false, true } do
      if noting then note(place) end
      for path, size in pairs(truth { ".", "many", "few", other }) do
        assert.same({ [path] = size }, ours(place, path))
      end
    end
    fixture.sh("rm -r " .. other)
    local result = fixture.run_sdlua("location", "remove", "--library", place, other)
    assert.equal(0, result.status, result.err)
    fixture.check_settled(place)
    assert.same(truth { "." }, ours(place, "."))
    -- As in a run that another inode's name made room for.
    local limbo = dir .. "/limbo"
    fixture.sh(("cp -r %s %s && sqlite3 %s/library.db \"INSERT INTO entry(id, parent_id, name,"
      .. " kind, size, allocated, dev, ino, nlink) SELECT (SELECT next_id FROM counter),"
      .. " -(1 << 40) - 1, 'x', kind, size, allocated, dev, ino, nlink FROM entry WHERE nlink > 1"
      .. " AND kind = 1 LIMIT 1\""):format(library, limbo, limbo))
    assert.same(truth { "." }, ours(limbo, "."))
  end)

  it("adds up what has more bytes than 32 bits say", function()
    local huge, place = dir .. "/huge", dir .. "/huge.library"
    local made = fixture.run { "sh", "-c", ("mkdir %s && cd %s && truncate -s 9T a && ln a b &&"
      .. " ln a c && truncate -s 5T d && ln d e"):format(huge, huge) }
    if made.status ~= 0 then return pending("this file system has no files of 9 TiB") end
    local indexed = fixture.run_sdlua("index", "--mode", "shallow", "--library", place, huge)
    assert.equal(0, indexed.status)
    local result = fixture.run_sdlua("du", "--apparent", "--library", place, huge)
    local own = fixture.sh("stat -c %s " .. huge)
    assert.equal(14 * 1024 ^ 4 + tonumber(own), tonumber(result.out:match("^%d+")))
  end)
end)
