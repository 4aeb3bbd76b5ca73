--- Pausing, resuming, cancelling jobs and what is below them: a part of sd.Jobs.
local core = require "sd.core"
local failure = require "sd.failure"
local rows = require "sd.job_rows"
local view = require "sd.job_view"

---@class sd.Jobs
local Steering = {}

local function no_such_job(id)
  return nil, ("there is no open job %s"):format(tostring(id)), "ESRCH"
end

local function is_below(self, run, id)
  while run do
    if run.row.id == id then return true end
    run = run.row.parent_id and self.running[run.row.parent_id]
  end
  return false
end

--- The runs of a job and of what is below it.
---@package
---@param id integer
---@return sd.Run[]
function Steering:runs_of(id)
  local list = {}
  for _, run in pairs(self.running) do
    if is_below(self, run, id) then list[#list + 1] = run end
  end
  return list
end

-- The status of handles whose job does not run.
local function show_status(self, tree, from, to)
  for _, row in ipairs(tree) do
    local handle = self.handles[row.id]
    if handle and handle.status == from and not self.running[row.id] then handle:set_status(to) end
  end
end

-- One is steered after the other: who resumes finds all that was asked to pause before.
local function take_turn(self)
  while self.steered do
    self.steer_waiters[#self.steer_waiters + 1] = coroutine.running()
    core.park()
  end
  self.steered = true
  return setmetatable({}, { __close = function()
    self.steered = false
    for i = #self.steer_waiters, 1, -1 do core.wake(table.remove(self.steer_waiters, i)) end
  end })
end

--- Asks a job and all below it to pause. Takes effect at the next safe point.
---@async
---@return boolean? ok
---@return string? message
---@return string? code
function Steering:pause(id)
  local turn <close> = take_turn(self)
  self:recover()
  local tree = rows.tree(self.library, id)
  if #tree == 0 then return no_such_job(id) end
  rows.move_tree(self.library, id, "'queued'", "paused")
  -- Now nothing of it can be started any more.
  for _, run in ipairs(self:runs_of(id)) do run.handle:request_pause() end
  show_status(self, tree, "queued", "paused")
  return true, turn and nil
end

local function pause_queued(self, id)
  local tree = rows.tree(self.library, id)
  for _, row in ipairs(tree) do
    if row.status == "queued" then
      rows.move_tree(self.library, id, "'queued'", "paused")
      return show_status(self, tree, "queued", "paused")
    end
  end
end

--- Waits until nothing below a job moves any more, and nothing will: also what the job made after
--- it was asked to pause.
---@async
---@package
function Steering:calm_below(id)
  local moving
  repeat
    pause_queued(self, id)
    moving = false
    for _, run in ipairs(self:runs_of(id)) do
      if run.row.id ~= id and run.handle.status == "running" then
        moving = true
        run.handle:request_pause()
      end
    end
    if moving then
      self.idle_waiters[#self.idle_waiters + 1] = coroutine.running()
      core.park()
    end
  until not moving
end

-- Paused runs go on, or leave this process and wait in their rows where others have taken their
-- places. What cannot go on from a checkpoint keeps its work.
local function go_on(self, runs)
  local room = self.scheduler:has_room(runs)
  for _, run in ipairs(runs) do
    if run.handle.status == "paused" then
      if not room and run.ctx.definition.resumable then
        run:abandon()
        self.running[run.row.id] = nil
      elseif rows.go_on(self.library, run.row.id) then run.handle:go_on() end
    end
  end
end

--- Goes on with a paused job, and all below it; where limits do not allow that, as soon as they do.
---@async
---@return boolean? ok
---@return string? message
---@return string? code
function Steering:resume(id)
  local turn <close> = take_turn(self)
  self:recover()
  local tree = rows.tree(self.library, id)
  if #tree == 0 then return no_such_job(id) end
  for _, run in ipairs(self:runs_of(id)) do run.handle:wait_for_pause() end
  go_on(self, self:runs_of(id))
  for _, row in ipairs(tree) do
    if self.interrupted[row.id] then
      rows.put_back(self.library, row.id)
      self.interrupted[row.id] = nil
    end
  end
  rows.move_tree(self.library, id, "'paused'", "queued")
  show_status(self, tree, "paused", "queued")
  self.scheduler:kick()
  return true, turn and nil
end

local function append(list, more)
  for _, one in ipairs(more) do list[#list + 1] = one end
end

-- Ends the rows of a tree and what runs of them. Where a run is over it ends its row itself.
local function end_rows(self, tree, reason_of)
  local sql, ended = {}, {}
  for _, row in ipairs(tree) do
    local run = self.running[row.id]
    if not run or run:stop() then
      local reason = reason_of(row)
      append(sql, run and run:cancelling(reason)
        or rows.ending(row.id, "cancelled", { error = reason }))
      ended[#ended + 1] = row
    end
  end
  failure.check(self.library.core:commit { state = sql })
  return ended
end

-- The rows have ended: whoever holds, awaits or depends on one of them hears of it.
local function note_ends(self, ended)
  for _, row in ipairs(ended) do
    local run, handle = self.running[row.id], self.handles[row.id]
    local late = run and not run.stopped -- it was being started
    if run and run:stop() then run:cancelled()
    elseif handle then handle:set_status("cancelled") end
    self.scheduler:dismiss(row.id)
    if not run then self:tell_parent(row.parent_id) end
    if late then self:cancel_below(row.id) end
  end
  for _, row in ipairs(ended) do self:cancel_dependents(row.id, "was cancelled") end
end

local PARENT_ENDED = "its parent, job %d, has ended"

--- Ends a job and all below it for good. Nothing of it moves when this waits for the first time.
---@async
---@param id integer
---@param reason? string
---@return boolean? ok
---@return string? message
---@return string? code
function Steering:cancel(id, reason)
  for _, run in ipairs(self:runs_of(id)) do run:stop() end
  self:recover()
  local tree = rows.tree(self.library, id)
  if #tree == 0 then return no_such_job(id) end
  local ended = end_rows(self, tree, function(row)
    if row.id == id then return reason end
    return PARENT_ENDED:format(row.parent_id)
  end)
  note_ends(self, ended)
  self.scheduler:kick()
  return true
end

---@async
---@package
---@param id integer
---@param reason? string With %d for the parent.
function Steering:cancel_below(id, reason)
  for _, run in ipairs(self:runs_of(id)) do
    if run.row.id ~= id then run:stop() end
  end
  local below = {}
  for _, row in ipairs(rows.tree(self.library, id)) do
    if row.id ~= id then below[#below + 1] = row end
  end
  if #below == 0 then return end
  note_ends(self, end_rows(self, below, function(row)
    return (reason or PARENT_ENDED):format(row.parent_id)
  end))
end

---@async
---@package
function Steering:cancel_dependents(id, why)
  for _, dependent in ipairs(rows.dependents(self.library, id)) do
    if rows.is_open(self.library, dependent) then
      self:cancel(dependent, ("depends on job %d, which %s"):format(id, why))
    end
  end
end

--- Queues the same job again, after it failed or was cancelled.
---@async
---@return sd.Handle? handle
---@return string? message
---@return string? code
function Steering:retry(id)
  local job = view.show(self.library, id)
  if not job then return nil, ("there is no job %s"):format(tostring(id)), "ESRCH" end
  if job.status ~= "failed" and job.status ~= "cancelled" then
    return nil, ("job %d is %s: only what failed or was cancelled is tried again"):format(id,
      job.status), "EINVAL"
  end
  local script, message, code = self:find_script(job)
  if not script then
    return nil, ("job %d cannot be tried again: %s"):format(id, message), code
  end
  return self:dispatch(script.definition(job.args), script)
end

--- Runs pause where they can and then wait again, for a later runner. What somebody has paused
--- stays so.
---@async
---@package
function Steering:put_away()
  self.scheduler:hold()
  local waiting, paused = {}, {}
  for _, run in pairs(self.running) do
    if not run.row.parent_id and run.handle.status == "running" then
      waiting[#waiting + 1] = run.handle
    end
  end
  for i, handle in ipairs(waiting) do paused[i] = rows.paused(self.library, handle.id) end
  for _, handle in ipairs(waiting) do self:pause(handle.id) end
  for i, handle in ipairs(waiting) do
    handle:wait()
    if handle.status == "paused" then
      rows.requeue(self.library, handle.id, paused[i])
    end
  end
end

return Steering
