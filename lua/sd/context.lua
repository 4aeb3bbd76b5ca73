--- What a running job has in its hands: state, checkpoints, queues, progress, interruption.
local branches = require "sd.branches"
local children = require "sd.children"
local commits = require "sd.commit"
local core = require "sd.core"
local explain = require "sd.explain"
local failure = require "sd.failure"
local hasher = require "sd.hasher"
local json = require "sd.json"
local messages = require "sd.messages"
local metrics = require "sd.metrics"
local rows = require "sd.job_rows"
local sweep = require "sd.sweep"
local task = require "sd.task"
local walker = require "sd.walker"
require "sd.queue"

local M = {}

---@class sd.Context
---@field id integer The job's id in the library.
---@field root_id integer The job at the top of its tree: errors of the tree are noted for that one.
---@field library sd.Library
---@field metrics table<string, integer> What the run cost; filled at its end.
---@field package handle sd.Handle
---@field package definition sd.JobDefinition
---@field package queues table<string, userdata>
---@field package branches sd.Branches
---@field package probe? fun(ctx: sd.Context, kind: string) Called at safe points; sd.testing's.
local Context = setmetatable({}, { __index = messages })
Context.__index = Context
Context.__name = "sd.Context"

-- Where the queue has more than this on the disk, the rest is not kept in memory.
local QUEUE_IN_MEMORY = 4096

---@param library sd.Library
---@param handle sd.Handle
---@param row sd.JobRow
---@param script sd.Script
function M.new(library, handle, row, script)
  local self = setmetatable({
    id = row.id, parent_id = row.parent_id or 0, root_id = row.root_id or row.id,
    priority = row.priority, attempt = row.attempt, library = library, handle = handle,
    definition = script.definition, script = script, queues = {}, warnings = {}, notes = {},
    lines = {}, spawned = {}, commits = 0, child_waiters = {}, child_progress = {},
    children_ended = 0, children_after = row.children_after or 0, furthest = {},
    active_ns = row.active_ns or 0, started_ns = core.sys.mono_ns(), stored = row.state,
    phase = row.phase, location_id = row.location_id, metrics = {}, probe = library.probe,
  }, Context)
  self.branches = branches.new(function() self:pause_now() end)
  return self
end

-- ---- time ----

--- Seconds that the job has worked, in this process and in earlier ones.
---@return number
function Context:elapsed()
  return self:elapsed_ns() / 1e9
end

---@return integer
function Context:elapsed_ns()
  return self.active_ns + (self.started_ns and core.sys.mono_ns() - self.started_ns or 0)
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
---@field paths? boolean Entries come with their paths (default false).
---@field changed_by? "inode"|"mtime"|"ctime"|"content" What tells that the bytes of a file may
--- differ (default inode). A walk reads none: content is as ctime.
---@field queue sd.Queue Directories that are to be walked.
---@field batch? integer Entries a batch (default 1000).
---@field rules? sd.Rules What is left out (default: nothing).
---@field accept? sd.Predicates What a script leaves out of the rest (default: nothing).

--- A walk over `root`: `for batch in walker:batches() do`. Directories come from the queue and go
--- there.
---@param options sd.WalkerOptions
---@return sd.Walker walker Close it.
function Context:walker(options)
  return walker.open(self, options)
end

---@class sd.HashOptions
---@field root string Absolute path.
---@field location_id integer
---@field kind? "sampled"|"full" Default sampled.
---@field mime? "none"|"name"|"magic" Default none.
---@field after? integer Entry id after which to begin.
---@field chunk? integer Files a chunk (default 100).
---@field job_id? integer The files that this job noted in content_todo, whatever is known of them.
---@field verify? boolean The files that have an identity, to be compared with it (default false).
--- See `chunk:differences()`.

--- Hashes the files of a location that have no content identity: `for chunk in hasher:chunks() do`.
---@param options sd.HashOptions
---@return sd.Hasher hasher Close it.
function Context:hash(options)
  return hasher.open(self, options)
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

