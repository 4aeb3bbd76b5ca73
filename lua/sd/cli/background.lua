--- A runner in the background: `sdlua serve`, free of this terminal.
local core = require "sd.core"
local failure = require "sd.failure"
local remote = require "sd.remote"

local M = {}

--- Starts one where there is none, and waits until it can be talked to.
---@async
---@param path string The library's directory.
---@param threads? integer
function M.start(path, threads)
  local there = remote.connect(path, 0)
  if not there then
    local args = { "serve", "--library", path, "--until-idle" }
    if threads then table.move({ "--threads", tostring(threads) }, 1, 2, #args + 1, args) end
    local handle, message = core.luv.spawn(core.luv.exepath(),
      { args = args, detached = true, stdio = {}, cwd = "/" }, function() end)
    if not handle then error(failure.new("start a runner: " .. tostring(message), "EIO"), 0) end
    handle:unref()
    there = failure.check_other(remote.connect(path, 10))
  end
  there:close()
end

return M
