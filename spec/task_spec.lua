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
end)

local SLOW = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 400000)"
  .. " SELECT count(*) AS n FROM c"

describe("a library that is closed", function()
  -- One query runs, another one waits behind it, and a walk is under way.
  it("resumes nobody before it is closed, and tells everybody afterwards", function()
    prints("closed\nfirst\t400000\tfalse\nsecond\tECANCELED\tfalse\n", ([[
      local lib = assert(sd.library.open(arg[1], { create = true }))
      local function query(name)
        local rows, message, code = lib.db:query("%s")
        print(name, rows and rows[1].n or code, (pcall(lib.db.query, lib.db, "SELECT 1")))
      end
      local first, second = sd.spawn(query, "first"), sd.spawn(query, "second")
      sd.sleep(0.02)
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
