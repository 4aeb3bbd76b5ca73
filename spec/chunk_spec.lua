-- Chunks of files to hash: what is done is soon in the library, whatever the sizes of the files.
local fixture = require "support.fixture"

local dir, tree, library

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. tree)
end)

after_each(function() fixture.remove(dir) end)

local function index(mode)
  local result = fixture.run { fixture.sdlua, "index", "--mode", mode, "--library", library,
    "--progress", "none", tree }
  assert.equal(0, result.status, result.err)
end

describe("a chunk of files to hash", function()
  local function files_of_chunks(kind)
    fixture.write(dir .. "/chunks.lua", ([[
local sd = require "sd"
local Chunks = sd.job.define { name = "chunks" }
function Chunks:run(ctx)
  local root = sd.sys.realpath(%q)
  local location = ctx.library.locations:find(root)
  local hasher <close> = ctx:hash { root = root, location_id = location.id, kind = %q }
  local counts = {}
  for chunk in hasher:chunks() do
    counts[#counts + 1] = chunk:stats().files
    ctx:commit(function(tx) tx:link(chunk, location) end)
  end
  return { counts = counts }
end
return Chunks]]):format(tree, kind))
    local result = fixture.run { fixture.sdlua, "run", dir .. "/chunks.lua", "--library", library,
      "--progress", "none", "--json" }
    assert.equal(0, result.status, result.err)
    return require "dkjson".decode(result.out).counts
  end

  before_each(function()
    index("content") -- files of a location that had content wait for it in a shallow run
    fixture.sh(("for i in 1 2 3 4 5 6; do truncate -s 20M %s/f$i; done"):format(tree))
    index("shallow")
  end)

  it("ends where much has been read, so that a kill loses little", function()
    assert.same({ 2, 2, 2 }, files_of_chunks("full"))
  end)

  it("is whole where only samples are read", function()
    assert.same({ 6 }, files_of_chunks("sampled"))
  end)
end)

describe("a pause in the middle of a large chunk", function()
  local FILES = fixture.is_sanitized() and 8000 or 20000

  before_each(function()
    fixture.sh(("cd %s && seq %d | split -l 1 -a 4 - f"):format(tree, FILES))
  end)

  local function count(sql)
    local ok, rows = pcall(fixture.sql, library, sql)
    return ok and tonumber(rows[1][1]) or 0 -- who opens a library may hold it for a moment
  end

  -- Begins, and is paused so many milliseconds after it has come to the phase `phase`.
  local function paused(phase, ms, words)
    local before = count "SELECT coalesce(max(attempt), 0) FROM job"
    local process = fixture.start { fixture.sdlua, table.unpack(words) }
    local there = ("SELECT count(*) FROM job WHERE phase = '%s' AND attempt > %d"):format(phase,
      before)
    for _ = 1, 2000 do
      if count(there) == 1 or process:sleep(5) then break end
    end
    process:sleep(ms)
    process:kill("sigint")
    return (process:wait())
  end

  -- The chunk is selected, then hashed, then committed: earlier and later, until a pause comes
  -- while it is hashed. A commit of more than the pause has time for is given up, and nothing is
  -- kept; where the pause came too late, `anew()` begins from the beginning. What `sql` counts is
  -- then between nothing and all.
  local function pause_in_the_middle(phase, words, sql, anew)
    for try = 0, 99 do
      local seen = paused(phase, try % 25 * 20, words) == 130 and count(sql) or FILES
      if seen > 0 and seen < FILES then return end
      if seen > 0 then anew() end
    end
    error("nothing was kept")
  end

  it("keeps what was hashed", function()
    local words = { "index", "--mode", "deep", "--mime", "none", "--library", library, "--progress",
      "none", "--threads", "1", "--chunk", "65536", tree }
    local hashed = "SELECT count(hash) FROM entries"
    pause_in_the_middle("content_identification", words, hashed, function()
      fixture.sh("rm -r " .. library)
    end)
    local result = fixture.run { fixture.sdlua, "index", "--json", table.unpack(words, 2) }
    assert.equal(0, result.status, result.err)
    assert.equal(FILES, require "dkjson".decode(result.out).hashed)
    assert.equal(FILES, count(hashed))
    fixture.check_library(library)
  end)

  it("keeps what was compared, and tells each difference once", function()
    index("deep")
    fixture.sh(("sqlite3 %s/library.db \"UPDATE content SET hash = randomblob(16)\"")
      :format(library))
    local words = { "verify", "--content", "--library", library, "--progress", "none", "--chunk",
      "65536", tree }
    local function finish() return fixture.run({ fixture.sdlua, table.unpack(words) }).status end
    local told = "SELECT count(%s) FROM errors WHERE job_id = (SELECT max(id) FROM jobs)"
    pause_in_the_middle("content", words, told:format "*", finish)
    assert.equal(3, finish())
    assert.equal(FILES, count(told:format "*"))
    assert.equal(FILES, count(told:format "DISTINCT path"))
  end)
end)
