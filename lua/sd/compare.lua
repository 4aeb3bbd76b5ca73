--- Whether files are equal, byte by byte. Nothing but regular files is read.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

local uv = core.luv

-- Bytes that are read at once: few first, since files that differ do so early, mostly.
local FIRST, PIECE = 16 * 1024, 256 * 1024

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
local function read(file, at, length)
  local parts, n = {}, 0
  repeat
    local bytes, why = uv.fs_read(file.fd, length - n, at + n)
    if not bytes then return nil, why end
    parts[#parts + 1], n = bytes, n + #bytes
  until n == length or bytes == ""
  return table.concat(parts)
end

-- The order of two files, by size and then by bytes: below 0, 0 where they are equal, above 0. Nil,
-- the one that cannot be read, and why.
local function order(a, b)
  if a.size ~= b.size then return a.size - b.size end
  local at, length = 0, FIRST
  while true do
    check_signal()
    local p, problem = read(a, at, length)
    if not p then return nil, a, problem end
    local q, trouble = read(b, at, length)
    if not q then return nil, b, trouble end
    if p ~= q then return p < q and -1 or 1 end
    if p == "" then return 0 end
    at, length = at + #p, math.min(4 * length, PIECE)
  end
end

---@class sd.Comparison
---@field unread table<string, string> Path and why it cannot be compared.
---@field seen table<string, string> Path by inode.
---@field sorted sd.EqualFiles[] The classes in the order of their files.
---@field first? sd.OpenFile The file of a class that was compared last.
local Comparison = {}
Comparison.__index = Comparison

function Comparison:__close()
  if self.first then uv.fs_close(self.first.fd) end
end

-- Opens a file; nil where it cannot be compared, which is noted.
function Comparison:open(path)
  local file, why = open(path)
  local first = file and self.seen[file.inode]
  if first and first ~= path then
    uv.fs_close(file.fd)
    file, why = nil, "the same file as " .. first
  end
  if file then self.seen[file.inode] = path
  else self.unread[path] = why end
  return file
end

-- The file that stands for a class.
function Comparison:first_of(class)
  if self.first and self.first.path == class[1] then return self.first end
  if self.first then uv.fs_close(self.first.fd) end
  self.first = nil -- also where opening raises
  self.first = self:open(class[1])
  return self.first
end

-- The order of a file and those of a class. Nil where none of them can be read any more: then the
-- class is empty; or where the file cannot.
function Comparison:against(file, class)
  while class[1] do
    local first = self:first_of(class)
    local result, wrong, why
    if first then result, wrong, why = order(file, first) end
    if result then return result end
    if wrong then self.unread[wrong.path] = why end
    if wrong == file then return nil end
    table.remove(class, 1)
  end
end

-- Halves what is left of the classes until one of equal files is found, or the place of a new one.
-- Nil, nil: the file cannot be read.
function Comparison:find(file)
  local sorted, low, high = self.sorted, 1, #self.sorted + 1
  while low < high do
    local middle = (low + high) // 2
    local class = sorted[middle]
    local result = self:against(file, class)
    if result == 0 then return class
    elseif result then
      if result < 0 then high = middle else low = middle + 1 end
    elseif class[1] then return nil
    else
      table.remove(sorted, middle)
      high = high - 1
    end
  end
  return nil, low
end

---@class sd.EqualFiles
---@field size integer Bytes of each of them.
---@field [integer] string Their paths.

--- Puts paths into classes of equal files, in their order. Left out is what cannot be read, is no
--- regular file, or is the same file as one before. No more than two files are open at once, and
--- each is compared with as many others as the number of classes has binary digits, or one more.
---@param paths string[]
---@return sd.EqualFiles[] classes
---@return table<string, string> unread Path and reason.
function M.classes(paths)
  local comparison <close> = setmetatable({ unread = {}, seen = {}, sorted = {} }, Comparison)
  local all, classes = {}, {}
  for _, path in ipairs(paths) do
    local file <close> = comparison:open(path)
    local class, place
    if file then class, place = comparison:find(file) end
    if place then
      class = { size = file.size }
      all[#all + 1] = class
      table.insert(comparison.sorted, place, class)
    end
    if class then class[#class + 1] = path end
  end
  for _, class in ipairs(all) do
    if class[1] then classes[#classes + 1] = class end
  end
  return classes, comparison.unread
end

return M
