-- What the methods of a runner take, and that nothing else does anything.
local fixture = require "support.fixture"
local sd = require "sd"
local parameters = require "sd.rpc.params"
local service = require "sd.service"

local dir, script

before_each(function()
  dir = fixture.temp()
  script = dir .. "/one.lua"
  fixture.write(script, [[
    local One = require "sd".job.define { name = "one" }
    function One:run() end
    return One
  ]])
end)
after_each(function() fixture.remove(dir) end)

-- Runs fn(methods, jobs) with an open library.
local function with_methods(fn)
  return sd.run(function()
    local library <close> = assert(sd.library.open(dir .. "/library", { create = true }))
    return fn(service.of(library.jobs):methods(), library.jobs)
  end)
end

local function refused(methods, method, params)
  local ok, err = pcall(methods[method], params)
  assert.is_false(ok, method)
  assert.is_true(sd.failure.is(err), tostring(err))
  assert.same({ "EINVAL", 2 }, { err.code, err.exit }, err.message)
end

-- A value of each kind that a parameter is not of.
local WRONG = {
  string = { 5, true, {} }, boolean = { 0, "true" }, table = { 5, "x" },
  integer = { "x", 1.5, 1e300, true }, count = { -1, "7", 0.5 },
  limit = { -1, "7", true }, days = { -1, "7", true, 0 / 0 },
  time = { "now", 1e300, math.huge, 0 / 0 }, uuid = { "short", 7 },
  priority = { "urgent", 7 }, names = { 5, { 1 }, { x = "y" } }, ids = { 5, { "x" }, { {} } },
}

describe("a method", function()
  it("takes nothing that is of another kind than it says", function()
    local seen = 0
    with_methods(function(methods, jobs)
      jobs:dispatch_by_name(script):wait()
      for method, kinds in pairs(parameters.METHODS) do
        for name, kind in pairs(kinds) do
          for _, value in ipairs(WRONG[kind:match("%a+")]) do
            local params = { script = script, spec = "every 1h", id = 1, text = "1", name = "x",
              root = dir }
            params[name] = value
            refused(methods, method, params)
            seen = seen + 1
          end
        end
      end
      assert.equal(1, #jobs:list())
      assert.same({}, jobs:schedules():all())
    end)
    assert.is_true(seen > 50)
  end)

  it("misses what it needs", function()
    with_methods(function(methods)
      for method, kinds in pairs(parameters.METHODS) do
        for _, kind in pairs(kinds) do
          if not kind:find("?", 1, true) then refused(methods, method, {}) end
        end
      end
    end)
  end)
end)

describe("a schedule", function()
  it("has a priority that there is", function()
    with_methods(function(_, jobs)
      local one = require "sd.script".load(script)
      local ok, err = pcall(jobs:schedules().add, jobs:schedules(), one.definition {}, one,
        "every 1h", "urgent")
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("priority is low", 1, true), err)
      assert.same({}, jobs:schedules():all())
    end)
  end)
end)
