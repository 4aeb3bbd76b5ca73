--- `sdlua index`: the indexer, for one location after the other.
local failure = require "sd.failure"
local options = require "sd.cli.options"
local foreground = require "sd.cli.foreground"
local roots = require "sd.cli.roots"
local rule_options = require "sd.cli.rule_options"
local script = require "sd.script"

local M = {}

local function parser_for(indexer)
  local parser = options.parser("sdlua index",
    "Index directories into a library. An unfinished run over the same directory is resumed.")
  parser:argument("PATH", "directory to index"):args("+"):target("paths")
  options.add_declared(parser, indexer.definition.args, { root = true })
  rule_options.add(parser)
  options.add_common(parser)
  return parser
end

-- What is said now comes before what the location is set to.
local function values_for(run, parsed, root)
  local values = run:call("settings", { root = root })
  for name, value in pairs(options.declared_values(parsed)) do values[name] = value end
  values.root = root
  return values
end

---@param args string[]
---@return integer status
function M.main(args)
  local indexer = script.must_load("indexer")
  local parsed = options.parse(parser_for(indexer), args)
  local rules = rule_options.given(parsed)
  local paths = roots.check_all(parsed.paths)
  return foreground.new(parsed):with_library(function(run)
    local worst = 0
    run.several = #paths > 1
    run:call("check_roots", { roots = paths })
    for _, root in ipairs(paths) do
      if run.stopped then return run.stopped end -- as the last one was being finished
      local values = values_for(run, parsed, root)
      values.rules = rules
      local status = run:run(indexer.definition(values), indexer, { "root" })
      if status ~= 0 and status ~= failure.EXIT.WITH_ERRORS then return status end
      worst = math.max(worst, status)
    end
    return worst
  end)
end

return M
