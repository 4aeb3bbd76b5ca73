/* schema.h - what library.db looks like, and how an older one becomes a newer one.
 * Owner:  nothing. Thread: as the connection. Errors: SQLite's codes.
 * The public views are described in docs/schema.md; the tables behind them may change. */
#ifndef SD_ENGINE_SCHEMA_H
#define SD_ENGINE_SCHEMA_H

#include <stdbool.h>

struct sqlite3;

enum {
  SD_SCHEMA_APPLICATION_ID = 0x73646c75, /* "sdlu" */
  SD_SCHEMA_VERSION = 3,
  SD_SCHEMA_READABLE = 2, /* the oldest version that can be read as it is: it has all views */
};

/* The statements that make a library of version `from` (0: an empty file) one of ours, as texts to
 * be run one after the other in one transaction; NULL ends them. Static: any thread may ask. */
const char *const *sd_schema_scripts(int from);

/* Whether a library has all tables, views, indexes and triggers of this version; true for one of
 * another version, and where that cannot be found out. Takes a millisecond. */
bool sd_schema_is_whole(struct sqlite3 *db);

#endif
