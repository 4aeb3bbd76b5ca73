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
