--- Runs jobs for the command line: progress, signals, the closing line, the exit status.
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local library = require "sd.library"
local options = require "sd.cli.options"
local show = require "sd.cli.show"
local summary = require "sd.cli.summary"
local task = require "sd.task"

local M = {}

local EXIT = failure.EXIT
local SIGNALS = { sigint = EXIT.SIGINT, sigterm = EXIT.SIGTERM }
-- A pause takes effect within 200 ms. What a slow disk still holds back by then is given up: the
-- library is what it was at the last commit, and the next run goes on from there.
local PAUSE_MS = 120

---@class sd.Runner
---@field package library sd.Library
---@field package show sd.Show
---@field package json boolean
---@field package outputs table[]
local Runner = {}
Runner.__index = Runner

---@param parsed table What options.add_common() declares.
---@return sd.Runner
function M.new(parsed)
  return setmetatable({
    path = parsed.library or options.default_library(), threads = parsed.threads,
    fresh = parsed.fresh, json = parsed.json, show = show.new(parsed.progress), outputs = {},
    stopped = nil,
  }, Runner)
end

local function same_args(a, b)
  for key, value in pairs(a) do if b[key] ~= value then return false end end
  for key, value in pairs(b) do if a[key] ~= value then return false end end
  return true
end

-- An unfinished run of the same job is resumed; one with other options is given up, since what it
-- has written stays and is not read again.
local function start(self, job, script, is_same)
  local jobs = self.library.jobs
  for _, row in ipairs(jobs:unfinished(script.definition.name, self.fresh)) do
    if row.args == nil or is_same(row.args) then
      if self.fresh then
        self.show:log("info", ("starting over: job %d is given up"):format(row.id))
      elseif same_args(row.args, job.args) then
        self.show:log("info", ("resuming job %d, which was interrupted%s"):format(row.id,
          row.phase and " in phase " .. row.phase or ""))
        return jobs:resume_row(row, script)
      else
        self.show:log("info", ("job %d was interrupted and had other options: starting a new one,"
          .. " which keeps what was indexed"):format(row.id))
      end
      jobs:give_up(row.id)
    end
  end
  return jobs:dispatch(job, script)
end

-- The first signal pauses; the second one, or a pause that takes too long, ends the process as it
-- is.
local function on_signal(self, handle, status)
  if self.stopped then core.sys.exit_now(status) end
  self.stopped = status
  handle:pause()
  local timer = core.luv.new_timer()
  timer:start(PAUSE_MS, 0, function()
    self.show:clear()
    if core.sys.writable(2) then
      io.stderr:write("sdlua: stopped; the same command goes on from the last checkpoint\n")
    end
    core.sys.exit_now(status)
  end)
  timer:unref()
  self.pause_timer = timer
end

local function watch_signals(self, handle)
  local handles = {}
  for name, status in pairs(SIGNALS) do
    local signal = core.luv.new_signal()
    signal:start(name, function() on_signal(self, handle, status) end)
    signal:unref()
    handles[#handles + 1] = signal
  end
  return setmetatable(handles, { __close = function()
    for _, signal in ipairs(handles) do signal:close() end
    if self.pause_timer and not self.pause_timer:is_closing() then self.pause_timer:close() end
  end })
end

local function show_logs(self, handle)
  local updates = handle:subscribe() -- before the job has run: nothing that it says is missed
  return task.spawn(function()
    for update in updates do
      if update.type == "log" then self.show:log(update.level, update.message) end
    end
  end)
end

local function status_of(self, handle)
  if handle.status == "completed" then
    return summary.error_counts(handle) and EXIT.WITH_ERRORS or EXIT.OK
  end
  if handle.status == "paused" then return self.stopped or EXIT.SIGINT end
  local err = handle.error
  if failure.is(err) then return err.exit end
  return err == "not enough memory" and EXIT.MEMORY or EXIT.SCRIPT
end

local function say_failed(self, handle, status)
  local err = handle.error
  self.show:clear()
  if failure.is(err) then io.stderr:write("sdlua: ", require "sd.text".escape(err.message), "\n")
  else io.stderr:write("sdlua: ", tostring(err), "\n") end
  if status == EXIT.UNWRITABLE then
    io.stderr:write("sdlua: nothing that was committed is lost;",
      " the same command goes on from there\n")
  end
end

local function finish(self, handle, script)
  local status = status_of(self, handle)
  self.show:clear()
  if handle.status == "failed" then say_failed(self, handle, status) end
  local output = summary.output(handle, script)
  self.outputs[#self.outputs + 1] = output
  if not self.json then summary.print(handle, output, self.show) end
  return status
end

-- No longer than this are signals ours: what is printed after it may wait for a reader, and then a
-- signal is to end the process.
local function wait_for(self, handle)
  local signals <close> = watch_signals(self, handle)
  local progress <close> = self.show:follow(handle)
  handle:wait()
  progress.stop()
  return signals and nil
end

--- Runs one job to its end, or until a signal pauses it; the exit status.
---@async
---@param job sd.Job
---@param script sd.Script
---@param is_same fun(args: table): boolean Whether an unfinished job with these arguments is it.
---@return integer status
function Runner:run(job, script, is_same)
  local handle = start(self, job, script, is_same)
  self.library.jobs.scheduler:only(handle.id)
  local logs <close> = show_logs(self, handle)
  wait_for(self, handle)
  return finish(self, handle, script), logs and nil
end

--- Opens the library, calls `fn(runner)`, closes, and prints what --json asks for.
---@param fn async fun(runner: sd.Runner): integer
---@return integer status
function Runner:with_library(fn)
  local status = task.run(function()
    local lib <close> = failure.check(library.open(self.path,
      { create = true, threads = self.threads }))
    self.library = lib
    lib.jobs.scheduler:only(0) -- nothing yet
    local result = fn(self)
    if not self.stopped then lib:settle() end
    return result
  end)
  if self.json then
    local all = self.outputs
    io.stdout:write(json.encode(#all == 1 and all[1] or { outputs = json.array(all) }), "\n")
  end
  return status
end

return M
