-- A tree on a file system whose server is a process (FUSE): what is known stays, whatever becomes
-- of the server.
local fixture = require "support.fixture"
local json = require "dkjson"
local uv = require "sd.core".luv

local quote = fixture.quote
local dir, tree, library, server

local function is_mounted()
  return fixture.read("/proc/self/mountinfo"):find(tree .. "/m ", 1, true) ~= nil
end

local function mount(...)
  local words = { "bindfs", "-f", ... }
  words[#words + 1] = dir .. "/source"
  words[#words + 1] = tree .. "/m"
  server = fixture.start(words)
  for _ = 1, 200 do
    if is_mounted() then return end
    if server:sleep(20) then break end
  end
  error("bindfs mounts nothing", 0)
end

local function unmount()
  if not server then return end
  if is_mounted() then fixture.sh("umount -l " .. quote(tree .. "/m")) end
  server:kill("sigterm")
  server:wait(5000)
  server = nil
end

-- Whether that can be mounted here, as in a container it may not; else why not.
local function can_mount()
  if not fixture.has("bindfs") then return false, "bindfs is not installed" end
  if not uv.fs_access("/dev/fuse", "RW") then return false, "there is no /dev/fuse to be used" end
  local ok, why = pcall(mount)
  unmount()
  return ok, why
end

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(("cd %s && mkdir -p tree/m tree/d source && echo 1 > tree/d/f && cd source"
    .. " && for i in $(seq 60); do mkdir s$i; (cd s$i && seq 10 | xargs touch); done"):format(dir))
end)

after_each(function()
  unmount()
  fixture.remove(dir)
end)

local function words(...)
  return { fixture.sdlua, "index", "--library", library, "--progress", "none", "--json", tree, ... }
end

local function index(status, ...)
  local result = fixture.run(words(...))
  assert.equal(status, result.status, result.err)
  return json.decode(result.out)
end

-- What verify finds is told by its status.
local function verify(status)
  local result = fixture.run { fixture.sdlua, "verify", "--library", library, "--progress", "none",
    tree }
  assert.equal(status, result.status, result.err)
end

local function query(sql) return fixture.sql(library, sql) end

local function identities()
  local lines = {}
  for i, row in ipairs(query("SELECT path, id, uuid FROM entries ORDER BY path")) do
    lines[i] = table.concat(row, " ")
  end
  return table.concat(lines, "\n")
end

local UNVERIFIED = "SELECT DISTINCT coalesce(unverified, '') FROM entries WHERE path LIKE 'm/%'"

-- As a desktop has a stick: the directory that it is mounted on is made for it. `where` as in
-- fixture.mounts(), or nil and why there can be none.
local function stick()
  if not fixture.has("mkfs.ext4") then return nil, "mkfs.ext4 is not installed" end
  return fixture.mounts(([[cd %s; rmdir tree/m; mkdir tree/s; truncate -s 4M image
    mkfs.ext4 -q image; mount -o loop image tree/s; mkdir tree/s/a; echo 1 >tree/s/a/1]])
    :format(quote(dir)))
end

describe("a disk that is gone with its mount point", function()
  local mounts

  local function sh(script)
    fixture.sh(("%s sh -ec %s"):format(mounts.where, quote(("cd %s; %s"):format(dir, script))))
  end

  local function indexed(status, ...)
    local result = fixture.run(words(...), mounts.where)
    assert.equal(status, result.status, result.err)
    return json.decode(result.out)
  end

  local STICK = "SELECT path, id, coalesce(unverified, '') FROM entries WHERE path LIKE 's%/%'"
    .. " AND path NOT LIKE '%lost+found' ORDER BY 1"

  it("keeps its entries, unverified", function()
    local held <close>, why = stick()
    if not held then return pending(why) end
    mounts = held
    indexed(0)
    local before = query(STICK)
    sh "umount tree/s; rmdir tree/s"
    for _, by in ipairs { "inode", "mtime" } do
      local output = indexed(3, "--changed-by", by)
      assert.same({ ENODEV = 1 }, output.error_counts)
      assert.equal("s", output.errors[1].path)
      assert.equal(0, output.changes.deleted)
    end
    assert.same({ { "s/a", before[1][2], "unmounted" }, { "s/a/1", before[2][2], "unmounted" } },
      query(STICK))
    assert.equal(3, fixture.run({ fixture.sdlua, "verify", "--library", library, "--progress",
      "none", tree }, mounts.where).status)
    sh "mkdir tree/s; mount -o loop image tree/s"
    assert.equal(0, indexed(0).changes.new)
    assert.same(before, query(STICK))
    -- Under another name it has moved.
    sh "umount tree/s; rmdir tree/s; mkdir tree/s1; mount -o loop image tree/s1"
    assert.equal(1, indexed(0).changes.moved)
    assert.same({ { "s1/a", before[1][2], "" }, { "s1/a/1", before[2][2], "" } }, query(STICK))
    fixture.check_library(library)
  end)

  it("is given up where rules leave it out", function()
    local held <close>, why = stick()
    if not held then return pending(why) end
    mounts = held
    for _, case in ipairs {
      { "rmdir tree/s", "--exclude", "/s" }, { "rmdir tree/s", "-x" }, { "true", "-x" },
      { "true", "--exclude", "/s" },
    } do
      indexed(0, "--rules", "none")
      sh("umount tree/s;" .. case[1])
      assert.equal(0, indexed(3).changes.new)
      indexed(0, table.unpack(case, 2))
      assert.same({}, query(STICK))
      sh "mkdir -p tree/s; mount -o loop image tree/s"
    end
  end)

  -- A run is interrupted; the stick is gone when it goes on.
  it("keeps them where the run had listed it before", function()
    local held <close>, why = stick()
    if not held then return pending(why) end
    mounts = held
    sh "cd tree/s; for i in $(seq 400); do mkdir d$i; echo $i >d$i/f; done"
    indexed(0)
    local before, resumed = identities(), 0
    for i, gone in ipairs { "umount tree/s", "umount tree/s; rmdir tree/s" } do
      for ms = 10, 60, 5 do
        sh "touch tree/s/*/f"
        local list = words("--threads", "1", "--batch", "7")
        local process = fixture.start({ "/usr/bin/nsenter", "-t", tostring(mounts.process.pid),
          "-m", table.unpack(list) }, { out = dir .. "/out" })
        process:sleep(ms)
        process:kill("sigint")
        local stopped = process:wait() == 130
        sh(gone)
        local result = fixture.run(list, mounts.where)
        if stopped and result.status == 3 then resumed = resumed + 1 end
        assert.is_true(before == identities(), ("%d, %d ms"):format(i, ms))
        sh "mkdir -p tree/s; mount -o loop image tree/s"
      end
    end
    print(("mount: %d runs resumed"):format(resumed))
    assert.is_true(resumed > 0)
    indexed(0)
    assert.same({ { "0" } }, query("SELECT count(unverified) FROM entries"))
    assert.is_true(before == identities())
  end)

  it("is one that was mounted there: not a directory, nor what has no disk", function()
    local held <close>, why = stick()
    if not held then return pending(why) end
    mounts = held
    sh "mkdir tree/s2; mount -t tmpfs none tree/s2; mkdir tree/s2/b tree/s/c; echo 2 >tree/s2/b/2"
    indexed(0)
    sh "umount tree/s2; rmdir tree/s2; rmdir tree/s/c"
    assert.equal(4, indexed(0).changes.deleted)
  end)
end)

describe("a mounted file system below the root", function()
  it("keeps its identities when it is mounted anew, and its moves are moves", function()
    local can, why = can_mount()
    if not can then return pending(why) end
    mount()
    assert.equal(60 * 11 + 3, index(0).changes.new)
    local before = identities()
    unmount()
    mount()
    assert.equal(60 * 11 + 3, index(0).changes.unchanged)
    assert.is_true(before == identities())
    fixture.sh(("mv %s/source/s1 %s/source/renamed"):format(dir, dir))
    local result = fixture.run(words("--explain"))
    assert.is_truthy(result.err:find("modified m (mtime, ctime)", 1, true), result.err)
    local changes = json.decode(result.out).changes
    assert.same({ 0, 1, 0 }, { changes.new, changes.moved, changes.deleted })
  end)

  it("is remote by its type, and then left out as it is with -x", function()
    local can, why = can_mount()
    if not can then return pending(why) end
    mount("-o", "subtype=sshfs")
    assert.same({ remote = 1 }, index(0).skipped)
    verify(0)
    assert.same({}, query("SELECT path FROM entries WHERE path LIKE 'm/%'"))
    assert.same({}, index(0, "--enter-remote").skipped)
    verify(0)
    assert.same({ { "660" } }, query("SELECT count(*) FROM entries WHERE path LIKE 'm/%'"))
    assert.same({ remote = 1 }, index(0, "--rules", "none").skipped)
    unmount()
    mount()
    assert.same({ one_filesystem = 1 }, index(0, "-x").skipped)
    verify(0)
  end)

  it("that is missing keeps its entries, unverified", function()
    local can, why = can_mount()
    if not can then return pending(why) end
    mount()
    index(0)
    local before = identities()
    unmount()
    assert.equal(0, index(3).changes.deleted)
    assert.is_true(before == identities())
    assert.same({ { "unmounted" } }, query(UNVERIFIED))
    mount()
    assert.equal(60 * 11 + 3, index(0).changes.unchanged)
    assert.same({ { "" } }, query(UNVERIFIED))
  end)

  it("whose server dies in the middle of a run keeps its entries", function()
    local can, why = can_mount()
    if not can then return pending(why) end
    mount()
    index(0)
    local before = identities()
    local broken = 0
    for ms = 5, 100, 12 do
      local process = fixture.start(words(), { out = dir .. "/out" })
      process:sleep(ms)
      server:kill("sigkill")
      local status = process:wait(20000)
      assert.is_true(status == 0 or status == 1 or status == 3, tostring(status))
      if status == 3 then broken = broken + 1 end
      assert.is_true(before == identities())
      fixture.check_library(library)
      unmount()
      mount()
    end
    assert.is_true(broken > 0)
    assert.equal(60 * 11 + 3, index(0).changes.unchanged)
    assert.same({ { "" } }, query(UNVERIFIED))
  end)
end)
