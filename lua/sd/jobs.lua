--- The jobs of a library: dispatched, run when it is their turn, steered, looked at.
local arg = require "sd.arg"
local core = require "sd.core"
local execution = require "sd.execution"
local failure = require "sd.failure"
local handles = require "sd.handle"
local rows = require "sd.job_rows"
local scheduler = require "sd.scheduler"
local schedules = require "sd.schedules"
local scripts = require "sd.script"

local M = {}

---@class sd.Jobs
---@field package library sd.Library
---@field scheduler sd.Scheduler
---@field package running table<integer, sd.Run>
---@field package handles table<integer, sd.Handle> Of open jobs that somebody holds.
---@field package definitions table<string, sd.JobDefinition> Known so far, by name.
---@field package scripts table<string, sd.Script> Known so far, by path; in-memory ones by name.
local Jobs = {}
Jobs.__index = Jobs

function M.of(library)
  local self = setmetatable({
    library = library, running = {}, handles = setmetatable({}, { __mode = "v" }),
    definitions = {}, scripts = {}, idle_waiters = {},
  }, Jobs)
  self.scheduler = scheduler.new(self)
  return self
end

-- ---- scripts ----

local function remember(self, script)
  self.definitions[script.definition.name] = script.definition
  self.scripts[script.path ~= "" and script.path or script.definition.name] = script
  return script
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

--- The script of a queued row, or nil where it cannot be run here; a row whose script is broken is
--- set aside.
---@async
---@package
function Jobs:script_for(row)
  local script = self.scripts[row.script ~= "" and row.script or row.name]
  if script or row.script == "" then return script end
  local ok, loaded, message = pcall(scripts.load, row.script)
  if ok and loaded then return remember(self, loaded) end
  self:set_aside(row.id, tostring(ok and message or loaded))
end

---@async
---@package
function Jobs:set_aside(id, message)
  rows.set_aside(self.library, id, message)
  local handle = self.handles[id]
  if not handle then return end
  handle.error = failure.new(message, "ENOENT")
  handle:set_status("paused")
end

-- ---- dispatch ----

---@class sd.DispatchOptions
---@field priority? "low"|"normal"|"high"|"critical" Default normal.
---@field run_at? number Seconds since 1970: not before.
---@field depends_on? (integer|sd.Handle)[] Jobs that must have completed.

local function check_options(options)
  for key in pairs(options) do
    if key ~= "priority" and key ~= "run_at" and key ~= "depends_on" then
      error(("dispatch: no option '%s'"):format(tostring(key)), 3)
    end
  end
  if options.priority and not rows.GRACE[options.priority] then
    error("dispatch: priority is low, normal, high or critical", 3)
  end
  if options.run_at and type(options.run_at) ~= "number" then
    error("dispatch: run_at is a number of seconds", 3)
  end
end

-- Heavy jobs of one device run one after the other: where their first path lies.
local function device_of(job)
  local definition = job.definition
  if not definition.heavy then return nil end
  for _, name in ipairs(arg.sorted_names(definition.args)) do
    local path = definition.args[name].type == "path" and job.args[name]
    local stat = path and core.luv.fs_stat(path)
    if stat then return stat.dev end
  end
  return -1 -- without a device of its own: one at a time
end

local function key_of(definition, encoded)
  return core.sys.xxh128(definition.name .. "\0" .. encoded)
end

-- In one transaction with the dependencies, so that it cannot run before they are known.
local function put_with_dependencies(self, new, depends_on)
  local sql, params = rows.insert(new)
  local statements = { { sql, params } }
  for _, on in ipairs(depends_on) do
    local id = type(on) == "table" and on.id or on
    local ended = rows.status(self.library, id)
    if ended == nil or ended == "failed" or ended == "cancelled" then
      error(failure.new(("dispatch: job %s, on which this one depends, %s"):format(tostring(id),
        ended and (ended == "failed" and "failed" or "was cancelled") or "does not exist"),
        "ECHILD"), 0)
    end
    statements[#statements + 1] = { "INSERT OR IGNORE INTO job_dependency SELECT j.id, o.id FROM"
      .. " job j, job o WHERE j.uuid = ? AND o.id = ?", { params[1], id } }
  end
  failure.check(self.library.core:commit { state = statements })
  return self.library:fresh_rows("SELECT id FROM job WHERE uuid = ?", { params[1] })[1].id
end

