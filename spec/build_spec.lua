-- The build: compilers, presets, packages.
local dkjson = require "dkjson"
local fixture = require "support.fixture"

local quote = fixture.quote
local ROOT = require "sd.root"

local function read_json(path)
  return assert(dkjson.decode(fixture.read(path)))
end

describe("the sources", function()
  -- What the release build says to its compiler, said to clang, which only looks.
  local function clang_command(one)
    local command = one.command:gsub("^%S+", "clang", 1):gsub(" %-o %S+", "")
    return ("cd %s && %s -Werror -fsyntax-only 2>&1"):format(quote(one.directory), command)
  end

  it("are without a warning for clang, too", function()
    if not fixture.has("clang") then return pending("clang is not installed") end
    local build = assert(fixture.sdlua:match("^(.*)/[^/]+$"))
    local count = 0
    for _, one in ipairs(read_json(build .. "/compile_commands.json")) do
      if one.file:find("/runtime/", 1, true) then
        fixture.sh(clang_command(one))
        count = count + 1
      end
    end
    assert.is_true(count > 40)
  end)
end)

describe("the program", function()
  it("has the libraries in it that would have to be loaded for each question", function()
    if fixture.is_sanitized() then return pending("a sanitizer's program has them as they come") end
    local loaded = fixture.sh("ldd " .. quote(fixture.sdlua))
    assert.is_truthy(loaded:find("libc.so", 1, true))
    for _, name in ipairs { "libsqlite3", "liblua", "libuv", "libpcre2" } do
      assert.is_nil(loaded:find(name, 1, true), loaded)
    end
  end)

  it("has the whole Lua API for C modules", function()
    local symbols = fixture.sh("nm -D --defined-only " .. quote(fixture.sdlua))
    if fixture.is_sanitized() then return pending("a sanitizer's program loads it") end
    for _, name in ipairs { "luaL_loadfilex", "lua_gc", "luaL_buffinitsize", "lua_setwarnf" } do
      assert.is_truthy(symbols:find(" T " .. name, 1, true), name)
    end
  end)
end)

describe("the presets", function()
  it("make an error of a warning for those who change the code, not for users", function()
    local werror = {}
    for _, preset in ipairs(read_json(ROOT .. "/CMakePresets.json").configurePresets) do
      werror[preset.name] = (preset.cacheVariables or {}).SD_WERROR
    end
    assert.same({ release = "OFF", debug = "ON", asan = "ON", tsan = "ON" }, werror)
  end)
end)

describe("./dev", function()
  it("installs what the Lua code requires", function()
    local list = fixture.read(ROOT .. "/dev"):match("\nbuild_packages='([^']*)'")
    local packages = {}
    for name in list:gmatch("%S+") do packages[name] = true end
    local required = fixture.sh(("cd %s && grep -rhoE 'require[ (]+\"[a-z0-9_.]+\"' lua jobs")
      :format(quote(ROOT)))
    local others = 0
    for module in required:gmatch('"([^"]*)"') do
      if module ~= "sd" and not module:find("^sd%.") then
        others = others + 1
        assert.is_true(packages["lua-" .. module], module)
      end
    end
    assert.is_true(others >= 2)
  end)
end)
