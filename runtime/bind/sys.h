/* sys.h - small things of the system that neither Lua nor luv has: clocks, ids, terminals.
 * Thread: the loop's thread.
 * Errors: misuse raises; the world's failures return nil, message, code. */
#ifndef SD_BIND_SYS_H
#define SD_BIND_SYS_H

#include <lua.h>

int luaopen_sd_sys(lua_State *L);

#endif
