-- Who may know whom: the #include lines of runtime/, and what engines must not say.
local fixture = require "support.fixture"

local RUNTIME = require "sd.root" .. "/runtime"

local LIBC = {}
for name in ([[assert ctype dirent dlfcn endian errno fcntl fnmatch grp inttypes limits locale math
  poll pwd setjmp signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn
  string strings time unistd wchar linux/btrfs linux/fs linux/magic linux/openat2 linux/stat
  linux/types
  sys/eventfd sys/file sys/ioctl sys/mman sys/random sys/resource sys/socket sys/stat sys/statfs
  sys/syscall sys/sysmacros sys/time sys/types sys/uio sys/un sys/vfs sys/wait]]):gmatch("%S+") do
  LIBC[name .. ".h"] = true
end

-- By layer: the layers and the libraries that it may include beside itself and libc.
local LAYERS = {
  base = { layers = {}, libraries = {} },
  engine = {
    layers = { "base" },
    libraries = { "sqlite3.h", "xxhash.h", "xxh_x86dispatch.h", "msgpack.h", "magic.h",
      "pcre2.h" },
  },
  loop = { layers = { "base" }, libraries = { "uv.h" } },
  bind = {
    layers = { "base", "engine", "loop" },
    libraries = { "lua.h", "lauxlib.h", "lualib.h", "luv/luv.h", "uv.h", "sqlite3.h", "msgpack.h" },
  },
  host = { layers = { "bind", "loop" }, libraries = { "lua.h", "lauxlib.h", "lualib.h" } },
}

-- What one file may include although its layer may not, and why.
local EXCEPTIONS = {
  -- pthread_once() around a setting of SQLite for the whole process: it starts and knows no thread.
  ["engine/store.c"] = { ["pthread.h"] = true },
}

-- Engines are run bare: no thread, no loop, no Lua, and nothing printed.
local FORBIDDEN_WORDS = {
  engine = {
    "uv%.h", "lua%.h", "uv_%w+", "lua_%w+", "luaL_%w+", "pthread_[cmrks]%w+", "thrd_%w+",
    "stdout", "stderr", "printf", "vprintf", "puts", "putchar", "perror",
  },
  base = { "uv%.h", "lua%.h", "uv_%w+", "lua_%w+", "stdout", "printf", "puts", "perror" },
}

local function set(list)
  local s = {}
  for _, value in ipairs(list) do s[value] = true end
  return s
end

local function files(root, layer)
  local list = fixture.sh(("find %s/%s -name '*.[ch]'"):format(root, layer))
  return list:gmatch("[^\n]+")
end

-- Without comments, and without the attribute that has the compiler check formats.
local function without_comments(text)
  return (text:gsub("/%*.-%*/", ""):gsub("//[^\n]*", ""):gsub("format%(printf,", "format("))
end

-- Why the layer must not include that, or nil.
local function refusal(layer, mark, name)
  local rule = LAYERS[layer]
  if mark == "<" then
    return not (LIBC[name] or set(rule.libraries)[name]) and "is no library of " .. layer or nil
  end
  local of = name:match("^(%w+)/")
  if not of then return "does not name its layer" end
  local known = of == layer or set(rule.layers)[of]
  return not known and ("%s must not know %s"):format(layer, of) or nil
end

