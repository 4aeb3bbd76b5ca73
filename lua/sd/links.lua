--- What hard links count twice: the stored totals count each name, du counts each inode once. The
--- index of files with several names gives the difference, so that its cost follows their number.
local failure = require "sd.failure"
local query = require "sd.query"

local M = {}

local NAMES = "SELECT dev, ino, parent_id, size, allocated FROM entry INDEXED BY entry_inode"
  .. " WHERE nlink > 1 AND kind <> 2 ORDER BY dev, ino"
local ABOVE = "SELECT parent_id FROM entry WHERE id = ?"

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

--- By directory, how much its totals have too much; directories without such files are not there.
---@param ask sd.Query
---@param wanted table<integer, boolean> Entry ids of directories.
---@return table<integer, {size: integer, allocated: integer}>
function M.excess(ask, wanted)
  local above <close> = ask:cursor(ABOVE, { 0 })
  local self = setmetatable({ cursor = above, wanted = wanted, above = {}, excess = {} }, Links)
  local names <close> = ask:cursor(NAMES)
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
