/* copy.h - a new SQLite file, filled from the rows of cursors, for Lua.
 * Owner:  the userdata owns the copy. Thread: the loop's thread, which it does not leave.
 * Errors: misuse raises; the world's failures return nil, message, code. */
#ifndef SD_BIND_COPY_H
#define SD_BIND_COPY_H

#include <lua.h>

#define LSD_COPY "sd.copy"

int luaopen_sd_copy(lua_State *L);

#endif
