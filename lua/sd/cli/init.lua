--- The command line: finds the command, runs it, turns what went wrong into a message and a status.
local commands = require "sd.commands"
local M = {}

local HELP = [=[
usage: sdlua COMMAND [OPTIONS] ...
       sdlua [LUA OPTIONS] [FILE.lua [ARGS]]

Commands:
  index     index directories into a library
  location  the directories that are indexed: add, list, show, set, remove
  rules     what locations leave out, and why
  verify    compare the index with the disk
  run       run a job script
  job       look at jobs and steer them
  serve     run the jobs of a library as a service

  search    find entries by name and attributes
  ls        list directories as the index has them
  tree      the same as a tree
  stat      all that is known of an entry
  du        what directories take
  top       the largest and the oldest
  dupes     groups of files with the same content
  sql       ask in SQL
  export    write the entries as NDJSON, CSV, mtree or an SQLite file

With anything else sdlua is the Lua interpreter: -e -l -i -v -E -W - and a script, as `lua` has
them.

  sdlua COMMAND --help   the options of a command
  sdlua --version        versions of sdlua and its libraries
]=]

local function version()
  local core = require "sd.core"
  local v = core.sys.versions()
  return ("sdlua %s (%s, SQLite %s, libuv %s)\n"):format(require "sd.version", v.lua, v.sqlite,
    v.libuv)
end

local function run_command(name, args)
  local ok, result = xpcall(function() return require(commands[name]).main(args) end, function(err)
    return type(err) == "string" and debug.traceback(err, 2) or err
  end)
  if ok then return result end
  local failure, text = require "sd.failure", require "sd.text"
  if failure.is(result) then
    io.stderr:write("sdlua: ", text.escape(result.message), "\n")
    for line in (result.usage or ""):gmatch("[^\n]+") do
      io.stderr:write(text.escape(line), "\n")
    end
    return result.exit
  end
  if result == "not enough memory" then error(result, 0) end
  io.stderr:write("sdlua: ", tostring(result), "\n")
  return failure.EXIT.SCRIPT
end

--- Runs the command that `args` name; the exit status.
---@param args string[]
---@return integer status
function M.main(args)
  local name = args[1]
  if name == "--help" or name == "-h" then
    io.stdout:write(HELP)
    return 0
  elseif name == "--version" then
    io.stdout:write(version())
    return 0
  elseif not commands[name] then
    io.stderr:write(("sdlua: no command '%s'; try sdlua --help\n"):format(
      require "sd.text".escape(name or "")))
    return require "sd.failure".EXIT.USAGE
  end
  return run_command(name, table.move(args, 2, #args, 1, {}))
end

return M
