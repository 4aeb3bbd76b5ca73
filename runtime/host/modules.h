/* modules.h - our Lua modules, compiled when the program was built: reading source takes longer
 * than most questions. What was compiled counts only as long as its source is the same file;
 * whoever edits a module needs no build.
 *
 * Owner:  the Lua state. Thread: the one of Lua.
 * Errors: none; whatever is wrong with a compiled module, its source is taken. */
#ifndef SD_HOST_MODULES_H
#define SD_HOST_MODULES_H

#include <lua.h>

/* Has `require` look for modules of the source tree `root` in the folder `compiled`, before it
 * reads source. */
void sd_modules_open(lua_State *L, const char *root, const char *compiled);

#endif
