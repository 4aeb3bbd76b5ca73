#include "engine/reconcile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "engine/cursor.h"
#include "engine/device.h"
#include "engine/dir_path.h"
#include "engine/filter.h"

#define STAT_COLUMNS                                                            \
  "e.kind,e.size,e.allocated,e.mtime,e.ctime,e.btime,e.dev,e.ino,e.mode,e.uid," \
  "e.gid,e.nlink"

enum { Q_BEGIN, Q_END, Q_CHILDREN, Q_CHILD, Q_STAT, Q_SCANNED, Q_INODE, Q_PATH, Q_ANY, Q_COUNT };

static const char *const sql[Q_COUNT] = {
    [Q_BEGIN] = "BEGIN",
    [Q_END] = "COMMIT",
    /* The index is named, so that a library that has lost it is found to be damaged. */
    [Q_CHILDREN] = ("SELECT id,name,sig FROM entry INDEXED BY entry_name WHERE parent_id=?1"
                    " ORDER BY name"),
    [Q_CHILD] = "SELECT id,name,sig FROM entry WHERE parent_id=?1 AND name=?2",
    [Q_STAT] = "SELECT " STAT_COLUMNS " FROM entry e WHERE e.id=?1",
    [Q_SCANNED] = "SELECT scanned_at IS NOT NULL,unread FROM directory WHERE entry_id=?1",
    /* Not the root, whose parent is -location. */
    [Q_INODE] = "SELECT " STAT_COLUMNS
                ",e.id,e.parent_id,e.name"
                " FROM entry e INDEXED BY entry_dir JOIN directory d ON d.entry_id=e.id"
                " WHERE e.dev=?1 AND e.ino=?2 AND e.kind=2 AND e.id<?3 AND abs(d.location_id)=?4"
                " AND e.parent_id<>-?4",
    [Q_PATH] = SD_DIR_PATH_SQL,
    [Q_ANY] = "SELECT 1 FROM entry WHERE parent_id=?1 LIMIT 1",
};

struct sd_reconcile {
  struct sd_store *store;
  struct sd_reconcile_opts opts;
  sqlite3_stmt *q[Q_COUNT];
  struct sd_devices devices;
  struct sd_gone *away; /* of the listing: file systems that are gone with their mount points */
  size_t away_len, away_cap;
  struct sd_buf path, here; /* scratch */
};

int sd_reconcile_open(struct sd_store *reader, const struct sd_reconcile_opts *opts,
                      struct sd_reconcile **out, struct sd_err *err) {
  struct sd_reconcile *r = calloc(1, sizeof(*r));
  if (!r) return sd_err_nomem(err);
  r->store = reader;
  r->opts = *opts;
  int rc = sd_devices_open(&r->devices, sd_store_db(reader));
  for (int i = 0; !rc && i < Q_COUNT; i++)
    rc = sqlite3_prepare_v3(sd_store_db(reader), sql[i], -1, SQLITE_PREPARE_PERSISTENT, &r->q[i],
                            NULL);
  if (rc) {
    rc = sd_store_error(reader, err, "prepare");
    sd_reconcile_close(r);
    return rc;
  }
  *out = r;
  return 0;
}

void sd_reconcile_close(struct sd_reconcile *r) {
  if (!r) return;
  for (int i = 0; i < Q_COUNT; i++) sqlite3_finalize(r->q[i]);
  sd_devices_close(&r->devices);
  free(r->away);
  sd_buf_fini(&r->path);
  sd_buf_fini(&r->here);
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

/* What an engine without messages of its own says. */
static int check(struct sd_reconcile *r, int rc, struct sd_err *err) {
  if (!rc) return 0;
  return rc == -ENOMEM ? sd_err_nomem(err) : sd_store_error(r->store, err, "read the library");
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
  if (mode & SD_STORED_RACY) st->flags |= SD_ENTRY_RACY;
  if (mode & SD_STORED_MOUNT) st->flags |= SD_ENTRY_MOUNT;
  if (sqlite3_column_type(q, 5) != SQLITE_NULL) st->flags |= SD_ENTRY_BTIME;
}

/* What the library has of the entry. 1: it has none. */
static int read_row(struct sd_reconcile *r, int64_t id, struct sd_stat *out, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_STAT];
  sqlite3_bind_int64(q, 1, id);
  int rc = sqlite3_step(q);
  if (rc == SQLITE_ROW) column_stat(q, out);
  int code = finish(r, q, rc, 0, err);
  return code ? code : rc != SQLITE_ROW;
}

