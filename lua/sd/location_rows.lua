--- The locations of a library, for those who add, look at, change and remove them. All of them are
--- apart: none lies in another.
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local location_jobs = require "sd.location_jobs"

local M = {}

---@class sd.LocationRow
---@field id integer
---@field uuid string
---@field root string Absolute path.
---@field state string
---@field created_at integer
---@field indexed_at? integer
---@field settings table<string, any> Arguments of the indexer for this location.
---@field files? integer
---@field dirs? integer
---@field symlinks? integer
---@field bytes? integer Of everything.
---@field allocated? integer
---@field open_jobs integer
---@field schedules? integer Jobs that repeat, and go on at its new root; from set() alone.

local ROWS = "SELECT v.id, v.uuid, v.root, v.state, v.created_at, v.indexed_at, l.settings,"
  .. " d.files, d.dirs, d.symlinks, d.bytes, d.allocated, (SELECT count(*) FROM job j"
  .. " WHERE j.location_id = l.id AND j.parent_id IS NULL) AS open_jobs"
  .. " FROM locations v JOIN location l ON l.id = v.id"
  .. " LEFT JOIN directory d ON d.entry_id = l.entry_id"

local function from_row(row)
  if row then row.settings = row.settings and json.decode(row.settings) or {} end
  return row
end

--- All of them, by root.
---@async
---@param library sd.Library
---@return sd.LocationRow[]
function M.list(library)
  local rows = library:fresh_rows(ROWS .. " ORDER BY v.root")
  for _, row in ipairs(rows) do from_row(row) end
  rows.changes = nil
  return rows
end

--- Whether an absolute path is a directory, or below it.
---@param path string
---@param dir string
---@return boolean
function M.is_in(path, dir)
  return path == dir or dir == "/" or path:sub(1, #dir + 1) == dir .. "/"
end

local is_in = M.is_in

-- The one that has `root` in it, or that `root` has in it; `but` does not count.
local function overlapping(library, root, but)
  for _, row in ipairs(library:fresh_rows("SELECT id, root FROM location")) do
    if row.id ~= but and (is_in(root, row.root) or is_in(row.root, root)) then return row end
  end
end

--- Refuses a root that has entries in common with another location.
---@async
---@param library sd.Library
---@param root string
---@param but? integer The location whose root it is to be.
function M.check_apart(library, root, but)
  local other = overlapping(library, root, but)
  if not other then return end
  local message = "%s is a location already"
  if root ~= other.root then
    message = ("%%s %s the location %s, and an entry belongs to one location only"):format(
      is_in(root, other.root) and "lies in" or "contains", (other.root:gsub("%%", "%%%%")))
  end
  error(failure.new(message:format(root), "EEXIST", failure.EXIT.USAGE), 0)
end

--- Refuses a location whose removal was begun, code EBUSY: what it had is gone from the views, and
--- its row is to go too.
---@param row {root: string, state: string}
function M.check_stays(row)
  if row.state ~= "removing" then return end
  error(failure.new(row.root .. " is being removed; sdlua location remove ends that", "EBUSY"), 0)
end

--- Refuses roots that have entries in common with a location; one that is a location is none,
--- unless it is being removed.
---@async
---@param library sd.Library
---@param roots string[] Absolute paths.
function M.check_roots(library, roots)
  local known = {}
  for _, row in ipairs(library:fresh_rows("SELECT id, root, state FROM location")) do
    known[row.root] = row
  end
  for _, root in ipairs(roots) do
    local row = known[root]
    M.check_apart(library, root, row and row.id)
    if row then M.check_stays(row) end
  end
end

--- The location that `text` names: its number, the beginning of its uuid, or its root.
---@async
---@param library sd.Library
---@param text string
---@return sd.LocationRow
function M.find(library, text)
  local found = library:fresh_rows(ROWS .. " WHERE CAST(v.root AS BLOB) = CAST(?1 AS BLOB)"
    .. " OR CAST(v.id AS TEXT) = ?1 OR length(?1) >= 4 AND substr(v.uuid, 1, length(?1)) = ?1",
    { text })
  if #found == 1 then return from_row(found[1]) end
  error(failure.new(#found == 0 and ("there is no location %s"):format(text)
    or ("%s may be several locations"):format(text), "ENOENT"), 0)
end

local function encode(settings)
  return next(settings) ~= nil and json.encode(settings) or nil
end

--- Adds one, which is not indexed yet.
---@async
---@param library sd.Library
---@param root string Absolute path, free of symlinks.
---@param settings? table<string, any>
---@return sd.LocationRow
function M.add(library, root, settings)
  M.check_apart(library, root)
  library:fresh_rows("INSERT INTO location(uuid, root, created_at, state, settings)"
    .. " VALUES(?, ?, ?, 'new', ?)",
    { { blob = core.sys.uuid7() }, root, core.sys.wall_ns(), encode(settings or {}), n = 4 })
  return M.find(library, root)
end

local function base_name(path)
  return path:match("([^/]+)/*$") or path
end

-- What the library has of the root, and what repeats: statements, and how many jobs do.
local function move(library, row, root)
  location_jobs.check_idle(library, row)
  M.check_apart(library, root, row.id)
  local sql = library.jobs:schedules():moving(row.root, root)
  local n = #sql
  sql[n + 1] = { "UPDATE location SET root = ?2 WHERE id = ?1", { row.id, root } }
  sql[n + 2] = { "UPDATE entry SET name = ?2 WHERE id = (SELECT entry_id FROM location"
    .. " WHERE id = ?1)", { row.id, base_name(root) } }
  return sql, n
end

--- Changes the settings, or the root: the same tree, in another place. What repeats follows it.
---@async
---@param library sd.Library
---@param row sd.LocationRow
---@param changes {root?: string, settings?: table<string, any>}
---@return sd.LocationRow
function M.set(library, row, changes)
  local sql, schedules = {}, nil
  M.check_stays(row)
  if changes.root and changes.root ~= row.root then
    sql, schedules = move(library, row, changes.root)
  end
  if changes.settings then
    sql[#sql + 1] = { "UPDATE location SET settings = ?2 WHERE id = ?1",
      { row.id, encode(changes.settings), n = 2 } }
  end
  failure.check(library.core:commit { sql = sql })
  if schedules then library.jobs:schedules():read() end
  local now = M.find(library, tostring(row.id))
  now.schedules = schedules
  return now
end

return M
