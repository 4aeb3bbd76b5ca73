--- The client's side: calls methods of a library's runner, and hears what it says by itself.
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local message = require "sd.rpc.message"
local task = require "sd.task"

local M = {}

local limits = core.control.limits

-- Seconds without a word from a runner that was asked for something, until it does not answer.
local SILENCE = 10
-- In how many parts they are counted, and in which of them the runner is asked whether it is there:
-- what takes long is no silence.
local TICKS, ASKED = 10, 5

---@class sd.RpcClient
---@field pid integer Of the runner.
---@field package connection sd.core.Connection
---@field package thread? thread The coroutine that reads.
---@field package reader sd.Task
---@field package calls table<integer, sd.RpcCall> By id: those that wait for an answer.
---@field package last_id integer
---@field package silence number
---@field package heard table Notifications that nobody took, `first` to `last`.
---@field package listeners thread[] Coroutines that wait for one.
---@field package over? {message: string, code: string, exit: integer} Why nothing more comes.
local Client = {}
Client.__index = Client

---@class sd.RpcCall
---@field thread thread
---@field reply? table
---@field quiet integer Ticks since the runner has said anything.
---@field late? string Why it was given up …
---@field code? string … and the code of that.

local function wake_reader(self)
  if self.thread then core.wake(self.thread) end
end

local function wake_listeners(self)
  local list = self.listeners
  self.listeners = {}
  for _, thread in ipairs(list) do core.wake(thread) end
end

-- Nothing more comes: everybody who waits goes on.
local function finish(self, why, code, exit)
  if self.over then return end
  self.over = { message = why, code = code, exit = exit or failure.EXIT.FAILED }
  self.connection:close()
  for _, call in pairs(self.calls) do core.wake(call.thread) end
  wake_listeners(self)
end

-- ---- what comes ----

local function take(self, line)
  for _, call in pairs(self.calls) do call.quiet = 0 end
  local one, why = json.decode(line)
  if type(one) ~= "table" then
    return finish(self, "the runner does not speak JSON-RPC: " .. (why or "no object"), "EPROTO")
  end
  if one.id ~= nil then
    local call = self.calls[one.id] -- none: it was given up meanwhile
    self.calls[one.id] = nil
    if call then
      call.reply = one
      core.wake(call.thread)
    end
  elseif one.error then
    finish(self, message.read_error(one.error)) -- of no call: the runner gives the connection up
  elseif type(one.method) == "string" then
    local heard = self.heard
    heard.last = heard.last + 1
    heard[heard.last] = { one.method, type(one.params) == "table" and one.params or {} }
    wake_listeners(self)
  end
end

-- A client that listens to nothing must not keep everything: then nothing is read, and the runner
-- sees that it is behind. Who waits for an answer needs it though.
local function is_full(self)
  return self.heard.last - self.heard.first + 1 >= limits.notifications
    and next(self.calls) == nil
end

local function read(self)
  self.thread = coroutine.running()
  while not self.over do
    while is_full(self) do core.park() end
    local line, why, code = self.connection:receive()
    if line then take(self, line)
    else finish(self, why or "the runner has closed the connection", code or "EPIPE") end
  end
end

---@class sd.RpcConnectOptions
---@field timeout? number Seconds in which a runner may still come up (default 5); 0: one try.
---@field silence? number Seconds without a word after which a call gives up (default 10).

--- Connects to the runner of the library in directory `dir`. Close the client, or have it closed
--- with `<close>`.
---@async
---@param dir string
---@param options? sd.RpcConnectOptions
---@return sd.RpcClient? client
---@return string? message
---@return string? code ENOENT or ECONNREFUSED where there is none; ETIMEDOUT, EPERM.
function M.connect(dir, options)
  local connection, why, code = core.control.connect(dir, options)
  if not connection then return nil, why, code end
  local self = setmetatable({
    pid = connection:peer(), connection = connection, calls = {}, last_id = 0,
    silence = options and options.silence or SILENCE, heard = { first = 1, last = 0 },
    listeners = {},
  }, Client)
  self.reader = task.spawn(read, self)
  self.reader.on_done = function()
    local ok, err = self.reader:join()
    if not ok then finish(self, tostring(err), "EFAILED", failure.EXIT.SCRIPT) end
  end
  return self
end

-- ---- calls ----

local function give_up(call, code, why, seconds)
  call.late, call.code = why:format(seconds), code
  core.wake(call.thread)
end

local function next_id(self)
  self.last_id = self.last_id + 1
  return self.last_id
end

