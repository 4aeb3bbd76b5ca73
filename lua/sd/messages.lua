--- What a job tells while it runs: lines for the user, errors that do not end it, how far it is. A
--- part of sd.Context.
local core = require "sd.core"
local failure = require "sd.failure"
local progresses = require "sd.progress"

---@class sd.Context
local Messages = {}

local LONGEST = 4096 -- bytes of a message

local function message_of(format, ...)
  return select("#", ...) > 0 and tostring(format):format(...) or tostring(format)
end

-- The end of a message that is too long for a log.
local function cut(message)
  if #message <= LONGEST then return message end
  local keep = LONGEST
  while (message:byte(keep + 1) or 0) & 0xC0 == 0x80 and keep > LONGEST - 4 do keep = keep - 1 end
  return ("%s... (%d bytes more)"):format(message:sub(1, keep), #message - keep)
end

-- The log keeps what the user is shown; it is written with the next commit.
local function say(self, level, message)
  message = cut(message)
  self.lines[#self.lines + 1] = { at = core.sys.wall_ns(), level = level, message = message }
  self.handle:emit { type = "log", level = level, message = message }
end

--- A line for the user. `%` directives are filled as by string.format where values follow.
---@param format string
function Messages:log(format, ...)
  say(self, "info", message_of(format, ...))
end

--- The same, with SDLUA_DEBUG set only.
---@param format string
function Messages:log_debug(format, ...)
  if os.getenv("SDLUA_DEBUG") then say(self, "debug", message_of(format, ...)) end
end

--- Something that the user should know, and that is no error.
---@param format string
function Messages:add_warning(format, ...)
  local message = message_of(format, ...)
  self.warnings[#self.warnings + 1] = message
  say(self, "warning", message)
end

---@class sd.JobError
---@field message string
---@field operation? string Default: the job's name.
---@field path? string
---@field error? string Symbolic code, e.g. "EACCES".

--- An error that does not end the job: it is written with the next commit, and the job ends
--- "complete, except for errors".
---@param err string|sd.JobError
function Messages:add_non_critical_error(err)
  if type(err) ~= "table" then err = { message = failure.message_of(err) } end
  if type(err.message) ~= "string" then
    error("add_non_critical_error: a message is missing", 2)
  end
  self.notes[#self.notes + 1] = err
end

--- Says how far the job is. Cheap: what is not looked at is replaced by the next call. Where
--- `phase` is a table, its field `fraction` (0 to 1) is set; it never goes back within a phase.
---@param progress table Of the type that the job declares.
function Messages:progress(progress)
  if type(progress) ~= "table" then error("progress: a table expected", 2) end
  local kind = self.definition.progress
  progress = kind and kind(progress) or progress
  progresses.advance(self.furthest, progress)
  local parent = self.library.jobs.running[self.parent_id]
  if parent then parent.ctx.child_progress[self.id] = progress end
  self.handle:report(progress)
end

return Messages
