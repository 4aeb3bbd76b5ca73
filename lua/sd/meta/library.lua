---@meta sd.core.library
-- runtime/bind/library.c, query.c and commit.c: an open library. Scripts use sd.library.

---@class sd.core.library
local M = {}

---@class sd.core.LibraryOptions
---@field create? boolean Make the library where there is none, mode 0700 (default false).
---@field threads? integer Of the walk and hash lanes, 1 to 64 (default: one a processor).

--- Opens the library in directory `dir`, and locks it.
---@param dir string
---@param options sd.core.LibraryOptions
---@return sd.core.Library? library
---@return string? message
---@return string? code ENOLIB, EDAMAGED, ENEWER, ELOCKED, or an errno's name.
function M.open(dir, options) end

---@class sd.core.Library: userdata
local Library = {}

--- Waits for the tasks on the lanes, and closes. May be called again. `__close` and `__gc` do it.
---@param log_left? integer Bytes: a longer write-ahead log is emptied (default: none is).
function Library:close(log_left) end

--- Whether long tasks are to end early, with what they have. Nothing new is begun meanwhile.
---@param on boolean
function Library:interrupt(on) end

--- An entry id that was never used. Written with the next commit.
---@return integer
function Library:new_id() end

--- The entry id that is given next.
---@return integer
function Library:next_id() end

--- A file in the library's directory that is its own and did not exist when it was opened: walks
--- that are opened from now on leave it out. Three at most.
---@param name string
---@return boolean done False where there is no such file, or no room.
function Library:leave_out(name) end

---@class sd.core.Metrics
---@field checkpoint_ns integer Time spent writing states and queues since the library was opened.
---@field wal_ns integer Time spent moving the write-ahead log.
---@field threads integer Of the walk and hash lanes.

---@return sd.core.Metrics
function Library:metrics() end

--- What the process that held the lock before this one noted in its file, and did not take back:
--- it was stuck when it ended.
---@return string? note "stuck JOB WALL_NS", and a report in the lines below.
function Library:note() end

---@class sd.core.QueryOptions
---@field fresh? boolean On the connection that writes, behind all commits asked for before (default
--- false: on a read-only one).
---@field own? boolean A statement of the Lua library: where it is refused, the library is damaged.

---@alias sd.SqlValue nil|boolean|integer|number|string|sd.Blob
---@class sd.Blob
---@field blob string

---@class sd.Rows: table[] Rows by column name.
---@field changes integer Rows that the statement changed.

--- Runs one statement.
---@async
---@param sql string
---@param params? sd.SqlValue[] With `n` where values may be nil.
---@param options? sd.core.QueryOptions
---@return sd.Rows? rows
---@return string? message
---@return string? code ESQL where the statement is wrong.
function Library:query(sql, params, options) end

---@class sd.core.Commit
---@field job_id? integer Whose queues are written.
---@field note_id? integer Whose errors, skips and vanished entries these are.
---@field location_id? integer Of batches and contents.
---@field want_content? boolean New and changed files are to get a content identity (default false).
---@field rescan? boolean What is new may have moved: it is noted for `match()` (default false).
---@field notes_only? boolean Of batches only errors and skips are written (default false).
---@field sql? table[] `{text, params?, own = boolean?}` each; before the rows. Where a statement of
--- our own is refused, the library is damaged.
---@field batches? sd.Batch[] In the order in which they came; they are used up.
---@field contents? sd.Chunk[] They are used up.
---@field state? table[] As `sql`, all our own; after the rows.
---@field sync? boolean It is on the disk when this returns, with all before it (default false: a
--- power cut may take it).
---@field queues? sd.Queue[] Their changes since the last commit.

---@class sd.CommitCounts
---@field inserted integer Rows of entries.
---@field updated integer
---@field moved integer Directories that were put at another place.
---@field vanished integer Entries that are not at their place; `match()` or `sweep()` ends them.
---@field linked integer Files that got a content identity.
---@field errors integer Rows of errors.

--- Writes everything in one transaction, or nothing.
---@async
---@param commit sd.core.Commit
---@return sd.CommitCounts? counts
---@return string? message
---@return string? code
function Library:commit(commit) end

--- Packs the names of new, renamed and removed entries for searching; a quarter of a million at
--- most. Writes nothing where little has gathered.
---@async
---@return boolean? left Whether another call is needed.
---@return string? message
---@return string? code
function Library:index_names() end

---@class sd.core.SweepOptions
---@field job_id integer Whose walk it was.
---@field location_id integer
---@field limit integer About that many at most.
---@field after? integer Of a match: where the last call got to (default 0).
---@field changed_by? string Of a match, as the walker has it (default inode).
---@field tell? boolean Say what is done (default false).

---@class sd.core.SweepResult
---@field moved integer
---@field replaced integer
---@field removed integer
---@field after? integer Of a match: where the next call goes on.
---@field left boolean More calls are needed.
---@field told? {change: "moved"|"replaced"|"deleted", path: string, from?: string}[]

--- Finds entries that a job's walk missed among those that are new.
---@async
---@param options sd.core.SweepOptions
---@return sd.core.SweepResult? result
---@return string? message
---@return string? code
function Library:match(options) end

--- Removes entries that a job's walk missed.
---@async
---@param options sd.core.SweepOptions
---@return sd.core.SweepResult? result
---@return string? message
---@return string? code
function Library:sweep(options) end

--- Forgets which entries of a location are new.
---@async
---@param options sd.core.SweepOptions
---@return sd.core.SweepResult? result
---@return string? message
---@return string? code
function Library:forget(options) end

--- Brings what directories have too much for hard links up to date, whatever location they are of.
--- Only `limit`, in names, is looked at of the options.
---@async
---@param options sd.core.SweepOptions
---@return sd.core.SweepResult? result
---@return string? message
---@return string? code
function Library:settle_links(options) end

return M
