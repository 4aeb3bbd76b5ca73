---@meta sd.core.chunk
-- runtime/bind/chunk.c: files that were hashed together. A chunk is used up where it is written;
-- after that every method raises.

---@class sd.Chunk: userdata
local Chunk = {}

---@class sd.ChunkStats
---@field files integer
---@field bytes integer Of the files that were hashed.
---@field hashed integer
---@field linked integer Further names of a file whose content is known already.
---@field again integer Of those that were hashed: which had an identity already.
---@field changed integer Which have another identity now, or their first.
---@field errors integer
---@field cursor integer Entry id up to which nothing is left to do.
---@field complete boolean False where an interruption cut it short: it ends with what was hashed.

---@return sd.ChunkStats
function Chunk:stats() end

--- The last file of the chunk, below the root; nothing where the chunk is empty.
---@return string?
function Chunk:last_path() end

---@class sd.Identity
---@field id integer Entry id.
---@field path string Below the root.
---@field size integer Bytes.
---@field hash? string XXH3-128, 32 hexadecimal digits.
---@field hash_kind? "full"|"sampled"
---@field mime? string
---@field known boolean It had an identity already.
---@field error? string The errno's name where it was not hashed.

--- `for identity in chunk:each() do`
---@return fun(): sd.Identity?
function Chunk:each() end

---@class sd.Difference: sd.Identity
---@field why "content"|"changed"|"unreadable" content: the bytes differ from what the library has,
--- and size and mtime do not.

--- Of a hasher that verifies: the files that are not what the library has.
---@return sd.Difference[]
function Chunk:differences() end

return Chunk
