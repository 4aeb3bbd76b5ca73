--- Folders that are gone when a test is over.
local core = require "sd.core"

local uv = core.luv

local M = {}

---@class sd.testing.Scratch
---@field path string
---@field package count integer
local Scratch = {}
Scratch.__index = Scratch

---@return sd.testing.Scratch scratch Close it.
function M.new()
  local path = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/sdlua-testing.XXXXXX"))
  return setmetatable({ path = path, count = 0 }, Scratch)
end

local function each(path)
  local list = assert(uv.fs_scandir(path))
  return function() return uv.fs_scandir_next(list) end
end

-- What a library's directory is made of: files, and nothing below.
local function remove(path)
  for name in each(path) do assert(uv.fs_unlink(path .. "/" .. name)) end
  assert(uv.fs_rmdir(path))
end

--- A name for a folder that is not there yet.
---@return string path
function Scratch:name()
  self.count = self.count + 1
  return ("%s/%d"):format(self.path, self.count)
end

--- A library that is the same as the one in `path`, which nobody has open.
---@param path string
---@return string copy
function Scratch:copy(path)
  local copy = self:name()
  assert(uv.fs_mkdir(copy, 448)) -- 0700
  for name in each(path) do
    if name ~= "library.lock" and name ~= core.control.name then
      assert(uv.fs_copyfile(path .. "/" .. name, copy .. "/" .. name))
    end
  end
  return copy
end

--- Removes one folder.
---@param path string
function Scratch:remove(path) -- luacheck: ignore 212
  remove(path)
end

function Scratch:close()
  for name in each(self.path) do remove(self.path .. "/" .. name) end
  assert(uv.fs_rmdir(self.path))
end

Scratch.__close = Scratch.close

return M
