--- Predicates of a script: what it leaves out of what the rules let stay.
---
--- A script of predicates returns a table with `accept_entry(e)`, `accept_directory(d)`, or both.
--- The walk's threads ask copies of them: see runtime/bind/accept.h.
local core = require "sd.core"
local strict = require "sd.strict"

local M = {}

---@class sd.Predicates
---@field accept_entry? fun(e: sd.Asked): any Whether it stays; not asked about directories.
---@field accept_directory? fun(d: sd.Asked): any Whether it stays, with all that is below it.

---@class sd.Asked What a predicate is asked about; the same object each time, not to be changed.
---@field name string Bytes.
---@field path string Below the root.
---@field kind string file, directory, symlink, fifo, socket, char, block or unknown.
---@field size integer Bytes.
---@field allocated integer Bytes on the disk.
---@field mtime_ns integer Nanoseconds since 1970.
---@field ctime_ns integer Nanoseconds since 1970.
---@field btime_ns? integer Nanoseconds since 1970; nil where the file system does not say it.
---@field mode integer Permission bits.
---@field uid integer
---@field gid integer
---@field nlink integer
---@field dev integer
---@field ino integer

local NAMES = { accept_entry = true, accept_directory = true }

local function check(path, predicates)
  if type(predicates) ~= "table" or next(predicates) == nil then
    error(path .. ": returns no table with accept_entry or accept_directory", 0)
  end
  for name, value in pairs(predicates) do
    if not NAMES[name] then error(("%s: no predicate '%s'"):format(path, tostring(name)), 0) end
    if type(value) ~= "function" then error(("%s: %s is not a function"):format(path, name), 0) end
  end
  return predicates
end

--- Loads a script of predicates; what is wrong with it is raised.
---@param path string
---@return sd.Predicates
function M.load(path)
  local chunk, message = loadfile(path, "t", strict())
  if not chunk then error(message, 0) end
  return check(path, chunk(path))
end

local KINDS = { link = "symlink" }

local function nanoseconds(time)
  return time.sec * 1000000000 + time.nsec
end

-- What the walk would see of it, or nil.
local function look(root, path)
  local stat = core.luv.fs_lstat((root == "/" and "" or root) .. "/" .. path)
  return stat and {
    name = path:match("[^/]+$"), path = path, kind = KINDS[stat.type] or stat.type,
    size = stat.size, allocated = stat.blocks * 512, mtime_ns = nanoseconds(stat.mtime),
    ctime_ns = nanoseconds(stat.ctime), btime_ns = nanoseconds(stat.birthtime),
    mode = stat.mode & 4095, uid = stat.uid, gid = stat.gid, nlink = stat.nlink, dev = stat.dev,
    ino = stat.ino,
  }
end

--- Which predicate leaves a path out, and the path that it refused; nil where none does. What is
--- not there is not asked about.
---@param predicates sd.Predicates
---@param root string Absolute.
---@param path string Below the root.
---@return string? name
---@return string? path
function M.decide(predicates, root, path)
  local at = 1
  while at and path ~= "" do
    local slash = path:find("/", at, true)
    local piece = slash and path:sub(1, slash - 1) or path
    local e = look(root, piece)
    if not e then return nil end
    local name = e.kind == "directory" and "accept_directory" or "accept_entry"
    if predicates[name] and not predicates[name](e) then return name, piece end
    at = slash and slash + 1
  end
end

return M
