--- Whether files are equal, byte by byte. Nothing but regular files is read.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

local uv = core.luv

local PIECE = 256 * 1024
local CONSTANTS = uv.constants or {}
-- Neither a symlink nor a pipe that somebody put there meanwhile.
local FLAGS = (CONSTANTS.O_RDONLY or 0) | (CONSTANTS.O_NONBLOCK or 0) | (CONSTANTS.O_NOFOLLOW or 0)
  | (CONSTANTS.O_NOCTTY or 0)

-- A file that closes itself, or nil and why it cannot be read.
local function open(path)
  local fd, why = uv.fs_open(path, FLAGS, 0)
  if not fd then return nil, why end
  local file = setmetatable({ fd = fd }, { __close = function() uv.fs_close(fd) end })
  local stat = uv.fs_fstat(fd)
  if stat and stat.type == "file" then
    file.size = stat.size
    return file
  end
  uv.fs_close(fd)
  return nil, path .. ": not a regular file"
end

local function check_signal()
  local signal = core.reader.caught()
  if signal then error(failure.new("interrupted", "ECANCELED", 128 + signal), 0) end
end

--- Whether two files have the same bytes. Nil, the path and the reason where one cannot be read.
---@param a string
---@param b string
---@return boolean? equal
---@return string? path
---@return string? why
function M.equal(a, b)
  local x <close>, why = open(a)
  if not x then return nil, a, why end
  local y <close>, reason = open(b)
  if not y then return nil, b, reason end
  if x.size ~= y.size then return false end
  local at = 0
  while true do
    check_signal()
    local p, problem = uv.fs_read(x.fd, PIECE, at)
    if not p then return nil, a, problem end
    local q, trouble = uv.fs_read(y.fd, PIECE, at)
    if not q then return nil, b, trouble end
    if p ~= q then return false end
    if p == "" then return true end
    at = at + #p
  end
end

-- The class that `path` belongs to, or nil; what cannot be read is named in `unread`.
local function find_class(classes, path, unread)
  for _, class in ipairs(classes) do
    local equal, wrong, why = M.equal(class[1], path)
    if equal then return class end
    if equal == nil then
      unread[wrong] = why
      if wrong == path then return nil, true end
    end
  end
end

--- Puts paths into classes of equal files, in their order; those that cannot be read are left out.
---@param paths string[]
---@return string[][] classes
---@return table<string, string> unread Path and reason.
function M.classes(paths)
  local classes, unread = {}, {}
  for _, path in ipairs(paths) do
    local class, failed = find_class(classes, path, unread)
    if class then class[#class + 1] = path
    elseif not failed then classes[#classes + 1] = { path } end
  end
  for i = #classes, 1, -1 do
    if unread[classes[i][1]] then table.remove(classes, i) end
  end
  return classes, unread
end

return M
