#include "bind/table.h"

#include <string.h>

int64_t lsd_field_int(lua_State *L, int i, const char *name, int64_t def) {
  lua_getfield(L, i, name);
  int64_t v = luaL_optinteger(L, -1, def);
  lua_pop(L, 1);
  return v;
}

bool lsd_field_true(lua_State *L, int i, const char *name) {
  lua_getfield(L, i, name);
  bool v = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return v;
}

void lsd_set_int(lua_State *L, const char *name, int64_t v) {
  lua_pushinteger(L, v);
  lua_setfield(L, -2, name);
}

void lsd_class(lua_State *L, const char *name, const luaL_Reg *metamethods,
               const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, metamethods, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void *lsd_pending(lua_State *L, const char *name, size_t size, lua_CFunction gc) {
  void *p = lua_newuserdatauv(L, size, 0);
  memset(p, 0, size);
  if (luaL_newmetatable(L, name)) {
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return p;
}
