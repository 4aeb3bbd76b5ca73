#include "bind/coroutine.h"

#include <lauxlib.h>
#include <lualib.h>

#include "bind/await.h"

/* As lcorolib.c does it. The results, or -1 and the error on top of L. */
static int resume(lua_State *L, lua_State *co, int nargs) {
  struct lsd_core *core = lua_touserdata(L, lua_upvalueindex(1));
  int nres = 0;
  if (!lua_checkstack(co, nargs)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, nargs);
  bool in_loop = atomic_load_explicit(&core->running.L, memory_order_relaxed) != NULL;
  struct lsd_entered before = {0};
  if (in_loop) before = lsd_enter(core, co, lsd_current_job(core));
  int status = lua_resume(co, L, nargs, &nres);
  if (in_loop) lsd_leave(core, before);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_xmove(co, L, 1);
    return -1;
  }
  if (!lua_checkstack(L, nres + 1)) {
    lua_pop(co, nres);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, nres);
  return nres;
}

static int lsd_resume(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTHREAD);
  int n = resume(L, lua_tothread(L, 1), lua_gettop(L) - 1);
  lua_pushboolean(L, n >= 0);
  if (n < 0) n = 1;
  lua_insert(L, -(n + 1));
  return n + 1;
}

/* Closes what a failed coroutine left open; its error is on top, and may be another one then. */
static int raise_error(lua_State *L, lua_State *co) {
  int status = lua_status(co);
  if (status != LUA_OK && status != LUA_YIELD) {
    status = lua_resetthread(co);
    lua_xmove(co, L, 1);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int call_wrapped(lua_State *L) {
  lua_State *co = lua_tothread(L, lua_upvalueindex(2));
  int n = resume(L, co, lua_gettop(L));
  return n < 0 ? raise_error(L, co) : n;
}

static int lsd_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, call_wrapped, 2);
  return 1;
}

void lsd_coroutine_open(lua_State *L) {
  static const luaL_Reg functions[] = {{"resume", lsd_resume}, {"wrap", lsd_wrap}, {NULL, NULL}};
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, LUA_COLIBNAME) == LUA_TTABLE) {
    lua_pushlightuserdata(L, lsd_core(L));
    luaL_setfuncs(L, functions, 1);
  }
  lua_pop(L, 2);
}
