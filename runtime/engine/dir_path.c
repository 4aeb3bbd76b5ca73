#include "engine/dir_path.h"

#include <errno.h>

#include "base/error.h"

/* One row. 1: there is none. The piece is appended, or only the anchor asked for (out NULL). */
static int read_row(sqlite3_stmt *q, int64_t id, int64_t *anchor, struct sd_buf *out) {
  sqlite3_bind_int64(q, 1, id);
  int step = sqlite3_step(q), rc = step == SQLITE_ROW ? 0 : step == SQLITE_DONE ? 1 : SD_ESQL;
  if (!rc) *anchor = sqlite3_column_int64(q, 0);
  if (!rc && out) {
    const void *piece = sqlite3_column_blob(q, 1);
    rc = sd_buf_put(out, piece ? piece : "", (size_t)sqlite3_column_bytes(q, 1));
  }
  sqlite3_reset(q);
  return rc;
}

/* Anchors are as far apart as a path may be long, so that this goes less deep than the tree. */
int sd_dir_path_read(sqlite3_stmt *q, int64_t id, struct sd_buf *out) {
  int64_t anchor = 0;
  int rc = read_row(q, id, &anchor, NULL);
  if (!rc && anchor) {
    rc = sd_dir_path_read(q, anchor, out);
    if (!rc && out->len) rc = sd_buf_put(out, "/", 1);
  }
  if (!rc) rc = read_row(q, id, &anchor, out);
  return rc == 1 ? 0 : rc;
}

int sd_dir_path_read_name(sqlite3_stmt *q, int64_t id, const char *name, size_t len,
                          struct sd_buf *out) {
  size_t start = out->len;
  int rc = sd_dir_path_read(q, id, out);
  if (!rc && out->len > start) rc = sd_buf_put(out, "/", 1);
  return rc ? rc : sd_buf_put(out, name, len);
}
