-- Who listens to a job, and how much is kept for him while he does not.
local handles = require "sd.handle"
local task = require "sd.task"

local function log(i) return { type = "log", level = "info", message = tostring(i) } end

-- All that a listener sees who begins to read now; the job must have ended.
local function read(updates)
  return task.run(function()
    local list = {}
    for update in updates do list[#list + 1] = update end
    return list
  end)
end

describe("a listener that does not read", function()
  it("is kept the last progress, the last log lines and all of the rest", function()
    local handle = handles.new(1, "running")
    local updates = handle:subscribe()
    handle:emit(log "early")
    handle:set_status("paused")
    handle:set_status("running")
    for i = 1, 5000 do
      handle:emit(log(i))
      handle:report { i = i }
    end
    handle:set_status("completed", { type = "completed", status = "completed", output = 7 })
    local list = read(updates)
    local types = {}
    for _, update in ipairs(list) do types[update.type] = (types[update.type] or 0) + 1 end
    assert.same({ log = 1000, status = 2, progress = 1, completed = 1 }, types)
    assert.same({ "paused", "running" }, { list[1].status, list[2].status })
    assert.same({ "4001", "5000" }, { list[3].message, list[1002].message })
    assert.equal(5000, list[1003].progress.i)
    assert.equal(7, list[1004].output)
  end)

  it("sees in their order what is few", function()
    local handle = handles.new(1, "running")
    local updates = handle:subscribe()
    handle:emit(log "a")
    handle:set_status("paused")
    handle:emit(log "b")
    handle:emit { type = "explain", path = "c" }
    handle:report { i = 1 }
    handle:set_status("cancelled")
    local seen = {}
    for i, update in ipairs(read(updates)) do
      seen[i] = update.message or update.path or update.status or update.progress.i
    end
    assert.same({ "a", "paused", "b", "c", 1, "cancelled" }, seen)
  end)
end)
