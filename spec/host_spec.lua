-- sdlua as a stand-in for the stock lua5.4, and the commands that it adds. Truth comes from lua5.4.

local SDLUA = os.getenv("SDLUA") or arg[-1]

-- Nothing of the caller's environment may reach the programs under test.
local CLEAN = "env -u SDLUA_HOME -u LUA_INIT -u LUA_INIT_5_4 -u LUA_PATH -u LUA_PATH_5_4"
  .. " -u LUA_CPATH -u LUA_CPATH_5_4 TERM=dumb"

-- Little address space; more than a program needs that was built without a sanitizer.
local LITTLE = "sh -c 'ulimit -v 100000; exec \"$@\"' sh"

-- Sends SIGINT twice, the second while the chunk that survived the first still runs.
local TWICE = "sh -c '\"$@\" & sleep 0.3; kill -INT $!; sleep 0.3; kill -INT $!;"
  .. " sleep 0.3; kill -KILL $! 2>/dev/null; wait $!' sh"

local function quote(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

local function capture(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("\n$", ""))
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

-- A program that was named by a relative path is to be found from the temporary directory too.
local function which(program)
  local found = capture("command -v " .. quote(program))
  return found ~= "" and capture("realpath -s " .. quote(found)) or nil
end

local dir, outside

---@class Run
---@field args? string[]
---@field stdin? string
---@field env? table<string, string>
---@field before? string Shell words before the program, such as "timeout 1".

--- Runs a program in the test's directory.
---@param program string
---@param case Run
---@return {out: string, err: string, code: integer}
local function run(program, case)
  local words = { CLEAN }
  for name, value in pairs(case.env or {}) do words[#words + 1] = name .. "=" .. quote(value) end
  words[#words + 1] = case.before
  words[#words + 1] = quote(program)
  for _, word in ipairs(case.args or {}) do words[#words + 1] = quote(word) end
  write(outside .. "/in", case.stdin or "")
  local line = ("cd %s && %s <%s/in >%s/out 2>%s/err"):format(
    quote(dir), table.concat(words, " "), outside, outside, outside)
  local _, _, code = os.execute(line)
  local result = { out = read(outside .. "/out"), err = read(outside .. "/err"), code = code }
  assert(code ~= 126 and code ~= 127, "the shell could not run it: " .. result.err)
  return result
end

before_each(function()
  dir, outside = capture("mktemp -d"), capture("mktemp -d")
end)

after_each(function()
  os.execute("rm -rf " .. quote(dir) .. " " .. quote(outside))
end)

--- False, and the test is pending, where a sanitizer wants more address space than LITTLE.
local function starts_little(case)
  local probe = LITTLE .. " " .. quote(SDLUA) .. " -v >/dev/null 2>&1"
  if case.before ~= LITTLE or os.execute(probe) then return true end
  pending("sdlua does not start in little address space; it was built with a sanitizer")
  return false
end

SDLUA = assert(which(SDLUA), "no program under test: " .. SDLUA)
local HOLDS_SIGNALS = read(SDLUA):find("__tsan_init", 1, true) ~= nil

--- False, and the test is pending, where a signal is held back until the program calls the C
--- library, as the thread sanitizer does: a Lua loop never calls it.
local function hears_signals(case)
  if not HOLDS_SIGNALS or not case.before then return true end
  if not case.before:find("INT", 1, true) then return true end
  pending("the thread sanitizer holds signals back")
  return false
end
local LUA = which("lua5.4")

-- ---- the same as lua5.4 ----

local SCRIPTS = {
  ["args.lua"] = [[
    local low, high = 0, 0
    for i in pairs(arg) do low, high = math.min(low, i), math.max(high, i) end
    for i = low, high do print(i, arg[i]) end
    print("...", ...)
  ]],
  ["deep.lua"] = "local function f(n) if n == 0 then error('deep') end f(n - 1) end f(40)",
  ["empty.lua"] = "",
  ["init.lua"] = "print('init', arg and arg[0])",
  ["level.lua"] = "local function f() error('of the caller', 2) end\nf()",
  ["mod.lua"] = "print('mod', ...) return { name = 'mod' }",
  ["nothing.lua"] = "print('loaded')",
  ["raise.lua"] = "local function f() local x = nil; return x.y end\nprint(1)\nf()",
  ["returns.lua"] = "return 1, 2, 3",
  ["shebang.lua"] = "#!/usr/bin/env lua\nprint('after the first line', ...)",
  ["syntax.lua"] = "print('never')\nlocal x = = 1",
  ["warn.lua"] = "warn('one ', 'message') warn('@off') warn('unheard') print('end')",
  ["word"] = "print('a word', ...)",
  ["-odd"] = "print('odd', ...)",
}

-- Each: what it shows, then the options. `stdin`, `env` and `before` as in Run.
local CASES = {
  -- options
  { "-e", "-e", "print(1)" },
  { "-e with its text attached", "-eprint(2)" },
  { "-e twice, in order", "-e", "x = 1", "-e", "print(x)" },
  { "-e with a syntax error", "-e", "x =" },
  { "-e that raises", "-e", "error('no')" },
  { "-e that raises ends before the script", "-e", "error('no')", "args.lua" },
  { "-e before a script", "-e", "x = 1 print(x)", "args.lua", "a" },
  { "-e without an argument", "-e" },
  { "-e followed by an option", "-e", "-v" },
  { "-e with an empty text", "-e", "" },
  { "-l", "-l", "mod", "-e", "print(mod.name)" },
  { "-l with its name attached", "-lmod", "-e", "print(mod.name)" },
  { "-l with a global name", "-l", "g=mod", "-e", "print(g.name, mod)" },
  { "-l with an attached global name", "-lg=mod", "-e", "print(g.name, mod)" },
  { "-l leaves arg as it was", "-l", "g=mod", "args.lua" },
  { "-l of a module that is not there", "-l", "nowhere" },
  { "-l of a module with a syntax error", "-l", "syntax" },
  { "-l of a module that raises", "-l", "raise" },
  { "-l of a module that returns nothing", "-l", "nothing", "-e", "print(nothing)" },
  { "-l without an argument", "-l" },
  { "-l followed by an option", "-l", "-i" },
  { "-l with an empty name", "-l", "=mod", "-e", "print(_G[''].name)" },
  { "-v", "-v" },
  { "-v twice", "-v", "-v" },
  { "-v and -e", "-v", "-e", "print(1)" },
  { "-v and a script", "-v", "args.lua", "a" },
  { "-v with more behind it", "-vx" },
  { "-i with more behind it", "-ix" },
  { "-E with more behind it", "-Ex" },
  { "-W with more behind it", "-Wx" },
  { "-- with more behind it", "--x" },
  { "an option that there is not", "-x" },
  { "an option that there is not, behind good ones", "-v", "-e", "print(1)", "-x", "args.lua" },
  { "an option behind the script is the script's", "args.lua", "-x", "--", "-" },
  { "-W", "-W", "warn.lua" },
  { "warnings are off without -W", "warn.lua" },
  { "-W after -e", "-e", "warn('early')", "-W", "-e", "warn('late')" },
  { "-- before a script", "--", "args.lua", "a" },
  { "-- before a script that looks like an option", "--", "-odd", "a" },
  { "-- before -, which then is a file", "--", "-" },
  { "-- alone", "--", stdin = "print('from stdin', arg[0], arg[1])" },
  { "all together", "-v", "-W", "-E", "-l",
    "g=mod", "-e", "print(g)", "-e", "g = 1", "args.lua", "a",
    normal = "table: 0x%x+" },

  -- scripts
  { "a script and its arguments", "args.lua", "a", "b c", "" },
  { "arg without a script", "-e", "print(arg[0] ~= nil, arg[1], arg[2], #arg)" },
  { "negative indices of arg", "-W", "-e", "y = 1", "-v", "args.lua", "one" },
  { "a script that changes arg", "-e",
    "arg[1] = 'changed' arg[3] = nil", "args.lua", "a", "b", "c" },
  { "an arg that is no table", "-e", "arg = 1", "args.lua" },
  { "an arg without an integer length", "-e",
    "setmetatable(arg, {__len = function() return 'x' end})",
    "args.lua" },
  { "too many arguments", "-e",
    "arg[1000000] = 1 for i = 1, 999999 do arg[i] = i end", "args.lua" },
  { "an empty script", "empty.lua" },
  { "a script that returns values", "returns.lua" },
  { "a first line for the shell", "shebang.lua", "x" },
  { "a name without an extension", "word", "x" },
  { "a file that is not there", "nowhere.lua" },
  { "a directory", "." },
  { "an empty name", "" },
  { "a syntax error", "syntax.lua" },
  { "a runtime error", "raise.lua" },
  { "an error of the caller's level", "level.lua" },
  { "a long traceback", "deep.lua" },
  { "a stack overflow", "-e", "local function f() return 1 + f() end f()",
    normal = "skipping %d+ levels" },
  { "a binary chunk", "-e",
    "io.open('c', 'wb'):write(string.dump(load('print(...)'))):close()", "-e",
    "dofile('c')" },
  { "the mode of the collector", "-e", "print(collectgarbage('incremental'))" },

  -- error objects
  { "an error object: nil", "-e", "error()" },
  { "an error object: a table", "-e", "error({})" },
  { "an error object: a number", "-e", "error(12)" },
  { "an error object: false", "-e", "error(false)" },
  { "an error object with __tostring", "-e",
    "error(setmetatable({}, {__tostring = function() return 'my words' end}))" },
  { "an error object whose __tostring returns no string", "-e",
    "error(setmetatable({}, {__tostring = function() return 1 end}))" },
  { "an error object whose __tostring raises", "-e",
    "error(setmetatable({}, {__tostring = function() error('inner') end}))" },
  { "an error object with exit and message, which says nothing here", "-e",
    "error({exit = 10, message = 'no'})" },
  { "an error without a position", "-e", "error('bare', 0)" },
  { "an error message of several lines", "-e", "error('one\\ntwo', 0)" },
  { "an error in a coroutine", "-e", "coroutine.wrap(function() error('inside') end)()" },
  { "an error in __close", "-e",
    "local c <close> = setmetatable({}, {__close = function() error('c') end})" },
  { "an error in __gc when the state is closed", "-W", "-e",
    "setmetatable({}, {__gc = function() error('g') end})" },
  { "no memory for a string", "-e", "string.rep('x', 1 << 30)", before = LITTLE },
  { "no memory for a table", "-e",
    "local t = {} for i = 1, 1 << 40 do t[i] = {} end", before = LITTLE },

  -- exits
  { "os.exit()", "-e", "os.exit()" },
  { "os.exit(true)", "-e", "os.exit(true)" },
  { "os.exit(false)", "-e", "os.exit(false)" },
  { "os.exit(7)", "-e", "os.exit(7)" },
  { "os.exit(256 + 7)", "-e", "os.exit(256 + 7)" },
  { "os.exit without closing", "-e",
    "x = setmetatable({}, {__gc = function() print('closed') end}) os.exit(3)" },
  { "os.exit that closes the state", "-e",
    "x = setmetatable({}, {__gc = function() print('closed') end}) os.exit(3, true)" },
  { "os.exit that closes what is pending", "-e",
    "local c <close> = setmetatable({}, {__close = function() print('closed') end})"
      .. "os.exit(4, true)" },
  { "the state is closed at the end", "-e",
    "x = setmetatable({}, {__gc = function() print('closed') end})" },
  { "the state is closed after an error", "-e",
    "x = setmetatable({}, {__gc = function() print('closed') end}) error('no')" },
  { "output that was not flushed comes out", "-e", "io.stdout:setvbuf('full') io.write('kept')" },

  -- stdin
  { "a script from stdin", stdin = "print('from stdin', arg[0] ~= nil, #arg, ...)" },
  { "an empty stdin", stdin = "" },
  { "a syntax error from stdin", stdin = "x = = 1" },
  { "a runtime error from stdin", stdin = "error('no')" },
  { "a syntax error from stdin with -", "-", stdin = "x = = 1" },
  { "a runtime error from stdin with -", "-", stdin = "error('no')" },
  { "- and arguments", "-", "a", "-b", stdin = SCRIPTS["args.lua"] },
  { "options before -", "-W", "-e", "x = 5", "-", "a", stdin = "print(x, ...) warn('heard')" },
  { "a first line for the shell from stdin", stdin = "#!/usr/bin/lua\nprint(1)" },
  { "a script that reads stdin", "-e", "print(io.read('n', 'l', 'a'))", stdin = "12 rest\nmore\n" },
  { "-e does not read stdin", "-e", "print(1)", stdin = "print('unread')" },
  { "-l alone reads stdin", "-l", "mod", stdin = "print(mod.name)" },
  { "-W alone reads stdin", "-W", stdin = "warn('heard')" },

  -- interactive
  { "-i: values", "-i", stdin = "1 + 1\n'a', nil\n=3\n= 4, 5\n" },
  { "-i: no values", "-i", stdin = "x = 1\n\n  \n-- only a comment\nf = nil\n" },
  { "-i: a statement over several lines", "-i",
    stdin = "for i = 1, 2 do\nprint(i)\nend\ny =\n7\ny\n" },
  { "-i: a string over several lines", "-i", stdin = "s = [[one\ntwo]]\ns\n" },
  { "-i: an expression over several lines is a statement", "-i", stdin = "print(\n9)\n" },
  { "-i: no newline at the end", "-i", stdin = "40 + 2" },
  { "-i: a syntax error", "-i", stdin = "x = = 1\n= =\nprint('on')\n" },
  { "-i: a runtime error", "-i", stdin = "error('no')\nerror({})\nprint('on')\n" },
  { "-i: prompts", "-i", stdin = "_PROMPT = 'A: '\n_PROMPT2 = 'B: '\nx =\n1\nx\n" },
  { "-i: prompts that are no strings", "-i", stdin =
    "_PROMPT = setmetatable({}, {__tostring = function() return 'P' end})\n"
      .. "_PROMPT2 = 12\nz =\n8\n" },
  { "-i: a local is gone with its line", "-i", stdin = "local q = 1\nq\n" },
  { "-i: another print", "-i",
    stdin = "print = function(...) io.write('mine ', ..., '\\n') end\n'x'\n" },
  { "-i: a print that raises", "-i", stdin = "print = function() error('p') end\n1 + 2\n" },
  { "-i: no print at all", "-i", stdin = "print = nil\n3 + 4\n" },
  { "-i: an empty stdin", "-i", stdin = "" },
  { "-i after -e", "-i", "-e", "x = 33", stdin = "x\n" },
  { "-i after a script", "-i", "args.lua", "a", stdin = "#arg\n" },
  { "-i after a script that raises", "-i", "raise.lua", stdin = "print('never')\n" },
  { "-i after a script from stdin", "-i", "-", stdin = "print('script')" },
  { "-i: os.exit", "-i", stdin = "os.exit(5)\n" },

  -- environment
  { "LUA_INIT with code", "-e", "print(x)", env = { LUA_INIT = "x = 1 print('init')" } },
  { "LUA_INIT with a file", "args.lua", env = { LUA_INIT = "@init.lua" } },
  { "LUA_INIT with a file that is not there", "args.lua", env = { LUA_INIT = "@nowhere.lua" } },
  { "LUA_INIT with a syntax error", "args.lua", env = { LUA_INIT = "x = = 1" } },
  { "LUA_INIT that raises", "args.lua", env = { LUA_INIT = "error('no')" } },
  { "LUA_INIT_5_4 with code", "args.lua", env = { LUA_INIT_5_4 = "print('5.4')" } },
  { "LUA_INIT_5_4 before LUA_INIT", "args.lua",
    env = { LUA_INIT_5_4 = "print('5.4')", LUA_INIT = "print('any')" } },
  { "LUA_INIT_5_4 that raises", "args.lua", env = { LUA_INIT_5_4 = "error('no')" } },
  { "LUA_INIT, empty", "args.lua", env = { LUA_INIT = "" } },
  { "LUA_INIT changes arg", "args.lua", "a", env = { LUA_INIT = "arg[1] = 'b'" } },
  { "-E leaves LUA_INIT out", "-E", "args.lua", env = { LUA_INIT = "print('never')" } },
  { "-E leaves LUA_INIT_5_4 out", "-E", "-e",
    "print(1)", env = { LUA_INIT_5_4 = "print('never')" } },
  { "LUA_PATH", "-l", "other", env = { LUA_PATH = "./nowhere/?.lua" } },
  { "LUA_PATH with the default", "-l", "other", env = { LUA_PATH = "./nowhere/?.lua;;" } },
  { "LUA_CPATH", "-e", "print(package.cpath)", env = { LUA_CPATH = "./c/?.so" } },
  { "-E leaves LUA_PATH and LUA_CPATH out", "-E", "-l", "other", env = { LUA_PATH = "./x/?.lua",
    LUA_CPATH = "./x/?.so" } },

  -- signals
  { "SIGINT interrupts a chunk", "-e", "while true do end",
    before = "timeout --foreground --preserve-status -s INT 0.3" },
  { "SIGINT interrupts a script's call", "-e",
    "local ok, err = pcall(function() while true do end end) print(ok, err) os.exit(9)",
    before = "timeout --foreground --preserve-status -s INT 0.3" },
  { "a second SIGINT ends the process", "-e",
    "pcall(function() while true do end end) while true do end", before = TWICE },
}

-- Lines of a module search in the trees that only sdlua has.
local function drop_own_paths(text, root)
  local own = "\n\tno file '" .. root .. "/lua/"
  while true do
    local from = text:find(own, 1, true)
    if not from then return text end
    text = text:sub(1, from - 1) .. text:sub(text:find("\n", from + 1, true) or #text + 1)
  end
end

local function replace(text, what, by)
  return (text:gsub(what:gsub("%p", "%%%0"), by))
end

-- The stock command reads lines through readline, which repeats what it reads from a pipe.
local function drop_echo(text, input)
  local at = 1
  for line in input:gsub("[^\n]$", "%0\n"):gmatch("([^\n]*\n)") do
    local _, prompt = text:find("> " .. line, at, true)
    local _, other = text:find(line, at, true) -- behind a prompt of the script's
    local to = prompt or other
    if to then
      at = to - #line + 1
      text = text:sub(1, at - 1) .. text:sub(to + 1)
    end
  end
  return text
end

describe("sdlua as lua5.4", function()
  if not LUA then
    pending("no lua5.4 here to compare with (package lua5.4): nothing of this was tested")
    return
  end
  local root, echoes

  local function normal(result, program, case)
    for _, stream in ipairs { "out", "err" } do
      local text = drop_own_paths(replace(result[stream], program, "PROG"), root)
      result[stream] = case.normal and text:gsub(case.normal, "~") or text
    end
    return result
  end

  setup(function()
    dir, outside = capture("mktemp -d"), capture("mktemp -d")
    root = run(SDLUA, { args = { "-e", "io.write(package.loaded['sd.root'])" } }).out
    echoes = run(LUA, { args = { "-i" }, stdin = "-- echo\n" }).out:find("-- echo", 1, true)
    os.execute("rm -rf " .. quote(dir) .. " " .. quote(outside))
  end)

  before_each(function()
    for name, text in pairs(SCRIPTS) do write(dir .. "/" .. name, text) end
  end)

  for _, case in ipairs(CASES) do
    case.args = table.move(case, 2, #case, 1, {})
    it("agrees on " .. case[1], function()
      if not starts_little(case) or not hears_signals(case) then return end
      local expected = normal(run(LUA, case), LUA, case)
      if echoes and case.args[1] == "-i" then expected.out = drop_echo(expected.out, case.stdin) end
      assert.same(expected, normal(run(SDLUA, case), SDLUA, case))
    end)
  end
end)

-- ---- what only sdlua has ----

describe("sdlua's interactive loop", function()
  it("reads a line of any length", function()
    local long = ("x"):rep(100000)
    local result = run(SDLUA, { args = { "-i" }, stdin = "#'" .. long .. "'\n" })
    assert.matches("> 100000\n> \n$", result.out)
  end)

  -- lua5.4 says "(null)" here.
  it("says what is missing when the input ends within a statement", function()
    local result = run(SDLUA, { args = { "-i" }, stdin = "for i = 1, 2 do\n" })
    assert.equal("stdin:1: 'end' expected near <eof>\n", result.err)
    assert.matches("\n> >> > \n$", result.out)
  end)

  it("opens on a terminal when there are no arguments", function()
    if not which("script") then
      pending("no script(1) here (package bsdutils)")
      return
    end
    local result = run("script", { args = { "-qec", SDLUA, "/dev/null" }, stdin = "6 * 7\n\4" })
    assert.matches("Lua 5%.4.*> .*42", result.out)
    assert.equal(0, result.code)
  end)
end)

describe("sdlua's library", function()
  local function home_with(name)
    os.execute(("mkdir -p %s/%s/lua/sd"):format(quote(dir), name))
    write(dir .. "/" .. name .. "/lua/sd/init.lua", "return { from = '" .. name .. "' }")
    write(dir .. "/" .. name .. "/lua/own.lua", "return 'own'")
    return dir .. "/" .. name
  end

  local show = "io.write(require('sd').from, ' ', require('own'), ' ', require('sd.root'))"

  it("is taken from SDLUA_HOME", function()
    local home = home_with("home")
    local result = run(SDLUA, { args = { "-e", show }, env = { SDLUA_HOME = home } })
    assert.same({ out = "home own " .. home, err = "", code = 0 }, result)
  end)

  it("is found with -E and with LUA_PATH", function()
    local home = home_with("home")
    local env = { SDLUA_HOME = home, LUA_PATH = "./nowhere/?.lua" }
    assert.equal("home own " .. home, run(SDLUA, { args = { "-e", show }, env = env }).out)
    assert.equal("home own " .. home,
      run(SDLUA, { args = { "-E", "-e", show }, env = env }).out)
  end)

  it("is found beside an installed program, wherever it is called from", function()
    home_with("prefix/share/sdlua")
    local install = "cd %s && mkdir prefix/bin link && cp %s prefix/bin/sdlua"
      .. " && ln -s ../prefix/bin/sdlua link/"
    os.execute(install:format(quote(dir), quote(SDLUA)))
    local real = capture("realpath " .. quote(dir)) .. "/prefix/share/sdlua"
    local result = run("link/sdlua", { args = { "-e", show } })
    assert.equal("prefix/share/sdlua own " .. real, result.out)
  end)

  it("comes with its core and its version", function()
    local code = "io.write(type(package.preload['sd.core']), ' ', require('sd.version'))"
    assert.matches("^function %d+%.%d+%.%d+$", run(SDLUA, { args = { "-e", code } }).out)
  end)
end)

describe("sdlua's commands", function()
  --- A library whose sd.cli does what `body` says.
  local function command(body, case)
    os.execute(("mkdir -p %s/home/lua/sd"):format(quote(dir)))
    write(dir .. "/home/lua/sd/commands.lua", "return { index = 'sd.cli.index' }")
    write(dir .. "/home/lua/sd/cli.lua", "return { main = function(argv) " .. body .. " end }")
    case = case or {}
    case.args = case.args or { "index", "--mode", "deep" }
    case.env = case.env or {}
    case.env.SDLUA_HOME = dir .. "/home"
    return run(SDLUA, case)
  end

  it("get all arguments in one list and give the exit code", function()
    local result = command("print(#argv, table.unpack(argv)) return 3")
    assert.same({ out = "3\tindex\t--mode\tdeep\n", err = "", code = 3 }, result)
  end)

  for _, option in ipairs { "--help", "-h", "--version" } do
    it("include " .. option, function()
      assert.same({ out = option .. "\n", err = "", code = 0 },
        command("print(argv[1]) return 0", { args = { option } }))
    end)
  end

  it("leave a file of the same name to be called by its path", function()
    write(dir .. "/index", "print('the file', ...)")
    assert.equal("the file\ta\n", command("return 1", { args = { "./index", "a" } }).out)
    assert.equal("", command("return 0").out)
  end)

  it("leave other words to be scripts", function()
    write(dir .. "/other", "print('the file', ...)")
    assert.equal("the file\ta\n", command("return 1", { args = { "other", "a" } }).out)
    local missing = command("return 1", { args = { "nowhere" } })
    assert.equal(1, missing.code)
    assert.matches("cannot open nowhere", missing.err)
  end)

  it("are not looked for when the word is a path", function()
    write(dir .. "/own.lua", "print('the file', ...)")
    local result = run(SDLUA, { args = { "own.lua" }, env = { SDLUA_HOME = dir .. "/nowhere" } })
    assert.same({ out = "the file\n", err = "", code = 0 }, result)
  end)

  it("do not read LUA_INIT", function()
    local result = command("return 0", { env = { LUA_INIT = "print('never')" } })
    assert.same({ out = "", err = "", code = 0 }, result)
  end)

  it("exit with 15 and a traceback when they raise", function()
    local result = command("local x = nil; return x.y")
    assert.equal(15, result.code)
    assert.matches("^sdlua: .*cli%.lua:1: attempt to index a nil value", result.err)
    assert.matches("\nstack traceback:\n", result.err)
  end)

  it("exit with 15 when they raise a value that says nothing", function()
    for _, value in ipairs { "{}", "nil", "{exit = 'x', message = 'no'}", "{exit = 4}" } do
      local result = command("error(" .. value .. ")")
      assert.equal(15, result.code)
      assert.matches("^sdlua: %(error object is a %a+ value%)\nstack traceback:\n", result.err)
    end
  end)

  it("exit as an error says that was meant for the user", function()
    local result = command("error({exit = 10, message = 'no library at x'})")
    assert.same({ out = "", err = "sdlua: no library at x\n", code = 10 }, result)
  end)

  it("exit with 15 when they return no exit code", function()
    local result = command("return 'done'")
    assert.equal(15, result.code)
    assert.matches("sd%.cli%.main returned a string, not an exit code", result.err)
  end)

  it("exit with 15 when their library is not there", function()
    local result = run(SDLUA, { args = { "--help" }, env = { SDLUA_HOME = dir } })
    assert.equal(15, result.code)
    assert.matches("^sdlua: module 'sd%.cli' not found", result.err)
  end)

  it("exit with 17 when memory runs out", function()
    if not starts_little({ before = LITTLE }) then return end
    local small_parts = "local t = {} for i = 1, 1 << 40 do t[i] = {} end"
    for _, body in ipairs { "string.rep('x', 1 << 30)", small_parts } do
      assert.same({ out = "", err = "sdlua: not enough memory\n", code = 17 },
        command(body, { before = LITTLE }))
    end
  end)

  it("close the state when they end", function()
    local body = "closed = setmetatable({}, {__gc = function() print('closed') end}) "
    assert.equal("closed\n", command(body .. "return 0").out)
    assert.equal("closed\n", command(body .. "error('no')").out)
    assert.equal("closed\n", command(body .. "os.exit(0, true)").out)
  end)

  -- luv frees a handle that is being closed with the state, and the loop closes it after that.
  it("may leave handles of luv that are being closed", function()
    local body = "local uv = require('sd.core').luv for i = 1, 200 do"
      .. " for _, new in ipairs { uv.new_timer, uv.new_pipe } do"
      .. " new(false):close(function() print('called') end) end end "
    for _, ending in ipairs { "return 7", "os.exit(7, true)",
      "coroutine.wrap(function() os.exit(7, true) end)()" } do
      assert.same({ out = "", err = "", code = 7 }, command(body .. ending))
    end
  end)

  it("leave SIGINT as it is", function()
    local before = "timeout --foreground --preserve-status -s INT 0.3"
    assert.equal(130, command("while true do end", { before = before }).code)
  end)
end)