/* The same, in the arena of the batch. */
static int read_stat(struct sd_reconcile *r, struct sd_batch *b, struct sd_entry *e,
                     struct sd_err *err) {
  struct sd_stat *old = sd_arena_alloc(&b->arena, sizeof(*old));
  if (!old) return sd_err_nomem(err);
  e->old = old;
  int rc = read_row(r, e->id, old, err);
  return rc == 1 ? sd_err_set(err, SD_EDAMAGED, "the library is damaged: an entry is missing") : rc;
}

/* Whether the bytes may differ: by size and mtime, which every write changes, if not at once after
 * the file was hashed; and by what else is asked for. */
static bool bytes_may_differ(const struct sd_reconcile *r, const struct sd_stat *now,
                             const struct sd_stat *old) {
  enum sd_changed_by by = r->opts.changed_by;
  if (now->size != old->size || now->mtime != old->mtime || old->flags & SD_ENTRY_RACY) return true;
  if (by == SD_CHANGED_BY_MTIME) return false;
  if (!sd_stat_same_file(now, old)) return true;
  return by == SD_CHANGED_BY_CTIME && now->ctime != old->ctime;
}

static bool attributes_differ(const struct sd_stat *a, const struct sd_stat *b) {
  return a->ctime != b->ctime || a->allocated != b->allocated || a->mode != b->mode ||
         a->uid != b->uid || a->gid != b->gid || a->nlink != b->nlink || a->btime != b->btime ||
         a->size != b->size || a->mtime != b->mtime || a->ino != b->ino || a->dev != b->dev;
}

/* ---- directories that moved ---- */

static bool has_inode(int rc, const struct stat *st, const struct sd_entry *e) {
  return rc == 0 && st->st_ino == e->st.ino && st->st_dev == e->st_dev;
}

static int put_path_of(const struct sd_listing *l, const char *name, size_t len,
                       struct sd_buf *path) {
  path->len = 0;
  int rc = sd_dir_path(l->dir, SIZE_MAX, path);
  if (!rc && path->len) rc = sd_buf_put(path, "/", 1);
  return rc ? rc : sd_buf_put(path, name, len);
}

/* Whether the path in r->path is that of the entry itself: its row is that of a directory whose
 * place another has taken, with what is in it. */
static int is_path_of(struct sd_reconcile *r, const struct sd_listing *l,
                      const struct sd_entry *e) {
  struct sd_buf *path = &r->here;
  int rc = put_path_of(l, e->name, e->name_len, path);
  return rc ? rc : path->len == r->path.len && !memcmp(path->data, r->path.data, path->len);
}

