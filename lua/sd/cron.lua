--- When something that repeats is due: crontab(5)'s five fields in local time, or an interval.
local M = {}

local MONTHS = { "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov",
  "dec" }
local DAYS = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" }

local function by_name(names, first)
  local map = {}
  for i, name in ipairs(names) do map[name] = i - 1 + first end
  return map
end

local FIELDS = {
  { "minute", 0, 59, {} }, { "hour", 0, 23, {} }, { "day of month", 1, 31, {} },
  { "month", 1, 12, by_name(MONTHS, 1) }, { "day of week", 0, 7, by_name(DAYS, 0) },
}

local UNITS = { s = 1, m = 60, h = 3600, d = 86400, w = 604800 }
local LONGEST = 100 * 366 * 86400 -- what nanoseconds since 1970 can tell, and nobody needs

local function integer(text)
  return text and text:find("^%d+$") and math.tointeger(tonumber(text))
end

-- "a", "a-b", "*", each with "/step".
local function add_part(set, part, field)
  local name, min, max, names = table.unpack(field)
  local range, step = part:match("^([^/]+)/(%d+)$")
  range = range or part
  local from, to = range:match("^(%w+)%-(%w+)$")
  from = names[from] or integer(from) or names[range] or integer(range)
  if range == "*" then from, to = min, max
  elseif to then to = names[to] or integer(to)
  else to = step and max or from end
  step = integer(step or "1")
  if not from or not to or from < min or to > max or from > to or not step or step < 1 then
    return nil, ("%s: '%s' is not understood"):format(name, part)
  end
  for value = from, to, step do set[value] = true end
  return true
end

local function parse_field(text, field)
  local set = {}
  for part in (text .. ","):gmatch("([^,]*),") do
    local ok, message = add_part(set, part, field)
    if not ok then return nil, message end
  end
  if field[1] == "day of week" and set[7] then set[0] = true end
  return set
end

---@class sd.Cron
---@field every? integer Seconds.
---@field package sets? table[]
---@field package any_day? boolean The day of the month is *.
---@field package any_weekday? boolean
local Cron = {}
Cron.__index = Cron

local function parse_every(text)
  local count, unit = text:match("^(%d+)%s*([smhdw])$")
  local seconds = count and tonumber(count) * UNITS[unit]
  if not seconds or seconds < 1 or #count > 10 or seconds > LONGEST then return nil end
  return setmetatable({ every = seconds }, Cron)
end

--- Reads "every 10m" (s, m, h, d, w) or five fields as crontab(5) has them.
---@param spec string
---@return sd.Cron? cron
---@return string? message
function M.parse(spec)
  local every = spec:match("^every%s+(.+)$")
  if every then
    local cron = parse_every(every)
    if cron then return cron end
    return nil, ("'%s' is no interval: say 30s, 10m, 2h, 1d or 1w"):format(every)
  end
  local words = {}
  for word in spec:lower():gmatch("%S+") do words[#words + 1] = word end
  if #words ~= 5 then return nil, ("'%s' has not five fields"):format(spec) end
  local self = setmetatable({ sets = {}, any_day = words[3] == "*", any_weekday = words[5] == "*" },
    Cron)
  for i, field in ipairs(FIELDS) do
    local set, message = parse_field(words[i], field)
    if not set then return nil, message end
    self.sets[i] = set
  end
  return self
end

-- Where both days are restricted, either will do: crontab(5).
local function day_matches(self, t)
  local day, weekday = self.sets[3][t.day], self.sets[5][t.wday - 1]
  if self.any_day or self.any_weekday then return day and weekday end
  return day or weekday
end

local function at(t) return os.date("*t", os.time(t)) end

-- The first minute from `t` on that fits; looks at each month, day, hour and minute at most once.
local function first_match(self, t)
  local last_year = t.year + 8 -- February 29th may be eight years away
  while t.year <= last_year do
    if not self.sets[4][t.month] then
      t = at { year = t.year, month = t.month + 1, day = 1, hour = 0, min = 0 }
    elseif not day_matches(self, t) then
      t = at { year = t.year, month = t.month, day = t.day + 1, hour = 0, min = 0 }
    elseif not self.sets[2][t.hour] then
      t = at { year = t.year, month = t.month, day = t.day, hour = t.hour + 1, min = 0 }
    elseif not self.sets[1][t.min] then
      t = at { year = t.year, month = t.month, day = t.day, hour = t.hour, min = t.min + 1 }
    else
      return os.time { year = t.year, month = t.month, day = t.day, hour = t.hour, min = t.min }
    end
  end
end

--- The first time after `after` at which it is due; nil where that never is.
---@param after integer Seconds since 1970.
---@return integer? seconds
function Cron:next(after)
  if self.every then return after + self.every end
  local t = os.date("*t", after - after % 60 + 60)
  t.sec = nil
  return first_match(self, t)
end

return M
