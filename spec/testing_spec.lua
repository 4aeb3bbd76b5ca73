-- sd.testing: it finds what is wrong with a job, finds nothing where nothing is wrong, and the
-- indexer stands it.
local fixture = require "support.fixture"
local sd = require "sd"
local testing = require "sd.testing"
local uv = require "sd.core".luv

local slow = fixture.is_sanitized()

local dir

before_each(function()
  dir = fixture.temp()
  uv.os_setenv("TMPDIR", dir)
end)

after_each(function()
  uv.os_unsetenv("TMPDIR")
  assert.equal("", fixture.sh("find " .. dir .. " -maxdepth 1 -name 'sdlua-testing*'"))
  fixture.remove(dir)
end)

-- A job script; `body` is that of run(self, ctx).
local function script(body, name)
  local path = ("%s/%s.lua"):format(dir, name or "job")
  fixture.write(path, ('local sd = require "sd"\nlocal J = sd.job.define { name = "%s",'
    .. " args = { n = sd.arg.integer { default = 3 } } }\nfunction J:run(ctx)\n"
    .. "local _ = self, ctx\n%s\nend\nreturn J\n"):format(name or "job", body))
  return path
end

local function options_of(body, more)
  local options = { job = script(body) }
  for key, value in pairs(more or {}) do options[key] = value end
  return options
end

local function check(body, more)
  return testing.interrupt_everywhere(options_of(body, more))
end

-- The message of the failure, which must be one.
local function failure_of(body, more)
  local ok, message = pcall(check, body, more)
  assert.is_false(ok, "nothing was found")
  return tostring(message)
end

local function assert_find(part, whole)
  if not whole:find(part, 1, true) then error(("%q is not in %q"):format(part, whole), 2) end
end

local TABLE = 'ctx:library_db():exec("CREATE TABLE IF NOT EXISTS line(n INTEGER)")\n'
local STATE = "local state = ctx:state(function() return { n = 0 } end)\n"

-- A line in each round, in the same commit as the state.
local RIGHT = TABLE .. STATE .. [[
while state.n < self.args.n do
  ctx:check_interrupt()
  ctx:commit(function(tx)
    state.n = state.n + 1
    tx:exec("INSERT INTO line VALUES(?)", { state.n })
  end)
end
return { n = state.n }]]

-- The table keeps the lines of a cancelled run: the next one differs, as it is not asked here.
local NOT_AGAIN = { ways = { "pause", "reopen", "death" } }

local function count(points)
  local counts = {}
  for _, point in ipairs(points) do counts[point.kind] = (counts[point.kind] or 0) + 1 end
  return counts
end

