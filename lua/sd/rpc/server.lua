--- The runner's side: methods that clients call, and what is sent to them without being asked.
local core = require "sd.core"
local json = require "sd.json"
local message = require "sd.rpc.message"
local task = require "sd.task"
local text = require "sd.text"

local M = {}

local CODE, limits = message.CODE, core.control.limits

---@alias sd.RpcMethod fun(params: table, session: sd.RpcSession): any

---@class sd.RpcService
---@field package methods table<string, sd.RpcMethod>
---@field package server sd.core.Server
---@field package sessions table<sd.RpcSession, true>
local Service = {}
Service.__index = Service

--- One client. Methods get it as their second argument.
---@class sd.RpcSession
---@field pid integer Of the client.
---@field uid integer
---@field closed boolean
---@field package connection sd.core.Connection
---@field package service sd.RpcService
---@field package thread? thread The coroutine that reads.
---@field package tasks table<sd.Task, thread|true> Requests that run, and what they started.
---@field package running integer Requests that run.
---@field package closers fun()[]
---@field package flushing boolean A coroutine waits for the client to take everything …
---@field package flushers thread[] … and these wait for that one.
local Session = {}
Session.__index = Session

-- ---- answers ----

local function send(self, one)
  if self.closed then return nil, "the session is closed", "ECANCELED" end
  return self.connection:send(message.encode(one))
end

local function refuse(self, id, err)
  send(self, { id = id, error = err })
end

local function answer(self, id, ok, result)
  if not ok then return refuse(self, id, message.raised(result)) end
  if result == nil then result = true end
  local encoded, sent, why, code = pcall(send, self, { id = id, result = result })
  if not encoded then refuse(self, id, message.raised(sent))
  elseif code == "EMSGSIZE" then
    refuse(self, id, message.error(CODE.INTERNAL, "the answer is too long: " .. why, code))
  end
end

-- ---- requests ----

-- Nobody hears of an error here, so the session ends with it.
local function fail(self, err)
  refuse(self, json.null, message.raised(err))
  self:close()
end

-- A coroutine that ends with the session, but for the one that closes it.
local function spawn(self, on_done, fn, ...)
  local one
  one = task.spawn(function(...)
    self.tasks[one] = coroutine.running()
    return fn(...)
  end, ...)
  self.tasks[one] = true
  one.on_done = function()
    self.tasks[one] = nil
    on_done(one)
  end
  return one
end

local function start(self, request, method)
  self.running = self.running + 1
  spawn(self, function(one)
    self.running = self.running - 1
    if request.id ~= nil then answer(self, request.id, one:join()) end
    core.wake(self.thread)
  end, method, request.params or {}, self)
end

local function take(self, line)
  local request, why = json.decode(line)
  if request == nil then return refuse(self, json.null, message.error(CODE.PARSE, why)) end
  local id, fault = message.answer_id(request), message.fault(request)
  if fault then return refuse(self, id, message.error(CODE.REQUEST, fault)) end
  local method = rawget(self.service.methods, request.method)
  if method then return start(self, request, method) end
  if request.id == nil then return end
  local name = text.shorten(request.method, 60)
  refuse(self, id, message.error(CODE.METHOD, ("no method '%s'"):format(name)))
end

-- Reads until the client ends its side. While too many requests run nothing is read, and the
-- client waits.
local function read(self)
  self.thread = coroutine.running()
  while true do
    while self.running >= limits.requests and not self.closed do core.park() end
    if self.closed then return end
    local line, why, code = self.connection:receive()
    if not line then return why, code end
    take(self, line)
  end
end

-- Who has ended his side may still wait for what he asked for, unless nobody is there any more.
local function converse(self)
  local why, code = read(self)
  if code == "EMSGSIZE" or code == "EFORMAT" then
    refuse(self, json.null, message.error(CODE.REQUEST, why))
  end
  while not self.closed and self.running > 0 and self.connection:pending() do core.park() end
  self:flush()
end

local function open_session(service, connection)
  local pid, uid = connection:peer()
  local self = setmetatable({
    pid = pid, uid = uid, closed = false, connection = connection, service = service, tasks = {},
    running = 0, closers = {}, flushing = false, flushers = {},
  }, Session)
  service.sessions[self] = true
  local reader = task.spawn(converse, self)
  reader.on_done = function()
    local ok, err = reader:join()
    if ok then self:close() else fail(self, err) end
  end
end

-- ---- a session, for methods ----

--- Sends a notification. It is kept until the client takes it; a client that never does is
--- disconnected in the end.
---@param method string
---@param params? table
---@return boolean? ok
---@return string? message
---@return string? code
function Session:notify(method, params)
  return send(self, { method = method, params = params })
