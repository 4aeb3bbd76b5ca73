-- `kill -9` at any instant: the next run goes on, and in the end nothing shows that there was a
-- kill. SD_KILLS says how often (default 40; 12 under sanitizers), SD_SEED repeats a run.
local fixture = require "support.fixture"
local uv = require "sd.core".luv

local KILLS = math.tointeger(tonumber(os.getenv("SD_KILLS")))
  or fixture.is_sanitized() and 12 or 40
local FOLDERS, FILES_EACH = 400, 48

local dir, tree, library, user
local expected_status -- the status of a run over all of the tree: what root reads is no error

-- ---- the tree, and how it changes ----

local TYPES = { "txt", "html", "png", "json", "bin", "c" }

-- Equal content has an equal type, so that a content's type does not depend on which of its names
-- are left.
local function write_file(folder, name, key)
  local text = ("content %d\n"):format(key):rep(1 + key % 97)
  fixture.write(("%s/%s.%s"):format(folder, name, TYPES[key % #TYPES + 1]), text)
end

local function folder_name(i)
  return ("%s/d%d/e%d"):format(tree, i % 20, i)
end

local function make_folder(path, files)
  assert(os.execute("mkdir -p " .. path))
  for i = 1, files do write_file(path, "f" .. i, math.random(9000)) end
end

-- About 20 000 entries: small files with duplicates, links of both kinds, some large files, what
-- an ordinary user cannot read.
local function make_tree()
  fixture.sh(("cd %s && mkdir $(seq -f d%%.0f 0 19)"):format(tree))
  for i = 1, FOLDERS do
    uv.fs_mkdir(folder_name(i), 493)
    for k = 1, FILES_EACH do write_file(folder_name(i), "f" .. k, math.random(9000)) end
  end
  local script = { "cd " .. fixture.quote(tree), "mkdir large closed" }
  for i = 1, 30 do
    script[#script + 1] = ("head -c %d /dev/urandom > large/l%d.bin"):format(100000 + 90000 * i, i)
    script[#script + 1] = ("ln -s ../e%d/x d%d/e%d/link"):format(i, i % 20, i)
    script[#script + 1] = ("ln large/l%d.bin d%d/e%d/same.bin"):format(i, i % 20, i)
    script[#script + 1] = ("echo secret > closed/c%d; chmod 000 closed/c%d"):format(i, i)
    script[#script + 1] = ("mkdir -m 000 closed/d%d"):format(i)
  end
  script[#script + 1] = "mkfifo d1/fifo; cp large/l30.bin large/l31.bin; sync -f ."
  fixture.sh(table.concat(script, "\n"))
end

local serial = 0

-- Any folder of the second level that is still there.
local function a_folder()
  local found = {}
  local text = fixture.sh(("find %s -mindepth 2 -maxdepth 2 -type d -name 'e*' | sort")
    :format(tree))
  for path in text:gmatch("[^\n]+") do found[#found + 1] = path end
  return found[math.random(#found)]
end

local CHANGES = {
  function() fixture.sh("rm -r " .. a_folder()) end,
  function() fixture.sh(("mv %s %s/d%d/emoved%d"):format(a_folder(), tree, math.random(0, 19),
    serial)) end,
  function() make_folder(("%s/d%d/enew%d/deeper"):format(tree, math.random(0, 19), serial),
    100) end,
  function() fixture.sh(("for f in %s/*.txt; do echo more >> $f; done"):format(a_folder())) end,
  function() fixture.sh(("d=%s; rm -r $d; echo file > $d"):format(a_folder())) end,
  function() fixture.sh(("chmod 750 %s && touch -h -d @%d %s/*"):format(
    tree .. "/d" .. math.random(0, 19), math.random(2000000000), a_folder())) end,
  function() fixture.sh(("cd %s && mv d%d new%d && mv new%d d%d"):format(tree, serial % 20, serial,
    serial, serial % 20)) end,
}

local function change_tree()
  for _ = 1, math.random(1, 6) do
    serial = serial + 1
    CHANGES[math.random(#CHANGES)]()
  end
  fixture.sh("chmod -R go+rX " .. tree .. "/d*; sync -f " .. tree)
end

-- ---- runs ----

local function words(options)
  local list = table.move(user, 1, #user, 1, {})
  for _, word in ipairs { fixture.sdlua, "index", "--library", options.library or library, "--mode",
    options.mode or "content", "--progress", options.progress or "none" } do
    list[#list + 1] = word
  end
  for _, name in ipairs { "batch", "chunk", "threads" } do
    if options[name] then
      table.move({ "--" .. name, tostring(options[name]) }, 1, 2, #list + 1, list)
    end
  end
  if options.fresh then list[#list + 1] = "--fresh" end
  list[#list + 1] = tree
  return list
end

-- Runs to the end, and must end well; the milliseconds that it took.
local function complete(options)
  local start = uv.hrtime()
  local result = fixture.run(words(options))
  assert.is_true(result.status == 0 or result.status == 3, result.status .. ": " .. result.err)
  return (uv.hrtime() - start) / 1e6
end

-- Runs, and is killed after so many milliseconds; false where it had ended before.
local function killed(options, ms)
  local errors = dir .. "/stderr"
  os.remove(errors)
  local process = fixture.start(words(options), { err = errors })
  process:sleep(math.max(1, ms // 1 | 0))
  process:kill("sigkill")
  local status = process:wait()
  assert.is_true(status == 137 or status == 0 or status == 3,
    status .. ": " .. fixture.read(errors))
  return status == 137
end

-- A kill while the schema is made leaves a journal, which readers cannot roll back: a copy is
-- looked at.
local function check_while_made()
  local copy = dir .. "/copy"
  local answer = fixture.sh(("rm -rf %s; cp -r %s %s; sqlite3 %s/library.db"
    .. " 'PRAGMA integrity_check'"):format(copy, library, copy, copy))
  assert.equal("ok\n", answer)
  return "opening"
end

local function has_library()
  return uv.fs_stat(library .. "/library.db") ~= nil
    and fixture.sql(library, "SELECT count(*) FROM sqlite_schema")[1][1] ~= "0"
end

-- What must hold after every kill; the phase in which it came.
local function check_after_kill()
  if uv.fs_stat(library .. "/library.db-journal") then return check_while_made() end
  if not has_library() then return "opening" end
  fixture.check_library(library)
  local rows = fixture.sql(library, "SELECT coalesce(phase, 'start'), state IS NULL FROM job")
  assert.is_true(#rows <= 1, "several jobs are open")
  local orphans = fixture.sql(library, "SELECT count(*) FROM job_queue_item WHERE job_id NOT IN"
    .. " (SELECT id FROM job)")
  assert.equal("0", orphans[1][1])
  return rows[1] and (rows[1][2] == "1" and "start" or rows[1][1]) or "outside"
end

local function check_equals_uninterrupted(mode)
  fixture.check_library(library)
  fixture.check_nothing_left(library)
  local fresh = dir .. "/fresh"
  fixture.sh(("mkdir %s && chmod 777 %s"):format(fresh, fresh))
  local ms = complete { library = fresh, mode = mode }
  local lines = fixture.index_differences(library, fresh)
  fixture.sh("rm -r " .. fresh)
  assert.equal("", table.concat(lines, "\n"))
  return ms
end

local function count_of(sql)
  return math.tointeger(tonumber(fixture.sql(library, sql)[1][1]))
end

-- ---- many kills ----

local MODES = { "shallow", "content", "deep" }
local SIZES = { 1, 10, 100, 1000, 5000 }

local function pick(list) return list[math.random(#list)] end

-- Half of the runs have the usual options.
local function random_options(mode)
  if math.random() < 0.5 then return { mode = mode } end
  return { mode = mode, batch = SIZES[math.random(2, 5)], chunk = pick(SIZES),
    threads = math.random(1, 4) }
end

local RANK = { shallow = 1, content = 2, deep = 3 }

-- Kills, changes of the tree, changes of mode; then the library is completed in the highest mode
-- that it ever saw, and compared.
local function life(kills, full_ms, phases, highest)
  local options, part = random_options(pick(MODES)), 1
  local stale = false
  local done, endings = 0, 0
  while done < kills do
    if math.random() < 0.15 then
      change_tree()
      stale = true
    end
    options.fresh = math.random() < 0.1
    if math.random() < 0.1 then options = random_options(pick(MODES)) end
    if RANK[options.mode] > RANK[highest] then highest = options.mode end
    if killed(options, math.random() * part * full_ms[options.mode]) then
      done = done + 1
      local phase = check_after_kill()
      phases[phase] = (phases[phase] or 0) + 1
    else
      endings = endings + 1
      part = part * 0.7
      if endings > 3 then break end
      change_tree()
      stale = true
    end
  end
  -- A resumed run owes nothing to changes in what it had walked before; a new one sees all.
  complete { mode = highest, batch = options.batch, chunk = options.chunk }
  if stale then complete { mode = highest } end
  full_ms[highest] = check_equals_uninterrupted(highest)
  return done, highest
end

local function text_of(phases)
  local list = {}
  for phase, n in pairs(phases) do list[#list + 1] = phase .. " " .. n end
  table.sort(list)
  return table.concat(list, ", ")
end

setup(function()
  fixture.seed("resume_spec")
  user = fixture.as_user()
  user, expected_status = user or {}, user and 3 or 0
  dir = fixture.temp()
  tree, library = dir .. "/tree", dir .. "/library"
  fixture.sh(("mkdir %s && chmod 755 %s"):format(tree, dir))
  make_tree()
end)

teardown(function() fixture.remove(dir) end)

before_each(function()
  fixture.sh(("rm -rf %s && mkdir -m 777 %s"):format(library, library))
end)

describe("a killed run", function()
  it("leaves a library that in the end equals an uninterrupted one", function()
    local full_ms, phases, done, lives = {}, {}, 0, 0
    for _, mode in ipairs(MODES) do
      local path = dir .. "/measure"
      fixture.sh(("mkdir %s && chmod 777 %s"):format(path, path))
      full_ms[mode] = complete { library = path, mode = mode }
      fixture.sh("rm -r " .. path)
    end
    local highest = "shallow"
    while done < KILLS do
      local kills
      kills, highest = life(math.min(KILLS - done, math.random(4, 12)), full_ms, phases, highest)
      done, lives = done + kills, lives + 1
      if math.random() < 0.7 then
        highest = "shallow"
        fixture.sh(("rm -r %s && mkdir -m 777 %s"):format(library, library))
      end
    end
    print(("%d kills in %d rounds: %s"):format(done, lives, text_of(phases)))
    print(("uninterrupted: shallow %d ms, content %d ms, deep %d ms"):format(full_ms.shallow // 1,
      full_ms.content // 1, full_ms.deep // 1))
  end)

  -- The unfinished run's rows are of a lesser kind than the finished one's before it.
  it("of a lower mode does not lower what a later deep run finds", function()
    complete { mode = "deep" }
    local ms = complete { mode = "content" }
    for _ = 1, 20 do
      fixture.sh(("for i in 1 2 3 4 5 6 7 8 9; do for f in %s/d$i/*/*.txt; do echo more >> $f;"
        .. " done; done"):format(tree))
      fixture.sh(("for f in %s/large/*; do echo more >> $f; done; sync -f %s"):format(tree, tree))
      killed({ mode = "content", chunk = 10 }, ms * (1 + math.random()))
      if count_of("SELECT count(*) FROM job"
        .. " WHERE phase IN ('content_identification', 'finalizing')") > 0 then
        break
      end
    end
    complete { mode = "deep" }
    check_equals_uninterrupted("deep")
  end)
end)

describe("a killed deep run", function()
  local whole, links

  local function words_of(path, threads)
    return { fixture.sdlua, "index", "--library", path, "--mode", "deep", "--progress", "none",
      "--threads", threads, "--batch", "10", "--chunk", "10", links }
  end

  -- Pairs of linked files, one name of each in a directory of its own: which of the two gets the
  -- smaller id, and so is read, is a matter of the threads that walk.
  before_each(function()
    links, whole = dir .. "/links", dir .. "/whole"
    local script = { ("mkdir %s && cd %s && mkdir $(seq -f d%%.0f 0 39)"):format(links, links) }
    for i = 0, 399 do
      local f = ("d%d/f%d%s"):format(i % 40, i, i % 3 == 0 and ".txt" or "")
      script[#script + 1] = ("(printf '\\0\\1\\2%d'; head -c 3000 /dev/zero) > %s; ln %s d%d/g%d%s")
        :format(i, f, f, (i + 7) % 40, i, i % 2 == 0 and ".py" or "")
    end
    fixture.sh(table.concat(script, "\n"))
  end)

  after_each(function() fixture.sh(("rm -rf %s %s"):format(links, whole)) end)

  it("finds the types that an uninterrupted one finds, where files have several names", function()
    local start = uv.hrtime()
    assert.equal(0, fixture.run(words_of(whole, "1")).status)
    local ms, kills = (uv.hrtime() - start) / 1e6, 0
    for _ = 1, 60 do
      fixture.sh(("rm -r %s"):format(library))
      for part = 1, 3 do
        local process = fixture.start(words_of(library, "4"), { err = dir .. "/stderr" })
        process:sleep(math.max(1, ms * math.random() * part / 3 // 1 | 0))
        process:kill("sigkill")
        if process:wait() == 137 then kills = kills + 1 end
      end
      assert.equal(0, fixture.run(words_of(library, "4")).status)
      assert.equal("", table.concat(fixture.index_differences(library, whole), "\n"))
      if kills >= KILLS // 5 then break end
    end
    assert.is_true(kills > 0)
    assert.same({ { "application/octet-stream" }, { "text/plain" }, { "text/x-python" } },
      fixture.sql(library, "SELECT DISTINCT mime FROM entries WHERE kind = 'file' ORDER BY 1"))
  end)
end)

-- ---- what the next run says ----

local WITH_STATE = "SELECT count(*) FROM job WHERE state IS NOT NULL"
-- The first commit of all has the root in the queue, and the next ones what is still to be walked.
local WITH_QUEUE = "SELECT count(*) > 0 FROM job_queue_item"

-- Kills, each time a little later, until the unfinished job that is left is one as `sql` wants it.
local function interrupt_midway(options, sql)
  local path = dir .. "/measure"
  fixture.sh(("rm -rf %s && mkdir %s && chmod 777 %s"):format(path, path, path))
  local ms = complete { library = path, mode = options.mode }
  for attempt = 0, 60 do
    fixture.sh(("rm -r %s && mkdir -m 777 %s"):format(library, library))
    killed(options, ms * (sql and 0.05 or 0.3) + ms * 0.02 * attempt)
    if has_library() and count_of(sql or WITH_STATE) == 1 then return end
  end
  error("no run could be killed in the middle")
end

describe("the run after a kill", function()
  it("says that it resumes the job", function()
    interrupt_midway {}
    local id = count_of("SELECT id FROM job")
    local result = fixture.run(words { progress = "plain" })
    assert.is_truthy(result.err:find(("resuming job %d"):format(id), 1, true), result.err)
    assert.equal("completed",
      fixture.sql(library, "SELECT status FROM jobs WHERE id = " .. id)[1][1])
    check_equals_uninterrupted("content")
  end)

  it("says with --fresh that it starts over", function()
    interrupt_midway {}
    local id = count_of("SELECT id FROM job")
    local result = fixture.run(words { progress = "plain", fresh = true })
    assert.is_truthy(result.err:find(("starting over: job %d"):format(id), 1, true), result.err)
    assert.same({ { "cancelled" }, { "completed" } },
      fixture.sql(library, "SELECT status FROM jobs ORDER BY id"))
    check_equals_uninterrupted("content")
  end)

  it("starts a new job where other options are given", function()
    interrupt_midway {}
    local result = fixture.run(words { progress = "plain", mode = "deep" })
    assert.is_truthy(result.err:find("starting a new one", 1, true), result.err)
    assert.same({ { "cancelled" }, { "completed" } },
      fixture.sql(library, "SELECT status FROM jobs ORDER BY id"))
    check_equals_uninterrupted("deep")
  end)

  it("refuses the checkpoint of another version of the script", function()
    interrupt_midway {}
    local text, n = fixture.read(require "sd.root" .. "/jobs/indexer.lua")
      :gsub("version = 1,", "version = 2,")
    assert.equal(1, n)
    local jobs = dir .. "/jobs"
    fixture.sh("mkdir -m 755 " .. jobs)
    fixture.write(jobs .. "/indexer.lua", text)
    local prefix = "SDLUA_JOBS=" .. fixture.quote(jobs)
    local result = fixture.run(words {}, prefix)
    assert.equal(13, result.status, result.err)
    assert.is_truthy(result.err:find("version 1", 1, true)
      and result.err:find("version 2", 1, true), result.err)
    assert.is_nil(result.err:find("traceback", 1, true))
    assert.equal(1, count_of("SELECT count(*) FROM job"))
    fixture.check_library(library)
    -- Both ways out that the message names.
    assert.equal(expected_status, fixture.run(words { fresh = true }, prefix).status)
    check_equals_uninterrupted("content")
  end)
end)

-- ---- a damaged checkpoint ----

local DAMAGES = {
  ["a state with a flipped byte"] = "UPDATE job SET state = CAST(substr(state, 1,"
    .. " length(state) / 2) || x'ff00ff' || substr(state, length(state) / 2 + 4) AS BLOB)",
  ["a state that is cut off"] = "UPDATE job SET state = substr(state, 1, length(state) / 2)",
  ["an empty state"] = "UPDATE job SET state = x''",
  ["a state that is none"] = "UPDATE job SET state = randomblob(1000)",
  ["arguments that are none"] = "UPDATE job SET args = x'00'",
  ["queue items that are none"] = "UPDATE job_queue_item SET payload = x'00'",
}

describe("a checkpoint with", function()
  for name, sql in pairs(DAMAGES) do
    it(name .. " is refused, and --fresh starts over", function()
      interrupt_midway({ batch = 10 }, sql:find("job_queue_item", 1, true) and WITH_QUEUE)
      fixture.sh(("sqlite3 %s/library.db %s"):format(library, fixture.quote(sql)))
      local result = fixture.run(words { batch = 10 })
      assert.equal(12, result.status, result.err)
      assert.is_nil(result.err:find("traceback", 1, true), result.err)
      assert.is_truthy(result.err:find("%-%-fresh"), result.err)
      fixture.check_library(library)
      result = fixture.run(words { batch = 10, fresh = true })
      assert.equal(expected_status, result.status, result.err)
      check_equals_uninterrupted("content")
    end)
  end
end)
