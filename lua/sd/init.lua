--- sdlua for scripts: define jobs, open libraries, run things at the same time.
local core = require "sd.core"

---@class sd
local M = {
  arg = require "sd.arg",
  job = require "sd.job",
  library = require "sd.library",
  progress = require "sd.progress",
  query = require "sd.query",
  ring = require "sd.ring",
  rules = require "sd.rules",
  eta = require "sd.eta",
  failure = require "sd.failure",
  text = require "sd.text",
  sys = core.sys,
}

local task = require "sd.task"

M.check = M.failure.check_other
M.spawn = task.spawn
M.sleep = task.sleep
M.run = task.run

--- Marks bytes that SQL is to store as BLOB. Plain strings are TEXT where they are valid UTF-8.
---@param bytes string
---@return sd.Blob
function M.blob(bytes)
  return { blob = bytes }
end

return M
