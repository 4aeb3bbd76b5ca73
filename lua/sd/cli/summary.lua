--- What a run came to: the closing line, and the object that --json prints.
local json = require "sd.json"
local text = require "sd.text"

local M = {}

local SHOWN = 10

--- How many errors of each code did not end the job: as its output counts them, else as it noted
--- them. Nil where there are none.
---@param handle sd.Handle
---@return table<string, integer>?
function M.error_counts(handle)
  local counts = type(handle.result) == "table" and handle.result.error_counts
  if type(counts) ~= "table" then counts = handle.error_counts end
  return counts and next(counts) ~= nil and counts or nil
end

local function completeness(handle)
  if handle.status ~= "completed" then return "incomplete" end
  return M.error_counts(handle) and "complete with errors" or "complete"
end

--- The job's output with what is common to all jobs.
---@param handle sd.Handle
---@param script sd.Script
---@return table
function M.output(handle, script)
  local output = { job = handle.id, name = script.definition.name, status = handle.status,
    completeness = completeness(handle), metrics = handle.ctx.metrics }
  if type(handle.result) == "table" then
    for key, value in pairs(handle.result) do output[key] = value end
  elseif handle.result ~= nil then
    output.output = handle.result
  end
  output.error_counts = output.error_counts or M.error_counts(handle)
  if handle.error then output.error = tostring(handle.error) end
  if output.errors then json.array(output.errors) end
  return output
end

local function counted(counts)
  local names, parts, sum = {}, {}, 0
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    parts[#parts + 1] = ("%s %s"):format(text.count(counts[name]), name)
    sum = sum + counts[name]
  end
  return sum, table.concat(parts, ", ")
end

local function noted(counts, what, none)
  if not counts or next(counts) == nil then return none end
  local sum, list = counted(counts)
  return ("%s %s (%s)"):format(text.count(sum), what, list)
end

-- In a fixed order, and only what there is.
local function changed(changes)
  local parts = {}
  for _, name in ipairs { "new", "modified", "moved", "deleted", "unchanged" } do
    local n = changes[name] or 0
    if n ~= 0 then parts[#parts + 1] = text.count(n) .. " " .. name end
  end
  return parts
end

local function line_of(output)
  local parts = {}
  local stats = output.stats
  if stats then
    -- The root is a directory and an entry too.
    parts[1] = text.count(stats.dirs + 1) .. " directories"
    parts[2] = text.count(stats.files + stats.dirs + stats.symlinks + 1) .. " entries"
    parts[3] = text.bytes(stats.bytes)
  end
  for _, part in ipairs(changed(output.changes or {})) do parts[#parts + 1] = part end
  if output.error_counts then
    parts[#parts + 1] = noted(output.error_counts, "errors", "no errors")
  end
  if output.skipped then
    parts[#parts + 1] = noted(output.skipped, "skipped", "nothing skipped")
  end
  if output.duration then parts[#parts + 1] = text.duration(output.duration) end
  return table.concat(parts, ", ")
end

local function print_errors(output, show)
  for i, err in ipairs(output.errors or {}) do
    if i > SHOWN then
      show:log("info", ("… and more: SELECT * FROM errors WHERE job_id = %d"):format(output.job))
      return
    end
    show:log("error", ("%s %s: %s"):format(err.operation, err.path, err.message))
  end
end

--- Prints the closing line on stdout, and the first errors before it on stderr.
---@param handle sd.Handle
---@param output table
---@param show sd.Show
function M.print(handle, output, show)
  print_errors(output, show)
  local what = text.escape(output.root or output.name)
  if handle.status == "paused" then
    io.stdout:write(("%s: incomplete: paused; the same command goes on\n"):format(what))
  elseif handle.status == "completed" then
    local line = line_of(output)
    io.stdout:write(what, ": ", output.completeness, line ~= "" and ": " or "", line, "\n")
  else
    io.stdout:write(("%s: incomplete: failed\n"):format(what))
  end
end

return M
