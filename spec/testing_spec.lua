-- sd.testing: jobs that stand interruption pass, jobs that do not are told apart, and the indexer
-- passes.
local fixture = require "support.fixture"
local sd = require "sd"
local testing = require "sd.testing"

-- Queue, state and a table of its own; `bug` says what is wrong with it.
local function job(bug)
  local Job = sd.job.define { name = "lines" }
  function Job:run(ctx)
    local state = ctx:state(function()
      return { queue = ctx:queue("items"), filled = false, done = 0, lost = self.args.n }
    end)
    ctx:library_db():exec("CREATE TABLE IF NOT EXISTS line(n INTEGER)")
    if not state.filled then
      for n = 1, 4 do state.queue:push(n) end
      state.filled = true
    end
    for n, lease in function() return state.queue:pop() end do
      ctx:check_interrupt()
      if bug == "finished early" then
        state.queue:finish(lease)
        ctx:commit()
      end
      ctx:commit(function(tx)
        tx:exec("INSERT INTO line VALUES(?)", { n })
        state.done = state.done + 1
        if not bug then state.queue:finish(lease) end
      end)
      if bug == "finished late" then state.queue:finish(lease) end
    end
    return { done = state.done }
  end
  return Job
end

describe("sd.testing", function()
  it("passes a job that stands every interruption", function()
    -- (What a cancelled job has written stays: run again, it would write it twice.)
    local ways = { "pause", "reopen", "death" }
    local report = testing.interrupt_everywhere { job = job(), ways = ways }
    assert.same({ done = 4 }, report.output)
    assert.is_true(#report.points > 8, tostring(#report.points))
    assert.is_true(report.runs > 2 * #report.points, tostring(report.runs))
  end)

  for _, bug in ipairs { "finished early", "finished late" } do
    it("finds a job whose item is " .. bug, function()
      local ok, err = pcall(testing.interrupt_everywhere, { job = job(bug) })
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("differs from the uninterrupted run", 1, true),
        tostring(err))
    end)
  end

  it("passes the indexer, in each mode", function()
    local dir = fixture.temp()
    fixture.sh(([[cd %s && mkdir -p t/a/b t/c && for i in 1 2 3 4 5 6; do
      echo "$i" >t/a/f$i.txt; echo x >t/a/b/g$i; done; ln t/a/f1.txt t/c/link; ln -s a t/d]])
      :format(dir))
    for _, mode in ipairs { "shallow", "content", "deep" } do
      local report = testing.interrupt_everywhere {
        job = "indexer", most = 6, ways = { "pause", "reopen", "death" },
        args = { root = dir .. "/t", mode = mode, batch = 3, chunk = 2 },
        output = function(output)
          return { stats = output.stats, mode = output.mode, errors = output.error_counts }
        end,
      }
      assert.equal(13, report.output.stats.files)
    end
    fixture.remove(dir)
  end)

  it("says what is wrong with how it is called", function()
    for _, options in ipairs { {}, { job = job(), way = {} }, { job = job(), ways = { "nap" } },
      { job = job(), most = "all" } } do
      assert.is_false((pcall(testing.interrupt_everywhere, options)))
    end
  end)
end)
