#include "bind/accept.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { DEPTH_MAX = 100 }; /* tables and functions within one another */

/* Where the own state keeps things on its stack. */
enum { AT_VIEW = 1, AT_ENTRY = 2, AT_DIRECTORY = 3 };

/* The entry that a predicate sees; only while it runs. */
struct view {
  const struct sd_dir *dir;
  const struct sd_entry *e;
};

struct lsd_accept {
  lua_State *T;
  struct view *view; /* the userdata at AT_VIEW */
  bool has_entry, has_directory;
  struct sd_buf path; /* scratch */
};

/* ---- copying from the script's state L to the own state T ----
 *
 * L must not raise while T runs, since that would jump over it: only functions are called on L that
 * do not. T raises what is wrong, within a pcall. */

struct copy {
  lua_State *L;
  int from;         /* in L: accept_entry, and behind it accept_directory, or nil */
  int memo;         /* in T: what was copied, by its address in L */
  const char *what; /* the predicate */
  struct sd_buf code;
};

static void copy_value(lua_State *T, struct copy *c, const char *name, int depth);

static void refuse(lua_State *T, const struct copy *c, const char *name, const char *why) {
  luaL_error(T, "%s refers to %s, which %s", c->what, name && *name ? name : "a value", why);
}

static int write_code(lua_State *L, const void *data, size_t len, void *ud) {
  (void)L;
  return sd_buf_put(ud, data, len);
}

