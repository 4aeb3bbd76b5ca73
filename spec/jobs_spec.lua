-- The job system inside one process: what waits and what runs, limits, retries, children, trees
-- that are paused and cancelled.
local fixture = require "support.fixture"
local support = require "support.jobs"
local sd = require "sd"

local define = support.define
local dir

before_each(function() dir = fixture.temp() end)
after_each(function() fixture.remove(dir) end)

local function with_jobs(fn) return support.with(dir, fn) end

local function sql(query) return fixture.sql(dir .. "/library", query) end

-- The ways that statuses went, by how often.
local function events()
  local seen = {}
  for _, row in ipairs(sql("SELECT coalesce(was, 'new') || ' ' || status, count(*) FROM job_event"
    .. " GROUP BY 1")) do seen[row[1]] = math.tointeger(row[2]) end
  return seen
end

describe("what waits", function()
  it("runs in the order of its priority, and what has waited long before what is urgent", function()
    local order = {}
    with_jobs(function(jobs)
      local Job = define({ name = "one", max_concurrent = 1, args = { name = sd.arg.string {} } },
        function(self) order[#order + 1] = self.args.name end)
      jobs.scheduler:hold()
      local list = {}
      for _, priority in ipairs { "low", "normal", "high", "critical" } do
        list[#list + 1] = jobs:dispatch(Job { name = priority }, nil, { priority = priority })
      end
      local old = jobs:dispatch(Job { name = "old" }, nil, { priority = "low" })
      -- As if it had been made two hours ago.
      jobs.library:fresh_rows("UPDATE job SET due_at = due_at - 7200000000000 WHERE id = ?",
        { old.id })
      jobs.scheduler:release()
      for _, handle in ipairs(list) do handle:wait() end
    end)
    assert.same({ "old", "critical", "high", "normal", "low" }, order)
  end)

  it("runs beside others up to the limit of its name", function()
    local running, most, other = 0, 0, nil
    with_jobs(function(jobs)
      local Job = define({ name = "many", max_concurrent = 3, args = { i = sd.arg.integer {} } },
        function(_, ctx)
          running = running + 1
          most = math.max(most, running)
          for _ = 1, 100 do -- until the other one was there, however slow the machine
            ctx:sleep(0.02)
            if other ~= nil then break end
          end
          running = running - 1
        end)
      local Other = define({ name = "other" }, function() other = running > 0 end)
      local list = {}
      for i = 1, 12 do list[i] = jobs:dispatch(Job { i = i }) end
      jobs:dispatch(Other()):wait()
      for _, handle in ipairs(list) do handle:wait() end
    end)
    assert.equal(3, most)
    assert.is_true(other)
  end)

  it("is one heavy job a device", function()
    local running, most = 0, 0
    with_jobs(function(jobs)
      local Job = define({ name = "heavy", heavy = true, args = { path = sd.arg.path {},
        i = sd.arg.integer {} } }, function(_, ctx)
        running = running + 1
        most = math.max(most, running)
        ctx:sleep(0.02)
        running = running - 1
      end)
      local list = {}
      for i = 1, 4 do list[i] = jobs:dispatch(Job { path = dir, i = i }) end
      for _, handle in ipairs(list) do assert(handle:wait()) end
    end)
    assert.equal(1, most)
  end)

  it("starts not before its time", function()
    local began = os.time()
    local at
    with_jobs(function(jobs)
      local Job = define({ name = "later" }, function() at = sd.sys.wall_ns() / 1e9 end)
      local due = sd.sys.wall_ns() / 1e9 + 0.3
      jobs:dispatch(Job(), nil, { run_at = due }):wait()
      assert.is_true(at >= due and at < due + 60, tostring(at - due))
    end)
    assert.is_true(at >= began)
  end)

  it("starts after what it depends on, and not at all where that failed", function()
    local order = {}
    with_jobs(function(jobs)
      local Job = define({ name = "step", args = { name = sd.arg.string {} } }, function(self, ctx)
        ctx:sleep(0.02)
        order[#order + 1] = self.args.name
        if self.args.name == "bad" then error("no", 0) end
      end)
      local first = jobs:dispatch(Job { name = "first" })
      local second = jobs:dispatch(Job { name = "second" }, nil, { depends_on = { first } })
      local bad = jobs:dispatch(Job { name = "bad" }, nil, { depends_on = { second } })
      local never = jobs:dispatch(Job { name = "never" }, nil, { depends_on = { bad } })
      local nor = jobs:dispatch(Job { name = "nor" }, nil, { depends_on = { never } })
      nor:wait()
      assert.equal("cancelled", never.status)
      assert.equal("cancelled", nor.status)
      local late = { depends_on = { bad } }
      local ok, err = pcall(jobs.dispatch, jobs, Job { name = "late" }, nil, late)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("failed", 1, true), tostring(err))
      -- Depending on what is done is no wait at all.
      assert(jobs:dispatch(Job { name = "last" }, nil, { depends_on = { first.id } }):wait())
    end)
    assert.same({ "first", "second", "bad", "last" }, order)
  end)

  it("is there once where it is unique", function()
    local runs, go_on = 0, false
    with_jobs(function(jobs)
      local Job = define({ name = "single", unique = true, args = { i = sd.arg.integer {} } },
        function(_, ctx)
          runs = runs + 1
          while not go_on do ctx:sleep(0.01) end
        end)
      local one, two = jobs:dispatch(Job { i = 1 }), jobs:dispatch(Job { i = 1 })
      local other = jobs:dispatch(Job { i = 2 })
      assert.equal(one, two)
      assert.not_equal(one.id, other.id)
      go_on = true
      one:wait()
      other:wait()
      jobs:dispatch(Job { i = 1 }):wait() -- the first has ended
    end)
    assert.equal(3, runs)
  end)

  it("is refused where an option is none", function()
    with_jobs(function(jobs)
      local Job = define({ name = "x" }, function() end)
      for _, options in ipairs { { priority = "soon" }, { prio = "low" }, { run_at = "now" } } do
        assert.is_false((pcall(jobs.dispatch, jobs, Job(), nil, options)))
      end
    end)
    assert.same({}, events())
  end)
end)

describe("a job that fails", function()
  it("is tried again after a transient error, later each time", function()
    local at = {}
    with_jobs(function(jobs)
      local Job = define({ name = "shaky", retries = 3, retry_delay = 0.05 }, function()
        at[#at + 1] = sd.sys.mono_ns() / 1e9
        if #at < 4 then error(sd.failure.new("the disk was away", "EIO"), 0) end
        return { n = #at }
      end)
      assert.same({ n = 4 }, (jobs:dispatch(Job()):wait()))
    end)
    local before = 0
    for i = 2, 4 do
      local pause = at[i] - at[i - 1]
      assert.is_true(pause >= 0.05 * 2 ^ (i - 2) * 0.75, ("%d: %f"):format(i, pause))
      assert.is_true(pause > before * 0.9)
      before = pause
    end
    assert.same({ ["new queued"] = 1, ["queued running"] = 4, ["running queued"] = 3,
      ["running completed"] = 1 }, events())
  end)

  for code, runs in pairs { EACCES = 1, EFAILED = 1, ENOSPC = 3, ESTALE = 3 } do
    it(("with %s is run %d times"):format(code, runs), function()
      local n = 0
      with_jobs(function(jobs)
        local Job = define({ name = "bad", retries = 2, retry_delay = 0.01 }, function()
          n = n + 1
          error(sd.failure.new("no", code), 0)
        end)
        local _, err = jobs:dispatch(Job()):wait()
        assert.equal(code, err.code)
      end)
      assert.equal(runs, n)
      assert.same({ { "failed", tostring(runs) } }, sql("SELECT status, attempt FROM job_history"))
    end)
  end

  it("goes on from its checkpoint when it is tried again", function()
    with_jobs(function(jobs)
      local Job = define({ name = "steps", retry_delay = 0.01 }, function(_, ctx)
        local state = ctx:state(function() return { n = 0 } end)
        state.n = state.n + 1
        ctx:checkpoint()
        if state.n < 3 then error(sd.failure.new("again", "ETIMEDOUT"), 0) end
        return { n = state.n }
      end)
      assert.same({ n = 3 }, (jobs:dispatch(Job()):wait()))
    end)
  end)

  it("does not build on a commit that failed", function()
    with_jobs(function(jobs, library)
      library.db:exec("CREATE TABLE t(id INTEGER PRIMARY KEY)")
      library.db:exec("INSERT INTO t VALUES(1)")
      local Job = define({ name = "poisoned" }, function(_, ctx)
        local state = ctx:state(function() return { n = 0 } end)
        ctx:checkpoint()
        state.n = 1
        pcall(ctx.commit, ctx, function(tx) tx:exec("INSERT INTO t VALUES(1)") end)
        ctx:commit(function(tx) tx:exec("INSERT INTO t VALUES(2)") end)
      end)
      local _, err = jobs:dispatch(Job()):wait()
      assert.is_truthy(tostring(err):find("UNIQUE", 1, true), tostring(err))
    end)
    assert.same({ { "1" } }, sql("SELECT id FROM t"))
  end)
end)

-- Turns the loop until something is so.
local function wait_for(condition)
  for _ = 1, 20000 do
    if condition() then return end
    sd.sleep(0.003)
  end
  error("it never came", 2)
end

describe("children", function()
  it("begin while their parent works", function()
    local begun = false
    local Child = define({ name = "child" }, function() begun = true end)
    local Job = define({ name = "parent" }, function(_, ctx)
      ctx:spawn_child(Child())
      ctx:commit()
      for _ = 1, 200 do
        if begun then return "seen" end
        ctx:sleep(0.01)
      end
    end)
    with_jobs(function(jobs) assert.equal("seen", (jobs:dispatch(Job()):wait())) end)
  end)

  -- A parent that gives each of its items to a child, in the commit that takes it off the list.
  local function pair(run, options)
    local Child = define({ name = "child", args = { i = sd.arg.integer {} } }, run)
    local Parent = define({ name = "parent" }, function(_, ctx)
      local state = ctx:state(function() return { next = 1 } end)
      while state.next <= 5 do
        ctx:spawn_child(Child { i = state.next }, options)
        state.next = state.next + 1
        ctx:checkpoint()
      end
      local sum, statuses = 0, {}
      for i, child in ipairs(ctx:wait_for_children()) do
        sum = sum + (child.output and child.output.n or 0)
        statuses[i] = child.status
      end
      return { sum = sum, statuses = table.concat(statuses, " ") }
    end)
    return Parent, Child
  end

  it("run, and what they came to is in the parent's hands in order", function()
    local output = with_jobs(function(jobs)
      local Parent = pair(function(self, ctx)
        ctx:sleep(0.01 * (6 - self.args.i))
        return { n = 10 ^ self.args.i // 1 | 0 }
      end)
      return (jobs:dispatch(Parent()):wait())
    end)
    assert.equal(111110, output.sum)
    assert.equal(("completed "):rep(5):sub(1, -2), output.statuses)
    assert.same({ { "5" } }, sql("SELECT count(*) FROM jobs WHERE parent_id = 1"))
  end)

  it("fail their parent, which ends the others", function()
    with_jobs(function(jobs)
      local Parent = pair(function(self, ctx)
        if self.args.i == 3 then error("number three", 0) end
        ctx:sleep(30)
      end)
      local began = sd.sys.mono_ns()
      local _, err = jobs:dispatch(Parent()):wait()
      assert.is_truthy(tostring(err):find("number three", 1, true), tostring(err))
      assert.is_true(sd.sys.mono_ns() - began < 10e9)
    end)
    assert.same({ { "cancelled", "4" }, { "failed", "2" } },
      sql("SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1"))
  end)

  for policy, statuses in pairs { collect = "completed failed completed completed completed",
    ignore = "completed failed completed completed completed" } do
    it(("may fail where that is to be %sed"):format(policy:gsub("e$", "")), function()
      local output = with_jobs(function(jobs)
        local Parent = pair(function(self)
          if self.args.i == 2 then error("two", 0) end
          return { n = 1 }
        end, { on_failure = policy })
        return (jobs:dispatch(Parent()):wait())
      end)
      assert.equal(statuses, output.statuses)
      assert.equal(4, output.sum)
    end)
  end

  it("are waited for also where their parent forgets to", function()
    local done = 0
    with_jobs(function(jobs)
      local Child = define({ name = "child" }, function(_, ctx)
        ctx:sleep(0.05)
        done = done + 1
      end)
      local Parent = define({ name = "parent" }, function(_, ctx)
        for _ = 1, 3 do ctx:spawn_child(Child()) end
      end)
      assert(jobs:dispatch(Parent()):wait())
    end)
    assert.equal(3, done)
  end)

  it("may have children, deeper than there are places", function()
    local depth = 0
    with_jobs(function(jobs)
      local Job
      Job = define({ name = "nested", args = { level = sd.arg.integer {} } }, function(self, ctx)
        depth = math.max(depth, self.args.level)
        if self.args.level < 40 then
          ctx:spawn_child(Job { level = self.args.level + 1 })
          ctx:wait_for_children()
        end
      end)
      assert(jobs:dispatch(Job { level = 1 }):wait())
    end)
    assert.equal(40, depth)
  end)

  it("are paused, resumed and cancelled with their parent", function()
    local ticks = 0
    with_jobs(function(jobs)
      local Child = define({ name = "child" }, function(_, ctx)
        while true do
          ctx:sleep(0.005)
          ticks = ticks + 1
        end
      end)
      local Parent = define({ name = "parent" }, function(_, ctx)
        for _ = 1, 30 do ctx:spawn_child(Child()) end -- more than there are places
        ctx:wait_for_children()
      end)
      local handle = jobs:dispatch(Parent())
      wait_for(function() return ticks > 0 end)
      handle:pause()
      handle:wait()
      assert.equal("paused", handle.status)
      assert.same({ { "paused", "31" } }, sql("SELECT status, count(*) FROM jobs GROUP BY 1"))
      local before = ticks
      sd.sleep(0.1)
      assert.equal(before, ticks)
      handle:resume()
      wait_for(function() return ticks > before end)
      handle:cancel()
      before = ticks
      sd.sleep(0.05)
      assert.equal(before, ticks)
    end)
    assert.same({ { "cancelled", "31" } }, sql("SELECT status, count(*) FROM jobs GROUP BY 1"))
    fixture.check_nothing_left(dir .. "/library")
  end)

  it("go on in a later process, and none runs twice", function()
    local go_on = false
    local function parts()
      return pair(function(self, ctx)
        local state = ctx:state(function() return { written = false } end)
        if not state.written then
          ctx:commit(function(tx)
            tx:exec("INSERT INTO line VALUES(?)", { self.args.i })
            state.written = true
          end)
        end
        while not go_on do ctx:sleep(0.01) end
        return { n = 1 }
      end)
    end
    with_jobs(function(jobs, library)
      library.db:exec("CREATE TABLE line(i INTEGER)")
      jobs:dispatch(parts()())
      local count = "SELECT count(*) AS n FROM line"
      repeat sd.sleep(0.01) until assert(library.db:query(count))[1].n > 2
    end)
    go_on = true
    with_jobs(function(jobs)
      local Parent, Child = parts()
      jobs:script_of_definition(Child)
      local row = jobs:unfinished("parent")[1]
      local handle = jobs:resume_row(row, jobs:script_of_definition(Parent))
      local output = assert(handle:wait())
      assert.equal(5, output.sum)
    end)
    assert.same({ { "5", "5" } }, sql("SELECT count(*), count(DISTINCT i) FROM line"))
    fixture.check_nothing_left(dir .. "/library")
  end)

  it("are asked for with options that exist", function()
    with_jobs(function(jobs)
      local Child = define({ name = "child" }, function() end)
      local Parent = define({ name = "parent" }, function(_, ctx)
        return { pcall(ctx.spawn_child, ctx, Child(), { on_failure = "shrug" }) }
      end)
      local output = jobs:dispatch(Parent()):wait()
      assert.is_false(output[1])
    end)
  end)
end)

describe("a list of jobs", function()
  it("has all of them, unless a limit is given", function()
    with_jobs(function(jobs)
      jobs.scheduler:hold()
      jobs:dispatch(define({ name = "one" })())
      local columns = "name, version, script, script_hash, args, status, priority, due_at,"
        .. " created_at"
      jobs.library:fresh_rows(("INSERT INTO job(uuid, %s) SELECT randomblob(16), %s FROM job,"
        .. " (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
        .. " SELECT i FROM n)"):format(columns, columns))
      assert.equal(1201, #jobs:list { all = false })
      assert.equal(1201, #jobs:list())
      local newest = jobs:list { limit = 3 }
      assert.same({ 3, 1201 }, { #newest, newest[3].id })
    end)
    local function list(...)
      local result = fixture.run_sdlua("job", "list", "--library", dir .. "/library", ...)
      assert.equal(0, result.status, result.err)
      return select(2, result.out:gsub("\n", "")) - 1, result.err -- without the head
    end
    local n, said = list()
    assert.equal(1000, n)
    assert.equal("sdlua: these are the newest 1000; --limit N lists more\n", said)
    assert.same({ 1201, "" }, { list("--limit", "5000") })
    assert.same({ 2, "" }, { list("--limit", "2") })
  end)
end)

describe("the time of a job", function()
  local function look(jobs, id)
    local service = require "sd.service".of(jobs)
    local list = service:call("list", { all = true })
    local shown = service:call("show", { id = id })
    for _, row in ipairs(list) do
      if row.id == id then
        assert.equal(row.duration_ns == nil, shown.duration_ns == nil)
        local line = require "sd.cli.job_table".lines({ row }):match("\n(.*)$")
        return row.duration_ns and row.duration_ns / 1e9, line
      end
    end
  end

  it("is the time that it has worked, whether it is open or has ended", function()
    with_jobs(function(jobs)
      local go_on = false
      local Job = define({ name = "works" }, function(_, ctx)
        ctx:sleep(0.3)
        ctx:commit()
        while not go_on do ctx:sleep(0.01) end
      end)
      local handle = jobs:dispatch(Job())
      repeat sd.sleep(0.01) until (look(jobs, handle.id) or 0) > 0.3 -- it grows
      handle:pause()
      handle:wait()
      local paused = look(jobs, handle.id)
      sd.sleep(0.4)
      local later, line = look(jobs, handle.id)
      assert.is_true(later - paused < 0.1, ("%g, %g"):format(paused, later))
      assert.matches("%d  works  paused  normal +0%.%d+ s$", line)
      go_on = true
      handle:resume()
      handle:wait()
      local ended = look(jobs, handle.id)
      assert.is_true(ended >= paused and ended < paused + 0.3, ("%g, %g"):format(paused, ended))
    end)
  end)

  it("is nothing where it never ran", function()
    with_jobs(function(jobs)
      jobs.scheduler:hold()
      local seconds, line = look(jobs, jobs:dispatch(define({ name = "waits" })()).id)
      assert.is_nil(seconds)
      assert.matches("waits  queued  normal$", line)
    end)
  end)
end)

describe("many small jobs", function()
  local ROUNDS = 5

  -- The best of several, by the clock and by the processor: the machine is busy.
  local function best_ms(rounds, fn)
    local best, busy = math.huge, math.huge
    for _ = 1, rounds do
      local began, worked = sd.sys.mono_ns(), sd.sys.process_ns()
      fn()
      best = math.min(best, (sd.sys.mono_ns() - began) / 1e6)
      busy = math.min(busy, (sd.sys.process_ns() - worked) / 1e6)
    end
    return best, busy
  end

  it("are dispatched by thousands a second, listed at once, and all run", function()
    local slow = fixture.is_sanitized()
    local ran, n, N = 0, 0, slow and 500 or 10000
    local before, took, worked, listed = sd.sys.max_rss(), nil, nil, nil
    with_jobs(function(jobs)
      local Job = define({ name = "tiny", args = { i = sd.arg.integer {} } }, function()
        ran = ran + 1
      end)
      local last
      jobs.scheduler:hold()
      took, worked = best_ms(ROUNDS, function()
        for _ = 1, N // ROUNDS do
          n = n + 1
          last = jobs:dispatch(Job { i = n })
        end
      end)
      listed = best_ms(ROUNDS, function()
        assert.equal(math.min(N, 1000), #jobs:list { limit = 1000 })
      end)
      jobs.scheduler:release()
      repeat last:wait() until last.status == "completed"
      while jobs:list({ limit = 1 })[1] do sd.sleep(0.05) end
    end)
    assert.equal(N, ran)
    assert.same({ { tostring(N) } }, sql("SELECT count(*) FROM jobs WHERE status = 'completed'"))
    local rate, able = N / ROUNDS / took * 1000, N / ROUNDS / worked * 1000
    local grown = (sd.sys.max_rss() - before) / 1048576
    print(("\n%d jobs: %.0f dispatched a second, %.0f a second of the processor, 1000 listed in"
      .. " %.0f ms, %.0f MiB more"):format(N, rate, able, listed, grown))
    if slow then return end
    -- What others leave of the processors says more of them than of us; but nothing may wait long.
    assert.is_true(able > 5000, ("%.0f dispatched a second of the processor"):format(able))
    assert.is_true(rate > 1000, ("%.0f dispatched a second"):format(rate))
    assert.is_true(listed < 50, ("1000 listed in %.0f ms"):format(listed))
    assert.is_true(grown < 32, ("%.0f MiB more"):format(grown))
  end)
end)
