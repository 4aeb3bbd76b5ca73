/* watchdog.h - sees a script that does not come back, and says where it is.
 *
 * A thread of its own looks whether the loop is still in the Lua that it entered some seconds ago.
 * Then it sends the loop's thread a signal, whose handler sets a hook on the state that runs; the
 * hook finds a script at its next instruction, where a traceback can be made. Where no instruction
 * comes, the script waits in a C function. SIGINT and SIGTERM that the loop does not come to
 * therefore end the process.
 *
 * Owner:  the userdata owns thread, signal handler and note; one at a time in a process.
 * Thread: the loop's thread, but for the thread inside.
 * Errors: misuse raises; the world's failures return nil, message, code. */
#ifndef SD_BIND_WATCHDOG_H
#define SD_BIND_WATCHDOG_H

#include <lua.h>

int luaopen_sd_watchdog(lua_State *L);

#endif
