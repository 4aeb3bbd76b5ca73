--- The jobs of a library whose runner does not answer: who only looks asks the library itself,
--- without its lock.
local query = require "sd.query"
local service = require "sd.service"

local M = {}

---@class sd.JobReader Called like a runner, with methods that only read.
---@field package query sd.Query
---@field package service sd.Service
local Reader = {}
Reader.__index = Reader

--- Opens the library in directory `path`; a failure is raised.
---@param path string
---@return sd.JobReader reader Close it.
function M.open(path)
  local asked = query.must_open(path)
  local library = { rows = function(_, sql, values) return asked:rows(sql, values) end }
  local jobs = { library = library, running = {}, run_elsewhere = true }
  return setmetatable({ query = asked, service = service.of(jobs) }, Reader)
end

--- Calls `find`, `list`, `show` or `log`.
---@param method string
---@param params? table
---@return any
function Reader:call(method, params)
  return self.service:call(method, params or {})
end

function Reader:close()
  self.query:close()
end

Reader.__close = Reader.close

return M
