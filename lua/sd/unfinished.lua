--- Starting a job where an earlier run of it may be unfinished: it is resumed, or given up.
local handles = require "sd.handle"
local rows = require "sd.job_rows"

local M = {}

local function same(a, b)
  for key, value in pairs(a) do if b[key] ~= value then return false end end
  for key in pairs(b) do if a[key] == nil then return false end end
  return true
end

-- Whether an unfinished job with these arguments is the one that is asked for. Without `match`: all
-- arguments are the same.
local function is_same(old, job, match)
  if not match then return same(old, job.args) end
  for _, name in ipairs(match) do
    if old[name] ~= job.args[name] then return false end
  end
  return true
end

---@class sd.StartOptions
---@field fresh? boolean An unfinished run is given up.
---@field match? string[] Arguments that make it the same job (default: all).
---@field uuid? string Of the job, where a new one is made: who lost the answer asks again with it.
---@field id? integer Of the job that was started for the same request before.

--- Dispatches `job`, or goes on with its unfinished run. One with other options is given up, since
--- what it has written stays and is not read again.
---@async
---@param jobs sd.Jobs
---@param job sd.Job
---@param script sd.Script
---@param options? sd.StartOptions
---@return sd.Handle handle
---@return string[] messages For the user.
function M.start(jobs, job, script, options)
  options = options or {}
  local messages = {}
  local known = (options.id or options.uuid) and rows.find(jobs.library, options.id, options.uuid)
  if known and handles.is_final(known.status) then return jobs:ended_handle(known), messages end
  for _, row in ipairs(jobs:unfinished(script.definition.name, options.fresh)) do
    if row.args == nil or is_same(row.args, job, options.match) then
      if options.fresh then
        messages[#messages + 1] = ("starting over: job %d is given up"):format(row.id)
      elseif same(row.args, job.args) then
        local run = jobs.running[row.id]
        local format = run and run.handle:is_going_on() and "job %d runs already"
          or "resuming job %d, which was interrupted" .. (row.phase and " in phase %s" or "")
        messages[#messages + 1] = format:format(row.id, row.phase)
        return jobs:resume_row(row, script), messages
      else
        messages[#messages + 1] = ("job %d was interrupted and had other options: starting a new"
          .. " one, which keeps what was indexed"):format(row.id)
      end
      jobs:cancel(row.id, "given up for a new run")
    end
  end
  return jobs:dispatch(job, script, { uuid = options.uuid }), messages
end

return M
