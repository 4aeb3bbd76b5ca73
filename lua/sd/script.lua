--- Job scripts: where they are, and how they are loaded. Undeclared globals are errors in them.
local core = require "sd.core"
local job = require "sd.job"
local strict = require "sd.strict"

local M = {}

---@class sd.Script
---@field definition sd.JobDefinition
---@field path string
---@field hash string XXH3-128 of the source, 16 bytes.

--- Where scripts are looked for by name.
---@return string[]
function M.folders()
  local list = {}
  if os.getenv("SDLUA_JOBS") then list[#list + 1] = os.getenv("SDLUA_JOBS") end
  list[#list + 1] = require "sd.root" .. "/jobs"
  return list
end

local function read(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text, why = file:read("a")
  file:close()
  if not text then return nil, ("%s: %s"):format(path, why) end
  return text
end

local function find(name)
  if name:find("/", 1, true) or name:find("%.lua$") then return name end
  for _, folder in ipairs(M.folders()) do
    local path = ("%s/%s.lua"):format(folder, name)
    local file = io.open(path, "rb")
    if file then
      file:close()
      return path
    end
  end
  return nil, ("no job '%s' in %s"):format(name, table.concat(M.folders(), ", "))
end

--- Loads the job script `name`: a path, or the name of a script in one of the folders. Nil and a
--- message where it does not exist; an error in the script is raised.
---@param name string
---@return sd.Script? script
---@return string? message
function M.load(name)
  local path, message = find(name)
  if not path then return nil, message end
  local text, why = read(path)
  if not text then return nil, why end
  path = core.sys.realpath(path) or path
  local chunk = assert(load(text:gsub("^#[^\n]*", ""), "@" .. path, "t", strict()))
  local definition = chunk(path)
  if not job.is_definition(definition) then
    error(("%s: a job script returns what sd.job.define() gives"):format(path), 0)
  end
  if type(definition.run) ~= "function" then
    error(("%s: job %s has no function run"):format(path, definition.name), 0)
  end
  return { definition = definition, path = path, hash = core.sys.xxh128(text) }
end

return M
