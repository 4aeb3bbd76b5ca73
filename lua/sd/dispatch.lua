--- How a job gets into the queue.
local arg = require "sd.arg"
local core = require "sd.core"
local failure = require "sd.failure"
local rows = require "sd.job_rows"

local M = {}

---@class sd.DispatchOptions
---@field priority? "low"|"normal"|"high"|"critical" Default normal.
---@field run_at? number Seconds since 1970: not before.
---@field depends_on? (integer|sd.Handle)[] Jobs that must have completed.
---@field uuid? string Its uuid, 16 bytes (default: a new one).

local KNOWN = { priority = true, run_at = true, depends_on = true, uuid = true }

-- Nanoseconds; nil where it is no time that they can tell.
local function ns_of(seconds)
  return type(seconds) == "number" and math.tointeger(seconds * 1e9 // 1)
end

--- Raises what is wrong with options, where dispatch() was called.
---@param options sd.DispatchOptions
function M.check_options(options)
  for key in pairs(options) do
    if not KNOWN[key] then
      error(("dispatch: no option '%s'"):format(tostring(key)), 3)
    end
  end
  if options.priority and not rows.GRACE[options.priority] then
    error("dispatch: priority is low, normal, high or critical", 3)
  end
  if options.run_at and not ns_of(options.run_at) then
    error("dispatch: run_at is a number of seconds since 1970", 3)
  end
  if options.depends_on and type(options.depends_on) ~= "table" then
    error("dispatch: depends_on is a list of jobs", 3)
  end
end

--- Heavy jobs of one device run one after the other: where their first path lies. Nil where the job
--- is not heavy.
---@param job sd.Job
---@return integer? device
function M.device_of(job)
  local definition = job.definition
  if not definition.heavy then return nil end
  for _, name in ipairs(arg.sorted_names(definition.args)) do
    local path = definition.args[name].type == "path" and job.args[name]
    local stat = path and core.luv.fs_stat(path)
    if stat then return stat.dev end
  end
  return -1 -- without a device of its own: one at a time
end

local function key_of(definition, encoded)
  return core.sys.xxh128(definition.name .. "\0" .. encoded)
end

-- Why job `id` will never have completed; nil where it has, or still may.
local function fault_of(library, id)
  local status = rows.status(library, id)
  if status == "failed" then return status end
  return status == nil and "does not exist" or status == "cancelled" and "was cancelled" or nil
end

--- The first of the jobs that a new one depends on that will never have completed, and why.
---@async
---@param library sd.Library
---@param depends_on (integer|sd.Handle)[]
---@return integer? id
---@return string? why
function M.first_fault(library, depends_on)
  for _, on in ipairs(depends_on) do
    local id = type(on) == "table" and on.id or on
    local why = fault_of(library, id)
    if why then return id, why end
  end
end

-- In one transaction with the dependencies, so that it cannot run before they are known. Its id, or
-- nil where it is unique and there.
local function put_with_dependencies(library, new, depends_on)
  local fault, why = M.first_fault(library, depends_on)
  if fault then
    error(failure.new(("dispatch: job %s, on which this one depends, %s"):format(tostring(fault),
      why), "ECHILD"), 0)
  end
  local sql, params = rows.insert(new)
  local statements = { { sql .. " ON CONFLICT DO NOTHING", params } }
  for _, on in ipairs(depends_on) do
    statements[#statements + 1] = rows.depend(params[1], type(on) == "table" and on.id or on)
  end
  failure.check(library.core:commit { state = statements })
  local row = library:fresh_rows("SELECT id FROM job WHERE uuid = ?", { params[1] })[1]
  return row and row.id
end

--- Makes the row of a job, unless it is unique and there; its id and status.
---@async
---@param library sd.Library
---@param job sd.Job
---@param script sd.Script
---@param options sd.DispatchOptions
---@return integer id
---@return string status
function M.put(library, job, script, options)
  local definition = job.definition
  arg.resolve_paths(definition.args, job.args)
  local encoded = assert(core.codec.encode(job.args))
  local key = definition.unique and key_of(definition, encoded) or nil
  local new = {
    uuid = options.uuid or core.sys.uuid7(), name = definition.name, version = definition.version,
    script = script.path, script_hash = script.hash, args = encoded, priority = options.priority,
    unique_key = key, device = M.device_of(job),
    run_at = options.run_at and ns_of(options.run_at),
  }
  local id
  if options.depends_on then id = put_with_dependencies(library, new, options.depends_on)
  else id = rows.put(library, new) end
  if id then return id, "queued" end
  local known = rows.find_unique(library, key)
  if not known then return M.put(library, job, script, options) end -- it has ended meanwhile
  return known.id, known.status
end

return M
