#include "bind/reader.h"

#include <lauxlib.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "bind/op.h"
#include "bind/query.h"
#include "engine/reader.h"

struct reader {
  struct sd_reader *r; /* NULL: closed */
  unsigned cursors;    /* open ones */
  bool closing;        /* closed by Lua, and kept until its last cursor is */
};

struct cursor {
  struct reader *of;   /* held by user value 1 */
  struct sd_sql sql;   /* its values */
  struct sd_select *s; /* NULL: closed */
};

/* ---- signals ---- */

static atomic_int caught; /* number of the last signal; 0: none */

static void on_signal(int number) {
  atomic_store(&caught, number);
}

/* What was ignored when the process began stays so: nohup(1). */
static void catch_one(int number) {
  struct sigaction old, act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
  sigemptyset(&act.sa_mask);
  if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
    sigaction(number, &act, NULL);
}

/* catch(): from now on SIGINT and SIGTERM end statements early, the second one the process. A
 * reader of a pipe that has gone ends it as it ends other programs. */
static int lsd_catch(lua_State *L) {
  (void)L;
  atomic_store(&caught, 0);
  catch_one(SIGINT);
  catch_one(SIGTERM);
  signal(SIGPIPE, SIG_DFL);
  return 0;
}

/* caught() -> number of the signal that came, or nil */
static int lsd_caught(lua_State *L) {
  int number = atomic_load(&caught);
  if (!number) return 0;
  lua_pushinteger(L, number);
  return 1;
}

/* ---- the handles ---- */

static struct reader *check_reader(lua_State *L, int i) {
  struct reader *h = luaL_checkudata(L, i, LSD_READER);
  if (!h->r || h->closing) luaL_argerror(L, i, "the reader is closed");
  return h;
}

static struct cursor *check_cursor(lua_State *L, int i) {
  struct cursor *c = luaL_checkudata(L, i, LSD_CURSOR);
  if (!c->s) luaL_argerror(L, i, "the cursor is closed");
  return c;
}

static void end_reader(struct reader *h) {
  if (h->cursors) return;
  sd_reader_close(h->r);
  h->r = NULL;
}

static int lsd_reader_close(lua_State *L) {
  struct reader *h = luaL_checkudata(L, 1, LSD_READER);
  h->closing = true;
  end_reader(h);
  return 0;
}

static int lsd_cursor_close(lua_State *L) {
  struct cursor *c = luaL_checkudata(L, 1, LSD_CURSOR);
  if (c->s) {
    sd_select_close(c->s);
    c->s = NULL;
    c->of->cursors--;
    if (c->of->closing) end_reader(c->of);
  }
  sd_sql_fini(&c->sql);
  return 0;
}

/* ---- reader ---- */

/* open(dir) -> reader; nil, message, code */
static int lsd_reader_open(lua_State *L) {
  struct sd_err err;
  const char *dir = luaL_checkstring(L, 1);
  struct reader *h = lua_newuserdatauv(L, sizeof(*h), 0);
  memset(h, 0, sizeof(*h));
  luaL_setmetatable(L, LSD_READER);
  return sd_reader_open(dir, &caught, &h->r, &err) ? lsd_push_error(L, &err) : 1;
}

/* nil, message, code, byte of the text at which it is wrong (from 1), where that is known */
static int push_refused(lua_State *L, struct reader *h, const struct sd_err *err) {
  int at = sd_reader_offset(h->r);
  lsd_push_error(L, err);
  if (at < 0) return 3;
  lua_pushinteger(L, at + 1);
  return 4;
}

static int bind_all(struct cursor *c, struct sd_err *err) {
  int n = sd_select_params(c->s);
  if ((size_t)n != c->sql.params_len)
    return sd_err_set(err, SD_ESQL, "SQL: %zu values for %d parameters", c->sql.params_len, n);
  for (int i = 0; i < n; i++)
    if (sd_select_bind(c->s, i + 1, &c->sql.params[i], err)) return err->code;
  return 0;
}

