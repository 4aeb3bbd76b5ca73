--- An open library: its database, its locations, its jobs.
local core = require "sd.core"
local failure = require "sd.failure"
local jobs = require "sd.jobs"
local locations = require "sd.location"

local M = {}

---@class sd.Library
---@field path string The library's directory.
---@field db sd.Db
---@field locations sd.Locations
---@field jobs sd.Jobs
---@field core userdata The handle of C.
---@field package identity? string Of the file that is locked.
---@field package probe? fun(ctx: sd.Context, kind: string) Given to each job that starts.
local Library = {}
Library.__index = Library
Library.__name = "sd.Library"

---@class sd.Db
local Db = {}
Db.__index = Db

--- The rows of a statement that reads, as tables by column name.
---@async
---@param sql string One statement; `?` for each value.
---@param params? any[] With `n` where values may be nil.
---@return table[]? rows
---@return string? message
---@return string? code
function Db:query(sql, params)
  return self.core:query(sql, params)
end

--- Runs one statement that writes, in a transaction of its own.
---@async
---@return integer? changes Rows that changed.
---@return string? message
---@return string? code
function Db:exec(sql, params)
  local rows, message, code = self.core:query(sql, params, { fresh = true })
  if not rows then return nil, message, code end
  return rows.changes
end

---@class sd.Transaction
---@field sql table[]
local Transaction = {}
Transaction.__index = Transaction

--- Adds a statement to the transaction.
---@param sql string
---@param params? any[]
function Transaction:exec(sql, params)
  self.sql[#self.sql + 1] = { sql, params }
end

--- Runs all statements that `fn(tx)` adds with `tx:exec()` in one transaction: all of them or none.
--- They run after `fn` has returned.
---@async
---@param fn fun(tx: sd.Transaction)
---@return boolean? ok
---@return string? message
---@return string? code
function Db:transaction(fn)
  local tx = setmetatable({ sql = {} }, Transaction)
  fn(tx)
  local ok, message, code = self.core:commit { sql = tx.sql }
  if not ok then return nil, message, code end
  return true
end

---@class sd.LibraryOptions
---@field create? boolean Make the library where there is none (default false).
---@field threads? integer Of the walk and hash lanes (default: one a processor).

-- Nil where it cannot be told; "" where there is none.
local function identity_of(path)
  local stat, _, code = core.luv.fs_stat(path .. "/library.lock")
  if stat then return stat.dev .. ":" .. stat.ino end
  return (code == "ENOENT" or code == "ENOTDIR") and "" or nil
end

--- Opens the library in directory `path`, and locks it: one process at a time.
---@param path string
---@param options? sd.LibraryOptions
---@return sd.Library? library
---@return string? message
---@return string? code
function M.open(path, options)
  local handle, message, code = core.library.open(path, options or {})
  if not handle then return nil, message, code end
  local self = setmetatable({ path = path, core = handle, identity = identity_of(path) }, Library)
  self.db = setmetatable({ core = handle }, Db)
  self.locations = locations.of(self)
  self.jobs = jobs.of(self)
  return self
end

--- Whether the library is no longer where it was opened: its directory was removed or renamed, so
--- that nobody can find what is written, nor this runner. PostgreSQL looks for its postmaster.pid
--- in the same way.
---@return boolean
function Library:is_gone()
  local now = identity_of(self.path)
  return now ~= nil and now ~= self.identity
end

-- What a reader that comes first has to read of the log; it takes some milliseconds for 16 MiB.
local LOG_LEFT = 1024 * 1024

--- Ends what runs, where it stands, and closes. Jobs that have not ended are resumable. A long
--- write-ahead log is emptied, so that the next question need not read it.
---@param at_once? any True, or an error: the log stays as it is.
function Library:close(at_once)
  self.jobs:close()
  self.core:close(not at_once and LOG_LEFT or nil)
end

Library.__close = Library.close

--- Rows of a query on the library's own tables; a failure is raised.
---@async
---@package
function Library:rows(sql, params)
  return failure.check(self.core:query(sql, params, { own = true }))
end

--- The same on the connection that writes, behind everything committed before.
---@async
---@package
function Library:fresh_rows(sql, params)
  return failure.check(self.core:query(sql, params, { fresh = true, own = true }))
end

return M
