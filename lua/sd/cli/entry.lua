--- Entries as people read them: permissions, times, owners, sizes.
local core = require "sd.core"
local out = require "sd.cli.out"
local text = require "sd.text"

local M = {}

--- Of entry.kind.
M.KINDS = { "file", "directory", "symlink", "fifo", "socket", "char", "block", "unknown" }

M.DIRECTORY = 2

local LETTERS = { "-", "d", "l", "p", "s", "c", "b", "?" }

-- SQL for a UUID as text.
local function uuid_sql(column)
  local hex = "hex(" .. column .. ")"
  return ("lower(substr(%s,1,8)||'-'||substr(%s,9,4)||'-'||substr(%s,13,4)||'-'||substr(%s,17,4)"
    .. "||'-'||substr(%s,21))"):format(hex, hex, hex, hex, hex)
end

local KIND = "CASE e.kind WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'symlink'"
  .. " WHEN 4 THEN 'fifo' WHEN 5 THEN 'socket' WHEN 6 THEN 'char' WHEN 7 THEN 'block'"
  .. " ELSE 'unknown' END"

-- A root has the number of its location, below zero, where others have that of their directory.
local LOCATION = "CASE WHEN e.parent_id < 0 THEN -e.parent_id ELSE"
  .. " (SELECT location_id FROM directory WHERE entry_id = e.parent_id) END"
local UNVERIFIED = "CASE WHEN EXISTS (SELECT 1 FROM vanished WHERE entry_id = e.id) THEN 'missing'"
  .. " ELSE (SELECT CASE unverified WHEN 1 THEN 'unreadable' WHEN 2 THEN 'unmounted' END"
  .. " FROM directory WHERE entry_id = e.parent_id) END"

--- What is said of an entry `e` with its content `c`: name and SQL of each field, as the view
--- `entries` has them, but that the path is absolute. `M.FROM` is where it comes from.
M.FIELDS = {
  { "id", "e.id" }, { "uuid", uuid_sql "e.uuid" }, { "location_id", LOCATION },
  { "parent_id", "CASE WHEN e.parent_id > 0 THEN e.parent_id END" },
  { "path", "path(e.parent_id, e.name)" }, { "name", "e.name" }, { "kind", KIND },
  { "size", "e.size" }, { "allocated", "e.allocated" }, { "mtime_ns", "e.mtime" },
  { "ctime_ns", "e.ctime" }, { "btime_ns", "e.btime" }, { "mode", "e.mode & 4095" },
  { "uid", "e.uid" }, { "gid", "e.gid" }, { "nlink", "e.nlink" },
  { "dev", "coalesce((SELECT st_dev FROM device WHERE id = e.dev), e.dev)" },
  { "ino", "e.ino" }, { "target", "e.target" },
  { "hash", "CASE WHEN c.hash IS NOT NULL THEN lower(hex(c.hash)) END" },
  { "hash_kind", "CASE c.hash_kind WHEN 1 THEN 'full' WHEN 2 THEN 'sampled' END" },
  { "mime", "c.mime" }, { "unverified", UNVERIFIED },
}

local function columns_of(fields)
  local columns = {}
  for i, field in ipairs(fields) do columns[i] = field[2] .. " AS " .. field[1] end
  return table.concat(columns, ", ")
end

--- All fields, as columns of a statement.
M.JSON = columns_of(M.FIELDS)

M.FROM = " FROM entry e LEFT JOIN content c ON c.id = e.content_id "

local function triplet(bits, special, letter)
  local x = bits & 1 ~= 0
  if special then letter = x and letter or letter:upper()
  else letter = x and "x" or "-" end
  return (bits & 4 ~= 0 and "r" or "-") .. (bits & 2 ~= 0 and "w" or "-") .. letter
end

--- "drwxr-xr-x"
---@param kind integer
---@param mode integer Permission bits.
---@return string
function M.mode(kind, mode)
  return (LETTERS[kind] or "?") .. triplet(mode >> 6, mode & 2048 ~= 0, "s")
    .. triplet(mode >> 3, mode & 1024 ~= 0, "s") .. triplet(mode, mode & 512 ~= 0, "t")
end

--- A time in this time zone: "2024-01-31 12:00", or with everything that stat(1) shows.
---@param ns integer Since 1970.
---@param exact? boolean
---@return string
function M.time(ns, exact)
  local seconds = ns // 1000000000
  local ok, date = pcall(os.date, exact and "%Y-%m-%d %H:%M:%S" or "%Y-%m-%d %H:%M", seconds)
  if not ok then return "@" .. seconds end
  if not exact then return date end
  return ("%s.%09d %s"):format(date, ns % 1000000000, os.date("%z", seconds))
end

-- Names that were asked for: the system may look far for one.
local function cached(fn)
  local known = {}
  return function(id)
    if known[id] == nil then known[id] = fn(id) or false end
    return known[id] and text.escape(known[id]) or tostring(id)
  end
end

--- The name of a user or a group, or its number.
---@type fun(id: integer): string
M.user, M.group = cached(core.sys.user_name), cached(core.sys.group_name)

--- A number that SQLite has as a negative one where it is above 2^63 - 1.
---@param n integer
---@return string
function M.unsigned(n)
  if n >= 0 then return ("%d"):format(n) end
  local tens = (n >> 1) // 5
  return ("%d%d"):format(tens, n - tens * 10)
end

--- The options about sizes of a command, for sd.cli.usage.
M.SIZES = {
  { "--human", "sizes as 1.21 GiB (default on a terminal)" },
  { "--exact", "sizes in bytes (default in a pipe)" },
}

--- How sizes are written under these options.
---@param parsed {human?: boolean, exact?: boolean}
---@return fun(bytes: integer): string
function M.sizes(parsed)
  if parsed.human or out.terminal and not parsed.exact then return text.bytes end
  return text.unsigned
end

--- Columns beside each other: `right` says which are numbers; the last one is not padded.
---@param lines string[][] Text that may be printed.
---@param right table<integer, boolean>
function M.columns(lines, right)
  local widths = {}
  for _, line in ipairs(lines) do
    for i = 1, #line - 1 do
      widths[i] = math.max(widths[i] or 0, text.width(line[i]))
    end
  end
  for _, line in ipairs(lines) do
    for i = 1, #line - 1 do
      local space = (" "):rep(widths[i] - text.width(line[i]))
      line[i] = right[i] and space .. line[i] or line[i] .. space
    end
    out.write(table.concat(line, " "), "\n")
  end
end

return M
