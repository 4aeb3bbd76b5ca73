---@meta sd.core.reader
-- runtime/bind/reader.c: questions to a library, row by row. Scripts use sd.query.

---@class sd.core.reader
local M = {}

--- Opens the library in directory `dir` for reading, without its lock: another process may write.
---@param dir string
---@return sd.core.Reader? reader
---@return string? message
---@return string? code ENOLIB, EDAMAGED, ENEWER, EOLDER, or an errno's name.
function M.open(dir) end

--- From now on SIGINT and SIGTERM end statements early instead of the process; the second signal
--- ends it. A pipe whose reader has gone ends it as it ends other programs.
function M.catch() end

--- The number of the signal that came since `catch()`; nil: none.
---@return integer?
function M.caught() end

--- Whether a text ends with a whole statement and its semicolon.
---@param text string
---@return boolean
function M.complete(text) end

--- A value as JSON. Bytes that are not text (UTF-8 without a zero byte) become {"hex":"…"}.
---@param value sd.SqlValue
---@return string
function M.json(value) end

---@class sd.core.Reader: userdata
local Reader = {}

--- Prepares the first statement of a text. Only what reads is accepted.
---@param text string
---@param values? sd.SqlValue[] One for each parameter; with `n` where values may be nil.
---@return sd.core.Cursor|false|nil cursor False where there are only blanks and comments.
---@return string? rest The text behind the statement; the message where cursor is nil.
---@return string? code ESQL where the statement is wrong.
---@return integer? place The byte of the text at which it is wrong, where that is known.
function Reader:prepare(text, values) end

--- From the next statement on all see one state of the library, until `leave()`.
---@return boolean? ok
---@return string? message
---@return string? code
function Reader:stay() end

--- Each statement sees the library as it is when it begins.
function Reader:leave() end

--- Ends with its last cursor. May be called again. `__close` and `__gc` do it.
function Reader:close() end

---@class sd.core.Cursor: userdata
local Cursor = {}

--- The next row: its values in order, nil for NULL. Nil where there is no more.
---@param row? table A table to be filled, instead of a new one.
---@return table? row
---@return string? message Where the query failed.
---@return string? code ECANCELED after a signal.
function Cursor:next(row) end

--- The next rows as text, some ten thousand bytes of it. `ndjson`: an object a line. `csv`: without
--- names. `lines`, `nul`: the bytes of the first column, each with a newline or a zero byte.
---@param kind "ndjson"|"csv"|"lines"|"nul"
---@return string? text Nil where there is no more.
---@return string? message Where the query failed.
---@return string? code ECANCELED after a signal.
function Cursor:chunk(kind) end

--- From the beginning, with other values. Raises where they are not the statement's.
---@param values? sd.SqlValue[]
---@return sd.core.Cursor cursor Itself.
function Cursor:again(values) end

---@return string[] names Of the columns.
function Cursor:names() end

--- May be called again. `__close` and `__gc` do it.
function Cursor:close() end

return M
