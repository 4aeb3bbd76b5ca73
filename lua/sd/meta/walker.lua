---@meta sd.core.walker
-- runtime/bind/walker.c: the walk of a directory tree on the lanes. Scripts use ctx:walker().

---@class sd.core.walker
local M = {}

--- Opens the root; walks nothing yet.
---@param library sd.core.Library
---@param options sd.WalkerOptions `batch`: 1 to 65536 (default 1000).
---@return sd.core.Walker? walker
---@return string? message
---@return string? code The errno's name.
function M.open(library, options) end

---@class sd.core.Walker: userdata
local Walker = {}

--- The next batch, in the order in which batches must be written. Nothing: no directory is left in
--- memory, or the library is interrupted.
---@async
---@return sd.Batch? batch
---@return string? message
---@return string? code
function Walker:next() end

--- The root is to be walked.
function Walker:push_root() end

--- A directory that another queue gave is to be walked.
---@param directory string
function Walker:push(directory) end

---@class sd.RootStat By the columns of table `entry`.
---@field kind integer
---@field size integer Bytes.
---@field allocated integer Bytes on the disk.
---@field mtime integer Nanoseconds since 1970.
---@field ctime integer Nanoseconds since 1970.
---@field btime? integer Nanoseconds since 1970; nil where the file system does not say it.
---@field dev integer
---@field ino integer
---@field mode integer Permission bits.
---@field uid integer
---@field gid integer
---@field nlink integer

---@return sd.RootStat
function Walker:root_stat() end

--- Steps that are under way on the lanes.
---@return integer
function Walker:running() end

--- Closes when the last step has ended. `__close` and `__gc` do it.
function Walker:close() end

return M
