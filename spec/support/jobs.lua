--- For specs of the job system: a library that is open, and jobs without a script.
local sd = require "sd"

local M = {}

--- Runs `fn(jobs, library)` with the library in `dir`; what it returns.
---@param dir string
---@param fn fun(jobs: sd.Jobs, library: sd.Library): any
---@return any
function M.with(dir, fn)
  return sd.run(function()
    local library <close> = assert(sd.library.open(dir .. "/library", { create = true }))
    return fn(library.jobs, library)
  end)
end

--- A definition that does what `run` does (default: nothing).
---@param fields table
---@param run? fun(self: sd.Job, ctx: sd.Context): any
---@return sd.JobDefinition
function M.define(fields, run)
  local Job = sd.job.define(fields)
  Job.run = run or function() end
  return Job
end

return M
