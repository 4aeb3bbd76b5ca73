--- Counts the safe points that jobs pass, and does something at one of them.
local core = require "sd.core"

local M = {}

---@class sd.testing.Point
---@field kind "check"|"commit"|"committed"|"wait"
---@field job string Name of the job that passed it; it may be a child.
---@field phase? string
---@field place? string File and line in its script.

---@class sd.testing.Probe
---@field points sd.testing.Point[] Those that were passed and are of the kinds that count.
---@field reached? sd.testing.Point The one where something was done.
---@field stopped boolean Nothing that reaches a safe point goes on.
---@field package kinds table<string, boolean>
---@field package target? integer
---@field package act? fun(probe: sd.testing.Probe)
local Probe = {}
Probe.__index = Probe

local LIBRARY = "/lua/sd/[^/]+%.lua$"

-- Where the script called what led here.
local function place_of(ctx)
  for level = 4, 60 do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    local path = info.source:match("^@(.*)$")
    if path and info.currentline > 0 and (path == ctx.script.path or not path:find(LIBRARY)) then
      return ("%s:%d"):format(path:match("[^/]*$"), info.currentline)
    end
  end
end

-- For ever: only the end of the coroutine, or of the process, ends it.
local function stay()
  while true do core.park() end
end

local function pass(self, ctx, kind)
  if self.stopped then stay() end
  if not self.kinds[kind] then return end
  local state = ctx.current
  local point = { kind = kind, job = ctx.definition.name, place = place_of(ctx),
    phase = type(state) == "table" and state.phase or nil }
  self.points[#self.points + 1] = point
  if #self.points ~= self.target then return end
  self.reached = point
  self:act()
  if self.stopped then stay() end
end

--- A probe that calls `act(probe)` at point number `target`; without it, it counts.
---@param kinds string[] Of points.
---@param target? integer
---@param act? fun(probe: sd.testing.Probe) May not wait.
---@return sd.testing.Probe
function M.new(kinds, target, act)
  local set = {}
  for _, kind in ipairs(kinds) do set[kind] = true end
  return setmetatable({ points = {}, stopped = false, kinds = set, target = target, act = act },
    Probe)
end

--- Lets all jobs that start in this library pass it.
---@param library sd.Library
function Probe:watch(library)
  library.probe = function(ctx, kind) pass(self, ctx, kind) end
end

---@param point sd.testing.Point
---@return string
function M.describe(point)
  local parts = { point.kind, "of job", point.job }
  if type(point.phase) == "string" then parts[#parts + 1] = "in phase " .. point.phase end
  if point.place then parts[#parts + 1] = "at " .. point.place end
  return table.concat(parts, " ")
end

return M
