--- JSON-RPC 2.0 on a library's control socket: the runner serves methods, clients call them.
---
--- One message is one line. Strings that are not UTF-8, as paths may be, travel as
--- `{"$hex": "2fff"}`; numbers keep their type and all digits. Batches (arrays of requests) are
--- refused with -32600: who has many requests sends them one after the other without waiting. A
--- request whose id is null is taken for a notification, which has none.
---
--- Requests of a client run at the same time, each in a coroutine; answers come in the order in
--- which they end. Limits are in runtime/loop/control.h.
local M = {}

M.CODE = require "sd.rpc.message".CODE
M.serve = require "sd.rpc.server".serve
M.connect = require "sd.rpc.client".connect

return M
