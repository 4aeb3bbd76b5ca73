--- What a walk missed: found at another place, or removed. Methods of sd.Context.
local explain = require "sd.explain"
local failure = require "sd.failure"

local M = {}

-- Rows that are moved or removed in a transaction, about.
local AT_ONCE = 20000

---@class sd.SweepOptions
---@field changed_by? "inode"|"mtime"|"ctime"|"content" What tells that the bytes of a file may
--- differ (default inode).
---@field explain? boolean Tell what is done (default false).

-- Calls `fn(library, {...})` of C until nothing is left.
local function each_piece(self, fn, location, options, on_result)
  local args = { job_id = self.root_id, location_id = location.id, limit = AT_ONCE, after = 0,
    changed_by = options.changed_by, tell = options.explain }
  repeat
    self:check_interrupt()
    local result = failure.check(fn(self.library.core, args))
    args.after = result.after
    explain.told(self, location, result.told)
    if on_result then on_result(result) end
  until not result.left
end

-- What is removed, an earlier phase would not find when it begins again: so the state that waits is
-- stored first, where there is something to remove.
local function store_state(self, location)
  if self.waits and self.library:fresh_rows("SELECT 1 FROM vanished WHERE location_id = ? LIMIT 1",
    { location.id })[1] then self:commit() end
end

--- Finds what the walk missed among what is new: it has moved, and keeps its id, its uuid and its
--- content. Before files are hashed, so that this one is not.
---@async
---@param self sd.Context
---@param location sd.Location
---@param options? sd.SweepOptions
function M.match(self, location, options)
  store_state(self, location)
  each_piece(self, self.library.core.match, location, options or {})
end

--- Removes what the walk missed, and `match()` did not find; then what hard links count twice is
--- reckoned.
---@async
---@param self sd.Context
---@param location sd.Location
---@param options? sd.SweepOptions
---@param each? fun(ended: integer) Called before each piece: how many entries are done.
---@return integer ended
function M.sweep(self, location, options, each)
  local core, ended = self.library.core, 0
  options = options or {}
  if each then each(ended) end
  store_state(self, location)
  each_piece(self, core.sweep, location, options, function(result)
    ended = ended + result.removed + result.replaced
    if each then each(ended) end
  end)
  if options.explain then explain.found(self, location) end
  each_piece(self, core.forget, location, {})
  each_piece(self, core.settle_links, location, {})
  return ended
end

--- Removes everything that is noted as not at its place, whatever is new: for a location that is
--- removed.
---@async
---@param self sd.Context
---@param location sd.Location
---@param each? fun(removed: integer) Called after each piece.
---@return integer removed
function M.clear(self, location, each)
  local core, removed = self.library.core, 0
  each_piece(self, core.forget, location, {})
  each_piece(self, core.match, location, {}) -- which takes over what other jobs have noted
  each_piece(self, core.sweep, location, {}, function(result)
    removed = removed + result.removed
    if each then each(removed) end
  end)
  each_piece(self, core.settle_links, location, {})
  return removed
end

local function swept(self)
  local counts = { moved = 0, replaced = 0, removed = 0 }
  for _, row in ipairs(self.library:fresh_rows("SELECT name, n FROM job_count WHERE job_id = ?",
    { self.root_id })) do
    counts[row.name] = row.n
  end
  return counts
end

---@class sd.Changes Entries below the root of a location.
---@field new integer
---@field modified integer Their bytes or attributes, or they have replaced another of their name.
---@field moved integer
---@field deleted integer
---@field unchanged integer

--- What a run came to. What the walk took for new may be something that moved, or that replaced
--- another.
---@async
---@param self sd.Context
---@param seen {new: integer, modified: integer, moved: integer} As the walk has it.
---@param stats sd.Stats What there is now.
---@return sd.Changes
function M.changes(self, seen, stats)
  local ended = swept(self)
  local changes = {
    new = seen.new - ended.moved - ended.replaced,
    modified = seen.modified + ended.replaced,
    moved = seen.moved + ended.moved,
    deleted = ended.removed,
  }
  local unchanged = stats.files + stats.dirs + stats.symlinks - changes.new - changes.modified
    - changes.moved
  -- Fewer than none: so many were seen as new, and were gone before the run came to its end.
  local passing = math.min(math.max(0, -unchanged), changes.new, changes.deleted)
  changes.new, changes.deleted = changes.new - passing, changes.deleted - passing
  changes.unchanged = math.max(0, unchanged)
  return changes
end

return M
