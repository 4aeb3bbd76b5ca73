--- One question on the terminal, while the event loop turns.
local core = require "sd.core"

local M = {}

--- Whether somebody is there to answer.
---@return boolean
function M.possible()
  return core.sys.isatty(0) and core.sys.isatty(2)
end

--- Asks, and calls `fn(answer)` with the line; "" at the end of input.
---@param question string
---@param fn fun(answer: string)
function M.ask(question, fn)
  io.stderr:write(question)
  io.stderr:flush()
  local tty = core.luv.new_tty(0, true)
  tty:read_start(function(_, data)
    tty:read_stop()
    tty:close()
    fn((data or ""):match("^[^\r\n]*"))
  end)
end

return M
