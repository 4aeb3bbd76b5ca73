--- What a path on the command line means to the index: a location, and an entry in it. The disk is
--- asked for symlinks on the way, where it is there; the index decides.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

---@class sd.Place
---@field id integer Of the entry.
---@field kind integer As the table has it: 1 file, 2 directory, …
---@field path string Absolute, as the index has it.
---@field given string As it was asked for.
---@field location {id: integer, root: string, entry_id?: integer}

local DIRECTORY = 2

-- "/a/./b/../c/" -> "/a/c"
local function normalized(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then parts[#parts] = nil
    elseif part ~= "." then parts[#parts + 1] = part end
  end
  return "/" .. table.concat(parts, "/")
end

-- The working directory as the shell calls it, where that is it.
local function working_directory()
  local here, called = core.sys.realpath("."), os.getenv("PWD")
  if called and called:sub(1, 1) == "/" and (not here or core.sys.realpath(called) == here) then
    return called
  end
  return here or ""
end

local function absolute(path)
  return path:sub(1, 1) == "/" and path or working_directory() .. "/" .. path
end

-- The forms in which the index may know it: with the symlinks above it resolved, since a symlink
-- itself may be what is meant; as it is written, since the disk may be away; and where it leads to.
local function forms_of(path)
  local written = absolute(path)
  local plain = normalized(written)
  local above, name = plain:match("^(.*)/([^/]+)$")
  local target = core.sys.realpath(path)
  if written:find("/%.?%.?$") then return { target or plain, plain } end
  local real = above and core.sys.realpath(above == "" and "/" or above)
  return { real and normalized(real .. "/" .. name) or plain, plain, target }
end

--- Those that the library has.
---@param query sd.Query
---@return {id: integer, root: string, entry_id?: integer}[] locations Longest root first.
local function locations_of(query)
  local list = query:rows("SELECT id, root, entry_id FROM location")
  table.sort(list, function(a, b) return #a.root > #b.root end)
  return list
end

-- What is left of `path` below `root`, or nil.
local function below(path, root)
  if path == root then return "" end
  local prefix = root == "/" and "/" or root .. "/"
  if path:sub(1, #prefix) == prefix then return path:sub(#prefix + 1) end
end

local CHILD = "SELECT id, kind FROM entry WHERE parent_id = ? AND name = ?"

local function descend(query, location, rest)
  local id, kind = location.entry_id, DIRECTORY
  if not id then return nil end
  for name in rest:gmatch("[^/]+") do
    local row = query:row(CHILD, { id, name })
    if not row then return nil end
    id, kind = row.id, row.kind
  end
  return id, kind
end

local function find(query, given, locations)
  local inside
  for _, path in ipairs(forms_of(given)) do
    for _, location in ipairs(locations) do
      local rest = below(path, location.root)
      inside = inside or rest and location
      local id, kind
      if rest then id, kind = descend(query, location, rest) end
      if id then
        return { id = id, kind = kind, path = path, location = location, given = given }
      end
    end
  end
  return nil, inside
end

--- The entry at `path`, or nil and the reason. The path may be relative, and need not exist.
---@param query sd.Query
---@param path string
---@return sd.Place? place
---@return string? message
function M.find(query, path)
  local place, inside = find(query, path, locations_of(query))
  if place then return place end
  return nil, inside and ("%s: not in the index of %s"):format(path, inside.root)
    or ("%s: in no location of the library %s"):format(path, query.path)
end

--- The locations that a path may be in, the nearest first, whether it is in the index or not: by
--- each of its forms, with what is left of the path below the root.
---@param path string
---@param locations {root: string}[] Longest root first.
---@return {location: {root: string}, rest: string}[]
function M.around(path, locations)
  local list = {}
  for _, form in ipairs(forms_of(path)) do
    for _, location in ipairs(locations) do
      local rest = below(form, location.root)
      if rest then list[#list + 1] = { location = location, rest = rest } end
    end
  end
  return list
end

M.locations = locations_of

--- The entries at these paths; one that is not there is a failure. Without a path: the working
--- directory, where it is in the index, else the roots of all locations.
---@param query sd.Query
---@param paths string[]
---@return sd.Place[]
function M.all(query, paths)
  local places = {}
  if #paths == 0 then
    local here = M.find(query, ".")
    if here then return { here } end
    for _, location in ipairs(locations_of(query)) do
      if location.entry_id then
        table.insert(places, 1, { id = location.entry_id, kind = DIRECTORY, path = location.root,
          given = location.root, location = location })
      end
    end
    table.sort(places, function(a, b) return a.path < b.path end)
    return places
  end
  for i, path in ipairs(paths) do
    local place, message = M.find(query, path)
    if not place then error(failure.new(message, "ENOENT"), 0) end
    places[i] = place
  end
  return places
end

--- The directories at and below the place `?1`, as the beginning of a statement: table below(id).
M.BELOW = "WITH RECURSIVE below(id) AS (SELECT ?1 UNION SELECT e.id FROM below b"
  .. " JOIN entry e ON e.parent_id = b.id WHERE e.kind = 2) "

return M
