-- sdlua dupes: groups as hashes of all files give them, and as fdupes and jdupes find them; what
-- was hashed stays known; kills lose nothing; nothing is ever changed on the disk.
local fixture = require "support.fixture"
local dkjson = require "dkjson"
local uv = require "sd.core".luv

local quote, sdlua = fixture.quote, fixture.sdlua
local dir, tree

-- Equal and nearly equal files of all sizes around what is sampled, links, hostile names.
local MAKE = [[mkdir -p %s && cd %s && mkdir -p a/b c 'sp ace' && : > empty1 && : > a/empty2 &&
  for n in 1 100 4096 102400 102401 300000 1000000; do
    head -c $n /dev/urandom > a/u$n && cp a/u$n a/b/copy$n && cp a/u$n "c/again$n" &&
    head -c $n /dev/urandom > c/other$n
  done &&
  cp a/u300000 c/one-byte && printf x | dd of=c/one-byte bs=1 seek=70001 conv=notrunc 2>/dev/null &&
  cp c/one-byte a/b/one-byte-again && cp a/u1000000 c/late && printf y |
  dd of=c/late bs=1 seek=999990 conv=notrunc 2>/dev/null &&
  ln a/u4096 c/hard && ln a/u300000 c/hard-large && ln -s u100 a/link &&
  cp a/u100 "$(printf 'sp ace/\377\n\033')" &&
  truncate -s 3M a/sparse && truncate -s 3M c/sparse2 &&
  head -c 3145728 /dev/zero > c/zeros && head -c 50 /dev/urandom > only && mkfifo a/pipe]]

before_each(function()
  dir = fixture.temp()
  tree = dir .. "/tree"
  fixture.sh(MAKE:format(tree, tree))
end)

after_each(function() fixture.remove(dir) end)

local function index(library, mode, ...)
  local result = fixture.run_sdlua("index", "--library", library, "--mode", mode, "--progress",
    "none", ...)
  assert.equal(0, result.status, result.err)
end

local function dupes(library, ...)
  return fixture.run_sdlua("dupes", "--library", library, "--progress", "none", ...)
end

local function ok(result)
  assert.equal(0, result.status, result.err)
  assert.equal("", result.err)
  return result.out
end

-- Groups in a form that can be compared: sorted paths, one string a group.
local function normal(groups)
  local list = {}
  for i, paths in ipairs(groups) do
    table.sort(paths)
    list[i] = table.concat(paths, "\n")
  end
  table.sort(list)
  return list
end

