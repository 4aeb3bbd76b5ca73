--- A walk whose directories come from a durable queue, wherever the queue keeps them.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

---@class sd.Walker
---@field package core userdata
---@field package queue sd.Queue
---@field package ctx sd.Context
local Walker = {}
Walker.__index = Walker

---@param ctx sd.Context
---@param options sd.WalkerOptions
---@return sd.Walker
function M.open(ctx, options)
  local handle = failure.check_other(core.walker.open(ctx.library.core, options))
  return setmetatable({ core = handle, queue = options.queue, ctx = ctx }, Walker)
end

--- The root is to be walked.
function Walker:push_root()
  self.core:push_root()
end

--- A directory that the queue of another job gave (`queue:give()`) is to be walked.
---@param directory string
function Walker:push(directory)
  self.core:push(directory)
end

--- The attributes of the root, by the columns of the entry table.
---@return table
function Walker:root_stat()
  return self.core:root_stat()
end

--- The next batch, in the order in which batches must be written. Nil when no directory is left. A
--- pause takes effect here.
---@async
---@return sd.Batch?
function Walker:next()
  repeat
    self.ctx:check_interrupt()
    self.queue:refill()
    local batch, message, code = self.core:next()
    if batch then return batch end
    if message then failure.check(nil, message, code) end
    coroutine.yield() -- another job of the library may have interrupted the lanes
  until #self.queue == 0
end

--- `for batch in walker:batches() do`
---@return fun(): sd.Batch?
function Walker:batches()
  return function() return self:next() end
end

function Walker:close()
  self.core:close()
end

Walker.__close = Walker.close

return M
