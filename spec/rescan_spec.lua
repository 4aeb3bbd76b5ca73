-- What a second run takes for changed, for moved, for unknown; and what it says of it.
local fixture = require "support.fixture"
local json = require "dkjson"
local uv = require "sd.core".luv

local dir, tree, library

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. tree)
end)

after_each(function() fixture.remove(dir) end)

local function shell(script, ...)
  return fixture.sh(("cd %s && { %s; }"):format(fixture.quote(tree), script:format(...)))
end

local function run(where, words)
  local list = { fixture.sdlua, "index", "--library", library, "--progress", "none", tree }
  return fixture.run(table.move(words, 1, #words, #list + 1, list), where)
end

-- The output of a run that ends with `status`, where it begins with a number; else with 0.
local function index(...)
  local words = { ... }
  local status = type(words[1]) == "number" and table.remove(words, 1) or 0
  table.insert(words, "--json")
  local result = run(nil, words)
  assert.equal(status, result.status, result.err)
  return json.decode(result.out)
end

local function query(sql) return fixture.sql(library, sql) end

local function value(sql) return query(sql)[1][1] end

local function hash_of(path)
  return value(("SELECT hash FROM entries WHERE path = '%s'"):format(path))
end

local function sum_of(path)
  return (shell("xxhsum -H2 %s", path):match("%x+"))
end

-- Pages of the database that a run writes, by strace: each is written to the log, and few runs move
-- the log into the database.
local function pages_written(...)
  local calls = dir .. "/calls"
  local words = { fixture.sdlua, "index", "--library", library, "--progress", "none", tree, ... }
  for i, word in ipairs(words) do words[i] = fixture.quote(word) end
  local strace = ("strace -f -qq -o %s -P %s/library.db -P %s/library.db-wal -e trace=pwrite64"
    .. " %s"):format(calls, library, library, table.concat(words, " "))
  local result = fixture.run { "sh", "-c", strace }
  assert.equal(0, result.status, result.err)
  local bytes, page = 0, tonumber(value("PRAGMA page_size"))
  for line in io.lines(calls) do
    bytes = bytes + (tonumber(line:match("pwrite64%(.*= (%d+)$")) or 0)
  end
  return bytes // page
end

describe("a run in which little changed", function()
  it("writes the rows of its job, and what changed", function()
    if not fixture.has("strace") then return pending("strace is not installed") end
    if fixture.is_sanitized() then return pending("strace and sanitizers do not go together") end
    shell("for i in $(seq 40); do mkdir -p d$i/s; (cd d$i/s && seq 100 | xargs touch); done")
    index("--mode", "shallow")
    index("--mode", "shallow") -- the log is empty from here on
    assert.is_true(pages_written("--mode", "shallow") <= 17)
    shell("echo 1 > d7/s/7")
    assert.is_true(pages_written("--mode", "shallow") <= 17 + 3)
    assert.equal("2", value("SELECT size FROM entries WHERE path = 'd7/s/7'"))
  end)
end)

describe("a file with many names", function()
  -- Makes `n` names of one file, moves them from a to b, and removes a where that is asked for:
  -- what the run cost that saw it.
  local function move_names(n, remove)
    shell("rm -rf * %s; mkdir a b; echo 1 > a/1", library)
    for i = 2, n do assert(uv.fs_link(tree .. "/a/1", ("%s/a/%d"):format(tree, i))) end
    index()
    local names = "SELECT id, uuid FROM entries WHERE kind = 'file' ORDER BY 1"
    local before = query(names)
    for i = 1, n do
      assert(uv.fs_rename(("%s/a/%d"):format(tree, i), ("%s/b/%d"):format(tree, i)))
    end
    if remove then shell("rmdir a") end
    local output = index()
    assert.same({ n, 0, remove and 1 or 0 },
      { output.changes.moved, output.changes.new, output.changes.deleted })
    assert.same(before, query(names))
    assert.equal(tostring(n), value("SELECT count(*) FROM entries WHERE path LIKE 'b/_%'"))
    return output.metrics
  end

  it("is found at other names in a time that grows as their number does", function()
    local few, many = move_names(1000).cpu_ns, move_names(8000).cpu_ns
    assert.is_true(many / few < 24, many / few)
  end)

  it("is found in little memory where the directory is gone", function()
    local metrics = move_names(4000, true)
    if fixture.is_sanitized() then return end
    assert.is_true(metrics.max_rss < 64 * 1048576, metrics.max_rss)
  end)
end)

describe("a run in which nothing changed", function()
  it("is a run of its location, which was indexed anew", function()
    index()
    local before = value("SELECT indexed_at FROM locations")
    index()
    assert.equal("1 complete", value("SELECT location_id || ' ' || phase FROM job_history"
      .. " WHERE id = 2"))
    assert.not_equal(before, value("SELECT indexed_at FROM locations"))
  end)
end)

describe("what has changed", function()
  it("is counted", function()
    shell("mkdir -p a/b; for i in 1 2 3 4 5 6; do echo $i > a/b/$i; done; echo x > x")
    assert.same({ new = 9, modified = 0, moved = 0, deleted = 0, unchanged = 0 }, index().changes)
    assert.same({ new = 0, modified = 0, moved = 0, deleted = 0, unchanged = 9 }, index().changes)
    -- The directory that the files lie in is modified, too.
    shell("echo more >> a/b/1; mv a/b/2 a/b/two; rm a/b/3; echo n > a/b/n; mv x a/y; mv a c")
    assert.same({ new = 1, modified = 2, moved = 3, deleted = 1, unchanged = 3 }, index().changes)
    assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree)))
  end)

  it("stands in the closing line", function()
    shell("echo 1 > a; echo 2 > b")
    assert.is_truthy(run(nil, {}).out:find(", 2 new, no errors", 1, true))
    shell("mv a c; echo 3 > d")
    assert.is_truthy(run(nil, {}).out:find(", 1 new, 1 moved, 1 unchanged, no errors", 1, true))
  end)

  it("is not hashed where it has only moved", function()
    shell("mkdir -p a/b; for i in 1 2 3; do echo $i > a/b/$i; done; echo x > x; sleep 0.05")
    assert.equal(4, index("--mode", "deep").hashed)
    local sql = "SELECT ino, hash, uuid FROM entries WHERE kind = 'file' ORDER BY ino"
    local before = query(sql)
    shell("mv a/b n; mv x a/y; mv n/1 n/one; chmod 600 n/2")
    assert.equal(0, index("--mode", "deep").hashed)
    assert.same(before, query(sql))
  end)

  it("keeps what users have noted of an entry, whatever it is called", function()
    shell("echo 1 > a; mkdir d; echo 2 > d/b")
    index()
    fixture.sh(([[sqlite3 %s/library.db "INSERT INTO user_metadata(uuid, notes)
      SELECT e.uuid, n.path FROM entries n JOIN entry e USING(id)"]]):format(library))
    shell("mv a d/c; mv d e; echo new > e/.t; mv e/.t e/b")
    index()
    assert.same({ { "", "" }, { "e", "d" }, { "e/b", "d/b" }, { "e/c", "a" } },
      query("SELECT n.path, m.notes FROM entries n JOIN entry e USING(id) JOIN user_metadata m"
        .. " ON m.uuid = e.uuid ORDER BY 1"))
  end)

  it("is said of each entry with --explain", function()
    shell("mkdir a b; echo 1 > a/1; echo 2 > a/2; echo 3 > a/3; echo 4 > b/4; sleep 0.05")
    local first = run(nil, { "--explain" })
    assert.is_truthy(first.err:find("new a/1\n", 1, true), first.err)
    shell("echo more >> a/1; mv a/2 b/two; rm a/3; mv b c; chmod 600 c/4; echo n > n;"
      .. " touch -d @1 a c .")
    local result = run(nil, { "--explain" })
    assert.equal(0, result.status, result.err)
    local lines = {}
    for line in result.err:gmatch("[^\n]+") do lines[#lines + 1] = line end
    table.sort(lines)
    for i, line in ipairs(lines) do -- what differs besides is the file system's affair
      lines[i] = line:gsub("size, mtime", "mtime"):gsub("allocated, ", "")
        :gsub("^(m%S+ %S+ ?%-?>? ?%S* %()mtime, ctime", "%1size, mtime, ctime")
    end
    assert.same({
      "deleted a/3", "modified a (size, mtime, ctime)", "modified a/1 (size, mtime, ctime)",
      "modified c/4 (mode, ctime)", "moved a/2 -> c/two", "moved b -> c (size, mtime, ctime)",
      "new n",
    }, lines)
    shell("mv n m; echo 5 >> c/4")
    result = run(nil, { "--explain", "--progress", "json" })
    local seen = {}
    for line in result.err:gmatch("[^\n]+") do
      local one = json.decode(line)
      if one.type == "explain" then seen[one.path] = one end
    end
    assert.equal("moved", seen.m.change)
    assert.equal("n", seen.m.from)
    assert.equal("modified", seen["c/4"].change)
    assert.is_truthy(seen["c/4"].why:find("^size, mtime"))
  end)

  it("names the rule where it is there and was removed", function()
    shell("mkdir -p a/b .h c; touch a/b/1.o a/2.o a/3 .h/4 c/5 gone.o")
    index()
    shell("rm gone.o")
    fixture.write(dir .. "/accept.lua",
      "return { accept_directory = function(d) return d.path ~= 'c' end }")
    local result = run(nil, { "--explain", "--exclude", "*.o", "--rules", "no_hidden", "--accept",
      dir .. "/accept.lua" })
    assert.equal(0, result.status, result.err)
    local lines = {}
    for line in result.err:gmatch("deleted [^\n]+") do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({
      "deleted .h (left out by no_hidden)", "deleted .h/4 (left out by no_hidden)",
      "deleted a/2.o (left out by exclude)", "deleted a/b/1.o (left out by exclude)",
      "deleted c (left out by accept_directory)", "deleted c/5 (left out by accept_directory)",
      "deleted gone.o",
    }, lines)
  end)
end)

describe("--changed-by", function()
  -- The same size and mtime; the inode stays, or is another one.
  local function rewrite(path, text, replace)
    shell("touch -r %s .ref", path)
    if replace then shell("printf %s > .t; mv .t %s", text, path)
    else shell("printf %s > %s", text, path) end
    shell("touch -r .ref %s; rm .ref", path)
  end

  before_each(function()
    shell("printf aaaa > f; touch -d @1000000000.5 f; sleep 0.02")
    index("--mode", "deep")
  end)

  local FOUND = {
    mtime = { written = false, replaced = false },
    inode = { written = false, replaced = true },
    ctime = { written = true, replaced = true },
    content = { written = true, replaced = true },
  }
  for policy, found in pairs(FOUND) do
    it(policy .. " finds what it looks at", function()
      local uuid = value("SELECT uuid FROM entries WHERE path = 'f'")
      rewrite("f", "bbbb", false)
      local before = hash_of("f")
      index("--mode", "deep", "--changed-by", policy)
      assert.equal(found.written and sum_of("f") or before, hash_of("f"))
      index("--mode", "deep", "--changed-by", "content")
      rewrite("f", "cccc", true)
      before = hash_of("f")
      index("--mode", "deep", "--changed-by", policy)
      assert.equal(found.replaced and sum_of("f") or before, hash_of("f"))
      assert.equal(uuid, value("SELECT uuid FROM entries WHERE path = 'f'"))
      assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree)))
    end)
  end

  it("mtime does not know inodes, so that nothing moves", function()
    shell("mkdir d; echo 1 > d/1")
    index("--changed-by", "mtime")
    shell("mv d e")
    local changes = index("--changed-by", "mtime").changes
    assert.same({ 2, 0, 2 }, { changes.new, changes.moved, changes.deleted })
  end)

  it("content reads each file, and counts none as modified that is the same", function()
    shell("echo 1 > a; echo 2 > b; : > empty")
    index()
    local output = index("--changed-by", "content")
    assert.equal(3, output.hashed)
    assert.equal(0, output.changes.modified)
  end)

  it("ctime reads what was renamed", function()
    assert.equal(0, index("--mode", "deep", "--changed-by", "ctime").hashed)
    shell("mv f g")
    local output = index("--mode", "deep", "--changed-by", "ctime")
    assert.same({ 1, 1 }, { output.hashed, output.changes.moved })
  end)
end)

describe("--changed-by content", function()
  local KNOWN = "SELECT path, hash, hash_kind, mime FROM entries WHERE kind = 'file' ORDER BY path"

  -- Old files, small and large, of several types, one with two names.
  before_each(function()
    shell("mkdir d e; seq 100 > d/1.txt; seq 200 > d/2.py; seq 300 > d/none; ln d/none e/none.c;"
      .. " for i in 1 2 3 4; do head -c ${i}50000 /dev/urandom > e/$i.bin; done;"
      .. " find . -type f -exec touch -d @1000000000.5 {} +; sleep 0.02")
    index("--mode", "deep")
  end)

  it("keeps what is known in a shallow run, which reads no file", function()
    local known = query(KNOWN)
    assert.equal(0, index("--mode", "shallow", "--changed-by", "content").hashed)
    assert.same(known, query(KNOWN))
    assert.equal(0, fixture.run { fixture.sdlua, "location", "set", "--library", library, "1",
      "--changed-by", "content" }.status)
    index("--mode", "shallow")
    assert.same(known, query(KNOWN))
  end)

  it("makes a shallow run see what ctime tells", function()
    shell("seq 101 200 | head -c $(stat -c %%s d/1.txt) > d/1.txt; touch -d @1000000000.5 d/1.txt")
    index("--mode", "shallow", "--changed-by", "content")
    assert.same({ { "d/1.txt" } }, query("SELECT path FROM entries WHERE kind = 'file'"
      .. " AND hash IS NULL"))
  end)

  for _, mode in ipairs { "content", "deep" } do
    it("keeps hash, kind and type of what is the same, in mode " .. mode, function()
      local known = query(KNOWN)
      local output = index("--mode", mode, "--changed-by", "content")
      assert.equal(7, output.hashed) -- files: of the two names one is read
      assert.equal(0, output.changes.modified)
      assert.same(known, query(KNOWN))
      assert.same({ { "8" } }, query("SELECT sum(entries) FROM contents"))
      -- The library is still one that deep has seen.
      assert.equal(0, index("--mode", "deep").hashed)
    end)
  end

  -- What decays on the disk has the times that it had: nothing but its bytes tells.
  it("finds bytes that differ, where nothing else does", function()
    fixture.sh(("sqlite3 %s/library.db \"UPDATE content SET hash = randomblob(16) WHERE id IN"
      .. " (SELECT content_id FROM entry WHERE name IN ('none', '4.bin', '1.txt'))\"")
      :format(library))
    index("--mode", "content")
    assert.not_equal(sum_of("e/4.bin"), hash_of("e/4.bin"))
    assert.equal(7, index("--mode", "content", "--changed-by", "content").hashed)
    for _, path in ipairs { "d/none", "e/none.c", "e/4.bin", "d/1.txt", "d/2.py" } do
      assert.equal(sum_of(path), hash_of(path))
    end
    assert.same({ { "8" } }, query("SELECT sum(entries) FROM contents"))
    assert.equal("text/x-python", value("SELECT mime FROM entries WHERE path = 'd/2.py'"))
    -- Their types are to be found again.
    index("--mode", "deep")
    assert.equal("text/plain", value("SELECT mime FROM entries WHERE path = 'd/1.txt'"))
  end)

  it("reads nothing that is gone, left out, or cannot be looked at", function()
    shell("mkdir gone out; seq 1 > gone/1; seq 2 > out/2; cp -p e/1.bin out/3; ln out/2 d/two;"
      .. " touch -d @1000000000 gone/1 out/2; sleep 0.02")
    index("--mode", "deep")
    shell("rm -r gone")
    local result = run(nil, { "--mode", "deep", "--changed-by", "content", "--exclude", "/out",
      "--explain" })
    assert.equal(0, result.status, result.err)
    local lines = {}
    for line in result.err:gmatch("reread [^\n]+") do lines[#lines + 1] = line end
    table.sort(lines)
    assert.equal("reread d/1.txt (asked for)", lines[1])
    assert.is_nil(result.err:find("reread out", 1, true), result.err)
    assert.is_nil(result.err:find("reread gone", 1, true), result.err)
    assert.truthy(result.err:find("reread d/two", 1, true), result.err)
    assert.equal(8, #lines)
    assert.same({}, fixture.sql(library, "SELECT * FROM vanished"))
  end)

  -- Killed while it reads: nothing is forgotten before it is read.
  it("keeps what is known of files that it did not come to", function()
    shell("mkdir many; for i in $(seq 400); do echo $i > many/$i.txt; done; head -c 300M"
      .. " /dev/zero > many/large; touch -d @1000000000 many/*; sleep 0.02")
    index("--mode", "deep")
    local known = query(KNOWN)
    local process = fixture.start { fixture.sdlua, "index", "--library", library, "--progress",
      "none", "--mode", "deep", "--changed-by", "content", "--threads", "1", "--chunk", "1", tree }
    local reading = "SELECT count(*) FROM job WHERE phase = 'content_identification'"
    for _ = 1, 500 do
      local ok, n = pcall(value, reading) -- who opens the library may hold it for a moment
      if ok and n == "1" then break end
      process:sleep(10)
    end
    assert.equal("1", value(reading))
    assert.same(known, query(KNOWN)) -- also while it runs
    process:kill("sigkill")
    assert.equal(137, (process:wait()))
    assert.same(known, query(KNOWN))
    index("--mode", "content")
    assert.same(known, query(KNOWN))
  end)
end)

describe("a file that was hashed too soon after it was written", function()
  it("is looked at again the next time", function()
    shell("printf aaaa > f; touch -d '+1 hour' f; touch -r f ref;"
      .. " printf bbbb > old; touch -d @1 old")
    index("--mode", "deep")
    shell("printf cccc > f; touch -r ref f; printf dddd > old; touch -d @1 old; touch -r ref .")
    index("--mode", "deep")
    assert.equal(sum_of("f"), hash_of("f"))
    assert.not_equal(sum_of("old"), hash_of("old")) -- what nobody could see
  end)

  it("is left alone once it is old enough", function()
    shell("echo 1 > a; touch -d '+1 second' a")
    index()
    shell("sleep 1.2")
    assert.equal(1, index().hashed)
    assert.equal(0, index().hashed)
  end)
end)

describe("a device that has another number", function()
  it("changes nothing but the number that is shown", function()
    shell("mkdir -p a/b; echo 1 > a/1; echo 2 > a/b/2; ln a/1 a/b/one; sleep 0.05")
    index("--mode", "deep")
    -- As if the tree had been indexed when its device was called 4242.
    fixture.sh(("sqlite3 %s/library.db 'UPDATE entry SET dev = 4242, sig = NULL'"):format(library))
    local output = index("--mode", "deep")
    assert.same({ 0, 0 }, { output.hashed, output.changes.modified })
    assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree)))
    assert.same({ { "4242" } }, query("SELECT DISTINCT dev FROM entry"))
    shell("mv a c; mv c/1 x; echo 3 > new; ln new new2")
    output = index("--mode", "deep")
    assert.same({ 2, 2 }, { output.changes.moved, output.hashed })
    assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree)))
    assert.same({}, fixture.differences(fixture.hashes(library), fixture.sums(tree)))
    assert.equal(0, index("--mode", "deep").changes.modified)
  end)
