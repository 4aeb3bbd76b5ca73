---@meta sd.core.watchdog
-- runtime/bind/watchdog.c: sees a script that does not come back to the event loop.

---@class sd.core.watchdog
local M = {}

---@class sd.core.WatchdogOptions
---@field seconds number How long the loop may stay in Lua, from 0.01.
---@field on_over fun(job: integer, seconds: number, text: string) Called by the loop when it turns
--- again after a report: whose code it was (0: nobody's), how long it took, what was reported.
---@field note? string A file behind whose content the report stands until it is over.
---@field quiet? boolean Nothing is written to standard error (default false).

--- Starts a thread that reports what keeps the loop in Lua: whose code it is and its traceback, or
--- that it waits in a C function. Each time is reported once. One watchdog at a time in a process.
---@param options sd.core.WatchdogOptions
---@return sd.core.Watchdog? watchdog
---@return string? message
---@return string? code EBUSY where there is one already.
function M.start(options) end

---@class sd.core.Watchdog: userdata
local Watchdog = {}

--- SIGINT and SIGTERM, where they are handled on the loop at this moment, end the process soon if
--- a script keeps the loop from it: as a crash would, with 128 + the signal.
function Watchdog:guard_signals() end

--- Ends it. May be called again. `__close` and `__gc` do it.
function Watchdog:close() end

return M
