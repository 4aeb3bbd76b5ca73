--- Typed progress: what a job reports, checked where it is reported.
local M = {}

---@class sd.ProgressType
---@field name string
---@field fields table<string, string> Type by name; "?" at the end: may be nil.
---@overload fun(values: table): table
local Type = {}

local function fits(value, kind)
  if kind:sub(-1) == "?" then
    if value == nil then return true end
    kind = kind:sub(1, -2)
  end
  return kind == "any" and value ~= nil or type(value) == kind
end

--- Declares a type:
--- `sd.progress.type("CopyProgress", { copied = "number", current_path = "string?" })`.
---@param name string
---@param fields table<string, string>
---@return sd.ProgressType
function M.type(name, fields)
  return setmetatable({ name = name, fields = fields }, Type)
end

--- Checks the values and gives them back.
function Type:__call(values)
  for key, kind in pairs(self.fields) do
    if not fits(values[key], kind) then
      error(("%s: %s is a %s, not a %s"):format(self.name, key, type(values[key]), kind), 2)
    end
  end
  for key in pairs(values) do
    if not self.fields[key] then
      error(("%s: no field '%s'"):format(self.name, tostring(key)), 2)
    end
  end
  return values
end

return M