/* With bind mounts a directory may be at two places: only one that has left its old place moved. */
static int is_still_there(struct sd_reconcile *r, const struct sd_listing *l,
                          const struct sd_entry *e, const struct sd_gone *was) {
  struct stat st;
  const struct sd_dir *root = l->dir;
  if (was->parent_id < 0) return 0; /* it made room for another */
  if (was->parent_id == l->dir->id) {
    char name[NAME_MAX + 1];
    if (was->name_len > NAME_MAX) return 0;
    memcpy(name, was->name, was->name_len);
    name[was->name_len] = '\0';
    return has_inode(fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW), &st, e);
  }
  while (root->parent) root = root->parent;
  int fd = sd_open_below(root->fd, (char *)r->path.data, r->path.len,
                         O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  bool there = fd >= 0 && has_inode(TEMP_FAILURE_RETRY(fstat(fd, &st)), &st, e);
  if (fd >= 0) close(fd);
  if (!there) return 0;
  int same = is_path_of(r, l, e);
  return same < 0 ? same : !same;
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
  int rc = check(r, sd_dir_path_read(r->q[Q_PATH], place.id, &r->path), err);
  if (rc) return rc;
  rc = is_still_there(r, l, e, &place);
  if (rc) return rc < 0 ? sd_err_nomem(err) : 0;
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

/* ---- file systems ---- */

static bool is_of_another_device(const struct sd_listing *l, const struct sd_entry *e) {
  return e->st_dev != l->dir->dev;
}

static int find_device(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e,
                       struct sd_err *err) {
  if (!e->st.kind || !is_of_another_device(l, e)) return 0;
  return check(r, sd_devices_find(&r->devices, e->st_dev, l->batch, &e->st.dev), err);
}

/* The root of a file system that was mounted here before, under another number, or a file of one:
 * the same but for its device. */
static int renumber_device(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e,
                           struct sd_err *err) {
  struct sd_stat as_before = e->st;
  as_before.dev = e->old->dev;
  if (!is_of_another_device(l, e) || e->st.dev == e->old->dev) return 0;
  if (!sd_stat_same_file(&as_before, e->old)) return 0;
  e->st.dev = e->old->dev;
  return check(r, sd_devices_renumber(&r->devices, e->st.dev, e->st_dev, l->batch), err);
}

static int open_entry(int at, const struct sd_entry *e) {
  char name[NAME_MAX + 1];
  if (e->name_len > NAME_MAX) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(name, e->name, e->name_len);
  name[e->name_len] = '\0';
  return TEMP_FAILURE_RETRY(
      openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
}

/* Takes over `fd`. */
static bool is_empty(int fd) {
  DIR *d = fdopendir(fd);
  if (!d) close(fd);
  int names = 0;
  while (d && names <= 2 && readdir(d)) names++;
  if (d) closedir(d);
  return d && names <= 2; /* "." and ".." */
}

/* Whether the library has a file system of its own here, and not what is here now. The device alone
 * does not say it: the whole tree may be on another one than before. */
static bool was_mount(const struct sd_listing *l, const struct sd_entry *e) {
  return e->st.kind == SD_KIND_DIRECTORY && e->old->kind == SD_KIND_DIRECTORY &&
         e->old->flags & SD_ENTRY_MOUNT && e->old->dev != l->dir->device &&
         e->old->dev != e->st.dev;
}

/* Whether the library has something in directory `id`. */
static int has_rows(struct sd_reconcile *r, int64_t id, bool *rows, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_ANY];
  sqlite3_bind_int64(q, 1, id);
  int rc = sqlite3_step(q);
  *rows = rc == SQLITE_ROW;
  return finish(r, q, rc, 0, err);
}

/* Opening it may have mounted it: what is there then. *empty: where it is still another directory,
 * and nothing is in it, the file system is not mounted, and what is known of it stays. */
static int look_into_mount(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e,
                           bool *empty, struct sd_err *err) {
  struct statx stx;
  int fd = open_entry(l->fd, e);
  if (fd < 0) return sd_err_is_exhausted(-errno) ? sd_err_exhausted(err, -errno) : 0;
  if (TEMP_FAILURE_RETRY(statx(fd, "", AT_EMPTY_PATH, SD_STATX_MASK, &stx)) == 0) {
    sd_stat_from_statx(&e->st, &stx);
    e->st_dev = e->st.dev;
  }
  *empty = is_empty(fd);
  if (!is_of_another_device(l, e)) e->st.dev = l->dir->device;
  int rc = find_device(r, l, e, err);
  return rc ? rc : renumber_device(r, l, e, err);
}

static int note_unmounted(struct sd_batch *b, int64_t id, const char *path, size_t len) {
  static const char why[] = "nothing is mounted there; what was known of it stays";
  int rc = sd_batch_note(b, SD_OP_READ_DIR, -ENODEV, path, len, why);
  return rc ? rc : sd_batch_readable(b, id, SD_UNMOUNTED);
}

static int keep_unmounted(struct sd_reconcile *r, struct sd_listing *l, int64_t id,
                          const char *name, size_t len, struct sd_err *err) {
  struct sd_buf *path = &r->here;
  int rc = put_path_of(l, name, len, path);
  if (!rc) rc = note_unmounted(l->batch, id, (char *)path->data, path->len);
  return rc ? sd_err_nomem(err) : 0;
}

/* It counts as what is there, and cannot be looked at. */
static int leave_unmounted(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e,
                           struct sd_err *err) {
  e->st.kind = 0;
  return keep_unmounted(r, l, e->id, e->name, e->name_len, err);
}

/* Whether the rules let a mount of this name stay that is not there. */
static int may_stay(const struct sd_listing *l, const char *name, size_t len, bool *stays,
                    struct sd_err *err) {
  uint8_t rule = 0;
  if (l->filter && sd_filter_absent(l->filter, name, len, &rule)) return sd_err_nomem(err);
  *stays = !rule;
  return 0;
}

/* ---- one entry ---- */

static int note_gone(struct sd_batch *b, const struct sd_gone *g, struct sd_err *err) {
  return sd_batch_gone(b, g) ? sd_err_nomem(err) : 0;
}

/* Whether no such name is in the directory; else a rule has left it out of the listing. */
static bool is_absent(const struct sd_listing *l, const struct sd_gone *row) {
  char name[NAME_MAX + 1];
  struct stat st;
  if (row->name_len > NAME_MAX) return true;
  memcpy(name, row->name, row->name_len);
  name[row->name_len] = '\0';
  return fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}

/* Whether the row is that of a disk's file system, which is gone with its mount point: desktops do
 * so with what is unplugged. What has no disk comes with a program, and mostly goes for good. */
static int is_away(struct sd_reconcile *r, const struct sd_listing *l, const struct sd_gone *row,
                   bool *away, struct sd_err *err) {
  struct sd_stat was;
  *away = false;
  if (l->refused) return 0;
  int rc = read_row(r, row->id, &was, err);
  if (rc) return rc < 0 ? rc : 0;
  if (!(was.flags & SD_ENTRY_MOUNT) || was.kind != SD_KIND_DIRECTORY) return 0;
  if (was.dev == l->dir->device || !sd_device_is_disk(was.dev) || !is_absent(l, row)) return 0;
  rc = may_stay(l, row->name, row->name_len, away, err);
  return rc || !*away ? rc : has_rows(r, row->id, away, err);
}

/* The name of the row is not in the listing. */
static int vanish(struct sd_reconcile *r, struct sd_listing *l, const struct sd_gone *row,
                  struct sd_err *err) {
  bool away;
  int rc = is_away(r, l, row, &away, err);
  if (rc) return rc;
  if (!away) return note_gone(l->batch, row, err);
  if (!SD_ARRAY_ROOM(r, away)) return sd_err_nomem(err);
  struct sd_gone *g = &r->away[r->away_len++];
  *g = *row;
  g->name = sd_arena_copy(&l->batch->arena, row->name, row->name_len);
  return g->name ? 0 : sd_err_nomem(err);
}

static bool has_moved(const struct sd_listing *l, int64_t id) {
  for (size_t i = 0; i < l->count; i++)
    if (l->entries[i].change == SD_CHANGE_MOVE && l->entries[i].id == id) return true;
  return false;
}

/* When all names are known: one that is mounted under another name beside it has moved. */
static int settle_away(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  int rc = 0;
  for (size_t i = 0; !rc && i < r->away_len; i++) {
    const struct sd_gone *g = &r->away[i];
    rc = has_moved(l, g->id) ? note_gone(l->batch, g, err)
                             : keep_unmounted(r, l, g->id, g->name, g->name_len, err);
  }
  r->away_len = 0;
  return rc;
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

/* Inodes that do not last say nothing: then it is the name that makes an entry. */
static bool is_same_entry(const struct sd_reconcile *r, const struct sd_stat *now,
                          const struct sd_stat *old) {
  if (now->kind != old->kind) return false;
  return r->opts.changed_by == SD_CHANGED_BY_MTIME ||
         (now->ino == old->ino && now->dev == old->dev);
}

/* What has come of an entry that is still the same. */
static void compare(const struct sd_reconcile *r, struct sd_entry *e) {
  bool differ = attributes_differ(&e->st, e->old);
  bool bytes = e->st.kind != SD_KIND_DIRECTORY && bytes_may_differ(r, &e->st, e->old);
  e->change = bytes ? SD_CHANGE_CONTENT : differ ? SD_CHANGE_UPDATE : SD_CHANGE_NONE;
  e->again = bytes && !differ;
}

/* The name of `e` is that of `row`, whose fingerprint is `row_sig`. */
static int match(struct sd_reconcile *r, struct sd_listing *l, struct sd_entry *e, int64_t row_sig,
                 struct sd_gone *row, struct sd_err *err) {
  e->id = row->id;
  e->change = SD_CHANGE_NONE;
  if (e->st.kind == 0) return 0; /* there, but not readable: what is known of it stays */
  int rc = find_device(r, l, e, err);
  if (rc || row_sig == sd_stat_sig(&e->st)) return rc;
  bool empty = false, stays = false;
  rc = read_stat(r, l->batch, e, err);
  if (!rc) rc = renumber_device(r, l, e, err);
  if (!rc && was_mount(l, e)) rc = may_stay(l, e->name, e->name_len, &stays, err);
  if (!rc && stays) rc = look_into_mount(r, l, e, &empty, err);
  empty = empty && e->st.dev != e->old->dev;
  if (!rc && empty) rc = has_rows(r, row->id, &empty, err);
  if (rc) return rc;
  if (empty) return leave_unmounted(r, l, e, err);
  if (!is_same_entry(r, &e->st, e->old)) return replace(r, l, e, row, err);
  compare(r, e);
  return 0;
}

/* ---- a listing ---- */

static int diff_new(struct sd_reconcile *r, struct sd_listing *l, size_t *i, size_t end,
                    struct sd_err *err) {
  int rc = 0;
  for (; !rc && *i < end; ++*i) {
    rc = find_device(r, l, &l->entries[*i], err);
    if (!rc) rc = look_for_move(r, l, &l->entries[*i], err);
  }
  return rc;
}

/* How many entries from `i` on have names before that of `row`; *hit: the next one has it. */
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
      code = hit ? match(r, l, &l->entries[i++], sqlite3_column_int64(q, 2), &row, err)
                 : vanish(r, l, &row, err);
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
    code = match(r, l, e, sqlite3_column_int64(q, 2), &row, err);
  } else if (rc == SQLITE_DONE) {
    code = find_device(r, l, e, err);
    if (!code) code = look_for_move(r, l, e, err);
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
      code = vanish(r, l, &row, err);
  }
  return finish(r, q, rc, code, err);
}

