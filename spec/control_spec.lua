-- The control socket: who may connect, its file, and peers that do wrong without anybody noticing.
local fixture = require "support.fixture"
local socket = require "support.socket"
local core = require "sd.core"
local library = require "sd.library"
local rpc = require "sd.rpc"
local task = require "sd.task"

local control, uv = core.control, core.luv
local limits = control.limits

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

local function socket_of()
  return socket.path(dir)
end

-- ---- peers that do wrong ----

describe("the runner is not disturbed", function()
  it("by garbage", function()
    run(function()
      fixture.seed("garbage")
      local service <close> = serve(METHODS)
      local client <close> = raw()
      local good = '{"jsonrpc":"2.0","method":"echo","params":{"a":[1,"x"]},"id":1}'
      local lines = fixture.is_sanitized() and 300 or 2000
      client:say(good .. "\n")
      for _ = 1, lines do
        local bytes = {}
        if math.random() < 0.5 then
          for i = 1, math.random(0, 60) do bytes[i] = string.char(math.random(0, 255)) end
        else
          bytes = { good:byte(1, -1) }
          for _ = 1, math.random(3) do bytes[math.random(#bytes)] = math.random(0, 255) end
          for i, byte in ipairs(bytes) do bytes[i] = string.char(byte) end
        end
        client:say((table.concat(bytes):gsub("\n", "")) .. "\n")
      end
      client:say('{"jsonrpc":"2.0","method":"echo","id":"last"}\n')
      local reply
      repeat
        reply = client:hear()
        assert.is_table(reply)
        if reply.error then assert.is_true(reply.error.code <= -32600) end
      until reply.id == "last"
      expect_service()
      return service and nil
    end)
  end)

  it("by a message that is too long", function()
    serving(METHODS, function()
      local client <close> = raw()
      client:say('{"jsonrpc":"2.0","method":"echo","id":1}\n' .. ("x"):rep(limits.request_max + 1))
      assert.equal(1, client:hear().id)
      local reply = client:hear()
      assert.equal(-32600, reply.error.code)
      assert.matches("longer than is allowed", reply.error.message)
      client:expect_end()
      expect_service()
    end)
  end)

  it("by one that stops in the middle of a message", function()
    serving(METHODS, function(service)
      local client <close> = raw()
      client:say('{"jsonrpc":"2.0","method":"echo","id":1}\n{"jsonrpc":"2.0","meth')
      assert.equal(1, client:hear().id)
      client.pipe:close()
      wait_until(function() return service:each()() == nil end)
      expect_service()
    end)
  end)

  it("by those that connect and say nothing, or never get to the end of a message", function()
    serving(METHODS, { first = 0.2 }, function()
      local spoken <close> = connect()
      spoken:check("echo")
      local mute <close> = raw()
      local slow <close> = raw()
      for _ = 1, 100 do
        if slow.ended then break end
        slow:say("{")
        task.sleep(0.01)
      end
      mute:expect_end()
      slow:expect_end()
      task.sleep(0.3)
      assert.same({ 1 }, spoken:check("echo", { 1 })) -- it may be silent for as long as it likes
    end)
  end)

  it("by one that reads nothing: progress is not sent, the rest is kept up to a limit", function()
    run(function()
      local ended, sent, dropped, kept = nil, 0, 0, 0
      local service <close> = serve { echo = METHODS.echo, subscribe = function(_, session)
        session:on_close(function() ended = true end)
        session:spawn(function()
          local text = ("x"):rep(10000)
          while true do
            if session:offer("progress", { text }) then sent = sent + 1
            else dropped = dropped + 1 end
            if dropped > 10 and not session:notify("final", { text }) then break end
            kept = kept + (dropped > 10 and 1 or 0)
            if dropped % 50 == 0 then task.sleep(0) end
          end
          task.sleep(60)
        end)
      end }
      local client <close> = raw()
      client.pipe:read_stop()
      client:say('{"jsonrpc":"2.0","method":"subscribe","id":1}\n')
      wait_until(function() return ended end)
      assert.is_true(sent > 0 and sent * 10000 < 1024 * 1024, tostring(sent))
      assert.is_true(dropped > 10)
      assert.is_true(math.abs(kept * 10000 - limits.pending_max) < 1024 * 1024, tostring(kept))
      expect_service()
      return service and nil
    end)
  end)

  it("by one that asks for a great deal at once: so many run, the others wait", function()
    run(function()
      local running, most, release = 0, 0, false
      local service <close> = serve { echo = METHODS.echo, hold = function()
        running = running + 1
        most = math.max(most, running)
        wait_until(function() return release end)
        running = running - 1
      end }
      local client <close> = raw()
      for i = 1, 3 * limits.requests do
        client:say(('{"jsonrpc":"2.0","method":"hold","id":%d}\n'):format(i))
      end
      task.sleep(0.1)
      assert.equal(limits.requests, running)
      expect_service()
      release = true
      for _ = 1, 3 * limits.requests do assert.is_true(client:hear().result) end
      assert.equal(limits.requests, most)
      return service and nil
    end)
  end)

  it("by a client that goes away: what runs for it ends, and is closed", function()
    run(function()
      local closed, ended = 0, false
      local function hold()
        local guard <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
        task.sleep(60)
        return guard and nil
      end
      local service <close> = serve { echo = METHODS.echo, hold = function(_, session)
        session:on_close(function() ended = true end)
        session:spawn(hold)
        hold()
      end }
      local client = connect()
      local one = task.spawn(function() client:call("hold") end)
      task.sleep(0.05)
      one:cancel()
      client:close()
      wait_until(function() return ended end)
      assert.equal(2, closed)
      expect_service()
      return service and nil
    end)
  end)

  it("by more clients than it takes: they are told so", function()
    serving(METHODS, { clients = 2 }, function()
      local a = connect()
      local b <close> = connect()
      a:check("echo")
      b:check("echo")
      local third <close> = connect()
      local _, message, code, exit = third:call("echo")
      assert.same({ "the runner has too many clients", "EBUSY", 1 }, { message, code, exit })
      a:close()
      wait_until(function()
        local next_one <close> = connect()
        return next_one:call("echo") ~= nil
      end)
    end)
  end)
end)

-- ---- the socket's file ----

-- A runner in a process of its own, that lives until it is killed.
local SERVER = [[
local rpc, task = require "sd.rpc", require "sd.task"
task.run(function()
  local service = assert(rpc.serve(arg[1], { echo = function(params) return params end }))
  io.open(arg[1] .. "/ready", "w"):close()
  while service do task.sleep(60) end
end)
]]

local function start_server(prefix)
  local words = prefix or {}
  fixture.write(dir .. "/server.lua", SERVER)
  table.move({ fixture.sdlua, dir .. "/server.lua", dir }, 1, 3, #words + 1, words)
  words[1] = fixture.sh("command -v " .. fixture.quote(words[1])):match("[^\n]+")
  local process = fixture.start(words, { err = dir .. "/server.err" })
  while not uv.fs_stat(dir .. "/ready") do
    if process:sleep(5) then error("ended: " .. fixture.read(dir .. "/server.err"), 2) end
  end
  return process
end

describe("the socket", function()
  it("is its owner's alone, and goes when the server does", function()
    run(function()
      local service = serve()
      assert.equal("srw-------", fixture.sh("stat -c %A " .. socket_of()):match("[^\n]+"))
      service:close()
      service:close()
      assert.is_nil(uv.fs_stat(socket_of()))
    end)
  end)

  it("may be deeper than an address is long", function()
    for _ = 1, 6 do
      dir = dir .. "/" .. ("d"):rep(200)
      assert(uv.fs_mkdir(dir, 448))
    end
    serving(METHODS, function()
      expect_service()
    end)
    dir = dir:match("^(.-)/ddd")
  end)

  it("of a runner that was killed is replaced, and that of a living one is not", function()
    local process = start_server()
    run(function()
      assert.equal("EADDRINUSE", select(3, rpc.serve(dir, {})))
      local client <close> = connect()
      assert.equal(process.pid, client.pid)
      assert.same({ 1 }, client:check("echo", { 1 }))
    end)
    process:kill("sigkill")
    process:wait()
    assert.is_table(uv.fs_stat(socket_of()))
    run(function()
      local _, message, code = rpc.connect(dir, { timeout = 0 })
      assert.equal("ECONNREFUSED", code)
      assert.matches(control.name, message, 1, true)
      local service <close> = serve(METHODS)
      expect_service()
      return service and nil
    end)
  end)

  -- A library often lies in what it indexes; a rescan would find a socket that comes and goes.
  it("is not indexed, like the library's other files", function()
    run(function()
      local where = dir .. "/tree/library"
      fixture.sh("mkdir -p " .. where)
      local open <close> = assert(library.open(where, { create = true }))
      local service <close> = assert(rpc.serve(where, {}))
      assert.is_true(open.core:leave_out(control.name))
      assert.is_false(open.core:leave_out("nosuch"))
      local handle = open.jobs:dispatch_by_name("indexer", { root = dir .. "/tree" })
      handle:wait()
      assert.equal("completed", handle.status)
      local row = assert(open.db:query("SELECT count(*) AS n, max(path) AS last FROM entries"))[1]
      assert.same({ n = 2, last = "library" }, row) -- and the root
      assert.is_table(uv.fs_stat(socket.path(where)))
      return service and nil
    end)
  end)

  it("does not replace what is no socket", function()
    fixture.write(socket_of(), "mine")
    local service, _, code = rpc.serve(dir, {})
    assert.same({ nil, "EEXIST" }, { service, code })
    assert.equal("mine", fixture.read(socket_of()))
  end)

  it("is waited for where a runner is just starting", function()
    run(function()
      local _, _, code = rpc.connect(dir, { timeout = 0 })
      assert.equal("ENOENT", code)
      local service
      task.spawn(function()
        task.sleep(0.1)
        service = serve(METHODS)
      end)
      local client <close> = assert(rpc.connect(dir, { timeout = 10 }))
      assert.same({ 1 }, client:check("echo", { 1 }))
      service:close()
    end)
  end)
end)

describe("another user", function()
  local user = fixture.as_user()
  local why = "SKIPPED: only root can be somebody else, and needs setpriv(1) for it"

  local CLIENT = ([[
local rpc, task = require "sd.rpc", require "sd.task"
task.run(function()
  local client, message, code = rpc.connect(%q, { timeout = 0 })
  if not client then print("connect", code) return end
  local result, _, call_code = client:call("echo", { 1 })
  print("call", result and result[1], call_code)
end)
]])

  -- What a client prints that runs as the other user; this loop turns meanwhile.
  local function client_of(words)
    fixture.write(dir .. "/client.lua", CLIENT:format(dir))
    words = table.move(words, 1, #words, 1, {})
    table.move({ fixture.sdlua, dir .. "/client.lua" }, 1, 2, #words + 1, words)
    words[1] = fixture.sh("command -v " .. words[1]):match("[^\n]+")
    os.remove(dir .. "/out")
    local process = fixture.start(words, { out = dir .. "/out", err = dir .. "/err" })
    wait_until(function() return process.exit end)
    return fixture.read(dir .. "/out"), fixture.read(dir .. "/err")
  end

  it("cannot connect", function()
    if uv.getuid() ~= 0 or not user then
      print("\n" .. why)
      return pending(why)
    end
    fixture.sh("chmod 755 " .. dir)
    serving(METHODS, function()
      assert.equal("connect\tEACCES\n", (client_of(user))) -- by the mode
      fixture.sh("chmod 666 " .. socket_of())
      assert.equal("call\tnil\tEPIPE\n", (client_of(user))) -- and by who it is
      expect_service()
    end)
  end)

  it("may be root, who could do everything without asking", function()
    if uv.getuid() ~= 0 or not user then
      print("\n" .. why)
      return pending(why)
    end
    fixture.sh("chmod 777 " .. dir)
    local process = start_server(table.move(user, 1, #user, 1, {}))
    run(function()
      local client <close> = connect()
      assert.same({ 1 }, client:check("echo", { 1 }))
    end)
    process:kill("sigkill")
    process:wait()
  end)
end)

-- ---- the connection itself ----

describe("a connection", function()
  -- Both ends.
  local function pair()
    local other
    local server = assert(control.listen(dir, { on_open = function(c) other = c end }))
    local connection = assert(control.connect(dir))
    wait_until(function() return other end)
    return connection, other, server
  end

  it("carries messages, one a line", function()
    run(function()
      local a, b, server = pair()
      assert.is_true(a:send("one"))
      assert.is_true(a:send(""))
      assert.is_true(a:send("\0\xff"))
      assert.same({ "one", "", "\0\xff" }, { b:receive(), b:receive(), b:receive() })
      assert.equal(0, a:pending())
      assert.is_true(a:flush())
      assert.same({ uv.os_getpid(), uv.getuid() }, { a:peer() })
      assert.equal(1, server:clients())
      a:close()
      assert.is_nil(b:receive())
      assert.is_nil(b:receive())
      assert.is_nil(b:pending())
      assert.equal("EPIPE", select(3, b:send("x")))
      assert.equal("EPIPE", select(3, b:flush()))
      b:close()
      assert.equal(0, server:clients())
      server:close()
    end)
  end)

  it("that is closed lets those go on who wait for it", function()
    run(function()
      local a, b, server = pair()
      local received, flushed
      for _ = 1, 3 do assert.is_true(a:send(("x"):rep(1000000))) end
      task.spawn(function() received = { a:receive() } end)
      task.spawn(function() flushed = { a:flush() } end)
      task.sleep(0.01)
      a:close()
      a:close()
      wait_until(function() return received and flushed end)
      assert.same({ nil, "the connection was closed", "ECANCELED" }, received)
      assert.equal("ECANCELED", flushed[3])
      b:close()
      server:close()
    end)
  end)

  it("may be closed, and collected, while a coroutine that waited for it was ended", function()
    run(function()
      local a, b, server = pair()
      local one = task.spawn(function() a:receive() end)
      task.sleep(0.01)
      a:close() -- it is to go on …
      one:cancel() -- … and is ended before that
      a, one = nil, nil
      collectgarbage()
      task.sleep(0.01)
      assert.is_nil(a or one)
      assert.is_nil(b:receive())
      server:close()
    end)
  end)

  it("goes on where a coroutine that waited for it was ended", function()
    run(function()
      local a, b, server = pair()
      local one = task.spawn(function() a:receive() end)
      task.sleep(0.01)
      one:cancel()
      b:send("still here")
      task.sleep(0.01)
      assert.equal("still here", a:receive())
      a:close()
      b:close()
      server:close()
    end)
  end)

  it("that was asked for and is no longer wanted comes to nothing", function()
    run(function()
      local one = task.spawn(function() control.connect(dir, { timeout = 10 }) end)
      task.sleep(0.02)
      one:cancel()
      local opened = 0
      local server = assert(control.listen(dir, { on_open = function(c)
        opened = opened + 1
        c:close()
      end }))
      task.sleep(0.1)
      collectgarbage()
      assert.is_true(opened <= 1)
      server:close()
    end)
  end)

  it("is closed when nobody has it any more", function()
    run(function()
      local ends = { pair() }
      local b, server = ends[2], ends[3]
      ends[1] = nil
      collectgarbage()
      collectgarbage()
      assert.is_nil(b:receive())
      b:close()
      server:close()
    end)
  end)

  it("is used up by misuse, and by nothing else", function()
    run(function()
      local a, b, server = pair()
      assert.has_error(function() a:send("two\nlines") end,
        "bad argument #1 to 'send' (a message has no newline in it)")
      assert.has_error(function() a:send() end)
      task.spawn(function() a:receive() end)
      task.sleep(0.01)
      assert.has_error(function() a:receive() end, "the connection is waited for already")
      assert.has_error(function() control.listen(dir, {}) end)
      assert.has_error(function() control.listen(dir, { on_open = print, clients = 0 }) end)
      assert.has_error(function() control.connect(dir, { timeout = -1 }) end)
      assert.has_error(function() control.connect(dir, { timeout = 0 / 0 }) end)
      a:close()
      for _, method in ipairs { "send", "receive", "flush", "pending", "peer" } do
        local ok, message = pcall(a[method], a, "x")
        assert.is_false(ok)
        assert.matches("the connection is closed", message)
      end
      b:close()
      server:close()
      assert.matches("the server is closed", select(2, pcall(server.clients, server)))
    end)
    assert.matches("this function waits", select(2, pcall(control.connect, dir)))
  end)

  it("in the background does not keep the event loop going", function()
    fixture.write(dir .. "/background.lua", ([[
      local core, rpc, task = require "sd.core", require "sd.rpc", require "sd.task"
      local service = assert(rpc.serve(%q, {}, { background = true }))
      core.run()
      local ok, message = pcall(task.run, core.park)
      assert(not ok and message:find("nothing is left that could wake them"))
      print("ended", service ~= nil)]]):format(dir))
    local result = fixture.run { fixture.sdlua, dir .. "/background.lua" }
    assert.same({ 0, "ended\ttrue\n", "" }, { result.status, result.out, result.err })
  end)

  it("that is open when the program ends leaves nothing behind", function()
    fixture.write(dir .. "/open.lua", ([[
      local rpc, task = require "sd.rpc", require "sd.task"
      kept = {}
      task.run(function()
        kept[1] = assert(rpc.serve(%q, {
          echo = function(p) return p end, hold = function() task.sleep(60) end,
        }))
        kept[2] = assert(rpc.connect(%q))
        kept[2]:check("echo")
        kept[3] = task.spawn(function() kept[2]:call("hold") end)
        task.sleep(0.01)
      end)
      print("ended")]]):format(dir, dir))
    local result = fixture.run { fixture.sdlua, dir .. "/open.lua" }
    assert.same({ 0, "ended\n", "" }, { result.status, result.out, result.err })
    assert.is_nil(uv.fs_stat(socket_of()))
  end)
end)
