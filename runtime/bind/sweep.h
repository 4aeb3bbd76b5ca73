/* sweep.h - methods of an open library for what follows a walk: what has vanished is found
 * elsewhere or removed, what hard links count twice is reckoned.
 * Owner, thread, errors: as library.h. */
#ifndef SD_BIND_SWEEP_H
#define SD_BIND_SWEEP_H

#include "bind/await.h"

int lsd_library_match(lua_State *L);
int lsd_library_sweep(lua_State *L);
int lsd_library_forget(lua_State *L);
int lsd_library_settle_links(lua_State *L);

#endif
