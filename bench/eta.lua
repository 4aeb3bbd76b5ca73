--- eta.lua - how true the estimated time of a run is.
---
---     sdlua bench/eta.lua COMMAND...
---
--- Runs a command that reports its progress on stderr as NDJSON (`sdlua index --progress json`).
--- Prints in one line, after what the command prints: the seconds that it took, the error of the
--- estimate when 10, 25, 50, 75 and 90 % of that time were over, in percent of what was really left
--- ("none" where there was no estimate), and the largest one, without its sign, from 25 to 90 %.
--- Exit: that of the command.
local uv = require "luv"

local SHARES = { 0.10, 0.25, 0.50, 0.75, 0.90 }
local FROM, UP_TO = 0.25, 0.90

-- Runs the command; its exit code, its seconds, and what it said was left: a list of {at, left}.
local function watch(words)
  local began, ended, status, said = uv.hrtime(), nil, nil, {}
  local pipe, rest = uv.new_pipe(), ""
  local process, message = uv.spawn(words[1], { args = table.move(words, 2, #words, 1, {}),
    stdio = { nil, 1, pipe } }, function(code, signal)
    ended, status = uv.hrtime(), signal > 0 and 128 + signal or code
  end)
  if not process then error(("%s: %s"):format(words[1], message), 0) end
  pipe:read_start(function(_, data)
    local at = (uv.hrtime() - began) / 1e9
    rest = rest .. (data or "")
    for line in rest:gmatch("([^\n]*)\n") do
      if line:find('"type":"progress"', 1, true) then
        said[#said + 1] = { at = at,
          left = tonumber(line:match('"estimated_remaining":([%d.e+-]+)')) }
      else
        io.stderr:write(line, "\n")
      end
    end
    rest = rest:match("[^\n]*$")
  end)
  uv.run()
  return status, (ended - began) / 1e9, said
end

-- The error of what was said last, at that time; nil where nothing was.
local function error_at(said, at, wall)
  local last
  for _, one in ipairs(said) do
    if one.at <= at then last = one end
  end
  if not last or not last.left then return nil end
  return (last.left - (at - last.at) - (wall - at)) / (wall - at)
end

local function largest_error(said, wall)
  local largest = 0
  for percent = FROM * 100, UP_TO * 100 do
    local off = error_at(said, wall * percent / 100, wall)
    if not off then return nil end
    largest = math.max(largest, math.abs(off))
  end
  return largest
end

local function figure(share)
  return share and ("%+.1f"):format(100 * share) or "none"
end

local status, wall, said = watch(arg)
local parts = { ("%.2f"):format(wall) }
for _, share in ipairs(SHARES) do
  parts[#parts + 1] = figure(error_at(said, wall * share, wall))
end
parts[#parts + 1] = figure(largest_error(said, wall))
print(table.concat(parts, " "))
os.exit(status, true)
