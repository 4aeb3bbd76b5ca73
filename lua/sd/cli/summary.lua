--- What a run came to: the closing line, and the object that --json prints.
local failure = require "sd.failure"
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

-- Of a run that has not come to its end: what it was about, and how far it came.
local function add_incomplete(output, handle, args)
  local progress = type(handle.last_progress) == "table" and handle.last_progress or {}
  if type(args.root) == "string" then output.root = args.root end
  if type(progress.total_found) == "table" then output.stats = progress.total_found end
  if handle.ctx then output.duration = handle.ctx:elapsed() end
end

--- The job's output with what is common to all jobs.
---@param handle sd.Handle
---@param script sd.Script
---@param args table The job's arguments.
---@return table
function M.output(handle, script, args)
  local output = { job = handle.id, name = script.definition.name, status = handle.status,
    completeness = completeness(handle), metrics = handle.metrics or {} }
  if type(handle.result) == "table" then
    for key, value in pairs(handle.result) do output[key] = value end
  elseif handle.result ~= nil then
    output.output = handle.result
  end
  if handle.status ~= "completed" then add_incomplete(output, handle, args) end
  output.error_counts = output.error_counts or M.error_counts(handle)
  if handle.error then output.error = failure.message_of(handle.error) end
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

local function noted(counts, one, many, none)
  if not counts or next(counts) == nil then return none end
  local sum, list = counted(counts)
  return ("%s (%s)"):format(text.counted(sum, one, many), list)
end

-- Whether a job counts what the indexer counts.
local function are_stats(stats)
  if type(stats) ~= "table" then return false end
  for _, name in ipairs { "dirs", "files", "symlinks", "bytes" } do
    if math.type(stats[name]) ~= "integer" then return false end
  end
  return true
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
  if are_stats(stats) then
    -- The root is a directory and an entry too.
    parts[1] = text.counted(stats.dirs + 1, "directory", "directories")
    parts[2] = text.counted(stats.files + stats.dirs + stats.symlinks + 1, "entry", "entries")
    parts[3] = text.bytes(stats.bytes)
  end
  for _, part in ipairs(changed(output.changes or {})) do parts[#parts + 1] = part end
  if output.error_counts then
    parts[#parts + 1] = noted(output.error_counts, "error", "errors", "no errors")
  end
  if output.skipped then
    parts[#parts + 1] = noted(output.skipped, "skipped", "skipped", "nothing skipped")
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
    show:log("error", ("%s %s: %s"):format(err.operation, err.path == "" and "." or err.path,
      err.message))
  end
end

--- Prints the closing line on stdout, and the first errors before it on stderr.
---@param handle sd.Handle
---@param output table
---@param show sd.Show
function M.print(handle, output, show)
  print_errors(output, show)
  local parts, line = { text.escape(output.root or output.name), output.completeness },
    line_of(output)
  if handle.status ~= "completed" then parts[3] = handle.status end
  if line ~= "" then parts[#parts + 1] = line end
  io.stdout:write(table.concat(parts, ": "),
    handle.status == "paused" and "; the same command goes on\n" or "\n")
end

--- What stands on stderr where standard output is for something else.
---@param handle sd.Handle
---@param output table
---@param show sd.Show
function M.print_silent(handle, output, show)
  print_errors(output, show)
  if handle.status ~= "completed" then
    show:log("info", ("%s: %s%s"):format(output.name, handle.status,
      handle.status == "paused" and "; the same command goes on" or ""))
  end
end

return M
