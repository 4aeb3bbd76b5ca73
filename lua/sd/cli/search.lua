--- `sdlua search [PATTERN]`: entries by name, path and attributes.
local ask = require "sd.cli.ask"
local out = require "sd.cli.out"
local query_of = require "sd.query"
local search = require "sd.search"
local usage = require "sd.cli.usage"

local M = {}

-- Most searches have none of these options.
local values = setmetatable({}, { __index = function(_, name)
  return function(...) return require "sd.cli.values"[name](...) end
end })

local CONTENTS = { "image", "video", "audio", "font", "text", "document", "archive", "application",
  "model", "message", "other" }
local SORTS = { "path", "name", "size", "allocated", "mtime", "none" }

local command = usage.new("sdlua search",
  "Find entries whose name has PATTERN in it, and that all filters let through. Without a PATTERN"
    .. " filters alone decide.", {
    { "PATTERN", "text; with --glob or --regex a pattern", args = "?" },
    { "-g --glob", "PATTERN is a shell pattern for the whole name: *.jpg" },
    { "-e --regex", "PATTERN is a Perl-compatible regular expression" },
    { "-p --path", "look at absolute paths instead of names; for --glob ** goes across /" },
    { "-i --ignore-case", "upper and lower case are the same" },
    { "-S --smart-case", "so they are where PATTERN has no letter in upper case" },
    { "-k --kind", "file, directory, symlink, fifo, socket, char, block; f, d, l, …",
      arg = "KIND[,KIND]", convert = values.kinds },
    { "-x --extension", "behind the last dot, in any case", arg = "EXT[,EXT]",
      convert = values.words },
    { "--min-size", "so large or larger: 300, 10K, 1.5M, 2G", arg = "SIZE", convert = usage.size },
    { "--max-size", "so large or smaller", arg = "SIZE", convert = usage.size },
    { "--newer", "changed since: 2024-01-31, '2024-01-31 12:00', @SECONDS, or an age as 30m, 12h,"
      .. " 7d, 2w, 1y", arg = "WHEN", convert = values.time },
    { "--older", "not changed since", arg = "WHEN", convert = values.time },
    { "--mode", "permissions as find -perm has them: 644 exactly, -644 all of these, /111 any of"
      .. " these (--mode=-644)", arg = "MODE", convert = values.mode },
    { "--owner", "name or number", arg = "USER", convert = values.user },
    { "--group", "name or number", arg = "GROUP", convert = values.group },
    { "--location", "in this location: its root, or its id", arg = "ROOT|ID" },
    { "--in", "at and below this indexed directory", arg = "PATH", key = "below" },
    { "--mime", "MIME type: image/png, 'image/*'", arg = "TYPE" },
    { "--content", table.concat(CONTENTS, ", "), arg = "KIND", key = "content_kind",
      choices = CONTENTS },
    { "--hash", "hexadecimal, or its beginning", arg = "HASH", convert = values.hash },
    { "--duplicates", "files whose content another file has too, by full hashes (sdlua dupes)" },
    { "--sort", "path, name, size, allocated (largest first), mtime (newest first) or none"
      .. " (default: none, which is fastest)", arg = "KEY", choices = SORTS },
    { "-r --reverse", "in reverse order" },
    { "-n --limit", "so many at most", arg = "N", convert = usage.count },
    { "-c --count", "how many, and nothing else" },
    { "-0 --null", "a zero byte behind each path instead of a newline" },
    { "--format", "a line for each: {path} or another field of --json, \\t and \\n", arg = "TEXT",
      convert = values.template },
    { "--json", "an array of objects" },
  })

-- ---- what is asked ----

local FLAGS = { "min_size", "max_size", "newer", "older", "mode", "mime", "content_kind", "hash",
  "duplicates", "path" }

