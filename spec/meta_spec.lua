-- lua/sd/meta describes each C module: what exists and what is described must be the same.
local fixture = require "support.fixture"
local core = require "sd.core"
require "sd"

local ROOT = require "sd.root"
local META = ROOT .. "/lua/sd/meta/"

-- Metatables in the registry that no script meets, and why.
local INTERNAL = {
  ["sd.codec.buf"] = "a buffer while a value is encoded",
  ["sd.work"] = "a commit while its arguments are read",
  ["sd.sql"] = "a statement while its arguments are read",
}

-- Described class -> the table of the module. `sd.core` holds the others.
local MODULES = {
  ["sd.core"] = core, ["sd.core.library"] = core.library, ["sd.core.queue"] = core.queue,
  ["sd.core.walker"] = core.walker, ["sd.core.hasher"] = core.hasher,
  ["sd.core.codec"] = core.codec, ["sd.core.control"] = core.control,
  ["sd.core.sys"] = core.sys, ["sd.core.reader"] = core.reader,
  ["sd.core.copy"] = core.copy, ["sd.core.watchdog"] = core.watchdog,
  ["sd.core.rules"] = core.rules,
}

-- Described class -> the name of its metatable.
local CLASSES = {
  ["sd.core.Library"] = "sd.library", ["sd.Queue"] = "sd.queue", ["sd.core.Walker"] = "sd.walker",
  ["sd.Batch"] = "sd.batch", ["sd.core.Hasher"] = "sd.hasher", ["sd.Chunk"] = "sd.chunk",
  ["sd.core.Server"] = "sd.server", ["sd.core.Connection"] = "sd.connection",
  ["sd.core.Reader"] = "sd.reader", ["sd.core.Cursor"] = "sd.cursor",
  ["sd.core.Copy"] = "sd.copy", ["sd.core.Watchdog"] = "sd.watchdog",
  ["sd.Rules"] = "sd.rules",
}

-- The "---" lines above line `i`, without marks.
local function comment_above(lines, i)
  local comment = {}
  for k = i - 1, 1, -1 do
    local text = lines[k]:match("^%-%-%-(.*)$")
    if not text then break end
    table.insert(comment, 1, text)
  end
  return comment
end

---@class spec.Described
---@field comment string[]
---@field params string[] As the function has them.
---@field place string

