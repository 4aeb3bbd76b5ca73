-- What the machine does wrong, and what is wrong with a library: named errors and exit codes,
-- nothing lost, no crash.
local fixture = require "support.fixture"
local uv = require "sd.core".luv

local quote, sdlua = fixture.quote, fixture.sdlua
local dir, tree, library

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(("mkdir -p %s/a/b && seq 100 > %s/a/f && seq 200 > %s/a/b/g"):format(tree, tree, tree))
end)

after_each(function() fixture.remove(dir) end)

-- `sdlua index …` with shell text in front of it and behind it.
local function index_in_shell(before, after, ...)
  local words = { quote(sdlua), "index --progress none --library", quote(library) }
  for _, word in ipairs { ... } do words[#words + 1] = quote(word) end
  return fixture.run { "sh", "-c", ("%s %s %s"):format(before, table.concat(words, " "), after) }
end

describe("standard descriptors that are closed", function()
  for _, closed in ipairs { "<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", "<&- >&- 2>&-" } do
    it("do not matter: " .. closed, function()
      local result = index_in_shell("", closed, "--mode", "deep", tree)
      assert.equal(0, result.status, result.err)
      fixture.check_library(library)
      assert.same({ { "5" } }, fixture.sql(library, "SELECT count(*) FROM entries"))
    end)
  end
end)

local function index(...) return index_in_shell("", "", ...) end

describe("a stdout that takes nothing", function()
  it("makes a result that was lost a failure", function()
    for _, flag in ipairs { "--json", "--fresh" } do
      local result = index_in_shell("", ">/dev/full", flag, tree)
      assert.equal(1, result.status)
      assert.equal("sdlua: cannot write to standard output: No space left on device\n", result.err)
    end
    for _, command in ipairs { "", "index", "run indexer", "search", "job list" } do
      local result = fixture.run { "sh", "-c", ("%s %s --help >/dev/full"):format(quote(sdlua),
        command) }
      assert.equal(1, result.status, command)
      assert.equal("sdlua: cannot write to standard output: No space left on device\n", result.err)
    end
    fixture.check_library(library)
  end)

  it("does not hide what else went wrong", function()
    assert.equal(1, index_in_shell("", ">/dev/full", tree .. "/none").status)
    assert.equal(2, index_in_shell("", ">/dev/full", "--nonsense").status)
  end)

  it("of a job's results larger than a buffer is seen, too", function()
    local script = dir .. "/large.lua"
    fixture.write(script, 'local sd = require "sd"\nlocal J = sd.job.define { name = "large" }\n'
      .. 'function J:run() return { text = ("x"):rep(100000) } end\nreturn J\n')
    local result = fixture.run { "sh", "-c", ("%s run %s --json --library %s >/dev/full"):format(
      quote(sdlua), quote(script), quote(library)) }
    assert.equal(1, result.status, result.err)
    assert.is_truthy(result.err:find("standard output", 1, true), result.err)
  end)
end)

-- Something wrong is said in one line, with this exit code.
local function assert_fails(status, part, result)
  assert.equal(status, result.status, result.err)
  assert.is_truthy(result.err:find(part, 1, true), result.err)
  assert.is_nil(result.err:find("traceback", 1, true), result.err)
end

-- Changes the library behind sdlua's back.
local function break_library(sql)
  fixture.sh(("sqlite3 %s/library.db %s"):format(quote(library), quote(sql)))
end

describe("a damaged library", function()
  local DAMAGES = {
    "DROP TABLE counter", "DROP TABLE content", "DROP TABLE vanished", "DROP TABLE job",
    "DROP TABLE location", "DROP TABLE directory", "DROP TABLE entry", "DROP TABLE job_history",
    "DROP INDEX entry_todo", "DROP INDEX entry_inode", "DROP INDEX entry_name",
    "DELETE FROM location", "UPDATE location SET uuid = x'00'", "PRAGMA user_version = 0",
    "PRAGMA user_version = -1", "UPDATE entry SET parent_id = id WHERE parent_id < 0",
    "UPDATE directory SET anchor = entry_id",
    "UPDATE entry SET id = 9223372036854775807 WHERE name = 'f'",
  }
  for _, damage in ipairs(DAMAGES) do
    it("is named, with exit code 12: " .. damage, function()
      assert.equal(0, index("--mode", "deep", tree).status)
      break_library(damage)
      -- Work for every table; without an end in some of these, once.
      fixture.sh(("cd %s && rm a/f && seq 300 > a/h && ln a/h a/i && mkdir a/j"):format(tree))
      assert_fails(12, "damaged", index_in_shell("timeout -s KILL 20", "", "--mode", "deep", tree))
    end)
  end

  -- What is found on the disk is new then; what lies in a circle is out of reach.
  it("where directories lie in a circle comes to an end", function()
    for _, parent in ipairs { "id", "(SELECT id FROM entry WHERE name = 'b')" } do
      assert.equal(0, index(tree).status)
      break_library(("UPDATE entry SET parent_id = %s WHERE name = 'a'"):format(parent))
      local result = index_in_shell("timeout -s KILL 20", "", tree)
      assert.is_true(result.status == 0 or result.status == 12, result.err)
      fixture.sh("rm -r " .. library)
    end
  end)

  local QUESTIONS = { { "search" }, { "search", "f" }, { "search", "-p", "f" }, { "ls", "TREE" },
    { "top", "files" }, { "top", "dirs" }, { "dupes", "--known" }, { "export" }, { "du", "TREE" },
    { "tree", "TREE" }, { "stat", "TREE" }, { "sql", "SELECT count(path) FROM entries" } }

  -- Exit codes of all questions: code -> how often; none is a wrong command line.
  local function ask_all()
    local codes = {}
    for _, question in ipairs(QUESTIONS) do
      local words = { "timeout", "-s", "KILL", "20", sdlua }
      for _, word in ipairs(question) do words[#words + 1] = word == "TREE" and tree or word end
      words[#words + 1], words[#words + 2] = "--library", library
      local result = fixture.run(words)
      if result.status ~= 0 then
        assert_fails(12, "damaged", result)
        assert.is_nil(result.err:find("Usage", 1, true), result.err)
      end
      codes[result.status] = (codes[result.status] or 0) + 1
    end
    return codes
  end

  it("is named by whoever asks it, whatever is missing", function()
    assert.equal(0, index("--mode", "deep", tree).status)
    fixture.sh(("cp -r %s %s.whole"):format(library, library))
    local failed = {}
    for _, row in ipairs(fixture.sql(library, "SELECT type, name FROM sqlite_schema WHERE type IN"
      .. " ('table', 'view') AND name NOT LIKE 'sqlite%' OR name = 'entry_inode'")) do
      break_library(("DROP %s %s"):format(row[1], row[2]))
      failed[row[2]] = ask_all()[12] or 0
      fixture.sh(("rm -r %s && cp -r %s.whole %s"):format(library, library, library))
    end
    -- Those that nothing can be said without.
    for _, name in ipairs { "location", "entry", "directory", "content", "entries", "entry_row" } do
      assert.is_true(failed[name] > 0, name)
    end
    -- A wrong question remains one.
    local result = fixture.run_sdlua("sql", "SELECT nonesuch", "--library", library)
    assert_fails(2, "no such column: nonesuch", result)
  end)

  it("is named by whoever asks it, where directories lie in a circle", function()
    assert.equal(0, index("--mode", "deep", tree).status)
    break_library("UPDATE directory SET anchor = entry_id WHERE path = 'a/b'")
    assert.is_true(ask_all()[12] >= 2)
  end)

  it("makes the views fail, and not run on", function()
    assert.equal(0, index(tree).status)
    break_library("UPDATE directory SET anchor = entry_id")
    local result = fixture.run({ "sqlite3", "-readonly", library .. "/library.db",
      "SELECT length(path) FROM entries" }, "timeout 20")
    assert.equal(1, result.status)
    assert.is_truthy(result.err:find("integer overflow", 1, true), result.err)
  end)

  it("is named where the file is no database, or not ours", function()
    fixture.sh("mkdir " .. library)
    fixture.sh(("seq 10000 > %s/library.db"):format(library))
    assert_fails(12, "library.db", index(tree))
    fixture.sh(("rm %s/library.db; sqlite3 %s/library.db 'CREATE TABLE t(a)'"):format(library,
      library))
    assert_fails(12, "not an sdlua library", index(tree))
  end)

  it("is named where there is no file, and nobody waits for it", function()
    for _, what in ipairs { "mkfifo", "mkdir" } do
      fixture.sh(("rm -rf %s; mkdir %s; %s %s/library.db"):format(library, library, what, library))
      for _, command in ipairs { "index " .. quote(tree), "sql 'SELECT 1'", "job list", "du" } do
        local result = fixture.run { "sh", "-c", ("timeout 20 %s %s --library %s"):format(
          quote(sdlua), command, quote(library)) }
        assert.equal(12, result.status, command .. result.err)
        assert.is_truthy(result.err:find("library.db is not a file", 1, true), result.err)
      end
    end
  end)

  it("is named where pages are lost", function()
    fixture.sh(("cd %s && seq 3000 | xargs touch"):format(tree))
    assert.equal(0, index(tree).status)
    fixture.sh(("sqlite3 %s/library.db 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null && truncate"
      .. " -s 40960 %s/library.db"):format(library, library))
    local named = library .. "/library.db: database disk image is malformed"
    local result = index(tree)
    assert_fails(12, named, result)
    assert.equal(1, select(2, result.err:gsub("library%.db", "")))
  end)
end)

describe("a library that goes away during a run", function()
  it("is exit code 14, whatever the job came to", function()
    fixture.write(dir .. "/slow.lua", [[local sd = require "sd"
      local J = sd.job.define { name = "slow" }
      function J:run(ctx) ctx:sleep(1) end
      return J]])
    for _, command in ipairs { "rm -r library", "mv library away",
      "rm -r library; mkdir library; touch library/library.lock" } do
      local process = fixture.start({ sdlua, "run", dir .. "/slow.lua", "--library", library,
        "--json" }, { out = dir .. "/out", err = dir .. "/err" })
      repeat process:sleep(20) until uv.fs_stat(library .. "/library.sock")
      fixture.sh(("cd %s; %s"):format(dir, command))
      assert.equal(14, (process:wait()), fixture.read(dir .. "/err"))
      assert.is_truthy(fixture.read(dir .. "/err"):find("library is no longer there", 1, true))
      assert.equal("", fixture.read(dir .. "/out"))
      fixture.sh(("cd %s; rm -rf library away"):format(dir))
    end
  end)
end)

describe("a library that may not be read", function()
  it("is said to be that, and not to be missing", function()
    local user = fixture.as_user()
    if not user or #user == 0 then return pending("needs root, and an ordinary user") end
    assert.equal(0, index(tree).status)
    fixture.sh(("chmod 755 %s %s && chmod 600 %s/library.db"):format(dir, library, library))
    local words = { table.unpack(user) }
    for _, word in ipairs { sdlua, "search", "--library", library } do words[#words + 1] = word end
    local result = fixture.run(words)
    assert.equal(1, result.status)
    assert.equal(("sdlua: open %s/library.db: Permission denied\n"):format(library), result.err)
  end)
end)

describe("a library of a newer version", function()
  it("is refused with exit code 13, and left as it is", function()
    assert.equal(0, index(tree).status)
    break_library("PRAGMA user_version = 99")
    fixture.sh(("sqlite3 %s/library.db 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null"):format(
      library))
    local before = fixture.sh(("sha256sum < %s/library.db"):format(library))
    assert_fails(13, "newer", index(tree))
    assert.equal(before, fixture.sh(("sha256sum < %s/library.db"):format(library)))
  end)
end)

describe("a library that is not there", function()
  it("is exit code 10 for a command that makes none", function()
    assert_fails(10, "no library there", fixture.run_sdlua("job", "list", "--library", library))
  end)
end)

describe("a library that cannot be written", function()
  -- Whatever ran before goes on once the cause is gone.
  local function assert_goes_on()
    local result = index(tree)
    assert.equal(0, result.status, result.err)
    fixture.check_library(library)
    assert.same({}, fixture.differences(fixture.entries(library), fixture.find(tree)))
  end

  it("is exit code 14 where files may not grow", function()
    fixture.sh(("cd %s && seq 5000 | xargs touch"):format(tree))
    for _, blocks in ipairs { 0, 40, 200, 600 } do
      assert_fails(14, "", index_in_shell(("ulimit -f %d;"):format(blocks), "", tree))
    end
    assert_goes_on()
  end)

  it("is exit code 14 where the disk is full", function()
    local mount = ("mount -t tmpfs -o size=2m none %s 2>/dev/null"):format(library)
    fixture.sh("mkdir " .. library)
    if not os.execute(("unshare -m sh -c %s"):format(quote(mount))) then
      return pending("no file system can be mounted here")
    end
    fixture.sh(("cd %s && seq 20000 | xargs touch"):format(tree))
    local script = ("%s && %s index --progress none --library %s %s; s=$?; rm -f %s/fill; exit $s")
      :format(mount, quote(sdlua), library, tree, library)
    local result = fixture.run { "unshare", "-m", "sh", "-c", script }
    assert_fails(14, "nothing that was committed is lost", result)
    assert.is_truthy(result.err:find(library .. "/library.db: database or disk is full", 1, true),
      result.err)
  end)

  it("is exit code 14 where it is read-only", function()
    local user = fixture.as_user()
    if not user then return pending("needs an ordinary user") end
    assert.equal(0, index(tree).status)
    fixture.sh(("chmod 755 %s && chmod -R a+rX,a-w %s"):format(dir, library))
    local words = table.move({ sdlua, "index", "--progress", "none", "--library", library, tree },
      1, 7, #user + 1, { table.unpack(user) })
    assert_fails(14, "Permission denied", fixture.run(words))
    fixture.sh("chmod -R u+w " .. library)
    assert_goes_on()
  end)

  it("is read by whoever may not write there, also where the file is all there is", function()
    local user = fixture.as_user()
    if not user then return pending("needs an ordinary user") end
    assert.equal(0, index(tree).status)
    fixture.sh(("cd %s && sqlite3 library.db 'PRAGMA wal_checkpoint(TRUNCATE)' &&"
      .. " rm -f library.db-* && chmod 755 . .. && chmod 644 library.db"):format(library))
    local words = table.move({ sdlua, "search", "--count", "--library", library }, 1, 5, #user + 1,
      { table.unpack(user) })
    local result = fixture.run(words)
    assert.equal(0, result.status, result.err)
    assert.equal(fixture.sh(("find %s | wc -l"):format(tree)), result.out)
    assert.equal("library.db\nlibrary.lock\n", fixture.sh("ls " .. library))
  end)

  it("is exit code 14 where another program holds the lock", function()
    if not fixture.has("flock") then return pending("flock is not installed") end
    assert.equal(0, index(tree).status)
    local holder = fixture.start { "flock", library .. "/library.lock", "sleep", "20" }
    holder:sleep(200)
    assert_fails(14, "in use by another process", index(tree))
    holder:kill("sigterm")
    holder:wait(5000)
    fixture.sh(("flock -w 25 %s/library.lock true"):format(library))
    assert_goes_on()
  end)

  it("is exit code 14 where another program keeps the database for itself", function()
    assert.equal(0, index(tree).status)
    fixture.sh("mkfifo " .. dir .. "/end")
    local script = [[{ echo 'PRAGMA locking_mode = exclusive; BEGIN IMMEDIATE;
      CREATE TABLE other(a); SELECT 1;'; cat %s/end; } | sqlite3 %s/library.db]]
    local holder = fixture.start({ "sh", "-c", script:format(dir, library) },
      { out = dir .. "/held" })
    while not fixture.read(dir .. "/held"):find("1", 1, true) do
      assert.is_false(holder:sleep(20))
    end
    local begun = uv.hrtime()
    assert_fails(14, "locked", index(tree))
    assert.is_true(uv.hrtime() - begun < 60e9)
    fixture.sh((": >%s/end"):format(dir))
    holder:wait()
    assert_goes_on()
  end)

  it("is exit code 14 where the disk gives an error, also for what is read", function()
    if not fixture.has("strace") then return pending("strace is not installed") end
    if fixture.is_sanitized() then return pending("strace and sanitizers do not go together") end
    fixture.sh(("cd %s && seq 3000 | xargs touch"):format(tree))
    assert.equal(0, index(tree).status)
    fixture.sh(("sqlite3 %s/library.db 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null"):format(
      library))
    for _, call in ipairs { "pread64", "pwrite64" } do
      local strace = ("strace -f -qq -o /dev/null -P %s/library.db -P %s/library.db-wal -e trace=%s"
        .. " -e inject=%s:error=EIO:when=8+"):format(library, library, call, call)
      assert_fails(14, "", index_in_shell(strace, "", "--fresh", tree))
    end
    assert_goes_on()
  end)
end)

describe("a disk that fails while the tree is read", function()
  -- One call on the tree fails with EIO; the next run has it all.
  local function assert_noted(call, when, operation)
    if not fixture.has("strace") then return pending("strace is not installed") end
    if fixture.is_sanitized() then return pending("strace and sanitizers do not go together") end
    fixture.sh(("cd %s && ln -s a/f link && mkdir many && cd many && seq 5000 | xargs touch")
      :format(tree))
    local strace = ("strace -f -qq -o /dev/null -e trace=%s -e inject=%s:error=EIO:when=%s")
      :format(call, call, when)
    local result = index_in_shell(strace, "", "--threads", "1", tree)
    assert.equal(3, result.status, result.err)
    assert.same({ { operation, "EIO" } },
      fixture.sql(library, "SELECT operation, error FROM errors"))
    assert.equal(0, index(tree).status)
    assert.same({}, fixture.differences(fixture.entries(library), fixture.find(tree)))
    assert.same({ { "a/f" } },
      fixture.sql(library, "SELECT target FROM entries WHERE kind = 'symlink'"))
  end

  it("has the link again whose target could not be read", function()
    assert_noted("readlinkat", "1", "CreateEntry")
  end)

  it("has the rest of a listing that broke off in the middle", function()
    assert_noted("getdents64", "5", "ReadDir")
  end)
end)

describe("a call that a signal interrupts", function()
  -- As FUSE and NFS have it. Of the calls on the tree, the first and each third one fail.
  for _, call in ipairs { "statx", "openat", "getdents64", "readlinkat", "pread64" } do
    it("is made again: " .. call, function()
      if not fixture.has("strace") then return pending("strace is not installed") end
      if fixture.is_sanitized() then return pending("strace and sanitizers do not go together") end
      fixture.sh(("cd %s && ln -s a/f a/link && mkdir a/many && cd a/many && seq 300 | xargs touch")
        :format(tree))
      local strace = ("strace -f -qq -o %s/calls -P %s -P %s/a -P %s/a/many -P %s/a/f -P link"
        .. " -e trace=%s -e inject=%s:error=EINTR:when=1+3"):format(dir, tree, tree, tree, tree,
        call, call)
      local result = index_in_shell(strace, "", "--mode", "deep", "--rules", "gitignore", tree)
      assert.equal(0, result.status, result.err)
      assert.is_truthy(fixture.read(dir .. "/calls"):find("INJECTED", 1, true))
      assert.same({}, fixture.sql(library, "SELECT * FROM errors"))
      assert.same({}, fixture.differences(fixture.entries(library), fixture.find(tree)))
    end)
  end
end)

describe("a power cut", function()
  it("cannot take a run that is complete", function()
    if not fixture.has("strace") then return pending("strace is not installed") end
    if fixture.is_sanitized() then return pending("strace and sanitizers do not go together") end
    local strace = ("strace -f -qq -o %s/calls -P %s/library.db-wal"
      .. " -e trace=pwrite64,fdatasync,fsync"):format(dir, library)
    assert.equal(0, index(tree).status)
    fixture.sh(("cd %s && seq 3000 | xargs touch"):format(tree))
    local result = index_in_shell(strace, "", tree)
    assert.equal(0, result.status, result.err)
    local syncs, unsynced = 0, 0
    for line in io.lines(dir .. "/calls") do
      if line:find("sync(", 1, true) then syncs, unsynced = syncs + 1, 0
      elseif line:find("pwrite64(", 1, true) then unsynced = unsynced + 1 end
    end
    assert.equal(0, unsynced)
    assert.is_true(syncs >= 3 and syncs < 10, tostring(syncs)) -- phases, not commits
  end)
end)

describe("nice", function()
  it("holds for all threads, and some are nicer than that", function()
    fixture.sh(("truncate -s 30G %s/sparse"):format(tree))
    local process = fixture.start { "nice", "-n", "5", sdlua, "index", "--library", library,
      "--mode", "deep", "--progress", "none", tree }
    process:sleep(500)
    local values = {}
    for line in fixture.sh(("cat /proc/%d/task/*/stat"):format(process.pid)):gmatch("[^\n]+") do
      local fields = line:match("%) (.*)") -- from the third on
      local i = 0
      for field in fields:gmatch("%S+") do
        i = i + 1
        if i == 17 then values[#values + 1] = tonumber(field) end
      end
    end
    process:kill("sigint")
    process:wait(5000)
    assert.is_true(#values > 4)
    table.sort(values)
    local base = tonumber(fixture.sh("nice")) + 5
    assert.same({ math.min(base, 19), math.min(base + 10, 19) }, { values[1], values[#values] })
  end)
end)

describe("libmagic without its database", function()
  it("costs types and no hashes, and is said once", function()
    fixture.sh(("cd %s && seq 50 > a/text.txt && seq 300 | xargs touch"):format(tree))
    local result = fixture.run({ sdlua, "index", "--library", library, "--progress", "plain",
      "--mode", "deep", "--chunk", "1", tree }, "MAGIC=/nonexistent")
    assert.equal(0, result.status, result.err)
    assert.equal(1, select(2, result.err:gsub("warning: MIME types come from names alone: ", "")))
    assert.same({ { "0" } }, fixture.sql(library, "SELECT count(*) FROM entries"
      .. " WHERE kind = 'file' AND size > 0 AND hash IS NULL"))
    assert.same({ { "text/plain" } },
      fixture.sql(library, "SELECT mime FROM entries WHERE name = 'text.txt'"))
  end)
end)

describe("too little of what a process needs", function()
  it("is no error in a script where there are few descriptors", function()
    for n = 16, 40 do
      local result = index_in_shell(("ulimit -n %d;"):format(n), "", "--mode", "deep", tree)
      assert.is_nil(result.err:find("traceback", 1, true), ("%d: %s"):format(n, result.err))
      assert.is_true(result.status ~= 15, ("%d: %s"):format(n, result.err))
      if n >= 32 then assert.equal(0, result.status, result.err) end
      fixture.sh("rm -rf " .. library)
    end
  end)

  it("is named where few descriptors are left, and is no error of an entry", function()
    fixture.sh(("cd %s && for i in $(seq 20); do mkdir -p d$i/e/f; seq $i >d$i/e/f/n; done"):format(
      tree))
    local function assert_all_or_nothing(before)
      local result = index_in_shell(before, "", "--mode", "deep", "--threads", "2", tree)
      if result.status == 0 then
        assert.same({}, fixture.differences(fixture.entries(library), fixture.find(tree)))
      else
        assert.equal(1, result.status, before .. ": " .. result.err)
        assert.is_truthy(result.err:find("too few file descriptors are left (see ulimit -n)", 1,
          true), before .. ": " .. result.err)
      end
      fixture.sh("rm -rf " .. library)
    end
    for n = 16, 40 do assert_all_or_nothing(("ulimit -n %d;"):format(n)) end
    -- What is inherited is taken, too.
    for n = 20, 52, 2 do
      assert_all_or_nothing(("ulimit -n 64; exec bash -c 'for i in $(seq 4 %d); do"
        .. [[ eval "exec $i</dev/null"; done; exec "$@"' --]]):format(n))
    end
  end)

  it("ends a run that goes on later, where no file can be opened", function()
    if not fixture.has("strace") then return pending("strace is not installed") end
    if fixture.is_sanitized() then return pending("strace and sanitizers do not go together") end
    local strace = ("strace -f -qq -o %s/calls -P %s/a/b -e trace=openat"
      .. " -e inject=openat:error=%%s:when=%%s"):format(dir, tree)
    local result = index_in_shell(strace:format("EMFILE", "1+"), "", "--mode", "deep", tree)
    assert.equal(1, result.status, result.err)
    assert.is_truthy(result.err:find("no file descriptor is left", 1, true), result.err)
    assert.same({}, fixture.sql(library, "SELECT * FROM errors"))
    assert.same({ { "paused" } }, fixture.sql(library, "SELECT status FROM jobs"))
    result = index("--mode", "deep", tree)
    assert.equal(0, result.status, result.err)
    local hashed = "SELECT count(hash), (SELECT count(*) FROM jobs), (SELECT count(*) FROM errors)"
      .. " FROM entries"
    assert.same({ { "2", "1", "0" } }, fixture.sql(library, hashed))
    -- What is over soon is waited for.
    fixture.sh("rm -rf " .. library)
    result = index_in_shell(strace:format("ENFILE", "1"), "", "--mode", "deep", tree)
    assert.is_truthy(fixture.read(dir .. "/calls"):find("INJECTED", 1, true))
    assert.equal(0, result.status, result.err)
    assert.same({ { "2", "1", "0" } }, fixture.sql(library, hashed))
  end)

  it("is exit code 17 where memory is out, and nobody else speaks of it", function()
    if fixture.is_sanitized() then return pending("sanitizers take terabytes of addresses") end
    for kib = 20000, 60000, 10000 do
      local result = index_in_shell(("ulimit -v %d;"):format(kib), "", tree)
      assert.equal(17, result.status, ("%d: %s"):format(kib, result.err))
    end
    fixture.sh(("cd %s && for i in 1 2 3 4 5 6 7 8; do seq $i 9 >no-name-says-it-$i; done"):format(
      tree))
    for kib = 100000, 500000, 50000 do
      local result = index_in_shell(("ulimit -v %d;"):format(kib), "", "--mode", "deep",
        "--threads", "4", tree)
      assert.is_true(result.status == 17 or result.status == 0, ("%d: %s"):format(kib, result.err))
      for line in result.err:gmatch("[^\n]+") do
        assert.is_truthy(line:find("^sdlua: ") or line:find("^" .. tree .. ": "), line)
      end
    end
    assert.equal(0, index("--mode", "deep", tree).status)
    assert.same({ { "0" } }, fixture.sql(library, "SELECT count(*) FROM entries"
      .. " WHERE kind = 'file' AND mime IS NULL"))
  end)

  it("is named where no thread can be started", function()
    if not fixture.has("strace") then return pending("strace is not installed") end
    if fixture.is_sanitized() then return pending("strace and sanitizers do not go together") end
    for _, from in ipairs { 1, 3, 6 } do
      assert_fails(1, "start a thread", index_in_shell(("strace -f -qq -o /dev/null"
        .. " -e inject=clone,clone3:error=EAGAIN:when=%d+"):format(from), "", tree))
    end
  end)
end)
