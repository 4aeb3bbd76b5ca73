---@meta sd.core.control
-- runtime/bind/control.c: the control socket, which carries messages of one line. What they say is
-- the matter of sd.rpc.

---@class sd.core.control
---@field name string Of the socket in the library's directory.
---@field limits sd.ControlLimits
local M = {}

---@class sd.ControlLimits As runtime/loop/control.h has them, with the reasons.
---@field clients integer Connections of a server.
---@field request_max integer Bytes of a message to the server.
---@field answer_max integer Bytes of a message from the server.
---@field pending_max integer Bytes that one peer may leave unread.
---@field pending_all integer Bytes that all clients of a server may leave unread.
---@field behind integer Unread bytes from which on a client is behind.
---@field rate integer Messages a second that are taken from a client in the long run.
---@field burst integer Messages that are taken from a client at once.
---@field rate_bytes integer A message counts once more for each so many bytes.
---@field first_ms integer Milliseconds until the first message must be complete.
---@field requests integer Requests of a client that run at once.
---@field notifications integer Notifications that a client keeps.
---@field dial_ms integer Milliseconds until a client gives up to connect.

---@class sd.ListenOptions
---@field on_open fun(connection: sd.core.Connection) Called for each client; an error ends run().
---@field refusal? string A message for a client that comes when there are too many.
---@field background? boolean Server and connections do not keep run() going (default false).
---@field clients? integer Connections at once, at most `limits.clients`, which is the default.
---@field first? number Seconds until a client's first message must be complete (default 10).

--- Listens in a library's directory, whose lock the caller holds: a socket that a dead process left
--- is replaced.
---@param dir string
---@param options sd.ListenOptions
---@return sd.core.Server? server
---@return string? message
---@return string? code EADDRINUSE where somebody listens, EEXIST where a file has the name.
function M.listen(dir, options) end

---@class sd.ConnectOptions
---@field timeout? number Seconds in which a server may still come up (default 5); 0: one try.

--- Connects to whoever listens in a library's directory.
---@async
---@param dir string
---@param options? sd.ConnectOptions
---@return sd.core.Connection? connection
---@return string? message
---@return string? code ENOENT or ECONNREFUSED where nobody listens, ETIMEDOUT where it takes no
--- connections, EPERM where it is another user's.
function M.connect(dir, options) end

---@class sd.core.Server: userdata
local Server = {}

--- Removes the socket. Connections stay open. May be called again. `__close` and `__gc` do it.
function Server:close() end

--- Connections that are not closed.
---@return integer
function Server:clients() end

---@class sd.core.Connection: userdata
local Connection = {}

--- The next message. Nil alone: the peer has sent its last, and may still be sent something. One
--- coroutine at a time; while nobody receives, nothing is read, and the peer waits.
---@async
---@return string? text
---@return string? message
---@return string? code EMSGSIZE, EFORMAT (cut short), ETIMEDOUT, ENOBUFS (it did not read),
--- EPIPE (it is gone and has not read all), ECANCELED (closed here).
function Connection:receive() end

--- Sends a message. What the peer does not take at once is kept for it; where that becomes too
--- much the connection ends.
---@param text string Without a newline; one raises.
---@return boolean? ok
---@return string? message
---@return string? code EMSGSIZE (nothing was sent), EPIPE (it is gone), ENOBUFS (it did not read).
function Connection:send(text) end

--- Waits until the peer has taken everything.
---@async
---@return boolean? ok
---@return string? message
---@return string? code As `send()`, or ECANCELED.
function Connection:flush() end

--- Bytes that the peer has not taken; nil where nothing can be sent to it any more.
---@return integer?
function Connection:pending() end

--- The process at the other end, as it was when it connected.
---@return integer pid
---@return integer uid
function Connection:peer() end

--- What was not taken is lost; who waits for it gets ECANCELED. May be called again. `__close` and
--- `__gc` do it.
function Connection:close() end

return M
