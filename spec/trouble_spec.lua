-- What the machine does wrong, and what is wrong with a library: named errors and exit codes,
-- nothing lost, no crash.
local fixture = require "support.fixture"

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
