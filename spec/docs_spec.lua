-- What the documentation shows runs: complete scripts, programs, and queries.
--
-- In Markdown a Lua block behind `<!-- complete: FILE ARGS -->` is a job script, and behind
-- `<!-- program: FILE ARGS -->` a program; both run in a folder with a small tree and its library.
local fixture = require "support.fixture"

local HOME = os.getenv("SDLUA_HOME") or require "sd.root"
local PAGES = { "README.md", "docs/cli.md", "docs/schema.md", "docs/sql.md", "docs/jobs.md",
  "docs/lua-api.md", "docs/architecture.md", "docs/testing.md", "docs/rules.md",
  "CONTRIBUTING.md" }

local dir

---@class spec.Block
---@field page string
---@field line integer
---@field language string
---@field text string
---@field mark? string "complete" or "program".
---@field file? string
---@field args? string

-- The fenced blocks of a page.
local function blocks_of(page)
  local blocks, block, mark, n = {}, nil, nil, 0
  for line in (fixture.read(HOME .. "/" .. page) .. "\n"):gmatch("([^\n]*)\n") do
    n = n + 1
    local language = line:match("^```(.*)$")
    if language and block then
      block.text = table.concat(block, "\n") .. "\n"
      blocks[#blocks + 1], block, mark = block, nil, nil
    elseif language then
      block = { page = page, line = n, language = language }
      if mark then block.mark, block.file, block.args = table.unpack(mark) end
    elseif block then
      block[#block + 1] = line
    elseif line ~= "" then
      mark = { line:match("^<!%-%- (%a+): (%S+) ?(.-) %-%->$") }
      if #mark == 0 then mark = nil end
    end
  end
  return blocks
end

local function each_block(language, fn)
  local count = 0
  for _, page in ipairs(PAGES) do
    for _, block in ipairs(blocks_of(page)) do
      if block.language == language and fn(block) ~= false then count = count + 1 end
    end
  end
  assert.is_true(count > 0, "no block of " .. language)
  return count
end

local function place_of(block)
  return ("%s:%d"):format(block.page, block.line)
end

-- A shell command in the folder, with the library where it is if nothing else is said.
local function shell(command)
  return fixture.run({ "sh", "-c", command }, ("cd %s && env -u XDG_DATA_HOME HOME=%s SDLUA_HOME=%s"
    .. " SDLUA_LIBRARY=%s/.local/share/sdlua/default PATH=%s:\"$PATH\""):format(dir, dir,
    fixture.quote(HOME), dir, fixture.quote(fixture.sdlua:match("^(.*)/"))))
end

local function run_script(block)
  fixture.write(dir .. "/" .. block.file, block.text)
  local command = block.mark == "complete" and "run " or ""
  local result = shell(("%s %s%s %s"):format(fixture.quote(fixture.sdlua), command, block.file,
    block.args))
  assert.equal(0, result.status, place_of(block) .. ": " .. result.err)
  return result
end

local function find_script(file)
  local found
  each_block("lua", function(block) if block.file == file then found = block end end)
  return assert(found, "no script " .. file)
end

setup(function()
  dir = fixture.temp()
  fixture.sh(([[cd %s && mkdir -p tree/a/b tree/c && head -c 200000 /dev/zero > tree/a/large.bin &&
    seq 1000 > tree/a/b/numbers.txt && cp tree/a/b/numbers.txt tree/c/same.txt &&
    printf x > "$(printf 'tree/c/\377')" && ln -s a tree/link && mkdir tree/empty &&
    chmod 666 tree/c/same.txt &&
    printf '%%s\n' tree/a/b/numbers.txt tree/c/same.txt > list.txt]]):format(dir))
  local result = shell(fixture.quote(fixture.sdlua) .. " index --mode deep tree")
  assert.equal(0, result.status, result.err)
end)

teardown(function() fixture.remove(dir) end)

describe("the documentation", function()
  it("has complete scripts that run", function()
    local count = each_block("lua", function(block)
      if not block.mark then return false end
      run_script(block)
    end)
    assert.is_true(count >= 4)
  end)

  it("has jobs that do what their text says", function()
    assert.matches("200000  a/large.bin", run_script(find_script("largest.lua")).err, 1, true)
    assert.matches("hello, Ann", run_script(find_script("hello.lua")).err, 1, true)
    local lines = find_script("lines.lua")
    lines.args = lines.args .. " --json"
    assert.equal(2000, require "dkjson".decode(run_script(lines).out).lines)
    local changes = find_script("changes.lua")
    changes.args = changes.args .. " --json"
    assert.equal(0, require "dkjson".decode(run_script(changes).out).changed)
    fixture.write(dir .. "/tree/c/new", "new")
    local changed = require "dkjson".decode(run_script(changes).out).changed
    fixture.sh("rm " .. dir .. "/tree/c/new")
    assert.equal(2, changed) -- the file, and the time of its directory
    local files = fixture.sh("find " .. dir .. "/tree -type f | wc -l"):match("%d+")
    local out = run_script(find_script("watch.lua")).out
    assert.matches("\n" .. files .. " files\n", out, 1, true)
  end)

  it("has Lua that can be compiled", function()
    each_block("lua", function(block)
      local chunk, message = load(block.text, "=" .. place_of(block))
      assert.is_truthy(chunk, message)
    end)
  end)

  it("has queries that run", function()
    if not fixture.has("sqlite3") then return pending("sqlite3 is not installed") end
    local database = fixture.quote(dir .. "/.local/share/sdlua/default/library.db")
    each_block("sql", function(block)
      local command = ("sqlite3 -readonly -bail %s <<'END'\n%sEND"):format(database, block.text)
      local result = fixture.run { "sh", "-c", command }
      assert.equal(0, result.status, place_of(block) .. ": " .. result.err)
      assert.equal("", result.err, place_of(block))
    end)
  end)

  -- sqlite3 prints bytes that are no text as they are.
  local function without_hex(rows)
    for _, row in ipairs(rows) do
      for name, value in pairs(row) do
        if type(value) == "table" then row[name] = fixture.unhex(value.hex) end
      end
    end
    return rows
  end

  it("has ten queries that say the same in sqlite3 and in sdlua sql", function()
    if not fixture.has("sqlite3") then return pending("sqlite3 is not installed") end
    local decode = require "dkjson".decode
    local database = fixture.quote(dir .. "/.local/share/sdlua/default/library.db")
    local count = 0
    for _, block in ipairs(blocks_of "docs/sql.md") do
      if block.language == "sql" then
        fixture.write(dir .. "/query.sql", block.text)
        local ours = shell("sdlua sql --json < query.sql")
        assert.equal(0, ours.status, place_of(block) .. ": " .. ours.err)
        local theirs = shell("sqlite3 -readonly -json " .. database .. " < query.sql")
        assert.same(decode(theirs.out), without_hex(decode(ours.out)), place_of(block))
        assert.is_true(#decode(ours.out) > 0, place_of(block))
        count = count + 1
      end
    end
    assert.equal(10, count)
  end)

  it("has shell commands with sqlite3 that run, and give rows", function()
    if not fixture.has("sqlite3") then return pending("sqlite3 is not installed") end
    local count = each_block("sh", function(block)
      if not block.text:find("SELECT", 1, true) then return false end
      local result = shell(block.text)
      assert.equal(0, result.status, place_of(block) .. ": " .. result.err)
      assert.matches("%S", result.out, 1, false, place_of(block))
    end)
    assert.is_true(count >= 2)
  end)

  -- As a newcomer would: from top to bottom, in a library of their own.
  it("starts with commands that work", function()
    fixture.sh(("cd %s && cp -r tree Pictures && cp tree/c/same.txt Pictures/holiday.txt"):format(
      dir))
    fixture.write(dir .. "/largest.lua", find_script("largest.lua").text)
    local commands = { "sdlua index ~/Pictures" }
    for _, block in ipairs(blocks_of "README.md") do
      for command in (block.language == "sh" and block.text or ""):gmatch("[^\n]+") do
        if command:find("^sdlua ") and select(2, command:gsub('"', "")) % 2 == 0 then
          commands[#commands + 1] = command
        end
      end
    end
    assert.is_true(#commands >= 10)
    for _, command in ipairs(commands) do
      local result = shell("export SDLUA_LIBRARY=$HOME/newcomer; " .. command)
      assert.equal(0, result.status, command .. ": " .. result.err)
      assert.matches("%S", result.out .. result.err, 1, false, command)
    end
  end)

  it("describes the columns that the views have", function()
    if not fixture.has("sqlite3") then return pending("sqlite3 is not installed") end
    local text = fixture.read(HOME .. "/docs/schema.md")
    local library = dir .. "/.local/share/sdlua/default"
    local views = fixture.sql(library, "SELECT name FROM sqlite_schema WHERE type = 'view'"
      .. " AND name NOT LIKE '%!_row' ESCAPE '!'")
    assert.equal(7, #views)
    for _, view in ipairs(views) do
      local section = text:match("\n## " .. view[1] .. "\n(.-)\n## ")
      local described, columns = {}, {}
      for names in (section or ""):gmatch("\n| ([%l_, ]+) | [^|]*[A-Z]") do
        for name in names:gmatch("[%l_]+") do described[#described + 1] = name end
      end
      local sql = ("SELECT name FROM pragma_table_info('%s')"):format(view[1])
      for _, row in ipairs(fixture.sql(library, sql)) do
        columns[#columns + 1] = row[1]
      end
      assert.same(columns, described, view[1])
    end
  end)

  -- A job that holds one object of each kind and looks for what docs/lua-api.md names.
  it("names functions that exist", function()
    local names = {}
    local text = fixture.read(HOME .. "/docs/lua-api.md")
    for name in text:gmatch("`([%l_]+[:.][%l_.:]*[%l%d_]+)%(") do
      names[#names + 1] = ("%q"):format(name)
    end
    assert.is_true(#names > 70, "found " .. #names)
    fixture.write(dir .. "/names.lua", ([[
local sd = require "sd"
local Names = sd.job.define { name = "names" }
local function missing(objects)
  local list = {}
  for _, name in ipairs { %s } do
    local value = objects
    for part in name:gmatch("[^.:]+") do value = value and value[part] end
    if not value then list[#list + 1] = name end
  end
  return list
end
function Names:run(ctx)
  local root = sd.sys.realpath("tree")
  local location = ctx.library.locations:find(root)
  local queue = ctx:queue("dirs")
  local walker <close> = ctx:walker { root = root, root_id = location.entry_id, queue = queue }
  walker:push_root()
  local hasher <close> = ctx:hash { root = root, location_id = location.id }
  local task = sd.spawn(function() end)
  local objects = { sd = sd, library = ctx.library, db = ctx.library.db, ring = sd.ring,
    locations = ctx.library.locations, jobs = ctx.library.jobs, task = task, ctx = ctx,
    eta = sd.eta, rules = sd.rules, set = sd.rules.compile {},
    handle = ctx.library.jobs:get(ctx.id), query = assert(sd.query.open(ctx.library.path)),
    queue = queue, walker = walker, hasher = hasher,
    batch = walker:next(), chunk = debug.getregistry()["sd.chunk"].__index }
  ctx:commit(function(tx) objects.tx = tx end)
  return { missing = missing(objects) }
end
return Names]]):format(table.concat(names, ", ")))
    local result = shell(fixture.quote(fixture.sdlua) .. " run names.lua --json")
    assert.equal(0, result.status, result.err)
    assert.same({}, require "dkjson".decode(result.out).missing)
  end)

  it("has a unit for systemd that starts what there is", function()
    local unit = HOME .. "/dist/sdlua.service"
    local words = fixture.read(unit):match("\nExecStart=/usr/bin/env sdlua ([^\n]*)")
    local result = shell(("%s %s --help"):format(fixture.quote(fixture.sdlua), words))
    assert.equal(0, result.status, result.err)
    if not fixture.has("systemd-analyze") then return pending("systemd is not installed") end
    local verified = fixture.run({ "systemd-analyze", "--user", "verify", unit },
      "XDG_RUNTIME_DIR=" .. dir)
    assert.equal("", verified.err)
    assert.equal(0, verified.status)
  end)

  it("has links that lead somewhere", function()
    for _, page in ipairs(PAGES) do
      local folder = page:match("^(.*/)") or ""
      local text = fixture.read(HOME .. "/" .. page):gsub("\n```.-\n```", "\n")
      for target in text:gmatch("%]%(([^)#]+)[^)]*%)") do
        if not target:find("://", 1, true) then
          local file = io.open(("%s/%s%s"):format(HOME, folder, target))
          assert.is_truthy(file, page .. ": " .. target)
          file:close()
        end
      end
    end
  end)

  it("has no line over 100 columns", function()
    for _, page in ipairs(PAGES) do
      local n = 0
      for line in fixture.read(HOME .. "/" .. page):gmatch("([^\n]*)\n") do
        n = n + 1
        assert.is_true((utf8.len(line) or #line) <= 100, ("%s:%d"):format(page, n))
      end
    end
  end)
end)
