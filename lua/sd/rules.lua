--- What a location leaves out: options as the user gives them, their text as it is stored, the set
--- that a walk uses. docs/rules.md explains the rules.
local accept = require "sd.accept"
local core = require "sd.core"
local failure = require "sd.failure"
local json = require "sd.json"

local M = {}

---@class sd.RuleOptions Of a location. Where a name is wrong, or a value, it is a failure.
---@field rules? string Names of rules, commas between: see `names()`.
---@field include? string[] Patterns: only files stay that one matches.
---@field exclude? string[] Patterns: what one matches is left out.
---@field accept_children? string[] Names: only files below a directory with one of them stay.
---@field reject_children? string[] Names: a directory with one of them is left empty.
---@field min_size? integer Bytes, of regular files.
---@field max_size? integer Bytes, of regular files.
---@field newer? string Files that were modified before are left out: see `time()`.
---@field older? string Files that were modified after are left out.
---@field one_file_system? boolean Mounts below the root are not entered.
---@field remote? boolean Remote file systems are entered below the root as well.
---@field snapshots? boolean Snapshots are entered below the root as well.
---@field accept? string A script with predicates, by its absolute path: see sd.accept.

local LISTS = { "include", "exclude", "accept_children", "reject_children" }
local SIZES = { "min_size", "max_size" }
local TIMES = { "newer", "older" }
local FLAGS = { "one_file_system", "remote", "snapshots" }

local ABOUT = {
  gitignore = "what .gitignore, .git/info/exclude and .ignore say",
  no_hidden = "names that begin with a dot",
  no_git = "version control: .git, .hg, .svn and others",
  no_dev_dirs = "what is downloaded or built: node_modules, __pycache__, target, venvs",
  no_system_files = "what systems leave behind: .DS_Store, Thumbs.db, lost+found, trash",
  no_caches = "caches: .cache, .thumbnails, directories with a CACHEDIR.TAG",
  only_images = "of files, all but images",
  only_videos = "of files, all but videos",
  only_audio = "of files, all but audio",
  only_documents = "of files, all but documents",
}

--- The rules that can be chosen by name, and what each leaves out.
---@return {name: string, about: string}[]
function M.names()
  local list = {}
  for i, name in ipairs(core.rules.known()) do list[i] = { name = name, about = ABOUT[name] } end
  return list
end

-- ---- times ----

local UNITS = { s = 1, m = 60, h = 3600, d = 86400, w = 604800, y = 31536000 }

-- Local time. os.time() takes a 31st of June for the first of July.
local function date(text)
  local year, month, day, rest = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)(.*)$")
  if not year then return nil end
  local hour, min, sec = rest:match("^[T ](%d%d):(%d%d)(.*)$")
  if rest ~= "" and not hour then return nil end
  sec = hour and (sec == "" and "00" or sec:match("^:(%d%d)$")) or "00"
  if not sec then return nil end
  local at = os.time { year = year, month = month, day = day, hour = hour or 0, min = min or 0,
    sec = sec }
  local same = ("%s-%s-%s %s:%s:%s"):format(year, month, day, hour or "00", min or "00", sec)
  return at and os.date("%Y-%m-%d %H:%M:%S", at) == same and at or nil
end

--- "30d" (s, m, h, d, w, y) before `now`; "2024-05-01", "2024-05-01 12:30:00" in local time; "@"
--- and seconds since 1970.
---@param text string
---@param now integer Seconds since 1970.
---@return integer? seconds
---@return string? why
function M.time(text, now)
  local n, unit = text:match("^(%d+)([smhdwy])$")
  local at = n and math.tointeger(n) and math.tointeger(n) <= 1 << 32
    and now - math.tointeger(n) * UNITS[unit] or nil
  at = at or date(text) or math.tointeger(text:match("^@(%-?%d+)$"))
  if at and math.abs(at) < 1 << 33 then return at end
  return nil, "is not a time, as 30d, 12h, 2024-05-01 or '2024-05-01 12:30' are"
end

-- ---- options and their text ----

local function refuse(message)
  error(failure.new(message, "EINVAL", failure.EXIT.USAGE), 0)
end

local KNOWN = { rules = "string", accept = "string" }
for _, name in ipairs(LISTS) do KNOWN[name] = "table" end
for _, name in ipairs(SIZES) do KNOWN[name] = "number" end
for _, name in ipairs(TIMES) do KNOWN[name] = "string" end
for _, name in ipairs(FLAGS) do KNOWN[name] = "boolean" end

local function check_kinds(options)
  for name, value in pairs(options) do
    local kind = KNOWN[name]
    if not kind then refuse(("rules: no option '%s'"):format(tostring(name))) end
    if type(value) ~= kind then refuse(("rules: %s is not a %s"):format(name, kind)) end
  end
end

-- In nanoseconds; 0 means that there is no bound.
local function bound(options, name, now)
  if not options[name] then return nil end
  local at, why = M.time(options[name], now)
  if not at then refuse(("%s: '%s' %s"):format(name, options[name], why)) end
  return at == 0 and 1 or at * 1000000000
end

--- The set that a walk uses. Ages count from `now`.
---@param options sd.RuleOptions
---@param now? integer Seconds since 1970 (default: that is it).
---@return sd.Rules set Close it.
function M.compile(options, now)
  check_kinds(options)
  now = now or os.time()
  local set, message = core.rules.compile {
    rules = options.rules, include = options.include, exclude = options.exclude,
    accept_children = options.accept_children, reject_children = options.reject_children,
    min_size = options.min_size, max_size = options.max_size,
    newer = bound(options, "newer", now), older = bound(options, "older", now),
    one_filesystem = options.one_file_system, remote = options.remote,
    snapshots = options.snapshots,
  }
  return set or refuse(message)
