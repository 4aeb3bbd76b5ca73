/* control.h - the control socket in Lua's hands: servers, and connections that coroutines wait for.
 * Owner:  the userdata; a coroutine that waits holds it. Thread: the loop's thread.
 * Errors: misuse raises; the world's failures return nil, message, code. */
#ifndef SD_BIND_CONTROL_H
#define SD_BIND_CONTROL_H

#include "bind/await.h"

#define LSD_SERVER     "sd.server"
#define LSD_CONNECTION "sd.connection"

int luaopen_sd_control(lua_State *L);

#endif
