-- Job scripts of one's own through `sdlua run`: arguments, state, queues, commits, errors, and what
-- a kill leaves of them.
local fixture = require "support.fixture"
local dkjson = require "dkjson"
local uv = require "sd.core".luv

local dir, library, script

before_each(function()
  dir = fixture.temp()
  library, script = dir .. "/library", dir .. "/job.lua"
end)

after_each(function() fixture.remove(dir) end)

local HEAD = 'local sd = require "sd"\n'

-- A job script: fields of the definition, and the body of run(self, ctx).
local function write_job(body, fields)
  fixture.write(script, ('%slocal J = sd.job.define { name = "custom", %s }\nfunction J:run(ctx)\n'
    .. "local _ = self, ctx\n%s\nend\nreturn J\n"):format(HEAD, fields or "", body))
end

local function run(...)
  return fixture.run_sdlua("run", script, "--library", library, ...)
end

-- Its --json object.
local function run_json(...)
  local result = run("--json", "--progress", "none", ...)
  return dkjson.decode(result.out), result
end

local function assert_find(part, whole)
  if not whole:find(part, 1, true) then error(("%q is not in %q"):format(part, whole), 2) end
end

-- Starts the job and kills it once `condition()` holds.
local function kill_when(condition, ...)
  local process = fixture.start({ fixture.sdlua, "run", script, "--library", library,
    "--progress", "none", ... }, { err = dir .. "/killed.err" })
  for _ = 1, 2000 do
    if process:sleep(5) then error("ended by itself: " .. fixture.read(dir .. "/killed.err"), 2) end
    if condition() then break end
  end
  process:kill("sigkill")
  assert.equal(128 + 9, (process:wait()))
end

local function exists(path)
  return function()
    local file = io.open(path)
    if file then file:close() end
    return file ~= nil
  end
end

describe("a job script's arguments", function()
  local ARGS = [[args = {
    where = sd.arg.path { required = true, positional = true, help = "where it is" },
    times = sd.arg.integer { default = 3, min = 1, max = 9, help = "how often" },
    ratio = sd.arg.number {}, word = sd.arg.string {}, dry_run = sd.arg.boolean { default = false },
    how = sd.arg.choice { "slow", "fast", default = "fast" },
  }, description = "Does what it says."]]

  before_each(function() write_job("return { args = self.args }", ARGS) end)

  it("are typed where the job gets them", function()
    local output, result = run_json(dir, "--times=7", "--ratio=-0.5", "--word", "", "--dry-run",
      "yes", "--how", "slow")
    assert.equal(0, result.status, result.err)
    assert.same({ where = fixture.sh("realpath " .. dir):match("[^\n]+"), times = 7, ratio = -0.5,
      word = "", dry_run = true, how = "slow" }, output.args)
  end)

  it("have defaults, or are not there", function()
    local output = run_json(dir)
    assert.same({ 3, false, "fast" },
      { output.args.times, output.args.dry_run, output.args.how })
    assert.is_nil(output.args.word)
  end)

  it("make the help text", function()
    local result = run("--help")
    assert.equal(0, result.status)
    for _, part in ipairs { "Does what it says.", "where it is", "--times <integer>", "how often",
      "(default: 3)", "--ratio <number>", "--word <string>", "--dry-run <boolean>",
      "--how slow|fast", "(default: fast)", "--library", "--fresh" } do
      assert_find(part, result.out)
    end
    assert.equal("", result.err)
    assert.is_false(exists(library)())
  end)

  for _, case in ipairs {
    { "--times", "10", "--times: '10' is greater than 9" },
    { "--times", "x", "--times: 'x' is not an integer" },
    { "--ratio", "x", "--ratio: 'x' is not a number" },
    { "--dry-run", "perhaps", "--dry-run: 'perhaps' is neither true nor false" },
    { "--how", "medium", "--how: 'medium' is none of slow, fast" },
    { "--wrod", "x", "unknown option '--wrod'" },
  } do
    it(("are refused with the usage: %s %s"):format(case[1], case[2]), function()
      local result = run(dir, case[1], case[2])
      assert.equal(2, result.status, result.err)
      assert_find(case[3], result.err)
      assert_find("Usage:", result.err)
      assert.equal("", result.out)
      assert.is_false(exists(library)())
    end)
  end

  it("that are required must be there", function()
    local result = run("--times", "3")
    assert.equal(2, result.status)
    assert_find("where", result.err)
    write_job("return 1", "args = { key = sd.arg.string { required = true } }")
    result = run()
    assert.equal(2, result.status)
    assert_find("--key is missing", result.err)
  end)
end)

