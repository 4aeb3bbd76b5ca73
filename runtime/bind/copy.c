#include "bind/copy.h"

#include <lauxlib.h>

#include "bind/op.h"
#include "bind/reader.h"
#include "bind/table.h"
#include "engine/copy.h"

static struct sd_copy **check_any(lua_State *L, int i) {
  return luaL_checkudata(L, i, LSD_COPY);
}

static struct sd_copy *check_open(lua_State *L, int i) {
  struct sd_copy *c = *check_any(L, i);
  if (!c) luaL_argerror(L, i, "the copy is closed");
  return c;
}

static int push_result(lua_State *L, int rc, const struct sd_err *err) {
  if (rc) return lsd_push_error(L, err);
  lua_pushboolean(L, 1);
  return 1;
}

/* open(path) -> copy; nil, message, code */
static int lsd_copy_open(lua_State *L) {
  struct sd_err err;
  const char *path = luaL_checkstring(L, 1);
  struct sd_copy **c = lua_newuserdatauv(L, sizeof(struct sd_copy *), 0);
  *c = NULL;
  luaL_setmetatable(L, LSD_COPY);
  return sd_copy_open(path, c, &err) ? lsd_push_error(L, &err) : 1;
}

/* exec(sql) -> true; nil, message, code */
static int lsd_copy_exec(lua_State *L) {
  struct sd_err err;
  struct sd_copy *c = check_open(L, 1);
  return push_result(L, sd_copy_exec(c, luaL_checkstring(L, 2), &err), &err);
}

/* rows(cursor, table) -> true; nil, message, code */
static int lsd_copy_rows(lua_State *L) {
  struct sd_err err;
  struct sd_copy *c = check_open(L, 1);
  struct sd_select *from = lsd_check_select(L, 2);
  return push_result(L, sd_copy_rows(c, from, luaL_checkstring(L, 3), &err), &err);
}

/* finish() -> true; nil, message, code */
static int lsd_copy_finish(lua_State *L) {
  struct sd_err err;
  return push_result(L, sd_copy_finish(check_open(L, 1), &err), &err);
}

static int lsd_copy_close(lua_State *L) {
  struct sd_copy **c = check_any(L, 1);
  sd_copy_close(*c);
  *c = NULL;
  return 0;
}

static const luaL_Reg functions[] = {{"open", lsd_copy_open}, {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"exec", lsd_copy_exec},
    {"rows", lsd_copy_rows},
    {"finish", lsd_copy_finish},
    {"close", lsd_copy_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", lsd_copy_close}, {"__close", lsd_copy_close}, {NULL, NULL}};

int luaopen_sd_copy(lua_State *L) {
  lsd_class(L, LSD_COPY, metamethods, methods);
  luaL_newlib(L, functions);
  return 1;
}
