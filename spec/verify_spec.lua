-- `sdlua verify`: the index beside the disk.
local fixture = require "support.fixture"
local json = require "dkjson"

local dir, tree, library

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(("mkdir -p %s/a/b %s/c; cd %s;"
    .. " for i in 1 2 3 4; do echo $i > a/$i; echo $i > a/b/$i; done; echo 5 > c/5;"
    .. " ln a/1 c/one; ln -s x c/link; head -c 200000 /dev/urandom > big; sleep 0.05")
    :format(tree, tree, tree))
end)

after_each(function() fixture.remove(dir) end)

local function shell(script) fixture.sh(("cd %s && { %s; }"):format(tree, script)) end

local function index(...)
  local result = fixture.run_sdlua("index", "--library", library, "--progress", "none", tree, ...)
  assert.equal(0, result.status, result.err)
end

local function verify(...)
  return fixture.run_sdlua("verify", "--library", library, "--progress", "none", tree, ...)
end

-- Path -> what differs, of a run that ends with `status`.
local function differences(status, ...)
  local result = verify("--json", ...)
  assert.equal(status, result.status, result.err)
  local output, found = json.decode(result.out), {}
  for _, one in ipairs(output.errors) do
    found[one.path] = (found[one.path] and found[one.path] .. "+" or "") .. one.error
  end
  return found, output
end

