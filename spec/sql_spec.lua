-- `sdlua sql` and `sdlua export`: formats, exactness, refusals, the prompt.
local core = require "sd.core"
local fixture = require "support.fixture"
local dkjson = require "dkjson"

local quote, sdlua = fixture.quote, fixture.sdlua
local dir, tree, library

setup(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(([[mkdir -p %s/sub && cd %s && printf 1234 > sub/file && ln -s 'a,"b"' sub/link &&
    : > "$(printf 'sub/\377\033[2J')" && : > "$(printf 'two\nlines, "q"')" && : > ' lead#=\*?[' &&
    : > "$(printf '\302\233c1')" && mkfifo sub/pipe && touch -d 1969-12-31T23:59:58.5Z sub/file &&
    touch -hd '2001-01-01 00:00:00.000000005' sub/link && chmod 4751 sub/file]]):format(tree, tree))
  assert.equal(0, fixture.run_sdlua("index", "--mode", "deep", "--library", library, tree).status)
end)

teardown(function() fixture.remove(dir) end)

-- `sdlua sql --library … …`
local function sql(...)
  return fixture.run_sdlua("sql", "--library", library, ...)
end

local function export(...)
  return fixture.run_sdlua("export", "--library", library, ...)
end

local function ok(result)
  assert.equal(0, result.status, result.err)
  assert.equal("", result.err)
  return result.out
end

-- What a command prints in a terminal with this input.
local function in_terminal(command, input)
  fixture.write(dir .. "/input", input or "")
  return fixture.sh(("TERM=xterm LC_ALL=C.UTF-8 script -qec %s /dev/null < %s/input")
    :format(quote(command), dir))
end

