--- `sdlua ls [PATH...]`: what is in directories, as the index has it.
local ask = require "sd.cli.ask"
local entry = require "sd.cli.entry"
local out = require "sd.cli.out"
local place = require "sd.place"
local query = require "sd.query"
local tables = require "sd.cli.tables"
local usage = require "sd.cli.usage"

local M = {}

local command = usage.new("sdlua ls",
  "List what is in each PATH, as it was when it was indexed: every name, by name.", {
    { "PATH", "indexed file or directory (default: the working directory, else all locations)",
      args = "*", key = "paths" },
    { "-l --long", "permissions, links, owner, group, size and time too" },
    { "-d --directory", "a directory itself, not what is in it" },
    { "-r --reverse", "in reverse order" },
    { "--sort", "name, size (largest first), time (newest first) or none", arg = "KEY",
      choices = { "name", "size", "time", "none" } },
    { "-n --numeric", "numbers of owners and groups" },
    { "-0 --null", "a zero byte behind each name instead of a newline" },
    { "--json", "an array of objects" },
    table.unpack(entry.SIZES),
  })

-- Names are compared byte by byte, whether they are text or not.
local NAME = "CAST(e.name AS BLOB)"
local ORDER = { name = NAME .. " ASC", size = "e.size DESC, " .. NAME .. " ASC",
  time = "e.mtime DESC, " .. NAME .. " ASC" }

local function order_of(parsed)
  local order = ORDER[parsed.sort or "name"]
  if not order then return "" end
  if parsed.reverse then
    order = order:gsub("%f[%u][AD]E?SC", { ASC = "DESC", DESC = "ASC" })
  end
  return " ORDER BY " .. order
end

-- Statement and value for one PATH.
local function select(columns, here, itself, parsed)
  local where = itself and " WHERE e.id = ?" or " WHERE e.parent_id = ?"
  return "SELECT " .. columns .. entry.FROM .. where .. (itself and "" or order_of(parsed)),
    { here.id }
end

local LONG = "e.name, e.kind, e.mode & 4095, e.nlink, e.uid, e.gid, e.size, e.mtime, e.target"
local RIGHT = { false, true, false, false, true }

local function write_long(ask_query, here, itself, parsed)
  local lines, size = {}, entry.sizes(parsed)
  local cursor <close> = ask_query:cursor(select(LONG, here, itself, parsed))
  for row in function() return query.next(cursor) end do
    local name, kind, mode, nlink, uid, gid, bytes, mtime, target = table.unpack(row, 1, 9)
    name = out.name(itself and here.given or name)
    if target then name = name .. " -> " .. out.name(target) end
    lines[#lines + 1] = { entry.mode(kind, mode), tostring(nlink),
      parsed.numeric and tostring(uid) or entry.user(uid),
      parsed.numeric and tostring(gid) or entry.group(gid), size(bytes), entry.time(mtime), name }
  end
  entry.columns(lines, RIGHT)
end

local function write_names(ask_query, here, itself, parsed)
  if itself then return out.write(out.name(here.given), parsed.null and "\0" or "\n") end
  local cursor <close> = ask_query:cursor(select("e.name", here, false, parsed))
  out.names(cursor, parsed.null)
end

-- What is no directory comes first, as ls has it.
local function write_all(ask_query, places, parsed)
  local write = parsed.long and write_long or write_names
  local directories, any = {}, false
  for _, here in ipairs(places) do
    if here.kind ~= entry.DIRECTORY or parsed.directory then
      write(ask_query, here, true, parsed)
      any = true
    else
      directories[#directories + 1] = here
    end
  end
  for _, here in ipairs(directories) do
    if #places > 1 and not parsed.null then
      out.write(any and "\n" or "", out.name(here.given), ":\n")
    end
    write(ask_query, here, false, parsed)
    any = true
  end
end

-- One array for all of them.
local function write_json(ask_query, places, parsed)
  local parts, values = {}, { n = #places }
  for i, here in ipairs(places) do
    local itself = here.kind ~= entry.DIRECTORY or parsed.directory
    parts[i] = "SELECT * FROM (" .. select(entry.JSON, here, itself, parsed) .. ")"
    values[i] = here.id
  end
  local cursor <close> = ask_query:cursor(table.concat(parts, " UNION ALL "), values)
  tables.write(cursor, "json", {})
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  command:only_one(parsed, "long", "null")
  command:only_one(parsed, "null", "json")
  if parsed.reverse and parsed.sort == "none" then
    command:wrong "--reverse and --sort none exclude each other"
  end
  return ask.run(parsed, function(ask_query)
    ask_query:stay()
    local places = place.all(ask_query, parsed.paths)
    if parsed.json and #places > 0 then write_json(ask_query, places, parsed)
    elseif parsed.json then out.write "[\n]\n"
    else write_all(ask_query, places, parsed) end
  end)
end

return M
