--- What a runner does for others: the methods of its control socket. The command line calls the
--- same methods where it is the runner itself.
local core = require "sd.core"
local failure = require "sd.failure"
local handles = require "sd.handle"
local json = require "sd.json"
local locations = require "sd.location_rows"
local parameters = require "sd.rpc.params"
local retention = require "sd.retention"
local rows = require "sd.job_rows"
local scripts = require "sd.script"
local task = require "sd.task"
local unfinished = require "sd.unfinished"
local view = require "sd.job_view"

local M = {}

---@class sd.Service
---@field package jobs sd.Jobs Or what sd.job_reader has of them.
---@field package watched table<integer, integer> By job: how many watch it.
local Service = {}
Service.__index = Service

---@param jobs sd.Jobs
---@return sd.Service
function M.of(jobs)
  return setmetatable({ jobs = jobs, watched = {} }, Service)
end

local function bad(message) error(failure.new(message, "EINVAL", failure.EXIT.USAGE), 0) end

-- A script is named as the client sees it; its arguments are checked here.
local function job_of(params)
  local script = scripts.must_load(params.script, failure.EXIT.USAGE)
  local ok, job = pcall(script.definition, params.args or {})
  if not ok then bad(tostring(job)) end
  return job, script
end

-- What a client cannot be sent as it is.
local function plain(update)
  if update.type ~= "failed" then return update end
  local err = update.error
  return { type = "failed", status = "failed", error = failure.message_of(err),
    code = failure.code_of(err), exit = failure.exit_of(err) }
end

local function send_updates(self, handle, session, updates, closer)
  self.watched[handle.id] = (self.watched[handle.id] or 0) + 1
  local guard <close> = setmetatable({}, { __close = function()
    self.watched[handle.id] = self.watched[handle.id] - 1
    getmetatable(closer).__close()
  end })
  for update in updates do
    local params = { id = handle.id, update = plain(update) }
    if update.type == "progress" then session:offer("update", params)
    else session:notify("update", params) end
    session:flush() -- as slow as the client: progress is conflated meanwhile
  end
  return guard and nil
end

-- From this moment on nothing is missed.
local function follow(self, handle, session)
  local updates, _, _, closer = handle:subscribe()
  session:spawn(send_updates, self, handle, session, updates, closer)
end

--- Starts a job, or goes on with its unfinished run; the session is sent its updates. `id`,
--- `status`, `messages`.
function Service:start(params, session)
  local job, script = job_of(params)
  local handle, messages = unfinished.start(self.jobs, job, script,
    { fresh = params.fresh, match = params.match, uuid = params.uuid, id = params.id })
  local ended = handles.is_final(handle.status)
  if session and not ended then follow(self, handle, session) end
  self.jobs.scheduler:admit(handle.id)
  return { id = handle.id, status = handle.status, messages = messages,
    output = ended and handle.result or nil, error = ended and handle.error
      and failure.message_of(handle.error) or nil }
end

--- Queues a job. `id`.
function Service:dispatch(params)
  local job, script = job_of(params)
  local handle = self.jobs:dispatch(job, script, { priority = params.priority,
    run_at = params.run_at, depends_on = params.depends_on })
  self.jobs.scheduler:admit(handle.id)
  return { id = handle.id, status = handle.status }
end

--- From now on the session is sent the job's updates. `status` and what was said last.
function Service:watch(params, session)
  local handle = self.jobs:get(params.id)
  if not handle then
    local row = view.show(self.jobs.library, params.id)
    if not row then self:unknown(params.id) end
    return { status = row.status, ended = true, error = row.error,
      output = row.output and json.decode(row.output) }
  end
  follow(self, handle, session)
  return { status = handle.status, progress = handle:progress() }
end

---@package
function Service:unknown(id)
  error(failure.new(("there is no job %s"):format(tostring(id)), "ESRCH"), 0)
end

--- Whether anybody who watches would see it end.
---@param id integer
---@return boolean
function Service:is_watched(id)
  return (self.watched[id] or 0) > 0
end

--- The id of the job that `text` names: a number, or the beginning of a uuid.
function Service:find(params)
  local text = params.text
  local found = view.by_prefix(self.jobs.library, text)
  if #found == 0 then self:unknown(text) end
  if #found > 1 then
    local ids = {}
    for i, row in ipairs(found) do ids[i] = ("%d (%s)"):format(row.id, row.uuid) end
    bad(("%s may be job %s"):format(text, table.concat(ids, ", ")))
  end
  return { id = found[1].id }
end

--- Waits until those who watch a job that has ended were told so, or for so long.
---@async
---@param seconds number
function Service:settle(seconds)
  local until_ns = core.sys.mono_ns() + seconds * 1e9
  local function is_telling()
    for id, n in pairs(self.watched) do
      if n > 0 and not self.jobs.running[id] and not rows.is_open(self.jobs.library, id) then
        return true
      end
    end
    return false
  end
  while is_telling() and core.sys.mono_ns() < until_ns do task.sleep(0.005) end
