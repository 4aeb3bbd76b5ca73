--- A job that lets nothing else run is reported while it does so, and in its log.
local core = require "sd.core"
local failure = require "sd.failure"
local log = require "sd.job_log"
local task = require "sd.task"

local M = {}

local SECONDS = 5

-- $SDLUA_WATCHDOG says another number; 0: never.
local function limit()
  local given = os.getenv("SDLUA_WATCHDOG")
  if not given or given == "" then return SECONDS end
  local seconds = tonumber(given)
  if seconds == 0 then return nil end
  if seconds and seconds >= 0.01 and seconds <= 1e6 then return seconds end
  error(failure.new(("SDLUA_WATCHDOG: '%s' is neither 0 nor a number from 0.01 to 1000000")
    :format(given), "EINVAL", failure.EXIT.USAGE), 0)
end

-- A line of the report is a line of the log. A library that cannot be written says so elsewhere.
local function write_log(library, job, at, text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = { at = at, level = "warning", message = (line:gsub("\t", "  ")) }
  end
  library.core:commit { sql = log.statements(job, lines) }
end

--- Starts it, unless this process has one already or the user wants none. What it reports goes to
--- standard error, and to the log of the job as soon as that lets others run.
---@param library sd.Library
---@param quiet? boolean Nothing on standard error.
---@return sd.core.Watchdog?
function M.start(library, quiet)
  local seconds = limit()
  if not seconds then return nil end
  return (core.watchdog.start {
    seconds = seconds, quiet = quiet, note = library.path .. "/library.lock",
    on_over = function(job, took, text)
      if job == 0 then return end
      text = ("%sjob %d lets others run again, after %.1f s"):format(text, job, took)
      task.spawn(write_log, library, job, core.sys.wall_ns(), text)
    end,
  })
end

--- The report that a process left which was ended meanwhile goes to the log of the job.
---@async
---@param library sd.Library
function M.recover(library)
  local job, at, text = (library.core:note() or ""):match("^stuck (%d+) (%d+)\n(.*)$")
  if not job or job == "0" then return end
  write_log(library, math.tointeger(job), math.tointeger(at),
    text .. "the process was ended meanwhile")
end

return M
