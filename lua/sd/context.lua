--- What a running job has in its hands: state, checkpoints, queues, progress, interruption.
local branches = require "sd.branches"
local core = require "sd.core"
local failure = require "sd.failure"
local task = require "sd.task"
require "sd.queue"

local M = {}

---@class sd.Context
---@field id integer The job's id in the library.
---@field library sd.Library
---@field metrics table<string, integer> What the run cost; filled at its end.
---@field package handle sd.Handle
---@field package definition sd.JobDefinition
---@field package queues table<string, userdata>
---@field package branches sd.Branches
local Context = {}
Context.__index = Context
Context.__name = "sd.Context"

-- Where the queue has more than this on the disk, the rest is not kept in memory.
local QUEUE_IN_MEMORY = 4096
-- Rows that are moved or removed in a transaction, about.
local SWEEP = 20000

---@param library sd.Library
---@param handle sd.Handle
---@param row table The job's row.
---@param script sd.Script
function M.new(library, handle, row, script)
  local self = setmetatable({
    id = row.id, library = library, handle = handle, definition = script.definition,
    script = script, queues = {}, warnings = {}, notes = {}, commits = 0,
    active_ns = row.active_ns or 0, started_ns = core.sys.mono_ns(), stored = row.state,
    phase = row.phase, metrics = {},
  }, Context)
  self.branches = branches.new(function() self:pause_now() end)
  return self
end

-- ---- time, messages ----

--- Seconds that the job has worked, in this process and in earlier ones.
---@return number
function Context:elapsed()
  return self:elapsed_ns() / 1e9
end

---@return integer
function Context:elapsed_ns()
  return self.active_ns + (self.started_ns and core.sys.mono_ns() - self.started_ns or 0)
end

local function message_of(format, ...)
  return select("#", ...) > 0 and tostring(format):format(...) or tostring(format)
end

--- A line for the user. `%` directives are filled as by string.format where values follow.
---@param format string
function Context:log(format, ...)
  self.handle:emit { type = "log", level = "info", message = message_of(format, ...) }
end

--- The same, shown with SDLUA_DEBUG set only.
---@param format string
function Context:log_debug(format, ...)
  if os.getenv("SDLUA_DEBUG") then
    self.handle:emit { type = "log", level = "debug", message = message_of(format, ...) }
  end
end

