--- Jobs that repeat: kept in the library, dispatched by its runner.
local core = require "sd.core"
local cron = require "sd.cron"
local failure = require "sd.failure"
local rows = require "sd.job_rows"
local text = require "sd.text"

local M = {}

local NS = 1000000000

---@class sd.Schedules
---@field package jobs sd.Jobs
---@field package list table[] As the library has them.
local Schedules = {}
Schedules.__index = Schedules

local READ = "SELECT id, name, script, args, priority, spec, created_at, next_at,"
  .. " last_job_id, error"
  .. " FROM job_schedule ORDER BY id"

---@async
---@param jobs sd.Jobs
---@return sd.Schedules
function M.of(jobs)
  local self = setmetatable({ jobs = jobs }, Schedules)
  self:read()
  return self
end

--- Takes what the library has by now.
---@async
function Schedules:read()
  self.list = self.jobs.library:fresh_rows(READ)
end

--- When the next one is due.
---@return integer? ns
function Schedules:next_at()
  local at
  for _, one in ipairs(self.list) do
    if not at or one.next_at < at then at = one.next_at end
  end
  return at
end

-- A run that is still open is not doubled, and what was missed is made up for once.
local function dispatch(self, one)
  local jobs = self.jobs
  if one.last_job_id and rows.is_open(jobs.library, one.last_job_id) then return one.last_job_id end
  local script, message, code = jobs:find_script { name = one.name, script = one.script }
  if not script then error(failure.new(message, code), 0) end
  local args = failure.check(core.codec.decode(one.args))
  local handle = jobs:dispatch(script.definition(args), script, { priority = one.priority })
  return handle.id
end

-- What could not be dispatched is told at once, and stays with the schedule until it can.
local function note(self, one, ok, result)
  if ok then
    one.last_job_id, one.error = result, nil
    return
  end
  one.error = text.escape(tostring(result))
  self.jobs:notice(("%s, which repeats with the number %d, cannot be run: %s"):format(one.name,
    one.id, one.error))
end

--- Dispatches what is due.
---@async
function Schedules:fire()
  local now = core.sys.wall_ns()
  for _, one in ipairs(self.list) do
    if one.next_at <= now then
      note(self, one, pcall(dispatch, self, one))
      local due = cron.parse(one.spec)
      one.next_at = (due and due:next(now // NS) or math.maxinteger // NS) * NS
      self.jobs.library:fresh_rows("UPDATE job_schedule SET next_at = ?, last_job_id = ?,"
        .. " error = ? WHERE id = ?", { one.next_at, one.last_job_id, one.error, one.id, n = 4 })
    end
  end
end

--- Adds a job that repeats; its number.
---@async
---@param job sd.Job
---@param script sd.Script With a file.
---@param spec string As sd.cron.parse() takes it.
---@param priority? "low"|"normal"|"high"|"critical" Default normal.
---@return integer id
function Schedules:add(job, script, spec, priority)
  if priority and not rows.GRACE[priority] then
    error("schedules: priority is low, normal, high or critical", 2)
  end
  local due, message = cron.parse(spec)
  if not due then error(failure.new(message, "EINVAL", failure.EXIT.USAGE), 0) end
  local now = core.sys.wall_ns()
  local first = due:next(now // NS)
  if not first then
    error(failure.new(("'%s' is never due"):format(spec), "EINVAL", failure.EXIT.USAGE), 0)
  end
  local id = self.jobs.library:fresh_rows("INSERT INTO job_schedule(name, script, args, priority,"
    .. " spec, created_at, next_at) VALUES(?, ?, ?, ?, ?, ?, ?) RETURNING id", {
    job.definition.name, script.path, { blob = assert(core.codec.encode(job.args)) },
    priority or "normal", spec, now, first * NS })[1].id
  self:read()
  self.jobs.scheduler:kick()
  return id
end

--- Whether there was one with that number.
---@async
---@param id integer
---@return boolean
function Schedules:remove(id)
  local gone = self.jobs.library:fresh_rows("DELETE FROM job_schedule WHERE id = ? RETURNING id",
    { id })
  self:read()
  return #gone > 0
end

-- The arguments that name the root of a location: `root`, as the verifier has it, and those that
-- its script declares.
local function names_of_roots(self, one)
  local names = { root = true }
  local script = self.jobs:find_script { name = one.name, script = one.script }
  for name, arg in pairs(script and script.definition.args or {}) do
    if arg.location then names[name] = true end
  end
  return names
end

-- Those that have `root` for an argument that names a location, with their arguments; it is `new`
-- there, which may be nil.
local function about(self, root, new)
  local found = {}
  self:read()
  for _, one in ipairs(self.list) do
    local args, is_about = core.codec.decode(one.args) or {}, false
    for name in pairs(names_of_roots(self, one)) do
      if args[name] == root then args[name], is_about = new, true end
    end
    if is_about then found[#found + 1] = { id = one.id, args = args } end
  end
  return found
end

--- The statements that make what repeats for the location at `root` go on at another one, one for
--- each; then `read()`.
---@async
---@param root string
---@param new string
---@return table[] statements
function Schedules:moving(root, new)
  local statements = {}
  for i, one in ipairs(about(self, root, new)) do
    statements[i] = { "UPDATE job_schedule SET args = ?2, error = NULL WHERE id = ?1",
      { one.id, { blob = assert(core.codec.encode(one.args)) } } }
  end
  return statements
end

--- The statements that end what repeats for the location at `root`, one for each; then `read()`.
---@async
---@param root string
---@return table[] statements
function Schedules:dropping(root)
  local statements = {}
  for i, one in ipairs(about(self, root)) do
    statements[i] = { "DELETE FROM job_schedule WHERE id = ?", { one.id } }
  end
  return statements
end

--- What repeats, for people: arguments decoded.
---@async
---@return table[]
function Schedules:all()
  self:read()
  local list = {}
  for i, one in ipairs(self.list) do
    list[i] = { id = one.id, name = one.name, script = one.script, spec = one.spec,
      args = core.codec.decode(one.args), next_at = one.next_at, last_job_id = one.last_job_id,
      error = one.error }
  end
  return list
end

return M
