--- `sdlua export [PATH]`: the entries as NDJSON, CSV, mtree or a plain SQLite file.
local ask = require "sd.cli.ask"
local core = require "sd.core"
local damage = require "sd.damage"
local failure = require "sd.failure"
local out = require "sd.cli.out"
local place = require "sd.place"
local tables = require "sd.cli.tables"
local usage = require "sd.cli.usage"

local M = {}

local uv = core.luv

local FORMATS = { "ndjson", "csv", "mtree", "sqlite" }

local command = usage.new("sdlua export",
  "Write the entries of the library, or those at and below a PATH, with all columns of the view"
    .. " `entries` and the root of their location.", {
    { "PATH", "indexed file or directory (default: the whole library)", args = "?" },
    { "--format", "ndjson, csv, mtree (one tree) or sqlite (a file with the views as tables)"
      .. " (default: ndjson)", arg = "FORMAT", choices = FORMATS },
    { "--output", "write this file, whole or not at all (default: standard output)", arg = "FILE",
      convert = usage.path },
  })

local COLUMNS = "l.root, e.id, e.uuid, e.location_id, e.parent_id, e.path, e.name, e.kind, e.size,"
  .. " e.allocated, e.mtime_ns, e.ctime_ns, e.btime_ns, e.mode, e.uid, e.gid, e.nlink, e.dev,"
  .. " e.ino, e.target, e.hash, e.hash_kind, e.mime, e.unverified"

-- What a statement needs to be about one entry and what is below it.
local function filter_of(here)
  if not here then return { begin = "", where = {}, values = {} } end
  local inside = "(e.id = ?1 OR e.parent_id IN (SELECT id FROM below))"
  return { begin = place.BELOW, values = { here.id }, entries = "WHERE " .. inside, where = {
    locations = "WHERE ?1 IS NOT NULL AND id = " .. here.location.id,
    entries = "e WHERE " .. inside,
    directories = "WHERE id IN (SELECT id FROM below)",
    contents = "WHERE id IN (SELECT content_id FROM entry e WHERE " .. inside .. ")",
  } }
end

local function write_rows(query, format, filter)
  local cursor <close> = query:cursor(("%s SELECT %s FROM entries e JOIN locations l"
    .. " ON l.id = e.location_id %s"):format(filter.begin, COLUMNS, filter.entries or ""),
    filter.values)
  tables.write(cursor, format, { header = true })
end

-- The root of the tree that mtree describes: PATH, or the only location.
local function tree_of(query, here)
  if here then return here end
  local roots = query:rows("SELECT id, root, entry_id FROM location WHERE entry_id IS NOT NULL")
  if #roots ~= 1 then
    command:wrong(("mtree describes one tree, and the library has %d locations: say which PATH")
      :format(#roots))
  end
  return { id = roots[1].entry_id, location = roots[1], path = roots[1].root }
end

local function write_mtree(query, here)
  local mtree = require "sd.export.mtree"
  here = tree_of(query, here)
  local row = query:row("SELECT path FROM entries WHERE id = ?", { here.id })
  local filter = filter_of(here)
  local cursor <close> = query:cursor(("%s SELECT %s FROM entries e %s"):format(filter.begin,
    mtree.COLUMNS, filter.entries), filter.values)
  mtree.write(cursor, row.path)
end

local function write(query, format, here)
  if format == "mtree" then write_mtree(query, here)
  else write_rows(query, format, filter_of(here)) end
end

local function fail(what, path, why)
  error(failure.new(("%s %s: %s"):format(what, path, why:gsub("^%u+: ([^:]*).*$", "%1")), "EIO"), 0)
end

-- A new file beside that path: nobody else's is taken for it.
local function new_part(path)
  local part = ("%s.%d.part"):format(path, uv.os_getpid())
  local fd, why = uv.fs_open(part, "wx", 438) -- rw-rw-rw-
  if not fd then fail("make", part, why) end
  uv.fs_close(fd)
  return part
end

-- A file that is whole under its name, or not there; one that a symlink leads to is meant itself.
local function with_file(path, fn)
  path = core.sys.realpath(path) or path
  local part = new_part(path)
  local guard <close> = setmetatable({}, { __close = function() os.remove(part) end })
  fn(part)
  local ok, why = uv.fs_rename(part, path)
  if not ok then fail("make", path, why) end
  return guard and nil
end

-- What the library's directory has of its own, now or when a job runs.
local OWN = { "library.db", "library.db-wal", "library.db-shm", "library.db-journal",
  "library.lock", "library.sock" }

local function is_same(a, b)
  return a and b and a.dev == b.dev and a.ino == b.ino
end

-- Whether `path` is a file of the library, by whatever name, or would be one if it were made.
local function is_own(library, path)
  local stat, above, name = uv.fs_stat(path), path:match("^(.-)([^/]*)$")
  local inside = is_same(uv.fs_stat(above == "" and "." or above), uv.fs_stat(library))
  for _, own in ipairs(OWN) do
    if inside and name == own or is_same(stat, uv.fs_stat(library .. "/" .. own)) then
      return true
    end
  end
  return false
end

local function write_text(query, format, here, path)
  local close <close> = out.to_file(path)
  write(query, format, here)
  return close and nil
end

-- A device or a pipe is written to; only a file is replaced.
local function write_file(query, format, here, path)
  local stat = uv.fs_stat(path)
  local other = stat and stat.type ~= "file"
  if other and (format == "sqlite" or stat.type == "directory") then
    fail("make", path, "not a regular file")
  elseif other then
    return write_text(query, format, here, path)
  end
  with_file(path, function(part)
    if format ~= "sqlite" then return write_text(query, format, here, part) end
    os.remove(part) -- it is made anew, and nobody else's is taken for it there either
    require "sd.export.sqlite".write(query, part, filter_of(here))
  end)
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  local format = parsed.format or "ndjson"
  if format == "sqlite" and not parsed.output then
    command:wrong "--format sqlite needs --output FILE"
  end
  return ask.run(parsed, function(query)
    if parsed.output and is_own(query.path, parsed.output) then
      command:wrong(("--output: %s is a file of the library itself"):format(parsed.output))
    end
    query:stay()
    local here = parsed.path and place.all(query, { parsed.path })[1]
    damage.check(query, here and here.id)
    if parsed.output then write_file(query, format, here, parsed.output)
    else write(query, format, here) end
  end)
end

return M
