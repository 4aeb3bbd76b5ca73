--- For those who write jobs: shows that a job stands interruption, wherever it comes. The job is
--- run to its end once; then again and again, interrupted at each safe point in turn, and must come
--- to the same output and the same library every time.
local failure = require "sd.failure"
local jobs = require "sd.job"
local json = require "sd.json"
local libraries = require "sd.library"
local probes = require "sd.testing.probe"
local runs = require "sd.testing.run"
local scratches = require "sd.testing.scratch"
local scripts = require "sd.script"
local snapshots = require "sd.testing.snapshot"
local task = require "sd.task"

local M = {}

---@alias sd.testing.Way
---| "pause" # Paused, and resumed in the same process.
---| "reopen" # Paused, and resumed in a later process.
---| "cancel" # Cancelled, and run again from the beginning.
---| "death" # As if the process died: all that runs is given up, and a later process goes on.
---| "kill" # The same by `kill -9`, in a process of its own: slower, and beyond doubt.

---@class sd.testing.Options
---@field job string|sd.JobDefinition A script by path or name, or a definition.
---@field args? table<string, any>
---@field ways? sd.testing.Way[] Default: pause, reopen, cancel, death.
---@field most? integer So many points a way, spread evenly (default: all of them).
---@field prepare? async fun(library: sd.Library) Makes the library that each run begins with.
---@field reset? fun() Called before each run: puts back what the job changes elsewhere.
---@field output? fun(output: any, way: sd.testing.Way): any What of the output must be the same
--- when it was interrupted in that way (default: all of it, as JSON tells it). May change what it
--- gets.
---@field ignore? table<string, string[]> By view or table: columns that may differ.
---@field check? async fun(library: sd.Library, output: any, way: sd.testing.Way|"none") Called when
--- a run has come to its end: asserts of one's own.
---@field jobs? sd.JobDefinition[] Other definitions that are in no file, of children for example.
---@field threads? integer Of the library's lanes (default 2).
---@field timeout? number Seconds in which a run must end (default 60).

---@class sd.testing.Report
---@field points sd.testing.Point[] Safe points of the uninterrupted run.
---@field runs integer Interrupted runs.
---@field missed integer Runs that ended before the point at which they were to be interrupted.
---@field output any Of the uninterrupted run.

local FIELDS = { args = "table", ways = "table", most = "number", prepare = "function",
  reset = "function", output = "function", ignore = "table", check = "function", jobs = "table",
  threads = "number", timeout = "number" }

-- ---- comparing ----

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do if not same(value, b[key]) then return false end end
  for key in pairs(b) do if a[key] == nil then return false end end
  return true
end

local function output_of(test, result, way)
  local output = result.output and json.decode(result.output)
  if test.options.output then output = test.options.output(output, way) end
  return output
end

local function compare(test, result, way)
  local lines = snapshots.differences(test.expected.snapshot, result.snapshot)
  local expected, output = output_of(test, test.expected, way), output_of(test, result, way)
  if not same(expected, output) then
    lines[#lines + 1] = "- output: " .. json.encode { expected }
    lines[#lines + 1] = "+ output: " .. json.encode { output }
  end
  if #lines > 0 then
    error("it differs from the uninterrupted run (-):\n" .. table.concat(lines, "\n"), 0)
  end
end

-- ---- all points ----

local function interrupt_at(test, way, target, report)
  local ok, result, probe = runs.run(test, way, target)
  report.runs = report.runs + 1
  if not probe.reached then report.missed = report.missed + 1 end
  if ok then ok, result = pcall(compare, test, result, way) end
  if ok then return end
  local where = probe.reached and probes.describe(probe.reached) or "which it never reached"
  error(("%s at point %d (%s):\n%s"):format(way, target, where, tostring(result)), 0)
end

-- Numbers from 1 to n: all, or `most` of them.
local function spread(n, most)
  local list = {}
  local count = math.min(n, most or n)
  for i = 1, count do
    list[i] = count == n and i or 1 + (i - 1) * (n - 1) // math.max(1, count - 1)
  end
  return list
end

local function check_options(options)
  if type(options.job) ~= "string" and not jobs.is_definition(options.job) then
    error("testing: job is neither a script nor a definition", 3)
  end
  for key, value in pairs(options) do
    local kind = FIELDS[key]
    if not kind and key ~= "job" then
      error(("testing: no option '%s'"):format(tostring(key)), 3)
    end
    if kind and type(value) ~= kind then
      error(("testing: %s is not a %s"):format(key, kind), 3)
    end
  end
  for _, way in ipairs(options.ways or {}) do
    if not runs.is_way(way) then
      error(("testing: no way '%s'"):format(tostring(way)), 3)
    end
  end
end

local function load_script(job)
  if type(job) ~= "string" then return { definition = job, path = "", hash = ("\0"):rep(16) } end
  local script, message = scripts.load(job)
  if not script then error("testing: " .. message, 0) end
  return script
end

-- A library that is closed: each run has a copy.
local function make_template(test)
  local path = test.scratch:name()
  local options = { create = true, threads = runs.THREADS }
  local library <close> = failure.check(libraries.open(path, options))
  test.own = snapshots.tables(library)
  if test.options.prepare then test.options.prepare(library) end
  test.template = path
  return library and nil
end

---@async
local function interrupt_all(options, scratch)
  local test = { options = options, script = load_script(options.job), scratch = scratch }
  make_template(test)
  local ok, expected, probe = runs.run(test, "none")
  if not ok then error("without interruption: " .. tostring(expected), 0) end
  test.expected = expected
  local report = { points = probe.points, runs = 0, missed = 0,
    output = expected.output and json.decode(expected.output) }
  for _, way in ipairs(options.ways or { "pause", "reopen", "cancel", "death" }) do
    for _, target in ipairs(spread(runs.count(way, report.points), options.most)) do
      interrupt_at(test, way, target, report)
    end
  end
  return report
end

--- Runs a job without interruption, and then with one at each of its safe points in turn: each
--- `ctx:check_interrupt()`, before each commit and after it, each wait. Raises an error that names
--- the way, the point and what differs, where the job does not come to the same output and the same
--- library. May be called from anywhere, a busted test for example.
---@param options sd.testing.Options
---@return sd.testing.Report
function M.interrupt_everywhere(options)
  check_options(options)
  local ok, result = task.run(pcall, function()
    local scratch <close> = scratches.new()
    return interrupt_all(options, scratch), scratch and nil
  end)
  if not ok then error(result, 2) end
  return result
end

return M
