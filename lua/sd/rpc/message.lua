--- Messages of JSON-RPC 2.0: how they are written, what a request is, what an error says.
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local text = require "sd.text"

local M = {}

local EXIT = failure.EXIT

--- Codes of errors: those of the standard, and two in the range that it leaves to us.
M.CODE = {
  PARSE = -32700,    -- not JSON
  REQUEST = -32600,  -- JSON, and not a request; too long; a batch
  METHOD = -32601,   -- no such method
  PARAMS = -32602,   -- wrong parameters: a failure with exit status 2
  INTERNAL = -32603, -- an error in the method's own code
  FAILED = -32000,   -- what the world did wrong: a failure
  FULL = -32001,     -- too many clients
}

local CODE = M.CODE

-- What an error's data say unless they say something else.
local DATA = {
  [CODE.PARSE] = { "EPROTO", EXIT.FAILED }, [CODE.REQUEST] = { "EPROTO", EXIT.FAILED },
  [CODE.METHOD] = { "ENOSYS", EXIT.FAILED }, [CODE.PARAMS] = { "EINVAL", EXIT.USAGE },
  [CODE.INTERNAL] = { "EFAILED", EXIT.SCRIPT }, [CODE.FAILED] = { "EFAILED", EXIT.FAILED },
  [CODE.FULL] = { "EBUSY", EXIT.FAILED },
}

---@class sd.RpcError
---@field code integer One of `CODE`.
---@field message string
---@field data sd.RpcErrorData

---@class sd.RpcErrorData As of a failure: a client can end with the same status.
---@field code string Symbolic, e.g. "ENOSPC".
---@field exit integer
---@field traceback? string Where the method's own code went wrong.

---@param code integer
---@param message string
---@param symbol? string e.g. "ENOSPC"; default: by the code.
---@param exit? integer Default: by the code.
---@return sd.RpcError
function M.error(code, message, symbol, exit)
  return {
    code = code, message = core.sys.is_text(message) and message or text.escape(message),
    data = { code = symbol or DATA[code][1], exit = exit or DATA[code][2] },
  }
end

--- What a method raised.
---@param err any
---@return sd.RpcError
function M.raised(err)
  if failure.is(err) then
    return M.error(err.exit == EXIT.USAGE and CODE.PARAMS or CODE.FAILED, err.message, err.code,
      err.exit)
  elseif err == "not enough memory" then
    return M.error(CODE.INTERNAL, err, "ENOMEM", EXIT.MEMORY)
  end
  local first, traceback = failure.message_of(err):match("^([^\n]*)\n?(.*)$")
  local one = M.error(CODE.INTERNAL, first)
  one.data.traceback = traceback ~= "" and traceback or nil
  return one
end

--- Message, code and exit status of an error that came.
---@param err any
---@return string message
---@return string code Symbolic.
---@return integer exit
function M.read_error(err)
  err = type(err) == "table" and err or {}
  local data = type(err.data) == "table" and err.data or {}
  return type(err.message) == "string" and err.message or "an error that says nothing",
    type(data.code) == "string" and data.code or "EPROTO",
    math.type(data.exit) == "integer" and data.exit or EXIT.FAILED
end

---@param message table
---@return string line Without a newline.
function M.encode(message)
  message.jsonrpc = "2.0"
  return json.encode_exact(message)
end

-- An id that an answer may carry.
local function is_id(id)
  return type(id) == "string" or type(id) == "number"
end

---@class sd.RpcRequest
---@field method string
---@field params? table
---@field id? string|number Nil: a notification, nobody waits for an answer.

--- Why a value is no request; nil where it is one.
---@param value any
---@return string? fault
function M.fault(value)
  if type(value) ~= "table" then return "a request is an object" end
  if value[1] ~= nil then return "batches are not supported: send one request after the other" end
  if value.jsonrpc ~= "2.0" then return 'jsonrpc is not "2.0"' end
  if type(value.method) ~= "string" then return "the method is not a string" end
  if value.id ~= nil and not is_id(value.id) then return "the id is neither string nor number" end
  if value.params ~= nil and type(value.params) ~= "table" then
    return "the parameters are neither object nor array"
  end
end

--- The id to answer with, also to what is no request.
---@param value any
---@return any id
function M.answer_id(value)
  local id = type(value) == "table" and value.id or nil
  return is_id(id) and id or json.null
end

return M
