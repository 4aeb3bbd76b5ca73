#include "bind/query.h"

#include <stdlib.h>
#include <string.h>

#include "bind/library.h"
#include "bind/op.h"
#include "bind/table.h"

/* sd.blob(bytes) marks bytes that are to be stored as BLOB; plain strings are TEXT where they are
 * valid UTF-8, BLOB where not. */
static bool is_blob(lua_State *L, int i, struct sd_value *v) {
  if (!lua_istable(L, i) || lua_getfield(L, i, "blob") != LUA_TSTRING) return false;
  v->type = SD_VALUE_BLOB;
  v->s.p = lua_tolstring(L, -1, &v->s.n);
  return true;
}

void lsd_value_read(lua_State *L, int i, struct sd_value *v) {
  switch (lua_type(L, i)) {
    case LUA_TNIL: v->type = SD_VALUE_NULL; break;
    case LUA_TBOOLEAN:
      v->type = SD_VALUE_INT;
      v->i = lua_toboolean(L, i);
      break;
    case LUA_TNUMBER:
      v->type = lua_isinteger(L, i) ? SD_VALUE_INT : SD_VALUE_REAL;
      if (v->type == SD_VALUE_INT) v->i = lua_tointeger(L, i);
      else v->r = lua_tonumber(L, i);
      break;
    case LUA_TSTRING:
      v->s.p = lua_tolstring(L, i, &v->s.n);
      v->type = sd_sql_is_text(v->s.p, v->s.n) ? SD_VALUE_TEXT : SD_VALUE_BLOB;
      break;
    default:
      if (!is_blob(L, i, v)) luaL_error(L, "a %s cannot be a value in SQL", luaL_typename(L, i));
  }
}

void lsd_values_read(lua_State *L, int params, struct sd_sql *q) {
  if (lua_isnoneornil(L, params)) return;
  luaL_checktype(L, params, LUA_TTABLE);
  lua_getfield(L, params, "n"); /* table.pack: nil among the values */
  lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : (lua_Integer)lua_rawlen(L, params);
  lua_pop(L, 1);
  for (lua_Integer i = 1; i <= n; i++) {
    struct sd_value v;
    int top = lua_gettop(L);
    lua_geti(L, params, i);
    lsd_value_read(L, top + 1, &v);
    if (sd_sql_param(q, &v)) lsd_no_memory(L);
    lua_settop(L, top);
  }
}

void lsd_sql_read(lua_State *L, int text, int params, struct sd_sql *q) {
  size_t len;
  const char *s = luaL_checklstring(L, text, &len);
  if (sd_sql_text(q, s, len)) lsd_no_memory(L);
  lsd_values_read(L, params, q);
}

void lsd_value_push(lua_State *L, const struct sd_value *v) {
  switch (v->type) {
    case SD_VALUE_NULL: lua_pushnil(L); break;
    case SD_VALUE_INT: lua_pushinteger(L, v->i); break;
    case SD_VALUE_REAL: lua_pushnumber(L, v->r); break;
    default: lua_pushlstring(L, v->s.p, v->s.n);
  }
}

void lsd_sql_push(lua_State *L, const struct sd_sql *q) {
  size_t columns = q->names_len;
  size_t rows = columns ? q->values_len / columns : 0;
  lua_createtable(L, (int)rows, 1);
  for (size_t r = 0; r < rows; r++) {
    lua_createtable(L, 0, (int)columns);
    for (size_t c = 0; c < columns; c++) {
      lsd_value_push(L, &q->values[r * columns + c]);
      lua_setfield(L, -2, q->names[c]);
    }
    lua_rawseti(L, -2, (lua_Integer)r + 1);
  }
  lua_pushinteger(L, q->changes);
  lua_setfield(L, -2, "changes");
}

/* ---- query ---- */

struct query {
  struct lsd_op op;
  struct sd_sql sql;
  bool fresh; /* on the writer, behind the commits that were asked for before */
};

/* A userdata while arguments are read, since those may raise; then the operation owns the text. */
#define PENDING "sd.sql"

static int pending_gc(lua_State *L) {
  sd_sql_fini(luaL_checkudata(L, 1, PENDING));
  return 0;
}

static struct sd_sql *new_pending(lua_State *L) {
  struct sd_sql *q = lsd_pending(L, PENDING, sizeof(*q), pending_gc);
  sd_sql_init(q);
  return q;
}

static void run_query(struct sd_task *t, unsigned worker) {
  struct query *q = (struct query *)t;
  struct sd_store *s = q->op.lib->writer;
  if (!q->fresh) q->op.rc = lsd_library_reader(q->op.lib, LSD_READER_READ, worker, &s, &q->op.err);
  if (!q->op.rc) q->op.rc = sd_sql_run(s, &q->sql, &q->op.err);
  struct sd_err ignored; /* what was written is written; the next commit says it again */
  if (!q->op.rc && q->fresh) lsd_library_move_wal(q->op.lib, &ignored);
}

static int push_query(lua_State *L, struct lsd_op *op) {
  lsd_sql_push(L, &((struct query *)op)->sql);
  return 1;
}

static void free_query(struct lsd_op *op) {
  sd_sql_fini(&((struct query *)op)->sql);
}

static bool flag(lua_State *L, const char *name) {
  if (!lua_istable(L, 4)) return false;
  lua_getfield(L, 4, name);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

int lsd_library_query(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  lsd_check_await(L);
  lua_settop(L, 4);
  bool fresh = flag(L, "fresh"), own = flag(L, "own");
  struct sd_sql *pending = new_pending(L);
  pending->own = own;
  lsd_sql_read(L, 2, 3, pending);
  struct query *q = calloc(1, sizeof(*q));
  if (!q) lsd_no_memory(L);
  q->sql = *pending;
  sd_sql_init(pending);
  q->fresh = fresh;
  q->op.push = push_query;
  q->op.free = free_query;
  lua_pushvalue(L, 1);
  lsd_op_init(L, &q->op, lib, run_query);
  return lsd_op_start(L, &q->op, fresh ? lib->write : lib->read);
}
