-- The indexer: makes the library's picture of a directory tree true.
--
--   discovery                directories are walked; what differs from the library becomes batches
--   processing               batches that are still waiting are written, what moved is recognised
--   content_identification   files without an identity are hashed, in chunks
--   finalizing               what has vanished is removed, totals and errors are summed up
--   complete
--
-- Every phase goes on where its last checkpoint left it. Counts change in the same commit as the
-- rows that they count.
local sd = require "sd"

local eta, ring, rules = sd.eta, sd.ring, sd.rules

local IndexerProgress = sd.progress.type("IndexerProgress", {
  phase = "table",                 -- {name = …} and what the phase counts
  current_path = "string",         -- below the root
  total_found = "table",           -- files, dirs, bytes, symlinks
  changes = "table",               -- new, modified, moved, as far as the walk knows
  new_content = "table",           -- files, bytes: found so far, and not known to the library
  processing_rate = "number?",     -- items per second over the last minute; nil: not known yet
  estimated_remaining = "number?", -- seconds; nil: nothing supports a figure
  remaining_uncertainty = "number?", -- seconds; in two runs of three the truth is as near as that
})

local Indexer = sd.job.define {
  name = "indexer",
  version = 1,
  resumable = true,
  unique = true, -- the same directory in the same way: once
  heavy = true, max_concurrent = 4, -- one at a time on a device
  description = "Index a directory tree into the library.",
  args = {
    root = sd.arg.path { required = true, positional = true, location = true,
      help = "directory to index" },
    mode = sd.arg.choice { "shallow", "content", "deep", default = "content",
      help = "shallow: names and attributes; content: and an identity of each file's content;"
        .. " deep: and full hashes and MIME types" },
    mime = sd.arg.choice { "none", "name", "magic", default = "magic",
      help = "how deep mode finds MIME types: not at all, by name, by name and then by content" },
    batch = sd.arg.integer { default = 1000, min = 1, max = 65536, help = "entries in a batch" },
    chunk = sd.arg.integer { default = 100, min = 1, max = 65536, help = "files in a chunk" },
    changed_by = sd.arg.choice { "mtime", "inode", "ctime", "content", default = "inode",
      help = "what tells that a file has changed; mtime: its size or mtime; inode: or its inode;"
        .. " ctime: or its ctime; content: each file is read again" },
    explain = sd.arg.boolean { flag = true, help = "say why each entry was touched" },
    rules = sd.arg.string { hidden = true, help = "what is left out: the text of sd.rules" },
    part = sd.arg.string { hidden = true, help = "what a sub-job walks: a directory of the queue" },
    first_new_id = sd.arg.integer { hidden = true, help = "of the job that has the sub-job" },
  },
  progress = IndexerProgress,
}

-- Batches that may wait between the walk and the writer: this bounds memory.
local BATCHES_WAITING, OF_A_PART = 64, 16
-- Larger commits are cheaper a row; the last is what a crash may cost, and what a pause awaits.
local COMMIT_ROWS, COMMIT_SECONDS = 20000, 0.25
-- Batches in which nothing differs are cheap to keep: they wait until it is time. A directory that
-- was read may have a row of its own to be written.
local TAKE = {
  most = 512, most_weight = COMMIT_ROWS, least = COMMIT_ROWS, seconds = COMMIT_SECONDS,
  weight = function(batch) return batch:stats().changed + batch:stats().listed end,
}
-- What units of work are guessed to take, in seconds. The previous run knows better.
local COSTS = {
  discovery = { entries = 4e-6, changes = 1e-5 },
  upgrade = { entries = 4e-6 },
  content = { files = 6e-5 },
  deep = { files = 8e-5, bytes = 4e-10 },
  finalizing = { vanished = 2e-5 },
}
local ERRORS_SHOWN = 1000

-- ---- state: plain data, stored at each checkpoint ----