static void copy_upvalues(lua_State *T, struct copy *c, int depth) {
  const char *name;
  for (int i = 1; (name = lua_getupvalue(c->L, -1, i)); i++) {
    if (strcmp(name, "_ENV") == 0) lua_rawgeti(T, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    else copy_value(T, c, name, depth + 1);
    lua_pop(c->L, 1);
    lua_setupvalue(T, -2, i);
  }
}

static void remember(lua_State *T, const struct copy *c) {
  lua_pushvalue(T, -1);
  lua_rawsetp(T, c->memo, lua_topointer(c->L, -1));
}

static void copy_function(lua_State *T, struct copy *c, const char *name, int depth) {
  if (lua_iscfunction(c->L, -1)) refuse(T, c, name, "is a function in C");
  c->code.len = 0;
  if (lua_dump(c->L, write_code, &c->code, 0)) luaL_error(T, "not enough memory");
  if (luaL_loadbufferx(T, (const char *)c->code.data, c->code.len, c->what, "b")) lua_error(T);
  remember(T, c);
  copy_upvalues(T, c, depth);
}

static void copy_table(lua_State *T, struct copy *c, const char *name, int depth) {
  if (lua_getmetatable(c->L, -1)) refuse(T, c, name, "has a metatable");
  lua_newtable(T);
  remember(T, c);
  lua_pushnil(c->L);
  while (lua_next(c->L, -2)) {
    lua_pushvalue(c->L, -2);
    copy_value(T, c, name, depth + 1);
    lua_pop(c->L, 1);
    copy_value(T, c, name, depth + 1);
    lua_pop(c->L, 1);
    lua_rawset(T, -3);
  }
}

static void copy_scalar(lua_State *T, struct copy *c, const char *name) {
  size_t len;
  const char *s;
  switch (lua_type(c->L, -1)) {
    case LUA_TNIL: lua_pushnil(T); return;
    case LUA_TBOOLEAN: lua_pushboolean(T, lua_toboolean(c->L, -1)); return;
    case LUA_TNUMBER:
      if (lua_isinteger(c->L, -1)) lua_pushinteger(T, lua_tointeger(c->L, -1));
      else lua_pushnumber(T, lua_tonumber(c->L, -1));
      return;
    case LUA_TSTRING:
      s = lua_tolstring(c->L, -1, &len);
      lua_pushlstring(T, s, len);
      return;
    default: refuse(T, c, name, "is neither plain data nor a function in Lua");
  }
}

/* Pushes onto T what is on top of L. */
static void copy_value(lua_State *T, struct copy *c, const char *name, int depth) {
  if (depth > DEPTH_MAX) refuse(T, c, name, "is too deep");
  luaL_checkstack(T, 10, NULL);
  if (!lua_checkstack(c->L, 10)) luaL_error(T, "not enough memory");
  int type = lua_type(c->L, -1);
  if (type != LUA_TFUNCTION && type != LUA_TTABLE) {
    copy_scalar(T, c, name);
    return;
  }
  if (lua_rawgetp(T, c->memo, lua_topointer(c->L, -1)) != LUA_TNIL) return;
  lua_pop(T, 1);
  if (type == LUA_TFUNCTION) copy_function(T, c, name, depth);
  else copy_table(T, c, name, depth);
}

/* ---- what is there before anything is copied ---- */

/* Functions in C are the same in both states where the own state has them too. */
static void remember_functions(lua_State *T, const struct copy *c) {
  lua_pushnil(T);
  while (lua_next(T, -2)) {
    if (lua_iscfunction(T, -1)) lua_rawsetp(T, c->memo, lua_topointer(T, -1));
    else lua_pop(T, 1);
  }
}

/* The table of a library in L is that of T. */
static void remember_library(lua_State *T, struct copy *c, const char *name) {
  lua_getglobal(T, name);
  remember_functions(T, c);
  lua_rawgeti(c->L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_pushstring(c->L, name);
  lua_rawget(c->L, -2);
  if (lua_istable(c->L, -1)) remember(T, c);
  lua_pop(c->L, 2);
  lua_pop(T, 1);
}

/* As in a script, a name that nobody declared is an error. What concerns the process is absent. */
static const char globals[] =
    "for _, name in ipairs { 'collectgarbage', 'dofile', 'load', 'loadfile', 'print', 'warn' } do"
    " _G[name] = nil end "
    "local error, format = error, string.format "
    "setmetatable(_G, {"
    " __index = function(_, name) error(format(\"undeclared global '%s'\", name), 2) end,"
    " __newindex = function(_, name)"
    "  error(format(\"assignment to undeclared global '%s'\", name), 2) end })";

static void open_libraries(lua_State *T, struct copy *c) {
  static const luaL_Reg libraries[] = {{LUA_GNAME, luaopen_base},
                                       {LUA_STRLIBNAME, luaopen_string},
                                       {LUA_TABLIBNAME, luaopen_table},
                                       {LUA_MATHLIBNAME, luaopen_math},
                                       {LUA_UTF8LIBNAME, luaopen_utf8}};
  for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
    luaL_requiref(T, libraries[i].name, libraries[i].func, 1);
    lua_pop(T, 1);
  }
  if (luaL_loadbufferx(T, globals, sizeof(globals) - 1, "=globals", "t")) lua_error(T);
  lua_call(T, 0, 0);
  lua_rawgeti(T, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  remember_functions(T, c);
  lua_pop(T, 1);
  for (size_t i = 1; i < sizeof(libraries) / sizeof(libraries[0]); i++)
    remember_library(T, c, libraries[i].name);
}

/* ---- what a predicate sees ---- */

enum field {
  F_NAME = 1,
  F_PATH,
  F_KIND,
  F_SIZE,
  F_ALLOCATED,
  F_MTIME,
  F_CTIME,
  F_BTIME,
  F_MODE,
  F_UID,
  F_GID,
  F_NLINK,
  F_DEV,
  F_INO,
};

static const struct {
  const char *name;
  enum field field;
} fields[] = {{"name", F_NAME},
              {"path", F_PATH},
              {"kind", F_KIND},
              {"size", F_SIZE},
              {"allocated", F_ALLOCATED},
              {"mtime_ns", F_MTIME},
              {"ctime_ns", F_CTIME},
              {"btime_ns", F_BTIME},
              {"mode", F_MODE},
              {"uid", F_UID},
              {"gid", F_GID},
              {"nlink", F_NLINK},
              {"dev", F_DEV},
              {"ino", F_INO}};

static int put_path(struct lsd_accept *a) {
  const struct view *v = a->view;
  a->path.len = 0;
  int rc = sd_dir_path(v->dir, SIZE_MAX, &a->path);
  if (!rc && a->path.len) rc = sd_buf_put(&a->path, "/", 1);
  return rc ? rc : sd_buf_put(&a->path, v->e->name, v->e->name_len);
}

static int push_path(lua_State *T, struct lsd_accept *a) {
  if (put_path(a)) return luaL_error(T, "not enough memory");
  lua_pushlstring(T, (const char *)a->path.data, a->path.len);
  return 1;
}

static int64_t number_of(const struct sd_stat *st, enum field field) {
  switch (field) {
    case F_SIZE: return st->size;
    case F_ALLOCATED: return st->allocated;
    case F_MTIME: return st->mtime;
    case F_CTIME: return st->ctime;
    case F_BTIME: return st->btime;
    case F_MODE: return st->mode;
    case F_UID: return st->uid;
    case F_GID: return st->gid;
    case F_NLINK: return st->nlink;
    case F_DEV: return (int64_t)st->dev;
    default: return (int64_t)st->ino;
  }
}

/* e.name; upvalues: the numbers of fields, the lsd_accept */
static int get_field(lua_State *T) {
  const struct view *v = lua_touserdata(T, 1);
  lua_settop(T, 2);
  if (lua_rawget(T, lua_upvalueindex(1)) == LUA_TNIL) return luaL_error(T, "no such field");
  if (!v->e) return luaL_error(T, "an entry is there only while the predicate runs");
  enum field field = (enum field)lua_tointeger(T, -1);
  switch (field) {
    case F_NAME: lua_pushlstring(T, v->e->name, v->e->name_len); break;
    case F_PATH: return push_path(T, lua_touserdata(T, lua_upvalueindex(2)));
    case F_KIND: lua_pushstring(T, sd_kind_name(v->e->st.kind)); break;
    case F_BTIME:
      if (!(v->e->st.flags & SD_ENTRY_BTIME)) return 0;
      lua_pushinteger(T, v->e->st.btime);
      break;
    default: lua_pushinteger(T, number_of(&v->e->st, field));
  }
  return 1;
}

static int set_field(lua_State *T) {
  return luaL_error(T, "an entry cannot be changed");
}

static void push_view(lua_State *T, struct lsd_accept *a) {
  a->view = lua_newuserdatauv(T, sizeof(*a->view), 0);
  *a->view = (struct view){0};
  lua_createtable(T, 0, 3);
  lua_createtable(T, 0, sizeof(fields) / sizeof(fields[0]));
  for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
    lua_pushinteger(T, (lua_Integer)fields[i].field);
    lua_setfield(T, -2, fields[i].name);
  }
  lua_pushlightuserdata(T, a);
  lua_pushcclosure(T, get_field, 2);
  lua_setfield(T, -2, "__index");
  lua_pushcfunction(T, set_field);
  lua_setfield(T, -2, "__newindex");
  lua_pushboolean(T, 0);
  lua_setfield(T, -2, "__metatable");
  lua_setmetatable(T, -2);
}

/* ---- making it ---- */

/* Pushes the copy of a predicate, or nil; whether there is one. */
static bool copy_predicate(lua_State *T, struct copy *c, const char *name, int from) {
  c->what = name;
  lua_pushvalue(c->L, from);
  copy_value(T, c, name, 0);
  lua_pop(c->L, 1);
  return !lua_isnil(T, -1);
}

/* (lsd_accept, copy) -> view, accept_entry, accept_directory */
static int set_up(lua_State *T) {
  struct lsd_accept *a = lua_touserdata(T, 1);
  struct copy *c = lua_touserdata(T, 2);
  lua_newtable(T);
  c->memo = lua_gettop(T);
  open_libraries(T, c);
  push_view(T, a);
  a->has_entry = copy_predicate(T, c, "accept_entry", c->from);
  a->has_directory = copy_predicate(T, c, "accept_directory", c->from + 1);
  return 3;
}

static void push_predicate(lua_State *L, int idx, const char *name) {
  int type = lua_getfield(L, idx, name);
  if (type != LUA_TNIL && type != LUA_TFUNCTION) luaL_error(L, "%s is not a function", name);
}

struct lsd_accept *lsd_accept_new(lua_State *L, int idx) {
  luaL_checktype(L, idx, LUA_TTABLE);
  luaL_checkstack(L, 20, NULL);
  idx = lua_absindex(L, idx);
  push_predicate(L, idx, "accept_entry");
  push_predicate(L, idx, "accept_directory");
  struct copy c = {.L = L, .from = lua_gettop(L) - 1, .code = SD_BUF_INIT};
  struct lsd_accept *a = calloc(1, sizeof(*a));
  lua_State *T = a ? luaL_newstate() : NULL;
  int top = lua_gettop(L), rc = LUA_ERRMEM;
  if (T) {
    a->T = T;
    lua_pushcfunction(T, set_up); /* a light function takes no memory */
    lua_pushlightuserdata(T, a);
    lua_pushlightuserdata(T, &c);
    rc = lua_pcall(T, 2, 3, 0);
  }
  lua_settop(L, top - 2);
  sd_buf_fini(&c.code);
  if (rc == LUA_OK) return a;
  char why[256];
  const char *message = T && rc != LUA_ERRMEM ? lua_tostring(T, -1) : NULL;
  snprintf(why, sizeof(why), "%s", message ? message : "not enough memory");
  lsd_accept_free(a);
  luaL_error(L, "%s", why);
  return NULL;
}

void lsd_accept_free(struct lsd_accept *a) {
  if (!a) return;
  if (a->T) lua_close(a->T);
  sd_buf_fini(&a->path);
  free(a);
}

/* ---- asking ---- */

static int failed(struct lsd_accept *a, int rc, const char *what, struct sd_err *err) {
  if (rc == LUA_ERRMEM || put_path(a)) return sd_err_nomem(err);
  const char *why = lua_type(a->T, -1) == LUA_TSTRING ? lua_tostring(a->T, -1) : "an error";
  return sd_err_set(err, SD_ESCRIPT, "%s, asked about %.*s: %s", what,
                    a->path.len > 200 ? 200 : (int)a->path.len, (const char *)a->path.data, why);
}

int lsd_accept_ask(void *ud, const struct sd_dir *dir, const struct sd_entry *e,
                   struct sd_err *err) {
  struct lsd_accept *a = ud;
  lua_State *T = a->T;
  bool is_dir = e->st.kind == SD_KIND_DIRECTORY;
  if (!(is_dir ? a->has_directory : a->has_entry)) return 1;
  *a->view = (struct view){.dir = dir, .e = e};
  lua_pushvalue(T, is_dir ? AT_DIRECTORY : AT_ENTRY);
  lua_pushvalue(T, AT_VIEW);
  int rc = lua_pcall(T, 1, 1, 0);
  if (rc == LUA_OK) rc = lua_toboolean(T, -1);
  else rc = failed(a, rc, is_dir ? "accept_directory" : "accept_entry", err);
  *a->view = (struct view){0};
  lua_settop(T, AT_DIRECTORY);
  return rc;
}
