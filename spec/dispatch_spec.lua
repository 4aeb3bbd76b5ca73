-- What a job may be dispatched with, and jobs that this process cannot run.
local fixture = require "support.fixture"
local support = require "support.jobs"
local sd = require "sd"
local uv = require "sd.core".luv

local define = support.define
local dir

before_each(function() dir = fixture.temp() end)
after_each(function() fixture.remove(dir) end)

local function with_jobs(fn) return support.with(dir, fn) end

local function status_of(name)
  return fixture.sql(dir .. "/library", ("SELECT DISTINCT status FROM jobs WHERE name = '%s'")
    :format(name))
end

describe("a job", function()
  it("is refused with a time that is none, or with no list to depend on", function()
    with_jobs(function(jobs)
      local Job = define { name = "one" }
      for option, values in pairs {
        run_at = { math.huge, -math.huge, 0 / 0, 1e300, "now", {} },
        depends_on = { 5, "5", jobs.dispatch },
      } do
        for _, value in ipairs(values) do
          local ok, err = pcall(jobs.dispatch, jobs, Job {}, nil, { [option] = value })
          assert.is_false(ok, option .. " " .. tostring(value))
          assert.is_truthy(tostring(err):find("dispatch: " .. option, 1, true), err)
        end
      end
      assert.equal(0, #jobs:list())
    end)
  end)

  it("whose script cannot be read for want of descriptors waits until it can", function()
    fixture.write(dir .. "/one.lua", [[
      local One = require "sd".job.define { name = "one" }
      function One:run() return "well" end
      return One
    ]])
    with_jobs(function(jobs)
      jobs.scheduler:hold()
      jobs:dispatch_by_name(dir .. "/one.lua")
    end)
    with_jobs(function(jobs, library)
      local handle = jobs:get(1)
      local scripts = require "sd.script"
      local load <close> = setmetatable({ load = scripts.load },
        { __close = function(self) scripts.load = self.load end })
      function scripts.load() return nil, "EMFILE: too many open files: one.lua", "EMFILE" end
      jobs.scheduler:kick()
      local row
      repeat
        sd.sleep(0.005)
        row = library:fresh_rows("SELECT status, run_at, error FROM job")[1]
      until row.run_at or row.status ~= "queued"
      scripts.load = load.load
      assert.equal("queued", row.status)
      assert.is_truthy(row.error:find("EMFILE", 1, true), row.error)
      assert.equal("well", (handle:wait()))
    end)
  end)

  it("is let in once, and forgotten when it has ended", function()
    with_jobs(function(jobs)
      jobs.scheduler:only_admitted()
      local Job = define { name = "one" }
      local ran, left = jobs:dispatch(Job()), jobs:dispatch(Job())
      jobs.scheduler:admit(ran.id)
      ran:wait()
      assert.equal("queued", left.status)
      jobs.scheduler:hold()
      jobs.scheduler:admit(left.id)
      jobs:cancel(left.id)
      repeat sd.sleep(0.005) until next(jobs.running) == nil
      assert.same({}, jobs.scheduler.roots)
    end)
  end)

  it("that cannot be started since the library is damaged fails, and somebody is told", function()
    with_jobs(function(jobs)
      local told
      function jobs.on_notice(message) told = message end
      function jobs.recover() error("no such table: job", 0) end
      local handle = jobs:dispatch(define { name = "one" }())
      handle:wait()
      assert.equal("failed", handle.status)
      assert.is_truthy(told:find("^no job can be started: no such table: job"), told)
    end)
  end)

  it("that is unique and waits for another is there once", function()
    local ran = 0
    with_jobs(function(jobs)
      local Job = define({ name = "one", unique = true }, function() ran = ran + 1 end)
      local First = define({ name = "first" }, function(_, ctx) ctx:sleep(0.05) end)
      local first = jobs:dispatch(First())
      local one = jobs:dispatch(Job(), nil, { depends_on = { first } })
      assert.equal(one, jobs:dispatch(Job(), nil, { depends_on = { first } }))
      assert.equal(one, jobs:dispatch(Job()))
      one:wait()
    end)
    assert.equal(1, ran)
  end)

  -- The job that it depends on fails between the look at it and the commit, or just after.
  it("does not run where what it depends on fails meanwhile", function()
    local ran, fates = 0, {}
    local Bad = define({ name = "bad" }, function(_, ctx)
      ctx:sleep(0.005)
      error("bad", 0)
    end)
    local Job = define({ name = "one" }, function() ran = ran + 1 end)
    with_jobs(function(jobs)
      for _ = 1, fixture.is_sanitized() and 3 or 20 do
        local bad = jobs:dispatch(Bad())
        local ok, one
        repeat
          ok, one = pcall(jobs.dispatch, jobs, Job(), nil, { depends_on = { bad } })
          fates[#fates + 1] = ok and one or nil
        until not ok
      end
      for _, one in ipairs(fates) do one:wait() end
    end)
    assert.equal(0, ran)
    assert.is_true(#fates > 0)
    for _, one in ipairs(fates) do assert.equal("cancelled", one.status) end
  end)
end)

describe("jobs that cannot run here do not keep others waiting", function()
  local function run_other(jobs)
    local ran = false
    local Other = define({ name = "other" }, function() ran = true end)
    jobs:dispatch(Other()):wait()
    assert.is_true(ran)
  end

  it("where only another process knew their function", function()
    with_jobs(function(jobs)
      jobs.scheduler:hold()
      for _ = 1, 70 do jobs:dispatch(define { name = "lost" } {}) end
    end)
    with_jobs(run_other)
    assert.same({ { "queued" } }, status_of "lost")
  end)

  it("where their script is gone", function()
    local path = dir .. "/gone.lua"
    fixture.write(path, 'local Gone = require "sd".job.define { name = "gone" }\n'
      .. "function Gone:run() end return Gone")
    with_jobs(function(jobs)
      jobs.scheduler:hold()
      for _ = 1, 70 do jobs:dispatch_by_name(path) end
    end)
    os.remove(path)
    with_jobs(run_other)
    assert.same({ { "paused" } }, status_of "gone")
  end)
end)

describe("a heavy child", function()
  -- The most of "heavy" that ran at once: `parents` jobs with four children each.
  local function most_at_once(heavy_parent, parents)
    local running, most = 0, 0
    local function work(ctx)
      running = running + 1
      most = math.max(most, running)
      -- Those of a heavy parent wait for each other.
      for _ = 1, 1000 do
        ctx:sleep(0.01)
        if not heavy_parent or most == 4 then break end
      end
      running = running - 1
    end
    local ARGS = { i = sd.arg.integer {}, path = sd.arg.path {} }
    local Heavy = define({ name = "heavy", heavy = true, args = ARGS },
      function(_, ctx) work(ctx) end)
    -- The children lie two levels down.
    local Middle = define({ name = "middle", args = ARGS }, function(_, ctx)
      for i = 1, 4 do ctx:spawn_child(Heavy { i = i, path = dir }) end
      ctx:commit()
    end)
    local Parent = define({ name = "parent", heavy = heavy_parent, args = ARGS }, function(_, ctx)
      ctx:spawn_child(Middle())
      ctx:commit()
    end)
    with_jobs(function(jobs)
      local list = {}
      for i = 1, parents do list[i] = jobs:dispatch(Parent { i = i, path = dir }) end
      for _, handle in ipairs(list) do handle:wait() end
      for _, handle in ipairs(list) do assert.equal("completed", handle.status) end
    end)
    return most
  end

  it("is one on its device where its parents are not heavy", function()
    assert.equal(1, most_at_once(false, 2))
  end)

  it("works beside its parent, and other children of it, where that is heavy", function()
    assert.equal(4, most_at_once(true, 2))
  end)
end)

describe("many jobs", function()
  local function log_size() return uv.fs_stat(dir .. "/library/library.db-wal").size end

  it("do not make the library's log grow, nor stay there when it is closed", function()
    local longest = 0
    with_jobs(function(jobs)
      local Job = define { name = "one" }
      for _ = 1, 1000 do
        jobs:dispatch(Job {}, nil, { run_at = os.time() + 1000 })
        longest = math.max(longest, log_size())
      end
      assert.is_true(log_size() > 1024 * 1024)
    end)
    assert.is_true(longest < 40 * 1024 * 1024, longest)
    assert.is_true(log_size() <= 1024 * 1024)
  end)
end)
