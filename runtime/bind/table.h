/* table.h - what all bindings do with tables and userdata.
 * Owner:  Lua.
 * Thread: the loop's thread.
 * Errors: misuse raises. */
#ifndef SD_BIND_TABLE_H
#define SD_BIND_TABLE_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The integer in field `name` of the table at `i`, or `def`. */
int64_t lsd_field_int(lua_State *L, int i, const char *name, int64_t def);

/* Whether field `name` of the table at `i` is there and not false. */
bool lsd_field_true(lua_State *L, int i, const char *name);

/* Sets a field of the table on top of the stack. */
void lsd_set_int(lua_State *L, const char *name, int64_t v);

/* The metatable `name` of a kind of userdata, whose __index is the table of its methods. */
void lsd_class(lua_State *L, const char *name, const luaL_Reg *metamethods,
               const luaL_Reg *methods);

/* A userdata of zeros for what is put together while arguments are read, since those may raise. */
void *lsd_pending(lua_State *L, const char *name, size_t size, lua_CFunction gc);

#endif
