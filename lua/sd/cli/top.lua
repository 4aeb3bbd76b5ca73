--- `sdlua top WHAT [PATH]`: the largest files, directories and groups, the oldest files.
local ask = require "sd.cli.ask"
local entry = require "sd.cli.entry"
local out = require "sd.cli.out"
local place = require "sd.place"
local query = require "sd.query"
local tables = require "sd.cli.tables"
local usage = require "sd.cli.usage"

local M = {}

local command = usage.new("sdlua top",
  "Show the largest files or directories, what extensions or owners have most, or the files that"
    .. " were not changed for the longest time.", {
    { "WHAT", "files, dirs, extensions, owners or oldest",
      choices = { "files", "dirs", "extensions", "owners", "oldest" } },
    { "PATH", "at and below this indexed directory (default: the whole library)", args = "?" },
    { "-n --count", "so many lines (default: 10)", arg = "N", convert = usage.count },
    { "--apparent", "by the sizes of files instead of what they take on the disk" },
    { "--json", "an array of objects" },
    table.unpack(entry.SIZES),
  })

-- Each question: what it gives for --json, behind the key by which it is ordered. `%s` is size or
-- allocated, `WHERE` a condition on what is meant. A directory counts with all that is below it.
local PATH = "path(e.parent_id, e.name) AS path"
local GROUPS = " count(*) AS files, total(e.size) AS size, total(e.allocated) AS allocated"
  .. " FROM entry e WHERE e.kind = 1 AND WHERE GROUP BY 2 ORDER BY 1 DESC, 2 LIMIT ?2"
local FILES = PATH .. ", e.size AS size, e.allocated AS allocated, e.mtime AS mtime_ns"
  .. " FROM (SELECT * FROM entry e WHERE e.kind = 1 AND WHERE ORDER BY %s, e.id LIMIT ?2) e"

local QUESTIONS = {
  files = { "path, size, allocated, mtime_ns",
    "SELECT e.%s AS key, " .. FILES:gsub("%%s", "e.%%s DESC") },
  dirs = { "path, size, allocated, files, dirs",
    "SELECT key, " .. PATH .. ", d_size AS size, d_allocated AS allocated, files, dirs"
      .. " FROM (SELECT e.*, d.files, d.dirs, d.bytes + e.size AS d_size, d.allocated + e.allocated"
      .. " AS d_allocated, CASE '%s' WHEN 'size' THEN d.bytes + e.size ELSE d.allocated"
      .. " + e.allocated END AS key FROM directory d JOIN entry e ON e.id = d.entry_id"
      .. " WHERE WHERE ORDER BY key DESC, e.id LIMIT ?2) e" },
  extensions = { "extension, files, size, allocated",
    "SELECT total(e.%s) AS key, extension(e.name) AS extension," .. GROUPS },
  owners = { "uid, files, size, allocated", "SELECT total(e.%s) AS key, e.uid AS uid," .. GROUPS },
  oldest = { "path, size, allocated, mtime_ns",
    "SELECT e.mtime AS key, " .. FILES:gsub("%%s", "e.mtime") },
}

-- The statement of a question, about all or what is at and below one entry.
local function statement(what, here, parsed)
  local columns, sql = table.unpack(QUESTIONS[what])
  local where = "?1 IS NULL"
  if here then
    where = what == "dirs" and "d.entry_id IN (SELECT id FROM below)"
      or "(e.id = ?1 OR e.parent_id IN (SELECT id FROM below))"
  end
  sql = sql:gsub("%%s", parsed.apparent and "size" or "allocated")
    :gsub("WHERE WHERE", "WHERE %%s"):gsub("AND WHERE", "AND %%s"):gsub("%%s", where)
  if parsed.json then sql = ("SELECT %s FROM (%s)"):format(columns, sql) end
  return (here and place.BELOW or "") .. sql
end

-- The name of a group, and what stands for none.
local LABELS = {
  extensions = function(row) return row[2] and out.name(row[2]) or "(none)" end,
  owners = function(row) return entry.user(row[2]) end,
}

local function write_text(cursor, what, parsed)
  local lines, size = {}, entry.sizes(parsed)
  for row in function() return query.next(cursor) end do
    local key = what == "oldest" and entry.time(row[1]) or size(math.tointeger(row[1]) or row[1])
    if LABELS[what] then lines[#lines + 1] = { key, ("%d"):format(row[3]), LABELS[what](row) }
    else lines[#lines + 1] = { key, out.name(row[2]) } end
  end
  entry.columns(lines, { true, true })
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  return ask.run(parsed, function(ask_query)
    ask_query:stay()
    local here = parsed.path and place.all(ask_query, { parsed.path })[1]
    local sql = statement(parsed.what, here, parsed)
    local cursor <close> = ask_query:cursor(sql, { here and here.id, parsed.count or 10, n = 2 })
    if parsed.json then tables.write(cursor, "json", {})
    else write_text(cursor, parsed.what, parsed) end
  end)
end

return M
