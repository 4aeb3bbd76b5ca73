--- What the world did wrong, as an error that a job raises: message, code, and the exit status.
local core = require "sd.core"

local M = {}

---@class sd.Failure
---@field message string One line; names the thing.
---@field code string Symbolic, e.g. "ENOSPC".
---@field exit integer The status that the process ends with.
---@field usage? string Lines that follow the message.
local Failure = {}
Failure.__index = Failure
Failure.__name = "sd.Failure"

function Failure:__tostring()
  return self.message
end

--- Exit statuses of the program.
M.EXIT = {
  OK = 0, FAILED = 1, USAGE = 2, WITH_ERRORS = 3,
  NO_LIBRARY = 10, DAMAGED = 12, NEWER = 13, UNWRITABLE = 14, SCRIPT = 15, MEMORY = 17,
  SIGINT = 130, SIGTERM = 143,
}

--- Codes of what may be over when it is tried again; EACCES is none.
M.TRANSIENT = { EIO = true, ESTALE = true, ETIMEDOUT = true, ENOSPC = true, EMFILE = true,
  ENFILE = true }

--- Codes of what the process, or the system, has no more of.
M.EXHAUSTED = { EMFILE = true, ENFILE = true, ENOMEM = true }

-- What a code means when it comes from the library.
local LIBRARY_EXIT = {
  ENOLIB = M.EXIT.NO_LIBRARY,
  EDAMAGED = M.EXIT.DAMAGED,
  EFORMAT = M.EXIT.DAMAGED,
  ENEWER = M.EXIT.NEWER,
  EOLDER = M.EXIT.NEWER,
  ENOMEM = M.EXIT.MEMORY,
  EAGAIN = M.EXIT.FAILED, -- no more threads
  EMFILE = M.EXIT.FAILED,
  ENFILE = M.EXIT.FAILED,
  ESQL = M.EXIT.SCRIPT,
  ESCRIPT = M.EXIT.SCRIPT,
}

--- Makes a failure, for `error()`.
---@param message string
---@param code? string
---@param exit? integer Default 1.
---@return sd.Failure
function M.new(message, code, exit)
  return setmetatable({ message = message, code = code or "EFAILED", exit = exit or M.EXIT.FAILED },
    Failure)
end

--- A wrong command line: exit 2, and how it is used.
---@param message string
---@param usage string Lines.
---@return sd.Failure
function M.usage(message, usage)
  local failure = M.new(message, "EINVAL", M.EXIT.USAGE)
  failure.usage = usage
  return failure
end

---@param value any
---@return boolean
function M.is(value)
  return getmetatable(value) == Failure
end

-- "EIO" of "EIO" or of 5, as Lua's own functions give it.
local function symbol(code)
  if math.type(code) ~= "integer" then return code end
  local _, name = core.luv.translate_sys_error(code)
  return name
end

--- The symbolic code of an error that has one: a failure, or a table with a field `code`, which may
--- also be the number of an errno.
---@param err any
---@return string?
function M.code_of(err)
  if type(err) ~= "table" then return nil end
  local code = symbol(err.code)
  return type(code) == "string" and code or nil
end

local function has_tostring(err)
  local meta = getmetatable(err)
  return type(meta) == "table" and meta.__tostring ~= nil
end

--- What an error says, whatever it is: of a table its field `message`.
---@param err any
---@return string
function M.message_of(err)
  if type(err) == "string" or type(err) == "number" or has_tostring(err) then
    return tostring(err)
  elseif type(err) == "table" and type(err.message) == "string" then
    return err.message
  end
  return "an error that is " .. (err == nil and "nil" or "a " .. type(err))
end

--- The status that a process ends with after this error: a failure's own, 17 where memory is out,
--- else that of an error in a script.
---@param err any
---@return integer
function M.exit_of(err)
  if M.is(err) then return err.exit end
  return err == "not enough memory" and M.EXIT.MEMORY or M.EXIT.SCRIPT
end

--- Passes results on, or raises `nil, message, code` as a failure of the library.
function M.check(result, message, code, ...)
  if result ~= nil then return result, message, code, ... end
  error(M.new(message, code, LIBRARY_EXIT[code] or M.EXIT.UNWRITABLE), 0)
end

--- The same for everything that is not the library, of functions of Lua, too: exit 1, or 17 where
--- memory is out. Scripts know it as `sd.check`.
---@param result any Nil: what follows is what went wrong.
---@param message? string
---@param code? string|integer Symbolic, or the number of an errno.
---@return any result
---@return any ... What followed it.
function M.check_other(result, message, code, ...)
  if result ~= nil then return result, message, code, ... end
  code, message = symbol(code), message or "failed without a reason"
  error(M.new(message, code, code == "ENOMEM" and M.EXIT.MEMORY or M.EXIT.FAILED), 0)
end

return M
