-- A script that lets nothing else run: seen, reported, and ended without a loss for other jobs.
local fixture = require "support.fixture"
local dkjson = require "dkjson"
local uv = require "sd.core".luv

-- How long it may take here, and how long jobs of these tests do.
local slow = fixture.is_sanitized()
local LIMIT, SPIN = slow and 1 or 0.3, slow and 4 or 1.5

local dir, library

before_each(function()
  dir = fixture.temp()
  library = dir .. "/library"
  uv.os_setenv("SDLUA_WATCHDOG", tostring(LIMIT))
end)

after_each(function()
  uv.os_unsetenv("SDLUA_WATCHDOG")
  fixture.remove(dir)
end)

-- `string.rep` so that a sanitizer, which holds signals back until libc is called, lets ours in.
local HEAD = [[
local sd = require "sd"
local luv = require "luv"
local _ = luv
local function spin(seconds)
  local till, s = sd.sys.mono_ns() + seconds * 1e9, ""
  while sd.sys.mono_ns() < till do s = ("x"):rep(#s % 100 + 50) end
  return s
end
]]

-- A job script whose run() begins on line 11, and its body on line 12.
local function write_job(body, name)
  name = name or "stuck"
  fixture.write(("%s/%s.lua"):format(dir, name), ('%slocal J = sd.job.define { name = "%s" }\n'
    .. "function J:run(ctx)\nlocal _ = self, ctx, spin\n%s\nend\nreturn J\n"):format(HEAD, name,
    body))
  return ("%s/%s.lua"):format(dir, name)
end

local function run(...)
  return fixture.run_sdlua("run", dir .. "/stuck.lua", "--library", library, ...)
end

local function assert_find(part, whole)
  if not whole:find(part, 1, true) then error(("%q is not in %q"):format(part, whole), 2) end
end

local function assert_nothing_reported(text)
  if text:find("nothing else", 1, true) then error(text, 2) end
end

-- The messages of a job's log, a line each.
local function log_of(id)
  local lines = {}
  for _, row in ipairs(fixture.sql(library, "SELECT message FROM job_log WHERE job_id = " .. id
    .. " ORDER BY id")) do lines[#lines + 1] = row[1] end
  return table.concat(lines, "\n")
end

local function note()
  return (fixture.read(library .. "/library.lock"):gsub("^%d+\n", ""))
end

describe("a job that lets nothing else run", function()
  it("is reported with its traceback, on stderr and in its log", function()
    write_job(("local n = #spin(%g)\nreturn { n = n }"):format(SPIN))
    local result = run("--progress", "plain")
    assert.equal(0, result.status, result.err)
    for _, text in ipairs { result.err, log_of(1) } do
      assert.matches("job 1 has let nothing else run for %d+%.%d s:\n", text)
      assert_find("stuck.lua:6: in upvalue 'spin'", text)
      assert_find("stuck.lua:12: in method 'run'", text)
    end
    assert.matches("job 1 lets others run again, after %d%.%d s", log_of(1))
    assert.equal("", note())
  end)

  for _, case in ipairs {
    { "in a branch", "ctx:concurrently(function() spin(%g) end, function() end)" },
    { "in a task of its own", "sd.spawn(function() spin(%g) end):join()" },
    { "in a coroutine of its own", "coroutine.wrap(function() spin(%g) end)()" },
    { "in a coroutine of a coroutine",
      "coroutine.wrap(function()"
        .. " coroutine.resume(coroutine.create(function() spin(%g) end)) end)()" },
    { "and catches all errors", "pcall(error, 'x') pcall(spin, %g)" },
    { "behind a coroutine that failed",
      "pcall(coroutine.wrap(function() error 'x' end)) spin(%g)" },
  } do
    it("is found " .. case[1], function()
      write_job(case[2]:format(SPIN))
      local result = run("--progress", "plain")
      assert.equal(0, result.status, result.err)
      assert_find("job 1 has let nothing else run", result.err)
      assert_find("stuck.lua:6: in ", result.err)
      assert_find("stuck.lua:12: in ", result.err)
    end)
  end

  it("is reported where it waits in a C function, and with its place later", function()
    write_job(("os.execute 'sleep %g'"):format(SPIN))
    local result = run("--progress", "plain")
    assert.equal(0, result.status, result.err)
    local first, second = result.err:match("^(.-\n)(.*)$")
    assert_find("job 1 has let nothing else run", first)
    assert_find("it waits in a C function", first)
    assert_find("[C]: in function 'os.execute'", second)
    assert_find("stuck.lua:12: in method 'run'", second)
    assert_find("stuck.lua:12: in method 'run'", log_of(1))
  end)

  it("keeps the hook that a debugger has set", function()
    write_job(([[local seen = 0
      debug.sethook(function() seen = seen + 1 end, "l")
      spin(%g)
      local before = seen
      local a = 1
      a = a + 1
      debug.sethook()
      return { before = before, after = seen - before, a = a }]]):format(SPIN))
    local result = run("--json", "--progress", "plain")
    assert.equal(0, result.status, result.err)
    assert_find("job 1 has let nothing else run", result.err)
    assert.is_true(dkjson.decode(result.out).after >= 3, result.out)
  end)

  it("cannot give the terminal orders", function()
    write_job(("load('local f, s = ... f(s)', '=\\27]0;\\7\\n')(spin, %g)"):format(SPIN))
    local result = run("--progress", "plain")
    assert.equal(0, result.status, result.err)
    assert_find("?]0;?", result.err)
    assert.is_nil(result.err:find("\27", 1, true))
  end)

  it("is not reported on stderr with --progress none", function()
    write_job(("spin(%g)"):format(SPIN))
    local result = run("--progress", "none")
    assert.equal("", result.err)
    assert_find("stuck.lua:12: in ", log_of(1))
  end)

  it("is not reported where the user does not want it", function()
    uv.os_setenv("SDLUA_WATCHDOG", "0")
    write_job(("spin(%g)"):format(SPIN))
    local result = run("--progress", "plain")
    assert.equal(0, result.status)
    assert_nothing_reported(result.err .. log_of(1))
  end)
end)

describe("nothing is reported of", function()
  it("jobs that wait, and let others run", function()
    write_job(([[ctx:sleep(%g)
      local till = sd.sys.mono_ns() + %g * 1e9
      while sd.sys.mono_ns() < till do coroutine.yield() end
      for _ = 1, 5 do spin(%g) ctx:sleep(0.01) end]]):format(SPIN, SPIN, LIMIT / 4))
    local result = run("--progress", "plain")
    assert.equal(0, result.status, result.err)
    assert_nothing_reported(result.err .. log_of(1))
  end)

  it("a process that was stopped for a while", function()
    local script = write_job(("spin(%g)"):format(LIMIT * 0.7))
    local process = fixture.start({ fixture.sdlua, "run", script, "--library", library,
      "--progress", "plain" }, { err = dir .. "/err" })
    repeat until process:sleep(2) or uv.fs_stat(library .. "/library.db-wal")
    process:sleep(slow and 300 or 100)
    uv.kill(process.pid, "sigstop")
    process:sleep(LIMIT * 3000)
    uv.kill(process.pid, "sigcont")
    assert.equal(0, (process:wait()))
    assert_nothing_reported(fixture.read(dir .. "/err"))
  end)
end)

describe("a callback that lets nothing else run", function()
  it("is reported too", function()
    write_job(("local t = luv.new_timer() t:start(1, 0, function() spin(%g) t:close() end)\n"
      .. "ctx:sleep(0.1)"):format(SPIN))
    local result = run("--progress", "plain")
    assert.equal(0, result.status, result.err)
    assert_find("a callback has let nothing else run", result.err)
    assert_find("stuck.lua:6: in ", result.err)
  end)
end)

describe("a process whose script lets it hear nothing", function()
  local function start(...)
    return fixture.start({ fixture.sdlua, ... }, { err = dir .. "/err", out = dir .. "/out" })
  end

  local function wait_for_report(process)
    for _ = 1, 2000 do
      if fixture.read(dir .. "/err"):find("nothing else", 1, true) then return end
      assert.is_false(process:sleep(10))
    end
    error("no report")
  end

  for _, case in ipairs {
    { "loops", "while true do ctx.endless = ('x'):rep(100) end" },
    { "waits in a C function", "luv.sleep(20000)" },
  } do
    for signal, status in pairs { sigint = 130, sigterm = 143 } do
      it(("ends at %s, and nothing is lost, where it %s"):format(signal, case[1]), function()
        local script = write_job([[local state = ctx:state(function() return { n = 0 } end)
          state.n = state.n + 1
          ctx:commit()
          if state.n > 1 then return { n = state.n } end
          ]] .. case[2])
        local process = start("run", script, "--library", library, "--progress", "plain")
        wait_for_report(process)
        process:kill(signal)
        local ended, ms = process:wait(60000)
        assert.equal(status, ended)
        assert.is_true(ms < (slow and 20000 or 5000), ms .. " ms")
        assert_find("stopped; the same command goes on", fixture.read(dir .. "/err"))
        local result = run("--json", "--progress", "none")
        assert.equal(0, result.status, result.err)
        assert.equal(2, dkjson.decode(result.out).n)
        assert_find("the process was ended meanwhile", log_of(1))
      end)
    end
  end

  it("ends at SIGTERM as a service too", function()
    local process = start("serve", "--library", library)
    repeat until process:sleep(5) or uv.fs_stat(library .. "/library.sock")
    local script = write_job("while true do ctx.endless = ('x'):rep(100) end")
    local result = fixture.run_sdlua("run", script, "--library", library, "--detach")
    assert.equal(0, result.status, result.err)
    wait_for_report(process)
    process:kill("sigterm")
    assert.equal(143, (process:wait(60000)))
  end)
end)

describe("SDLUA_WATCHDOG", function()
  it("must be a number of seconds", function()
    write_job("return 1")
    for _, text in ipairs { "x", "-1", "nan", "0.001" } do
      uv.os_setenv("SDLUA_WATCHDOG", text)
      local result = run()
      assert.equal(2, result.status, result.err)
      assert_find("SDLUA_WATCHDOG: '" .. text .. "'", result.err)
    end
  end)
end)

-- ---- sdlua job cancel --force ----

local COUNT = [[
ctx:library_db():exec("CREATE TABLE IF NOT EXISTS line(job INTEGER, n INTEGER, attempt INTEGER)")
local state = ctx:state(function() return { n = 0 } end)
while state.n < 20 do
  state.n = state.n + 1
  ctx:commit(function(tx)
    tx:exec("INSERT INTO line VALUES(?, ?, ?)", { ctx.id, state.n, ctx.attempt })
  end)
  ctx:sleep(0.05)
end
return { n = state.n }]]

local LOOP = "ctx:sleep(0.3)\nwhile true do ctx.endless = ('x'):rep(100) end"

local serve

local function start_runner()
  serve = fixture.start({ fixture.sdlua, "serve", "--library", library }, { err = dir .. "/err" })
  for _ = 1, 2000 do
    if uv.fs_stat(library .. "/library.sock") then return end
    assert.is_false(serve:sleep(5), "ended: " .. fixture.read(dir .. "/err"))
  end
  error("the runner does not listen: " .. fixture.sh("ls " .. library))
end

local function job(...)
  return fixture.run_sdlua("job", ...)
end

local function dispatch(script)
  local result = fixture.run_sdlua("run", script, "--library", library, "--detach")
  assert.equal(0, result.status, result.err)
  return result.out:match("job (%d+)")
end

local function wait_for(what, condition)
  for _ = 1, 2000 do
    if condition() then return end
    serve:sleep(10)
  end
  error("not " .. what, 2)
end

local function statuses()
  local list = {}
  for _, row in ipairs(fixture.sql(library, "SELECT status FROM jobs ORDER BY id")) do
    list[#list + 1] = row[1]
  end
  return list
end

describe("sdlua job cancel --force", function()
  after_each(function()
    if serve then
      serve:kill("sigkill")
      serve:wait()
      serve = nil
    end
  end)

  local function finish_others()
    local result = fixture.run_sdlua("serve", "--until-idle", "--library", library)
    assert.equal(0, result.status, result.err)
  end

  -- The runner dies somewhere between two of the other's lines: each of them is there once.
  it("ends an endless job, and other jobs lose nothing", function()
    start_runner()
    local count, endless = dispatch(write_job(COUNT, "count")), dispatch(write_job(LOOP))
    wait_for("stuck", function() return note() ~= "" end)
    assert.matches("^stuck " .. endless .. " %d+\n", note())
    local result = job("cancel", "--force", endless, "--library", library)
    assert.equal(0, result.status, result.err)
    assert.equal(("job %s: cancelled\n"):format(endless), result.out)
    assert.equal(128 + 9, (serve:wait()))
    assert.same({ "queued", "cancelled" }, statuses())
    assert_find("stuck.lua:13: in method 'run'", log_of(endless))
    assert_find("the process was ended meanwhile", log_of(endless))
    finish_others()
    assert.same({ "completed", "cancelled" }, statuses())
    assert.same({ { "20", "20", "1", "20", "2" } }, fixture.sql(library, "SELECT count(*),"
      .. " count(DISTINCT n), min(n), max(n), max(attempt) FROM line WHERE job = " .. count))
    fixture.check_library(library)
  end)

  it("ends a job whose statement is endless", function()
    start_runner()
    local count = dispatch(write_job(COUNT, "count"))
    local endless = dispatch(write_job([[ctx:sleep(0.3) ctx:commit(function(tx)
      tx:exec("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
        .. " SELECT max(x) FROM c")
    end)]]))
    serve:sleep(1000)
    local result = job("cancel", "--force", endless, "--library", library)
    assert.equal(0, result.status, result.err)
    assert.equal(128 + 9, (serve:wait()))
    finish_others()
    assert.same({ "completed", "cancelled" }, statuses())
    assert.same({ { "20", "20" } }, fixture.sql(library,
      "SELECT count(*), count(DISTINCT n) FROM line WHERE job = " .. count))
  end)

  it("lets a runner live that does what it is asked for", function()
    start_runner()
    local count, other = dispatch(write_job(COUNT, "count")), dispatch(write_job("ctx:sleep(99)"))
    local result = job("cancel", "--force", other, "--library", library)
    assert.equal(0, result.status, result.err)
    wait_for("completed", function() return statuses()[1] == "completed" end)
    assert.is_false(serve:sleep(10))
    assert.same({ "completed", "cancelled" }, statuses())
    assert.same({ { "1" } }, fixture.sql(library,
      "SELECT max(attempt) FROM line WHERE job = " .. count))
  end)

  it("touches nothing for a job that is not there", function()
    start_runner()
    dispatch(write_job("ctx:sleep(99)"))
    local result = job("cancel", "--force", "77", "--library", library)
    assert.equal(1, result.status)
    assert_find("there is no job 77", result.err)
    assert.is_false(serve:sleep(100))
  end)

  it("works where no runner lives, and kills nobody whose number is in the lock's file", function()
    write_job("ctx:commit() ctx:sleep(99)")
    serve = fixture.start { fixture.sdlua, "run", dir .. "/stuck.lua", "--library", library }
    wait_for("running", function()
      return uv.fs_stat(library .. "/library.sock") and statuses()[1] == "running"
    end)
    serve:kill("sigkill")
    serve:wait()
    serve = fixture.start { "/bin/sleep", "100" }
    fixture.write(library .. "/library.lock", serve.pid .. "\n")
    local result = job("cancel", "--force", "1", "--library", library)
    assert.equal(0, result.status, result.err)
    assert.same({ "cancelled" }, statuses())
    assert.is_false(serve:sleep(100))
  end)

  it("is what other commands name, when a runner does not answer", function()
    start_runner()
    dispatch(write_job(LOOP))
    wait_for("stuck", function() return note() ~= "" end)
    local result = job("pause", "1", "--library", library)
    assert.equal(14, result.status)
    assert_find(("(pid %d), in which job 1 lets nothing else run: it does not answer; see"
      .. " sdlua job cancel --force"):format(serve.pid), result.err)
  end)

  -- The runner loads the script and does not come back; it has answered before.
  local function spin_when_served()
    fixture.write(dir .. "/trap.lua", [[
      if io.open("/proc/self/cmdline"):read("a"):find("\0serve\0", 1, true) then
        while true do _ENV.string.rep("x", 100) end
      end
      local Trap = require "sd".job.define { name = "trap" }
      function Trap:run() end
      return Trap
    ]])
    return { fixture.sdlua, "run", dir .. "/trap.lua", "--library", library }
  end

  it("is named too when the runner falls silent in the middle of it", function()
    start_runner()
    dispatch(write_job('ctx:log "before" ctx:commit() ctx:sleep(600)'))
    wait_for("running", function() return statuses()[1] == "running" end)
    local asked = { spin_when_served(),
      { fixture.sdlua, "job", "watch", "1", "--library", library },
      { fixture.sdlua, "job", "log", "-f", "1", "--library", library } }
    local processes, ends = {}, {}
    for i = #asked, 1, -1 do
      processes[i] = fixture.start(asked[i], { out = dir .. "/out" .. i, err = dir .. "/err" .. i })
      if i > 1 then
        wait_for("shown", function() return #fixture.read(dir .. "/out" .. i) > 0 end)
      end
    end
    for i, process in ipairs(processes) do ends[i] = process:wait(60000) end
    assert.same({ 14, 0, 0 }, ends)
    for i = 1, #asked do
      assert_find(("(pid %d), in which a callback lets nothing else run: it does not answer; see"
        .. " sdlua job cancel --force"):format(serve.pid), fixture.read(dir .. "/err" .. i))
    end
    assert.equal("running", dkjson.decode(job("show", "1", "--json", "--library", library).out)
      .status)
  end)

  it("is named also by what only looks, which answers from the library then", function()
    start_runner()
    dispatch(write_job('ctx:log "before" ctx:commit() ' .. LOOP))
    wait_for("stuck", function() return note() ~= "" end)
    local processes, statuses_of = {}, {}
    local asked = { { "list", "--json" }, { "show", "1", "--json" }, { "log", "1" },
      { "watch", "1" }, { "show", "77" } }
    for i, words in ipairs(asked) do -- at the same time: each waits for some seconds
      processes[i] = fixture.start({ fixture.sdlua, "job", words[1], "--library", library,
        table.unpack(words, 2) }, { out = dir .. "/out" .. i, err = dir .. "/err" .. i })
    end
    for i, process in ipairs(processes) do statuses_of[i] = process:wait(30000) end
    assert.same({ 0, 0, 0, 0, 1 }, statuses_of)
    local out = {}
    for i = 1, #asked do
      assert_find("does not answer; see sdlua job cancel --force", fixture.read(dir .. "/err" .. i))
      out[i] = fixture.read(dir .. "/out" .. i)
    end
    assert.equal("running", dkjson.decode(out[1])[1].status)
    assert.equal("running", dkjson.decode(out[2]).status)
    assert_find("before", out[3])
    assert_find("running", out[4])
    assert_find("there is no job 77", fixture.read(dir .. "/err5"))
  end)
end)
