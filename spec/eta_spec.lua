-- How long a run still takes: estimates over simulated runs, and what jobs and people see of them.
-- Time is simulated and noise comes from a fixed sequence: nothing here depends on the machine.
local sd = require "sd"
local codec = require "sd.core".codec
local fixture = require "support.fixture"
local dkjson = require "dkjson"

local eta = sd.eta

-- ---- simulated runs ----

-- Numbers from 0 to 1, always the same.
local function sequence(seed)
  return function()
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed / 2147483648
  end
end

-- A slowness that wavers by about `spread`, and stays much the same for some `seconds`.
local function wavering(seed, spread, seconds)
  local random, level = sequence(seed), 0
  return function(step)
    local keep = math.exp(-step / seconds)
    local normal = math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random())
    level = level * keep + spread * math.sqrt(1 - keep * keep) * normal
    return math.exp(level)
  end
end

local function total_of(phase)
  local total = {}
  for i = 1, phase.steps do
    for unit, n in pairs(phase.work(i)) do total[unit] = (total[unit] or 0) + n end
  end
  return total
end

---@class spec.Phase
---@field name string
---@field steps integer
---@field work fun(i: integer): table<string, number> Units that are done in a step.
---@field seconds fun(units: table<string, number>, now: number, i: integer): number

