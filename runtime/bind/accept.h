/* accept.h - a script's predicates over entries, for a thread of the walk lane.
 *
 * accept_entry(e) and accept_directory(d) are functions of the script. They are copied into a Lua
 * state of their own, with what they refer to: the script's state belongs to the loop's thread, and
 * the walk cannot wait for it at each entry. So each thread has its own copy, and what a predicate
 * changes is not seen by the script, nor by the other threads.
 *
 * Owner:  whoever made it. Its state is nobody else's.
 * Thread: made by the loop's thread; then one thread at a time.
 * Errors: making it raises misuse, in the script's state. Asking returns a negative code with *err
 *         filled; what a predicate raises is SD_ESCRIPT. */
#ifndef SD_BIND_ACCEPT_H
#define SD_BIND_ACCEPT_H

#include <lua.h>

#include "engine/walk.h"

struct lsd_accept;

/* Copies the functions in the fields accept_entry and accept_directory of the table at `idx`; each
 * may be missing. What they refer to may be plain values, tables of them, functions in Lua, and
 * what the libraries string, table, math and utf8 have. */
struct lsd_accept *lsd_accept_new(lua_State *L, int idx);
void lsd_accept_free(struct lsd_accept *a); /* accepts NULL */

/* An sd_accept_fn; `ud` is the struct lsd_accept. */
int lsd_accept_ask(void *ud, const struct sd_dir *dir, const struct sd_entry *e,
                   struct sd_err *err);

#endif
