--- What the one who started a job holds: status, updates, the output.
local core = require "sd.core"
local task = require "sd.task"

local M = {}

---@class sd.Update
---@field type "status"|"progress"|"log"|"explain"|"completed"|"failed"
---@field status? string
---@field progress? table
---@field output? any
---@field error? any
---@field message? string

---@class sd.Handle
---@field id integer
---@field status "queued"|"running"|"paused"|"completed"|"failed"|"cancelled"
---@field jobs sd.Jobs
---@field package last_progress? table
---@field package listeners table[]
---@field package asked? sd.Task That carries a pause to what is queued.
---@field package pausing? boolean A pause was asked for and has not taken effect.
local Handle = {}
Handle.__index = Handle
Handle.__name = "sd.Handle"

local LOGS = 1000 -- lines that are kept for who does not read them

local FINAL = { completed = true, failed = true, cancelled = true }

---@param status string
---@return boolean
function M.is_final(status)
  return FINAL[status] or false
end

---@param id integer
---@param status string
---@return sd.Handle
function M.new(id, status)
  return setmetatable({ id = id, status = status, listeners = {}, waiters = {} }, Handle)
end

local function wake_all(list)
  for i = #list, 1, -1 do
    core.wake(list[i])
    list[i] = nil
  end
end

-- What waits for a listener: of progress the last one, of log lines the last ones, which lie in the
-- library as well, and all of the rest.
---@class sd.Listener
---@field waiters thread[]
---@field progress? sd.Update
---@field logs sd.Fifo
---@field updates sd.Fifo Each with the number of the log line that it comes before.

---@class sd.Fifo From `first` to `last`.

local function fifo() return { first = 1, last = 0 } end

local function push(list, value)
  list.last = list.last + 1
  list[list.last] = value
end

local function pop(list)
  local value = list[list.first]
  if value == nil then return nil end
  list[list.first] = nil
  list.first = list.first + 1
  return value
end

local function add(listener, update)
  local logs = listener.logs
  if update.type == "progress" then listener.progress = update
  elseif update.type == "log" then
    push(logs, update)
    if logs.last - logs.first >= LOGS then pop(logs) end
  else
    local progress = listener.progress -- which came first
    listener.progress = nil
    if progress then push(listener.updates, { progress, logs.last + 1 }) end
    push(listener.updates, { update, logs.last + 1 })
  end
end

local function take(listener)
  local logs, updates = listener.logs, listener.updates
  local next_one = updates[updates.first]
  if next_one and next_one[2] <= logs.first then return pop(updates)[1] end
  local update = pop(logs)
  if update then return update end
  update, listener.progress = listener.progress, nil
  return update
end

--- Tells everybody who listens. Who is slow sees the last progress only, and the last log lines.
---@package
---@param update sd.Update
function Handle:emit(update)
  for _, listener in ipairs(self.listeners) do
    add(listener, update)
    wake_all(listener.waiters)
  end
end

---@package
function Handle:report(progress)
  self.last_progress, self.reported_ns = progress, core.sys.mono_ns()
  self:emit { type = "progress", progress = progress }
end

--- The progress that was reported last; the time that it said was left runs on since then.
---@return table?
function Handle:progress()
  local last = self.last_progress
  local left = last and last.estimated_remaining
  if self.status ~= "running" or type(left) ~= "number" then return last end
  local now = {}
  for key, value in pairs(last) do now[key] = value end
  now.estimated_remaining = math.max(0.0, left - (core.sys.mono_ns() - self.reported_ns) / 1e9)
  return now
end

--- The job's new status; a final one ends all waiting.
---@package
---@param status string
---@param update? sd.Update
function Handle:set_status(status, update)
  if self.status == "cancelled" then return end -- what was under way does not change it
  self.status = status
  if status ~= "running" then self.pausing = false end
  self:emit(update or { type = "status", status = status })
  wake_all(self.waiters)
end

local function next_update(self, listener)
  while true do
    local update = take(listener)
    if update then return update end
    if FINAL[self.status] then return nil end
    listener.waiters[#listener.waiters + 1] = coroutine.running()
    core.park()
  end
end

local function unsubscribe(self, listener)
  for i, one in ipairs(self.listeners) do
    if one == listener then
      table.remove(self.listeners, i)
      return
    end
  end
end

--- The job's updates from now on: `for update in handle:subscribe() do`. Ends after the final one.
---@async
---@return fun(): sd.Update?
---@return nil
---@return nil
---@return table closer The loop closes it: nothing is kept for who no longer listens.
function Handle:subscribe()
  local listener = { updates = fifo(), logs = fifo(), waiters = {} }
  self.listeners[#self.listeners + 1] = listener
  local closer = setmetatable({}, { __close = function() unsubscribe(self, listener) end })
  return function() return next_update(self, listener) end, nil, nil, closer
end

--- Waits until the job has ended, or is paused. Its output, or nil and what went wrong.
---@async
---@return any output
---@return any err
function Handle:wait()
  while not FINAL[self.status] and self.status ~= "paused" do
    self.waiters[#self.waiters + 1] = coroutine.running()
    core.park()
  end
  return self.result, self.error
end

--- The output of a completed job.
function Handle:output()
  return self.result
end

--- Asks the job, and what is below it, to stop at the next safe point, resumable. `wait()` returns
--- when it has. May be called from anywhere.
function Handle:pause()
  if FINAL[self.status] or self.status == "paused" then return end
  for _, run in ipairs(self.jobs:runs_of(self.id)) do run.handle:request_pause() end
  self.asked = task.spawn(self.jobs.pause, self.jobs, self.id) -- and what is queued
end

---@package
function Handle:request_pause()
  if self.status ~= "running" or self.pausing then return end
  self.pausing = true
  self.ctx:request_pause()
end

--- Waits until a pause that was asked for has taken effect.
---@async
---@package
function Handle:wait_for_pause()
  while self.pausing do
    self.waiters[#self.waiters + 1] = coroutine.running()
    core.park()
  end
end

--- Goes on after a pause; one that was asked for takes effect first.
---@async
function Handle:resume()
  if self.asked then self.asked:join() end
  self:wait_for_pause()
  if self.status == "paused" then self.jobs:resume(self.id) end
end

--- Whether it works, and nobody has asked it to stop.
---@package
---@return boolean
function Handle:is_going_on()
  return self.status == "running" and not self.pausing
end

-- The run is still in this process.
---@package
function Handle:go_on()
  if self.status ~= "paused" then return end
  self:set_status("running")
  self.ctx:resume()
end

--- Ends the job, and what is below it, for good: to-be-closed variables run, checkpoints are
--- dropped.
---@async
function Handle:cancel()
  if FINAL[self.status] then return end
  self.jobs:cancel(self.id)
end

---@package
function Handle:paused()
  if FINAL[self.status] then return end
  self:set_status("paused")
  self.jobs:wake_idle()
end

return M
