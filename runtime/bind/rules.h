/* rules.h - rule sets in Lua's hands.
 * Owner:  the userdata and each walker that uses the set; the last one releases it.
 * Thread: the loop's thread; lanes only read what lsd_rules_get() gives.
 * Errors: misuse raises; what cannot be compiled returns nil, message, code. */
#ifndef SD_BIND_RULES_H
#define SD_BIND_RULES_H

#include <lua.h>

#include "engine/rules.h"

#define LSD_RULES "sd.rules"

struct lsd_rules {
  struct sd_rules *rules;
  unsigned refs;
};

/* The set of the userdata at `i`, and a reference; raises where there is none. */
struct lsd_rules *lsd_rules_get(lua_State *L, int i);
void lsd_rules_put(struct lsd_rules *r); /* accepts NULL */

int luaopen_sd_rules(lua_State *L);

#endif