end

-- What an answer holds where the client names no limit.
local LISTED = 1000

local function rows_of(library, params)
  local limit = params.limit or LISTED
  if params.below then return view.below(library, params.below, limit) end
  return view.list(library, { all = params.all, children = params.children, limit = limit })
end

--- Open jobs, as rows of the view `jobs` with what they say of their progress now; with `all` also
--- those that have ended; with `below` that job and its parts.
function Service:list(params)
  local list = rows_of(self.jobs.library, params)
  list.changes = nil
  for _, row in ipairs(list) do
    local run = self.jobs.running[row.id]
    -- Its process has died.
    if row.status == "running" and not (run or self.jobs.run_elsewhere) then
      row.status = "queued"
    end
    if run then row.live, row.duration_ns = run.handle:progress(), run.ctx:elapsed_ns() end
  end
  return list
end

function Service:show(params)
  local row = view.show(self.jobs.library, params.id)
  if not row then self:unknown(params.id) end
  local run = self.jobs.running[row.id]
  if run then row.duration_ns = run.ctx:elapsed_ns() end
  for _, list in ipairs { row.children, row.events } do list.changes = nil end
  return row
end

function Service:log(params)
  local list = view.log(self.jobs.library, params.id, params.after)
  list.changes = nil
  return list
end

for _, verb in ipairs { "pause", "resume", "cancel" } do
  Service[verb] = function(self, params)
    local ok, message, code = self.jobs[verb](self.jobs, params.id)
    if not ok then error(failure.new(message, code), 0) end
    if verb == "resume" then self.jobs.scheduler:admit(params.id) end
    return true
  end
end

function Service:retry(params)
  local handle, message, code = self.jobs:retry(params.id)
  if not handle then error(failure.new(message, code), 0) end
  self.jobs.scheduler:admit(handle.id)
  return { id = handle.id }
end

--- Forgets finished jobs, now. `removed`: how many, without their parts.
function Service:prune(params)
  return { removed = retention.forget(self.jobs.library, { jobs = params.keep,
    days = params.days }) }
end

-- `false` on its way, since JSON's null is nothing.
local function limit_of(given, now)
  if given == nil then return now end
  return given or nil
end

-- 90 and not 90.0, wherever it comes from.
local function plain_number(n)
  return math.tointeger(n) or n
end

--- What is kept of the history from now on, where anything of it is said; what is beyond it is
--- forgotten. `jobs`, `days`: what is kept, not there: all; `removed`.
function Service:retention(params)
  local library = self.jobs.library
  local limits = params.default and retention.DEFAULT or retention.limits(library)
  limits = { jobs = limit_of(params.jobs, limits.jobs),
    days = plain_number(limit_of(params.days, limits.days)) }
  if params.jobs ~= nil or params.days ~= nil then retention.set_limits(library, limits)
  elseif params.default then retention.set_limits(library)
  else return limits end
  limits.removed = retention.forget(library, limits)
  return limits
end

--- Adds a job that repeats. `id`.
function Service:schedule(params)
  local job, script = job_of(params)
  local spec = params.spec
  return { id = self.jobs:schedules():add(job, script, spec, params.priority) }
end

function Service:schedules() return self.jobs:schedules():all() end

function Service:unschedule(params)
  if self.jobs:schedules():remove(params.id) then return true end
  error(failure.new(("nothing repeats with the number %d"):format(params.id), "ESRCH"), 0)
end

function Service:locations() return locations.list(self.jobs.library) end

function Service:location(params)
  return locations.find(self.jobs.library, params.name)
end

--- Refuses roots that overlap a location.
function Service:check_roots(params)
  locations.check_roots(self.jobs.library, params.roots)
  return true
end

function Service:location_add(params)
  return locations.add(self.jobs.library, params.root, params.settings)
end

function Service:location_set(params)
  local row = locations.find(self.jobs.library, params.name)
  return locations.set(self.jobs.library, row, { root = params.root, settings = params.settings })
end

--- Settings of the location at `root`; empty where there is none.
function Service:settings(params)
  local root = params.root
  for _, row in ipairs(locations.list(self.jobs.library)) do
    if row.root == root then return row.settings end
  end
  return {}
end

--- Whether the runner is there.
function Service:ping()
  return { version = require "sd.version" }
end

--- Calls a method, if its parameters are what it takes.
---@async
---@param method string
---@param params table
---@param session? sd.RpcSession
---@return any
function Service:call(method, params, session)
  local fault = parameters.fault(method, params)
  if fault then bad(fault) end
  return self[method](self, params, session)
end

--- The methods by name, as sd.rpc serves them.
---@return table<string, function>
function Service:methods()
  local methods = {}
  for name in pairs(parameters.METHODS) do
    methods[name] = function(params, session) return self:call(name, params, session) end
  end
  return methods
end

return M
