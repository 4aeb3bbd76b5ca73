--- A process of its own that kills itself at a safe point of its job.
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local libraries = require "sd.library"
local probes = require "sd.testing.probe"
local scripts = require "sd.script"
local task = require "sd.task"

local uv = core.luv

local M = {}

local KINDS = { "check", "commit", "committed", "wait" }
local CODE = "require 'sd.testing.child'.main(table.unpack(arg))"

-- The child finds modules where this process does.
local function environment()
  local all = uv.os_environ()
  all.SDLUA_HOME, all.LUA_PATH, all.LUA_CPATH = require "sd.root", package.path, package.cpath
  local list = {}
  for name, value in pairs(all) do list[#list + 1] = name .. "=" .. value end
  return list
end

-- What it printed, and how it ended.
local function run_process(args)
  local thread, pieces, ended, open = coroutine.running(), {}, nil, true
  local out = uv.new_pipe(false)
  local process, message = uv.spawn(uv.exepath(), { args = args, env = environment(),
    stdio = { nil, out, 2 } }, function(code, signal)
    ended = { code = code, signal = signal }
    core.wake(thread)
  end)
  if not process then error("start a process: " .. tostring(message), 0) end
  out:read_start(function(_, data)
    pieces[#pieces + 1] = data
    open = data ~= nil
    if not open then core.wake(thread) end
  end)
  while not ended or open do core.park() end
  out:close()
  process:close()
  return table.concat(pieces), ended
end

--- Runs the job of a test in a process that dies at the point that the test's probe has for its
--- target. Sets the id of the job, and the point where it was reached.
---@async
---@param run sd.testing.Run
function M.run(run)
  if run.script.path == "" then
    error(failure.new "to be killed, a job must be in a file: the process that dies loads it", 0)
  end
  local text, ended = run_process { "-e", CODE, "-", run.path, run.script.path,
    json.encode_exact(run.options.args or {}), tostring(run.probe.target) }
  local id, point = text:match("^(%d+)\n([^\n]*)")
  if ended.code ~= 0 or not id then
    error(failure.new(("the process ended with status %d"):format(ended.code)), 0)
  end
  run.id = math.tointeger(id)
  if ended.signal ~= 0 then run.probe.reached = json.decode(point) end
end

local function say(text)
  io.stdout:write(text, "\n")
  io.stdout:flush()
end

--- What that process does.
---@param path string The library.
---@param name string The script.
---@param args string JSON.
---@param target string Number of the point.
function M.main(path, name, args, target)
  task.run(function()
    local library <close> = assert(libraries.open(path, {}))
    local script = assert(scripts.load(name))
    local probe = probes.new(KINDS, math.tointeger(target), function(probe)
      say(json.encode(probe.reached))
      uv.kill(uv.os_getpid(), "sigkill")
    end)
    probe:watch(library)
    local handle = library.jobs:dispatch(script.definition(json.decode(args)), script)
    say(("%d"):format(handle.id))
    handle:wait()
    return library and nil
  end)
end

return M
