-- Compiles the modules of a source tree: sdlua precompile.lua ROOT FOLDER. modules.c reads them.
local uv = require "luv"

local root, folder = arg[1], arg[2]

-- "sd.cli.search" of "lua/sd/cli/search.lua"
local function module_of(path)
  return (path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

local function compile(path)
  local stat = assert(uv.fs_stat(root .. "/" .. path))
  local chunk = assert(loadfile(root .. "/" .. path))
  local file = assert(io.open(("%s/%s.luac"):format(folder, module_of(path)), "wb"))
  assert(file:write(("sdlua-bytecode-1 %d %d %s\n"):format(stat.size,
    stat.mtime.sec * 1000000000 + stat.mtime.nsec, path), string.dump(chunk)))
  assert(file:close())
end

local function compile_all(path)
  for name, kind in uv.fs_scandir_next, assert(uv.fs_scandir(root .. "/" .. path)) do
    local below = path .. "/" .. name
    if kind == "directory" and name ~= "meta" then compile_all(below)
    elseif name:find("%.lua$") then compile(below) end
  end
end

uv.fs_mkdir(folder, 493)
compile_all "lua/sd"
