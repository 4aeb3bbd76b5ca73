--- Locations: directory trees that a library indexes.
local core = require "sd.core"
local failure = require "sd.failure"
local location_jobs = require "sd.location_jobs"
local rows = require "sd.location_rows"
local blob = function(bytes) return { blob = bytes } end

local M = {}

---@class sd.Locations
---@field package library sd.Library
local Locations = {}
Locations.__index = Locations

---@class sd.Location
---@field id integer
---@field uuid string
---@field root string Absolute path.
---@field entry_id? integer The root's entry; nil before the first run.
---@field state string
---@field content_mode? string The mode in which content was identified; "deep+none" or "deep+name"
--- where MIME types were not looked for, or by name only.

local COLUMNS = "id, uuid, root, entry_id, state, content_mode,"
  .. " (SELECT parent_id FROM entry WHERE id = location.entry_id) AS above"
-- Entries that are looked at in a transaction.
local UPGRADE = 50000
local RANK = { shallow = 1, content = 2, ["deep+none"] = 3, ["deep+name"] = 4, deep = 5 }

local STAT = {
  "kind", "size", "allocated", "mtime", "ctime", "btime", "dev", "ino", "mode", "uid", "gid",
  "nlink",
}

function M.of(library)
  return setmetatable({ library = library }, Locations)
end

local function from_row(row)
  if not row then return nil end
  if #row.uuid ~= 16 then
    failure.check(nil, ("the library is damaged: location %d has no uuid"):format(row.id),
      "EDAMAGED")
  end
  if row.entry_id and row.above ~= -row.id then
    failure.check(nil, ("the library is damaged: the root of location %d is none"):format(row.id),
      "EDAMAGED")
  end
  row.uuid, row.above = core.sys.uuid_text(row.uuid), nil
  return row
end

--- The location at `root`, or nil.
---@async
---@param root string Absolute path.
---@return sd.Location?
function Locations:find(root)
  local sql = "SELECT " .. COLUMNS .. " FROM location WHERE root = ?"
  return from_row(self.library:fresh_rows(sql, { root })[1])
end

--- All locations, by root.
---@async
---@return sd.Location[]
function Locations:list()
  local list = self.library:rows("SELECT " .. COLUMNS .. " FROM location ORDER BY root")
  for _, row in ipairs(list) do from_row(row) end
  return list
end

--- The location at `root`, made where there is none. Raises EBUSY where it is being removed.
---@async
---@param root string Absolute path, free of symlinks.
---@return sd.Location
function Locations:ensure(root)
  if not self:find(root) then rows.add(self.library, root) end
  local location = assert(self:find(root))
  rows.check_stays(location)
  return location
end

local function base_name(path)
  return path:match("([^/]+)/*$") or path
end