-- The groups of regular files, one name for each inode (the first in the order of bytes).
local function truth(roots, options)
  local groups, by, inodes = {}, {}, {}
  local words = {}
  for i, root in ipairs(roots) do words[i] = quote(root) end
  local text = fixture.sh(("LC_ALL=C find %s -type f %s -printf '%%p\\0%%D:%%i\\0'"
    .. " -execdir sha256sum -bz {} \\;"):format(table.concat(words, " "), options or "-size +0c"))
  local files = {}
  for path, inode, hash in text:gmatch("(/[^\0]*)\0(%d+:%d+)\0(%x+)[^\0]*\0") do
    files[#files + 1] = { path = path, inode = inode, hash = hash }
  end
  table.sort(files, function(x, y) return x.path < y.path end)
  for _, file in ipairs(files) do
    if not inodes[file.inode] then
      inodes[file.inode] = true
      by[file.hash] = by[file.hash] or {}
      table.insert(by[file.hash], file.path)
    end
  end
  for _, paths in pairs(by) do if #paths > 1 then groups[#groups + 1] = paths end end
  return normal(groups)
end

local function bytes(value)
  return type(value) == "table" and fixture.unhex(value.hex) or value
end

local function from_json(text)
  local object, groups, wasted, files = dkjson.decode(text), {}, 0, 0
  for i, group in ipairs(object.groups) do
    groups[i] = {}
    for k, file in ipairs(group.files) do groups[i][k] = bytes(file.path) end
    assert.equal(group.size * (#group.files - 1), group.wasted)
    wasted, files = wasted + group.wasted, files + #group.files
  end
  assert.same({ groups = #groups, files = files, wasted = wasted }, object.total)
  return normal(groups), object
end

-- As fdupes prints them; a name with a newline is more than one line.
local function from_fdupes(text)
  local groups, paths = {}, {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    if line ~= "" then paths[#paths + 1] = line
    elseif #paths > 0 then groups[#groups + 1], paths = paths, {} end
  end
  return normal(groups)
end

local function hash_kinds(library)
  return fixture.sql(library, "SELECT coalesce(hash_kind, 'none'), count(*) FROM entries"
    .. " WHERE kind = 'file' AND size > 0 GROUP BY 1 ORDER BY 1")
end

describe("sdlua dupes", function()
  for _, mode in ipairs { "shallow", "content", "deep" } do
    it("finds what hashes of all files give, after a run in mode " .. mode, function()
      local library = dir .. "/library"
      index(library, mode, tree)
      local before = fixture.listing(tree)
      local expected = truth { tree }
      assert.is_true(#expected >= 8)
      assert.same(expected, (from_json(ok(dupes(library, "--json")))))
      fixture.check_library(library)
      -- Nothing is left to do: no job is begun.
      local jobs = fixture.sql(library, "SELECT max(id) FROM jobs")[1][1]
      local kinds = hash_kinds(library)
      assert.same(expected, (from_json(ok(dupes(library, "--json", "--verify")))))
      assert.equal(jobs, fixture.sql(library, "SELECT max(id) FROM jobs")[1][1])
      assert.same(kinds, hash_kinds(library))
      -- What differs by samples was not read.
      assert.same({ { mode == "deep" and "full" or "sampled" } }, fixture.sql(library,
        "SELECT hash_kind FROM entries WHERE path = 'c/other300000'"))
      assert.same(before, fixture.listing(tree))
      assert.same({ { "0" } }, fixture.sql(library, "SELECT count(*) FROM contents c WHERE entries"
        .. " <> (SELECT count(*) FROM entries e WHERE e.hash = c.hash AND e.hash_kind ="
        .. " c.hash_kind AND e.size = c.size)"))
    end)
  end

  it("gives the same library as one that hashed all, as far as it hashed", function()
    local library, deep = dir .. "/library", dir .. "/deep"
    index(library, "content", tree)
    index(deep, "deep", tree)
    ok(dupes(library))
    local hashes = fixture.hashes(deep)
    for _, row in ipairs(fixture.sql(library, "SELECT path, hash FROM entries WHERE hash_kind ="
      .. " 'full' AND typeof(path) = 'text'")) do
      assert.equal(hashes[row[1]], row[2], row[1])
    end
  end)

  -- The inodes of each group: which name of an inode a program prints is its affair, and jdupes
  -- prints all of them where another file is equal too.
  local function by_inode(groups)
    local list = {}
    for i, group in ipairs(groups) do
      local inodes, seen = {}, {}
      for path in group:gmatch("[^\n]+") do
        local inode = fixture.sh("stat -c %i " .. quote(path)):match("%d+")
        if not seen[inode] then inodes[#inodes + 1] = inode end
        seen[inode] = true
      end
      table.sort(inodes)
      list[i] = table.concat(inodes, " ")
    end
    table.sort(list)
    return list
  end

  for program, options in pairs { fdupes = "-r -n -q", jdupes = "-r -q" } do
    it("finds the groups that another program finds: " .. program, function()
      if not fixture.has(program) then return pending(program .. " is not installed") end
      fixture.sh(("cd %s/'sp ace' && rm -f *"):format(tree)) -- no newline in a name
      local library = dir .. "/library"
      index(library, "content", tree)
      local theirs = fixture.sh(("%s %s %s"):format(program, options, quote(tree)))
      local ours = ok(dupes(library, "--format", "fdupes"))
      assert.is_true(#from_fdupes(ours) >= 8)
      assert.same(by_inode(from_fdupes(theirs)), by_inode(from_fdupes(ours)))
    end)
  end

  -- What a group is in the text, in an order that says nothing.
  local function blocks(text)
    local list = {}
    for block in text:gmatch("(.-\n)\n") do list[#list + 1] = block end
    assert.equal(#text, #table.concat(list) + #list)
    table.sort(list)
    return list
  end

  it("prints what fdupes prints, byte for byte but for the order of groups", function()
    if not fixture.has "fdupes" then return pending "fdupes is not installed" end
    fixture.sh(("cd %s && rm c/hard c/hard-large && cp a/u100 \"$(printf 'c/\\377\\r x\\t')\"")
      :format(tree))
    local library = dir .. "/library"
    index(library, "content", tree)
    local theirs = fixture.sh("fdupes -r -q -o name " .. quote(tree))
    local ours = ok(dupes(library, "--empty", "--format", "fdupes"))
    assert.same(blocks(theirs), blocks(ours))
  end)

  it("takes no hard link for a duplicate, and names links in JSON", function()
    local library = dir .. "/library"
    fixture.sh(("cd %s && rm -r a c 'sp ace' && echo x > one && ln one two && ln one three"):format(
      tree))
    index(library, "content", tree)
    assert.equal("no duplicates\n", ok(dupes(library)))
    fixture.sh(("cd %s && cp one four"):format(tree))
    index(library, "content", tree)
    local groups, object = from_json(ok(dupes(library, "--json")))
    assert.same(truth { tree }, groups)
    assert.same({ tree .. "/three", tree .. "/two" }, object.groups[1].files[2].links)
    assert.equal(2, object.groups[1].wasted)
  end)

  it("takes a file that is reached twice for one", function()
    local library = dir .. "/library"
    index(library, "content", tree)
    assert.same(truth { tree }, (from_json(ok(dupes(library, "--json", tree, tree .. "/a")))))
  end)

  it("looks among several locations, or below a PATH", function()
    local library, other = dir .. "/library", dir .. "/other"
    fixture.sh(("mkdir %s && cp %s/only %s/only-copy && cp %s/a/u100 %s"):format(other, tree, other,
      tree, other))
    index(library, "content", tree, other)
    assert.same(truth { tree, other }, (from_json(ok(dupes(library, "--json")))))
    assert.same(truth { tree .. "/a" }, (from_json(ok(dupes(library, "--json", tree .. "/a")))))
    assert.same(truth { tree .. "/c", other }, (from_json(ok(dupes(library, "--json", tree .. "/c",
      other)))))
    assert.same(truth({ tree }, "-size +300000c"),
      (from_json(ok(dupes(library, "--json", "--min-size", "300001")))))
    local empty = from_json(ok(dupes(library, "--json", "--empty")))
    assert.same(truth({ tree, other }, ""), empty)
    local result = dupes(library, "/nowhere")
    assert.equal(1, result.status)
    assert.is_truthy(result.err:find("/nowhere: in no location", 1, true))
  end)

  it("compares what is hashed whole with what is sampled", function()
    local library, other = dir .. "/library", dir .. "/other"
    fixture.sh(("mkdir %s && cp %s/c/other300000 %s/only %s"):format(other, tree, tree, other))
    index(library, "content", other)
    index(library, "deep", tree)
    local expected = truth { tree, other }
    assert.same(expected, (from_json(ok(dupes(library, "--json")))))
    assert.is_truthy(table.concat(expected, "\n"):find(other .. "/other300000", 1, true))
  end)

  it("is readable", function()
    local library = dir .. "/library"
    index(library, "content", tree)
    local out = ok(dupes(library))
    assert.is_truthy(out:find("^3 files of 3%.00 MiB each, 6%.00 MiB wasted:\n  /"), out)
    assert.is_truthy(out:find("\n%d+ groups, %d+ files, [%d.]+ MiB wasted\n$"), out)
  end)

  it("sends nothing that moves a cursor to a terminal", function()
    if not fixture.has "script" then return pending "script is not installed" end
    local library = dir .. "/library"
    index(library, "deep", tree)
    os.remove(tree .. "/sp ace/\255\n\27")
    for _, words in ipairs { "", "--format fdupes", "--json", "--verify" } do
      local command = ("%s dupes --progress none --library %s %s"):format(quote(sdlua),
        quote(library), words)
      local shown = fixture.sh(("TERM=xterm LC_ALL=C.UTF-8 script -qc %s /dev/null </dev/null")
        :format(quote(command)))
      -- JSON has what is no UTF-8 as hexadecimal digits; --verify says that the file is gone.
      assert.is_truthy(shown:find(words == "--json" and '{"hex":"' or "\\xff\\n\\x1b", 1, true))
      assert.is_nil(shown:gsub("\r\n", "\n"):find("[\0-\9\11-\31\127\255]"), words)
    end
  end)

  it("goes on after kills, and gives the same groups", function()
    fixture.seed "dupes"
    fixture.sh(("cd %s && for i in 1 2 3 4 5 6 7 8; do head -c 8000000 /dev/urandom > big$i;"
      .. " cp big$i c/big$i; done"):format(tree))
    local expected = truth { tree }
    local library = dir .. "/library"
    index(library, "shallow", tree)
    for i = 1, 12 do
      local process = fixture.start { sdlua, "dupes", "--library", library, "--progress", "none" }
      process:sleep(math.random(10, 120))
      process:kill(i % 3 == 0 and "sigint" or "sigkill")
      local status = process:wait(10000)
      if i % 3 == 0 and status ~= 0 then assert.equal(130, status) end
    end
    local result = dupes(library, "--json")
    assert.equal(0, result.status, result.err)
    assert.same(expected, (from_json(result.out)))
    fixture.check_library(library)
    fixture.check_nothing_left(library)
    assert.same({ { "0" } }, fixture.sql(library, "SELECT count(*) FROM content_todo"))
  end)

  it("ends a job that was killed when it had nothing left to do", function()
    local library = dir .. "/library"
    index(library, "shallow", tree)
    local expected = ok(dupes(library, "--json"))
    fixture.sh(("sqlite3 %s/library.db \"INSERT INTO job(id, uuid, name, version, script, args,"
      .. " status, priority, due_at, created_at) SELECT id, uuid, name, version, script, args,"
      .. " 'running', priority, 0, created_at FROM job_history WHERE name = 'duplicates';"
      .. " DELETE FROM job_history WHERE name = 'duplicates'\""):format(library))
    local result = dupes(library, "--json")
    assert.equal(0, result.status, result.err)
    assert.equal(expected, result.out)
    fixture.check_nothing_left(library)
  end)

  it("compares bytes where it is asked to", function()
    local library = dir .. "/library"
    index(library, "deep", tree)
    -- Another byte, the same size and time: the index cannot know.
    fixture.sh(("cd %s/c && touch -r again102401 stamp && printf z | dd of=again102401 bs=1"
      .. " conv=notrunc 2>/dev/null && touch -r stamp again102401 && rm stamp"):format(tree))
    local expected = truth { tree }
    local result = dupes(library, "--verify", "--json")
    assert.equal(3, result.status)
    assert.is_truthy(result.err:find("no longer equal", 1, true), result.err)
    assert.same(expected, (from_json(result.out)))
    os.remove(tree .. "/c/again4096")
    result = dupes(library, "--verify", "--json")
    assert.equal(3, result.status)
    assert.is_truthy(result.err:find("c/again4096: ENOENT", 1, true), result.err)
  end)

  -- Indexes the files that a shell script makes in a new tree, and looks for duplicates.
  local function small(script)
    fixture.sh(("rm -rf %s && mkdir %s && cd %s && %s"):format(tree, tree, tree, script))
    index(dir .. "/library", "deep", tree)
    return function(change, ...)
      fixture.sh(("cd %s && %s"):format(tree, change))
      return dupes(dir .. "/library", "--verify", ...)
    end
  end

  for change, why in pairs {
    ["ln -sf a b"] = "not a regular file", ["ln -sf nothing b"] = "not a regular file",
    ["rm b && mkfifo b"] = "not a regular file", ["rm b && mkdir b"] = "not a regular file",
    ["rm b"] = "ENOENT: No such file or directory", ["ln -f a b"] = "the same file as %s/a",
  } do
    it("takes for a copy neither a link nor what is no file: " .. change, function()
      local verify = small "echo hello > a && cp a b && cp a c"
      local result = verify(change)
      assert.equal(3, result.status)
      assert.equal(("sdlua: %s/b: %s\n"):format(tree, why:format(tree)), result.err)
      assert.is_truthy(result.out:find(("  %s/a\n  %s/c\n\n"):format(tree, tree), 1, true))
      assert.is_nil(result.out:find(tree .. "/b", 1, true))
      result = verify "rm c"
      assert.equal(3, result.status)
      assert.equal("no duplicates\n", result.out)
    end)
  end

  it("names each file that differs from most of its group, and no other", function()
    local verify = small "for f in a b c d e; do echo hello > $f; done"
    local function named(names, first)
      local lines = {}
      for i, name in ipairs(names) do
        lines[i] = ("sdlua: %s/%s: no longer equal to %s/%s; index again\n"):format(tree, name,
          tree, first)
      end
      return table.concat(lines)
    end
    local result = verify "echo HELLO > b"
    assert.equal(3, result.status)
    assert.equal(named({ "b" }, "a"), result.err)
    result = verify "echo longer > a && echo hello > b && echo HELLO > d"
    assert.equal(3, result.status)
    assert.equal(named({ "a", "d" }, "b"), result.err)
    assert.equal(("3 files of 6 B each, 12 B wasted:\n  %s/b\n  %s/c\n  %s/e\n\n"):format(tree,
      tree, tree), (result.out:gsub("[^\n]*\n$", "")))
  end)

  it("says how large equal files are now", function()
    local verify = small "echo hello > a && cp a b"
    local result = verify("echo hello there > a && cp a b", "--json")
    assert.equal(0, result.status, result.err)
    local group = dkjson.decode(result.out).groups[1]
    assert.same({ 12, 12 }, { group.size, group.wasted })
    assert.is_nil(group.hash)
  end)

  it("names all files of a group that is gone, and looks once for each", function()
    if not fixture.has "strace" then return pending "strace is not installed" end
    if fixture.is_sanitized() then return pending "strace and sanitizers do not go together" end
    local verify = small "for i in $(seq 400); do echo hello > $i; done"
    local result = verify "rm *"
    assert.equal(3, result.status)
    assert.equal(400, select(2, result.err:gsub(": ENOENT: No such file or directory\n", "")))
    assert.equal("no duplicates\n", result.out)
    fixture.run { "strace", "-f", "-e", "trace=open,openat", "-o", dir .. "/trace", sdlua, "dupes",
      "--library", dir .. "/library", "--verify" }
    assert.equal(400, select(2, fixture.read(dir .. "/trace"):gsub('tree/%d+"', "")))
  end)

  -- Of one size, and equal up to their end.
  it("reads each file a few times where all files of a group differ", function()
    local n, reads, paths = 600, 0, {}
    for i = 1, n do
      paths[i] = ("%s/%d"):format(dir, i * 7919 % n)
      fixture.write(paths[i], ("x"):rep(40000) .. ("%05d"):format(i % (n - 100)))
    end
    local read = uv.fs_read
    uv.fs_read = function(...)
      reads = reads + 1
      return read(...)
    end
    local done, classes, unread = pcall(require "sd.compare".classes, paths)
    uv.fs_read = read
    assert.is_true(done, classes)
    assert.same({}, unread)
    assert.equal(n - 100, #classes)
    for i, class in ipairs(classes) do
      assert.same({ size = 40005, paths[i], paths[i + n - 100] }, class)
    end
    assert.is_true(reads < n * 60, reads)
  end)

  it("needs few descriptors where all files of a group differ", function()
    small "for i in $(seq 300); do echo hello > $i; done"
    fixture.sh(("cd %s && for i in *; do echo $i > $i; done"):format(tree))
    local result = fixture.run({ sdlua, "dupes", "--library", dir .. "/library", "--verify" },
      "ulimit -n 32;")
    assert.equal(3, result.status)
    assert.equal(299, select(2, result.err:gsub("no longer equal", "")))
    assert.equal("no duplicates\n", result.out)
  end)

  it("leaves out what changed since it was indexed", function()
    local library = dir .. "/library"
    index(library, "shallow", tree)
    fixture.sh(("cd %s && echo more >> c/again4096 && rm c/again100"):format(tree))
    local result = dupes(library, "--json")
    assert.equal(3, result.status)
    assert.is_truthy(result.err:find("again100", 1, true), result.err)
    assert.same(truth { tree }, (from_json(result.out)))
  end)

  it("goes on where a disk is away", function()
    local library, other = dir .. "/library", dir .. "/other"
    fixture.sh(("cp -r %s %s"):format(tree, other))
    index(library, "shallow", tree, other)
    fixture.sh(("mv %s %s.away"):format(other, other))
    local result = dupes(library, "--json")
    assert.equal(3, result.status)
    assert.is_truthy(result.err:find(other, 1, true), result.err)
    assert.same(truth { tree }, (from_json(result.out)))
  end)

  it("tells what is known while the library is in use", function()
    local library = dir .. "/library"
    index(library, "deep", tree)
    local script = dir .. "/slow.lua"
    fixture.write(script, 'local sd = require "sd"\nlocal J = sd.job.define { name = "slow" }\n'
      .. "function J:run(ctx) ctx:sleep(30) return self and 1 end\nreturn J\n")
    local process = fixture.start { sdlua, "run", script, "--library", library }
    for _ = 1, 1000 do
      local running = fixture.sql(library, "SELECT count(*) FROM jobs WHERE status = 'running'")
      if running[1][1] == "1" then break end
      process:sleep(10)
    end
    assert.same(truth { tree }, (from_json(ok(dupes(library, "--json", "--known")))))
    process:kill "sigkill"
    process:wait(5000)
  end)

  it("refuses what it cannot do, and makes no library", function()
    local result = dupes(dir .. "/none")
    assert.equal(10, result.status)
    assert.is_nil(io.open(dir .. "/none"))
    for _, words in ipairs { { "--format", "x" }, { "--min-size", "x" }, { "--threads", "0" } } do
      result = dupes(dir .. "/none", table.unpack(words))
      assert.equal(2, result.status)
      assert.is_truthy(result.err:find("Usage: sdlua dupes", 1, true))
    end
  end)
end)
