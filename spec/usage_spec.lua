-- The options of the commands that ask: the quick way and argparse agree.
local fixture = require "support.fixture"
local usage = require "sd.cli.usage"

local command = usage.new("sdlua test", "About.", {
  { "PATTERN", "help", args = "?" },
  { "WORD", "help", args = "*", key = "words" },
  { "-i --ignore-case", "help" },
  { "--limit", "help", arg = "N", convert = usage.count },
  { "--kind", "help", arg = "KIND", many = true },
  { "--sort", "help", arg = "KEY", choices = { "name", "size" } },
})

describe("a command line", function()
  local LINES = { {}, { "a" }, { "a", "b", "c" }, { "-i", "a" }, { "--ignore-case" },
    { "--limit", "5", "a" }, { "a", "--limit=5" }, { "--kind", "x", "--kind=y", "--kind", "z" },
    { "--sort", "size", "--library", "/x" }, { "-" }, { "a", "-", "--limit", "0" },
    { "--kind=", "" }, { "--kind=a=b" }, { "x\ny", "--kind=\n" }, { "" }, { "--", "-a" },
    { "-i", "--", "--limit", "-", "--" }, { "a", "--" } }

  for _, words in ipairs(LINES) do
    it("is read alike in both ways: " .. table.concat(words, " "):gsub("\n", "|"), function()
      local quick = command:quick(words)
      assert.is_table(quick)
      assert.same(command:slow(words), quick)
    end)
  end

  local OTHERS = { { "--limit" }, { "--limit", "x" }, { "--sort", "other" }, { "--nonsense" },
    { "--library", "" }, { "--library=" },
    { "--limit", "1", "--limit", "2" }, { "-x" }, { "--help" }, { "-h" },
    { "--ignore-case=x" }, { "--kind", "-a" }, { "-ii" } }

  for _, words in ipairs(OTHERS) do
    it("is left to argparse: " .. table.concat(words, " "), function()
      assert.is_nil(command:quick(words))
    end)
  end

  it("takes what begins with a dash behind --", function()
    assert.same({ pattern = "-a", words = {} }, command:parse { "--", "-a" })
  end)

  it("says what is wrong", function()
    for words, part in pairs { [{ "--limit", "x" }] = "'x' is not a number",
      [{ "--sort", "other" }] = "'--sort' must be one of", [{ "-x" }] = "unknown option",
      [{ "--library=" }] = "'' is no path" } do
      local ok, err = pcall(command.parse, command, words)
      assert.is_false(ok)
      assert.same({ 2 }, { err.exit })
      assert.is_truthy(err.message:find(part, 1, true), err.message)
      assert.is_truthy(err.usage:find("Usage: sdlua test", 1, true))
    end
  end)
end)

describe("options of which one would be ignored", function()
  for words, part in pairs {
    ["search --json --format {path}"] = "--format and --json exclude each other",
    ["search --json -0 a"] = "--null and --json exclude each other",
    ["search --count --json"] = "--count and --json exclude each other",
    ["search -c0"] = "--count and --null exclude each other",
    ["search -0 --format {path}"] = "--null and --format exclude each other",
    ["search -r a"] = "--reverse needs --sort KEY",
    ["search -r --sort none"] = "--reverse needs --sort KEY",
    ["ls --json -0"] = "--null and --json exclude each other",
    ["ls -l0"] = "--long and --null exclude each other",
    ["ls -r --sort none"] = "--reverse and --sort none exclude each other",
    ["stat --json --format {path} /"] = "--format and --json exclude each other",
    ["du --json -0"] = "--null and --json exclude each other",
    ["dupes --json --format fdupes"] = "--format and --json exclude each other",
    ["sql --json --format csv x"] = "--format and --json exclude each other",
  } do
    it("are refused: " .. words, function()
      local list = { "--library", "/nonexistent" }
      for word in words:gmatch("%S+") do table.insert(list, #list - 1, word) end
      local result = fixture.run_sdlua(table.unpack(list))
      assert.equal(2, result.status)
      assert.is_truthy(result.err:find(part, 1, true), result.err)
      assert.is_truthy(result.err:find("Usage: sdlua " .. words:match("%w+"), 1, true), result.err)
      assert.equal("", result.out)
    end)
  end
end)

describe("--help of every command", function()
  for name in pairs(require "sd.commands") do
    it("fits 100 columns: " .. name, function()
      local result = fixture.run_sdlua(name, "--help")
      assert.equal(0, result.status)
      assert.equal("", result.err)
      assert.is_truthy(result.out:find("sage: sdlua " .. name, 1, true))
      for line in result.out:gmatch("[^\n]*") do assert.is_true(#line <= 100, line) end
    end)
  end
end)

describe("a size", function()
  it("is a number with a unit", function()
    for given, bytes in pairs { ["0"] = 0, ["300"] = 300, ["10K"] = 10240, ["1.5M"] = 1572864,
      ["2GiB"] = 2 << 30, ["2gb"] = 2 << 30, ["1T"] = 1 << 40, ["7B"] = 7, ["0.5k"] = 512 } do
      assert.equal(bytes, (usage.size(given)), given)
    end
    for _, given in ipairs { "", "x", "1X", "-1", "1 2", "99999999999P", "." } do
      assert.is_nil((usage.size(given)), given)
    end
  end)
end)
