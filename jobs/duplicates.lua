-- Finds out which files are equal: hashes those that may be, and of which the library does not know
-- it yet. What was hashed stays known. `sdlua dupes` shows the groups.
--
--   sampling   large files without an identity get one from samples, so that few are read whole
--   hashing    files that are equal by size and samples are read whole
--   complete
local sd = require "sd"
local duplicates = require "sd.duplicates"

local ring = sd.ring

local DuplicatesProgress = sd.progress.type("DuplicatesProgress", {
  phase = "table",                 -- {name = …, current = files, total = files}
  current_path = "string",
  processing_rate = "number?",     -- bytes per second over the last minute
  estimated_remaining = "number?", -- seconds
})

local Duplicates = sd.job.define {
  name = "duplicates",
  version = 1,
  resumable = true,
  unique = true,
  description = "Find out which files are equal: hash those that may be.",
  args = {
    min_size = sd.arg.integer { default = 1, min = 1, help = "bytes: smaller files are left out" },
    below = sd.arg.string { hidden = true, help = "entry ids, with commas: where files are" },
    chunk = sd.arg.integer { default = 20, min = 1, max = 65536,
      help = "files hashed in a chunk" },
  },
  progress = DuplicatesProgress,
}

local COMMIT_SECONDS = 0.25
local ERRORS_SHOWN = 1000
-- Why a location cannot be read as a whole: its disk is away.
local AWAY = { ENOENT = true, ENOTDIR = true, EACCES = true, EIO = true, ESTALE = true }

local KINDS = { sampling = "sampled", hashing = "full" }
local NEXT = { sampling = "hashing", hashing = "complete" }

local function new_state()
  return {
    phase = "sampling",
    noted = false,    -- the files of the phase are in content_todo
    location = 0,     -- the one that is being read; those before are done
    after = 0,        -- entry id in it
    current = 0, current_bytes = 0, -- of the phase
    hashed = 0, bytes = 0,
    bytes_per_second = ring.new(60),
  }
end

local function options_of(args)
  local below
  for id in (args.below or ""):gmatch("%d+") do
    below = below or {}
    below[#below + 1] = math.tointeger(id)
  end
  return { min_size = args.min_size, below = below }
end

local function report(self, ctx, state, path)
  local rate = ring.average(state.bytes_per_second, ctx:elapsed())
  ctx:progress(DuplicatesProgress {
    phase = { name = state.phase, current = state.current, total = self.total.files },
    current_path = path or "",
    processing_rate = rate,
    estimated_remaining = rate and rate > 0
      and math.max(0, self.total.bytes - state.current_bytes) / rate or nil,
  })
end

-- Notes what the phase has to read, in one transaction with the state that says so.
local function note(self, ctx, state)
  local sql, values = duplicates.unknown(options_of(self.args), KINDS[state.phase])
  values.n = 3
  values[3] = ctx.id
  ctx:commit(function(tx)
    tx:exec("DELETE FROM content_todo WHERE job_id = ?", { ctx.id })
    tx:exec("INSERT INTO content_todo(job_id, entry_id) SELECT ?3, id FROM (" .. sql .. ")", values)
    state.noted, state.location, state.after = true, 0, 0
    state.current, state.current_bytes = 0, 0
  end)
end

-- The locations that have such files, with how many are left in each.
local function locations_of(ctx)
  return ctx.library:fresh_rows("SELECT l.id, l.root, count(*) AS files, CAST(total(e.size) AS"
    .. " INTEGER) AS bytes FROM content_todo t JOIN entry e ON e.id = t.entry_id JOIN directory d"
    .. " ON d.entry_id = e.parent_id JOIN location l ON l.id = d.location_id WHERE t.job_id = ?"
    .. " GROUP BY l.id ORDER BY l.id", { ctx.id })
end

local function link(self, ctx, state, location, chunks)
  local path
  local counts = ctx:commit(function(tx)
    for _, chunk in ipairs(chunks) do
      local seen = chunk:stats()
      state.after, path = seen.cursor, chunk:last_path()
      state.current, state.current_bytes = state.current + seen.files,
        state.current_bytes + seen.bytes
      state.bytes = state.bytes + seen.bytes
      ring.add(state.bytes_per_second, ctx:elapsed(), seen.bytes)
      tx:link(chunk, location)
    end
  end)
  state.hashed = state.hashed + counts.linked
  report(self, ctx, state, path)
end

-- Nil where the disk is away: an error of the location, and no end of the job.
local function open_hasher(self, ctx, state, location)
  local ok, hasher = pcall(ctx.hash, ctx, { root = location.root, location_id = location.id,
    job_id = ctx.id, after = state.after, chunk = self.args.chunk, kind = KINDS[state.phase] })
  if ok then return hasher end
  if not (sd.failure.is(hasher) and AWAY[hasher.code]) then error(hasher, 0) end
  ctx:add_non_critical_error { operation = "ContentId", path = "", error = hasher.code,
    message = hasher.message }
end

local function read_location(self, ctx, state, location)
  if location.id ~= state.location then state.location, state.after = location.id, 0 end
  local hasher <close> = open_hasher(self, ctx, state, location)
  if not hasher then return end
  for chunks in hasher:groups(COMMIT_SECONDS) do link(self, ctx, state, location, chunks) end
end

local function run_phase(self, ctx, state)
  if not state.noted then note(self, ctx, state) end
  local locations = locations_of(ctx)
  self.total = { files = 0, bytes = 0 }
  for _, location in ipairs(locations) do
    self.total.files = self.total.files + location.files
    self.total.bytes = self.total.bytes + location.bytes
  end
  report(self, ctx, state)
  for _, location in ipairs(locations) do
    if location.id >= state.location then read_location(self, ctx, state, location) end
  end
  state.phase, state.noted = NEXT[state.phase], false
end

function Duplicates:run(ctx)
  local state = ctx:state(new_state)
  while state.phase ~= "complete" do
    ctx:check_interrupt()
    run_phase(self, ctx, state)
    ctx:checkpoint()
  end
  ctx:commit(function(tx) tx:exec("DELETE FROM content_todo WHERE job_id = ?", { ctx.id }) end)
  local errors = ctx:errors(ERRORS_SHOWN)
  return { hashed = state.hashed, bytes = state.bytes, duration = ctx:elapsed(),
    errors = errors.list, error_counts = errors.counts }
end

return Duplicates
