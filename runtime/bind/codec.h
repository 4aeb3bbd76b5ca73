/* codec.h - Lua values as a checksummed MessagePack frame, and back.
 *
 * What round-trips: nil, booleans, integers (exactly), floats, strings of any bytes, tables without
 * metatables whose keys are strings, integers, floats or booleans, and queues by reference.
 * Everything else (function, thread, userdata, a table that contains itself, too deep, too large)
 * is an error that names the field, as in "value.stats.f: a function cannot be stored". Keys are
 * written in a fixed order, so that equal tables give equal bytes. A table that is met twice is
 * written twice, and read as two. A table whose metatable has `__sd_plain = true` is written as if
 * it had none.
 *
 * Owner:  the caller owns `out`. Thread: the loop's thread.
 * Errors: 0 or a negative code with *err filled: -EINVAL for a value that cannot be stored, -EFBIG
 * for
 *         one that is too large. Decode raises a Lua error when memory is out; encode does not. An
 *         error that a callback raises passes through both, with `out` as it was. */
#ifndef SD_BIND_CODEC_H
#define SD_BIND_CODEC_H

#include <lua.h>

#include "engine/codec.h"

struct lsd_codec_opts {
  struct sd_codec_meta meta; /* encode only */
  /* The name of the queue at `idx`; NULL where it is not a queue. NULL callback: no queues. Asked
   * for userdata and for tables with a metatable. It may leave values on the stack, to keep the
   * name. */
  const char *(*queue_name)(lua_State *L, int idx, void *ud);
  /* Pushes the queue `name`; 0, or a negative code with *err filled. NULL: no queues. */
  int (*push_queue)(lua_State *L, const char *name, size_t len, void *ud, struct sd_err *err);
  void *ud;
};

/* Appends the frame of the value at `idx` to `out`; on error `out` is as it was. */
int lsd_codec_encode(lua_State *L, int idx, const struct lsd_codec_opts *o, struct sd_buf *out,
                     struct sd_err *err);

/* Pushes the value. On error nothing is pushed. `meta` may be NULL. */
int lsd_codec_decode(lua_State *L, const void *data, size_t len, const struct lsd_codec_opts *o,
                     struct sd_codec_meta *meta, struct sd_err *err);

/* codec.encode(value, {name=, version=, script=16 bytes, queue_name=function(v)->string?}?) ->
 * string;
 *   nil, message, code where the value cannot be stored.
 * codec.decode(string, {push_queue=function(name)->queue}?) -> value, {name=, version=, script=};
 *   nil, message, code where the bytes are damaged. `script` is nil where there is none, and a
 *   queue that push_queue does not know (nil) is an error. */
int luaopen_sd_codec(lua_State *L);

#endif