describe("an argument with the name of an option of sdlua run", function()
  local TAKEN = { "library", "threads", "progress", "json", "repeat", "detach", "fresh", "help" }

  local function write(name, option)
    write_job("return { given = self.args.library }",
      ('args = { ["%s"] = sd.arg.string { %s } }'):format(name, option or ""))
  end

  it("is refused, whichever it is", function()
    local help = fixture.run_sdlua("run", "forget", "--help").out
    for option in help:gmatch("%-%-(%l+)") do -- of a job that has none of its own but `root`
      local known = option == "root"
      for _, name in ipairs(TAKEN) do known = known or name == option end
      assert.is_true(known, option)
    end
    for _, name in ipairs(TAKEN) do
      write(name)
      local result = run()
      assert.equal(15, result.status, name)
      assert_find(("job custom: an argument cannot be called '%s': --%s is an option of"):format(
        name, name), result.err)
    end
  end)

  it("is allowed where nobody types the name", function()
    write("library", "positional = true")
    assert.equal("x", run_json("x").given)
    write("library", 'hidden = true, default = "y"')
    assert.equal("y", run_json().given)
  end)
end)

describe("a job script", function()
  it("is found by its name in SDLUA_JOBS, before those of the program", function()
    write_job("return { mine = true }")
    fixture.sh(("mkdir %s/jobs && mv %s %s/jobs/indexer.lua"):format(dir, script, dir))
    local result = fixture.run({ fixture.sdlua, "run", "indexer", "--json", "--library", library },
      "SDLUA_JOBS=" .. dir .. "/jobs")
    assert.equal(0, result.status, result.err)
    assert.is_true(dkjson.decode(result.out).mine)
  end)

  it("that is not there is a matter of usage", function()
    for _, name in ipairs { "nosuchjob", dir .. "/none.lua", dir .. "/" } do
      local result = fixture.run_sdlua("run", name, "--library", library)
      assert.equal(2, result.status, result.err)
      assert.is_nil(result.err:find("traceback"))
    end
  end)

  for _, case in ipairs {
    { "reads an undeclared global", "return prinnt", "job.lua:5: undeclared global 'prinnt'" },
    { "writes an undeclared global", "count = 1",
      "job.lua:5: assignment to undeclared global 'count'" },
    { "raises an error", "error 'it broke'", "job.lua:5: it broke" },
    { "raises an error in a function that it calls", "local t = nil\nreturn t.x",
      "job.lua:6: attempt to index a nil value" },
    { "raises a table", "error({ code = 5 })", "table" },
    { "raises in a branch", "ctx:concurrently(function() ctx:sleep(9) end,\nfunction()"
      .. " error 'branch' end)", "job.lua:6: branch" },
    { "gives SQL that is wrong", "ctx:commit(function(tx) tx:exec('SELEC 1') end)", "SELEC" },
    { "gives progress that it did not declare", "ctx:progress { x = 1 }", "no field 'x'",
      "progress = sd.progress.type('P', {})" },
    { "returns what is no data", "return { f = print }", "function" },
    { "waits for nothing", "coroutine.yield(); return require 'sd.core'.park()",
      "nothing is left that could wake them" },
  } do
    it(("that %s ends with 15 and its line"):format(case[1]), function()
      write_job(case[2], case[4])
      local result = run("--progress", "none")
      assert.equal(15, result.status, result.err)
      assert_find(case[3], result.err)
    end)
  end

  it("that does not compile ends with 15 and its line", function()
    fixture.write(script, HEAD .. "local x = = 1\n")
    local result = run()
    assert.equal(15, result.status, result.err)
    assert_find("job.lua:2:", result.err)
    assert.is_false(exists(library)())
  end)

  it("whose definition is wrong names its own line, also where it returns that", function()
    fixture.write(script, HEAD .. "\nreturn sd.job.define {\n  name = 'x', nme = 1 }\n")
    local result = run()
    assert.equal(15, result.status, result.err)
    assert_find(("sdlua: %s:3: job: no field 'nme'\n"):format(uv.fs_realpath(script)), result.err)
    fixture.write(script, "#!/usr/bin/sdlua\n" .. HEAD .. "return sd.job.define { name = 5 }\n")
    assert_find("job.lua:3: job: name is not a string\n", run().err)
  end)

  it("that is not Lua names the line, and nothing before it", function()
    fixture.write(script, HEAD .. "local x = = 3\n")
    local result = run()
    assert.equal(15, result.status, result.err)
    assert.equal(("sdlua: %s:2: unexpected symbol near '='"):format(uv.fs_realpath(script)),
      result.err:match("^[^\n]*"))
  end)

  it("that spawns what is no job fails at its own line", function()
    for what, message in pairs { ["5"] = "a job expected", ["nil"] = "a job expected",
      ["J"] = "a job expected", ["{}"] = "a job expected", ["J(), 5"] = "options are a table" } do
      write_job("\nctx:spawn_child(" .. what .. ")")
      local result = run("--fresh")
      assert.equal(15, result.status, result.err)
      assert_find("job.lua:6: spawn_child: " .. message, result.err)
    end
  end)

  it("that failed is in the history with its error, and does not come back", function()
    write_job("ctx:queue('q'):push(1) ctx:checkpoint() error 'it broke'")
    assert.equal(15, run().status)
    local rows = fixture.sql(library, "SELECT status, error LIKE '%it broke%' FROM jobs")
    assert.same({ { "failed", "1" } }, rows)
    fixture.check_nothing_left(library)
    write_job("return 5")
    local result = run("--progress", "plain")
    assert.equal(0, result.status)
    assert.is_nil(result.err:find("resuming", 1, true))
  end)

  it("names the field of a state that cannot be stored, and keeps the checkpoint before", function()
    write_job([[local state = ctx:state(function() return { n = 1 } end)
      ctx:checkpoint()
      state.deep = { list = { 1, { f = function() end } } }
      local ok, message = pcall(ctx.checkpoint, ctx)
      local rows = ctx:library_db():query("SELECT state FROM job WHERE id = ?", { ctx.id })
      local stored = require "sd.core".codec.decode(rows[1].state)
      return { ok = ok, message = message, n = stored.n, deep = stored.deep }]])
    local output, result = run_json()
    assert.equal(0, result.status, result.err)
    assert.is_false(output.ok)
    assert_find("value.deep.list[2].f: a function cannot be stored", output.message)
    assert.equal(1, output.n)
    assert.is_nil(output.deep)
  end)

  it("sleeps as long as it says", function()
    write_job("local t = sd.sys.mono_ns() ctx:sleep(0.2) return (sd.sys.mono_ns() - t) / 1e9")
    local output = run_json()
    assert.is_true(output.output >= 0.2 and output.output < 60, tostring(output.output))
  end)

  it("shows its log, its warnings with their level, and no debug line", function()
    write_job("ctx:log('at %d%%', 5) ctx:add_warning('look: %s', 'x\\27[31m') ctx:log_debug('hid')")
    local result = run("--progress", "plain")
    assert.equal(0, result.status)
    assert_find("at 5%\n", result.err)
    assert_find("warning: look: x\\x1b[31m\n", result.err)
    assert.is_nil(result.err:find("hid", 1, true))
    result = fixture.run({ fixture.sdlua, "run", script, "--library", library, "--progress",
      "plain" }, "SDLUA_DEBUG=1")
    assert_find("debug: hid\n", result.err)
  end)

  it("ends complete with a warning", function()
    write_job("ctx:add_warning('careful') return {}")
    local output, result = run_json()
    assert.equal(0, result.status)
    assert.equal("complete", output.completeness)
  end)

  it("ends with 3 where it noted errors, which are rows of the view", function()
    write_job([[ctx:add_non_critical_error { message = "no", path = "a/b", operation = "Copy",
      error = "EACCES" }
      ctx:commit()
      ctx:add_non_critical_error("only\27 text")
      return { done = 1 }]])
    local output, result = run_json()
    assert.equal(3, result.status, result.err)
    assert.equal("complete with errors", output.completeness)
    assert.same({ EACCES = 1, EFAILED = 1 }, output.error_counts)
    assert.same({ { "a/b", "Copy", "EACCES", "no" }, { "", "custom", "EFAILED", "only\27 text" } },
      fixture.sql(library, "SELECT path, operation, error, message FROM errors ORDER BY at, error"))
    result = run("--progress", "none")
    assert.equal(3, result.status)
    assert_find("custom: complete with errors: 2 errors (1 EACCES, 1 EFAILED)", result.out)
  end)

  it("must say what a non-critical error is", function()
    write_job("ctx:add_non_critical_error { path = 'x' }")
    local result = run()
    assert.equal(15, result.status)
    assert_find("job.lua:5: add_non_critical_error: a message is missing", result.err)
  end)

  it("gives an error of a branch to pcall, and goes on", function()
    write_job([[local reached = 0
      local ok, err = pcall(ctx.concurrently, ctx,
        function() ctx:sleep(0.01) error("one") end,
        function() ctx:sleep(5) reached = 1 end)
      ctx:checkpoint()
      return { ok = ok, err = err, reached = reached }]])
    local output = run_json()
    assert.same({ false, 0 }, { output.ok, output.reached })
    assert_find("job.lua:7: one", output.err)
  end)

  it("may report anything as progress without ending the run", function()
    write_job([[for _, p in ipairs { { phase = { name = "a\27b", current = "x", total = {} } },
        { phase = 5, total_found = { files = "x", dirs = 1 / 0, bytes = 0 / 0 } },
        { processing_rate = 1 / 0, estimated_remaining = 1e300, current_path = {} },
        { message = {}, phase = {}, total_found = 5, processing_rate = "x" } } do
        ctx:progress(p)
        ctx:sleep(1.1)
      end]])
    for _, mode in ipairs { "plain", "json" } do
      local result = run("--progress", mode)
      assert.equal(0, result.status, result.err)
      assert.is_nil(result.err:find("\27", 1, true))
    end
  end)
end)