/* The directory was read to its end: for the first time, or again since it could not be read. */
static int end_listing(struct sd_reconcile *r, struct sd_listing *l, struct sd_err *err) {
  sqlite3_stmt *q = r->q[Q_SCANNED];
  sqlite3_bind_int64(q, 1, l->dir->id);
  int rc = sqlite3_step(q), code = 0;
  bool row = rc == SQLITE_ROW;
  l->delta->listed = !row || !sqlite3_column_int(q, 0);
  if (row && sqlite3_column_int(q, 1) && !l->dir->partial)
    code = check(r, sd_batch_readable(l->batch, l->dir->id, SD_READ), err);
  return finish(r, q, rc, code, err);
}

/* ---- the root ---- */

/* What the library calls the root's device: what it called that of the same directory before. */
static int name_root(struct sd_reconcile *r, struct sd_dir *root, struct sd_stat *now,
                     const struct sd_stat *old, struct sd_batch *b, struct sd_err *err) {
  struct sd_stat as_before = *now;
  uint64_t st_dev = now->dev;
  as_before.dev = old->dev;
  if (sd_stat_same_file(&as_before, old)) {
    root->device = now->dev = old->dev;
    return check(r, sd_devices_renumber(&r->devices, old->dev, st_dev, b), err);
  }
  int rc = check(r, sd_devices_find(&r->devices, st_dev, b, &now->dev), err);
  root->device = now->dev;
  return rc;
}