end)

-- ---- what could not be looked at ----

describe("what cannot be looked at", function()
  it("stays, and is marked, while a directory cannot be read", function()
    local user = fixture.as_user()
    if not user then return pending("cannot run a program as an ordinary user") end
    fixture.sh(("chmod 777 %s %s; mkdir %s; chmod 777 %s"):format(dir, tree, library, library))
    shell("mkdir -p a/b/c d; echo 1 > a/1; echo 2 > a/b/2; echo 3 > a/b/c/3; echo 4 > d/4")
    local prefix = table.concat(user, " ")
    assert.equal(0, run(prefix, {}).status)
    shell("chmod 000 a/b; rm d/4")
    assert.equal(3, run(prefix, {}).status)
    local sql = "SELECT path, unverified FROM entries WHERE unverified IS NOT NULL ORDER BY 1"
    assert.same({ { "a/b/2", "unreadable" }, { "a/b/c", "unreadable" },
      { "a/b/c/3", "unreadable" } }, query(sql))
    assert.same({ { "a/b", "unreadable" }, { "a/b/c", "unreadable" } },
      query("SELECT path, unverified FROM directories WHERE unverified IS NOT NULL ORDER BY 1"))
    -- Names that can be read, and nothing else: what they are is not known.
    shell("chmod 444 a/b")
    assert.equal(3, run(prefix, {}).status)
    assert.equal(3, #query(sql))
    shell("mv a e") -- moved as a whole
    assert.equal(3, run(prefix, {}).status)
    assert.same({ { "e/b/2" }, { "e/b/c" }, { "e/b/c/3" } }, query(sql:gsub(", unverified", "", 1)))
    shell("chmod 755 e/b")
    assert.equal(0, run(prefix, {}).status)
    assert.same({}, query(sql))
    assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree)))
  end)

  -- The tmpfs is mounted, gone, and another one is there.
  it("stays, and is marked, while a file system is not mounted", function()
    shell("mkdir m; echo 1 > 1")
    local mounts <close>, why = fixture.mounts(
      ("cd %s; mount -t tmpfs none m; mkdir m/d; echo 2 > m/d/2"):format(fixture.quote(tree)))
    if not mounts then return pending(why) end
    local function inside(script)
      fixture.sh(("%s sh -c 'cd %s; %s'"):format(mounts.where, tree, script))
    end
    assert.equal(0, run(mounts.where, {}).status)
    local sql = "SELECT path, coalesce(unverified, '') FROM entries ORDER BY 1"
    local before = { { "", "" }, { "1", "" }, { "m", "" }, { "m/d", "" }, { "m/d/2", "" } }
    assert.same(before, query(sql))
    inside "umount m"
    local result = run(mounts.where, {})
    assert.equal(3, result.status)
    assert.is_truthy(result.out:find("1 ENODEV", 1, true), result.out)
    assert.same({ { "", "" }, { "1", "" }, { "m", "" }, { "m/d", "unmounted" },
      { "m/d/2", "unmounted" } }, query(sql))
    inside "echo 3 > m/3" -- not empty: this is what there is
    assert.equal(0, run(mounts.where, {}).status)
    assert.same({ { "" }, { "1" }, { "m" }, { "m/3" } },
      query("SELECT path FROM entries ORDER BY 1"))
  end)

  it("stays while a file system is not mounted, whatever tells that a file has changed", function()
    shell("mkdir m; echo 1 > 1")
    local mounts <close>, why = fixture.mounts(
      ("cd %s; mount -t tmpfs none m; mkdir m/d; echo 2 > m/d/2"):format(fixture.quote(tree)))
    if not mounts then return pending(why) end
    assert.equal(0, run(mounts.where, {}).status)
    fixture.sh(("%s umount %s/m"):format(mounts.where, fixture.quote(tree)))
    for _, by in ipairs { "mtime", "inode", "ctime", "content" } do
      local result = run(mounts.where, { "--changed-by", by })
      assert.equal(3, result.status, by)
      assert.is_truthy(result.out:find("1 ENODEV", 1, true), result.out)
      assert.same({ { "m/d", "unmounted" }, { "m/d/2", "unmounted" } },
        query("SELECT path, unverified FROM entries WHERE path LIKE 'm/%' ORDER BY 1"), by)
    end
    -- Nor does verify say that they are gone.
    local result = fixture.run({ fixture.sdlua, "verify", "--library", library, "--progress",
      "none", "--json", "--fix", tree }, mounts.where)
    assert.equal(3, result.status, result.err)
    local output = json.decode(result.out)
    assert.same({ ENODEV = 1 }, output.error_counts)
    assert.is_false(output.fixed)
  end)

  -- The tree was copied to another disk, and a directory of it is empty there.
  it("is not what is gone from a tree that is on another device now", function()
    local mounts <close>, why = fixture.mounts(("mount -t tmpfs none %s; cd %s; mkdir -p a/b c d;"
      .. " echo 1 > a/b/1; echo 2 > c/2; echo 3 > d/3; cp -a . %s/copy")
      :format(tree, tree, dir))
    if not mounts then return pending(why) end
    for _, by in ipairs { "mtime", "inode" } do
      fixture.remove(library)
      assert.equal(0, run(mounts.where, { "--changed-by", by }).status)
      local other = dir .. "/" .. by
      fixture.sh(("%s sh -c 'mkdir %s; mount -t tmpfs two %s; cp -a %s/copy/. %s; cd %s;"
        .. " rm -r a/b/1 c/2 d; mount --move . %s'"):format(mounts.where, other, other, dir, other,
        other, tree))
      local result = run(mounts.where, { "--changed-by", by })
      assert.equal(0, result.status, by .. ": " .. result.out)
      assert.same({ { "" }, { "a" }, { "a/b" }, { "c" } },
        query("SELECT path FROM entries ORDER BY 1"))
      fixture.sh(("%s umount %s"):format(mounts.where, tree))
    end
  end)

  it("stays, and is marked, while the root itself is not mounted", function()
    local mounts <close>, why = fixture.mounts(
      ("mount -t tmpfs none %s; cd %s; mkdir d; echo 2 > d/2"):format(tree, tree))
    if not mounts then return pending(why) end
    assert.equal(0, run(mounts.where, {}).status)
    assert.equal(3, run(nil, {}).status) -- here nothing is mounted
    assert.same({ { "", "" }, { "d", "unmounted" }, { "d/2", "unmounted" } },
      query("SELECT path, coalesce(unverified, '') FROM entries ORDER BY 1"))
    assert.equal(0, run(mounts.where, {}).status)
    assert.same({ { "0" } }, query("SELECT count(unverified) FROM entries"))
  end)

  it("stays, and is marked, until the run that misses it is completed", function()
    shell("mkdir a; for i in 1 2 3 4 5; do echo $i > a/$i; done; head -c 3000000 /dev/urandom > b")
    index("--mode", "deep")
    shell("rm -r a; mkdir c; echo 1 > c/1; truncate -s 40G b")
    local process = fixture.start { fixture.sdlua, "index", "--library", library, "--progress",
      "none", "--mode", "deep", tree }
    local hashing = "SELECT count(*) FROM job WHERE phase = 'content_identification'"
    for _ = 1, 400 do
      if value(hashing) == "1" then break end
      process:sleep(10)
    end
    process:kill("sigkill")
    assert.equal(137, (process:wait()))
    assert.same({ { "a", "missing" } },
      query("SELECT path, unverified FROM entries WHERE unverified IS NOT NULL"))
    assert.equal("5", value("SELECT count(*) FROM entries WHERE path LIKE 'a/%'"))
    shell("truncate -s 100 b")
    index("--mode", "deep")
    assert.equal("0", value("SELECT count(*) FROM entries WHERE path LIKE 'a%'"))
  end)
end)
