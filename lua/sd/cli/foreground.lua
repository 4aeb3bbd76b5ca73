--- Runs jobs for the command line, here or in the runner that there is: progress, signals, the
--- closing line, the exit status.
local background = require "sd.cli.background"
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local options = require "sd.cli.options"
local prompt = require "sd.cli.prompt"
local runners = require "sd.runner"
local show = require "sd.cli.show"
local summary = require "sd.cli.summary"
local task = require "sd.task"
local text = require "sd.text"

local M = {}

local EXIT = failure.EXIT
local SIGNALS = { sigint = EXIT.SIGINT, sigterm = EXIT.SIGTERM }
-- A pause takes effect within 200 ms. What a slow disk still holds back by then is given up: the
-- library is what it was at the last commit, and the next run goes on from there.
local PAUSE_MS = 120

---@class sd.Foreground
---@field package runner sd.Here|sd.Remote
---@field package show sd.Show
---@field package json boolean
---@field package outputs table[]
---@field package silent? boolean Standard output is for what follows the job.
---@field several? boolean Several jobs were asked for: --json prints a list.
---@field stopped? integer The status of the signal that came.
---@field package handle? sd.Handle Of the job that is waited for.
---@field package late? boolean The signal came when no job was waited for.
---@field package asking? boolean A question stands on the terminal.
---@field package signals? userdata[] While signals are ours.
local Foreground = {}
Foreground.__index = Foreground

---@param parsed table What options.add_common() declares.
---@param existing? boolean The library must be there (default: it is made).
---@return sd.Foreground
function M.new(parsed, existing)
  return setmetatable({
    create = not existing, path = parsed.library or options.default_library(),
    threads = parsed.threads, fresh = parsed.fresh, spec = parsed["repeat"],
    detach = parsed.detach, json = parsed.json,
    show = show.new(parsed.progress), outputs = {}, quiet = parsed.progress == "none",
    silent = parsed.silent,
  }, Foreground)
end

---@async
local function open_runner(self)
  return runners.open(self.path, { create = self.create, threads = self.threads,
    quiet = self.quiet })
end

local function is_remote(self) return self.runner.client ~= nil end

-- The job goes on in the runner, without this process.
local function leave(self, handle, status)
  self.show:clear()
  if core.sys.writable(2) then
    io.stderr:write(("sdlua: job %d goes on in process %d; see sdlua job watch %d\n"):format(
      handle.id, self.runner.pid, handle.id))
  end
  core.sys.exit_now(status)
end

-- Where somebody can be asked he is: leave the job alone, or pause it?
local function ask(self, handle, status)
  if status ~= EXIT.SIGINT or not prompt.possible() then return leave(self, handle, status) end
  self.show:hold(true)
  self.asking = true
  prompt.ask(("job %d runs in another process: [d]etach, or [p]ause it? "):format(handle.id),
    function(answer)
      self.show:hold(false)
      self.asking = false
      if answer:lower():sub(1, 1) == "p" then handle:pause()
      else leave(self, handle, EXIT.OK) end
    end)
end

local function interrupt(self, status)
  local handle = self.handle
  if is_remote(self) then return ask(self, handle, status) end
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

-- The first signal pauses; the second one, or a pause that takes too long, ends the process as it
-- is. Where the job has just ended, nothing is to be paused: what it came to is still printed.
local function on_signal(self, status)
  if self.asking and self.handle then -- that is an answer, too
    io.stderr:write("\n")
    leave(self, self.handle, status)
  end
  if self.stopped then core.sys.exit_now(status) end
  self.stopped = status
  if self.handle then interrupt(self, status) else self.late = true end
end

-- From the start of a job on signals are ours, until the process ends or goes on with something
-- else.
local function watch_signals(self)
  for name, status in pairs(not self.signals and SIGNALS or {}) do
    local signal = core.luv.new_signal()
    signal:start(name, function() on_signal(self, status) end)
    signal:unref()
    self.signals = self.signals or {}
    table.insert(self.signals, signal)
  end
  if self.runner and not is_remote(self) then self.runner:guard_signals() end
end

local function leave_signals(self)
  for _, signal in ipairs(self.signals or {}) do signal:close() end
  self.signals = nil
end

-- What is printed may wait for a reader; then a signal is to end the process.
local function print_now(self, status, fn, ...)
  leave_signals(self)
  fn(self, ...)
  local ok, why = io.stdout:flush()
  if not self.silent then watch_signals(self) end
  -- Another failure was told already, and its status says more.
  if ok or status ~= EXIT.OK and status ~= EXIT.WITH_ERRORS then return end
  error(failure.new("cannot write to standard output: " .. why, "EIO"), 0)
end

local function show_logs(self, handle)
  local updates = handle:subscribe() -- before the job has run: nothing that it says is missed
  return task.spawn(function()
    for update in updates do
      if update.type == "log" then self.show:log(update.level, update.message)
      elseif update.type == "explain" then self.show:explain(update) end
    end
  end)
end

local function status_of(self, handle)
  if handle.status == "completed" then
    return summary.error_counts(handle) and EXIT.WITH_ERRORS or EXIT.OK
  end
  if handle.status == "paused" then return self.stopped or EXIT.SIGINT end
  return failure.exit_of(handle.error)
end

local function say_failed(self, handle, status)
  local err = handle.error
  self.show:clear()
  if failure.is(err) then io.stderr:write("sdlua: ", text.escape(err.message), "\n")
  else io.stderr:write("sdlua: ", failure.message_of(err), "\n") end
  if status == EXIT.UNWRITABLE then
    io.stderr:write("sdlua: nothing that was committed is lost;",
      " the same command goes on from there\n")
  end
end

