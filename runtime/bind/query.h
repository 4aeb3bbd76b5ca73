/* query.h - SQL of scripts, from Lua values to rows and back.
 * Owner, thread, errors: as op.h. Parameters are always bound. */
#ifndef SD_BIND_QUERY_H
#define SD_BIND_QUERY_H

#include "bind/await.h"
#include "engine/sql.h"

/* Fills `q` from a text at `text` and an optional array of values at `params`; raises on values
 * that SQL does not have. Allocates in `q` only. */
void lsd_sql_read(lua_State *L, int text, int params, struct sd_sql *q);

void lsd_value_push(lua_State *L, const struct sd_value *v);

/* The value at `i`; bytes belong to Lua, which may put something on the stack to keep them. Raises
 * where SQL has no such value. */
void lsd_value_read(lua_State *L, int i, struct sd_value *v);

/* The values alone. */
void lsd_values_read(lua_State *L, int params, struct sd_sql *q);

/* Pushes an array of rows, each a table by column name. */
void lsd_sql_push(lua_State *L, const struct sd_sql *q);

int lsd_library_query(lua_State *L); /* library:query(sql, params?, {fresh = true}?) -> rows */

#endif
