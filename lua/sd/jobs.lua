--- The jobs of a library: dispatched, resumed, finished.
local arg = require "sd.arg"
local context = require "sd.context"
local core = require "sd.core"
local failure = require "sd.failure"
local handles = require "sd.handle"
local json = require "sd.json"
local scripts = require "sd.script"
local task = require "sd.task"

local M = {}

---@class sd.Jobs
---@field package library sd.Library
---@field package running table<integer, sd.Handle>
local Jobs = {}
Jobs.__index = Jobs

local OPEN = "'queued', 'running', 'paused'"

function M.of(library)
  return setmetatable({ library = library, running = {} }, Jobs)
end

local function encode_args(args)
  return assert(core.codec.encode(args))
end

-- What the codec refuses, with the way out.
local function check_stored(row, value, message, code, ...)
  if value ~= nil then return value, message, code, ... end
  failure.check(nil, ("the checkpoint of job %d cannot be used: %s; start over with --fresh")
    :format(row.id, message), code)
end

-- ---- the end of a job ----

local TO_HISTORY = "INSERT INTO job_history(id, uuid, parent_id, name, version, args, location_id,"
  .. " status, priority, phase, progress, created_at, started_at, finished_at, duration_ns,"
  .. " output, error)"
  .. " SELECT id, uuid, parent_id, name, version, args, location_id, ?2, priority, phase, progress,"
  .. " created_at, started_at, ?3, ?4, ?5, ?6 FROM job WHERE id = ?1"

local REMOVE = {
  "DELETE FROM job WHERE id = ?",
  "DELETE FROM job_queue_item WHERE job_id = ?",
  "DELETE FROM job_count WHERE job_id = ?",
  -- What has made room for another is found by no later listing.
  "UPDATE vanished SET job_id = 0 WHERE job_id = ? AND keep",
  "DELETE FROM vanished WHERE job_id = ?",
}