local function new_state(self, ctx)
  return {
    phase = "discovery",
    -- Entries with smaller ids were there before, and may have moved; 0: there were none.
    first_new_id = self.args.changed_by == "mtime" and 0 or self.args.first_new_id
      or ctx.library.locations:first_new_id(self.location),
    dirs_to_walk = ctx:queue("dirs_to_walk"), root_pushed = false,
    entry_batches = ctx:queue("entry_batches"),
    rules = rules.begin(ctx.library, self.location, self.args.rules), left_out = {},
    stats = { files = 0, dirs = 0, bytes = 0, symlinks = 0 },
    changes = { new = 0, modified = 0, moved = 0 },
    new_content = { files = 0, bytes = 0 }, batches = 0, -- written
    content = { pass = self.args.changed_by == "content" and "again" or "waiting", after = 0,
      files = 0, bytes = 0, linked = 0, again = 0 }, -- and `asked`: files that waited at first
    items_per_second = ring.new(60),
    eta = eta.new(COSTS, ctx:last_output("costs", self.location)),
  }
end

local function entries_in(totals)
  return totals.files + totals.dirs + totals.symlinks
end

-- With what the sub-jobs have found so far.
local function sum_up(ctx, state)
  return sd.progress.sum({ total_found = state.stats, changes = state.changes,
    new_content = state.new_content }, state.parts_added and {} or ctx:children_progress())
end

-- What there is to do, as the previous run and what was found so far tell. How many entries there
-- will be, or nil: nobody knows.
local function expect_work(self, state, found, done)
  local before, fresh, mode = self.totals_before, found.new_content, self.args.mode
  if not before or done.entries == 0 then return eta.expect(state.eta, "discovery", nil) end
  local queued = #state.dirs_to_walk * done.entries / (found.total_found.dirs + 1)
  local all = math.max(entries_in(before), math.ceil(done.entries + queued))
  local more = all / done.entries
  eta.expect(state.eta, "discovery", { entries = all, changes = done.changes * more })
  if self.must_upgrade then
    eta.expect(state.eta, "upgrade", { entries = all })
    eta.expect(state.eta, mode, before)
  elseif mode ~= "shallow" then
    eta.expect(state.eta, mode, { files = self.waiting.files + fresh.files * more,
      bytes = self.waiting.bytes + fresh.bytes * more })
  end
  return all
end

local function report(self, ctx, state, phase, path)
  local progress = sum_up(ctx, state)
  if state.phase == "discovery" or state.phase == "processing" then
    local changes = progress.changes
    local done = { entries = entries_in(progress.total_found),
      changes = changes.new + changes.modified + changes.moved }
    phase.total = expect_work(self, state, progress, done)
    phase.current = phase.total and done.entries
    eta.add(state.eta, "discovery", ctx:elapsed(), done)
  end
  progress.phase, progress.current_path = phase, path or ""
  progress.processing_rate = ring.average(state.items_per_second, ctx:elapsed())
  progress.estimated_remaining, progress.remaining_uncertainty = eta.remaining(state.eta)
  ctx:progress(IndexerProgress(progress))
end

-- ---- phase 1: walk directories, write what differs meanwhile ----

-- Whether the oldest directory in the queue becomes a job of its own: not too deep below "/".
local function should_spawn_subjob(self, state)
  local _, depth = state.dirs_to_walk:oldest()
  local _, above = self.args.root:gsub("/[^/]", "")
  return #state.dirs_to_walk > 10 and state.stats.dirs > 100 and depth and above + depth + 1 < 5
end

local function spawn_subjobs(self, ctx, state)
  while should_spawn_subjob(self, state) do
    local args = { part = state.dirs_to_walk:give(), first_new_id = state.first_new_id,
      rules = state.rules }
    for name, value in pairs(self.args) do args[name] = args[name] or value end
    ctx:spawn_child(Indexer(args))
  end
end

-- What the sub-jobs found is ours too.
local function add_parts(state, parts)
  for _, part in ipairs(state.parts_added and {} or parts) do
    rules.add(state.stats, part.output.stats)
    rules.add(state.changes, part.output.changes)
    rules.add(state.left_out, part.output.skipped)
  end
  state.parts_added = true
end

