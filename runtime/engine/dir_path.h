/* dir_path.h - paths of directories, as the library keeps them: in pieces, see table `directory`.
 * Owner:  the caller owns statement and buffer. Thread: as the statement.
 * Errors: 0, -ENOMEM, or SD_ESQL where the statement failed: ask its connection. */
#ifndef SD_ENGINE_DIR_PATH_H
#define SD_ENGINE_DIR_PATH_H

#include <sqlite3.h>

#include "base/buf.h"

/* The statement that sd_dir_path_read() wants. */
#define SD_DIR_PATH_SQL "SELECT anchor,path FROM directory WHERE entry_id=?1"

/* Appends the path of directory `id` below the root of its location; nothing for the root, or where
 * there is no such directory. */
int sd_dir_path_read(sqlite3_stmt *q, int64_t id, struct sd_buf *out);

/* The same, with a slash and `name` behind it. */
int sd_dir_path_read_name(sqlite3_stmt *q, int64_t id, const char *name, size_t len,
                          struct sd_buf *out);

#endif
