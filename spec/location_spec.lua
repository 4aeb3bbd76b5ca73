-- `sdlua location`: what is added, listed, shown, changed and removed.
local fixture = require "support.fixture"
local jobs = require "support.jobs"
local json = require "dkjson"
local uv = require "sd.core".luv

local dir, tree, library

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(("mkdir -p %s/a/b; cd %s; echo 1 > a/b/1; echo 22 > 2"):format(tree, tree))
end)

after_each(function() fixture.remove(dir) end)

local function sdlua(command, ...)
  return fixture.run_sdlua(command, ...)
end

local function location(...)
  local words = { ... }
  table.insert(words, "--library")
  table.insert(words, library)
  return sdlua("location", table.unpack(words))
end

local function succeeds(result)
  assert.equal(0, result.status, result.err)
  return result.out
end

local function decoded(...)
  local words = { ... }
  table.insert(words, "--json")
  return json.decode(succeeds(location(table.unpack(words))))
end

local function index(path, ...)
  return sdlua("index", "--library", library, "--progress", "none", path or tree, ...)
end

local function query(sql) return fixture.sql(library, sql) end

local function fill_tree()
  fixture.sh(("cd %s; for i in $(seq 300); do mkdir d$i; touch d$i/$(seq -s ' d'$i/ 60); done")
    :format(tree))
end

-- Kills a removal that has begun; the state of the location then.
local function stop_removal()
  fill_tree()
  for _ = 1, 10 do
    assert.equal(0, index(nil, "--mode", "shallow").status)
    local process = fixture.start { fixture.sdlua, "location", "remove", tree,
      "--library", library }
    repeat
      local row = query("SELECT state FROM locations")[1]
    until not row or row[1] == "removing" or process:sleep(1)
    process:kill("sigkill")
    process:wait()
    local row = query("SELECT state FROM locations")[1]
    if row then return row[1] end
  end
end

