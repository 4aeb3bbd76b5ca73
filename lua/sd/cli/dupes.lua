--- `sdlua dupes [PATH...]`: groups of files with the same content. It never deletes anything.
local ask = require "sd.cli.ask"
local duplicates = require "sd.duplicates"
local failure = require "sd.failure"
local out = require "sd.cli.out"
local place = require "sd.place"
local query_of = require "sd.query"
local text = require "sd.text"
local usage = require "sd.cli.usage"

local M = {}

local command = usage.new("sdlua dupes",
  "Show groups of files that are equal, what wastes most first. Files that may be equal and were"
    .. " not hashed yet are hashed, and stay known. Names of one file (hard links) are no"
    .. " duplicates.", {
    { "PATH", "among files at and below these indexed paths (default: the whole library)",
      args = "*", key = "paths" },
    { "--min-size", "leave smaller files out: 300, 10K, 1.5M, 2G", arg = "SIZE",
      convert = usage.size },
    { "--empty", "empty files too" },
    { "--known", "only what the library knows already: hash nothing" },
    { "--verify", "compare the bytes of the files in each group" },
    { "--format", "fdupes: the paths of each group, and an empty line", arg = "FORMAT",
      choices = { "fdupes" } },
    { "--json", "one object with the groups" },
    { "--fresh", "give an unfinished run up" },
    { "--threads", "threads that hash (default: one a processor)", arg = "N",
      convert = usage.count },
    { "--progress", "auto, bar, plain, json or none (default: auto)", arg = "MODE",
      choices = { "auto", "bar", "plain", "json", "none" } },
  })

-- ---- what is not known yet ----

local OPEN = "SELECT 1 FROM jobs WHERE name = 'duplicates' AND status IN ('queued', 'running')"

local function is_unknown(query, options)
  local sql, values = duplicates.unknown(options)
  return query:row(sql .. " LIMIT 1", values) ~= nil
end

-- Runs the job; the exit status.
local function find_out(parsed, options)
  local script = require "sd.script".must_load("duplicates")
  local below = options.below and table.concat(options.below, ",")
  local job = script.definition { min_size = options.min_size, below = below }
  return require "sd.cli.foreground".new { library = parsed.library, threads = parsed.threads,
    fresh = parsed.fresh, progress = parsed.progress or "auto", silent = true }
    :with_library(function(run) return run:run(job, script) end)
end

-- ---- groups ----

---@class sd.Group
---@field size integer
---@field hash? string
---@field files {path: string, links: string[]}[] One for each inode.

local function new_group(row)
  return { content = row[1], size = row[2], hash = row[3], files = {}, inodes = {} }
end

