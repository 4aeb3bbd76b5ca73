-- Lua values as frames, and back: what comes back is what went in, and what is damaged does not.

local codec = require "sd.core".codec

local DEPTH_MAX = 64

-- As types, bits and keys go: 1 is not 1.0, 0.0 is not -0.0, and nan is nan.
local function same(a, b)
  if math.type(a) ~= math.type(b) then return false end
  if math.type(a) == "float" then return string.pack("d", a) == string.pack("d", b) end
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for k, v in next, a do
    if not same(v, b[k]) then return false end
  end
  for k in next, b do
    if a[k] == nil then return false end
  end
  return true
end

local function round(value, encode_options, decode_options)
  local bytes = assert(codec.encode(value, encode_options))
  return codec.decode(bytes, decode_options)
end

local function assert_round(value)
  assert.is_true(same(value, (round(value))))
end

local function assert_refused(value, message)
  local bytes, text, code = codec.encode(value)
  assert.is_nil(bytes)
  assert.equal(message, text)
  assert.equal("EINVAL", code)
end

local function nested(depth)
  local value = {}
  for _ = 2, depth do value = { value } end
  return value
end

describe("a value that is stored", function()
  for _, value in ipairs { true, false, 0, 1, -1, math.maxinteger, math.mininteger, 1 << 53,
    0.0, -0.0, 1.0, 0.1, 2.0 ^ 63, -2.0 ^ 63, 1 / 0, -1 / 0, 0 / 0, -(0 / 0), 5e-324,
    "", "text", "a\0b", "\xff\xfe", ("x"):rep(70000) } do
    it("comes back as it was: " .. ("%q"):format(value):sub(1, 24), function()
      assert_round(value)
    end)
  end

  it("may be nil", function()
    local value, meta = round(nil)
    assert.is_nil(value)
    assert.equal("", meta.name)
  end)

  it("keeps integers around every power of two", function()
    local list = {}
    for bit = 0, 63 do
      for d = -1, 1 do
        list[#list + 1] = (1 << bit) + d
        list[#list + 1] = -(1 << bit) + d
      end
    end
    assert_round(list)
  end)

  it("keeps strings around every width of a length", function()
    for _, n in ipairs { 0, 31, 32, 255, 256, 65535, 65536 } do
      assert_round { s = ("\0"):rep(n), [("k"):rep(n)] = true }
    end
  end)

  it("keeps tables around every width of a count", function()
    for _, n in ipairs { 0, 1, 15, 16, 65535, 65536 } do
      local list, map = {}, {}
      for i = 1, n do list[i], map[-i] = i, true end
      assert_round { list, map }
    end
  end)

  it("keeps every kind of key apart", function()
    assert_round { "list", nil, "hole", [0] = "zero", [-1] = "minus", [1.5] = "float",
      [1 / 0] = "inf", [true] = "yes", [false] = "no", ["1"] = "text", [""] = "empty",
      ["a\0b"] = "nul", ["\xff"] = "byte", [math.mininteger] = {}, [math.maxinteger] = { {} } }
  end)

  it("is written twice where it is met twice", function()
    local shared = { 1 }
    local value = round { shared, shared }
    assert.is_true(same({ { 1 }, { 1 } }, value))
    assert.are_not.equal(value[1], value[2])
  end)

  it("may be nested as deep as the format allows", function()
    assert_round(nested(DEPTH_MAX))
    assert_round(nested(DEPTH_MAX - 1))
  end)

  it("keeps the name, version and script of its job", function()
    local script = ("\0\1\2\3"):rep(4)
    local _, meta = round({}, { name = "indexer", version = 0xffffffff, script = script })
    assert.are.same({ name = "indexer", version = 0xffffffff, script = script }, meta)
    _, meta = round({})
    assert.are.same({ name = "", version = 0 }, meta)
  end)

  it("may have a metatable that says it is plain", function()
    local never = function() error("a metamethod was called") end
    local value = setmetatable({ 1, 2 }, { __sd_plain = true, __index = never, __len = never,
      __pairs = never, __newindex = never })
    local got = round(value)
    assert.is_true(same({ 1, 2 }, got))
    assert.is_nil(getmetatable(got))
  end)
end)

describe("equal tables", function()
  it("give equal bytes, in whatever order they were made", function()
    local keys = { "b", "a", "", "ab", "a\0", 3, 1, -5, 2.5, -2.5, 1 / 0, true, false }
    local function build(from, to, step)
      local t = {}
      for i = from, to, step do t[keys[i]] = { n = i } end
      return t
    end
    local there, back = build(1, #keys, 1), build(#keys, 1, -1)
    for i = 1, 1000 do there["x" .. i] = i end
    for i = 1, 1000 do there["x" .. i] = nil end
    assert.equal(codec.encode(there), codec.encode(back))
  end)

  it("give equal bytes for a list that was filled from its end", function()
    local list = {}
    for i = 10, 1, -1 do list[i] = i end
    assert.equal(codec.encode { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, codec.encode(list))
  end)
end)

describe("random values", function()
  local seed = math.tointeger(os.getenv("SD_SEED"))
    or os.time() * 1000003 + math.floor(os.clock() * 1e6)
  local make

  local function bytes()
    local s = {}
    for i = 1, math.random(0, 40) do s[i] = string.char(math.random(0, 255)) end
    return table.concat(s)
  end

  local scalars = {
    bytes,
    function() return math.random(0) end,
    function() return math.random(-200, 200) end,
    function() return (math.random(0) >> math.random(0, 63)) * (math.random(0, 1) * 2 - 1) end,
    function() return (string.unpack("d", string.pack("j", math.random(0)))) end,
    function() return math.random() end,
    function() return math.random(0, 1) == 1 end,
  }

  local function scalar()
    return scalars[math.random(#scalars)]()
  end

  local function list(depth)
    local t = {}
    for i = 1, math.random(0, 20) do t[i] = make(depth - 1) end
    return t
  end

  local function map(depth)
    local t = {}
    for _ = 1, math.random(0, 20) do
      local key = scalar()
      if key == key then t[key] = make(depth - 1) end
    end
    return t
  end

  function make(depth)
    if depth == 0 or math.random(3) > 1 then return scalar() end
    return (math.random(2) == 1 and list or map)(depth)
  end

  it("come back as they were, and give the same bytes again", function()
    print("SD_SEED=" .. seed)
    math.randomseed(seed)
    for i = 1, 300 do
      local value = make(5)
      local stored = assert(codec.encode(value))
      local got = codec.decode(stored)
      assert.is_true(same(value, got), "value " .. i)
      assert.equal(stored, codec.encode(got), "value " .. i)
    end
  end)
end)

describe("a value that cannot be stored", function()
  local function f() end

  it("is named by its field", function()
    assert_refused(f, "value: a function cannot be stored")
    assert_refused({ f = f }, "value.f: a function cannot be stored")
    assert_refused({ stats = { 1, 2, { f = f } } },
      "value.stats[3].f: a function cannot be stored")
    assert_refused({ co = coroutine.create(f) }, "value.co: a thread cannot be stored")
    assert_refused({ { file = io.stdout } }, "value[1].file: a userdata (FILE*) cannot be stored")
  end)

  it("is named by a key that is no identifier", function()
    assert_refused({ ["two words"] = f }, 'value["two words"]: a function cannot be stored')
    assert_refused({ ['a"b\\c'] = f }, 'value["a\\"b\\\\c"]: a function cannot be stored')
    assert_refused({ ["a\n\0\xff"] = f }, 'value["a\\x0a\\x00\\xff"]: a function cannot be stored')
    assert_refused({ ["größe"] = f }, 'value["größe"]: a function cannot be stored')
    assert_refused({ [""] = f }, 'value[""]: a function cannot be stored')
    assert_refused({ ["1a"] = f }, 'value["1a"]: a function cannot be stored')
    assert_refused({ [-1] = f }, "value[-1]: a function cannot be stored")
    assert_refused({ [1.5] = f }, "value[1.5]: a function cannot be stored")
    assert_refused({ [true] = f }, "value[true]: a function cannot be stored")
  end)

  it("is named briefly where the path is long", function()
    local key = ("k"):rep(100)
    assert_refused({ [key] = f },
      'value["' .. ("k"):rep(40) .. '..."]: a function cannot be stored')
    local value = { leaf = f }
    for _ = 1, 20 do value = { [key] = value } end
    local _, message = codec.encode(value)
    assert.is_truthy(message:find("^value%[%.%.%.%]%[\"k"))
    assert.is_truthy(message:find("%.leaf: a function cannot be stored$"))
    assert.is_true(#message < 300)
  end)

  it("may be a key", function()
    assert_refused({ t = { [{}] = 1 } }, "value.t: a key that is a table cannot be stored")
    assert_refused({ [f] = 1 }, "value: a key that is a function cannot be stored")
    assert_refused({ [io.stdout] = 1 },
      "value: a key that is a userdata (FILE*) cannot be stored")
  end)

  it("may be a table with a metatable", function()
    assert_refused({ o = setmetatable({}, {}) },
      "value.o: a table with a metatable cannot be stored")
    assert_refused(setmetatable({}, { __name = "sd.thing", __sd_plain = 1 }),
      "value: a table with a metatable (sd.thing) cannot be stored")
    assert_refused(setmetatable({}, setmetatable({}, { __index = { __sd_plain = true } })),
      "value: a table with a metatable cannot be stored")
  end)

  it("may contain itself", function()
    local t = {}
    t.a = { t }
    assert_refused(t, "value.a[1]: a table that contains itself cannot be stored")
    local deep = nested(DEPTH_MAX - 1)
    local last = deep
    while last[1] do last = last[1] end
    last[1] = { deep }
    local _, message = codec.encode(deep)
    assert.is_truthy(message:find("a table that contains itself cannot be stored", 1, true))
  end)

  it("may be nested too deep", function()
    local _, message, code = codec.encode(nested(DEPTH_MAX + 1))
    assert.equal("value" .. ("[1]"):rep(DEPTH_MAX) .. ": tables this deep cannot be stored",
      message)
    assert.equal("EINVAL", code)
  end)

  it("may be too large", function()
    local _, message, code = codec.encode(("x"):rep((64 << 20) + 1))
    assert.equal("value: more than 67108864 bytes cannot be stored", message)
    assert.equal("EFBIG", code)
  end)

  it("may grow without end, for it is shared again and again", function()
    local value = "leaf"
    for _ = 1, 60 do value = { value, value } end
    local _, _, code = codec.encode(value)
    assert.equal("EFBIG", code)
  end)
end)

describe("queues", function()
  local Queue = {}
  local function queue(name) return setmetatable({ name = name }, Queue) end
  local function queue_name(v) return getmetatable(v) == Queue and v.name or nil end

  it("are stored by name", function()
    local names = {}
    local value = { q = queue "dirs_to_walk", { queue "entry_batches", 1 } }
    local got = round(value, { queue_name = queue_name }, { push_queue = function(name)
      names[#names + 1] = name
      return queue(name)
    end })
    assert.equal("dirs_to_walk", got.q.name)
    assert.equal("entry_batches", got[1][1].name)
    assert.equal(Queue, getmetatable(got.q))
    assert.are.same({ "entry_batches", "dirs_to_walk" }, names)
  end)

  it("may be userdata", function()
    local got = round(io.stdout, { queue_name = function() return "out" end },
      { push_queue = function(name) return name .. "!" end })
    assert.equal("out!", got)
  end)

  it("are asked for only where a value could be one", function()
    local asked = 0
    codec.encode({ 1, "x", {}, { 2.5 }, queue "q" }, { queue_name = function(v)
      asked = asked + 1
      return queue_name(v)
    end })
    assert.equal(1, asked)
  end)

  it("are refused where nobody knows them", function()
    local _, message = codec.encode({ q = queue "q" })
    assert.equal("value.q: a table with a metatable cannot be stored", message)
    _, message = codec.encode({ f = io.stdout }, { queue_name = queue_name })
    assert.equal("value.f: a userdata (FILE*) cannot be stored", message)
  end)

  it("are an error where they are not there any more", function()
    local stored = codec.encode({ q = queue "q" }, { queue_name = queue_name })
    local value, message, code = codec.decode(stored)
    assert.is_nil(value)
    assert.equal("a stored value refers to a queue where none can be", message)
    assert.equal("EFORMAT", code)
    value, message, code = codec.decode(stored, { push_queue = function() end })
    assert.is_nil(value)
    assert.equal("a stored value refers to a queue that is not there: q", message)
    assert.equal("EFORMAT", code)
  end)

  it("pass on what their callbacks raise", function()
    local boom = {}
    local raise = function() error(boom) end
    local ok, raised = pcall(codec.encode, { queue "q" }, { queue_name = raise })
    assert.is_false(ok)
    assert.equal(boom, raised)
    local stored = codec.encode({ queue "q" }, { queue_name = queue_name })
    ok, raised = pcall(codec.decode, stored, { push_queue = raise })
    assert.is_false(ok)
    assert.equal(boom, raised)
  end)

  it("have a name that is text without NUL", function()
    for _, name in ipairs { "", "a\0b", 1, {} } do
      assert.has_error(function()
        codec.encode(queue "q", { queue_name = function() return name end })
      end)
    end
  end)

  it("may change the table that is written, and no harm is done", function()
    local value = { a = queue "q", b = 1, c = ("x"):rep(100), d = {} }
    local _, message, code = codec.encode(value, { queue_name = function()
      for key in pairs(value) do value[key] = nil end
      collectgarbage()
      return "q"
    end })
    assert.equal("value.b: the table was changed while it was stored", message)
    assert.equal("EINVAL", code)
  end)
end)

describe("bytes that are damaged", function()
  local stored = codec.encode({ phase = "walking", list = { 1, 2.5, "three" }, on = true },
    { name = "indexer", version = 3, script = ("s"):rep(16) })

  local function assert_damaged(bytes, want)
    local value, message, code = codec.decode(bytes)
    assert.is_nil(value)
    assert.is_string(message)
    assert.equal(want or "EFORMAT", code)
  end

  it("are refused, whichever byte it is", function()
    for i = 1, #stored do
      local byte = stored:byte(i)
      for _, change in ipairs { 1, 0x80, 0xff } do
        local damaged = stored:sub(1, i - 1) .. string.char(byte ~ change) .. stored:sub(i + 1)
        local value, message = codec.decode(damaged)
        assert.is_nil(value, "byte " .. i)
        assert.is_string(message, "byte " .. i)
      end
    end
  end)

  it("are refused when they are cut off or go on", function()
    for n = 0, #stored - 1 do assert_damaged(stored:sub(1, n)) end
    assert_damaged(stored .. "\0")
    assert_damaged(stored .. stored)
  end)

  it("are no bytes of a later format", function()
    local _, message, code = codec.decode("SDLC" .. ("<I4"):pack(2) .. "what comes then is unknown")
    assert.equal("a stored value has format 2, this sdlua knows 1", message)
    assert.equal("ENEWER", code)
    assert_damaged("SDLC" .. ("<I4"):pack(0) .. stored:sub(9))
  end)

  it("leave nothing on the stack of a coroutine", function()
    local co = coroutine.wrap(function(...) return select("#", codec.decode(...)) end)
    assert.equal(3, co(stored:sub(1, -2)))
  end)
end)

describe("misuse", function()
  it("raises", function()
    for _, options in ipairs { 1, { name = 1 }, { name = ("n"):rep(256) }, { script = "short" },
      { version = -1 }, { version = 1 << 32 }, { version = 1.5 }, { queue_name = "f" } } do
      assert.has_error(function() codec.encode({}, options) end)
    end
    assert.has_error(function() codec.encode() end)
    assert.has_error(function() codec.decode() end)
    assert.has_error(function() codec.decode({}) end)
    assert.has_error(function() codec.decode("", { push_queue = 1 }) end)
  end)
end)
