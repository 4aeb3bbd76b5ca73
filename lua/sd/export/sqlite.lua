--- A plain SQLite file: the public views as tables, with the types of their columns.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

local TABLES = {
  { name = "locations", columns = "id INTEGER PRIMARY KEY, uuid TEXT, root TEXT,"
    .. " created_at INTEGER, indexed_at INTEGER, state TEXT" },
  { name = "entries", columns = "id INTEGER PRIMARY KEY, uuid TEXT, location_id INTEGER,"
    .. " parent_id INTEGER, path TEXT, name TEXT, kind TEXT, size INTEGER, allocated INTEGER,"
    .. " mtime_ns INTEGER, ctime_ns INTEGER, btime_ns INTEGER, mode INTEGER, uid INTEGER,"
    .. " gid INTEGER, nlink INTEGER, dev INTEGER, ino INTEGER, target TEXT, hash TEXT,"
    .. " hash_kind TEXT, mime TEXT, unverified TEXT" },
  { name = "directories", columns = "id INTEGER PRIMARY KEY, location_id INTEGER, path TEXT,"
    .. " files INTEGER, dirs INTEGER, bytes INTEGER, allocated INTEGER, unverified TEXT" },
  { name = "contents", columns = "id INTEGER PRIMARY KEY, uuid TEXT, hash TEXT, hash_kind TEXT,"
    .. " size INTEGER, mime TEXT, kind TEXT, entries INTEGER" },
}

local INDEXES = "CREATE INDEX entries_parent ON entries(parent_id);"
  .. " CREATE INDEX entries_path ON entries(location_id, path);"
  .. " CREATE INDEX entries_hash ON entries(hash) WHERE hash IS NOT NULL;"

-- What the columns are called, in their order.
local function names_of(columns)
  local names = {}
  for name in (", " .. columns):gmatch(", ([%w_]+)") do names[#names + 1] = name end
  return table.concat(names, ", ")
end

-- What went wrong with the library has its own exit; all else is the file's.
local function check(ok, message, code)
  if ok then return ok end
  local signal, exit = code == "ECANCELED" and core.reader.caught(), failure.EXIT.FAILED
  if code == "EDAMAGED" then exit = failure.EXIT.DAMAGED end
  error(failure.new(message, code, signal and 128 + signal or exit), 0)
end

--- Fills a new file at `path` with everything, or with what lies at and below one entry.
---@param query sd.Query
---@param path string
---@param filter {begin: string, where: table<string, string>, values: any[]}
function M.write(query, path, filter)
  local copy <close> = check(core.copy.open(path))
  for _, one in ipairs(TABLES) do
    check(copy:exec(("CREATE TABLE %s(%s)"):format(one.name, one.columns)))
    local where = filter.where[one.name]
    local cursor <close> = query:cursor(("%s SELECT %s FROM %s %s"):format(
      where and filter.begin or "", names_of(one.columns), one.name, where or ""),
      where and filter.values)
    check(copy:rows(cursor, one.name))
  end
  check(copy:exec(INDEXES))
  check(copy:finish())
end

return M
