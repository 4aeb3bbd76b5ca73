--- How much of the history of jobs is kept. What is beyond it is forgotten with its parts, logs and
--- errors, a little at a time, by the process that runs jobs. Nothing is written where nothing has
--- to go.
local core = require "sd.core"
local failure = require "sd.failure"
local task = require "sd.task"

local M = {}

--- Where the library says nothing else.
M.DEFAULT = { jobs = 1000, days = 90 }

-- What one transaction removes at most, so that no commit of a job waits for long: jobs that are
-- nobody's children, those with their parts, and rows of each table that go with them.
local TOPS, JOBS, ROWS = 100, 500, 2000
-- Seconds after which the jobs that have ended meanwhile are looked at.
local PAUSE = 1

local DAY, MOST_DAYS = 86400e9, 36500 -- nanoseconds; integers hold no more

---@class sd.Limits
---@field jobs? integer The newest so many that are nobody's children; nil: all.
---@field days? number What ended in the last so many days; nil: all.

--- What the user has said, or the default.
---@async
---@param library sd.Library
---@return sd.Limits
function M.limits(library)
  local row = library:rows("SELECT jobs, days FROM job_retention")[1]
  return row or { jobs = M.DEFAULT.jobs, days = M.DEFAULT.days }
end

--- Says what is kept from now on; nil: the default.
---@async
---@param library sd.Library
---@param limits? sd.Limits
function M.set_limits(library, limits)
  if not limits then return library:fresh_rows("DELETE FROM job_retention") end
  library:fresh_rows("INSERT OR REPLACE INTO job_retention(id, jobs, days) VALUES(1, ?, ?)",
    { limits.jobs, limits.days, n = 2 })
end

-- ---- what has to go ----

-- The job that ended last of those that are beyond the limits: when, and its id.
local function last_beyond(library, limits)
  local at, id = math.mininteger, 0
  if limits.days then
    at = core.sys.wall_ns() - math.tointeger(math.min(limits.days, MOST_DAYS) * DAY // 1)
  end
  local row = limits.jobs and library:rows("SELECT finished_at, id FROM job_history"
    .. " WHERE parent_id IS NULL ORDER BY finished_at DESC, id DESC LIMIT 1 OFFSET ?",
    { limits.jobs })[1]
  if row and row.finished_at >= at then at, id = row.finished_at, row.id end
  return at, id
end

-- The oldest jobs that may be forgotten. Kept for others are the last completed job of a name and a
-- location, whose output the next one asks for; the last one of a location, completed or not, whose
-- errors and skips are those of the location; and what an open job waits for.
local BEYOND = "SELECT id FROM job_history h WHERE parent_id IS NULL"
  .. " AND (finished_at, id) <= (?1, ?2)"
  .. " AND (status <> 'completed' AND location_id IS NULL OR EXISTS(SELECT 1 FROM job_history n"
  .. " WHERE n.name = h.name AND n.location_id IS h.location_id AND n.parent_id IS NULL"
  .. " AND n.id > h.id AND (n.status = 'completed' OR h.status <> 'completed')))"
  .. " AND NOT EXISTS(SELECT 1 FROM job_dependency d WHERE d.on_id = h.id)"
  .. " ORDER BY finished_at LIMIT ?3"

-- The jobs of their trees, parts before what they are parts of.
local TREES = "WITH RECURSIVE tree(id, depth) AS ("
  .. "SELECT value, 0 FROM json_each(?1) UNION ALL"
  .. " SELECT h.id, depth + 1 FROM job_history h JOIN tree ON h.parent_id = tree.id)"
  .. " SELECT id FROM tree ORDER BY depth DESC, id LIMIT ?2"

local PARTS = { "job_log", "job_event", "job_error", "job_skip" }

local function list_of(rows)
  local ids = {}
  for i, row in ipairs(rows) do ids[i] = row.id end
  return "[" .. table.concat(ids, ",") .. "]"
end

-- The statements that remove jobs, or as many of the rows that go with them as one transaction may:
-- then the jobs stay, for the next one.
local function removing(ids)
  local gone = "(SELECT value FROM json_each(?1))"
  local sql, left = {}, {}
  for _, name in ipairs(PARTS) do
    sql[#sql + 1] = { ("DELETE FROM %s WHERE rowid IN (SELECT rowid FROM %s WHERE job_id IN %s"
      .. " LIMIT ?2)"):format(name, name, gone), { ids, ROWS } }
    left[#left + 1] = ("NOT EXISTS(SELECT 1 FROM %s WHERE job_id = h.id)"):format(name)
  end
  sql[#sql + 1] = { ("DELETE FROM job_history AS h WHERE id IN %s AND %s"):format(gone,
    table.concat(left, " AND ")), { ids } }
  return sql
end

local function count(library, ids)
  return library:fresh_rows("SELECT count(*) AS n, count(*) FILTER (WHERE parent_id IS NULL) AS top"
    .. " FROM job_history WHERE id IN (SELECT value FROM json_each(?))", { ids })[1]
end

-- One transaction's worth. How many jobs are gone, without those that were parts of others; nil:
-- none has to go.
local function forget_some(library, limits)
  local at, id = last_beyond(library, limits)
  local beyond = library:rows(BEYOND, { at, id, TOPS })
  if #beyond == 0 then return nil end
  local ids = list_of(library:rows(TREES, { list_of(beyond), JOBS }))
  local before = count(library, ids)
  failure.check(library.core:commit { state = removing(ids) })
  local after = count(library, ids)
  return before.top - after.top
end

--- Forgets all jobs that are beyond the limits, and that nothing else needs. How many those were,
--- without their parts.
---@async
---@param library sd.Library
---@param limits sd.Limits
---@return integer
function M.forget(library, limits)
  local sum = 0
  repeat
    local n = forget_some(library, limits)
    sum = sum + (n or 0)
  until not n
  return sum
end

-- ---- by itself ----

---@class sd.Retention
---@field package library sd.Library
---@field package again? boolean A job has ended since the last look.
---@field package task? sd.Task
---@field package on_error fun(message: string)
local Retention = {}
Retention.__index = Retention

---@param library sd.Library
---@param on_error fun(message: string) Told why nothing could be forgotten.
---@return sd.Retention
function M.of(library, on_error)
  return setmetatable({ library = library, on_error = on_error }, Retention)
end

local function look(self)
  while self.again do
    self.again = false
    M.forget(self.library, M.limits(self.library))
    task.sleep(PAUSE)
  end
end

--- Looks for what has to go, now or soon.
function Retention:kick()
  self.again = true
  if self.task or self.closed then return end
  local looking = task.spawn(look, self)
  self.task = looking
  core.set_job(looking.thread, 0) -- whoever kicked
  looking.on_done = function()
    self.task = nil
    if not looking.ok then self.on_error(tostring(looking.results[1])) end
  end
end

function Retention:close()
  self.closed = true
  if self.task then self.task:cancel() end
end

return M