-- The functions of one file: class -> name -> description, and the fields of each class.
local function parse(path)
  local lines, locals, found = {}, {}, { classes = {}, fields = {}, operators = {} }
  for line in (fixture.read(path) .. "\n"):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  found.meta = lines[1]:match("^%-%-%-@meta ([%w_.]+)$")
  for i, line in ipairs(lines) do
    local variable = line:match("^local (%w+) = {}$")
    if variable then
      local comment = table.concat(comment_above(lines, i), "\n")
      local class = comment:match("@class ([%w_.]+)")
      locals[variable] = class
      found.classes[class] = {}
      found.fields[class] = {}
      for name in comment:gmatch("@field ([%w_]+)") do found.fields[class][name] = true end
      found.operators[class] = comment:match("@operator (%w+)")
    end
    local owner, name, params = line:match("^function (%w+)[.:]([%w_]+)%((.-)%) end$")
    if owner then
      local list = {}
      for param in params:gmatch("[%w_.]+") do list[#list + 1] = param end
      found.classes[locals[owner]][name] = {
        comment = comment_above(lines, i), params = list, place = ("%s:%d"):format(path, i),
      }
    end
  end
  return found
end

local function described()
  local all = { classes = {}, fields = {}, operators = {}, files = {} }
  for path in fixture.sh("ls " .. META .. "*.lua"):gmatch("[^\n]+") do
    local found = parse(path)
    all.files[path] = found
    for _, part in ipairs { "classes", "fields", "operators" } do
      for class, value in pairs(found[part]) do all[part][class] = value end
    end
  end
  return all
end

local function is_c(f)
  return type(f) == "function" and debug.getinfo(f, "S").what == "C"
end

-- name -> true of the C functions in a table.
local function functions_of(t)
  local names = {}
  for name, value in pairs(t) do if is_c(value) then names[name] = "function" end end
  return names
end

local function names_of(t)
  local names = {}
  for name in pairs(t or {}) do names[name] = "function" end
  return names
end

-- The C functions that Lua calls, of all files of the bindings: whether each may wait.
local function waiting_functions()
  local waits, names = {}, {}
  for path in fixture.sh("ls " .. ROOT .. "/runtime/bind/*.c"):gmatch("[^\n]+") do
    local text = fixture.read(path)
    for name, body in text:gmatch("int (lsd_[%w_]+)%(lua_State %*L%) {(.-)\n}") do
      waits[name] = body:find("lsd_check_await(L)", 1, true) ~= nil
    end
    local module = path:match("([%w_]+)%.c$")
    for name, fn in text:gmatch('{"([%w_]+)",%s*(lsd_[%w_]+)}') do
      names[#names + 1] = { module = module, name = name, fn = fn }
    end
  end
  return waits, names
end

local FILE_CLASSES = {
  await = { "sd.core" }, core = { "sd.core" }, library = { "sd.core.library", "sd.core.Library" },
  queue = { "sd.core.queue", "sd.Queue" }, walker = { "sd.core.walker", "sd.core.Walker" },
  hasher = { "sd.core.hasher", "sd.core.Hasher" }, batch = { "sd.Batch" }, chunk = { "sd.Chunk" },
  codec = { "sd.core.codec" },
  control = { "sd.core.control", "sd.core.Server", "sd.core.Connection" }, sys = { "sd.core.sys" },
  reader = { "sd.core.reader", "sd.core.Reader", "sd.core.Cursor" },
  copy = { "sd.core.copy", "sd.core.Copy" },
  watchdog = { "sd.core.watchdog", "sd.core.Watchdog" },
  rules = { "sd.core.rules", "sd.Rules" },
}

local all = described()

describe("lua/sd/meta", function()
  for class, module in pairs(MODULES) do
    it("describes the functions of " .. class, function()
      assert.same({}, fixture.differences(names_of(all.classes[class]), functions_of(module)))
    end)
  end

  for class, name in pairs(CLASSES) do
    it("describes the methods of " .. class, function()
      local metatable = debug.getregistry()[name]
      assert.is_table(metatable, "no metatable " .. name)
      assert.same({}, fixture.differences(names_of(all.classes[class]),
        functions_of(metatable.__index)))
      assert.equal(metatable.__len and "len", all.operators[class])
      assert.is_function(metatable.__gc)
      assert.equal(metatable.__gc, metatable.__close)
    end)
  end

  it("describes every part of sd.core", function()
    local fields = {}
    for name, value in pairs(core) do if not is_c(value) then fields[name] = true end end
    assert.same(fields, all.fields["sd.core"])
  end)

  it("leaves out no metatable", function()
    local known = {}
    for _, name in pairs(CLASSES) do known[name] = true end
    for name in pairs(debug.getregistry()) do
      if type(name) == "string" and name:find("^sd%.") then
        assert.is_true(known[name] or INTERNAL[name] ~= nil, name .. " is described nowhere")
      end
    end
  end)

  it("has no class that nothing stands behind", function()
    for class in pairs(all.classes) do
      assert.is_true(MODULES[class] ~= nil or CLASSES[class] ~= nil, class)
    end
  end)

  it("is one file a module, named like it", function()
    for path, found in pairs(all.files) do
      local name = path:match("([%w_]+)%.lua$")
      assert.equal(name == "core" and "sd.core" or "sd.core." .. name, found.meta, path)
      assert.is_truthy(FILE_CLASSES[name], path)
      assert(loadfile(path))
    end
  end)

  it("says of each function what it takes and gives", function()
    for _, functions in pairs(all.classes) do
      for name, one in pairs(functions) do
        local params, text = {}, table.concat(one.comment, "\n")
        for param in text:gmatch("@param ([%w_.]+)") do params[#params + 1] = param end
        assert.same(one.params, params, one.place)
        local prose = text:find("^ %S") or text:find("@return", 1, true)
        assert.is_truthy(prose, one.place .. ": says nothing of " .. name)
      end
    end
  end)

  it("marks as async exactly what waits", function()
    local waits, names = waiting_functions()
    local marked, waiting, seen = {}, {}, 0
    for class, functions in pairs(all.classes) do
      for name, one in pairs(functions) do
        if table.concat(one.comment, "\n"):find("@async", 1, true) then
          marked[class .. "." .. name] = "async"
        end
      end
    end
    for _, one in ipairs(names) do
      for _, class in ipairs(FILE_CLASSES[one.module] or {}) do
        if all.classes[class][one.name] and not (class:find("%u") and one.name == "open") then
          seen = seen + 1
          if waits[one.fn] then waiting[class .. "." .. one.name] = "async" end
        end
      end
    end
    assert.is_true(seen > 40)
    assert.same({}, fixture.differences(marked, waiting))
  end)
end)
