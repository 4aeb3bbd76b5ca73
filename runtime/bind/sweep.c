#include "bind/sweep.h"

#include <stdlib.h>

#include "bind/library.h"
#include "bind/op.h"

struct sweep {
  struct lsd_op op;
  struct sd_write_opts opts;
  int64_t limit, after; /* after: of a match */
  bool match;
  struct sd_sweep_count count;
  bool left;
};

static void run_sweep(struct sd_task *t, unsigned worker) {
  struct sweep *w = (struct sweep *)t;
  struct sd_store *s = w->op.lib->writer;
  struct sd_err *err = &w->op.err;
  (void)worker;
  int rc = sd_store_begin(s, err);
  if (!rc && w->match)
    rc = sd_store_match(s, &w->opts, w->limit, &w->after, &w->count, &w->left, err);
  else if (!rc) rc = sd_store_sweep(s, &w->opts, w->limit, &w->count, &w->left, err);
  if (!rc) rc = sd_store_commit(s, err);
  if (rc) sd_store_rollback(s);
  w->op.rc = rc;
}

static void set_int(lua_State *L, const char *name, int64_t v) {
  lua_pushinteger(L, v);
  lua_setfield(L, -2, name);
}

static int push_sweep(lua_State *L, struct lsd_op *op) {
  struct sweep *w = (struct sweep *)op;
  lua_createtable(L, 0, 5);
  set_int(L, "moved", (int64_t)w->count.moved);
  set_int(L, "replaced", (int64_t)w->count.replaced);
  set_int(L, "removed", (int64_t)w->count.removed);
  if (w->match) set_int(L, "after", w->after);
  lua_pushboolean(L, w->left);
  lua_setfield(L, -2, "left");
  return 1;
}

/* Arguments job_id, location_id, limit; of a match also after. */
static struct sweep *new_sweep(lua_State *L, bool match) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  struct sweep s = {
      .opts = {.job_id = luaL_checkinteger(L, 2), .location_id = luaL_checkinteger(L, 3)},
      .limit = luaL_checkinteger(L, 4),
      .after = match ? luaL_checkinteger(L, 5) : 0,
      .match = match};
  struct sweep *w = malloc(sizeof(*w));
  if (!w) luaL_error(L, "out of memory");
  *w = s;
  w->op.push = push_sweep;
  lua_pushvalue(L, 1);
  lsd_op_init(L, &w->op, lib, run_sweep);
  return w;
}

/* match(job_id, location_id, limit, after) -> {moved, replaced, removed, after, left} */
int lsd_library_match(lua_State *L) {
  lsd_check_await(L);
  struct sweep *w = new_sweep(L, true);
  return lsd_op_start(L, &w->op, w->op.lib->write);
}

/* sweep(job_id, location_id, limit) -> {moved, replaced, removed, left} */
int lsd_library_sweep(lua_State *L) {
  lsd_check_await(L);
  struct sweep *w = new_sweep(L, false);
  return lsd_op_start(L, &w->op, w->op.lib->write);
}
