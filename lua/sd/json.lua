--- JSON. Names need not be text. In results and progress of jobs what JSON cannot hold is shown
--- escaped; answers to questions are exact.
local core = require "sd.core"
local text = require "sd.text"

local M = {}

local UNWRITABLE = { ["function"] = true, userdata = true, thread = true }

local function clean(value, keys)
  if type(value) == "string" then
    return core.sys.is_text(value) and value or text.escape(value)
  end
  if UNWRITABLE[type(value)] then
    error(("JSON cannot hold a %s"):format(type(value)), 0)
  end
  if type(value) ~= "table" then return value end
  local copy = {}
  for k, v in pairs(value) do
    if type(k) == "string" then
      k = clean(k)
      keys[k] = true
    end
    copy[k] = clean(v, keys)
  end
  -- An empty table is an object, unless it was marked.
  local kind = getmetatable(value) == M.array_type and "array"
    or next(copy) == nil and "object" or nil
  return setmetatable(copy, kind and { __jsontype = kind })
end

M.array_type = {}

--- Marks a list that may be empty, so that it is written as [].
function M.array(list)
  return setmetatable(list, M.array_type)
end

--- One line of JSON, keys in alphabetical order.
---@param value any
---@return string
function M.encode(value)
  local keys = {}
  local copy = clean(value, keys)
  local order = {}
  for key in pairs(keys) do order[#order + 1] = key end
  table.sort(order)
  -- (not cjson, which rounds integers above 10^14)
  return (require "dkjson".encode(copy, { keyorder = order }))
end

--- A scalar, exactly: bytes that are not text (UTF-8 without a zero byte) become {"hex":"…"}.
---@type fun(value: sd.SqlValue): string
M.scalar = core.reader.json

--- An object with these fields in this order; values are scalars, nil is null.
---@param names string[]
---@param values table By place.
---@return string
function M.object(names, values)
  local parts = {}
  for i, name in ipairs(names) do parts[i] = M.scalar(name) .. ":" .. M.scalar(values[i]) end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- The value of a JSON text; nil and what is wrong with it. `null` is nil.
---@param s string
---@return any value
---@return string? message
function M.decode(s)
  local value, _, message = require "dkjson".decode(s, 1, nil)
  return value, message
end

return M
