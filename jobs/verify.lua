-- Compares the library's picture of a location with the disk, and says what differs.
--
--   entries    directories are walked; what differs from the library is noted
--   content    files are hashed again, and compared with what the library has (with `content`)
--   fixing     the location is indexed (with `fix`, where something differs)
--   complete
--
-- Each difference is an error of the job, of operation Verify: its code says what differs.
local sd = require "sd"
local locations = require "sd.location_rows"

local rules = sd.rules

local VerifyProgress = sd.progress.type("VerifyProgress", {
  phase = "table",         -- {name = …} and how much of it is done
  current_path = "string", -- below the root
  total_found = "table",   -- files, dirs, bytes, symlinks
  differences = "number",
})

local Verify = sd.job.define {
  name = "verify",
  version = 1,
  resumable = true,
  heavy = true,
  description = "Compare a location with the disk. Exit 0: they are the same, 3: they differ.",
  args = {
    root = sd.arg.path { required = true, positional = true, help = "root of the location" },
    content = sd.arg.boolean { flag = true,
      help = "hash files again, and compare that with the library: finds bytes that have changed"
        .. " while size and mtime have not" },
    fix = sd.arg.boolean { flag = true,
      help = "bring the library to what is on the disk, where they differ" },
    batch = sd.arg.integer { default = 1000, min = 1, max = 65536, help = "entries in a batch" },
    chunk = sd.arg.integer { default = 100, min = 1, max = 65536,
      help = "files hashed in a chunk" },
  },
  progress = VerifyProgress,
}

local COMMIT_SECONDS = 0.25
local SHOWN = 1000
local AT_ONCE = 500 -- values in a question
local STALE = "is in the library, and not on the disk"

local function new_state(self, ctx)
  return {
    phase = "entries",
    dirs_to_walk = ctx:queue("dirs_to_walk"),
    root_pushed = false,
    rules = rules.begin(ctx.library, self.location), left_out = {},
    stats = { files = 0, dirs = 0, bytes = 0, symlinks = 0 },
    differences = 0,
    content = { after = 0, files = 0, bytes = 0 },
  }
end

local function report(ctx, state, phase, path)
  ctx:progress(VerifyProgress { phase = phase, current_path = path or "",
    total_found = state.stats, differences = state.differences })
end

local function note(ctx, state, what, path, message)
  state.differences = state.differences + 1
  ctx:add_non_critical_error { operation = "Verify", error = what, path = path,
    message = message }
end

-- ---- phase 1: entries ----

-- What is named where several things differ.
local ORDER = { "kind", "size", "mtime", "inode" }

local function difference_of(entry)
  local why = ", " .. entry.why .. ","
  for _, word in ipairs(ORDER) do
    if why:find(", " .. word .. ",", 1, true) then return word end
  end
  return "attributes"
end

local function note_entry(ctx, state, entry, replaced)
  if entry.change ~= "insert" then
    if not entry.again then
      note(ctx, state, difference_of(entry), entry.path, "differs: " .. entry.why)
    end
  elseif replaced[entry.path] then
    note(ctx, state, "kind", entry.path, "differs: kind")
  else
    note(ctx, state, "missing", entry.path, "is on the disk, and not in the library")
  end
end

-- The root is in the batch with its first part, and so in more than one where it is read in parts.
local function note_root(ctx, state, root)
  if state.root_noted then return end
  state.root_noted = true
  note(ctx, state, difference_of(root), "", "differs: " .. root.why)
end

-- The phase behind those that compare.
local function after_comparing(self)
  return self.args.fix and "fixing" or "complete"
end

