-- Runs busted under the interpreter that runs this file:
--
--     sdlua spec/support/busted.lua [busted options] FILE...
--
-- Works from any directory. The exit code is 0 if every test passed, 1 on failures and errors, 2
-- where busted itself is not there. Specs find helpers as `require "support.<name>"`.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local spec = here .. "/.."

-- Debian keeps busted and what it needs where the default path looks; LUA_PATH may replace that.
local debian = "/usr/share/lua/" .. _VERSION:match("%d+%.%d+")
for _, template in ipairs { debian .. "/?.lua", debian .. "/?/init.lua", spec .. "/?.lua" } do
  if not (";" .. package.path .. ";"):find(";" .. template .. ";", 1, true) then
    package.path = package.path .. ";" .. template
  end
end

for _, name in ipairs {
  "busted.core", "pl.path", "luassert", "say", "cliargs", "lfs", "term", "system", "mediator",
  "dkjson",
} do
  local ok, err = pcall(require, name)
  if not ok then
    io.stderr:write("busted cannot run here; is the package lua-busted installed? ", err, "\n")
    os.exit(2, true)
  end
end

require "busted.runner" { standalone = false }
