/* chunk.h - files of the content phase in Lua's hands, hashed and not yet written.
 * Owner:  the userdata, until a commit takes the chunk. Thread: the loop's thread.
 * Errors: misuse raises. */
#ifndef SD_BIND_CHUNK_H
#define SD_BIND_CHUNK_H

#include "bind/await.h"
#include "engine/content.h"

#define LSD_CHUNK "sd.chunk"

/* Pushes a userdata that owns `c`. */
void lsd_chunk_push(lua_State *L, struct sd_contents *c);

/* Takes the chunk out of the userdata at `i`, which is empty afterwards; raises where it is. */
struct sd_contents *lsd_chunk_take(lua_State *L, int i);

int luaopen_sd_chunk(lua_State *L);

#endif
