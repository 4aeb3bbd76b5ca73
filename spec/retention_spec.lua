-- How much of the history is kept: what goes by itself, and what stays because somebody needs it.
local dkjson = require "dkjson"
local fixture = require "support.fixture"
local retention = require "sd.retention"
local sd = require "sd"

local dir, library, script, tree

before_each(function()
  dir = fixture.temp()
  library, script, tree = dir .. "/library", dir .. "/one.lua", dir .. "/tree"
  fixture.write(script, [[
    local sd = require "sd"
    local One = sd.job.define { name = "one", args = { fail = sd.arg.boolean { flag = true } } }
    function One:run(ctx)
      ctx:log("a line")
      ctx:commit()
      if self.args.fail then error("no", 0) end
      return { costs = 7 }
    end
    return One
  ]])
end)
after_each(function() fixture.remove(dir) end)

local function sql(query) return fixture.sql(library, query) end

local function change(query)
  fixture.sh(("sqlite3 %s/library.db %s"):format(fixture.quote(library), fixture.quote(query)))
end

local function run(name, ...)
  return fixture.run_sdlua("run", name, "--progress", "none", "--library", library, ...)
end

local function one(...) return run(script, ...) end

local function index(...)
  local result = fixture.run_sdlua("index", "--progress", "none", "--library", library, ...)
  assert.is_truthy(result.status == 0 or result.status == 3, result.err)
end

local function job(...)
  local result = fixture.run_sdlua("job", (...), "--library", library, select(2, ...))
  assert.equal(0, result.status, result.err)
  return result.out
end

-- Runs fn(jobs, library) with an open library.
local function with_jobs(fn)
  return sd.run(function()
    local lib <close> = assert(sd.library.open(library, { create = true }))
    return fn(lib.jobs, lib)
  end)
end

-- Rows that belong to jobs which are not there.
local function orphans()
  local parts = {}
  for i, name in ipairs { "job_log", "job_event", "job_error", "job_skip" } do
    parts[i] = ("SELECT job_id FROM %s"):format(name)
  end
  return sql(("SELECT count(*) FROM (%s) WHERE job_id NOT IN (SELECT id FROM jobs)"):format(
    table.concat(parts, " UNION ALL ")))[1][1]
end

local function ids(where)
  local list = {}
  for i, row in ipairs(sql("SELECT id FROM job_history " .. (where or "") .. " ORDER BY id")) do
    list[i] = tonumber(row[1])
  end
  return list
end

