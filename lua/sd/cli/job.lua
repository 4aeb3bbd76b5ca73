--- `sdlua job`: looks at the jobs of a library and steers them, wherever they run.
local failure = require "sd.failure"
local force = require "sd.cli.force"
local job_reader = require "sd.job_reader"
local json = require "sd.json"
local options = require "sd.cli.options"
local retention = require "sd.retention"
local runners = require "sd.runner"
local table_of = require "sd.cli.job_table"
local task = require "sd.task"
local text = require "sd.text"

local M = {}

local ACTIONS = {
  list = "list the open jobs", show = "show all that is known of a job",
  watch = "show the open jobs, or one, as they go on", pause = "pause a job and what is below it",
  resume = "go on with a paused job", cancel = "end a job for good; what it wrote stays",
  retry = "run a job again that failed or was cancelled", log = "print a job's log",
  prune = "forget finished jobs, with their logs and errors",
  retention = "say how many finished jobs are kept, and for how long; show it without options",
  schedules = "list the jobs that repeat", unschedule = "let a job repeat no more",
}
local NAMES = { "list", "show", "watch", "pause", "resume", "cancel", "retry", "log", "prune",
  "retention", "schedules", "unschedule" }

local function number(flag, min)
  return function(s)
    local n = tonumber(s)
    if n and n >= min then return n end
    return nil, ("%s: '%s' is not a number from %d"):format(flag, s, min)
  end
end

local LISTED = 1000 -- where nothing else is asked for

local ADD = {}

function ADD.list(p)
  p:flag("--all -a", "also those that have ended")
  p:flag("--children", "also ended jobs that are parts of others")
  p:option("--limit", ("the newest N (default %d)"):format(LISTED)):argname("N")
    :convert(number("--limit", 1))
end

function ADD.watch(p)
  p:argument("ID", "job; all open ones where none is named"):args("?"):target("id")
end

function ADD.cancel(p)
  p:flag("--force", "end the process that runs it, where it does not cancel the job within some"
    .. " seconds; other jobs of that process go on, from their last commits, in the next one")
end

function ADD.log(p)
  p:flag("-f --follow", "go on until the job has ended"):target("follow")
end

function ADD.unschedule(p)
  p:argument("NUMBER", "as `sdlua job schedules` lists it"):target("number")
    :convert(number("NUMBER", 1))
end

-- A number, or a word for no limit, which is false.
local function number_or(word, flag, min)
  local convert = number(flag, min)
  return function(s)
    if s == word then return false end
    local n, message = convert(s)
    return n, message and ("%s and not '%s'"):format(message, word)
  end
end

function ADD.retention(p)
  p:option("--keep", "the newest N, without their parts; `all`: all"):argname("N")
    :convert(number_or("all", "--keep", 0))
  p:option("--older-than", "no job that ended more than DAYS ago; `never`: as if there were no"
    .. " such limit"):argname("DAYS"):convert(number_or("never", "--older-than", 0))
  p:flag("--default", ("what holds where nothing else was said: --keep %d --older-than %d"):format(
    retention.DEFAULT.jobs, retention.DEFAULT.days))
end

function ADD.prune(p)
  p:option("--keep", "keep the newest N (default: all)"):argname("N")
    :convert(number("--keep", 0))
  p:option("--older-than", "only those that ended more than DAYS ago"):argname("DAYS")
    :convert(number("--older-than", 0))
end

local TAKES_ID = { show = true, pause = true, resume = true, cancel = true, retry = true,
  log = true }

local function make_parser()
  local p = options.parser("sdlua job", "Look at the jobs of a library and steer them. A job is"
    .. " named by its number, or by the beginning of its uuid.")
  p:command_target("action")
  for _, name in ipairs(NAMES) do
    local c = options.command(p, name, ACTIONS[name])
    if TAKES_ID[name] then c:argument("ID", "job"):target("id") end
    if ADD[name] then ADD[name](c) end
    options.add_library(c, "it must be there")
    c:flag("--json", "print the result as JSON")
  end
  return p
end

local function put(...) io.stdout:write(...) end

local function put_json(value) put(json.encode(value), "\n") end

local RUN = {}

