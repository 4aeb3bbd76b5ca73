-- The Lua library by itself: ring, text, arg, job, progress, json, scripts, tasks, queues, handles.
local fixture = require "support.fixture"
local core = require "sd.core"
local sd = require "sd"

local json = require "sd.json"
local script = require "sd.script"

-- The message of the error that `fn(...)` raises.
local function message_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  return tostring(err)
end

local function contains(part, whole)
  if not whole:find(part, 1, true) then
    error(("%q is not in %q"):format(part, whole), 2)
  end
end

local dir

before_each(function() dir = fixture.temp() end)
after_each(function() fixture.remove(dir) end)

describe("sd.ring", function()
  it("has no average in the first half second", function()
    local ring = sd.ring.new(60)
    assert.is_nil(sd.ring.average(ring, 5))
    sd.ring.add(ring, 10.0, 100)
    assert.is_nil(sd.ring.average(ring, 10.2))
    assert.is_number(sd.ring.average(ring, 10.6))
  end)

  it("averages over the time since the first tick", function()
    local ring = sd.ring.new(60)
    for second = 0, 9 do sd.ring.add(ring, second, 50) end
    assert.equal(50, sd.ring.average(ring, 10))
  end)

  it("forgets what is older than its size", function()
    local ring = sd.ring.new(5)
    sd.ring.add(ring, 0, 1000000)
    for second = 1, 20 do sd.ring.add(ring, second, 10) end
    assert.equal(50 / 5, sd.ring.average(ring, 21) * (21 - 17) / 5 + 2)
    sd.ring.add(ring, 500, 7)
    assert.is_true(sd.ring.average(ring, 501) < 8)
  end)

  it("equals a plain sum over random ticks", function()
    fixture.seed("ring")
    local ring, ticks, now, size = sd.ring.new(7), {}, 3.5, 7
    for _ = 1, 500 do
      now = now + math.random() * math.random(0, 3)
      local n = math.random(0, 100)
      sd.ring.add(ring, now, n)
      ticks[#ticks + 1] = { second = now // 1, n = n }
      local from = math.max(ticks[1].second, now // 1 - size + 1)
      local sum = 0
      for _, tick in ipairs(ticks) do if tick.second >= from then sum = sum + tick.n end end
      local expected = now - from >= 0.5 and sum / (now - from) or nil
      assert.equal(expected, sd.ring.average(ring, now))
    end
  end)

  it("survives a checkpoint as plain data", function()
    local ring = sd.ring.new(3)
    sd.ring.add(ring, 1, 5)
    assert.same(ring, (core.codec.decode(assert(core.codec.encode(ring)))))
  end)
end)

describe("sd.text", function()
  it("escapes control characters and bytes that are no text", function()
    assert.equal("a\\nb\\tc\\rd\\x1b[31m\\x00\\x7f", sd.text.escape("a\nb\tc\rd\27[31m\0\127"))
    assert.equal("\\xff\\xfe", sd.text.escape("\xff\xfe"))
    assert.equal("\\xc3", sd.text.escape("\xc3"))
    assert.equal("\\xed\\xa0\\x80", sd.text.escape("\xed\xa0\x80")) -- a surrogate
    assert.equal("\\xc0\\x80", sd.text.escape("\xc0\x80"))          -- overlong
    assert.equal("\\xc2\\x9b31m", sd.text.escape("\u{9b}31m"))      -- the other CSI
    assert.equal("\\xe2\\x80\\xae", sd.text.escape("\u{202e}"))     -- right to left
  end)

  it("doubles a backslash, so that nothing looks like an escape", function()
    assert.equal("a\\\\x1b", sd.text.escape("a\\x1b"))
  end)

  it("leaves other text alone", function()
    for _, s in ipairs { "", "plain %s 'name'", "zażółć 日本 😀", "e\u{301}" } do
      assert.equal(s, sd.text.escape(s))
    end
  end)

  it("never lets a control character through", function()
    fixture.seed("escape")
    for _ = 1, 2000 do
      local bytes = {}
      for i = 1, math.random(0, 12) do bytes[i] = string.char(math.random(0, 255)) end
      local escaped = sd.text.escape(table.concat(bytes))
      assert.is_truthy(utf8.len(escaped))
      assert.is_nil(escaped:find("[%c\127]"))
    end
  end)

  it("counts columns", function()
    assert.equal(3, sd.text.width("abc"))
    assert.equal(4, sd.text.width("日本"))
    assert.equal(1, sd.text.width("e\u{301}"))
  end)

  it("shortens to a width, and keeps the end", function()
    assert.equal("abc", sd.text.shorten("abc", 3))
    assert.equal("…c", sd.text.shorten("abc", 2))
    assert.equal("", sd.text.shorten("abc", 1))
    assert.equal("…本", sd.text.shorten("日本", 3))
    for columns = 0, 30 do
      for _, s in ipairs { ("日本"):rep(10), ("x"):rep(40), "\n\27\xff" } do
        assert.is_true(sd.text.width(sd.text.shorten(s, columns)) <= columns)
        assert.is_true(sd.text.width(sd.text.cut(sd.text.escape(s), columns)) <= columns)
      end
    end
  end)

  it("groups digits, for every number", function()
    assert.equal("0", sd.text.count(0))
    assert.equal("999", sd.text.count(999))
    assert.equal("1,000", sd.text.count(1000))
    assert.equal("-1,234,567", sd.text.count(-1234567))
    assert.equal("9,223,372,036,854,775,807", sd.text.count(math.maxinteger))
    assert.equal("12", sd.text.count(12.9))
    for _, n in ipairs { 1e300, math.huge, 0 / 0 } do assert.is_string(sd.text.count(n)) end
  end)

  it("writes sizes and durations, for every number", function()
    assert.equal("1023 B", sd.text.bytes(1023))
    assert.equal("1.00 KiB", sd.text.bytes(1024))
    assert.equal("15.0 MiB", sd.text.bytes(15 << 20))
    assert.equal("8.00 EiB", sd.text.bytes(2.0 ^ 63))
    assert.equal("14.0 EiB", sd.text.bytes((7 << 60) * 2))
    for n, digits in pairs { [0] = "0", [math.maxinteger] = "9223372036854775807",
      [math.mininteger] = "9223372036854775808", [-1] = "18446744073709551615",
      [-7] = "18446744073709551609", [(7 << 60) * 2] = "16140901064495857664" } do
      assert.equal(digits, sd.text.unsigned(n))
    end
    assert.equal("0.42 s", sd.text.duration(0.42))
    assert.equal("10 s", sd.text.duration(9.999))
    assert.equal("1:00 min", sd.text.duration(59.6))
    assert.equal("1:02:03 h", sd.text.duration(3723))
    for _, n in ipairs { 1e300, math.huge, 0 / 0 } do
      assert.is_string(sd.text.bytes(n))
      assert.is_string(sd.text.duration(n))
    end
  end)
end)

describe("sd.arg", function()
  local arg = require "sd.arg"

  local function check(kind, options, value)
    return arg[kind](options):check(value)
  end

  it("takes what the command line gives, by type", function()
    assert.equal(12, check("integer", {}, "12"))
    assert.equal("integer", math.type(check("integer", {}, 3.0)))
    assert.equal(1.5, check("number", {}, "1.5"))
    assert.is_true(check("boolean", {}, "yes"))
    assert.is_false(check("boolean", {}, "0"))
    assert.equal("b", check("choice", { "a", "b" }, "b"))
    assert.equal("", check("string", {}, ""))
  end)

  it("says what is wrong", function()
    for _, case in ipairs {
      { "integer", {}, "1.5", "is not an integer" }, { "integer", {}, "x", "is not an integer" },
      { "integer", {}, {}, "is not an integer" }, { "integer", { min = 1 }, 0, "is less than 1" },
      { "integer", { max = 3 }, "4", "is greater than 3" },
      { "number", {}, "x", "is not a number" }, { "number", {}, 0 / 0, "is not a number" },
      { "boolean", {}, "maybe", "is neither true nor" },
      { "choice", { "a", "b" }, "c", "is none of a, b" }, { "path", {}, "", "is not a path" },
      { "path", {}, "a\0b", "has a zero byte" }, { "string", {}, 5, "is not a string" },
    } do
      local value, why = check(case[1], case[2], case[3])
      assert.is_nil(value)
      contains(case[4], why)
    end
  end)

  it("refuses a misspelt field, a bad default, no choices, where they are written", function()
    contains("no field 'requird'", message_of(arg.path, { requird = true }))
    contains("required is not a boolean", message_of(arg.path, { required = 1 }))
    contains("the default is not an integer", message_of(arg.integer, { default = "x" }))
    contains("no choices", message_of(arg.choice, {}))
    contains("lua_spec.lua:", message_of(function() local _ = arg.path { requird = true } end))
  end)

  it("fills in defaults, also false, and names what is missing or unknown", function()
    local declared = { a = arg.boolean { default = false }, b = arg.string { required = true } }
    assert.same({ a = false, b = "x" }, arg.check_all(declared, { b = "x" }))
    assert.same({ nil, "argument 'b' is missing" }, { arg.check_all(declared, {}) })
    assert.same({ nil, "--b is missing" }, { arg.check_all(declared, {},
      require "sd.cli.options".name_of) })
    assert.same({ nil, "no argument 'c'" }, { arg.check_all(declared, { b = "", c = 1 }) })
  end)

  it("makes paths absolute where they exist", function()
    local values = { a = dir .. "/./x/..", b = dir .. "/none", c = "x" }
    fixture.sh("mkdir " .. dir .. "/x")
    arg.resolve_paths({ a = arg.path(), b = arg.path(), c = arg.string() }, values)
    assert.same({ a = fixture.sh("realpath " .. dir):match("[^\n]+"), b = dir .. "/none", c = "x" },
      values)
  end)
end)

describe("sd.job", function()
  it("gives a definition defaults", function()
    local Job = sd.job.define { name = "x" }
    assert.same({ 1, true, {} }, { Job.version, Job.resumable, Job.args })
    assert.is_true(sd.job.is_definition(Job))
    assert.is_false(sd.job.is_definition({}))
    assert.is_false(sd.job.is_definition(nil))
  end)

  it("refuses what is wrong in a definition, where it is written", function()
    for _, case in ipairs {
      { {}, "a name is missing" }, { { name = "a b" }, "the name 'a b'" },
      { { name = "x", versoin = 1 }, "no field 'versoin'" },
      { { name = "x", version = "1" }, "version is not a integer" },
      { { name = "x", resumable = 1 }, "resumable is not a boolean" },
      { { name = "x", args = { a = 1 } }, "argument 'a' is not one of sd.arg" },
    } do
      local message = message_of(function() local _ = sd.job.define(case[1]) end)
      contains(case[2], message)
      contains("lua_spec.lua:", message)
    end
  end)

  it("checks arguments where a job is made", function()
    local Job = sd.job.define { name = "x", args = { n = sd.arg.integer { default = 3 } } }
    assert.equal(3, Job().args.n)
    assert.equal(4, Job({ n = "4" }).args.n)
    local message = message_of(function() local _ = Job { n = "x" } end)
    contains("job x: argument 'n' is not an integer", message)
    contains("lua_spec.lua:", message)
  end)
end)

describe("sd.progress", function()
  local Progress = sd.progress.type("P", { done = "number", path = "string?", any = "any" })

  it("gives back what fits", function()
    assert.same({ done = 1, any = false }, Progress { done = 1, any = false })
  end)

  it("names what does not", function()
    contains("P: done is a string, not a number", message_of(Progress, { done = "1", any = 1 }))
    contains("P: done is a nil", message_of(Progress, { any = 1 }))
    contains("P: path is a number", message_of(Progress, { done = 1, any = 1, path = 1 }))
    contains("P: no field 'dnoe'", message_of(Progress, { done = 1, any = 1, dnoe = 1 }))
  end)
end)

describe("sd.json", function()
  it("keeps integers of 64 bits", function()
    assert.equal('{"a":9223372036854775807}', json.encode { a = math.maxinteger })
  end)

  it("tells an empty object from an empty array", function()
    assert.equal('{"a":{},"b":[]}', json.encode { a = {}, b = json.array {} })
  end)

  it("is valid UTF-8 whatever names and keys are", function()
    local line = json.encode { ["k\xff"] = "v\xfe", list = { "\0", "\27" } }
    assert.is_truthy(utf8.len(line))
    assert.is_nil(line:find("[%c]"))
    assert.same({ ["k\\xff"] = "v\\xfe", list = { "\\x00", "\27" } },
      (require "dkjson".decode(line)))
  end)

  it("leaves its argument as it was", function()
    local value = { a = { b = "\xff" } }
    json.encode(value)
    assert.same({ a = { b = "\xff" } }, value)
  end)

  it("raises where a value cannot be JSON", function()
    contains("function", message_of(json.encode, { f = print }))
  end)
end)

describe("a job script", function()
  local function load_script(text)
    fixture.write(dir .. "/job.lua", text)
    return script.load(dir .. "/job.lua")
  end

  local JOB = 'local sd = require "sd"\nlocal J = sd.job.define { name = "j" }\n'
    .. "function J:run() end\n"

  it("is loaded with its definition and its hash", function()
    local text = "#!/usr/bin/sdlua\n" .. JOB .. "return J\n"
    local loaded = assert(load_script(text))
    assert.equal("j", loaded.definition.name)
    assert.equal(fixture.sh("xxhsum -H2 " .. dir .. "/job.lua"):match("%x+"),
      (loaded.hash:gsub(".", function(c) return ("%02x"):format(c:byte()) end)))
  end)

  it("that reads or writes an undeclared global fails with its line", function()
    contains("job.lua:4: undeclared global 'prinnt'", message_of(load_script, JOB .. "prinnt(1)"))
    contains("job.lua:4: assignment to undeclared global 'x'",
      message_of(load_script, JOB .. "x = 1"))
    contains("job.lua:4: assignment to undeclared global 'print'",
      message_of(load_script, JOB .. "print = nil"))
  end)

  it("that is no job is refused", function()
    contains("a job script returns", message_of(load_script, "return 1"))
    contains("a job script returns", message_of(load_script, ""))
    contains("has no function run",
      message_of(load_script, 'return require "sd".job.define { name = "j" }'))
    contains("job.lua:1:", message_of(load_script, "return ="))
    assert.is_false(pcall(load_script, "\27Lua")) -- no byte code
  end)

  it("that does not exist is nil and a message", function()
    local loaded, message = script.load(dir .. "/none.lua")
    assert.is_nil(loaded)
    contains("none.lua", message)
    loaded, message = script.load("nojobofthatname")
    assert.is_nil(loaded)
    contains("no job 'nojobofthatname' in ", message)
    loaded, message = script.load(dir .. "/")
    assert.is_nil(loaded)
    assert.is_string(message)
  end)

  it("that cannot be opened is told with the reason", function()
    local open = {}
    repeat
      open[#open + 1] = io.open("/dev/null")
    until not io.open("/dev/null") or #open > 100000
    local loaded, message, code = script.load("indexer")
    for _, file in ipairs(open) do file:close() end
    assert.is_nil(loaded)
    assert.equal("EMFILE", code)
    contains("EMFILE: too many open files: ", message)
    contains("indexer.lua", message)
  end)
end)

describe("a task", function()
  it("gives its results, with nil among them", function()
    sd.run(function()
      assert.same(table.pack(true, 1, nil, 3, nil),
        table.pack(sd.spawn(function() return 1, nil, 3, nil end):join()))
    end)
  end)

  it("gives its error with the place, and a table as it is", function()
    sd.run(function()
      local ok, err = sd.spawn(function() error("no") end):join()
      assert.is_false(ok)
      contains("lua_spec.lua:", err)
      contains("stack traceback", err)
      local value = {}
      assert.same({ false, value }, { sd.spawn(function() error(value) end):join() })
    end)
  end)

  it("that is cancelled closes its variables", function()
    local closed = false
    sd.run(function()
      local task = sd.spawn(function()
        local guard <close> = setmetatable({}, { __close = function() closed = true end })
        sd.sleep(60)
        return guard
      end)
      sd.sleep(0.01)
      task:cancel()
      assert.same({ false, "cancelled" }, { task:join() })
    end)
    assert.is_true(closed)
  end)

  it("cannot be kept alive by pcall when it is cancelled", function()
    local went_on = false
    sd.run(function()
      local task = sd.spawn(function()
        while true do
          pcall(sd.sleep, 60)
          went_on = true
        end
      end)
      sd.sleep(0.01)
      task:cancel()
      sd.sleep(0.01)
    end)
    assert.is_false(went_on)
  end)

  it("runs beside others", function()
    local start = core.sys.mono_ns()
    sd.run(function()
      local tasks = {}
      for i = 1, 20 do tasks[i] = sd.spawn(sd.sleep, 0.05) end
      for _, task in ipairs(tasks) do assert.is_true(task:join()) end
    end)
    assert.is_true(core.sys.mono_ns() - start < 500e6)
  end)

  it("lets run() raise what it raised, once", function()
    local message = message_of(sd.run, function() error("here") end)
    contains("here", message)
    assert.equal("not enough memory",
      message_of(sd.run, function() error("not enough memory", 0) end))
  end)

  it("that waits for nothing is noticed", function()
    contains("all coroutines wait", message_of(sd.run, core.park))
  end)

  it("is the only place where waiting is allowed", function()
    contains("this function waits", message_of(core.park))
    contains("this function waits", message_of(coroutine.wrap(core.park)))
  end)
end)

-- A library in `dir`, a job whose run is `fn(ctx)`; `watch(handle, library)` beside it.
local function with_job(fn, watch, definition)
  local result
  sd.run(function()
    local library <close> = assert(sd.library.open(dir .. "/library", { create = true }))
    local Job = sd.job.define(definition or { name = "test" })
    function Job:run(ctx) return fn(ctx, self) end
    local handle = library.jobs:dispatch(Job())
    if watch then watch(handle, library) end
    local output, err = handle:wait()
    result = { status = handle.status, output = output, err = err, handle = handle }
  end)
  return result
end

describe("branches of a job", function()
  it("run at the same time, and all are waited for", function()
    local order = {}
    local result = with_job(function(ctx)
      ctx:concurrently(
        function() ctx:sleep(0.05); order[#order + 1] = "slow" end,
        function() order[#order + 1] = "fast" end)
      return #order
    end)
    assert.equal(2, result.output, tostring(result.err))
    assert.same({ "fast", "slow" }, order)
  end)

  it("end when one fails, and its error is raised", function()
    local closed, reached = false, false
    local result = with_job(function(ctx)
      local ok, err = pcall(ctx.concurrently, ctx,
        function() ctx:sleep(0.02); error("branch") end,
        function()
          local guard <close> = setmetatable({}, { __close = function() closed = true end })
          ctx:sleep(60)
          reached = guard ~= nil
        end)
      return { ok = ok, err = tostring(err) }
    end)
    assert.equal("completed", result.status, tostring(result.err))
    assert.is_false(result.output.ok)
    contains("branch", result.output.err)
    contains("lua_spec.lua:", result.output.err)
    assert.is_true(closed)
    assert.is_false(reached)
  end)

  -- A branch that was ended while it waited must not count as one that stands still: the pause
  -- would take effect while the job works.
  it("that were ended are not taken for ones at a safe point", function()
    local at_safe_point, paused_early = false, false
    local result = with_job(function(ctx)
      pcall(ctx.concurrently, ctx,
        function() ctx:sleep(60) end,
        function() ctx:sleep(60) end,
        function() ctx:sleep(0.01); error("x") end)
      for _ = 1, 20 do sd.sleep(0.01) end -- no safe point
      at_safe_point = true
      ctx:check_interrupt()
      return true
    end, function(handle)
      sd.sleep(0.1)
      handle:pause()
      while handle.status == "running" do sd.sleep(0.005) end
      paused_early = not at_safe_point
      handle:resume()
    end)
    assert.equal("completed", result.status, tostring(result.err))
    assert.is_false(paused_early)
  end)

  it("pause together, and nested ones too", function()
    local counts = { 0, 0, 0 }
    local function count(ctx, i)
      return function()
        while counts[i] < 60 do
          counts[i] = counts[i] + 1
          ctx:check_interrupt()
          sd.sleep(0.003)
        end
      end
    end
    local result = with_job(function(ctx)
      ctx:concurrently(count(ctx, 1), function() ctx:concurrently(count(ctx, 2), count(ctx, 3)) end)
      return counts[1] + counts[2] + counts[3]
    end, function(handle)
      sd.sleep(0.03)
      handle:pause()
      handle:wait()
      assert.equal("paused", handle.status)
      local before = table.concat(counts, " ")
      sd.sleep(0.05)
      assert.equal(before, table.concat(counts, " "))
      handle:resume()
    end)
    assert.equal(180, result.output, tostring(result.err))
  end)
end)

describe("a queue", function()
  it("gives items in the order in which they came", function()
    local result = with_job(function(ctx)
      local queue, list = ctx:queue("q"), {}
      for i = 1, 5 do queue:push { n = i } end
      assert(#queue == 5)
      while #queue > 0 do
        local item, lease = queue:pop()
        list[#list + 1] = item.n
        queue:finish(lease)
      end
      assert(queue:pop() == nil and queue:leased() == 0)
      return list
    end)
    assert.same({ 1, 2, 3, 4, 5 }, result.output, tostring(result.err))
  end)

  it("keeps at most so many items waiting between two branches", function()
    local most = 0
    local result = with_job(function(ctx)
      local queue, seen = ctx:queue("q"), {}
      queue:begin_input()
      ctx:concurrently(function()
        for i = 1, 200 do
          queue:push_below(i, 7)
          most = math.max(most, #queue)
        end
        queue:end_input()
      end, function()
        for items, leases in function() return queue:take { most = 3 } end do
          for i, item in ipairs(items) do
            seen[#seen + 1] = item
            queue:finish(leases[i])
          end
          if #seen % 10 == 0 then sd.sleep(0.001) end
        end
      end)
      return { n = #seen, first = seen[1], last = seen[200], leased = queue:leased() }
    end)
    assert.same({ n = 200, first = 1, last = 200, leased = 0 }, result.output, tostring(result.err))
    assert.is_true(most <= 8)
  end)

  it("waits for enough items, or for the time", function()
    local result = with_job(function(ctx)
      local queue, sizes = ctx:queue("q"), {}
      queue:begin_input()
      ctx:concurrently(function()
        for i = 1, 10 do queue:push_below(i, 100) end
        sd.sleep(0.2)
        queue:push_below(11, 100)
        sd.sleep(0.2)
        queue:end_input()
      end, function()
        local options = { most = 100, least = 5, seconds = 0.05 }
        for items in function() return queue:take(options) end do
          sizes[#sizes + 1] = #items
        end
      end)
      return sizes
    end)
    assert.same({ 10, 1 }, result.output, tostring(result.err))
  end)

  it("gives no more than what weighs enough", function()
    local result = with_job(function(ctx)
      local queue, groups = ctx:queue("q"), {}
      for i = 1, 7 do queue:push(i) end
      local options = { most = 100, most_weight = 6, least = 50, seconds = 60,
        weight = function(n) return n end }
      queue:begin_input()
      for _ = 1, 3 do groups[#groups + 1] = table.concat(queue:take(options), " ") end
      return groups
    end)
    assert.same({ "1 2 3", "4 5", "6" }, result.output, tostring(result.err))
  end)

  it("passes nil for nothing, and false as an item", function()
    local result = with_job(function(ctx)
      local queue = ctx:queue("q")
      queue:push(false)
      local items, leases = queue:take { most = 10 }
      return { items[1] == false, #leases, queue:take { most = 10 } == nil }
    end)
    assert.same({ true, 1, true }, result.output, tostring(result.err))
  end)

  it("refuses what cannot be stored, by field", function()
    local result = with_job(function(ctx)
      local ok, message = pcall(ctx:queue("q").push, ctx:queue("q"), { a = { b = print } })
      return { ok, message }
    end)
    assert.is_false(result.output[1])
    contains("value.a.b: a function", result.output[2])
  end)

  it("finishes a lease once", function()
    local result = with_job(function(ctx)
      local queue = ctx:queue("q")
      queue:push(1)
      local _, lease = queue:pop()
      queue:finish(lease)
      return (select(2, pcall(queue.finish, queue, lease)))
    end)
    contains("no such lease", result.output)
  end)
end)

describe("a handle", function()
  it("gives updates as the job reports, the final one last", function()
    local types = {}
    local result = with_job(function(ctx)
      for i = 1, 5 do
        ctx:progress { i = i }
        sd.sleep(0.005)
      end
      ctx:progress { i = 6 } -- nobody looks before the job ends
      return { n = 6 }
    end, function(handle)
      for update in handle:subscribe() do
        types[#types + 1] = update.type == "progress" and update.progress.i or update.type
        if update.type == "completed" then assert.same({ n = 6 }, update.output) end
      end
    end)
    assert.equal("completed", result.status)
    assert.equal("completed", types[#types])
    assert.equal(6, types[#types - 1])
  end)

  it("conflates progress for who is slow, and loses no log line", function()
    local progress, logs = 0, 0
    with_job(function(ctx)
      for i = 1, 1000 do ctx:progress { i = i } end
      for i = 1, 50 do ctx:log("line %d of 100%%", i) end
      ctx:log("100%")
      return true
    end, function(handle)
      for update in handle:subscribe() do
        if update.type == "progress" then progress = progress + 1 end
        if update.type == "log" then logs = logs + 1 end
      end
    end)
    assert.equal(51, logs)
    assert.equal(1, progress)
  end)

  it("forgets who stopped listening", function()
    with_job(function(ctx)
      for i = 1, 20 do
        ctx:progress { i = i }
        sd.sleep(0.002)
      end
    end, function(handle)
      for update in handle:subscribe() do
        if update.progress then break end
      end
      assert.equal(0, #handle.listeners)
    end)
  end)

  it("says what went wrong", function()
    local updates = {}
    local result = with_job(function() error("broken") end, function(handle)
      for update in handle:subscribe() do updates[#updates + 1] = update end
    end)
    assert.equal("failed", result.status)
    contains("broken", tostring(result.err))
    assert.equal("failed", updates[#updates].type)
  end)

  it("may be resumed before the pause has taken effect", function()
    local result = with_job(function(ctx)
      for _ = 1, 10 do
        sd.sleep(0.01)
        ctx:check_interrupt()
      end
      return "done"
    end, function(handle)
      repeat sd.sleep(0.001) until handle.status == "running"
      handle:pause()
      handle:resume()
      assert.equal("running", handle.status)
    end)
    assert.equal("done", result.output, tostring(result.err))
  end)

  it("may be paused and resumed before it runs", function()
    local result = with_job(function() return "done" end, function(handle)
      handle:pause()
      handle:resume()
      assert.not_equal("paused", handle.status)
    end)
    assert.equal("done", result.output, tostring(result.err))
  end)

  it("that is paused twice or resumed twice stays sound", function()
    local result = with_job(function(ctx)
      for _ = 1, 20 do ctx:sleep(0.005) end
      return "done"
    end, function(handle)
      handle:resume()
      handle:pause()
      handle:pause()
      handle:wait()
      assert.equal("paused", handle.status)
      handle:pause()
      handle:resume()
      handle:resume()
    end)
    assert.equal("done", result.output, tostring(result.err))
  end)

  it("does not count the pause as time worked", function()
    local result = with_job(function(ctx)
      ctx:sleep(0.1)
      return ctx:elapsed()
    end, function(handle)
      sd.sleep(0.02)
      handle:pause()
      handle:wait()
      sd.sleep(0.5)
      local at = handle.ctx:elapsed()
      sd.sleep(0.05)
      assert.equal(at, handle.ctx:elapsed())
      handle:resume()
    end)
    assert.is_true(result.output < 0.4, tostring(result.output))
  end)

  for _, state in ipairs { "running", "pausing", "paused" } do
    it("cancels a job that is " .. state .. ", and leaves nothing of it", function()
      local closed, left = false, 0
      local result = with_job(function(ctx)
        local guard <close> = setmetatable({}, { __close = function() closed = true end })
        local queue = ctx:queue("q")
        for i = 1, 10 do queue:push(i) end
        ctx:checkpoint()
        repeat pcall(ctx.sleep, ctx, 0.01) until closed
        left = guard and 1
      end, function(handle, library)
        sd.sleep(0.05)
        if state ~= "running" then handle:pause() end
        if state == "paused" then handle:wait() end
        handle:cancel()
        assert.equal("cancelled", handle.status)
        handle:cancel()
        assert.is_nil(library.jobs:get(handle.id))
        sd.sleep(0.05)
      end)
      assert.equal("cancelled", result.status)
      assert.is_true(closed)
      assert.equal(0, left)
      fixture.check_nothing_left(dir .. "/library")
      assert.same({ { "cancelled" } }, fixture.sql(dir .. "/library", "SELECT status FROM jobs"))
    end)
  end

  it("leaves the library usable after a cancelled pause", function()
    fixture.sh(("mkdir %s/tree && touch %s/tree/a %s/tree/b"):format(dir, dir, dir))
    sd.run(function()
      local library <close> = assert(sd.library.open(dir .. "/library", { create = true }))
      local Job = sd.job.define { name = "test" }
      function Job:run(ctx) ctx:sleep(self and 60) end
      local handle = library.jobs:dispatch(Job())
      sd.sleep(0.02)
      handle:pause()
      handle:wait()
      local indexer = library.jobs:dispatch_by_name("indexer", { root = dir .. "/tree" })
      assert.equal(2, assert(indexer:wait()).stats.files)
      handle:cancel()
      indexer = library.jobs:dispatch_by_name("indexer", { root = dir .. "/tree", mode = "deep" })
      assert.equal(2, assert(indexer:wait()).stats.files)
    end)
  end)
end)

-- What the document says that the project grew from, as Lua code.
describe("the library's usage", function()
  local function make_tree(files)
    fixture.sh(([[mkdir %s/tree; cd %s/tree; for d in $(seq 20); do mkdir d$d; done;
      seq %d | awk '{ f = "d" ($1 %% 20 + 1) "/f" $1; print $1 > f; close(f) }']]):format(dir, dir,
      files))
  end

  it("dispatches, subscribes, pauses, resumes", function()
    make_tree(3000)
    sd.run(function()
      local library <close> = assert(sd.library.open(dir .. "/library", { create = true }))
      local handle = library.jobs:dispatch_by_name("indexer",
        { root = dir .. "/tree", mode = "deep", batch = 50, chunk = 10 })
      assert.equal(handle, library.jobs:get(handle.id))
      local seen, stats = {}, nil
      for update in handle:subscribe() do
        seen[update.type] = (seen[update.type] or 0) + 1
        if update.type == "progress" then
          assert.is_string(update.progress.phase.name)
          assert.is_number(update.progress.total_found.files)
          if seen.progress == 1 then handle:pause() end
        elseif update.type == "status" and update.status == "paused" then
          assert.is_true(library.jobs:resume(handle.id))
        elseif update.type == "completed" then
          stats = update.output.stats
        end
      end
      assert.equal(1, seen.completed)
      assert.equal(3, seen.status) -- running, paused, running
      assert.same({ files = 3000, dirs = 20, symlinks = 0, bytes = stats.bytes }, stats)
      assert.is_nil(library.jobs:get(handle.id))
      assert.same({ nil, ("there is no open job %d"):format(handle.id), "ESRCH" },
        { library.jobs:pause(handle.id) })
    end)
    assert.same({}, fixture.differences(fixture.entries(dir .. "/library"),
      fixture.find(dir .. "/tree")))
    fixture.check_nothing_left(dir .. "/library")
  end)

  it("cancels, and indexes again", function()
    make_tree(3000)
    sd.run(function()
      local library <close> = assert(sd.library.open(dir .. "/library", { create = true }))
      local args = { root = dir .. "/tree", batch = 50, chunk = 10 }
      local handle = library.jobs:dispatch_by_name("indexer", args)
      for update in handle:subscribe() do
        if update.type == "progress" then handle:cancel() end
      end
      assert.equal("cancelled", handle.status)
      assert.equal(0, #library.jobs:unfinished("indexer"))
      assert.is_table((library.jobs:dispatch_by_name("indexer", args):wait()))
      assert.equal(2, #library.jobs:list())
    end)
    assert.same({}, fixture.differences(fixture.entries(dir .. "/library"),
      fixture.find(dir .. "/tree")))
    fixture.check_library(dir .. "/library")
    fixture.check_nothing_left(dir .. "/library")
  end)

  it("goes on with a paused job in a later library", function()
    make_tree(3000)
    local id
    sd.run(function()
      local library <close> = assert(sd.library.open(dir .. "/library", { create = true }))
      local handle = library.jobs:dispatch_by_name("indexer",
        { root = dir .. "/tree", batch = 50, chunk = 10 })
      handle:pause()
      handle:wait()
      assert.equal("paused", handle.status)
      id = handle.id
    end)
    assert.same({ { "paused" } }, fixture.sql(dir .. "/library", "SELECT status FROM jobs"))
    sd.run(function()
      local library <close> = assert(sd.library.open(dir .. "/library"))
      local row = library.jobs:unfinished("indexer")[1]
      assert.equal(id, row.id)
      local handle = library.jobs:resume_row(row, assert(script.load("indexer")))
      assert.equal(3000, assert(handle:wait()).stats.files)
    end)
    assert.same({}, fixture.differences(fixture.entries(dir .. "/library"),
      fixture.find(dir .. "/tree")))
  end)
end)
