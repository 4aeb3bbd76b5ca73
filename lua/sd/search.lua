--- Entries by name, path and attributes: the statement for what a search asks for.
local M = {}

---@class sd.SearchOptions
---@field pattern? string
---@field how? "contains"|"glob"|"regex" Default: contains.
---@field ignore_case? boolean
---@field path? boolean The whole absolute path is meant, not the name.
---@field kinds? integer[] Of entry.kind.
---@field extensions? string[] In lower case.
---@field min_size? integer Bytes.
---@field max_size? integer
---@field newer? integer Changed at that time or later: ns since 1970.
---@field older? integer Changed at that time or before.
---@field mode? {how: "is"|"all"|"any", bits: integer}
---@field uid? integer
---@field gid? integer
---@field location? integer Its id.
---@field below? sd.Place At and below this directory.
---@field mime? string A shell pattern.
---@field content_kind? string
---@field hash? string Hexadecimal; its beginning is enough.
---@field duplicates? boolean Files whose content another file has too, by full hashes.

---@class sd.Search
---@field sql string Behind SELECT …: FROM and WHERE over n (id, parent_id, name), and over e and
--- c (entry and content) where they are needed.
---@field begin string In front of SELECT.
---@field values any[]

-- Kinds of patterns, as the engine counts them.
local CONTAINS, GLOB, REGEX, BEGINS, ENDS, GLOB_PATH, IGNORE_CASE = 0, 1, 2, 3, 4, 5, 8

---@class sd.SearchBuilder
---@field values any[]
---@field where string[]
---@field with string[] Common tables.
---@field has_kind boolean `n` has a column kind.
---@field entry boolean Columns of `e` are needed.
---@field content boolean Columns of `c` are needed.
local Builder = {}
Builder.__index = Builder

