-- What a tree holds besides ordinary files, and what happens to it while it is read.
local fixture = require "support.fixture"
local uv = require "sd.core".luv
local json = require "dkjson"

local dir, tree, library

-- `where` is shell text in front of sdlua.
local function index_in(where, ...)
  local words = { fixture.sdlua, "index", "--library", library, "--progress", "none", tree, ... }
  return fixture.run(words, where)
end

local function shell(text, ...)
  return fixture.sh(("cd %s && { %s\n}"):format(fixture.quote(tree), text:format(...)))
end

local function same_as_find(where)
  assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree, where)))
  fixture.check_library(library)
end

local function same_as_xxhsum(where)
  assert.same({}, fixture.differences(fixture.hashes(library), fixture.sums(tree, where)))
end

-- The output of a run that must end so.
local function indexed(status, where, ...)
  local result = index_in(where, "--json", ...)
  assert.equal(status, result.status, result.err)
  return (assert(json.decode(result.out)))
end

local function writes_nothing(where, ...)
  local changes = indexed(0, where, ...).changes
  assert.equal(0, changes.new + changes.modified + changes.moved + changes.deleted)
end

local function query(sql) return fixture.sql(library, sql) end

-- The last run's errors: "path operation errno".
local function errors()
  local list = {}
  for _, row in ipairs(query("SELECT path, operation, error FROM errors"
    .. " WHERE job_id = (SELECT max(id) FROM jobs) ORDER BY path")) do
    list[#list + 1] = table.concat(row, " ")
  end
  return list
end

-- Runs sdlua under strace; the calls that open something, one a line.
local function opens(...)
  local trace = dir .. "/trace"
  local result = index_in(("ASAN_OPTIONS=detect_leaks=0 strace -f -s 4096 -o %s"
    .. " -e trace=open,openat,openat2,open_by_handle_at"):format(trace), ...)
  assert.equal(0, result.status, result.err)
  return fixture.read(trace)
end

local function count_opens(trace, name)
  local n = 0
  for line in trace:gmatch("[^\n]+") do
    if line:find(name, 1, true) then n = n + 1 end
  end
  return n
end

-- The indexer with `code` at the beginning of a phase; the environment that makes it run.
local function with_hook(phase, code)
  local text, n = fixture.read(os.getenv("SDLUA_HOME") .. "/jobs/indexer.lua")
    :gsub(("function phases.%s%%(self, ctx, state%%)"):format(phase), "%0 " .. code)
  assert.equal(1, n)
  fixture.sh(("mkdir -p %s/jobs"):format(dir))
  fixture.write(dir .. "/jobs/indexer.lua", text)
  return ("SDLUA_JOBS=%s/jobs"):format(dir)
end

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. tree)
end)

after_each(function() fixture.remove(dir) end)

describe("symlinks", function()
  it("are stored with their target and not followed", function()
    shell([[mkdir -p real/deep; echo x >real/deep/file; ln -s real to-folder
      ln -s real/deep/file to-file; ln -s . here; ln -s .. up; ln -s self self; ln -s b a; ln -s a b
      ln -s nowhere/at/all dangling; ln -s / root; ln -s /proc proc; ln -s "$PWD" absolute
      ln -s ../../real real/deep/loop
      ln -s '   ' spaces; ln -s "$(printf 'new\nline\ttab|bar')" odd; ln -s to-file to-link]])
    indexed(0, nil, "--mode", "deep")
    same_as_find()
    same_as_xxhsum()
    assert.same({ { "15" } }, query("SELECT count(*) FROM entries WHERE kind = 'symlink'"))
    writes_nothing(nil, "--mode", "deep")
  end)

  it("have targets of 4095 bytes, and of bytes that are no text", function()
    local long = ("t"):rep(255) .. "/"
    for name, target in pairs {
      long = long:rep(15) .. ("t"):rep(255), blob = ("\255"):rep(4095), latin = "caf\233",
      control = "\1\27[2J\127", quote = "'\"\\", text = "\u{1f600}/\u{e9}",
    } do
      assert(uv.fs_symlink(target, tree .. "/" .. name))
    end
    indexed(0, nil)
    same_as_find()
    assert.same({ { "blob", "blob" }, { "control", "text" }, { "latin", "blob" },
      { "long", "text" }, { "quote", "text" }, { "text", "text" } },
      query("SELECT name, typeof(target) FROM entries WHERE kind = 'symlink' ORDER BY name"))
    writes_nothing(nil)
  end)

  it("that point elsewhere are changed entries", function()
    shell("ln -s one link; ln -s stays other")
    indexed(0, nil)
    shell("ln -sfn two link")
    assert.equal(1, indexed(0, nil).changes.modified)
    same_as_find()
  end)
end)

