--- How long a job still takes, and how sure that is. Work is counted in units, phase by phase, such
--- as entries, or files and bytes. Each unit costs some seconds: as the previous run found, or as
--- the script guesses. What was seen lately corrects that, unit by unit.
---
---     local e = eta.new({ copying = { files = 1e-4, bytes = 1e-9 } }, costs_of_the_previous_run)
---     eta.expect(e, "copying", { files = 120, bytes = 4e9 })
---     eta.add(e, "copying", ctx:elapsed(), { files = 3, bytes = 1e6 })  -- done so far
---     local seconds, give_or_take = eta.remaining(e)
---
--- Plain data: it is stored with a job's state as it is.
local M = {}

---@class sd.Eta
---@field phases table<string, sd.EtaPhase>

--- Lists are by unit. "Expected" seconds are units times the costs before the run.
---@class sd.EtaPhase
---@field units string[]
---@field cost number[] Seconds a unit, before the run.
---@field known boolean These costs were measured.
---@field total number[]|false|nil What there is to do; false: nobody knows; nil: nothing.
---@field done number[] What was done of it.
---@field time number Seconds that the phase took so far.
---@field began? number[] What was done when the phase began.
---@field at? number When the last interval ended …
---@field from? number[] … and what was done then.
---@field spent number Seconds. This and what follows is what was seen lately.
---@field expected number[] Expected seconds.
---@field cross number[] Square matrix: products of expected seconds of an interval, over their sum.
---@field mixed number[] Expected seconds times those that passed, over the same sum.
---@field noise number Squared deviation of intervals, times their seconds.
---@field factor number[] On the costs: what was found.

-- Seconds that an interval has at least, and in which its weight falls by a factor of e: what is a
-- minute old hardly counts. In a long phase that is a part of its time: what is a passing mood for
-- hours of work should not change their estimate.
local INTERVAL, MEMORY, MEMORY_PART = 0.2, 30, 1 / 8
-- Seconds after which what is seen counts more than the costs before the run, and the deviation (a
-- share) that these are taken to have.
local TRUST_KNOWN, TRUST_GUESS, DEVIATION_KNOWN, DEVIATION_GUESS = 2, 0.5, 0.25, 1
-- The same for how the time is shared out between the units of a phase.
local TRUST_SHARES = 1
-- Of what a unit would get of it by the costs before.
local LEAST_SHARE = 1 / 30
-- What makes one second slow makes slow so many of its neighbours.
local ALIKE = 10
-- An interval that takes so many times what it should, once so many seconds were seen, is a
-- standstill for the rest: a disk that wakes up, a machine that sleeps. What stays so slow is
-- believed all the same, interval by interval.
local STANDSTILL, SEEN = 8, 1
-- Logarithms: how much a run differs from the one before, how much a second differs from its run,
-- and what part of a difference that is seen may be true. A small one is mostly a mood of the
-- machine, which passes; a large one, such as that of a disk instead of a cache, is not.
local OF_RUN, OF_SECOND, MAY_BE_TRUE = 0.15, 0.3, 0.5

local function zeros(n)
  local list = {}
  for i = 1, n do list[i] = 0.0 end
  return list
end

local function is_cost(value)
  return type(value) == "number" and value > 0 and value < math.huge
