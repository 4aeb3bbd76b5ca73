--- What can be the root of a location.
local core = require "sd.core"
local failure = require "sd.failure"
local locations = require "sd.location_rows"

local M = {}

-- Raises what the system says, in its words: libuv has words of its own.
local function check_open(root)
  local fd, reason, code
  repeat fd, reason, code = core.sys.open_file(root) until fd or code ~= "EINTR"
  if not fd then error(failure.new(("open %s: %s"):format(root, reason), code), 0) end
  core.luv.fs_close(fd)
end

--- The absolute path of a directory that can be read; what cannot be a location is said before
--- anything is made.
---@param path string
---@return string root
function M.check(path)
  local root, message, fault = core.sys.realpath(path)
  failure.check_other(root, message, fault)
  local stat = core.luv.fs_stat(root)
  if stat and stat.type ~= "directory" then
    error(failure.new(("%s: not a directory"):format(root), "ENOTDIR"), 0)
  end
  check_open(root)
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