describe("special nodes", function()
  local function make_nodes()
    shell("mkfifo special-fifo; mkfifo -m 000 special-none; echo x >plain")
    local socket = uv.new_pipe(false)
    assert(socket:bind(tree .. "/special-socket"))
    if uv.getuid() == 0 then
      os.execute(("cd %s; { mknod special-null c 1 3 && mknod special-tty c 5 0 &&"
        .. " mknod special-disk b 7 0; } 2>/dev/null"):format(fixture.quote(tree)))
    end
    return socket
  end

  for _, mode in ipairs { "shallow", "content", "deep" } do
    it("are stored and never opened, mode " .. mode, function()
      if not fixture.has("strace") then return pending("strace is not installed") end
      local socket = make_nodes()
      local trace = opens("--mode", mode)
      assert.equal(0, count_opens(trace, "special-"))
      assert.equal(mode == "shallow" and 0 or 1, count_opens(trace, '"plain"'))
      same_as_find()
      socket:close() -- removes the socket
      opens("--mode", mode)
      same_as_find()
    end)
  end

  it("of all kinds that this user can make are stored with their kind", function()
    local socket = make_nodes()
    indexed(0, "timeout 60", "--mode", "deep")
    same_as_find()
    socket:close()
    if not uv.fs_lstat(tree .. "/special-disk") then
      return pending("device nodes: this user may not make them")
    end
    assert.same({ { "block" }, { "char" } }, query(
      "SELECT DISTINCT kind FROM entries WHERE kind IN ('char', 'block') ORDER BY 1"))
  end)
end)

describe("hard links", function()
  it("share one content, and their file is read once", function()
    if not fixture.has("strace") then return pending("strace is not installed") end
    shell([[mkdir a b; head -c 200000 /dev/urandom >a/linked-0
      for i in $(seq 1 300); do ln a/linked-0 b/linked-$i; done]])
    for _, mode in ipairs { "content", "deep" } do
      assert.equal(1, count_opens(opens("--mode", mode, "--chunk", "20"), "linked-"))
      same_as_find()
      assert.same({ { "301", "1" } },
        query("SELECT sum(entries), count(*) FROM contents WHERE entries > 0"))
    end
    same_as_xxhsum()
    shell("ln a/linked-0 a/linked-new; rm b/linked-1")
    opens("--mode", "deep")
    same_as_find()
    same_as_xxhsum()
  end)

  it("that are new join all at once those that were read before", function()
    shell("echo text >a; ln a b")
    indexed(0, nil, "--mode", "deep")
    shell("ln a c; ln a d; ln a e; ln a f")
    indexed(0, nil, "--mode", "deep")
    same_as_xxhsum()
    assert.same({ { "6" } }, query("SELECT entries FROM contents"))
  end)

  it("are read by another name where the first one is gone", function()
    local jobs = with_hook("content_identification", "os.execute(os.getenv 'HOOK')")
    shell("mkdir a; echo text >a/1; ln a/1 a/2; ln a/1 a/3; chmod 600 a/1")
    local first = "$(sqlite3 %s/library.db 'SELECT name FROM entry WHERE kind=1 ORDER BY id"
      .. " LIMIT 1')"
    indexed(0, ("%s HOOK=\"rm %s/a/%s\""):format(jobs, tree,
      first:format(library):gsub("%$", "\\$")), "--mode", "deep")
    same_as_xxhsum()
  end)

  it("in two locations do not wait for each other", function()
    shell("mkdir one two; echo text >one/a; ln one/a two/b")
    for _, name in ipairs { "one", "two" } do
      local result = fixture.run { fixture.sdlua, "index", "--library", library, "--progress",
        "none", "--mode", name == "one" and "shallow" or "content", tree .. "/" .. name }
      assert.equal(0, result.status, result.err)
    end
    -- The first location is asked for the content of its files, and does not come to read them.
    fixture.sh(("sqlite3 %s/library.db 'UPDATE entry SET content_id = 0 WHERE name = \"a\";"
      .. " UPDATE entry SET content_id = 0 WHERE name = \"b\"'"):format(library))
    local result = fixture.run { fixture.sdlua, "index", "--library", library, "--progress",
      "none", tree .. "/two" }
    assert.equal(0, result.status, result.err)
    assert.same({ { "b" } }, query("SELECT name FROM entries WHERE hash IS NOT NULL"))
  end)
end)

