--- The rows of jobs: how one is made, changes its status and ends, which are to run next. All SQL
--- with which jobs are run is here; that with which they are looked at is in sd.job_view.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

--- How long a job of each priority may be overtaken, in seconds: what waits is run in the order of
--- (when it was made + this), so that nothing waits for ever.
M.GRACE = { critical = 0, high = 30, normal = 300, low = 3600 }

---@class sd.JobRow
---@field id integer
---@field uuid string 16 bytes.
---@field parent_id? integer
---@field root_id integer The job at the top of the tree: itself, where it has no parent.
---@field name string
---@field version integer Of its definition.
---@field script? string Path.
---@field script_hash? string
---@field args string Encoded.
---@field status string
---@field priority string
---@field due_at integer
---@field run_at? integer Not before; nanoseconds since 1970.
---@field device? integer Where the job is a heavy one.
---@field on_failure? string
---@field attempt integer
---@field phase? string
---@field state? string Encoded.
---@field created_at integer
---@field active_ns integer
---@field location_id? integer
---@field error? string
---@field failures integer How often it was tried again after an error that may pass.
---@field children_after? integer Of a job that begins anew: earlier ones are not its children.

local COLUMNS = "id, uuid, parent_id, root_id, name, version, script, script_hash, args, status,"
  .. " priority, due_at, run_at, device, on_failure, attempt, phase, state, created_at, active_ns,"
  .. " location_id, error, failures"

---@class sd.NewJob
---@field name string
---@field version integer
---@field script string Path, or "".
---@field script_hash string
---@field args string Encoded.
---@field priority? string Default "normal".
---@field unique_key? string
---@field device? integer
---@field run_at? integer
---@field parent_id? integer
---@field root_id? integer
---@field on_failure? string
---@field uuid? string

local INSERT = "INSERT INTO job(uuid, parent_id, root_id, name, version, script, script_hash, args,"
  .. " unique_key, status, priority, due_at, run_at, device, on_failure, created_at)"
  .. " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?)"

local function blob(bytes) return bytes and { blob = bytes } end

--- The statement that makes a job, for a transaction.
---@param new sd.NewJob
---@return string sql
---@return table params
function M.insert(new)
  local now, priority = core.sys.wall_ns(), new.priority or "normal"
  local due = now + math.tointeger(M.GRACE[priority] * 1000000000)
  return INSERT, {
    blob(new.uuid or core.sys.uuid7()), new.parent_id, new.root_id, new.name, new.version,
    new.script, blob(new.script_hash), blob(new.args), blob(new.unique_key), priority, due,
    new.run_at, new.device, new.on_failure, now, n = 15,
  }
end

--- The statement that lets the job of that uuid wait for job `on_id`, unless that has completed.
---@param uuid table As insert() has it.
---@param on_id integer
---@return table statement
function M.depend(uuid, on_id)
  return { "INSERT OR IGNORE INTO job_dependency SELECT id, ?2 FROM job WHERE uuid = ?1 AND NOT"
    .. " EXISTS(SELECT 1 FROM job_history WHERE id = ?2 AND status = 'completed')",
    { uuid, on_id } }
end

--- Makes a job; its id, or nil where it is unique and there.
---@async
---@param library sd.Library
---@param new sd.NewJob
---@return integer? id
function M.put(library, new)
  local sql, params = M.insert(new)
  local row = library:fresh_rows(sql .. " ON CONFLICT DO NOTHING RETURNING id", params)[1]
  return row and row.id
end

---@async
---@return sd.JobRow?
function M.get(library, id)
  return library:fresh_rows("SELECT " .. COLUMNS .. " FROM job WHERE id = ?", { id })[1]
end

---@async
---@return boolean
function M.is_open(library, id)
  return library:fresh_rows("SELECT 1 FROM job WHERE id = ?", { id })[1] ~= nil
end

