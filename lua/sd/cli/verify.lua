--- `sdlua verify PATH`: compares a location with the disk.
local foreground = require "sd.cli.foreground"
local options = require "sd.cli.options"
local roots = require "sd.cli.roots"
local script = require "sd.script"

local M = {}

local function parser_for(verify)
  local parser = options.parser("sdlua verify", "Compare a location with the disk. Exit 0: the"
    .. " index is right, 3: there are differences.")
  parser:argument("PATH", "root of a location"):target("path")
  options.add_declared(parser, verify.definition.args, { root = true })
  options.add_common(parser, true)
  return parser
end

---@param args string[]
---@return integer status
function M.main(args)
  local verify = script.must_load("verify")
  local parsed = options.parse(parser_for(verify), args)
  local values = options.declared_values(parsed)
  values.root = roots.check(parsed.path)
  return foreground.new(parsed, true):with_library(function(run)
    return run:run(verify.definition(values), verify, { "root" })
  end)
end

return M
