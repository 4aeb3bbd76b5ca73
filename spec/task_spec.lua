-- Coroutines of the loop at their ends: each script runs in a process of its own, for what is wrong
-- here ends a process.
local fixture = require "support.fixture"

local dir

before_each(function() dir = fixture.temp() end)
after_each(function() fixture.remove(dir) end)

local function run(body)
  fixture.write(dir .. "/script.lua", ([[
    local sd = require "sd"
    local core = require "sd.core"
    sd.run(function()
      %s
    end)
    print "ended"
  ]]):format(body))
  return fixture.run_sdlua(dir .. "/script.lua", dir .. "/library")
end

-- The same with a job whose run(self, ctx) is `body`.
local function run_job(body, more)
  return run(([[
    local lib = assert(sd.library.open(arg[1], { create = true }))
    local Job = sd.job.define { name = "job" }
    function Job:run(ctx)
      %s
    end
    local handle = lib.jobs:dispatch(Job {})
    %s
    handle:wait()
  ]]):format(body, more or ""))
end

local function prints(expected, body)
  local result = run(body)
  assert.equal("", result.err)
  assert.equal(expected .. "ended\n", result.out)
  assert.equal(0, result.status)
end

describe("a coroutine", function()
  -- Ended before it ran, then collected, then its turn comes.
  it("may be ended and collected while its turn is still to come", function()
    prints("", [[
      local function go()
        for _ = 1, 100 do sd.spawn(function() end):cancel() end
      end
      go()
      collectgarbage()
      collectgarbage()
      local fill = {}
      for i = 1, 2000 do fill[i] = tostring(i):rep(40) end
      sd.sleep(0.01)
    ]])
  end)

  -- Opens luv, sets a timer, ends and is collected; then the timer calls back.
  it("may end before the timers that it was the first to set", function()
    prints("fired\n", [[
      local function go()
        local task = sd.spawn(function()
          core.luv.new_timer():start(20, 0, function() print "fired" end)
        end)
        task:join()
      end
      go()
      collectgarbage()
      collectgarbage()
      local fill = {}
      for i = 1, 20000 do fill[i] = ("A"):rep(100 + i % 300) .. i end
      sd.sleep(0.1)
    ]])
  end)

  it("may be ended after it was woken", function()
    prints("", [[
      local thread
      local task = sd.spawn(function()
        thread = coroutine.running()
        core.park()
        print "not reached"
      end)
      sd.sleep(0.01)
      core.wake(thread)
      task:cancel()
      thread, task = nil, nil
      collectgarbage()
      sd.sleep(0.01)
    ]])
  end)

  it("cannot end itself, nor from within a coroutine of its own", function()
    prints("false\tfalse\ttrue\n", [[
      local thread = coroutine.running()
      local direct = pcall(core.close, thread)
      local inner = coroutine.wrap(function() return (pcall(core.close, thread)) end)()
      print(direct, inner, (pcall(core.close, coroutine.create(print))))
    ]])
  end)

  it("may not wait where it is closed after an error", function()
    prints("false\tfalse\n", [[
      local waited
      local task = sd.spawn(function()
        local guard <close> = setmetatable({}, { __close = function()
          waited = pcall(core.park)
        end })
        error("on purpose", guard and 0)
      end)
      print(task:join() and true or false, waited)
    ]])
  end)

  -- ThreadSanitizer would run out of its stack of calls: runtime/host/tsan.c.
  it("may wait as often as it likes", function()
    prints("100000\n", [[
      local n = 0
      for _ = 1, 100000 do sd.sleep(0) n = n + 1 end
      print(n)
    ]])
  end)
end)

local SLOW = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2000000)"
  .. " SELECT count(*) AS n FROM c"

describe("a library that is closed", function()
  -- One query runs, another one waits behind it, and a walk is under way.
  it("resumes nobody before it is closed, and tells everybody afterwards", function()
    prints("closed\nfirst\t2000000\tfalse\nsecond\tECANCELED\tfalse\n", ([[
      local lib = assert(sd.library.open(arg[1], { create = true }))
      local function query(name)
        local rows, message, code = lib.db:query("%s")
        print(name, rows and rows[1].n or code, (pcall(lib.db.query, lib.db, "SELECT 1")))
      end
      local first, second = sd.spawn(query, "first"), sd.spawn(query, "second")
      sd.sleep(0.2)
      lib:close()
      print "closed"
      first:join()
      second:join()
    ]]):format(SLOW))
  end)

  it("ends with an error who waits for a walk", function()
    prints("closed\nfalse\tthe library is closed\n", [[
      local lib = assert(sd.library.open(arg[1], { create = true }))
      local queue = core.queue.new("dirs")
      local walker = assert(core.walker.open(lib.core, { root = "/usr", root_id = 1, queue = queue,
        batch = 65536 }))
      walker:push_root()
      local task = sd.spawn(function() return walker:next() end)
      local other = sd.spawn(function() sd.sleep(0) lib:close() print "closed" end)
      other:join()
      local ok, message = task:join()
      print(ok, message:match("%d: ([^\n]*)"))
    ]])
  end)

  it("may be left open with a job at work when a script fails", function()
    fixture.write(dir .. "/endless.lua", [[
      local sd = require "sd"
      local Job = sd.job.define { name = "endless" }
      function Job:run(ctx)
        local state = ctx:state(function() return { n = 0 } end)
        while true do
          ctx:commit(function() state.n = state.n + 1 end)
          ctx:library_db():query("SELECT 1")
        end
      end
      return Job
    ]])
    local result = run(([[
      local lib = assert(sd.library.open(arg[1], { create = true }))
      lib.jobs:dispatch_by_name("%s/endless.lua", {})
      sd.sleep(0.05)
      error "on purpose"
    ]]):format(dir))
    assert.equal(1, result.status, result.err)
    assert.truthy(result.err:find("on purpose", 1, true), result.err)
  end)
end)