function RUN.list(runner, parsed)
  local list = runner:call("list", { all = parsed.all, children = parsed.children,
    limit = parsed.limit and parsed.limit // 1 | 0 or LISTED + 1 })
  if not parsed.limit and #list > LISTED then
    table.remove(list, 1) -- the oldest
    io.stderr:write(("sdlua: these are the newest %d; --limit N lists more\n"):format(LISTED))
  end
  if parsed.json then put_json(table_of.plain(list))
  else put(table_of.lines(list), "\n") end
end

function RUN.show(runner, parsed)
  local row = runner:call("show", { id = parsed.id })
  for _, name in ipairs { "children", "events" } do row[name] = json.array(row[name]) end
  if parsed.json then put_json(table_of.plain { row }[1]) else put(table_of.details(row)) end
end

local DONE = { pause = "job %d: pausing", resume = "job %d: goes on", cancel = "job %d: cancelled",
  retry = "job %d: runs again as job %d" }
-- Where nobody runs jobs, nothing goes on by that.
local WAITS = { pause = "job %d: paused",
  resume = "job %d: waits for a runner, such as `sdlua serve`",
  retry = "job %d: made again as job %d, which waits for a runner, such as `sdlua serve`" }

local function put_done(parsed, id, waits)
  if parsed.json then put_json { id = id }
  else put((waits and WAITS[parsed.action] or DONE[parsed.action]):format(parsed.id, id), "\n") end
end

for verb in pairs(DONE) do
  RUN[verb] = function(runner, parsed)
    local result = runner:call(verb, { id = parsed.id })
    put_done(parsed, type(result) == "table" and result.id or parsed.id, not runner.client)
  end
end

local function put_lines(lines, as_json)
  for _, line in ipairs(lines) do
    if as_json then put_json(line)
    else
      put(os.date("%F %T", line.at // 1000000000), " ", line.level, " ",
        text.escape(line.message), "\n")
    end
  end
  io.stdout:flush()
end

-- What has come since the last time.
local function put_log(runner, parsed)
  repeat
    local lines = runner:call("log", { id = parsed.id, after = parsed.after })
    put_lines(lines, parsed.json)
    parsed.after = lines[#lines] and lines[#lines].id or parsed.after
  until #lines == 0
end

function RUN.log(runner, parsed)
  while true do
    local open = runner:call("show", { id = parsed.id }).finished_at == nil
    put_log(runner, parsed)
    if not parsed.follow or not open then return end
    if not runner.client then return end -- nothing comes, and others want the library
    task.sleep(0.5)
  end
end

function RUN.watch(runner, parsed)
  return table_of.watch(runner, parsed.id, parsed.json)
end

function RUN.schedules(runner, parsed)
  local list = runner:call("schedules")
  if parsed.json then return put_json(json.array(list)) end
  for _, one in ipairs(list) do
    put(("%d  %s  %s  next %s\n"):format(one.id, text.escape(one.spec), one.name,
      os.date("%F %T", one.next_at // 1000000000)))
    if one.error then put("   could not be run: ", text.escape(one.error), "\n") end
  end
end

function RUN.unschedule(runner, parsed)
  runner:call("unschedule", { id = parsed.number // 1 | 0 })
  if parsed.json then put_json { id = parsed.number // 1 | 0 } end
end

function RUN.prune(runner, parsed)
  if not parsed.older_than and not parsed.keep then
    error(failure.new("prune: say --keep N or --older-than DAYS", "EINVAL", failure.EXIT.USAGE), 0)
  end
  local result = runner:call("prune", { keep = parsed.keep and parsed.keep // 1 | 0,
    days = parsed.older_than })
  if parsed.json then put_json(result)
  else put(text.counted(result.removed, "job", "jobs") .. " forgotten\n") end
end

function RUN.retention(runner, parsed)
  local jobs = parsed.keep and parsed.keep // 1 | 0 or parsed.keep
  local kept = runner:call("retention", { jobs = jobs, days = parsed.older_than,
    default = parsed.default })
  if parsed.json then
    kept.jobs, kept.days = kept.jobs or json.null, kept.days or json.null
    return put_json(kept)
  end
  put(("kept: %s, %s\n"):format(kept.jobs and ("the newest %d"):format(kept.jobs) or "all",
    kept.days and ("for %g days"):format(kept.days) or "for ever"))
  if kept.removed then
    put(text.counted(kept.removed, "job", "jobs") .. " forgotten\n")
  end
end

local function act(runner, parsed)
  if parsed.id then parsed.id = runner:call("find", { text = tostring(parsed.id) }).id end
  RUN[parsed.action](runner, parsed)
end

local READS = { list = true, show = true, watch = true, log = true }

-- Where the runner does not answer, who only looks asks the library itself.
local function look(parsed, path, err)
  if not (failure.is(err) and err.code == "ELOCKED" and READS[parsed.action]) then error(err, 0) end
  io.stderr:write("sdlua: ", text.escape(err.message), "\n")
  local reader <close> = job_reader.open(path)
  act(reader, parsed)
  return reader and nil
end

-- Where the runner goes away in the middle of it, the library is asked for the rest: all but
-- `retry` may be said twice.
local function run_action(parsed, path)
  local ok, runner = pcall(runners.open, path, {})
  if not ok then return look(parsed, path, runner) end
  local guard <close> = runner
  -- What waits would be begun, and left again in the next moment.
  if not runner.client then runner.library.jobs.scheduler:hold() end
  local err
  ok, err = pcall(act, runner, parsed)
  if ok then return guard and nil end
  runner:close()
  if not (failure.is(err) and err.code == "EPIPE") or parsed.action == "retry" then
    return look(parsed, path, err)
  end
  return run_action(parsed, path)
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = options.parse(make_parser(), args)
  local path = parsed.library or options.default_library()
  return task.run(function()
    local id = parsed.force and force.cancel(path, parsed.id)
    if id then
      parsed.id = id
      put_done(parsed, id)
    else run_action(parsed, path) end
    return 0
  end)
end

return M
