--- A tree as mtree(5) describes it: one line an entry, its full path first.
local query = require "sd.query"
local out = require "sd.cli.out"

local M = {}

local TYPES = { file = "file", directory = "dir", symlink = "link", fifo = "fifo",
  socket = "socket", char = "char", block = "block" }

local COLUMNS = "kind, path, mode, uid, gid, nlink, size, mtime_ns, target"

-- Bytes that are not plain ASCII, and what has a meaning of its own, as octal numbers.
local function escape(bytes)
  return (bytes:gsub("[^!\"$-)+-<>@-Z%]^-~]", function(c) return ("\\%03o"):format(c:byte()) end))
end

local function time_of(ns)
  return ("%d.%09d"):format(ns // 1000000000, ns % 1000000000)
end

-- `row`: the columns in order. `prefix`: what the root's path is cut off.
local function line_of(row, cut)
  local kind, path, mode, uid, gid, nlink, size, mtime, target = table.unpack(row, 1, 9)
  local name = path:sub(cut + 1)
  local line = ("%s type=%s mode=%04o uid=%d gid=%d nlink=%d"):format(
    name == "" and "." or "./" .. escape(name), TYPES[kind] or "file", mode, uid, gid, nlink)
  if kind == "file" then line = ("%s size=%d"):format(line, size) end
  line = ("%s time=%s"):format(line, time_of(mtime))
  return target and ("%s link=%s"):format(line, escape(target)) or line
end

--- Writes the entries of a statement that selects M.COLUMNS.
---@param cursor sd.core.Cursor
---@param root string Path of the tree's root below that of the location.
function M.write(cursor, root)
  local cut, row = root == "" and 0 or #root + 1, {}
  out.write "#mtree\n"
  while query.next(cursor, row) do
    out.write(line_of(row, cut), "\n")
    row[9] = nil
  end
end

M.COLUMNS = COLUMNS

return M
