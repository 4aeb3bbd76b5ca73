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
  core.reader.catch()
  out.begin()
  local path = parsed.library or require "sd.cli.options".default_library()
  local query <close> = require "sd.query".must_open(path)
  local status = fn(query)
  out.flush()
  return status or 0
end

return M
