/* What hard links count twice. The totals of a directory count each name; of an inode with several
 * names in it all but the largest are too many (they differ in size only where some were looked at
 * before a change, and others after it). This excess is kept, so that what a directory takes is
 * known without looking at the names in it.
 *
 * A name is too many in all directories that have it and a larger name of its inode (or one as
 * large, and before it in some order): those are the deepest of them, and all above that. So its
 * size is put down there, once (link_excess), and reaches those above as all totals do, as
 * directory.excess_*. And a directory that moves takes along what is too much in itself.
 *
 * Names come one by one, and each matters to the others of its inode. So while a run goes on inodes
 * are only noted, by triggers (schema.c) and by sd_store_note_link(), and in the end their names
 * are looked at again, all of an inode at once. What differs from what was put down goes into the
 * totals in the same transaction. So directory.excess_* is the sum of link_excess in every
 * committed state; that this is the truth is known when nothing is noted. */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "engine/store_internal.h"

struct name {
  int64_t parent_id, size, allocated;
};

/* What was put down for an inode in a directory. */
struct record {
  int64_t ino, dir_id, bytes, allocated;
};

/* Records of inodes with numbers that follow each other lie together, as file systems give them: a
 * row for each would take as long as all else. */
struct bucket {
  int64_t dev, number;
  bool is_open, changed;
  struct record *records; /* by ino */
  size_t records_len, records_cap;
};

enum { BUCKET_INODES = 64, RECORD_BYTES = 32 };

/* `dirs`: those that were come by. Of a slot are used: parent_id; depth, the last pass that came
 * by; delta.excess_* and listed, what is too much of the inode at hand, and that it is in
 * `marked`. */
struct links {
  struct sd_store *s;
  struct sd_err *err;
  struct sd_totals_map dirs;
  uint32_t pass;
  int64_t *marked;
  size_t marked_len, marked_cap;
  struct name *names; /* of the inode at hand */
  size_t names_len, names_cap;
  struct bucket bucket; /* what was put down for it, and its neighbours */
  int64_t *todo;        /* directories of which the names are still to be noted */
  size_t todo_len, todo_cap;
  int64_t left; /* names that may still be looked at */
};

static void links_fini(struct links *l) {
  sd_totals_map_fini(&l->dirs);
  free(l->marked);
  free(l->names);
  free(l->bucket.records);
  free(l->todo);
}

/* After the last row. */
static int ended(struct links *l, sqlite3_stmt *st, int step) {
  int rc = step == SQLITE_DONE ? 0 : sd_store_error(l->s, l->err, "read hard links");
  sqlite3_reset(st);
  return rc;
}

/* Runs a statement with up to two integers. */
static int run(struct links *l, enum sd_stmt which, int64_t a, int64_t b) {
  sqlite3_stmt *st = sd_store_stmt(l->s, which, l->err);
  if (!st) return l->err->code;
  int n = sqlite3_bind_parameter_count(st);
  if (n > 0) sqlite3_bind_int64(st, 1, a);
  if (n > 1) sqlite3_bind_int64(st, 2, b);
  return sd_store_run(l->s, st, l->err, "write hard links");
}

/* The inode in the first row of a statement; 1: there is none. */
static int ask(struct sd_store *s, enum sd_stmt which, struct sd_inode *out, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, which, err);
  if (!st) return err->code;
  int step = sqlite3_step(st), rc = step == SQLITE_DONE;
  if (step == SQLITE_ROW) {
    out->dev = sqlite3_column_int64(st, 0);
    out->ino = sqlite3_column_int64(st, 1);
  } else if (step != SQLITE_DONE) {
    rc = sd_store_error(s, err, "read hard links");
  }
  sqlite3_reset(st);
  return rc;
}

static int circle(struct links *l, int64_t id) {
  return sd_err_set(l->err, SD_EDAMAGED, "the library is damaged: entry %lld lies below itself",
                    (long long)id);
}

/* ---- what is too much of one inode ---- */

static int get_dir(struct links *l, int64_t id, struct sd_totals_slot **out) {
  struct sd_totals_slot *slot = *out = sd_totals_map_put(&l->dirs, id);
  if (!slot) return sd_err_nomem(l->err);
  return slot->parent_id ? 0 : sd_store_parent(l->s, id, &slot->parent_id, l->err);
}

