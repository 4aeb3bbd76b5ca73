#include "engine/reconcile.h"

#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/cursor.h"
#include "engine/paths.h"

#define STAT_COLUMNS                                                            \
  "e.kind,e.size,e.allocated,e.mtime,e.ctime,e.btime,e.dev,e.ino,e.mode,e.uid," \
  "e.gid,e.nlink"

enum { Q_BEGIN, Q_END, Q_CHILDREN, Q_CHILD, Q_STAT, Q_SCANNED, Q_INODE, Q_PATH, Q_COUNT };

static const char *const sql[Q_COUNT] = {
    [Q_BEGIN] = "BEGIN",
    [Q_END] = "COMMIT",
    [Q_CHILDREN] = "SELECT id,name,sig FROM entry WHERE parent_id=?1 ORDER BY name",
    [Q_CHILD] = "SELECT id,name,sig FROM entry WHERE parent_id=?1 AND name=?2",
    [Q_STAT] = "SELECT " STAT_COLUMNS " FROM entry e WHERE e.id=?1",
    [Q_SCANNED] = "SELECT 1 FROM directory WHERE entry_id=?1 AND scanned_at IS NOT NULL",
    /* Not the root, whose parent is -location. */
    [Q_INODE] = "SELECT " STAT_COLUMNS
                ",e.id,e.parent_id,e.name"
                " FROM entry e INDEXED BY entry_dir JOIN directory d ON d.entry_id=e.id"
                " WHERE e.dev=?1 AND e.ino=?2 AND e.kind=2 AND e.id<?3 AND abs(d.location_id)=?4"
                " AND e.parent_id<>-?4",
    [Q_PATH] = SD_PATH_SQL,
};

struct sd_reconcile {
  struct sd_store *store;
  struct sd_reconcile_opts opts;
  sqlite3_stmt *q[Q_COUNT];
  struct sd_buf path; /* scratch */
};