--- The job with that id or uuid, open or ended: id, status, output (JSON), error.
---@async
---@param id? integer
---@param uuid? string 16 bytes.
---@return table?
function M.find(library, id, uuid)
  local where = " WHERE id = ? OR uuid = ?"
  return library:fresh_rows("SELECT id, status, NULL AS output, error FROM job" .. where
    .. " UNION ALL SELECT id, status, output, error FROM job_history" .. where,
    { id, blob(uuid), id, blob(uuid), n = 4 })[1]
end

--- The status of a job, open or ended; nil where there is none.
---@async
---@return string?
function M.status(library, id)
  local row = library:fresh_rows("SELECT status FROM jobs WHERE id = ?", { id })[1]
  return row and row.status
end

--- The open job with that key.
---@async
---@return sd.JobRow?
function M.find_unique(library, key)
  return library:fresh_rows("SELECT " .. COLUMNS .. " FROM job WHERE unique_key = ?",
    { blob(key) })[1]
end

--- Open jobs of that name without a parent, oldest first.
---@async
---@return sd.JobRow[]
function M.open_by_name(library, name)
  return library:fresh_rows("SELECT " .. COLUMNS .. " FROM job WHERE name = ? AND parent_id IS NULL"
    .. " ORDER BY id", { name })
end

-- A job and everything below it.
local TREE = "WITH RECURSIVE tree(id) AS (SELECT ?1 UNION ALL"
  .. " SELECT job.id FROM job JOIN tree ON job.parent_id = tree.id) "

--- The open jobs of a tree, parents before children: id, parent_id, status.
---@async
---@return table[]
function M.tree(library, id)
  return library:fresh_rows(TREE .. "SELECT job.id AS id, parent_id, status FROM tree"
    .. " JOIN job USING(id) ORDER BY id", { id })
end

--- Changes the status of jobs of a tree, where it is one of `from`.
---@async
---@param id integer
---@param from string SQL list: "'queued', 'running'".
---@param to string
function M.move_tree(library, id, from, to)
  library:fresh_rows(TREE .. ("UPDATE job SET status = ?2 WHERE id IN tree"
    .. " AND status IN (%s)"):format(from), { id, to })
end

--- The jobs of a tree that are paused.
---@async
---@return integer[]
function M.paused(library, id)
  local ids = {}
  for i, row in ipairs(library:fresh_rows(TREE .. "SELECT job.id AS id FROM tree JOIN job USING(id)"
    .. " WHERE status = 'paused'", { id })) do ids[i] = row.id end
  return ids
end

--- What of a tree is paused waits again, but for `except`.
---@async
---@param id integer
---@param except integer[] As paused() gave it before.
function M.requeue(library, id, except)
  library:fresh_rows(TREE .. "UPDATE job SET status = 'queued' WHERE id IN tree"
    .. " AND status = 'paused' AND id NOT IN (SELECT value FROM json_each(?2))",
    { id, "[" .. table.concat(except, ",") .. "]" })
end

--- What a process that died left as running waits again.
---@async
function M.recover(library)
  library:fresh_rows("UPDATE job SET status = 'queued' WHERE status = 'running'")
end

--- A job that waits begins again from nothing.
---@async
function M.forget_progress(library, id)
  failure.check(library.core:commit { state = {
    { "DELETE FROM job_queue_item WHERE job_id = (SELECT id FROM job WHERE id = ?"
      .. " AND status = 'queued')", { id } },
    { "UPDATE job SET state = NULL WHERE id = ? AND status = 'queued'", { id } },
  } })
end

--- Takes a queued job for running; nil where it is none any more.
---@async
---@return sd.JobRow?
function M.claim(library, id)
  return library:fresh_rows("UPDATE job SET status = 'running', attempt = attempt + 1,"
    .. " run_at = NULL, error = NULL, started_at = coalesce(started_at, ?2)"
    .. " WHERE id = ?1 AND status = 'queued' RETURNING " .. COLUMNS, { id, core.sys.wall_ns() })[1]
end