local function insert_root(tx, location, stat)
  local columns, marks = { "id", "parent_id", "name", "uuid" }, { "?", "?", "?", "?" }
  local values = {
    location.entry_id, -location.id, base_name(location.root), blob(core.sys.uuid7()), n = 4,
  }
  for _, name in ipairs(STAT) do
    columns[#columns + 1], marks[#marks + 1] = name, "?"
    values.n = values.n + 1
    values[values.n] = stat[name]
  end
  tx:exec_own(("INSERT INTO entry(%s) VALUES(%s)"):format(table.concat(columns, ", "),
    table.concat(marks, ", ")), values)
  tx:exec_own("INSERT INTO directory(entry_id, location_id, path, files, dirs, symlinks,"
    .. " file_bytes, bytes, allocated) VALUES(?, ?, '', 0, 0, 0, 0, 0, 0)",
    { location.entry_id, location.id })
  -- Others may have packed names meanwhile.
  tx:exec_own("INSERT OR IGNORE INTO name_todo(id) SELECT ?1"
    .. " WHERE ?1 < (SELECT names_end FROM counter)", { location.entry_id })
  tx:exec_own("UPDATE location SET entry_id = ?, state = 'indexing' WHERE id = ?",
    { location.entry_id, location.id })
end

--- Gives the location's root its entry id: the one it has, or a new one. Nothing is written yet.
---@param location sd.Location
function Locations:name_root(location)
  location.is_new = location.entry_id == nil
  location.entry_id = location.entry_id or self.library.core:new_id()
end

--- Entries with smaller ids were there before the run that begins now; 0 where the location is new.
---@param location sd.Location
---@return integer
function Locations:first_new_id(location)
  return location.is_new and 0 or self.library.core:next_id()
end

--- Adds to a transaction the root's own row, where the location is new. The walk compares it later.
---@param tx sd.Commit
---@param location sd.Location
---@param stat table From `walker:root_stat()`.
function Locations:write_root(tx, location, stat)
  if location.is_new then insert_root(tx, location, stat) else tx:may_wait() end
  location.is_new = false
end

--- What the location holds, by the totals of its root: files (neither directory nor symlink), dirs,
--- symlinks, bytes (of files). Nil before the first run.
---@async
---@param location sd.Location
---@return sd.Stats?
function Locations:totals(location)
  if not location.entry_id then return nil end
  return self.library:fresh_rows(
    "SELECT files, dirs, symlinks, file_bytes AS bytes FROM directory WHERE entry_id = ?",
    { location.entry_id })[1]
end

local COUNT = "SELECT count(*) AS files, CAST(total(e.size) AS INTEGER) AS bytes FROM entry e %s"
  .. " JOIN directory d ON d.entry_id = e.parent_id WHERE e.content_id %s 0 AND e.id > ?"
  .. " AND d.location_id = ?"
local WAITING = COUNT:format("INDEXED BY entry_todo", "=")
local KNOWN = COUNT:format("NOT INDEXED", ">")

--- Files of the location that still need a content identity, or are to be read again: how many, and
--- their bytes.
---@async
---@param location sd.Location
---@param at? {pass?: string, after: integer} How far a run is: in the pass `again` or a later one
--- (see sd.HashOptions), and there up to this entry id. Nil: all that have no identity.
---@return integer files
---@return integer bytes
function Locations:waiting(location, at)
  local again = at and at.pass == "again"
  local row = self.library:rows(WAITING, { at and not again and at.after or 0, location.id })[1]
  if not again then return row.files, row.bytes end
  local known = self.library:rows(KNOWN, { at.after, location.id })[1]
  return row.files + known.files, row.bytes + known.bytes
end

local ASKED = " FROM entry e JOIN directory d ON d.entry_id = e.parent_id LEFT JOIN content c"
  .. " ON c.id = e.content_id WHERE e.id > ?1 AND e.id <= ?2 AND d.location_id = ?3 AND e.kind = 1"
  .. " AND e.size > 0 AND (e.content_id IS NULL OR ?4 AND e.content_id > 0"
  .. " AND (c.hash_kind = 2 OR ?5 AND c.mime IS NULL))"

---@class sd.ContentMode
---@field mode "shallow"|"content"|"deep"
---@field mime? "none"|"name"|"magic" How deep mode finds MIME types (default magic).

-- As it is stored.
local function stored(how)
  if how.mode ~= "deep" or how.mime == nil or how.mime == "magic" then return how.mode end
  return "deep+" .. how.mime
end

local function rank_of(location)
  return RANK[location.content_mode] or RANK.shallow
end

--- Whether the location's content was identified in a lower mode than this, so that files which
--- have no identity, or a lesser one, must be looked at again.
---@param location sd.Location
---@param how sd.ContentMode
---@return boolean
function Locations:must_upgrade(location, how)
  return RANK[stored(how)] > rank_of(location)
end

-- Files among the next `count` entries after `after`.
local function ask_again(tx, location, how, after, count)
  local deep = how.mode == "deep"
  local values = { after, after + count, location.id, deep, how.mime ~= "none" }
  if deep then
    tx:exec_own("UPDATE content SET entries = entries - x.n"
      .. " FROM (SELECT e.content_id AS id, count(*) AS n" .. ASKED
      .. " AND e.content_id > 0 GROUP BY 1) AS x WHERE content.id = x.id", values)
  end
  tx:exec_own("UPDATE entry SET content_id = 0 WHERE id IN (SELECT e.id" .. ASKED .. ")", values)
end

--- Asks for the content of these files again.
---@async
---@param ctx sd.Context
---@param location sd.Location
---@param how sd.ContentMode
---@param state {after: integer, last?: integer} How far that is, in entry ids; part of the job's
--- state.
---@param each fun() Called after each piece.
function Locations:upgrade(ctx, location, how, state, each)
  state.last = state.last
    or self.library:fresh_rows("SELECT coalesce(max(id), 0) AS id FROM entry")[1].id
  while state.after < state.last do
    ctx:check_interrupt()
    ctx:commit(function(tx)
      ask_again(tx, location, how, state.after, UPGRADE)
      state.after = state.after + UPGRADE
    end)
    each()
  end
end

--- Adds to a transaction that a file's content is to be identified anew: what is known of it is not
--- true. So it is for the file's other names.
---@param tx sd.Commit
---@param id integer Entry id.
function Locations:forget_content(tx, id)
  local names = " FROM entry t WHERE t.content_id > 0 AND (t.id = ?1 OR t.nlink > 1 AND t.kind <> 2"
    .. " AND (t.dev, t.ino) = (SELECT dev, ino FROM entry WHERE id = ?1))"
  tx:exec_own("UPDATE content SET entries = entries - x.n FROM (SELECT t.content_id AS id,"
    .. " count(*) AS n" .. names .. " GROUP BY 1) AS x WHERE content.id = x.id", { id })
  tx:exec_own("UPDATE entry SET content_id = 0 WHERE id IN (SELECT t.id" .. names .. ")", { id })
  tx:exec_own("DELETE FROM content WHERE entries <= 0")
end

-- What the location has is not shown any more, and waits to be swept: see sd_store_limbo().
local REMOVE = {
  "INSERT INTO vanished(location_id, job_id, entry_id, parent_id, name, keep)"
    .. " SELECT ?1, ?2, e.id, e.parent_id, e.name, 1 FROM entry e JOIN location l"
    .. " ON l.entry_id = e.id WHERE l.id = ?1",
  "UPDATE entry SET parent_id = -(1 << 40) - ?1, name = id"
    .. " WHERE id = (SELECT entry_id FROM location WHERE id = ?1)",
  "UPDATE directory SET location_id = -location_id WHERE location_id = ?1",
  "UPDATE location SET entry_id = NULL, state = 'removing' WHERE id = ?1",
}

--- Refuses a location with a job that has not ended, code EBUSY.
---@async
---@param location sd.Location
---@param but integer The job that asks.
function Locations:check_idle(location, but)
  location_jobs.check_idle(self.library, location, but)
end

--- Adds to a transaction that the location is to be removed; then `ctx:clear()`.
---@param tx sd.Commit
---@param location sd.Location
---@param job_id integer
---@param also table[] Statements: what is to end with it.
function Locations:begin_removal(tx, location, job_id, also)
  for _, sql in ipairs(REMOVE) do
    tx:exec_own(sql, sql:find("?2", 1, true) and { location.id, job_id } or { location.id })
  end
  for _, one in ipairs(also) do tx:exec_own(one[1], one[2]) end
end

-- The number may be given to another one.
local FORGET = {
  "UPDATE job SET location_id = NULL WHERE location_id = ?",
  "UPDATE job_history SET location_id = NULL WHERE location_id = ?",
  "UPDATE job_error SET location_id = NULL WHERE location_id = ?",
  "UPDATE job_skip SET location_id = NULL WHERE location_id = ?",
  "DELETE FROM location WHERE id = ?",
}

--- Adds to a transaction that nothing is left of it.
---@param tx sd.Commit
---@param location sd.Location
function Locations:end_removal(tx, location)
  for _, sql in ipairs(FORGET) do tx:exec_own(sql, { location.id }) end
end

--- Adds to a transaction that a run over the location has ended. Writes only what differs.
---@param tx sd.Commit
---@param location sd.Location
---@param ended {state: string, content_mode?: string, upgraded?: boolean}
function Locations:finish(tx, location, ended)
  tx:may_wait()
  tx:exec_own("UPDATE location SET state = ?2, content_mode = ?3 WHERE id = ?1"
    .. " AND (state IS NOT ?2 OR content_mode IS NOT ?3)",
    { location.id, ended.state, ended.content_mode, n = 3 })
  -- What was left out is that of the last run: else each run would add the same rows again.
  tx:exec_own("DELETE FROM job_skip WHERE location_id = ? AND job_id <> ?",
    { location.id, tx.args.note_id })
  if ended.upgraded then tx:exec_own("DELETE FROM content WHERE entries <= 0") end
end

--- Adds to a transaction that files of the location were identified in this mode: a lower one than
--- before is from now on that of the location, also where the run does not come to its end.
---@param tx sd.Commit
---@param location sd.Location
---@param how sd.ContentMode
function Locations:note_mode(tx, location, how)
  local now = stored(how)
  if RANK[now] >= rank_of(location) then return end
  tx:exec_own("UPDATE location SET content_mode = ? WHERE id = ?", { now, location.id })
  location.content_mode = now
end

--- The content mode that the location has after a run that identified `linked` files.
---@param location sd.Location
---@param how sd.ContentMode
---@param linked integer
---@return string?
function Locations:mode_after(location, how, linked)
  if how.mode == "shallow" then return location.content_mode end
  local now = stored(how)
  return (RANK[now] >= rank_of(location) or linked > 0) and now or location.content_mode
end

return M
