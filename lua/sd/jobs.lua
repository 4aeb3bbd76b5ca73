--- The jobs of a library: dispatched, run when it is their turn, steered, looked at.
local core = require "sd.core"
local dispatch = require "sd.dispatch"
local execution = require "sd.execution"
local failure = require "sd.failure"
local handles = require "sd.handle"
local json = require "sd.json"
local retention = require "sd.retention"
local rows = require "sd.job_rows"
local scheduler = require "sd.scheduler"
local schedules = require "sd.schedules"
local scripts = require "sd.script"
local steering = require "sd.steering"
local stored = require "sd.stored_job"
local text = require "sd.text"
local view = require "sd.job_view"

local M = {}

---@class sd.Jobs
---@field package library sd.Library
---@field scheduler sd.Scheduler
---@field retention sd.Retention
---@field package on_notice? fun(message: string) Told what is wrong beside all jobs.
---@field package running table<integer, sd.Run>
---@field package interrupted table<integer, boolean> What runs no more though its row says so.
---@field package handles table<integer, sd.Handle> Of open jobs that somebody holds.
---@field package definitions table<string, sd.JobDefinition> Known so far, by name.
---@field package scripts table<string, sd.Script> Known so far, by path; in-memory ones by name.
local Jobs = setmetatable({}, { __index = steering })
Jobs.__index = Jobs

function M.of(library)
  local self = setmetatable({
    library = library, running = {}, handles = setmetatable({}, { __mode = "v" }),
    interrupted = {}, definitions = {}, scripts = {}, idle_waiters = {}, steer_waiters = {},
  }, Jobs)
  self.scheduler = scheduler.new(self)
  self.retention = retention.of(library, function(message)
    self:notice("finished jobs cannot be forgotten: " .. message)
  end)
  return self
end

--- Tells whoever looks after this process what is wrong, and belongs to no job.
---@package
---@param message string
function Jobs:notice(message)
  if self.on_notice then self.on_notice(message) end
end

-- ---- scripts ----

local function remember(self, script)
  self.definitions[script.definition.name] = script.definition
  self.scripts[script.path ~= "" and script.path or script.definition.name] = script
  return script
end

--- The script `name`, loaded, so that the jobs that it defines can be children.
---@param name string Of a script, or its path.
---@return sd.Script
function Jobs:load(name)
  local script = scripts.must_load(name)
  return remember(self, script)
end

-- A definition that no file is known for: only this process can run it.
local function script_in_memory(definition)
  return { definition = definition, path = "", hash = ("\0"):rep(16) }
end

--- The script that a definition came from.
---@package
---@param definition sd.JobDefinition
---@return sd.Script
function Jobs:script_of_definition(definition)
  for _, script in pairs(self.scripts) do
    if script.definition == definition then return script end
  end
  return remember(self, script_in_memory(definition))
end

