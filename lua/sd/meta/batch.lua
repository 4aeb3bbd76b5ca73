---@meta sd.core.batch
-- runtime/bind/batch.c: what a step of the walk found. A batch is used up where it is pushed to a
-- queue or written; after that every method raises.

---@class sd.Batch: userdata
local Batch = {}

---@class sd.Stats
---@field files integer Neither directory nor symlink.
---@field dirs integer
---@field symlinks integer
---@field bytes integer Of the files.

---@class sd.BatchStats: sd.Stats Everything that was listed, changed or not.
---@field listed integer Directories that were read to their end.
---@field changed integer Entries that differ from the library …
---@field inserted integer … those of them that it does not have …
---@field moved integer … and those directories that it has at another place.
---@field again integer Of `changed`: those that do not differ, and are to be hashed again.
---@field vanished integer Entries that are not where the library has them.
---@field errors integer
---@field skips integer
---@field new_files integer Those among what differs whose bytes the library does not know …
---@field new_bytes integer … and their bytes.

---@return sd.BatchStats
function Batch:stats() end

--- The directory that was read last, below the root; "" is the root.
---@return string
function Batch:last_path() end

---@class sd.Entry
---@field id integer
---@field parent_id integer
---@field name string Bytes.
---@field kind string file, directory, symlink, fifo, socket, char, block or unknown.
---@field change "none"|"insert"|"update"|"content"|"move" content: what was known of its bytes is
--- dropped; move: a directory that was elsewhere.
---@field size integer Bytes.
---@field allocated integer Bytes on the disk.
---@field mtime_ns integer Nanoseconds since 1970.
---@field mode integer Permission bits.
---@field uid integer
---@field gid integer
---@field nlink integer
---@field target? string Of a symlink.
---@field path? string Below the root; where the walker was asked for paths.
---@field from? string Of what moved: where it was, below the root.
---@field why? string What differs from the library, in words; nil for what is new.
---@field again boolean Nothing differs; the bytes are to be looked at again.

--- What differs from the library: `for entry in batch:each() do`.
---@return fun(): sd.Entry?
function Batch:each() end

---@class sd.Gone
---@field id integer
---@field parent_id integer
---@field name string Bytes.
---@field replaced boolean Something else has its name.
---@field path? string Below the root; where the walker was asked for paths.

---@class sd.RootDifference
---@field why string What differs, in words: "mode, ctime".

--- What differs in the row of the walk's root itself, which is none of `each()`. In the batch with
--- the first part of the root; nil in a batch that a queue has stored.
---@return sd.RootDifference?
function Batch:root() end

--- Entries of the library that are not where it has them.
---@return sd.Gone[]
function Batch:vanished() end

---@class sd.Note
---@field path string Below the root.
---@field operation string ReadDir, CreateEntry, ReadRules or Skip.
---@field message string For a skip: the rule.
---@field error? string The errno's name; nil for a skip.

--- What could not be read.
---@return sd.Note[]
function Batch:errors() end

--- What was left out and has a name: mounts, the library's own files.
---@return sd.Note[]
function Batch:skips() end

--- How many names each rule left out; rules that left out none are not in it. What is below a
--- directory that is left out was never seen, and is not counted.
---@return table<string, integer>
function Batch:skip_counts() end

return Batch
