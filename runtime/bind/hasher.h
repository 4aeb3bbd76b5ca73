/* hasher.h - the content phase in Lua's hands: files that wait for an identity, hashed in chunks.
 *
 * One select at a time runs on the read lane and makes a chunk; its files are hashed by all threads
 * of the hash lane. Several chunks are under way, and next() gives them in order.
 *
 * Owner:  the userdata; running tasks hold it. A chunk belongs to whoever took it.
 * Thread: the loop's thread, except where a field says otherwise.
 * Errors: misuse raises; the world's failures return nil, message, code. */
#ifndef SD_BIND_HASHER_H
#define SD_BIND_HASHER_H

#include "bind/await.h"

#define LSD_HASHER "sd.hasher"

int luaopen_sd_hasher(lua_State *L);

#endif
