---@meta sd.core
-- runtime/bind/core.c and await.c: the event loop, and the coroutines that wait on it. Scripts use
-- what `require "sd"` gives; this is what that is built from.

---@class sd.core
---@field library sd.core.library
---@field queue sd.core.queue
---@field walker sd.core.walker
---@field hasher sd.core.hasher
---@field codec sd.core.codec
---@field control sd.core.control
---@field rules sd.core.rules
---@field sys sd.core.sys
---@field reader sd.core.reader
---@field copy sd.core.copy
---@field watchdog sd.core.watchdog
---@field luv table The module `luv`, on this loop: timers, processes, sockets.
local M = {}

--- Turns the event loop until `stop()`, or until nothing can happen any more. Raises what a
--- callback raised. From the main coroutine only.
function M.run() end

--- Ends `run()` after what is being delivered.
function M.stop() end

--- Starts `fn(...)` as a coroutine that may wait. It runs when the caller waits or ends.
---@param on_done fun(ok: boolean, ...) Called at its end, outside of it: true and the results, or
--- false, the error and a traceback. Not called where it was closed.
---@param fn fun(...): ...
---@param ... any Passed to `fn`.
---@return thread
function M.spawn(on_done, fn, ...) end

--- Waits until `wake()` is called with this coroutine; returns at once where that was before.
--- A wake may be meant for something else: look whether what was waited for is there.
---@async
function M.park() end

--- Lets a coroutine that parked go on, from the loop and not from inside this call.
---@param thread thread
---@return boolean alive False: it has ended, or is not one of `spawn()`.
function M.wake(thread) end

--- Ends a coroutine where it waits: its to-be-closed variables run, `pcall` does not stop it.
--- Raises where it is the running one.
---@param thread thread
function M.close(thread) end

--- Says whose a coroutine is, and what it spawns from now on: for the watchdog.
---@param thread thread
---@param id integer Of a job; 0: nobody's.
---@return integer before
function M.set_job(thread, id) end

--- Whether functions that wait may be called here.
---@return boolean
function M.awaitable() end

return M