local function ndjson(text)
  local rows = {}
  for line in text:gmatch("([^\n]*)\n") do rows[#rows + 1] = dkjson.decode(line) end
  return rows
end

-- A string of JSON, as bytes.
local function bytes(value)
  return type(value) == "table" and fixture.unhex(value.hex) or value
end

-- The rows of a CSV text: lists of fields.
local function csv(text)
  local rows, row, at = {}, {}, 1
  while at <= #text do
    local field, stop
    if text:sub(at, at) == '"' then
      field, stop = "", at + 1
      repeat
        local piece, more = text:match('^([^"]*)"("?)', stop)
        field, stop = field .. piece .. more, stop + #piece + 1 + #more
      until more == ""
    else
      field = text:match("^[^,\n]*", at)
      stop = at + #field
    end
    row[#row + 1] = field
    if text:sub(stop, stop) == "\n" then rows[#rows + 1], row = row, {} end
    at = stop + 1
  end
  return rows
end

describe("sdlua sql", function()
  it("writes CSV in a pipe, with names or without", function()
    assert.equal('a,b,c\n1,x,\n', ok(sql "SELECT 1 AS a, 'x' AS b, NULL AS c"))
    assert.equal("2.5\n", ok(sql("--no-header", "SELECT 2.5")))
    assert.equal('n\n""\n" a"\n"b ""c"""\n"d,e"\n"f\ng"\n', ok(sql("SELECT column1 AS n"
      .. " FROM (VALUES (''), (' a'), ('b \"c\"'), ('d,e'), ('f' || char(10) || 'g'))")))
  end)

  it("writes a table for eyes", function()
    assert.equal("size  name\n----  --------\n   7  a\\nb\n  42  \\xff\\x1b\n", ok(sql("--format",
      "table", "SELECT 7 AS size, 'a' || char(10) || 'b' AS name UNION ALL SELECT 42, x'ff1b'")))
    assert.equal("n\n-\n", ok(sql("--format", "table", "SELECT 1 AS n WHERE 0")))
  end)

  it("takes no longer for spaces than for other characters", function()
    local start = core.sys.mono_ns()
    local out = ok(sql("--format", "table", "--no-header",
      "SELECT 'a' AS x, printf('%100000s', 'b') AS y, '' AS z UNION ALL SELECT NULL, 'c', NULL"))
    -- Looking for those at the end from each one took a quarter of a minute.
    assert.is_true(core.sys.mono_ns() - start < 5e9)
    assert.is_true(out == "a  " .. (" "):rep(99999) .. "b\n   c\n")
  end)

  it("goes on with rows behind those it measured", function()
    local out = ok(sql("--format", "table", "--no-header", "WITH RECURSIVE c(i) AS (VALUES(1) UNION"
      .. " ALL SELECT i + 1 FROM c WHERE i < 1234) SELECT i FROM c"))
    local n = 0
    for line in out:gmatch("([^\n]*)\n") do
      n = n + 1
      assert.equal(n, tonumber(line))
    end
    assert.equal(1234, n)
  end)

  it("writes Markdown", function()
    assert.equal("| a\\|b | n |\n|---|---|\n| x\\|y | 1 |\n",
      ok(sql("--format", "markdown", "SELECT 'x|y' AS \"a|b\", 1 AS n")))
  end)

  it("writes JSON without loss", function()
    local out = ok(sql("--json", "SELECT 9223372036854775807 AS big, 0.1 AS r, NULL AS n,"
      .. " 'é\"\\' || char(10, 127, 155, 8238) AS s, x'ff00' AS b, 1e999 AS inf, 1 AS r"))
    assert.equal('[\n{"big":9223372036854775807,"r":0.1,"n":null,'
      .. '"s":"é\\"\\\\\\n\\u007f\\u009b\\u202e","b":{"hex":"ff00"},"inf":9e999,"r_2":1}\n]\n', out)
    assert.equal("[\n]\n", ok(sql("--json", "SELECT 1 WHERE 0")))
    local many = ok(sql("--format", "json", "WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT"
      .. " i + 1 FROM c WHERE i < 20000) SELECT i, '}' || char(10) AS x FROM c"))
    local rows = dkjson.decode(many)
    assert.equal(20000, #rows)
    assert.same({ i = 20000, x = "}\n" }, rows[20000])
    fixture.write(dir .. "/out.json", out)
    assert.equal("1\n", fixture.sh(("sqlite3 :memory: \"SELECT json_valid(CAST("
      .. "readfile('%s/out.json') AS TEXT))\""):format(dir)))
  end)

  it("writes JSON whatever the columns are called, each name once", function()
    for query, expected in pairs {
      ["SELECT 1 AS \"\255\", 2 AS b"] = '{"\\\\xff":1,"b":2}',
      ["SELECT 1 AS \"é\\\255\", 2 AS \"é\\\""] = '{"é\\\\\\\\\\\\xff":1,"é\\\\":2}',
      ["SELECT 1 AS \"\255\", 2 AS \"\\xff\""] = '{"\\\\xff":1,"\\\\xff_2":2}',
      ["SELECT 1 AS a, 2 AS a, 3 AS a_2"] = '{"a":1,"a_3":2,"a_2":3}',
      ["SELECT 1 AS a, 2 AS a, 3 AS a"] = '{"a":1,"a_2":2,"a_3":3}',
      ["SELECT 1 AS a, 2 AS a_2, 3 AS a_2, 4 AS a"] = '{"a":1,"a_2":2,"a_2_2":3,"a_3":4}',
      ["SELECT 1 AS \"\", 2 AS \"\n\""] = '{"":1,"\\n":2}',
    } do
      assert.equal(expected .. "\n", ok(sql("--format", "ndjson", query)), query)
      fixture.write(dir .. "/out.json", expected)
      assert.equal("1\n", fixture.sh(("sqlite3 :memory: \"SELECT json_valid(CAST("
        .. "readfile('%s/out.json') AS TEXT))\""):format(dir)))
    end
    local long = ("é"):rep(3000)
    local out = ok(sql("--format", "ndjson", ('SELECT 1 AS "%sx", 2 AS "%sy", 3 AS "%sx"'):format(
      long, long, long)))
    assert.same({ [long .. "x"] = 1, [long .. "y"] = 2, [long .. "x_2"] = 3 }, dkjson.decode(out))
  end)

  it("writes an object a line", function()
    assert.equal('{"i":1}\n{"i":2}\n',
      ok(sql("--format", "ndjson", "SELECT 1 AS i UNION ALL SELECT 2")))
  end)

  it("has regular expressions as docs/sql.md says", function()
    for pattern, expected in pairs { ["^a$"] = "0", ["^a\n$"] = "1", ["^a.$"] = "1",
      ["(?m)^a$"] = "1", ["^A"] = "0", ["(?i)^A"] = "1" } do
      assert.equal(expected .. "\n", ok(sql("--no-header", "SELECT ('a' || char(10)) REGEXP ?",
        pattern)), pattern)
    end
    for pattern, expected in pairs { ["^\\w$"] = "0", ["(*UCP)^\\w$"] = "1", ["^.$"] = "1" } do
      assert.equal(expected .. "\n", ok(sql("--no-header", "SELECT 'é' REGEXP ?", pattern)),
        pattern)
    end
  end)

  it("binds words: numbers as numbers, all else as text", function()
    assert.equal("integer,real,text,text,text\n", ok(sql("--no-header", "SELECT typeof(?),"
      .. " typeof(?), typeof(?), typeof(?), typeof(?)", "10", "1.50", "007", "1e3",
      "9223372036854775808")))
    assert.equal("-5\n", ok(sql("--no-header", "SELECT ?", "--", "-5")))
    assert.equal("blob\n", ok(sql("--no-header", "SELECT typeof(?)", "\xff")))
    assert.equal("4\n", ok(sql("--no-header", "SELECT size FROM entries WHERE name = ?", "file")))
  end)

  it("reads statements from standard input", function()
    local result = fixture.sh(("printf 'SELECT 1; -- one\n\nSELECT 2' | %s sql --library %s"
      .. " --no-header"):format(quote(sdlua), quote(library)))
    assert.equal("1\n\n2\n", result)
    assert.equal("1\n", fixture.sh(("echo 'SELECT 1' | %s sql --library %s --no-header -"):format(
      quote(sdlua), quote(library))))
  end)

  it("refuses a zero byte, behind which SQLite does not look", function()
    fixture.write(dir .. "/zero.sql", "SELECT 1;\nSELECT 2\0; SELECT nosuch")
    local result = fixture.run { "sh", "-c", ("%s sql --library %s <%s/zero.sql"):format(
      quote(sdlua), quote(library), dir) }
    assert.equal(2, result.status)
    assert.equal("sdlua: SQL: a zero byte\n  SELECT 2\\x00; SELECT nosuch\n          ^\n",
      result.err)
  end)

  for _, case in ipairs {
    { "SELECT nosuch FROM entries",
      "no such column: nosuch\n  SELECT nosuch FROM entries\n         ^" },
    { "SELECT 1 FROM nosuch", "no such table: nosuch" },
    { "SELEC 1", 'near "SELEC": syntax error\n  SELEC 1\n  ^' },
    { 'SELECT "nosuch" FROM entries', "no such column: nosuch" },
    { "SELECT (", "incomplete input" },
    { "DELETE FROM entry", "only reads: a change" },
    { "ATTACH 'x' AS y", "only reads: ATTACH" },
    { "SELECT ?", "0 values for 1 parameters" },
    { "", "there is no statement" },
    { "SELECT 'a' REGEXP 'a('", "missing closing parenthesis at offset 2" },
  } do
    it("refuses with its place: " .. case[1], function()
      local result = sql(case[1])
      assert.equal(2, result.status)
      assert.equal("sdlua: ", result.err:sub(1, 7))
      assert.is_truthy(result.err:find(case[2], 1, true), result.err)
      assert.is_nil(result.err:find("traceback", 1, true))
      assert.is_nil(result.err:find("[^%g \n]"), result.err)
    end)
  end

  it("says where there is no library, and makes none", function()
    for _, command in ipairs { "sql", "export" } do
      local result = fixture.run_sdlua(command, "--library", dir .. "/none",
        command == "sql" and "SELECT 1" or nil)
      assert.equal(10, result.status)
      assert.is_truthy(result.err:find(dir .. "/none", 1, true))
      assert.is_nil(io.open(dir .. "/none"))
    end
  end)

  it("answers while a job holds the library", function()
    local script = dir .. "/slow.lua"
    fixture.write(script, 'local sd = require "sd"\nlocal J = sd.job.define { name = "slow" }\n'
      .. "function J:run(ctx) ctx:sleep(30) return self and 1 end\nreturn J\n")
    local process = fixture.start { sdlua, "run", script, "--library", library }
    process:sleep(400)
    assert.equal("running\n", ok(sql("--no-header", "SELECT status FROM jobs WHERE name = 'slow'")))
    process:kill "sigkill"
    process:wait(5000)
  end)

  it("ends with 130 at Ctrl-C", function()
    local process = fixture.start { sdlua, "sql", "--library", library, "WITH RECURSIVE c(i) AS"
      .. " (VALUES(1) UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c" }
    process:sleep(300)
    process:kill "sigint"
    local status, ms = process:wait(5000)
    assert.equal(130, status)
    assert.is_true(ms < 200, ms)
  end)

  it("ends as others do where nobody reads", function()
    local status = fixture.sh(("set +e; (%s sql --library %s 'WITH RECURSIVE c(i) AS (VALUES(1)"
      .. " UNION ALL SELECT i + 1 FROM c) SELECT i FROM c' 2>%s/err; echo $? >%s/status)"
      .. " | head -n 1 >/dev/null; cat %s/status"):format(quote(sdlua), quote(library), dir, dir,
      dir))
    assert.equal("141\n", status)
    assert.equal("", fixture.read(dir .. "/err"))
  end)

  it("says that the disk is full", function()
    local result = fixture.run({ "sh", "-c", ("%s sql --library %s 'SELECT 1' >/dev/full"):format(
      quote(sdlua), quote(library)) })
    assert.equal(1, result.status)
    assert.equal("sdlua: write standard output: No space left on device\n", result.err)
  end)

  it("lets nothing through to a terminal", function()
    if not fixture.has("script") then return pending("script is not installed") end
    for _, format in ipairs { "table", "csv", "json", "ndjson", "markdown" } do
      local text = in_terminal(("%s sql --library %s --format %s 'SELECT name FROM entries'")
        :format(quote(sdlua), quote(library), format))
      assert.is_truthy(text:find("file", 1, true))
      assert.is_nil(text:gsub("\r\n", "\n"):find("[\0-\9\11-\31\127\255]"), format)
      assert.is_nil(text:find("\u{9b}", 1, true), format)
    end
  end)

  it("has a prompt on a terminal", function()
    if not fixture.has("script") then return pending("script is not installed") end
    local text = in_terminal(("%s sql --library %s"):format(quote(sdlua), quote(library)),
      "SELECT 6 *\n7;\n.views\n.format json\n.format x\nSELECT nope;\n.what\nSELECT 1 AS one;\n"
      .. ".quit\n")
    for _, part in ipairs { "sql> ", "...> ", "\n    42", "location_id", "one of table, csv",
      "no such column: nope", ".help", '{"one":1}' } do
      assert.is_truthy(text:gsub("\r\n", "\n"):find(part, 1, true), part .. " in " .. text)
    end
  end)
end)

describe("sdlua export", function()
  -- path -> what find says of it, as both sides can have it
  local function truth(below)
    local map = {}
    local text = fixture.sh(("find %s -printf '%%P\\0%%y|%%s|%%m|%%U|%%G|%%n|%%i|%%l\\0'"):format(
      quote(tree .. below)))
    for path, rest in text:gmatch("([^\0]*)\0([^\0]*)\0") do map[path] = rest end
    return map
  end

  local LETTERS = { file = "f", directory = "d", symlink = "l", fifo = "p" }

  local function fields_of(row)
    return ("%s|%d|%o|%d|%d|%d|%d|%s"):format(LETTERS[row.kind], row.size, row.mode, row.uid,
      row.gid, row.nlink, row.ino, bytes(row.target) or "")
  end

  it("writes NDJSON as find has it", function()
    local found = {}
    for _, row in ipairs(ndjson(ok(export()))) do
      assert.equal(tree, row.root)
      found[bytes(row.path)] = fields_of(row)
    end
    assert.same({}, fixture.differences(found, truth ""))
  end)

  it("writes CSV as find has it", function()
    local rows, found = csv(ok(export("--format", "csv"))), {}
    local names = table.remove(rows, 1)
    for _, fields in ipairs(rows) do
      assert.equal(#names, #fields)
      local row = {}
      for i, name in ipairs(names) do row[name] = tonumber(fields[i]) or fields[i] end
      found[tostring(fields[6])] = fields_of(row)
    end
    assert.same({}, fixture.differences(found, truth ""))
  end)

  local TYPES = { file = "f", dir = "d", link = "l", fifo = "p" }

  local function unvis(s)
    return (s:gsub("\\(%d%d%d)", function(n) return string.char(tonumber(n, 8)) end))
  end

  local function parse_mtree(text)
    local found, times = {}, {}
    assert.equal("#mtree\n", text:sub(1, 7))
    assert.is_nil(text:find("[^ -~\n]"))
    for line in text:sub(8):gmatch("([^\n]*)\n") do
      local name, rest = line:match("^(%S+) (.*)$")
      local path = unvis(name):gsub("^%.?/?", "", 1)
      local row = {}
      for key, value in rest:gmatch("(%w+)=(%S*)") do row[key] = value end
      found[path] = ("%s|%s|%o|%s|%s|%s|%s"):format(TYPES[row.type], row.size or "-",
        tonumber(row.mode, 8), row.uid, row.gid, row.nlink, unvis(row.link or ""))
      times[path] = row.time
    end
    return found, times
  end

  it("writes mtree as find has it", function()
    for _, below in ipairs { "", "/sub" } do
      local found, times = parse_mtree(ok(export("--format", "mtree", tree .. below)))
      local expected = {}
      for path, fields in pairs(truth(below)) do
        local kind, size, mode, uid, gid, nlink, _, target =
          fields:match("(.)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)")
        expected[path] = table.concat({ kind, kind == "f" and size or "-", mode, uid, gid, nlink,
          target }, "|")
      end
      assert.same({}, fixture.differences(found, expected))
      local prefix = below == "" and "sub/" or ""
      assert.equal("-2.500000000", times[prefix .. "file"])
      assert.equal("000000005", times[prefix .. "link"]:match("%.(.*)"))
    end
  end)

  it("writes mtree that libarchive reads", function()
    if not fixture.has("bsdtar") then return pending("bsdtar is not installed") end
    fixture.write(dir .. "/spec.mtree", ok(export("--format", "mtree")))
    local names = fixture.sh(("bsdtar -tf %s/spec.mtree | wc -l"):format(dir))
    assert.is_true(tonumber(names) >= 8)
  end)

  it("writes an SQLite file whose tables are the views", function()
    local file = dir .. "/out/copy.db"
    fixture.sh("mkdir " .. dir .. "/out")
    ok(export("--format", "sqlite", "--output", file))
    for _, view in ipairs { "locations", "entries", "directories", "contents" } do
      local differences = fixture.sh(("sqlite3 -readonly %s \"ATTACH 'file:%s?mode=ro' AS lib;"
        .. " SELECT count(*) FROM (SELECT * FROM main.%s EXCEPT SELECT * FROM lib.%s); SELECT"
        .. " count(*) FROM (SELECT * FROM lib.%s EXCEPT SELECT * FROM main.%s)\""):format(
        quote(file), library .. "/library.db", view, view, view, view))
      assert.equal("0\n0\n", differences)
    end
    assert.equal("ok\n", fixture.sh(("sqlite3 %s 'PRAGMA integrity_check'"):format(quote(file))))
    assert.equal("copy.db\n", fixture.sh("ls -A " .. dir .. "/out"))
  end)

  it("is about what lies below a PATH", function()
    local file = dir .. "/sub.db"
    local expected = truth "/sub"
    local n = 0
    for _ in pairs(expected) do n = n + 1 end
    ok(export("--format", "sqlite", "--output", file, tree .. "/sub"))
    assert.equal(n .. "\n1\n1\n", fixture.sh(("sqlite3 %s 'SELECT count(*) FROM entries; SELECT"
      .. " count(*) FROM directories; SELECT count(*) FROM contents'"):format(quote(file))))
    assert.equal(n, #ndjson(ok(export(tree .. "/sub"))))
    assert.equal(1, #ndjson(ok(export(tree .. "/sub/file"))))
    assert.equal(1, #ndjson(ok(export(tree .. "/sub/link"))))
  end)

  it("replaces a file, or leaves it as it is", function()
    local file = dir .. "/whole"
    fixture.write(file, "old")
    local result = export("--format", "ndjson", "--output", file, dir .. "/nowhere")
    assert.equal(1, result.status)
    assert.is_truthy(result.err:find(dir .. "/nowhere: in no location", 1, true))
    assert.equal("old", fixture.read(file))
    ok(export("--output", file))
    assert.is_true(#ndjson(fixture.read(file)) > 5)
    result = export("--output", dir .. "/none/x")
    assert.equal(1, result.status)
    assert.is_truthy(result.err:find("/none/x", 1, true))
  end)

  it("leaves nothing behind where it is interrupted", function()
    local place = dir .. "/interrupted"
    fixture.sh("mkdir " .. place)
    for _, format in ipairs { "ndjson", "sqlite" } do
      -- The reader of a fifo that never reads: the writer waits.
      local process = fixture.start { sdlua, "export", "--library", library, "--format", format,
        "--output", place .. "/file" }
      process:kill "sigterm"
      process:wait(5000)
      local left = fixture.sh("ls -A " .. place)
      assert.is_true(left == "" or left == "file\n", left)
    end
  end)

  it("refuses what it cannot do", function()
    for _, words in ipairs { { "--format", "sqlite" }, { "--format", "xml" }, { "a", "b" } } do
      local result = export(table.unpack(words))
      assert.equal(2, result.status)
      assert.is_truthy(result.err:find("Usage: sdlua export", 1, true))
    end
    local other = dir .. "/other"
    fixture.sh("mkdir " .. other)
    assert.equal(0, fixture.run_sdlua("index", "--library", dir .. "/two", tree, other).status)
    local result = fixture.run_sdlua("export", "--library", dir .. "/two", "--format", "mtree")
    assert.equal(2, result.status)
    assert.is_truthy(result.err:find("2 locations", 1, true))
  end)
end)