end

--- The same for what may be lost, such as progress: nothing is sent to a client that is behind.
---@param method string
---@param params? table
---@return boolean sent
function Session:offer(method, params)
  return not self:behind() and self:notify(method, params) == true
end

--- Whether the client has not taken what it was sent before, or is gone.
---@return boolean
function Session:behind()
  local pending = not self.closed and self.connection:pending()
  return not pending or pending >= limits.behind
end

local function begin_flush(self)
  self.flushing = true
  return setmetatable({}, { __close = function()
    self.flushing = false
    local list = self.flushers
    self.flushers = {}
    for _, thread in ipairs(list) do core.wake(thread) end
  end })
end

--- Waits until the client has taken everything. Who sends updates one after the other and calls
--- this in between is as slow as the client, and may drop what came meanwhile.
---@async
---@return boolean? ok
---@return string? message
---@return string? code
function Session:flush()
  while self.flushing and not self.closed do
    self.flushers[#self.flushers + 1] = coroutine.running()
    core.park()
  end
  if self.closed then return nil, "the session is closed", "ECANCELED" end
  local turn <close> = begin_flush(self)
  local ok, why, code = self.connection:flush()
  return turn and ok, why, code
end

--- Starts `fn(...)` beside the request; it ends with the session. An error in it ends the session.
---@param fn function
---@param ... any
---@return sd.Task
function Session:spawn(fn, ...)
  if self.closed then error("the session is closed", 2) end
  return spawn(self, function(one)
    local ok, err = one:join()
    if not ok then fail(self, err) end
  end, fn, ...)
end

--- Calls `fn()` when the session has ended.
---@param fn fun()
function Session:on_close(fn)
  self.closers[#self.closers + 1] = fn
end

--- Ends the session and what runs for it: to-be-closed variables run.
function Session:close()
  if self.closed then return end
  self.closed = true
  self.service.sessions[self] = nil
  self.connection:close()
  if self.thread then core.wake(self.thread) end
  for one, thread in pairs(self.tasks) do
    if thread ~= coroutine.running() then one:cancel() end
  end
  for _, fn in ipairs(self.closers) do fn() end
end

-- ---- the service ----

---@class sd.RpcServeOptions
---@field background? boolean Serving does not keep the event loop running (default false).
---@field clients? integer Connections at once (default 128).
---@field first? number Seconds until a client's first message must be complete (default 10).

--- Listens at a library's control socket, whose lock the caller holds, and answers with what the
--- methods return. A method may wait; what it returns must fit JSON, nothing is `true`. What it
--- raises is an error for the client: a failure keeps its code and exit status.
---@param dir string
---@param methods table<string, sd.RpcMethod>
---@param options? sd.RpcServeOptions
---@return sd.RpcService? service
---@return string? message
---@return string? code EADDRINUSE where somebody listens, EEXIST where a file has the name.
function M.serve(dir, methods, options)
  options = options or {}
  local self = setmetatable({ methods = methods, sessions = {} }, Service)
  local full = message.error(CODE.FULL, "the runner has too many clients")
  local server, why, code = core.control.listen(dir, {
    on_open = function(connection) open_session(self, connection) end,
    refusal = message.encode { id = json.null, error = full },
    background = options.background, clients = options.clients, first = options.first,
  })
  if not server then return nil, why, code end
  self.server = server
  return self
end

--- The clients that are there: `for session in service:each() do`.
---@return fun(): sd.RpcSession?
function Service:each()
  local list, i = {}, 0
  for session in pairs(self.sessions) do list[#list + 1] = session end
  return function()
    i = i + 1
    return list[i]
  end
end

--- Clients that are connected.
---@return integer
function Service:clients()
  local n = 0
  for _ in pairs(self.sessions) do n = n + 1 end
  return n
end

--- Waits until every client has taken what it was sent, or for so long.
---@async
---@param seconds number
---@return boolean all
function Service:drain(seconds)
  local until_ns = core.sys.mono_ns() + seconds * 1e9
  local function is_waiting()
    for session in pairs(self.sessions) do
      if (session.connection:pending() or 0) > 0 then return true end
    end
    return false
  end
  while is_waiting() do
    if core.sys.mono_ns() >= until_ns then return false end
    task.sleep(0.01)
  end
  return true
end

--- Removes the socket and ends all sessions. May be called again.
function Service:close()
  self.server:close()
  for session in pairs(self.sessions) do session:close() end
end

Service.__close = Service.close

return M