--- Everything that `fn(tx)` adds, the job's state and the changes of its queues, in one
--- transaction.
---@async
---@param fn? fun(tx: sd.Commit)
---@param status? string Of the job (default "running").
---@return table counts inserted, updated, moved, vanished, linked, errors
function Context:commit(fn, status)
  if self.broken then error(self.broken, 0) end
  local probe = not status and self.probe -- a pause is no point where one could pause
  if probe then probe(self, "commit") end
  local gives_away = #self.spawned > 0
  local args = commits.prepare(self, fn, status or "running")
  self.commits = self.commits + 1
  local ok, counts, message, code = pcall(self.library.core.commit, self.library.core, args)
  self.commits = self.commits - 1
  if not ok or counts == nil then
    -- What was taken from queues and state is neither here nor there: only the last checkpoint is
    -- good, and no later commit may be built on this.
    self.broken = ok and select(2, pcall(failure.check, nil, message, code)) or counts
    error(self.broken, 0)
  end
  if self.commits == 0 then
    for _, queue in pairs(self.queues) do queue:evict(QUEUE_IN_MEMORY) end
  end
  if gives_away then self.library.jobs.scheduler:kick() end -- children need not wait for it
  if args.explained then explain.tell(self, args.explained) end
  if probe then probe(self, "committed") end
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

-- What a walk missed, and what a run came to.
Context.match, Context.sweep, Context.clear = sweep.match, sweep.sweep, sweep.clear
Context.changes = sweep.changes
Context.checkpoint_soon = commits.checkpoint_soon

--- Packs names for searching, a part of them; whether more calls are needed.
---@async
---@return boolean left
function Context:index_names()
  return (failure.check(self.library.core:index_names()))
end

--- The errors so far of the job and its tree: the first `limit`, and how many there are by code.
---@async
---@param limit integer
---@return {list: table[], counts: table<string, integer>}
function Context:errors(limit)
  local result = { counts = {} }
  result.list = json.array(self.library:fresh_rows("SELECT operation, path, error, message"
    .. " FROM job_error WHERE job_id = ? ORDER BY id LIMIT ?", { self.root_id, limit }))
  result.list.changes = nil
  for _, row in ipairs(self.library:fresh_rows("SELECT error, count(*) AS n FROM job_error"
    .. " WHERE job_id = ? GROUP BY error", { self.root_id })) do
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
    .. " WHERE job_id = ? GROUP BY rule", { self.root_id })) do
    counts[row.rule] = row.n
  end
  return counts
end

--- What the last completed job of this name put into field `name` of its output: one of the same
--- location where there is one, else of any.
---@async
---@param name string
---@param location? sd.Location
---@return any value Nil where there is none.
function Context:last_output(name, location)
  local text = rows.last_output(self.library, self.definition.name, name, location and location.id)
  return text and json.decode(text)
end

-- ---- children ----

--- Gives work to a job of its own. It is made in the same commit as what this job changes next: so
--- give the work away (`queue:finish`, the state) and spawn without waiting in between.
---@param job sd.Job
---@param options? sd.ChildOptions
function Context:spawn_child(job, options)
  self.spawned[#self.spawned + 1] = children.new(self, job, options)
end

--- Waits until all children have ended; what they came to, in the order in which they were made. A
--- failed child fails this job, where its `on_failure` does not say otherwise.
---@async
---@param meanwhile? fun() Called now and then while it waits, to report progress; must not wait.
---@return sd.ChildResult[]
function Context:wait_for_children(meanwhile)
  if #self.spawned > 0 then self:commit() end
  return children.wait(self, meanwhile)
end

--- What the children reported last, also those that have ended: to be summed up with one's own.
---@return table[]
function Context:children_progress()
  local list = {}
  for _, progress in pairs(self.child_progress) do list[#list + 1] = progress end
  return list
end

--- A child has ended.
---@package
function Context:child_ended()
  self.children_ended = self.children_ended + 1
  self:wake_all(self.child_waiters)
end

-- ---- interruption ----

--- The safe point: a pause takes effect here.
---@async
function Context:check_interrupt()
  if self.probe then self.probe(self, "check") end
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
  if self.probe then self.probe(self, "wait") end
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
-- stored, for speed: their directories are walked again, unless this process goes on. Children come
-- to their rest first.
function Context:pause_now()
  task.spawn(function()
    self.library.jobs:calm_below(self.id)
    if self.ended then return end
    local ok, err = xpcall(self.commit, debug.traceback, self, nil, "paused")
    if ok then self.library.jobs:calm_below(self.id) end -- and children of that commit
    self.active_ns, self.started_ns = self:elapsed_ns(), nil
    self:interrupt(false)
    if not ok then return self.library.jobs.running[self.id]:fail(err) end
    metrics.fill(self)
    self.handle:paused()
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
