---@meta sd.core.sys
-- runtime/bind/sys.c: clocks, identifiers, the terminal. Also `require "sd".sys`.

---@class sd.core.sys
local M = {}

--- Nanoseconds since 1970.
---@return integer
function M.wall_ns() end

--- Nanoseconds for durations: never goes back.
---@return integer
function M.mono_ns() end

--- CPU time of this thread, which is Lua's, in nanoseconds.
---@return integer
function M.thread_ns() end

--- CPU time of the process in nanoseconds.
---@return integer
function M.process_ns() end

--- The most memory that the process has had, in bytes.
---@return integer
function M.max_rss() end

--- A new UUID of version 7, in order of time.
---@return string bytes 16 bytes.
function M.uuid7() end

---@param uuid string 16 bytes; anything else raises.
---@return string text 36 characters.
function M.uuid_text(uuid) end

---@param bytes string
---@return string hash XXH3-128 in canonical order, 16 bytes.
function M.xxh128(bytes) end

--- Whether it is valid UTF-8 without a zero byte.
---@param bytes string
---@return boolean
function M.is_text(bytes) end

---@param fd integer
---@return boolean
function M.isatty(fd) end

--- Whether a write of 4096 bytes or less would not wait; also where it would fail.
---@param fd integer
---@return boolean
function M.writable(fd) end

--- The size of a terminal; nothing where `fd` is none.
---@param fd integer
---@return integer? columns
---@return integer? rows
function M.winsize(fd) end

--- Absolute, and free of symlinks.
---@param path string
---@return string? path
---@return string? message
---@return string? code The errno's name.
function M.realpath(path) end

--- Opens a file for reading: without following a symlink that it may be, without waiting, and where
--- that is allowed without a new access time. It may be no regular file: look with fs_fstat().
---@param path string
---@return integer? fd Close it with luv's fs_close().
---@return string? message Without the path.
---@return string? code The errno's name; ELOOP: a symlink, ENXIO: a socket.
function M.open_file(path) end

--- What the system calls a user; nil where it has no name for it.
---@param uid integer
---@return string?
function M.user_name(uid) end

---@param gid integer
---@return string?
function M.group_name(gid) end

---@param name string
---@return integer? uid
function M.user_id(name) end

---@param name string
---@return integer? gid
function M.group_id(name) end

--- Ends the process without closing anything, as a crash would: the library stands that.
---@param status integer
function M.exit_now(status) end

--- Versions of what the program is built with, e.g. "3.40.1".
---@return {lua: string, sqlite: string, libuv: string}
function M.versions() end

return M
