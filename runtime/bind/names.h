/* names.h - the names of all entries, packed for searching, from Lua.
 * Owner:  a part belongs to its userdata.
 * Thread: the loop's thread.
 * Errors: as op.h. */
#ifndef SD_BIND_NAMES_H
#define SD_BIND_NAMES_H

#include "bind/await.h"

int lsd_library_index_names(lua_State *L); /* library:index_names() -> left */
int lsd_library_read_names(lua_State *L);  /* library:read_names(nth) -> part; false: nothing */
int lsd_library_write_names(lua_State *L); /* library:write_names(parts) -> how many were taken */

int luaopen_sd_names(lua_State *L);

#endif
