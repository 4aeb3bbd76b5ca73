-- sdlua export --output: what may be replaced, and what must not be.
local fixture = require "support.fixture"

local quote, sdlua = fixture.quote, fixture.sdlua
local dir, tree, library

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(("mkdir -p %s/a %s/out && : > %s/a/f"):format(tree, dir, tree))
  local result = fixture.run_sdlua("index", "--library", library, "--mode", "shallow", tree)
  assert.equal(0, result.status, result.err)
end)

after_each(function() fixture.remove(dir) end)

local function export(...)
  return fixture.run_sdlua("export", "--library", library, ...)
end

local function kind(path)
  return fixture.sh("stat -c %F " .. quote(path)):match("[^\n]+")
end

local FORMATS = { "ndjson", "csv", "mtree", "sqlite" }

describe("--output", function()
  it("writes to a pipe and leaves it", function()
    local fifo = dir .. "/out/fifo"
    local expected = export().out
    local found = fixture.sh(("mkfifo %s && (%s export --library %s --output %s & cat %s; wait)")
      :format(fifo, quote(sdlua), quote(library), fifo, fifo))
    assert.equal(expected, found)
    assert.equal("fifo", kind(fifo))
    local result = export("--format", "sqlite", "--output", fifo)
    assert.equal(1, result.status)
    assert.equal(("sdlua: make %s: not a regular file\n"):format(fifo), result.err)
    assert.equal("fifo", kind(fifo))
  end)

  it("writes to a device, and says what that says", function()
    local full = dir .. "/out/full"
    fixture.sh("ln -s /dev/full " .. full)
    local result = export("--output", full)
    assert.equal(1, result.status)
    assert.equal(("sdlua: write %s: No space left on device\n"):format(full), result.err)
    assert.equal("symbolic link", kind(full))
    assert.equal("character special file", kind "/dev/full")
  end)

  it("replaces the file that a symlink leads to, and not the symlink", function()
    for _, format in ipairs(FORMATS) do
      local link, file = dir .. "/out/link." .. format, dir .. "/out/file." .. format
      fixture.write(file, "old")
      fixture.sh(("ln -s %s %s"):format(quote("file." .. format), quote(link)))
      assert.equal(0, export("--format", format, "--output", link).status)
      assert.equal("symbolic link", kind(link))
      assert.equal("regular file", kind(file))
      assert.is_true(#fixture.read(file) > 50)
    end
  end)

  it("takes no other file for its own while it writes", function()
    for _, format in ipairs(FORMATS) do
      local file = dir .. "/out/file." .. format
      fixture.write(file .. ".part", "mine")
      assert.equal(0, export("--format", format, "--output", file).status)
      assert.equal("mine", fixture.read(file .. ".part"))
    end
    assert.equal(2 * #FORMATS, tonumber(fixture.sh(("ls -A %s/out | wc -l"):format(dir))))
  end)

  it("is no file of the library, by whatever name", function()
    local before = export().out
    fixture.sh(("cd %s && ln -s ../library/library.db out/link && ln library/library.db out/hard"
      .. " && ln -s library away && mkfifo library/library.sock"):format(dir))
    local names = { "library/library.db", "library/library.db-wal", "library/library.db-shm",
      "library/library.db-journal", "library/library.lock", "library/library.sock", "out/link",
      "out/hard", "away/library.db", "library/../away//library.db" }
    local listing = fixture.sh(("cd %s && ls -liA library out"):format(dir))
    for _, format in ipairs(FORMATS) do
      for _, name in ipairs(names) do
        local result = export("--format", format, "--output", dir .. "/" .. name)
        assert.equal(2, result.status, name)
        assert.is_truthy(result.err:find("is a file of the library itself", 1, true), result.err)
      end
      local result = fixture.run({ sdlua, "export", "--library", ".", "--format", format,
        "--output", "library.db" }, ("cd %s;"):format(quote(library)))
      assert.equal(2, result.status)
    end
    assert.equal(listing, fixture.sh(("cd %s && ls -liA library out"):format(dir)))
    assert.equal(before, export().out)
    assert.equal(0, export("--output", library .. "/entries.ndjson").status)
  end)

  it("is no directory, and not empty", function()
    for _, format in ipairs(FORMATS) do
      local result = export("--format", format, "--output", dir .. "/out")
      assert.equal(1, result.status)
      assert.equal(("sdlua: make %s/out: not a regular file\n"):format(dir), result.err)
    end
    local result = export("--output", "")
    assert.equal(2, result.status)
    assert.is_truthy(result.err:find("--output: '' is no path", 1, true), result.err)
    assert.equal("", fixture.sh(("ls -A %s/out"):format(dir)))
  end)
end)
