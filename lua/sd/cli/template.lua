--- `--format '{path}\t{size}\n'`: a line as its user wants it.
local out = require "sd.cli.out"

local M = {}

---@class sd.Template
---@field names string[] Fields, by place.
---@field pieces (string|integer)[] Text, or the place of a field.

local ESCAPES = { n = "\n", t = "\t", r = "\r", ["0"] = "\0", ["\\"] = "\\", ["{"] = "{",
  ["}"] = "}" }

-- The escape sequence at `i`, and the place behind it.
local function escape_at(text, i)
  local char = text:sub(i + 1, i + 1)
  if not ESCAPES[char] then return nil, ("has an unknown escape '\\%s'"):format(char) end
  return ESCAPES[char], i + 2
end

local function field_at(text, i)
  local name = text:match("^{([%l_]+)}", i)
  if not name then return nil, ("has a '{' at character %d that begins no field"):format(i) end
  return name, i + #name + 2
end

-- One piece at `i`: text, whether it is a field's name, and the place behind it.
local function piece_at(text, i)
  local char = text:sub(i, i)
  if char == "\\" then
    local piece, stop = escape_at(text, i)
    return piece, false, stop
  elseif char == "{" then
    local name, stop = field_at(text, i)
    return name, true, stop
  end
  local plain = text:match("^[^\\{]+", i)
  return plain, false, i + #plain
end

--- Reads a template. A line ends with a newline unless the text says how it ends.
---@param text string
---@return sd.Template? template
---@return string? why
function M.new(text)
  local self, i = { names = {}, pieces = {} }, 1
  while i <= #text do
    local piece, is_field, stop = piece_at(text, i)
    if not piece then return nil, stop end
    if is_field then
      self.names[#self.names + 1] = piece
      piece = #self.names
    end
    self.pieces[#self.pieces + 1], i = piece, stop
  end
  local last = self.pieces[#self.pieces]
  if type(last) ~= "string" or not last:find("[\n\0]$") then
    self.pieces[#self.pieces + 1] = "\n"
  end
  return self
end

--- Raises a field that is not among `names` as a wrong command line.
---@param self sd.Template
---@param names string[]
---@param command sd.Usage
function M.check(self, names, command)
  local known = {}
  for _, name in ipairs(names) do known[name] = true end
  for _, name in ipairs(self.names) do
    if not known[name] then
      command:wrong(("--format: no field {%s}; there are %s"):format(name,
        table.concat(names, ", ")))
    end
  end
end

local function plain(value)
  if value == nil then return "" end
  return type(value) == "string" and out.name(value) or tostring(value)
end

--- The line for a row by name, or by place.
---@param self sd.Template
---@param row table
---@param by_place? boolean
---@return string
function M.fill(self, row, by_place)
  local parts = {}
  for i, piece in ipairs(self.pieces) do
    if type(piece) == "string" then parts[i] = piece
    else parts[i] = plain(row[by_place and piece or self.names[piece]]) end
  end
  return table.concat(parts)
end

return M
