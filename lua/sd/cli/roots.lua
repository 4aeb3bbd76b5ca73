--- What can be the root of a location.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

-- libuv says "EACCES: permission denied: /root".
local function reason_of(text, path)
  text = text:gsub("^%u%w*: ", "")
  local tail = ": " .. path
  return text:sub(-#tail) == tail and text:sub(1, -#tail - 1) or text
end

--- The absolute path of a directory that can be read; what cannot be a location is said before
--- anything is made.
---@param path string
---@return string root
function M.check(path)
  local root, message, code = core.sys.realpath(path)
  failure.check_other(root, message, code)
  local stat, why = core.luv.fs_stat(root)
  if not stat then
    error(failure.new(("stat %s: %s"):format(root, reason_of(why, root)), "EIO"), 0)
  end
  if stat.type ~= "directory" then
    error(failure.new(("%s: not a directory"):format(root), "ENOTDIR"), 0)
  end
  local dir, reason = core.luv.fs_opendir(root)
  if not dir then
    error(failure.new(("open %s: %s"):format(root, reason_of(reason, root)), "EACCES"), 0)
  end
  core.luv.fs_closedir(dir)
  return root
end

return M