local function discover(self, ctx, state)
  local wanted <close> = rules.open(state.rules)
  local walker <close> = ctx:walker {
    root = self.args.root, root_id = self.location.entry_id, location_id = self.location.id,
    moves_below = state.first_new_id, changed_by = self.args.changed_by,
    queue = state.dirs_to_walk, batch = self.args.batch, rules = wanted.rules,
    accept = wanted.accept,
  }
  if not state.root_pushed and self.args.part then
    state.root_pushed = true
    walker:push(self.args.part)
  elseif not state.root_pushed then
    state.root_pushed = true
    walker:push_root()
    ctx:commit(function(tx)
      ctx.library.locations:write_root(tx, self.location, walker:root_stat())
      rules.store(tx, self.location, self.args.rules)
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
  local seen, stats, changes, fresh = batch:stats(), state.stats, state.changes, state.new_content
  for _, name in ipairs { "files", "dirs", "bytes", "symlinks" } do
    stats[name] = stats[name] + seen[name]
  end
  changes.new, changes.moved = changes.new + seen.inserted, changes.moved + seen.moved
  changes.modified = changes.modified + seen.changed - seen.inserted - seen.moved - seen.again
  fresh.files, fresh.bytes = fresh.files + seen.new_files, fresh.bytes + seen.new_bytes
  rules.add(state.left_out, batch:skip_counts())
  ring.add(state.items_per_second, ctx:elapsed(), seen.files + seen.dirs + seen.symlinks)
end

local function write_batches(self, ctx, state, batches)
  local options = { want_content = self.wants_content, rescan = state.first_new_id > 0,
    explain = self.args.explain, may_wait = true }
  ctx:commit(function(tx)
    for _, batch in ipairs(batches) do
      add_stats(ctx, state, batch)
      tx:write(batch, self.location, options)
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

-- ---- phase 2: write what a checkpoint left in the queue, recognise what moved ----

function phases.processing(self, ctx, state)
  process(self, ctx, state)
  add_parts(state, ctx:wait_for_children(function()
    report(self, ctx, state, { name = "processing" }, self.current_path)
  end))
  if not self.args.part then ctx:match(self.location, self.args) end
  eta.finish(state.eta, "discovery", ctx:elapsed())
  local before = self.totals_before and entries_in(self.totals_before)
  eta.expect(state.eta, "finalizing",
    { vanished = before and before + state.changes.new - entries_in(state.stats) or 0 })
  state.phase = self.args.part and "complete"
    or self.args.mode ~= "shallow" and "content_identification" or "finalizing"
end

-- ---- phase 3: identify content ----

-- A higher mode than before: files that have no identity, or a lesser one, are asked for again.
local function upgrade(self, ctx, state)
  if self.must_upgrade then
    state.upgrade = state.upgrade or { after = 0 }
    ctx.library.locations:upgrade(ctx, self.location, self.args, state.upgrade, function()
      eta.add(state.eta, "upgrade", ctx:elapsed(), { entries = state.upgrade.after })
      report(self, ctx, state, { name = "content_identification" })
    end)
  end
  eta.finish(state.eta, "upgrade", ctx:elapsed())
end

-- Files that are to be read, with those that were in this run.
local function count_waiting(self, ctx, state)
  local files, bytes = ctx.library.locations:waiting(self.location, state.content)
  self.waiting = { files = state.content.files + files, bytes = state.content.bytes + bytes }
end

local function report_linked(self, ctx, state)
  eta.expect(state.eta, self.args.mode, self.waiting)
  eta.add(state.eta, self.args.mode, ctx:elapsed(), state.content)
  report(self, ctx, state, { name = "content_identification", current = state.content.files,
    total = self.waiting.files }, self.current_path)
end

local function link_chunks(self, ctx, state, chunks)
  local content, names, changed = state.content, 0, 0
  local counts = ctx:commit(function(tx)
    for _, chunk in ipairs(chunks) do
      local seen = chunk:stats()
      self.current_path, content.after = chunk:last_path(), seen.cursor
      names, changed = names + seen.hashed + seen.linked, changed + seen.changed
      content.again = content.again + seen.again
      content.files, content.bytes = content.files + seen.files, content.bytes + seen.bytes
      ring.add(state.items_per_second, ctx:elapsed(), seen.files)
      tx:link(chunk, self.location, { explain = self.args.explain })
    end
    if changed > 0 then ctx.library.locations:note_mode(tx, self.location, self.args) end
  end)
  -- Further names of the same files, as hard links have them, wait no more.
  local waiting, others = self.waiting, math.max(0, counts.linked - names)
  waiting.bytes = waiting.bytes * (1 - others / math.max(1, waiting.files))
  waiting.files = waiting.files - others
  report_linked(self, ctx, state)
end

local NEXT_PASS = { again = "waiting", waiting = "rest" } -- see sd.HashOptions

local function identify(self, ctx, state)
  local content, deep = state.content, self.args.mode == "deep"
  local hasher <close> = ctx:hash {
    root = self.args.root, location_id = self.location.id, after = content.after,
    chunk = self.args.chunk, kind = deep and "full" or "sampled",
    mime = deep and self.args.mime or "none",
    again = content.pass == "again", rest = content.pass == "rest",
  }
  for chunks in hasher:groups(COMMIT_SECONDS) do link_chunks(self, ctx, state, chunks) end
  content.pass, content.after = NEXT_PASS[content.pass], 0
end

function phases.content_identification(self, ctx, state)
  upgrade(self, ctx, state)
  count_waiting(self, ctx, state)
  state.content.asked = state.content.asked or ctx.library.locations:waiting(self.location)
  if self.waiting.files > 0 then ctx:checkpoint() end -- a file may take long
  report_linked(self, ctx, state)
  while state.content.pass do identify(self, ctx, state) end
  state.content.linked = state.content.asked - ctx.library.locations:waiting(self.location)
  eta.finish(state.eta, self.args.mode, ctx:elapsed())
  state.phase = "finalizing"
end

-- ---- phase 4: remove what has vanished, sum up ----

function phases.finalizing(self, ctx, state)
  local swept = ctx:sweep(self.location, self.args, function(so_far)
    eta.add(state.eta, "finalizing", ctx:elapsed(), { vanished = so_far })
    report(self, ctx, state, { name = "finalizing" })
  end)
  repeat ctx:check_interrupt() until not ctx:index_names()
  local locations = ctx.library.locations
  state.stats = locations:totals(self.location) or state.stats
  ctx:commit(function(tx)
    locations:finish(tx, self.location, {
      state = "complete",
      content_mode = locations:mode_after(self.location, self.args, state.content.linked),
      upgraded = state.upgrade ~= nil,
    })
    state.phase = "complete"
  end)
  eta.finish(state.eta, "finalizing", ctx:elapsed(), { vanished = swept })
end

-- ---- the job ----

local function IndexerOutput(self, ctx, state)
  local errors = ctx:errors(ERRORS_SHOWN)
  return {
    location_id = self.location.uuid,
    root = self.args.root, mode = self.args.mode,
    stats = state.stats,
    changes = self.args.part and state.changes or ctx:changes(state.changes, state.stats),
    hashed = state.content.linked + state.content.again,
    duration = ctx:elapsed(),
    errors = errors.list,
    error_counts = errors.counts,
    skipped = rules.add(self.args.part and {} or ctx:skips(), state.left_out),
    costs = eta.costs(state.eta),
  }
end

-- What the library knows from previous runs.
local function look_back(self, ctx, state)
  local locations = ctx.library.locations
  self.totals_before = self.location.state == "complete" and locations:totals(self.location)
  self.must_upgrade = locations:must_upgrade(self.location, self.args)
  if self.args.mode ~= "shallow" then count_waiting(self, ctx, state) end
end

function Indexer:run(ctx)
  local locations = ctx.library.locations
  self.location = locations:ensure(self.args.root)
  -- Files of a location that once had content identified keep waiting for it in a shallow run.
  self.wants_content = self.args.mode ~= "shallow" or self.location.content_mode ~= nil
  locations:name_root(self.location)
  local state = ctx:state(function() return new_state(self, ctx) end)
  if not self.args.part then look_back(self, ctx, state) end
  while state.phase ~= "complete" do
    ctx:check_interrupt()
    phases[state.phase](self, ctx, state)
    ctx:checkpoint_soon()
  end
  return IndexerOutput(self, ctx, state)
end

return Indexer
