#include "engine/paths.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>

#include "base/error.h"

static const char entry_sql[] = "SELECT parent_id,name FROM entry WHERE id=?1";
static const char dir_sql[] = "SELECT anchor,path,location_id FROM directory WHERE entry_id=?1";
static const char root_sql[] = "SELECT root FROM location WHERE id=?1";

void sd_paths_init(struct sd_paths *p, sqlite3 *db) {
  memset(p, 0, sizeof(*p));
  p->db = db;
}

void sd_paths_fini(struct sd_paths *p) {
  sqlite3_finalize(p->entry);
  sqlite3_finalize(p->dir);
  sqlite3_finalize(p->root);
  sd_buf_fini(&p->above);
  sd_buf_fini(&p->path);
  sd_paths_init(p, p->db);
}

void sd_paths_forget(struct sd_paths *p) {
  p->above_id = 0;
}

/* A statement of ours that SQLite refuses is one over tables that are not there. */
static int code_of(sqlite3 *db) {
  switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return SD_EDAMAGED;
    case SQLITE_NOMEM: return -ENOMEM;
    default: return -EIO;
  }
}

/* Steps the statement with `id`: 0 where there is a row. It is the caller's to reset. */
static int look_up(struct sd_paths *p, sqlite3_stmt **st, const char *sql, int64_t id) {
  if (!*st && sqlite3_prepare_v3(p->db, sql, -1, SQLITE_PREPARE_PERSISTENT, st, NULL) != SQLITE_OK)
    return code_of(p->db);
  sqlite3_bind_int64(*st, 1, id);
  int rc = sqlite3_step(*st);
  return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? 1 : code_of(p->db);
}

/* Puts column `i` and a slash in front of what the buffer has; a root may have the slash. */
static int put_in_front(struct sd_buf *b, sqlite3_stmt *st, int i) {
  const char *piece = sqlite3_column_blob(st, i);
  size_t n = (size_t)sqlite3_column_bytes(st, i);
  if (n == 0) return 0;
  size_t whole = n + (piece[n - 1] != '/');
  if (sd_buf_reserve(b, whole)) return -ENOMEM;
  memmove(b->data + whole, b->data, b->len);
  memcpy(b->data, piece, n);
  b->data[whole - 1] = '/';
  b->len += whole;
  return 0;
}

static int put_root(struct sd_paths *p, int64_t location_id, struct sd_buf *b) {
  int rc = look_up(p, &p->root, root_sql, location_id);
  if (!rc) rc = put_in_front(b, p->root, 0);
  sqlite3_reset(p->root);
  return rc;
}

enum { MOST_PIECES = 100000 }; /* each has up to PATH_MAX bytes; more are a circle */

/* Fills p->above: the pieces of the directory's path from the last one up, then the root. */
static int read_above(struct sd_paths *p, int64_t dir_id) {
  int64_t location_id = 0, id = dir_id;
  int rc = 0;
  p->above.len = 0;
  p->above_id = 0;
  for (int pieces = 0; !rc && id; pieces++) {
    if (pieces == MOST_PIECES) {
      p->looped = id;
      return SD_EDAMAGED;
    }
    rc = look_up(p, &p->dir, dir_sql, id);
    if (!rc) {
      id = sqlite3_column_int64(p->dir, 0); /* NULL, so 0: the piece begins at the root */
      location_id = sqlite3_column_int64(p->dir, 2);
      rc = put_in_front(&p->above, p->dir, 1);
    }
    sqlite3_reset(p->dir);
  }
  if (!rc) rc = put_root(p, location_id, &p->above);
  if (!rc) p->above_id = dir_id;
  return rc;
}

/* The root itself: without the slash that read_above() would leave, but for "/". */
static int read_root(struct sd_paths *p, int64_t location_id) {
  int rc = put_root(p, location_id, &p->path);
  if (!rc && p->path.len > 1) p->path.len--;
  return rc;
}

int sd_paths_below(struct sd_paths *p, int64_t parent_id, const void *name, size_t len) {
  p->path.len = 0;
  p->looped = 0;
  if (parent_id < 0) return read_root(p, -parent_id);
  int rc = p->above_id == parent_id ? 0 : read_above(p, parent_id);
  if (!rc) rc = sd_buf_put(&p->path, p->above.data, p->above.len);
  return rc ? rc : sd_buf_put(&p->path, name, len);
}

int sd_paths_of(struct sd_paths *p, int64_t id) {
  p->looped = 0;
  int rc = look_up(p, &p->entry, entry_sql, id);
  if (!rc)
    rc = sd_paths_below(p, sqlite3_column_int64(p->entry, 0), sqlite3_column_blob(p->entry, 1),
                        (size_t)sqlite3_column_bytes(p->entry, 1));
  sqlite3_reset(p->entry);
  return rc;
}
