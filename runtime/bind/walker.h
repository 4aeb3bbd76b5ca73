/* walker.h - the walk in Lua's hands: steps on the walk lane, batches in order.
 * Owner:  the userdata; running steps hold it. Thread: the loop's thread.
 * Errors: misuse raises; the world's failures return nil, message, code. */
#ifndef SD_BIND_WALKER_H
#define SD_BIND_WALKER_H

#include "bind/await.h"

#define LSD_WALKER "sd.walker"

int luaopen_sd_walker(lua_State *L);

#endif
