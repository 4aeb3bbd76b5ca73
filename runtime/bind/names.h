/* names.h - the names of all entries, packed for searching, from Lua.
 * Owner:  a part belongs to its userdata.
 * Thread: the loop's thread.
 * Errors: as op.h. */
#ifndef SD_BIND_NAMES_H
#define SD_BIND_NAMES_H

#include "bind/await.h"

int lsd_library_index_names(lua_State *L); /* library:index_names() -> left */

#endif
