--- The options that say what is left out of the index.
local core = require "sd.core"
local rules = require "sd.rules"
local usage = require "sd.cli.usage"

local M = {}

local function time(given)
  local at, why = rules.time(given, os.time())
  if not at then return nil, why end
  return given
end

local function largest(given)
  local n, why = usage.size(given)
  if n == 0 then return nil, "leaves out what is not empty: say 1" end
  return n, why
end

local function script(given)
  local path, why = core.sys.realpath(given)
  if not path then return nil, "is not there: " .. why end
  return path
end

---@type sd.UsageItem[]
M.ITEMS = {
  { "--rules", "leave out what these rules say, commas between: `sdlua rules list`; none: nothing",
    arg = "NAMES" },
  { "--include", "only files that it matches, as a line of a .gitignore would", arg = "GLOB",
    many = true },
  { "--exclude", "leave out what it matches, as a line of a .gitignore would", arg = "GLOB",
    many = true },
  { "--min-size", "only files of so many bytes and more: 300, 10K, 1.5M", arg = "SIZE",
    convert = usage.size },
  { "--max-size", "only files of so many bytes and less", arg = "SIZE", convert = largest },
  { "--newer", "only files that were modified since: 30d (s, m, h, d, w, y), 2024-05-01",
    arg = "TIME", convert = time },
  { "--older", "only files that were modified before", arg = "TIME", convert = time },
  { "--accept-children", "only files below directories that have NAME in them", arg = "NAME",
    many = true },
  { "--reject-children", "leave directories empty that have NAME in them", arg = "NAME",
    many = true },
  { "--accept", "leave out what the functions accept_entry and accept_directory of SCRIPT refuse",
    arg = "SCRIPT", convert = script },
  { "-x --one-file-system", "do not enter other file systems below the root" },
  { "--enter-remote", "enter remote file systems below the root", key = "remote" },
  { "--enter-snapshots", "enter snapshots below the root", key = "snapshots" },
}

--- Adds them to a parser.
---@param parser table
function M.add(parser)
  usage.add(parser, M.ITEMS)
end

--- What was said, as text; nil where none of the options was given.
---@param parsed table
---@return string?
function M.given(parsed)
  local options, any = {}, false
  for _, item in ipairs(M.ITEMS) do
    local value = parsed[item.key]
    if value ~= nil and not (type(value) == "table" and #value == 0) then
      options[item.key], any = value, true
    end
  end
  if not any then return nil end
  if options.rules == "none" then options.rules = nil end
  return rules.text(options)
end

return M
