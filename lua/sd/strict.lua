--- The environment of a script: reading or writing a name that nobody declared is nearly always a
--- misspelling, and an error.
local STRICT = {
  __index = function(_, name)
    local value = _G[name]
    if value == nil then error(("undeclared global '%s'"):format(tostring(name)), 2) end
    return value
  end,
  __newindex = function(_, name)
    error(("assignment to undeclared global '%s'"):format(tostring(name)), 2)
  end,
}

---@return table environment A new one for each script.
return function()
  return setmetatable({}, STRICT)
end
