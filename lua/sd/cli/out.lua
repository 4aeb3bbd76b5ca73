--- Standard output of the commands that answer: exact bytes in a pipe or a file, and nothing that
--- moves a cursor on a terminal.
local core = require "sd.core"

local M = {}

local file, what = io.stdout, "standard output"

--- Whether it is a terminal.
M.terminal = core.sys.isatty(1)

-- A disk that is full, a descriptor that is closed. (A pipe without a reader ends the process.) A
-- signal that came while it waited has a message of its own.
local function failed(why)
  local failure = require "sd.failure"
  local signal = core.reader.caught()
  if signal then error(failure.new("interrupted", "ECANCELED", 128 + signal), 0) end
  error(failure.new(("write %s: %s"):format(what, why), "EIO"), 0)
end

--- Large pieces where nobody looks on.
function M.begin()
  file:setvbuf(M.terminal and "line" or "full", 65536)
end

---@param ... string|number
function M.write(...)
  local ok, why = file:write(...)
  if not ok then failed(why) end
end

--- What is still held back.
function M.flush()
  local ok, why = file:flush()
  if not ok then failed(why) end
end

--- Writes to a new file instead, until the result is closed; that flushes it.
---@param path string
---@return table closer To be closed.
function M.to_file(path)
  local opened, why = io.open(path, "wb")
  what = path
  if not opened then failed(why:gsub("^.*: ", "")) end
  local terminal = M.terminal
  M.terminal, file = false, opened
  file:setvbuf("full", 65536)
  return setmetatable({}, { __close = function(_, err)
    local ok, message = opened:close()
    M.terminal, file = terminal, io.stdout
    if not ok and err == nil then failed(message) end
    what = "standard output"
  end })
end

--- Bytes as they may be printed here.
---@param bytes string
---@return string
function M.name(bytes)
  return M.terminal and require "sd.text".escape(bytes) or bytes
end

--- Writes the names that a statement gives, a line each or with a zero byte behind each.
---@param cursor sd.core.Cursor Of one column.
---@param null? boolean
function M.names(cursor, null)
  local query = require "sd.query"
  if not M.terminal then
    local kind = null and "nul" or "lines"
    for chunk in function() return query.chunk(cursor, kind) end do M.write(chunk) end
    return
  end
  for row in function() return query.next(cursor) end do
    M.write(M.name(row[1]), null and "\0" or "\n")
  end
end

return M
