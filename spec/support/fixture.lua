--- What specs share: temporary folders, running programs, and the truth as find and sqlite3 tell
--- it.
local uv = require "sd.core".luv

local M = {}

--- The program under test.
M.sdlua = os.getenv("SDLUA") or uv.exepath()

--- Random numbers that a failing run can be repeated with: SD_SEED=… in the environment.
function M.seed(name)
  local seed = math.tointeger(tonumber(os.getenv("SD_SEED"))) or os.time() * 1000 + uv.os_getpid()
  print(("\n%s: SD_SEED=%d"):format(name, seed))
  math.randomseed(seed)
  return seed
end

---@param s string
---@return string
function M.quote(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

--- A new folder; remove it with M.remove().
---@param base? string Where (default $TMPDIR).
---@return string path
function M.temp(base)
  base = base or os.getenv("TMPDIR") or "/tmp"
  return assert(uv.fs_mkdtemp(base .. "/sdlua-spec.XXXXXX"))
end

function M.remove(path)
  assert(path:find("sdlua%-spec%."), path)
  os.execute("chmod -R u+rwX " .. M.quote(path) .. " 2>/dev/null; rm -rf " .. M.quote(path))
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end
M.read = read

function M.write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

--- Runs a shell command; it must succeed. What it printed.
---@param command string
---@return string
function M.sh(command)
  local pipe = assert(io.popen(command, "r"))
  local text = pipe:read("a")
  local ok, _, status = pipe:close()
  if not ok then error(("%s: status %s: %s"):format(command, tostring(status), text), 2) end
  return text
end

--- Whether a program is there.
function M.has(program)
  return (os.execute("command -v " .. program .. " >/dev/null 2>&1")) == true
end

---@class spec.Result
---@field status integer 128 + the signal where one ended it.
---@field out string
---@field err string

--- Runs a command line with words `words`; `prefix` is shell text in front of it, e.g. "ulimit -n
--- 32;".
---@param words string[]
---@param prefix? string
---@return spec.Result
function M.run(words, prefix)
  local dir = M.temp()
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = M.quote(word) end
  local command = ("%s %s >%s/out 2>%s/err </dev/null")
    :format(prefix or "", table.concat(quoted, " "), dir, dir)
  local _, how, status = os.execute(command)
  if how == "signal" then status = 128 + status end
  local result = { status = status, out = read(dir .. "/out"), err = read(dir .. "/err") }
  M.remove(dir)
  return result
end

--- `sdlua ARGS…`
---@param ... string
---@return spec.Result
function M.run_sdlua(...)
  return M.run { M.sdlua, ... }
end

--- Rows of a query, by the sqlite3 program; values are text.
---@param library string
---@param sql string
---@return string[][]
function M.sql(library, sql)
  local rows = {}
  local text = M.sh(("sqlite3 -readonly -separator '\t' %s %s")
    :format(M.quote(library .. "/library.db"), M.quote(sql)))
  for line in text:gmatch("([^\n]*)\n") do
    local row = {}
    for value in (line .. "\t"):gmatch("([^\t]*)\t") do row[#row + 1] = value end
    rows[#rows + 1] = row
  end
  return rows
end

local function unhex(s)
  return (s:gsub("%x%x", function(b) return string.char(tonumber(b, 16)) end))
end
M.unhex = unhex

--- The view `entries`: path -> "kind|size|mtime_ns|mode|nlink|uid|gid".
---@param library string
---@return table<string, string>
function M.entries(library)
  local map = {}
  local sql = "SELECT hex(CAST(path AS BLOB)), kind, size, mtime_ns, printf('%o', mode), nlink,"
    .. " uid, gid FROM entries"
  for _, row in ipairs(M.sql(library, sql)) do
    local path = unhex(row[1])
    if map[path] then error("path is there twice: " .. path) end
    map[path] = table.concat(row, "|", 2, 8)
  end
  return map
end

M.unhex = unhex

local KINDS = { f = "file", d = "directory", l = "symlink", p = "fifo", s = "socket", c = "char",
  b = "block" }

-- "-12.5000000000", as find prints seconds, to nanoseconds.
local function nanoseconds(text)
  local sign, seconds, fraction = text:match("^(-?)(%d+)%.?(%d*)$")
  local ns = math.tointeger(seconds) * 1000000000
    + math.tointeger((fraction .. ("0"):rep(9)):sub(1, 9))
  return sign == "-" and -ns or ns
end

--- The same of the tree at `root`, by find. Directory sizes and times are those of now.
---@param root string
---@return table<string, string>
function M.find(root)
  local map = {}
  local text = M.sh(("find %s -printf '%%P\\0%%y|%%s|%%T@|%%m|%%n|%%U|%%G\\0'")
    :format(M.quote(root)))
  for path, fields in text:gmatch("([^\0]*)\0([^\0]*)\0") do
    local kind, size, time, rest = fields:match("^(.)|(%d+)|([^|]*)|(.*)$")
    map[path] = ("%s|%s|%d|%s"):format(KINDS[kind], size, nanoseconds(time), rest)
  end
  return map
end

--- What differs between two maps, as a list of lines; at most ten.
---@return string[]
function M.differences(a, b)
  local lines = {}
  for path, fields in pairs(a) do
    if b[path] ~= fields then
      lines[#lines + 1] = ("%q: %s, not %s"):format(path, fields, tostring(b[path]))
    end
  end
  for path, fields in pairs(b) do
    if a[path] == nil then lines[#lines + 1] = ("%q: missing, not %s"):format(path, fields) end
  end
  return table.move(lines, 1, math.min(#lines, 10), 1, {})
end

--- Fails where the library is not sound.
---@param library string
function M.check_library(library)
  local rows = M.sql(library, "PRAGMA integrity_check")
  if rows[1][1] ~= "ok" then error("integrity_check: " .. rows[1][1], 2) end
  local twice = M.sql(library, "SELECT location_id, hex(CAST(path AS BLOB)), count(*) FROM entries"
    .. " GROUP BY 1, 2 HAVING count(*) > 1 LIMIT 1")
  if twice[1] then error("a path is there twice: " .. unhex(twice[1][2]), 2) end
end

--- Whether the program under test carries a sanitizer, which makes it many times slower.
function M.is_sanitized()
  local text = read(M.sdlua)
  return text:find("__asan_init", 1, true) ~= nil or text:find("__tsan_init", 1, true) ~= nil
end

--- Words that run a program as an ordinary user, in front of its own; nothing where this process is
--- one. Nil where there is no way.
---@return string[]?
function M.as_user()
  if uv.getuid() ~= 0 then return {} end
  local words = { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups" }
  local probe = table.move({ M.sdlua, "index", "--help" }, 1, 3, #words + 1,
    { table.unpack(words) })
  return M.run(probe).status == 0 and words or nil
end

---@class spec.Process
---@field pid integer
---@field private exit? {status: integer, at: integer}
local Process = {}
Process.__index = Process

---@class spec.StartOptions
---@field out? string File of stdout (default /dev/null).
---@field err? string File of stderr (default /dev/null); a fifo is waited for.
---@field env? string[] "NAME=value" for the whole environment.

--- Starts a program beside the test, all signals as they are by default; wait for it.
---@param words string[]
---@param options? spec.StartOptions
---@return spec.Process
function M.start(words, options)
  options = options or {}
  local fds = {}
  for i, path in ipairs { options.out or "/dev/null", options.err or "/dev/null" } do
    fds[i] = assert(uv.fs_open(path, "a", 384))
  end
  local self = setmetatable({}, Process)
  local handle, pid
  handle, pid = uv.spawn(words[1], {
    args = table.move(words, 2, #words, 1, {}), stdio = { nil, fds[1], fds[2] }, env = options.env,
  }, function(code, signal)
    self.exit = { status = signal > 0 and 128 + signal or code, at = uv.hrtime() }
    handle:close()
  end)
  for _, fd in ipairs(fds) do uv.fs_close(fd) end
  assert(handle, pid)
  self.pid = pid
  return self
end

--- Sends a signal by its name, e.g. "sigint".
---@param signal string
function Process:kill(signal)
  self.killed_at = self.killed_at or uv.hrtime()
  if not self.exit then uv.kill(self.pid, signal) end
end

--- Turns the loop for so long, or until the process has ended; whether it has.
---@param ms integer
---@return boolean
function Process:sleep(ms)
  local timer, over = uv.new_timer(), false
  -- The loop's time is that of its last turn; and one that finds the time over already would wait
  -- for the process, but for the repetition.
  uv.update_time()
  timer:start(ms, 5, function() over = true end)
  while not over and not self.exit do uv.run("once") end
  timer:close()
  uv.run("nowait") -- luv frees a handle that is still being closed when the state ends
  return self.exit ~= nil
end

--- Waits for its end. The status, 128 + the signal where one ended it, and the milliseconds since
--- the first kill. After `limit` it is killed for good: nil.
---@param limit? integer Milliseconds (default 120 000).
---@return integer? status
---@return number ms
function Process:wait(limit)
  local in_time = self:sleep(limit or 120000)
  if not in_time then
    uv.kill(self.pid, "sigkill")
    while not self.exit do uv.run("once") end
  end
  return in_time and self.exit.status or nil, (self.exit.at - (self.killed_at or 0)) / 1e6
end

local INDEX_QUERIES = {
  "SELECT path, kind, CASE kind WHEN 'directory' THEN 0 ELSE size END, mtime_ns, mode, nlink, uid,"
    .. " gid, target, hash, hash_kind, mime FROM %sentries",
  "SELECT path, files, dirs, bytes, allocated FROM %sdirectories",
  "SELECT hash, hash_kind, size, mime, entries FROM %scontents",
  "SELECT path, operation, error, count(*) FROM %serrors"
    .. " WHERE job_id = (SELECT max(id) FROM %sjobs) GROUP BY 1, 2, 3",
}

--- What differs between the indexes of two libraries: entries, totals, contents, the last job's
--- errors; ids and times of indexing may differ. At most ten lines of each.
---@return string[]
function M.index_differences(a, b)
  local lines = {}
  local attach = ("ATTACH 'file:%s/library.db?mode=ro' AS other;"):format(b)
  for _, query in ipairs(INDEX_QUERIES) do
    local ours, theirs = query:gsub("%%s", "main."), query:gsub("%%s", "other.")
    for sign, sql in pairs {
      ["-"] = ("SELECT * FROM (%s) EXCEPT SELECT * FROM (%s)"):format(theirs, ours),
      ["+"] = ("SELECT * FROM (%s) EXCEPT SELECT * FROM (%s)"):format(ours, theirs),
    } do
      for _, row in ipairs(M.sql(a, attach .. sql .. " LIMIT 10")) do
        lines[#lines + 1] = sign .. table.concat(row, "|")
      end
    end
  end
  return lines
end

--- Fails where a finished job has left something behind.
---@param library string
function M.check_nothing_left(library)
  for _, name in ipairs { "job", "job_queue_item", "job_count", "vanished", "found" } do
    local n = M.sql(library, "SELECT count(*) FROM " .. name)[1][1]
    if n ~= "0" then error(("%s rows of %s are left"):format(n, name), 2) end
  end
end

--- The same, and where what hard links count twice is not reckoned: after a run over a location.
---@param library string
function M.check_settled(library)
  M.check_nothing_left(library)
  for _, name in ipairs { "link_todo", "link_moved", "link_scan" } do
    local n = M.sql(library, "SELECT count(*) FROM " .. name)[1][1]
    if n ~= "0" then error(("%s rows of %s are left"):format(n, name), 2) end
  end
end

-- find prints the second at or before the time and the nanoseconds after that second, also before
-- 1970. What a signed 64-bit count of nanoseconds cannot say is the nearest that it can.
local function clamped_ns(text)
  local seconds, fraction = text:match("^(-?%d+)%.?(%d*)$")
  local s = math.tointeger(seconds)
  local ns = math.tointeger((fraction .. ("0"):rep(9)):sub(1, 9))
  if s > 9223372036 or s == 9223372036 and ns > 854775807 then return math.maxinteger end
  if s < -9223372037 or s == -9223372037 and ns < 145224192 then return math.mininteger end
  return s * 1000000000 + ns
end

local LISTING = "%P\\0%y|%s|%b|%T@|%C@|%m|%n|%U|%G|%D|%i|%l\\0"

--- All that find says of the tree at `root`, in the form of M.rows(). `where` is shell text in
--- front of the command, as M.run() has it.
---@param root string
---@param where? string
---@return table<string, string>
function M.listing(root, where)
  local map = {}
  local text = M.sh(("%s find %s -printf %s"):format(where or "", M.quote(root), M.quote(LISTING)))
  for path, fields in text:gmatch("([^\0]*)\0([^\0]*)\0") do
    local kind, sizes, mtime, ctime, rest =
      fields:match("^(.)|(%d+|%d+)|([^|]*)|([^|]*)|(.*)$")
    map[path] = ("%s|%s|%d|%d|%s"):format(KINDS[kind], sizes, clamped_ns(mtime), clamped_ns(ctime),
      rest)
  end
  return map
end

--- The view `entries`, all that find can confirm:
--- path -> "kind|size|blocks|mtime|ctime|mode|nlink|uid|gid|dev|ino|target".
---@param library string
---@return table<string, string>
function M.rows(library)
  local map = {}
  local sql = "SELECT hex(CAST(path AS BLOB)), kind, size, allocated / 512, mtime_ns, ctime_ns,"
    .. " printf('%o', mode), nlink, uid, gid, dev, ino, hex(CAST(target AS BLOB)) FROM entries"
  for _, row in ipairs(M.sql(library, sql)) do
    local path = unhex(row[1])
    if map[path] then error(("path is there twice: %q"):format(path)) end
    map[path] = table.concat(row, "|", 2, 12) .. "|" .. unhex(row[13])
  end
  return map
end

--- What xxhsum says of each file at `root` that is not empty: path -> hash.
---@param root string
---@param where? string
---@return table<string, string>
function M.sums(root, where)
  local map = {}
  local text = M.sh(("%s find %s -type f -size +0c -printf '%%P\\0'"
    .. " -execdir sh -c 'xxhsum -H2 <\"$1\"' sh {} \\;"):format(where or "", M.quote(root)))
  for path, hash in text:gmatch("([^\0]*)\0(%x+)[^\n]*\n") do map[path] = hash end
  return map
end

--- The hashes in the view `entries`: path -> hash.
---@param library string
---@return table<string, string>
function M.hashes(library)
  local map = {}
  for _, row in ipairs(M.sql(library, "SELECT hex(CAST(path AS BLOB)), hash FROM entries"
    .. " WHERE hash IS NOT NULL")) do
    map[unhex(row[1])] = row[2]
  end
  return map
end

---@class spec.Mounts
---@field where string Shell text in front of a command that is to see the mounts.
---@field process spec.Process It sleeps.
local Mounts = {}
Mounts.__index = Mounts

function Mounts:__close()
  self.process:kill("sigkill")
  self.process:wait()
end

--- Runs a shell script in a mount namespace of its own, which lives until it is closed: nothing has
--- to be unmounted. Nil and why, where this process may not mount.
---@param script string
---@return spec.Mounts? mounts
---@return string? why
function M.mounts(script)
  local dir = M.temp()
  local self = setmetatable({}, Mounts)
  self.process = M.start({ "/usr/bin/unshare", "-m", "sh", "-c",
    ("set -e\n%s\n: >%s/ready\nexec sleep 900"):format(script, M.quote(dir)) },
    { err = dir .. "/err" })
  local ready
  repeat ready = uv.fs_stat(dir .. "/ready") until ready or self.process:sleep(5)
  local why = read(dir .. "/err")
  M.remove(dir)
  if not ready then return nil, "mounts are not permitted: " .. why end
  self.where = ("nsenter -t %d -m"):format(self.process.pid)
  return self
end

return M