end

local function normal_names(names)
  local list, seen = {}, {}
  for name in names:gmatch("[^, \t\n]+") do
    if not seen[name] then list[#list + 1] = name end
    seen[name] = true
  end
  table.sort(list)
  return table.concat(list, ",")
end

--- The text of options, which is stored and compared; the same options have the same text. Checks
--- them.
---@param options sd.RuleOptions
---@return string
function M.text(options)
  local plain = {}
  check_kinds(options)
  for name, value in pairs(options) do
    if value ~= false and not (type(value) == "table" and #value == 0) then plain[name] = value end
  end
  if plain.rules then plain.rules = normal_names(plain.rules) end
  if plain.rules == "" then plain.rules = nil end
  M.compile(plain):close()
  if plain.accept then accept.load(plain.accept) end
  return json.encode_exact(plain)
end

--- The options of a text.
---@param text string
---@return sd.RuleOptions
function M.options(text)
  local options, message = json.decode(text)
  if type(options) ~= "table" then
    refuse(("rules: %s: %s"):format(text, message or "not an object"))
  end
  return options
end

-- As words of a command line.
local WORD = "^[%w%%+,./:=@_-]+$"

local function quoted(word)
  return word:find(WORD) and word or "'" .. word:gsub("'", "'\\''") .. "'"
end

--- The options as `sdlua index` takes them.
---@param options sd.RuleOptions
---@return string
function M.command_line(options)
  local words = {}
  local function put(name, value)
    if value == nil then return end
    value = tostring(value)
    local joint = value:sub(1, 1) == "-" and "=" or " " -- else it would be taken for an option
    words[#words + 1] = "--" .. name:gsub("_", "-") .. joint .. quoted(value)
  end
  put("rules", options.rules or next(options) == nil and "none" or nil)
  for _, name in ipairs(LISTS) do
    for _, value in ipairs(options[name] or {}) do put(name, value) end
  end
  for _, name in ipairs(SIZES) do put(name, options[name]) end
  for _, name in ipairs(TIMES) do put(name, options[name]) end
  put("accept", options.accept)
  if options.one_file_system then words[#words + 1] = "--one-file-system" end
  if options.remote then words[#words + 1] = "--enter-remote" end
  if options.snapshots then words[#words + 1] = "--enter-snapshots" end
  return table.concat(words, " ")
end

-- ---- for a run ----

local NONE = "{}"
local CLOSES = { __close = function(self) self.rules:close() end }

--- What a location leaves out, as text.
---@async
---@param library sd.Library
---@param location sd.Location
---@return string
function M.stored(library, location)
  local row = library:fresh_rows("SELECT rules FROM location_rules WHERE location_id = ?",
    { location.id })[1]
  return row and row.rules or NONE
end

--- The rules of a run that begins now, as text: those that are given, else those of the location.
--- Ages become times, so that the run means the same until its end.
---@async
---@param library sd.Library
---@param location sd.Location
---@param given? string
---@return string
function M.begin(library, location, given)
  local options, now = M.options(given or M.stored(library, location)), os.time()
  for _, name in ipairs(TIMES) do
    if options[name] then options[name] = ("@%d"):format((M.time(options[name], now))) end
  end
  return json.encode_exact(options)
end

--- Adds to a transaction what the location leaves out from now on. Writes only what differs.
---@param tx sd.Commit
---@param location sd.Location
---@param given? string Nil: what it was.
function M.store(tx, location, given)
  if not given then return end
  if given == NONE then
    tx:exec_own("DELETE FROM location_rules WHERE location_id = ?", { location.id })
  else
    tx:exec_own("INSERT INTO location_rules(location_id, rules) VALUES(?1, ?2)"
      .. " ON CONFLICT(location_id) DO UPDATE SET rules = ?2 WHERE rules <> ?2",
      { location.id, given })
  end
end

---@class sd.RunRules What `ctx:walker()` takes.
---@field rules sd.Rules
---@field accept? sd.Predicates
---@field script? string Where the predicates come from.

--- The rules of a run, ready for its walker.
---@param text string From `begin()`.
---@return sd.RunRules rules Close it.
function M.open(text)
  local options = M.options(text)
  return setmetatable({ rules = M.compile(options),
    accept = options.accept and accept.load(options.accept), script = options.accept }, CLOSES)
end

-- How far a walk comes on the way to a path before a rule leaves out what it is about: so far a
-- script is asked. A directory that is left empty stays itself.
local function way_to(set, root, path, about)
  if about ~= path and set:decide(root, about) then return about end
  return about:match("^(.*)/") or ""
end

--- Decides for a path as a walk of the root would; what is there is looked at.
---@param run sd.RunRules
---@param root string Absolute path.
---@param path string Below the root.
---@return boolean? accepted Nil: it could not be decided.
---@return string? rule What leaves it out, or keeps it; else the message.
---@return string? about The path, or a directory above it, that the rule is about; else the code.
---@return string? detail The line of a file, a pattern, a child, the script.
function M.decide(run, root, path)
  local accepted, rule, about, detail = run.rules:decide(root, path)
  if accepted ~= nil and run.accept then
    local by, what = accept.decide(run.accept, root,
      accepted and path or way_to(run.rules, root, path, about))
    if by then return false, by, what, run.script end
  end
  return accepted, rule, about, detail
end

--- Adds counts by rule to others.
---@param sums table<string, integer>
---@param more table<string, integer>
---@return table<string, integer> sums
function M.add(sums, more)
  for rule, n in pairs(more) do sums[rule] = (sums[rule] or 0) + n end
  return sums
end

return M
