--- One run of one job in this process: from the claimed row to its end.
local commits = require "sd.commit"
local context = require "sd.context"
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local log = require "sd.job_log"
local metrics = require "sd.metrics"
local rows = require "sd.job_rows"
local task = require "sd.task"
local text = require "sd.text"

local M = {}

---@class sd.Run
---@field row sd.JobRow
---@field handle sd.Handle
---@field ctx sd.Context
---@field main sd.Task
---@field jobs sd.Jobs
---@field ended boolean
local Run = {}
Run.__index = Run

-- ---- the end ----

-- Log lines and errors that no commit has taken along.
local function leftovers(run)
  local ctx = run.ctx
  local lines = ctx.lines
  ctx.lines = {}
  return log.statements(ctx.id, lines)
end

-- The statements that end the run's row.
local function ending_of(run, status, ending)
  local ctx = run.ctx
  if ending.error and not core.sys.is_text(ending.error) then
    ending.error = text.escape(ending.error)
  end
  ending.duration_ns = ctx:elapsed_ns()
  ending.location_id, ending.phase = ctx.location_id, commits.phase_of(ctx)
  if ctx.handle.last_progress then
    local ok, encoded = pcall(json.encode, ctx.handle.last_progress)
    ending.progress = ok and encoded or nil
  end
  local sql = leftovers(run)
  for _, statement in ipairs(rows.ending(ctx.id, status, ending)) do sql[#sql + 1] = statement end
  return sql
end

local function end_row(run, status, ending)
  local ctx = run.ctx
  local sql = ending_of(run, status, ending)
  return failure.check(ctx.library.core:commit { state = sql, sync = ctx.parent_id == 0 })
end

-- The last commit of a job that ended well: what it noted, and its place in the history.
local function complete(run, output)
  local ctx, handle = run.ctx, run.handle
  if #ctx.notes > 0 then ctx:commit() end
  local counts = ctx:errors(0).counts
  handle.error_counts = next(counts) and counts
  end_row(run, "completed", { output = output ~= nil and json.encode(output) or nil })
  metrics.fill(ctx)
  handle.result = output == nil and true or output
  handle:set_status("completed", { type = "completed", status = "completed", output = output,
    metrics = ctx.metrics, error_counts = handle.error_counts or nil })
end

-- When to try again: the delay doubles, give or take a quarter, so that what failed together does
-- not come back together. Nil: not at all. What began anew because it was paused, or because its
-- process ended, has not failed. What failed is counted in the row, across processes.
local function retry_at(run, err)
  local definition, row = run.ctx.definition, run.row
  local code = failure.code_of(err)
  if not failure.TRANSIENT[code or ""] or err.exit == failure.EXIT.UNWRITABLE then return nil end
  if row.failures >= definition.retries then return nil end
  row.failures = row.failures + 1
  local seconds = definition.retry_delay * 2 ^ (row.failures - 1)
  seconds = math.min(seconds, 3600) * (0.75 + 0.5 * math.random())
  return core.sys.wall_ns() + math.tointeger(seconds * 1e9 // 1), seconds
end

-- What is wrong with the library or the machine, and not with the job: it goes on from its last
-- checkpoint when somebody asks for it.
local function is_interrupted(err)
  if err == "not enough memory" then return true end
  if not failure.is(err) or err.exit == failure.EXIT.SCRIPT then return false end
  return err.exit ~= failure.EXIT.FAILED or failure.EXHAUSTED[err.code] == true
end

local function fail(run, err)
  local ctx, handle = run.ctx, run.handle
  metrics.fill(ctx)
  local at, seconds = retry_at(run, err)
  local message = failure.message_of(err)
  if at then
    ctx:log("attempt %d failed: %s; trying again in %.1f s", run.row.attempt, message, seconds)
    failure.check(ctx.library.core:commit { state = leftovers(run) })
    rows.put_back(ctx.library, ctx.id, at, text.escape(message), run.row.failures)
    handle:set_status("queued")
    return
  end
  if is_interrupted(err) then run.jobs:set_interrupted(ctx.id, message)
  else
    run.jobs:cancel_below(ctx.id)
    end_row(run, "failed", { error = message })
    run.jobs:cancel_dependents(ctx.id, "failed")
  end
  handle.error = err
  handle:set_status("failed", { type = "failed", status = "failed", error = err })
end

local function finished(run)
  local ok, result = run.main.ok, run.main.results[1]
  if ok then ok, result = xpcall(complete, debug.traceback, run, result) end
  if not ok then
    local saved, err = xpcall(fail, debug.traceback, run, result)
    if not saved then
      run.handle.error = err
      run.handle:set_status("failed", { type = "failed", status = "failed", error = err })
    end
  end
  run.jobs:ended(run)
end

-- ---- the run ----

local function main(run, job)
  local ctx = run.ctx
  local output = job:run(ctx)
  ctx:wait_for_children() -- nobody is left behind
  return output
end

--- Runs a claimed job.
---@param jobs sd.Jobs
---@param row sd.JobRow
---@param script sd.Script
---@param job sd.Job
---@return sd.Run
function M.start(jobs, row, script, job)
  local handle = jobs:handle_for(row.id, "running")
  local ctx = context.new(jobs.library, handle, row, script)
  local run = setmetatable({ jobs = jobs, row = row, handle = handle, ctx = ctx }, Run)
  handle.ctx, handle.error = ctx, nil
  metrics.start(ctx)
  handle:set_status("running")
  run.main = task.spawn(main, run, job)
  core.set_job(run.main.thread, row.id)
  run.main.on_done = function()
    run.ended, ctx.ended = true, true
    ctx:interrupt(false)
    task.spawn(finished, run)
  end
  return run
end

--- Ends the run where it stands, as if its script had raised `err`.
---@param err any
function Run:fail(err)
  if self.ended then return end
  self.ended, self.ctx.ended = true, true
  self.main:cancel()
  self.main.results = { err }
  task.spawn(finished, self)
end

--- Ends the run where it stands: to-be-closed variables run, and the lanes let go of it soon. Its
--- row is the caller's. False where the run is over, and ends its row itself.
---@return boolean
function Run:stop()
  if self.stopped then return true end
  if self.ended then return false end
  self.stopped, self.ended, self.ctx.ended = true, true, true
  self.main:cancel()
  self.ctx:interrupt(true)
  return true
end

--- The statements that end the row of a run that was stopped.
---@param reason? string
---@return table[]
function Run:cancelling(reason)
  return ending_of(self, "cancelled", { error = reason })
end

--- The row of a run that was stopped has ended.
function Run:cancelled()
  self.ctx:interrupt(false)
  self.handle:set_status("cancelled")
  self.jobs:ended(self)
end

--- Ends the run without a trace: the library is being closed, and its row stays as it is.
function Run:abandon()
  if self.ended then return end
  self.ended, self.ctx.ended = true, true
  self.main:cancel()
end

return M
