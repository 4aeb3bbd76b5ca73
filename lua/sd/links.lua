--- What hard links count twice: the stored totals count each name, du counts each inode once. The
--- index of files with several names gives the difference; where there are more of them than names
--- below the directories in question, these are looked at. So the cost follows the lesser number.
local failure = require "sd.failure"
local query = require "sd.query"

local M = {}

local LINKED = " nlink > 1 AND kind <> 2"
local NAMES = "SELECT dev, ino, parent_id, size, allocated FROM entry INDEXED BY entry_inode"
  .. " WHERE" .. LINKED .. " ORDER BY dev, ino"
local BELOW = "WITH RECURSIVE below(id) AS (SELECT value FROM json_each(?) UNION"
  .. " SELECT e.id FROM below b JOIN entry e ON e.parent_id = b.id WHERE e.kind = 2) "
local NAMES_BELOW = BELOW .. "SELECT e.dev, e.ino, e.parent_id, e.size, e.allocated FROM below b"
  .. " JOIN entry e ON e.parent_id = b.id WHERE" .. LINKED .. " ORDER BY e.dev, e.ino"
local COUNT_BELOW = "SELECT total(files + symlinks) AS n FROM directory"
  .. " WHERE entry_id IN (SELECT value FROM json_each(?))"
local IS_MORE = "SELECT count(*) > ?1 AS more FROM (SELECT 1 FROM entry INDEXED BY entry_inode"
  .. " WHERE" .. LINKED .. " LIMIT ?1 + 1)"
local ABOVE = "SELECT parent_id FROM entry WHERE id = ?"

-- Of one directory SQLite adds up: sums of what it has too much, in halves, which never overflow.
local SUMS = "SELECT sum((n - 1) * (e.size >> 32)), sum((n - 1) * (e.size & 4294967295)),"
  .. " sum((n - 1) * (e.allocated >> 32)), sum((n - 1) * (e.allocated & 4294967295))"
  .. " FROM (SELECT count(*) AS n, min(id) AS id FROM %s GROUP BY dev, ino HAVING count(*) > 1) g"
  .. " CROSS JOIN entry e ON e.id = g.id"
local SUMS_OF_ALL = SUMS:format("entry INDEXED BY entry_inode WHERE" .. LINKED)
local SUMS_BELOW = BELOW .. SUMS:format("(SELECT e.id, e.dev, e.ino FROM below b"
  .. " CROSS JOIN entry e ON e.parent_id = b.id WHERE" .. LINKED .. ")")
-- Whether all entries lie in a directory: none is in another location, or has lost its place.
local HAS_ALL = "SELECT (SELECT group_concat(entry_id) FROM location) = CAST(?1 AS TEXT)"
  .. " AND NOT EXISTS (SELECT 1 FROM entry WHERE parent_id <= -(1 << 40)) AS has_all"

---@class sd.Links
---@field cursor sd.core.Cursor Of ABOVE.
---@field wanted table<integer, boolean> Directories whose difference is asked for.
---@field above table<integer, integer[]> By directory: those wanted that it lies in, itself too.
---@field excess table<integer, {size: integer, allocated: integer}>
local Links = {}
Links.__index = Links

local NONE = {}
-- No path of a file system has so many components; a library may be damaged.
local DEEPEST, DAMAGED = 1000000, "the library is damaged: a directory lies below itself"

-- The wanted directories that `id` lies in. Each directory is looked up once.
local function containers(self, id)
  local path, found = {}, nil
  while id > 0 and not found do
    if #path > DEEPEST then error(failure.new(DAMAGED, "EDAMAGED", failure.EXIT.DAMAGED), 0) end
    found = self.above[id]
    if not found then
      path[#path + 1] = id
      local row = query.next(self.cursor:again { id })
      id = row and row[1] or 0
    end
  end
  found = found or NONE
  for i = #path, 1, -1 do
    if self.wanted[path[i]] then found = table.move(found, 1, #found, 2, { path[i] }) end
    self.above[path[i]] = found
  end
  return found
end

-- All names of one inode: each but one is too many in whatever holds several of them.
local function add_inode(self, parents, size, allocated)
  local names = {}
  for _, parent in ipairs(parents) do
    for _, id in ipairs(containers(self, parent)) do names[id] = (names[id] or 0) + 1 end
  end
  for id, n in pairs(names) do
    if n > 1 then
      local excess = self.excess[id] or { size = 0, allocated = 0 }
      excess.size = excess.size + (n - 1) * size
      excess.allocated = excess.allocated + (n - 1) * allocated
      self.excess[id] = excess
    end
  end
end

-- Whether there are more names of such files than names below `list`, ids as JSON.
local function is_more(ask, list)
  local below = math.tointeger(ask:row(COUNT_BELOW, { list }).n)
  return ask:row(IS_MORE, { below }).more == 1
end

-- Where SQLite can add it up without looking at more names than there need be: the difference of
-- the directory `id`, else nil.
local function sums_of(ask, id, list)
  local sql, values = SUMS_BELOW, { list }
  if ask:row(HAS_ALL, { id }).has_all == 1 then sql, values = SUMS_OF_ALL, {}
  elseif not is_more(ask, list) then return nil end
  local cursor <close> = ask:cursor(sql, values)
  local row = query.next(cursor)
  if not row[1] then return { size = 0, allocated = 0 } end
  return { size = (row[1] << 32) + row[2], allocated = (row[3] << 32) + row[4] }
end

local function add_all(self, names)
  local parents, last, row = {}, { n = 0 }, {}
  while query.next(names, row) do
    if row[1] ~= last[1] or row[2] ~= last[2] then
      if #parents > 1 then add_inode(self, parents, last[4], last[5]) end
      parents = {}
      table.move(row, 1, 5, 1, last)
    end
    parents[#parents + 1] = row[3]
  end
  if #parents > 1 then add_inode(self, parents, last[4], last[5]) end
end

--- By directory, how much its totals have too much; directories without such files need not be
--- there.
---@param ask sd.Query
---@param wanted table<integer, boolean> Entry ids of directories.
---@param tops integer[] The directories that those lie in, or are.
---@return table<integer, {size: integer, allocated: integer}>
function M.excess(ask, wanted, tops)
  local list, id = "[" .. table.concat(tops, ",") .. "]", next(wanted)
  if not id then return {} end
  local sums = next(wanted, id) == nil and sums_of(ask, id, list)
  if sums then return { [id] = sums } end
  local above <close> = ask:cursor(ABOVE, { 0 })
  local self = setmetatable({ cursor = above, wanted = wanted, above = {}, excess = {} }, Links)
  local below = is_more(ask, list)
  local names <close> = ask:cursor(below and NAMES_BELOW or NAMES, below and { list } or {})
  add_all(self, names)
  return self.excess
end

return M
