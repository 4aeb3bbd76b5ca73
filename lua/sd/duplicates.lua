--- Files with the same content: which of them are to be hashed, and what groups there are.
local M = {}

-- Up to this size a sampled hash is one of all bytes: SD_HASH_SAMPLE_MIN of the engine.
M.WHOLE = 100 * 1024

---@class sd.DuplicatesOptions
---@field min_size integer Bytes; at least 1.
---@field below? integer[] Entry ids: what lies at and below them.

-- The beginning of all statements: parameters ?1 (least size) and ?2 (ids as JSON).
local function inside(options)
  if not options.below then return "", "?2 IS NULL" end
  return "below(id) AS (SELECT value FROM json_each(?2) UNION SELECT e.id FROM below b"
    .. " JOIN entry e ON e.parent_id = b.id WHERE e.kind = 2), ",
    "(e.id IN (SELECT value FROM json_each(?2)) OR e.parent_id IN (SELECT id FROM below))"
end

local function values_of(options)
  return { options.min_size, options.below and "[" .. table.concat(options.below, ",") .. "]",
    n = 2 }
end

-- One row for each inode of a size that several files have, with the best identity of its names.
local FILES = "files(id, size, dev, ino, content_id, hash_kind) AS MATERIALIZED (SELECT e.id,"
  .. " e.size, e.dev, e.ino, e.content_id, min(c.hash_kind) FROM entry e LEFT JOIN content c"
  .. " ON c.id = e.content_id WHERE e.kind = 1 AND e.size >= ?1 AND INSIDE AND e.size IN (SELECT"
  .. " size FROM entry e WHERE e.kind = 1 AND e.size >= ?1 AND INSIDE GROUP BY size HAVING"
  .. " count(*) > 1) GROUP BY e.size, e.dev, e.ino)"
-- What is known of the samples: those of files that were hashed whole since are kept.
local SIZES = "samples(size, hash) AS MATERIALIZED (SELECT f.size, iif(f.hash_kind = 2, c.hash,"
  .. " s.hash) FROM files f JOIN content c ON c.id = f.content_id LEFT JOIN content_sample s"
  .. " ON s.content_id = c.id WHERE f.size > " .. M.WHOLE .. "), sizes(size) AS MATERIALIZED"
  .. " (SELECT size FROM files GROUP BY size HAVING count(*) > 1)"

local WANTED = {
  -- Of large files nothing is known.
  sampled = "f.hash_kind IS NULL AND f.size > " .. M.WHOLE,
  -- Equal by samples, or beside one of which they are not known; and small files without a hash.
  full = "f.hash_kind IS NULL AND f.size <= " .. M.WHOLE .. " OR f.hash_kind = 2 AND (f.size IN"
    .. " (SELECT size FROM samples WHERE hash IS NULL) OR (f.size, (SELECT hash FROM content WHERE"
    .. " id = f.content_id)) IN (SELECT size, hash FROM samples GROUP BY 1, 2"
    .. " HAVING count(*) > 1))",
}

WANTED.any = WANTED.sampled .. " OR " .. WANTED.full

--- The files that must be hashed: a statement that gives their ids, one name of an inode.
---@param options sd.DuplicatesOptions
---@param kind? "sampled"|"full" Nil: in either way.
---@return string sql
---@return any[] values
function M.unknown(options, kind)
  local below, condition = inside(options)
  return ("WITH RECURSIVE %s%s, %s SELECT f.id AS id, f.size AS size FROM files f JOIN sizes s"
    .. " ON s.size = f.size WHERE %s"):format(below, FILES:gsub("INSIDE", condition), SIZES,
    WANTED[kind or "any"]), values_of(options)
end

--- The groups: rows of content, size, hash, device, inode, path, what wastes most first, paths in
--- the order of bytes.
---@param options sd.DuplicatesOptions
---@return string sql
---@return any[] values
function M.groups(options)
  local below, condition = inside(options)
  return ("WITH RECURSIVE %sgroups(content_id, size, files) AS MATERIALIZED (SELECT e.content_id,"
    .. " e.size, count(DISTINCT e.dev || ':' || e.ino) AS files FROM entry e JOIN content c"
    .. " ON c.id = e.content_id WHERE e.kind = 1 AND e.size >= ?1 AND c.hash_kind = 1"
    .. " AND c.entries > 1 AND %s GROUP BY 1 HAVING files > 1)"
    .. " SELECT g.content_id, g.size, lower(hex(c.hash)), e.dev, e.ino,"
    .. " path(e.parent_id, e.name) FROM entry e CROSS JOIN groups g ON g.content_id = e.content_id"
    .. " JOIN content c ON c.id = g.content_id WHERE e.kind = 1 AND %s"
    .. " ORDER BY g.size * (g.files - 1) DESC, g.content_id,"
    .. " CAST(path(e.parent_id, e.name) AS BLOB)"):format(below, condition, condition),
    values_of(options)
end

--- Empty files, in the same form: they are all alike.
---@param options sd.DuplicatesOptions
---@return string sql
---@return any[] values
function M.empty(options)
  local below, condition = inside(options)
  return ("WITH RECURSIVE %sleast(size) AS (SELECT ?1) SELECT 0, 0, NULL, e.dev, e.ino,"
    .. " path(e.parent_id, e.name) FROM entry e WHERE e.kind = 1 AND e.size = 0 AND %s"
    .. " ORDER BY CAST(path(e.parent_id, e.name) AS BLOB)"):format(below, condition),
    values_of(options)
end

return M
