/* copy.h - a new, plain SQLite file, filled from the rows of selects.
 *
 * Owner:  the caller owns the copy.
 * Thread: one thread at a time, that of the reader.
 * Errors: 0 or a negative code with *err filled. A copy that is closed before it is finished leaves
 *         no file. */
#ifndef SD_ENGINE_COPY_H
#define SD_ENGINE_COPY_H

#include "engine/reader.h"

struct sd_copy;

/* -EEXIST where there is something at `path`. */
int sd_copy_open(const char *path, struct sd_copy **out, struct sd_err *err);

/* Runs statements: tables, indexes. */
int sd_copy_exec(struct sd_copy *c, const char *sql, struct sd_err *err);

/* Adds all rows of `from` to a table with as many columns. */
int sd_copy_rows(struct sd_copy *c, struct sd_select *from, const char *table, struct sd_err *err);

/* The file is complete, and on the disk. */
int sd_copy_finish(struct sd_copy *c, struct sd_err *err);

void sd_copy_close(struct sd_copy *c); /* accepts NULL */

#endif
