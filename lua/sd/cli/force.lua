--- Ends a runner that no longer answers.
local core = require "sd.core"
local failure = require "sd.failure"
local library = require "sd.library"
local task = require "sd.task"

local M = {}

-- The lock tells who it is: it is held as long as the process lives.
local function pid_of(path)
  local lib, message, code = library.open(path)
  if lib then
    lib:close()
    return nil
  end
  if code ~= "ELOCKED" then failure.check(nil, message, code) end
  return math.tointeger(message:match("pid (%d+)"))
end

--- Kills the process that holds the library's lock, and waits until the lock is free. Its jobs wait
--- for the next runner.
---@async
---@param path string
function M.end_runner(path)
  local pid = pid_of(path)
  if not pid then return end
  core.luv.kill(pid, "sigkill")
  for _ = 1, 100 do
    if not pid_of(path) then return end
    task.sleep(0.05)
  end
  error(failure.new(("process %d does not end"):format(pid), "EBUSY"), 0)
end

return M
