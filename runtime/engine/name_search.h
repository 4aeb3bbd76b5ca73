/* name_search.h - names that match, for SQL:
 *   sd_names(pattern, kind)          a table of id, parent_id, kind, name
 *   sd_match(kind, pattern, subject) whether a subject matches
 * Kinds are those of matcher.h. The table has every entry of the library, as the transaction that
 * asks sees it: packs, and rows of what is not packed yet.
 *
 * Owner, thread: as the connection.
 * Errors: a SQLite code; the message is in the connection. */
#ifndef SD_ENGINE_NAME_SEARCH_H
#define SD_ENGINE_NAME_SEARCH_H

#include <stdatomic.h>

struct sqlite3;

/* While *stop is not 0 a search ends soon; NULL: never. */
int sd_name_search_register(struct sqlite3 *db, const atomic_int *stop);

#endif