static int put_down(struct links *l, struct sd_totals_slot *slot, const struct sd_totals *more) {
  if (!slot->listed) {
    if (!SD_ARRAY_ROOM(l, marked)) return sd_err_nomem(l->err);
    l->marked[l->marked_len++] = slot->id;
    slot->listed = true;
    slot->delta = (struct sd_totals){0};
  }
  sd_totals_merge(&slot->delta, more);
  return 0;
}

/* Up to the first directory that a name before this one has come by. */
static int climb(struct links *l, int64_t id, const struct sd_totals *more, bool first) {
  struct sd_totals_slot *slot;
  while (id > 0) {
    int rc = get_dir(l, id, &slot);
    if (rc) return rc;
    if (slot->depth == l->pass) {
      if (!first) return put_down(l, slot, more);
      return circle(l, id);
    }
    slot->depth = l->pass;
    id = slot->parent_id;
  }
  return 0;
}

static int add_up(struct links *l, bool bytes, bool allocated) {
  int rc = 0;
  l->pass++;
  for (size_t i = 0; !rc && i < l->names_len; i++) {
    const struct name *n = &l->names[i];
    struct sd_totals more = {.excess_bytes = bytes ? n->size : 0,
                             .excess_allocated = allocated ? n->allocated : 0};
    rc = climb(l, n->parent_id, &more, i == 0);
  }
  return rc;
}

static bool are_alike(const struct links *l) {
  const struct name *first = l->names;
  for (size_t i = 1; i < l->names_len; i++)
    if (l->names[i].size != first->size || l->names[i].allocated != first->allocated) return false;
  return true;
}

static int largest_first(const void *a, const void *b) {
  int64_t x = ((const struct name *)a)->size, y = ((const struct name *)b)->size;
  return x > y ? -1 : x < y;
}

static int most_allocated_first(const void *a, const void *b) {
  int64_t x = ((const struct name *)a)->allocated, y = ((const struct name *)b)->allocated;
  return x > y ? -1 : x < y;
}

static int reckon(struct links *l) {
  if (l->names_len < 2) return 0;
  if (are_alike(l)) return add_up(l, true, true);
  qsort(l->names, l->names_len, sizeof(*l->names), largest_first);
  int rc = add_up(l, true, false);
  qsort(l->names, l->names_len, sizeof(*l->names), most_allocated_first);
  return rc ? rc : add_up(l, false, true);
}

/* ---- what was put down ---- */

static int64_t bucket_of(int64_t ino) {
  return (ino - (ino & (BUCKET_INODES - 1))) / BUCKET_INODES;
}

static int put_records(struct links *l, struct sd_buf *out) {
  int rc = 0;
  for (size_t i = 0; !rc && i < l->bucket.records_len; i++) {
    const struct record *r = &l->bucket.records[i];
    const int64_t fields[] = {r->ino, r->dir_id, r->bytes, r->allocated};
    for (size_t k = 0; !rc && k < 4; k++) rc = sd_buf_put_u64(out, (uint64_t)fields[k]);
  }
  return rc ? sd_err_nomem(l->err) : 0;
}

static int get_records(struct links *l, const uint8_t *p, size_t n) {
  if (n % RECORD_BYTES)
    return sd_err_set(l->err, SD_EDAMAGED, "the library is damaged: hard links of device %lld",
                      (long long)l->bucket.dev);
  for (; n; n -= RECORD_BYTES, p += RECORD_BYTES) {
    if (!SD_ARRAY_ROOM(&l->bucket, records)) return sd_err_nomem(l->err);
    l->bucket.records[l->bucket.records_len++] =
        (struct record){(int64_t)sd_get_u64(p), (int64_t)sd_get_u64(p + 8),
                        (int64_t)sd_get_u64(p + 16), (int64_t)sd_get_u64(p + 24)};
  }
  return 0;
}

static int close_bucket(struct links *l) {
  struct bucket *b = &l->bucket;
  struct sd_buf data = SD_BUF_INIT;
  b->is_open = false;
  if (!b->changed) return 0;
  b->changed = false;
  if (!b->records_len) return run(l, ST_LINK_EXCESS_DELETE, b->dev, b->number);
  sqlite3_stmt *st = sd_store_stmt(l->s, ST_LINK_EXCESS_PUT, l->err);
  int rc = st ? put_records(l, &data) : l->err->code;
  if (!rc) {
    sqlite3_bind_int64(st, 1, b->dev);
    sqlite3_bind_int64(st, 2, b->number);
    sqlite3_bind_blob64(st, 3, data.data, data.len, SQLITE_STATIC);
    rc = sd_store_run(l->s, st, l->err, "write hard links");
  }
  sd_buf_fini(&data);
  return rc;
}