--- A paused job that is still in this process goes on; whether it was one.
---@async
---@return boolean
function M.go_on(library, id)
  return library:fresh_rows("UPDATE job SET status = 'running' WHERE id = ? AND status = 'paused'"
    .. " RETURNING id", { id })[1] ~= nil
end

--- A running job waits again, until `run_at`.
---@async
---@param failures? integer That it has had so far (default: as before).
function M.put_back(library, id, run_at, message, failures)
  library:fresh_rows("UPDATE job SET status = 'queued', run_at = ?2, error = ?3,"
    .. " failures = coalesce(?4, failures)"
    .. " WHERE id = ?1 AND status = 'running'", { id, run_at, message, failures, n = 4 })
end

--- A job that cannot run, or not go on, waits until `run_at`, or for somebody to see to it.
---@async
function M.set_aside(library, id, message, run_at)
  library:fresh_rows("UPDATE job SET status = iif(?3, 'queued', 'paused'), error = ?2,"
    .. " run_at = coalesce(?3, run_at) WHERE id = ?1 AND status IN ('queued', 'running')",
    { id, message, run_at, n = 3 })
end

--- A job that was asked for waits no more until it is tried again.
---@async
function M.hurry(library, id)
  library:fresh_rows("UPDATE job SET run_at = NULL WHERE id = ? AND attempt > 0"
    .. " AND status = 'queued'", { id })
end

-- ---- the end ----

local TO_HISTORY = "INSERT INTO job_history(id, uuid, parent_id, name, version, script, args,"
  .. " location_id, status, priority, on_failure, attempt, phase, progress, created_at, started_at,"
  .. " finished_at, duration_ns, output, error)"
  .. " SELECT id, uuid, parent_id, name, version, script, args, coalesce(?8, location_id), ?2,"
  .. " priority, on_failure, attempt, coalesce(?9, phase), ?7, created_at, started_at, ?3, ?4,"
  .. " ?5, ?6 FROM job WHERE id = ?1"

local REMOVE = {
  "DELETE FROM job WHERE id = ?",
  "DELETE FROM job_queue_item WHERE job_id = ?",
  "DELETE FROM content_todo WHERE job_id = ?",
  "DELETE FROM job_dependency WHERE job_id = ?",
  "DELETE FROM job_count WHERE job_id = ?",
  -- What has made room for another is found by no later listing.
  "UPDATE vanished SET job_id = 0 WHERE job_id = ? AND keep",
  "DELETE FROM vanished WHERE job_id = ?",
}

---@class sd.Ending
---@field duration_ns? integer
---@field output? string JSON.
---@field error? string
---@field progress? string JSON.
---@field location_id? integer Nil, as a phase: what was stored last.
---@field phase? string

