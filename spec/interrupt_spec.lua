-- SIGINT and SIGTERM: the run ends soon, says 130 or 143, and the next one goes on from there.
local fixture = require "support.fixture"
local uv = require "sd.core".luv

local slow = fixture.is_sanitized()
local LIMIT_MS = slow and 2000 or 200
-- What another process on a busy machine may add is not the program's: the best of so many counts.
local ATTEMPTS = 3

local dir, tree, library, on_tmpfs

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. tree)
  -- Hundreds of thousands of files are made faster in memory, where that is allowed.
  local mount = ("mount -t tmpfs -o nr_inodes=1000000 tmpfs %s 2>/dev/null"):format(tree)
  on_tmpfs = os.execute(mount) == true
end)

after_each(function()
  if on_tmpfs then fixture.sh("umount " .. tree) end
  fixture.remove(dir)
end)

-- ---- trees ----

-- Folders of 1000 empty files.
local function make_empty_files(folders)
  fixture.sh(([[cd %s && for i in $(seq %d); do
    mkdir e$i; (cd e$i; seq -f f%%.0f 1000 | xargs touch); done]]):format(tree, folders))
end

-- Folders of 500 small files, no two alike.
local function make_small_files(folders)
  for i = 1, folders do
    local folder = ("%s/s%d"):format(tree, i)
    uv.fs_mkdir(folder, 493)
    for k = 1, 500 do
      fixture.write(("%s/f%d.txt"):format(folder, k), ("file %d %d\n"):format(i, k))
    end
  end
  fixture.sh("sync -f " .. tree)
end

-- Whether this file system stores holes of that size.
local function make_sparse(gigabytes)
  return os.execute(("truncate -s %dG %s/sparse 2>/dev/null"):format(gigabytes, tree)) == true
end

-- ---- runs ----

local function words(...)
  return { fixture.sdlua, "index", "--library", library, "--progress", "none", tree, ... }
end

local function start(...)
  return fixture.start(words(...), { out = dir .. "/out", err = dir .. "/err" })
end

-- The phase of the unfinished job; nil where there is none yet.
local function phase_now()
  if not uv.fs_stat(library .. "/library.db") then return nil end
  local pipe = io.popen(("sqlite3 -readonly %s/library.db 'SELECT phase FROM job' 2>/dev/null")
    :format(library))
  local text = pipe:read("a")
  pipe:close()
  return text:match("%S+")
end

local function has_schema()
  return uv.fs_stat(library .. "/library.db") ~= nil and os.execute(
    ("sqlite3 -readonly %s/library.db 'SELECT count(*) FROM jobs' >/dev/null 2>&1"):format(library))
end

local function wait_for_phase(process, phase)
  for _ = 1, 6000 do
    if phase_now() == phase then return true end
    if process:sleep(2) then return false end
  end
  return false
end

local function has_unfinished()
  local sql = "SELECT count(*) FROM job WHERE parent_id IS NULL"
  return fixture.sql(library, sql)[1][1] == "1"
end