static int open_bucket(struct links *l, const struct sd_inode *inode) {
  struct bucket *b = &l->bucket;
  int64_t number = bucket_of(inode->ino);
  if (b->is_open && b->dev == inode->dev && b->number == number) return 0;
  int rc = close_bucket(l);
  sqlite3_stmt *st = rc ? NULL : sd_store_stmt(l->s, ST_LINK_EXCESS, l->err);
  if (!st) return l->err->code;
  b->dev = inode->dev;
  b->number = number;
  b->is_open = true;
  b->records_len = 0;
  sqlite3_bind_int64(st, 1, b->dev);
  sqlite3_bind_int64(st, 2, b->number);
  int step = sqlite3_step(st);
  if (step == SQLITE_ROW) {
    rc = get_records(l, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0));
    step = SQLITE_DONE;
  }
  if (!rc) return ended(l, st, step);
  sqlite3_reset(st);
  return rc;
}

/* The records of an inode, [*from, *to). */
static void find_records(const struct bucket *b, int64_t ino, size_t *from, size_t *to) {
  size_t low = 0, high = b->records_len;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (b->records[mid].ino < ino) low = mid + 1;
    else high = mid;
  }
  *from = *to = low;
  while (*to < b->records_len && b->records[*to].ino == ino) ++*to;
}

static int insert_record(struct links *l, size_t at, const struct record *r) {
  struct bucket *b = &l->bucket;
  if (!SD_ARRAY_ROOM(b, records)) return sd_err_nomem(l->err);
  memmove(&b->records[at + 1], &b->records[at], (b->records_len - at) * sizeof(*r));
  b->records[at] = *r;
  b->records_len++;
  return 0;
}

/* ---- what is to be ---- */

/* A directory that is gone has taken what it had too much from those above it: nobody is there who
 * would have it. */
static int take_off(struct links *l, const struct record *r) {
  const struct sd_totals was = {.excess_bytes = r->bytes, .excess_allocated = r->allocated};
  struct sd_totals less = {0};
  sd_totals_take(&less, &was);
  return sd_store_add_totals(l->s, r->dir_id, &less, l->err);
}

static int remove_records(struct links *l, size_t from, size_t to) {
  struct bucket *b = &l->bucket;
  int rc = 0;
  if (from == to) return 0;
  for (size_t i = from; !rc && i < to; i++) rc = take_off(l, &b->records[i]);
  memmove(&b->records[from], &b->records[to], (b->records_len - to) * sizeof(*b->records));
  b->records_len -= to - from;
  b->changed = true;
  return rc;
}

static int add_marked(struct links *l, int64_t ino, size_t at) {
  int rc = 0;
  for (size_t i = 0; !rc && i < l->marked_len; i++) {
    struct sd_totals_slot *slot = sd_totals_map_get(&l->dirs, l->marked[i]);
    const struct record r = {ino, slot->id, slot->delta.excess_bytes, slot->delta.excess_allocated};
    slot->listed = false;
    if (!r.bytes && !r.allocated) continue;
    rc = sd_store_add_totals(l->s, slot->id, &slot->delta, l->err);
    if (!rc) rc = insert_record(l, at++, &r);
    l->bucket.changed = true;
  }
  l->marked_len = 0;
  return rc;
}

/* What stays as it was is taken off and added again, which writes nothing in the end. */
static int settle(struct links *l, const struct sd_inode *inode) {
  size_t from, to;
  int rc = reckon(l);
  if (!rc) rc = open_bucket(l, inode);
  if (rc) return rc;
  find_records(&l->bucket, inode->ino, &from, &to);
  l->left -= (int64_t)(l->names_len + (to - from)) + 1;
  l->names_len = 0;
  rc = remove_records(l, from, to);
  return rc ? rc : add_marked(l, inode->ino, from);
}

/* An inode that is noted may have none. */
static int take_name(struct links *l, sqlite3_stmt *st) {
  if (sqlite3_column_type(st, 1) == SQLITE_NULL) return 0;
  if (!SD_ARRAY_ROOM(l, names)) return sd_err_nomem(l->err);
  l->names[l->names_len++] = (struct name){.parent_id = sqlite3_column_int64(st, 1),
                                           .size = sqlite3_column_int64(st, 2),
                                           .allocated = sqlite3_column_int64(st, 3)};
  return 0;
}

/* ---- one inode after the other ---- */

/* Settles the inodes of a device that `which` gives with their names, from *at on. 0: l->left has
 * ended that, and *at is the next one; 1: there are no more. */
