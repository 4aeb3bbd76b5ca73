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
