--- Jobs that run in another process: a handle like any other, steered through the control socket.
local failure = require "sd.failure"
local handles = require "sd.handle"
local rpc = require "sd.rpc"
local task = require "sd.task"

local M = {}

---@class sd.Remote
---@field client sd.RpcClient
---@field pid integer Of the runner.
---@field package path string
---@field lost? string Why the runner is gone.
---@field package handles table<integer, sd.Handle>
local Remote = {}
Remote.__index = Remote

-- What handles ask of the jobs that they belong to.
local function proxy(self)
  local jobs = { runs_of = function() return {} end }
  for _, verb in ipairs { "pause", "resume", "cancel" } do
    jobs[verb] = function(_, id) return self:call(verb, { id = id }) end
  end
  return jobs
end

local function take(handle, update)
  if update.type == "progress" then
    handle:report(update.progress)
  elseif update.type == "completed" then
    handle.result = update.output == nil and true or update.output
    handle.metrics, handle.error_counts = update.metrics, update.error_counts
    handle:set_status("completed", update)
  elseif update.type == "failed" then
    handle.error = failure.new(update.error, update.code, update.exit)
    handle:set_status("failed", { type = "failed", status = "failed", error = handle.error })
  elseif update.type == "status" then
    handle:set_status(update.status)
  else
    handle:emit(update)
  end
end

-- Who waits for a job learns that nobody runs it here any more.
local function lose(self, why)
  self.lost = why or "the runner has gone"
  for _, handle in pairs(self.handles) do
    if not handles.is_final(handle.status) then
      handle.error = failure.new(self.lost, "EPIPE")
      handle:set_status("failed", { type = "failed", status = "failed", error = handle.error })
    end
  end
end

local function listen(self)
  for method, params in self.client:notifications() do
    local handle = method == "update" and self.handles[params.id]
    if handle then take(handle, params.update) end
  end
  lose(self)
end

--- Connects to the runner of the library in directory `path`.
---@async
---@param path string
---@param timeout? number Seconds in which one may still come up.
---@return sd.Remote? remote
---@return string? message
---@return string? code
function M.connect(path, timeout)
  local client, message, code = rpc.connect(path, { timeout = timeout })
  if not client then return nil, message, code end
  local self = setmetatable({ client = client, path = path, pid = client.pid, handles = {} },
    Remote)
  self.listener = task.spawn(listen, self)
  return self
end

-- The watchdog of the runner's process says which job it is, in the lock's file.
local function stuck_job(path)
  local file = io.open(path .. "/library.lock")
  local job = file and file:read("a"):match("\nstuck (%d+) ")
  if file then file:close() end
  if not job then return "" end
  job = job == "0" and "a callback" or "job " .. job
  return (", in which %s lets nothing else run"):format(job)
end

-- What who finds a library in use and nobody who answers is told, too.
local function silent(self)
  return failure.new(("the library %s is in use by another process (pid %d)%s: it does not answer;"
    .. " see sdlua job cancel --force"):format(self.path, self.pid, stuck_job(self.path)),
    "ELOCKED", failure.EXIT.UNWRITABLE)
end

--- Calls a method of the runner; what it raises there is raised here. A runner that says nothing at
--- all for ten seconds is a failure with the code ELOCKED.
---@async
---@param method string
---@param params? table
---@return any
function Remote:call(method, params)
  local result, message, code, exit = self.client:call(method, params or {})
  if result ~= nil then return result end
  error(code == "ESILENT" and silent(self) or failure.new(message, code, exit), 0)
end

local function add_handle(self, id, status)
  local handle = handles.new(id, status)
  handle.jobs = proxy(self)
  self.handles[id] = handle
  return handle
end

--- Starts a job in the runner, or goes on with its unfinished run.
---@async
---@param params {script: string, args: table, fresh?: boolean, match?: string[]}
---@return sd.Handle handle
---@return string[] messages
function Remote:start(params)
  local started = self:call("start", { script = params.script, args = params.args,
    fresh = params.fresh, match = params.match, uuid = params.uuid, id = params.id })
  if type(started) ~= "table" or math.type(started.id) ~= "integer" then
    error(failure.new("start: an answer without a job", "EPROTO"), 0)
  end
  local handle = add_handle(self, started.id, started.status)
  handle.result, handle.error = started.output, started.error and failure.new(started.error)
  return handle, started.messages
end

--- A handle of a job that runs in the runner.
---@async
---@param id integer
---@return sd.Handle
function Remote:watch(id)
  local handle = add_handle(self, id, "queued")
  local seen = self:call("watch", { id = id })
  if seen.progress then handle:report(seen.progress) end
  if seen.ended then
    handle.result, handle.error = seen.output, seen.error and failure.new(seen.error)
  end
  handle:set_status(seen.status)
  return handle
end

function Remote:close()
  self.listener:cancel()
  self.client:close()
end

Remote.__close = Remote.close

return M