-- Pieces of a list, of at most AT_ONCE.
local function pieces(list)
  local first = 1 - AT_ONCE
  return function()
    first = first + AT_ONCE
    if first > #list then return nil end
    return table.move(list, first, math.min(first + AT_ONCE - 1, #list), 1, {})
  end
end

local function marks(list)
  return ("?" .. (", ?"):rep(#list - 1))
end

-- What is not at its place any more has taken with it what is below: by id, how many entries.
local function find_below(ctx, batch)
  local ids, below = {}, {}
  for i, gone in ipairs(batch:vanished()) do ids[i] = gone.id end
  for some in pieces(ids) do
    for _, row in ipairs(ctx.library:fresh_rows("SELECT entry_id AS id, files + dirs + symlinks"
      .. " AS n FROM directory WHERE n > 0 AND entry_id IN (" .. marks(some) .. ")", some)) do
      below[row.id] = row.n
    end
  end
  return below
end

local NOTE_BELOW = "WITH RECURSIVE below(id) AS (SELECT id FROM entry WHERE parent_id = ?1"
  .. " UNION ALL SELECT e.id FROM below b JOIN entry e ON e.parent_id = b.id)"
  .. " INSERT INTO job_error(job_id, location_id, path, operation, error, message, at)"
  .. " SELECT ?2, ?3, path, 'Verify', 'stale', ?4, ?5 FROM entries"
  .. " WHERE id IN (SELECT id FROM below) ORDER BY path"

local function note_below(self, ctx, state, tx, below)
  for id, n in pairs(below) do
    state.differences = state.differences + n
    tx:exec_own(NOTE_BELOW, { id, ctx.root_id, self.location.id, STALE, sd.sys.wall_ns() })
  end
end

local function note_batch(ctx, state, batch)
  local seen, replaced, root = batch:stats(), {}, batch:root()
  if root then note_root(ctx, state, root) end
  for name, n in pairs(state.stats) do state.stats[name] = n + seen[name] end
  rules.add(state.left_out, batch:skip_counts())
  for _, gone in ipairs(batch:vanished()) do
    if gone.replaced then replaced[gone.path] = true
    else note(ctx, state, "stale", gone.path, STALE) end
  end
  for entry in batch:each() do note_entry(ctx, state, entry, replaced) end
end

local phases = {}

function phases.entries(self, ctx, state)
  -- What the location leaves out is not to be in the library.
  local wanted <close> = rules.open(state.rules)
  -- Whatever the inodes are, an entry is compared with what the library has under its name.
  local walker <close> = ctx:walker { root = self.args.root, root_id = self.location.entry_id,
    location_id = self.location.id, queue = state.dirs_to_walk, batch = self.args.batch,
    changed_by = "mtime", paths = true, rules = wanted.rules, accept = wanted.accept }
  if not state.root_pushed then
    state.root_pushed = true
    walker:push_root()
  end
  for batch in walker:batches() do
    local below = find_below(ctx, batch)
    note_batch(ctx, state, batch)
    report(ctx, state, { name = "entries" }, batch:last_path())
    ctx:commit(function(tx)
      tx:write(batch, self.location, { notes_only = true })
      note_below(self, ctx, state, tx, below)
    end)
  end
  state.phase = self.args.content and "content" or after_comparing(self)
end

-- ---- phase 2: content ----

-- What is gone, with what is above it or alone, was named by the first phase.
local GONE = { ENOENT = true, ENOTDIR = true, ELOOP = true }

-- Of these paths, those that the first phase has named.
local function named(ctx, paths)
  local set = {}
  for some in pieces(paths) do
    local sql = "SELECT path FROM job_error WHERE path IN (" .. marks(some) .. ") AND job_id = ?"
    some[#some + 1] = ctx.root_id
    for _, row in ipairs(ctx.library:fresh_rows(sql, some)) do
      set[row.path] = true
    end
  end
  return set
end

-- What is to be told of a chunk: files with other bytes, and those that could not be compared. What
-- has changed in the eyes of stat(2) is not, where the first phase saw it.
local function news_of(ctx, chunk)
  local news, changed = {}, {}
  for _, one in ipairs(chunk:differences()) do
    if one.error == "ECHANGED" or one.why == "changed" then
      one.error, changed[#changed + 1] = "ECHANGED", one
    elseif not GONE[one.error] then news[#news + 1] = one end
  end
  local paths = {}
  for i, one in ipairs(changed) do paths[i] = one.path end
  local known = named(ctx, paths)
  for _, one in ipairs(changed) do
    if not known[one.path] then news[#news + 1] = one end
  end
  return news
end

local function note_news(self, ctx, state, tx, news)
  for _, one in ipairs(news) do
    if one.error then
      ctx:add_non_critical_error { operation = "Verify", error = one.error, path = one.path,
        message = one.error == "ECHANGED" and "changed while it was compared" or "cannot be read" }
    else
      note(ctx, state, "content", one.path, "the bytes have changed, size and mtime have not")
      if self.args.fix then ctx.library.locations:forget_content(tx, one.id) end
    end
  end
end

function phases.content(self, ctx, state)
  local content = state.content
  local hasher <close> = ctx:hash { root = self.args.root, location_id = self.location.id,
    after = content.after, chunk = self.args.chunk, verify = true }
  for chunks in hasher:groups(COMMIT_SECONDS) do
    local news, path = {}, nil
    for i, chunk in ipairs(chunks) do news[i], path = news_of(ctx, chunk), chunk:last_path() end
    ctx:commit(function(tx)
      for i, chunk in ipairs(chunks) do
        local seen = chunk:stats()
        note_news(self, ctx, state, tx, news[i])
        content.after = seen.cursor
        content.files, content.bytes = content.files + seen.files, content.bytes + seen.bytes
      end
    end)
    report(ctx, state, { name = "content", current = content.files, total = state.stats.files },
      path)
  end
  state.phase = after_comparing(self)
end

-- ---- phase 3: fixing ----

-- What the indexer is to do: identify content as it was, and see changes as the location is set to.
local function indexer_args(self, ctx)
  local mode, mime = (self.location.content_mode or "shallow"):match("^(%a+)%+?(%a*)$")
  local settings = locations.find(ctx.library, self.args.root).settings
  return { root = self.args.root, mode = mode, mime = mime ~= "" and mime or nil,
    changed_by = settings.changed_by }
end

function phases.fixing(self, ctx, state)
  if state.differences > 0 and not state.fixing then
    state.fixing = true
    ctx:spawn_child(ctx.library.jobs:load("indexer").definition(indexer_args(self, ctx)))
    ctx:commit()
  end
  if state.fixing then report(ctx, state, { name = "fixing" }) end
  ctx:wait_for_children()
  state.phase = "complete"
end

-- ---- the job ----

local function VerifyOutput(self, ctx, state)
  local errors = ctx:errors(SHOWN)
  return {
    location_id = self.location.uuid,
    root = self.args.root,
    stats = state.stats,
    differences = state.differences,
    hashed = state.content.files,
    fixed = state.fixing or false,
    duration = ctx:elapsed(),
    errors = errors.list,
    error_counts = errors.counts,
    skipped = rules.add(ctx:skips(), state.left_out),
  }
end

function Verify:run(ctx)
  self.location = ctx.library.locations:find(self.args.root)
  if not self.location or self.location.state ~= "complete" then
    local message = "%s is no location that was indexed"
    error(sd.failure.new(message:format(self.args.root), "ENOENT"), 0)
  end
  local state = ctx:state(function() return new_state(self, ctx) end)
  while state.phase ~= "complete" do
    ctx:check_interrupt()
    phases[state.phase](self, ctx, state)
    ctx:checkpoint()
  end
  return VerifyOutput(self, ctx, state)
end

return Verify
