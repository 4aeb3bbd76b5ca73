#include "bind/names.h"

#include <stdlib.h>

#include "bind/library.h"
#include "bind/op.h"
#include "bind/table.h"
#include "engine/name_index.h"

#define PART "sd.names"
enum { PARTS_MAX = 64 };

/* ---- one after the other ---- */

struct index_names {
  struct lsd_op op;
  bool left;
};

static void run_index_names(struct sd_task *t, unsigned worker) {
  struct index_names *n = (struct index_names *)t;
  struct sd_store *s = n->op.lib->writer;
  (void)worker;
  int rc = sd_store_begin(s, &n->op.err);
  if (!rc) rc = sd_name_index_build(s, &n->left, &n->op.err);
  if (!rc) rc = sd_store_commit(s, &n->op.err);
  if (rc) sd_store_rollback(s);
  n->op.rc = rc;
}

static int push_index_names(lua_State *L, struct lsd_op *op) {
  lua_pushboolean(L, ((struct index_names *)op)->left);
  return 1;
}

int lsd_library_index_names(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  lsd_check_await(L);
  struct index_names *n = calloc(1, sizeof(*n));
  if (!n) lsd_no_memory(L);
  n->op.push = push_index_names;
  lua_pushvalue(L, 1);
  lsd_op_init(L, &n->op, lib, run_index_names);
  return lsd_op_start(L, &n->op, lib->write);
}

/* ---- parts that are read at the same time ---- */

struct part {
  struct sd_name_index_part *p; /* NULL: was written, or is being written */
  uint64_t turn;                /* of the writer, before it was read */
};

struct read_names {
  struct lsd_op op;
  int64_t nth;
  struct part part;
};

static void run_read_names(struct sd_task *t, unsigned worker) {
  struct read_names *r = (struct read_names *)t;
  struct lsd_library *lib = r->op.lib;
  struct sd_store *reader;
  int rc = lsd_library_reader(lib, LSD_READER_WALK, worker, &reader, &r->op.err);
  r->part.turn = sd_store_turns(lib->writer);
  if (!rc) rc = sd_name_index_part_read(reader, r->nth, &r->part.p, &r->op.err);
  r->op.rc = rc;
}

static int push_part(lua_State *L, struct lsd_op *op) {
  struct read_names *r = (struct read_names *)op;
  if (!r->part.p) {
    lua_pushboolean(L, false);
    return 1;
  }
  struct part *u = lua_newuserdatauv(L, sizeof(*u), 0);
  *u = r->part;
  r->part.p = NULL;
  luaL_setmetatable(L, PART);
  return 1;
}

static void free_read(struct lsd_op *op) {
  sd_name_index_part_free(((struct read_names *)op)->part.p);
}

int lsd_library_read_names(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  lsd_check_await(L);
  lua_Integer nth = luaL_checkinteger(L, 2);
  struct read_names *r = calloc(1, sizeof(*r));
  if (!r) lsd_no_memory(L);
  r->nth = nth;
  r->op.push = push_part;
  r->op.free = free_read;
  lua_pushvalue(L, 1);
  lsd_op_init(L, &r->op, lib, run_read_names);
  return lsd_op_start(L, &r->op, lib->walk);
}

struct write_names {
  struct lsd_op op;
  struct part parts[PARTS_MAX];
  size_t len, taken;
};

/* A part is true as long as nothing was written since, and nothing was being written when it was
 * read: this transaction is the first one. */
static int write_parts(struct write_names *w, struct sd_store *s) {
  bool taken = true;
  int rc = 0;
  for (size_t i = 0; !rc && taken && i < w->len; i++) {
    struct part *p = &w->parts[i];
    if (p->turn % 2 || sd_store_turns(s) != p->turn + 1) break;
    rc = sd_name_index_part_write(s, p->p, &taken, &w->op.err);
    if (!rc && taken) w->taken++;
  }
  return rc;
}

static void run_write_names(struct sd_task *t, unsigned worker) {
  struct write_names *w = (struct write_names *)t;
  struct sd_store *s = w->op.lib->writer;
  (void)worker;
  int rc = sd_store_begin(s, &w->op.err);
  if (!rc) rc = write_parts(w, s);
  if (!rc) rc = sd_store_commit(s, &w->op.err);
  if (rc) sd_store_rollback(s);
  w->op.rc = rc;
}

static int push_taken(lua_State *L, struct lsd_op *op) {
  lua_pushinteger(L, (lua_Integer)((struct write_names *)op)->taken);
  return 1;
}

static void free_write(struct lsd_op *op) {
  struct write_names *w = (struct write_names *)op;
  for (size_t i = 0; i < w->len; i++) sd_name_index_part_free(w->parts[i].p);
}

int lsd_library_write_names(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  lsd_check_await(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_Integer n = luaL_len(L, 2);
  luaL_argcheck(L, n <= PARTS_MAX, 2, "too many parts");
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 2, i);
    luaL_checkudata(L, -1, PART);
    lua_pop(L, 1);
  }
  struct write_names *w = calloc(1, sizeof(*w));
  if (!w) lsd_no_memory(L);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 2, i);
    struct part *u = lua_touserdata(L, -1);
    if (u->p) w->parts[w->len++] = *u;
    u->p = NULL;
    lua_pop(L, 1);
  }
  w->op.push = push_taken;
  w->op.free = free_write;
  lua_pushvalue(L, 1);
  lsd_op_init(L, &w->op, lib, run_write_names);
  return lsd_op_start(L, &w->op, lib->write);
}

static int lsd_part_gc(lua_State *L) {
  struct part *u = luaL_checkudata(L, 1, PART);
  sd_name_index_part_free(u->p);
  u->p = NULL;
  return 0;
}

static const luaL_Reg metamethods[] = {{"__gc", lsd_part_gc}, {NULL, NULL}};
static const luaL_Reg methods[] = {{NULL, NULL}};

int luaopen_sd_names(lua_State *L) {
  lsd_class(L, PART, metamethods, methods);
  return 0;
}
