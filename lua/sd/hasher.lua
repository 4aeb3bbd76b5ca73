--- The files of a location that have no content identity, hashed a chunk at a time.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

---@class sd.HashOptions
---@field rest? boolean Of files with several names, those that were not given since another one
--- was (default false): when everything is linked, for files that could not be read by that.
---@field again? boolean The files that have an identity and that the run's walk has come by, to be
--- read again (default false): linked, what was found takes the place of what was known.

---@class sd.Hasher
---@field package core? userdata Nil between a pause and what follows.
---@field package options sd.HashOptions
---@field package ctx sd.Context
local Hasher = {}
Hasher.__index = Hasher

local function open(self)
  self.core = self.core
    or failure.check_other(core.hasher.open(self.ctx.library.core, self.options))
end

---@param ctx sd.Context
---@param options sd.HashOptions
---@return sd.Hasher
function M.open(ctx, options)
  local copy = {}
  for key, value in pairs(options) do copy[key] = value end
  local self = setmetatable({ options = copy, ctx = ctx }, Hasher)
  open(self)
  return self
end

local function warn(self)
  local message = not self.warned and self.core:warning()
  if not message then return end
  self.warned = true
  self.ctx:add_warning("MIME types come from names alone: %s", message)
end

-- Whether there is something in the chunk. Where a pause cut it short, those behind it are given
-- up, and the next one begins where it ends.
local function accept(self, chunk)
  local stats = chunk:stats()
  self.options.after = stats.cursor
  if not stats.complete then self:close() end
  return stats.files > 0
end

-- One chunk, or nil and whether no file is left: else there was an interruption.
local function step(self)
  open(self)
  local chunk, what, code = self.core:next()
  if chunk then
    warn(self)
    return accept(self, chunk) and chunk or nil, false
  end
  if type(what) == "string" then failure.check(nil, what, code) end
  return nil, what
end

--- The next chunk, in the order of entry ids. Nil when no file is left. A pause takes effect here.
---@async
---@return sd.Chunk?
function Hasher:next()
  while true do
    self.ctx:check_interrupt()
    local chunk, ended = step(self)
    if chunk or ended then return chunk end
    coroutine.yield() -- another job of the library may have interrupted the lanes
  end
end

--- `for chunk in hasher:chunks() do`
---@return fun(): sd.Chunk?
function Hasher:chunks()
  return function() return self:next() end
end

--- Chunks in groups, as many as come within so many seconds: `for group in hasher:groups(0.25) do`.
--- A pause takes effect before a group; what was hashed when it is asked for is one.
---@param seconds number
---@return fun(): sd.Chunk[]?
function Hasher:groups(seconds)
  return function()
    local since = self.ctx:elapsed()
    local group = { self:next() }
    if #group == 0 then return nil end
    while self.core and self.ctx:elapsed() - since < seconds do
      local chunk = step(self)
      if not chunk then break end
      group[#group + 1] = chunk
    end
    return group
  end
end

function Hasher:close()
  if self.core then self.core:close() end
  self.core = nil
end

Hasher.__close = Hasher.close

return M
