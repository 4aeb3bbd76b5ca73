--- What commands that ask the library have in common: they open it without its lock, and end with
--- what they found.
local core = require "sd.core"
local out = require "sd.cli.out"

local M = {}

--- Opens the library that was named, calls `fn(query)`, and writes what is left. Signals end it.
---@param parsed table With `library`, where one was named.
---@param fn fun(query: sd.Query): integer?
---@return integer status
function M.run(parsed, fn)
  out.begin()
  local path = parsed.library or require "sd.cli.default"()
  local query <close> = require "sd.query".must_open(path)
  core.reader.catch()
  local status = fn(query) or 0
  out.flush()
  -- What was only read needs no tidying up, which would take as long as many an answer.
  core.sys.exit_now(status)
  return status
end

return M
