-- Several processes and one library: who runs the jobs, who watches, who steers, and what happens
-- when one of them goes away.
local dkjson = require "dkjson"
local fixture = require "support.fixture"
local uv = require "sd.core".luv

local dir, library, script

-- Counts up, a step each 20 ms, and writes a line for each attempt.
local SCRIPT = [[
local sd = require "sd"
local J = sd.job.define { name = "count", args = {
  to = sd.arg.integer { default = 10 }, name = sd.arg.string { default = "a" } } }
function J:run(ctx)
  local db = ctx:library_db()
  db:exec("CREATE TABLE IF NOT EXISTS ran(name TEXT, attempt INTEGER, pid INTEGER)")
  local state = ctx:state(function() return { i = 0, phase = "counting" } end)
  ctx:commit(function(tx)
    tx:exec("INSERT INTO ran VALUES(?, ?, ?)", { self.args.name, ctx.attempt, $PID })
  end)
  while state.i < self.args.to do
    ctx:sleep(0.02)
    state.i = state.i + 1
    ctx:progress { phase = "counting", message = tostring(state.i) }
    if state.i % 5 == 0 then ctx:log("at %d", state.i) end
    ctx:checkpoint()
  end
  return { i = state.i }
end
return J
]]

before_each(function()
  dir = fixture.temp()
  library, script = dir .. "/library", dir .. "/count.lua"
  fixture.write(script, (SCRIPT:gsub("%$PID", 'require "luv".os_getpid()')))
end)

after_each(function() fixture.remove(dir) end)

local function words(...) return { fixture.sdlua, "run", script, "--library", library, ... } end

local function start(name, ...)
  return fixture.start(words(...), { out = dir .. "/" .. name, err = dir .. "/" .. name .. ".err" })
end

local function said(name) return fixture.read(dir .. "/" .. name) end

local function job(...)
  return fixture.run_sdlua("job", (...), "--library", library, select(2, ...))
end

local function sql(query) return fixture.sql(library, query) end

-- Until condition() holds; at most ten seconds.
local function wait_until(condition, process)
  for _ = 1, 500 do
    if condition() then return end
    if process then process:sleep(20) else uv.sleep(20) end
  end
  error("waited in vain", 2)
end

local function runs(name)
  return function()
    if not uv.fs_stat(library .. "/library.db") then return false end
    local ok, rows = pcall(sql, "SELECT count(*) FROM ran WHERE name = '" .. name .. "'")
    return ok and rows[1][1] ~= "0"
  end
end

