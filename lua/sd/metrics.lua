--- What a run costs in this process.
local core = require "sd.core"

local M = {}

--- The run begins.
---@param ctx sd.Context
function M.start(ctx)
  local m = ctx.library.core:metrics()
  ctx.measured = {
    wall = core.sys.mono_ns(), cpu = core.sys.process_ns(), lua = core.sys.thread_ns(),
    checkpoint = m.checkpoint_ns, wal = m.wal_ns,
  }
end

--- Fills `ctx.metrics` with what it has cost so far, for its handle, too.
---@param ctx sd.Context
function M.fill(ctx)
  local started, metrics = ctx.measured, ctx.metrics
  local m = ctx.library.core:metrics()
  metrics.wall_ns = core.sys.mono_ns() - started.wall
  metrics.cpu_ns = core.sys.process_ns() - started.cpu
  metrics.lua_cpu_ns = core.sys.thread_ns() - started.lua
  metrics.checkpoint_ns = m.checkpoint_ns - started.checkpoint
  metrics.wal_ns = m.wal_ns - started.wal
  metrics.threads = m.threads
  metrics.max_rss = core.sys.max_rss()
  ctx.handle.metrics = metrics
end

return M