--- The statements that end a job.
---@param id integer
---@param status "completed"|"failed"|"cancelled"
---@param ending sd.Ending
---@return table[] statements
function M.ending(id, status, ending)
  local sql = { { TO_HISTORY, { id, status, core.sys.wall_ns(), ending.duration_ns, ending.output,
    ending.error, ending.progress, ending.location_id, ending.phase, n = 9 } } }
  for _, statement in ipairs(REMOVE) do sql[#sql + 1] = { statement, { id } } end
  if status == "completed" then
    sql[#sql + 1] = { "DELETE FROM job_dependency WHERE on_id = ?", { id } }
  end
  return sql
end

--- Open jobs that wait for job `id`.
---@async
---@return integer[]
function M.dependents(library, id)
  local ids = {}
  for i, row in ipairs(library:fresh_rows("SELECT job_id FROM job_dependency WHERE on_id = ?",
    { id })) do ids[i] = row.job_id end
  return ids
end

--- Open jobs that wait for one that has ended without having completed: on_id, status.
---@async
---@return table[]
function M.forsaken(library)
  return library:fresh_rows("SELECT DISTINCT on_id, h.status FROM job_dependency d"
    .. " JOIN job_history h ON h.id = d.on_id WHERE h.status <> 'completed' ORDER BY on_id")
end

--- What the last completed job of that name has in a field of its output, as JSON: of a location,
--- where there is one, else of any.
---@async
---@param name string Of the job.
---@param field string
---@param location_id? integer
---@return string?
function M.last_output(library, name, field, location_id)
  local row = library:fresh_rows("SELECT output -> ?2 AS value FROM job_history WHERE id ="
    .. " (SELECT id FROM job_history WHERE name = ?1 AND status = 'completed' AND parent_id IS NULL"
    .. " ORDER BY location_id IS ?3 DESC, id DESC LIMIT 1)", { name, field, location_id, n = 3 })[1]
  return row and row.value
end

-- ---- children ----

--- How many children of a job are open.
---@async
---@return integer
function M.open_children(library, id)
  return library:fresh_rows("SELECT count(*) AS n FROM job WHERE parent_id = ?", { id })[1].n
end

--- The last child of a job that has ended; 0 where there is none.
---@async
---@return integer id
function M.last_ended_child(library, id)
  return library:fresh_rows("SELECT max(id) AS id FROM job_history WHERE parent_id = ?",
    { id })[1].id or 0
end

--- Children after child `after` that have ended, in the order in which they were made: id, name,
--- status, output (JSON), error, on_failure, progress (JSON).
---@async
---@return table[]
function M.ended_children(library, id, after)
  return library:fresh_rows("SELECT id, name, status, output, error, on_failure, progress"
    .. " FROM job_history"
    .. " WHERE parent_id = ? AND id > ? ORDER BY id", { id, after })
end

-- ---- what is to run next ----

---@class sd.Busy
---@field names string[] Of jobs of which no more may run.
---@field devices integer[] On which a heavy job runs.
---@field roots? integer[] Only jobs of these trees; many.
---@field in_memory string[] Of jobs without a file that can be run here.

local READY = "SELECT id, name, script, root_id, parent_id, device FROM job WHERE status = 'queued'"
  .. " AND (run_at IS NULL OR run_at <= ?)"
  .. " AND NOT EXISTS(SELECT 1 FROM job_dependency d WHERE d.job_id = job.id)"
  .. " AND (parent_id IS NULL OR NOT EXISTS(SELECT 1 FROM job top WHERE top.id = job.root_id"
  .. " AND top.status = 'queued'))"

local function marks(values) return ("?, "):rep(#values - 1) .. "?" end

--- Up to `limit` jobs that may run now, the most urgent first. A tree that works on a device is not
--- kept from it by itself: parts of a heavy job have no device of their own, and wait for the root.
---@async
---@param busy sd.Busy
---@param limit integer
---@return table[] rows id, name, script, root_id, parent_id, device
function M.candidates(library, busy, limit)
  local sql, params = { READY }, { core.sys.wall_ns() }
  local function add(text, values)
    sql[#sql + 1] = text
    table.move(values, 1, #values, #params + 1, params)
  end
  if #busy.names > 0 then add((" AND name NOT IN (%s)"):format(marks(busy.names)), busy.names) end
  if #busy.devices > 0 then
    add((" AND (device IS NULL OR device NOT IN (%s))"):format(marks(busy.devices)), busy.devices)
  end
  local here = busy.in_memory
  if #here == 0 then add(" AND script <> ''", {})
  else add((" AND (script <> '' OR name IN (%s))"):format(marks(here)), here) end
  if busy.roots then
    if #busy.roots == 0 then return {} end
    add(" AND root_id IN (SELECT value FROM json_each(?))",
      { "[" .. table.concat(busy.roots, ",") .. "]" })
  end
  add(" ORDER BY due_at LIMIT ?", { limit })
  return library:fresh_rows(table.concat(sql), params)
end

--- When the next job that waits for its time may run; nil where none does.
---@async
---@return integer? ns
function M.next_run_at(library)
  return library:fresh_rows("SELECT min(run_at) AS at FROM job WHERE status = 'queued'"
    .. " AND run_at IS NOT NULL")[1].at
end

return M