int sd_reconcile_open(struct sd_store *reader, const struct sd_reconcile_opts *opts,
                      struct sd_reconcile **out, struct sd_err *err) {
  struct sd_reconcile *r = calloc(1, sizeof(*r));
  if (!r) return sd_err_nomem(err);
  r->store = reader;
  r->opts = *opts;
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
  sd_buf_fini(&r->path);
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

static int finish(struct sd_reconcile *r, sqlite3_stmt *q, int rc, int code, struct sd_err *err) {
  if (!code && rc != SQLITE_DONE && rc != SQLITE_ROW)
    code = sd_store_error(r->store, err, "read the library");
  sqlite3_reset(q);
  return code;
}

/* ---- one row ---- */

/* The entry's id and name, at columns `at` and behind it; lives until the statement moves. */
static struct sd_gone read_place(sqlite3_stmt *q, int id, int name, int64_t parent_id) {
  struct sd_gone g = {.id = sqlite3_column_int64(q, id), .parent_id = parent_id};
  g.name_text = sqlite3_column_type(q, name) == SQLITE_TEXT;
  g.name = sqlite3_column_blob(q, name);
  g.name_len = (uint16_t)sqlite3_column_bytes(q, name);
  if (!g.name) g.name = "";
  return g;
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
  return finish(r, q, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, 0, err);
}

/* Whether the bytes may differ: what `--changed-by mtime` of rsync and git look at, and whether the
 * inode was given to another file. */
static bool bytes_may_differ(const struct sd_stat *a, const struct sd_stat *b) {
  return a->size != b->size || a->mtime != b->mtime || !sd_stat_same_file(a, b);
}

static bool attributes_differ(const struct sd_stat *a, const struct sd_stat *b) {
  return a->ctime != b->ctime || a->allocated != b->allocated || a->mode != b->mode ||
         a->uid != b->uid || a->gid != b->gid || a->nlink != b->nlink || a->btime != b->btime;
}

/* ---- directories that moved ---- */

static bool has_inode(int rc, const struct stat *st, const struct sd_entry *e) {
  return rc == 0 && st->st_ino == e->st.ino && st->st_dev == e->st.dev;
}

/* With bind mounts a directory may be at two places: only one that has left its old place moved. */
static bool is_still_there(struct sd_reconcile *r, const struct sd_listing *l,
                           const struct sd_entry *e, const struct sd_gone *was) {
  struct stat st;
  const struct sd_dir *root = l->dir;
  if (was->parent_id < 0) return false; /* it made room for another */
  if (was->parent_id == l->dir->id) {
    char name[NAME_MAX + 1];
    if (was->name_len > NAME_MAX) return false;
    memcpy(name, was->name, was->name_len);
    name[was->name_len] = '\0';
    return has_inode(fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW), &st, e);
  }
  while (root->parent) root = root->parent;
  int fd = sd_open_below(root->fd, (char *)r->path.data, r->path.len,
                         O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  bool there = fd >= 0 && has_inode(fstat(fd, &st), &st, e);
  if (fd >= 0) close(fd);
  return there;
}

static int take_moved(struct sd_reconcile *r, struct sd_batch *b, struct sd_entry *e, int64_t id,
                      const struct sd_stat *was, struct sd_err *err) {
  struct sd_stat *old = sd_arena_alloc(&b->arena, sizeof(*old));
  if (!old) return sd_err_nomem(err);
  *old = *was;
  e->id = id;
  e->change = SD_CHANGE_MOVE;
  e->old = old;
  e->from = sd_arena_copy(&b->arena, r->path.data ? (char *)r->path.data : "", r->path.len);
  e->from_len = (uint32_t)r->path.len;
  return e->from ? 0 : sd_err_nomem(err);
}

/* 1: it is this one, and `e` says so. */
static int try_moved(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e,
                     sqlite3_stmt *q, struct sd_err *err) {
  struct sd_stat was;
  column_stat(q, &was);
  if (!sd_stat_same_file(&was, &e->st)) return 0;
  struct sd_gone place = read_place(q, 12, 14, sqlite3_column_int64(q, 13));
  r->path.len = 0;
  int rc = sd_path_read(r->q[Q_PATH], place.id, &r->path);
  if (rc) return rc == SD_ESQL ? sd_store_error(r->store, err, "read a path") : sd_err_nomem(err);
  if (is_still_there(r, l, e, &place)) return 0;
  rc = take_moved(r, l->batch, e, place.id, &was, err);
  return rc ? rc : 1;
}

/* The entry is new under its name. */
static int look_for_move(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e,
                         struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_INODE];
  int rc, code = 0;
  if (!r->opts.moves_below || e->st.kind != SD_KIND_DIRECTORY) return 0;
  sqlite3_bind_int64(q, 1, (int64_t)e->st.dev);
  sqlite3_bind_int64(q, 2, (int64_t)e->st.ino);
  sqlite3_bind_int64(q, 3, r->opts.moves_below);
  sqlite3_bind_int64(q, 4, r->opts.location_id);
  while (!code && (rc = sqlite3_step(q)) == SQLITE_ROW) code = try_moved(r, l, e, q, err);
  return finish(r, q, rc, code < 0 ? code : 0, err);
}

/* ---- one entry ---- */

static int note_gone(struct sd_batch *b, const struct sd_gone *g, struct sd_err *err) {
  return sd_batch_gone(b, g) ? sd_err_nomem(err) : 0;
}

/* The name is that of `row`, and what has it now is something else. */
static int replace(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e,
                   struct sd_gone *row, struct sd_err *err) {
  row->replaced = true;
  e->id = 0;
  e->change = SD_CHANGE_INSERT;
  e->old = NULL;
  int rc = note_gone(l->batch, row, err);
  return rc ? rc : look_for_move(r, l, e, err);
}

