/* functions.h - what SQL of the query commands can say beside what SQLite knows:
 *   human(bytes)         "12.3 MiB"
 *   path(entry_id)       the absolute path; NULL where there is no such entry
 *   path(parent_id,name) the same where the row is at hand already
 *   regexp(pattern, x)   for `x REGEXP pattern`
 *   extension(name)      "jpg" of "a.JPG"; NULL where there is none
 * Owner, thread: as the connection. Errors: a SQLite code. */
#ifndef SD_ENGINE_FUNCTIONS_H
#define SD_ENGINE_FUNCTIONS_H

#include <stdint.h>

struct sqlite3;
struct sd_paths;

/* `paths` must outlive the connection's statements. */
int sd_functions_register(struct sqlite3 *db, struct sd_paths *paths);

enum { SD_HUMAN_LEN = 32 };

/* A number of bytes with three digits or so. */
void sd_human(double bytes, char out[SD_HUMAN_LEN]);

#endif
