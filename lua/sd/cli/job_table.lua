--- Jobs as people read them: a table, all about one, a table that is alive.
local core = require "sd.core"
local json = require "sd.json"
local text = require "sd.text"
local task = require "sd.task"

local M = {}

local function progress_of(row)
  local progress = row.live or row.progress and json.decode(row.progress)
  return type(progress) == "table" and progress or nil
end

--- Jobs as JSON shows them: with progress and output as they were given, and not as text.
---@param list table[] As the method `list` gives them; changed.
---@return table[]
function M.plain(list)
  for _, row in ipairs(list) do
    row.progress = row.live or row.progress and json.decode(row.progress, true)
    row.output, row.live = row.output and json.decode(row.output, true), nil
  end
  return json.array(list)
end

local function found(progress)
  local total = progress and progress.total_found
  if type(total) ~= "table" or not total.files then return "" end
  return ("%s, %s"):format(text.counted(total.files, "file", "files"),
    text.bytes(total.bytes or 0))
end

-- A phase is followed by its share that is done.
local function phase_of(row)
  local progress = progress_of(row)
  local phase = progress and progress.phase
  local fraction = type(phase) == "table" and phase.name == row.phase and phase.fraction
  if type(fraction) ~= "number" or row.finished_at then return row.phase or "" end
  return ("%s %d%%"):format(row.phase, fraction * 100 // 1)
end

local function left(row)
  local progress = row.status == "running" and progress_of(row)
  local seconds = progress and progress.estimated_remaining
  if type(seconds) ~= "number" or seconds ~= seconds then return "" end
  local give_or_take = progress.remaining_uncertainty
  return text.remaining(seconds, type(give_or_take) == "number" and give_or_take or nil)
end

local function worked(row)
  return row.duration_ns and text.duration(row.duration_ns / 1e9) or ""
end

local COLUMNS = {
  { "ID", function(row) return tostring(row.id) end, true },
  { "JOB", function(row) return (row.parent_id and "└ " or "") .. row.name end },
  { "STATUS", function(row) return row.status end },
  { "PRIORITY", function(row) return row.priority end },
  { "PHASE", phase_of },
  { "TIME", worked, true },
  { "LEFT", left, true },
  { "FOUND", function(row) return found(progress_of(row)) end },
  { "ERROR", function(row) return (row.error or ""):match("^[^\n]*") end },
}

local function pad(s, width, right)
  local space = (" "):rep(width - text.width(s))
  return right and space .. s or s .. space
end

--- A table of jobs, a line each, with a head.
---@param list table[]
---@param columns? integer Of the terminal; longer lines are cut.
---@return string
function M.lines(list, columns)
  local cells, widths = { {} }, {}
  for c, column in ipairs(COLUMNS) do cells[1][c] = column[1] end
  for i, row in ipairs(list) do
    cells[i + 1] = {}
    for c, column in ipairs(COLUMNS) do cells[i + 1][c] = text.escape(column[2](row)) end
  end
  for _, line in ipairs(cells) do
    for c, s in ipairs(line) do widths[c] = math.max(widths[c] or 0, text.width(s)) end
  end
  local lines = {}
  for i, line in ipairs(cells) do
    local parts = {}
    for c, s in ipairs(line) do parts[c] = pad(s, widths[c], COLUMNS[c][3]) end
    lines[i] = table.concat(parts, "  "):gsub(" +$", "")
    if columns then lines[i] = text.cut(lines[i], columns) end
  end
  return table.concat(lines, "\n")
end

local function date(ns) return ns and os.date("%F %T", ns // 1000000000) end

local function sorted(map)
  local names, parts = {}, {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = ("%s=%s"):format(name, text.escape(tostring(map[name])))
  end
  return table.concat(parts, " ")
end

--- All that is known of a job.
---@param row table As the method `show` gives it.
---@return string
function M.details(row)
  local lines = {}
  local function add(name, value)
    if value and value ~= "" then lines[#lines + 1] = ("%-10s %s"):format(name, value) end
  end
  add("job", ("%d (%s)"):format(row.id, row.uuid))
  add("name", ("%s, version %d"):format(row.name, row.version))
  add("script", text.escape(row.script or ""))
  add("arguments", sorted(row.args))
  add("status", row.status .. (row.phase and ", phase " .. phase_of(row) or ""))
  add("priority", row.priority)
  add("attempt", tostring(row.attempt))
  add("created", date(row.created_at))
  add("started", date(row.started_at))
  add("finished", date(row.finished_at))
  add("worked", worked(row))
  add("left", left(row))
  add("found", found(progress_of(row)))
  add("parent", row.parent_id and tostring(row.parent_id))
  for _, child in ipairs(row.children) do
    add("child", ("%d %s %s"):format(child.id, child.name, child.status))
  end
  for _, event in ipairs(row.events) do
    add("event", ("%s  %s"):format(date(event.at), event.was and event.was .. " -> " .. event.status
      or event.status))
  end
  add("error", row.error and text.escape(row.error))
  add("output", row.output and text.escape(row.output))
  return table.concat(lines, "\n") .. "\n"
end

-- Draws over what was drawn before.
local function redraw(drawn, s)
  local up = drawn > 0 and ("\27[%dA\r\27[J"):format(drawn) or ""
  io.stdout:write(up, s, "\n")
  io.stdout:flush()
  local _, newlines = s:gsub("\n", "")
  return newlines + 1
end

-- The open jobs, or one and what is below it; of one that has ended how it did. Whether they may
-- change.
local function look(runner, id)
  local list = runner:call("list", { below = id })
  if #list > 0 or not id then return list, #list > 0 end
  return { runner:call("show", { id = id }) }, false
end

--- Shows the open jobs until there is none, or one and what is below it until it has ended: as a
--- table that is alive on a terminal, else a table or a JSON line each second.
---@async
---@param runner sd.Here|sd.Remote
---@param id? integer
---@param as_json? boolean
function M.watch(runner, id, as_json)
  local live, drawn = core.sys.isatty(1) and not as_json, 0
  repeat
    local list, moves = look(runner, id)
    if as_json then io.stdout:write(json.encode(M.plain(list)), "\n")
    elseif live then drawn = redraw(drawn, M.lines(list, (core.sys.winsize(1) or 80) - 1))
    else io.stdout:write(M.lines(list), "\n") end
    io.stdout:flush()
    if not (moves and runner.client) then return end -- without a runner nothing moves
    task.sleep(live and 0.25 or 1)
  until false
end

return M
