--- Jobs that a job gives work to: made in the commit that gives the work away, waited for, summed
--- up.
local arg = require "sd.arg"
local core = require "sd.core"
local dispatch = require "sd.dispatch"
local failure = require "sd.failure"
local job_module = require "sd.job"
local json = require "sd.json"
local rows = require "sd.job_rows"

local M = {}

local REPORT_SECONDS = 0.25
local POLICIES = { fail = true, collect = true, ignore = true }

---@class sd.ChildOptions
---@field on_failure? "fail"|"collect"|"ignore" What its failure means: the parent fails (the
--- default); it is among the results; nothing.
---@field priority? "low"|"normal"|"high"|"critical" Default: the parent's.

-- Levels: the caller of ctx:spawn_child().
local function check_job(job)
  if type(job) ~= "table" or not job_module.is_definition(job.definition) then
    error("spawn_child: a job expected, which a definition gives when it is called", 4)
  end
end

local function check_options(options)
  for key in pairs(options) do
    if key ~= "on_failure" and key ~= "priority" then
      error(("spawn_child: no option '%s'"):format(tostring(key)), 4)
    end
  end
  if options.on_failure and not POLICIES[options.on_failure] then
    error("spawn_child: on_failure is fail, collect or ignore", 4)
  end
  if options.priority and not rows.GRACE[options.priority] then
    error("spawn_child: priority is low, normal, high or critical", 4)
  end
end

-- Whether the tree has a device already, as far as is known here: then its parts need no other.
local function has_device(ctx)
  local id, running = ctx.id, ctx.library.jobs.running
  while id do
    local run = running[id]
    if not run or run.row.device then return true end
    id = run.row.parent_id
  end
  return false
end

--- The row of a child of `ctx`, for its next commit.
---@param ctx sd.Context
---@param job sd.Job
---@param options? sd.ChildOptions
---@return sd.NewJob
function M.new(ctx, job, options)
  options = options or {}
  check_job(job)
  if type(options) ~= "table" then error("spawn_child: options are a table", 3) end
  check_options(options)
  local definition = job.definition
  local script = definition == ctx.definition and ctx.script
    or ctx.library.jobs:script_of_definition(definition)
  arg.resolve_paths(definition.args, job.args)
  return {
    uuid = core.sys.uuid7(), name = definition.name, version = definition.version,
    script = script.path, script_hash = script.hash, args = assert(core.codec.encode(job.args)),
    priority = options.priority or ctx.priority, parent_id = ctx.id, root_id = ctx.root_id,
    on_failure = options.on_failure or "fail",
    device = not has_device(ctx) and dispatch.device_of(job) or nil,
  }
end

---@class sd.ChildResult
---@field id integer
---@field name string
---@field status "completed"|"failed"|"cancelled"
---@field output? any
---@field error? string
---@field on_failure string

---@async
---@return sd.ChildResult[]
local function results_of(ctx)
  local list = rows.ended_children(ctx.library, ctx.id, ctx.children_after)
  for _, row in ipairs(list) do
    row.output = row.output and json.decode(row.output)
    local progress = row.progress and json.decode(row.progress)
    if progress then ctx.child_progress[row.id] = progress end
    row.progress = nil
  end
  list.changes = nil
  return list
end

local function first_failed(results)
  for _, child in ipairs(results) do
    if child.on_failure == "fail" and child.status ~= "completed" then return child end
  end
end

-- Until more children have ended than `seen`.
local function wait_for_one(ctx, seen, meanwhile)
  while ctx.children_ended == seen do
    if meanwhile then meanwhile() end
    ctx:wait_in(ctx.child_waiters, meanwhile and REPORT_SECONDS)
  end
end

--- Waits until no child is open. A child whose failure is the parent's raises it, at once.
---@async
---@param ctx sd.Context
---@param meanwhile? fun()
---@return sd.ChildResult[]
function M.wait(ctx, meanwhile)
  local jobs = ctx.library.jobs
  local guard <close> = setmetatable({}, { __close = function()
    jobs.scheduler:set_waiting(ctx.id, false)
  end })
  while true do
    local seen = ctx.children_ended
    local open = rows.open_children(ctx.library, ctx.id) -- first: what ends meanwhile is a result
    local results = results_of(ctx)
    local failed = first_failed(results)
    if failed then
      local what = failed.status == "failed" and "failed" or "was cancelled"
      error(failure.new(("child job %d (%s) %s: %s"):format(failed.id, failed.name, what,
        failed.error or "no reason given"), "ECHILD"), 0)
    end
    if open == 0 then return results, guard and nil end
    jobs.scheduler:set_waiting(ctx.id, true)
    wait_for_one(ctx, seen, meanwhile)
  end
end

return M
