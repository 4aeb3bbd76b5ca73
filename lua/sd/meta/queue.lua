---@meta sd.core.queue
-- runtime/bind/queue.c: a durable queue in memory. lua/sd/queue.lua adds what waits: pop, refill,
-- take, push_below, begin_input, end_input.

---@class sd.core.queue
---@field methods table The methods of all queues; the Lua library adds its own.
local M = {}

---@param name string 1 to 63 bytes.
---@return sd.Queue
function M.new(name) end

--- The name of a queue; nothing for any other value.
---@param value any
---@return string?
function M.name_of(value) end

---@class sd.Queue: userdata
---@operator len: integer Items that wait, in memory and on the disk; leased ones are not counted.
local Queue = {}

--- Adds at the back. A value is copied as it is now; a batch is used up. Raises where the value
--- cannot be stored, and names the field.
---@param value any
function Queue:push(value) end

--- The front, as `pop()`, where it is in memory.
---@return any value
---@return integer? lease
function Queue:pop_memory() end

--- What was popped is done: it leaves the checkpoint with the next commit.
---@param lease integer
function Queue:finish(lease) end

--- Where the next item must be read from the library: the least `seq` that it may have.
---@return integer? from
function Queue:wants_front() end

--- Where items at the back must be read from the library: the `seq` that they are below.
---@return integer? below
function Queue:wants_back() end

--- The stored front, leased.
---@param seq integer
---@param payload string
---@return any value
---@return integer|string lease Or the message.
---@return string? code EFORMAT where the payload is damaged.
function Queue:restore_front(seq, payload) end

--- One stored item, in front of the last one that was given.
---@param seq integer
---@param payload string
---@return boolean? ok
---@return string? message
---@return string? code EFORMAT where the payload is damaged.
function Queue:restore_back(seq, payload) end

--- What a checkpoint left in the library.
---@param count integer
---@param from integer The least `seq`.
---@param below integer One above the greatest.
function Queue:on_disk(count, from, below) end

--- Forgets items that are on the disk, beyond so many. Not while a commit is under way.
---@param keep integer
function Queue:evict(keep) end

--- Batches that wait become part of the next commit as they are.
function Queue:settle() end

--- The oldest directory in the queue that may be given away: its path below the root, and its depth
--- there. Nil where there is none.
---@return string? path
---@return integer? depth
function Queue:oldest() end

--- Gives that directory away, as bytes for `walker:push()`: it leaves the queue with the next
--- commit.
---@return string? directory
function Queue:give() end

--- Items that were popped and are not finished.
---@return integer
function Queue:leased() end

---@return string
function Queue:name() end

--- The job's context; with an argument: sets it.
---@param ctx? sd.Context
---@return sd.Context
function Queue:owner(ctx) end

--- Drops what is in memory. `__close` and `__gc` do it.
function Queue:close() end

return M
