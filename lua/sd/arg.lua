--- Typed arguments of jobs: what a script declares is what the command line offers and checks.
local core = require "sd.core"

local M = {}

---@class sd.Arg
---@field type string "path", "string", "integer", "number", "boolean" or "choice".
---@field required? boolean
---@field positional? boolean Given on the command line without its name.
---@field flag? boolean Of a boolean: on the command line its name alone makes it true.
---@field hidden? boolean Not offered by the command line: for jobs that a job makes.
---@field location? boolean Of a path: the root of a location; refused where it overlaps another.
---@field default? any
---@field help? string
---@field choices? string[]
---@field min? number
---@field max? number
---@field check fun(self: sd.Arg, value: any): any, string? The value, or nil and what is wrong.

local function number_in_range(self, value)
  if self.min and value < self.min then return nil, "is less than " .. self.min end
  if self.max and value > self.max then return nil, "is greater than " .. self.max end
  return value
end

local CHECKS = {}

function CHECKS.path(_, value)
  if type(value) ~= "string" or value == "" then return nil, "is not a path" end
  if value:find("\0", 1, true) then return nil, "has a zero byte" end
  return value
end

function CHECKS.string(_, value)
  if type(value) ~= "string" then return nil, "is not a string" end
  return value
end

function CHECKS.integer(self, value)
  local n = math.tointeger(type(value) == "string" and tonumber(value) or value)
  if not n then return nil, "is not an integer" end
  return number_in_range(self, n)
end

function CHECKS.number(self, value)
  local n = tonumber(value)
  if not n or n ~= n then return nil, "is not a number" end
  return number_in_range(self, n)
end

local BOOLEANS = {
  ["true"] = true, yes = true, ["1"] = true, ["false"] = false, no = false, ["0"] = false,
}

function CHECKS.boolean(_, value)
  if type(value) == "boolean" then return value end
  local v = BOOLEANS[value]
  if v == nil then return nil, "is neither true nor false" end
  return v
end

function CHECKS.choice(self, value)
  for _, choice in ipairs(self.choices) do
    if choice == value then return value end
  end
  return nil, "is none of " .. table.concat(self.choices, ", ")
end

local FIELDS = {
  required = "boolean", hidden = "boolean", positional = "boolean", flag = "boolean",
  location = "boolean",
  help = "string", min = "number", max = "number",
}

-- A misspelt field would be ignored in silence. (Levels: make() is a tail call, so that its caller
-- is the script.)
local function check_fields(kind, options)
  for key, value in pairs(options) do
    local known = FIELDS[key]
    local choice = math.type(key) == "integer" and kind == "choice"
    if not (known or choice or key == "default") then
      error(("sd.arg.%s: no field '%s'"):format(kind, tostring(key)), 3)
    end
    if known and type(value) ~= known then
      error(("sd.arg.%s: %s is not a %s"):format(kind, key, known), 3)
    end
  end
end

local function make(kind, options)
  options = options or {}
  check_fields(kind, options)
  local arg = { type = kind, check = CHECKS[kind] }
  for key, value in pairs(options) do
    if type(key) == "string" then arg[key] = value end
  end
  if kind == "choice" then
    arg.choices = table.move(options, 1, #options, 1, {})
    if #arg.choices == 0 then error("sd.arg.choice: no choices", 2) end
  end
  if arg.default ~= nil then
    local value, why = arg:check(arg.default)
    if value == nil then error(("sd.arg.%s: the default %s"):format(kind, why), 2) end
  end
  return arg
end

for kind in pairs(CHECKS) do
  M[kind] = function(options) return make(kind, options) end
end

local function quoted(name) return ("argument '%s'"):format(name) end

--- Checks `given` against what is declared, and fills in defaults. Nil and a message that names the
--- argument where something is wrong.
---@param declared table<string, sd.Arg>
---@param given table<string, any>
---@param name_of? fun(name: string, arg: sd.Arg): string What the user knows it by.
---@return table<string, any>? values
---@return string? message
function M.check_all(declared, given, name_of)
  name_of = name_of or quoted
  local values = {}
  for name in pairs(given) do
    if not declared[name] then return nil, ("no argument '%s'"):format(tostring(name)) end
  end
  for name, arg in pairs(declared) do
    local value = given[name]
    if value == nil then value = arg.default end
    if value == nil and arg.required then return nil, name_of(name, arg) .. " is missing" end
    if value ~= nil then
      local checked, why = arg:check(value)
      if checked == nil then return nil, name_of(name, arg) .. " " .. why end
      values[name] = checked
    end
  end
  return values
end

--- The names that are declared, in alphabetical order.
---@param declared table<string, sd.Arg>
---@return string[]
function M.sorted_names(declared)
  local names = {}
  for name in pairs(declared) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- The paths among checked values that are roots of locations.
---@param declared table<string, sd.Arg>
---@param values table<string, any>
---@return string[]
function M.roots(declared, values)
  local roots = {}
  for _, name in ipairs(M.sorted_names(declared)) do
    if declared[name].location then roots[#roots + 1] = values[name] end
  end
  return roots
end

--- Paths become absolute and free of symlinks, where they exist.
---@param declared table<string, sd.Arg>
---@param values table<string, any>
function M.resolve_paths(declared, values)
  for name, arg in pairs(declared) do
    if arg.type == "path" and values[name] then
      values[name] = core.sys.realpath(values[name]) or values[name]
    end
  end
end

return M