static int settle_device(struct links *l, enum sd_stmt which, struct sd_inode *at) {
  sqlite3_stmt *st = sd_store_stmt(l->s, which, l->err);
  int step = SQLITE_DONE, rc = 0;
  bool any = false;
  if (!st) return l->err->code;
  sqlite3_bind_int64(st, 1, at->dev);
  sqlite3_bind_int64(st, 2, at->ino);
  while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
    int64_t ino = sqlite3_column_int64(st, 0);
    if (any && ino != at->ino) rc = settle(l, at);
    any = true;
    at->ino = ino;
    if (!rc && l->left <= 0) break;
    if (!rc) rc = take_name(l, st);
  }
  if (step != SQLITE_ROW && !rc) rc = ended(l, st, step);
  else sqlite3_reset(st);
  if (rc || step == SQLITE_ROW) return rc;
  rc = any ? settle(l, at) : 0;
  return rc ? rc : 1;
}

/* What is settled is noted no more: `done` forgets it. */
static int settle_from(struct links *l, enum sd_stmt which, enum sd_stmt done,
                       struct sd_inode *at) {
  const int64_t from = at->ino;
  int over = settle_device(l, which, at);
  if (over < 0) return over;
  sqlite3_stmt *st = sd_store_stmt(l->s, done, l->err);
  if (!st) return l->err->code;
  sqlite3_bind_int64(st, 1, at->dev);
  sqlite3_bind_int64(st, 2, from);
  sqlite3_bind_int64(st, 3, over ? INT64_MAX : at->ino - 1);
  int rc = sd_store_run(l->s, st, l->err, "write hard links");
  return rc ? rc : over;
}

/* ---- all of them from one on ---- */

/* 1: there is none. */
static int next_device(struct links *l, struct sd_inode *at) {
  sqlite3_stmt *st = sd_store_stmt(l->s, ST_LINK_NEXT_DEV, l->err);
  if (!st) return l->err->code;
  sqlite3_bind_int64(st, 1, at->dev);
  int step = sqlite3_step(st);
  bool any = step == SQLITE_ROW && sqlite3_column_type(st, 0) == SQLITE_INTEGER;
  if (any) *at = (struct sd_inode){sqlite3_column_int64(st, 0), INT64_MIN};
  int rc = ended(l, st, step == SQLITE_ROW ? SQLITE_DONE : step);
  return rc ? rc : !any;
}

static int scan(struct links *l) {
  struct sd_inode at;
  int rc = ask(l->s, ST_LINK_SCAN, &at, l->err);
  if (rc) return rc < 0 ? rc : 0;
  while (!rc && l->left > 0) {
    rc = settle_from(l, ST_LINK_NAMES_FROM, ST_LINK_TODO_SCANNED, &at);
    if (rc == 1) rc = next_device(l, &at);
  }
  if (rc < 0) return rc;
  return rc == 1 ? run(l, ST_LINK_SCAN_DONE, 0, 0) : run(l, ST_LINK_SCAN_PUT, at.dev, at.ino);
}

/* ---- those below directories that were moved ---- */

static int note(struct links *l, int64_t dev, int64_t ino) {
  return run(l, ST_LINK_TODO_PUT, dev, ino);
}

static int note_children(struct links *l, int64_t id) {
  sqlite3_stmt *st = sd_store_stmt(l->s, ST_LINK_CHILDREN, l->err);
  int step = SQLITE_DONE, rc = 0;
  if (!st) return l->err->code;
  sqlite3_bind_int64(st, 1, id);
  while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
    bool dir = sqlite3_column_int(st, 1) == SD_KIND_DIRECTORY;
    l->left--;
    if (dir && !SD_ARRAY_ROOM(l, todo)) rc = sd_err_nomem(l->err);
    else if (dir) l->todo[l->todo_len++] = sqlite3_column_int64(st, 0);
    else if (sqlite3_column_int64(st, 2) > 1)
      rc = note(l, sqlite3_column_int64(st, 3), sqlite3_column_int64(st, 4));
  }
  if (!rc) return ended(l, st, step);
  sqlite3_reset(st);
  return rc;
}

/* What is not come to is moved, too, for the next call. */
static int note_below(struct links *l, int64_t id) {
  int rc = run(l, ST_LINK_MOVED_DONE, id, 0);
  if (!rc) rc = note_children(l, id);
  while (!rc && l->todo_len && l->left > 0) {
    int64_t below = l->todo[--l->todo_len];
    rc = below == id ? circle(l, id) : note_children(l, below);
  }
  while (!rc && l->todo_len) rc = run(l, ST_LINK_MOVED_PUT, l->todo[--l->todo_len], 0);
  return rc;
}

