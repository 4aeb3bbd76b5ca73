/* coroutine.h - the coroutines that scripts make themselves, in sight of the watchdog.
 *
 * Thread: the loop's thread. Errors: those of coroutine.resume and coroutine.wrap. */
#ifndef SD_BIND_COROUTINE_H
#define SD_BIND_COROUTINE_H

#include <lua.h>

/* Puts a resume and a wrap into the library `coroutine` that do the same as before, and tell who
 * runs. The core must be open. */
void lsd_coroutine_open(lua_State *L);

#endif
