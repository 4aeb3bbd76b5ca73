--- Definitions of jobs: a name, a version, typed arguments and a function that runs.
local arg = require "sd.arg"

local M = {}

---@class sd.JobDefinition
---@field name string
---@field version integer A checkpoint of another version is refused.
---@field resumable boolean Whether a stopped run goes on; else it starts again.
---@field description? string
---@field args table<string, sd.Arg>
---@field progress? sd.ProgressType
---@field unique boolean Dispatched again with the same arguments: the one that is open already.
---@field heavy boolean One at a time on a device; the device is that of its first path argument.
---@field max_concurrent? integer How many of this name run at the same time (default: no limit).
---@field retries integer How often it is tried again after a transient error: EIO, ESTALE,
--- ETIMEDOUT, ENOSPC, EMFILE, ENFILE (default 3).
---@field retry_delay number Seconds before the first retry; each further one waits twice as long
--- (default 1).
---@field run? fun(self: sd.Job, ctx: sd.Context): any
---@overload fun(args: table): sd.Job
local Definition = {}
Definition.__name = "sd.JobDefinition"

---@class sd.Job
---@field args table<string, any> Checked, with defaults.
---@field definition sd.JobDefinition

local KINDS = {
  name = "string", version = "integer", resumable = "boolean", description = "string",
  args = "table", progress = "table", unique = "boolean", heavy = "boolean",
  max_concurrent = "integer", retries = "integer", retry_delay = "number",
}

local function kind_of(value)
  return math.type(value) == "integer" and "integer" or type(value)
end

local function check_fields(def)
  for key, value in pairs(def) do
    local kind = KINDS[key]
    if not kind then error(("job: no field '%s'"):format(tostring(key)), 3) end
    if kind_of(value) ~= kind and not (kind == "number" and type(value) == "number") then
      error(("job: %s is not a %s"):format(key, kind), 3)
    end
  end
  if def.max_concurrent and def.max_concurrent < 1 then
    error("job: max_concurrent is less than 1", 3)
  end
  if not def.name then error("job: a name is missing", 3) end
  if not def.name:find("^[%a][%w_-]*$") then
    error(("job: the name '%s' is not a letter followed by letters, digits, - and _"):format(
      def.name), 3)
  end
end

--- Defines a job. Give it a function `run(self, ctx)` afterwards.
---@param def table
---@return sd.JobDefinition
function M.define(def)
  check_fields(def)
  local class = {
    name = def.name,
    version = def.version or 1,
    resumable = def.resumable ~= false,
    description = def.description,
    args = def.args or {},
    progress = def.progress,
    unique = def.unique == true,
    heavy = def.heavy == true,
    max_concurrent = def.max_concurrent,
    retries = def.retries or 3,
    retry_delay = def.retry_delay or 1,
  }
  for name, a in pairs(class.args) do
    if type(a) ~= "table" or not a.check then
      error(("job %s: argument '%s' is not one of sd.arg"):format(def.name, tostring(name)), 2)
    end
  end
  class.__index = class
  return setmetatable(class, Definition)
end

--- A job of this definition with these arguments; raises where an argument is wrong.
function Definition:__call(args)
  local values, message = arg.check_all(self.args, args or {})
  if not values then error(("job %s: %s"):format(self.name, message), 2) end
  return setmetatable({ args = values, definition = self }, self)
end

---@param value any
---@return boolean
function M.is_definition(value)
  return getmetatable(value) == Definition
end

return M
