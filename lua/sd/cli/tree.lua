--- `sdlua tree [PATH]`: directories and what is in them, as a tree.
local ask = require "sd.cli.ask"
local damage = require "sd.damage"
local entry = require "sd.cli.entry"
local json = require "sd.json"
local out = require "sd.cli.out"
local place = require "sd.place"
local query = require "sd.query"
local text = require "sd.text"
local usage = require "sd.cli.usage"

local M = {}

local command = usage.new("sdlua tree",
  "Show the tree below each PATH, as it was when it was indexed: every name, by name.", {
    { "PATH", "indexed file or directory (default: the working directory, else all locations)",
      args = "*", key = "paths" },
    { "-L --level", "so many levels deep (default: all)", arg = "N", convert = usage.count },
    { "-d --directories", "directories only" },
    { "-s --size", "the size of each entry in front of its name" },
    { "--json", "an array of nested objects" },
    table.unpack(entry.SIZES),
  })

local CHILDREN = "SELECT id, name, kind, size, target FROM entry"
  .. " WHERE parent_id = ? AND (kind = 2 OR NOT ?) ORDER BY CAST(name AS BLOB)"

---@class sd.Tree
---@field query sd.Query
---@field cursor sd.core.Cursor
---@field above table<integer, boolean> Directories that are being shown.
---@field level integer
---@field directories boolean
---@field counts {directories: integer, others: integer}
local Tree = {}
Tree.__index = Tree

-- A directory is read to its end before the next one: one statement serves them all.
local function children(self, id)
  local list, cursor = {}, self.cursor:again { id, self.directories }
  for row in function() return query.next(cursor) end do list[#list + 1] = row end
  return list
end

local function count(self, kind)
  local name = kind == entry.DIRECTORY and "directories" or "others"
  self.counts[name] = self.counts[name] + 1
end

local function write_below(self, id, depth, prefix)
  if depth > self.level then return end
  damage.enter(self.query, self.above, id)
  local list = children(self, id)
  for i, row in ipairs(list) do
    local last, label = i == #list, out.name(row[2])
    if self.size then label = ("[%s]  %s"):format(self.size(row[4]), label) end
    if row[5] then label = label .. " -> " .. out.name(row[5]) end
    out.write(prefix, last and "└── " or "├── ", label, "\n")
    count(self, row[3])
    if row[3] == entry.DIRECTORY then
      write_below(self, row[1], depth + 1, prefix .. (last and "    " or "│   "))
    end
    list[i] = false -- a deep tree does not hold what it has shown
  end
  self.above[id] = nil
end

local write_node

local function write_contents(self, id, depth)
  local comma = ""
  damage.enter(self.query, self.above, id)
  out.write ',"contents":['
  for _, row in ipairs(children(self, id)) do
    out.write(comma, "\n")
    write_node(self, row, depth + 1)
    comma = ","
  end
  out.write "]"
  self.above[id] = nil
end

function write_node(self, row, depth)
  out.write('{"kind":"', entry.KINDS[row[3]] or "unknown", '","name":', json.scalar(row[2]),
    ',"size":', json.scalar(row[4]))
  if row[5] then out.write(',"target":', json.scalar(row[5])) end
  if row[3] == entry.DIRECTORY and depth <= self.level then write_contents(self, row[1], depth) end
  out.write "}"
end

local SELF = "SELECT id, name, kind, size, target FROM entry WHERE id = ?"

local function write_text(self, places)
  for _, here in ipairs(places) do
    out.write(out.name(here.given), "\n")
    local row = self.query:row(SELF, { here.id })
    count(self, row.kind)
    if row.kind == entry.DIRECTORY then write_below(self, here.id, 1, "") end
  end
  local counts = self.counts
  out.write("\n", text.count(counts.directories),
    counts.directories == 1 and " directory" or " directories")
  if not self.directories then
    out.write(", ", text.count(counts.others), counts.others == 1 and " file" or " files")
  end
  out.write "\n"
end

local function write_json(self, places)
  out.write "["
  for i, here in ipairs(places) do
    local cursor <close> = self.query:cursor(SELF, { here.id })
    local row = query.next(cursor)
    row[2] = here.path
    out.write(i > 1 and ",\n" or "\n")
    write_node(self, row, 1)
  end
  out.write "\n]\n"
end

---@param args string[]
---@return integer status
function M.main(args)
  local parsed = command:parse(args)
  return ask.run(parsed, function(ask_query)
    ask_query:stay()
    local places = place.all(ask_query, parsed.paths)
    local cursor <close> = ask_query:cursor(CHILDREN, { 0, false })
    local self = setmetatable({ query = ask_query, cursor = cursor, above = {},
      level = parsed.level or math.maxinteger, directories = parsed.directories or false,
      size = parsed.size and entry.sizes(parsed), counts = { directories = 0, others = 0 } }, Tree)
    if parsed.json then write_json(self, places) else write_text(self, places) end
  end)
end

return M