--- Something that the user should know, and that is no error.
---@param format string
function Context:add_warning(format, ...)
  local message = message_of(format, ...)
  self.warnings[#self.warnings + 1] = message
  self.handle:emit { type = "log", level = "warning", message = message }
end

---@class sd.JobError
---@field message string
---@field operation? string Default: the job's name.
---@field path? string
---@field error? string Symbolic code, e.g. "EACCES".

--- An error that does not end the job: it is written with the next commit, and the job ends
--- "complete, except for errors".
---@param err string|sd.JobError
function Context:add_non_critical_error(err)
  if type(err) ~= "table" then err = { message = tostring(err) } end
  if type(err.message) ~= "string" then
    error("add_non_critical_error: a message is missing", 2)
  end
  self.notes[#self.notes + 1] = err
end

--- Says how far the job is. Cheap: what is not looked at is replaced by the next call.
---@param progress table Of the type that the job declares.
function Context:progress(progress)
  if type(progress) ~= "table" then error("progress: a table expected", 2) end
  local kind = self.definition.progress
  self.handle:report(kind and kind(progress) or progress)
end

-- ---- queues, walks, hashes ----

-- What the last checkpoint left on the disk, by queue.
local function stored_queues(self)
  if self.on_disk then return end
  local on_disk = {}
  for _, row in ipairs(self.library:fresh_rows(
    "SELECT queue, count(*) AS n, min(seq) AS first, max(seq) + 1 AS below FROM job_queue_item"
    .. " WHERE job_id = ? GROUP BY queue", { self.id })) do
    on_disk[row.queue] = row
  end
  self.on_disk = on_disk
end

local function open_queue(self, name)
  local queue = core.queue.new(name)
  local stored = self.on_disk[name]
  queue:owner(self)
  if stored then queue:on_disk(stored.n, stored.first, stored.below) end
  self.queues[name] = queue
  return queue
end

--- The durable queue `name` of this job. What is pushed and not finished is there again when the
--- job is resumed, as of the last commit.
---@async
---@param name string
---@return sd.Queue
function Context:queue(name)
  stored_queues(self)
  return self.queues[name] or open_queue(self, name)
end

---@class sd.WalkerOptions
---@field root string Absolute path.
---@field root_id integer Entry id of the root.
---@field location_id integer
---@field moves_below? integer Directories with a smaller id may have moved (default 0: none).
---@field queue sd.Queue Directories that are to be walked.
---@field batch? integer Entries a batch (default 1000).

--- A walk over `root`: `for batch in walker:batches() do`. Directories come from the queue and go
--- there.
---@param options sd.WalkerOptions
---@return sd.Walker walker Close it.
function Context:walker(options)
  return require "sd.walker".open(self, options)
end

---@class sd.HashOptions
---@field root string Absolute path.
---@field location_id integer
---@field kind? "sampled"|"full" Default sampled.
---@field mime? "none"|"name"|"magic" Default none.
---@field after? integer Entry id after which to begin.
---@field chunk? integer Files a chunk (default 100).

--- Hashes the files of a location that have no content identity: `for chunk in hasher:chunks() do`.
---@param options sd.HashOptions
---@return sd.Hasher hasher Close it.
function Context:hash(options)
  return require "sd.hasher".open(self, options)
end

-- ---- state and checkpoints ----

--- The state of the last checkpoint, or nil. A checkpoint of another version of the script is
--- refused.
---@async
---@return table? state
function Context:load_state()
  if self.current == nil and self.stored then
    stored_queues(self)
    local value = failure.check(core.codec.decode(self.stored, {
      push_queue = function(name) return self.queues[name] or open_queue(self, name) end,
    }))
    self.current = value
  end
  return self.current
end

--- Makes `state` the job's state, and writes a checkpoint.
---@async
---@param state table
function Context:save_state(state)
  self.current = state
  self:checkpoint()
end

--- The restored state, or what `new(ctx)` gives.
---@async
---@generic T
---@param new fun(ctx: sd.Context): T
---@return T state
function Context:state(new)
  local state = self:load_state()
  if state == nil then
    state = new(self)
    self.current = state
  end
  return state
end

---@class sd.Commit
---@field package args table
local Commit = {}
Commit.__index = Commit

---@class sd.WriteOptions
---@field want_content? boolean New and changed files are to get a content identity (default false).
---@field rescan? boolean The location was indexed before: what is new may have moved (default
--- false). See `ctx:match()`.

--- Adds the rows of a batch of the walk.
---@param batch sd.Batch
---@param location sd.Location
---@param options? sd.WriteOptions The same for all batches of a commit.
function Commit:write(batch, location, options)
  local args = self.args
  args.location_id = location.id
  args.want_content = options and options.want_content or false
  args.rescan = options and options.rescan or false
  args.batches[#args.batches + 1] = batch
end

--- Adds the identities that a chunk of files was found to have.
---@param chunk sd.Chunk
---@param location sd.Location
function Commit:link(chunk, location)
  self.args.location_id, self.args.want_content = location.id, true
  self.args.contents[#self.args.contents + 1] = chunk
end

--- Adds a statement. Statements run before batches and chunks.
---@param sql string
---@param params? any[]
function Commit:exec(sql, params)
  self.args.sql[#self.args.sql + 1] = { sql, params }
end

local function encode_state(self)
  if self.current == nil then return nil end
  local bytes, message = core.codec.encode(self.current, {
    name = self.definition.name, version = self.definition.version, script = self.script.hash,
    queue_name = core.queue.name_of,
  })
  if not bytes then error(message, 0) end
  return bytes
end

local NOTE = "INSERT INTO job_error(job_id, location_id, path, operation, error, message, at)"
  .. " VALUES(?, ?, ?, ?, ?, ?, ?)"

local function state_statements(self, status)
  local statements = {}
  for i, note in ipairs(self.notes) do
    statements[i] = { NOTE, { self.id, self.location_id, note.path or "",
      note.operation or self.definition.name, note.error or "EFAILED", note.message,
      core.sys.wall_ns(), n = 7 } }
  end
  local bytes = encode_state(self)
  self.notes = {}
  statements[#statements + 1] = { "UPDATE job SET state = ?, phase = ?, status = ?, active_ns = ?,"
    .. " location_id = ? WHERE id = ?", { bytes and { blob = bytes }, self.phase, status,
    self:elapsed_ns(), self.location_id, self.id, n = 6 } }
  return statements
end

local function note_phase(self)
  local phase = type(self.current) == "table" and self.current.phase
  if type(phase) == "string" then self.phase = phase end
end

--- Everything that `fn(tx)` adds, the job's state and the changes of its queues, in one
--- transaction.
---@async
---@param fn? fun(tx: sd.Commit)
---@param status? string Of the job (default "running").
---@return table counts inserted, updated, moved, vanished, linked, errors
function Context:commit(fn, status)
  local args = { job_id = self.id, batches = {}, contents = {}, sql = {}, queues = {} }
  if fn then fn(setmetatable({ args = args }, Commit)) end
  self.location_id = args.location_id or self.location_id
  args.location_id = self.location_id
  note_phase(self)
  args.state = state_statements(self, status or "running")
  for _, queue in pairs(self.queues) do args.queues[#args.queues + 1] = queue end
  self.commits = self.commits + 1
  local counts, message, code = self.library.core:commit(args)
  self.commits = self.commits - 1
  failure.check(counts, message, code)
  if self.commits == 0 then
    for _, queue in pairs(self.queues) do queue:evict(QUEUE_IN_MEMORY) end
  end
  return counts
end

--- Writes the job's state and the changes of its queues. Batches that wait in a queue are stored
--- there.
---@async
---@param status? string
function Context:checkpoint(status)
  for _, queue in pairs(self.queues) do queue:settle() end
  self:commit(nil, status)
end

--- A checkpoint with this state.
---@async
---@param state table
function Context:checkpoint_with_state(state)
  self.current = state
  self:checkpoint()
end

--- Finds what the walk missed among what is new: it has moved, and keeps its id, its uuid and its
--- content. Before files are hashed, so that this one is not.
---@async
---@param location sd.Location
function Context:match(location)
  local result
  repeat
    self:check_interrupt()
    result = failure.check(self.library.core:match(self.id, location.id, SWEEP,
      result and result.after or 0))
  until not result.left
end

--- Removes what the walk missed, and `match()` did not find.
---@async
---@param location sd.Location
function Context:sweep(location)
  local result
  repeat
    self:check_interrupt()
    result = failure.check(self.library.core:sweep(self.id, location.id, SWEEP))
  until not result.left
end

---@class sd.SweepCounts
---@field moved integer Entries that were found at another place, directories not among them.
---@field replaced integer New entries that have the name and the identity of one that is gone.
---@field removed integer

--- What `match()` and `sweep()` have done in this job.
---@async
---@return sd.SweepCounts
function Context:sweep_counts()
  local counts = { moved = 0, replaced = 0, removed = 0 }
  for _, row in ipairs(self.library:fresh_rows("SELECT name, n FROM job_count WHERE job_id = ?",
    { self.id })) do
    counts[row.name] = row.n
  end
  return counts
end

--- The job's errors so far: the first `limit` of them, and how many there are by code.
---@async
---@param limit integer
---@return {list: table[], counts: table<string, integer>}
function Context:errors(limit)
  local result = { counts = {} }
  result.list = self.library:fresh_rows("SELECT operation, path, error, message FROM job_error"
    .. " WHERE job_id = ? ORDER BY id LIMIT ?", { self.id, limit })
  result.list.changes = nil
  for _, row in ipairs(self.library:fresh_rows("SELECT error, count(*) AS n FROM job_error"
    .. " WHERE job_id = ? GROUP BY error", { self.id })) do
    result.counts[row.error] = row.n
  end
  return result
end

--- What was left out, by the rule that did it.
---@async
---@return table<string, integer>
function Context:skips()
  local counts = {}
  for _, row in ipairs(self.library:fresh_rows("SELECT rule, count(*) AS n FROM job_skip"
    .. " WHERE job_id = ? GROUP BY rule", { self.id })) do
    counts[row.rule] = row.n
  end
  return counts
end

-- ---- interruption ----

--- The safe point: a pause takes effect here.
---@async
function Context:check_interrupt()
  self.branches:safe_point()
end

--- Runs functions at the same time, and waits for all of them. An error in one ends the others.
---@async
---@param ... fun()
function Context:concurrently(...)
  self.branches:run(...)
end

--- Waits that long; a pause takes effect meanwhile.
---@async
---@param seconds number
function Context:sleep(seconds)
  local list = {}
  local deadline = self:elapsed() + seconds
  while self:elapsed() < deadline do self:wait_in(list, deadline - self:elapsed()) end
end

--- Waits until `wake_all(list)`, or for so many seconds. A pause takes effect meanwhile.
---@async
---@package
function Context:wait_in(list, seconds)
  self.branches:wait_in(list, seconds)
end

---@package
function Context:wake_all(list)
  branches.wake_all(list)
end

--- Asks the job to pause at its next safe point.
---@package
function Context:request_pause()
  if self.ended then return end
  self:interrupt(true)
  self.branches:request_pause()
end

--- Whether this job wants the lanes to end early with what they have. They are the library's: they
--- work on when no job wants it any more.
---@package
---@param on boolean
function Context:interrupt(on)
  local library = self.library
  if on == (self.interrupts or false) then return end
  self.interrupts = on
  library.interrupts = (library.interrupts or 0) + (on and 1 or -1)
  library.core:interrupt(library.interrupts > 0)
end

-- All branches stand still: the checkpoint that a later run goes on from. Batches that wait are not
-- stored, for speed: their directories are walked again, unless this process goes on.
function Context:pause_now()
  task.spawn(function()
    if self.ended then return end
    local ok, err = xpcall(self.commit, debug.traceback, self, nil, "paused")
    self.active_ns, self.started_ns = self:elapsed_ns(), nil
    self:interrupt(false)
    self.handle:paused(ok, err)
  end)
end

--- Goes on after a pause.
---@package
function Context:resume()
  self.started_ns = core.sys.mono_ns()
  self.branches:resume()
end

--- The database, as in `ctx:library_db():query(...)`.
---@return sd.Db
function Context:library_db()
  return self.library.db
end

return M
