-- Pause, resume and cancel: they take effect soon whatever the job does, and nothing moves
-- afterwards that should not.
local fixture = require "support.fixture"
local sd = require "sd"
local uv = require "sd.core".luv

local slow = fixture.is_sanitized()

local dir

-- In memory where there is such a place: what other processes do to the disk is not the program's.
before_each(function()
  dir = fixture.temp(uv.fs_access("/dev/shm", "W") and "/dev/shm")
end)
after_each(function() fixture.remove(dir) end)

local function define(name, run)
  local Job = sd.job.define { name = name }
  Job.run = run
  return Job
end

-- Runs fn(jobs, library) with an open library.
local function with_jobs(fn)
  return sd.run(function()
    local library <close> = assert(sd.library.open(dir .. "/library", { create = true }))
    return fn(library.jobs, library)
  end)
end

-- Scenario: a parent waits for children; it is paused and resumed faster than those which are just
-- being started come to rest. Whoever was asked to pause late must not stay paused.
describe("pausing and resuming in quick succession", function()
  it("leaves no child behind", function()
    local Child = define("child", function(_, ctx)
      for _ = 1, 5 do ctx:check_interrupt() ctx:sleep(0.001) end
    end)
    local Parent = define("parent", function(_, ctx)
      local state = ctx:state(function() return { given = 0 } end)
      while state.given < 60 do
        state.given = state.given + 1
        ctx:spawn_child(Child {})
        if state.given % 7 == 0 then ctx:commit() end
        ctx:check_interrupt()
      end
      return { children = #ctx:wait_for_children() }
    end)
    local seed = fixture.seed("pausing")
    local rounds = slow and 30 or 150
    with_jobs(function(jobs)
      local handle = jobs:dispatch(Parent {})
      local paused = 0
      for _ = 1, rounds do
        sd.sleep(math.random() < 0.5 and 0 or math.random() * 0.004)
        handle:pause()
        if math.random() < 0.5 then handle:wait() end
        if handle.status == "paused" then paused = paused + 1 end
        handle:resume()
      end
      local waiter = sd.spawn(handle.wait, handle)
      for _ = 1, 600 do
        if waiter.done then break end
        sd.sleep(0.05)
      end
      assert.equal("completed", handle.status, "SD_SEED=" .. seed)
      assert.equal(60, handle:output().children)
      assert.is_true(paused > 0)
    end)
  end)

  -- Scenario: the commit that makes the children is the one that the pause ends with.
  it("lets nothing below a paused job run", function()
    local ran, handle = 0, nil
    local Child = define("child", function() ran = ran + 1 end)
    local Parent = define("parent", function(_, ctx)
      local state = ctx:state(function() return { given = false } end)
      if not state.given then
        state.given = true
        for _ = 1, 5 do ctx:spawn_child(Child {}) end
        handle:pause()
        ctx:check_interrupt()
      end
      return #ctx:wait_for_children()
    end)
    with_jobs(function(jobs, library)
      handle = jobs:dispatch(Parent {})
      handle:wait()
      assert.equal("paused", handle.status)
      jobs.scheduler:kick()
      sd.sleep(0.2)
      assert.equal(0, ran)
      local status = library.db:query("SELECT status, count(*) AS n FROM jobs GROUP BY status")
      assert.equal(1, #status)
      assert.same({ status = "paused", n = 6 }, status[1])
      handle:resume()
      assert.equal(5, handle:wait())
      assert.equal(5, ran)
    end)
  end)
end)

describe("a job that is cancelled", function()
  -- Scenario: the scheduler takes the job while it is being cancelled; each round cancels a little
  -- later.
  it("while it is being started does not run on", function()
    local ended, started = 0, 0
    local Job = define("job", function(_, ctx)
      started = started + 1
      ctx:checkpoint()
      ctx:sleep(0.05) -- longer than a cancellation takes, and shorter than the marker
      ended = ended + 1
    end)
    with_jobs(function(jobs, library)
      local round = 0
      repeat
        round = round + 1
        local handle = jobs:dispatch(Job {})
        for _ = 1, round % 8 do coroutine.yield() end
        if round > 64 then sd.sleep(round * 0.0001) end -- no thread was that quick: it is busy here
        handle:cancel()
        assert.equal("cancelled", handle.status)
      until round >= 64 and started > 0
      local marker = jobs:dispatch(define("marker", function(_, ctx) ctx:sleep(0.1) end) {})
      marker:wait()
      assert.equal(1, #library.db:query("SELECT 1 FROM jobs WHERE status = 'completed'"))
    end)
    assert.equal(0, ended)
  end)

  it("takes all below it along, in one commit", function()
    local moved = 0
    local Child = define("child", function(_, ctx)
      while true do
        ctx:sleep(0.001)
        moved = moved + 1
      end
    end)
    local Parent = define("parent", function(_, ctx)
      for _ = 1, 100 do ctx:spawn_child(Child {}) end
      ctx:wait_for_children()
    end)
    with_jobs(function(jobs, library)
      local handle = jobs:dispatch(Parent {})
      repeat sd.sleep(0.001) until moved > 0
      handle:cancel()
      local before = moved
      sd.sleep(0.05)
      assert.equal(before, moved)
      local rows = library.db:query("SELECT status, count(*) AS n FROM jobs GROUP BY 1")
      assert.equal(1, #rows)
      assert.same({ status = "cancelled", n = 101 }, rows[1])
      local reasons = library.db:query("SELECT error, count(*) AS n FROM jobs GROUP BY 1")
      assert.same({ n = 1 }, reasons[1])
      assert.same({ error = "its parent, job 1, has ended", n = 100 }, reasons[2])
    end)
    fixture.check_nothing_left(dir .. "/library")
  end)
end)

-- ---- how soon ----

local LIMIT_MS = slow and 2000 or 200
local ROUNDS = slow and 2 or 5

-- By thread: nanoseconds for which it was ready to run, and other threads had the processors.
local function waits()
  local list = {}
  for name in (function()
    local scan = uv.fs_scandir("/proc/self/task")
    return function() return scan and uv.fs_scandir_next(scan) end
  end)() do
    local file = io.open(("/proc/self/task/%s/schedstat"):format(name))
    local ns = file and file:read("a"):match("^%d+ (%d+)")
    if file then file:close() end
    list[math.tointeger(tonumber(name))] = ns and math.tointeger(tonumber(ns)) or nil
  end
  return list
end

-- Milliseconds that `fn` took; and without those for which other processes kept this one from
-- running: the loop's thread, and the one beside it that waited most.
local function measure(fn)
  local before, from = waits(), uv.hrtime()
  fn()
  local ns, most = uv.hrtime() - from, 0
  local loop = 0
  for thread, waited in pairs(waits()) do
    local more = waited - (before[thread] or 0)
    if thread == uv.os_getpid() then loop = more else most = math.max(most, more) end
  end
  return ns / 1e6, math.max(0, ns - loop - most) / 1e6
end

local function cpu_ms()
  local usage = uv.getrusage()
  return (usage.utime.sec + usage.stime.sec) * 1e3 + (usage.utime.usec + usage.stime.usec) / 1e3
end

local function make_empty_files(folders)
  fixture.sh(([[mkdir %s/tree && cd %s/tree && for i in $(seq %d); do
    mkdir e$i; (cd e$i; seq -f f%%.0f 1000 | xargs touch); done]]):format(dir, dir, folders))
end

local function index(jobs, mode)
  return jobs:dispatch_by_name("indexer", { root = dir .. "/tree", mode = mode })
end

-- Steps of the loop, until the job is where it is to be interrupted.
local function wait_until(handle, condition)
  repeat sd.sleep(0.001) until handle.status ~= "running" and handle.status ~= "queued"
    or handle.ctx and condition(handle.ctx)
end

local function in_phase(phase)
  return function(ctx) return ctx.current and ctx.current.phase == phase end
end

-- What there is to interrupt: `prepare(jobs)`, `start(jobs)` -> handle, `ready(ctx)`.
local CASES = {
  ["while it walks"] = {
    prepare = function(jobs)
      make_empty_files(slow and 20 or 100)
      assert(index(jobs, "shallow"):wait()) -- from now on there is nothing to write
    end,
    start = function(jobs) return index(jobs, "shallow") end,
    ready = in_phase "discovery",
  },
  ["while it writes"] = {
    prepare = function() make_empty_files(slow and 20 or 100) end,
    start = function(jobs)
      fixture.sh(("cd %s/tree && mv e1 f && mv f e1"):format(dir))
      return index(jobs, "shallow")
    end,
    ready = function(ctx) return ctx.commits > 0 and ctx.current.changes.new >= 10000 end,
    fresh = true,
  },
  ["while it hashes 10 GB"] = {
    prepare = function()
      fixture.sh(("mkdir %s/tree && truncate -s 10G %s/tree/sparse"):format(dir, dir))
    end,
    start = function(jobs) return index(jobs, "deep") end,
    ready = in_phase "content_identification",
  },
  ["while it waits for children"] = {
    start = function(jobs)
      local Child = define("child", function(_, ctx)
        while true do
          ctx:sleep(0.01)
          ctx:checkpoint()
        end
      end)
      return jobs:dispatch(define("parent", function(_, ctx)
        for _ = 1, 50 do ctx:spawn_child(Child {}) end
        ctx:wait_for_children()
      end) {})
    end,
    ready = function(ctx) return #ctx.child_waiters > 0 end,
  },
}

local ACTIONS = {
  pause = function(handle)
    handle:pause()
    handle:wait()
    return "paused"
  end,
  cancel = function(handle)
    handle:cancel()
    return "cancelled"
  end,
}

-- One interruption; its milliseconds.
local function interrupt(case, action, jobs)
  local handle = case.start(jobs)
  wait_until(handle, case.ready)
  sd.sleep(math.random() * 0.02)
  assert.equal("running", handle.status, "it ended before it was interrupted")
  local expected
  local wall, ms = measure(function() expected = action(handle) end)
  assert.equal(expected, handle.status)
  local before = cpu_ms()
  sd.sleep(0.1)
  local after = cpu_ms() - before
  assert.is_true(after < (slow and 500 or 50), ("%.0f ms of work afterwards"):format(after))
  handle:cancel()
  return wall, ms
end

for when, case in pairs(CASES) do
  for name, action in pairs(ACTIONS) do
    it(("%s takes effect within 200 ms %s"):format(name, when), function()
      fixture.seed("steering")
      local walls, worst = {}, 0
      local function round(jobs)
        local wall, ms = interrupt(case, action, jobs)
        walls[#walls + 1] = ("%.0f"):format(wall)
        worst = math.max(worst, ms)
      end
      with_jobs(function(jobs)
        if case.prepare then case.prepare(jobs) end
        if not case.fresh then for _ = 1, ROUNDS do round(jobs) end end
      end)
      for _ = 1, case.fresh and ROUNDS or 0 do
        fixture.sh(("rm -rf %s/library"):format(dir))
        with_jobs(round)
      end
      print(("%s %s: %s ms"):format(name, when, table.concat(walls, ", ")))
      assert.is_true(worst <= LIMIT_MS, ("%.0f ms"):format(worst))
    end)
  end
end
