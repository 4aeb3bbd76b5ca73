-- Jobs that begin again, and what of an attempt counts for the next one.
local fixture = require "support.fixture"
local support = require "support.jobs"
local sd = require "sd"

local define = support.define
local dir

before_each(function() dir = fixture.temp() end)
after_each(function() fixture.remove(dir) end)

local function with_jobs(fn) return support.with(dir, fn) end

local function sql(query) return fixture.sql(dir .. "/library", query) end

describe("a job", function()
  it("has all its retries though it was interrupted before", function()
    local n, failing = 0, false
    local Job = define({ name = "shaky", retries = 2, retry_delay = 0.01 }, function(_, ctx)
      n = n + 1
      if failing then error(sd.failure.new("no", "EIO"), 0) end
      ctx:sleep(60)
    end)
    for i = 1, 5 do -- as if its process had died
      with_jobs(function(jobs)
        if i == 1 then jobs:dispatch(Job()) else jobs:resume_row(
          jobs:unfinished("shaky")[1], jobs:script_of_definition(Job)) end
        repeat sd.sleep(0.005) until n == i
      end)
    end
    with_jobs(function(jobs)
      failing = true
      local handle = jobs:resume_row(jobs:unfinished("shaky")[1], jobs:script_of_definition(Job))
      handle:wait()
      assert.equal("failed", handle.status)
    end)
    assert.equal(5 + 1 + 2, n)
  end)

  it("has its retries once, however many processes try", function()
    local n, at = 0, {}
    local Job = define({ name = "shaky", retries = 3, retry_delay = 0.1 }, function()
      n = n + 1
      at[n] = sd.sys.mono_ns() / 1e9
      error(sd.failure.new("no", "EIO"), 0)
    end)
    local status
    for i = 1, 8 do
      with_jobs(function(jobs)
        local handle
        if i == 1 then handle = jobs:dispatch(Job())
        else
          jobs:script_of_definition(Job)
          handle = jobs:get(1)
          jobs.scheduler:kick()
        end
        repeat sd.sleep(0.005) until n == i and handle.status ~= "running"
        status = handle.status
      end)
      if status == "failed" then break end
    end
    assert.equal("failed", status)
    assert.equal(1 + 3, n)
    assert.is_true(at[4] - at[3] >= 0.3, at[4] - at[3]) -- 0.4 s, give or take a quarter
  end)

  -- How often it is tried where it always ends with `raise`, and what is stored of its error.
  local function attempts(raise)
    local n, handle = 0, nil
    with_jobs(function(jobs)
      local Job = define({ name = "shaky", retries = 2, retry_delay = 0.01 }, function()
        n = n + 1
        raise()
      end)
      handle = jobs:dispatch(Job())
      handle:wait()
      assert.equal("failed", handle.status)
    end)
    return n, sql("SELECT error FROM jobs ORDER BY id DESC LIMIT 1")[1][1]
  end

  it("is tried again where a check fails with a code that may pass", function()
    local n, stored = attempts(function() sd.check(nil, "/x: Input/output error", "EIO") end)
    assert.equal(3, n)
    assert.equal("/x: Input/output error", stored)
    assert.equal(1, (attempts(function() sd.check(nil, "/x: Permission denied", "EACCES") end)))
  end)

  it("is tried again where a function of Lua fails with such an errno", function()
    local n, stored = attempts(function()
      local full <close> = sd.check(io.open("/dev/full", "w"))
      full:setvbuf("no")
      sd.check(full:write("x"))
    end)
    assert.equal(3, n)
    assert.equal("No space left on device", stored)
    assert.equal(1, (attempts(function() sd.check(io.open("/no/such/file")) end)))
  end)

  it("is tried again where the error is a table with such a code", function()
    local n, stored = attempts(function() error { message = "no luck", code = "EIO" } end)
    assert.equal(3, n)
    assert.equal("no luck", stored)
    assert.equal(1, (attempts(function() error { message = "no", code = "EACCES" } end)))
  end)

  it("fails with what its error says, whatever that is", function()
    local function stored(err) return (select(2, attempts(function() error(err, 0) end))) end
    assert.equal("no luck", stored { message = "no luck" })
    assert.equal("own words", stored(setmetatable({}, { __tostring = function()
      return "own words"
    end })))
    assert.equal("an error that is a table", stored { 1, 2 })
    assert.equal("an error that is a function", stored(print))
    assert.equal("an error that is nil", stored(nil))
  end)

  it("passes on what a check finds right", function()
    assert.same({ false, "b", 3 }, { sd.check(false, "b", 3) })
  end)

  it("is tried again at once where somebody asks for it", function()
    local n = 0
    with_jobs(function(jobs)
      local Job = define({ name = "shaky", retry_delay = 600 }, function()
        n = n + 1
        if n == 1 then error(sd.failure.new("no", "EIO"), 0) end
        return "well"
      end)
      local handle = jobs:dispatch(Job())
      repeat sd.sleep(0.005) until n == 1 and handle.status == "queued"
      assert.equal("well", (jobs:resume_row(jobs:unfinished("shaky")[1],
        jobs:script_of_definition(Job)):wait()))
    end)
  end)

  it("fails where it cannot be paused, and leaves its place", function()
    with_jobs(function(jobs)
      local Job = define({ name = "strange", max_concurrent = 1 }, function(_, ctx)
        ctx:state(function() return { f = print } end)
        ctx:sleep(60)
      end)
      local handle = jobs:dispatch(Job())
      repeat sd.sleep(0.005) until handle.status == "running"
      handle:pause()
      local _, err = handle:wait()
      assert.is_truthy(tostring(err):find("a function cannot be stored", 1, true), err)
      repeat sd.sleep(0.005) until next(jobs.running) == nil
    end)
    assert.same({ { "failed" } }, sql("SELECT status FROM jobs"))
  end)

  it("that the library interrupted is paused, and goes on when it is resumed", function()
    with_jobs(function(jobs)
      local full = true
      local Job = define({ name = "full" }, function()
        if full then error(sd.failure.new("disk full", "ENOSPC", sd.failure.EXIT.UNWRITABLE), 0) end
        return "well"
      end)
      local handle = jobs:dispatch(Job())
      handle:wait()
      assert.equal("failed", handle.status)
      repeat sd.sleep(0.005) until next(jobs.running) == nil
      assert.same({ { "paused", "disk full" } }, sql("SELECT status, error FROM jobs"))
      full = false
      assert(jobs:resume(1))
      assert.equal("well", (jobs:get(1):wait()))
    end)
  end)

  it("whose row could not be told goes on when it is resumed, too", function()
    with_jobs(function(jobs, library)
      local full = true
      local Job = define({ name = "full" }, function()
        if full then error(sd.failure.new("disk full", "ENOSPC", sd.failure.EXIT.UNWRITABLE), 0) end
        return "well"
      end)
      local fresh_rows = library.fresh_rows
      function library.fresh_rows(self, text, ...)
        if full and text:find("'paused'", 1, true) then error("disk full", 0) end
        return fresh_rows(self, text, ...)
      end
      jobs:dispatch(Job()):wait()
      repeat sd.sleep(0.005) until next(jobs.running) == nil
      assert.same({ { "running" } }, sql("SELECT status FROM jobs"))
      full = false
      assert(jobs:resume(1))
      assert.equal("well", (jobs:get(1):wait()))
    end)
  end)

  it("that waits for one which failed while its process died is cancelled by the next", function()
    with_jobs(function(jobs)
      local First = define({ name = "first" }, function(_, ctx) ctx:sleep(60) end)
      local Second = define({ name = "second" }, function() end)
      local first = jobs:dispatch(First())
      jobs:dispatch(Second(), nil, { depends_on = { first } })
      repeat sd.sleep(0.005) until first.status == "running"
    end)
    fixture.sh(("sqlite3 %s/library/library.db %s"):format(dir, fixture.quote("INSERT INTO"
      .. " job_history SELECT id, uuid, parent_id, name, version, script, args, NULL, 'failed',"
      .. " priority, NULL, attempt, NULL, NULL, created_at, started_at, created_at, 1, NULL, 'no'"
      .. " FROM job WHERE id = 1; DELETE FROM job WHERE id = 1")))
    with_jobs(function(jobs)
      jobs.scheduler:kick()
      repeat sd.sleep(0.005) until #jobs:list { all = false } == 0
    end)
    assert.same({ { "2", "cancelled", "depends on job 1, which failed" } },
      sql("SELECT id, status, error FROM jobs WHERE id = 2"))
  end)

  it("that goes on after a pause waits for its place, where another one has it", function()
    local goes_on = false
    local function define_heavy(name)
      return define({ name = name, heavy = true }, function(_, ctx)
        local state = ctx:state(function() return { steps = 0 } end)
        while state.steps < 3 or not goes_on do
          state.steps = state.steps + 1
          ctx:sleep(0.005)
        end
        return state.steps
      end)
    end
    with_jobs(function(jobs)
      local first = jobs:dispatch(define_heavy("first")())
      repeat sd.sleep(0.005) until first.status == "running"
      first:pause()
      first:wait()
      local second = jobs:dispatch(define_heavy("second")())
      repeat sd.sleep(0.001) until second.status == "running"
      assert(jobs:resume(first.id))
      assert.equal("queued", first.status)
      goes_on = true
      assert.is_true(second:wait() >= 3)
      assert.is_true(first:wait() >= 3)
    end)
    assert.same({ { "1" } }, sql("SELECT max(n) FROM (SELECT sum((status = 'running')"
      .. " - (was IS 'running')) OVER (ORDER BY id) AS n FROM job_event)"))
    assert.same({ { "2" }, { "1" } }, sql("SELECT attempt FROM job_history ORDER BY id"))
  end)

  it("that was paused still starts not before its time", function()
    with_jobs(function(jobs)
      local at
      local Job = define({ name = "later" }, function() at = sd.sys.wall_ns() / 1e9 end)
      local due = sd.sys.wall_ns() / 1e9 + 1.5
      local handle = jobs:dispatch(Job(), nil, { run_at = due })
      assert(jobs:pause(handle.id))
      assert.equal("paused", handle.status)
      assert(jobs:resume(handle.id))
      handle:wait()
      assert.is_true(at >= due, ("%f s early"):format(due - at))
    end)
  end)

  it("keeps its place until it has ended", function()
    with_jobs(function(jobs)
      local Job = define({ name = "few", max_concurrent = 1, args = { i = sd.arg.integer {} } },
        function(_, ctx) ctx:sleep(0.002) end)
      local list = {}
      for i = 1, 20 do list[i] = jobs:dispatch(Job { i = i }) end
      for _, handle in ipairs(list) do handle:wait() end
    end)
    -- Each line is how many ran after an event.
    assert.same({ { "1" } }, sql("SELECT max(n) FROM (SELECT sum((status = 'running')"
      .. " - (was IS 'running')) OVER (ORDER BY id) AS n FROM job_event)"))
  end)
end)

