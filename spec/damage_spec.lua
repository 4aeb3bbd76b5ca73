-- A library in which a directory lies below itself: every command ends, and says so where it would
-- have gone round in circles.
local fixture = require "support.fixture"

local quote, sdlua = fixture.quote, fixture.sdlua
-- What goes round in circles is not to take all there is; a sanitizer needs much of its own.
local MEMORY = fixture.is_sanitized() and "" or "ulimit -v 4000000;"

local dir, tree, sound

setup(function()
  dir = fixture.temp()
  tree, sound = dir .. "/tree", dir .. "/sound"
  fixture.sh(("mkdir -p %s/a/b/c %s/x && cd %s && echo 1 > a/b/c/f && echo 2 > x/g && ln x/g x/h")
    :format(tree, tree, tree))
  local result = fixture.run { sdlua, "index", "--mode", "shallow", "--library", sound, tree }
  assert.equal(0, result.status, result.err)
end)

teardown(function() fixture.remove(dir) end)

-- A copy of the library, changed by SQL in which $a stands for the id of the entry a.
local function damaged(sql)
  local place = dir .. "/damaged"
  sql = sql:gsub("%$(%a)", "(SELECT id FROM entry WHERE CAST(name AS TEXT) = '%1')")
  sql = sql:gsub("ROOT", "(SELECT entry_id FROM location)")
  fixture.sh(("rm -rf %s && cp -r %s %s && sqlite3 %s/library.db %s"):format(place, sound, place,
    place, quote(sql)))
  return function(command, ...)
    return fixture.run({ sdlua, command, "--library", place, ... },
      ("cd %s; %s timeout 60"):format(quote(tree), MEMORY))
  end
end

local function assert_named(run, words, name)
  local what, result = table.concat(words, " "), run(table.unpack(words))
  assert.equal(12, result.status, what .. ": " .. result.err)
  assert.matches("^sdlua: .*the library is damaged: directory %d+ " .. name
    .. "lies below itself\n$", result.err, nil, nil, what)
  assert.is_true(#result.out < 10000, what)
end

local EXPORTS = { { "export" }, { "export", "--format", "csv" }, { "export", "--format", "mtree" },
  { "export", "--format", "sqlite", "--output", "../out" } }

for what, sql in pairs {
  ["itself"] = "UPDATE entry SET parent_id = id WHERE id = $a",
  ["one below it"] = "UPDATE entry SET parent_id = $b WHERE id = $a",
} do
  describe("a directory that is in " .. what, function()
    it("is found by who exports all", function()
      local run = damaged(sql)
      for _, words in ipairs(EXPORTS) do assert_named(run, words, "%(a%) ") end
      assert.equal("", fixture.sh(("ls %s | grep '^out' || true"):format(quote(dir))))
    end)
  end)
end

describe("a root that is below itself", function()
  local ROOT = "UPDATE entry SET parent_id = $c WHERE id = ROOT"

  it("is found by who goes down from it, or exports what is below it", function()
    local run = damaged(ROOT)
    for _, words in ipairs { { "tree" }, { "tree", "--json" }, { "du", "-a" }, { "du", "-d", "9" },
      { "du", "-a", "-l" }, table.unpack(EXPORTS) } do
      assert_named(run, words, "%(tree%) ")
    end
    assert_named(run, { "tree", "a" }, "%(a%) ")
    assert_named(run, { "export", "a" }, "%(%w+%) ")
  end)

  it("is shown like any other by who shows a part of it", function()
    local run = damaged(ROOT)
    for _, words in ipairs { { "ls" }, { "ls", "a/b/c" }, { "tree", "-L", "2" }, { "du", "a/b" },
      { "search", "f" }, { "search", "--path", "a/b" }, { "stat", "a" } } do
      local result = run(table.unpack(words))
      assert.equal(0, result.status, table.concat(words, " ") .. ": " .. result.err)
      assert.is_true(#result.out > 0 and #result.out < 10000)
    end
  end)
end)

for what, sql in pairs {
  itself = "UPDATE directory SET anchor = entry_id WHERE entry_id = $a",
  ["one below it"] = "UPDATE directory SET anchor = CASE entry_id WHEN $a THEN $b ELSE $a END"
    .. " WHERE entry_id IN ($a, $b)",
} do
  describe("a path that begins in " .. what, function()
    it("is found by who asks for it", function()
      local run = damaged(sql)
      local asked = { { "sql", "SELECT path FROM entries" }, { "export", "a" },
        { "sql", "SELECT path FROM directories" }, { "search", "--path", "a" },
        { "search", "-k", "directory", "b" }, { "top", "dirs" }, table.unpack(EXPORTS) }
      -- SQLite goes round a hundred thousand times: with a sanitizer that takes seconds.
      local most = fixture.is_sanitized() and 3 or #asked
      for i = 1, most do assert_named(run, asked[i], "") end
      local result = run("sql", "SELECT nothing")
      assert.equal(2, result.status, result.err)
      assert.equal("", fixture.sh(("ls %s | grep '^out' || true"):format(quote(dir))))
    end)
  end)
end

describe("a sound library", function()
  it("has nothing of this, however deep", function()
    local run, deep = damaged "SELECT 1", dir .. "/deep"
    for _, words in ipairs(EXPORTS) do
      local result = run(table.unpack(words))
      assert.equal(0, result.status, result.err)
    end
    fixture.sh(("rm %s/out; mkdir %s && cd %s && n=%s && for i in $(seq 60); do mkdir $n &&"
      .. " cd -P $n || exit 1; done; echo > file"):format(dir, deep, deep, ("n"):rep(200)))
    local result = fixture.run { sdlua, "index", "--library", dir .. "/deeper", deep }
    assert.equal(0, result.status, result.err)
    result = fixture.run { sdlua, "export", "--library", dir .. "/deeper" }
    assert.equal(0, result.status, result.err)
    assert.equal(62, select(2, result.out:gsub("\n", "")))
  end)
end)