/* prepare(text, values?) -> cursor, the text behind the statement; false where there is none; nil,
 * message, code, place */
static int lsd_reader_prepare(lua_State *L) {
  struct sd_err err;
  size_t len, used = 0;
  struct reader *h = check_reader(L, 1);
  const char *text = luaL_checklstring(L, 2, &len);
  lua_settop(L, 3);
  struct cursor *c = lua_newuserdatauv(L, sizeof(*c), 1);
  memset(c, 0, sizeof(*c));
  sd_sql_init(&c->sql);
  c->of = h;
  luaL_setmetatable(L, LSD_CURSOR);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lsd_sql_read(L, 2, 3, &c->sql);
  if (sd_select_open(h->r, text, len, &c->s, &used, &err)) return push_refused(L, h, &err);
  if (!c->s) {
    lua_pushboolean(L, 0);
    return 1;
  }
  h->cursors++;
  if (bind_all(c, &err)) return lsd_push_error(L, &err);
  lua_pushlstring(L, text + used, len - used);
  return 2;
}

/* stay(): all statements see one state of the library, until leave() */
static int lsd_reader_stay(lua_State *L) {
  struct sd_err err;
  if (sd_reader_stay(check_reader(L, 1)->r, &err)) return lsd_push_error(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int lsd_reader_leave(lua_State *L) {
  sd_reader_leave(check_reader(L, 1)->r);
  return 0;
}

/* ---- cursor ---- */

/* next(row?) -> the row, an array with holes for NULL; nil where there is no more; nil, message,
 * code. A table that is given is filled. */
static int lsd_cursor_next(lua_State *L) {
  struct sd_err err;
  struct cursor *c = check_cursor(L, 1);
  lua_settop(L, 2);
  int rc = sd_select_next(c->s, &err);
  if (rc < 0) return lsd_push_error(L, &err);
  if (rc == 0) return 0;
  int n = sd_select_columns(c->s);
  if (!lua_istable(L, 2)) {
    lua_createtable(L, n, 0);
    lua_replace(L, 2);
  }
  for (int i = 0; i < n; i++) {
    struct sd_value v = sd_select_value(c->s, i);
    lsd_value_push(L, &v);
    lua_rawseti(L, 2, i + 1);
  }
  return 1;
}

/* names() -> array of the columns' names */
static int lsd_cursor_names(lua_State *L) {
  struct cursor *c = check_cursor(L, 1);
  int n = sd_select_columns(c->s);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_pushstring(L, sd_select_name(c->s, i));
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- the module ---- */

static const luaL_Reg functions[] = {
    {"open", lsd_reader_open},
    {"catch", lsd_catch},
    {"caught", lsd_caught},
    {NULL, NULL},
};

static const luaL_Reg reader_methods[] = {
    {"prepare", lsd_reader_prepare},
    {"stay", lsd_reader_stay},
    {"leave", lsd_reader_leave},
    {"close", lsd_reader_close},
    {NULL, NULL},
};

static const luaL_Reg reader_metamethods[] = {
    {"__gc", lsd_reader_close}, {"__close", lsd_reader_close}, {NULL, NULL}};

static const luaL_Reg cursor_methods[] = {{"next", lsd_cursor_next},
                                          {"names", lsd_cursor_names},
                                          {"close", lsd_cursor_close},
                                          {NULL, NULL}};

static const luaL_Reg cursor_metamethods[] = {
    {"__gc", lsd_cursor_close}, {"__close", lsd_cursor_close}, {NULL, NULL}};

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods,
                      const luaL_Reg *metamethods) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, metamethods, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int luaopen_sd_reader(lua_State *L) {
  new_class(L, LSD_READER, reader_methods, reader_metamethods);
  new_class(L, LSD_CURSOR, cursor_methods, cursor_metamethods);
  luaL_newlib(L, functions);
  return 1;
}
