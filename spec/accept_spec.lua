-- Predicates of a script: what they see, what they leave out, what they may refer to.
local fixture = require "support.fixture"
local dkjson = require "dkjson"

local dir, tree, library

before_each(function()
  dir = fixture.sh("realpath " .. fixture.temp()):match("[^\n]+")
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. fixture.quote(tree))
end)

after_each(function() fixture.remove(dir) end)

local function sh(script)
  return fixture.sh(("cd %s && { %s; }"):format(fixture.quote(tree), script))
end

local function write(text)
  fixture.write(dir .. "/accept.lua", text)
  return dir .. "/accept.lua"
end

local function run(...)
  return fixture.run_sdlua("index", "--library", library, "--json", "--progress", "none",
    "--mode", "shallow", tree, ...)
end

local function index(...)
  local result = run(...)
  assert.equal(0, result.status, result.err)
  return dkjson.decode(result.out)
end

local function paths()
  local list = {}
  for path in pairs(fixture.entries(library)) do
    if path ~= "" then list[#list + 1] = path end
  end
  table.sort(list)
  return table.concat(list, " ")
end

describe("predicates", function()
  it("leave out entries, and directories with what is below them", function()
    sh "mkdir -p a/skip/b c && touch a/x.jpg a/y.txt a/skip/z.jpg c/w.png && ln -s x.jpg a/link.jpg"
    local output = index("--accept", write [[
      local EXTENSIONS = { jpg = true, png = true }
      local function extension(name) return name:match("%.(%w+)$") end
      return {
        accept_entry = function(e) return EXTENSIONS[extension(e.name)] and e.kind == "file" end,
        accept_directory = function(d) return d.path ~= "a/skip" end,
      }]])
    assert.equal("a a/x.jpg c c/w.png", paths())
    assert.same({ accept_entry = 2, accept_directory = 1 }, output.skipped)
  end)

  it("are remembered, by their script; what they say now is true in the next run", function()
    sh "mkdir a && touch a/x a/y"
    index("--accept", write "return { accept_entry = function(e) return e.name ~= 'x' end }")
    assert.equal("a a/y", paths())
    write "return { accept_entry = function(e) return e.name ~= 'y' end }"
    index()
    assert.equal("a a/x", paths())
    assert.equal(tree .. ": --accept " .. dir .. "/accept.lua\n",
      fixture.run_sdlua("rules", "show", "--library", library).out)
    fixture.sh("rm " .. dir .. "/accept.lua")
    local result = run()
    assert.equal(15, result.status)
    assert.matches("accept.lua", result.err, 1, true)
    assert.equal("a a/x", paths())
    index("--rules", "none")
    assert.equal("a a/x a/y", paths())
  end)

  it("see what find sees", function()
    sh [[mkdir -p a/b && printf 12345 >a/b/f && ln a/b/f a/hard && chmod 640 a/b/f
      ln -s f a/l && mkfifo a/p && printf x >"$(printf 'a/\377')"
      touch -d '2001-07-20 20:17:40.123456789' a/b/f]]
    -- The only way out of a predicate, apart from its result, is an error.
    local script = [[
      local FIELDS = { "kind", "size", "allocated", "mtime_ns", "ctime_ns", "mode", "uid", "gid",
        "nlink", "dev", "ino" }
      local function ask(e)
        if e.path ~= %q then return true end
        local list = { e.path, e.name }
        for i, name in ipairs(FIELDS) do list[i + 2] = tostring(e[name]) end
        error("[" .. table.concat(list, "|") .. "]", 0)
      end
      return { accept_entry = ask, accept_directory = ask }]]
    for _, path in ipairs { "a", "a/b", "a/b/f", "a/hard", "a/l", "a/p", "a/\xff" } do
      local result = run("--fresh", "--accept", write(script:format(path)))
      assert.equal(15, result.status)
      local stat = fixture.sh(("cd %s && find %s -maxdepth 0 -printf '%%p|%%f|%%y|%%s|%%b|%%T@|"
        .. "%%C@|%%m|%%U|%%G|%%n|%%D|%%i'"):format(tree, fixture.quote(path)))
      local p, f, y, s, b, mtime, ctime, mode, rest = stat:match(
        "^(.*)|(.*)|(%a)|(%d+)|(%d+)|([^|]+)|([^|]+)|(%d+)|(.*)$")
      local kinds = { f = "file", d = "directory", l = "symlink", p = "fifo" }
      local function ns(time)
        local seconds, fraction = time:match("^(-?%d+)%.(%d%d%d%d%d%d%d%d%d)")
        return math.tointeger(seconds) * 1000000000 + math.tointeger(fraction)
      end
      local expected = ("[%s|%s|%s|%s|%d|%d|%d|%d|%s]"):format(p, f, kinds[y], s, b * 512,
        ns(mtime), ns(ctime), tonumber(mode, 8), rest)
      if not result.err:find(expected:gsub("\xff", "\\xff"), 1, true) then
        assert.equal(expected, result.err)
      end
    end
  end)

  it("may refer to plain data, to functions in Lua, and to the libraries", function()
    sh "touch a bb ccc dddd"
    index("--accept", write [[
      local match, lib, limit, words = string.match, math, 3, { deep = { "bb", [1.5] = true } }
      words.self = words
      local function down(n) return n > 0 and down(n - 1) or n end
      local function known(name) return words.self.deep[1] == name and words.deep[1.5] end
      return { accept_entry = function(e)
        return down(100) == 0 and (known(e.name) or lib.min(#e.name, limit) == 3
          and match(e.name, "^c") and utf8.len(e.name) == 3)
      end }]])
    assert.equal("bb ccc", paths())
  end)

  it("may not refer to anything else, and say so before the walk", function()
    sh "touch a"
    for _, case in ipairs {
      { "local f = io.stdout return { accept_entry = function(e) return f, e end }",
        "accept_entry refers to f, which is neither plain data nor a function in Lua" },
      { "local f = io.open return { accept_directory = function(e) return f, e end }",
        "accept_directory refers to f, which is a function in C" },
      { "local t = setmetatable({}, {}) return { accept_entry = function(e) return t, e end }",
        "accept_entry refers to t, which has a metatable" },
      { "local t = {} for _ = 1, 200 do t = { t } end"
        .. " return { accept_entry = function() return t end }",
        "accept_entry refers to t, which is too deep" },
    } do
      local result = run("--fresh", "--accept", write(case[1]))
      assert.equal(15, result.status)
      assert.matches(case[2], result.err, 1, true)
    end
  end)

  it("fail the run where they raise, with the place, and nothing is lost", function()
    sh "mkdir a && touch a/x a/y"
    index()
    for _, case in ipairs {
      { "return { accept_entry = function(e) return e.nam end }", ":1: no such field" },
      { "return { accept_entry = function(e) e.name = 1 end }", ":1: an entry cannot be changed" },
      { "return { accept_entry = function(e) return count end }",
        ":1: undeclared global 'count'" },
      { "return { accept_entry = function(e) count = e end }",
        ":1: assignment to undeclared global 'count'" },
      { "return { accept_entry = function(e) return print(e) end }", "undeclared global 'print'" },
      { "return { accept_entry = function(e) error({}) end }", "an error" },
    } do
      sh "mkdir -p b/c && touch b/x b/c/y"
      local result = run("--fresh", "--accept", write(case[1]))
      assert.equal(15, result.status, case[1] .. result.out)
      assert.matches("asked about", result.err, 1, true)
      assert.matches(case[2], result.err, 1, true)
    end
    fixture.check_library(library)
    assert.matches("a a/x a/y", paths(), 1, true)
  end)

  it("are refused where the script is none", function()
    for _, case in ipairs {
      { "return 1", "returns no table" }, { "return {}", "returns no table" },
      { "return { accept = function() end }", "no predicate 'accept'" },
      { "return { accept_entry = true }", "accept_entry is not a function" },
      { "return {", "accept.lua:1:" }, { "return { accept_entry = foo }", "undeclared global" },
    } do
      local result = run("--accept", write(case[1]))
      assert.equal(15, result.status)
      assert.matches(case[2], result.err, 1, true)
    end
    local result = run("--accept", dir .. "/none.lua")
    assert.equal(2, result.status)
    assert.matches("none.lua' is not there", result.err, 1, true)
    assert.is_false(fixture.run({ "test", "-e", library }).status == 0)
  end)

  it("are among what `sdlua rules test` asks", function()
    sh "mkdir -p a/b c && touch a/b/f c/f c/g"
    local script = write [[return { accept_entry = function(e) return e.name ~= "g" end,
      accept_directory = function(d) return d.path ~= "a" end }]]
    local function test(path)
      return fixture.run_sdlua("rules", "test", "--root", tree, "--accept", script, "--exclude",
        "*.o", tree .. "/" .. path).out:sub(#tree + #path + 4, -2)
    end
    assert.equal(("left out with a by accept_directory (%s)"):format(script), test "a/b/f")
    assert.equal(("left out by accept_entry (%s)"):format(script), test "c/g")
    assert.equal("stays", test "c/f")
    assert.equal("stays", test "c/none")
    assert.equal("left out by exclude (*.o)", test "c/g.o")
  end)

  it("decide before the rules for what is below a directory that they leave out", function()
    sh [[mkdir -p a/b/c d/e skip/f && touch a/b/c/x.o d/e/x.o d/e/y skip/f/x.o d/STOP
      printf 'Signature: 8a477f597d28d172789f06886806bc55' >skip/CACHEDIR.TAG]]
    local script = write [[
      return { accept_entry = function(e) return not e.path:find("^d/") end,
        accept_directory = function(d) return d.path ~= "a/b" and d.path ~= "skip" end }]]
    local options = { "--accept", script, "--rules", "no_caches", "--reject-children", "STOP",
      "--exclude", "*.o", "--exclude", "/a/b/c/" }
    local output = index(table.unpack(options))
    local function test(path)
      return (fixture.run_sdlua("rules", "test", "--root", tree, tree .. "/" .. path,
        table.unpack(options)).out:sub(#tree + #path + 4, -2):gsub(" %(.*", ""))
    end
    assert.equal("a d", paths())
    assert.same({ accept_directory = 2, reject_children = 1 }, output.skipped)
    assert.equal("left out with a/b by accept_directory", test "a/b/c/x.o")
    assert.equal("left out with a/b by accept_directory", test "a/b/c")
    assert.equal("left out by accept_directory", test "a/b")
    assert.equal("left out with skip by accept_directory", test "skip/f/x.o")
    assert.equal("left out with d by reject_children", test "d/e/y")
    assert.equal("left out by exclude", test "x.o")
  end)

  it("may be given by a job to its walker", function()
    sh "mkdir a && touch a/x a/y"
    fixture.write(dir .. "/walk.lua", ([[
      local sd = require "sd"
      local Walk = sd.job.define { name = "walk" }
      local skipped = "x"
      function Walk:run(ctx)
        local location = ctx.library.locations:ensure(%q)
        local function open(accept)
          return ctx:walker { root = location.root, root_id = 1, queue = ctx:queue("dirs"),
            accept = accept }
        end
        local ok, message = pcall(open, { accept_entry = 1 })
        assert(not ok and message:find("accept_entry is not a function", 1, true), message)
        local walker <close> = open { accept_entry = function(e) return e.name ~= skipped end }
        walker:push_root()
        local names = {}
        for batch in walker:batches() do
          for entry in batch:each() do names[#names + 1] = entry.name end
          assert(batch:skip_counts().accept_entry == 1)
        end
        table.sort(names)
        return { names = table.concat(names, " ") }
      end
      return Walk]]):format(tree))
    local result = fixture.run_sdlua("run", dir .. "/walk.lua", "--library", library, "--json",
      "--progress", "none")
    assert.equal(0, result.status, result.err)
    assert.equal("a y", dkjson.decode(result.out).names)
  end)
end)