-- Starts, waits until `ready(process)`, sends the signal; attempts that ended before it do not
-- count. The milliseconds of the best attempt.
local function interrupted(options)
  local best, statuses = math.huge, {}
  for _ = 1, ATTEMPTS do
    local process = start(table.unpack(options.args or {}))
    local ready = options.ready(process)
    process:kill(options.signal or "sigint")
    local status, ms = process:wait(20000)
    statuses[#statuses + 1] = tostring(status)
    if ready and status == (options.status or 130) then
      best = math.min(best, ms)
      fixture.check_library(library)
      assert.is_true(has_unfinished(), "nothing is left to resume")
    end
    if best <= LIMIT_MS / 2 then break end
    if options.again then options.again() end
  end
  assert.is_true(best < math.huge, "ended with " .. table.concat(statuses, ", "))
  print(("%s: %.0f ms"):format(options.name, best))
  assert.is_true(best <= LIMIT_MS, ("%.0f ms"):format(best))
end

local function in_phase(phase, ms)
  return function(process) return wait_for_phase(process, phase) and not process:sleep(ms or 0) end
end

-- Where tree and options are the same, another library knows the same.
local function check_equals_uninterrupted(...)
  fixture.check_library(library)
  fixture.check_nothing_left(library)
  local fresh = dir .. "/fresh"
  local result = fixture.run { fixture.sdlua, "index", "--library", fresh, "--progress", "none",
    tree, ... }
  assert.equal(0, result.status, result.err)
  assert.equal("", table.concat(fixture.index_differences(library, fresh), "\n"))
end

-- The same command completes; then the index is that of an uninterrupted run.
local function check_resumes(...)
  local result = fixture.run { fixture.sdlua, "index", "--library", library, "--progress", "plain",
    tree, ... }
  assert.equal(0, result.status, result.err)
  assert.is_truthy(result.err:find("resuming job", 1, true), result.err)
  check_equals_uninterrupted(...)
end

-- Sends SIGINT to a process that is not ours; the milliseconds until it is gone or a zombie, which
-- a tracer may keep.
local function end_of_pid(pid)
  local from = uv.hrtime()
  assert.equal(0, uv.kill(pid, "sigint"))
  repeat
    uv.sleep(1)
    local file = io.open(("/proc/%d/stat"):format(pid))
    local state = file and file:read("a"):match("%) (%a)")
    if file then file:close() end
  until not state or state == "Z" or state == "X" or uv.hrtime() - from > 20e9
  return (uv.hrtime() - from) / 1e6
end

describe("SIGINT ends the run within 200 ms", function()
  it("while directories are walked", function()
    make_empty_files(200)
    interrupted { name = "discovery", args = { "--mode", "shallow" },
      ready = in_phase("discovery", 30), again = function() fixture.sh("rm -rf " .. library) end }
    check_resumes("--mode", "shallow")
  end)

  it("while a huge directory is read", function()
    fixture.sh(("cd %s && seq -f f%%.0f 200000 | xargs touch"):format(tree))
    interrupted { name = "one directory", args = { "--mode", "shallow" },
      ready = in_phase("discovery", 10), again = function() fixture.sh("rm -rf " .. library) end }
    check_resumes("--mode", "shallow")
  end)

  it("while a huge file is hashed", function()
    if not make_sparse(300) then
      pending("this file system has no sparse files of 300 GB")
      return
    end
    interrupted { name = "huge file", args = { "--mode", "deep" },
      ready = in_phase("content_identification", 100) }
    fixture.sh(("truncate -s 10G %s/sparse"):format(tree)) -- what follows is to end
    -- A file that has changed meanwhile is noticed by this run or the next.
    local status = fixture.run(words("--mode", "deep")).status
    assert.is_true(status == 0 or status == 3)
    assert.equal(0, fixture.run(words("--mode", "deep")).status)
    fixture.check_nothing_left(library)
  end)

  it("while a file of 10 GB is hashed, and hashes it in the end", function()
    if not make_sparse(10) then
      pending("this file system has no sparse files of 10 GB")
      return
    end
    make_small_files(2)
    local process = start("--mode", "deep")
    local ready = in_phase("content_identification", 50)(process)
    process:kill("sigint")
    local status, ms = process:wait(20000)
    if ready and status ~= 0 then
      assert.equal(130, status)
      assert.is_true(ms <= 2 * LIMIT_MS, ms)
      check_resumes("--mode", "deep")
    end
    local expected = fixture.sh(("xxhsum -H2 %s/sparse"):format(tree)):match("%x+")
    assert.same({ { expected, "full" } },
      fixture.sql(library, "SELECT hash, hash_kind FROM entries WHERE path = 'sparse'"))
  end)

  it("while many small files are hashed", function()
    make_small_files(60)
    interrupted { name = "small files", args = { "--mode", "deep", "--chunk", "50" },
      ready = in_phase("content_identification", 20),
      again = function() fixture.sh("rm -rf " .. library) end }
    check_resumes("--mode", "deep", "--chunk", "50")
  end)

  it("while vanished rows are removed", function()
    make_empty_files(200)
    local full = dir .. "/full"
    assert.equal(0, fixture.run { fixture.sdlua, "index", "--library", full, "--progress", "none",
      "--mode", "shallow", tree }.status)
    fixture.sh(("rm -r %s/*; touch %s/left; cp -r %s %s"):format(tree, tree, full, library))
    interrupted { name = "finalizing", args = { "--mode", "shallow" },
      ready = in_phase("finalizing"), again = function()
        fixture.sh(("rm -rf %s; cp -r %s %s"):format(library, full, library))
      end }
    check_resumes("--mode", "shallow")
    assert.same({ { "2" } }, fixture.sql(library, "SELECT count(*) FROM entries"))
  end)

  -- The system calls of the run take two seconds each, as on a disk that has gone to sleep. (The
  -- library is there: while it is made nobody waits for signals.)
  for call, from in pairs { pwrite64 = 30, getdents64 = 5 } do
    it("while a thread waits in " .. call, function()
      if not fixture.has("strace") then
        pending("strace is not installed")
        return
      end
      assert.equal(0, fixture.run(words("--mode", "shallow")).status)
      make_empty_files(5)
      -- (Leaks cannot be looked for under strace.)
      local list = { "env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-f", "-qq", "-o", "/dev/null",
        "-e", "trace=" .. call, "-e", ("inject=%s:delay_enter=%d:when=%d+"):format(call,
          slow and 8000000 or 2000000, from) }
      local run = words("--mode", "shallow", "--batch", "10")
      local process = fixture.start(table.move(run, 1, #run, #list + 1, list))
      process:sleep(slow and 6000 or 1500)
      local pid = fixture.sh(("cat %s/library.lock"):format(library)):match("%d+")
      local ms = end_of_pid(math.tointeger(tonumber(pid)))
      process:wait(30000)
      print(("slow %s: %.0f ms"):format(call, ms))
      assert.is_true(ms <= LIMIT_MS, ("%.0f ms"):format(ms))
      assert.equal(0, fixture.run(words("--mode", "shallow", "--batch", "10")).status)
      fixture.check_library(library)
      fixture.check_nothing_left(library)
    end)
  end
end)

-- ---- somebody does not read ----

-- A fifo that is full: what is written to it waits until somebody reads.
local function full_fifo()
  local path = dir .. "/fifo"
  fixture.sh("mkfifo " .. path)
  local reader = assert(uv.fs_open(path, uv.constants.O_RDONLY | uv.constants.O_NONBLOCK, 0))
  local filler = assert(uv.fs_open(path, uv.constants.O_WRONLY | uv.constants.O_NONBLOCK, 0))
  local piece = ("x"):rep(4096)
  while uv.fs_write(filler, piece, -1) do piece = piece:sub(1) end
  uv.fs_close(filler)
  return path, reader
end

describe("with a stderr that nobody reads", function()
  for _, progress in ipairs { "plain", "json", "bar" } do
    it("SIGINT ends a run with --progress " .. progress, function()
      make_small_files(2)
      if not make_sparse(300) then
        pending("this file system has no sparse files of 300 GB")
        return
      end
      local fifo, reader = full_fifo()
      local process = fixture.start({ fixture.sdlua, "index", "--library", library, "--progress",
        progress, "--mode", "deep", tree }, { err = fifo })
      local ready = in_phase("content_identification", 1200)(process)
      process:kill("sigint")
      local status, ms = process:wait(5000)
      uv.fs_close(reader)
      assert.is_true(ready, "the run ended early")
      assert.equal(130, status)
      assert.is_true(ms <= LIMIT_MS, ("%.0f ms"):format(ms))
      fixture.check_library(library)
      assert.is_true(has_unfinished())
      fixture.sh(("rm %s/sparse"):format(tree))
      -- The first may not look again at what was listed before; the second does.
      local first = fixture.run(words("--mode", "deep"))
      assert.is_true(first.status == 0 or first.status == 3, first.err)
      assert.equal(0, fixture.run(words("--mode", "deep")).status)
      check_equals_uninterrupted("--mode", "deep")
    end)
  end

  it("the run goes on", function()
    make_small_files(4)
    local fifo, reader = full_fifo()
    local process = fixture.start({ fixture.sdlua, "index", "--library", library, "--progress",
      "json", "--mode", "deep", tree }, { err = fifo })
    for _ = 1, 500 do
      local count = "SELECT count(*) FROM jobs WHERE status = 'completed'"
      if phase_now() == "complete" or phase_now() == nil and has_schema()
        and fixture.sql(library, count)[1][1] == "1" then break end
      if process:sleep(10) then break end
    end
    uv.fs_close(reader)
    process:wait(5000)
    assert.same({ { "completed" } }, fixture.sql(library, "SELECT status FROM jobs"))
  end)
end)

-- ---- other signals, other moments ----

describe("a signal", function()
  it("SIGTERM pauses, too, and says 143", function()
    make_small_files(40)
    interrupted { name = "SIGTERM", signal = "sigterm", status = 143, args = { "--mode", "deep" },
      ready = in_phase("content_identification"),
      again = function() fixture.sh("rm -rf " .. library) end }
    check_resumes("--mode", "deep")
  end)

  it("that comes twice ends the run at once", function()
    make_small_files(60)
    local process = start("--mode", "deep")
    assert.is_true(in_phase("content_identification")(process))
    process:kill("sigint")
    process:sleep(1)
    process:kill("sigint")
    local status, ms = process:wait(5000)
    assert.equal(130, status)
    assert.is_true(ms <= LIMIT_MS, ("%.0f ms"):format(ms))
    fixture.check_library(library)
    check_resumes("--mode", "deep")
  end)

  it("that comes at any early moment leaves a library that can be used", function()
    fixture.seed("interrupt_spec")
    make_small_files(2)
    for _ = 1, slow and 10 or 40 do
      local process = start()
      local us = math.random(0, slow and 300000 or 30000)
      if us >= 1000 then process:sleep(us // 1000) end
      process:kill("sigint")
      local status, ms = process:wait(5000)
      assert.is_true(status == 130 or status == 0,
        tostring(status) .. fixture.read(dir .. "/err"))
      if status == 130 then assert.is_true(ms <= 2 * LIMIT_MS, ("%.0f ms"):format(ms)) end
      if math.random() < 0.3 then
        assert.equal(0, fixture.run(words()).status)
        fixture.check_library(library)
        fixture.check_nothing_left(library)
      end
      if math.random() < 0.3 then fixture.sh("rm -rf " .. library) end
    end
    assert.is_nil(fixture.read(dir .. "/err"):find("traceback", 1, true))
    assert.equal(0, fixture.run(words()).status)
    fixture.check_library(library)
  end)

  it("SIGINT stops the second of two paths, and keeps the first", function()
    make_small_files(2)
    local other = dir .. "/other"
    fixture.sh(("cp -r %s %s && rm -r %s/s1"):format(tree, other, tree))
    make_small_files(60)
    local process = fixture.start { fixture.sdlua, "index", "--library", library, "--progress",
      "none", "--mode", "deep", other, tree }
    -- One query: the first may end between two.
    local sql = "SELECT count(*) FROM job WHERE phase = 'content_identification'"
      .. " AND (SELECT count(*) FROM job_history) = 1"
    for _ = 1, 2000 do
      if has_schema() and fixture.sql(library, sql)[1][1] == "1" then break end
      if process:sleep(2) then break end
    end
    process:kill("sigint")
    assert.equal(130, (process:wait(5000)))
    assert.same({ { "complete" }, { "indexing" } },
      fixture.sql(library, "SELECT state FROM locations ORDER BY id"))
  end)
end)

-- ---- a reader that goes away ----

describe("a reader that goes away", function()
  for _, progress in ipairs { "json", "plain", "bar" } do
    it("does not lose the job, with --progress " .. progress, function()
      make_small_files(60)
      local text = fixture.sh(("timeout 60 sh -c '%s index --library %s --progress %s --mode deep"
        .. " %s 2>&1; echo $? >%s/status' | head -c 20"):format(fixture.sdlua, library, progress,
        tree, dir))
      local status = tonumber(fixture.read(dir .. "/status"))
      assert.is_nil(text:find("traceback", 1, true))
      assert.is_true(status == 0 or status == 141, "status " .. status)
      assert.equal(0, fixture.run(words("--mode", "deep")).status)
      fixture.check_library(library)
      fixture.check_nothing_left(library)
      assert.equal(fixture.sh(("find %s | wc -l"):format(tree)):match("%d+"),
        fixture.sql(library, "SELECT count(*) FROM entries")[1][1])
    end)
  end
end)