--- Queues a job; it runs when it is its turn. Of a job that is declared `unique`, the one that is
--- open already is given.
---@async
---@param job sd.Job
---@param script? sd.Script Where it comes from; default: the definition alone.
---@param options? sd.DispatchOptions
---@return sd.Handle
function Jobs:dispatch(job, script, options)
  options = options or {}
  check_options(options)
  local definition = job.definition
  script = script and remember(self, script) or self:script_of_definition(definition)
  arg.resolve_paths(definition.args, job.args)
  local encoded = assert(core.codec.encode(job.args))
  local key = definition.unique and key_of(definition, encoded) or nil
  local known = key and rows.find_unique(self.library, key)
  if known then return self:handle_for(known.id, known.status) end
  local new = {
    uuid = core.sys.uuid7(), name = definition.name, version = definition.version,
    script = script.path, script_hash = script.hash, args = encoded, priority = options.priority,
    unique_key = key, device = device_of(job),
    run_at = options.run_at and math.tointeger(options.run_at * 1e9 // 1),
  }
  local id = options.depends_on and put_with_dependencies(self, new, options.depends_on)
    or rows.put(self.library, new)
  local handle = self:handle_for(id, "queued")
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
  local script, message = scripts.load(name)
  if not script then error(failure.new(message, "ENOENT"), 0) end
  return self:dispatch(script.definition(args), script, options)
end

--- The handle of an open job, also of one that runs.
---@package
---@param id integer
---@param status string
---@return sd.Handle
function Jobs:handle_for(id, status)
  local handle = self.handles[id]
  if not handle then
    handle = handles.new(id, status)
    handle.jobs = self
    self.handles[id] = handle
  end
  return handle
end

-- ---- runs ----

--- Claims the row and starts it; false where it is not to be run any more.
---@async
---@package
---@param id integer
---@param script sd.Script
---@return boolean
function Jobs:start(id, script)
  local row = rows.claim(self.library, id)
  if not row then return false end
  if not script.definition.resumable and row.state then
    row.state = nil
    failure.check(self.library.db:exec("DELETE FROM job_queue_item WHERE job_id = ?", { id }))
  end
  local ok, job = pcall(function()
    M.check_version(row, script)
    return script.definition(M.args_of(row))
  end)
  if ok then
    self.running[id] = execution.start(self, row, script, job)
    return true
  end
  rows.put_back(self.library, id, nil, tostring(job))
  self:set_aside(id, tostring(job))
  self:handle_for(id, "paused").error = job
  return false
end

--- A run is over: there is room for another one, and somebody may have waited for it.
---@package
function Jobs:ended(run)
  local id = run.row.id
  self.running[id] = nil
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

--- Waits until nothing below a job moves any more.
---@async
---@package
function Jobs:wait_until_still_below(id)
  local function moving()
    for _, run in ipairs(self:runs_of(id)) do
      if run.row.id ~= id and run.handle.status == "running" then return true end
    end
    return false
  end
  while moving() do
    self.idle_waiters[#self.idle_waiters + 1] = coroutine.running()
    core.park()
  end
end

---@package
function Jobs:wake_idle()
  for i = #self.idle_waiters, 1, -1 do core.wake(table.remove(self.idle_waiters, i)) end
end

--- The scheduler cannot go on: whoever waits for a job that is queued hears of it.
---@package
function Jobs:broken(err)
  self.failure = err
  for _, handle in pairs(self.handles) do
    if handle.status == "queued" then
      handle.error = err
      handle:set_status("failed", { type = "failed", status = "failed", error = err })
    end
  end
end

--- Jobs that a process left as running when it died wait again. Whoever holds the library's lock
--- may say so.
---@async
---@package
function Jobs:recover()
  if self.recovered then return end
  self.recovered = true
  rows.recover(self.library)
end

-- ---- unfinished jobs ----

-- What the codec refuses, with the way out.
local function check_stored(row, value, message, code, ...)
  if value ~= nil then return value, message, code, ... end
  failure.check(nil, ("the checkpoint of job %d cannot be used: %s; start over with --fresh")
    :format(row.id, message), code)
end

--- The arguments of a row; a failure where they are damaged.
---@param row sd.JobRow
---@return table<string, any>
function M.args_of(row)
  return (check_stored(row, core.codec.decode(row.args)))
end

--- A checkpoint belongs to one version of its script; a failure where it is another one's.
---@param row sd.JobRow
---@param script sd.Script
function M.check_version(row, script)
  local version = script.definition.version
  if row.state then
    local _, meta = check_stored(row, core.codec.decode(row.state,
      { push_queue = function() return false end }))
    version = meta.version == version and version or nil
  end
  if row.version == script.definition.version and version then return end
  error(failure.new(("job %d was begun by version %d of %s, and this is version %d: finish it with"
    .. " that version, or start over with --fresh"):format(row.id, row.version, script.path,
    script.definition.version), "ENEWER", failure.EXIT.NEWER), 0)
end

--- Unfinished jobs of that name that are nobody's children, oldest first, with their arguments:
--- damaged ones are refused, or nil where `tolerant` is set.
---@async
---@param name string
---@param tolerant? boolean
---@return sd.JobRow[]
function Jobs:unfinished(name, tolerant)
  local list = rows.open_by_name(self.library, name)
  for _, row in ipairs(list) do
    local ok, args = pcall(M.args_of, row)
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
  M.check_version(row, script)
  remember(self, script)
  local handle = self:handle_for(row.id, "queued")
  if not self.running[row.id] then rows.move_tree(self.library, row.id, "'paused'", "queued") end
  self.scheduler:kick()
  return handle
end

--- Gives an unfinished job up: its checkpoint is dropped, what it has written stays.
---@async
---@param id integer
function Jobs:give_up(id)
  self:cancel(id)
end

-- ---- steering ----

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
function Jobs:runs_of(id)
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

--- Asks a job and all below it to pause. Takes effect at the next safe point.
---@async
---@return boolean? ok
---@return string? message
---@return string? code
function Jobs:pause(id)
  self:recover()
  local tree = rows.tree(self.library, id)
  if #tree == 0 then return no_such_job(id) end
  rows.move_tree(self.library, id, "'queued'", "paused")
  -- Now nothing of it can be started any more.
  for _, run in ipairs(self:runs_of(id)) do run.handle:request_pause() end
  show_status(self, tree, "queued", "paused")
  return true
end

--- Goes on with a paused job, and all below it.
---@async
---@return boolean? ok
---@return string? message
---@return string? code
function Jobs:resume(id)
  self:recover()
  local tree = rows.tree(self.library, id)
  if #tree == 0 then return no_such_job(id) end
  for _, run in ipairs(self:runs_of(id)) do
    if rows.go_on(self.library, run.row.id) then run.handle:go_on() end
  end
  rows.move_tree(self.library, id, "'paused'", "queued")
  show_status(self, tree, "paused", "queued")
  self.scheduler:kick()
  return true
end

local function cancel_one(self, row, reason)
  local id = row.id
  local run = self.running[id]
  if run then
    run:cancel(reason)
    return
  end
  local ending = rows.ending(id, "cancelled", { error = reason })
  failure.check(self.library.core:commit { state = ending })
  local handle = self.handles[id]
  if handle then handle:set_status("cancelled") end
  self:tell_parent(row.parent_id)
  self:cancel_dependents(id, "was cancelled")
end

--- Ends a job and all below it for good.
---@async
---@param id integer
---@param reason? string
---@return boolean? ok
---@return string? message
---@return string? code
function Jobs:cancel(id, reason)
  self:recover()
  local tree = rows.tree(self.library, id)
  if #tree == 0 then return no_such_job(id) end
  -- From the top: a parent must not see its children go.
  for _, row in ipairs(tree) do
    if rows.is_open(self.library, row.id) then cancel_one(self, row, reason) end
  end
  self.scheduler:kick()
  return true
end

---@async
---@package
function Jobs:cancel_below(id)
  for _, row in ipairs(rows.tree(self.library, id)) do
    if row.id ~= id and rows.is_open(self.library, row.id) then
      self:cancel(row.id, ("its parent, job %d, has ended"):format(id))
    end
  end
end

---@async
---@package
function Jobs:cancel_dependents(id, why)
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
function Jobs:retry(id)
  local job = rows.show(self.library, id)
  if not job then return nil, ("there is no job %s"):format(tostring(id)), "ESRCH" end
  if job.status ~= "failed" and job.status ~= "cancelled" then
    return nil, ("job %d is %s: only what failed or was cancelled is tried again"):format(id,
      job.status), "EINVAL"
  end
  local script = self:script_for { id = id, name = job.name, script = job.script }
  if not script then
    return nil, ("job %d: its script %s cannot be loaded"):format(id, job.script), "ENOENT"
  end
  return self:dispatch(script.definition(job.args), script)
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

--- Open jobs, and with `all` those that have ended.
---@async
---@param options? {all?: boolean, limit?: integer}
---@return table[]
function Jobs:list(options)
  return rows.list(self.library, options or { all = true, children = true })
end

--- Runs pause where they can and then wait again, for a later runner.
---@async
---@package
function Jobs:put_away()
  self.scheduler:hold()
  local waiting = {}
  for _, run in pairs(self.running) do
    if not run.row.parent_id then waiting[#waiting + 1] = run.handle end
  end
  for _, handle in ipairs(waiting) do self:pause(handle.id) end
  for _, handle in ipairs(waiting) do
    handle:wait()
    if handle.status == "paused" then
      rows.move_tree(self.library, handle.id, "'paused'", "queued")
    end
  end
end

--- Ends all runs without a trace: the library is being closed.
---@package
function Jobs:close()
  self.scheduler:close()
  for _, run in pairs(self.running) do run:abandon() end
  self.running = {}
end

return M
