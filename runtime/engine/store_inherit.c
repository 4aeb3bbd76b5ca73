/* What a directory has from those above it: where it is, and whether what is in it could be
 * looked at. It is kept with each directory, so that a view need not climb the tree for each entry;
 * when it changes, the rows of those below are rewritten in the same transaction. So a move costs
 * one row of `entry`, and one of `directory` for each directory in it, whatever the number of
 * files; to find them, the names in each are read. */
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
  int unverified; /* enum sd_unread */
  struct sd_buf path;
};

/* Columns of ST_DIR_INHERIT: the directory's place, what its row has, what the row above has. */
enum {
  COL_PARENT,
  COL_NAME,
  COL_LOCATION,
  COL_ANCHOR,
  COL_PATH,
  COL_UNVERIFIED,
  COL_ABOVE_LOCATION,
  COL_ABOVE_ANCHOR,
  COL_ABOVE_PATH,
  COL_NOW_UNVERIFIED
};

static int put(struct sd_buf *b, const void *p, size_t n) {
  return n ? sd_buf_put(b, p, n) : 0;
}

static size_t length(sqlite3_stmt *st, int col) {
  return (size_t)sqlite3_column_bytes(st, col);
}

/* See place_segment() in dir.c. */
static int below(sqlite3_stmt *st, struct inherited *out) {
  const void *above = sqlite3_column_blob(st, COL_ABOVE_PATH);
  const void *name = sqlite3_column_blob(st, COL_NAME);
  size_t above_len = length(st, COL_ABOVE_PATH), name_len = length(st, COL_NAME);
  out->location_id = sqlite3_column_int64(st, COL_ABOVE_LOCATION);
  if (above_len + (above_len ? 1 : 0) + name_len > SD_DIR_SEGMENT_MAX) {
    out->anchor = sqlite3_column_int64(st, COL_PARENT);
    return put(&out->path, name, name_len);
  }
  out->anchor = sqlite3_column_int64(st, COL_ABOVE_ANCHOR);
  int rc = put(&out->path, above, above_len);
  if (!rc && above_len) rc = sd_buf_put(&out->path, "/", 1);
  return rc ? rc : put(&out->path, name, name_len);
}

/* In limbo, and the root: the place is not inherited. What was there still tells where it was. */
static int as_it_is(sqlite3_stmt *st, bool limbo, struct inherited *out) {
  int64_t location = sqlite3_column_int64(st, COL_LOCATION);
  out->location_id = limbo && location > 0 ? -location : location;
  out->anchor = sqlite3_column_int64(st, COL_ANCHOR);
  return put(&out->path, sqlite3_column_blob(st, COL_PATH), length(st, COL_PATH));
}

static bool is_as(sqlite3_stmt *st, const struct inherited *i) {
  return sqlite3_column_int64(st, COL_LOCATION) == i->location_id &&
         sqlite3_column_int64(st, COL_ANCHOR) == i->anchor &&
         sqlite3_column_int(st, COL_UNVERIFIED) == i->unverified &&
         length(st, COL_PATH) == i->path.len &&
         (!i->path.len ||
          memcmp(sqlite3_column_blob(st, COL_PATH), i->path.data, i->path.len) == 0);
}

static int read_inherited(sqlite3_stmt *st, struct inherited *out) {
  int64_t parent = sqlite3_column_int64(st, COL_PARENT);
  bool root = parent == -sqlite3_column_int64(st, COL_LOCATION);
  bool limbo = !root && (parent < 0 || sqlite3_column_int64(st, COL_ABOVE_LOCATION) < 0);
  out->unverified = sqlite3_column_int(st, COL_NOW_UNVERIFIED);
  if (root || limbo) return as_it_is(st, limbo, out);
  return sqlite3_column_type(st, COL_ABOVE_LOCATION) == SQLITE_NULL ? 1 : below(st, out);
}

/* 1: it is as it should be, and so is everything below it; or there is no such directory. */
static int inherit(struct sd_store *s, int64_t id, struct inherited *out, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_INHERIT, err);
  if (!st) return err->code;
  out->path.len = 0;
  sqlite3_bind_int64(st, 1, id);
  int step = sqlite3_step(st), rc = 1;
  if (step == SQLITE_ROW) {
    rc = read_inherited(st, out);
    if (rc < 0) rc = sd_err_nomem(err);
    else if (rc == 0) rc = is_as(st, out);
  } else if (step != SQLITE_DONE) {
    rc = sd_store_error(s, err, "read a directory");
  }
  sqlite3_reset(st);
  return rc;
}

static int write_inherited(struct sd_store *s, int64_t id, const struct inherited *i,
                           struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_PUT_INHERITED, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  sqlite3_bind_int64(st, 2, i->location_id);
  if (i->anchor) sqlite3_bind_int64(st, 3, i->anchor);
  else sqlite3_bind_null(st, 3);
  sd_store_bind_bytes(st, 4, i->path.data ? (const char *)i->path.data : "", i->path.len);
  sqlite3_bind_int(st, 5, i->unverified);
  return sd_store_run(s, st, err, "write a directory");
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
    if (!rc) rc = write_inherited(s, id, i, err);
    if (!rc) rc = push_below(s, id, todo, err);
    if (rc) return rc;
  }
  return 0;
}

/* Who can be read, or no longer: of those whose row says something else, more follows. */
static int flush_readable(struct sd_store *s, struct sd_err *err) {
  int rc = 0;
  for (size_t i = 0; !rc && i < s->readable_len; i++) {
    const struct sd_readable *r = &s->readable[i];
    sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_UNREAD, err);
    if (!st) return err->code;
    sqlite3_bind_int64(st, 1, r->id);
    sqlite3_bind_int(st, 2, r->unread);
    rc = sd_store_run(s, st, err, "write a directory");
    if (rc || !sqlite3_changes(s->db)) continue;
    if (!SD_ARRAY_ROOM(s, moved)) rc = sd_err_nomem(err);
    else s->moved[s->moved_len++] = r->id;
  }
  s->readable_len = 0;
  return rc;
}

int sd_store_flush_inherited(struct sd_store *s, struct sd_err *err) {
  struct todo todo = {0};
  struct inherited i = {0};
  int rc = flush_readable(s, err);
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