/* The name of `e` is that of `row`, on which `q` stands. */
static int match(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e, sqlite3_stmt *q,
                 struct sd_gone *row, struct sd_err *err) {
  e->id = row->id;
  e->change = SD_CHANGE_NONE;
  if (e->st.kind == 0) return 0; /* there, but not readable: what is known of it stays */
  if (sqlite3_column_int64(q, 2) == sd_stat_sig(&e->st)) return 0;
  int rc = read_stat(r, l->batch, e, err);
  if (rc) return rc;
  const struct sd_stat *now = &e->st, *old = e->old;
  if (now->ino != old->ino || now->dev != old->dev || now->kind != old->kind)
    return replace(r, l, e, row, err);
  if (bytes_may_differ(now, old))
    e->change = now->kind == SD_KIND_DIRECTORY ? SD_CHANGE_UPDATE : SD_CHANGE_CONTENT;
  else if (attributes_differ(now, old)) e->change = SD_CHANGE_UPDATE;
  return 0;
}

/* ---- a listing ---- */

static int diff_new(struct sd_reconcile *r, struct sd_listing *l, size_t *i, size_t end,
                    struct sd_err *err) {
  int rc = 0;
  for (; !rc && *i < end; ++*i) rc = look_for_move(r, l, &l->entries[*i], err);
  return rc;
}

/* How many of the entries from `i` on have names before that of `row`; *hit: the next one has it. */
static size_t names_before(const struct sd_listing *l, size_t i, const struct sd_gone *row,
                           bool *hit) {
  size_t start = i;
  *hit = false;
  for (; i < l->count; i++) {
    const struct sd_entry *e = &l->entries[i];
    int c = sd_name_compare(e->name, e->name_len, e->name_text, row->name, row->name_len,
                            row->name_text);
    *hit = c == 0;
    if (c >= 0) break;
  }
  return i - start;
}

static int diff_whole(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_CHILDREN];
  size_t i = 0;
  int rc = SQLITE_DONE, code = 0;
  sqlite3_bind_int64(q, 1, l->dir->id);
  while (!code && (rc = sqlite3_step(q)) == SQLITE_ROW) {
    bool hit;
    struct sd_gone row = read_place(q, 0, 1, l->dir->id);
    size_t n = names_before(l, i, &row, &hit);
    code = diff_new(r, l, &i, i + n, err);
    if (!code)
      code = hit ? match(r, l, &l->entries[i++], q, &row, err) : note_gone(l->batch, &row, err);
  }
  if (!code) code = diff_new(r, l, &i, l->count, err);
  return finish(r, q, rc, code, err);
}

static int diff_one(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e,
                    struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_CHILD];
  if (e->name_text) sqlite3_bind_text(q, 2, e->name, e->name_len, SQLITE_STATIC);
  else sqlite3_bind_blob(q, 2, e->name, e->name_len, SQLITE_STATIC);
  int rc = sqlite3_step(q), code = 0;
  if (rc == SQLITE_ROW) {
    struct sd_gone row = read_place(q, 0, 1, l->dir->id);
    code = match(r, l, e, q, &row, err);
  } else if (rc == SQLITE_DONE) {
    code = look_for_move(r, l, e, err);
  }
  return finish(r, q, rc, code, err);
}

static int diff_part(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  int code = 0;
  sqlite3_bind_int64(r->q[Q_CHILD], 1, l->dir->id);
  for (size_t i = 0; !code && i < l->count; i++) code = diff_one(r, l, &l->entries[i], err);
  return code;
}

/* At the end of a directory that was read in parts: the rows whose names were not among them. */
static int vanished_rest(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_CHILDREN];
  int rc = SQLITE_DONE, code = 0;
  sqlite3_bind_int64(q, 1, l->dir->id);
  while (!code && (rc = sqlite3_step(q)) == SQLITE_ROW) {
    struct sd_gone row = read_place(q, 0, 1, l->dir->id);
    if (!sd_dir_cursor_has(l->dir->cursor, sd_name_hash(row.name, row.name_len)))
      code = note_gone(l->batch, &row, err);
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
  size_t i = 0;
  if (!l->dir->known) return diff_new(r, l, &i, l->count, err);
  int rc = l->whole ? diff_whole(r, l, err) : diff_part(r, l, err);
  if (!rc && l->last && !l->whole) rc = vanished_rest(r, l, err);
  return rc || !l->last ? rc : first_time(r, l, err);
}
