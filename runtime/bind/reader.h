/* reader.h - questions to a library, for Lua: a read-only connection, and rows of its statements.
 *
 * All of this runs on the thread of Lua and waits for nobody: a question is a program of its own.
 *
 * Owner:  the userdata own reader and cursors; a cursor keeps its reader alive.
 * Thread: the loop's thread. Signals are caught for the whole process.
 * Errors: misuse raises; the world's failures return nil, message, code. */
#ifndef SD_BIND_READER_H
#define SD_BIND_READER_H

#include <lua.h>

#define LSD_READER "sd.reader"
#define LSD_CURSOR "sd.cursor"

struct sd_select;

/* The open cursor at `i`; raises where it is closed. */
struct sd_select *lsd_check_select(lua_State *L, int i);

int luaopen_sd_reader(lua_State *L);

#endif
