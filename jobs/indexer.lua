-- The indexer: makes the library's picture of a directory tree true.
--
--   discovery                directories are walked; what differs from the library becomes batches
--   processing               batches that are still waiting are written
--   content_identification   files without an identity are hashed, in chunks
--   finalizing               what has vanished is removed, totals and errors are summed up
--   complete
--
-- Every phase goes on where its last checkpoint left it. Counts change in the same commit as the
-- rows that they count.
local sd = require "sd"

local ring = sd.ring

local IndexerProgress = sd.progress.type("IndexerProgress", {
  phase = "table",                 -- {name = …} and what the phase counts
  current_path = "string",         -- below the root
  total_found = "table",           -- files, dirs, bytes, symlinks
  processing_rate = "number?",     -- items per second over the last minute; nil: not known yet
  estimated_remaining = "number?", -- seconds; nil: nothing supports a figure
})

local Indexer = sd.job.define {
  name = "indexer",
  version = 1,
  resumable = true,
  unique = true, -- the same directory in the same way: once
  heavy = true,  -- one at a time on a device
  max_concurrent = 4,
  description = "Index a directory tree into the library.",
  args = {
    root = sd.arg.path { required = true, positional = true, help = "directory to index" },
    mode = sd.arg.choice { "shallow", "content", "deep", default = "content",
      help = "shallow: names and attributes; content: and an identity of each file's content;"
        .. " deep: and full hashes and MIME types" },
    mime = sd.arg.choice { "none", "name", "magic", default = "magic",
      help = "how deep mode finds MIME types: not at all, by name, by name and then by content" },
    batch = sd.arg.integer { default = 1000, min = 1, max = 65536, help = "entries in a batch" },
    chunk = sd.arg.integer { default = 100, min = 1, max = 65536,
      help = "files hashed in a chunk" },
    part = sd.arg.string { hidden = true, help = "what a sub-job walks: a directory of the queue" },
  },
  progress = IndexerProgress,
}

-- Batches that may wait between the walk and the writer: this bounds memory.
local BATCHES_WAITING, OF_A_PART = 64, 16
-- Larger transactions are cheaper a row, and the last commit is what a crash may cost.
local COMMIT_ROWS, COMMIT_SECONDS = 20000, 0.25
-- Batches in which nothing differs are cheap to keep: they wait until it is time.
local TAKE = {
  most = 512, least = COMMIT_ROWS, seconds = COMMIT_SECONDS,
  weight = function(batch) return batch:stats().changed end,
}
local SWEEP, UPGRADE = 20000, 50000
-- In time, a file costs about as much as so many of its bytes.
local BYTES_A_FILE = 64 * 1024
local ERRORS_SHOWN = 1000

local RANK = { shallow = 1, content = 2, deep = 3 }

-- ---- state: plain data, stored at each checkpoint ----

local function new_state(ctx)
  return {
    phase = "discovery",
    dirs_to_walk = ctx:queue("dirs_to_walk"),
    entry_batches = ctx:queue("entry_batches"),
    root_pushed = false,
    stats = { files = 0, dirs = 0, bytes = 0, symlinks = 0 },
    changes = { inserted = 0, updated = 0, vanished = 0 },
    batches = 0,                    -- written
    content = { after = 0, done = 0, done_bytes = 0, linked = 0 },
    items_per_second = ring.new(60),
    work_per_second = ring.new(60), -- bytes hashed, with BYTES_A_FILE for each file
  }
end

local function calculate_rate(ctx, state)
  return ring.average(state.items_per_second, ctx:elapsed())
end

-- What is left of a known total, at the rate of the last minute.
local function time_for(left, rate)
  return rate and rate > 0 and math.max(0, left) / rate or nil
end

-- Discovery knows no total but that of the previous run; hashing knows its own.
local function estimate_remaining(self, ctx, state)
  if state.phase == "content_identification" then
    local total, done = self.waiting, state.content
    if not total then return nil end
    local left = (total.files - done.done) * BYTES_A_FILE + total.bytes - done.done_bytes
    return time_for(left, ring.average(state.work_per_second, ctx:elapsed()))
  end
  local before, stats = self.totals_before, state.stats
  if not before or self.args.mode ~= "shallow" then return nil end
  local seen = stats.files + stats.dirs + stats.symlinks
  local total = before.files + before.dirs + before.symlinks
  if seen >= total then return nil end
  return time_for(total - seen, calculate_rate(ctx, state))
end

