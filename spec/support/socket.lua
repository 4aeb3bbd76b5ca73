--- For specs of the control socket: runners, clients that call, and clients that misbehave.
local core = require "sd.core"
local failure = require "sd.failure"
local rpc = require "sd.rpc"
local task = require "sd.task"

local uv, control = core.luv, core.control
local LIMIT_MS = 60000

local M = {}

-- What libuv writes to a pipe that the other side has closed would end the tests.
local sigpipe = uv.new_signal()
sigpipe:start("sigpipe", function() end)
sigpipe:unref()

--- Runs `fn` as a coroutine that may wait; fails where that takes too long.
---@param fn fun()
function M.run(fn)
  local timer = uv.new_timer()
  timer:start(LIMIT_MS, 0, function() error("what was waited for did not happen") end)
  timer:unref()
  local guard <close> = setmetatable({}, { __close = function() timer:close() end })
  task.run(fn)
  return guard and nil
end

---@async
---@param condition fun(): any
function M.wait_until(condition)
  while not condition() do task.sleep(0.002) end
end

--- The socket's path in a directory.
---@param dir string
---@return string
function M.path(dir)
  return dir .. "/" .. control.name
end

--- Methods that a runner may have: some that work, and each way to fail.
M.METHODS = {
  echo = function(params) return params end,
  nothing = function() end,
  no = function() return false end,
  sleep = function(params) task.sleep(params.seconds) return params.seconds end,
  full = function() error(failure.new("write it: No space left on device", "ENOSPC", 14), 0) end,
  wrong = function() error(failure.new("how many?", "EINVAL", failure.EXIT.USAGE), 0) end,
  broken = function() error("it broke") end,
  table_raised = function() error({}) end,
  unwritable = function() return { print } end,
  long = function(params) return ("x"):rep(params.length) end,
}

--- A client of the runner in `dir`, which is there.
---@async
---@param dir string
---@return sd.RpcClient
function M.connect(dir)
  return assert(rpc.connect(dir, { timeout = 0 }))
end

--- That others are still served.
---@async
---@param dir string
function M.expect_service(dir)
  local client <close> = M.connect(dir)
  local result = client:check("echo", { "still here" })
  assert(result[1] == "still here" and not result[2])
end

--- A client that says what it likes: bytes, not messages.
---@class spec.Raw
---@field pipe table
---@field got string What came and was not heard.
---@field ended? any
local Raw = {}
Raw.__index = Raw

---@async
---@param dir string
---@return spec.Raw
function M.raw(dir)
  local self = setmetatable({ pipe = uv.new_pipe(), got = "" }, Raw)
  local connected
  self.pipe:connect(M.path(dir), function(err) connected = err or true end)
  M.wait_until(function() return connected end)
  assert(connected == true, connected)
  self:read_on()
  return self
end

--- Takes what comes; `pipe:read_stop()` ends that.
function Raw:read_on()
  self.pipe:read_start(function(err, data)
    self.got = self.got .. (data or "")
    self.ended = self.ended or err or not data
  end)
end

---@param bytes string
function Raw:say(bytes)
  self.pipe:write(bytes)
end

--- The next line, decoded, and as it was; nil where the connection has ended.
---@async
---@return any message
---@return string? line
function Raw:hear()
  M.wait_until(function() return self.ended or self.got:find("\n", 1, true) end)
  local line, rest = self.got:match("^([^\n]*)\n(.*)$")
  if not line then return nil end
  self.got = rest
  return assert(require "dkjson".decode(line)), line
end

--- That the runner closes the connection, and says nothing before.
---@async
function Raw:expect_end()
  M.wait_until(function() return self.ended end)
  assert(self.got == "", self.got)
end

function Raw:__close()
  if not self.pipe:is_closing() then self.pipe:close() end
end

return M
