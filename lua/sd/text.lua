--- Text for people: escaped names, sizes, counts, durations.
local core = require "sd.core"

local M = {}

local ESCAPES = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\\"] = "\\\\" }

local function escape_byte(c)
  return ESCAPES[c] or ("\\x%02x"):format(c:byte())
end

-- C1 control characters and bidirectional overrides can change what a terminal shows.
local function is_control(code)
  return code < 32 or code == 127 or (code >= 0x80 and code < 0xa0) or code == 0x61c
    or code == 0x200e or code == 0x200f or (code >= 0x202a and code <= 0x202e)
    or (code >= 0x2066 and code <= 0x2069) or code == 0x2028 or code == 0x2029
end

-- Of ASCII, by byte: log lines may be long and many.
local ASCII = { ["\\"] = escape_byte("\\"), ["\127"] = escape_byte("\127") }
for code = 0, 31 do ASCII[string.char(code)] = escape_byte(string.char(code)) end

--- A name that is safe on a terminal: control characters and bytes that are no text as \xNN.
---@param s string
---@return string
function M.escape(s)
  if not s:find("[\0-\31\\\127-\255]") then return s end -- mostly, and much faster
  if not s:find("[\128-\255]") then return (s:gsub("[\0-\31\\\127]", ASCII)) end
  local out, i = {}, 1
  while i <= #s do
    local char = s:match("^[\0-\x7f]", i) or s:match("^" .. utf8.charpattern, i)
    local valid = char and core.sys.is_text(char)
    if valid and char ~= "\\" and not is_control(utf8.codepoint(char)) then
      out[#out + 1] = char
      i = i + #char
    elseif valid then
      out[#out + 1] = char:gsub(".", escape_byte)
      i = i + #char
    else
      out[#out + 1] = escape_byte(s:sub(i, i))
      i = i + 1
    end
  end
  return table.concat(out)
end

-- Ranges that take two columns: enough of Unicode's East Asian Width for file names.
local function width_of(code)
  if code >= 0x300 and code <= 0x36f or code >= 0x200b and code <= 0x200f then return 0 end
  local wide = code >= 0x1100 and code <= 0x115f or code >= 0x2e80 and code <= 0xa4cf
    or code >= 0xac00 and code <= 0xd7a3 or code >= 0xf900 and code <= 0xfaff
    or code >= 0xfe30 and code <= 0xfe6f or code >= 0xff00 and code <= 0xff60
    or code >= 0xffe0 and code <= 0xffe6 or code >= 0x1f300 and code <= 0x1faff
    or code >= 0x20000 and code <= 0x3fffd
  return wide and 2 or 1
end

--- Columns that escaped text takes on a terminal.
---@param s string
---@return integer
function M.width(s)
  if not s:find("[^\32-\126]") then return #s end
  local n = 0
  for _, code in utf8.codes(s) do n = n + width_of(code) end
  return n
end

-- The longest end of `s` that fits.
local function tail(s, columns)
  local n, from = 0, #s + 1
  while from > 1 do
    local start = utf8.offset(s, -1, from)
    n = n + width_of(utf8.codepoint(s, start))
    if n > columns then break end
    from = start
  end
  return s:sub(from)
end

--- The longest beginning of escaped text that fits.
---@param s string
---@param columns integer
---@return string
function M.cut(s, columns)
  local n = 0
  for i, code in utf8.codes(s) do
    n = n + width_of(code)
    if n > columns then return s:sub(1, i - 1) end
  end
  return s
end

--- Escaped, and with an ellipsis in front where it is wider than that: the end of a path says most.
---@param s string
---@param columns integer
---@return string
function M.shorten(s, columns)
  s = M.escape(s)
  if M.width(s) <= columns then return s end
  if columns < 2 then return "" end
  return "…" .. tail(s, columns - 1)
end

--- 1234567 -> "1,234,567"
---@param n number
---@return string
function M.count(n)
  local s = ("%.0f"):format(n // 1)
  if math.type(n) == "integer" then s = ("%d"):format(n) end
  local sign, digits = s:match("^(-?)(%d+)$")
  if not digits then return s end -- inf, nan
  digits = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
  return sign .. digits
end

--- 1 -> "1 error", 2 -> "2 errors"
---@param n integer
---@param one string
---@param many string
---@return string
function M.counted(n, one, many)
  return ("%s %s"):format(M.count(n), n == 1 and one or many)
end

local UNITS = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" }

--- A sum of bytes in digits. Above 2^63 - 1, as sums of sparse files may be, it is modulo 2^64.
---@param n integer
---@return string
function M.unsigned(n)
  if n >= 0 then return ("%d"):format(n) end
  local tens = (n >> 1) // 5
  return ("%d%d"):format(tens, n - tens * 10)
end

--- Bytes with three digits or so: "12.3 MiB"; below zero as `unsigned()` has them.
---@param n number
---@return string
function M.bytes(n)
  if n < 0 then n = n + 2.0 ^ 64 end
  if n < 1024 then return ("%.0f B"):format(n // 1) end
  local i = 0
  repeat
    n = n / 1024
    i = i + 1
  until n < 1024 or i == #UNITS
  return (n < 10 and "%.2f %s" or n < 100 and "%.1f %s" or "%.0f %s"):format(n, UNITS[i])
end

--- Seconds: "0.42 s", "12 s", "3:05 min", "1:02:03 h", "1000 days".
---@param seconds number
---@return string
function M.duration(seconds)
  if seconds < 9.995 then return ("%.2f s"):format(seconds) end
  if seconds >= 8640000 or seconds ~= seconds then return ("%.0f days"):format(seconds / 86400) end
  local s = math.floor(seconds + 0.5)
  if s < 60 then return ("%d s"):format(s) end
  if s < 3600 then return ("%d:%02d min"):format(s // 60, s % 60) end
  return ("%d:%02d:%02d h"):format(s // 3600, s % 3600 // 60, s % 60)
end

local function in_seconds(seconds)
  return seconds < 9.995 and ("%.0f s"):format(seconds) or M.duration(seconds)
end

--- A time that is left, in whole seconds, and how far it may be off where that is a tenth of it or
--- more: "40 s ±10 s".
---@param seconds number
---@param give_or_take? number Seconds.
---@return string
function M.remaining(seconds, give_or_take)
  local s = in_seconds(seconds)
  if not give_or_take or give_or_take < 1 or give_or_take < seconds / 10 then return s end
  return s .. " ±" .. in_seconds(give_or_take)
end

return M
