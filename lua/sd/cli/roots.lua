--- What can be the root of a location.
local core = require "sd.core"
local failure = require "sd.failure"
local locations = require "sd.location_rows"

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
  local root, message, fault = core.sys.realpath(path)
  failure.check_other(root, message, fault)
  local stat, why = core.luv.fs_stat(root)
  if not stat then
    error(failure.new(("stat %s: %s"):format(root, reason_of(why, root)), "EIO"), 0)
  end
  if stat.type ~= "directory" then
    error(failure.new(("%s: not a directory"):format(root), "ENOTDIR"), 0)
  end
  local dir, reason, code
  repeat dir, reason, code = core.luv.fs_opendir(root) until dir or code ~= "EINTR"
  if not dir then
    error(failure.new(("open %s: %s"):format(root, reason_of(reason, root)), "EACCES"), 0)
  end
  core.luv.fs_closedir(dir)
  return root
end

local function check_apart(root, others)
  for _, other in ipairs(others) do
    local inner, outer = root, other
    if locations.is_in(outer, inner) then inner, outer = outer, inner end
    if locations.is_in(inner, outer) then
      error(failure.new(("%s lies in %s, and an entry belongs to one location only"):format(inner,
        outer), "EEXIST", failure.EXIT.USAGE), 0)
    end
  end
end

--- The same for several that are to be locations of one library, each of them once: none may lie in
--- another.
---@param paths string[]
---@return string[] roots
function M.check_all(paths)
  local roots, seen = {}, {}
  for _, path in ipairs(paths) do
    local root = M.check(path)
    if not seen[root] then
      check_apart(root, roots)
      seen[root], roots[#roots + 1] = true, root
    end
  end
  return roots
end

return M
