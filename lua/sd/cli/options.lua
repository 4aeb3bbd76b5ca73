--- Options that several commands have, and options made from what a job declares.
local args = require "sd.arg"
local failure = require "sd.failure"

local M = {}

--- The library where none is named: $SDLUA_LIBRARY, else $XDG_DATA_HOME/sdlua/default.
---@type fun(): string
M.default_library = require "sd.cli.default"

-- argparse's own does not see that it cannot be written, and what is raised here does not get
-- through it.
local function print_help(parser)
  local ok, why = io.stdout:write(parser:get_help(), "\n")
  if ok then ok, why = io.stdout:flush() end
  if not ok then io.stderr:write("sdlua: cannot write to standard output: ", why, "\n") end
  os.exit(ok and failure.EXIT.OK or failure.EXIT.FAILED)
end

local function in_our_way(parser)
  return parser:usage_max_width(100):help_max_width(100)
    :add_help { action = function() print_help(parser) end }
end

---@param name string
---@param description string
---@return table parser
function M.parser(name, description)
  return in_our_way(require "argparse"(name, description))
end

--- A command of a command, as `list` is of `sdlua job`.
---@param parser table
---@param name string
---@param description string
---@return table parser
function M.command(parser, name, description)
  return in_our_way(parser:command(name, description))
end

--- --library
---@param parser table
---@param more string What is said after its default.
function M.add_library(parser, more)
  parser:option("--library", "directory of the library (default: $SDLUA_LIBRARY,"
    .. " else $XDG_DATA_HOME/sdlua/default); " .. more):argname("DIR")
    :convert(function(s)
      if s ~= "" then return s end
      return nil, "--library: a directory must be named"
    end)
end

--- --threads
---@param parser table
function M.add_threads(parser)
  parser:option("--threads", "threads that read directories, and threads that hash (default: one a"
    .. " processor)"):argname("N")
    :convert(function(s)
      local n = math.tointeger(tonumber(s))
      if n and n >= 1 and n <= 64 then return n end
      return nil, ("--threads: '%s' is not a number from 1 to 64"):format(s)
    end)
end

-- What add_common() gives, and the parser itself.
local COMMON = { library = true, threads = true, progress = true, json = true, ["repeat"] = true,
  detach = true, fresh = true, help = true }

--- The first of the declared arguments that the command line would take for an option of every job;
--- nil where there is none.
---@param declared table<string, sd.Arg>
---@return string? name
function M.find_taken(declared)
  for _, name in ipairs(args.sorted_names(declared)) do
    local arg = declared[name]
    if COMMON[name] and not (arg.hidden or arg.positional) then return name end
  end
end

--- --library, --threads, --progress, --json, --repeat, --detach, --fresh
---@param parser table
---@param existing? boolean The library must be there (default: it is made).
function M.add_common(parser, existing)
  M.add_library(parser, existing and "it must be there" or "made where there is none")
  M.add_threads(parser)
  parser:option("--progress", "how progress is shown on stderr (default: auto, which is bar on a"
    .. " terminal, else plain)")
    :choices { "auto", "bar", "plain", "json", "none" }:default "auto":show_default(false)
  parser:flag("--json", "print the result on stdout as one JSON object, and nothing else")
  parser:option("--repeat", "do not run it now, but again and again, by `sdlua serve`: \"every"
    .. " 30m\" (s, m, h, d, w), or five fields as crontab(5) has them"):argname("WHEN")
  parser:flag("--detach", "start in the background, print the job's id and return")
  parser:flag("--fresh", "give an unfinished run up and begin a new one; what was stored stays")
end

local function help_of(arg, plain)
  local text = arg.help or ""
  if plain then return text end
  if arg.default ~= nil then text = ("%s (default: %s)"):format(text, tostring(arg.default)) end
  if arg.required and not arg.positional then text = text .. " (required)" end
  return text
end

--- What an argument is called on the command line.
---@param name string
---@param arg sd.Arg
---@return string
function M.name_of(name, arg)
  return arg.positional and name or "--" .. name:gsub("_", "-")
end

-- argparse gives nil and its message; the value itself goes on as it was checked.
local function converter(name, arg)
  return function(given)
    local value, why = arg:check(given)
    if value == nil then return nil, ("%s: '%s' %s"):format(name, given, why) end
    return { value }
  end
end

local function set_flag(parsed, target)
  parsed[target] = { true }
end

--- Adds what a job declares; `except` names what the command gives itself.
---@param parser table
---@param declared table<string, sd.Arg>
---@param except? table<string, boolean>
---@param plain? boolean Defaults are not shown, since the command has none.
function M.add_declared(parser, declared, except, plain)
  for _, name in ipairs(args.sorted_names(declared)) do
    local arg = declared[name]
    if not arg.hidden and not (except and except[name]) then
      local flag = M.name_of(name, arg)
      local option
      local kind = arg.choices and table.concat(arg.choices, "|") or "<" .. arg.type .. ">"
      if arg.positional then option = parser:argument(name):args(arg.required and 1 or "?")
      elseif arg.flag then option = parser:flag(flag):action(set_flag)
      else option = parser:option(flag):argname(kind) end
      option:target("arg_" .. name):description(help_of(arg, plain))
      if not arg.flag then option:convert(converter(flag, arg)) end
    end
  end
end

--- The declared arguments among what was parsed.
---@param parsed table
---@return table<string, any>
function M.declared_values(parsed)
  local values = {}
  for key, value in pairs(parsed) do
    local name = type(key) == "string" and key:match("^arg_(.+)$")
    if name then values[name] = value[1] end
  end
  return values
end

-- "--chunk -1" is "--chunk=-1": no option is a number.
local function joined(words)
  local list = {}
  for i, word in ipairs(words) do
    if word == "--" then return table.move(words, i, #words, #list + 1, list) end
    local last = list[#list]
    if word:find("^%-%d") and last and last:find("^%-%-[^=]+$") then
      list[#list] = last .. "=" .. word
    else list[#list + 1] = word end
  end
  return list
end

--- Parses, or raises a failure with the usage.
---@param parser table
---@param words string[]
---@return table
function M.parse(parser, words)
  local ok, result = parser:pparse(joined(words))
  if ok then return result end
  local message, tip = result:match("^(.*)\n(Did you mean .*)$")
  error(failure.usage(message or result, (tip and tip .. "\n" or "") .. parser:get_usage()), 0)
end

return M
