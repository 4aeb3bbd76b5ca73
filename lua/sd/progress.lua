--- Typed progress: what a job reports, checked where it is reported. And how far its phase is.
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

--- Tables of numbers, and what other progresses have in them, added up.
---@param mine table<string, table<string, number>> By the names that they have in a progress.
---@param others table[] Such as `ctx:children_progress()`.
---@return table<string, table<string, number>>
function M.sum(mine, others)
  local sums = {}
  for name, numbers in pairs(mine) do
    sums[name] = {}
    for key, n in pairs(numbers) do
      for _, other in ipairs(others) do n = n + (other[name] and other[name][key] or 0) end
      sums[name][key] = n
    end
  end
  return sums
end

local function number(value)
  return type(value) == "number" and value == value and value or nil
end

local function share_of(phase)
  local done = number(phase.current) or number(phase.batch)
  local total = number(phase.total) or number(phase.total_batches)
  if not done or not total then return number(phase.fraction) end
  return total > 0 and total < math.huge and done / total or nil
end

---@class sd.Furthest
---@field name? any Of the phase that was reported last.
---@field fraction? number 0 to 1.

--- Sets `fraction` of the progress's phase, 0 to 1: `current` of `total` (or `batch` of
--- `total_batches`), else what the job gave. Within a phase it never goes back, also where the
--- total grows.
---@param furthest sd.Furthest What was said before; kept by the caller.
---@param progress table
function M.advance(furthest, progress)
  local phase = progress.phase
  local name = type(phase) == "table" and phase.name or phase
  if name ~= furthest.name then furthest.name, furthest.fraction = name, nil end
  if type(phase) ~= "table" then return end
  local share = share_of(phase)
  share = share and math.max(0, math.min(1, share), furthest.fraction or 0)
  furthest.fraction = share or furthest.fraction
  phase.fraction = furthest.fraction
end

return M