int sd_reconcile_root(void *ud, struct sd_dir *root, int fd, const struct sd_stat *stat,
                      struct sd_batch *b, struct sd_err *err) {
  struct sd_reconcile *r = ud;
  struct sd_stat now = *stat, old;
  bool rows = false;
  int rc = read_row(r, root->id, &old, err);
  if (rc) return rc < 0 ? rc : 0;
  rc = name_root(r, root, &now, &old, b, err);
  if (!rc && now.dev != old.dev) rc = has_rows(r, root->id, &rows, err);
  if (rc) return rc;
  int again = rows ? TEMP_FAILURE_RETRY(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) : -1;
  if (rows && again < 0 && sd_err_is_exhausted(-errno)) return sd_err_exhausted(err, -errno);
  if (again >= 0 && is_empty(again)) {
    rc = note_unmounted(b, root->id, "", 0);
    return rc ? sd_err_nomem(err) : 1;
  }
  if (sd_stat_sig(&now) == sd_stat_sig(&old)) return 0;
  b->root_id = root->id;
  b->root = now;
  b->root_was = old;
  return 0;
}

int sd_reconcile_diff(void *ud, struct sd_listing *l, struct sd_err *err) {
  struct sd_reconcile *r = ud;
  size_t i = 0;
  r->away_len = 0;
  if (!l->dir->known) return diff_new(r, l, &i, l->count, err);
  int rc = l->whole ? diff_whole(r, l, err) : diff_part(r, l, err);
  if (!rc && l->last && !l->whole) rc = vanished_rest(r, l, err);
  if (!rc) rc = settle_away(r, l, err);
  return rc || !l->last ? rc : end_listing(r, l, err);
}
