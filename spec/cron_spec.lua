-- When what repeats is due. Times are local; the zone is fixed here.
local cron = require "sd.cron"

local function at(text)
  local y, mo, d, h, mi = text:match("^(%d+)-(%d+)-(%d+) (%d+):(%d+)$")
  return os.time { year = y, month = mo, day = d, hour = h, min = mi }
end

local function text_of(seconds) return os.date("%Y-%m-%d %H:%M", seconds) end

describe("a schedule", function()
  for _, case in ipairs {
    { "* * * * *", "2026-03-01 12:00", "2026-03-01 12:01" },
    { "*/15 * * * *", "2026-03-01 12:01", "2026-03-01 12:15" },
    { "*/15 * * * *", "2026-03-01 12:45", "2026-03-01 13:00" },
    { "0 3 * * *", "2026-03-01 12:00", "2026-03-02 03:00" },
    { "30 2 1 * *", "2026-12-15 00:00", "2027-01-01 02:30" },
    { "0 0 29 2 *", "2026-03-01 00:00", "2028-02-29 00:00" },
    { "0 12 * * sun", "2026-11-25 08:00", "2026-11-29 12:00" },
    { "0 12 * * 7", "2026-11-25 08:00", "2026-11-29 12:00" },
    { "0 12 * * MON-fri", "2026-11-27 13:00", "2026-11-30 12:00" },
    { "5,10-12 8 * jan,dec *", "2026-11-25 08:00", "2026-12-01 08:05" },
    { "5,10-12 8 * jan,dec *", "2026-12-01 08:05", "2026-12-01 08:10" },
    -- Both days restricted: either will do.
    { "0 0 13 * fri", "2026-11-25 00:00", "2026-11-27 00:00" },
    { "0 0 13 * fri", "2026-12-12 00:00", "2026-12-13 00:00" },
    { "0 0 */2 * *", "2026-11-25 00:00", "2026-11-27 00:00" },
    { "10/20 * * * *", "2026-11-25 00:00", "2026-11-25 00:10" },
    { "10/20 * * * *", "2026-11-25 00:31", "2026-11-25 00:50" },
  } do
    it(("%s is due after %s"):format(case[1], case[2]), function()
      local due = assert(cron.parse(case[1]))
      assert.equal(case[3], text_of(due:next(at(case[2]))))
    end)
  end

  it("every so often is due that much later", function()
    for text, seconds in pairs { ["every 30s"] = 30, ["every 10m"] = 600, ["every 2h"] = 7200,
      ["every 1d"] = 86400, ["every 2 w"] = 1209600 } do
      assert.equal(1000 + seconds, assert(cron.parse(text)):next(1000))
    end
  end)

  it("that never comes is nil", function()
    assert.is_nil(assert(cron.parse("0 0 31 2 *")):next(at("2026-01-01 00:00")))
  end)

  it("that is none is refused, and the field named", function()
    for text, part in pairs {
      ["* * * *"] = "five fields", ["* * * * * *"] = "five fields", ["60 * * * *"] = "minute",
      ["* 24 * * *"] = "hour", ["* * 0 * *"] = "day of month", ["* * * 13 *"] = "month",
      ["* * * * 8"] = "day of week", ["*/0 * * * *"] = "minute", ["5-1 * * * *"] = "minute",
      ["a * * * *"] = "minute", ["1, * * * *"] = "minute", ["every"] = "five fields",
      ["every 10"] = "interval", ["every 0m"] = "interval", ["every soon"] = "interval",
      ["1--2 * * * *"] = "minute", [""] = "five fields", ["*/ * * * *"] = "minute",
      ["5/ * * * *"] = "minute", ["0x10 * * * *"] = "minute", ["* 1e1 * * *"] = "hour",
      ["1/2/3 * * * *"] = "minute", ["1/x * * * *"] = "minute", ["mon-5/2/ * * * *"] = "minute",
      ["every 99999999999999999999d"] = "interval", ["every 9999999999999w"] = "interval",
      ["every 9223372036854775807s"] = "interval",
    } do
      local due, message = cron.parse(text)
      assert.is_nil(due, text)
      assert.is_truthy(message:find(part, 1, true), text .. ": " .. message)
    end
  end)
end)
