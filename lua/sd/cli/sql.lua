--- `sdlua sql [QUERY [VALUE...]]`: read-only SQL over the library.
local ask = require "sd.cli.ask"
local core = require "sd.core"
local failure = require "sd.failure"
local out = require "sd.cli.out"
local tables = require "sd.cli.tables"
local usage = require "sd.cli.usage"

local M = {}

local command = usage.new("sdlua sql",
  "Ask the library in SQL: one statement or several that read. Without a QUERY statements come from"
    .. " standard input; on a terminal there is a prompt. docs/schema.md describes the views,"
    .. " docs/sql.md has functions and examples.", {
    { "QUERY", "SQL text; `-` for standard input", args = "?" },
    { "VALUE", "bound to the parameters (?) of QUERY: a number where it looks like one, else text",
      args = "*", key = "values" },
    { "--format", "table, csv, json, ndjson or markdown (default: table on a terminal, else csv)",
      arg = "FORMAT", choices = tables.FORMATS },
    { "--json", "the same as --format json" },
    { "--no-header", "table and csv without the names of the columns" },
  })

-- What SQL would write in the same way: 007 and 1e3 are text.
local function value_of(word)
  local number = math.tointeger(word)
  if number and ("%d"):format(number) == word then return number end
  if word:find("^%-?%d+%.%d+$") then return tonumber(word) end
  return word
end

local function values_of(words)
  local values = { n = #words }
  for i, word in ipairs(words) do values[i] = value_of(word) end
  return values
end

--- Runs all statements of a text, one after the other; values belong to the only one.
---@param query sd.Query
---@param text string
---@param values sd.SqlValue[]
---@param format string
---@param options {header: boolean}
function M.run_all(query, text, values, format, options)
  local done = 0
  while true do
    local cursor, rest = query:first(text, values)
    if not cursor then break end
    local guard <close> = cursor
    if done > 0 and format ~= "ndjson" then out.write "\n" end
    tables.write(cursor, format, options)
    done, text, values = done + 1, rest, guard and nil
  end
  return done
end

local function read_input()
  local text, why = io.stdin:read("a")
  local signal = core.reader.caught()
  if signal then error(failure.new("interrupted", "ECANCELED", 128 + signal), 0) end
  if not text then error(failure.new("read standard input: " .. tostring(why), "EIO"), 0) end
  return text
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  command:only_one(parsed, "format", "json")
  local format = parsed.json and "json" or parsed.format or out.terminal and "table" or "csv"
  local options = { header = not parsed.no_header }
  if not parsed.query and core.sys.isatty(0) then
    return ask.run(parsed, function(query)
      return require "sd.cli.shell".run(query, parsed.json and "json" or parsed.format or "table",
        options)
    end)
  end
  return ask.run(parsed, function(query)
    local text = parsed.query
    if not text or text == "-" then text = read_input() end
    if M.run_all(query, text, values_of(parsed.values), format, options) == 0 then
      command:wrong "there is no statement"
    end
  end)
end

return M
