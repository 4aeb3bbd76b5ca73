-- Random changes of a tree, and a rescan every now and then: the library is that of a fresh index,
-- what is still there has kept its identity, and totals are what find counts, with and without what
-- hard links count twice; the latter also after a kill, by what the library has then. SD_SEQUENCES
-- says how many trees (default 3; in CI 40, and 5 with kills), SD_OPERATIONS how many changes of
-- each; SD_SEED repeats a run.
local fixture = require "support.fixture"
local operations = require "support.operations"
local json = require "dkjson"

local function number(name, default)
  return math.tointeger(tonumber(os.getenv(name))) or default
end

local slow = fixture.is_sanitized()
local many = os.getenv("CI") and not slow
local SEQUENCES = number("SD_SEQUENCES", slow and 1 or many and 40 or 3)
local KILLED = number("SD_SEQUENCES", slow and 1 or many and 5 or 3)
-- Between two rescans.
local MOST_AT_ONCE = 400
local OPERATIONS = number("SD_OPERATIONS", slow and 200 or 1000)

local dir, tree, library

setup(function() fixture.seed("living_spec") end)

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. tree)
end)

after_each(function() fixture.remove(dir) end)

-- ---- runs ----

local function words(into)
  local list = { fixture.sdlua, "index", "--library", into, "--progress", "none", "--json" }
  for _, word in ipairs { "--mode", "content", "--batch", tostring(math.random(1, 40)), tree } do
    list[#list + 1] = word
  end
  return list
end

local function index(into)
  local result = fixture.run(words(into))
  assert.equal(0, result.status, result.err)
  return json.decode(result.out)
end

-- ---- what must hold ----

-- The identity of each entry, by inode and time of birth: a list of {id, uuid}, by id.
local function identities()
  local found = {}
  for _, row in ipairs(fixture.sql(library, "SELECT kind, dev, ino, btime_ns, id, uuid, nlink"
    .. " FROM entries WHERE parent_id IS NOT NULL ORDER BY id")) do
    local key = table.concat(row, " ", 1, 4)
    found[key] = found[key] or { names = row[7] }
    table.insert(found[key], row[5] .. " " .. row[6])
  end
  return found
end

local function count_kept(before, after)
  local had, kept = {}, 0
  for _, one in ipairs(before) do had[one] = true end
  for _, one in ipairs(after) do if had[one] then kept = kept + 1 end end
  return kept
end

-- An inode that is still there has its rows, as many as it has names now, or had.
local function check_identities(before)
  local after = identities()
  for key, rows in pairs(after) do
    local old = before[key]
    if old then assert.equal(math.min(#old, #rows), count_kept(old, rows), key) end
  end
  local uuids = {}
  for key, rows in pairs(after) do
    for _, one in ipairs(rows) do
      local uuid = one:match(" (.*)")
      assert.is_nil(uuids[uuid], key)
      uuids[uuid] = true
    end
  end
end

-- Totals of every directory, by find.
local function totals()
  local found = {}
  local text = fixture.sh(("find %s -mindepth 1 -printf '%%y %%s %%b %%P\\0'"):format(
    fixture.quote(tree)))
  local function of(path)
    found[path] = found[path] or { files = 0, dirs = 0, bytes = 0, blocks = 0 }
    return found[path]
  end
  of ""
  for kind, size, blocks, path in text:gmatch("(%a) (%d+) (%d+) ([^\0]*)\0") do
    if kind == "d" then of(path) end
    local up = path
    repeat
      up = up:match("^(.*)/[^/]*$") or ""
      local t = of(up)
      t.files = t.files + ((kind == "d" or kind == "l") and 0 or 1)
      t.dirs = t.dirs + (kind == "d" and 1 or 0)
      t.bytes, t.blocks = t.bytes + size, t.blocks + blocks
    until up == ""
  end
  for path, t in pairs(found) do
    found[path] = ("%d|%d|%d|%d"):format(t.files, t.dirs, t.bytes, t.blocks)
  end
  return found
end

local function stored_totals()
  local found = {}
  for _, row in ipairs(fixture.sql(library, "SELECT hex(CAST(path AS BLOB)), files, dirs, bytes,"
    .. " allocated / 512 FROM directories")) do
    found[fixture.unhex(row[1])] = table.concat(row, "|", 2, 5)
  end
  return found
end

-- What each directory takes, by find: itself and all inodes below it, each of them once.
local function once()
  local found, seen = {}, {}
  local text = fixture.sh(("find %s -printf '%%y %%i %%s %%b %%P\\0'"):format(fixture.quote(tree)))
  local function add(path, inode, size, blocks)
    local sum = found[path] or { size = 0, allocated = 0 }
    found[path], seen[path] = sum, seen[path] or {}
    if seen[path][inode] then return end
    seen[path][inode] = true
    sum.size, sum.allocated = sum.size + size, sum.allocated + blocks * 512
  end
  for kind, inode, size, blocks, path in text:gmatch("(%a) (%d+) (%d+) (%d+) ([^\0]*)\0") do
    if kind == "d" then add(path, inode, size, blocks) end
    while path ~= "" do
      path = path:match("^(.*)/[^/]*$") or ""
      add(path, inode, size, blocks)
    end
  end
  return found
end

-- Adds an entry to what a directory takes; of the names of one inode only the largest counts.
local function add_once(sum, inode, size, allocated)
  local most = inode and sum[inode] or { size = 0, allocated = 0 }
  sum.size = sum.size + math.max(0, size - most.size)
  sum.allocated = sum.allocated + math.max(0, allocated - most.allocated)
  if inode then
    sum[inode] = { size = math.max(size, most.size),
      allocated = math.max(allocated, most.allocated) }
  end
end

-- The same by the rows that the library has, whatever is on the disk.
local function known()
  local found, sums, above = {}, {}, {}
  for _, row in ipairs(fixture.sql(library, "SELECT id, hex(CAST(path AS BLOB))"
    .. " FROM directories")) do
    sums[row[1]] = { size = 0, allocated = 0 }
    found[fixture.unhex(row[2] or "")] = sums[row[1]]
  end
  local rows = fixture.sql(library, "SELECT id, parent_id, kind, size, allocated,"
    .. " nlink > 1 AND kind <> 2, dev || ':' || ino FROM entry")
  for _, row in ipairs(rows) do above[row[1]] = row[2] end
  for _, row in ipairs(rows) do
    local inode = row[6] == "1" and row[7] or nil
    local up = row[3] == "2" and row[1] or row[2]
    while sums[up] do
      add_once(sums[up], inode, math.tointeger(row[4]), math.tointeger(row[5]))
      up = above[up]
    end
  end
  return found
end

-- The same by sdlua; `option` says of which size.
local function check_du(option, size, expected)
  local result = fixture.run { fixture.sdlua, "du", "--library", library, "--max-depth", "1000",
    "-0", option, tree }
  assert.equal(0, result.status, result.err)
  local differ, n = {}, 0
  for bytes, path in result.out:gmatch("(%d+)\t([^\0]*)\0") do
    path, n = path:sub(#tree + 2), n + 1
    if not expected[path] or expected[path][size] ~= tonumber(bytes) then
      differ[#differ + 1] = path .. ": " .. bytes
    end
    expected[path] = expected[path] or {}
  end
  assert.equal("", table.concat(differ, "\n"))
  for _ in pairs(expected) do n = n - 1 end
  assert.equal(0, n)
end

-- Whether it is stored what hard links count twice, or added up, as where something is noted.
local function check_both_ways()
  check_du("--apparent", "size", once())
  check_du("--exact", "allocated", once())
  fixture.sh(("sqlite3 %s/library.db 'INSERT INTO link_todo VALUES(0, 0)'"):format(library))
  check_du("--apparent", "size", once())
  check_du("--exact", "allocated", once())
  fixture.sh(("sqlite3 %s/library.db 'DELETE FROM link_todo'"):format(library))
end

-- At any moment du says what the rows add up to, if there are any.
local function check_killed()
  local result = fixture.run { fixture.sdlua, "du", "--library", library, tree }
  if result.status ~= 0 then
    return assert.is_truthy(result.err:find("no library there", 1, true)
      or result.err:find("in no location", 1, true)
      or result.err:find("not in the index", 1, true), result.err)
  end
  check_du("--apparent", "size", known())
  check_du("--exact", "allocated", known())
end

local function check(before)
  fixture.check_library(library)
  fixture.check_settled(library)
  assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree)))
  assert.same({}, fixture.differences(stored_totals(), totals()))
  check_both_ways()
  check_identities(before)
  local fresh = dir .. "/fresh"
  index(fresh)
  assert.equal("", table.concat(fixture.index_differences(library, fresh), "\n"))
  fixture.sh("rm -r " .. fresh)
end

-- What the run says it did, and what it did.
local function check_counts(output, before, total)
  local c = output.changes
  local now = output.stats.files + output.stats.dirs + output.stats.symlinks
  assert.equal(now, c.new + c.modified + c.moved + c.unchanged)
  assert.equal(now, total - c.deleted + c.new, before)
end

local function sequence(run)
  local ops = operations.new(tree)
  local left = OPERATIONS
  local before, total, sums = {}, 0, {}
  repeat
    for _ = 1, math.min(left, math.random(MOST_AT_ONCE)) do
      ops:step()
      left = left - 1
    end
    local output = run()
    if output then check_counts(output, before, total) end
    for name, n in pairs(output and output.changes or {}) do sums[name] = (sums[name] or 0) + n end
    check(before)
    before = identities()
    total = tonumber(fixture.sql(library, "SELECT count(*) - 1 FROM entries")[1][1])
  until left <= 0
  for name, n in pairs(sums) do io.write(name, " ", n, ", ") end
  print(total, "entries in the end")
end

describe("a rescan after random changes", function()
  for i = 1, SEQUENCES do
    it("gives what a fresh index gives, and keeps identities: tree " .. i, function()
      sequence(function() return index(library) end)
    end)
  end
end)

describe("rescans that are killed", function()
  for i = 1, KILLED do
    it("give the same: tree " .. i, function()
      local ms = slow and 800 or 60
      sequence(function()
        for _ = 1, math.random(0, 3) do
          local process = fixture.start(words(library))
          process:sleep(math.random(1, ms))
          process:kill("sigkill")
          process:wait()
          check_killed()
        end
        index(library)
      end)
    end)
  end
end)
