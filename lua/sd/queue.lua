--- What queues do beyond C: items that wait on the disk are read back, and coroutines wait for
--- items.
local core = require "sd.core"
local failure = require "sd.failure"

---@class sd.Queue
local methods = core.queue.methods

-- By queue: who waits for items, who waits for room, whether more will come.
local waits = setmetatable({}, { __mode = "k" })

local READ = "SELECT seq, payload FROM job_queue_item WHERE job_id = ?1 AND queue = ?2 AND "
local FRONT = READ .. "seq >= ?3 ORDER BY seq LIMIT 1"
local BACK = READ .. "seq < ?3 ORDER BY seq DESC LIMIT 256"

local function state_of(queue)
  local state = waits[queue]
  if not state then
    state = { waiters = {}, ended = true }
    waits[queue] = state
  end
  return state
end

local function stored(queue, sql, seq)
  local ctx = queue:owner()
  return ctx.library:fresh_rows(sql, { ctx.id, queue:name(), seq })
end

local function check_restored(ok, message, code, ...)
  if ok ~= nil then return ok, message, code, ... end
  return failure.check(nil, message .. "; start over with --fresh", code)
end

local function missing(queue)
  error(("queue %s: a stored item is missing"):format(queue:name()), 0)
end

--- The next item from the front, or nil: it is leased until a commit takes it or `finish(lease)`.
---@async
---@return any value
---@return integer? lease
function methods:pop()
  while true do
    local from = self:wants_front()
    if not from then return self:pop_memory() end
    local row = stored(self, FRONT, from)[1]
    if self:wants_front() == from then -- nobody else took it meanwhile
      if not row then missing(self) end
      return check_restored(self:restore_front(row.seq, row.payload))
    end
  end
end

--- Reads back stored items at the back, where none is left in memory. A walker calls this.
---@async
function methods:refill()
  local below = self:wants_back()
  if not below then return end
  local rows = stored(self, BACK, below)
  if self:wants_back() ~= below then return end -- somebody else read them meanwhile
  for _, row in ipairs(rows) do
    check_restored(self:restore_back(row.seq, row.payload))
  end
  if self:wants_back() == below then missing(self) end
end

--- Says that items will come, so that `take()` waits for them, until `end_input()`.
function methods:begin_input()
  state_of(self).ended = false
end

function methods:end_input()
  local state = state_of(self)
  state.ended = true
  self:owner():wake_all(state.waiters)
end

--- Adds an item, and waits while more than `limit` wait.
---@async
---@param value any
---@param limit integer
function methods:push_below(value, limit)
  local state = state_of(self)
  self:push(value)
  self:owner():wake_all(state.waiters)
  while #self > limit and not state.ended do self:owner():wait_in(state.waiters) end
end

---@class sd.TakeOptions
---@field most integer Items at once.
---@field most_weight? number No more are taken once they weigh so much together (default: no
--- limit).
---@field least? number What the items must weigh together to be worth it (default 1) …
---@field seconds? number … or that much time since the last call (default 0).
---@field weight? fun(item: any): number Of an item (default 1 each).

-- One branch takes at a time. The next one goes on when this one waits for something else: what it
-- takes then comes later in every respect.
local function take_turn(ctx, state)
  while state.taking do ctx:wait_in(state.waiters) end
  state.taking = true
  return setmetatable({}, { __close = function()
    state.taking = false
    ctx:wake_all(state.waiters)
  end })
end

local function fill(queue, group, options)
  local most_weight = options.most_weight or math.huge
  while group.n < options.most and group.weight < most_weight and #queue > 0 do
    local n = group.n + 1
    group.items[n], group.leases[n] = queue:pop()
    group.n = n
    group.weight = group.weight + (options.weight and options.weight(group.items[n]) or 1)
  end
end

--- Takes the items that wait; waits until there are enough of them. Nil when there are none and
--- none will come. Several branches may take in turn: while one writes, another one takes.
---@async
---@param options sd.TakeOptions
---@return any[]? items
---@return integer[]? leases For `finish()`, where the items are no batches.
function methods:take(options)
  local state, ctx = state_of(self), self:owner()
  local turn <close> = take_turn(ctx, state)
  local deadline = (state.taken_at or ctx:elapsed()) + (options.seconds or 0)
  local group = { items = {}, leases = {}, n = 0, weight = 0 }
  fill(self, group, options)
  local least = math.min(options.least or 1, options.most_weight or math.huge)
  while not state.ended and group.n < options.most and group.weight < least
    and (group.n == 0 or ctx:elapsed() < deadline) do
    ctx:wake_all(state.waiters) -- there is room again
    ctx:wait_in(state.waiters, group.n > 0 and deadline - ctx:elapsed() or nil)
    fill(self, group, options)
  end
  state.taken_at = ctx:elapsed()
  if group.n > 0 then return group.items, group.leases, turn and nil end
end

return methods
