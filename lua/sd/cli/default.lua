--- The library where none is named.
local failure = require "sd.failure"

---@return string path $SDLUA_LIBRARY, else $XDG_DATA_HOME/sdlua/default.
return function()
  local given = os.getenv("SDLUA_LIBRARY")
  if given and given ~= "" then return given end
  local data = os.getenv("XDG_DATA_HOME")
  if not data or data:sub(1, 1) ~= "/" then
    local home = os.getenv("HOME")
    if not home or home == "" then
      error(failure.new("neither SDLUA_LIBRARY nor HOME is set: say --library DIR", "EINVAL",
        failure.EXIT.USAGE), 0)
    end
    data = home .. "/.local/share"
  end
  return data .. "/sdlua/default"
end
