--- The coroutines of one job, and the moment when all of them stand at a safe point.
local core = require "sd.core"
local task = require "sd.task"

local M = {}

---@class sd.Branches
---@field package live integer Coroutines that could run.
---@field package quiet integer Of these, how many stand at a safe point or wait for another branch.
---@field package pausing boolean
---@field package still boolean All are quiet, and `on_still` was called.
---@field package parked thread[] At a safe point until the job is resumed.
---@field package on_still fun()
local Branches = {}
Branches.__index = Branches

---@param on_still fun() Called once after each request, when nothing moves any more.
---@return sd.Branches
function M.new(on_still)
  return setmetatable({
    live = 1, quiet = 0, pausing = false, still = false, parked = {}, on_still = on_still,
  }, Branches)
end

local function look(self)
  if not self.pausing or self.still or self.live == 0 or self.quiet < self.live then return end
  self.still = true
  self.on_still()
end

--- Wakes everybody in the list, and empties it.
function M.wake_all(list)
  for i = #list, 1, -1 do
    core.wake(list[i])
    list[i] = nil
  end
end

-- Counts as quiet until the result is closed: also where the coroutine is ended while it waits.
local function be_quiet(self)
  self.quiet = self.quiet + 1
  look(self)
  return setmetatable({}, { __close = function() self.quiet = self.quiet - 1 end })
end

local function park_while_pausing(self)
  while self.pausing do
    self.parked[#self.parked + 1] = coroutine.running()
    core.park()
  end
end

--- Stays here while the job is to pause.
---@async
function Branches:safe_point()
  if not self.pausing then return end
  local quiet <close> = be_quiet(self)
  park_while_pausing(self)
  return quiet and nil
end

local function timer_for(thread, seconds)
  if not seconds then return nil end
  local timer = core.luv.new_timer()
  timer:start(math.max(1, math.ceil(seconds * 1000)), 0, function() core.wake(thread) end)
  return setmetatable({}, { __close = function() timer:close() end })
end

--- Waits until the list is woken, or for so many seconds; stays while the job is to pause.
---@async
---@param list thread[]
---@param seconds? number
function Branches:wait_in(list, seconds)
  local thread = coroutine.running()
  local timer <close> = timer_for(thread, seconds)
  list[#list + 1] = thread
  local quiet <close> = be_quiet(self)
  core.park()
  park_while_pausing(self)
  for i = #list, 1, -1 do
    if list[i] == thread then table.remove(list, i) end
  end
  return timer and quiet and nil
end

function Branches:request_pause()
  self.pausing = true
  look(self)
end

function Branches:resume()
  self.pausing, self.still = false, false
  M.wake_all(self.parked)
end

local function run_one(self, running, fn)
  local one = task.spawn(fn)
  one.on_done = function()
    self.live = self.live - 1
    if not one.ok then
      running.failed = running.failed or one
    end
    core.wake(running.parent)
    look(self)
  end
  running[#running + 1] = one
end

local function count_open(running)
  local n = 0
  for _, one in ipairs(running) do
    if not one.done then n = n + 1 end
  end
  return n
end

-- Also when the parent is closed: its branches end with it, and it counts again.
local function close_all(running)
  local self = running.branches
  for _, one in ipairs(running) do
    if not one.done then
      one:cancel() -- what it has open counts itself out first
      self.live = self.live - 1
    end
  end
  self.live = self.live + 1
end

--- Runs functions at the same time, and waits for all of them. An error in one ends the others and
--- is raised.
---@async
---@param ... fun()
function Branches:run(...)
  local running <close> = setmetatable({ branches = self, parent = coroutine.running() },
    { __close = close_all })
  self.live = self.live - 1
  for _, fn in ipairs { ... } do
    self.live = self.live + 1
    run_one(self, running, fn)
  end
  while count_open(running) > 0 and not running.failed do core.park() end
  if running.failed then error(running.failed.results[1], 0) end
end

return M