describe("library_db", function()
  it("binds every kind of value, both ways", function()
    write_job([[local db = ctx:library_db()
      assert(db:exec("CREATE TABLE mine(id INTEGER PRIMARY KEY, v ANY) STRICT"))
      local values = { 1, 1.5, "text", "'; DROP TABLE mine; --", "\xff\0", sd.blob("b"), true,
        math.mininteger }
      for i, value in ipairs(values) do
        assert(db:exec("INSERT INTO mine VALUES(?, ?)", { i, value }) == 1)
      end
      assert(db:exec("INSERT INTO mine VALUES(?, ?)", { 9, nil, n = 2 }))
      local rows = assert(db:query("SELECT v, id FROM mine WHERE id >= ?1 ORDER BY id", { 1 }))
      assert(#rows == 9 and rows[3].v == "text" and rows[8].v == math.mininteger)
      assert(rows[9].v == nil and rows[7].v == 1 and rows[5].v == "\xff\0")
      return { n = #rows }]])
    local output, result = run_json()
    assert.equal(0, result.status, result.err)
    assert.equal(9, output.n)
    assert.same({ { "1", "integer", "1" }, { "2", "real", "1.5" }, { "3", "text", "'text'" },
      { "4", "text", "'''; DROP TABLE mine; --'" }, { "5", "blob", "X'FF00'" },
      { "6", "blob", "X'62'" }, { "7", "integer", "1" },
      { "8", "integer", "-9223372036854775808" }, { "9", "null", "NULL" } },
      fixture.sql(library, "SELECT id, typeof(v), quote(v) FROM mine ORDER BY id"))
  end)

  it("gives nil, a message and a code where the statement is wrong or must not write", function()
    write_job([[local db, out = ctx:library_db(), {}
      for i, sql in ipairs { "SELECT nosuch", "DELETE FROM job", "SELECT ?" } do
        local rows, message, code = db:query(sql)
        out[i] = { rows = rows and true, message = message, code = code }
      end
      local n, message, code = db:exec("INSERT INTO nowhere VALUES(1)")
      out[4] = { rows = n, message = message, code = code }
      return { out = out }]])
    local output, result = run_json()
    assert.equal(0, result.status, result.err)
    for i, part in ipairs { "no such column", "readonly", "values", "no such table" } do
      assert.is_nil(output.out[i].rows)
      assert_find(part, output.out[i].message)
      assert.is_string(output.out[i].code)
    end
  end)

  it("refuses a value that is none, where it is given", function()
    write_job("ctx:library_db():query('SELECT ?', { print })")
    local result = run()
    assert.equal(15, result.status)
    assert_find("a function cannot be a value in SQL", result.err)
  end)

  it("runs a transaction wholly or not at all", function()
    write_job([[local db = ctx:library_db()
      assert(db:exec("CREATE TABLE mine(id INTEGER PRIMARY KEY) STRICT"))
      local function insert(a, b)
        return db:transaction(function(tx)
          tx:exec("INSERT INTO mine VALUES(?)", { a })
          tx:exec("INSERT INTO mine VALUES(?)", { b })
        end)
      end
      local ok = insert(1, 2)
      local failed, message, code = insert(3, 1)
      local raised = pcall(db.transaction, db, function(tx)
        tx:exec("INSERT INTO mine VALUES(9)")
        error("no")
      end)
      return { ok = ok, failed = failed, message = message, code = code, raised = raised }]])
    local output, result = run_json()
    assert.equal(0, result.status, result.err)
    assert.is_true(output.ok)
    assert.is_nil(output.failed)
    assert_find("UNIQUE", output.message)
    assert.is_false(output.raised)
    assert.same({ { "1" }, { "2" } }, fixture.sql(library, "SELECT id FROM mine ORDER BY id"))
  end)
end)

describe("after a kill", function()
  it("the state is that of the last checkpoint", function()
    write_job(([[local state = ctx:state(function() return { n = 0, list = {}, f = 1.0 } end)
      if state.n > 0 then return { state = state, f = math.type(state.f) } end
      state.n, state.list = 5, { "a", { b = "\xff\0" }, true }
      ctx:checkpoint()
      state.n = 6
      io.open(%q, "w"):close()
      ctx:sleep(60)]]):format(dir .. "/ready"))
    kill_when(exists(dir .. "/ready"))
    local result = run("--json", "--progress", "plain")
    assert.equal(0, result.status, result.err)
    assert_find("resuming job 1, which was interrupted\n", result.err)
    local output = dkjson.decode(result.out)
    assert.equal(1, output.job)
    assert.same({ n = 5, list = { "a", { b = "\\xff\\x00" }, true }, f = 1 }, output.state)
    assert.equal("float", output.f)
  end)

  it("a job with other arguments is another one", function()
    write_job(([[local state = ctx:state(function() return { n = 0 } end)
      if self.args.quick or state.n > 0 then return { n = state.n } end
      ctx:save_state { n = 1 }
      io.open(%q, "w"):close()
      ctx:sleep(60)]]):format(dir .. "/ready"), "args = { quick = sd.arg.boolean {} }")
    kill_when(exists(dir .. "/ready"))
    assert.equal(0, run_json("--quick", "yes").n)
    assert.same({ { "custom", "queued" } },
      fixture.sql(library, "SELECT name, status FROM jobs WHERE status <> 'completed'"))
    assert.equal(1, run_json().n)
  end)

  it("--fresh begins anew", function()
    write_job(([[local state = ctx:load_state()
      if state or self.args.n == 2 or io.open(%q) then return { n = state and state.n } end
      ctx:queue("q"):push(1)
      ctx:checkpoint_with_state { n = 1 }
      io.open(%q, "w"):close()
      ctx:sleep(60)]]):format(dir .. "/ready", dir .. "/ready"))
    kill_when(exists(dir .. "/ready"))
    local result = run("--fresh", "--json", "--progress", "plain")
    assert_find("starting over: job 1", result.err)
    local output = dkjson.decode(result.out)
    assert.equal(2, output.job)
    assert.is_nil(output.n)
    fixture.check_nothing_left(library)
  end)

  it("a job that is not resumable starts from its beginning", function()
    write_job(([[local state, queue = ctx:state(function() return { n = 0 } end), ctx:queue("q")
      if io.open(%q) then return { n = state.n, items = #queue } end
      for i = 1, 10 do queue:push(i) end
      state.n = 1
      ctx:checkpoint()
      io.open(%q, "w"):close()
      ctx:sleep(60)]]):format(dir .. "/ready", dir .. "/ready"), "resumable = false")
    kill_when(exists(dir .. "/ready"))
    local output = run_json()
    assert.same({ 0, 0 }, { output.n, output.items })
    fixture.check_nothing_left(library)
  end)

  it("another version of the script is refused with 13, and --fresh gets on", function()
    local body = ([[if io.open(%q) then return { ok = true } end
      ctx:save_state { n = 1 }
      io.open(%q, "w"):close()
      ctx:sleep(60)]]):format(dir .. "/ready", dir .. "/ready")
    write_job(body)
    kill_when(exists(dir .. "/ready"))
    write_job(body, "version = 2")
    local result = run()
    assert.equal(13, result.status, result.err)
    assert_find("begun by version 1", result.err)
    assert_find("--fresh", result.err)
    assert.equal(0, run("--fresh").status)
  end)

  -- Popped and finished before the checkpoint: gone. Popped only, or finished after it: back.
  it("items that were leased come back, those that were finished do not", function()
    write_job(([[local state = ctx:state(function() return { q = ctx:queue("q") } end)
      local queue = state.q
      if io.open(%q) then
        local left = {}
        while #queue > 0 do
          local item, lease = queue:pop()
          left[#left + 1] = item.n
          queue:finish(lease)
        end
        return { left = left }
      end
      for i = 1, 6 do queue:push { n = i } end
      local _, first = queue:pop()
      local _, second = queue:pop()
      queue:pop()
      queue:finish(second)
      ctx:checkpoint()
      queue:finish(first)
      queue:push { n = 7 }
      io.open(%q, "w"):close()
      ctx:sleep(60)]]):format(dir .. "/ready", dir .. "/ready"))
    kill_when(exists(dir .. "/ready"))
    assert.same({ { "5" } }, fixture.sql(library, "SELECT count(*) FROM job_queue_item"))
    local output, result = run_json()
    assert.equal(0, result.status, result.err)
    assert.same({ 1, 3, 4, 5, 6 }, output.left)
    fixture.check_nothing_left(library)
  end)

  it("several branches that pop what is on the disk get every item once", function()
    write_job(([[local queue, got = ctx:queue("q"), {}
      if not io.open(%q) then
        for i = 1, 300 do queue:push(i) end
        ctx:checkpoint()
        io.open(%q, "w"):close()
        ctx:sleep(60)
      end
      local function work()
        while true do
          local item, lease = queue:pop()
          if not item then return end
          got[#got + 1] = item
          ctx:sleep(0.001)
          queue:finish(lease)
        end
      end
      ctx:concurrently(work, work, work, work)
      table.sort(got)
      return { n = #got, first = got[1], last = got[#got], leased = queue:leased() }]])
      :format(dir .. "/ready", dir .. "/ready"))
    kill_when(exists(dir .. "/ready"))
    local output, result = run_json()
    assert.equal(0, result.status, result.err)
    assert.same({ 300, 1, 300, 0 }, { output.n, output.first, output.last, output.leased })
  end)

  -- Each item adds one row and its successor, in the commit that finishes it. Whenever the process
  -- dies, rows and queue agree: no number is missing, none is there twice.
  it("rows of a table of one's own and the queue agree, over many kills", function()
    fixture.seed("kills")
    write_job([[local state = ctx:state(function() return { q = ctx:queue("q"), done = 0 } end)
      assert(ctx:library_db():exec("CREATE TABLE IF NOT EXISTS mine(n INTEGER, at INTEGER) STRICT"))
      if state.done == 0 and #state.q == 0 then
        state.q:push(1)
        state.q:push(1000)
      end
      while #state.q > 0 do
        ctx:check_interrupt()
        local n, lease = state.q:pop()
        ctx:commit(function(tx)
          tx:exec("INSERT INTO mine VALUES(?, ?)", { n, sd.sys.wall_ns() })
          if n % 1000 ~= 400 then state.q:push(n + 1) end
          state.q:finish(lease)
          state.done = state.done + 1
        end)
        ctx:sleep(0.001)
      end
      return { done = state.done }]])
    local output, kills = nil, 0
    for _ = 1, 60 do
      local process = fixture.start({ fixture.sdlua, "run", script, "--library", library, "--json",
        "--progress", "none" }, { out = dir .. "/out" })
      if process:sleep(math.random(20, 400)) then
        assert.equal(0, (process:wait()))
        output = dkjson.decode(fixture.read(dir .. "/out"))
        break
      end
      process:kill("sigkill")
      process:wait()
      kills = kills + 1
      if exists(library .. "/library.db")() then
        assert.same({ { "ok" } }, fixture.sql(library, "PRAGMA integrity_check"))
        -- The process may die between the end of its job and its own: the next one would be new.
        local ok, rows = pcall(fixture.sql, library, "SELECT output FROM job_history")
        if ok and rows[1] then
          output = dkjson.decode(rows[1][1])
          break
        end
      end
    end
    assert.is_table(output, "did not come to an end")
    print(("%d kills"):format(kills))
    assert.equal(801, output.done)
    assert.same({ { "801", "801", "1", "1400" } },
      fixture.sql(library, "SELECT count(*), count(DISTINCT n), min(n), max(n) FROM mine"))
    fixture.check_nothing_left(library)
  end)
end)

describe("a signal", function()
  for name, status in pairs { sigint = 130, sigterm = 143 } do
    it(("%s pauses a job, which goes on later"):format(name:upper()), function()
      write_job(([[local state = ctx:state(function() return { n = 0 } end)
        io.open(%q, "w"):close()
        while state.n < 20 do
          state.n = state.n + 1
          ctx:sleep(0.03)
        end
        return { n = state.n, elapsed = ctx:elapsed() }]]):format(dir .. "/ready"))
      local process = fixture.start({ fixture.sdlua, "run", script, "--library", library })
      while not exists(dir .. "/ready")() do process:sleep(5) end
      process:sleep(100)
      process:kill(name)
      local ended, ms = process:wait(5000)
      assert.equal(status, ended)
      assert.is_true(ms < 200, tostring(ms))
      assert.same({ { "paused" } }, fixture.sql(library, "SELECT status FROM jobs"))
      local output = run_json()
      assert.equal(20, output.n)
      assert.equal(1, output.job)
      assert.is_true(output.elapsed >= 0.5) -- the sleep that was cut short is not slept again
    end)
  end

  it("ends a job that never comes to a safe point all the same", function()
    write_job(([[io.open(%q, "w"):close()
      while true do sd.sleep(0.01) end]]):format(dir .. "/ready"))
    local process = fixture.start({ fixture.sdlua, "run", script, "--library", library })
    while not exists(dir .. "/ready")() do process:sleep(5) end
    process:kill("sigint")
    local ended, ms = process:wait(5000)
    assert.equal(130, ended)
    -- (The thread sanitizer sleeps for a second when its process ends.)
    assert.is_true(ms < (fixture.is_sanitized() and 3000 or 400), tostring(ms))
  end)
end)
