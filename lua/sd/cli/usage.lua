--- The options of a command, declared once. A command line of plain words and options is read here,
--- which takes no time; all else (--help, what is wrong, -abc) is argparse's, whose loading costs
--- more than most questions.
local M = {}

---@class sd.UsageItem
---@field [1] string "PATTERN" for a positional argument, "--limit" or "-n --limit" for an option.
---@field [2] string Help.
---@field args? string Of a positional one: "?", "*" or "+" (default: exactly one).
---@field arg? string Of an option: what stands for its value. Without it the option is a flag.
---@field choices? string[]
---@field convert? fun(given: string): any, string? The value; nil and what is wrong with it.
---@field many? boolean The option may be given several times: the value is a list.
---@field key? string In what is parsed.

---@class sd.Usage
---@field name string
---@field about string
---@field items sd.UsageItem[]
local Usage = {}
Usage.__index = Usage

--- A path that has to be there.
---@param given string
---@return string?
---@return string? why
function M.path(given)
  if given ~= "" then return given end
  return nil, "is no path"
end

local LIBRARY = { "--library", "directory of the library (default: $SDLUA_LIBRARY,"
  .. " else $XDG_DATA_HOME/sdlua/default)", arg = "DIR", convert = M.path }

local function is_option(item)
  return item[1]:sub(1, 1) == "-"
end

local function key_of(item)
  local name = item[1]:match("%-%-([%w-]+)") or item[1]:match("%w+")
  return item.key or name:lower():gsub("-", "_")
end

