--- The prompt of `sdlua sql`: statements are read until their semicolon; Ctrl-C ends a query, or
--- gives up what was typed; Ctrl-D ends the program.
local core = require "sd.core"
local failure = require "sd.failure"
local out = require "sd.cli.out"
local tables = require "sd.cli.tables"
local text = require "sd.text"

local M = {}

local HELP = [[
Statements end with a semicolon. docs/schema.md describes the views, docs/sql.md has examples.
  .views           the views and their columns
  .format FORMAT   table, csv, json, ndjson or markdown
  .quit            the end; so does Ctrl-D
]]

local VIEWS = "SELECT m.name AS view, group_concat(c.name, ', ') AS columns"
  .. " FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'view' GROUP BY m.name;"

-- An answer went wrong: the prompt goes on.
local function say(err)
  if not failure.is(err) then error(err, 0) end
  out.flush()
  io.stderr:write(text.escape(err.message), "\n")
  for line in (err.usage or ""):gmatch("[^\n]+") do io.stderr:write(text.escape(line), "\n") end
end

local function run(session, sql)
  local ok, err = pcall(require "sd.cli.sql".run_all, session.query, sql, {}, session.format,
    session.options)
  if not ok then say(err) end
end

local COMMANDS = {}

function COMMANDS.help()
  out.write(HELP)
end

function COMMANDS.views(session)
  run(session, VIEWS)
end

function COMMANDS.format(session, word)
  for _, format in ipairs(tables.FORMATS) do
    if format == word then
      session.format = word
      return
    end
  end
  out.write("one of ", table.concat(tables.FORMATS, ", "), "\n")
end

function COMMANDS.quit(session)
  session.ended = true
end

local function run_command(session, line)
  local name, word = line:match("^%.(%a+)%s*(%S*)")
  local fn = name and COMMANDS[name]
  if fn then fn(session, word) else out.write "no such command; try .help\n" end
end

-- A line, false where Ctrl-C took it away, nil at the end of the input.
local function read_line(prompt)
  core.reader.catch()
  out.write(prompt)
  out.flush()
  local line = io.stdin:read("L")
  if core.reader.caught() then
    if core.reader.caught() ~= 2 then error(failure.new("terminated", "ECANCELED", 143), 0) end
    out.write "\n"
    return false
  end
  return line
end

--- Reads and answers until the input ends.
---@param query sd.Query
---@param format string
---@param options {header: boolean}
---@return integer status
function M.run(query, format, options)
  local session, held = { query = query, format = format, options = options }, ""
  out.write("sdlua: read-only SQL over ", text.escape(query.path), "; .help helps\n")
  while not session.ended do
    local line = read_line(held == "" and "sql> " or "...> ")
    if line == nil then
      out.write "\n"
      break
    elseif not line then
      held = ""
    elseif held == "" and line:find("^%.") then
      run_command(session, line)
    elseif held ~= "" or line:find("%S") then
      held = held .. line
      if core.reader.complete(held) then
        run(session, held)
        held = ""
      end
    end
  end
  return 0
end

return M
