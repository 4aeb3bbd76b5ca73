--- Directories of a damaged library that lie below themselves: who goes down from one, or up, would
--- find no end.
local failure = require "sd.failure"
local query_of = require "sd.query"

local M = {}

local NAME = "SELECT name FROM entry WHERE id = ?"

--- Raises that the directory lies below itself: exit 12.
---@param query sd.Query
---@param id integer
function M.fail(query, id)
  local row = query:row(NAME, { id })
  error(failure.new(("the library is damaged: directory %d (%s) lies below itself"):format(id,
    row and require "sd.text".escape(row.name) or "?"), "EDAMAGED", failure.EXIT.DAMAGED), 0)
end

--- Goes down into a directory: one that is entered already is raised. Who leaves it says so, by
--- `above[id] = nil`.
---@param query sd.Query
---@param above table<integer, boolean> Directories that are entered.
---@param id integer
function M.enter(query, above, id)
  if above[id] then M.fail(query, id) end
  above[id] = true
end

-- Paths grow on the way down. So a circle has a root in it, or a directory whose path does not, or
-- where paths begin anew.
local SUSPECTS = "SELECT d.entry_id FROM directory d JOIN entry e ON e.id = d.entry_id"
  .. " JOIN directory p ON p.entry_id = e.parent_id WHERE d.anchor IS NOT p.anchor"
  .. " OR length(d.path) <= length(p.path) UNION ALL SELECT entry_id FROM location"
local ABOVE = "SELECT parent_id FROM entry WHERE id = ? AND parent_id > 0"

-- Goes up from a directory until its root, or one of which that is known.
local function climb(query, cursor, id, sound)
  local way = {}
  while id and not sound[id] do
    M.enter(query, way, id)
    local row = query_of.next(cursor:again { id })
    id = row and row[1]
  end
  for known in pairs(way) do sound[known] = true end
end

--- Raises a directory that lies below itself, if there is one: exit 12. One above the entry `id`,
--- or anywhere.
---@param query sd.Query
---@param id? integer
function M.check(query, id)
  local above <close>, sound = query:cursor(ABOVE, { 0 }), {}
  if id then return climb(query, above, id, sound) end
  local suspects <close> = query:cursor(SUSPECTS)
  for row in function() return query_of.next(suspects) end do
    climb(query, above, row[1], sound)
  end
end

return M