/* 1: there is none. */
static int first_moved(struct links *l, int64_t *id) {
  sqlite3_stmt *st = sd_store_stmt(l->s, ST_LINK_MOVED, l->err);
  if (!st) return l->err->code;
  int step = sqlite3_step(st);
  *id = step == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
  int rc = ended(l, st, step == SQLITE_ROW ? SQLITE_DONE : step);
  return rc || step == SQLITE_ROW ? rc : 1;
}

static int note_moved(struct links *l) {
  int64_t id;
  int rc = first_moved(l, &id);
  if (!rc) rc = run(l, ST_LINK_MOVED_CLEAR, 0, 0);
  while (!rc && l->left > 0) {
    rc = first_moved(l, &id);
    if (!rc) rc = note_below(l, id);
  }
  return rc < 0 ? rc : 0;
}

/* ---- those that are noted ---- */

static int settle_noted(struct links *l) {
  struct sd_inode at;
  int rc = 0;
  while (rc >= 0 && l->left > 0) {
    rc = ask(l->s, ST_LINK_TODO, &at, l->err);
    if (rc) break;
    rc = settle_from(l, ST_LINK_TODO_NAMES, ST_LINK_TODO_DONE, &at);
  }
  return rc < 0 ? rc : 0;
}

int sd_store_settle_links(struct sd_store *s, int64_t limit, bool *left, struct sd_err *err) {
  struct links l = {.s = s, .err = err, .left = limit};
  int rc = scan(&l);
  if (!rc && l.left > 0) rc = note_moved(&l);
  if (!rc && l.left > 0) rc = settle_noted(&l);
  if (!rc) rc = close_bucket(&l);
  *left = l.left <= 0;
  if (!*left) s->links_noted = 0;
  links_fini(&l);
  return rc;
}

/* ---- new names ---- */

static int read_links_from(struct sd_store *s, struct sd_err *err) {
  int rc = ask(s, ST_LINK_SCAN, &s->links_from, err);
  if (rc < 0) return rc;
  if (rc == 1) s->links_from = (struct sd_inode){INT64_MAX, INT64_MAX};
  s->links_known = true;
  return 0;
}

/* Whether the library has no more than some `n` names. */
static int is_few(struct sd_store *s, int64_t n, bool *few, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_LINK_FEW, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, n);
  int step = sqlite3_step(st);
  *few = step == SQLITE_ROW && sqlite3_column_int(st, 0);
  int rc = step == SQLITE_ROW ? 0 : sd_store_error(s, err, "read hard links");
  sqlite3_reset(st);
  return rc;
}

/* To look at all names costs less than to note a good part of them, as when a further location is
 * indexed. Asked each time that the number has doubled. */
static int scan_instead(struct sd_store *s, struct sd_err *err) {
  enum { NOTED_MIN = 256, NAMES_A_NOTE = 4 };
  bool few = false;
  int64_t n = ++s->links_noted;
  if (n < NOTED_MIN || (n & (n - 1))) return 0;
  int rc = is_few(s, n * NAMES_A_NOTE, &few, err);
  if (rc || !few) return rc;
  sqlite3_stmt *st = sd_store_stmt(s, ST_LINK_SCAN_ALL, err);
  if (!st) return err->code;
  s->links_from = (struct sd_inode){INT64_MIN, INT64_MIN};
  sqlite3_bind_int64(st, 1, INT64_MIN);
  return sd_store_run(s, st, err, "note hard links");
}

/* Those that are going to be scanned need no note. */
int sd_store_note_link(struct sd_store *s, const struct sd_stat *st, struct sd_err *err) {
  const int64_t dev = (int64_t)st->dev, ino = (int64_t)st->ino;
  if (st->nlink < 2 || st->kind == SD_KIND_DIRECTORY) return 0;
  int rc = s->links_known ? 0 : read_links_from(s, err);
  const struct sd_inode *from = &s->links_from;
  if (rc || dev > from->dev || (dev == from->dev && ino >= from->ino)) return rc;
  sqlite3_stmt *put = sd_store_stmt(s, ST_LINK_TODO_PUT, err);
  if (!put) return err->code;
  sqlite3_bind_int64(put, 1, dev);
  sqlite3_bind_int64(put, 2, ino);
  rc = sd_store_run(s, put, err, "note a hard link");
  return rc ? rc : scan_instead(s, err);
}
