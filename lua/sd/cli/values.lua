--- What values of options mean: kinds, times, permissions, owners. Each gives the value, or nil and
--- what is wrong with it.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

local KINDS = { file = 1, f = 1, directory = 2, dir = 2, d = 2, symlink = 3, link = 3, l = 3,
  fifo = 4, p = 4, socket = 5, s = 5, char = 6, c = 6, block = 7, b = 7, unknown = 8 }

---@param given string
---@return integer[]? kinds
---@return string? why
function M.kinds(given)
  local list = {}
  for word in (given .. ","):gmatch("([^,]*),") do
    if not KINDS[word] then
      return nil, "is no kind: file, directory, symlink, fifo, socket, char, block or unknown"
    end
    list[#list + 1] = KINDS[word]
  end
  return list
end

--- Words with commas between them, in lower case.
---@param given string
---@return string[]? words
---@return string? why
function M.words(given)
  local list = {}
  for word in (given .. ","):gmatch("([^,]*),") do
    word = word:gsub("^%.", ""):lower()
    if word == "" then return nil, "has an empty word" end
    list[#list + 1] = word
  end
  return list
end

local AGES = { s = 1, m = 60, h = 3600, d = 86400, w = 7 * 86400, y = 31556952 }

-- The nearest time that there is.
local function nanoseconds(seconds)
  if seconds > 9223372036 then return math.maxinteger end
  return seconds < -9223372036 and math.mininteger or math.floor(seconds * 1000000000)
end

local function age_of(given)
  local number, unit = given:match("^(%d+%.?%d*)([smhdwy])$")
  if not number then return nil end
  local age, now = tonumber(number) * (AGES[unit] + 0.0), core.sys.wall_ns()
  if age < 9000000000 then return now - math.floor(age * 1000000000) end
  return nanoseconds(now // 1000000000 - age)
end

local function date_of(given)
  local year, month, day, rest = given:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
  if not year then return nil end
  local hour, min, sec = 0, 0, 0
  if rest ~= "" then
    hour, min, sec = rest:match("^[ T](%d%d):(%d%d):?(%d*)$")
    if not hour or #sec == 1 or #sec > 2 then return nil end
  end
  local date = { year = year, month = month, day = day, hour = hour, min = min,
    sec = tonumber(sec) or 0 }
  local ok, seconds = pcall(os.time, date)
  -- os.time() takes the 31st of February for the 3rd of March.
  if not ok or tonumber(day) ~= date.day or tonumber(month) ~= date.month then return nil end
  return nanoseconds(seconds)
end

--- A time: nanoseconds since 1970.
---@param given string
---@return integer? ns
---@return string? why
function M.time(given)
  local seconds = given:match("^@(%-?%d+)$")
  local ns = seconds and nanoseconds(tonumber(seconds)) or age_of(given) or date_of(given)
  if ns then return ns end
  return nil, "is no time: 2024-01-31, '2024-01-31 12:00', @SECONDS, or an age as 30m, 12h, 7d, 2w"
end

local HOW = { ["-"] = "all", ["/"] = "any", [""] = "is" }

--- Permissions as find -perm has them, in octal digits.
---@param given string
---@return {how: string, bits: integer}? mode
---@return string? why
function M.mode(given)
  local sign, digits = given:match("^([-/]?)([0-7]+)$")
  local bits = digits and tonumber(digits, 8)
  if not bits or bits > 4095 then return nil, "is no mode: octal digits, with - or / in front" end
  return { how = HOW[sign], bits = bits }
end

---@param given string
---@return integer? uid
---@return string? why
function M.user(given)
  local id = given:find("^%d+$") and math.tointeger(given) or core.sys.user_id(given)
  if id then return id end
  return nil, "is no user"
end

---@param given string
---@return integer? gid
---@return string? why
function M.group(given)
  local id = given:find("^%d+$") and math.tointeger(given) or core.sys.group_id(given)
  if id then return id end
  return nil, "is no group"
end

---@param given string
---@return string? hash
---@return string? why
function M.hash(given)
  if given:find("^%x+$") and #given <= 32 then return given:lower() end
  return nil, "is no hash: up to 32 hexadecimal digits"
end

--- As sd.cli.template has it; loaded where it is used.
---@param given string
---@return sd.Template?
---@return string? why
function M.template(given)
  return require "sd.cli.template".new(given)
end

--- The location that a root or an id names; one that is not there is raised.
---@param query sd.Query
---@param given string
---@return integer id
function M.location(query, given)
  local row = query:row("SELECT id FROM location WHERE root IN (?, ?) OR CAST(id AS TEXT) = ?",
    { given, core.sys.realpath(given) or given, given })
  if row then return row.id end
  error(failure.new(("%s: no location of the library %s"):format(given, query.path), "ENOENT"), 0)
end

return M
