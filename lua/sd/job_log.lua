--- The log of a job: what it told the user, as far as it is kept.
local M = {}

-- Log lines that are kept of a job.
local LOG_LINES = 1000

--- The statements that add lines to a job's log, and keep it at its size.
---@param id integer
---@param lines {at: integer, level: string, message: string}[]
---@return table[] statements
function M.statements(id, lines)
  local sql = {}
  for i, line in ipairs(lines) do
    sql[i] = { "INSERT INTO job_log(job_id, at, level, message) VALUES(?, ?, ?, ?)",
      { id, line.at, line.level, line.message } }
  end
  if #lines > 0 then
    sql[#sql + 1] = { "DELETE FROM job_log WHERE job_id = ?1 AND id <= (SELECT id FROM job_log"
      .. " WHERE job_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)", { id, LOG_LINES } }
  end
  return sql
end

return M
