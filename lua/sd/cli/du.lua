--- `sdlua du [PATH...]`: what directories take, from the stored totals.
local ask = require "sd.cli.ask"
local damage = require "sd.damage"
local entry = require "sd.cli.entry"
local json = require "sd.json"
local links = require "sd.links"
local out = require "sd.cli.out"
local place = require "sd.place"
local usage = require "sd.cli.usage"

local M = {}

local command = usage.new("sdlua du",
  "Show what each PATH takes on the disk, with all that is below it, as the last run of the index"
    .. " found it. A file with several names counts once within each line.", {
    { "PATH", "indexed file or directory (default: the working directory, else all locations)",
      args = "*", key = "paths" },
    { "-d --max-depth", "also directories so many levels below (default: 0; with --all: all)",
      arg = "N", convert = usage.count },
    { "-a --all", "files too" },
    { "--apparent", "the sizes of files instead of what they take on the disk" },
    { "-l --count-links", "count a file once for each of its names" },
    { "--sort", "path, or size (largest first)", arg = "KEY", choices = { "path", "size" } },
    { "-0 --null", "a zero byte behind each line instead of a newline" },
    { "--json", "an array of objects" },
    table.unpack(entry.SIZES),
  })

-- An entry with what lies below it: the totals do not count the directory itself.
local COLUMNS = "e.id, e.kind, e.name, e.size + coalesce(d.bytes, 0) AS size,"
  .. " e.allocated + coalesce(d.allocated, 0) AS allocated,"
  .. " coalesce(d.files, 0) AS files, coalesce(d.dirs, 0) AS dirs"
  .. " FROM entry e LEFT JOIN directory d ON d.entry_id = e.id"
local ITSELF = "SELECT " .. COLUMNS .. " WHERE e.id = ?"
local BELOW = "SELECT " .. COLUMNS .. " WHERE e.parent_id = ? AND (e.kind = 2 OR ?)"
  .. " ORDER BY CAST(e.name AS BLOB)"

local function depth_of(parsed)
  return parsed.max_depth or parsed.all and math.maxinteger or 0
end

-- What is below comes before it, as du has it.
local function collect(query, found, row, path, depth, parsed)
  row.path = path
  if row.kind == entry.DIRECTORY and depth < depth_of(parsed) then
    damage.enter(query, found.above, row.id)
    local prefix = path:sub(-1) == "/" and path or path .. "/"
    for _, child in ipairs(query:rows(BELOW, { row.id, parsed.all or false })) do
      collect(query, found, child, prefix .. child.name, depth + 1, parsed)
    end
    found.above[row.id] = nil
  end
  found[#found + 1] = row
end

local function take_links_off(query, found, places)
  local wanted, tops = {}, {}
  for i, here in ipairs(places) do tops[i] = here.id end
  for _, row in ipairs(found) do
    if row.kind == entry.DIRECTORY then wanted[row.id] = true end
  end
  local excess = links.excess(query, wanted, tops)
  for _, row in ipairs(found) do
    local too_much = excess[row.id]
    if too_much then
      row.size, row.allocated = row.size - too_much.size, row.allocated - too_much.allocated
    end
  end
end

local FIELDS = { "path", "kind", "size", "allocated", "files", "dirs" }

local function write_json(found)
  out.write "["
  for i, row in ipairs(found) do
    out.write(i > 1 and ",\n" or "\n", json.object(FIELDS, { row.path,
      entry.KINDS[row.kind] or "unknown", row.size, row.allocated, row.files, row.dirs }))
  end
  out.write "\n]\n"
end

local function write_text(found, parsed)
  local size, stop = entry.sizes(parsed), parsed.null and "\0" or "\n"
  local key = parsed.apparent and "size" or "allocated"
  for _, row in ipairs(found) do out.write(size(row[key]), "\t", out.name(row.path), stop) end
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  command:only_one(parsed, "null", "json")
  return ask.run(parsed, function(query)
    query:stay()
    local found, places = { above = {} }, place.all(query, parsed.paths)
    for _, here in ipairs(places) do
      collect(query, found, query:row(ITSELF, { here.id }), here.given, 0, parsed)
    end
    if not parsed.count_links then take_links_off(query, found, places) end
    if parsed.sort == "size" then
      local key = parsed.apparent and "size" or "allocated"
      table.sort(found, function(a, b)
        if a[key] ~= b[key] then return a[key] > b[key] end
        return a.path < b.path
      end)
    end
    if parsed.json then write_json(found) else write_text(found, parsed) end
  end)
end

return M
