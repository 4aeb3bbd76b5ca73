--- `sdlua location`: the directory trees that a library indexes.
local core = require "sd.core"
local failure = require "sd.failure"
local foreground = require "sd.cli.foreground"
local json = require "sd.json"
local options = require "sd.cli.options"
local roots = require "sd.cli.roots"
local runners = require "sd.runner"
local script = require "sd.script"
local task = require "sd.task"
local text = require "sd.text"

local M = {}

local ACTIONS = {
  add = "make a directory a location; it is not indexed yet",
  list = "list the locations",
  show = "show all that is known of a location",
  set = "change the settings of a location, or its root",
  remove = "remove a location from the library; nothing on the disk is touched",
}
local NAMES = { "add", "list", "show", "set", "remove" }

-- What `sdlua index` does with a location where it is not told otherwise.
local SETTINGS = { "mode", "mime", "changed_by" }

local function add_settings(p, indexer)
  local some = {}
  for _, name in ipairs(SETTINGS) do some[name] = indexer.definition.args[name] end
  options.add_declared(p, some, nil, true)
end

local ADD = {}

function ADD.add(p, indexer)
  p:argument("PATH", "directory"):target("path")
  add_settings(p, indexer)
end

function ADD.set(p, indexer)
  p:option("--root", "where the tree is now, if it was moved or is mounted elsewhere")
    :argname("PATH")
  p:flag("--reset", "forget the settings that there were")
  add_settings(p, indexer)
end

function ADD.remove(p)
  p:option("--progress", "how progress is shown on stderr")
    :choices { "auto", "bar", "plain", "json", "none" }:default "auto":show_default(false)
end

local function make_parser(indexer)
  local p = options.parser("sdlua location", "The directory trees that a library indexes. A"
    .. " location is named by its root, its number, or the beginning of its uuid.")
  p:command_target("action")
  for _, name in ipairs(NAMES) do
    local c = options.command(p, name, ACTIONS[name])
    if name ~= "add" and name ~= "list" then c:argument("LOCATION", "location"):target("name") end
    if ADD[name] then ADD[name](c, indexer) end
    options.add_library(c, name == "add" and "made where there is none" or "it must be there")
    c:flag("--json", "print the result as JSON")
  end
  return p
end

local function put(...) io.stdout:write(...) end

local function put_json(value) put(json.encode(value), "\n") end

-- The location that is named. A path that is there is looked for as the library knows it; a word
-- may also be a number or the beginning of a uuid, which come first.
local function named(runner, parsed)
  local name, path = parsed.name, core.sys.realpath(parsed.name)
  if name:find("/", 1, true) then return runner:call("location", { name = path or name }) end
  local ok, row = pcall(runner.call, runner, "location", { name = name })
  if ok then return row end
  if path and failure.is(row) and row.code == "ENOENT" then
    ok, path = pcall(runner.call, runner, "location", { name = path })
    if ok then return path end
  end
  error(row, 0)
end

local function when(ns)
  return ns and os.date("%F %T", ns // 1000000000) or "never"
end

local function settings_text(settings)
  local parts = {}
  for _, name in ipairs(SETTINGS) do
    if settings[name] ~= nil then
      parts[#parts + 1] = ("--%s %s"):format(name:gsub("_", "-"), settings[name])
    end
  end
  return #parts > 0 and table.concat(parts, " ") or "none"
end

local function put_row(row)
  put(("%s\n  number      %d\n  uuid        %s\n  state       %s\n  added       %s\n"):format(
    text.escape(row.root), row.id, row.uuid, row.state, when(row.created_at)))
  put(("  indexed     %s\n  settings    %s\n"):format(when(row.indexed_at),
    settings_text(row.settings)))
  if row.files then
    put(("  files       %s\n  directories %s\n  symlinks    %s\n  size        %s\n"):format(
      text.count(row.files), text.count(row.dirs), text.count(row.symlinks), text.bytes(row.bytes)))
    put(("  on disk     %s\n"):format(text.bytes(row.allocated)))
  end
end

local function put_result(parsed, row)
  if parsed.json then put_json(row) else put_row(row) end
end

-- As wide as "entries" is: numbers stand below each other.
local function entries_of(row)
  if not row.files then return "-        " end
  local n = row.files + row.dirs + row.symlinks
  return text.counted(n, "entry  ", "entries")
end

local RUN = {}

function RUN.list(runner, parsed)
  local list = runner:call("locations")
  if parsed.json then return put_json(json.array(list)) end
  for _, row in ipairs(list) do
    put(("%3d  %-9s %23s  %10s  %s\n"):format(row.id, row.state, entries_of(row),
      row.bytes and text.bytes(row.bytes) or "-", text.escape(row.root)))
  end
end

function RUN.show(runner, parsed)
  put_result(parsed, named(runner, parsed))
end

function RUN.add(runner, parsed)
  put_result(parsed, runner:call("location_add", { root = roots.check(parsed.path),
    settings = options.declared_values(parsed) }))
end

function RUN.set(runner, parsed)
  local row = named(runner, parsed)
  local given = options.declared_values(parsed)
  local settings = parsed.reset and {} or row.settings
  for key, value in pairs(given) do settings[key] = value end
  if not (next(given) or parsed.reset or parsed.root) then
    error(failure.new("set: say what is to be changed", "EINVAL", failure.EXIT.USAGE), 0)
  end
  row = runner:call("location_set", { name = tostring(row.id),
    root = parsed.root and roots.check(parsed.root), settings = settings })
  put_result(parsed, row)
  if (row.schedules or 0) > 0 and core.sys.writable(2) then
    io.stderr:write(("sdlua: %s, now at the new root\n"):format(
      text.counted(row.schedules, "job repeats", "jobs repeat")))
  end
end

-- It may take a while: a job, which shows progress and is resumed.
local function remove(parsed)
  local forget = script.must_load("forget")
  return foreground.new(parsed, true):with_library(function(run)
    local row = named(run, parsed)
    if row.open_jobs > 0 and row.state ~= "removing" then
      error(failure.new(("%s: a job of this location has not ended; see sdlua job list"):format(
        row.root), "EBUSY"), 0)
    end
    return run:run(forget.definition { root = row.root }, forget, { "root" })
  end)
end

---@param args string[]
---@return integer status
function M.main(args)
  local indexer = script.must_load("indexer")
  local parsed = options.parse(make_parser(indexer), args)
  if parsed.action == "remove" then return remove(parsed) end
  local path = parsed.library or options.default_library()
  return task.run(function()
    local runner <close> = runners.open(path, { create = parsed.action == "add" })
    RUN[parsed.action](runner, parsed)
    return runner and 0
  end)
end

return M