describe("commits of a job that are under way at the same time", function()
  -- The first one fails. What it took from the queue is in neither commit: the second one must not
  -- make that durable. Other jobs go on, and so does this one when nothing is under way any more.
  it("fail with the first that fails", function()
    prints("EDAMAGED\tEDAMAGED\ttrue\ttrue\n0\t1\t1\n", [[
      local lib = assert(sd.library.open(arg[1], { create = true }))
      local queue = core.queue.new("q")
      local function commit(job, sql, value)
        if value then queue:push(value) end
        return sd.spawn(function()
          local counts, _, code = lib.core:commit { job_id = job, note_id = job,
            sql = { sql and { sql, own = true } }, queues = { job == 1 and queue or nil } }
          return counts and true or code
        end)
      end
      local first = commit(1, "INSERT INTO job_queue_item VALUES(1, 'q', 100, NULL)", "one")
      local second, other = commit(1, nil, "two"), commit(2, "INSERT INTO job_log"
        .. " VALUES(1, 2, 0, 'info', 'x')")
      local _, a = first:join()
      local _, b = second:join()
      local _, c = other:join()
      local count = "SELECT count(*) AS n FROM "
      local before = lib:fresh_rows(count .. "job_queue_item")[1].n
      local _, d = commit(1, nil, "three"):join()
      print(a, b, c, d)
      print(before, lib:fresh_rows(count .. "job_queue_item")[1].n,
        lib:fresh_rows(count .. "job_log")[1].n)
    ]])
  end)
end)

describe("a batch in a script's hands", function()
  -- The walk's batches in queue "b".
  local WALK = [[
    local location = ctx.library.locations:ensure("/usr/include")
    ctx.library.locations:name_root(location)
    local queue = ctx:queue("b")
    do
      local walker <close> = ctx:walker { root = location.root, root_id = location.entry_id,
        queue = ctx:queue("dirs") }
      walker:push_root()
      ctx:commit(function(tx)
        ctx.library.locations:write_root(tx, location, walker:root_stat())
      end)
      for batch in walker:batches() do queue:push(batch) end
    end
  ]]

  it("cannot be written when its lease was finished", function()
    local result = run_job(WALK .. [[
      local batch, lease = queue:pop()
      queue:finish(lease)
      print(pcall(ctx.commit, ctx, function(tx) tx:write(batch, location) end))
    ]])
    assert.equal("", result.err)
    assert.truthy(result.out:find("^false.*the batch's lease was finished"), result.out)
  end)

  -- The state cannot be stored, so that the checkpoint is not made: the batches wait as before.
  it("is whole after a checkpoint that was not made", function()
    local result = run_job(WALK .. [[
      ctx.current = { bad = print }
      print((pcall(ctx.checkpoint, ctx)))
      ctx.current = nil
      local n, batch = 0, queue:pop()
      ctx:commit()
      while batch do
        local counts = ctx:commit(function(tx) tx:write(batch, location) end)
        n, batch = n + counts.inserted, queue:pop()
      end
      ctx:commit()
      local left = ctx.library:fresh_rows("SELECT count(*) AS n FROM job_queue_item")[1].n
      print(n > 0, left)
    ]])
    assert.equal("", result.err)
    assert.equal("false\ntrue\t0\nended\n", result.out)
  end)
end)

describe("a job", function()
  it("can be paused after branches of branches have failed", function()
    local result = run_job([[
      pcall(ctx.concurrently, ctx, function()
        ctx:concurrently(function() ctx:sleep(60) end, function() ctx:sleep(60) end)
      end, function()
        ctx:sleep(0.01)
        error "on purpose"
      end)
      print "failed"
      ctx:sleep(60)
    ]], [[
      sd.sleep(0.1)
      handle:pause()
      for _ = 1, 200 do
        if handle.status == "paused" then break end
        sd.sleep(0.01)
      end
      print(handle.status)
      lib:close()
      os.exit(0)
    ]])
    assert.equal("failed\npaused\n", result.out, result.err)
  end)
end)

describe("SQL of scripts", function()
  it("neither begins nor ends transactions, nor attaches databases", function()
    prints("nil\tESQL\t0\nnil\tESQL\nnil\tESQL\nnil\tESQL\n1\t1\n", [[
      local lib = assert(sd.library.open(arg[1], { create = true }))
      local db = lib.db
      db:exec("CREATE TABLE my_t(x)")
      local ok, _, code = db:transaction(function(tx)
        tx:exec("INSERT INTO my_t VALUES(1)")
        tx:exec("COMMIT")
        tx:exec("INSERT INTO my_t VALUES(2)")
      end)
      print(ok, code, db:query("SELECT count(*) AS n FROM my_t")[1].n)
      for _, sql in ipairs { "BEGIN", "SAVEPOINT a", "ATTACH 'x' AS x" } do
        local done, _, why = db:exec(sql)
        print(done, why)
      end
      print(db:exec("INSERT INTO my_t VALUES(3)"),
        db:query("SELECT count(*) AS n FROM my_t")[1].n)
    ]])
  end)
end)
