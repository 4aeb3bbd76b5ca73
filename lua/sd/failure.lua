--- What the world did wrong, as an error that a job raises: message, code, and the exit status.
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
M.TRANSIENT = { EIO = true, ESTALE = true, ETIMEDOUT = true, ENOSPC = true, EMFILE = true }

-- What a code means when it comes from the library.
local LIBRARY_EXIT = {
  ENOLIB = M.EXIT.NO_LIBRARY,
  EDAMAGED = M.EXIT.DAMAGED,
  EFORMAT = M.EXIT.DAMAGED,
  ENEWER = M.EXIT.NEWER,
  EOLDER = M.EXIT.NEWER,
  ENOMEM = M.EXIT.MEMORY,
  EAGAIN = M.EXIT.FAILED, -- no more threads
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

--- The same for everything that is not the library: exit 1, or 17 where memory is out.
function M.check_other(result, message, code, ...)
  if result ~= nil then return result, message, code, ... end
  error(M.new(message, code, code == "ENOMEM" and M.EXIT.MEMORY or M.EXIT.FAILED), 0)
end

return M
