--- `sdlua rules`: which rules there are, those of the locations, and which one decides for a path.
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local out = require "sd.cli.out"
local place = require "sd.place"
local rule_options = require "sd.cli.rule_options"
local rules = require "sd.rules"
local usage = require "sd.cli.usage"

local M = {}

local JSON = { "--json", "an array of objects" }

local function with_options(items)
  for _, item in ipairs(rule_options.ITEMS) do items[#items + 1] = item end
  return items
end

local COMMANDS = {
  list = usage.new("sdlua rules list", "List the rules that --rules can name.", { JSON }),
  show = usage.new("sdlua rules show", "Show what each location leaves out.", { JSON }),
  test = usage.new("sdlua rules test",
    "Say which rule decides for each PATH: by the rules of its location, or by those given here,"
      .. " which are not stored.", with_options {
      { "PATH", "file or directory; it need not exist", args = "+", key = "paths" },
      { "--root", "directory to which the rules belong (default: that of the location)",
        arg = "DIR" },
      JSON,
    }),
}

local HELP = [[
usage: sdlua rules list|show|test [OPTIONS] [PATH...]

  list   the rules that --rules can name, and what each leaves out
  show   what each location of the library leaves out
  test   which rule decides for a path

`sdlua rules ACTION --help` shows the options.
]]

local function write_rows(fields, rows)
  out.write "["
  for i, row in ipairs(rows) do
    local values = {}
    for k, name in ipairs(fields) do values[k] = row[name] end
    out.write(i > 1 and ",\n" or "\n", json.object(fields, values))
  end
  out.write "\n]\n"
end

local RUN = {}

function RUN.list(parsed)
  if parsed.json then return write_rows({ "name", "about" }, rules.names()) end
  for _, rule in ipairs(rules.names()) do
    out.write(("%-16s %s\n"):format(rule.name, rule.about))
  end
end

-- ---- of a library ----

local function open(parsed)
  return require "sd.query".must_open(parsed.library
    or require "sd.cli.options".default_library())
end

local STORED = "SELECT l.root AS path, coalesce(r.rules, '{}') AS rules FROM location l"
  .. " LEFT JOIN location_rules r ON r.location_id = l.id ORDER BY l.root"

function RUN.show(parsed)
  local query <close> = open(parsed)
  local rows = query:rows(STORED)
  for _, row in ipairs(rows) do row.options = rules.command_line(rules.options(row.rules)) end
  if parsed.json then return write_rows({ "path", "rules", "options" }, rows) end
  for _, row in ipairs(rows) do out.write(out.name(row.path), ": ", row.options, "\n") end
end

-- ---- which rule decides ----

local function stored(query, location)
  local row = query:row("SELECT rules FROM location_rules WHERE location_id = ?", { location.id })
  return row and row.rules or "{}"
end

-- The root that the path belongs to, what is left of the path, the text of the rules.
local function around(query, parsed, path, given)
  local locations
  if parsed.root then
    local root, message, code = core.sys.realpath(parsed.root)
    locations = { { root = failure.check_other(root, message, code) } }
  else
    locations = place.locations(query)
  end
  local found = place.around(path, locations)[1]
  if not found then
    error(failure.new(("%s: %s"):format(path, parsed.root and "not below the root " .. parsed.root
      or "in no location of the library; say --root DIR"), "ENOENT"), 0)
  end
  return found.location.root, found.rest, given or stored(query, found.location)
end

local function decide(root, rest, text)
  local run <close> = rules.open(text)
  local accepted, rule, about, detail = rules.decide(run, root, rest)
  if accepted == nil then failure.check_other(nil, rule, about) end
  return { root = root, accepted = accepted, rule = rule, about = about,
    detail = detail ~= "" and detail or nil }
end

local function write_text(row)
  local parts = { out.name(row.path), ": " }
  if row.accepted then parts[3] = "stays"
  else
    local above = row.about ~= row.rest and " with " .. out.name(row.about) or ""
    parts[3] = ("left out%s by %s"):format(above, row.rule)
  end
  if row.detail then parts[4] = (" (%s)"):format(out.name(row.detail)) end
  out.write(table.concat(parts), "\n")
end

function RUN.test(parsed)
  local given = rule_options.given(parsed)
  if parsed.root and not given then given = "{}" end
  local query <close> = not parsed.root and open(parsed) or nil
  local rows = {}
  for i, path in ipairs(parsed.paths) do
    local root, rest, text = around(query, parsed, path, given)
    rows[i] = decide(root, rest, text)
    rows[i].path, rows[i].rest = path, rest
  end
  if parsed.json then
    return write_rows({ "path", "root", "accepted", "rule", "about", "detail" }, rows)
  end
  for _, row in ipairs(rows) do write_text(row) end
end

---@param args string[]
---@return integer status
function M.main(args)
  local action = args[1]
  if action == "--help" or action == "-h" then
    out.write(HELP)
    return 0
  end
  local command = COMMANDS[action]
  if not command then
    error(failure.usage(action and ("rules: no action '%s'"):format(action)
      or "rules: an action is missing", HELP:match("^[^\n]*")), 0)
  end
  local parsed = command:parse(table.move(args, 2, #args, 1, {}))
  core.reader.catch()
  out.begin()
  RUN[action](parsed)
  out.flush()
  return 0
end

return M