-- Runs phases on a simulated clock, one report a step. When it ended, and for each report: when,
-- what was said to be left, and how sure that was.
---@param e sd.Eta
---@param phases spec.Phase[]
---@param at_report? fun(e: sd.Eta, now: number): sd.Eta
local function simulate(e, phases, at_report)
  local now, said = 0, {}
  for _, phase in ipairs(phases) do eta.expect(e, phase.name, total_of(phase)) end
  for _, phase in ipairs(phases) do
    local done = {}
    for unit in pairs(phase.work(1)) do done[unit] = 0 end
    eta.add(e, phase.name, now, done)
    for i = 1, phase.steps do
      local units = phase.work(i)
      now = now + phase.seconds(units, now, i)
      for unit, n in pairs(units) do done[unit] = done[unit] + n end
      eta.add(e, phase.name, now, done)
      local left, give_or_take = eta.remaining(e)
      said[#said + 1] = { at = now, left = left, give_or_take = give_or_take }
      if at_report then e = at_report(e, now) end
    end
    eta.finish(e, phase.name, now)
  end
  return now, said, e
end

-- The largest error, as a share of what was really left, between two shares of the run.
local function largest_error(said, ended, from, up_to)
  local largest = 0
  for _, one in ipairs(said) do
    if one.at >= from * ended and one.at <= up_to * ended then
      largest = math.max(largest, math.abs(one.left - (ended - one.at)) / (ended - one.at))
    end
  end
  return largest
end

local GUESS = { walk = { entries = 1e-3 }, hash = { files = 1e-3, bytes = 1e-6 } }

-- A walk of some 5 s, then hashing of some 25 s, file sizes differing.
local function walk_and_hash(slowness, walk_cost, file_cost, byte_cost)
  local random, sizes = sequence(5), {}
  for i = 1, 100 do sizes[i] = 1000 * 2 ^ (6 * random()) end
  local function slow(seconds) return seconds * (slowness and slowness(seconds) or 1) end
  return {
    { name = "walk", steps = 20, work = function() return { entries = 100 } end,
      seconds = function(units) return slow(units.entries * (walk_cost or 2.5e-3)) end },
    { name = "hash", steps = 100, work = function(i) return { files = 50, bytes = sizes[i] } end,
      seconds = function(units)
        return slow(units.files * (file_cost or 3e-3) + units.bytes * (byte_cost or 8e-6))
      end },
  }
end

describe("an estimate", function()
  it("is exact at a constant rate, once the rate was seen", function()
    local phase = { name = "walk", steps = 100, work = function() return { entries = 10 } end,
      seconds = function() return 0.25 end }
    local ended, said = simulate(eta.new(GUESS), { phase })
    assert.equal(25, ended)
    assert.is_true(largest_error(said, ended, 0.1, 0.95) < 0.1)
    assert.is_true(largest_error(said, ended, 0.25, 0.95) < 0.001)
  end)

  it("covers phases that have not begun, at what they cost the last time", function()
    local first = eta.new(GUESS)
    local _, _, after = simulate(first, walk_and_hash())
    local costs = dkjson.decode(dkjson.encode(eta.costs(after)))
    local ended, said = simulate(eta.new(GUESS, costs), walk_and_hash())
    assert.is_true(largest_error(said, ended, 0, 0.95) < 0.06)
  end)

  it("finds the true costs where it only had a guess", function()
    local ended, said = simulate(eta.new(GUESS), walk_and_hash())
    assert.is_true(largest_error(said, ended, 0.3, 0.95) < 0.1)
  end)

  it("is within 20 % from a quarter on where the machine wavers, in a second run", function()
    local costs
    for seed = 1, 20 do
      local ended, said, e = simulate(eta.new(GUESS, costs),
        walk_and_hash(wavering(seed, 0.08, 2)))
      if costs then
        local off = largest_error(said, ended, 0.25, 0.9)
        assert.is_true(off <= 0.2, ("seed %d: %.2f"):format(seed, off))
      end
      costs = eta.costs(e)
    end
  end)

  it("is not led astray by some quick seconds, where it knows better", function()
    local phase = { name = "walk", steps = 400, work = function() return { entries = 100 } end,
      seconds = function(_, _, i) return i <= 50 and 0.07 or 0.1 end }
    local ended, said = simulate(eta.new(GUESS, { walk = { entries = 1e-3 } }), { phase })
    assert.is_true(largest_error(said, ended, 0.05, 0.9) < 0.17)
  end)

  it("takes a standstill for what it is", function()
    local phase = { name = "walk", steps = 400, work = function() return { entries = 10 } end,
      seconds = function(_, _, i) return i == 100 and 30 or 0.1 end }
    local ended, said = simulate(eta.new(GUESS), { phase })
    assert.is_true(largest_error(said, ended, 0.6, 0.9) < 0.15)
  end)

  it("believes at once that all is much slower than before", function()
    local phase = { name = "walk", steps = 100, work = function() return { entries = 100 } end,
      seconds = function() return 1 end }
    local ended, said = simulate(eta.new(GUESS, { walk = { entries = 1e-3 } }), { phase })
    assert.is_true(largest_error(said, ended, 0.1, 0.9) < 0.15)
  end)

  it("follows a rate that changes, within the last minute", function()
    local phase = { name = "walk", steps = 2000, work = function() return { entries = 10 } end,
      seconds = function(_, _, i) return i <= 400 and 0.1 or 0.3 end }
    local ended, said = simulate(eta.new(GUESS), { phase })
    assert.equal(520, ended // 1)
    assert.is_true(largest_error(said, ended, 0.2, 0.95) < 0.16) -- the change was at 40 s
    assert.is_true(largest_error(said, ended, 0.3, 0.95) < 0.04)
  end)

  it("is steady over hours, where the speed wavers by the minute", function()
    local slowness = wavering(8, 0.3, 40)
    local phase = { name = "walk", steps = 5000, work = function() return { entries = 1000 } end,
      seconds = function() return slowness(2) * 2 end }
    local ended, said = simulate(eta.new(GUESS), { phase })
    assert.is_true(ended > 9000)
    assert.is_true(largest_error(said, ended, 0.1, 0.8) < 0.3)
  end)

  it("tells apart what a file and what a byte costs", function()
    -- Many small files, then few large ones: a rate of either alone would be wrong.
    local function work(i)
      if i > 120 then return { files = 1, bytes = 100000 } end
      return i // 5 % 2 == 0 and { files = 50, bytes = 5000 } or { files = 25, bytes = 30000 }
    end
    local phase = { name = "hash", steps = 160, work = work, seconds = function(units)
      return units.files * 2e-2 + units.bytes * 1e-5
    end }
    local ended, said = simulate(eta.new(GUESS), { phase })
    assert.is_true(largest_error(said, ended, 0.25, 0.95) < 0.2)
  end)

  it("does not jump", function()
    local ended, said = simulate(eta.new(GUESS, { walk = { entries = 2.5e-3 },
      hash = { files = 3e-3, bytes = 8e-6 } }), walk_and_hash(wavering(3, 0.2, 2)))
    for i = 2, #said do
      local before, now = said[i - 1].at + said[i - 1].left, said[i].at + said[i].left
      assert.is_true(math.abs(now - before) < ended / 16, ("%.1f s: %.2f -> %.2f"):format(
        said[i].at, before, now))
    end
  end)

  it("is as sure as it says, in two runs of three", function()
    local inside, n, costs = 0, 0, nil
    for seed = 1, 60 do
      local ended, said, e = simulate(eta.new(GUESS, costs),
        walk_and_hash(wavering(seed, 0.25, 4)))
      costs = eta.costs(e)
      for i = 20, 100, 20 do
        local one = said[i]
        n = n + 1
        if math.abs(one.left - (ended - one.at)) <= one.give_or_take then inside = inside + 1 end
      end
    end
    assert.is_true(inside / n > 0.6 and inside / n < 0.9, ("%d of %d"):format(inside, n))
  end)

  it("is less sure of a guess than of what was measured", function()
    local guessed, known = eta.new(GUESS), eta.new(GUESS, GUESS)
    for _, e in ipairs { guessed, known } do eta.expect(e, "walk", { entries = 10000 }) end
    local left, by_guess = eta.remaining(guessed)
    local same, by_measure = eta.remaining(known)
    assert.equal(10, left)
    assert.equal(left, same)
    assert.is_true(by_guess > 2 * by_measure and by_measure > 1)
  end)

  it("is none where nobody knows how much there is to do", function()
    local e = eta.new(GUESS)
    assert.equal(0, (eta.remaining(e)))
    eta.expect(e, "walk", nil)
    assert.is_nil((eta.remaining(e)))
    eta.finish(e, "walk", 1)
    assert.equal(0, (eta.remaining(e)))
  end)

  it("is never less than nothing, when more is done than was expected", function()
    local e = eta.new(GUESS)
    eta.expect(e, "walk", { entries = 10 })
    eta.add(e, "walk", 0, { entries = 0 })
    eta.add(e, "walk", 2, { entries = 20 })
    assert.equal(0, (eta.remaining(e)))
  end)
end)

describe("an estimator", function()
  it("goes on after a restart as if there had been none", function()
    local function through_checkpoint(e)
      return (assert(codec.decode(assert(codec.encode(e)))))
    end
    local _, plain = simulate(eta.new(GUESS), walk_and_hash())
    local _, restarted = simulate(eta.new(GUESS), walk_and_hash(), through_checkpoint)
    assert.same(plain, restarted)
  end)

  it("is right again when work is repeated after a kill", function()
    -- What was done after the checkpoint at 10 s is lost; the job's clock goes on at 10 s.
    local stored
    local phases = walk_and_hash()
    local _, said = simulate(eta.new(GUESS), phases, function(e, now)
      if not stored and now >= 10 then stored = { at = now, bytes = codec.encode(e) } end
      return e
    end)
    local e = assert(codec.decode(stored.bytes))
    local left = eta.remaining(e)
    for _, one in ipairs(said) do
      if one.at == stored.at then assert.equal(one.left, left) end
    end
  end)

  it("stays small in a checkpoint", function()
    local _, _, e = simulate(eta.new(GUESS), walk_and_hash())
    assert.is_true(#codec.encode(e) < 1500)
  end)

  it("waits where less is said to be done than before", function()
    -- After a restart the parts of a job report one after the other what they had found before.
    local e = eta.new(GUESS)
    eta.expect(e, "walk", { entries = 1000 })
    for second = 0, 10 do eta.add(e, "walk", second, { entries = second * 50 }) end
    local left = eta.remaining(e)
    eta.add(e, "walk", 11, { entries = 100 })
    assert.equal(left, (eta.remaining(e)))
    eta.add(e, "walk", 12, { entries = 600 })
    assert.is_true(math.abs(eta.remaining(e) - 8) < 0.01)
  end)

  it("gives what each unit cost, and keeps what it did not see", function()
    local known = { walk = { entries = 2 }, hash = { files = 3e-3, bytes = 4e-6 } }
    local e = eta.new(GUESS, known)
    eta.add(e, "walk", 0, { entries = 0 })
    for second = 1, 40 do eta.add(e, "walk", second, { entries = second * 10 }) end
    local costs = eta.costs(e)
    assert.is_true(math.abs(costs.walk.entries - 0.1) < 0.001)
    assert.same(known.hash, costs.hash)
    assert.is_nil(eta.costs(eta.new(GUESS)).hash)
  end)

  it("takes no nonsense for what was measured", function()
    for _, known in ipairs { "text", { hash = 5 }, { hash = { files = 1 } },
      { hash = { files = "x", bytes = 1 } }, { hash = { files = 0, bytes = -1 } },
      { hash = { files = 0 / 0, bytes = 1 / 0 } }, { other = { files = 1 } } } do
      local e = eta.new(GUESS, known)
      eta.expect(e, "hash", { files = 1000, bytes = 0 })
      assert.equal(1, (eta.remaining(e)))
    end
  end)

  it("raises where a phase or a unit is not one of its own", function()
    local e = eta.new(GUESS)
    for _, misuse in ipairs {
      function() eta.expect(e, "wlak", { entries = 1 }) end,
      function() eta.expect(e, "hash", { files = 1 }) end,
      function() eta.add(e, "walk", 0, {}) end,
      function() eta.finish(e, "wlak", 0) end,
      function() eta.new { walk = { entries = 0 } } end,
    } do
      local ok, message = pcall(misuse)
      assert.is_false(ok)
      assert.is_truthy(message:find("eta_spec%.lua:%d+: eta: .*no "), message)
    end
  end)
end)

describe("a time that is left", function()
  it("says how far it may be off, where that is much", function()
    assert.equal("40 s ±10 s", sd.text.remaining(40, 10))
    assert.equal("40 s", sd.text.remaining(40, 3.9))
    assert.equal("3 s", sd.text.remaining(2.6, 0.9))
    assert.equal("3 s ±2 s", sd.text.remaining(3.2, 2))
    assert.equal("1:02:03 h ±10:00 min", sd.text.remaining(3723, 600))
    assert.equal("5 s", sd.text.remaining(5))
  end)
end)

-- ---- what is seen of it ----

local dir, library

before_each(function()
  dir = fixture.temp()
  library = dir .. "/library"
end)

after_each(function() fixture.remove(dir) end)

-- What a command reports with --progress json.
local function reports(...)
  local result = fixture.run_sdlua(...)
  assert.equal(0, result.status, result.err)
  local list = {}
  for line in result.err:gmatch("[^\n]+") do
    local object = dkjson.decode(line)
    if object.type == "progress" then list[#list + 1] = object.progress end
  end
  return list, result
end

describe("progress", function()
  local function run_job(body, ...)
    fixture.write(dir .. "/job.lua", ('local sd = require "sd"\n'
      .. 'local J = sd.job.define { name = "custom" }\nfunction J:run(ctx)\n'
      .. "local _ = self, sd\n%s\nend\nreturn J\n"):format(body))
    return fixture.run_sdlua("run", dir .. "/job.lua", "--library", library, ...)
  end

  it("never goes back within a phase, whatever a job says", function()
    local result = run_job([[local list = {}
      local function say(phase)
        ctx:progress { phase = phase }
        list[#list + 1] = ("%.2f"):format(phase.fraction or -1)
      end
      say { name = "a" }
      say { name = "a", current = 5, total = 10 }
      say { name = "a", current = 6, total = 100 }
      say { name = "a", current = "x", total = 0 }
      say { name = "a", fraction = 0.75 }
      say { name = "a", current = 0 / 0, total = 1 / 0 }
      say { name = "a", current = 30, total = 10 }
      say { name = "b", batch = 1, total_batches = 4 }
      say { name = "a", current = 1, total = 10 }
      return table.concat(list, " ")]], "--json")
    assert.equal(0, result.status, result.err)
    assert.equal("-1.00 0.50 0.50 0.50 0.75 0.75 1.00 0.25 0.10", dkjson.decode(result.out).output)
  end)

  it("counts the time that is left down between reports", function()
    local result = run_job([[ctx:progress { phase = "x", estimated_remaining = 100 }
      ctx:sleep(1.3)]], "--progress", "json")
    local lefts = {}
    for left in result.err:gmatch('"estimated_remaining":([%d.]+)') do
      lefts[#lefts + 1] = tonumber(left)
    end
    assert.is_true(lefts[1] < 100 and lefts[1] > 98, result.err)
  end)

  it("shows how sure it is", function()
    local result = run_job([[ctx:progress { phase = "x", estimated_remaining = 4000,
      remaining_uncertainty = 1000 }
      ctx:sleep(1.3)]], "--progress", "plain")
    assert.is_truthy(result.err:find("x  ETA 1:06:%d%d h ±16:40 min\n"), result.err)
  end)

  it("is added up with that of parts", function()
    assert.same({ found = { files = 6, dirs = 1 } }, sd.progress.sum(
      { found = { files = 1, dirs = 1 } }, { { found = { files = 2 } }, { found = { files = 3,
        other = 9 } }, { phase = "x" } }))
  end)

  it("may be estimated from what a job put into its output the last time", function()
    local body = [[local before = ctx:last_output("costs")
      return { before = before or "none", costs = { n = before and before.n + 1 or 1 } }]]
    assert.equal("none", dkjson.decode(run_job(body, "--json").out).before)
    assert.same({ n = 1 }, dkjson.decode(run_job(body, "--json").out).before)
    assert.same({ n = 2 }, dkjson.decode(run_job(body, "--json").out).before)
  end)
end)

describe("the indexer", function()
  local function index(...)
    return reports("index", "--library", library, "--json", "--progress", "json", ...)
  end

  before_each(function()
    fixture.sh(("mkdir -p '%s/tree/sub' && cd '%s/tree' && for i in $(seq 60); do"
      .. " head -c $((i * 100)) /dev/zero | tr '\\0' $((i %% 10)) >f$i; done;"
      .. " for i in $(seq 20); do ln f$i sub/l$i; done"):format(dir, dir))
  end)

  it("remembers what its phases cost, and estimates from the first report on", function()
    local list, result = index("--mode", "deep", dir .. "/tree")
    local first = dkjson.decode(result.out)
    assert.is_true(first.costs.deep.files > 0 and first.costs.discovery.entries > 0)
    assert.equal("finalizing", list[#list].phase.name)
    local _, again = index("--mode", "shallow", dir .. "/tree")
    assert.is_true(dkjson.decode(again.out).costs.deep.files > 0) -- for the next deep run
  end)

  it("knows in each phase how much there is to do", function()
    index("--mode", "shallow", dir .. "/tree")
    fixture.write(dir .. "/watch.lua", [[
      local sd = require "sd"
      sd.run(function()
        local library <close> = assert(sd.library.open(arg[1]))
        local handle = library.jobs:dispatch_by_name("indexer", { root = arg[2], mode = "deep" })
        for update in handle:subscribe() do
          local p = update.progress
          if p then
            print(p.phase.name, p.phase.current or "none", p.phase.total or "none",
              p.estimated_remaining and p.remaining_uncertainty and "estimated")
          end
        end
      end)]])
    local result = fixture.run_sdlua(dir .. "/watch.lua", library, dir .. "/tree")
    assert.equal(0, result.status, result.err)
    local last = {}
    for name, current, total, how in result.out:gmatch("(%S+)\t(%S+)\t(%S+)\t(%S+)\n") do
      -- Before anything was seen, nobody knows how much has changed.
      assert.equal(next(last) and "estimated" or "nil", how, result.out)
      last[name] = current .. " of " .. total
    end
    assert.equal("81 of 81", last.discovery or last.processing, result.out)
    -- Hard links: a file has one content, however many names.
    assert.equal("60 of 60", last.content_identification, result.out)
  end)
end)
