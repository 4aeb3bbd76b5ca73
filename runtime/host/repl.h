/* repl.h - the interactive loop, as the stock `lua` has it, without line editing.
 * Owner:  the caller owns the state.
 * Thread: the main thread.
 * Errors: reported without a program name; the loop goes on. */
#ifndef SD_HOST_REPL_H
#define SD_HOST_REPL_H

#include <lua.h>

/* Reads, runs and prints until the end of stdin. Prompts are the globals _PROMPT and _PROMPT2. */
void sd_repl_run(lua_State *L);

#endif
