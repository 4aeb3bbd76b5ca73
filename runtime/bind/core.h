/* core.h - the module sd.core: everything that C gives to Lua.
 * Owner:  the Lua state. Thread: the loop's thread. Errors: misuse raises. */
#ifndef SD_BIND_CORE_H
#define SD_BIND_CORE_H

#include <lua.h>

int luaopen_sd_core(lua_State *L);

#endif
