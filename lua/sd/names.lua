--- Names of all entries, packed for searching. Most of that is reading: where many are new, all
--- threads that walked read a part each.
local failure = require "sd.failure"

local M = {}

-- Parts in memory, of some 10 MiB each.
local MOST = 3

local function read_parts(ctx)
  local core, parts, readers = ctx.library.core, {}, {}
  for nth = 1, math.min(core:metrics().threads, MOST) do
    readers[nth] = function() parts[nth] = failure.check(core:read_names(nth - 1)) end
  end
  ctx:concurrently(table.unpack(readers))
  local n = 0
  while parts[n + 1] do n = n + 1 end
  return table.move(parts, 1, n, 1, {})
end

--- Packs a part of the names; whether more calls are needed.
---@async
---@param ctx sd.Context
---@return boolean left
function M.index(ctx)
  local core = ctx.library.core
  local parts = read_parts(ctx)
  if #parts > 0 and failure.check(core:write_names(parts)) > 0 then return true end
  return (failure.check(core:index_names()))
end

return M
