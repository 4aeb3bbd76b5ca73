--- One transaction of a job: what its script adds, its state, the changes of its queues.
local core = require "sd.core"
local explain = require "sd.explain"
local json = require "sd.json"
local log = require "sd.job_log"
local rows = require "sd.job_rows"

local M = {}

---@class sd.Commit
---@field package args table
local Commit = {}
Commit.__index = Commit

---@class sd.WriteOptions
---@field want_content? boolean New and changed files are to get a content identity (default false).
---@field rescan? boolean The location was indexed before: what is new may have moved (default
--- false). See `ctx:match()`.
---@field notes_only? boolean Only errors and skips are written, no entries (default false).
---@field explain? boolean Tell why each entry was touched, once it is written (default false).
---@field may_wait? boolean Where nothing in the batch differs, the state may wait: see
--- `Commit:may_wait()` (default false).

-- How long a state may wait: seconds of work that a crash repeats.
local WAIT_SECONDS = 5

--- Says that the job's state and queues may wait for a later commit, up to five seconds: all that
--- is in this one, a job that begins again at an older state finds or does again, and it comes to
--- the same.
function Commit:may_wait()
  if self.args.may_wait == nil then self.args.may_wait = true end
end

local function is_quiet(stats)
  return stats.changed == 0 and stats.vanished == 0 and stats.errors == 0 and stats.skips == 0
end

--- Adds the rows of a batch of the walk.
---@param batch sd.Batch
---@param location sd.Location
---@param options? sd.WriteOptions The same for all batches of a commit.
function Commit:write(batch, location, options)
  local args = self.args
  args.location_id = location.id
  args.want_content = options and options.want_content or false
  args.rescan = options and options.rescan or false
  args.notes_only = options and options.notes_only or false
  if options and options.explain then
    args.explained = args.explained or {}
    explain.collect(args.explained, batch, args.rescan)
  end
  if options and options.may_wait and is_quiet(batch:stats()) then self:may_wait()
  else args.may_wait = false end
  args.batches[#args.batches + 1] = batch
end

--- Adds the identities that a chunk of files was found to have.
---@param chunk sd.Chunk
---@param location sd.Location
---@param options? {explain?: boolean} Tell which files were read again (default false).
function Commit:link(chunk, location, options)
  self.args.location_id, self.args.want_content, self.args.may_wait = location.id, true, false
  if options and options.explain then
    self.args.explained = self.args.explained or {}
    explain.collect_read(self.args.explained, chunk)
  end
  self.args.contents[#self.args.contents + 1] = chunk
end

--- Adds a statement. Statements run before batches and chunks.
---@param sql string
---@param params? any[]
function Commit:exec(sql, params)
  self.args.sql[#self.args.sql + 1] = { sql, params }
end

--- The same on the library's own tables: where it is refused, the library is damaged.
---@package
---@param sql string
---@param params? any[]
function Commit:exec_own(sql, params)
  self.args.sql[#self.args.sql + 1] = { sql, params, own = true }
end

local function encode_state(ctx)
  if ctx.current == nil then return nil end
  local bytes, message = core.codec.encode(ctx.current, {
    name = ctx.definition.name, version = ctx.definition.version, script = ctx.script.hash,
    queue_name = core.queue.name_of,
  })
  if not bytes then error(message, 0) end
  return bytes
end

local NOTE = "INSERT INTO job_error(job_id, location_id, path, operation, error, message, at)"
  .. " VALUES(?, ?, ?, ?, ?, ?, ?)"

local function note_statement(ctx, note)
  return { NOTE, { ctx.root_id, ctx.location_id, note.path or "",
    note.operation or ctx.definition.name, note.error or "EFAILED", note.message,
    core.sys.wall_ns(), n = 7 } }
end

local UPDATE = "UPDATE job SET state = ?, phase = ?, status = ?, active_ns = ?, location_id = ?,"
  .. " progress = coalesce(?, progress) WHERE id = ?"

-- Progress that nobody can read is no reason to stop.
local function encode_progress(ctx)
  local progress = ctx.handle.last_progress
  if not progress or progress == ctx.stored_progress then return nil end
  ctx.stored_progress = progress
  local ok, text = pcall(json.encode, progress)
  return ok and text or nil
end

local function state_statements(ctx, status)
  local bytes = encode_state(ctx) -- raises before anything is taken
  local statements = {}
  for _, note in ipairs(ctx.notes) do statements[#statements + 1] = note_statement(ctx, note) end
  for _, child in ipairs(ctx.spawned) do statements[#statements + 1] = { rows.insert(child) } end
  for _, one in ipairs(log.statements(ctx.id, ctx.lines)) do
    statements[#statements + 1] = one
  end
  ctx.notes, ctx.spawned, ctx.lines = {}, {}, {}
  statements[#statements + 1] = { UPDATE, { bytes and { blob = bytes }, ctx.phase, status,
    ctx:elapsed_ns(), ctx.location_id, encode_progress(ctx), ctx.id, n = 7 } }
  return statements
end

--- The phase that the job's state is in; that of the last commit where it says none.
---@param ctx sd.Context
---@return string? phase
function M.phase_of(ctx)
  local phase = type(ctx.current) == "table" and ctx.current.phase
  return type(phase) == "string" and phase or ctx.phase
end

-- Whether the state can stay as it is stored: then so do the queues, since they belong together.
local function can_wait(ctx, args, status)
  return args.may_wait and status == "running"
    and #ctx.notes == 0 and #ctx.spawned == 0
    and #ctx.lines == 0 and core.sys.mono_ns() - (ctx.stored_ns or ctx.started_ns)
      < WAIT_SECONDS * 1000000000
end

--- What `library.core:commit()` takes. Notes, log lines and children that the job made since the
--- last commit are part of it.
---@param ctx sd.Context
---@param fn? fun(tx: sd.Commit)
---@param status string Of the job.
---@return table args
function M.prepare(ctx, fn, status)
  local args = { job_id = ctx.id, note_id = ctx.root_id, batches = {}, contents = {}, sql = {},
    queues = {} }
  if fn then fn(setmetatable({ args = args }, Commit)) end
  ctx.location_id = args.location_id or ctx.location_id
  args.location_id = ctx.location_id
  ctx.waits = can_wait(ctx, args, status)
  if ctx.waits then return args end
  ctx.stored_ns = core.sys.mono_ns()
  local phase = ctx.phase
  ctx.phase = M.phase_of(ctx)
  args.sync = phase ~= ctx.phase and ctx.parent_id == 0
  args.state = state_statements(ctx, status)
  for _, queue in pairs(ctx.queues) do args.queues[#args.queues + 1] = queue end
  return args
end

--- A checkpoint that may wait for a later commit, up to five seconds: between phases of which each
--- can begin again where an older state is.
---@async
---@param self sd.Context
function M.checkpoint_soon(self)
  self:commit(function(tx) tx:may_wait() end)
end

return M