describe("sdlua verify", function()
  it("speaks of fixing only where it is to", function()
    index()
    shell "rm a/2"
    for fix, phases in pairs { [false] = "0", [true] = "1" } do
      local words = { fixture.sdlua, "verify", "--library", library, "--progress", "plain", tree,
        fix and "--fix" or nil }
      local result = fixture.run(words)
      assert.equal(3, result.status, result.err)
      assert.equal(phases, tostring(select(2, result.err:gsub("\nfixing", ""))), result.err)
    end
  end)

  it("finds nothing in an index that is right", function()
    index("--mode", "deep")
    assert.same({}, (differences(0)))
    local found, output = differences(0, "--content")
    assert.same({}, found)
    assert.equal(10, output.hashed)
    assert.is_truthy(verify().out:find(": complete: "))
  end)

  it("speaks of fixing where it does fix", function()
    index()
    shell("echo more >>a/1")
    local function phases(...)
      return fixture.run_sdlua("verify", "--library", library, "--progress", "plain", tree, ...).err
    end
    assert.is_nil(phases():find("fixing", 1, true))
    assert.is_truthy(phases("--fix"):find("fixing", 1, true))
  end)

  it("names what differs", function()
    index()
    shell("echo more >> a/1; touch a/2; rm a/3; mkdir -p n/m; echo n > n/m/n; chmod 600 a/4;"
      .. " cp -p a/b/1 t; mv t a/b/1; rm a/b/2; mkdir a/b/2; rm -r c; sleep 0.01")
    local found, output = differences(3)
    assert.same({
      ["a/1"] = "size", ["a/2"] = "mtime", ["a/3"] = "stale", ["a/4"] = "attributes",
      ["a/b/1"] = "inode", ["a/b/2"] = "kind", n = "missing", ["n/m"] = "missing",
      ["n/m/n"] = "missing", a = "mtime", ["a/b"] = "mtime", [""] = "mtime",
      c = "stale", ["c/5"] = "stale", ["c/one"] = "stale", ["c/link"] = "stale",
    }, found)
    assert.equal(16, output.differences)
    assert.same({ size = 1, mtime = 4, stale = 5, attributes = 1, inode = 1, kind = 1,
      missing = 3 }, output.error_counts)
    -- It has only looked.
    assert.same({ { "16" } }, fixture.sql(library, "SELECT count(*) FROM entries"))
    local result = verify()
    assert.equal(3, result.status)
    assert.is_truthy(result.out:find("16 errors (", 1, true), result.out)
  end)

  it("names all that is below what is gone", function()
    shell("mkdir -p deep/er/est k/er; touch deep/er/est/$(printf '\\377') deep/er/x k/er/y k/z;"
      .. " sleep 0.05")
    index("--mode", "shallow")
    shell("rm -r deep k; echo k > k; sleep 0.05")
    local expected = { [""] = "mtime", deep = "stale", ["deep/er"] = "stale",
      ["deep/er/est"] = "stale", ["deep/er/est/\255"] = "stale", ["deep/er/x"] = "stale",
      k = "kind", ["k/er"] = "stale", ["k/er/y"] = "stale", ["k/z"] = "stale" }
    local _, output = differences(3)
    assert.equal(10, output.differences)
    assert.same({ stale = 8, kind = 1, mtime = 1 }, output.error_counts)
    local found = {}
    for _, row in ipairs(fixture.sql(library, "SELECT hex(CAST(path AS BLOB)), error FROM errors"
      .. " WHERE operation = 'Verify'")) do
      found[fixture.unhex(row[1])] = row[2]
    end
    assert.same(expected, found)
    differences(3, "--fix")
    assert.same({}, (differences(0)))
  end)

  it("looks at the root's own row", function()
    index()
    shell("chmod 700 .")
    assert.same({ [""] = "attributes" }, (differences(3)))
    assert.same({ [""] = "attributes" }, (differences(3, "--batch", "2")))
    assert.is_true(select(2, differences(3, "--fix")).fixed)
    assert.same({}, (differences(0)))
    assert.same({ { "700" } },
      fixture.sql(library, "SELECT printf('%o', mode) FROM entries WHERE path = ''"))
    -- Another directory is there, with the same in it.
    shell("cp -a . ../copy; mv ../tree ../old; mv ../copy ../tree")
    local found, output = differences(3)
    assert.equal("inode", found[""])
    assert.equal(output.differences,
      tonumber(fixture.sh("find " .. fixture.quote(tree) .. " | wc -l")))
  end)

  it("finds bytes that have changed on their own", function()
    index("--mode", "deep")
    shell("touch -r a/b/3 r; printf X | dd of=a/b/3 conv=notrunc 2>/dev/null; touch -r r a/b/3;"
      .. " touch -r big r; printf X | dd of=big bs=1 seek=100000 conv=notrunc 2>/dev/null;"
      .. " touch -r r big; rm r")
    index("--mode", "deep") -- which does not look at the bytes
    assert.same({}, (differences(0)))
    assert.same({ ["a/b/3"] = "content", big = "content" }, (differences(3, "--content")))
  end)

  it("says once what has changed, with --content too", function()
    shell("mkdir e; for i in 1 2 3 4 5 6 7; do echo e$i > e/$i; done; mkdir f g h;"
      .. " echo f > f/1; echo g > g/1; echo h > h/1; sleep 0.05")
    index("--mode", "deep")
    shell("cd e; rm 1 2 3 4; mkdir 1; ln -s x 2; mkfifo 3; cp -p 5 t; mv t 5; echo more >> 6;"
      .. " : > 7; cd ..; rm -r f g h; echo f > f; ln -s a g; mkdir h; echo H > h/1; sleep 0.05")
    local found = differences(3)
    assert.same({ "kind", "kind", "kind" }, { found["e/1"], found["e/2"], found["e/3"] })
    assert.same({ "inode", "size", "size" }, { found["e/5"], found["e/6"], found["e/7"] })
    assert.same(found, (differences(3, "--content")))
  end)

  -- The walk is over, and large holes are being hashed; what waits behind them changes meanwhile.
  it("says what changes between its walk and its reading", function()
    shell("rm -r *; truncate -s 40G b; mkdir m; for i in $(seq 10 40); do echo $i > m/$i; done;"
      .. " sleep 0.05")
    index("--mode", "deep")
    local process = fixture.start({ fixture.sdlua, "verify", "--library", library, "--progress",
      "none", "--json", "--content", "--chunk", "1", tree }, { out = dir .. "/out" })
    local reading = "SELECT count(*) FROM job WHERE phase = 'content'"
    for _ = 1, 400 do
      if fixture.sql(library, reading)[1][1] == "1" then break end
      process:sleep(10)
    end
    shell("cp -p m/39 m/t; mv m/t m/39; echo more >> m/40")
    assert.equal(3, (process:wait(60000)))
    assert.same({ ECHANGED = 2 }, json.decode(fixture.read(dir .. "/out")).error_counts)
  end)

  it("compares samples where the index has no more", function()
    index()
    shell("touch -r big r; printf X | dd of=big bs=1 seek=1 conv=notrunc 2>/dev/null;"
      .. " touch -r r big; rm r")
    index()
    assert.same({ big = "content" }, (differences(3, "--content")))
  end)

  it("brings the index to what is there, with --fix", function()
    index("--mode", "deep")
    shell("touch -r c/one r; printf X | dd of=c/one conv=notrunc 2>/dev/null;"
      .. " touch -r r c/one; rm r; echo n > n; rm a/3; echo more >> a/4")
    local _, output = differences(3, "--content", "--fix")
    assert.is_true(output.fixed)
    assert.same({}, (differences(0, "--content")))
    assert.same({}, fixture.differences(fixture.rows(library), fixture.listing(tree)))
    assert.same({}, fixture.differences(fixture.hashes(library), fixture.sums(tree)))
    fixture.check_library(library)
    fixture.check_settled(library)
    local fresh = dir .. "/fresh"
    assert.equal(0, fixture.run_sdlua("index", "--library", fresh, "--progress", "none", "--mode",
      "deep", tree).status)
    assert.same(fixture.sql(fresh, "SELECT hash, entries FROM contents ORDER BY 1"),
      fixture.sql(library, "SELECT hash, entries FROM contents ORDER BY 1"))
  end)

  it("does not miss what the rules of the location leave out", function()
    fixture.write(dir .. "/accept.lua",
      'return { accept_entry = function(e) return e.name ~= "4" end }')
    shell("echo '*.log' > .gitignore; mkdir .h; touch a/x.log .h/f c/big.o; touch -d @1000 c/old;"
      .. " mkdir leave; touch leave/stop leave/f; head -c 5000 /dev/zero > a/large; sleep 0.05")
    for _, case in ipairs {
      { "--rules", "gitignore,no_hidden" }, { "--exclude", "*.log" }, { "--include", "*.o" },
      { "--max-size", "4K" }, { "--min-size", "4K" }, { "--newer", "1000d" },
      { "--older", "1000d" }, { "--reject-children", "stop" }, { "--accept-children", "stop" },
      { "--accept", dir .. "/accept.lua" }, { "--rules", "only_images" },
    } do
      index("--mode", "shallow", table.unpack(case))
      local found, output = differences(0)
      assert.same({}, found, table.concat(case, " "))
      assert.is_truthy(next(output.skipped), table.concat(case, " "))
    end
  end)

  it("misses what new rules would let stay, and --fix makes the index what they say", function()
    shell("touch a/x.log; sleep 0.05")
    index("--exclude", "*.log")
    shell("touch a/y.log a/y.c; sleep 0.05")
    local expected = { ["a/y.c"] = "missing", a = "mtime" }
    assert.same(expected, (differences(3)))
    assert.same(expected, (differences(3, "--fix")))
    assert.same({}, (differences(0)))
    assert.same({ { "a/y.c" } },
      fixture.sql(library, "SELECT path FROM entries WHERE path GLOB 'a/[xy].*'"))
    -- A file that the ignore files leave out from now on is one that is not to be there.
    index("--rules", "gitignore")
    shell("echo y.log > .gitignore; sleep 0.05")
    assert.same({ [".gitignore"] = "missing", ["a/y.log"] = "stale", [""] = "mtime" },
      (differences(3)))
  end)

  it("fixes in the mode in which content was identified", function()
    for _, case in ipairs {
      { "shallow", "magic", "-" }, { "content", "magic", "content" },
      { "deep", "none", "deep+none" }, { "deep", "name", "deep+name" }, { "deep", "magic", "deep" },
    } do
      fixture.remove(library)
      index("--mode", case[1], "--mime", case[2])
      shell("echo more >> a/4; echo new > n.txt; sleep 0.05")
      assert.is_true(select(2, differences(3, "--fix")).fixed)
      assert.same({}, (differences(0)))
      assert.same({ { case[3] } },
        fixture.sql(library, "SELECT coalesce(content_mode, '-') FROM location"))
      shell("rm n.txt; sleep 0.05")
    end
  end)

  it("fixes with the policy that the location is set to", function()
    index("--mode", "deep")
    assert.equal(0, fixture.run_sdlua("location", "set", "--library", library, "--changed-by",
      "ctime", tree).status)
    shell("touch -r a/4 r; printf X | dd of=a/4 conv=notrunc 2>/dev/null; touch -r r a/4; rm r")
    differences(3, "--fix")
    assert.same({}, (differences(0, "--content")))
    assert.same({}, fixture.differences(fixture.hashes(library), fixture.sums(tree)))
  end)

  it("goes on where it was killed", function()
    shell("for i in $(seq 200); do mkdir d$i; for k in $(seq 20); do echo $i $k > d$i/$k; done;"
      .. " done; sleep 0.05")
    index("--mode", "deep")
    shell("rm -r d7; echo x > d8/x; touch -r d9/9 r;"
      .. " printf X | dd of=d9/9 conv=notrunc 2>/dev/null; touch -r r d9/9; rm r; touch -d @1 d8 .")
    local killed = 0
    for ms = 5, 200, 15 do
      local process = fixture.start { fixture.sdlua, "verify", "--library", library, "--progress",
        "none", "--content", "--batch", "10", tree }
      process:sleep(ms)
      process:kill("sigkill")
      if process:wait() == 137 then killed = killed + 1 end
    end
    local found = differences(3, "--content", "--batch", "10")
    found.d8 = nil
    for i = 1, 20 do
      assert.equal("stale", found["d7/" .. i])
      found["d7/" .. i] = nil
    end
    assert.same({ d7 = "stale", ["d8/x"] = "missing", ["d9/9"] = "attributes+content",
      [""] = "mtime" }, found)
    print(("verify: killed %d times"):format(killed))
    fixture.check_settled(library)
  end)

  it("refuses what was never indexed", function()
    assert.equal(10, verify().status)
    index()
    local result = fixture.run_sdlua("verify", "--library", library, "--progress", "none",
      tree .. "/a")
    assert.equal(1, result.status)
    assert.is_truthy(result.err:find("is no location", 1, true), result.err)
  end)
end)
