--- The runner of a library: this process, or the one that came first.
local core = require "sd.core"
local failure = require "sd.failure"
local library = require "sd.library"
local remote = require "sd.remote"
local rpc = require "sd.rpc"
local service = require "sd.service"
local task = require "sd.task"
local text = require "sd.text"
local unfinished = require "sd.unfinished"
local watchdog = require "sd.watchdog"

local M = {}

-- Seconds. While the lock is held and nobody listens, somebody is starting or ending.
local PATIENCE = 5

---@class sd.Here Jobs run in this process.
---@field library sd.Library
---@field service sd.Service
---@field package server? sd.RpcService
---@field package watchdog? sd.core.Watchdog
local Here = {}
Here.__index = Here

--- Starts a job here, or goes on with its unfinished run.
---@async
---@param params {job: sd.Job, loaded: sd.Script, fresh?: boolean, match?: string[]}
---@return sd.Handle handle
---@return string[] messages
function Here:start(params)
  local handle, messages = unfinished.start(self.library.jobs, params.job, params.loaded, params)
  self.library.jobs.scheduler:admit(handle.id)
  return handle, messages
end

--- Calls a method of the runner, which this process is.
---@async
---@param method string
---@param params? table
---@return any
function Here:call(method, params)
  return self.service:call(method, params or {})
end

--- Lets others in through the control socket.
---@return boolean? ok
---@return string? message
function Here:serve()
  local message
  self.server, message = rpc.serve(self.library.path, self.service:methods(), { background = true })
  if not self.server then return nil, message end
  self.library.core:leave_out(core.control.name)
  return true
end

--- Signals that were just asked for end the process, where a script keeps it from hearing them.
function Here:guard_signals()
  if self.watchdog then self.watchdog:guard_signals() end
end

--- Clients that are connected.
---@return integer
function Here:clients()
  return self.server and self.server:clients() or 0
end

--- Jobs that were given to this process and that no client watches: nobody would go on with them.
---@return integer[] ids
function Here:orphans()
  local ids = {}
  for id, run in pairs(self.library.jobs.running) do
    if not run.row.parent_id and not self.service:is_watched(id) then ids[#ids + 1] = id end
  end
  table.sort(ids)
  return ids
end

--- Ends what runs, where it stands; it is resumable. Clients hear all that was said to them.
---@param at_once? any As for the library.
function Here:close(at_once)
  if self.server then
    self.service:settle(0.5)
    self.server:drain(0.5)
    self.server:close()
  end
  if self.watchdog then self.watchdog:close() end
  self.library:close(at_once)
end

Here.__close = Here.close

local function say(message)
  if core.sys.writable(2) then io.stderr:write("sdlua: ", text.escape(message), "\n") end
end

---@async
local function here(lib, options)
  watchdog.recover(lib)
  if not options.quiet then lib.jobs.on_notice = say end
  return setmetatable({ library = lib, service = service.of(lib.jobs),
    watchdog = watchdog.start(lib, options.quiet) }, Here)
end

---@class sd.RunnerOptions: sd.LibraryOptions
---@field all? boolean All jobs that wait are run (default: those that this process or a client
--- asks for).
---@field quiet? boolean Nothing is written to standard error (default false).

local VERSION = require "sd.version"

-- Two versions need not mean the same by a method.
local function check_version(there, answer)
  local version = type(answer) == "table" and answer.version
  if version == VERSION then return end
  local other = type(version) == "string" and "sdlua " .. version or "no sdlua of this version"
  error(failure.new(("the runner, process %d, is %s, and this is sdlua %s: end it first"):format(
    there.pid, other, VERSION), "EPROTO", failure.EXIT.NEWER), 0)
end

-- Whether the runner answers; nil where it has gone meanwhile. One of another version is raised.
local function answers(there)
  local answer, _, code = there.client:call("ping", {}, { timeout = PATIENCE })
  if not answer and code == "EPIPE" then return nil end
  if not answer and code == "ETIMEDOUT" then return false end
  check_version(there, answer)
  return true
end

-- The runner that holds the lock, and whether one is there that does not answer.
local function find(path)
  local there = remote.connect(path, 0)
  local alive = there and answers(there)
  if alive then return there end
  if there then there:close() end
  return nil, alive == false
end

--- Becomes the runner of the library in directory `path`, or the client of the one that is there.
---@async
---@param path string
---@param options? sd.RunnerOptions
---@return sd.Here|sd.Remote
function M.open(path, options)
  options = options or {}
  local silent, over = false, core.luv.hrtime() + PATIENCE * 1e9
  while true do
    local lib, message, code = library.open(path, options)
    if lib then
      if not options.all then lib.jobs.scheduler:only_admitted() end
      return here(lib, options)
    end
    if code ~= "ELOCKED" then failure.check(nil, message, code) end
    if silent then
      failure.check(nil, message .. ": it does not answer; see sdlua job cancel --force", code)
    end
    -- By the clock: SQLite has waited, too, where another program locks the database.
    if core.luv.hrtime() > over then failure.check(nil, message, code) end
    local there
    there, silent = find(path)
    if there then return there end
    task.sleep(0.05)
  end
end

return M
