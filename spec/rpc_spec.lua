-- JSON-RPC on the control socket: calls, the protocol byte by byte, notifications, many clients.
local fixture = require "support.fixture"
local socket = require "support.socket"
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"
local rpc = require "sd.rpc"
local task = require "sd.task"

local uv, limits = core.luv, core.control.limits

local METHODS, run, wait_until = socket.METHODS, socket.run, socket.wait_until

local dir

before_each(function() dir = fixture.temp() end)

after_each(function()
  collectgarbage()
  uv.run("nowait")
  fixture.remove(dir)
end)

local function serve(methods, options)
  return assert(rpc.serve(dir, methods, options))
end

-- Runs `fn(service)`, the last argument, beside a runner with these methods.
local function serving(methods, ...)
  local args = table.pack(...)
  run(function()
    local service <close> = serve(methods, args.n > 1 and args[1] or nil)
    args[args.n](service)
  end)
end

local function connect()
  return socket.connect(dir)
end

local function raw()
  return socket.raw(dir)
end

local function expect_service()
  socket.expect_service(dir)
end

-- ---- calls ----

describe("a call", function()
  it("gives what the method returns, with types and bytes as they were", function()
    serving(METHODS, function()
      local client <close> = connect()
      local values = { 1, 1.0, 1 / 3, -0.0, math.maxinteger, math.mininteger, 2.0 ^ 53, true, false,
        "", "\xff\0\n", "line\nline", "\u{2028}", { a = { b = {} } }, { { 1 }, { 2 } } }
      for _, value in ipairs(values) do
        local result = client:check("echo", { value = value })
        assert.same({ value = value }, result)
        assert.equal(math.type(value), math.type(result.value))
      end
      assert.is_true(client:check("nothing"))
      assert.equal(false, (client:call("no")))
    end)
  end)

  it("fails as the method failed: message, code and exit status", function()
    serving(METHODS, function()
      local client <close> = connect()
      for _, case in ipairs {
        { "full", "write it: No space left on device", "ENOSPC", 14 },
        { "wrong", "how many?", "EINVAL", 2 },
        { "nosuch", "no method 'nosuch'", "ENOSYS", 1 },
        { "__index", "no method '__index'", "ENOSYS", 1 },
        { "unwritable", "JSON cannot hold a function", "EFAILED", 15 },
      } do
        assert.same({ nil, case[2], case[3], case[4] }, { client:call(case[1]) }, case[1])
      end
      local _, message, code, exit = client:call("broken")
      assert.matches("socket.lua:%d+: it broke$", message)
      assert.same({ "EFAILED", 15 }, { code, exit })
      _, message = client:call("table_raised")
      assert.equal("an error that is a table", message)
    end)
  end)

  it("raises a failure, where that is wanted, which ends the program as there", function()
    serving(METHODS, function()
      local client <close> = connect()
      local ok, err = pcall(client.check, client, "full")
      assert.is_false(ok)
      assert.is_true(failure.is(err))
      assert.same({ "write it: No space left on device", "ENOSPC", 14 },
        { err.message, err.code, err.exit })
    end)
  end)

  it("may take its time while others run, and answers come as they are ready", function()
    serving(METHODS, function()
      local client <close> = connect()
      local order = {}
      local tasks = {}
      for i, seconds in ipairs { 0.2, 0.1, 0 } do
        tasks[i] = task.spawn(function()
          local slept = client:check("sleep", { seconds = seconds })
          order[#order + 1] = slept
        end)
      end
      for _, one in ipairs(tasks) do assert(one:join()) end
      assert.same({ 0, 0.1, 0.2 }, order)
    end)
  end)

  it("gives up after its time-out; the answer that comes late is dropped", function()
    local methods = { echo = METHODS.echo, sleep = METHODS.sleep, fail_late = function(params)
      task.sleep(params.seconds)
      METHODS.full()
    end }
    serving(methods, function()
      local client <close> = connect()
      for _, method in ipairs { "sleep", "fail_late" } do
        local result, message, code = client:call(method, { seconds = 0.2 }, { timeout = 0.02 })
        assert.same({ nil, method .. ": no answer within 0.02 s", "ETIMEDOUT" },
          { result, message, code })
      end
      task.sleep(0.3)
      assert.same({ 1 }, client:check("echo", { 1 }))
    end)
  end)

  it("gives up where the runner says nothing at all, and not where the call takes long", function()
    local kept = {}
    run(function()
      local server <close> = assert(core.control.listen(dir, {
        on_open = function(connection) kept[#kept + 1] = connection end,
      }))
      local client <close> = assert(rpc.connect(dir, { silence = 0.2 }))
      local began = uv.hrtime()
      assert.same({ nil, "echo: no word from the runner for 0.2 s", "ESILENT", 1 },
        { client:call("echo") })
      assert.is_true(uv.hrtime() - began > 0.15e9)
      for _, connection in ipairs(kept) do connection:close() end
      return server and nil
    end)
    serving(METHODS, function() -- which has no method `ping`: that is an answer, too
      local client <close> = assert(rpc.connect(dir, { silence = 0.2 }))
      assert.is_truthy(client:check("sleep", { seconds = 1 }))
    end)
  end)

  it("that nobody waits for any more disturbs nobody", function()
    serving(METHODS, function()
      local client <close> = connect()
      local one = task.spawn(function() client:call("sleep", { seconds = 0.05 }) end)
      task.sleep(0.01)
      one:cancel()
      task.sleep(0.1)
      assert.same({ 1 }, client:check("echo", { 1 }))
    end)
  end)

  it("whose request is too long is not begun, and neither is such an answer", function()
    serving(METHODS, function()
      local client <close> = connect()
      local _, message, code = client:call("echo", { ("x"):rep(limits.request_max) })
      assert.matches("is longer than 1048576", message)
      assert.equal("EMSGSIZE", code)
      assert.equal(limits.answer_max - 100,
        #client:check("long", { length = limits.answer_max - 100 }))
      _, message, code = client:call("long", { length = limits.answer_max })
      assert.matches("the answer is too long", message)
      assert.equal("EMSGSIZE", code)
      assert.same({ 1 }, client:check("echo", { 1 }))
    end)
  end)

  it("fails for everybody who waits when the runner ends", function()
    run(function()
      local service = serve(METHODS)
      local client <close> = connect()
      local results = {}
      for i = 1, 3 do
        task.spawn(function() results[i] = { client:call("sleep", { seconds = 60 }) } end)
      end
      task.sleep(0.02)
      service:close()
      wait_until(function() return #results == 3 end)
      for i = 1, 3 do
        assert.same({ nil, "the runner has closed the connection", "EPIPE", 1 }, results[i])
      end
      assert.equal("EPIPE", select(3, client:call("echo")))
      assert.equal("EPIPE", select(2, client:failure()))
    end)
  end)

  it("fails when the client itself is closed meanwhile", function()
    serving(METHODS, function()
      local client = connect()
      local result
      task.spawn(function() result = { client:call("sleep", { seconds = 60 }) } end)
      task.sleep(0.02)
      client:close()
      client:close()
      wait_until(function() return result end)
      assert.equal("ECANCELED", result[3])
      assert.equal("ECANCELED", select(3, client:call("echo")))
    end)
  end)
end)

-- ---- the protocol, byte by byte ----

describe("on the wire", function()
  for _, case in ipairs {
    { "not json", -32700, "null" },
    { "", -32700, "null" },
    { "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":1", -32700, "null" },
    { "\"\xff\"", -32700, "null" },
    { ("["):rep(100000), -32700, "null" },
    { "null", -32700, "null" },
    { "17", -32600, "null" },
    { "{}", -32600, "null" },
    { "[]", -32600, "null" },
    { '[{"jsonrpc":"2.0","method":"echo","id":1}]', -32600, "null" },
    { '{"method":"echo","id":1}', -32600, 1 },
    { '{"jsonrpc":"1.0","method":"echo","id":1}', -32600, 1 },
    { '{"jsonrpc":"2.0","id":"a"}', -32600, "a" },
    { '{"jsonrpc":"2.0","method":5,"id":2}', -32600, 2 },
    { '{"jsonrpc":"2.0","method":"echo","id":{}}', -32600, "null" },
    { '{"jsonrpc":"2.0","method":"echo","id":true}', -32600, "null" },
    { '{"jsonrpc":"2.0","method":"echo","params":"x","id":3}', -32600, 3 },
    { '{"jsonrpc":"2.0","result":5,"id":3}', -32600, 3 },
    { '{"jsonrpc":"2.0","method":"nosuch","id":"x"}', -32601, "x" },
    { '{"jsonrpc":"2.0","method":"wrong","id":4}', -32602, 4 },
    { '{"jsonrpc":"2.0","method":"broken","id":5}', -32603, 5 },
    { '{"jsonrpc":"2.0","method":"full","id":6}', -32000, 6 },
  } do
    it(("%d is the answer to %s"):format(case[2], case[1]:sub(1, 50):gsub("\xff", "?")), function()
      run(function()
        local service <close> = serve(METHODS)
        local client <close> = raw()
        client:say(case[1] .. "\n")
        wait_until(function() return client.got:find("\n") end)
        assert.matches(case[3] == "null" and '"id":null' or '"id":', client.got, 1, true)
        local reply = client:hear()
        assert.equal("2.0", reply.jsonrpc)
        assert.equal(case[2], reply.error.code)
        assert.equal(case[3] ~= "null" and case[3] or nil, reply.id)
        assert.is_string(reply.error.message)
        assert.is_string(reply.error.data.code)
        assert.is_number(reply.error.data.exit)
        client:say('{"jsonrpc":"2.0","method":"echo","params":[7],"id":9}\n')
        assert.same({ 7 }, client:hear().result)
        return service and nil
      end)
    end)
  end

  it("an answer is one line with the id that the request had", function()
    serving(METHODS, function()
      local client <close> = raw()
      for _, id in ipairs { 1, "a\nb", 1.5, -7, math.maxinteger } do
        client:say(json.encode_exact { jsonrpc = "2.0", method = "echo", id = id } .. "\r\n")
        local reply = client:hear()
        assert.equal(id, reply.id)
        assert.equal("2.0", reply.jsonrpc)
        assert.is_nil(reply.error)
      end
    end)
  end)

  it("a notification has no answer, whatever becomes of it", function()
    run(function()
      local heard = {}
      local service <close> = serve {
        note = function(params) heard[#heard + 1] = params[1] end,
        broken = METHODS.broken, echo = METHODS.echo,
      }
      local client <close> = raw()
      client:say('{"jsonrpc":"2.0","method":"note","params":["a"]}\n'
        .. '{"jsonrpc":"2.0","method":"note","params":["b"],"id":null}\n'
        .. '{"jsonrpc":"2.0","method":"broken"}\n{"jsonrpc":"2.0","method":"nosuch"}\n'
        .. '{"jsonrpc":"2.0","method":"echo","id":1}\n')
      assert.equal(1, client:hear().id)
      assert.same({ "a", "b" }, heard)
      return service and nil
    end)
  end)

  it("a peer that ends its side at once still gets its answer", function()
    serving(METHODS, function()
      local client <close> = raw()
      client:say('{"jsonrpc":"2.0","method":"sleep","params":{"seconds":0.05},"id":1}\n')
      client.pipe:shutdown()
      assert.equal(0.05, client:hear().result)
      client:expect_end()
    end)
  end)
end)

-- ---- notifications ----

describe("notifications", function()
  local function ticks(params, session)
    session:spawn(function()
      for i = 1, params.n do session:notify("tick", { i = i }) end
      session:notify("done")
    end)
    return "subscribed"
  end

  it("come in order, and those before one listens are kept", function()
    serving({ ticks = ticks }, function()
      local client <close> = connect()
      assert.equal("subscribed", client:check("ticks", { n = 500 }))
      task.sleep(0.05)
      local n = 0
      for method, params in client:notifications() do
        if method == "done" then break end
        n = n + 1
        assert.same({ "tick", n }, { method, params.i })
      end
      assert.equal(500, n)
    end)
  end)

  it("end with the connection", function()
    run(function()
      local service = serve { ticks = ticks }
      local client <close> = connect()
      client:check("ticks", { n = 3 })
      task.spawn(function()
        task.sleep(0.05)
        service:close()
      end)
      local seen = {}
      for method in client:notifications() do seen[#seen + 1] = method end
      assert.same({ "tick", "tick", "tick", "done" }, seen)
      assert.equal("EPIPE", select(2, client:failure()))
    end)
  end)

  it("that nobody listens to make the client be behind, and its calls still work", function()
    run(function()
      local sent = 0
      local service <close> = serve { echo = METHODS.echo, flood = function(_, session)
        session:spawn(function()
          local text = ("x"):rep(1000)
          while true do
            if session:offer("tick", { text }) then sent = sent + 1 end
            task.sleep(0)
          end
        end)
      end }
      local client <close> = connect()
      client:check("flood")
      local before
      repeat
        before = sent
        task.sleep(0.1)
      until sent == before
      assert.is_true(sent >= limits.notifications and sent < 2000, tostring(sent))
      assert.same({ 1 }, client:check("echo", { 1 }))
      return service and nil
    end)
  end)

  it("go at the client's pace where the sender waits for it", function()
    run(function()
      local made, told = 0, 0
      local service <close> = serve { watch = function(_, session)
        session:spawn(function()
          while made < 200 do
            told = told + 1
            if not session:notify("progress", { made, ("x"):rep(100000) }) then return end
            if not session:flush() then return end
          end
          session:notify("done", { made })
        end)
        session:spawn(function()
          for i = 1, 200 do
            made = i
            task.sleep(0.001)
          end
        end)
      end }
      local client <close> = raw()
      client:say('{"jsonrpc":"2.0","method":"watch","id":1}\n')
      assert.is_true(client:hear().result)
      client.pipe:read_stop()
      wait_until(function() return made == 200 end)
      assert.is_true(told < 50, tostring(told))
      client.pipe:read_start(function(_, data) client.got = client.got .. (data or "") end)
      local last
      repeat last = client:hear() until last.method == "done"
      assert.same({ 200 }, last.params)
      return service and nil
    end)
  end)

  it("of several coroutines that wait for the client do not get into each other's way", function()
    run(function()
      local done = 0
      local service <close> = serve { watch = function(_, session)
        for _ = 1, 3 do
          session:spawn(function()
            for _ = 1, 5 do
              session:notify("x", { ("x"):rep(300000) })
              assert(session:flush())
            end
            done = done + 1
          end)
        end
      end }
      local client <close> = connect()
      client:check("watch")
      local n = 0
      for _ in client:notifications() do
        n = n + 1
        if n == 15 then break end
      end
      wait_until(function() return done == 3 end)
      return service and nil
    end)
  end)

  it("whose sender fails end the session, and the client learns why", function()
    serving({ echo = METHODS.echo, watch = function(_, session)
      session:spawn(function()
        task.sleep(0.01)
        error(failure.new("the disk is gone", "EIO", 14), 0)
      end)
    end }, function()
      local client <close> = connect()
      client:check("watch")
      for _ in client:notifications() do error("nothing was sent") end
      assert.same({ "the disk is gone", "EIO", 14 }, { client:failure() })
      expect_service()
    end)
  end)

  it("go the other way too", function()
    run(function()
      local got
      local service <close> = serve { note = function(params) got = params.text end }
      local client <close> = connect()
      assert.is_true(client:notify("note", { text = "hello" }))
      wait_until(function() return got end)
      assert.equal("hello", got)
      return service and nil
    end)
  end)
end)

-- ---- many ----

describe("many clients", function()
  -- Not by a shell: popen's own pipe may still be open twice then.
  local function open_fds()
    local scan, n = assert(uv.fs_scandir("/proc/self/fd")), 0
    while uv.fs_scandir_next(scan) do n = n + 1 end
    return n
  end

  it("are served at the same time, each with its own answers", function()
    run(function()
      local clients, rounds = 100, fixture.is_sanitized() and 5 or 20
      local service <close> = serve(METHODS)
      local tasks = {}
      for i = 1, clients do
        tasks[i] = task.spawn(function()
          local client <close> = connect()
          for k = 1, rounds do
            assert(client:check("echo", { i, k })[1] == i)
            if k % 5 == 0 then client:check("sleep", { seconds = math.random() * 0.01 }) end
          end
          return client and i
        end)
      end
      for i, one in ipairs(tasks) do
        local ok, result = one:join()
        assert.is_true(ok, result)
        assert.equal(i, result)
      end
      wait_until(function() return service:clients() == 0 end)
      assert.is_nil(service:each()())
    end)
  end)

  it("leave no descriptor behind", function()
    local before = open_fds()
    serving(METHODS, function()
      for _ = 1, 50 do
        local client <close> = connect()
        client:check("echo")
        assert(client)
      end
    end)
    uv.run("nowait")
    assert.equal(before, open_fds())
  end)

  it("all get what was sent before the runner ends, if it waits for them", function()
    serving({ hello = function(_, session)
      session:notify("large", { ("x"):rep(1000000) })
    end }, function(service)
      local clients, n = {}, 0
      for i = 1, 5 do
        clients[i] = connect()
        clients[i]:check("hello")
        task.spawn(function()
          for _ in clients[i]:notifications() do n = n + 1 end
        end)
      end
      assert.is_true(service:drain(10))
      service:close()
      wait_until(function() return n == 5 end)
      for _, client in ipairs(clients) do client:close() end
    end)
  end)
end)
