#include "engine/reconcile.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "engine/cursor.h"

enum { Q_BEGIN, Q_END, Q_CHILDREN, Q_CHILD, Q_STAT, Q_SCANNED, Q_COUNT };

static const char *const sql[Q_COUNT] = {
    [Q_BEGIN] = "BEGIN",
    [Q_END] = "COMMIT",
    /* The index is named, so that a library that has lost it is found to be damaged. */
    [Q_CHILDREN] = ("SELECT id,name,sig FROM entry INDEXED BY entry_name WHERE parent_id=?1"
                    " ORDER BY name"),
    [Q_CHILD] = "SELECT id,name,sig FROM entry WHERE parent_id=?1 AND name=?2",
    [Q_STAT] = ("SELECT kind,size,allocated,mtime,ctime,btime,dev,ino,mode,uid,gid,nlink FROM entry"
                " WHERE id=?1"),
    [Q_SCANNED] = "SELECT 1 FROM directory WHERE entry_id=?1 AND scanned_at IS NOT NULL",
};

struct sd_reconcile {
  struct sd_store *store;
  sqlite3_stmt *q[Q_COUNT];
};

int sd_reconcile_open(struct sd_store *reader, struct sd_reconcile **out, struct sd_err *err) {
  struct sd_reconcile *r = calloc(1, sizeof(*r));
  if (!r) return sd_err_nomem(err);
  r->store = reader;
  for (int i = 0; i < Q_COUNT; i++)
    if (sqlite3_prepare_v3(sd_store_db(reader), sql[i], -1, SQLITE_PREPARE_PERSISTENT, &r->q[i],
                           NULL) != SQLITE_OK) {
      int rc = sd_store_error(reader, err, "prepare");
      sd_reconcile_close(r);
      return rc;
    }
  *out = r;
  return 0;
}

void sd_reconcile_close(struct sd_reconcile *r) {
  if (!r) return;
  for (int i = 0; i < Q_COUNT; i++) sqlite3_finalize(r->q[i]);
  free(r);
}

int sd_reconcile_begin(struct sd_reconcile *r, struct sd_err *err) {
  int rc = sqlite3_step(r->q[Q_BEGIN]);
  sqlite3_reset(r->q[Q_BEGIN]);
  return rc == SQLITE_DONE ? 0 : sd_store_error(r->store, err, "read the library");
}

void sd_reconcile_end(struct sd_reconcile *r) {
  sqlite3_step(r->q[Q_END]);
  sqlite3_reset(r->q[Q_END]);
}

/* ---- one row ---- */

struct row {
  int64_t id;
  const char *name; /* lives until the statement moves */
  uint16_t name_len;
  bool name_text;
};

static void read_name(sqlite3_stmt *q, struct row *r) {
  r->id = sqlite3_column_int64(q, 0);
  r->name_text = sqlite3_column_type(q, 1) == SQLITE_TEXT;
  r->name = sqlite3_column_blob(q, 1);
  r->name_len = (uint16_t)sqlite3_column_bytes(q, 1);
  if (!r->name) r->name = "";
}

static void column_stat(sqlite3_stmt *q, struct sd_stat *st) {
  uint32_t mode = (uint32_t)sqlite3_column_int64(q, 8);
  st->kind = (uint8_t)sqlite3_column_int(q, 0);
  st->size = sqlite3_column_int64(q, 1);
  st->allocated = sqlite3_column_int64(q, 2);
  st->mtime = sqlite3_column_int64(q, 3);
  st->ctime = sqlite3_column_int64(q, 4);
  st->btime = sqlite3_column_int64(q, 5);
  st->dev = (uint64_t)sqlite3_column_int64(q, 6);
  st->ino = (uint64_t)sqlite3_column_int64(q, 7);
  st->mode = mode & 07777;
  st->uid = (uint32_t)sqlite3_column_int64(q, 9);
  st->gid = (uint32_t)sqlite3_column_int64(q, 10);
  st->nlink = (uint32_t)sqlite3_column_int64(q, 11);
  st->flags = mode & SD_STORED_CLAMPED ? SD_ENTRY_CLAMPED : 0;
  if (sqlite3_column_type(q, 5) != SQLITE_NULL) st->flags |= SD_ENTRY_BTIME;
}

/* What the library has of the entry, in the arena of the batch. */
static int read_stat(struct sd_reconcile *r, struct sd_batch *b, struct sd_entry *e,
                     struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_STAT];
  struct sd_stat *old = sd_arena_alloc(&b->arena, sizeof(*old));
  if (!old) return sd_err_nomem(err);
  sqlite3_bind_int64(q, 1, e->id);
  int rc = sqlite3_step(q);
  if (rc == SQLITE_ROW) column_stat(q, old);
  e->old = old;
  int code = rc == SQLITE_ROW ? 0 : sd_store_error(r->store, err, "read the library");
  sqlite3_reset(q);
  return code;
}

/* An inode that was given to another file since. */
static bool was_reused(const struct sd_stat *a, const struct sd_stat *b) {
  return a->flags & b->flags & SD_ENTRY_BTIME && a->btime != b->btime;
}