describe("sizes", function()
  it("of a sparse terabyte are stored, and sampled in time", function()
    shell("truncate -s 1T huge\n"
      .. "printf end | dd of=huge bs=1 seek=549755813888 conv=notrunc 2>/dev/null")
    local output = indexed(0, "timeout 60", "--mode", "content")
    same_as_find()
    assert.same({ { "1099511627776", "sampled" } },
      query("SELECT size, hash_kind FROM entries WHERE path = 'huge'"))
    assert.is_true(output.duration < 20)
  end)

  it("of sparse files are hashed with their holes", function()
    shell([[truncate -s 3G holes
      for at in 0 1 70000 400000 262145 3221225471 2000000001 1500000000; do
        printf data | dd of=holes bs=1 seek=$at conv=notrunc 2>/dev/null
      done; truncate -s 3G holes
      truncate -s 3G nothing; truncate -s 1048577 small; truncate -s 5M tail; echo tail >>tail
      echo head >head; truncate -s 5M head]])
    indexed(0, nil, "--mode", "deep", "--mime", "none")
    same_as_find()
    same_as_xxhsum()
  end)

  it("over 2^53 are exact, alone and in sum", function()
    local mounts <close>, why = fixture.mounts("mount -t tmpfs none " .. fixture.quote(tree))
    if not mounts then return pending(why) end
    local where = mounts.where
    fixture.sh(("%s sh -c 'cd %s && mkdir d && truncate -s 9007199254740993 d/odd"
      .. " && truncate -s 9223372036854775807 most && touch empty'"):format(where, tree))
    for _, mode in ipairs { "shallow", "content" } do
      indexed(0, where, "--mode", mode)
      same_as_find(where)
    end
    fixture.sh(("%s rm %s/most"):format(where, tree))
    local output = json.decode(index_in(where, "--json").out)
    assert.equal(9007199254740993, output.stats.bytes)
    same_as_find(where)
    writes_nothing(where)
  end)

  it("whose sum no number holds do not stop a run", function()
    local mounts <close>, why = fixture.mounts("mount -t tmpfs none " .. fixture.quote(tree))
    if not mounts then return pending(why) end
    local where = mounts.where
    fixture.sh(("%s sh -c 'cd %s && mkdir -p d/e && for i in a b c d/e/d; do"
      .. " truncate -s 9223372036854775807 $i; done; echo small >d/small'"):format(where, tree))
    indexed(0, where, "--mode", "shallow")
    same_as_find(where)
    fixture.sh(("%s sh -c 'cd %s && rm a b c d/e/d'"):format(where, tree))
    indexed(0, where, "--mode", "shallow")
    same_as_find(where)
    indexed(0, where, "--mode", "content")
    same_as_xxhsum(where)
  end)
end)

local DATES = {
  "1969-12-31 23:59:59.999999999", "1969-12-31 23:59:59.5", "1969-12-31 23:59:59",
  "1970-01-01 00:00:00", "1970-01-01 00:00:00.000000001", "1960-02-29 12:00:00.123456789",
  "1901-12-13 20:45:52", "1890-01-01", "1677-09-21 00:12:43.2", "1600-01-01",
  "2001-09-09 01:46:40.000000001", "2038-01-19 03:14:08.5", "2106-02-07 06:28:16",
  "2262-04-11 23:47:16.854775807", "2262-04-11 23:47:16.854775808", "2446-05-10",
  "2600-01-01 00:00:00.123456789", "9999-12-31",
}

local function touch_all(where)
  for i, date in ipairs(DATES) do
    fixture.sh(("%s sh -c 'cd %s; mkdir d%d; touch -d \"%s UTC\" f%d d%d'"):format(where, tree, i,
      date, i, i))
  end
end

