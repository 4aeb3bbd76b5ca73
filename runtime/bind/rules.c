#include "bind/rules.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "bind/op.h"
#include "bind/table.h"

struct handle {
  struct lsd_rules *shared; /* NULL: closed */
};

static struct handle *check_handle(lua_State *L, int i) {
  struct handle *h = luaL_checkudata(L, i, LSD_RULES);
  if (!h->shared) luaL_argerror(L, i, "the rules are closed");
  return h;
}

struct lsd_rules *lsd_rules_get(lua_State *L, int i) {
  struct lsd_rules *r = check_handle(L, i)->shared;
  r->refs++;
  return r;
}

void lsd_rules_put(struct lsd_rules *r) {
  if (!r || --r->refs) return;
  sd_rules_free(r->rules);
  free(r);
}

/* ---- options: all of them are read before anything is made ---- */

static void check_names(lua_State *L) {
  static const char *const names[] = {
      "rules",    "include",   "exclude", "accept_children", "reject_children",
      "min_size", "max_size",  "newer",   "older",           "one_filesystem",
      "remote",   "snapshots", NULL};
  lua_pushnil(L);
  while (lua_next(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    const char *const *known = names;
    while (*known && strcmp(*known, name) != 0) known++;
    if (!*known) luaL_error(L, "unknown option \"%s\"", name);
    lua_pop(L, 1);
  }
}

/* Leaves the array on the stack: it holds the strings. */
static const char *const *get_list(lua_State *L, const char *field, size_t *len) {
  lua_getfield(L, 1, field);
  *len = 0;
  if (lua_isnil(L, -1)) return NULL;
  luaL_argcheck(L, lua_istable(L, -1), 1, lua_pushfstring(L, "%s: a table expected", field));
  int at = lua_gettop(L);
  *len = lua_rawlen(L, at);
  const char **list = lua_newuserdatauv(L, (*len + 1) * sizeof(*list), 0);
  for (size_t i = 0; i < *len; i++) {
    size_t n;
    lua_rawgeti(L, at, (lua_Integer)i + 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "%s[%d]: a string expected", field, (int)i + 1);
    list[i] = lua_tolstring(L, -1, &n); /* the array keeps it */
    if (strlen(list[i]) != n) luaL_error(L, "%s[%d]: a zero byte", field, (int)i + 1);
    lua_pop(L, 1);
  }
  return list;
}

static int64_t get_number(lua_State *L, const char *field) {
  int ok = 1;
  lua_getfield(L, 1, field);
  lua_Integer v = lua_isnil(L, -1) ? 0 : lua_tointegerx(L, -1, &ok);
  if (!ok) luaL_error(L, "%s: an integer expected", field);
  lua_pop(L, 1);
  return v;
}

static bool get_flag(lua_State *L, const char *field) {
  lua_getfield(L, 1, field);
  bool v = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return v;
}

static void read_options(lua_State *L, struct sd_rules_opts *o) {
  check_names(L);
  o->include = get_list(L, "include", &o->include_len);
  o->exclude = get_list(L, "exclude", &o->exclude_len);
  o->accept_children = get_list(L, "accept_children", &o->accept_children_len);
  o->reject_children = get_list(L, "reject_children", &o->reject_children_len);
  o->min_size = get_number(L, "min_size");
  o->max_size = get_number(L, "max_size");
  o->newer = get_number(L, "newer");
  o->older = get_number(L, "older");
  o->one_filesystem = get_flag(L, "one_filesystem");
  o->remote = get_flag(L, "remote");
  o->snapshots = get_flag(L, "snapshots");
}

/* ---- functions ---- */

/* compile(options) -> rules; nil, message, code */
static int lsd_rules_compile(lua_State *L) {
  struct sd_rules_opts o = {0};
  struct sd_err err;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  read_options(L, &o);
  lua_getfield(L, 1, "rules");
  const char *names = luaL_optstring(L, -1, NULL);
  struct handle *h = lua_newuserdatauv(L, sizeof(*h), 0);
  h->shared = NULL;
  luaL_setmetatable(L, LSD_RULES);
  struct lsd_rules *shared = calloc(1, sizeof(*shared));
  if (!shared) lsd_no_memory(L);
  int rc = sd_rules_parse(names, &o.named, &err);
  if (!rc) rc = sd_rules_compile(&o, &shared->rules, &err);
  if (rc) {
    free(shared);
    return lsd_push_error(L, &err);
  }
  shared->refs = 1;
  h->shared = shared;
  return 1;
}

/* known() -> the names that `rules` may have */
static int lsd_rules_known(lua_State *L) {
  const char *name;
  lua_newtable(L);
  for (size_t i = 0; (name = sd_rules_known(i)); i++) {
    lua_pushstring(L, name);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* decide(root, path) -> accepted, rule or nil, path that it is about, detail; nil, message, code */
static int lsd_rules_decide(lua_State *L) {
  struct handle *h = check_handle(L, 1);
  struct sd_verdict v;
  struct sd_err err;
  size_t len;
  const char *root = luaL_checkstring(L, 2), *path = luaL_checklstring(L, 3, &len);
  luaL_argcheck(L, strlen(path) == len, 3, "a zero byte");
  luaL_checkstack(L, 4, NULL);
  if (sd_rules_decide(h->shared->rules, root, path, len, &v, &err)) return lsd_push_error(L, &err);
  lua_pushboolean(L, v.rule == 0);
  if (v.rule) lua_pushstring(L, sd_rule_name(v.rule));
  else lua_pushnil(L);
  lua_pushlstring(L, v.path.data ? (const char *)v.path.data : "", v.path.len);
  lua_pushlstring(L, v.detail.data ? (const char *)v.detail.data : "", v.detail.len);
  sd_verdict_fini(&v);
  return 4;
}

static int lsd_rules_close(lua_State *L) {
  struct handle *h = luaL_checkudata(L, 1, LSD_RULES);
  lsd_rules_put(h->shared);
  h->shared = NULL;
  return 0;
}

static const luaL_Reg functions[] = {
    {"compile", lsd_rules_compile}, {"known", lsd_rules_known}, {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"decide", lsd_rules_decide}, {"close", lsd_rules_close}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__gc", lsd_rules_close}, {"__close", lsd_rules_close}, {NULL, NULL}};

int luaopen_sd_rules(lua_State *L) {
  lsd_class(L, LSD_RULES, metamethods, methods);
  luaL_newlib(L, functions);
  return 1;
}
