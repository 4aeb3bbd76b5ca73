--- `sdlua serve`: the runner of a library as a service, for jobs that others give it.
local core = require "sd.core"
local failure = require "sd.failure"
local options = require "sd.cli.options"
local runners = require "sd.runner"
local task = require "sd.task"

local M = {}

local SIGNALS = { sigint = failure.EXIT.SIGINT, sigterm = failure.EXIT.SIGTERM }
-- With nothing to do for so long, a runner that was started for a job ends.
local IDLE_SECONDS = 2
-- How often it is looked whether the library is still there.
local LOOK_SECONDS = 5

local function parser()
  local p = options.parser("sdlua serve", "Run the jobs of a library: those that wait, those that"
    .. " are due, and those that other processes dispatch. Ends at SIGTERM; what runs then goes on"
    .. " when it is started again.")
  options.add_library(p, "made where there is none")
  options.add_threads(p)
  p:flag("--until-idle", "end when there is nothing left to do")
  return p
end

local function say(...)
  if core.sys.writable(2) then io.stderr:write("sdlua: ", ..., "\n") end
end

-- Whoever waits for a signal, or for idleness.
local function watch(here, state, thread)
  for name, status in pairs(SIGNALS) do
    local signal = core.luv.new_signal()
    signal:start(name, function()
      if state.stopped then core.sys.exit_now(status) end
      state.stopped = status
      core.wake(thread)
    end)
    state[#state + 1] = signal
  end
  here:guard_signals()
  return setmetatable(state, { __close = function()
    for _, signal in ipairs(state) do signal:close() end
  end })
end

local function is_idle(here)
  local jobs = here.library.jobs
  return next(jobs.running) == nil and jobs.scheduler:is_idle() and here:clients() == 0
end

local function wait_until_stopped(here, state)
  local thread, gone = coroutine.running(), false
  local timer = core.luv.new_timer()
  local guard <close> = setmetatable({}, { __close = function() timer:close() end })
  timer:start(LOOK_SECONDS * 1000, LOOK_SECONDS * 1000, function()
    gone = here.library:is_gone()
    if gone then core.wake(thread) end
  end)
  while not (state.stopped or gone) do core.park() end
  return guard and nil
end

local function wait_until_idle(here, state)
  local idle_since
  while not state.stopped and not here.library:is_gone() do
    task.sleep(0.2)
    if not is_idle(here) then idle_since = nil
    else
      idle_since = idle_since or core.sys.mono_ns()
      if core.sys.mono_ns() - idle_since > IDLE_SECONDS * 1e9 then return end
    end
  end
end

-- Jobs that run make a checkpoint, and wait for the next runner.
local function put_away(here)
  here.library.jobs:put_away()
end

local function serve(parsed)
  local path = parsed.library or options.default_library()
  local here <close> = runners.open(path, { create = true, threads = parsed.threads, all = true })
  if here.client then
    say(("process %d serves the library %s already"):format(here.pid, path))
    return failure.EXIT.FAILED
  end
  local ok, message = here:serve()
  failure.check_other(ok, message)
  here.library.jobs.scheduler:start_schedules()
  say(("serving %s"):format(path))
  local state <close> = watch(here, {}, coroutine.running())
  here.library.jobs.scheduler:kick()
  if parsed.until_idle then wait_until_idle(here, state)
  else wait_until_stopped(here, state) end
  if not state.stopped and here.library:is_gone() then
    say(("the library %s is no longer there"):format(path))
    return failure.EXIT.FAILED
  end
  if state.stopped then put_away(here) end
  return state.stopped or failure.EXIT.OK
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = options.parse(parser(), args)
  return task.run(serve, parsed)
end

return M