-- With what the sub-jobs have found so far.
local function total_found(ctx, state)
  local total = {}
  for key, n in pairs(state.stats) do total[key] = n end
  for _, part in ipairs(state.parts_added and {} or ctx:children_progress()) do
    for key, n in pairs(part.total_found) do total[key] = total[key] + n end
  end
  return total
end

local function report(self, ctx, state, phase, path)
  ctx:progress(IndexerProgress {
    phase = phase,
    current_path = path or "",
    total_found = total_found(ctx, state),
    processing_rate = calculate_rate(ctx, state),
    estimated_remaining = estimate_remaining(self, ctx, state),
  })
end

-- ---- phase 1: walk directories, write what differs meanwhile ----

-- Whether the oldest directory in the queue becomes a job of its own: not too deep, counted from "/".
local function should_spawn_subjob(self, state)
  local _, depth = state.dirs_to_walk:oldest()
  local _, above = self.args.root:gsub("/[^/]", "")
  return #state.dirs_to_walk > 10 and state.stats.dirs > 100 and depth and above + depth + 1 < 5
end

local function spawn_subjobs(self, ctx, state)
  while should_spawn_subjob(self, state) do
    local args = { part = state.dirs_to_walk:give() }
    for _, name in ipairs { "root", "mode", "batch" } do args[name] = self.args[name] end
    ctx:spawn_child(Indexer(args))
  end
end

-- What the sub-jobs found is ours too.
local function add_parts(state, parts)
  state.parts_added = true
  for _, part in ipairs(parts) do
    for key, n in pairs(part.output.stats) do state.stats[key] = state.stats[key] + n end
    for key, n in pairs(part.output.changes) do state.changes[key] = state.changes[key] + n end
  end
end

local function discover(self, ctx, state)
  local walker <close> = ctx:walker {
    root = self.args.root, root_id = self.location.entry_id, queue = state.dirs_to_walk,
    batch = self.args.batch,
  }
  if not state.root_pushed and self.args.part then
    state.root_pushed = true
    walker:push(self.args.part)
  elseif not state.root_pushed then
    state.root_pushed = true
    walker:push_root()
    ctx:commit(function(tx)
      ctx.library.locations:write_root(tx, self.location, walker:root_stat())
    end)
  end
  for batch in walker:batches() do
    self.current_path = batch:last_path()
    state.entry_batches:push_below(batch, self.args.part and OF_A_PART or BATCHES_WAITING)
    spawn_subjobs(self, ctx, state)
  end
  state.entry_batches:end_input()
end

local function add_stats(ctx, state, batch)
  local seen, stats, changes = batch:stats(), state.stats, state.changes
  for _, name in ipairs { "files", "dirs", "bytes", "symlinks" } do
    stats[name] = stats[name] + seen[name]
  end
  -- What has vanished is counted when it is removed.
  changes.inserted = changes.inserted + seen.inserted
  changes.updated = changes.updated + seen.changed - seen.inserted
  ring.add(state.items_per_second, ctx:elapsed(), seen.files + seen.dirs + seen.symlinks)
end

local function write_batches(self, ctx, state, batches)
  ctx:commit(function(tx)
    for _, batch in ipairs(batches) do
      add_stats(ctx, state, batch)
      tx:write(batch, self.location, self.wants_content)
    end
    state.batches = state.batches + #batches
  end)
end