-- A parameter with that value.
local function bind(self, value)
  self.values[#self.values + 1] = value
  return "?" .. #self.values
end

local function add(self, condition)
  self.where[#self.where + 1] = condition
end

local function on_entry(self, condition)
  self.entry = true
  add(self, condition)
end

local function on_content(self, condition)
  self.content = true
  on_entry(self, condition)
end

-- ---- patterns ----

local function kind_of(options)
  local kind = options.how == "regex" and REGEX or options.how == "glob"
    and (options.path and GLOB_PATH or GLOB) or CONTAINS
  return kind + (options.ignore_case and IGNORE_CASE or 0)
end

-- What is wrong with a pattern, behind that many bytes of it.
local function wrong_pattern(pattern, offset, why)
  local failure, text = require "sd.failure", require "sd.text"
  local before = pattern:gsub("\n", "?"):sub(1, offset)
  local characters = require "sd.core".sys.is_text(pattern) and utf8.len(before)
  local wrong = failure.new(("the pattern is wrong at %s %d: %s"):format(
    characters and "character" or "byte", (characters or offset) + 1, why), "EPATTERN",
    failure.EXIT.USAGE)
  wrong.usage = ("  %s\n  %s^"):format((pattern:gsub("\n", "?")),
    (" "):rep(text.width(text.escape(before))))
  return wrong
end

--- Raises what is wrong with a pattern, with its place.
---@param query sd.Query
---@param options sd.SearchOptions
local function check_pattern(query, options)
  local ok, err = pcall(query.row, query, "SELECT sd_match(?, ?, '')",
    { kind_of(options), options.pattern })
  if ok then return end
  if not require "sd.failure".is(err) or err.code ~= "ESQL" then error(err, 0) end
  local why, offset = err.message:match("^SQL: (.*) at offset (%d+) of the pattern$")
  if not why then error(err, 0) end
  error(wrong_pattern(options.pattern, math.tointeger(offset), why), 0)
end

-- The path of the directory an entry is in, with a slash behind it.
local ABOVE = "path(n.parent_id, '')"

local function match(self, kind, pattern, subject)
  return ("sd_match(%s, %s, %s)"):format(bind(self, kind), bind(self, pattern), subject)
end

-- The entries that complete a match: their path has it, and that of their directory has not. They
-- are found by their names: the pattern's text behind its last slash begins a name, or is in it
-- where there is no slash.
local function top_of(self, options, case)
  local above, name = options.pattern:match("^(.*/)([^/]*)$")
  local key = name == "" and above:match("([^/]*)/$") or name or options.pattern
  local from = ("sd_names(%s, %s) n"):format(bind(self, key), bind(self, CONTAINS + case))
  local where = "n.parent_id > 0 AND NOT " .. match(self, CONTAINS + case, options.pattern, ABOVE)
  if name == "" then -- "foo/": what is below a directory that ends so
    where = where .. " AND n.kind = 2 AND " .. match(self, ENDS + case, options.pattern,
      "CAST(path(n.parent_id, n.name) || '/' AS BLOB)")
  elseif above then
    where = where .. " AND " .. match(self, BEGINS + case, name, "n.name") .. " AND "
      .. match(self, ENDS + case, above, ABOVE)
  end
  return ("SELECT n.id, n.parent_id, n.kind, n.name FROM %s WHERE %s"):format(from, where)
end

-- Locations that match as a whole, since their root does.
local function whole_locations(self, options, case)
  local list = {}
  local sql = "SELECT id FROM location WHERE sd_match(?, ?, CAST(root || '/' AS BLOB))"
  for row in self.query:each(sql, { CONTAINS + case, options.pattern }) do
    list[#list + 1] = row.id
  end
  return #list > 0 and table.concat(list, ", ")
end

-- A substring of whole paths: what completes a match, and everything below that.
local function substring_of_path(self, options)
  local case = options.ignore_case and IGNORE_CASE or 0
  self.with[#self.with + 1] = "top(id, parent_id, kind, name) AS MATERIALIZED ("
    .. top_of(self, options, case) .. ")"
  self.with[#self.with + 1] = "dirs(id) AS (SELECT id FROM top WHERE kind = 2 UNION SELECT e.id"
    .. " FROM dirs d CROSS JOIN entry e INDEXED BY entry_name ON e.parent_id = d.id"
    .. " WHERE EXISTS (SELECT 1 FROM directory WHERE entry_id = e.id))"
  local parts = "SELECT id, parent_id, name FROM top UNION ALL SELECT e.id, e.parent_id, e.name"
    .. " FROM dirs d CROSS JOIN entry e INDEXED BY entry_name ON e.parent_id = d.id"
  local whole = whole_locations(self, options, case)
  if whole then
    parts = ("%s UNION ALL SELECT e.id, e.parent_id, e.name FROM entry e CROSS JOIN directory d"
      .. " ON d.entry_id = e.parent_id WHERE d.location_id IN (%s) UNION ALL SELECT e.id,"
      .. " e.parent_id, e.name FROM location l JOIN entry e ON e.id = l.entry_id"
      .. " WHERE l.id IN (%s)"):format(parts, whole, whole)
  end
  self.from, self.has_kind = "(" .. parts .. ") n", false
  if options.pattern:sub(-1) == "/" then -- the directory itself has no slash behind it
    add(self, match(self, CONTAINS + case, options.pattern, "path(n.parent_id, n.name)"))
  end
end

local function from_pattern(self, options)
  if not options.pattern then
    self.from = "entry n"
  elseif not options.path then
    self.from = ("sd_names(%s, %s) n"):format(bind(self, options.pattern),
      bind(self, kind_of(options)))
  elseif (options.how or "contains") == "contains" then
    substring_of_path(self, options)
  else
    self.from = "entry n"
    add(self, match(self, kind_of(options), options.pattern, "path(n.parent_id, n.name)"))
  end
end

-- ---- filters ----

local FILTERS = {}

function FILTERS.kinds(self, kinds)
  local list = table.concat(kinds, ", ")
  if self.has_kind then add(self, "n.kind IN (" .. list .. ")")
  else on_entry(self, "e.kind IN (" .. list .. ")") end
end

function FILTERS.extensions(self, extensions)
  local list = {}
  for i, extension in ipairs(extensions) do list[i] = bind(self, extension) end
  add(self, "extension(n.name) IN (" .. table.concat(list, ", ") .. ")")
end

for name, condition in pairs { min_size = "e.size >= %s", max_size = "e.size <= %s",
  newer = "e.mtime >= %s", older = "e.mtime <= %s", uid = "e.uid = %s", gid = "e.gid = %s" } do
  FILTERS[name] = function(self, value) on_entry(self, condition:format(bind(self, value))) end
end

function FILTERS.mode(self, mode)
  local bits = ("%d"):format(mode.bits)
  local conditions = { is = "e.mode & 4095 = " .. bits,
    all = ("e.mode & %s = %s"):format(bits, bits),
    any = mode.bits == 0 and "1" or "e.mode & " .. bits .. " <> 0" }
  on_entry(self, conditions[mode.how])
end

function FILTERS.location(self, id)
  local value = bind(self, id)
  add(self, ("(n.parent_id = -%s OR (SELECT location_id FROM directory WHERE entry_id ="
    .. " n.parent_id) = %s)"):format(value, value))
end

function FILTERS.below(self, here)
  if here.id == here.location.entry_id then return FILTERS.location(self, here.location.id) end
  local value = bind(self, here.id)
  local below = require "sd.place".BELOW:match("^WITH RECURSIVE (.-) $")
  self.with[#self.with + 1] = below:gsub("?1", value)
  add(self, ("(n.id = %s OR n.parent_id IN (SELECT id FROM below))"):format(value))
end

function FILTERS.mime(self, pattern)
  on_content(self, "c.mime GLOB " .. bind(self, pattern))
end

function FILTERS.content_kind(self, kind)
  on_content(self, "c.kind = " .. bind(self, kind))
end

function FILTERS.hash(self, hash)
  on_content(self, "lower(hex(c.hash)) GLOB " .. bind(self, hash .. "*"))
end

-- Other names of one file are not duplicates of it.
local DUPLICATES = "SELECT content_id FROM entry WHERE content_id IN (SELECT id FROM content"
  .. " WHERE hash_kind = 1 AND entries > 1) GROUP BY 1 HAVING count(DISTINCT dev || ':' || ino) > 1"

function FILTERS.duplicates(self, wanted)
  if wanted then on_entry(self, "e.content_id IN (" .. DUPLICATES .. ")") end
end

-- Their order is that of how many rows they leave.
local ORDER = { "kinds", "extensions", "location", "below", "min_size", "max_size", "newer",
  "older", "mode", "uid", "gid", "mime", "content_kind", "hash", "duplicates" }

--- The statement for what is asked; a pattern that is wrong is raised.
---@param query sd.Query
---@param options sd.SearchOptions
---@param needs {entry?: boolean, content?: boolean} Columns of which tables are selected.
---@return sd.Search
function M.statement(query, options, needs)
  local self = setmetatable({ query = query, values = {}, where = {}, with = {}, has_kind = true,
    entry = needs.entry or false, content = needs.content or false }, Builder)
  if options.pattern then check_pattern(query, options) end
  from_pattern(self, options)
  for _, name in ipairs(ORDER) do
    if options[name] then FILTERS[name](self, options[name]) end
  end
  local sql = " FROM " .. self.from
  if self.entry or self.content then sql = sql .. " CROSS JOIN entry e ON e.id = n.id" end
  if self.content then sql = sql .. " LEFT JOIN content c ON c.id = e.content_id" end
  if #self.where > 0 then sql = sql .. " WHERE " .. table.concat(self.where, " AND ") end
  self.values.n = #self.values
  return { sql = sql, values = self.values,
    begin = #self.with > 0 and "WITH RECURSIVE " .. table.concat(self.with, ", ") .. " " or "" }
end

--- Whether a pattern has a letter in upper case, so that smart case minds it.
---@param query sd.Query
---@param pattern string
---@return boolean
function M.has_upper(query, pattern)
  if not require "sd.core".sys.is_text(pattern) then return pattern:find("%u") ~= nil end
  return query:row("SELECT ? REGEXP '\\p{Lu}' AS found", { pattern }).found == 1
end

return M