describe("sd.testing", function()
  it("interrupts at every safe point, and finds nothing in a job that is right", function()
    local report = check(RIGHT, { ways = { "pause", "reopen", "death", "kill" } })
    assert.same({ check = 3, commit = 3, committed = 3 }, count(report.points))
    assert.equal(6 + 6 + 9 + 9, report.runs)
    assert.equal(0, report.missed)
    assert.same({ n = 3 }, report.output)
    assert.same({ kind = "check", job = "job", place = "job.lua:8" }, report.points[1])
    assert.equal("job.lua:9", report.points[2].place)
  end)

  it("does so at waits, in branches and in children", function()
    local report = check([[ctx:concurrently(function() ctx:sleep(0.001) end,
        function() ctx:commit() end)
      local state = ctx:state(function() return { given = self.args.n == 0 } end)
      if not state.given then
        state.given = true
        ctx:spawn_child(J { n = 0 })
      end
      return { children = #ctx:wait_for_children() }]])
    local counts = count(report.points)
    assert.is_true(counts.wait >= 3 and counts.commit >= 3, require "sd.json".encode(counts))
    assert.is_true(report.runs > 4 * 6)
  end)

  it("takes a definition instead of a script", function()
    local Child = sd.job.define { name = "child", args = { n = sd.arg.integer {} } }
    function Child:run(ctx)
      ctx:check_interrupt()
      return self.args.n * 2
    end
    local Parent = sd.job.define { name = "parent" }
    function Parent:run(ctx)
      local state = ctx:state(function() return { given = 0 } end)
      while state.given < 3 do
        state.given = state.given + 1
        ctx:spawn_child(Child { n = state.given })
        ctx:commit()
      end
      local sum = 0
      for _, child in ipairs(ctx:wait_for_children()) do sum = sum + child.output end
      return { sum = sum }
    end
    local report = testing.interrupt_everywhere { job = Parent, jobs = { Child } }
    assert.same({ sum = 12 }, report.output)
    local of_children = 0
    for _, point in ipairs(report.points) do
      if point.job == "child" then of_children = of_children + 1 end
    end
    assert.equal(3, of_children)
  end)

  it("finds what changes after the commit that it belongs to", function()
    local message = failure_of(TABLE .. STATE .. [[
      local list = { "a", "b" }
      while state.n < #list do
        ctx:commit(function(tx) tx:exec("INSERT INTO line VALUES(?)", { state.n }) end)
        state.n = state.n + 1
      end
      return state.n]], NOT_AGAIN)
    assert_find("death at point 2 (committed of job job at job.lua:9)", message)
    assert_find("\n+ line: n=0", message)
  end)

  it("finds the same when the process is killed", function()
    local message = failure_of(TABLE .. STATE .. [[
      while state.n < 2 do
        ctx:commit(function(tx) tx:exec("INSERT INTO line VALUES(?)", { state.n }) end)
        state.n = state.n + 1
      end
      return state.n]], { ways = { "kill" } })
    assert_find("kill at point 2 (committed of job job at job.lua:8)", message)
    assert_find("\n+ line: n=0", message)
  end)

  it("finds what is written before the commit", function()
    local message = failure_of(TABLE .. STATE .. [[
      while state.n < 2 do
        state.n = state.n + 1
        ctx:library_db():exec("INSERT INTO line VALUES(?)", { state.n })
        ctx:commit()
      end]], NOT_AGAIN)
    assert_find("death at point 1 (commit of job job", message)
    assert_find("\n+ line: n=1", message)
  end)

  it("finds what is in a variable, and not in the state", function()
    local body = STATE .. [[
      local sum = 0
      while state.n < 3 do
        state.n = state.n + 1
        sum = sum + state.n
        ctx:commit()
        ctx:check_interrupt()
      end
      return { sum = sum }]]
    assert_find("reopen at point 1", failure_of(body))
    assert_find('- output: [{"sum":6}]', failure_of(body))
    assert.equal(0, check(body, { ways = { "pause" } }).missed)
  end)

  it("finds what a cancelled run leaves for the next one", function()
    local message = failure_of(RIGHT, { ways = { "cancel" } })
    assert_find("cancel at point 3", message)
    assert_find("+ line: n=1", message)
  end)

  it("finds a job that does not end", function()
    local message = failure_of("if ctx.attempt > 1 then ctx:sleep(99) end\n" .. RIGHT,
      { timeout = 0.5 })
    assert_find("reopen at point 1", message)
    assert_find("the job has not ended within 0.5 s", message)
  end)

  it("finds a job that fails when it goes on", function()
    local message = failure_of("if ctx.attempt > 1 then error 'no second time' end\n" .. RIGHT)
    assert_find("reopen at point 1", message)
    assert_find("the job is failed", message)
    assert_find("job.lua:5: no second time", message)
  end)

  it("says so where the job fails without interruption", function()
    assert_find("without interruption: the job is failed", failure_of("error 'broken'"))
  end)

  it("finds jobs that are left", function()
    local message = failure_of([[
      if ctx.attempt > 1 then
        local run_at = require "sd.core".sys.wall_ns() / 1e9 + 1000
        ctx.library.jobs:dispatch(J { n = 77 }, nil, { run_at = run_at })
      end
      ctx:check_interrupt()]])
    assert_find('+ open jobs: name="job" status="queued"', message)
  end)

  it("leaves out what may differ", function()
    local body = [[ctx:library_db():exec("CREATE TABLE IF NOT EXISTS run(n INTEGER, at INTEGER)")
      local state = ctx:state(function() return { n = 0 } end)
      ctx:commit(function(tx)
        if state.n == 0 then tx:exec("INSERT INTO run VALUES(1, random())") end
        state.n = 1
      end)
      ctx:check_interrupt()
      return { n = 1, attempt = ctx.attempt }]]
    assert_find("reopen at point 1", failure_of(body, { ignore = { run = { "at" } },
      ways = { "reopen" } }))
    local report = check(body, { ignore = { run = { "at" } }, output = function(output, way)
      assert.is_truthy(way)
      output.attempt = nil
      return output
    end, ways = { "pause", "reopen", "death" } })
    assert.equal(1, report.output.attempt)
  end)

  it("calls prepare once, and reset and check for each run", function()
    local prepared, resets, checks = 0, 0, {}
    local report = check(RIGHT, {
      ways = { "death" },
      prepare = function(library)
        prepared = prepared + 1
        assert(library.db:exec("CREATE TABLE old(x)"))
        assert(library.db:exec("INSERT INTO old VALUES(5)"))
      end,
      reset = function() resets = resets + 1 end,
      check = function(library, output, way)
        assert.same({ n = 3 }, output)
        assert.equal(5, library.db:query("SELECT x FROM old")[1].x)
        checks[way] = (checks[way] or 0) + 1
      end,
    })
    assert.equal(1, prepared)
    assert.equal(1 + report.runs, resets)
    assert.same({ none = 1, death = report.runs }, checks)
  end)

  it("passes on what a check of one's own finds", function()
    assert_find("not four", failure_of(RIGHT, { check = function(_, output)
      assert(output.n == 4, "not four")
    end }))
  end)

  it("takes some of the points where that is said", function()
    assert.equal(3 * 2, check(RIGHT, { most = 2, ways = { "pause", "reopen", "death" } }).runs)
  end)

  it("refuses what it does not know", function()
    for _, case in ipairs {
      { {}, "job is neither a script nor a definition" },
      { { job = "nosuchjob" }, "no job 'nosuchjob'" },
      { { job = "indexer", way = {} }, "no option 'way'" },
      { { job = "indexer", ways = { "none" } }, "no way 'none'" },
      { { job = "indexer", most = "x" }, "most is not a number" },
    } do
      local ok, message = pcall(testing.interrupt_everywhere, case[1])
      assert.is_false(ok)
      assert_find(case[2], tostring(message))
    end
    local Definition = sd.job.define { name = "definition" }
    function Definition:run(ctx) ctx:check_interrupt() end
    local ok, message = pcall(testing.interrupt_everywhere, { job = Definition,
      ways = { "kill" } })
    assert.is_false(ok)
    assert_find("a job must be in a file", message)
  end)
end)

-- ---- the indexer ----

-- A copy of the script with smaller steps, so that a small tree has many points.
local function indexer(with_children)
  local text = fixture.read(require "sd.root" .. "/jobs/indexer.lua")
  local function set(from, to)
    local at, last = text:find(from, 1, true)
    assert(at, "the indexer has changed: no " .. from)
    text = text:sub(1, at - 1) .. to .. text:sub(last + 1)
  end
  set("BATCHES_WAITING, OF_A_PART = 64, 16", "BATCHES_WAITING, OF_A_PART = 2, 2")
  set("COMMIT_ROWS, COMMIT_SECONDS = 20000, 0.25", "COMMIT_ROWS, COMMIT_SECONDS = 6, 0")
  if with_children then
    set("#state.dirs_to_walk > 10 and state.stats.dirs > 100",
      "#state.dirs_to_walk > 0 and state.stats.dirs > 0")
    set("above + depth + 1 < 5", "above + depth + 1 < 99")
  end
  local path = dir .. "/indexer.lua"
  fixture.write(path, text)
  return path
end

local function make_tree(root)
  fixture.sh(([[mkdir -p %s && cd %s && mkdir -p a/b c/d/e f gone/x becomes_file &&
    for i in 1 2 3 4; do echo $i >a/f$i; echo x$i >c/d/g$i; echo same >f/s$i; echo $i >gone/x/$i
    done
    ln a/f1 f/hard && ln -s a link && head -c 150000 /dev/zero | tr '\0' x >c/big &&
    mkfifo f/pipe && echo 1 >becomes_file/1 && echo 1 >becomes_dir && : >c/empty]])
    :format(root, root))
end

local function change_tree(root)
  fixture.sh(([[cd %s && rm -rf gone f/s3 becomes_file becomes_dir a/f1 &&
    echo 1 >becomes_file && mkdir becomes_dir && echo 2 >becomes_dir/2 && echo new >a/new &&
    mkdir a/b/n && echo n >a/b/n/n && echo changed >a/f2 && mv c/d/g2 c/d/e/moved]]):format(root))
end

-- What is the same in every run; what a run counts of its own work is less after a cancelled one.
local function lasting(output, way)
  output.duration, output.location_id, output.costs = nil, nil, nil
  if way == "cancel" then output.changes, output.hashed = nil, nil end
  return output
end

local function check_indexer(mode, options)
  local root = dir .. "/tree"
  make_tree(root)
  local job = indexer(options.children)
  local args = { root = root, mode = mode, batch = 3, chunk = 3, rules = options.rules }
  local counting = ("find %s %s | wc -l"):format(root, options.find or "")
  local names = fixture.sh(counting)
  local report = testing.interrupt_everywhere {
    job = job, args = args, output = lasting, ways = options.ways, timeout = slow and 300 or 60,
    most = slow and 3 or options.most,
    prepare = options.again and function(library)
      local first = { root = root, mode = options.again, batch = 3, chunk = 3 }
      assert(library.jobs:dispatch_by_name(job, first):wait())
      if not options.unchanged then change_tree(root) end
      names = fixture.sh(counting)
    end,
    check = function(library)
      local n = library.db:query("SELECT count(*) AS n FROM entries")[1].n
      assert(n == math.tointeger(tonumber(names)), n .. " entries")
    end,
  }
  assert.is_true(#report.points > 25, #report.points .. " points")
  assert.is_true(report.missed * 2 < report.runs, report.missed .. " missed")
  return report
end

describe("the indexer comes to the same, wherever it is interrupted,", function()
  it("in a first run", function() check_indexer("content", {}) end)

  it("in a first run with children", function()
    local report = check_indexer("shallow", { children = true })
    local children = 0
    for _, point in ipairs(report.points) do
      if point.kind == "wait" then children = children + 1 end
    end
    assert.is_true(children > 0)
  end)

  it("in a run of a higher mode over a tree that has changed", function()
    check_indexer("deep", { again = "shallow", ways = { "reopen", "death" } })
  end)

  for _, mode in ipairs { "shallow", "content", "deep" } do
    it(("in mode %s over a tree that has changed, with children"):format(mode), function()
      check_indexer(mode, { again = mode, children = true, most = 12 })
    end)
  end

  -- In which states wait for a later commit.
  it("in a run in which nothing has changed", function()
    check_indexer("content", { again = "content", unchanged = true })
  end)

  it("with other rules than before, with children", function()
    local report = check_indexer("shallow", { again = "shallow", children = true, most = 20,
      rules = sd.rules.text { exclude = { "g*", "b/" }, newer = "1w" },
      find = "-name 'g*' -prune -o -name b -type d -prune -o -print" })
    assert.same({ exclude = 4 }, report.output.skipped) -- a/b, c/d/g1, g3, g4
  end)

  it("when its process is killed", function()
    check_indexer("deep", { children = true, ways = { "kill" }, most = 20 })
  end)
end)
