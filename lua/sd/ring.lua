--- A ring buffer of what happened in each of the last seconds. Plain data: it is stored with a
--- job's state as it is.
local M = {}

---@class sd.Ring
---@field size integer Seconds that are kept.
---@field sums table<integer, number> By slot.
---@field first number Second of the first tick.
---@field last number Second of the last tick.

---@param size integer Seconds.
---@return sd.Ring
function M.new(size)
  local sums = {}
  for i = 1, size do sums[i] = 0 end
  return { size = size, sums = sums, first = -1, last = -1 }
end

--- Adds `n` to second `now` (a clock that does not run backwards).
---@param ring sd.Ring
---@param now number Seconds.
---@param n number
function M.add(ring, now, n)
  local second = now // 1 | 0
  if ring.first < 0 then ring.first, ring.last = second, second end
  for s = math.max(ring.last + 1, second - ring.size + 1), second do
    ring.sums[s % ring.size + 1] = 0
  end
  ring.last = math.max(ring.last, second)
  local slot = ring.last % ring.size + 1
  ring.sums[slot] = ring.sums[slot] + n
end

--- What came per second in the time that the ring holds. Nil in the first half second.
---@param ring sd.Ring
---@param now number Seconds.
---@return number? per_second
function M.average(ring, now)
  if ring.first < 0 then return nil end
  local from = math.max(ring.first, (now // 1 | 0) - ring.size + 1)
  local span = now - from
  if span < 0.5 then return nil end
  local sum = 0
  for s = from, ring.last do sum = sum + ring.sums[s % ring.size + 1] end
  return sum / span
end

return M
