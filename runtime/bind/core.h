/* core.h - the module sd.core: everything that C gives to Lua.
 * Owner:  the Lua state. Thread: the loop's thread. Errors: misuse raises. */
#ifndef SD_BIND_CORE_H
#define SD_BIND_CORE_H

#include <lua.h>

int luaopen_sd_core(lua_State *L);

/* The state's last moment in which everything is there. The loop turns once more, for nobody: what
 * luv is closing is closed then, and not freed before, as the collector would. Does nothing where
 * the module was not opened. */
void lsd_core_end(lua_State *L);

#endif
