--- Rows as a table, CSV, JSON, NDJSON or Markdown, written as they come.
local out = require "sd.cli.out"
local query = require "sd.query"
local text = require "sd.text"

local M = {}

M.FORMATS = { "table", "csv", "json", "ndjson", "markdown" }

-- So many rows are looked at for the width of the columns; later ones may be wider.
local ROWS_AHEAD = 500

local function plain(value)
  if value == nil then return "" end
  if math.type(value) == "float" then return ("%.15g"):format(value) end
  return tostring(value)
end

local width = text.width

-- ---- for people ----

local SPACES = {}
for i = 1, 99 do SPACES[i] = (" "):rep(i) end

local function pad(s, columns, right)
  local missing = columns - width(s)
  if missing <= 0 then return s end
  local space = SPACES[missing] or (" "):rep(missing)
  return right and space .. s or s .. space
end

local function escaped(row, n)
  local cells = {}
  for i = 1, n do
    local value = row[i]
    cells[i] = type(value) == "string" and text.escape(value) or plain(value)
  end
  return cells
end

-- A column is numbers where none of the first rows says otherwise.
local function measure(names, rows)
  local widths, right = {}, {}
  for i, name in ipairs(names) do
    widths[i], right[i] = width(text.escape(name)), #rows > 0
    for _, row in ipairs(rows) do
      widths[i] = math.max(widths[i], width(row.cells[i]))
      right[i] = right[i] and (row.values[i] == nil or type(row.values[i]) == "number")
    end
  end
  return widths, right
end

local function line_of(cells, widths, right)
  local parts = {}
  for i, cell in ipairs(cells) do parts[i] = pad(cell, widths[i], right[i]) end
  -- Without spaces at the end. `gsub(" +$", "")` would try each run of spaces from each of them.
  return (table.concat(parts, "  "):match("^.*[^ ]") or "") .. "\n"
end

local function rows_ahead(cursor, n)
  local rows = {}
  while #rows < ROWS_AHEAD do
    local values = query.next(cursor)
    if not values then break end
    rows[#rows + 1] = { values = values, cells = escaped(values, n) }
  end
  return rows
end

local function write_table(cursor, options)
  local names = cursor:names()
  local rows = rows_ahead(cursor, #names)
  local widths, right = measure(names, rows)
  if options.header then
    local rule = {}
    for i, columns in ipairs(widths) do rule[i] = ("-"):rep(columns) end
    out.write(line_of(escaped(names, #names), widths, right), table.concat(rule, "  "), "\n")
  end
  for _, row in ipairs(rows) do out.write(line_of(row.cells, widths, right)) end
  for values in function() return query.next(cursor) end do
    out.write(line_of(escaped(values, #names), widths, right))
  end
end

local function markdown_line(cells)
  for i, cell in ipairs(cells) do
    if cell:find("|", 1, true) then cells[i] = cell:gsub("|", "\\|") end
  end
  return "| " .. table.concat(cells, " | ") .. " |\n"
end

local function write_markdown(cursor)
  local names = cursor:names()
  out.write(markdown_line(escaped(names, #names)), "|", ("---|"):rep(#names), "\n")
  for values in function() return query.next(cursor) end do
    out.write(markdown_line(escaped(values, #names)))
  end
end

-- ---- for programs ----

local function write_chunks(cursor, kind)
  for chunk in function() return query.chunk(cursor, kind) end do out.write(chunk) end
end

local function csv_line(values, n)
  local fields = {}
  for i = 1, n do
    local s = out.name(plain(values[i]))
    if s:find('[",\r\n]') or s == "" and values[i] then s = '"' .. s:gsub('"', '""') .. '"' end
    fields[i] = s
  end
  return table.concat(fields, ",") .. "\n"
end

-- On a terminal names are escaped, so that this is for eyes.
local function write_csv(cursor, options)
  local names = cursor:names()
  if options.header then out.write(csv_line(names, #names)) end
  if not out.terminal then return write_chunks(cursor, "csv") end
  for row in function() return query.next(cursor) end do out.write(csv_line(row, #names)) end
end

local function write_ndjson(cursor)
  write_chunks(cursor, "ndjson")
end

local function write_json(cursor)
  local held
  out.write "["
  for chunk in function() return query.chunk(cursor, "ndjson") end do
    if held then out.write(held, ",") end
    held = "\n" .. chunk:sub(1, -2):gsub("}\n", "},\n")
  end
  out.write(held or "", "\n]\n")
end

local WRITERS = { table = write_table, csv = write_csv, json = write_json, ndjson = write_ndjson,
  markdown = write_markdown }

--- Writes all rows of a cursor.
---@param cursor sd.core.Cursor
---@param format string One of FORMATS.
---@param options {header: boolean} Whether table and csv begin with the names of the columns.
function M.write(cursor, format, options)
  WRITERS[format](cursor, options)
end

return M