end

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function copy(list)
  return table.move(list, 1, #list, 1, {})
end

-- The known costs of the units, where all are known. None gets lost beside the others: each keeps
-- a share that the guess would give it, or a part of that.
local function known_costs(units, guess, known)
  local costs, slow = {}, 0
  for i, unit in ipairs(units) do
    costs[i] = type(known) == "table" and known[unit] or nil
    if not is_cost(costs[i]) then return nil end
    slow = math.max(slow, costs[i] / guess[unit])
  end
  for i, unit in ipairs(units) do
    costs[i] = math.max(costs[i], guess[unit] * slow * LEAST_SHARE)
  end
  return costs
end

local function new_phase(guess, known)
  local units = sorted_keys(guess)
  local n, costs, factor = #units, known_costs(units, guess, known), zeros(#units)
  local phase = { units = units, cost = costs or {}, known = costs ~= nil, done = zeros(n),
    time = 0.0, spent = 0.0, expected = zeros(n), cross = zeros(n * n), mixed = zeros(n),
    noise = 0.0, factor = factor }
  for i, unit in ipairs(units) do
    phase.cost[i], factor[i] = phase.cost[i] or guess[unit], 1.0
  end
  return phase
end

--- An estimator for phases and their units.
---@param guess table<string, table<string, number>> Seconds a unit, by phase and unit.
---@param known? table<string, table<string, number>> What `costs()` gave at the end of a run; what
--- is missing, or is no cost, is guessed.
---@return sd.Eta
function M.new(guess, known)
  local phases = {}
  for name, costs in pairs(guess) do
    for unit, cost in pairs(costs) do
      if not is_cost(cost) then error(("eta: %s of %s: no cost"):format(unit, name), 2) end
    end
    phases[name] = new_phase(costs, type(known) == "table" and known[name])
  end
  return { phases = phases }
end

local function phase_of(eta, name)
  return eta.phases[name] or error(("eta: no phase '%s'"):format(tostring(name)), 3)
end

local function by_unit(phase, values)
  local list = {}
  for i, unit in ipairs(phase.units) do
    list[i] = values[unit] or error(("eta: no %s among the values"):format(unit), 3)
  end
  return list
end

--- What there is to do in a phase, done or not. It may change at any time. A phase of which nothing
--- is said takes no time.
---@param eta sd.Eta
---@param name string
---@param total? table<string, number> By unit; other keys are ignored. Nil: nobody knows.
function M.expect(eta, name, total)
  local phase = phase_of(eta, name)
  phase.total = total and by_unit(phase, total) or false
end

-- ---- learning ----

-- Solves the equations `a x = b`, n of them; `a` is positive definite. Both are used up.
local function solve(a, b, n)
  for i = 1, n do
    for row = i + 1, n do
      local f = a[(row - 1) * n + i] / a[(i - 1) * n + i]
      for k = i, n do
        a[(row - 1) * n + k] = a[(row - 1) * n + k] - f * a[(i - 1) * n + k]
      end
      b[row] = b[row] - f * b[i]
    end
  end
  for i = n, 1, -1 do
    for k = i + 1, n do b[i] = b[i] - a[(i - 1) * n + k] * b[k] end
    b[i] = b[i] / a[(i - 1) * n + i]
  end
  return b
end

local function sum(list)
  local s = 0
  for _, v in ipairs(list) do s = s + v end
  return s
end

local function dot(a, b)
  local s = 0
  for i, v in ipairs(a) do s = s + v * b[i] end
  return s
end

-- How far what was seen in so many seconds is believed against costs that were measured before:
-- the share of its variance in that of both.
local function belief_of(seconds, off)
  local of_run = OF_RUN ^ 2 + MAY_BE_TRUE * off ^ 2
  local of_seen = OF_SECOND ^ 2 * (ALIKE / (ALIKE + seconds) + 1 / seconds)
  return of_run / (of_run + of_seen)
end

-- By how much all is slower than the costs say. At first this is believed in part only.
local function slowness(phase, seconds, expected)
  if not phase.known then return (seconds / expected) ^ (1 - math.exp(-seconds / TRUST_GUESS)) end
  return (seconds / expected) ^ belief_of(seconds, math.log(seconds / expected))
end

-- Least squares of the seconds that passed over those that were expected of each unit, drawn
-- towards equal factors; then all are scaled to what passed in all.
local function fit(phase)
  local n, expected = #phase.units, sum(phase.expected)
  local slow = slowness(phase, phase.spent, expected)
  local a, b = {}, {}
  for i = 1, n * n do a[i] = phase.cross[i] * slow end
  for i = 1, n do
    a[(i - 1) * n + i] = a[(i - 1) * n + i] + TRUST_SHARES
    b[i] = phase.mixed[i] + TRUST_SHARES
  end
  local shares = solve(a, b, n)
  for i = 1, n do shares[i] = math.max(shares[i], LEAST_SHARE) end
  local scale = slow * expected / dot(shares, phase.expected)
  for i = 1, n do phase.factor[i] = shares[i] * scale end
end

local function forget(phase, seconds)
  local keep = math.exp(-seconds / math.max(MEMORY, phase.time * MEMORY_PART))
  phase.spent, phase.noise = phase.spent * keep, phase.noise * keep
  for _, list in ipairs { phase.expected, phase.cross, phase.mixed } do
    for i = 1, #list do list[i] = list[i] * keep end
  end
end

local function learn(phase, seconds, expected)
  forget(phase, seconds)
  local n, all = #expected, sum(expected)
  phase.spent = phase.spent + seconds
  for i = 1, n do
    phase.expected[i] = phase.expected[i] + expected[i]
    phase.mixed[i] = phase.mixed[i] + expected[i] * seconds / all
    for k = 1, n do
      local at = (i - 1) * n + k
      phase.cross[at] = phase.cross[at] + expected[i] * expected[k] / all
    end
  end
  fit(phase)
  local off = math.log(seconds / dot(expected, phase.factor))
  phase.noise = phase.noise + off * off * seconds
end

-- An interval ends: not before something was done in it.
local function close_interval(phase, now)
  local seconds, expected = now - phase.at, {}
  for i, cost in ipairs(phase.cost) do expected[i] = (phase.done[i] - phase.from[i]) * cost end
  if seconds <= 0 or sum(expected) <= 0 then return end
  local most = phase.spent < SEEN and seconds
    or STANDSTILL * dot(expected, phase.factor) + INTERVAL
  learn(phase, math.min(seconds, most), expected)
  phase.time = phase.time + seconds
  phase.at, phase.from = now, copy(phase.done)
end

--- Says what is done of a phase, since it began. The first call begins it; what it says was done
--- before. Where less is said than before, nothing happens until it is more again.
---@param eta sd.Eta
---@param name string
---@param now number Seconds, of a clock that does not run backwards: `ctx:elapsed()`.
---@param done table<string, number> By unit; other keys are ignored.
function M.add(eta, name, now, done)
  local phase = phase_of(eta, name)
  for i, n in ipairs(by_unit(phase, done)) do phase.done[i] = math.max(phase.done[i], n) end
  if not phase.at then
    phase.at, phase.from, phase.began = now, copy(phase.done), copy(phase.done)
  elseif now - phase.at >= INTERVAL then
    close_interval(phase, now)
  end
end

--- A phase is over: nothing is left to do in it.
---@param eta sd.Eta
---@param name string
---@param now number Seconds.
---@param done? table<string, number> What was done of it in the end (default: as said last).
function M.finish(eta, name, now, done)
  if done then M.add(eta, name, now, done) end
  local phase = phase_of(eta, name)
  if phase.at then close_interval(phase, now) end
  phase.total = nil
end

-- ---- telling ----

local function left_of(phase)
  local seconds = 0
  for i, total in ipairs(phase.total or {}) do
    seconds = seconds + math.max(0, total - phase.done[i]) * phase.cost[i] * phase.factor[i]
  end
  return seconds
end

-- The deviation of so many seconds to come: they differ among themselves as the last ones did, and
-- what was learned from those is as uncertain as they were few.
local function deviation(phase, seconds)
  local trust = phase.known and TRUST_KNOWN or TRUST_GUESS
  local before = phase.known and DEVIATION_KNOWN or DEVIATION_GUESS
  local of_one = (phase.noise + before ^ 2 * trust) / (phase.spent + trust)
  return seconds
    * math.sqrt(of_one * (ALIKE / (ALIKE + seconds) + ALIKE / (ALIKE + phase.spent)))
end

--- The seconds that are left over all phases; in two runs of three the truth is not further away
--- than the second result. Nil where nobody knows how much there is to do.
---@param eta sd.Eta
---@return number? seconds
---@return number? give_or_take Seconds.
function M.remaining(eta)
  local seconds, squares = 0, 0
  for _, phase in pairs(eta.phases) do
    if phase.total == false then return nil end
    local left = left_of(phase)
    seconds, squares = seconds + left, squares + deviation(phase, left) ^ 2
  end
  return seconds, math.sqrt(squares)
end

-- The costs as they are now, scaled to what the phase took from its beginning on.
local function costs_of(phase)
  local costs, before, now = {}, 0, 0
  for i, cost in ipairs(phase.cost) do
    costs[i] = cost * phase.factor[i]
    local worked = phase.from and phase.from[i] - phase.began[i] or 0
    before, now = before + worked * cost, now + worked * costs[i]
  end
  local belief = 1 - math.exp(-phase.time / (phase.known and TRUST_KNOWN or TRUST_GUESS))
  local scale = now > 0 and (phase.time / before) ^ belief * before / now or 1
  for i = 1, #costs do costs[i] = costs[i] * scale end
  return costs
end

--- What a unit cost in this run: for the next one. Phases of which nothing is known are left out.
---@param eta sd.Eta
---@return table<string, table<string, number>>
function M.costs(eta)
  local all = {}
  for name, phase in pairs(eta.phases) do
    if phase.known or phase.time > 0 then
      all[name] = {}
      for i, cost in ipairs(costs_of(phase)) do all[name][phase.units[i]] = cost end
    end
  end
  return all
end

return M
