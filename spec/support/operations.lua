--- Random changes of a directory tree: what people and programs do to files, one at a time.
local uv = require "sd.core".luv

local M = {}

---@class spec.Operations
---@field root string
---@field serial integer
local Operations = {}
Operations.__index = Operations

---@param root string An empty folder.
---@return spec.Operations
function M.new(root)
  return setmetatable({ root = root, serial = 0 }, Operations)
end

-- Names come again and again, so that one takes another's place.
local NAMES = { "a", "b", "c", "d", "e", "f", "ä", "x y", "\xff\xfe", "-n", "new\nline", "%s" }

local function pick(list)
  return list[math.random(#list)]
end

-- Everything below `dir`, by kind: "dir", "file", "other".
local function list(dir, found)
  local scan = uv.fs_scandir(dir)
  while scan do
    local name, kind = uv.fs_scandir_next(scan)
    if not name then break end
    local path = dir .. "/" .. name
    kind = kind == "directory" and "dir" or kind == "file" and "file" or "other"
    found[kind][#found[kind] + 1] = path
    found.all[#found.all + 1] = path
    if kind == "dir" then list(path, found) end
  end
  return found
end

function Operations:look()
  return list(self.root, { dir = { self.root }, file = {}, other = {}, all = {} })
end

-- A path that may be taken.
local function place(found)
  return pick(found.dir) .. "/" .. pick(NAMES)
end

local function is_in(path, dir)
  return path == dir or path:sub(1, #dir + 1) == dir .. "/"
end

function Operations:write(path, flags, size)
  self.serial = self.serial + 1
  local fd = uv.fs_open(path, flags, 420)
  if not fd then return end
  uv.fs_write(fd, ("%d\n"):format(self.serial):rep(size or math.random(0, 40)))
  uv.fs_close(fd)
end

local function remove_tree(path)
  local scan = uv.fs_scandir(path)
  while scan do
    local name, kind = uv.fs_scandir_next(scan)
    if not name then break end
    if kind == "directory" then remove_tree(path .. "/" .. name)
    else uv.fs_unlink(path .. "/" .. name) end
  end
  uv.fs_rmdir(path)
end

local function remove(path)
  if not uv.fs_unlink(path) then remove_tree(path) end
end

local function rename(self, from, to)
  if is_in(to, from) or from == self.root then return end
  if not uv.fs_rename(from, to) and not is_in(from, to) then -- a directory that is not empty
    remove(to)
    uv.fs_rename(from, to)
  end
end

-- As renameat2(2) does with RENAME_EXCHANGE.
local function exchange(self, a, b)
  if a == b or is_in(a, b) or is_in(b, a) then return end
  local aside = self.root .. "/.aside"
  assert(uv.fs_rename(a, aside))
  assert(uv.fs_rename(b, a))
  assert(uv.fs_rename(aside, b))
end

---@type table<string, fun(self: spec.Operations, found: table)>
local KINDS = {
  create = function(self, found) self:write(place(found), "wx") end,
  mkdir = function(_, found) uv.fs_mkdir(place(found), 493) end,
  write = function(self, found)
    if #found.file > 0 then self:write(pick(found.file), "r+") end
  end,
  append = function(self, found)
    if #found.file > 0 then self:write(pick(found.file), "a", 1) end
  end,
  truncate = function(_, found)
    local fd = #found.file > 0 and uv.fs_open(pick(found.file), "r+", 420)
    if not fd then return end
    uv.fs_ftruncate(fd, math.random(0, 200))
    uv.fs_close(fd)
  end,
  rename = function(self, found)
    if #found.all > 0 then rename(self, pick(found.all), place(found)) end
  end,
  rename_dir = function(self, found) rename(self, pick(found.dir), place(found)) end,
  exchange = function(self, found)
    if #found.all > 1 then exchange(self, pick(found.all), pick(found.all)) end
  end,
  link = function(_, found)
    if #found.file > 0 then uv.fs_link(pick(found.file), place(found)) end
  end,
  symlink = function(_, found) uv.fs_symlink(pick(NAMES), place(found)) end,
  chmod = function(_, found)
    if #found.all > 0 then uv.fs_chmod(pick(found.all), pick { 448, 488, 493, 504 }) end
  end,
  utime = function(_, found)
    local path = #found.file > 0 and pick(found.file)
    if path then uv.fs_utime(path, 1e9, math.random(1000000000) + 0.25) end
  end,
  unlink = function(_, found)
    local path = #found.file + #found.other > 0 and pick(found.all)
    if path then uv.fs_unlink(path) end
  end,
  rmtree = function(_, found)
    local dir = pick(found.dir)
    if dir ~= found.dir[1] then remove_tree(dir) end
  end,
  -- What editors do: the name stays, the inode is another one.
  save = function(self, found)
    local path = #found.file > 0 and pick(found.file)
    if not path then return end
    self:write(self.root .. "/.new", "w")
    uv.fs_rename(self.root .. "/.new", path)
  end,
  -- The inode may be used again.
  recreate = function(self, found)
    local path = #found.all > 0 and pick(found.all)
    if not path then return end
    remove(path)
    if math.random() < 0.5 then uv.fs_mkdir(path, 493) else self:write(path, "wx") end
  end,
  copy_tree = function(self, found)
    local from, to = pick(found.dir), place(found)
    if from == self.root or is_in(to, from) or uv.fs_lstat(to) then return end
    local quote = require "support.fixture".quote
    os.execute(("cp -a -- %s %s 2>/dev/null"):format(quote(from), quote(to)))
  end,
  -- A directory takes the place of the one it is in, which goes into it.
  turn_inside_out = function(self, found)
    local inner = pick(found.dir)
    local outer = inner:match("^(.*)/[^/]*$")
    if inner == self.root or outer == self.root then return end
    local aside = self.root .. "/.aside"
    assert(uv.fs_rename(inner, aside))
    remove(aside .. "/a")
    assert(uv.fs_rename(outer, aside .. "/a"))
    assert(uv.fs_rename(aside, outer))
  end,
  swap_file_and_dir = function(self, found)
    if #found.file > 0 and #found.dir > 1 then
      exchange(self, pick(found.file), found.dir[math.random(2, #found.dir)])
    end
  end,
}

-- What is drawn how often; about as much is made as is removed, once the tree has some size.
local WEIGHTS = {
  create = 20, mkdir = 10, write = 6, append = 4, truncate = 3, rename = 10, rename_dir = 6,
  exchange = 5, link = 5, symlink = 3, chmod = 3, utime = 2, unlink = 8, rmtree = 1, save = 5,
  recreate = 4, copy_tree = 1, turn_inside_out = 2, swap_file_and_dir = 2,
}

local DRAWN = {}
for kind in pairs(KINDS) do DRAWN[#DRAWN + 1] = kind end
table.sort(DRAWN) -- so that a seed repeats a run
for i = 1, #DRAWN do
  for _ = 2, WEIGHTS[DRAWN[i]] do DRAWN[#DRAWN + 1] = DRAWN[i] end
end

--- Changes something; what was tried.
---@return string kind
function Operations:step()
  local kind = pick(DRAWN)
  local found = self:look()
  if #found.all > 400 then kind = pick { "rmtree", "unlink" } end
  KINDS[kind](self, found)
  return kind
end

return M
