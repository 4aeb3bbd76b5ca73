#include "bind/op.h"

#include <stddef.h>
#include <stdlib.h>

#include "bind/library.h"

static void end(struct lsd_op *op) {
  luaL_unref(op->core->main, LUA_REGISTRYINDEX, op->anchor);
  if (op->free) op->free(op);
  free(op);
}

int lsd_push_error(lua_State *L, const struct sd_err *err) {
  luaL_pushfail(L);
  lua_pushstring(L, err->msg);
  lua_pushstring(L, sd_err_name(err->code));
  return 3;
}

static int finish(lua_State *L, int status, lua_KContext ctx) {
  struct lsd_op *op = (struct lsd_op *)ctx;
  int n = 1;
  (void)status;
  lua_settop(L, 0);
  if (op->rc) n = lsd_push_error(L, &op->err);
  else if (op->push) n = op->push(L, op);
  else lua_pushboolean(L, 1);
  end(op);
  return n;
}

static void wake(struct lsd_op *op) {
  if (!lsd_wake(&op->wait)) end(op);
}

static void wake_late(struct lsd_late *late) {
  wake((struct lsd_op *)((char *)late - offsetof(struct lsd_op, late)));
}

/* Whoever closes a library does not expect that a coroutine goes on meanwhile. */
static void deliver(struct sd_task *t) {
  struct lsd_op *op = (struct lsd_op *)t;
  op->late.fn = wake_late;
  if (op->lib->closing) lsd_defer(op->core, &op->late);
  else wake(op);
}

/* A lane that is closed delivers what it did not run. */
static void run_op(struct sd_task *t, unsigned worker) {
  struct lsd_op *op = (struct lsd_op *)t;
  op->rc = 0;
  op->run(t, worker);
}

void lsd_op_init(lua_State *L, struct lsd_op *op, struct lsd_library *lib,
                 void (*run)(struct sd_task *t, unsigned worker)) {
  op->core = lsd_core(L);
  op->lib = lib;
  op->task.run = run_op;
  op->task.deliver = deliver;
  op->run = run;
  op->rc = sd_err_set(&op->err, SD_ECANCELED, "the library was closed");
  op->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
}

int lsd_op_start(lua_State *L, struct lsd_op *op, struct sd_lane *lane) {
  sd_lane_submit(lane, &op->task);
  return lsd_await(L, &op->wait, finish, (lua_KContext)op);
}
