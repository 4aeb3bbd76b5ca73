--- Coroutines that run at the same time: one thread of Lua, many that wait.
local core = require "sd.core"

local M = {}

---@class sd.Task
---@field package thread thread
---@field done boolean
---@field package ok? boolean
---@field package results? table
---@field package waiters thread[]
local Task = {}
Task.__index = Task

-- The error of a coroutine with the place where it came from. Tables travel unchanged, and so does
-- what others compare with.
local function with_traceback(err, traceback)
  if type(err) ~= "string" or err == "not enough memory" then return err end
  return err .. "\n" .. traceback
end

--- Starts `fn(...)`; it runs when the caller waits or ends.
---@param fn function
---@return sd.Task
function M.spawn(fn, ...)
  local task = setmetatable({ done = false, waiters = {} }, Task)
  task.thread = core.spawn(function(ok, ...)
    task.done, task.ok = true, ok
    task.results = ok and table.pack(...) or { with_traceback(...) }
    for _, thread in ipairs(task.waiters) do core.wake(thread) end
    if task.on_done then task.on_done() end
  end, fn, ...)
  return task
end

--- Waits for the task; whether it ended well, and its results or its error.
---@async
---@return boolean ok
---@return any ...
function Task:join()
  while not self.done do
    self.waiters[#self.waiters + 1] = coroutine.running()
    core.park()
  end
  return self.ok, table.unpack(self.results, 1, self.results.n or 1)
end

--- Ends the task where it waits: its to-be-closed variables run.
function Task:cancel()
  if self.done then return end
  core.close(self.thread)
  self.done, self.ok, self.results = true, false, { "cancelled" }
  for _, thread in ipairs(self.waiters) do core.wake(thread) end
end

Task.__close = Task.cancel

--- Runs `fn(...)` where waiting is allowed, and gives its results: turns the event loop, unless the
--- caller is in a coroutine of it already.
function M.run(fn, ...)
  if core.awaitable() then return fn(...) end
  local task = M.spawn(fn, ...)
  task.on_done = core.stop
  if not task.done then core.run() end
  if not task.done then
    error("all coroutines wait, and nothing is left that could wake them", 0)
  end
  if not task.ok then error(task.results[1], 0) end
  return table.unpack(task.results, 1, task.results.n)
end

--- Waits that long.
---@async
---@param seconds number
function M.sleep(seconds)
  local thread = coroutine.running()
  local over = false
  local timer = core.luv.new_timer()
  local guard <close> = setmetatable({}, { __close = function() timer:close() end })
  timer:start(math.max(0, math.floor(seconds * 1000 + 0.5)), 0, function()
    over = true
    core.wake(thread)
  end)
  while not over do core.park() end
  return guard and nil
end

return M
