-- The command line: help, output, progress, the closing line, where the library is.
local fixture = require "support.fixture"
local dkjson = require "dkjson"

local quote, sdlua = fixture.quote, fixture.sdlua
local dir, tree, library

before_each(function()
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh("mkdir " .. tree)
end)

after_each(function() fixture.remove(dir) end)

local function assert_find(part, whole)
  if not whole:find(part, 1, true) then error(("%q is not in %q"):format(part, whole), 2) end
end

local function exists(path)
  return os.execute("test -e " .. quote(path)) == true
end

-- `sdlua index --library …`
local function index(...)
  return fixture.run_sdlua("index", "--library", library, ...)
end

local function make_tree(files)
  fixture.sh(([[cd %s && mkdir -p a/b c && ln -s a link && mkfifo pipe &&
    seq %d | awk '{ f = ($1 %% 2 ? "a/b/" : "c/") "f" $1; print $1 > f; close(f) }']]):format(
    quote(tree), files))
end

-- A job that reports and takes its time: fields of its progress, repeated for `seconds`.
local function write_slow_job(progress, seconds)
  local script = dir .. "/slow.lua"
  fixture.write(script, ([[local sd = require "sd"
local J = sd.job.define { name = "slow" }
function J:run(ctx)
  for i = 1, %d do
    ctx:progress(%s)
    ctx:sleep(0.05)
  end
  return { n = 1 }, self, i
end
return J
]]):format(seconds * 20, progress):gsub(", self, i\n", "\n"))
  return script
end

