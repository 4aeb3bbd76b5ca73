--- `sdlua index`: the indexer, for one location after the other.
local core = require "sd.core"
local failure = require "sd.failure"
local options = require "sd.cli.options"
local foreground = require "sd.cli.foreground"
local rule_options = require "sd.cli.rule_options"
local script = require "sd.script"

local M = {}

-- libuv says "EACCES: permission denied: /root".
local function reason_of(text, path)
  text = text:gsub("^%u%w*: ", "")
  local tail = ": " .. path
  return text:sub(-#tail) == tail and text:sub(1, -#tail - 1) or text
end

-- What cannot be a location is said before anything is made.
local function check_root(path)
  local root, message, code = core.sys.realpath(path)
  failure.check_other(root, message, code)
  local stat, why = core.luv.fs_stat(root)
  if not stat then
    error(failure.new(("stat %s: %s"):format(root, reason_of(why, root)), "EIO"), 0)
  end
  if stat.type ~= "directory" then
    error(failure.new(("%s: not a directory"):format(root), "ENOTDIR"), 0)
  end
  local dir, reason = core.luv.fs_opendir(root)
  if not dir then
    error(failure.new(("open %s: %s"):format(root, reason_of(reason, root)), "EACCES"), 0)
  end
  core.luv.fs_closedir(dir)
  return root
end

local function parser_for(indexer)
  local parser = options.parser("sdlua index",
    "Index directories into a library. An unfinished run over the same directory is resumed.")
  parser:argument("PATH", "directory to index"):args("+"):target("paths")
  options.add_declared(parser, indexer.definition.args, { root = true })
  rule_options.add(parser)
  options.add_common(parser)
  return parser
end

---@param args string[]
---@return integer status
function M.main(args)
  local indexer, message = script.load("indexer")
  if not indexer then error(failure.new(message, "ENOENT"), 0) end
  local parsed = options.parse(parser_for(indexer), args)
  local rules = rule_options.given(parsed)
  local roots = {}
  for i, path in ipairs(parsed.paths) do roots[i] = check_root(path) end
  return foreground.new(parsed):with_library(function(run)
    local worst = 0
    run.several = #roots > 1
    for _, root in ipairs(roots) do
      if run.stopped then return run.stopped end -- as the last one was being finished
      local values = options.declared_values(parsed)
      values.root, values.rules = root, rules
      local status = run:run(indexer.definition(values), indexer, { "root" })
      if status ~= 0 and status ~= failure.EXIT.WITH_ERRORS then return status end
      worst = math.max(worst, status)
    end
    return worst
  end)
end

return M
