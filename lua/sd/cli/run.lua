--- `sdlua run SCRIPT|NAME [ARGS]`: any job script.
local failure = require "sd.failure"
local options = require "sd.cli.options"
local foreground = require "sd.cli.foreground"
local scripts = require "sd.script"
local arg = require "sd.arg"

local M = {}

local USAGE = [[
usage: sdlua run SCRIPT|NAME [ARGS]

Runs the job that a script defines. SCRIPT has a slash or ends in .lua. NAME is a script in
$SDLUA_JOBS or one that comes with sdlua. An unfinished job with the same arguments is resumed.

  sdlua run SCRIPT|NAME --help   the job's arguments
]]

local function parser_for(name, definition)
  local taken = options.find_taken(definition.args)
  if taken then
    error(failure.new(("job %s: an argument cannot be called '%s': --%s is an option of sdlua run")
      :format(definition.name, taken, taken), "EINVAL", failure.EXIT.SCRIPT), 0)
  end
  local parser = options.parser("sdlua run " .. name, definition.description)
  options.add_declared(parser, definition.args)
  options.add_common(parser)
  return parser
end

---@param args string[]
---@return integer status
function M.main(args)
  local name = args[1]
  if name == "--help" or name == "-h" then
    io.stdout:write(USAGE)
    return 0
  end
  if not name or name:sub(1, 1) == "-" then
    error(failure.usage("say which script is to run", USAGE), 0)
  end
  local script = scripts.must_load(name, failure.EXIT.USAGE)
  local parsed = options.parse(parser_for(name, script.definition),
    table.move(args, 2, #args, 1, {}))
  local values, why = arg.check_all(script.definition.args, options.declared_values(parsed),
    options.name_of)
  if not values then error(failure.new(why, "EINVAL", failure.EXIT.USAGE), 0) end
  arg.resolve_paths(script.definition.args, values)
  return foreground.new(parsed):with_library(function(run)
    run:call("check_roots", { roots = arg.roots(script.definition.args, values) })
    return run:run(script.definition(values), script)
  end)
end

return M
