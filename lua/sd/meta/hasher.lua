---@meta sd.core.hasher
-- runtime/bind/hasher.c: files without a content identity, hashed on the lanes. Scripts use
-- ctx:hash().

---@class sd.core.hasher
local M = {}

--- Opens the root; hashes nothing yet.
---@param library sd.core.Library
---@param options sd.HashOptions `chunk`: 1 to 65536 (default 100).
---@return sd.core.Hasher? hasher
---@return string? message
---@return string? code The errno's name.
function M.open(library, options) end

---@class sd.core.Hasher: userdata
local Hasher = {}

--- The next chunk, in the order of entry ids. Without one: true where no file is left, false where
--- the library is interrupted, or a message and a code.
---@async
---@return sd.Chunk? chunk
---@return boolean|string? what
---@return string? code
function Hasher:next() end

--- What is wrong and does not end the hashing: libmagic cannot be used.
---@return string? message
function Hasher:warning() end

--- Closes when the last task has ended. `__close` and `__gc` do it.
function Hasher:close() end

return M
