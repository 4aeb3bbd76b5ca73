--- One run of a job under test: in a library of its own, interrupted once, and gone on with.
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local libraries = require "sd.library"
local probes = require "sd.testing.probe"
local snapshots = require "sd.testing.snapshot"
local task = require "sd.task"
local view = require "sd.job_view"

local M = {}

M.THREADS = 2
local TIMEOUT = 60

---@class sd.testing.Test
---@field options sd.testing.Options
---@field script sd.Script
---@field scratch sd.testing.Scratch
---@field template string A library that nobody has open: each run begins with a copy.
---@field own table<string, boolean> Tables of a library that is new.

---@class sd.testing.Result
---@field output? string JSON.
---@field snapshot sd.testing.Snapshot

---@class sd.testing.Run
---@field test sd.testing.Test
---@field options sd.testing.Options
---@field script sd.Script
---@field path string Of its library.
---@field probe sd.testing.Probe
---@field id? integer Of the job.
---@field package interrupted? boolean What follows is the way to the end.
---@field package library? sd.Library Open.
---@field package handle? sd.Handle
local Run = {}
Run.__index = Run

-- Without a traceback: it is the job that is wrong.
local function fail(format, ...)
  error(failure.new(format:format(...)), 0)
end

local function open(self)
  self.library = failure.check(libraries.open(self.path,
    { threads = self.options.threads or M.THREADS }))
  for _, definition in ipairs(self.options.jobs or {}) do
    self.library.jobs:script_of_definition(definition)
  end
  if self.script.path == "" then
    self.library.jobs:script_of_definition(self.script.definition)
  end
end

function Run:close()
  if self.library then self.library:close() end
  self.library, self.handle = nil, nil
end

Run.__close = Run.close

local function dispatch(self)
  local jobs = self.library.jobs
  self.handle = jobs:dispatch(self.script.definition(self.options.args), self.script)
  self.probe.handle = self.handle
  self.id = self.handle.id
end

-- Until the job has ended, is paused, or the probe has stopped it.
local function wait(self)
  local thread, late = coroutine.running(), false
  local waiter <close> = task.spawn(self.handle.wait, self.handle)
  local seconds = self.options.timeout or TIMEOUT
  local timer = core.luv.new_timer()
  local guard <close> = setmetatable({}, { __close = function() timer:close() end })
  timer:start(math.ceil(seconds * 1000), 0, function()
    late = true
    core.wake(thread)
  end)
  waiter.on_done = function() core.wake(thread) end
  self.probe.wake = function() core.wake(thread) end
  local function is_over()
    return waiter.done or late or (self.probe.stopped and not self.interrupted)
  end
  while not is_over() do core.park() end
  if late then fail("the job has not ended within %g s", seconds) end
  return guard and nil
end

-- A later process goes on with it.
local function reopen(self)
  self:close()
  open(self)
  self.library.jobs:recover()
  self.handle = self.library.jobs:get(self.id)
  if not self.handle then return end -- it had ended
  if self.handle.status == "paused" then self.library.jobs:resume(self.id) end
  self.library.jobs.scheduler:kick()
  wait(self)
end

local function stop(probe)
  probe.stopped = true
  probe.wake()
end

local POINTS = { "check", "commit", "wait" }
local ALL_POINTS = { "check", "commit", "committed", "wait" }

---@class sd.testing.WayOfIt
---@field kinds string[] Points at which it makes a difference.
---@field act fun(probe: sd.testing.Probe) At the point.
---@field go_on async fun(run: sd.testing.Run) When that has taken effect.

---@type table<string, sd.testing.WayOfIt>
local WAYS = {
  none = { kinds = ALL_POINTS },
  pause = {
    kinds = POINTS,
    act = function(probe) probe.handle:pause() end,
    go_on = function(run)
      if run.handle.status ~= "paused" then return end
      run.handle:resume()
      wait(run)
    end,
  },
  reopen = {
    kinds = POINTS,
    act = function(probe) probe.handle:pause() end,
    go_on = function(run)
      if run.handle.status == "paused" then reopen(run) end
    end,
  },
  cancel = {
    kinds = POINTS,
    act = stop,
    go_on = function(run)
      run.handle:cancel()
      dispatch(run)
      wait(run)
    end,
  },
  death = {
    kinds = ALL_POINTS,
    act = stop,
    go_on = reopen,
  },
  kill = { kinds = ALL_POINTS },
}

local function begin(self, way)
  if way == "kill" then
    require "sd.testing.child".run(self)
    return reopen(self)
  end
  open(self)
  self.probe:watch(self.library)
  dispatch(self)
  wait(self)
  self.interrupted, self.library.probe = true, nil
  if self.probe.reached then WAYS[way].go_on(self) end
end

-- What the library keeps of it: JSON.
local function output_of(self)
  local row = view.show(self.library, self.id)
  if not row then fail("job %d is lost", self.id) end
  if row.status ~= "completed" then
    local why = row.error or self.handle and self.handle.error or "no reason given"
    fail("the job is %s: %s", row.status, tostring(why))
  end
  return row.output
end

local function finish(self, way)
  local options = self.options
  local output = output_of(self)
  if options.check then
    options.check(self.library, output and json.decode(output), way)
  end
  return { output = output, snapshot = snapshots.take(self.library,
    { own = self.test.own, ignore = options.ignore, job_id = self.id }) }
end

--- How many of these points there are for one way of interrupting.
---@param way string
---@param points sd.testing.Point[]
---@return integer
function M.count(way, points)
  local n = 0
  for _, point in ipairs(points) do
    for _, kind in ipairs(WAYS[way].kinds) do if point.kind == kind then n = n + 1 end end
  end
  return n
end

---@param way any
---@return boolean
function M.is_way(way)
  return WAYS[way] ~= nil and way ~= "none"
end

--- Runs the job, and interrupts it at point number `target`.
---@async
---@param test sd.testing.Test
---@param way sd.testing.Way|"none"
---@param target? integer
---@return boolean ok
---@return sd.testing.Result|any result Or the error.
---@return sd.testing.Probe probe
function M.run(test, way, target)
  local self <close> = setmetatable({
    test = test, options = test.options, script = test.script,
    path = test.scratch:copy(test.template),
    probe = probes.new(WAYS[way].kinds, target, WAYS[way].act),
  }, Run)
  local ok, result = xpcall(function()
    if self.options.reset then self.options.reset() end
    begin(self, way)
    return finish(self, way)
  end, function(err) return type(err) == "string" and debug.traceback(err, 2) or err end)
  self:close()
  test.scratch:remove(self.path)
  return ok, result, self.probe
end

return M
