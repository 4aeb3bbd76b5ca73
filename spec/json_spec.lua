-- JSON as it is written for people and for the control socket, and as it is read from anybody.
-- dkjson's plain reader, which sd.json does not use, tells what was written.
local json = require "sd.json"
local dkjson = require "dkjson"

describe("JSON", function()
  it("is one line with keys in order, and lists are lists", function()
    for _, case in ipairs {
      { {}, "{}" }, { json.array {}, "[]" }, { json.array { 1 }, "[1]" }, { { 1, "a" }, '[1,"a"]' },
      { { b = 1, a = { c = {} } }, '{"a":{"c":{}},"b":1}' }, { { n = 5 }, '{"n":5}' },
      { { n = 1 << 50 }, '{"n":1125899906842624}' }, { { 1, nil, 3, n = 3 }, "[1,null,3]" },
      { { n = 0 }, '{"n":0}' }, { { 1, n = 1 << 30 }, '{"1":1,"n":1073741824}' },
      { { [1] = 1, [1000000] = 2 }, '{"1":1,"1000000":2}' }, { { 1, x = 2 }, '{"1":1,"x":2}' },
      { { json.null }, "[null]" }, { 'a\nb"\u{2028}', [["a\nb\"\u2028"]] }, { true, "true" },
      { 0 / 0, "null" }, { 1 / 0, "null" }, { math.mininteger, "-9223372036854775808" },
      { 2.0, "2.0" }, { 1 / 3, "0.33333333333333" },
    } do
      local text = json.encode(case[1])
      assert.equal(case[2], text)
      local _, _, message = dkjson.decode(text)
      assert.is_nil(message)
    end
  end)

  it("shows bytes that are no text escaped", function()
    assert.equal([[{"\\xff":"a \\x80é\\xc3"}]], json.encode { ["\xff"] = "a \x80é\xc3" })
  end)

  it("keeps bytes and numbers where they are to come back", function()
    for _, value in ipairs {
      "", "\xff\0\n", { a = { "\x80" } }, { ["$hex"] = 5 }, { ["$hex"] = "ff", b = 1 }, { { {} } },
      1, 1.0, 1 / 3, 0.1, 1e300, 5e-324, -0.0, 2.0 ^ 53, 2 ^ 63, math.maxinteger, math.mininteger,
    } do
      local text = json.encode_exact { value = value }
      local back = assert(json.decode(text)).value
      assert.same(value, back, text)
      assert.equal(math.type(value), math.type(back), text)
    end
  end)

  it("refuses what it cannot hold", function()
    local cycle = {}
    cycle[1] = { cycle }
    for _, case in ipairs {
      { print, "JSON cannot hold a function" },
      { { a = { io.stdout } }, "JSON cannot hold a userdata" },
      { { [true] = 1 }, "JSON cannot hold a boolean as a name" },
      { cycle, "deeper than 100 levels" },
    } do
      local ok, message = pcall(json.encode, case[1])
      assert.is_false(ok)
      assert.matches(case[2], message, 1, true)
    end
  end)

  it("is read strictly, and nothing makes the reader raise", function()
    for _, text in ipairs {
      "", " ", "nul", "{", "[", '{"a":1', '{"a":1 "b":2}', "[1 2]", "{1:2}", "{'a':1}", '{"a":1}x',
      "[1]]", '"', '"\xff"', "null", "01x", "-", ("["):rep(1000000), ('{"a":'):rep(1000),
      "\0", '"a\nb"',
    } do
      local value, message = json.decode(text)
      assert.is_nil(value, text:sub(1, 20))
      assert.is_string(message)
    end
    assert.same({ { a = { 1, "x", false } }, 5 }, { json.decode ' {"a":[1,"x",false],"b":null}\r',
      5 })
    assert.is_nil(getmetatable(json.decode "{}"))
    assert.is_nil(getmetatable(json.decode "[]"))
    local deep = ("["):rep(100) .. ("]"):rep(100)
    assert.is_table((json.decode(deep)))
  end)
end)