local function report_written(self, ctx, state)
  local waiting = #state.entry_batches
  report(self, ctx, state, state.phase == "discovery"
    and { name = "discovery", dirs_queued = #state.dirs_to_walk }
    or { name = "processing", batch = state.batches, total_batches = state.batches + waiting },
    self.current_path)
end

-- Until the queue is empty and discovery has ended.
local function process(self, ctx, state)
  for batches in function() return state.entry_batches:take(TAKE) end do
    write_batches(self, ctx, state, batches)
    report_written(self, ctx, state)
    ctx:check_interrupt()
  end
end

local phases = {}

function phases.discovery(self, ctx, state)
  report(self, ctx, state, { name = "discovery", dirs_queued = #state.dirs_to_walk })
  state.entry_batches:begin_input()
  local function write() process(self, ctx, state) end
  -- Two that write: one takes batches while those of the other are on their way to the disk.
  ctx:concurrently(function() discover(self, ctx, state) end, write, write)
  state.phase = "processing"
end

-- ---- phase 2: write what a checkpoint left in the queue ----

function phases.processing(self, ctx, state)
  process(self, ctx, state)
  add_parts(state, ctx:wait_for_children())
  if self.args.part then
    state.phase = "complete"
    return
  end
  state.phase = RANK[self.args.mode] > RANK.shallow and "content_identification" or "finalizing"
end

-- ---- phase 3: identify content ----

-- A higher mode than before: files that have no identity, or a lesser one, are asked for again.
local function upgrade(self, ctx, state)
  local locations = ctx.library.locations
  if not state.upgrade and locations:must_upgrade(self.location, self.args.mode) then
    state.upgrade = { after = 0, last = locations:last_id() }
  end
  while state.upgrade and state.upgrade.after < state.upgrade.last do
    ctx:check_interrupt()
    ctx:commit(function(tx)
      locations:upgrade(tx, self.location, self.args.mode, state.upgrade.after, UPGRADE)
      state.upgrade.after = state.upgrade.after + UPGRADE
    end)
  end
end

local function link_chunks(self, ctx, state, chunks)
  local content = state.content
  local counts = ctx:commit(function(tx)
    for _, chunk in ipairs(chunks) do
      local seen = chunk:stats()
      content.after = seen.cursor
      content.done, content.done_bytes = content.done + seen.files, content.done_bytes + seen.bytes
      local now = ctx:elapsed()
      ring.add(state.items_per_second, now, seen.files)
      ring.add(state.work_per_second, now, seen.bytes + seen.files * BYTES_A_FILE)
      tx:link(chunk, self.location)
    end
  end)
  content.linked = content.linked + counts.linked
  report(self, ctx, state, { name = "content_identification", current = content.done,
    total = self.waiting.files }, self.current_path)
end

function phases.content_identification(self, ctx, state)
  upgrade(self, ctx, state)
  local content = state.content
  local files, bytes = ctx.library.locations:waiting(self.location, content.after)
  self.waiting = { files = content.done + files, bytes = content.done_bytes + bytes }
  local deep = self.args.mode == "deep"
  local hasher <close> = ctx:hash {
    root = self.args.root, location_id = self.location.id, after = content.after,
    chunk = self.args.chunk, kind = deep and "full" or "sampled",
    mime = deep and self.args.mime or "none",
  }
  local chunks, since = {}, ctx:elapsed()
  for chunk in hasher:chunks() do
    self.current_path = chunk:last_path()
    chunks[#chunks + 1] = chunk
    if ctx:elapsed() - since >= COMMIT_SECONDS then
      link_chunks(self, ctx, state, chunks)
      chunks, since = {}, ctx:elapsed()
    end
  end
  if #chunks > 0 then link_chunks(self, ctx, state, chunks) end
  state.phase = "finalizing"
end

-- ---- phase 4: remove what has vanished, sum up ----

function phases.finalizing(self, ctx, state)
  report(self, ctx, state, { name = "finalizing" })
  repeat
    ctx:check_interrupt()
    local left, removed = ctx:sweep(SWEEP)
    state.changes.vanished = state.changes.vanished + removed
  until not left
  repeat ctx:check_interrupt() until not ctx:index_names()
  local locations = ctx.library.locations
  state.stats = locations:totals(self.location) or state.stats
  ctx:commit(function(tx)
    locations:finish(tx, self.location, {
      state = "complete",
      content_mode = locations:mode_after(self.location, self.args.mode, state.content.linked),
      upgraded = state.upgrade ~= nil,
    })
    state.phase = "complete"
  end)
end

-- ---- the job ----

local function IndexerOutput(self, ctx, state)
  local errors = ctx:errors(ERRORS_SHOWN)
  return {
    location_id = self.location.uuid,
    root = self.args.root,
    mode = self.args.mode,
    stats = state.stats,
    changes = state.changes,
    hashed = state.content.linked,
    duration = ctx:elapsed(),
    errors = errors.list,
    error_counts = errors.counts,
    skipped = ctx:skips(),
  }
end

function Indexer:run(ctx)
  local locations = ctx.library.locations
  self.location = locations:ensure(self.args.root)
  self.totals_before = locations:totals(self.location)
  -- Files of a location that once had content identified keep waiting for it in a shallow run.
  self.wants_content = self.args.mode ~= "shallow" or self.location.content_mode ~= nil
  locations:name_root(self.location)
  local state = ctx:state(new_state)
  while state.phase ~= "complete" do
    ctx:check_interrupt()
    phases[state.phase](self, ctx, state)
    ctx:checkpoint()
  end
  return IndexerOutput(self, ctx, state)
end

return Indexer