describe("times", function()
  it("before 1970, with nanoseconds and far ahead are those of this file system", function()
    touch_all("")
    indexed(0, nil)
    same_as_find()
    writes_nothing(nil)
  end)

  it("that 64 bits of nanoseconds do not hold are clamped, and stay as they are", function()
    local mounts <close>, why = fixture.mounts("mount -t tmpfs none " .. fixture.quote(tree))
    if not mounts then return pending(why) end
    touch_all(mounts.where)
    indexed(0, mounts.where)
    same_as_find(mounts.where)
    local most, least = "9223372036854775807", "-9223372036854775808"
    assert.same({ { "f10", least }, { "f14", most }, { "f15", most }, { "f16", most },
      { "f17", most }, { "f18", most } }, query(("SELECT path, mtime_ns FROM entries"
      .. " WHERE kind = 'file' AND mtime_ns IN (%s, %s) ORDER BY path"):format(most, least)))
    writes_nothing(mounts.where)
  end)
end)

describe("what may not be read", function()
  local user

  local function index_as_user(...)
    return indexed(3, table.concat(user, " "), ...)
  end

  -- Without what the user may not see, as that user's find has it.
  local function same_as_users_find()
    local text = dir .. "/listing"
    fixture.sh(("%s find %s -printf '%%P|' >%s 2>/dev/null; true"):format(
      table.concat(user, " "), tree, text))
    local expected, found = {}, {}
    -- What it may list but not ask for anything has no row.
    for path in fixture.read(text):gmatch("([^|]*)|") do
      if not path:find("^names/") then expected[path] = "there" end
    end
    for path in pairs(fixture.rows(library)) do found[path] = "there" end
    assert.same({}, fixture.differences(found, expected))
  end

  before_each(function()
    user = fixture.as_user()
    shell([[mkdir -p open closed/inner names/inner; echo a >open/file; echo b >closed/file
      echo c >names/file; echo d >closed/inner/deep; echo e >names/inner/deep; echo secret >hidden
      echo plain >plain
      mkdir "$(printf 'odd\377\nend')"; echo x >"$(printf 'odd\377\nend/f')"; ln -s closed link]])
    if user and #user > 0 then
      fixture.sh(("chown -R 65534:65534 %s"):format(dir))
    end
  end)

  it("is one error each, and everything else is indexed", function()
    if not user then return pending("cannot run a program as an ordinary user") end
    shell("chmod 000 closed hidden; chmod 444 names")
    local output = index_as_user("--mode", "deep")
    same_as_users_find()
    local expected = { "closed ReadDir EACCES", "hidden ContentId EACCES",
      "names/file CreateEntry EACCES", "names/inner CreateEntry EACCES" }
    assert.same(expected, errors())
    assert.same({ EACCES = 4 }, output.error_counts)
    assert.equal("complete with errors", output.completeness)
    assert.equal(4, #output.errors)
    -- again, and the errors are there again
    index_as_user("--mode", "deep")
    assert.same(expected, errors())
    shell("chmod 755 closed names; chmod 644 hidden")
    indexed(0, table.concat(user, " "), "--mode", "deep")
    assert.same({}, errors())
    same_as_find()
    same_as_xxhsum()
  end)

  it("keeps what was known of it", function()
    if not user then return pending("cannot run a program as an ordinary user") end
    indexed(0, table.concat(user, " "), "--mode", "deep")
    same_as_find()
    local sql = "SELECT id, path, size, mtime_ns, hash FROM entries WHERE path LIKE 'closed/%'"
      .. " OR path LIKE 'names/%' OR path = 'hidden' ORDER BY path"
    local before = query(sql)
    assert.equal(7, #before)
    shell("chmod 000 closed; chmod 444 names; chmod 000 hidden; rm plain")
    local output = index_as_user("--mode", "deep")
    assert.same(before, query(sql))
    assert.equal(1, output.changes.deleted)
    fixture.check_library(library)
    index_as_user("--mode", "deep")
    assert.same(before, query(sql))
    assert.same({ { "7" } }, query("SELECT files FROM directories WHERE path = ''"))
    shell("chmod 755 closed names; chmod 644 hidden; rm closed/file")
    indexed(0, table.concat(user, " "), "--mode", "deep")
    same_as_find()
    same_as_xxhsum()
  end)

  it("has names that are no text in the output too", function()
    if not user then return pending("cannot run a program as an ordinary user") end
    shell("chmod 000 odd*")
    local output = index_as_user()
    assert.equal(1, #output.errors)
    assert.same({ { "6F6464FF0A656E64", "blob" } },
      query("SELECT hex(path), typeof(path) FROM errors"))
  end)

  it("may be the root", function()
    if not user then return pending("cannot run a program as an ordinary user") end
    shell("chmod 000 .")
    local result = index_in(table.concat(user, " "))
    assert.equal(1, result.status)
    assert.truthy(result.err:find("[Pp]ermission denied"), result.err)
  end)
end)

-- Rows of two columns as a map.
local function pairs_of(rows)
  local map = {}
  for _, row in ipairs(rows) do map[row[1]] = row[2] end
  return map
end

-- A shell that changes the tree until it is killed.
local function churn(script)
  return fixture.start { "/bin/sh", "-c", ("cd %s && while :; do %s\ndone"):format(tree, script) }
end

describe("a tree that changes while it is read", function()
  -- Entries come, go, change their type and their name while runs follow each other. None fails, no
  -- path is there twice; and once it is quiet, a run sees what find sees.
  it("is what find says once it is quiet", function()
    shell("for d in 1 2 3 4 5 6 7 8; do mkdir $d\n"
      .. "for f in $(seq 200); do echo $f >$d/f$f; done; done")
    local first = churn([[rm -rf 1 2; mkdir 1 2; for f in $(seq 50); do echo $f >1/f$f; done
      mv 1 9; mv 9 1; echo file >2/x; rm 2/x; mkdir -p 2/x/y; echo z >2/x/y/z; rm -r 2/x
      ln -s .. 2/x; mkfifo 2/p; rm 2/p]])
    local second = churn([[for f in $(seq 100); do echo more >>3/f$f; rm -f 4/f$f
        mv 5/f$f 6/g$f; done
      for f in $(seq 100); do : >3/f$f; echo new >4/f$f; mv 6/g$f 5/f$f; done
      mv 7 8/7; rm -f 8/link; ln -s 7 8/link; mv 8/7 7; rm 7/f1; mkdir 7/f1; rmdir 7/f1
      echo x >7/f1]])
    for i = 1, 25 do
      local mode = ({ "shallow", "content", "deep" })[i % 3 + 1]
      local result = index_in("timeout 60", "--mode", mode)
      assert.is_true(result.status == 0 or result.status == 3, result.err)
      fixture.check_library(library)
    end
    for _, process in ipairs { first, second } do
      process:kill("sigkill")
      process:wait()
    end
    fixture.sh("sleep 0.1") -- what the shells had started
    indexed(0, nil, "--mode", "deep")
    same_as_find()
    same_as_xxhsum()
    local fresh = dir .. "/fresh"
    assert.equal(0, fixture.run_sdlua("index", "--library", fresh, "--progress", "none",
      "--mode", "deep", tree).status)
    for _, sql in ipairs {
      "SELECT path, files || '|' || dirs || '|' || bytes || '|' || allocated FROM directories",
      "SELECT hash, entries FROM contents WHERE entries > 0",
    } do
      assert.same({}, fixture.differences(pairs_of(query(sql)), pairs_of(fixture.sql(fresh, sql))))
    end
  end)

  it("does not count what came and went before the run was over", function()
    local jobs = with_hook("content_identification", "os.execute(os.getenv 'HOOK')")
    shell("for f in 1 2 3 4 5; do echo $f >$f; done")
    local output = indexed(0, ("%s HOOK='rm %s/2 %s/3'"):format(jobs, tree, tree))
    assert.same({ new = 3, modified = 0, moved = 0, deleted = 0, unchanged = 0 }, output.changes)
  end)

  -- Only ever appended to: whatever size was stored, the hash is that of so many first bytes.
  it("gives a growing file the right hash, or ECHANGED", function()
    shell("head -c 20000000 /dev/urandom >start; cp start grows")
    local process = churn("head -c 3000 /dev/urandom >>grows; sleep 0.01")
    local hashed, refused = 0, 0
    for _ = 1, 20 do
      local result = index_in("timeout 60", "--mode", "deep")
      assert.is_true(result.status == 0 or result.status == 3, result.err)
      local row = query("SELECT size, hash FROM entries WHERE path = 'grows'")[1]
      local size, hash = row[1], row[2]
      if result.status == 3 then
        assert.same({ "grows ContentId ECHANGED" }, errors())
        assert.equal("", hash)
        refused = refused + 1
      else
        assert.equal(hash, shell("head -c %s grows | xxhsum -H2", size):match("^%x+"))
        hashed = hashed + 1
      end
    end
    process:kill("sigkill")
    process:wait()
    print(("\na growing file: %d times hashed, %d times ECHANGED"):format(hashed, refused))
    indexed(0, nil, "--mode", "deep")
    same_as_find()
    same_as_xxhsum()
  end)

  -- The small file waits while the large one is hashed; meanwhile it loses its bytes.
  it("gives no content to a file that is emptied before it is hashed", function()
    shell("truncate -s 48G a; echo x >b; ln b c")
    local process = fixture.start { fixture.sdlua, "index", "--library", library, "--progress",
      "none", "--mode", "deep", "--mime", "none", "--threads", "1", "--chunk", "1", tree }
    local listed, rows
    repeat
      process:sleep(20)
      listed, rows = pcall(query, "SELECT 1 FROM entries WHERE path = 'c'")
    until listed and rows[1] or process.exit
    shell(": >b")
    assert.equal(0, (process:wait()))
    same_as_find()
    assert.same({ { "a", "full" }, { "b", "" }, { "c", "" } },
      query("SELECT path, hash_kind FROM entries WHERE kind = 'file' ORDER BY path"))
    assert.same({ { "1" } }, query("SELECT count(*) FROM contents"))
  end)

  -- A writer changes first the first byte and then the last, in place, as fast as it can: the size
  -- stays, and the time of change moves only with the kernel's tick. The two bytes are the same, or
  -- the first is one ahead; a hash of anything else is of bytes that the file never held.
  it("never gives a file that is written in place the hash of a state that it never had", function()
    local size = 300000
    local writer = dir .. "/writer.lua"
    fixture.write(writer, ([[
      local file = assert(io.open(%q, "r+b"))
      file:setvbuf("no")
      local i = 0
      while true do
        i = (i + 1) %% 256
        file:seek("set", 0) file:write(string.char(i))
        file:seek("set", %d - 1) file:write(string.char(i))
      end]]):format(tree .. "/written", size))
    local states, middle = {}, ("m"):rep(size - 2)
    local xxh = dir .. "/state"
    for i = 0, 255 do
      for _, last in ipairs { i, (i - 1) % 256 } do
        fixture.write(xxh .. i .. "-" .. last, string.char(i) .. middle .. string.char(last))
      end
    end
    for hash in fixture.sh(("xxhsum -H2 %s*"):format(xxh)):gmatch("(%x+)  [^\n]*\n") do
      states[hash] = true
    end
    fixture.write(tree .. "/written", "\0" .. middle .. "\0")
    local hashed, wrong = 0, 0
    for _ = 1, 40 do
      local process = fixture.start { fixture.sdlua, writer }
      fixture.sh("sleep 0.02")
      local result = index_in("timeout 60", "--mode", "deep")
      process:kill("sigkill")
      process:wait()
      assert.is_true(result.status == 0 or result.status == 3, result.err)
      local hash = query("SELECT hash FROM entries WHERE path = 'written'")[1][1]
      if hash ~= "" then
        hashed = hashed + 1
        if not states[hash] then wrong = wrong + 1 end
      end
    end
    print(("\na file written in place: %d of 40 times hashed, %d wrong"):format(hashed, wrong))
    assert.equal(0, wrong)
    indexed(0, nil, "--mode", "deep")
    same_as_find()
    same_as_xxhsum()
  end)
end)

local INSIDE = "SELECT path FROM entries WHERE path LIKE 'in/lib/%'"

describe("a library inside the tree", function()
  local function without_library(map)
    local rest = {}
    for path, fields in pairs(map) do
      -- The folder's own times and size change while its library is written.
      if path == "in/lib" then rest[path] = fields:match("^[^|]*")
      elseif not path:find("^in/lib/") then rest[path] = fields end
    end
    return rest
  end

  local function check_inside()
    assert.same({}, fixture.differences(without_library(fixture.rows(library)),
      without_library(fixture.listing(tree))))
    assert.same({ { "in/lib/notes" } }, query(INSIDE))
    fixture.check_library(library)
  end

  it("is left out, counted, and never opened by the walk", function()
    if not fixture.has("strace") then return pending("strace is not installed") end
    library = tree .. "/in/lib"
    shell("mkdir -p in/lib; echo mine >in/lib/notes; echo x >file")
    for _, mode in ipairs { "shallow", "content", "deep" } do
      local trace = opens("--mode", mode)
      for line in trace:gmatch("[^\n]+") do
        if line:find("library%.[dl][bo]") then
          assert.is_truthy(line:find('AT_FDCWD, "' .. library .. "/library.", 1, true), line)
        end
      end
      check_inside()
    end
    local output = indexed(0, nil, "--mode", "deep")
    assert.equal(5, output.skipped.library)
  end)

  it("is known by its files, whatever name leads to it", function()
    library = tree .. "/in/lib"
    shell("mkdir -p in/lib; echo mine >in/lib/notes; ln -s in/lib link; echo x >file")
    local real = library
    library = tree .. "/link"
    indexed(0, nil, "--mode", "deep")
    shell("ln in/lib/library.db second-name") -- as a backup by hard links has it
    local output = indexed(0, nil, "--mode", "deep")
    assert.equal(6, output.skipped.library)
    library = real
    assert.same({ { "0" } }, query("SELECT count(*) FROM entries WHERE path = 'second-name'"))
    assert.same({ { "in/lib/notes" } }, query(INSIDE))
    fixture.check_library(library)
  end)

  it("stays left out when the run is one of many", function()
    library = tree .. "/in/lib"
    shell("mkdir -p in/lib; echo mine >in/lib/notes; echo x >file")
    for i = 1, 5 do
      shell("echo %d >>file; mkdir d%d", i, i)
      indexed(0, nil, "--mode", "deep")
      check_inside()
    end
  end)
end)

describe("mounts", function()
  it("of proc and sysfs are not entered, but counted; tmpfs is entered", function()
    local mounts <close>, why = fixture.mounts(([[cd %s; mkdir proc sys tmp
      mount -t proc none proc; mount -t sysfs none sys; mount -t tmpfs none tmp; echo x >tmp/file
      mkdir tmp/proc; mount -t proc none tmp/proc]]):format(tree))
    if not mounts then return pending(why) end
    for _, mode in ipairs { "shallow", "deep" } do
      local output = indexed(0, mounts.where, "--mode", mode)
      assert.equal(3, output.skipped.pseudo)
      assert.same({ "", "proc", "sys", "tmp", "tmp/file", "tmp/proc" },
        (function(list) table.sort(list) return list end)(
          (function(list)
            for path in pairs(fixture.rows(library)) do list[#list + 1] = path end
            return list
          end) {}))
    end
    local sum = fixture.sh(("%s xxhsum -H2 %s/tmp/file"):format(mounts.where, tree)):match("%x+")
    assert.same({ ["tmp/file"] = sum }, fixture.hashes(library))
  end)

  it("that lead back are not entered again", function()
    local mounts <close>, why = fixture.mounts(([[cd %s; mkdir -p a/b/c a/other; echo x >a/b/file
      mount --bind a a/b/c; mount --bind a/b a/other]]):format(tree))
    if not mounts then return pending(why) end
    local output = indexed(0, "timeout 60 " .. mounts.where, "--mode", "deep")
    assert.truthy((output.skipped.loop or 0) >= 1)
    fixture.check_library(library)
    assert.same({ { "a/b/file" }, { "a/other/file" } },
      query("SELECT path FROM entries WHERE kind = 'file' ORDER BY path"))
    writes_nothing("timeout 60 " .. mounts.where, "--mode", "deep")
  end)

  it("of the root below itself are not entered again", function()
    local mounts <close>, why = fixture.mounts(([[cd %s; mkdir -p a/b; echo x >file
      mount --bind . a/b]]):format(tree))
    if not mounts then return pending(why) end
    local output = indexed(0, "timeout 60 " .. mounts.where, "--mode", "deep")
    assert.equal(1, output.skipped.loop)
    assert.same({ { "" }, { "a" }, { "a/b" }, { "file" } },
      query("SELECT path FROM entries ORDER BY path"))
  end)
end)

describe("the root", function()
  it("is the same location by whatever path it is named", function()
    shell("mkdir sub; echo x >sub/file")
    fixture.sh(("ln -s tree %s/link; ln -s link %s/link2; mkdir %s/other"):format(dir, dir, dir))
    local real = tree
    for _, name in ipairs { real, real .. "/", real .. "///", dir .. "/link", dir .. "/link2/",
      dir .. "/./tree/.", dir .. "/other/../tree", dir .. "//tree", real .. "/sub/.." } do
      tree = name
      indexed(0, nil, "--mode", "deep")
      tree = real
      same_as_find()
      assert.same({ { real } }, query("SELECT root FROM locations"))
    end
    for _, name in ipairs { ".", "./", "../tree", "sub/.." } do
      tree = name
      writes_nothing("cd " .. fixture.quote(real) .. ";", "--mode", "deep")
      tree = real
      assert.same({ { real } }, query("SELECT root FROM locations"))
    end
  end)

  it("is entered where it is a pseudo file system", function()
    if not uv.fs_stat("/proc/self/status") then return pending("no proc is mounted") end
    tree = "/proc/self"
    for _, mode in ipairs { "shallow", "content" } do
      local result = index_in("timeout 120", "--mode", mode)
      assert.is_true(result.status == 0 or result.status == 3, result.err)
    end
    for _, name in ipairs { "status", "fd", "maps", "ns", "task" } do
      local sql = "SELECT count(*) > 0 FROM entries WHERE path = '%s'"
      assert.same({ { "1" } }, query(sql:format(name)))
    end
  end)
end)

describe("a directory that became a file", function()
  it("and is gone in the next run leaves nothing behind", function()
    local jobs = with_hook("finalizing", "require 'sd.core'.sys.exit_now(9)")
    shell("mkdir -p d/e/f; touch d/1 d/e/2 d/e/f/3 other")
    indexed(0, nil)
    shell("rm -r d; echo file >d")
    assert.equal(9, index_in(jobs).status)
    shell("rm d")
    assert.equal(0, index_in(nil, "--fresh").status)
    same_as_find()
    assert.same({ { "2" } }, query("SELECT count(*) FROM entry"))
    assert.same({ { "1" } }, query("SELECT count(*) FROM directory"))
  end)
end)

describe("a mode", function()
  it("that is lower than before, in a run that was given up, is made up for", function()
    local jobs = with_hook("finalizing", "require 'sd.core'.sys.exit_now(9)")
    shell("head -c 200000 /dev/zero >f")
    indexed(0, nil, "--mode", "deep")
    shell("head -c 200000 /dev/urandom >f")
    assert.equal(9, index_in(jobs, "--mode", "content").status)
    assert.same({ { "sampled" } }, query("SELECT hash_kind FROM entries WHERE path = 'f'"))
    assert.equal(0, index_in(nil, "--mode", "deep", "--fresh").status)
    same_as_xxhsum()
    assert.same({ { "full" } }, query("SELECT hash_kind FROM entries WHERE path = 'f'"))
  end)

  it("deep finds the MIME types that an earlier run was not to look for", function()
    shell("echo text >a.txt; echo '%%PDF-1.4' >no-name")
    local types = "SELECT path, coalesce(mime, '-') FROM entries WHERE kind = 'file' ORDER BY path"
    indexed(0, nil, "--mode", "deep", "--mime", "none")
    assert.same({ { "a.txt", "-" }, { "no-name", "-" } }, query(types))
    indexed(0, nil, "--mode", "deep", "--mime", "name")
    assert.same({ { "a.txt", "text/plain" }, { "no-name", "-" } }, query(types))
    indexed(0, nil, "--mode", "deep", "--mime", "magic")
    assert.same({ { "a.txt", "text/plain" }, { "no-name", "application/pdf" } }, query(types))
    writes_nothing(nil, "--mode", "deep", "--mime", "magic")
  end)

  -- To libmagic one byte is application/octet-stream, which comes before text/x-python.
  it("deep takes the type that a name says before the one of the same bytes without such a name",
    function()
      for _, order in ipairs { { "b.py", "aa" }, { "aa", "b.py", "cc" } } do
        shell("rm -f *")
        for _, name in ipairs(order) do
          shell("echo >" .. name)
          indexed(0, nil, "--mode", "deep")
        end
        assert.same({ { "text/x-python", "text" } }, query("SELECT mime, kind FROM contents"))
      end
    end)
end)

describe("a library", function()
  it("whose path leaves no room for its files is refused, and nothing is made", function()
    local path = dir
    while #path + 201 < 4085 do path = path .. "/" .. ("d"):rep(200) end
    path = path .. "/" .. ("e"):rep(4085 - #path - 1)
    local result = fixture.run { fixture.sdlua, "index", "--library", path, tree }
    assert.equal(14, result.status, result.err)
    assert.truthy(result.err:find("too long", 1, true), result.err)
    assert.equal("", fixture.sh(("find %s -name 'dddd*'"):format(dir)))
  end)
end)
