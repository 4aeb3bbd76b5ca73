--- What a library says, in a form that can be compared with another one: without ids, without the
--- times at which things were done.
local failure = require "sd.failure"

local M = {}

-- By name: a query over the public views. `?1` is the job whose errors are meant.
local VIEWS = {
  locations = "SELECT root, state FROM locations",
  entries = "SELECT l.root, e.path, e.kind, e.size, e.mtime_ns, e.mode, e.uid, e.gid, e.nlink,"
    .. " e.target, e.hash, e.hash_kind, e.mime FROM entries e JOIN locations l"
    .. " ON l.id = e.location_id",
  directories = "SELECT l.root, d.path, d.files, d.dirs, d.bytes, d.allocated FROM directories d"
    .. " JOIN locations l ON l.id = d.location_id",
  contents = "SELECT hash, hash_kind, size, mime, kind, entries FROM contents",
  errors = "SELECT path, operation, error, count(*) AS n FROM errors WHERE job_id = ?1"
    .. " GROUP BY path, operation, error",
  ["open jobs"] = "SELECT name, status FROM jobs"
    .. " WHERE status NOT IN ('completed', 'failed', 'cancelled')",
  ["stored queues"] = "SELECT queue, count(*) AS n FROM job_queue_item GROUP BY queue",
}
local SHOWN = 10 -- lines of a table

---@class sd.testing.Snapshot: table<string, table<string, integer>> By table: how often a row is
--- there, by its text.

local function text_of(row, ignored)
  local parts = {}
  for name, value in pairs(row) do
    if not ignored[name] then
      parts[#parts + 1] = (type(value) == "string" and "%s=%q" or "%s=%s"):format(name, value)
    end
  end
  table.sort(parts)
  return (table.concat(parts, " "):gsub("\\\n", "\\n"))
end

local function count_rows(rows, ignored)
  local counts = {}
  for _, row in ipairs(rows) do
    local text = text_of(row, ignored)
    counts[text] = (counts[text] or 0) + 1
  end
  return counts
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list or {}) do set[name] = true end
  return set
end

--- The tables of a library.
---@async
---@param library sd.Library
---@return table<string, boolean>
function M.tables(library)
  local names = {}
  for i, row in ipairs(failure.check(library.db:query(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"))) do
    names[i] = row.name
  end
  return set_of(names)
end

---@class sd.testing.SnapshotOptions
---@field own? table<string, boolean> Tables that are not compared as they are: the library's own.
---@field ignore? table<string, string[]> By table: columns that may differ.
---@field job_id? integer Whose errors are compared.

--- What the public views and all other tables hold.
---@async
---@param library sd.Library
---@param options sd.testing.SnapshotOptions
---@return sd.testing.Snapshot
function M.take(library, options)
  local snapshot, ignore = {}, options.ignore or {}
  for name, sql in pairs(VIEWS) do
    local params = sql:find("?1", 1, true) and { options.job_id or 0 } or nil
    snapshot[name] = count_rows(failure.check(library.db:query(sql, params)), set_of(ignore[name]))
  end
  for name in pairs(M.tables(library)) do
    if not options.own[name] then
      local rows = failure.check(library.db:query(('SELECT * FROM "%s"'):format(
        (name:gsub('"', '""')))))
      snapshot[name] = count_rows(rows, set_of(ignore[name]))
    end
  end
  return snapshot
end

local function add_missing(lines, name, sign, a, b)
  local n = 0
  for text, count in pairs(a) do
    local more = count - (b[text] or 0)
    if more > 0 and n < SHOWN then
      n = n + 1
      lines[#lines + 1] = ("%s %s: %s%s"):format(sign, name, text,
        more > 1 and (" (%d times)"):format(more) or "")
    end
  end
end

--- What is in `a` alone, with a minus, and in `b` alone, with a plus; some lines of each table.
---@param a sd.testing.Snapshot
---@param b sd.testing.Snapshot
---@return string[] lines
function M.differences(a, b)
  local lines, names = {}, {}
  for name in pairs(a) do names[name] = true end
  for name in pairs(b) do names[name] = true end
  for name in pairs(names) do
    add_missing(lines, name, "-", a[name] or {}, b[name] or {})
    add_missing(lines, name, "+", b[name] or {}, a[name] or {})
  end
  table.sort(lines)
  return lines
end

return M
