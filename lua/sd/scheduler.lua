--- Which jobs of a library run, and when: the most urgent first, as far as limits allow.
local core = require "sd.core"
local rows = require "sd.job_rows"
local task = require "sd.task"

local M = {}

---@class sd.Scheduler
---@field package jobs sd.Jobs
---@field package roots? table<integer, boolean> Only jobs of these trees run; nil: all.
---@field package waits_for_time? boolean Some queued job has a time that has not come.
---@field package waiting table<integer, boolean> Jobs that only wait for their children.
local Scheduler = {}
Scheduler.__index = Scheduler

-- Jobs that work at the same time, and rows that are looked at in one go.
local MOST, LOOK_AT = 16, 32

---@param jobs sd.Jobs
---@return sd.Scheduler
function M.new(jobs)
  return setmetatable({ jobs = jobs, waiting = {} }, Scheduler)
end

--- Says that a job holds no place while it waits for its children.
---@param id integer
---@param on boolean
function Scheduler:set_waiting(id, on)
  self.waiting[id] = on or nil
  if on then self:kick() end
end

-- What runs: how many there are, by name, by device. A paused job has given its place up.
local function count(self)
  local n, names, devices = 0, {}, {}
  for id, run in pairs(self.jobs.running) do
    if run.handle.status == "running" then
      if not self.waiting[id] then
        n = n + 1
        names[run.row.name] = (names[run.row.name] or 0) + 1
      end
      if run.row.device then devices[run.row.device] = true end
    end
  end
  return n, names, devices
end

-- How many of a name may run: as its definition says.
local function limit_of(self, name)
  local definition = self.jobs.definitions[name]
  return definition and definition.max_concurrent or math.huge
end

local function busy(self)
  local n, names, devices = count(self)
  local list = { names = {}, devices = {}, in_memory = self.jobs:in_memory() }
  if self.roots then
    list.roots = {}
    for id in pairs(self.roots) do list.roots[#list.roots + 1] = id end
  end
  for name, running in pairs(names) do
    if running >= limit_of(self, name) then list.names[#list.names + 1] = name end
  end
  for device in pairs(devices) do list.devices[#list.devices + 1] = device end
  return list, n
end

--- Whether paused runs may go on: a paused one has given its place up.
---@package
---@param runs sd.Run[]
---@return boolean
function Scheduler:has_room(runs)
  local n, names, devices = count(self)
  for _, run in ipairs(runs) do
    local row = run.row
    if run.handle.status == "paused" then
      if row.device and devices[row.device] then return false end
      local place = self.waiting[row.id] and 0 or 1
      n, names[row.name] = n + place, (names[row.name] or 0) + place
      if n > MOST or names[row.name] > limit_of(self, row.name) then return false end
    end
  end
  return true
end

local function may_run(self, row)
  local n, names, devices = count(self)
  return n < MOST and (names[row.name] or 0) < limit_of(self, row.name)
    and not (row.device and devices[row.device])
end

-- Starts what may run, or sets it aside; whether there was any.
local function start_some(self)
  local list, n = busy(self)
  if n >= MOST then return false end
  local moved = false
  for _, row in ipairs(rows.candidates(self.jobs.library, list, LOOK_AT)) do
    -- The definition is known from here on, and so is its limit.
    local script = self.jobs:script_for(row)
    local ready = script and may_run(self, row)
    if ready then self.jobs:start(row.id, script) end
    moved = moved or ready or not script -- what has none was set aside
  end
  return moved
end

-- Turns again when the next job's time has come, or the next schedule's.
local function set_timer(self)
  local at = rows.next_run_at(self.jobs.library)
  self.waits_for_time = at ~= nil
  local next_schedule = self.schedules and self.schedules:next_at()
  if next_schedule and (not at or next_schedule < at) then at = next_schedule end
  if self.timer then self.timer:stop() end
  if not at then return end
  self.timer = self.timer or core.luv.new_timer()
  local ms = math.max(1, (at - core.sys.wall_ns()) // 1000000 + 1)
  self.timer:start(math.min(ms, 3600000), 0, function() self:kick() end)
end

local function turn(self)
  self.jobs:recover()
  repeat
    self.again = false
    if self.schedules then self.schedules:fire() end
    while start_some(self) do end
    set_timer(self)
  until not self.again or self.closed
  self.jobs.retention:kick() -- a job may have ended
end

--- From now on only jobs that are admitted, and what they make, are run.
function Scheduler:only_admitted()
  self.roots = {}
end

--- Lets a job run, with all of its tree.
---@param id integer
function Scheduler:admit(id)
  if self.roots then self.roots[id] = true end
  self:kick()
end

--- A job has ended, which may have been admitted.
---@package
---@param id integer
function Scheduler:dismiss(id)
  if self.roots then self.roots[id] = nil end
end

--- Looks soon for what may run now.
function Scheduler:kick()
  self.again = true
  if self.turning or self.closed or self.held then return end
  self.turning = task.spawn(turn, self)
  core.set_job(self.turning.thread, 0) -- whoever kicked
  self.turning.on_done = function()
    local ok, err = self.turning.ok, self.turning.results[1]
    self.turning = nil
    if not ok then self.jobs:broken(err) elseif self.again then self:kick() end
  end
end

--- From now on jobs that repeat are dispatched when they are due.
---@async
function Scheduler:start_schedules()
  self.schedules = self.jobs:schedules()
  self:kick()
end

--- Runs nothing new until `release()`: what is dispatched meanwhile waits.
function Scheduler:hold()
  self.held = true
end

function Scheduler:release()
  self.held = false
  self:kick()
end

--- Whether nothing is being started, and no job waits for its time: what repeats is no job yet.
---@return boolean
function Scheduler:is_idle()
  return not self.turning and not self.waits_for_time
end

function Scheduler:close()
  self.closed = true
  if self.turning then self.turning:cancel() end
  if self.timer and not self.timer:is_closing() then self.timer:close() end
end

return M
