--- What the methods of a runner take: names and kinds, with `?` where one may be missing. Who sends
--- something else is told so before anything is done with it.
local rows = require "sd.job_rows"

local M = {}

local function is_list(value, kind)
  if type(value) ~= "table" then return false end
  for key, one in pairs(value) do
    if math.type(key) ~= "integer" or (math.type(one) or type(one)) ~= kind then return false end
  end
  return true
end

local KINDS = {
  string = function(v) return type(v) == "string" end,
  boolean = function(v) return type(v) == "boolean" end,
  table = function(v) return type(v) == "table" end,
  integer = function(v) return math.type(v) == "integer" end,
  count = function(v) return math.type(v) == "integer" and v >= 0 end,
  limit = function(v) return v == false or math.type(v) == "integer" and v >= 0 end,
  days = function(v) return v == false or type(v) == "number" and v >= 0 end,
  time = function(v) return type(v) == "number" and math.tointeger(v * 1e9 // 1) ~= nil end,
  uuid = function(v) return type(v) == "string" and #v == 16 end,
  priority = function(v) return type(v) == "string" and rows.GRACE[v] ~= nil end,
  names = function(v) return is_list(v, "string") end,
  ids = function(v) return is_list(v, "integer") end,
}

local ID = { id = "integer" }

---@type table<string, table<string, string>> By method, all that there are.
M.METHODS = {
  start = { script = "string", args = "table?", fresh = "boolean?", match = "names?",
    uuid = "uuid?", id = "integer?" },
  dispatch = { script = "string", args = "table?", priority = "priority?", run_at = "time?",
    depends_on = "ids?" },
  schedule = { script = "string", args = "table?", spec = "string", priority = "priority?" },
  find = { text = "string" },
  list = { all = "boolean?", children = "boolean?", limit = "count?",
    below = "integer?" },
  log = { id = "integer", after = "integer?" },
  prune = { keep = "count?", days = "days?" },
  retention = { jobs = "limit?", days = "days?", default = "boolean?" },
  watch = ID, show = ID, pause = ID, resume = ID, cancel = ID, retry = ID, unschedule = ID,
  location = { name = "string" },
  check_roots = { roots = "table" },
  location_add = { root = "string", settings = "table?" },
  location_set = { name = "string", root = "string?", settings = "table?" },
  settings = { root = "string" },
  schedules = {}, locations = {}, ping = {},
}

--- What is wrong with the parameters of a method; nil where nothing is.
---@param method string
---@param params table
---@return string? fault
function M.fault(method, params)
  for name, kind in pairs(M.METHODS[method]) do
    local value = params[name]
    local known, optional = kind:match("^(%a+)(%??)$")
    if value == nil and optional == "" then return ("%s is missing"):format(name) end
    if value ~= nil and not KINDS[known](value) then
      return ("%s: '%s' is not of the kind %s"):format(name, tostring(value), known)
    end
  end
end

return M