describe("sdlua location", function()
  it("adds, lists and shows", function()
    local row = decoded("add", tree, "--mode", "shallow")
    assert.same({ 1, tree, "new", { mode = "shallow" } },
      { row.id, row.root, row.state, row.settings })
    assert.equal(0, index().status)
    row = decoded("show", tree)
    assert.same({ "complete", 2, 2, 0 }, { row.state, row.files, row.dirs, row.symlinks })
    assert.is_truthy(row.indexed_at > row.created_at)
    fixture.sh("mkdir " .. dir .. "/other")
    decoded("add", dir .. "/other")
    local roots = {}
    for i, one in ipairs(decoded("list")) do roots[i] = one.root end
    assert.same({ dir .. "/other", tree }, roots)
    assert.same(row, decoded("show", row.uuid:sub(1, 20)))
    assert.same(row, decoded("show", "1"))
    assert.is_truthy(succeeds(location("show", tree)):find("settings    --mode shallow", 1, true))
    assert.is_truthy(succeeds(location("list")):find("4 entries", 1, true))
  end)

  it("finds a location by any path of its root", function()
    local function at(where, ...)
      return fixture.run({ fixture.sdlua, "location", ... },
        ("cd %s && SDLUA_LIBRARY=%s"):format(where, library))
    end
    fixture.sh(("mkdir %s/1; ln -s tree %s/link"):format(dir, dir))
    decoded("add", tree)
    decoded("add", dir .. "/1")
    for _, name in ipairs { "tree", "tree/", "./tree", "link", "1" } do -- a number comes first
      assert.is_truthy(succeeds(at(dir, "show", name)):find(tree .. "\n", 1, true), name)
    end
    assert.is_truthy(succeeds(at(dir, "show", "1/")):find(dir .. "/1\n", 1, true))
    assert.is_truthy(succeeds(at(tree, "show", ".")):find(tree .. "\n", 1, true))
    succeeds(at(dir, "set", "tree", "--mode", "deep"))
    local result = at(tree, "show", "a") -- there, and no location
    assert.equal(1, result.status)
    assert.equal("sdlua: there is no location a\n", result.err)
    succeeds(at(dir, "remove", "tree"))
    assert.same({ { dir .. "/1" } }, query("SELECT root FROM locations"))
  end)

  it("settles what index does where it is not told", function()
    decoded("add", tree, "--mode", "shallow")
    assert.equal("shallow", json.decode(index(nil, "--json").out).mode)
    assert.equal("deep", json.decode(index(nil, "--json", "--mode", "deep").out).mode)
    decoded("set", tree, "--mode", "content", "--changed-by", "ctime")
    assert.equal("content", json.decode(index(nil, "--json").out).mode)
    assert.same({ mode = "content", changed_by = "ctime" }, decoded("show", tree).settings)
    assert.same({ mode = "deep" }, decoded("set", tree, "--reset", "--mode", "deep").settings)
    assert.equal(2, location("set", tree, "--mode", "fast").status)
    assert.equal(2, location("set", tree).status)
  end)

  it("refuses locations that overlap", function()
    assert.equal(0, index().status)
    for _, path in ipairs { tree, tree .. "/a", tree .. "/a/b", dir, "/" } do
      local result = location("add", path)
      assert.equal(2, result.status, path .. ": " .. result.err)
      assert.is_truthy(result.err:find(tree, 1, true), result.err)
    end
    local result = index(tree .. "/a")
    assert.equal(2, result.status, result.err)
    assert.is_truthy(result.err:find("lies in the location " .. tree, 1, true), result.err)
    result = index(dir)
    assert.equal(2, result.status, result.err)
    fixture.sh("mkdir " .. tree .. "2") -- not in it, though its name begins so
    assert.equal(0, index(tree .. "2").status)
    assert.same({ { "2" } }, query("SELECT count(*) FROM locations"))
  end)

  it("refuses what overlaps before anything is indexed", function()
    local function refused(result, ...)
      assert.equal(2, result.status, result.err)
      for _, name in ipairs { ... } do
        assert.is_truthy(result.err:find(name, 1, true), result.err)
      end
      assert.is_nil((result.err .. result.out):find("complete", 1, true), result.err)
    end
    fixture.sh("mkdir " .. dir .. "/first")
    refused(index(dir .. "/first", tree, tree .. "/a"), tree .. "/a", tree)
    refused(index(dir .. "/first", tree .. "/a", tree), tree .. "/a", tree)
    assert.is_nil(uv.fs_stat(library))
    assert.equal(0, index().status)
    refused(index(dir .. "/first", tree .. "/a"), tree .. "/a", tree)
    refused(sdlua("run", "indexer", tree .. "/a", "--library", library), tree .. "/a", tree)
    assert.same({ { tree } }, query("SELECT root FROM locations"))
    assert.same({ { "1" } }, query("SELECT count(*) FROM jobs"))
    assert.equal(0, index(dir .. "/first", dir .. "/./first").status) -- the same one: once
    assert.same({ { "2" } }, query("SELECT count(*) FROM jobs"))
    assert.is_truthy(succeeds(location("list")):find(" 0 entries", 1, true))
    fixture.sh("touch " .. dir .. "/first/1")
    assert.equal(0, index(dir .. "/first").status)
    assert.is_truthy(succeeds(location("list")):find(" 1 entry ", 1, true))
  end)

  it("follows a root that was moved", function()
    assert.equal(0, index(nil, "--mode", "deep").status)
    local before = query("SELECT path, uuid, hash FROM entries ORDER BY 1")
    fixture.sh(("mv %s %s/moved"):format(tree, dir))
    local row = decoded("set", tree, "--root", dir .. "/moved")
    assert.equal(dir .. "/moved", row.root)
    local output = json.decode(index(dir .. "/moved", "--json", "--mode", "deep").out)
    assert.same({ 0, 0, 4 }, { output.hashed, output.changes.new, output.changes.unchanged })
    assert.same(before, query("SELECT path, uuid, hash FROM entries ORDER BY 1"))
    assert.same({ { "moved" } }, query("SELECT name FROM entries WHERE path = ''"))
    assert.equal(1, location("set", dir .. "/moved", "--root", dir .. "/nowhere").status)
    fixture.sh("mkdir " .. tree)
    assert.equal(0, index().status)
    assert.equal(2, location("set", dir .. "/moved", "--root", tree).status)
  end)

  it("keeps identities in a tree that was copied to another disk", function()
    assert.equal(0, index(nil, "--mode", "deep").status)
    local before = query("SELECT path, uuid FROM entries WHERE path <> '' ORDER BY 1")
    fixture.sh(("cp -a %s %s/copy"):format(tree, dir))
    decoded("set", tree, "--root", dir .. "/copy")
    assert.equal(0, index(dir .. "/copy", "--mode", "deep").status)
    assert.same(before, query("SELECT path, uuid FROM entries WHERE path <> '' ORDER BY 1"))
  end)

  it("removes one, and only that", function()
    local other = dir .. "/other"
    fixture.sh("cp -a " .. tree .. " " .. other)
    assert.equal(0, index(tree, other, "--mode", "deep").status)
    local before = query("SELECT path, uuid, hash FROM entries WHERE location_id = 2 ORDER BY 1")
    assert.same({ { "2" }, { "2" } }, query("SELECT entries FROM contents"))
    local output = decoded("remove", tree)
    assert.same({ tree, 5 }, { output.root, output.removed })
    assert.same(before, query("SELECT path, uuid, hash FROM entries ORDER BY 1"))
    assert.same({ { "1" }, { "1" } }, query("SELECT entries FROM contents"))
    assert.same({ { "2" } }, query("SELECT id FROM locations"))
    fixture.check_library(library)
    fixture.check_settled(library)
    assert.equal(1, location("remove", tree).status)
    assert.equal(0, index().status) -- and it can come back
    assert.same({ { "4" } },
      query("SELECT count(*) FROM entries WHERE location_id <> 2 AND path <> ''"))
  end)

  it("goes on with a removal that was killed", function()
    fill_tree()
    assert.equal(0, index(nil, "--mode", "shallow").status)
    local killed = 0
    for ms = 1, 60, 3 do
      local process = fixture.start { fixture.sdlua, "location", "remove", tree,
        "--library", library }
      process:sleep(ms)
      process:kill("sigkill")
      if process:wait() == 137 then killed = killed + 1 end
      fixture.check_library(library)
    end
    local rest = query("SELECT state FROM locations")[1]
    if rest then assert.equal(0, location("remove", tree).status) end
    assert.same({ { "0", "0", "0" } }, query("SELECT (SELECT count(*) FROM entry),"
      .. " (SELECT count(*) FROM directory), (SELECT count(*) FROM location)"))
    print(("removal: killed %d times"):format(killed))
  end)

  it("is left alone until its removal has come to its end", function()
    assert.equal("removing", stop_removal())
    for _, result in ipairs { index(), index(nil, "--fresh"),
      location("set", tree, "--mode", "deep"),
      sdlua("run", "indexer", tree, "--library", library) } do
      assert.equal(1, result.status, result.err)
      assert.is_truthy(result.err:find(tree .. " is being removed", 1, true), result.err)
    end
    assert.equal(1, sdlua("verify", tree, "--library", library).status)
    assert.same({ { "removing" } }, query("SELECT state FROM locations"))
    succeeds(location("remove", tree))
    fixture.check_settled(library)
    assert.equal(0, index(nil, "--mode", "shallow").status)
    assert.equal(0, index(nil, "--mode", "shallow").status)
    assert.same({ { "complete", "18305" } },
      query("SELECT state, (SELECT count(*) FROM entries) FROM locations"))
    fixture.check_library(library)
  end)

  -- The process was killed after the location had gone, and before its job had ended; then the same
  -- tree became a location again.
  it("is not removed by the job that removed its predecessor", function()
    assert.equal("removing", stop_removal())
    fixture.sh(("sqlite3 %s/library.db \"UPDATE location SET state = 'new'\""):format(library))
    assert.equal(0, index(nil, "--mode", "shallow").status)
    local before = query("SELECT path, uuid FROM entries ORDER BY 1")
    local result = location("remove", tree)
    assert.equal(1, result.status, result.err)
    assert.is_truthy(result.err:find("was added again", 1, true), result.err)
    assert.same(before, query("SELECT path, uuid FROM entries ORDER BY 1"))
    succeeds(location("remove", tree))
    assert.same({ { "0", "0", "0" } }, query("SELECT (SELECT count(*) FROM entry),"
      .. " (SELECT count(*) FROM directory), (SELECT count(*) FROM location)"))
  end)

  it("stays while a job waits that has not written anything", function()
    assert.equal(0, index().status)
    jobs.with(dir, function(queue)
      queue:dispatch_by_name("indexer", { root = tree }, { run_at = os.time() + 86400 })
    end)
    fixture.sh("mkdir " .. dir .. "/moved")
    for _, result in ipairs { location("remove", tree),
      location("set", tree, "--root", dir .. "/moved") } do
      assert.equal(1, result.status, result.err)
      assert.is_truthy(result.err:find("a job of this location has not ended", 1, true), result.err)
    end
    assert.same({ { "complete", "5" } },
      query("SELECT state, (SELECT count(*) FROM entries) FROM locations"))
  end)

  -- What repeats, as name and the path that it is about, by number.
  local function repeating()
    local list = json.decode(succeeds(sdlua("job", "schedules", "--library", library, "--json")))
    for i, one in ipairs(list) do list[i] = { one.name, one.args.root or one.args.photos } end
    return list
  end

  it("takes what repeats for it to its new root, and drops it when it goes", function()
    local other, moved, script = dir .. "/other", dir .. "/moved", dir .. "/own.lua"
    fixture.write(script, [[
      local sd = require "sd"
      local J = sd.job.define { name = "own", args = {
        photos = sd.arg.path { location = true, positional = true, required = true },
        beside = sd.arg.path {} } }
      function J:run() end
      return J]])
    fixture.sh("mkdir " .. other)
    local function again(...) succeeds(sdlua(...)) end
    for _, path in ipairs { tree, other } do
      again("index", path, "--library", library, "--repeat", "every 1h")
    end
    again("run", "verify", tree, "--library", library, "--repeat", "every 1h")
    again("run", script, tree, "--library", library, "--repeat", "every 1h")
    again("run", script, other, "--beside", tree, "--library", library, "--repeat", "every 1h")
    assert.equal(0, index().status)
    fixture.sh(("mv %s %s"):format(tree, moved))
    local result = location("set", tree, "--root", moved)
    succeeds(result)
    assert.equal("sdlua: 3 jobs repeat, now at the new root\n", result.err)
    assert.same({ { "indexer", moved }, { "indexer", other }, { "verify", moved },
      { "own", moved }, { "own", other } }, repeating())
    result = location("remove", moved, "--json", "--progress", "plain")
    assert.equal(3, json.decode(succeeds(result)).schedules)
    assert.is_truthy(result.err:find("3 jobs repeated for this location", 1, true), result.err)
    assert.same({ { "indexer", other }, { "own", other } }, repeating())
  end)

  it("is run at its new root by a runner that lives", function()
    assert.equal(0, index().status)
    local server = fixture.start { fixture.sdlua, "serve", "--library", library }
    repeat local there = uv.fs_stat(library .. "/library.sock") until there or server:sleep(20)
    succeeds(index(nil, "--repeat", "every 3s"))
    fixture.sh(("mv %s %s/moved"):format(tree, dir))
    succeeds(location("set", tree, "--root", dir .. "/moved"))
    local ended = "SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL"
    repeat until tonumber(query(ended)[1][1]) >= 2 or server:sleep(50)
    server:kill("sigterm")
    assert.equal(143, (server:wait()))
    assert.same({ { "completed" } }, query("SELECT DISTINCT status FROM jobs"))
    assert.same({ { dir .. "/moved" } }, query("SELECT root FROM locations"))
  end)

  it("says what is wrong", function()
    local missing = location("show", "nowhere")
    assert.equal(10, missing.status, missing.err) -- no library
    decoded("add", tree)
    assert.equal(1, location("show", "nowhere").status)
    assert.equal(1, location("add", tree .. "/2").status) -- no directory
    assert.equal(2, location("frobnicate").status)
    assert.equal(10, sdlua("location", "remove", "x", "--library", dir .. "/none").status)
  end)
end)
