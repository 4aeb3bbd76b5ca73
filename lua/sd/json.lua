--- JSON for results, progress and the control socket. Names need not be text: what JSON cannot hold
--- is shown escaped, or kept as `{"$hex": "…"}`.
--- (dkjson's reader and not cjson: cjson makes every number a float.)
local core = require "sd.core"
local dkjson = require "dkjson"
local text = require "sd.text"

local M = {}

local reader = dkjson.use_lpeg() -- it is the one that wants a comma where there must be one
local quote, is_text = dkjson.quotestring, core.sys.is_text
local MAX_DEPTH = 100 -- a cycle ends here

M.array_type = {}

--- Marks a list that may be empty, so that it is written as [].
---@generic T: table
---@param list T
---@return T
function M.array(list)
  return setmetatable(list, M.array_type)
end

--- What is written as null.
M.null = setmetatable({}, { __name = "sd.json.null" })

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function string_of(s, exact)
  if is_text(s) then return quote(s) end
  if exact then return '{"$hex":"' .. hex(s) .. '"}' end
  return quote(text.escape(s))
end

-- Integers have all their digits. Floats have a point or an exponent, so that they stay floats, and
-- 14 digits unless that is not exact enough.
local function number_of(v, exact)
  if math.type(v) == "integer" then return ("%d"):format(v) end
  if v ~= v or v == math.huge or v == -math.huge then return "null" end
  local s = tostring(v):gsub(",", ".") -- some locales
  if not exact or tonumber(s) == v then return s end
  s = ("%.17g"):format(v):gsub(",", ".")
  return s:find("[%.e]") and s or s .. ".0"
end

-- The length of a list, or nil where it is an object. Holes are null, unless there are too many;
-- `n` is the length of what table.pack() gave.
local function length_of(t)
  local count, max, n = 0, 0, nil
  for k, v in next, t do
    if k == "n" and math.type(v) == "integer" then n = v
    elseif math.type(k) ~= "integer" or k < 1 then return nil
    else count, max = count + 1, math.max(max, k) end
  end
  if count == 0 then return n == nil and getmetatable(t) == M.array_type and 0 or nil end
  if n and (n < max or n > 2 * max + 10) then return nil end
  if max > 10 and max > 2 * count then return nil end
  return n or max
end

local put

local function put_list(out, t, n, exact, depth)
  out[#out + 1] = "["
  for i = 1, n do
    if i > 1 then out[#out + 1] = "," end
    put(out, t[i], exact, depth)
  end
  out[#out + 1] = "]"
end

local function put_object(out, t, exact, depth)
  local keys, by_key, mark = {}, {}, "{"
  for k in next, t do
    if type(k) ~= "string" and type(k) ~= "number" then
      error(("JSON cannot hold a %s as a name"):format(type(k)), 0)
    end
    local name = tostring(k)
    name = is_text(name) and name or text.escape(name)
    keys[#keys + 1], by_key[name] = name, t[k]
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    out[#out + 1] = mark .. quote(key) .. ":"
    put(out, by_key[key], exact, depth)
    mark = ","
  end
  out[#out + 1] = mark == "{" and "{}" or "}"
end

function put(out, value, exact, depth)
  local kind = type(value)
  if kind == "string" then out[#out + 1] = string_of(value, exact)
  elseif kind == "number" then out[#out + 1] = number_of(value, exact)
  elseif kind == "boolean" then out[#out + 1] = tostring(value)
  elseif kind == "nil" or value == M.null then out[#out + 1] = "null"
  elseif kind ~= "table" then error(("JSON cannot hold a %s"):format(kind), 0)
  elseif depth > MAX_DEPTH then error(("JSON: deeper than %d levels"):format(MAX_DEPTH), 0)
  else
    local n = length_of(value)
    if n then put_list(out, value, n, exact, depth + 1)
    else put_object(out, value, exact, depth + 1) end
  end
end

local function encode(value, exact)
  local out = {}
  put(out, value, exact, 1)
  return table.concat(out)
end

--- One line of JSON, keys in alphabetical order. An empty table is an object, unless it was marked.
--- Raises what JSON cannot hold.
---@param value any
---@return string
function M.encode(value)
  return encode(value, false)
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

--- The same, so that `decode()` gives every number and every string back as it was.
---@param value any
---@return string
function M.encode_exact(value)
  return encode(value, true)
end

local function restore_bytes(value)
  if type(value) ~= "table" then return value end
  local digits = value["$hex"]
  if type(digits) == "string" and next(value, next(value)) == nil and #digits % 2 == 0
    and not digits:find("%X") then
    return (digits:gsub("%x%x", function(d) return string.char(tonumber(d, 16)) end))
  end
  for k, v in next, value do value[k] = restore_bytes(v) end
  return value
end

--- Reads JSON that comes from anywhere. Null is nil.
---@param s string
---@param lists? boolean Lists are marked, so that empty ones are written as lists again.
---@return any value
---@return string? message
function M.decode(s, lists)
  if not is_text(s) then return nil, "bytes that are not UTF-8" end
  local ok, value, stop, message = pcall(reader.decode, s, 1, nil, nil,
    lists and M.array_type or nil)
  if not ok then return nil, "nested too deep" end
  if message then return nil, message end
  if s:find("%S", stop) then return nil, ("more behind the value, at column %d"):format(stop) end
  if value == nil then return nil, "null" end
  if s:find('"$hex"', 1, true) then value = restore_bytes(value) end
  return value
end

return M
