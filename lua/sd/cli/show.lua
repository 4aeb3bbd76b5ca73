--- Progress on a terminal, as lines, or as NDJSON.
local core = require "sd.core"
local json = require "sd.json"
local text = require "sd.text"

local M = {}

---@class sd.Show
---@field package mode string "bar", "plain", "json" or "none".
---@field package drawn boolean A bar stands on the last line.
local Show = {}
Show.__index = Show

-- A pipe or terminal that is said to be writable takes that much without waiting.
local PIECE = 4096
local TICK_MS = { bar = 100, plain = 1000, json = 500 }
local PLAIN_EVERY = 5 -- seconds, within a phase
local BAR = 20

---@param mode string As --progress says it.
---@return sd.Show
function M.new(mode)
  if mode == "auto" then mode = core.sys.isatty(2) and "bar" or "plain" end
  return setmetatable({ mode = mode, drawn = false, last_line = -math.huge, held = {} }, Show)
end

-- A job reports what it likes: nothing of it may end the run.
local function number(value)
  return type(value) == "number" and value == value and value or nil
end

-- What nobody reads must hold up neither a job nor a signal: while a job runs, text waits until
-- stderr takes it.
local function put(self, s)
  local held = self.held
  for i = 1, #s, PIECE do held[#held + 1] = s:sub(i, i + PIECE - 1) end
  while held[1] and not self.holding and (not self.following or core.sys.writable(2)) do
    io.stderr:write(table.remove(held, 1))
  end
end

local function phase_of(progress)
  local phase = progress.phase
  if type(phase) == "table" then return tostring(phase.name or ""), phase end
  return tostring(phase or ""), {}
end

local function counts_of(progress)
  local found, parts = progress.total_found, {}
  if type(found) ~= "table" then return parts end
  if number(found.files) then parts[#parts + 1] = text.count(found.files) .. " files" end
  if number(found.dirs) then parts[#parts + 1] = text.count(found.dirs) .. " dirs" end
  if number(found.bytes) then parts[#parts + 1] = text.bytes(found.bytes) end
  return parts
end

-- Everything but the path.
local function summary(progress)
  local name, phase = phase_of(progress)
  local parts = { (text.escape(name):gsub("_", " ")) }
  local part = number(phase.fraction)
  if part then parts[#parts + 1] = ("%d%%"):format(part * 100 // 1) end
  for _, count in ipairs(counts_of(progress)) do parts[#parts + 1] = count end
  if progress.message then parts[#parts + 1] = text.escape(tostring(progress.message)) end
  if number(progress.processing_rate) then
    parts[#parts + 1] = text.count(progress.processing_rate) .. "/s"
  end
  local left = number(progress.estimated_remaining)
  if left or name ~= "finalizing" then
    parts[#parts + 1] = "ETA "
      .. (left and text.remaining(left, number(progress.remaining_uncertainty)) or "unknown")
  end
  return table.concat(parts, "  "), part
end

local function draw_bar(self, progress)
  local columns = (core.sys.winsize(2) or 80) - 1
  local line, part = summary(progress)
  if part then
    local full = math.floor(part * BAR)
    line = ("[%s%s] %s"):format(("#"):rep(full), ("."):rep(BAR - full), line)
  end
  line = text.cut(line, columns)
  local room, path = columns - text.width(line) - 2, progress.current_path
  if type(path) == "string" and path ~= "" and room > 8 then
    line = line .. "  " .. text.shorten(path, room)
  end
  put(self, "\r" .. line .. "\27[K")
  self.drawn = true
end

local function plain_line(self, progress)
  local name = phase_of(progress)
  local now = core.sys.mono_ns() / 1e9
  if name == self.last_phase and now - self.last_line < PLAIN_EVERY then return end
  self.last_phase, self.last_line = name, now
  put(self, (summary(progress)) .. "\n")
end

--- Takes the bar away, so that a line can be written.
function Show:clear()
  put(self, self.drawn and "\r\27[K" or "")
  self.drawn = false
end

local function draw(self, handle)
  put(self, "")
  local progress = handle:progress()
  if not progress or self.held[1] or not core.sys.writable(2) then return end
  if self.mode == "bar" then draw_bar(self, progress)
  elseif self.mode == "plain" then plain_line(self, progress)
  elseif self.mode == "json" and handle.last_progress ~= self.last_progress then
    self.last_progress = handle.last_progress
    put(self, json.encode { type = "progress", progress = progress } .. "\n")
  end
end

--- Keeps back what there is to show, while a question stands on the terminal.
---@param on boolean
function Show:hold(on)
  self:clear()
  self.holding = on
end

--- A line beside the progress.
---@param level string "info", "warning", "error" or "debug".
---@param message string
function Show:log(level, message)
  if self.mode == "none" then return end
  if self.mode == "json" then
    put(self, json.encode { type = "log", level = level, message = message } .. "\n")
    return
  end
  self:clear()
  put(self, (level == "info" and "" or level .. ": ") .. text.escape(message) .. "\n")
end

--- Shows a job's progress until the result is closed.
---@param handle sd.Handle
---@return table closer To be closed.
function Show:follow(handle)
  local closer = setmetatable({}, { __close = function(c) c.stop() end })
  self.following = true
  closer.stop = function() self.following = false end
  if self.mode == "none" then return closer end
  local timer = core.luv.new_timer()
  local every = TICK_MS[self.mode]
  timer:start(every, every, function() draw(self, handle) end)
  timer:unref()
  closer.stop = function()
    if not timer:is_closing() then timer:close() end
    if self.mode == "json" then draw(self, handle) end
    self:clear()
    self.following = false
  end
  return closer
end

return M