local function finish(self, id, status, ended)
  local output = ended.output ~= nil and json.encode(ended.output) or nil
  local sql = { { TO_HISTORY, { id, status, core.sys.wall_ns(), ended.duration_ns, output,
    ended.error and tostring(ended.error), n = 6 } } }
  for _, statement in ipairs(REMOVE) do sql[#sql + 1] = { statement, { id } } end
  return self.library.core:commit { job_id = id, sql = sql }
end

local function fill_metrics(ctx)
  local started = ctx.measured
  local m = ctx.library.core:metrics()
  ctx.metrics.wall_ns = core.sys.mono_ns() - started.wall
  ctx.metrics.cpu_ns = core.sys.process_ns() - started.cpu
  ctx.metrics.lua_cpu_ns = core.sys.thread_ns() - started.lua
  ctx.metrics.checkpoint_ns = m.checkpoint_ns - started.checkpoint
  ctx.metrics.wal_ns = m.wal_ns - started.wal
  ctx.metrics.threads = m.threads
  ctx.metrics.max_rss = core.sys.max_rss()
end

local function start_metrics(ctx)
  local m = ctx.library.core:metrics()
  ctx.measured = {
    wall = core.sys.mono_ns(), cpu = core.sys.process_ns(), lua = core.sys.thread_ns(),
    checkpoint = m.checkpoint_ns, wal = m.wal_ns,
  }
end

-- The last commit of a job that ended well: what it noted, and its place in the history.
local function completed(self, ctx, handle, output)
  if #ctx.notes > 0 then ctx:commit() end
  local counts = ctx:errors(0).counts
  handle.error_counts = next(counts) and counts
  failure.check(finish(self, ctx.id, "completed",
    { output = output, duration_ns = ctx:elapsed_ns() }))
  fill_metrics(ctx)
  handle.result = output == nil and true or output
  handle:set_status("completed", { type = "completed", status = "completed", output = output })
end

-- A library that cannot be written keeps the job as it was at its last checkpoint: resumable.
local function failed(self, ctx, handle, err)
  local resumable = failure.is(err) and err.exit ~= failure.EXIT.FAILED
    and err.exit ~= failure.EXIT.SCRIPT
  if not resumable then
    finish(self, ctx.id, "failed", { error = err, duration_ns = ctx:elapsed_ns() })
  end
  fill_metrics(ctx)
  handle.error = err
  handle:set_status("failed", { type = "failed", status = "failed", error = err })
end

local function start(self, row, script, job)
  local handle = handles.new(row.id, "running")
  local ctx = context.new(self.library, handle, row, script)
  handle.ctx = ctx
  self.running[row.id] = handle
  start_metrics(ctx)
  local main = task.spawn(function() return job:run(ctx) end)
  main.on_done = function()
    self.running[row.id] = nil
    ctx.ended = true
    ctx:interrupt(false)
    task.spawn(function()
      local ok, err = main.ok, main.results[1]
      if ok then ok, err = xpcall(completed, debug.traceback, self, ctx, handle, err) end
      if not ok then failed(self, ctx, handle, err) end
    end)
  end
  handle.cancel_now = function()
    if ctx.ended then return end -- it is being finished, or cancelled
    ctx.ended = true
    main:cancel()
    ctx:interrupt(false)
    self.running[row.id] = nil
    failure.check(finish(self, row.id, "cancelled", { duration_ns = ctx:elapsed_ns() }))
    handle:set_status("cancelled")
  end
  return handle
end

-- ---- dispatch ----

local INSERT = "INSERT INTO job(uuid, name, version, script, script_hash, args, status, priority,"
  .. " created_at, started_at) VALUES(?, ?, ?, ?, ?, ?, 'running', 'normal', ?, ?) RETURNING id"

--- Starts a job of a script.
---@async
---@param job sd.Job
---@param script? sd.Script Where it comes from; default: the definition alone.
---@return sd.Handle
function Jobs:dispatch(job, script)
  script = script or { definition = job.definition, path = "", hash = ("\0"):rep(16) }
  local definition = job.definition
  arg.resolve_paths(definition.args, job.args)
  local now = core.sys.wall_ns()
  local row = self.library:fresh_rows(INSERT, {
    { blob = core.sys.uuid7() }, definition.name, definition.version, script.path,
    { blob = script.hash }, { blob = encode_args(job.args) }, now, now, n = 8,
  })[1]
  return start(self, row, script, job)
end

--- Starts the job that script `name` defines.
---@async
---@param name string Of a script, or its path.
---@param args? table<string, any>
---@return sd.Handle
function Jobs:dispatch_by_name(name, args)
  local script, message = scripts.load(name)
  if not script then error(failure.new(message, "ENOENT"), 0) end
  return self:dispatch(script.definition(args), script)
end

--- Unfinished jobs of that name, oldest first: id, version, args, status, phase. Damaged arguments
--- are refused, or nil where `tolerant` is set.
---@async
---@param name string
---@param tolerant? boolean
---@return table[]
function Jobs:unfinished(name, tolerant)
  local rows = self.library:fresh_rows("SELECT id, version, script_hash, args, status, phase,"
    .. " state, active_ns, location_id FROM job WHERE name = ? AND status IN (" .. OPEN .. ")"
    .. " ORDER BY id", { name })
  for _, row in ipairs(rows) do
    local args, message, code = core.codec.decode(row.args)
    if not tolerant then check_stored(row, args, message, code) end
    row.args = args
  end
  return rows
end

-- A checkpoint belongs to one version of its script.
local function check_version(row, script)
  local version = script.definition.version
  if row.state then
    local _, meta = check_stored(row, core.codec.decode(row.state,
      { push_queue = function() return false end }))
    version = meta.version == version and version or nil
  end
  if row.version == script.definition.version and version then return end
  error(failure.new(("job %d was begun by version %d of %s, and this is version %d: finish it with"
    .. " that version, or start over with --fresh"):format(row.id, row.version, script.path,
    script.definition.version), "ENEWER", failure.EXIT.NEWER), 0)
end

--- Goes on with an unfinished job.
---@async
---@param row table From `unfinished()`.
---@param script sd.Script
---@return sd.Handle
function Jobs:resume_row(row, script)
  check_version(row, script)
  if not script.definition.resumable then
    row.state = nil
    failure.check(self.library.db:exec("DELETE FROM job_queue_item WHERE job_id = ?", { row.id }))
  end
  failure.check(self.library.db:exec("UPDATE job SET status = 'running' WHERE id = ?", { row.id }))
  return start(self, row, script, script.definition(row.args))
end

--- Gives an unfinished job up: its checkpoint is dropped, what it has written stays.
---@async
---@param id integer
function Jobs:give_up(id)
  failure.check(finish(self, id, "cancelled", {}))
end

--- The handle of a job that runs here.
---@param id integer
---@return sd.Handle?
function Jobs:get(id)
  return self.running[id]
end

--- All jobs, unfinished and past, by id.
---@async
---@return table[]
function Jobs:list()
  return self.library:rows("SELECT * FROM jobs ORDER BY id")
end

--- Pauses, resumes or cancels a job that runs here.
for _, verb in ipairs { "pause", "resume", "cancel" } do
  Jobs[verb] = function(self, id)
    local handle = self.running[id]
    if not handle then return nil, ("job %s does not run here"):format(tostring(id)), "ESRCH" end
    handle[verb](handle)
    return true
  end
end

return M
