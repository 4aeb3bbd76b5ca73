--- What hard links count twice: the stored totals count each name, du counts each inode once. The
--- index of files with several names gives the difference; where there are more of them than names
--- below the directories in question, these are looked at. So the cost follows the lesser number.
local query = require "sd.query"

local M = {}

local NAMES = "SELECT dev, ino, parent_id, size, allocated FROM entry INDEXED BY entry_inode"
  .. " WHERE nlink > 1 AND kind <> 2 ORDER BY dev, ino"
local BELOW = "WITH RECURSIVE below(id) AS (SELECT value FROM json_each(?) UNION"
  .. " SELECT e.id FROM below b JOIN entry e ON e.parent_id = b.id WHERE e.kind = 2)"
  .. " SELECT e.dev, e.ino, e.parent_id, e.size, e.allocated FROM below b"
  .. " JOIN entry e ON e.parent_id = b.id WHERE e.nlink > 1 AND e.kind <> 2 ORDER BY e.dev, e.ino"
local COUNT_BELOW = "SELECT total(files + symlinks) AS n FROM directory"
  .. " WHERE entry_id IN (SELECT value FROM json_each(?))"
local IS_MORE = "SELECT count(*) > ?1 AS more FROM (SELECT 1 FROM entry INDEXED BY entry_inode"
  .. " WHERE nlink > 1 AND kind <> 2 LIMIT ?1 + 1)"
local ABOVE = "SELECT parent_id FROM entry WHERE id = ?"

---@class sd.Links
---@field cursor sd.core.Cursor Of ABOVE.
---@field wanted table<integer, boolean> Directories whose difference is asked for.
---@field above table<integer, integer[]> By directory: those wanted that it lies in, itself too.
---@field excess table<integer, {size: integer, allocated: integer}>
local Links = {}
Links.__index = Links

local NONE = {}

-- The wanted directories that `id` lies in. Each directory is looked up once.
local function containers(self, id)
  local path, found = {}, nil
  while id > 0 and not found do
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

-- The names to be looked at: of all files with several names, or of those below `tops`.
local function names_of(ask, tops)
  local list = "[" .. table.concat(tops, ",") .. "]"
  local below = math.tointeger(ask:row(COUNT_BELOW, { list }).n)
  if ask:row(IS_MORE, { below }).more == 1 then return ask:cursor(BELOW, { list }) end
  return ask:cursor(NAMES)
end

--- By directory, how much its totals have too much; directories without such files are not there.
---@param ask sd.Query
---@param wanted table<integer, boolean> Entry ids of directories.
---@param tops integer[] The directories that those lie in, or are.
---@return table<integer, {size: integer, allocated: integer}>
function M.excess(ask, wanted, tops)
  local above <close> = ask:cursor(ABOVE, { 0 })
  local self = setmetatable({ cursor = above, wanted = wanted, above = {}, excess = {} }, Links)
  local names <close> = names_of(ask, tops)
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
  return self.excess
end

return M
