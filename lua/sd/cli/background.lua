--- A runner in the background: `sdlua serve`, free of this terminal.
local core = require "sd.core"
local failure = require "sd.failure"
local remote = require "sd.remote"
local task = require "sd.task"

local M = {}

local PATIENCE = 10 -- seconds until it must listen

local function spawn(path, threads)
  local args = { "serve", "--library", path, "--until-idle" }
  if threads then table.move({ "--threads", tostring(threads) }, 1, 2, #args + 1, args) end
  local child = {}
  local handle, message = core.luv.spawn(core.luv.exepath(),
    { args = args, detached = true, stdio = {} }, function(status) child.status = status end)
  if not handle then error(failure.new("start a runner: " .. tostring(message), "EIO"), 0) end
  handle:unref()
  return child
end

--- Starts one where there is none, and waits until it can be talked to.
---@async
---@param path string The library's directory.
---@param threads? integer
function M.start(path, threads)
  local there = remote.connect(path, 0)
  local child = not there and spawn(path, threads)
  for _ = 1, PATIENCE * 20 do
    if there then return there:close() end
    if child.status and child.status ~= 0 then
      error(failure.new(("the runner for %s ended at once; `sdlua serve --library %s` says why")
        :format(path, path), "EFAILED", child.status), 0)
    end
    task.sleep(0.05)
    there = remote.connect(path, 0)
  end
  error(failure.new(("no runner for %s came up"):format(path), "ETIMEDOUT"), 0)
end

return M
