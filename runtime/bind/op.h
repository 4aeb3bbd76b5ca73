/* op.h - an operation: a task on a lane that a coroutine waits for.
 *
 * Every asynchronous function of a binding makes one: run works on a lane, push turns the result
 * into Lua values in the continuation, free ends it. There is one finish path for success, error
 * and a coroutine that was closed meanwhile.
 *
 * Owner:  the operation owns itself from lsd_op_start() on; it holds the library userdata alive.
 * Thread: run on the lane; all else on the loop's thread.
 * Errors: rc and err, set by run; SD_ECANCELED where that did not come to run. */
#ifndef SD_BIND_OP_H
#define SD_BIND_OP_H

#include "base/error.h"
#include "bind/await.h"

struct lsd_library;

struct lsd_op {
  struct sd_task task; /* first: a task is its operation */
  struct lsd_wait wait;
  struct lsd_late late; /* delivered while the library was being closed */
  struct lsd_core *core;
  struct lsd_library *lib;
  int anchor; /* ref of what must not be collected while this runs */
  void (*run)(struct sd_task *t, unsigned worker);
  int rc;
  struct sd_err err;
  int (*push)(lua_State *L, struct lsd_op *op); /* number of results; NULL: true */
  void (*free)(struct lsd_op *op); /* ends what the kind of operation owns, not itself */
};

/* Prepares `op` (calloc'ed by the caller); takes the value on top of the stack as anchor. */
void lsd_op_init(lua_State *L, struct lsd_op *op, struct lsd_library *lib,
                 void (*run)(struct sd_task *t, unsigned worker));

/* Submits it and waits: `return lsd_op_start(L, op, lane)`. */
int lsd_op_start(lua_State *L, struct lsd_op *op, struct sd_lane *lane);

/* nil, message, code name. */
int lsd_push_error(lua_State *L, const struct sd_err *err);

#endif