describe("--help", function()
  local function assert_help(words, parts)
    local result = fixture.run_sdlua(table.unpack(words))
    assert.equal(0, result.status, result.err)
    assert.equal("", result.err)
    for _, part in ipairs(parts) do assert_find(part, result.out) end
    for line in result.out:gmatch("[^\n]*") do assert.is_true(#line <= 100, line) end
    assert.equal("\n", result.out:sub(-1))
    return result.out
  end

  for _, flag in ipairs { "--help", "-h" } do
    it("of the program lists the commands: " .. flag, function()
      assert_help({ flag }, { "usage: sdlua COMMAND", "index", "run", "--version" })
    end)

    it("of index lists every option: " .. flag, function()
      assert_help({ "index", flag }, { "Usage: sdlua index", "PATH", "--library", "--mode",
        "shallow|content|deep", "--progress", "{auto,bar,plain,json,none}", "--json", "--fresh",
        "--threads", "--batch", "--chunk", "--mime", "$SDLUA_LIBRARY", "$XDG_DATA_HOME" })
    end)

    it("of verify says that it makes no library: " .. flag, function()
      assert_find("it must be there", (assert_help({ "verify", flag }, {}):gsub("%s+", " ")))
    end)

    it("of run says how to name a script: " .. flag, function()
      assert_help({ "run", flag }, { "usage: sdlua run SCRIPT|NAME [ARGS]", "$SDLUA_JOBS" })
    end)

    it("of a job that comes with the program lists its arguments: " .. flag, function()
      assert_help({ "run", "indexer", flag }, { "Usage: sdlua run indexer", "<root>", "--mode",
        "--library", "directory to index" })
    end)

    it("of a script is made from what it declares: " .. flag, function()
      local script = write_slow_job("{}", 1)
      assert_help({ "run", script, flag }, { "Usage: sdlua run", "--library" })
    end)
  end

  it("makes no library", function()
    fixture.run({ sdlua, "index", "--help" }, "SDLUA_LIBRARY=" .. library)
    assert.is_false(exists(library))
  end)

  it("comes before what is wrong with the other words", function()
    assert.equal(0, fixture.run_sdlua("index", "--help", "--nonsense").status)
  end)
end)

describe("--version", function()
  it("names sdlua and its libraries, as they are", function()
    local result = fixture.run_sdlua("--version")
    assert.equal(0, result.status)
    local lua, sqlite, uv = result.out:match(
      "^sdlua %d+%.%d+%.%d+ %(Lua ([%d.]+), SQLite ([%d.]+), libuv ([%d.]+)%)\n$")
    assert.is_string(lua, result.out)
    assert.equal(_VERSION, "Lua " .. lua:match("%d+%.%d+"))
    assert.equal(fixture.sh("sqlite3 --version"):match("^%S+"), sqlite)
    assert.is_string(uv)
  end)
end)

describe("a wrong command", function()
  it("without a word says how it is used", function()
    for _, words in ipairs { { "index" }, { "run" }, { "run", "--json" } } do
      local result = fixture.run_sdlua(table.unpack(words))
      assert.equal(2, result.status)
      assert_find("sage: sdlua " .. words[1], result.err)
      assert.equal("", result.out)
    end
  end)

  it("with a value out of its range is exit code 2, and makes nothing", function()
    for _, words in ipairs { { "--library", "" }, { "--threads", "0" }, { "--threads", "65" },
      { "--threads", "1.5" }, { "--threads", "x" }, { "--batch", "0" }, { "--batch", "65537" },
      { "--batch", "-1" }, { "--chunk", "0" }, { "--chunk", "65537" }, { "--mode", "deeper" },
      { "--mime", "all" } } do
      local result = index(words[1], words[2], tree)
      assert.equal(2, result.status, table.concat(words, " ") .. ": " .. result.err)
      assert_find(words[1], result.err)
      assert.is_false(exists(library))
    end
  end)

  it("with a value below zero names the option, and not the value as one", function()
    for _, words in ipairs { { "--chunk", "-1" }, { "--threads", "-1" }, { "--chunk=-1" } } do
      local result = index(words[1], words[2] or tree, tree)
      assert.equal(2, result.status)
      assert_find(("sdlua: %s: '-1' "):format(words[1]:match("^%-%-%a+")), result.err)
    end
    fixture.sh(("mkdir %s/-1"):format(tree))
    assert.equal(0, fixture.run { "sh", "-c", ("cd %s && exec %s index --progress none --library"
      .. " %s -- -1"):format(tree, fixture.quote(sdlua), library) }.status)
  end)

  it("names a path that is empty", function()
    local result = index("")
    assert.equal(1, result.status)
    assert.equal('sdlua: open "": No such file or directory\n', result.err)
  end)

  it("on a root that is no directory, or not there, is exit code 1, and makes nothing", function()
    fixture.write(dir .. "/file", "x")
    assert_find("file: not a directory", index(dir .. "/file").err)
    assert.equal(1, index(dir .. "/file").status)
    assert.equal(1, index(dir .. "/none").status)
    assert.is_false(exists(library))
  end)

  it("has a tip in a line of its own", function()
    assert_find("sdlua: unknown option '-z'\nDid you mean one of these: '-h' '-x'?\nUsage: ",
      fixture.run_sdlua("index", "-z").err)
  end)

  it("leaves a message of readable lines", function()
    for _, words in ipairs { { "index", "--nonsense\27[31m" }, { "index", "--mode\n", "x" },
      { "run", "no\27such" }, { "index", "/none\27[2J\n" }, { "index", "--mode", "\27", "/" } } do
      local result = fixture.run_sdlua(table.unpack(words))
      assert.is_true(result.status == 1 or result.status == 2, result.err)
      assert_find("sdlua: ", result.err)
      assert.is_nil(result.err:find("[^%g \n\t]"), result.err)
    end
  end)
end)

describe("--json", function()
  local FIELDS = { job = "number", name = "string", status = "string", completeness = "string",
    root = "string", mode = "string", location_id = "string", stats = "table", changes = "table",
    duration = "number", errors = "table", error_counts = "table", skipped = "table",
    metrics = "table" }

  -- The one object that is on stdout.
  local function decode(result)
    assert.equal(1, select(2, result.out:gsub("\n", "")), result.out)
    local object, at, message = dkjson.decode(result.out)
    assert.is_table(object, message)
    assert.equal(#result.out, at)
    return object
  end

  it("prints one object and nothing else on stdout, in every progress mode", function()
    make_tree(50)
    for _, mode in ipairs { "auto", "bar", "plain", "json", "none" } do
      local result = index("--json", "--progress", mode, tree)
      assert.equal(0, result.status, result.err)
      local object = decode(result)
      for name, kind in pairs(FIELDS) do assert.equal(kind, type(object[name]), name) end
      assert.same({ "completed", "complete" }, { object.status, object.completeness })
      assert_find('"errors":[]', result.out)
      assert_find('"error_counts":{}', result.out)
      local function count(test)
        return tonumber(fixture.sh(("find %s -mindepth 1 %s | wc -l"):format(quote(tree), test)))
      end
      assert.same({ count("! -type d ! -type l"), count("-type d"), count("-type l") },
        { object.stats.files, object.stats.dirs, object.stats.symlinks })
    end
    assert_find('"errors":[]', fixture.run_sdlua("job", "show", "1", "--library", library,
      "--json").out)
  end)

  it("prints one object for several locations", function()
    fixture.sh(("mkdir %s/b && touch %s/b/x"):format(dir, dir))
    local object = decode(index("--json", tree, dir .. "/b"))
    assert.equal(2, #object.outputs)
    assert.same({ 0, 1 }, { object.outputs[1].stats.files, object.outputs[2].stats.files })
  end)

  it("prints the object of a job that failed", function()
    local script = dir .. "/fail.lua"
    fixture.write(script, 'local sd = require "sd"\nlocal J = sd.job.define { name = "fail" }\n'
      .. 'function J:run() error("no\\xff", self and 0) end\nreturn J\n')
    local result = fixture.run_sdlua("run", script, "--json", "--library", library)
    assert.equal(15, result.status)
    local object = decode(result)
    assert.same({ "failed", "incomplete" }, { object.status, object.completeness })
    assert_find("no\\xff", object.error)
  end)

  it("prints the object of a job that was paused", function()
    local script = write_slow_job("{ i = i }", 30)
    local process = fixture.start({ sdlua, "run", script, "--json", "--library", library },
      { out = dir .. "/out" })
    process:sleep(500)
    process:kill("sigint")
    assert.equal(130, (process:wait(5000)))
    local object = decode { out = fixture.read(dir .. "/out") }
    assert.same({ "paused", "incomplete" }, { object.status, object.completeness })
  end)

  -- The script itself sends the signal, when nothing is left to do but to close the library.
  it("is printed also where a signal comes just after the job has ended", function()
    local script = dir .. "/ended.lua"
    fixture.write(script, [[local sd = require "sd"
      local uv = require "luv"
      local J = sd.job.define { name = "ended" }
      function J:run(ctx)
        local class = getmetatable(ctx.library).__index
        local close = class.close
        function class.close(...)
          uv.kill(uv.os_getpid(), os.getenv("SIGNAL"))
          return close(...)
        end
        return { worked = true }
      end
      return J
    ]])
    for _, signal in ipairs { "sigint", "sigterm" } do
      local words = { sdlua, "run", script, "--library", library, "--progress", "none" }
      local prefix = "SIGNAL=" .. signal
      local plain = fixture.run(words, prefix)
      assert.same({ 0, "ended: complete\n", "" }, { plain.status, plain.out, plain.err })
      words[#words + 1] = "--json"
      local result = fixture.run(words, prefix)
      assert.equal(0, result.status, result.err)
      assert.is_true(decode(result).worked)
    end
  end)

  it("says of a run that was paused what it was about, how far it came, what it cost", function()
    fixture.sh(("truncate -s 30G %s/sparse && echo x > %s/y"):format(tree, tree))
    local process = fixture.start({ sdlua, "index", "--library", library, "--mode", "deep",
      "--json", "--progress", "none", tree }, { out = dir .. "/out" })
    process:sleep(500)
    process:kill("sigint")
    assert.equal(130, (process:wait(5000)))
    local object = decode { out = fixture.read(dir .. "/out") }
    assert.equal(fixture.sh("realpath " .. quote(tree)), object.root .. "\n")
    assert.same({ files = 2, dirs = 0, symlinks = 0, bytes = (30 << 30) + 2 }, object.stats)
    assert.is_true(object.metrics.wall_ns > 0 and object.duration > 0)
  end)

  it("is UTF-8 whatever names are", function()
    fixture.sh(("mkdir '%s/'$(printf 'r\\377\\033')"):format(dir))
    local result = index("--json", dir .. "/r\xff\27")
    assert.equal(0, result.status, result.err)
    assert.is_truthy(utf8.len(result.out))
    assert.equal(fixture.sh("realpath " .. dir):match("[^\n]+") .. "/r\\xff\\x1b",
      decode(result).root)
  end)
end)

describe("--progress", function()
  local PROGRESS = '{ phase = { name = "some_phase", current = i, total = 40 }, current_path = "p",'
    .. " total_found = { files = i, dirs = 2, bytes = 5000 }, processing_rate = 12.5,"
    .. " estimated_remaining = 3 }"

  local function run(mode)
    return fixture.run_sdlua("run", write_slow_job(PROGRESS, 2), "--progress", mode, "--library",
      library)
  end

  it("plain writes lines that a person reads", function()
    local result = run("plain")
    assert.equal(0, result.status, result.err)
    assert.is_truthy(result.err:find("some phase  %d+%%  %d+ files  2 dirs  4%.88 KiB  12/s"
      .. "  ETA 3 s\n"), result.err)
    assert.is_nil(result.err:find("[^%g \n]"), result.err)
    assert.equal("slow: complete\n", result.out)
  end)

  it("plain has a line for each phase, however short", function()
    make_tree(20)
    local result = index("--progress", "plain", tree)
    local phases = {}
    for line in result.err:gmatch("[^\n]+") do
      local phase = line:match("^(%a+ ?%a*)  ")
      if phase ~= "processing" then phases[#phases + 1] = phase end -- often nothing is left for it
    end
    assert.same({ "discovery", "content identification", "finalizing" }, phases, result.err)
  end)

  it("auto is plain where stderr is no terminal", function()
    local result = run("auto")
    assert_find("some phase", result.err)
    assert.is_nil(result.err:find("[\r\27]"))
  end)

  it("json writes an object a line, with the last progress among them", function()
    local result = run("json")
    local n, last = 0, nil
    for line in result.err:gmatch("([^\n]*)\n") do
      last = dkjson.decode(line)
      assert.is_table(last, line)
      assert.is_string(last.type)
      n = n + 1
    end
    assert.is_true(n >= 2, result.err)
    assert.equal(40, last.progress.phase.current)
    assert.equal("\n", result.err:sub(-1))
  end)

  it("json has log lines as objects, whatever is in them", function()
    local script = dir .. "/log.lua"
    fixture.write(script, 'local sd = require "sd"\nlocal J = sd.job.define { name = "log" }\n'
      .. 'function J:run(ctx) ctx:log("a\\nb\\xff", self and nil) end\nreturn J\n')
    local result = fixture.run_sdlua("run", script, "--progress", "json", "--library", library)
    assert.equal(1, select(2, result.err:gsub("\n", "")))
    assert.is_truthy(utf8.len(result.err))
    assert.equal("log", dkjson.decode(result.err).type)
  end)

  it("none is silent", function()
    assert.equal("", run("none").err)
    make_tree(20)
    local result = index("--progress", "none", tree)
    assert.same({ 0, "" }, { result.status, result.err })
  end)

  it("refuses another word", function()
    local result = run("loud")
    assert.equal(2, result.status)
    assert_find("'--progress' must be one of 'auto', 'bar',", result.err)
    assert_find("\nUsage: ", result.err)
  end)

  -- What `command` shows in a terminal of so many columns.
  local function in_terminal(columns, command)
    local line = ("stty cols %d rows 24; %s"):format(columns, command)
    return fixture.sh(("TERM=xterm LC_ALL=C.UTF-8 script -qec %s /dev/null </dev/null"):format(
      quote(line)))
  end

  -- The states that the last line of the terminal went through.
  local function drawn(text)
    local list = {}
    for piece in text:gmatch("[^\r\n]+") do
      piece = piece:gsub("\27%[K", "")
      assert.is_nil(piece:find("[%c\127]"), ("%q"):format(piece))
      if piece ~= "" then list[#list + 1] = piece end
    end
    return list
  end

  local function columns_of(line)
    fixture.write(dir .. "/line", line .. "\n")
    return tonumber(fixture.sh("LC_ALL=C.UTF-8 wc -L < " .. dir .. "/line"):match("%d+"))
  end

  local NASTY = [[{ phase = { name = "ph\27[31mase", current = i, total = 20 }, message = "m\r\n",
    current_path = "dir\27[2J/\u{9b}/new\nline/\xff\xfe/日本語/" .. ("long/"):rep(50) .. "end",
    total_found = { files = 123456789, dirs = 1234567, bytes = 1 << 50 } }]]

  for _, columns in ipairs { 80, 20, 200, 5 } do
    it(("draws a bar within %d columns, and escapes what it shows"):format(columns), function()
      if not fixture.has("script") then return pending("script is not installed") end
      local script = write_slow_job(NASTY, 1)
      local text = in_terminal(columns, ("%s run %s --library %s"):format(quote(sdlua),
        quote(script), quote(library)))
      local lines, bars = drawn(text), 0
      for _, line in ipairs(lines) do
        if line ~= "slow: complete" then
          bars = bars + 1
          assert.is_true(columns_of(line) < columns, line)
        end
      end
      assert.is_true(bars >= 3, text)
      assert.equal("slow: complete", lines[#lines])
      if columns >= 80 then assert_find("[####", text) end
      if columns == 200 then assert_find("/end", text) end
    end)
  end

  it("shows lines on a terminal that draws none anew", function()
    if not fixture.has("script") then return pending("script is not installed") end
    local script = write_slow_job("{ phase = 'counting' }", 1)
    local command = ("%s run %s --library %s"):format(quote(sdlua), quote(script), quote(library))
    for _, term in ipairs { "TERM=dumb", "TERM=", "unset TERM;" } do
      local text = in_terminal(80, term .. " " .. command)
      assert.is_nil(text:find("\27", 1, true), text)
      assert_find("counting  ETA unknown\r\nslow: complete", text)
    end
  end)

  it("shows rate, remaining time and path in 80 columns with the numbers of a large run", function()
    if not fixture.has("script") then return pending("script is not installed") end
    local script = write_slow_job([[{ phase = { name = "content_identification",
      current = 400000 + i, total = 1234567 }, current_path = ("holidays/"):rep(30) .. "img.jpg",
      total_found = { files = 1234567, dirs = 98765, bytes = 1 << 42 }, processing_rate = 12345,
      estimated_remaining = 185 }]], 1)
    local seen = 0
    for _, line in ipairs(drawn(in_terminal(80, ("%s run %s --library %s"):format(quote(sdlua),
      quote(script), quote(library))))) do
      if line:find("content", 1, true) then
        seen = seen + 1
        assert_find("32%", line)
        assert_find("12,345/s", line)
        assert_find("ETA 3:05 min", line)
        assert_find("holidays/img.jpg", line)
        assert.is_true(columns_of(line) < 80, line)
      end
    end
    assert.is_true(seen >= 3)
  end)

  it("draws a bar for a real run, which is gone at the end", function()
    if not fixture.has("script") then return pending("script is not installed") end
    fixture.sh(([[cd %s && for d in $(seq 60); do mkdir "d$(printf '\033[31m')$d"; (cd d*m$d &&
      seq 300 | awk '{ f = "f" $1; print $1 > f; close(f) }'); done]]):format(tree))
    local text = in_terminal(80, ("%s index --mode deep --chunk 10 --library %s %s"):format(
      quote(sdlua), quote(library), quote(tree)))
    local lines = drawn(text)
    for i = 1, #lines - 1 do assert.is_true(columns_of(lines[i]) < 80, lines[i]) end
    assert_find(": complete: 61 directories, 18,061 entries, ", lines[#lines])
    if #lines > 1 then assert_find("\r\27[K", text) end
  end)
end)

describe("the closing line", function()
  local function count(test)
    return tonumber(fixture.sh(("find %s %s 2>/dev/null | wc -l"):format(quote(tree), test)))
  end

  it("counts what find counts", function()
    make_tree(2500)
    local result = index("--progress", "none", tree)
    assert.equal(0, result.status)
    local dirs, entries, errors, skipped = result.out:match(
      "^%S+: complete: ([%d,]+) directories, ([%d,]+) entries, [%d.]+ %a+, [%d,]+ new, (.-), (.-),"
        .. " [%d.]+ s\n$")
    assert.is_string(dirs, result.out)
    assert.equal(count("-type d"), tonumber((dirs:gsub(",", ""))))
    assert.equal(count(""), tonumber((entries:gsub(",", ""))))
    assert.same({ "no errors", "nothing skipped" }, { errors, skipped })
  end)

  it("says bytes as the files have them", function()
    fixture.sh(("head -c 1000 /dev/zero > %s/a; head -c 23 /dev/zero > %s/b"):format(tree, tree))
    assert_find(", 1023 B, ", index("--progress", "none", tree).out)
  end)

  it("counts what was skipped, by rule", function()
    fixture.sh("touch " .. tree .. "/x")
    library = tree .. "/library"
    local result = index("--progress", "none", tree)
    assert.equal(0, result.status, result.err)
    local skipped = tonumber(result.out:match("(%d) skipped %(%d library%)"))
    assert.equal(0, index("--progress", "none", tree).status)
    local rows = fixture.sql(library, "SELECT DISTINCT rule, job_id, location_id FROM skips")
    assert.same({ { "library", "2", "1" } }, rows) -- those of the last run alone
    local names = fixture.sql(library, "SELECT path FROM skips ORDER BY path")
    assert.is_true(#names >= skipped)
    assert.equal("library/library.db", names[1][1])
  end)

  it("says once which root cannot be read", function()
    local user = fixture.as_user()
    if not user then return pending("needs an ordinary user") end
    fixture.sh(("chmod 755 %s; chmod 0 %s"):format(dir, tree))
    local words = { sdlua, "index", "--library", library, tree }
    local result = fixture.run(table.move(words, 1, #words, #user + 1, { table.unpack(user) }))
    assert.equal(1, result.status)
    assert.is_truthy(result.err:find("^sdlua: open %S+/tree: Permission denied\n$"), result.err)
  end)

  it("says a dot where the root itself could not be listed", function()
    if not fixture.has("strace") then return pending("strace is not installed") end
    if fixture.is_sanitized() then return pending("strace and sanitizers do not go together") end
    local result = fixture.run({ sdlua, "index", "--library", library, "--progress", "plain",
      tree }, ("strace -f -qq -o /dev/null -P %s -e inject=getdents64:error=EIO"):format(
      fixture.sh("realpath " .. tree):match("[^\n]+")))
    assert.equal(3, result.status, result.err)
    assert_find("error: ReadDir .: ", result.err)
    assert_find("1 error (1 EIO)", result.out)
  end)

  it("is `complete with errors`, by errno, with the first errors on stderr, escaped", function()
    local user = fixture.as_user()
    if not user then return pending("needs an ordinary user") end
    make_tree(10)
    fixture.sh(([[cd %s && mkdir 'no\%s' locked && echo x > c/closed && chmod 0 'no\%s' locked
      chmod 0 c/closed; chmod 755 %s; mkdir -m 777 %s]]):format(quote(tree), "\27[2Jdir",
      "\27[2Jdir", dir, library))
    local words = table.move({ sdlua, "index", "--library", library, "--progress", "plain", tree },
      1, 7, #user + 1, { table.unpack(user) })
    local result = fixture.run(words)
    assert.equal(3, result.status, result.err)
    assert_find(": complete with errors: ", result.out)
    assert_find("3 errors (3 EACCES)", result.out)
    assert_find([[no\\\x1b[2Jdir: ]], result.err)
    assert.is_nil(result.err:find("\27", 1, true))
    assert.equal(3, select(2, result.err:gsub("error: ", "")))
    assert.same({ { "3" } }, fixture.sql(library, "SELECT count(*) FROM errors"))
  end)

  it("is `incomplete` where a signal came, and the next one is complete", function()
    fixture.sh(("truncate -s 30G %s/sparse && echo x > %s/y"):format(tree, tree))
    local process = fixture.start({ sdlua, "index", "--library", library, "--mode", "deep",
      "--progress", "none", tree }, { out = dir .. "/out" })
    process:sleep(500)
    process:kill("sigint")
    assert.equal(130, (process:wait(5000)))
    assert_find("/tree: incomplete: paused: 1 directory, 3 entries, 30.0 GiB, ",
      fixture.read(dir .. "/out"))
    assert_find(" s; the same command goes on\n", fixture.read(dir .. "/out"))
    fixture.sh("truncate -s 10 " .. tree .. "/sparse")
    local result = index("--mode", "deep", "--progress", "plain", tree)
    assert.is_true(result.status == 0 or result.status == 3, result.err)
    assert_find("resuming job 1", result.err)
  end)

  it("escapes the root", function()
    local root = dir .. "/r\27[31m\n"
    assert(require "sd.core".luv.fs_mkdir(root, 448))
    local result = index("--progress", "none", root)
    assert.equal(0, result.status, result.err)
    assert_find("/r\\x1b[31m\\n: complete", result.out)
    assert.equal(1, select(2, result.out:gsub("\n", "")))
  end)
end)

describe("several PATHs", function()
  before_each(function()
    fixture.sh(("cd %s && mkdir one two 'th ree' && touch one/a two/b two/c 'th ree/d'"):format(
      dir))
  end)

  it("are locations of one library, a closing line each", function()
    local result = index("--progress", "none", dir .. "/one", dir .. "/two", dir .. "/th ree")
    assert.equal(0, result.status, result.err)
    assert.equal(3, select(2, result.out:gsub(": complete: ", "")))
    local real = fixture.sh("realpath " .. dir):match("[^\n]+")
    assert.same({ { real .. "/one", "complete", "1" }, { real .. "/th ree", "complete", "1" },
      { real .. "/two", "complete", "2" } },
      fixture.sql(library, "SELECT root, state, (SELECT count(*) FROM entries e WHERE"
        .. " e.location_id = l.id AND kind = 'file') FROM locations l ORDER BY root"))
  end)

  it("are all looked at before anything is written", function()
    local result = index(dir .. "/one", dir .. "/none")
    assert.equal(1, result.status)
    assert_find("/none", result.err)
    assert.is_false(exists(library))
  end)

  it("keep the results of those before one that cannot begin", function()
    fixture.sh(("truncate -s 30G %s/two/sparse"):format(dir))
    local process = fixture.start { sdlua, "index", "--library", library, "--mode", "deep",
      "--progress", "none", dir .. "/two" }
    process:sleep(500)
    process:kill("sigint")
    assert.equal(130, (process:wait(5000)))
    fixture.sh(("sqlite3 %s/library.db 'UPDATE job SET version = 99'"):format(library))
    local result = index("--mode", "deep", "--json", dir .. "/one", dir .. "/two")
    assert.equal(13, result.status, result.err)
    local object = dkjson.decode(result.out)
    assert.equal(1, #object.outputs)
    assert.equal("completed", object.outputs[1].status)
    assert_find("/one", object.outputs[1].root)
  end)

  it("stop at a signal", function()
    fixture.sh(("truncate -s 30G %s/one/sparse"):format(dir))
    local process = fixture.start({ sdlua, "index", "--library", library, "--mode", "deep",
      "--progress", "none", dir .. "/one", dir .. "/two" }, { out = dir .. "/out" })
    process:sleep(500)
    process:kill("sigterm")
    assert.equal(143, (process:wait(5000)))
    assert.same({ { "1" } }, fixture.sql(library, "SELECT count(*) FROM locations"))
  end)

  -- The signal may come while the first location is being finished: it is not lost for the second.
  it("stop at a signal whenever it comes", function()
    fixture.seed("signal")
    for _ = 1, 25 do
      local process = fixture.start({ sdlua, "index", "--library", library, "--progress", "none",
        dir .. "/one", dir .. "/two", dir .. "/th ree", tree })
      process:sleep(math.random(1, 30))
      process:kill("sigint")
      local status = process:wait(3000)
      assert.is_true(status == 0 or status == 130, tostring(status))
    end
    assert.equal(0, index("--progress", "none", dir .. "/one", dir .. "/two", dir .. "/th ree",
      tree).status)
    fixture.check_library(library)
  end)
end)

describe("--mime", function()
  -- Files whose names say nothing, of types that libmagic knows.
  local NAMELESS = { gzip = "seq 100 | gzip", tar = "tar c -C / etc/passwd",
    text = "seq 100", script = "printf '#!/bin/sh\\n'",
    png = "printf '\\211PNG\\r\\n\\032\\n\\0\\0\\0\\rIHDR\\0\\0\\0\\1\\0\\0\\0\\1\\10\\6\\0\\0'" }

  local function mimes(mode)
    local result = index("--mode", "deep", "--mime", mode, "--progress", "none", tree)
    assert.equal(0, result.status, result.err)
    local map = {}
    for _, row in ipairs(fixture.sql(library, "SELECT name, ifnull(mime, '-') FROM entries"
      .. " WHERE kind = 'file'")) do
      map[row[1]] = row[2]
    end
    fixture.sh("rm -r " .. library)
    return map
  end

  before_each(function()
    for name, command in pairs(NAMELESS) do
      fixture.sh(("%s > %s/%s"):format(command, tree, name))
    end
    fixture.sh(("cd %s && seq 1 > a.txt && seq 2 > b.html && seq 3 > c.JPG && seq 4 > d.tar.gz")
      :format(tree))
  end)

  it("none finds no types", function()
    for name, mime in pairs(mimes("none")) do assert.equal("-", mime, name) end
  end)

  it("name finds those of the table of shared-mime-info, whatever the bytes are", function()
    local found = mimes("name")
    local expected = { ["a.txt"] = "text/plain", ["b.html"] = "text/html", ["c.JPG"] = "image/jpeg",
      ["d.tar.gz"] = "application/x-compressed-tar" }
    for name, mime in pairs(expected) do
      assert.equal(mime, found[name], name)
      fixture.sh(("grep -qE '^[0-9]+:%s:\\*%s(:|$)' /usr/share/mime/globs2"):format(mime,
        name:sub(2):lower():gsub("%.", "\\.")))
    end
    for name in pairs(NAMELESS) do assert.equal("-", found[name], name) end
  end)

  it("magic finds what file(1) finds where the name does not decide", function()
    if not fixture.has("file") then return pending("file is not installed") end
    local found = mimes("magic")
    for name in pairs(NAMELESS) do
      assert.equal(fixture.sh(("file -b --mime-type %s/%s"):format(tree, name)),
        found[name] .. "\n", name)
    end
    assert.equal("image/jpeg", found["c.JPG"])
  end)

  -- Whichever name of a file comes first in the walk: in one of the two pairs it says nothing.
  for _, mode in ipairs { "name", "magic" } do
    it(mode .. " asks all names of a file, whichever of them it is read by", function()
      fixture.sh(("cd %s && rm * && mkdir a b && seq 9 > a/1 && ln a/1 b/1.py && seq 8 > a/2.c"
        .. " && ln a/2.c b/2 && seq 7 > a/3.py && ln a/3.py b/3.c"):format(tree))
      assert.same({ ["1"] = "text/x-python", ["1.py"] = "text/x-python", ["2.c"] = "text/x-csrc",
        ["2"] = "text/x-csrc", ["3.py"] = "text/x-csrc", ["3.c"] = "text/x-csrc" }, mimes(mode))
    end)
  end

  it("finds the type by a name that a file was given after it was read", function()
    local function type_of_all()
      local result = index("--mode", "deep", "--progress", "none", tree)
      assert.equal(0, result.status, result.err)
      return fixture.sql(library, "SELECT DISTINCT mime FROM entries WHERE name LIKE 'text%'")
    end
    fixture.sh(("touch -d @1000000000 %s/text"):format(tree))
    assert.same({ { "text/plain" } }, type_of_all())
    fixture.sh(("cd %s && ln text text.py"):format(tree))
    assert.same({ { "text/x-python" } }, type_of_all())
  end)
end)

describe("the default library", function()
  -- The environment is the assignments and nothing else that matters.
  local function index_with(assignments)
    return fixture.run({ sdlua, "index", "--progress", "none", tree },
      "env -u SDLUA_LIBRARY -u XDG_DATA_HOME -u HOME " .. assignments)
  end

  local function assert_made(path)
    assert.equal("700", fixture.sh("stat -c %a " .. quote(path)):match("%d+"))
    assert.same({ { "1" } }, fixture.sql(path, "SELECT count(*) FROM locations"))
  end

  before_each(function() fixture.sh("umask 0; mkdir -p " .. dir .. "/data " .. dir .. "/home") end)

  it("is $SDLUA_LIBRARY", function()
    local result = index_with(("SDLUA_LIBRARY=%s/mine XDG_DATA_HOME=%s/data HOME=%s/home"):format(
      dir, dir, dir))
    assert.equal(0, result.status, result.err)
    assert_made(dir .. "/mine")
    assert.is_false(exists(dir .. "/data/sdlua"))
  end)

  it("is below $XDG_DATA_HOME", function()
    assert.equal(0, index_with(("SDLUA_LIBRARY= XDG_DATA_HOME=%s/data HOME=%s/home"):format(dir,
      dir)).status)
    assert_made(dir .. "/data/sdlua/default")
    assert.is_false(exists(dir .. "/home/.local"))
  end)

  it("is below $HOME, also where $XDG_DATA_HOME is not absolute", function()
    for _, given in ipairs { "", "XDG_DATA_HOME=data", "XDG_DATA_HOME=" } do
      assert.equal(0, index_with(("%s HOME=%s/home"):format(given, dir)).status)
      assert_made(dir .. "/home/.local/share/sdlua/default")
      fixture.sh("rm -r " .. dir .. "/home/.local")
    end
  end)

  it("must be named where the environment says nothing", function()
    local result = index_with("A=b")
    assert.equal(2, result.status)
    assert_find("--library DIR", result.err)
  end)

  it("gives way to --library", function()
    fixture.run({ sdlua, "index", "--library", library, "--progress", "none", tree },
      "SDLUA_LIBRARY=" .. dir .. "/mine")
    assert_made(library)
    assert.is_false(exists(dir .. "/mine"))
  end)

  it("is private although the umask is open", function()
    local result = fixture.run({ sdlua, "index", "--library", library, "--progress", "none", tree },
      "umask 0;")
    assert.equal(0, result.status)
    assert_made(library)
  end)
end)

describe("stdout", function()
  it("as a pipe has the closing line and no control characters", function()
    make_tree(100)
    local out = fixture.sh(("%s index --progress bar --library %s %s 2>/dev/null | cat"):format(
      quote(sdlua), quote(library), quote(tree)))
    assert.is_nil(out:find("[^%g \n]"), out)
    assert_find(": complete: 4 directories, 106 entries, ", out)
  end)

  it("that nobody reads does not keep the job from its end", function()
    make_tree(100)
    for _, flag in ipairs { "--json", "--fresh" } do
      fixture.sh(("timeout 20 %s index %s --progress none --library %s %s 2>%s/err | true"):format(
        quote(sdlua), flag, quote(library), quote(tree), dir))
      assert.is_nil(fixture.read(dir .. "/err"):find("traceback", 1, true))
    end
    assert.same({ { "completed" }, { "completed" } },
      fixture.sql(library, "SELECT status FROM jobs"))
  end)
end)