local function check_includes(layer, path, text, wrong)
  for mark, name in text:gmatch('\n[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)') do
    local why = refusal(layer, mark, name)
    if why and not (EXCEPTIONS[path] and EXCEPTIONS[path][name]) then
      wrong[#wrong + 1] = ("%s: %s %s"):format(path, name, why)
    end
  end
  if text:find('\n[ \t]*#[ \t]*include[ \t]*[^ \t<"]') then
    wrong[#wrong + 1] = path .. ": an include that cannot be read"
  end
end

local function check_words(layer, path, text, wrong)
  for _, word in ipairs(FORBIDDEN_WORDS[layer] or {}) do
    local found = text:match("%f[%w_](" .. word .. ")%f[^%w_]")
    if found then wrong[#wrong + 1] = ("%s: says %s"):format(path, found) end
  end
end

-- What is wrong in a tree, a line each.
local function check(root)
  local wrong, seen = {}, 0
  for layer in pairs(LAYERS) do
    for path in files(root, layer) do
      seen = seen + 1
      local text = "\n" .. without_comments(fixture.read(path))
      check_includes(layer, path:sub(#root + 2), text, wrong)
      check_words(layer, path:sub(#root + 2), text, wrong)
    end
  end
  table.sort(wrong)
  return wrong, seen
end

describe("runtime/", function()
  -- sd_verify() ends the process: its message is the one thing that base prints.
  it("includes only what its layer may know", function()
    local wrong, seen = check(RUNTIME)
    assert.same({}, wrong)
    assert.is_true(seen > 60)
  end)

  it("has no layer that no rule is for", function()
    for name in fixture.sh("cd " .. RUNTIME .. " && ls -d */"):gmatch("(%w+)/") do
      assert.is_table(LAYERS[name], name)
    end
  end)

  it("has no source that is not in a layer's folder", function()
    assert.equal("", fixture.sh(("cd %s && find . -name '*.[ch]' -not -path './*/*.[ch]' -o"
      .. " -path './*/*/*.[ch]'"):format(RUNTIME)))
  end)

  it("links each layer only with what it may know", function()
    local allowed = {
      base = {}, engine = { "sd_base" }, loop = { "sd_base" },
      bind = { "sd_base", "sd_engine", "sd_loop" }, host = { "sd_bind", "sd_loop" },
    }
    for layer, list in pairs(allowed) do
      local text = fixture.read(("%s/%s/CMakeLists.txt"):format(RUNTIME, layer))
      local may = set(list)
      for links in text:gmatch("target_link_libraries(%b())") do
        for name in links:gmatch("%f[%w_](sd_%w+)") do
          assert.is_true(may[name] or name == "sd_flags" or name == "sd_" .. layer, layer .. name)
        end
      end
    end
  end)
end)

describe("the check of the layers", function()
  local dir

  before_each(function()
    dir = fixture.temp()
    fixture.sh(("cd %s && mkdir base engine loop bind host"):format(dir))
  end)
  after_each(function() fixture.remove(dir) end)

  local function wrong_with(path, text)
    fixture.write(dir .. "/" .. path, text)
    return check(dir)
  end

  for _, case in ipairs {
    { "base/a.c", '#include "engine/walk.h"', "base must not know engine" },
    { "base/a.c", "#include <sqlite3.h>", "sqlite3.h is no library of base" },
    { "base/a.h", "#include <uv.h>", "uv.h is no library of base" },
    { "engine/a.c", '#include "loop/loop.h"', "engine must not know loop" },
    { "engine/a.c", "#include <uv.h>", "uv.h is no library of engine" },
    { "engine/a.c", "int x;\n  #  include <lua.h>", "lua.h is no library of engine" },
    { "engine/a.h", "struct lua_State; void f(struct lua_State *);", "says lua_State" },
    { "engine/a.c", 'void f(void) { printf("x"); }', "says printf" },
    { "engine/a.c", 'void f(void) { fprintf(stderr, "x"); }', "says stderr" },
    { "engine/a.c", "#include <pthread.h>", "pthread.h is no library of engine" },
    { "loop/a.c", "#include <lua.h>", "lua.h is no library of loop" },
    { "loop/a.c", '#include "bind/op.h"', "loop must not know bind" },
    { "bind/a.c", '#include "host/repl.h"', "bind must not know host" },
    { "host/a.c", '#include "engine/walk.h"', "host must not know engine" },
    { "host/a.c", '#include "walk.h"', "does not name its layer" },
    { "host/a.c", "#include HEADER", "an include that cannot be read" },
  } do
    it(("finds in %s: %s"):format(case[1], case[3]), function()
      local wrong = table.concat(wrong_with(case[1], case[2] .. "\n"), "\n")
      assert.is_truthy(wrong:find(case[3], 1, true), wrong)
    end)
  end

  it("finds nothing in what is allowed, and in comments", function()
    fixture.write(dir .. "/base/a.h", "#include <stdint.h>\n")
    fixture.write(dir .. "/loop/a.c", '#include <uv.h>\n#include "base/a.h"\n')
    fixture.write(dir .. "/bind/a.c", '#include <luv/luv.h>\n#include "engine/a.h"\n')
    assert.same({}, (wrong_with("engine/a.c", '#include "base/a.h"\n#include <sqlite3.h>\n'
      .. '/* printf, lua.h, uv.h */ // stderr\nvoid f(char *s) { snprintf(s, 1, "x"); }\n')))
  end)
end)
