--- Why each entry was touched, for who wants to know: updates of type "explain" of a job's handle.
local core = require "sd.core"
local rules = require "sd.rules"

local M = {}

---@class sd.Explained
---@field type "explain"
---@field change "new"|"modified"|"moved"|"deleted"|"reread" reread: nothing differs so far, the
--- bytes are looked at again.
---@field path string Below the root.
---@field from? string Of what moved: where it was.
---@field why? string What differs, in words; "racy", "asked for", "replaced", "left out by …".

local AT_ONCE = 500

-- Of a location that was indexed before, what is new may have moved: that is told at the end.
local CHANGES = {
  insert = function(_, rescan) return not rescan and "new" or nil end,
  move = function() return "moved" end,
  update = function() return "modified" end,
  content = function(entry) return entry.again and "reread" or "modified" end,
}

--- Adds to `list` what a batch changes.
---@param list table[]
---@param batch sd.Batch
---@param rescan boolean
function M.collect(list, batch, rescan)
  for entry in batch:each() do
    local change = CHANGES[entry.change](entry, rescan)
    if change then
      list[#list + 1] = { id = entry.id, change = change, why = entry.why, from = entry.from }
    end
  end
end

--- Adds to `list` the files of a chunk that had an identity, and were read again all the same.
---@param list table[]
---@param chunk sd.Chunk
function M.collect_read(list, chunk)
  for file in chunk:each() do
    if file.known and file.hash then
      list[#list + 1] = { id = file.id, change = "reread", why = "asked for" }
    end
  end
end

local function emit(ctx, one, path)
  ctx.handle:emit { type = "explain", change = one.change, path = path, why = one.why,
    from = one.from }
end

local function tell_some(ctx, list, first, last)
  local ids, places = {}, {}
  for i = first, last do ids[#ids + 1], places[#places + 1] = list[i].id, "?" end
  local paths = {}
  for _, row in ipairs(ctx.library:fresh_rows(
    ("SELECT id, path FROM entries WHERE id IN (%s)"):format(table.concat(places, ", ")), ids)) do
    paths[row.id] = row.path
  end
  for i = first, last do
    local path = paths[list[i].id]
    if path then emit(ctx, list[i], path) end
  end
end

--- Tells what was collected, once it is written.
---@async
---@param ctx sd.Context
---@param list table[]
function M.tell(ctx, list)
  for first = 1, #list, AT_ONCE do
    tell_some(ctx, list, first, math.min(first + AT_ONCE - 1, #list))
  end
end

-- Of what was removed and is on the disk: the rule that leaves it out. A script that cannot be
-- asked here says nothing.
local function why_removed(run, root, path)
  if not core.luv.fs_lstat((root == "/" and "" or root) .. "/" .. path) then return nil end
  local ok, accepted, rule = pcall(rules.decide, run, root, path)
  return ok and accepted == false and "left out by " .. rule or nil
end

--- Tells what matching and sweeping did.
---@async
---@param ctx sd.Context
---@param location sd.Location
---@param told? {change: string, path: string, from?: string}[]
function M.told(ctx, location, told)
  if not told or #told == 0 then return end
  local run <close> = rules.open(rules.stored(ctx.library, location))
  for i, one in ipairs(told) do
    if i % AT_ONCE == 0 then ctx:check_interrupt() end
    if one.change == "replaced" then one.change, one.why = "modified", "replaced" end
    if one.change == "deleted" then one.why = why_removed(run, location.root, one.path) end
    emit(ctx, one, one.path)
  end
end

local FOUND = "SELECT f.dev, f.ino, f.entry_id, e.path FROM found f JOIN entries e"
  .. " ON e.id = f.entry_id WHERE f.location_id = ?1 AND (f.dev, f.ino, f.entry_id) > (?2, ?3, ?4)"
  .. " ORDER BY f.dev, f.ino, f.entry_id LIMIT ?5"

--- Tells what is new in a location that was indexed before: what is left when the others are done.
---@async
---@param ctx sd.Context
---@param location sd.Location
function M.found(ctx, location)
  local at = { location.id, math.mininteger, math.mininteger, math.mininteger, AT_ONCE }
  repeat
    local rows = ctx.library:fresh_rows(FOUND, at)
    for _, row in ipairs(rows) do
      emit(ctx, { change = "new" }, row.path)
      at[2], at[3], at[4] = row.dev, row.ino, row.entry_id
    end
  until #rows < AT_ONCE
end

return M
