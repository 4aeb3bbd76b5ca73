-- Rules from Lua: what a set says of a path, against `git check-ignore`, and what a walk with it
-- leaves out and counts. c_tests/test_rules.c looks at each rule, and at more trees.
local fixture = require "support.fixture"
local rules = require "sd.core".rules
local dkjson = require "dkjson"

local dir

before_each(function() dir = fixture.sh("realpath " .. fixture.temp()):match("[^\n]+") end)
after_each(function() fixture.remove(dir) end)

local function sh(script)
  return fixture.sh(("cd %s && { %s; }"):format(fixture.quote(dir), script))
end

local function compile(options)
  local set, message = rules.compile(options)
  return assert(set, message)
end

describe("sd.core.rules.compile", function()
  it("names the rule or the pattern that is none", function()
    local set, message, code = rules.compile { rules = "no_git,no_gti" }
    assert.is_nil(set)
    assert.matches('unknown rule "no_gti"; there are gitignore, no_hidden', message, 1, true)
    assert.equal("EINVAL", code)
    set, message, code = rules.compile { exclude = { "*.o", "[" } }
    assert.same({ nil, 'not a pattern: "["', "EINVAL" }, { set, message, code })
    set, message = rules.compile { reject_children = { "a/b" } }
    assert.same({ nil, 'not the name of a file: "a/b"' }, { set, message })
  end)

  it("raises where options are misused", function()
    for _, case in ipairs {
      { { exclud = {} }, 'unknown option "exclud"' },
      { { "no_git" }, 'unknown option "?"' },
      { { exclude = "*.o" }, "exclude: a table expected" },
      { { include = { 1 } }, "include[1]: a string expected" },
      { { include = { "a", "b\0c" } }, "include[2]: a zero byte" },
      { { min_size = "x" }, "min_size: an integer expected" },
      { { min_size = 1.5 }, "min_size: an integer expected" },
      { { rules = {} }, "string expected" },
    } do
      local ok, message = pcall(rules.compile, case[1])
      assert.is_false(ok)
      assert.matches(case[2], message, 1, true)
    end
    assert.is_false(pcall(rules.compile))
  end)

  it("knows the rules that known() names", function()
    local names = rules.known()
    assert.equal(10, #names)
    compile { rules = table.concat(names, ",") }
  end)
end)

describe("a rule set", function()
  it("says which rule decides, of what, and by which pattern", function()
    sh "mkdir -p a/.git b && touch a/f b/x.log b/keep.log && echo '*.log' >b/.gitignore"
    local set = compile { rules = "no_git,gitignore", exclude = { "f" }, max_size = 5 }
    local function decide(path) return { set:decide(dir, path) } end
    assert.same({ true, nil, "b", "" }, decide "b")
    assert.same({ false, "no_git", "a/.git", ".git" }, decide "a/.git/config")
    assert.same({ false, "exclude", "a/f", "f" }, decide "a/f")
    assert.same({ false, "gitignore", "b/x.log", "b/.gitignore:1:*.log" }, decide "b/x.log")
    assert.same({ false, "max_size", "b/.gitignore", "" }, decide "b/.gitignore")
    assert.same({ true, nil, "", "" }, decide "")
    local ok, message, code = set:decide(dir, "a/../b")
    assert.same({ nil, "not a path below the root: a/../b", "EINVAL" }, { ok, message, code })
    ok, message, code = set:decide(dir .. "/none", "a")
    assert.is_nil(ok)
    assert.matches("No such file", message, 1, true)
    assert.equal("ENOENT", code)
  end)

  it("raises when it is closed", function()
    local set = compile {}
    set:close()
    assert.has_error(function() set:decide(dir, "a") end)
    set:close()
  end)
end)

-- ---- git as the truth ----

local WORDS = { "a", "b", "c", "ab", "a.b", "b.c", ".a", "build" }
local PIECES = { "*", "**", "?", "[ab]", "[!a]", "*.b", "a*", "\\a", "[[:alpha:]]*" }

local function pick(list) return list[math.random(#list)] end

local function pattern()
  local parts = {}
  for i = 1, math.random(3) do
    parts[i] = math.random(3) == 1 and pick(PIECES) or pick(WORDS)
  end
  return (math.random(4) == 1 and "!" or "") .. (math.random(4) == 1 and "/" or "")
    .. table.concat(parts, "/") .. (math.random(4) == 1 and "/" or "")
end

local function ignore_file(path)
  local lines = {}
  for i = 1, math.random(6) do lines[i] = pattern() end
  fixture.write(path, table.concat(lines, "\n") .. "\n")
end

-- A tree of directories and files; the paths in it, and some that are not there.
local function make_tree(root)
  local paths, folders = {}, { "" }
  for i = 1, 12 do
    folders[i + 1] = pick(folders) .. pick(WORDS) .. "/"
    paths[#paths + 1] = folders[i + 1]:sub(1, -2)
  end
  local made = {}
  for _, folder in ipairs(folders) do made[#made + 1] = fixture.quote(root .. "/" .. folder) end
  fixture.sh("mkdir -p " .. table.concat(made, " "))
  for _, folder in ipairs(folders) do
    if math.random(3) == 1 then ignore_file(root .. "/" .. folder .. ".gitignore") end
    for _ = 1, 7 do paths[#paths + 1] = folder .. pick(WORDS) end
  end
  if math.random(4) == 1 then ignore_file(root .. "/.git/info/exclude") end
  return paths
end

-- path -> "SOURCE:LINE:PATTERN"; "::" where no pattern matches.
local function ask_git(root, paths)
  fixture.write(dir .. "/paths", table.concat(paths, "\0") .. "\0")
  local out = fixture.sh(("env HOME=/nonexistent XDG_CONFIG_HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1"
    .. " git -C %s check-ignore --no-index --stdin -z -v -n <%s || test $? = 1")
    :format(fixture.quote(root), fixture.quote(dir .. "/paths")))
  local answers = {}
  for source, line, text, path in out:gmatch("([^\0]*)\0([^\0]*)\0([^\0]*)\0([^\0]*)\0") do
    answers[path] = source .. ":" .. line .. ":" .. text
  end
  return answers
end

local TREES, PATHS = 200, 10000

-- Where no pattern decides, both say nothing; else which one it is, and whether it takes back.
it("gitignore decides as git check-ignore does, for 10 000 paths in 200 trees", function()
  if not fixture.has("git") then return pending("git is not installed") end
  fixture.seed("rules")
  local set = compile { rules = "gitignore" }
  local asked, decided = 0, 0
  for i = 1, TREES do
    local root = dir .. "/tree" .. i
    fixture.sh(("git init -q --template= %s && mkdir %s/.git/info")
      :format(fixture.quote(root), fixture.quote(root)))
    for path, answer in pairs(ask_git(root, make_tree(root))) do
      local accepted, _, _, detail = set:decide(root, path)
      local text = answer:match(":%d*:(.*)$")
      local expected = { text == "" or text:sub(1, 1) == "!", answer == "::" and "" or answer }
      assert.same(expected, { accepted, detail }, root .. "/" .. path)
      asked, decided = asked + 1, decided + (answer == "::" and 0 or 1)
    end
  end
  print(("rules: git agrees on %d paths, of which patterns decide %d"):format(asked, decided))
  assert.is_true(asked >= PATHS and decided > asked / 20, ("%d of %d"):format(decided, asked))
end)

-- ---- a walk ----

local WALK = [[
local sd = require "sd"
local core = require "sd.core"
local Walk = sd.job.define { name = "walk" }
function Walk:run(ctx)
  local root = %q
  local location = ctx.library.locations:ensure(root)
  local set = core.rules.compile { rules = "gitignore,no_hidden", exclude = { "*.tmp" } }
  local walker <close> = ctx:walker { root = root, root_id = location.entry_id,
    queue = ctx:queue("dirs"), rules = set }
  set:close() -- the walker has it
  walker:push_root()
  local names, counts = {}, {}
  for batch in walker:batches() do
    for entry in batch:each() do names[#names + 1] = entry.name end
    for rule, n in pairs(batch:skip_counts()) do counts[rule] = (counts[rule] or 0) + n end
    assert(batch:stats().skips == 0 and #batch:skips() == 0)
    ctx:commit(function(tx) tx:write(batch, location, false) end)
  end
  table.sort(names)
  return { names = table.concat(names, " "), counts = counts }
end
return Walk
]]

it("a walk leaves out what its rules say, and counts it by rule", function()
  sh "mkdir -p tree/a/b tree/.h && touch tree/a/x.o tree/a/b/y.o tree/a/b/z tree/.h/f tree/t.tmp"
  sh "echo '*.o' >tree/a/.gitignore"
  fixture.write(dir .. "/walk.lua", WALK:format(dir .. "/tree"))
  local result = fixture.run_sdlua("run", dir .. "/walk.lua", "--library", dir .. "/library",
    "--json", "--progress", "none")
  assert.equal(0, result.status, result.err)
  local output = dkjson.decode(result.out)
  assert.equal("a b z", output.names)
  assert.same({ gitignore = 2, no_hidden = 2, exclude = 1 }, output.counts)
end)
