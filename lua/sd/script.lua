--- Job scripts: where they are, and how they are loaded. Undeclared globals are errors in them.
local core = require "sd.core"
local failure = require "sd.failure"
local job = require "sd.job"
local strict = require "sd.strict"

local uv = core.luv

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

-- The text of a file, or nil and what is wrong with it, in libuv's words. libuv itself closes by
-- syscall(2): ThreadSanitizer does not see that, and takes the next file of that number for it.
local function read(path)
  local file, _, errno = io.open(path, "r")
  local text
  if file then
    text, _, errno = file:read("a")
    file:close()
  end
  if text then return text end
  local message, code = uv.translate_sys_error(errno)
  return nil, ("%s: %s"):format(message, path), code
end

local IS_ELSEWHERE = { ENOENT = true, ENOTDIR = true }

-- The text of the script that is meant and its path, or nil and what is wrong. One that is there
-- and cannot be read is not replaced by another one of that name.
local function find(name)
  if name:find("/", 1, true) or name:find("%.lua$") then
    local text, message, code = read(name)
    return text, text and name or message, code
  end
  for _, folder in ipairs(M.folders()) do
    local path = ("%s/%s.lua"):format(folder, name)
    local text, message, code = read(path)
    if text then return text, path end
    if not IS_ELSEWHERE[code] then return nil, message, code end
  end
  return nil, ("no job '%s' in %s"):format(name, table.concat(M.folders(), ", ")), "ENOENT"
end

-- The function that the text of a script is. What comes before it keeps `return sd.job.define {}`
-- from being a tail call, so that an error of the definition has the script's line.
local function compile(text, path)
  local source = "local __script <close> = nil " .. text:gsub("^#[^\n]*", "")
  local chunk, message = load(source, "@" .. path, "t", strict())
  if not chunk then error(message, 0) end
  return chunk
end

--- Loads the job script `name`: a path, or the name of a script in one of the folders. Nil and a
--- message where it cannot be read; an error in the script is raised.
---@param name string
---@return sd.Script? script
---@return string? message
---@return string? code "ENOENT" where there is none, else that of the error.
function M.load(name)
  local text, path, code = find(name)
  if not text then return nil, path, code end
  path = core.sys.realpath(path) or path
  local definition = compile(text, path)(path)
  if not job.is_definition(definition) then
    error(("%s: a job script returns what sd.job.define() gives"):format(path), 0)
  end
  if type(definition.run) ~= "function" then
    error(("%s: job %s has no function run"):format(path, definition.name), 0)
  end
  return { definition = definition, path = path, hash = core.sys.xxh128(text) }
end

--- The same; where it cannot be read that is raised as a failure.
---@param name string
---@param exit? integer The failure's (default 1).
---@return sd.Script
function M.must_load(name, exit)
  local script, message, code = M.load(name)
  if not script then error(failure.new(message, code, exit), 0) end
  return script
end

return M