--- Declares a command that asks the library.
---@param name string As in "sdlua search".
---@param about string
---@param items sd.UsageItem[] --library comes by itself.
---@return sd.Usage
function M.new(name, about, items)
  local self = setmetatable({ name = name, about = about, items = items, options = {},
    positional = {} }, Usage)
  items[#items + 1] = LIBRARY
  for _, item in ipairs(items) do
    item.key = key_of(item)
    if is_option(item) then
      for flag in item[1]:gmatch("%S+") do self.options[flag] = item end
    else
      self.positional[#self.positional + 1] = item
    end
  end
  return self
end

-- ---- the quick way ----

local function check(item, value)
  if item.choices then
    for _, choice in ipairs(item.choices) do if choice == value then return value end end
    return nil
  end
  if item.convert then return (item.convert(value)) end
  return value
end

-- Puts a value where it belongs; false where it is not to be decided here.
local function put(parsed, item, given)
  local value = check(item, given)
  if value == nil then return false end
  if item.many then
    parsed[item.key] = parsed[item.key] or {}
    table.insert(parsed[item.key], value)
  else
    if parsed[item.key] ~= nil then return false end
    parsed[item.key] = value
  end
  return true
end

-- Reads the option at `i`; the place of the next word, or nil.
local function quick_option(self, parsed, args, i)
  local name, value = args[i]:match("^(%-%-[%w-]+)=(.*)$")
  local item = self.options[name or args[i]]
  if not item then return nil end
  if not item.arg then
    if value then return nil end
    parsed[item.key] = true
    return i + 1
  end
  if not value then
    i = i + 1
    value = args[i]
    if not value or value:sub(1, 1) == "-" then return nil end
  end
  return put(parsed, item, value) and i + 1 or nil
end

local function quick_positional(self, parsed, words)
  local at = 1
  for _, item in ipairs(self.positional) do
    if item.args == "*" or item.args == "+" then
      if item.args == "+" and not words[at] then return false end
      local list = {}
      for i = at, #words do
        list[#list + 1] = check(item, words[i])
        if #list ~= i - at + 1 then return false end
      end
      parsed[item.key], at = list, #words + 1
    elseif words[at] then
      if not put(parsed, item, words[at]) then return false end
      at = at + 1
    elseif item.args ~= "?" then
      return false
    end
  end
  return at > #words
end

local function quick(self, args)
  local parsed, words, i = {}, {}, 1
  while i and i <= #args do
    if args[i] == "--" then
      table.move(args, i + 1, #args, #words + 1, words)
      break
    elseif args[i]:sub(1, 1) == "-" and args[i] ~= "-" then
      i = quick_option(self, parsed, args, i)
    else
      words[#words + 1] = args[i]
      i = i + 1
    end
  end
  return i and quick_positional(self, parsed, words) and parsed or nil
end

-- ---- argparse ----

-- argparse gives nil and its message; a value goes on as it was checked.
local function converter(item)
  return function(given)
    local value, why = item.convert(given)
    if value == nil then return nil, ("%s: '%s' %s"):format(item[1]:match("%S+$"), given, why) end
    return value
  end
end

local function add(parser, item)
  local element
  if not is_option(item) then element = parser:argument(item[1]):args(item.args or 1)
  elseif item.arg then element = parser:option(item[1]):argname(item.arg)
  else element = parser:flag(item[1]) end
  element:target(item.key):description(item[2])
  if item.many then element:count "*" end
  if item.choices then element:choices(item.choices) end
  if item.convert then element:convert(converter(item)) end
end

--- Adds items to a parser of another command.
---@param parser table
---@param items sd.UsageItem[]
function M.add(parser, items)
  for _, item in ipairs(items) do
    item.key = key_of(item)
    add(parser, item)
  end
end

local function parser_for(self)
  local parser = require "sd.cli.options".parser(self.name, self.about)
  for _, item in ipairs(self.items) do add(parser, item) end
  return parser
end

-- An option that was not given is not there, as the quick way has it.
local function without_empty(self, parsed)
  for _, item in ipairs(self.items) do
    local value = parsed[item.key]
    if item.many and value and #value == 0 then parsed[item.key] = nil end
  end
  return parsed
end

--- Parses with argparse: prints the help and ends the process, or raises what is wrong.
---@package
---@param args string[]
---@return table parsed
function Usage:slow(args)
  return without_empty(self, require "sd.cli.options".parse(parser_for(self), args))
end

--- What the words say, by key.
---@param args string[]
---@return table parsed
function Usage:parse(args)
  return quick(self, args) or self:slow(args)
end

--- Raises a wrong command line that only the command itself can see.
---@param message string
function Usage:wrong(message)
  error(require "sd.failure".usage(message, parser_for(self):get_usage()), 0)
end

--- Raises where more than one of these options is given: all but one would be ignored.
---@param parsed table
---@param ... string Keys.
function Usage:only_one(parsed, ...)
  local given = {}
  for _, key in ipairs { ... } do
    if parsed[key] then given[#given + 1] = "--" .. key:gsub("_", "-") end
  end
  if #given > 1 then self:wrong(("%s and %s exclude each other"):format(given[1], given[2])) end
end

--- The values of both ways, for tests: nil where the quick one does not decide.
---@package
Usage.quick = quick

-- ---- what several commands convert ----

--- A whole number that is not negative.
---@param given string
---@return integer?
---@return string? why
function M.count(given)
  local n = given:find("^%d+$") and math.tointeger(tonumber(given))
  if not n then return nil, "is not a number" end
  return n
end

local UNITS = { [""] = 1, B = 1, K = 1 << 10, M = 1 << 20, G = 1 << 30, T = 1 << 40, P = 1 << 50 }

--- "10M", "1.5GiB", "300": bytes.
---@param given string
---@return integer?
---@return string? why
function M.size(given)
  local number, unit = given:match("^(%d+%.?%d*)%s*([BKMGTPkmgtp]?)[iI]?[bB]?$")
  local n, scale = math.tointeger(number) or tonumber(number), UNITS[(unit or ""):upper()]
  if not n or n > math.maxinteger // scale then
    return nil, "is not a size, as 300, 10K, 1.5M or 2GiB are (units are powers of 1024)"
  end
  return math.floor(n * scale)
end

return M