/* Whether the bytes may differ: what `--changed-by mtime` of rsync and git look at, and the inode.
 * */
static bool bytes_may_differ(const struct sd_stat *a, const struct sd_stat *b) {
  return a->kind != b->kind || a->size != b->size || a->mtime != b->mtime || a->ino != b->ino ||
         a->dev != b->dev || was_reused(a, b);
}

static bool attributes_differ(const struct sd_stat *a, const struct sd_stat *b) {
  return a->ctime != b->ctime || a->allocated != b->allocated || a->mode != b->mode ||
         a->uid != b->uid || a->gid != b->gid || a->nlink != b->nlink || a->btime != b->btime;
}

static int note_vanished(struct sd_batch *b, int64_t id, struct sd_err *err) {
  if (!SD_ARRAY_ROOM(b, vanished)) return sd_err_nomem(err);
  b->vanished[b->vanished_len++] = id;
  return 0;
}

/* The entry `e` is the row that `q` stands on. */
static int match(struct sd_reconcile *r, struct sd_batch *b, struct sd_entry *e, sqlite3_stmt *q,
                 struct sd_err *err) {
  e->id = sqlite3_column_int64(q, 0);
  e->change = SD_CHANGE_NONE;
  if (e->st.kind == 0) return 0; /* there, but not readable: what is known of it stays */
  if (sqlite3_column_int64(q, 2) == sd_stat_sig(&e->st)) return 0;
  int rc = read_stat(r, b, e, err);
  if (rc) return rc;
  bool was_dir = e->old->kind == SD_KIND_DIRECTORY, is_dir = e->st.kind == SD_KIND_DIRECTORY;
  if (bytes_may_differ(&e->st, e->old))
    e->change = was_dir && is_dir ? SD_CHANGE_UPDATE : SD_CHANGE_CONTENT;
  else if (attributes_differ(&e->st, e->old)) e->change = SD_CHANGE_UPDATE;
  return was_dir && !is_dir ? note_vanished(b, -e->id, err) : 0;
}

/* ---- a listing ---- */

static int finish(struct sd_reconcile *r, sqlite3_stmt *q, int rc, int code, struct sd_err *err) {
  if (!code && rc != SQLITE_DONE && rc != SQLITE_ROW)
    code = sd_store_error(r->store, err, "read the library");
  sqlite3_reset(q);
  return code;
}

static int diff_whole(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_CHILDREN];
  size_t i = 0;
  int rc, code = 0;
  sqlite3_bind_int64(q, 1, l->dir->id);
  while (!code && (rc = sqlite3_step(q)) == SQLITE_ROW) {
    struct row row;
    int c = 1;
    read_name(q, &row);
    while (i < l->count) {
      struct sd_entry *e = &l->entries[i];
      c = sd_name_compare(e->name, e->name_len, e->name_text, row.name, row.name_len,
                          row.name_text);
      if (c >= 0) break;
      i++; /* new */
    }
    if (i < l->count && c == 0) code = match(r, l->batch, &l->entries[i++], q, err);
    else code = note_vanished(l->batch, row.id, err);
  }
  return finish(r, q, rc, code, err);
}

static int diff_part(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_CHILD];
  int code = 0;
  sqlite3_bind_int64(q, 1, l->dir->id);
  for (size_t i = 0; !code && i < l->count; i++) {
    struct sd_entry *e = &l->entries[i];
    if (e->name_text) sqlite3_bind_text(q, 2, e->name, e->name_len, SQLITE_STATIC);
    else sqlite3_bind_blob(q, 2, e->name, e->name_len, SQLITE_STATIC);
    int rc = sqlite3_step(q);
    if (rc == SQLITE_ROW) code = match(r, l->batch, e, q, err);
    code = finish(r, q, rc, code, err);
  }
  return code;
}

/* At the end of a directory that was read in parts: the rows whose names were not among them. */
static int vanished_rest(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_CHILDREN];
  int rc, code = 0;
  sqlite3_bind_int64(q, 1, l->dir->id);
  while (!code && (rc = sqlite3_step(q)) == SQLITE_ROW) {
    struct row row;
    read_name(q, &row);
    if (!sd_dir_cursor_has(l->dir->cursor, sd_name_hash(row.name, row.name_len)))
      code = note_vanished(l->batch, row.id, err);
  }
  return finish(r, q, rc, code, err);
}

static int first_time(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_SCANNED];
  sqlite3_bind_int64(q, 1, l->dir->id);
  int rc = sqlite3_step(q);
  l->delta->listed = rc != SQLITE_ROW; /* no row: it became a directory in this run */
  return finish(r, q, rc, 0, err);
}

int sd_reconcile_diff(void *ud, struct sd_listing *l, struct sd_err *err) {
  struct sd_reconcile *r = ud;
  int rc = l->whole ? diff_whole(r, l, err) : diff_part(r, l, err);
  if (!rc && l->last && !l->whole) rc = vanished_rest(r, l, err);
  return rc || !l->last ? rc : first_time(r, l, err);
}
