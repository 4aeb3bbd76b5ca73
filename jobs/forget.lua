-- Removes a location from the library, with all that the library has of it. Nothing on the disk is
-- touched.
local sd = require "sd"

local ForgetProgress = sd.progress.type("ForgetProgress", {
  message = "string", -- how many entries are removed
})

local Forget = sd.job.define {
  name = "forget",
  version = 1,
  resumable = true,
  unique = true,
  description = "Remove a location from the library. Nothing on the disk is touched.",
  args = {
    root = sd.arg.string { required = true, positional = true, help = "root of the location" },
  },
  progress = ForgetProgress,
}

-- Whoever came to the end of a removal may have been killed then, and what has that root now is
-- another location.
local function check_begun(location)
  if location.state == "removing" then return end
  error(sd.failure.new(location.root .. " was added again since its removal began; remove it again",
    "EBUSY"), 0)
end

-- What repeats for it would make it a location again.
local function begin(ctx, location, state)
  local locations, schedules = ctx.library.locations, ctx.library.jobs:schedules()
  locations:check_idle(location, ctx.id)
  local dropped = schedules:dropping(location.root)
  ctx:commit(function(tx)
    locations:begin_removal(tx, location, ctx.id, dropped)
    state.begun, state.schedules = true, #dropped
  end)
  schedules:read()
  if #dropped > 0 then
    ctx:log("%s repeated for this location, and will not any more",
      sd.text.counted(#dropped, "job", "jobs"))
  end
end

function Forget:run(ctx)
  local locations = ctx.library.locations
  local location = locations:find(self.args.root)
  if not location then return { root = self.args.root, removed = 0 } end
  local state = ctx:state(function() return { begun = false } end)
  if state.begun then check_begun(location) else begin(ctx, location, state) end
  local removed = ctx:clear(location, function(n)
    ctx:progress(ForgetProgress { message = sd.text.counted(n, "entry", "entries")
      .. " removed" })
  end)
  ctx:commit(function(tx) locations:end_removal(tx, location) end)
  return { root = self.args.root, removed = removed, schedules = state.schedules }
end

return Forget