local function print_end(self, handle, status, output)
  self.show:clear()
  if handle.status == "failed" then say_failed(self, handle, status) end
  if self.silent then
    -- Nothing else tells why the answer is not complete.
    summary.print_silent(handle, output, self.quiet and show.new "plain" or self.show)
  elseif not self.json then
    summary.print(handle, output, self.show)
  end
end

-- What was done is lost then, whatever the job has come to.
local function check_library(self)
  if is_remote(self) or not self.runner.library:is_gone() then return end
  self.show:clear()
  error(failure.new(("the library %s is no longer there: what was done is lost"):format(self.path),
    "ENOENT", EXIT.UNWRITABLE), 0)
end

local function finish(self, handle, script, args)
  check_library(self)
  local status = status_of(self, handle)
  local output = summary.output(handle, script, args)
  self.outputs[#self.outputs + 1] = output
  print_now(self, status, print_end, handle, status, output)
  return status
end

local function wait_for(self, handle)
  watch_signals(self)
  local guard <close> = setmetatable({}, { __close = function()
    self.handle = nil
    if self.pause_timer and not self.pause_timer:is_closing() then self.pause_timer:close() end
  end })
  self.handle = handle
  if self.late then interrupt(self, self.stopped) end -- it came while this job was being started
  local progress <close> = self.show:follow(handle)
  handle:wait()
  progress.stop()
  return guard and nil
end

-- Starts it, in whatever process; where the runner goes away meanwhile, the job goes on here.
local function start(self, request)
  local handle, messages = self.runner:start(request)
  for _, message in ipairs(messages) do self.show:log("info", message) end
  if is_remote(self) then
    self.show:log("info", ("job %d runs in process %d"):format(handle.id, self.runner.pid))
  end
  return handle
end

local function reopen(self)
  self.runner:close()
  self.runner = open_runner(self)
  if not is_remote(self) then self.runner:serve() end
end

local function take_over(self)
  self.show:log("info", "the process that ran the job has ended; going on here")
  reopen(self)
end

-- Whether the runner went away, at whatever moment; then the library is asked for another one.
local function is_lost(self, err)
  return is_remote(self) and failure.is(err) and err.code == "EPIPE"
end

--- Calls a method of the runner, whichever it is by then.
---@async
---@param method string
---@param params? table
---@return any
function Foreground:call(method, params)
  while true do
    local ok, result = pcall(self.runner.call, self.runner, method, params)
    if ok then return result end
    if not is_lost(self, result) then error(result, 0) end
    reopen(self)
  end
end

local function start_somewhere(self, request)
  while true do
    local ok, handle = pcall(start, self, request)
    if ok then return handle end
    if not is_lost(self, handle) then error(handle, 0) end
    take_over(self)
  end
end

local function run_attached(self, request)
  while true do
    local handle = start_somewhere(self, request)
    local logs <close> = show_logs(self, handle)
    request.id, request.fresh = handle.id, nil
    wait_for(self, handle)
    if not is_lost(self, handle.error) then return handle, logs and nil end
    take_over(self)
  end
end

-- Jobs that others gave to this process, and that nobody would take over.
local function finish_for_others(self)
  if is_remote(self) or self.stopped then return end
  for _, id in ipairs(self.runner:orphans()) do
    local handle = self.runner.library.jobs:get(id)
    if handle then
      self.show:log("info", ("job %d, which another process gave, still runs here"):format(id))
      wait_for(self, handle)
    end
  end
end

-- What was started is not waited for.
local function say_started(self, output, format, ...)
  self.outputs[#self.outputs + 1] = output
  if not self.json then io.stdout:write(format:format(...), "\n") end
  return EXIT.OK
end

--- Runs one job to its end, or until a signal pauses it; the exit status.
---@async
---@param job sd.Job
---@param script sd.Script
---@param match? string[] Arguments that make an unfinished job the same one (default: all).
---@return integer status
function Foreground:run(job, script, match)
  local request = { job = job, loaded = script, script = script.path, args = job.args,
    fresh = self.fresh, match = match, uuid = core.sys.uuid7() }
  if self.spec then
    local made = self.runner:call("schedule", { script = script.path, args = job.args,
      spec = self.spec })
    return say_started(self, { number = made.id, name = script.definition.name },
      "%s repeats as number %d; see sdlua job schedules", script.definition.name, made.id)
  end
  if self.detach then
    local handle = start(self, request)
    return say_started(self, { job = handle.id, name = script.definition.name,
      status = handle.status }, "job %d: %s", handle.id, handle.status)
  end
  return finish(self, run_attached(self, request), script, job.args)
end

-- What --json asks for. Where something was raised, only what had come to its end before.
local function print_outputs(self, ok)
  local all = self.outputs
  if not self.json or not ok and #all == 0 then return end
  local one = #all == 1 and not self.several
  io.stdout:write(json.encode(one and all[1] or { outputs = json.array(all) }), "\n")
end

--- Becomes the library's runner, or a client of the one that is there; calls `fn(foreground)`,
--- closes, and prints what --json asks for.
---@param fn async fun(foreground: sd.Foreground): integer
---@return integer status
function Foreground:with_library(fn)
  local ok, status = pcall(task.run, function()
    if self.detach then background.start(self.path, self.threads) end
    self.runner = open_runner(self)
    local guard <close> = setmetatable({}, { __close = function(_, err)
      self.runner:close(err or self.stopped)
    end })
    if not is_remote(self) then self.runner:serve() end
    local result = fn(self)
    finish_for_others(self)
    return result, guard and nil
  end)
  leave_signals(self)
  print_outputs(self, ok)
  if not ok then error(status, 0) end
  return status
end

return M
