--- Whether files are equal, byte by byte. Nothing but regular files is read.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

local uv = core.luv

local PIECE = 256 * 1024

-- Of what is a symlink or a socket by now.
local NO_FILE = { ELOOP = true, ENXIO = true }

---@class sd.OpenFile
---@field path string
---@field fd integer
---@field size integer Bytes.
---@field inode string

-- A file that closes itself, or nil and why it cannot be read.
local function open(path)
  local fd, why, code = core.sys.open_file(path)
  if not fd then return nil, NO_FILE[code] and "not a regular file" or code .. ": " .. why end
  local stat, problem = uv.fs_fstat(fd)
  if stat and stat.type == "file" then
    return setmetatable({ path = path, fd = fd, size = stat.size,
      inode = stat.dev .. ":" .. stat.ino }, { __close = function() uv.fs_close(fd) end })
  end
  uv.fs_close(fd)
  return nil, stat and "not a regular file" or problem
end

local function check_signal()
  local signal = core.reader.caught()
  if signal then error(failure.new("interrupted", "ECANCELED", 128 + signal), 0) end
end

-- A whole piece, or what there is up to the end; nil and why.
local function read(file, at)
  local parts, n = {}, 0
  repeat
    local bytes, why = uv.fs_read(file.fd, PIECE - n, at + n)
    if not bytes then return nil, why end
    parts[#parts + 1], n = bytes, n + #bytes
  until n == PIECE or bytes == ""
  return table.concat(parts)
end

-- Whether two files have the same bytes; nil, the one that cannot be read, and why.
local function equal(a, b)
  if a.size ~= b.size then return false end
  local at = 0
  while true do
    check_signal()
    local p, problem = read(a, at)
    if not p then return nil, a, problem end
    local q, trouble = read(b, at)
    if not q then return nil, b, trouble end
    if p ~= q then return false end
    if p == "" then return true end
    at = at + #p
  end
end

---@class sd.Comparison
---@field unread table<string, string> Path and why it cannot be compared.
---@field seen table<string, string> Path by inode.

-- Opens a file of a comparison; nil where it cannot be compared, which is noted.
local function open_for(comparison, path)
  local file, why = open(path)
  local first = file and comparison.seen[file.inode]
  if first and first ~= path then
    uv.fs_close(file.fd)
    file, why = nil, "the same file as " .. first
  end
  if file then comparison.seen[file.inode] = path
  else comparison.unread[path] = why end
  return file
end

local function first_of(comparison, paths, from)
  for i = from, #paths do
    local file = open_for(comparison, paths[i])
    if file then return file, i end
  end
end

-- The files that are equal to the first one that can be read, from paths[from] on. Nil where that
-- turned out not to be readable. Then the paths that are left, and from where on.
local function next_class(comparison, paths, from)
  local file, at = first_of(comparison, paths, from)
  if not file then return nil, {}, 1 end
  local first <close> = file
  local class, rest = { size = first.size, first.path }, {}
  for i = at + 1, #paths do
    local other <close> = open_for(comparison, paths[i])
    local same, wrong, why
    if other then same, wrong, why = equal(first, other) end
    if wrong then comparison.unread[wrong.path] = why end
    if wrong == first then return nil, paths, at + 1 end
    if same then class[#class + 1] = paths[i]
    elseif same == false then rest[#rest + 1] = paths[i] end
  end
  return class, rest, 1
end

---@class sd.EqualFiles
---@field size integer Bytes of each of them.
---@field [integer] string Their paths.

--- Puts paths into classes of equal files, in their order. Left out is what cannot be read, is no
--- regular file, or is the same file as one before. No more than two files are open at once.
---@param paths string[]
---@return sd.EqualFiles[] classes
---@return table<string, string> unread Path and reason.
function M.classes(paths)
  local comparison, classes, from = { unread = {}, seen = {} }, {}, 1
  while from <= #paths do
    local class
    class, paths, from = next_class(comparison, paths, from)
    classes[#classes + 1] = class
  end
  return classes, comparison.unread
end

return M
