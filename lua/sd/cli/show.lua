--- Progress on a terminal, as lines, or as NDJSON.
local core = require "sd.core"
local json = require "sd.json"
local task = require "sd.task"
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
local BAR = 20 -- cells; half of them where there are fewer columns than NARROW
local NARROW = 100
local PATH = 20 -- columns that a path gets at least

-- Whether a line can be drawn anew: terminfo(5) has nothing of the kind for "dumb".
local function can_draw()
  local term = os.getenv "TERM"
  return core.sys.isatty(2) and term ~= nil and term ~= "" and term ~= "dumb"
end

---@param mode string As --progress says it.
---@return sd.Show
function M.new(mode)
  if mode == "auto" then mode = can_draw() and "bar" or "plain" end
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

-- What there is to say but the path, by name and in the order of a line; and the part that is done.
local ORDER = { "phase", "share", "files", "dirs", "bytes", "message", "rate", "remaining" }

local function parts_of(progress)
  local name, phase = phase_of(progress)
  local part, found = number(phase.fraction), progress.total_found
  local parts = { phase = text.escape(name):gsub("_", " ") }
  if part then parts.share = ("%d%%"):format(part * 100 // 1) end
  if type(found) == "table" then
    if number(found.files) then parts.files = text.count(found.files) .. " files" end
    if number(found.dirs) then parts.dirs = text.count(found.dirs) .. " dirs" end
    if number(found.bytes) then parts.bytes = text.bytes(found.bytes) end
  end
  if progress.message then parts.message = text.escape(tostring(progress.message)) end
  if number(progress.processing_rate) then
    parts.rate = text.count(progress.processing_rate) .. "/s"
  end
  local left = number(progress.estimated_remaining)
  if left or name ~= "finalizing" then
    parts.remaining = "ETA "
      .. (left and text.remaining(left, number(progress.remaining_uncertainty)) or "unknown")
  end
  return parts, part
end

local function join(parts)
  local list = {}
  for _, name in ipairs(ORDER) do list[#list + 1] = parts[name] end
  return (parts.bar and parts.bar .. " " or "") .. table.concat(list, "  ")
end

-- What goes first where a line is too long.
local LESS = {
  function(parts) parts.dirs = nil end,
  function(parts) parts.bytes = nil end,
  function(parts) parts.phase = parts.phase:match("^%S+") or parts.phase end,
  function(parts) parts.files = nil end,
  function(parts) parts.message = nil end,
  function(parts) parts.bar = nil end,
  function(parts) parts.rate = nil end,
  function(parts) parts.share = nil end,
}

local function fit(parts, columns)
  for _, lessen in ipairs(LESS) do
    if text.width(join(parts)) <= columns then break end
    lessen(parts)
  end
  return text.cut(join(parts), columns)
end

local function bar_of(part, cells)
  local full = math.floor(part * cells)
  return ("[%s%s]"):format(("#"):rep(full), ("."):rep(cells - full))
end

local function draw_bar(self, progress)
  local columns = (core.sys.winsize(2) or 80) - 1
  local parts, part = parts_of(progress)
  local path = type(progress.current_path) == "string" and progress.current_path or ""
  if part then parts.bar = bar_of(part, columns < NARROW and BAR // 2 or BAR) end
  -- The end of a path says where the run is, and that it moves: some of it has its place.
  local room = (path == "" or columns < PATH * 3) and 0
    or math.min(text.width(text.escape(path)), PATH) + 2
  local line = fit(parts, columns - room)
  room = columns - text.width(line) - 2
  if path ~= "" and room > 8 then line = line .. "  " .. text.shorten(path, room) end
  put(self, "\r" .. line .. "\27[K")
  self.drawn = true
end

local function plain_line(self, progress)
  local name = phase_of(progress)
  local now = core.sys.mono_ns() / 1e9
  if name == self.last_phase and now - self.last_line < PLAIN_EVERY then return end
  self.last_phase, self.last_line = name, now
  put(self, join((parts_of(progress))) .. "\n")
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

--- Why an entry was touched. That was asked for, so that it is said in every mode.
---@param one sd.Explained
function Show:explain(one)
  if self.mode == "json" then
    put(self, json.encode(one) .. "\n")
    return
  end
  self:clear()
  local line = one.change .. " "
  if one.from then line = line .. text.escape(one.from) .. " -> " end
  line = line .. text.escape(one.path)
  if one.why and one.why ~= "" then line = ("%s (%s)"):format(line, one.why) end
  put(self, line .. "\n")
end

-- A phase may be over before the next tick.
local function watch_phases(self, handle)
  local updates = handle:subscribe()
  return task.spawn(function()
    for update in updates do
      if update.type == "progress" then draw(self, handle) end
    end
  end)
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
  local watcher = self.mode == "plain" and watch_phases(self, handle)
  closer.stop = function()
    if not timer:is_closing() then timer:close() end
    if watcher then watcher:cancel() end
    if self.mode ~= "bar" then draw(self, handle) end
    self:clear()
    self.following = false
  end
  return closer
end

return M
