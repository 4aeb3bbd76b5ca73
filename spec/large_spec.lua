-- Directories that are read in parts, with sub-directories in every part: none may be walked twice.
local fixture = require "support.fixture"
local uv = require "sd.core".luv

local dir, tree, library, jobs

-- The indexer with a commit for each batch; where DIE_AT is set, the process dies when so many are
-- done.
local PRELUDE = [[
do
  local left = tonumber(os.getenv "DIE_AT")
  local methods = debug.getregistry()["sd.library"].__index
  local commit = methods.commit
  methods.commit = function(...)
    local counts, message, code = commit(...)
    left = left and left - 1
    if left == 0 then require "sd.core".sys.exit_now(9) end
    return counts, message, code
  end
end
]]

local function make_jobs()
  local text = fixture.read(os.getenv("SDLUA_HOME") .. "/jobs/indexer.lua")
  local n
  text, n = text:gsub("COMMIT_ROWS, COMMIT_SECONDS = 20000, 0.25",
    "COMMIT_ROWS, COMMIT_SECONDS = 1, 0")
  assert.equal(1, n)
  fixture.sh("mkdir " .. jobs)
  fixture.write(jobs .. "/indexer.lua", PRELUDE .. text)
end

-- Names cost little, inodes do not: links of one file, and directories before and behind them.
local function make_tree(path)
  fixture.sh(("mkdir -p %s && cd %s && : >f0 && seq -f 'a%%.0f/x/y' 200 | xargs mkdir -p")
    :format(path, path))
  for i = 1, 4000 do assert(uv.fs_link(path .. "/f0", path .. "/f" .. i)) end
  fixture.sh(("cd %s && seq -f 'z%%.0f/x/y' 200 | xargs mkdir -p"):format(path))
end

local function index(die_at)
  return fixture.run({ fixture.sdlua, "index", "--library", library, "--progress", "none",
    "--mode", "shallow", "--batch", "500", "--json", tree },
    ("SDLUA_JOBS=%s DIE_AT=%s"):format(jobs, die_at or ""))
end

-- A library that knows the empty tree; then the tree is filled. Names of the library's own file are
-- left out, and that is noted.
local function begin()
  fixture.sh(("rm -rf %s %s/big/own*"):format(library, tree))
  fixture.sh(("mv %s/big %s/away 2>/dev/null; true"):format(tree, dir))
  assert.equal(0, index().status)
  fixture.sh(("mv %s/away %s/big"):format(dir, tree))
  for i = 1, 30 do
    assert(uv.fs_link(library .. "/library.db", ("%s/big/own%d"):format(tree, i)))
  end
end

local function check_complete(result)
  assert.equal(0, result.status, result.err)
  fixture.check_library(library)
  fixture.check_settled(library)
  local found = fixture.find(tree)
  for path in pairs(found) do
    if path:find("^big/own") then found[path] = nil end
  end
  assert.same({}, fixture.differences(fixture.entries(library), found))
  local orphans = fixture.sql(library, "SELECT count(*) FROM directory WHERE entry_id NOT IN"
    .. " (SELECT id FROM entry)")
  assert.equal("0", orphans[1][1])
  assert.truthy(result.out:find('"skipped":%s*{%s*"library":%s*30%s*}'), result.out)
end

before_each(function()
  dir = fixture.temp()
  tree, library, jobs = dir .. "/tree", dir .. "/library", dir .. "/jobs"
  make_jobs()
  make_tree(tree .. "/big")
end)

after_each(function() fixture.remove(dir) end)

describe("a directory that is read in parts", function()
  it("is complete when the process died after any commit", function()
    local deaths, died = 0, true
    while died do
      begin()
      local result = index(deaths + 1)
      died = result.status == 9
      if died then
        deaths = deaths + 1
        result = index()
      end
      check_complete(result)
    end
    print(("\nlarge_spec: %d deaths"):format(deaths))
    assert.is_true(deaths > 5)
  end)

  it("is complete when queues keep little in memory", function()
    local text = fixture.read(jobs .. "/indexer.lua")
    fixture.write(jobs .. "/indexer.lua", [[
      local methods = require "sd.core".queue.methods
      local evict = methods.evict
      methods.evict = function(queue) evict(queue, 8) end
    ]] .. text)
    make_tree(tree .. "/big/a1/other")
    begin()
    check_complete(index())
  end)
end)
