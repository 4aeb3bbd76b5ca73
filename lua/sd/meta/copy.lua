---@meta sd.core.copy
-- runtime/bind/copy.c: a new SQLite file, filled from the rows of cursors.

---@class sd.core.copy
local M = {}

--- Makes the file, which must not be there.
---@param path string
---@return sd.core.Copy? copy
---@return string? message
---@return string? code EEXIST, or another errno's name.
function M.open(path) end

---@class sd.core.Copy: userdata
local Copy = {}

--- Runs statements: tables, indexes.
---@param sql string
---@return boolean? ok
---@return string? message
---@return string? code
function Copy:exec(sql) end

--- Adds all rows of a cursor to a table with as many columns.
---@param cursor sd.core.Cursor
---@param table string
---@return boolean? ok
---@return string? message
---@return string? code
function Copy:rows(cursor, table) end

--- The file is complete, and on the disk. Only `close()` may follow.
---@return boolean? ok
---@return string? message
---@return string? code
function Copy:finish() end

--- Removes the file, if it is not finished. May be called again. `__close` and `__gc` do it.
function Copy:close() end

return M
