--- Cancels a job whose process may not let go of it: then the process is ended. Its other jobs wait
--- for the next runner, from their last commits.
local core = require "sd.core"
local failure = require "sd.failure"
local remote = require "sd.remote"
local task = require "sd.task"

local M = {}

-- Seconds in which a runner that can must answer, and in which a process that was killed must end.
local ANSWER, FIND, END = 5, 2, 5

-- Whether the process has the lock's file open: it is the one that the file names, and not one of
-- the same number, in another container or later.
local function has_open(pid, file)
  local folder = ("/proc/%d/fd"):format(pid)
  local list = core.luv.fs_scandir(folder)
  for name in function() return list and core.luv.fs_scandir_next(list) end do
    if core.luv.fs_readlink(folder .. "/" .. name) == file then return true end
  end
  return false
end

-- The process that holds the library. The lock itself is not tried: who gets it takes the note of a
-- process that was stuck.
local function holder_of(path)
  local name = core.sys.realpath(path .. "/library.lock")
  local file = name and io.open(name)
  local pid = file and math.tointeger(tonumber(file:read("l")))
  if file then file:close() end
  return pid and has_open(pid, name) and pid or nil
end

local function end_holder(path)
  local pid = holder_of(path)
  if not pid then return end
  local ok, message, code = core.luv.kill(pid, "sigkill")
  if not ok and code ~= "ESRCH" then
    error(failure.new(("end process %d: %s"):format(pid, message), code), 0)
  end
  for _ = 1, END * 20 do
    if holder_of(path) ~= pid then return end
    task.sleep(0.05)
  end
  error(failure.new(("process %d does not end"):format(pid), "EBUSY"), 0)
end

-- What the runner answers, or nil where it does not.
local function ask(client, method, params, seconds)
  local result, message, code, exit = client:call(method, params, { timeout = seconds })
  if result == nil and code ~= "ETIMEDOUT" and code ~= "EPIPE" then
    error(failure.new(message, code, exit), 0)
  end
  return result
end

local function ask_runner(path, text)
  local there = remote.connect(path, 0)
  if not there then return nil end
  local guard <close> = there
  local found = ask(there.client, "find", { text = text }, FIND)
  local done = found and ask(there.client, "cancel", { id = found.id }, ANSWER)
  return done and found.id, guard and nil
end

--- Asks the runner to cancel the job, and kills it where it does not. The id of the job; nil where
--- there is no runner any more, and the job still to be cancelled.
---@async
---@param path string The library's directory.
---@param text string That names the job.
---@return integer?
function M.cancel(path, text)
  local id = ask_runner(path, text)
  if not id then end_holder(path) end
  return id
end

return M
