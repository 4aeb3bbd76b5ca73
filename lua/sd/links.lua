--- What hard links count twice: the stored totals count each name, du counts each inode once, as
--- large as the largest of its names. A run reckons it and stores it (see store_links.c); what it
--- has noted and not come to yet, or an older version wrote, is added up here: by the index of
--- files with several names, or, where there are more of them than names below the directories in
--- question, by looking at these. So the cost follows the lesser number.
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
local SUMS = "SELECT sum(a - (most >> 32)), sum(b - (most & 4294967295)),"
  .. " sum(c - (more >> 32)), sum(d - (more & 4294967295)) FROM (SELECT sum(size >> 32) AS a,"
  .. " sum(size & 4294967295) AS b, max(size) AS most, sum(allocated >> 32) AS c,"
  .. " sum(allocated & 4294967295) AS d, max(allocated) AS more FROM %s"
  .. " GROUP BY dev, ino HAVING count(*) > 1)"
local SUMS_OF_ALL = SUMS:format("entry INDEXED BY entry_inode WHERE" .. LINKED)
local SUMS_BELOW = BELOW .. SUMS:format("(SELECT e.dev, e.ino, e.size, e.allocated FROM below b"
  .. " CROSS JOIN entry e ON e.parent_id = b.id WHERE" .. LINKED .. ")")
-- Whether all entries lie in a directory: none is in another location, or has lost its place.
local HAS_ALL = "SELECT (SELECT group_concat(entry_id) FROM location) = CAST(?1 AS TEXT)"
  .. " AND NOT EXISTS (SELECT 1 FROM entry WHERE parent_id <= -(1 << 40)) AS has_all"

-- What is stored is as it should be when nothing is left to be reckoned.
local IS_STORED = "SELECT count(*) = 3 AS yes FROM sqlite_schema"
  .. " WHERE name IN ('link_todo', 'link_moved', 'link_scan')"
local IS_SETTLED = "SELECT NOT EXISTS (SELECT 1 FROM link_todo) AND NOT EXISTS (SELECT 1"
  .. " FROM link_moved) AND NOT EXISTS (SELECT 1 FROM link_scan) AS yes"
local STORED = "SELECT excess_bytes, excess_allocated FROM directory WHERE entry_id = ?"

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

local function add(excess, id, size, allocated)
  local sum = excess[id] or { size = 0, allocated = 0 }
  sum.size, sum.allocated = sum.size + size, sum.allocated + allocated
  excess[id] = sum
end

-- All names of one inode: each but the largest is too many in whatever holds several of them.
local function add_inode(self, names)
  local most = {}
  for i = 1, #names > 1 and #names or 0 do
    local name = names[i]
    for _, id in ipairs(containers(self, name.parent)) do
      local largest = most[id]
      if not largest then
        most[id] = { size = name.size, allocated = name.allocated }
      else
        add(self.excess, id, math.min(name.size, largest.size),
          math.min(name.allocated, largest.allocated))
        largest.size = math.max(name.size, largest.size)
        largest.allocated = math.max(name.allocated, largest.allocated)
      end
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

local function add_all(self, rows)
  local names, dev, ino, row = {}, nil, nil, {}
  while query.next(rows, row) do
    if row[1] ~= dev or row[2] ~= ino then
      add_inode(self, names)
      names, dev, ino = {}, row[1], row[2]
    end
    names[#names + 1] = { parent = row[3], size = row[4], allocated = row[5] }
  end
  add_inode(self, names)
end

local function stored(ask, wanted)
  local excess, cursor <close> = {}, ask:cursor(STORED, { 0 })
  for id in pairs(wanted) do
    local row = query.next(cursor:again { id })
    if row then excess[id] = { size = row[1], allocated = row[2] } end
  end
  return excess
end

local function is_stored(ask)
  return ask:row(IS_STORED).yes == 1 and ask:row(IS_SETTLED).yes == 1
end

--- By directory, how much its totals have too much; directories without such files need not be
--- there.
---@param ask sd.Query
---@param wanted table<integer, boolean> Entry ids of directories.
---@param tops integer[] The directories that those lie in, or are.
---@return table<integer, {size: integer, allocated: integer}>
function M.excess(ask, wanted, tops)
  if is_stored(ask) then return stored(ask, wanted) end
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
