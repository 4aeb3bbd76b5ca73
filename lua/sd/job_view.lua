--- Jobs as users see them, open ones and those of the history: listed, shown, found by a piece of
--- their id. What is removed of the history, and when, says sd.retention.
local core = require "sd.core"
local failure = require "sd.failure"

local M = {}

local HEX = "lower(hex(uuid))"
local UUID = ("substr(%s,1,8)||'-'||substr(%s,9,4)||'-'||substr(%s,13,4)||'-'||substr(%s,17,4)"
  .. "||'-'||substr(%s,21)"):format(HEX, HEX, HEX, HEX, HEX)
local LIST = "SELECT id, " .. UUID .. " AS uuid, parent_id, name, version, status, priority, phase,"
  .. " attempt, created_at, started_at, finished_at, error, %s FROM %s"
-- The time worked, as of the last commit; NULL: it never ran.
local OPEN = LIST:format("progress, NULL AS output, nullif(active_ns, 0) AS duration_ns, run_at",
  "job")
local ENDED = LIST:format("progress, output, duration_ns, NULL AS run_at", "job_history")

--- Open jobs, and with `all` those that have ended, with `children` also parts of others: newest
--- last, at most `limit` (default: no limit).
---@async
---@param options? {all?: boolean, children?: boolean, limit?: integer}
---@return table[]
function M.list(library, options)
  options = options or {}
  local ended = ENDED .. (options.children and "" or " WHERE parent_id IS NULL")
  local source = options.all and (OPEN .. " UNION ALL " .. ended) or OPEN
  return library:rows("SELECT * FROM (SELECT * FROM (" .. source
    .. ") ORDER BY id DESC LIMIT ?) ORDER BY id", { options.limit or -1 })
end

local BELOW = "WITH RECURSIVE tree(id) AS (VALUES(?1)"
  .. " UNION SELECT job.id FROM job JOIN tree ON job.parent_id = tree.id)"
  .. " SELECT * FROM (" .. OPEN .. " WHERE id IN tree ORDER BY id = ?1 DESC, id DESC LIMIT ?2)"
  .. " ORDER BY id"

--- An open job and the open ones that are below it, newest last: at most `limit`, of which the job
--- itself is one; none where it has ended.
---@async
---@param id integer
---@param limit integer
---@return table[]
function M.below(library, id, limit)
  return library:rows(BELOW, { id, limit })
end

--- One job, open or ended, with its arguments.
---@async
---@return table?
function M.show(library, id)
  for _, source in ipairs { OPEN .. " WHERE id = ?", ENDED .. " WHERE id = ?" } do
    local row = library:rows(source, { id })[1]
    if row then
      local from = row.finished_at and "job_history" or "job"
      local sql = ("SELECT script, args FROM %s WHERE id = ?"):format(from)
      local more = library:rows(sql, { id })[1]
      row.script, row.args = more.script, failure.check(core.codec.decode(more.args))
      row.children = library:rows("SELECT id, name, status FROM jobs WHERE parent_id = ?"
        .. " ORDER BY id", { id })
      row.events = library:rows("SELECT at, was, status, attempt FROM job_event WHERE job_id = ?"
        .. " ORDER BY id", { id })
      return row
    end
  end
end

-- So many lines fit an answer of the runner, whatever is in them.
local LOG_PAGE = 100

--- Lines of a job's log after line `after`, the first 100; none: there are no more.
---@async
---@return table[] rows id, at, level, message
function M.log(library, id, after)
  return library:rows("SELECT id, at, level, message FROM job_log WHERE job_id = ? AND id > ?"
    .. " ORDER BY id LIMIT ?", { id, after or 0, LOG_PAGE })
end

--- The job whose id is `text`, or else those whose uuid begins with it (at least four digits).
---@async
---@param text string
---@return table[] rows id, uuid
function M.by_prefix(library, text)
  local id = text:find("^[1-9]%d*$") and math.tointeger(tonumber(text))
  local found = id and library:rows("SELECT id, uuid FROM jobs WHERE id = ?", { id }) or {}
  if #found > 0 or #text < 4 or not text:find("^[%x-]+$") then return found end
  return library:rows("SELECT id, uuid FROM jobs WHERE substr(uuid, 1, ?2) = ?1 LIMIT 10",
    { text:lower(), #text })
end

return M
