#include "bind/reader.h"

#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bind/op.h"
#include "bind/query.h"
#include "bind/table.h"
#include "engine/reader.h"
#include "engine/rowtext.h"

struct reader {
  struct sd_reader *r; /* NULL: closed */
  unsigned cursors;    /* open ones */
  bool closing;        /* closed by Lua, and kept until its last cursor is */
};

struct cursor {
  struct reader *of;   /* held by user value 1 */
  struct sd_sql sql;   /* its values */
  struct sd_select *s; /* NULL: closed */
  struct sd_buf text;  /* the last chunk */
  struct sd_buf names; /* of the columns as JSON has them, each with a colon and a zero byte */
};

/* ---- signals ---- */

static atomic_int caught; /* number of the last signal; 0: none */

static void on_signal(int number) {
  if (atomic_exchange(&caught, number)) raise(number);
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

/* complete(text) -> whether it ends with a whole statement and its semicolon */
static int lsd_complete(lua_State *L) {
  lua_pushboolean(L, sqlite3_complete(luaL_checkstring(L, 1)));
  return 1;
}

/* json(value) -> text */
static int lsd_json(lua_State *L) {
  struct sd_value v;
  struct sd_buf b = SD_BUF_INIT;
  luaL_checkany(L, 1);
  lsd_value_read(L, 1, &v);
  if (lua_isboolean(L, 1)) {
    lua_pushstring(L, v.i ? "true" : "false");
    return 1;
  }
  int rc = sd_json_value(&b, &v);
  if (!rc) lua_pushlstring(L, (const char *)b.data, b.len);
  sd_buf_fini(&b);
  if (rc) lsd_no_memory(L);
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

struct sd_select *lsd_check_select(lua_State *L, int i) {
  return check_cursor(L, i)->s;
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
  sd_buf_fini(&c->text);
  sd_buf_fini(&c->names);
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

/* ---- many rows as text ---- */

enum { CHUNK = 64 * 1024 }; /* bytes after which a chunk is whole */

static int put_names(struct cursor *c) {
  int n = sd_select_columns(c->s);
  const char **names = malloc((size_t)n * sizeof(*names));
  if (!names) return -ENOMEM;
  for (int i = 0; i < n; i++) names[i] = sd_select_name(c->s, i);
  int rc = sd_json_keys(&c->names, names, (size_t)n);
  free(names);
  return rc;
}

static int put_json(struct cursor *c, struct sd_buf *b, const char *end) {
  int rc = c->names.len ? 0 : put_names(c), n = sd_select_columns(c->s);
  const char *name = (const char *)c->names.data;
  for (int i = 0; !rc && i < n; i++) {
    size_t len = strlen(name);
    struct sd_value v = sd_select_value(c->s, i);
    rc = sd_buf_put(b, i ? "," : "{", 1);
    if (!rc) rc = sd_buf_put(b, name, len);
    if (!rc) rc = sd_json_value(b, &v);
    name += len + 1;
  }
  if (!rc) rc = sd_buf_put(b, "}", 1);
  return rc ? rc : sd_buf_put(b, end, 1);
}

static int put_csv(struct cursor *c, struct sd_buf *b, const char *end) {
  int rc = 0, n = sd_select_columns(c->s);
  for (int i = 0; !rc && i < n; i++) {
    struct sd_value v = sd_select_value(c->s, i);
    if (i) rc = sd_buf_put(b, ",", 1);
    if (!rc) rc = sd_csv_value(b, &v);
  }
  return rc ? rc : sd_buf_put(b, end, 1);
}

/* The bytes of the first column. */
static int put_plain(struct cursor *c, struct sd_buf *b, const char *end) {
  struct sd_value v = sd_select_value(c->s, 0);
  int rc = v.type == SD_VALUE_TEXT || v.type == SD_VALUE_BLOB ? sd_buf_put(b, v.s.p, v.s.n)
                                                              : sd_csv_value(b, &v);
  return rc ? rc : sd_buf_put(b, end, 1);
}

/* chunk("ndjson" | "csv" | "lines" | "nul") -> text of the next rows; nil where there is no more;
 * nil, message, code */
static int lsd_cursor_chunk(lua_State *L) {
  static const char *const kinds[] = {"ndjson", "csv", "lines", "nul", NULL};
  static int (*const puts[])(struct cursor *, struct sd_buf *, const char *) = {
      put_json, put_csv, put_plain, put_plain};
  struct sd_err err = {0};
  struct cursor *c = check_cursor(L, 1);
  int kind = luaL_checkoption(L, 2, NULL, kinds), rc = 1;
  const char *end = kind == 3 ? "" : "\n"; /* a zero byte is the one of the empty string */
  c->text.len = 0;
  while (rc == 1 && c->text.len < CHUNK && (rc = sd_select_next(c->s, &err)) == 1)
    if (puts[kind](c, &c->text, end)) rc = sd_err_nomem(&err);
  if (rc < 0) return lsd_push_error(L, &err);
  if (!c->text.len) return 0;
  lua_pushlstring(L, (const char *)c->text.data, c->text.len);
  return 1;
}

/* again(values): from the beginning, with other values */
static int lsd_cursor_again(lua_State *L) {
  struct sd_err err;
  struct cursor *c = check_cursor(L, 1);
  lua_settop(L, 2);
  sd_select_rewind(c->s);
  c->sql.params_len = 0;
  sd_arena_reset(&c->sql.arena);
  lsd_values_read(L, 2, &c->sql);
  if (bind_all(c, &err)) return luaL_error(L, "%s", err.msg);
  lua_settop(L, 1);
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
    {"open", lsd_reader_open}, {"catch", lsd_catch},       {"caught", lsd_caught},
    {"json", lsd_json},        {"complete", lsd_complete}, {NULL, NULL},
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

static const luaL_Reg cursor_methods[] = {{"next", lsd_cursor_next},   {"chunk", lsd_cursor_chunk},
                                          {"again", lsd_cursor_again}, {"names", lsd_cursor_names},
                                          {"close", lsd_cursor_close}, {NULL, NULL}};

static const luaL_Reg cursor_metamethods[] = {
    {"__gc", lsd_cursor_close}, {"__close", lsd_cursor_close}, {NULL, NULL}};

int luaopen_sd_reader(lua_State *L) {
  lsd_class(L, LSD_READER, reader_metamethods, reader_methods);
  lsd_class(L, LSD_CURSOR, cursor_metamethods, cursor_methods);
  luaL_newlib(L, functions);
  return 1;
}