--- The names of jobs that no file is known for, and that this process can run.
---@package
---@return string[]
function Jobs:in_memory()
  local names = {}
  for name, script in pairs(self.scripts) do
    if script.path == "" then names[#names + 1] = name end
  end
  return names
end

--- The script of a row, as it was loaded first; or nil, and why it cannot be run here.
---@package
---@param row {id?: integer, name: string, script: string} Without an id: of a job to come.
---@return sd.Script? script
---@return string? message
---@return string? code
function Jobs:find_script(row)
  local script = self.scripts[row.script ~= "" and row.script or row.name]
  if script then return script end
  if row.script == "" then return nil, "it has no script, and another process made it", "ENOENT" end
  local before = core.set_job(coroutine.running(), row.id or 0)
  local ok, loaded, message, code = pcall(scripts.load, row.script)
  core.set_job(coroutine.running(), before)
  if ok and loaded then return remember(self, loaded) end
  return nil, tostring(ok and message or loaded), ok and code or "EFAILED"
end

-- Nanoseconds after which a script that could not be read is looked for again.
local READ_AGAIN = 1000000000

--- The script of a queued row, or nil where it cannot be run here; a row whose script is broken is
--- set aside, one whose script cannot be read just now waits.
---@async
---@package
function Jobs:script_for(row)
  local script, message, code = self:find_script(row)
  if script or row.script == "" then return script end
  if failure.TRANSIENT[code] then
    rows.set_aside(self.library, row.id, text.escape(message), core.sys.wall_ns() + READ_AGAIN)
  else self:set_aside(row.id, message, code) end
end

---@async
---@package
function Jobs:set_aside(id, message, code)
  rows.set_aside(self.library, id, message)
  local handle = self.handles[id]
  if not handle then return end
  handle.error = failure.new(message, code)
  handle:set_status("paused")
end

--- A run has ended because of the library or the machine: it goes on when it is resumed. Where the
--- library cannot be written its row says that it runs, until then.
---@async
---@package
function Jobs:set_interrupted(id, message)
  self.interrupted[id] = true
  local told = pcall(rows.set_aside, self.library, id, text.escape(message))
  if told then self.interrupted[id] = nil end
end

-- ---- dispatch ----

--- Queues a job; it runs when it is its turn. Of a job that is declared `unique`, the one that is
--- open already is given.
---@async
---@param job sd.Job
---@param script? sd.Script Where it comes from; default: the definition alone.
---@param options? sd.DispatchOptions
---@return sd.Handle
function Jobs:dispatch(job, script, options)
  dispatch.check_options(options or {})
  script = script and remember(self, script) or self:script_of_definition(job.definition)
  local id, status = dispatch.put(self.library, job, script, options or {})
  local handle = self:handle_for(id, status)
  -- One of these may have failed while this one was being made.
  local fault, why = dispatch.first_fault(self.library, options and options.depends_on or {})
  if fault then self:cancel(id, ("depends on job %d, which %s"):format(fault, why)) end
  self.scheduler:kick()
  return handle
end

--- Queues the job that script `name` defines.
---@async
---@param name string Of a script, or its path.
---@param args? table<string, any>
---@param options? sd.DispatchOptions
---@return sd.Handle
function Jobs:dispatch_by_name(name, args, options)
  local script = scripts.must_load(name)
  return self:dispatch(script.definition(args), script, options)
end

--- The handle of an open job, also of one that runs.
---@package
---@param id integer
---@param status string
---@return sd.Handle
function Jobs:handle_for(id, status)
  local handle = self.handles[id]
  if not handle or handles.is_final(handle.status) then -- it ended without its job
    handle = handles.new(id, status)
    handle.jobs = self
    self.handles[id] = handle
  end
  return handle
end

--- The handle of a job that has ended.
---@package
---@param row table id, status, output, error
---@return sd.Handle
function Jobs:ended_handle(row)
  local handle = handles.new(row.id, row.status)
  handle.jobs = self
  handle.result = row.output and json.decode(row.output)
  handle.error = row.status ~= "completed" and failure.new(row.error or row.status) or nil
  return handle
end

-- ---- runs ----

--- Claims the row and starts it, unless it is not to be run any more, or cannot be: then it is set
--- aside.
---@async
---@package
---@param id integer
---@param script sd.Script
function Jobs:start(id, script)
  local children_after
  if not script.definition.resumable then
    rows.forget_progress(self.library, id)
    self:cancel_below(id, "its parent, job %d, begins again")
    children_after = rows.last_ended_child(self.library, id)
  end
  local row = rows.claim(self.library, id)
  if not row then return end
  row.children_after = children_after -- those before are no children of this attempt
  -- No waiting from here on: whoever steers finds what is claimed among what runs.
  local ok, job = pcall(function()
    stored.check_version(row, script)
    return script.definition(stored.args_of(row))
  end)
  if ok then
    self.running[id] = execution.start(self, row, script, job)
    return
  end
  rows.put_back(self.library, id, nil, tostring(job), row.failures)
  self:set_aside(id, tostring(job))
  self:handle_for(id, "paused").error = job
end

--- A run is over: there is room for another one, and somebody may have waited for it.
---@package
function Jobs:ended(run)
  local id = run.row.id
  self.running[id] = nil
  if handles.is_final(run.handle.status) then self.scheduler:dismiss(id) end
  self:tell_parent(run.row.parent_id)
  self:wake_idle()
  self.scheduler:kick()
end

---@package
---@param parent_id? integer
function Jobs:tell_parent(parent_id)
  local parent = self.running[parent_id or 0]
  if parent then parent.ctx:child_ended() end
end

--- Something below a job may have come to rest.
---@package
function Jobs:wake_idle()
  for i = #self.idle_waiters, 1, -1 do core.wake(table.remove(self.idle_waiters, i)) end
end

--- The scheduler cannot go on: whoever waits for a job that is queued hears of it.
---@package
function Jobs:broken(err)
  self.failure = err
  self:notice("no job can be started: " .. tostring(err))
  for _, handle in pairs(self.handles) do
    if handle.status == "queued" then
      handle.error = err
      handle:set_status("failed", { type = "failed", status = "failed", error = err })
    end
  end
end

--- Jobs that a process left as running when it died wait again; those that depend on one that had
--- failed are cancelled, if it died in between. Whoever holds the library's lock may say so.
---@async
---@package
function Jobs:recover()
  if self.recovered then return end
  self.recovered = true
  rows.recover(self.library)
  for _, row in ipairs(rows.forsaken(self.library)) do
    self:cancel_dependents(row.on_id, row.status == "failed" and "failed" or "was cancelled")
  end
end

-- ---- unfinished jobs ----

--- Unfinished jobs of that name that are nobody's children, oldest first, with their arguments:
--- damaged ones are refused, or nil where `tolerant` is set.
---@async
---@param name string
---@param tolerant? boolean
---@return sd.JobRow[]
function Jobs:unfinished(name, tolerant)
  local list = rows.open_by_name(self.library, name)
  for _, row in ipairs(list) do
    local ok, args = pcall(stored.args_of, row)
    if not ok and not tolerant then error(args, 0) end
    row.args = ok and args or nil
  end
  return list
end

--- Goes on with an unfinished job.
---@async
---@param row sd.JobRow
---@param script sd.Script
---@return sd.Handle
function Jobs:resume_row(row, script)
  self:recover()
  stored.check_version(row, script)
  remember(self, script)
  local handle = self:handle_for(row.id, "queued")
  local run = self.running[row.id]
  if not run then
    self:resume(row.id)
    rows.hurry(self.library, row.id)
  elseif not run.handle:is_going_on() then self:resume(row.id) end
  self.scheduler:kick()
  return handle
end

--- Gives an unfinished job up: its checkpoint is dropped, what it has written stays.
---@async
---@param id integer
function Jobs:give_up(id)
  self:cancel(id)
end

--- The jobs that repeat.
---@async
---@return sd.Schedules
function Jobs:schedules()
  self.repeating = self.repeating or schedules.of(self)
  return self.repeating
end

-- ---- looking ----

--- The handle of an open job.
---@async
---@param id integer
---@return sd.Handle?
function Jobs:get(id)
  local known = self.handles[id]
  if known and not handles.is_final(known.status) then return known end
  local row = rows.get(self.library, id)
  return row and self:handle_for(id, row.status)
end

--- Without options all jobs, else open ones, and with `all` those that have ended, with `children`
--- also ended ones that are parts of others: newest last, the newest `limit` (default: no limit).
---@async
---@param options? {all?: boolean, children?: boolean, limit?: integer}
---@return table[]
function Jobs:list(options)
  return view.list(self.library, options or { all = true, children = true })
end

--- Ends all runs without a trace: the library is being closed.
---@package
function Jobs:close()
  self.scheduler:close()
  self.retention:close()
  for _, run in pairs(self.running) do run:abandon() end
  self.running = {}
end

return M
