--- The jobs that work on a location.
local failure = require "sd.failure"
local stored = require "sd.stored_job"

local M = {}

-- Before it has written anything, only its arguments tell what a job is about.
local function is_about(row, location)
  if row.location_id == location.id then return true end
  local ok, args = pcall(stored.args_of, row)
  return ok and args.root == location.root
end

--- Refuses a location with a job that has not ended, code EBUSY: what it writes would be lost.
---@async
---@param library sd.Library
---@param location {id: integer, root: string}
---@param but? integer The job that asks.
function M.check_idle(library, location, but)
  local rows = library:fresh_rows("SELECT id, location_id, args FROM job"
    .. " WHERE parent_id IS NULL AND id IS NOT ?", { but, n = 1 })
  for _, row in ipairs(rows) do
    if is_about(row, location) then
      error(failure.new(("%s: a job of this location has not ended; see sdlua job list"):format(
        location.root), "EBUSY"), 0)
    end
  end
end

return M