describe("a second process", function()
  it("is given what the first one runs, and shows it", function()
    local first = start("first", "--to", "60")
    wait_until(runs "a", first)
    local second = fixture.run(words("--to", "60", "--json", "--progress", "plain"))
    assert.equal(0, (first:wait()))
    assert.equal(0, second.status, second.err)
    assert.equal(60, dkjson.decode(second.out).i)
    assert.is_truthy(second.err:find("runs already", 1, true), second.err)
    assert.same({ { "a", "1" } }, sql("SELECT name, attempt FROM ran"))
  end)

  it("dispatches there what is new", function()
    local first = start("first", "--to", "80")
    wait_until(runs "a", first)
    local second = fixture.run(words("--name", "b", "--to", "3"))
    assert.equal(0, second.status, second.err)
    assert.is_truthy(second.err:find("in process", 1, true), second.err)
    assert.equal(0, (first:wait()))
    assert.same({ { "2", "1" } }, sql("SELECT count(*), count(DISTINCT pid) FROM ran"))
  end)

  it("goes on with the job when the first one is killed", function()
    local first = start("first", "--to", "150")
    wait_until(runs "a", first)
    local second = start("second", "--to", "150", "--json")
    wait_until(function() return said("second.err"):find("runs already", 1, true) end, second)
    first:kill("sigkill")
    first:wait()
    assert.equal(0, (second:wait(60000)), said("second.err"))
    assert.is_truthy(said("second.err"):find("going on here", 1, true), said("second.err"))
    assert.equal(150, dkjson.decode(said("second")).i)
    assert.same({ { "1" }, { "2" } }, sql("SELECT attempt FROM ran"))
    fixture.check_nothing_left(library)
  end)

  it("may leave, and the job goes on in the first one until it is done", function()
    local first = start("first", "--to", "20")
    wait_until(runs "a", first)
    local second = start("second", "--name", "b", "--to", "100")
    wait_until(runs "b", second)
    second:kill("sigint")
    assert.equal(130, (second:wait()), said("second.err"))
    assert.is_truthy(said("second.err"):find("goes on in process", 1, true), said("second.err"))
    assert.equal(0, (first:wait(60000)))
    assert.is_truthy(said("first.err"):find("still runs here", 1, true), said("first.err"))
    assert.same({ { "completed", "2" } }, sql("SELECT status, count(*) FROM jobs GROUP BY 1"))
  end)

  -- A pseudo-terminal, where ^C is typed: `typed` after the question.
  local function detach_on_terminal(name, typed)
    local out, command = dir .. "/terminal", {}
    for i, word in ipairs(words("--name", name, "--to", "100")) do
      command[i] = fixture.quote(word)
    end
    local see = "for i in $(seq 400); do grep -aq '%s' " .. out .. " && break; sleep 0.05; done; "
    local status = fixture.sh((": >%s; { %s printf '\\003'; %s printf '%s'; sleep 1; } |"
      .. " SHELL=/bin/sh TERM=xterm script -qefc %s %s >%s/ignored; echo $?"):format(out,
      see:format("runs in process"), see:format("ause it"), typed,
      fixture.quote("exec " .. table.concat(command, " ")), out, dir))
    assert.is_truthy(said("terminal"):find("goes on in process", 1, true), said("terminal"))
    return math.tointeger(tonumber(status))
  end

  it("may leave by an answer, or by a second signal in its place, and is told so", function()
    local first = start("first", "--to", "1000")
    wait_until(runs "a", first)
    assert.equal(0, detach_on_terminal("b", "d\\n"))
    assert.equal(130, detach_on_terminal("c", "\\003"))
    first:kill("sigterm")
    assert.equal(143, (first:wait()))
  end)

  it("goes on with a job that was paused there", function()
    local first = start("first", "--to", "1000")
    wait_until(runs "a", first)
    local second = start("second", "--name", "b", "--to", "60")
    wait_until(runs "b", second)
    assert.equal(0, job("pause", "2").status)
    assert.equal(130, (second:wait()), said("second.err"))
    local again = fixture.run(words("--name", "b", "--to", "60", "--json"))
    assert.equal(0, again.status, again.err)
    assert.equal(60, dkjson.decode(again.out).i)
    assert.is_truthy(again.err:find("resuming job 2", 1, true), again.err)
    first:kill("sigterm")
    assert.equal(143, (first:wait()))
  end)

  it("ends with the status that the job ends with", function()
    fixture.write(dir .. "/bad.lua", [[local sd = require "sd"
      local J = sd.job.define { name = "bad" }
      function J:run(ctx)
        ctx:sleep(0.1)
        error(sd.failure.new("no " .. #self.args, "X", 14), 0)
      end
      return J
    ]])
    local first = start("first", "--to", "100")
    wait_until(runs "a", first)
    local second = fixture.run { fixture.sdlua, "run", dir .. "/bad.lua", "--library", library }
    assert.equal(14, second.status, second.err)
    first:kill("sigint")
    assert.equal(130, (first:wait()))
  end)
end)

describe("a runner of another version", function()
  local rpc, sd = require "sd.rpc", require "sd"

  -- `sdlua run` as the client of one that answers so.
  local function run_as_client(methods)
    os.remove(dir .. "/client.err")
    local status = sd.run(function()
      local lib <close> = assert(sd.library.open(library, { create = true }))
      local server = assert(rpc.serve(lib.path, methods, { background = true }))
      local process = start("client", "--to", "1")
      repeat sd.sleep(0.01) until process.exit
      server:close()
      return process.exit.status
    end)
    local message = said("client.err")
    assert.equal(1, select(2, message:gsub("\n", "")), message)
    return message, status
  end

  it("is refused, and named", function()
    local own = require "sd.version"
    for answer, name in pairs {
      [function() return { version = "99.1" } end] = "sdlua 99.1",
      [function() return true end] = "no sdlua of this version",
      [function() return { version = own .. ".1" } end] = "sdlua " .. own .. ".1",
    } do
      local message, status = run_as_client { ping = answer }
      assert.equal(13, status)
      assert.matches("^sdlua: the runner, process %d+, is " .. name:gsub("%.", "%%.")
        .. ", and this is sdlua " .. own:gsub("%.", "%%.") .. ": end it first\n$", message)
    end
    local message = run_as_client {}
    assert.is_truthy(message:find("is no sdlua of this version", 1, true), message)
  end)

  it("is no traceback where it answers something else", function()
    local message, status = run_as_client {
      ping = function() return { version = require "sd.version" } end,
      check_roots = function() return true end,
      start = function() return { what = 1 } end,
    }
    assert.equal(1, status)
    assert.is_truthy(message:find("start: an answer without a job", 1, true), message)
  end)
end)

describe("two processes that start at once", function()
  it("become one runner and one client, and each job runs once", function()
    local rounds = math.tointeger(tonumber(os.getenv("SD_RACES"))) or 15
    for i = 1, rounds do
      local a = start("a" .. i, "--name", "a" .. i, "--to", "2")
      local b = start("b" .. i, "--name", "b" .. i, "--to", "2")
      assert.equal(0, (a:wait()), said(("a%d.err"):format(i)))
      assert.equal(0, (b:wait()), said(("b%d.err"):format(i)))
    end
    -- Who was a client of one that ended first went on by himself: in a second attempt.
    assert.same({ { tostring(2 * rounds) } }, sql("SELECT count(DISTINCT name) FROM ran"))
    assert.same({}, sql("SELECT name, attempt FROM ran GROUP BY 1, 2 HAVING count(*) > 1"))
    assert.same({ { "completed", tostring(2 * rounds) } },
      sql("SELECT status, count(*) FROM jobs GROUP BY 1"))
  end)
end)

describe("sdlua serve", function()
  local server

  local function serve()
    server = fixture.start({ fixture.sdlua, "serve", "--library", library },
      { err = dir .. "/serve.err" })
    wait_until(function() return uv.fs_stat(library .. "/library.sock") end, server)
  end

  after_each(function()
    if server then server:kill("sigkill") end
    server = nil
  end)

  it("runs what others give it, and stops at SIGTERM; what ran then goes on later", function()
    serve()
    local result = fixture.run(words("--detach", "--to", "100"))
    assert.equal(0, result.status, result.err)
    assert.is_truthy(result.out:find("^job 1: "), result.out)
    wait_until(runs "a", server)
    server:kill("sigterm")
    assert.equal(143, (server:wait()))
    assert.is_nil(uv.fs_stat(library .. "/library.sock"))
    assert.same({ { "queued" } }, sql("SELECT status FROM jobs"))
    serve()
    wait_until(function() return sql("SELECT status FROM jobs")[1][1] == "completed" end, server)
    assert.equal("2", sql("SELECT max(attempt) FROM ran")[1][1])
  end)

  it("leaves paused what somebody has paused", function()
    serve()
    for _, name in ipairs { "a", "b" } do
      assert.equal(0, fixture.run(words("--detach", "--name", name, "--to", "500")).status)
      wait_until(runs(name), server)
    end
    assert.equal(0, job("pause", "1").status)
    wait_until(function() return sql("SELECT status FROM jobs")[1][1] == "paused" end, server)
    server:kill("sigterm")
    assert.equal(143, (server:wait()))
    assert.same({ { "paused" }, { "queued" } }, sql("SELECT status FROM jobs ORDER BY id"))
  end)

  it("ends when its library was removed", function()
    serve()
    fixture.sh("rm -r " .. fixture.quote(library))
    assert.equal(1, (server:wait()))
    assert.is_truthy(said("serve.err"):find("no longer there", 1, true))
  end)

  it("has a unit that systemd has nothing against", function()
    if not fixture.has "systemd-analyze" then
      return pending "systemd-analyze is not here (package systemd)"
    end
    local unit = require "sd.root" .. "/dist/sdlua.service"
    local command = "XDG_RUNTIME_DIR=%s systemd-analyze verify --user %s 2>&1"
    assert.equal("", fixture.sh(command:format(fixture.quote(dir), fixture.quote(unit))))
  end)

  -- As the unit starts it: no terminal, nothing open but what it is given.
  it("needs no more than a home and a path", function()
    local bin = fixture.sdlua:match("^(.*)/")
    local environment = { "HOME=" .. dir, "PATH=" .. bin .. ":/usr/bin:/bin" }
    for _, name in ipairs { "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "SDLUA_HOME" } do
      if os.getenv(name) then
        environment[#environment + 1] = ("%s=%s"):format(name, os.getenv(name))
      end
    end
    server = fixture.start({ "/usr/bin/env", "sdlua", "serve" }, { err = dir .. "/serve.err",
      env = environment })
    local default = dir .. "/.local/share/sdlua/default"
    wait_until(function() return uv.fs_stat(default .. "/library.sock") end, server)
    assert.equal("drwx------", fixture.sh("stat -c %A " .. default):match("%S+"))
    -- It listens a moment before it says so.
    wait_until(function() return said("serve.err") ~= "" end, server)
    server:kill("sigterm")
    assert.equal(143, (server:wait()))
    assert.equal("sdlua: serving " .. default .. "\n", fixture.read(dir .. "/serve.err"))
  end)

  it("is there once", function()
    serve()
    local second = fixture.run_sdlua("serve", "--library", library)
    assert.equal(1, second.status)
    assert.is_truthy(second.err:find("already", 1, true), second.err)
  end)

  it("tells why what repeats cannot be run", function()
    assert.equal(0, fixture.run(words("--repeat", "every 1s", "--to", "1")).status)
    local text = fixture.read(script)
    fixture.write(script, "oops(")
    serve()
    local function shown() return dkjson.decode(job("schedules", "--json").out)[1] end
    wait_until(function() return shown().error end, server)
    assert.is_truthy(shown().error:find("count.lua:1: ", 1, true), shown().error)
    assert.is_truthy(job("schedules").out:find("\n   could not be run: .*count.lua:1: "))
    assert.is_truthy(said("serve.err"):find(
      "sdlua: count, which repeats with the number 1, cannot be run: .*count.lua:1: "),
      said("serve.err"))
    fixture.write(script, text)
    wait_until(function() return runs("a")() end, server)
    assert.is_nil(shown().error)
  end)

  it("dispatches what repeats, once where runs were missed", function()
    local result = fixture.run(words("--repeat", "every 2s", "--to", "1"))
    assert.equal(0, result.status, result.err)
    assert.is_truthy(job("schedules").out:find("every 2s", 1, true))
    uv.sleep(4500)
    serve()
    wait_until(function() return runs("a")() end, server)
    assert.equal("1", sql("SELECT count(*) FROM ran")[1][1])
    wait_until(function() return sql("SELECT count(*) FROM ran")[1][1] ~= "1" end, server)
    assert.equal(0, job("unschedule", "1").status)
    assert.equal("", job("schedules").out)
    assert.equal(1, job("unschedule", "1").status)
  end)
end)

describe("what is not waited for", function()
  it("is told as JSON too", function()
    local started = fixture.run(words("--detach", "--to", "1", "--json"))
    assert.equal(0, started.status, started.err)
    started = dkjson.decode(started.out)
    assert.is_truthy(started.status)
    started.status = nil
    assert.same({ job = 1, name = "count" }, started)
    local repeated = fixture.run(words("--repeat", "every 1h", "--json"))
    assert.equal(0, repeated.status, repeated.err)
    assert.same({ number = 1, name = "count" }, dkjson.decode(repeated.out))
  end)
end)

describe("sdlua index --detach", function()
  it("starts a runner that ends by itself though a job repeats", function()
    assert.equal(0, fixture.run(words("--repeat", "every 1h")).status)
    assert.equal(0, fixture.run(words("--detach", "--to", "1")).status)
    wait_until(function() return sql("SELECT count(*) FROM jobs WHERE status = 'completed'")[1][1]
      == "1" end)
    wait_until(function() return not uv.fs_stat(library .. "/library.sock") end)
  end)

  it("starts a runner that ends by itself", function()
    fixture.sh(("mkdir %s/tree && touch %s/tree/a %s/tree/b"):format(dir, dir, dir))
    local result = fixture.run_sdlua("index", "--detach", "--library", library, dir .. "/tree")
    assert.equal(0, result.status, result.err)
    wait_until(function() return sql("SELECT count(*) FROM jobs WHERE status = 'completed'")[1][1]
      == "1" end)
    wait_until(function() return not uv.fs_stat(library .. "/library.sock") end)
    assert.equal("3", sql("SELECT count(*) FROM entries")[1][1])
  end)
end)

describe("sdlua job", function()
  for _, live in ipairs { true, false } do
    local how = live and "with a runner" or "without a runner"
    it("steers a job " .. how, function()
      local server = live and fixture.start({ fixture.sdlua, "serve", "--library", library })
      if live then
        wait_until(function() return uv.fs_stat(library .. "/library.sock") end, server)
        assert.equal(0, fixture.run(words("--detach", "--to", "1000")).status)
      else
        local first = start("first", "--to", "1000")
        wait_until(runs "a", first)
        first:kill("sigkill")
        first:wait()
      end
      wait_until(runs "a")
      assert.is_truthy(job("list").out:find("count", 1, true))
      local list = dkjson.decode(job("list", "--json").out)
      assert.equal(1, #list)
      assert.equal(live and "running" or "queued", list[1].status)
      assert.equal(0, job("pause", "1").status)
      wait_until(function() return sql("SELECT status FROM jobs")[1][1] == "paused" end)
      local resumed = job("resume", list[1].uuid:sub(1, 13))
      assert.equal(0, resumed.status)
      assert.equal(live and "job 1: goes on\n"
        or "job 1: waits for a runner, such as `sdlua serve`\n", resumed.out)
      -- Without a runner it was not begun, either.
      assert.equal(live and "running" or "queued", sql("SELECT status FROM jobs")[1][1])
      assert.is_truthy(job("show", "1").out:find("arguments  name=a to=1000", 1, true))
      assert.equal(0, job("cancel", "1").status)
      assert.equal("cancelled", sql("SELECT status FROM jobs")[1][1])
      assert.equal("", job("list", "--json").out:match("^%[(.*)%]"))
      assert.equal(live and "job 1: runs again as job 2\n" or "job 1: made again as job 2, which"
        .. " waits for a runner, such as `sdlua serve`\n", job("retry", "1").out)
      assert.equal(0, job("cancel", "2").status)
      local retried = dkjson.decode(job("retry", "1", "--json").out)
      assert.equal(3, retried.id)
      assert.equal(0, job("cancel", "3").status)
      assert.equal(0, job("prune", "--keep", "1").status)
      assert.same({ { "3" } }, sql("SELECT id FROM jobs"))
      fixture.check_nothing_left(library)
      if server then
        server:kill("sigterm")
        assert.equal(143, (server:wait()))
      end
    end)
  end

  it("shows output and progress as what they are", function()
    fixture.sh(("mkdir %s/tree && touch %s/tree/a"):format(dir, dir))
    assert.equal(0, fixture.run_sdlua("index", "--library", library, dir .. "/tree").status)
    fixture.sh(("sqlite3 %s/library.db %s"):format(library, fixture.quote(
      "UPDATE job_history SET output = json_set(output, '$.errors', json('[]'))")))
    local text = job("show", "1", "--json").out
    local one, listed = dkjson.decode(text), dkjson.decode(job("list", "--all", "--json").out)[1]
    for _, row in ipairs { one, listed } do
      assert.equal(1, row.output.stats.files)
      assert.equal("table", type(row.progress))
      assert.equal("finalizing", row.progress.phase.name)
    end
    assert.is_truthy(text:find('"errors":[]', 1, true), text)
  end)

  -- More open jobs than one answer holds, of which this is the oldest.
  it("finds a job behind thousands of others, with the newest of its parts", function()
    require "sd".run(function()
      local opened <close> = assert(require "sd".library.open(library, { create = true }))
      opened.jobs.scheduler:hold()
      for i = 1, 1005 do opened.jobs:dispatch_by_name(script, { to = i }) end
    end)
    local function watched()
      local result = job("watch", "1", "--json")
      assert.equal(0, result.status, result.err)
      return dkjson.decode(result.out)
    end
    assert.equal(1, #watched())
    assert.equal(1, watched()[1].id)
    for _, case in ipairs { { "pause", "paused" }, { "resume", "queued" } } do
      assert.equal(0, job(case[1], "1").status)
      assert.equal(case[2], watched()[1].status)
      assert.is_truthy(job("show", "1").out:find("status     " .. case[2], 1, true))
    end
    fixture.sh(("sqlite3 %s/library.db 'UPDATE job SET parent_id = id - 1 WHERE id > 2'"):format(
      library))
    assert.equal(1, #watched())
    fixture.sh(("sqlite3 %s/library.db 'UPDATE job SET parent_id = 1 WHERE id = 2'"):format(
      library))
    local list = watched()
    assert.same({ 1, 7, 1005, 1000 }, { list[1].id, list[2].id, list[1000].id, #list })
    assert.equal(0, job("cancel", "1").status)
    assert.equal("cancelled", watched()[1].status)
    fixture.check_nothing_left(library)
  end)

  it("says what is wrong", function()
    assert.equal(10, job("list").status)
    assert.equal(0, fixture.run(words("--to", "1")).status)
    for status, args in pairs { [1] = { "show", "77" }, [2] = { "prune" } } do
      local result = job(table.unpack(args))
      assert.equal(status, result.status, result.err)
      assert.is_nil(result.err:find("traceback", 1, true), result.err)
    end
    local done = job("pause", "1")
    assert.equal(1, done.status)
    assert.is_truthy(done.err:find("no open job 1", 1, true), done.err)
    assert.equal(1, job("retry", "1").status)
    assert.equal(2, job("frobnicate").status)
  end)

  it("takes no other way to write a number", function()
    assert.equal(0, fixture.run(words("--to", "1")).status)
    assert.is_truthy(job("show", "1", "--json").out:find('"children":[]', 1, true))
    for _, text in ipairs { "1e0", "0x1", "1.0", "01", " 1", "1 ", "+1", "-1", "" } do
      local result = job("show", "--", text)
      assert.equal(1, result.status, text)
      assert.is_truthy(result.err:find("there is no job", 1, true), result.err)
    end
  end)

  it("prints the log of a job that nobody runs, and keeps nobody waiting", function()
    local first = start("first", "--to", "1000")
    wait_until(function()
      return runs "a"() and sql("SELECT count(*) FROM job_log")[1][1] ~= "0"
    end, first)
    first:kill("sigkill")
    first:wait()
    local result = fixture.run({ fixture.sdlua, "job", "log", "1", "-f", "--library", library },
      "timeout 60")
    assert.equal(0, result.status, result.err)
    assert.is_truthy(result.out:find("info at 5\n", 1, true), result.out)
  end)

  -- As a client, to which the runner cannot send more than 4 MiB at once.
  it("prints a log of long lines", function()
    local long = dir .. "/long.lua"
    fixture.write(long, [[
      local Long = require "sd".job.define { name = "long" }
      function Long:run(ctx)
        for i = 1, 1100 do ctx:log("%d %s", i, ("\1"):rep(9000)) end
        ctx:log(("\u{20ac}"):rep(3 << 20))
        ctx:commit()
        ctx:sleep(600)
      end
      return Long
    ]])
    local first = fixture.start({ fixture.sdlua, "run", long, "--library", library })
    wait_until(function()
      return uv.fs_stat(library .. "/library.db") and pcall(sql, "SELECT 1 FROM job_log")
        and sql("SELECT count(*) FROM job_log")[1][1] ~= "0"
    end, first)
    local result = job("log", "1", "--json")
    first:kill("sigkill")
    first:wait()
    assert.equal(0, result.status, result.err)
    local n, last = 0, nil
    for line in result.out:gmatch("[^\n]+") do n, last = n + 1, line end
    assert.equal(1000, n)
    last = dkjson.decode(last).message
    assert.equal(("\u{20ac}"):rep(1365) .. "... (9433089 bytes more)", last)
  end)

  it("prints the log, and follows it to the end", function()
    local first = start("first", "--to", "40")
    wait_until(runs "a", first)
    local result = job("log", "1", "-f")
    first:wait()
    assert.equal(0, result.status, result.err)
    local n = 0
    for i in result.out:gmatch("info at (%d+)\n") do
      n = n + 1
      assert.equal(tostring(5 * n), i)
    end
    assert.is_true(n >= 7, result.out)
  end)
end)
