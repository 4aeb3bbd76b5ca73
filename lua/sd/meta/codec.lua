---@meta sd.core.codec
-- runtime/bind/codec.c: Lua values as framed MessagePack with a checksum, and back.

---@class sd.core.codec
local M = {}

---@class sd.EncodeOptions
---@field name? string Of the job (default "").
---@field version? integer Of the job, 0 to 2^32-1 (default 0).
---@field script? string Its hash, 16 bytes (default: none).
---@field queue_name? fun(value: any): string? The name of a queue, which is stored as a reference
--- (default: queues are refused).

--- Refuses what would not come back as it is: functions, threads, tables with a metatable, cycles,
--- more than 64 levels. The message names the field.
---@param value any
---@param options? sd.EncodeOptions
---@return string? bytes
---@return string? message
---@return string? code EINVAL; EFBIG where it is too large.
function M.encode(value, options) end

---@class sd.DecodeOptions
---@field push_queue? fun(name: string): any The queue of that name; nil: there is none (default:
--- references are refused).

---@class sd.CodecMeta
---@field name string
---@field version integer
---@field script? string

--- Trusts nothing in `bytes`.
---@param bytes string
---@param options? sd.DecodeOptions
---@return any value Nil with a message, or where nil was stored.
---@return sd.CodecMeta|string meta Or the message.
---@return string? code EFORMAT where it is damaged, ENEWER where a later format wrote it.
function M.decode(bytes, options) end

return M
