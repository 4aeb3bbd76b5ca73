/* Stored paths of directories. The path of a directory is kept with it, so that a view need not
 * climb the tree for each entry; when a directory moves, those below it are rewritten in the same
 * transaction. So a move costs one row of `entry`, and one of `directory` for each directory in it,
 * whatever the number of files; to find them, the names in each are read. */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "engine/dir.h"
#include "engine/store_internal.h"

struct todo {
  int64_t *ids;
  size_t ids_len, ids_cap;
};

/* What a directory's row has from those above it. */
struct inherited {
  int64_t location_id; /* negative: it made room for another, or something above it did */
  int64_t anchor;
  struct sd_buf path;
};

static int put(struct sd_buf *b, const void *p, size_t n) {
  return n ? sd_buf_put(b, p, n) : 0;
}

/* Columns 5 to 7 are of the directory above; see place_segment() in dir.c. */
static int below(sqlite3_stmt *st, struct inherited *out) {
  const void *above = sqlite3_column_blob(st, 7), *name = sqlite3_column_blob(st, 1);
  size_t above_len = (size_t)sqlite3_column_bytes(st, 7);
  size_t name_len = (size_t)sqlite3_column_bytes(st, 1);
  out->location_id = sqlite3_column_int64(st, 5);
  if (above_len + (above_len ? 1 : 0) + name_len > SD_DIR_SEGMENT_MAX) {
    out->anchor = sqlite3_column_int64(st, 0);
    return put(&out->path, name, name_len);
  }
  out->anchor = sqlite3_column_int64(st, 6);
  int rc = put(&out->path, above, above_len);
  if (!rc && above_len) rc = sd_buf_put(&out->path, "/", 1);
  return rc ? rc : put(&out->path, name, name_len);
}

/* In limbo only the location changes: what was there still tells where it was. */
static int hidden(sqlite3_stmt *st, struct inherited *out) {
  int64_t location = sqlite3_column_int64(st, 2);
  out->location_id = location < 0 ? location : -location;
  out->anchor = sqlite3_column_int64(st, 3);
  return put(&out->path, sqlite3_column_blob(st, 4), (size_t)sqlite3_column_bytes(st, 4));
}

static bool is_as(sqlite3_stmt *st, const struct inherited *i) {
  return sqlite3_column_int64(st, 2) == i->location_id &&
         sqlite3_column_int64(st, 3) == i->anchor &&
         (size_t)sqlite3_column_bytes(st, 4) == i->path.len &&
         (!i->path.len || memcmp(sqlite3_column_blob(st, 4), i->path.data, i->path.len) == 0);
}

/* 1: it is as it should be, and so is everything below it; or there is no such directory. */
static int inherit(struct sd_store *s, int64_t id, struct inherited *out, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_INHERIT, err);
  if (!st) return err->code;
  out->path.len = 0;
  sqlite3_bind_int64(st, 1, id);
  int step = sqlite3_step(st), rc = 1;
  if (step == SQLITE_ROW) {
    bool limbo = sqlite3_column_int64(st, 0) < 0 || sqlite3_column_int64(st, 5) < 0;
    if (limbo) rc = hidden(st, out);
    else if (sqlite3_column_type(st, 5) != SQLITE_NULL) rc = below(st, out);
    if (rc < 0) rc = sd_err_nomem(err);
    else if (rc == 0) rc = is_as(st, out);
  } else if (step != SQLITE_DONE) {
    rc = sd_store_error(s, err, "read a path");
  }
  sqlite3_reset(st);
  return rc;
}

static int write_path(struct sd_store *s, int64_t id, const struct inherited *i,
                      struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_PUT_PATH, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  sqlite3_bind_int64(st, 2, i->location_id);
  if (i->anchor) sqlite3_bind_int64(st, 3, i->anchor);
  else sqlite3_bind_null(st, 3);
  sd_store_bind_bytes(st, 4, i->path.data ? (const char *)i->path.data : "", i->path.len);
  return sd_store_run(s, st, err, "write a path");
}

static int push_below(struct sd_store *s, int64_t id, struct todo *todo, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_BELOW, err);
  int step = SQLITE_DONE, rc = 0;
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
    if (!SD_ARRAY_ROOM(todo, ids)) rc = sd_err_nomem(err);
    else todo->ids[todo->ids_len++] = sqlite3_column_int64(st, 0);
  }
  if (!rc && step != SQLITE_DONE) rc = sd_store_error(s, err, "read directories");
  sqlite3_reset(st);
  return rc;
}

static int settle(struct sd_store *s, struct todo *todo, struct inherited *i, struct sd_err *err) {
  while (todo->ids_len) {
    int64_t id = todo->ids[--todo->ids_len];
    int rc = inherit(s, id, i, err);
    if (rc == 1) continue;
    if (!rc) rc = write_path(s, id, i, err);
    if (!rc) rc = push_below(s, id, todo, err);
    if (rc) return rc;
  }
  return 0;
}

int sd_store_flush_paths(struct sd_store *s, struct sd_err *err) {
  struct todo todo = {0};
  struct inherited i = {0};
  int rc = 0;
  for (size_t k = 0; !rc && k < s->moved_len; k++) {
    if (!SD_ARRAY_ROOM(&todo, ids)) rc = sd_err_nomem(err);
    else todo.ids[todo.ids_len++] = s->moved[k];
    if (!rc) rc = settle(s, &todo, &i, err);
  }
  s->moved_len = 0;
  sd_buf_fini(&i.path);
  free(todo.ids);
  return rc;
}
