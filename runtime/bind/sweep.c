#include "bind/sweep.h"

#include <stdlib.h>

#include "bind/library.h"
#include "bind/op.h"
#include "bind/table.h"

enum what { MATCH, SWEEP, FORGET, SETTLE_LINKS };

struct sweep {
  struct lsd_op op;
  struct sd_write_opts opts;
  enum what what;
  int64_t limit, after; /* after: of a match */
  struct sd_sweep_count count;
  struct sd_tell tell;
  bool left;
};

static int work(struct sweep *w, struct sd_store *s, struct sd_err *err) {
  switch (w->what) {
    case MATCH: return sd_store_match(s, &w->opts, w->limit, &w->after, &w->count, &w->left, err);
    case SWEEP: return sd_store_sweep(s, &w->opts, w->limit, &w->count, &w->left, err);
    case SETTLE_LINKS: return sd_store_settle_links(s, w->limit, &w->left, err);
    default: return sd_store_forget_found(s, &w->opts, w->limit, &w->left, err);
  }
}

static void run_sweep(struct sd_task *t, unsigned worker) {
  struct sweep *w = (struct sweep *)t;
  struct sd_store *s = w->op.lib->writer;
  (void)worker;
  int rc = sd_store_begin(s, &w->op.err);
  if (!rc) rc = work(w, s, &w->op.err);
  if (!rc) rc = sd_store_commit(s, &w->op.err);
  if (rc) sd_store_rollback(s);
  w->op.rc = rc;
}

static void push_told(lua_State *L, const struct sd_tell *t) {
  static const char *const names[] = {"moved", "replaced", "deleted"};
  lua_createtable(L, (int)t->items_len, 0);
  for (size_t i = 0; i < t->items_len; i++) {
    const struct sd_told *told = &t->items[i];
    lua_createtable(L, 0, 3);
    lua_pushstring(L, names[told->what]);
    lua_setfield(L, -2, "change");
    lua_pushlstring(L, told->path, told->path_len);
    lua_setfield(L, -2, "path");
    if (told->from) {
      lua_pushlstring(L, told->from, told->from_len);
      lua_setfield(L, -2, "from");
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "told");
}

static int push_sweep(lua_State *L, struct lsd_op *op) {
  struct sweep *w = (struct sweep *)op;
  lua_createtable(L, 0, 6);
  lsd_set_int(L, "moved", (int64_t)w->count.moved);
  lsd_set_int(L, "replaced", (int64_t)w->count.replaced);
  lsd_set_int(L, "removed", (int64_t)w->count.removed);
  if (w->what == MATCH) lsd_set_int(L, "after", w->after);
  lua_pushboolean(L, w->left);
  lua_setfield(L, -2, "left");
  if (w->opts.tell) push_told(L, &w->tell);
  return 1;
}

static void free_sweep(struct lsd_op *op) {
  struct sweep *w = (struct sweep *)op;
  free(w->tell.items);
  sd_arena_fini(&w->tell.arena);
}

/* How bytes of a file that moved are trusted to be the same, by the name of what changes them. */
static uint8_t field_distrust(lua_State *L) {
  static const char *const names[] = {"inode", "mtime", "ctime", "content", NULL};
  static const uint8_t distrust[] = {0, 0, 1, 1};
  lua_getfield(L, 2, "changed_by");
  int i = luaL_checkoption(L, -1, "inode", names);
  lua_pop(L, 1);
  return distrust[i];
}

static struct sweep *new_sweep(lua_State *L, enum what what) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  struct sweep s = {.opts = {.job_id = lsd_field_int(L, 2, "job_id", 0),
                             .location_id = lsd_field_int(L, 2, "location_id", 0),
                             .distrust = field_distrust(L)},
                    .limit = lsd_field_int(L, 2, "limit", 1000),
                    .after = lsd_field_int(L, 2, "after", 0),
                    .what = what};
  bool tell = lsd_field_true(L, 2, "tell");
  struct sweep *w = malloc(sizeof(*w));
  if (!w) luaL_error(L, "out of memory");
  *w = s;
  sd_arena_init(&w->tell.arena);
  if (tell) w->opts.tell = &w->tell;
  w->op.push = push_sweep;
  w->op.free = free_sweep;
  lua_pushvalue(L, 1);
  lsd_op_init(L, &w->op, lib, run_sweep);
  return w;
}

/* match({job_id, location_id, limit, after, changed_by, tell}) -> {moved, …, after, left, told} */
int lsd_library_match(lua_State *L) {
  lsd_check_await(L);
  struct sweep *w = new_sweep(L, MATCH);
  return lsd_op_start(L, &w->op, w->op.lib->write);
}

/* sweep({job_id, location_id, limit, tell}) -> {replaced, removed, left, told} */
int lsd_library_sweep(lua_State *L) {
  lsd_check_await(L);
  struct sweep *w = new_sweep(L, SWEEP);
  return lsd_op_start(L, &w->op, w->op.lib->write);
}

/* forget({location_id, limit}) -> {left} */
int lsd_library_forget(lua_State *L) {
  lsd_check_await(L);
  struct sweep *w = new_sweep(L, FORGET);
  return lsd_op_start(L, &w->op, w->op.lib->write);
}

/* settle_links({limit}) -> {left} */
int lsd_library_settle_links(lua_State *L) {
  lsd_check_await(L);
  struct sweep *w = new_sweep(L, SETTLE_LINKS);
  return lsd_op_start(L, &w->op, w->op.lib->write);
}