describe("a job that is not resumable", function()
  it("begins again without the children of its earlier attempts", function()
    local began, finished, killed = 0, 0, false
    local Child = define({ name = "child", args = { i = sd.arg.integer {} } },
      function(self, ctx)
        began = began + 1
        if self.args.i > 1 and not killed then ctx:sleep(60) end
        finished = finished + 1
        return { i = self.args.i }
      end)
    local Job = define({ name = "anew", resumable = false }, function(_, ctx)
      for i = 1, 3 do ctx:spawn_child(Child { i = i }) end
      ctx:commit()
      local seen = {}
      for i, child in ipairs(ctx:wait_for_children()) do seen[i] = child.output.i end
      return seen
    end)
    with_jobs(function(jobs)
      jobs:dispatch(Job())
      repeat sd.sleep(0.005) until began == 3 and finished == 1
      jobs:script_of_definition(Child)
      repeat sd.sleep(0.005) until #jobs:list { all = true, children = true } == 4
        and jobs:list { all = true, children = true }[2].status == "completed"
    end)
    killed = true
    with_jobs(function(jobs)
      jobs:script_of_definition(Child)
      local row = jobs:unfinished("anew")[1]
      assert.same({ 1, 2, 3 }, (jobs:resume_row(row, jobs:script_of_definition(Job)):wait()))
    end)
    assert.equal(4, finished)
    assert.same({ { "cancelled", "2" }, { "completed", "4" } },
      sql("SELECT status, count(*) FROM jobs WHERE name = 'child' GROUP BY 1"))
  end)
end)
