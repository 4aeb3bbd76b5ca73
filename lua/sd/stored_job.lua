--- What a job's row keeps encoded: arguments and checkpoint, and whether they can be used.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

-- What the codec refuses, with the way out.
local function check_stored(row, value, message, code, ...)
  if value ~= nil then return value, message, code, ... end
  failure.check(nil, ("the checkpoint of job %d cannot be used: %s; start over with --fresh")
    :format(row.id, message), code)
end

--- The arguments of a row; a failure where they are damaged.
---@param row sd.JobRow
---@return table<string, any>
function M.args_of(row)
  return (check_stored(row, core.codec.decode(row.args)))
end

--- A checkpoint belongs to one version of its script; a failure where it is another one's.
---@param row sd.JobRow
---@param script sd.Script
function M.check_version(row, script)
  local version = script.definition.version
  if row.state then
    local _, meta = check_stored(row, core.codec.decode(row.state,
      { push_queue = function() return false end }))
    version = meta.version == version and version or nil
  end
  if row.version == script.definition.version and version then return end
  error(failure.new(("job %d was begun by version %d of %s, and this is version %d: finish it with"
    .. " that version, or start over with --fresh"):format(row.id, row.version, script.path,
    script.definition.version), "ENEWER", failure.EXIT.NEWER), 0)
end

return M