-- Further names of an inode are links of its first one.
local function add(group, row)
  local inode = row[4] .. ":" .. row[5]
  local file = group.inodes[inode]
  if file then
    file.links[#file.links + 1] = row[6]
    return
  end
  file = { path = row[6], links = {} }
  group.inodes[inode] = file
  group.files[#group.files + 1] = file
end

-- The groups of a statement, one at a time.
local function groups_of(query, sql, values)
  local cursor = query:cursor(sql, values)
  local row = query_of.next(cursor)
  return function()
    if not row then return nil end
    local group = new_group(row)
    while row and row[1] == group.content do
      add(group, row)
      row = query_of.next(cursor)
    end
    return group
  end
end

local function complain(run, path, why)
  run.unread = run.unread + 1
  io.stderr:write("sdlua: ", text.escape(path), ": ", text.escape(why), "\n")
end

-- Names what is not equal to most of a group any more.
local function complain_of_others(run, classes)
  local largest = classes[1]
  for _, class in ipairs(classes) do if #class > #largest then largest = class end end
  for _, class in ipairs(classes) do
    for _, path in ipairs(class ~= largest and class or {}) do
      complain(run, path, ("no longer equal to %s; index again"):format(largest[1]))
    end
  end
end

-- A group as its bytes are now: one group for each set of files that are equal.
local function verified(group, run)
  local files, paths = {}, {}
  for i, file in ipairs(group.files) do files[file.path], paths[i] = file, file.path end
  local classes, unread = require "sd.compare".classes(paths)
  for _, path in ipairs(paths) do
    if unread[path] then complain(run, path, unread[path]) end
  end
  complain_of_others(run, classes)
  local result = {}
  for i, class in ipairs(classes) do
    local known = #classes == 1 and class.size == group.size
    result[i] = { size = class.size, hash = known and group.hash or nil, files = {} }
    for k, path in ipairs(class) do result[i].files[k] = files[path] end
  end
  return result
end

-- ---- what is written ----

local WRITERS = { text = {}, fdupes = {}, json = {} }

local function no() end

WRITERS.fdupes.begin, WRITERS.fdupes.finish = no, no
WRITERS.text.begin = no

function WRITERS.fdupes.group(group)
  for _, file in ipairs(group.files) do out.write(out.name(file.path), "\n") end
  out.write "\n"
end

function WRITERS.text.group(group, wasted)
  out.write(("%d files of %s each, %s wasted:\n"):format(#group.files, text.bytes(group.size),
    text.bytes(wasted)))
  for _, file in ipairs(group.files) do out.write("  ", out.name(file.path), "\n") end
  out.write "\n"
end

function WRITERS.text.finish(total)
  if total.groups == 0 then
    out.write "no duplicates\n"
    return
  end
  out.write(("%s, %s, %s wasted\n"):format(text.counted(total.groups, "group", "groups"),
    text.counted(total.files, "file", "files"), text.bytes(total.wasted)))
end

-- Loaded where it is used: most of the time that a small answer takes is that of loading.
local function scalar(value)
  return require "sd.json".scalar(value)
end

local function json_list(values)
  local parts = {}
  for i, value in ipairs(values) do parts[i] = scalar(value) end
  return "[" .. table.concat(parts, ",") .. "]"
end

function WRITERS.json.begin()
  out.write '{"groups":['
end

function WRITERS.json.group(group, wasted, total)
  local files = {}
  for i, file in ipairs(group.files) do
    files[i] = ('{"path":%s,"links":%s}'):format(scalar(file.path), json_list(file.links))
  end
  out.write(total.groups > 1 and ",\n" or "\n", ('{"size":%d,"hash":%s,"wasted":%d,"files":[%s]}')
    :format(group.size, scalar(group.hash), wasted, table.concat(files, ",")))
end

function WRITERS.json.finish(total)
  out.write(('\n],"total":{"groups":%d,"files":%d,"wasted":%d}}\n'):format(total.groups,
    total.files, total.wasted))
end

local function write_group(writer, group, total)
  if #group.files < 2 then return end
  local wasted = group.size * (#group.files - 1)
  total.groups, total.files = total.groups + 1, total.files + #group.files
  total.wasted = total.wasted + wasted
  writer.group(group, wasted, total)
end

local function write_all(query, parsed, options)
  local writer = WRITERS[parsed.json and "json" or parsed.format or "text"]
  local total, run = { groups = 0, files = 0, wasted = 0 }, { unread = 0 }
  writer.begin()
  local questions = { duplicates.groups }
  if parsed.empty then questions[2] = duplicates.empty end
  for _, question in ipairs(questions) do
    for group in groups_of(query, question(options)) do
      local parts = parsed.verify and verified(group, run) or { group }
      for _, part in ipairs(parts) do write_group(writer, part, total) end
    end
  end
  writer.finish(total)
  return run.unread > 0 and failure.EXIT.WITH_ERRORS or failure.EXIT.OK
end

-- ---- the command ----

local function options_of(query, parsed)
  local options = { min_size = math.max(1, parsed.min_size or 1) }
  if #parsed.paths > 0 then
    options.below = {}
    for i, here in ipairs(place.all(query, parsed.paths)) do options.below[i] = here.id end
  end
  return options
end

-- Before the job: what is asked, and whether there is anything to hash, or a job that was killed
-- when nothing was left but to end. The reader is closed again.
local function prepare(parsed)
  local query <close> = query_of.must_open(parsed.library or require "sd.cli.default"())
  local options = options_of(query, parsed)
  if parsed.known then return options end
  return options, is_unknown(query, options), query:row(OPEN) ~= nil
end

-- Ends an open job. Where that cannot be, as on a medium that is read-only, the answer is known.
local function end_open(parsed, options)
  local ok, status = pcall(find_out, parsed, options)
  local signal = ok and (status == failure.EXIT.SIGINT or status == failure.EXIT.SIGTERM)
  return signal and status or failure.EXIT.OK
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  command:only_one(parsed, "format", "json")
  if parsed.threads and (parsed.threads < 1 or parsed.threads > 64) then
    command:wrong "--threads: from 1 to 64"
  end
  local options, unknown, open = prepare(parsed)
  local status = unknown and find_out(parsed, options) or failure.EXIT.OK
  if open and not unknown then status = end_open(parsed, options) end
  if status ~= failure.EXIT.OK and status ~= failure.EXIT.WITH_ERRORS then return status end
  return ask.run(parsed, function(query)
    query:stay()
    return math.max(status, write_all(query, parsed, options))
  end)
end

return M
