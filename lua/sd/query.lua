--- Questions to a library: read-only SQL, row by row. The library's lock is not needed, so that
--- they are answered while a job runs; a question changes nothing, whatever it says.
local core = require "sd.core"

local M = {}

---@class sd.Query
---@field path string The library's directory.
---@field core sd.core.Reader
local Query = {}
Query.__index = Query
Query.__name = "sd.Query"

-- What a code means for who only reads; anything else is an ordinary failure.
local READ_EXIT = { ENOLIB = "NO_LIBRARY", EDAMAGED = "DAMAGED", ENEWER = "NEWER", EOLDER = "NEWER",
  ENOMEM = "MEMORY", ESQL = "USAGE", EPATTERN = "USAGE" }

local function signal_exit()
  return 128 + (core.reader.caught() or 2)
end

-- The line of `sql` in which byte `at` is, and a mark below that byte.
local function place_of(sql, at)
  local from = 1
  for stop in sql:sub(1, at - 1):gmatch("()\n") do from = stop + 1 end
  local line = sql:match("^[^\n]*", from)
  local text = require "sd.text"
  local before = text.escape(sql:sub(from, at - 1))
  return ("  %s\n  %s^"):format(line, (" "):rep(text.width(before)))
end

--- Raises what a reader or a cursor said as a failure.
---@param message string
---@param code? string
---@param sql? string With `at`: the text in which byte `at` is wrong.
---@param at? integer
local function raise(message, code, sql, at)
  local failure = require "sd.failure" -- loaded when it is needed: questions are to be quick
  local exit = code == "ECANCELED" and signal_exit() or failure.EXIT[READ_EXIT[code] or "FAILED"]
  local err = failure.new(message, code, exit)
  if sql and at then err.usage = place_of(sql, at) end
  error(err, 0)
end

--- Opens the library in directory `path`. It need not be writable.
---@param path string
---@return sd.Query? query Close it.
---@return string? message
---@return string? code ENOLIB, EDAMAGED, ENEWER, EOLDER, or an errno's name.
function M.open(path)
  local reader, message, code = core.reader.open(path)
  if not reader then return nil, message, code end
  return setmetatable({ path = path, core = reader }, Query)
end

--- The same; a failure is raised.
---@param path string
---@return sd.Query
function M.must_open(path)
  local query, message, code = M.open(path)
  if not query then raise(message, code) end
  return query
end

--- Prepares the first statement of a text; a failure is raised.
---@param sql string
---@param values? sd.SqlValue[]
---@return sd.core.Cursor? cursor Nil where there are only blanks and comments.
---@return string? rest The text behind it.
function Query:first(sql, values)
  local cursor, rest, code, at = self.core:prepare(sql, values)
  if cursor == nil then raise(rest, code, sql, at) end
  return cursor or nil, rest
end

--- Prepares a text that is one statement; a failure is raised.
---@param sql string
---@param values? sd.SqlValue[]
---@return sd.core.Cursor cursor Close it, or read it to its end.
function Query:cursor(sql, values)
  local cursor, rest = self:first(sql, values)
  if not cursor then raise("SQL: there is no statement", "ESQL") end
  if self:first(rest) then raise("SQL: one statement at a time", "ESQL") end
  return cursor
end

--- The next row of a cursor, an array with holes for NULL, or nil; a failure is raised.
---@param cursor sd.core.Cursor
---@param row? table To be filled.
---@return table?
function M.next(cursor, row)
  local filled, message, code = cursor:next(row)
  if filled then return filled end
  if message then raise(message, code) end
end

--- The next rows of a cursor as text, or nil; a failure is raised.
---@param cursor sd.core.Cursor
---@param kind "ndjson"|"csv"|"lines"|"nul"
---@return string?
function M.chunk(cursor, kind)
  local chunk, message, code = cursor:chunk(kind)
  if chunk then return chunk end
  if message then raise(message, code) end
end

local function named(names, list)
  if not list then return nil end
  local row = {}
  for i, name in ipairs(names) do row[name] = list[i] end
  return row
end

--- `for row in query:each(sql, values) do`: rows as tables by column name. A failure is raised.
---@param sql string One statement; `?` for each value.
---@param values? sd.SqlValue[] With `n` where values may be nil.
---@return fun(): table?
---@return nil
---@return nil
---@return sd.core.Cursor closer The loop closes it.
function Query:each(sql, values)
  local cursor = self:cursor(sql, values)
  local names, list = cursor:names(), {}
  return function()
    return named(names, M.next(cursor, list))
  end, nil, nil, cursor
end

--- All rows, as tables by column name. A failure is raised.
---@param sql string
---@param values? sd.SqlValue[]
---@return table[]
function Query:rows(sql, values)
  local rows = {}
  for row in self:each(sql, values) do rows[#rows + 1] = row end
  return rows
end

--- The first row, or nil. A failure is raised.
---@param sql string
---@param values? sd.SqlValue[]
---@return table?
function Query:row(sql, values)
  local cursor <close> = self:cursor(sql, values)
  return named(cursor:names(), M.next(cursor))
end

--- From now on all statements see one state of the library.
function Query:stay()
  local ok, message, code = self.core:stay()
  if not ok then raise(message, code) end
end

function Query:close()
  self.core:close()
end

Query.__close = Query.close

return M