local function options_of(query, parsed)
  local options = { pattern = parsed.pattern, how = parsed.regex and "regex" or parsed.glob
    and "glob" or "contains", kinds = parsed.kind, extensions = parsed.extension,
    uid = parsed.owner, gid = parsed.group, ignore_case = parsed.ignore_case }
  for _, name in ipairs(FLAGS) do options[name] = parsed[name] end
  if parsed.smart_case and parsed.pattern then
    options.ignore_case = not search.has_upper(query, parsed.pattern)
  end
  if parsed.below then options.below = require "sd.place".all(query, { parsed.below })[1] end
  if parsed.location then options.location = values.location(query, parsed.location) end
  return options
end

local KEYS = { path = "CAST(path(n.parent_id, n.name) AS BLOB) ASC",
  name = "CAST(n.name AS BLOB) ASC", size = "e.size DESC", allocated = "e.allocated DESC",
  mtime = "e.mtime DESC" }

-- What orders alike is ordered by path, so that the same search gives the same order.
local function order_of(parsed)
  local key = parsed.sort and KEYS[parsed.sort]
  if not key then return "" end
  if parsed.reverse then key = key:gsub("%u+$", { ASC = "DESC", DESC = "ASC" }) end
  return " ORDER BY " .. key .. (parsed.sort ~= "path" and ", " .. KEYS.path or "")
end

local function is_of_entry(key)
  return key and KEYS[key] and KEYS[key]:find("e%.") ~= nil
end

-- A cursor over these columns.
local function find(query, parsed, columns, needs)
  needs.entry = needs.entry or is_of_entry(parsed.sort) and not parsed.count
  local found = search.statement(query, options_of(query, parsed), needs)
  local tail = parsed.count and "" or order_of(parsed)
  if parsed.limit then tail = ("%s LIMIT %d"):format(tail, parsed.limit) end
  local sql = found.begin .. "SELECT " .. columns .. found.sql .. tail
  if parsed.count then
    sql = found.begin .. "SELECT count(*) FROM (SELECT 1" .. found.sql .. tail .. ")"
  end
  return query:cursor(sql, found.values)
end

-- ---- what is written ----

local function write_count(query, parsed)
  local cursor <close> = find(query, parsed, "1", {})
  out.write(query_of.next(cursor)[1], "\n")
end

local function write_paths(query, parsed)
  local cursor <close> = find(query, parsed, "path(n.parent_id, n.name)", {})
  out.names(cursor, parsed.null)
end

local function write_json(query, parsed)
  local entry = require "sd.cli.entry"
  local cursor <close> = find(query, parsed, entry.JSON, { entry = true, content = true })
  require "sd.cli.tables".write(cursor, "json", {})
end

local function write_lines(query, parsed)
  local template, entry = require "sd.cli.template", require "sd.cli.entry"
  local sql, names, columns, needs = {}, {}, {}, { entry = true }
  for i, field in ipairs(entry.FIELDS) do sql[field[1]], names[i] = field[2], field[1] end
  template.check(parsed.format, names, command)
  for i, name in ipairs(parsed.format.names) do
    columns[i] = sql[name]
    needs.content = needs.content or sql[name]:find("c%.") ~= nil
  end
  local list = #columns > 0 and table.concat(columns, ", ") or "1"
  local cursor <close> = find(query, parsed, list, needs)
  for row in function() return query_of.next(cursor) end do
    out.write(template.fill(parsed.format, row, true))
  end
end

local function check_together(parsed)
  command:only_one(parsed, "glob", "regex")
  command:only_one(parsed, "ignore_case", "smart_case")
  command:only_one(parsed, "count", "null", "format", "json")
  if parsed.reverse and not KEYS[parsed.sort] then command:wrong "--reverse needs --sort KEY" end
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  check_together(parsed)
  if parsed.pattern == "" then parsed.pattern = nil end
  return ask.run(parsed, function(query)
    if parsed.count then write_count(query, parsed)
    elseif parsed.json then write_json(query, parsed)
    elseif parsed.format then write_lines(query, parsed)
    else write_paths(query, parsed) end
  end)
end

return M