-- Any answer will do, also that there is no such method.
local function ask(self)
  self.connection:send(message.encode { id = next_id(self), method = "ping" })
end

-- By counting, not by the clock: that goes on while this process stands still.
local function tick(self, call)
  call.quiet = call.quiet + 1
  if call.quiet == ASKED then ask(self) end
  if call.quiet < TICKS then return end
  give_up(call, "ESILENT", "no word from the runner for %g s", self.silence)
end

local function milliseconds(seconds)
  return math.max(1, math.ceil(seconds * 1000))
end

local function start_timer(self, call, seconds)
  local timer = core.luv.new_timer()
  if seconds then
    timer:start(milliseconds(seconds), 0, function()
      give_up(call, "ETIMEDOUT", "no answer within %g s", seconds)
    end)
  else
    local each = milliseconds(self.silence / TICKS)
    timer:start(each, each, function() tick(self, call) end)
  end
  return timer
end

-- In the list until it is closed: also where the coroutine is ended while it waits.
local function open_call(self, seconds)
  local id = next_id(self)
  local call = { thread = coroutine.running(), id = id, quiet = 0 }
  local timer = start_timer(self, call, seconds)
  self.calls[id] = call
  return setmetatable(call, { __close = function()
    self.calls[id] = nil
    timer:close()
  end })
end

local function result_of(self, call, method)
  local reply, over = call.reply, self.over
  if reply and reply.error then return nil, message.read_error(reply.error) end
  if reply and reply.result ~= nil then return reply.result end
  if reply then return nil, "an answer without a result", "EPROTO", failure.EXIT.FAILED end
  if over then return nil, over.message, over.code, over.exit end
  return nil, method .. ": " .. call.late, call.code, failure.EXIT.FAILED
end

---@class sd.RpcCallOptions
---@field timeout? number Seconds (default: as long as it takes, while the runner answers anything
--- at all). The request itself goes on.

--- Calls a method and waits for its answer. Several coroutines may call at the same time.
---@async
---@param method string
---@param params? table
---@param options? sd.RpcCallOptions
---@return any result Never nil where the call went well.
---@return string? message
---@return string? code Symbolic, e.g. "ENOENT"; EPIPE where the runner has ended, ETIMEDOUT,
--- ESILENT where it has said nothing at all for ten seconds.
---@return integer? exit The status to end with, as if the method had run here.
function Client:call(method, params, options)
  local seconds = options and options.timeout
  if self.over then return result_of(self, {}) end
  local call <close> = open_call(self, seconds)
  local sent, why, code = self.connection:send(message.encode {
    id = call.id, method = method, params = params,
  })
  -- Where the runner is gone it may have said why; the reader finds that.
  if not sent and code ~= "EPIPE" then return nil, why, code, failure.EXIT.FAILED end
  wake_reader(self)
  while not (call.reply or call.late or self.over) do core.park() end
  return result_of(self, call, method)
end

--- The same, and raises a failure where the call failed.
---@async
---@param method string
---@param params? table
---@param options? sd.RpcCallOptions
---@return any result
function Client:check(method, params, options)
  local result, why, code, exit = self:call(method, params, options)
  if result == nil then error(failure.new(why, code, exit), 0) end
  return result
end

--- Tells the runner something that it does not answer.
---@param method string
---@param params? table
---@return boolean? ok
---@return string? message
---@return string? code
function Client:notify(method, params)
  if self.over then return nil, self.over.message, self.over.code end
  return self.connection:send(message.encode { method = method, params = params })
end

-- ---- notifications ----

local function next_notification(self)
  local heard = self.heard
  while heard.first > heard.last do
    if self.over then return nil end
    self.listeners[#self.listeners + 1] = coroutine.running()
    core.park()
  end
  local one = heard[heard.first]
  heard[heard.first] = nil
  heard.first = heard.first + 1
  wake_reader(self)
  return one[1], one[2]
end

--- What the runner says by itself: `for method, params in client:notifications() do`. Ends with the
--- connection. What came before it is called is kept.
---@async
---@return fun(): string?, table?
function Client:notifications()
  return function() return next_notification(self) end
end

--- Why nothing more comes; nil while the connection is good.
---@return string? message
---@return string? code
---@return integer? exit
function Client:failure()
  local over = self.over
  if over then return over.message, over.code, over.exit end
end

--- Ends the connection; calls that wait fail. May be called again.
function Client:close()
  self.reader:cancel()
  finish(self, "the connection was closed", "ECANCELED")
end

Client.__close = Client.close

return M
