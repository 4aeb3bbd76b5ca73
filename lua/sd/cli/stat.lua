--- `sdlua stat PATH...`: all that the index knows of an entry.
local ask = require "sd.cli.ask"
local entry = require "sd.cli.entry"
local out = require "sd.cli.out"
local place = require "sd.place"
local tables = require "sd.cli.tables"
local template = require "sd.cli.template"
local text = require "sd.text"
local usage = require "sd.cli.usage"

local M = {}

local command = usage.new("sdlua stat", "Show all that the index knows of each PATH.", {
  { "PATH", "indexed file or directory", args = "+", key = "paths" },
  { "--format", "a line for each: {name} stands for a field of --json, \\t and \\n for themselves",
    arg = "TEXT", convert = template.new },
  { "--json", "an array of objects" },
})

-- Beside what every command says of an entry: what only directories and contents have.
local COLUMNS = entry.JSON .. ", l.root AS root, d.files AS files, d.dirs AS dirs,"
  .. " d.bytes AS bytes_below, d.allocated AS allocated_below, c.kind AS content_kind,"
  .. " c.entries AS same_content"
local FROM = entry.FROM .. "LEFT JOIN directory d ON d.entry_id = e.id JOIN location l ON l.id = ?2"
  .. " WHERE e.id = ?1"

local function bytes(n)
  return ("%d (%s)"):format(n, text.bytes(n))
end

local function named(id, name)
  return ("%d (%s)"):format(id, name)
end

-- Label and value of each line; what is nil is left out.
local function lines_of(row)
  local kind = 8
  for i, name in ipairs(entry.KINDS) do if name == row.kind then kind = i end end
  return {
    { "path", out.name(row.path) }, { "location", out.name(row.root) },
    { "kind", row.kind }, { "target", row.target and out.name(row.target) },
    { "size", bytes(row.size) }, { "allocated", bytes(row.allocated) },
    { "mode", ("%04o (%s)"):format(row.mode, entry.mode(kind, row.mode)) },
    { "owner", named(row.uid, entry.user(row.uid)) },
    { "group", named(row.gid, entry.group(row.gid)) },
    { "links", tostring(row.nlink) },
    { "device, inode", entry.unsigned(row.dev) .. ", " .. entry.unsigned(row.ino) },
    { "modified", entry.time(row.mtime_ns, true) }, { "changed", entry.time(row.ctime_ns, true) },
    { "made", row.btime_ns and entry.time(row.btime_ns, true) },
    { "below", row.files and ("%s, %s, %s (%s on the disk)"):format(
      text.counted(row.files, "file", "files"),
      text.counted(row.dirs, "directory", "directories"), text.bytes(row.bytes_below),
      text.bytes(row.allocated_below)) },
    { "hash", row.hash and ("%s (%s)"):format(row.hash, row.hash_kind) },
    { "type", row.mime and ("%s (%s)"):format(row.mime, row.content_kind) },
    { "same content", row.same_content and row.same_content > 1
      and ("%s entries"):format(text.count(row.same_content)) },
    { "unverified", row.unverified }, { "uuid", row.uuid },
  }
end

local function write_text(row)
  for _, line in ipairs(lines_of(row)) do
    if line[2] then out.write(("%-13s  %s\n"):format(line[1], line[2])) end
  end
end

local function write_json(query, places)
  local parts, values = {}, {}
  for i, here in ipairs(places) do
    parts[i] = "SELECT " .. COLUMNS .. FROM:gsub("%?(%d)", function(n)
      return "?" .. 2 * (i - 1) + n
    end)
    values[2 * i - 1], values[2 * i] = here.id, here.location.id
  end
  local cursor <close> = query:cursor(table.concat(parts, " UNION ALL "), values)
  tables.write(cursor, "json", {})
end

-- A field that does not exist is a mistake, not an empty one.
local function check_template(query, parsed)
  if not parsed.format then return end
  local cursor <close> = query:cursor("SELECT " .. COLUMNS .. FROM, { 0, 0 })
  template.check(parsed.format, cursor:names(), command)
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  command:only_one(parsed, "format", "json")
  return ask.run(parsed, function(query)
    query:stay()
    check_template(query, parsed)
    local places = place.all(query, parsed.paths)
    if parsed.json then return write_json(query, places) end
    for i, here in ipairs(places) do
      local row = query:row("SELECT " .. COLUMNS .. FROM, { here.id, here.location.id })
      if parsed.format then
        out.write(template.fill(parsed.format, row))
      else
        out.write(i > 1 and "\n" or "")
        write_text(row)
      end
    end
  end)
end

return M