describe("finished jobs", function()
  it("are forgotten by themselves beyond the count that was asked for", function()
    for _ = 1, 4 do assert.equal(15, one("--fail").status) end
    assert.equal("kept: the newest 2, for 90 days\n2 jobs forgotten\n",
      job("retention", "--keep", "2"))
    assert.same({ 3, 4 }, ids())
    for _ = 1, 3 do one("--fail") end
    with_jobs(function(jobs) -- a runner that lives a little longer than its job
      jobs:dispatch_by_name(script, { fail = true }):wait()
      repeat sd.sleep(0.01) until #jobs:list { all = true } <= 2
    end)
    assert.same({ 7, 8 }, ids())
    assert.equal("0", orphans())
    assert.same({ { "2" } }, sql("SELECT count(DISTINCT job_id) FROM job_log"))
  end)

  it("are forgotten by themselves after ninety days, without a word from the user", function()
    for _ = 1, 3 do one("--fail") end
    change("UPDATE job_history SET finished_at = finished_at - 91 * 86400 * 1000000000"
      .. " WHERE id < 3")
    with_jobs(function(jobs)
      jobs:dispatch_by_name(script):wait()
      repeat sd.sleep(0.01) until #jobs:list { all = true } <= 2
    end)
    assert.same({ 3, 4 }, ids())
  end)

  it("are forgotten by themselves beyond a thousand", function()
    one("--fail")
    change([[WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
      INSERT INTO job SELECT i, randomblob(16), NULL, i, name, version, script, NULL, args, NULL,
        NULL, 'queued', priority, 0, NULL, NULL, NULL, 1, NULL, NULL, NULL, 0, NULL, NULL, 0, NULL,
        0 FROM n, job_history]])
    change([[INSERT INTO job_history SELECT id, uuid, NULL, name, version, script, args, NULL,
      'cancelled', priority, NULL, 1, NULL, NULL, created_at, NULL,
      0, 1, NULL, NULL FROM job;
      DELETE FROM job;
      UPDATE job_history SET finished_at =
        CAST(strftime('%s', 'now') AS INTEGER) * 1000000000 - 2000 + id]])
    with_jobs(function(jobs)
      jobs:dispatch_by_name(script):wait()
      repeat sd.sleep(0.01) until #jobs:list { all = true, limit = 2000 } <= 1000
    end)
    assert.same({ { "1000", "502", "1501" } }, sql("SELECT count(*), min(id), max(id)"
      .. " FROM job_history"))
    assert.equal("0", orphans())
  end)

  it("cost no write where none has to go", function()
    for _ = 1, 3 do one() end
    with_jobs(function(_, lib)
      local before = fixture.sh(("cat %s/library.db* | xxhsum"):format(fixture.quote(library)))
      assert.equal(0, retention.forget(lib, retention.limits(lib)))
      assert.equal(0, retention.forget(lib, { jobs = 3 }))
      assert.equal(0, retention.forget(lib, { jobs = 3, days = 0.5 }))
      assert.equal(before, fixture.sh(("cat %s/library.db* | xxhsum"):format(
        fixture.quote(library))))
    end)
  end)

  it("stay where the next one asks for their output", function()
    one()
    one("--fail")
    one("--fail")
    assert.equal("2 jobs forgotten\n", job("prune", "--keep", "0"))
    assert.same({ 1 }, ids())
    with_jobs(function(jobs)
      local Job = sd.job.define { name = "one" }
      function Job.run(_, ctx) return ctx:last_output("costs") end
      assert.equal(7, (jobs:dispatch(Job()):wait()))
    end)
  end)

  it("of a location stay where they were the last ones, with errors and skips", function()
    fixture.sh(("mkdir -p %s/b %s/other/a"):format(tree, dir))
    for _ = 1, 2 do
      index(tree)
      index(dir .. "/other")
    end
    -- As where a directory could not be read, in both runs.
    change("INSERT INTO job_error SELECT id, id, location_id, 'b', 'open', 'EACCES', 'no', 0"
      .. " FROM job_history WHERE location_id = 1;"
      .. " INSERT INTO job_skip SELECT id, location_id, 'c', 'pseudo' FROM job_history"
      .. " WHERE location_id = 1")
    assert.equal("2 jobs forgotten\n", job("prune", "--keep", "0"))
    assert.same({ 3, 4 }, ids())
    assert.same({ { "3" } }, sql("SELECT job_id FROM errors"))
    assert.same({ { "3", "c" } }, sql("SELECT job_id, path FROM skips"))
    assert.same({ { "1" }, { "1" } }, sql("SELECT indexed_at IS NOT NULL FROM locations"))
    assert.equal("0", orphans())
  end)

  it("go with their parts, and not without them", function()
    local Job = sd.job.define { name = "tree", args = { left = sd.arg.integer {} } }
    function Job:run(ctx)
      for _ = 1, self.args.left do ctx:spawn_child(Job { left = self.args.left - 1 }) end
      return #ctx:wait_for_children()
    end
    with_jobs(function(jobs)
      for _ = 1, 2 do jobs:dispatch(Job { left = 3 }):wait() end
    end)
    -- As those of an index run have it.
    change("UPDATE job_history SET location_id = 1")
    local tops = ids("WHERE parent_id IS NULL")
    assert.equal(2, #tops)
    assert.equal("32", sql("SELECT count(*) FROM job_history")[1][1])
    assert.equal("1 job forgotten\n", job("prune", "--keep", "0"))
    assert.same({ tops[2] }, ids("WHERE parent_id IS NULL"))
    assert.equal("16", sql("SELECT count(*) FROM job_history")[1][1])
    assert.equal("0", sql("SELECT count(*) FROM job_history WHERE parent_id NOT IN"
      .. " (SELECT id FROM job_history)")[1][1])
    assert.equal("0", orphans())
  end)

  it("stay where they are children of an open job", function()
    local goes_on = false
    local Child = sd.job.define { name = "child" }
    function Child.run() return { x = 5 } end
    local Job = sd.job.define { name = "parent" }
    function Job.run(_, ctx)
      ctx:spawn_child(Child())
      ctx:commit()
      while not goes_on do ctx:sleep(0.01) end
      return ctx:wait_for_children()[1].output.x
    end
    with_jobs(function(jobs, lib)
      local handle = jobs:dispatch(Job())
      repeat sd.sleep(0.005) until #lib:rows("SELECT 1 FROM job_history") == 1
      assert.equal(0, retention.forget(lib, { jobs = 0, days = 0 }))
      goes_on = true
      assert.equal(5, (handle:wait()))
    end)
  end)

  it("go however much they have said", function()
    for _ = 1, 2 do one("--fail") end
    change([[WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
      INSERT INTO job_error(job_id, path, operation, error, message, at)
      SELECT 1, 'x' || i, 'open', 'EIO', 'no', 0 FROM n]])
    assert.equal("1 job forgotten\n", job("prune", "--keep", "1"))
    assert.same({ 2 }, ids())
    assert.equal("0", orphans())
  end)
end)

describe("sdlua job retention", function()
  local function shown() return dkjson.decode(job("retention", "--json")) end

  it("shows and changes what is kept, for good", function()
    one()
    assert.same({ jobs = 1000, days = 90 }, shown())
    assert.equal("kept: the newest 1000, for 90 days\n", job("retention"))
    assert.equal("kept: all, for 0.5 days\n0 jobs forgotten\n",
      job("retention", "--keep", "all", "--older-than", "0.5"))
    assert.same({ days = 0.5 }, shown())
    job("retention", "--keep", "5")
    assert.same({ jobs = 5, days = 0.5 }, shown())
    job("retention", "--older-than", "never")
    assert.equal("kept: the newest 5, for ever\n", job("retention"))
    job("retention", "--older-than", "1e300")
    job("retention", "--default")
    assert.same({ jobs = 1000, days = 90 }, shown())
    assert.same({ { "0" } }, sql("SELECT count(*) FROM job_retention"))
  end)

  it("prints the same number of days after a change and later", function()
    one()
    for given, days in pairs { ["90"] = "90", ["30.0"] = "30", ["0.5"] = "0.5", never = "null" } do
      local changed = job("retention", "--json", "--older-than", given)
      assert.equal(days, changed:match('"days":([^,}]*)'))
      assert.equal(days, job("retention", "--json"):match('"days":([^,}]*)'))
    end
  end)

  it("takes numbers, and a word for none", function()
    one()
    for _, words in ipairs { { "--keep", "-1" }, { "--keep", "never" },
      { "--older-than", "all" } } do
      local result = fixture.run_sdlua("job", "retention", "--library", library,
        table.unpack(words))
      assert.equal(2, result.status, result.out)
      assert.is_truthy(result.err:find(words[2], 1, true), result.err)
    end
  end)
end)
