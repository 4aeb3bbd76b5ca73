-- Random commands and kills against a runner that indexes with sub-jobs: nothing is lost, nothing
-- is run twice, and in the end the index is that of an undisturbed run. SD_CHAOS says how many
-- commands (default 100), SD_SEED repeats them.
local fixture = require "support.fixture"
local remote = require "sd.remote"
local sd = require "sd"

local COMMANDS = math.tointeger(tonumber(os.getenv("SD_CHAOS"))) or 100

local dir, tree, library, jobs, runner

-- The indexer, with sub-jobs for nearly every directory.
local function eager_indexer()
  local text, n = fixture.read(require "sd.root" .. "/jobs/indexer.lua"):gsub(
    "return #state%.dirs_to_walk > 10 and state%.stats%.dirs > 100 and depth and[^\n]+",
    "return #state.dirs_to_walk > 2 and state.stats.dirs > 5 and depth and above < 99")
  assert.equal(1, n)
  -- Commits come often, so that there are many moments to be stopped at.
  text, n = text:gsub("COMMIT_ROWS, COMMIT_SECONDS = 20000, 0.25",
    "COMMIT_ROWS, COMMIT_SECONDS = 40, 0.01")
  assert.equal(1, n)
  return text
end

setup(function()
  fixture.seed("chaos_spec")
  dir = fixture.temp()
  tree, library, jobs = dir .. "/tree", dir .. "/library", dir .. "/jobs"
  fixture.sh(("mkdir %s %s"):format(tree, jobs))
  fixture.write(jobs .. "/indexer.lua", eager_indexer())
  for i = 1, 40 do
    for k = 1, 5 do
      local folder = ("%s/d%d/e%d"):format(tree, i, k)
      fixture.sh("mkdir -p " .. folder)
      for f = 1, 12 do
        fixture.write(("%s/f%d.txt"):format(folder, f), ("%d\n"):format(i * k % 17):rep(f * 9))
      end
    end
  end
end)

teardown(function()
  if runner then runner:kill("sigkill") end
  fixture.remove(dir)
end)

local function environment()
  local list = { "SDLUA_JOBS=" .. jobs, "PATH=" .. os.getenv("PATH"),
    "SDLUA_HOME=" .. require "sd.root" }
  for _, name in ipairs { "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "HOME" } do
    if os.getenv(name) then list[#list + 1] = ("%s=%s"):format(name, os.getenv(name)) end
  end
  return list
end

local function start_runner()
  runner = fixture.start({ fixture.sdlua, "serve", "--library", library },
    { err = dir .. "/err", env = environment() })
end

-- Calls fn(there) with a connection to the runner, which is started where there is none.
local function with_runner(fn)
  return sd.run(function()
    for _ = 1, 400 do
      if not runner or runner.exit then start_runner() end
      local there = remote.connect(library, 0)
      if there then
        local guard <close> = there
        return fn(there, guard)
      end
      runner:sleep(25)
    end
    error("no runner comes up: " .. fixture.read(dir .. "/err"))
  end)
end

local OPTIONS = { root = nil, mode = "content", batch = 7, chunk = 3 }

local function start(there)
  OPTIONS.root = tree
  there:call("start", { script = jobs .. "/indexer.lua", args = OPTIONS, match = { "root" } })
end

local function pick(list) return list[math.random(#list)] end

local function steer(verb)
  return function(there)
    local list = there:call("list", {})
    if #list > 0 then pcall(there.call, there, verb, { id = pick(list).id }) end
  end
end

local function end_runner(signal)
  return function()
    runner:kill(signal)
    runner:wait()
    runner = nil
  end
end

local COMMANDS_BY_WEIGHT = {
  { 30, start }, { 20, steer "pause" }, { 30, steer "resume" }, { 4, steer "cancel" },
  { 10, end_runner "sigkill" }, { 4, end_runner "sigterm" },
}

local function random_command()
  local sum = 0
  for _, one in ipairs(COMMANDS_BY_WEIGHT) do sum = sum + one[1] end
  local at = math.random() * sum
  for _, one in ipairs(COMMANDS_BY_WEIGHT) do
    at = at - one[1]
    if at <= 0 then return one[2] end
  end
  return start
end

local function sql(query) return fixture.sql(library, query) end

-- Resumes what is paused, until nothing is open.
local function finish_all()
  for _ = 1, 600 do
    local open = with_runner(function(there)
      local list = there:call("list", {})
      for _, row in ipairs(list) do
        if row.status == "paused" then pcall(there.call, there, "resume", { id = row.id }) end
      end
      return #list
    end)
    if open == 0 then return end
    runner:sleep(50)
  end
  error("jobs do not end: " .. fixture.sh(("sqlite3 -readonly %s/library.db"
    .. " 'SELECT id, parent_id, status, error FROM job'"):format(library)))
end

local LEGAL = {}
for _, way in ipairs { "new queued", "queued running", "queued paused", "queued cancelled",
  "running queued", "running paused", "running completed", "running failed", "running cancelled",
  "paused queued", "paused running", "paused cancelled" } do LEGAL[way] = true end

local function check_events()
  local seen = {}
  for _, row in ipairs(sql("SELECT coalesce(was, 'new') || ' ' || status, count(*) FROM job_event"
    .. " GROUP BY 1")) do
    assert.is_true(LEGAL[row[1]], row[1])
    seen[#seen + 1] = row[2] .. " " .. row[1]
  end
  -- A chain for each job, that begins and ends once; each attempt is begun once.
  assert.same({}, sql("SELECT job_id FROM (SELECT job_id, was, lag(status) OVER (PARTITION BY"
    .. " job_id ORDER BY id) AS before FROM job_event) WHERE was IS NOT before"))
  assert.same({}, sql("SELECT job_id, attempt FROM job_event WHERE status = 'running'"
    .. " AND was = 'queued' GROUP BY 1, 2 HAVING count(*) > 1"))
  assert.same({}, sql("SELECT job_id FROM job_event WHERE status IN ('completed', 'failed',"
    .. " 'cancelled') GROUP BY 1 HAVING count(*) > 1"))
  assert.same(sql("SELECT DISTINCT job_id FROM job_event ORDER BY 1"),
    sql("SELECT id FROM jobs ORDER BY 1"))
  return seen
end

describe("a runner", function()
  it("that is stopped at every turn loses no job, runs none twice, and makes the same index",
    function()
      local done = 0
      while done < COMMANDS do
        local command = random_command()
        with_runner(command)
        done = done + 1
        if runner then runner:sleep(math.random(0, 60)) end
      end
      with_runner(start)
      finish_all()
      with_runner(start) -- what was cancelled left holes
      finish_all()
      print(("\n%d commands: %s"):format(done, table.concat(check_events(), ", ")))
      -- Who cancels a part of a job lets the whole fail.
      assert.same({}, sql("SELECT name, error FROM jobs WHERE status = 'failed'"
        .. " AND error NOT LIKE 'child job % was cancelled: %'"))
      runner:kill("sigterm")
      assert.equal(143, (runner:wait()))
      runner = nil
      fixture.check_library(library)
      fixture.check_nothing_left(library)
      local fresh = dir .. "/fresh"
      local result = fixture.run_sdlua("index", "--library", fresh, tree)
      assert.equal(0, result.status, result.err)
      assert.equal("", table.concat(fixture.index_differences(library, fresh), "\n"))
    end)
end)
