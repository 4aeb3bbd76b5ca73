/* What is noted as vanished: found elsewhere, succeeded by what took its name, or removed.
 *
 * A note says that an entry is not at a place. It is void when the entry is at another place, since
 * a directory that moved is found by the walk. Of a directory only the directory itself is noted;
 * what is below it is noted as it is come by. */
#include <stdlib.h>

#include "base/array.h"
#include "engine/dir_path.h"
#include "engine/store_internal.h"

struct note {
  int64_t row, entry;
  bool there; /* the entry is at the place of the note, or it made room for another */
  struct sd_known k;
};

/* Takes a note from the statement, which is reset. 1: there is none. */
static int take_note(struct sd_store *s, sqlite3_stmt *st, struct note *v, struct sd_err *err) {
  int step = sqlite3_step(st), rc = step == SQLITE_DONE;
  if (step == SQLITE_ROW) {
    v->row = sqlite3_column_int64(st, 0);
    v->entry = sqlite3_column_int64(st, 1);
    v->k.parent_id = sqlite3_column_int64(st, 2);
    v->there = v->k.parent_id < 0 || sqlite3_column_int(st, 3);
    v->k.st = (struct sd_stat){.kind = (uint8_t)sqlite3_column_int(st, 4),
                               .size = sqlite3_column_int64(st, 5),
                               .allocated = sqlite3_column_int64(st, 6)};
    v->k.content_id = sqlite3_column_int64(st, 7);
  } else if (step != SQLITE_DONE) {
    rc = sd_store_error(s, err, "read what vanished");
  }
  sqlite3_reset(st);
  return rc;
}

static int note_done(struct sd_store *s, const struct note *v, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_DONE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, v->row);
  return sd_store_run(s, st, err, "forget what vanished");
}

/* Notes up to `most` directories in a vanished one (-1: all). Those that are noted already: `again`
 * or not. *count: how many. */
static int note_below(struct sd_store *s, const struct sd_write_opts *o, const struct note *v,
                      int64_t heir, int most, bool again, int *count, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_PUT_BELOW, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, o->job_id);
  sqlite3_bind_int64(st, 3, v->entry);
  if (heir) sqlite3_bind_int64(st, 4, heir);
  sqlite3_bind_int(st, 5, most);
  sqlite3_bind_int(st, 6, again);
  int rc = sd_store_run(s, st, err, "note what vanished");
  *count = rc ? 0 : sqlite3_changes(s->db);
  return rc;
}

static int add_count(struct sd_store *s, const struct sd_write_opts *o, const char *name,
                     uint64_t n, struct sd_err *err) {
  sqlite3_stmt *st = n ? sd_store_stmt(s, ST_COUNT_ADD, err) : NULL;
  if (!st) return n ? err->code : 0;
  sqlite3_bind_int64(st, 1, o->job_id);
  sqlite3_bind_text(st, 2, name, -1, SQLITE_STATIC);
  sqlite3_bind_int64(st, 3, (int64_t)n);
  return sd_store_run(s, st, err, "count");
}

static int add_counts(struct sd_store *s, const struct sd_write_opts *o,
                      const struct sd_sweep_count *n, struct sd_err *err) {
  int rc = add_count(s, o, "moved", n->moved, err);
  if (!rc) rc = add_count(s, o, "replaced", n->replaced, err);
  return rc ? rc : add_count(s, o, "removed", n->removed, err);
}

/* An id that a query of two or three ids gives; 0 where it gives none. */
static int ask(struct sd_store *s, const struct sd_write_opts *o, enum sd_stmt which, int64_t a,
               int64_t b, int64_t *out, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, which, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, a);
  if (b) sqlite3_bind_int64(st, 3, b);
  int step = sqlite3_step(st);
  *out = step == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
  int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : sd_store_error(s, err, "read an entry");
  sqlite3_reset(st);
  return rc;
}

/* What is new where the entry of the note was, and of its kind; 0: nothing. */
static int heir_of(struct sd_store *s, const struct sd_write_opts *o, const struct note *v,
                   int64_t *heir, struct sd_err *err) {
  return ask(s, o, ST_HEIR, v->row, 0, heir, err);
}

/* ---- for who wants to know ---- */

/* Where an entry is, or was before it made room. */
static int put_path(struct sd_store *s, int64_t id, struct sd_buf *out, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_PLACE, err), *dir;
  if (!st || !(dir = sd_store_stmt(s, ST_DIR_ANCHOR, err))) return err->code;
  int rc = 0;
  sqlite3_bind_int64(st, 1, id);
  if (sqlite3_step(st) == SQLITE_ROW) {
    const char *name = sqlite3_column_blob(st, 1);
    rc = sd_dir_path_read_name(dir, sqlite3_column_int64(st, 0), name ? name : "",
                               (size_t)sqlite3_column_bytes(st, 1), out);
  }
  sqlite3_reset(st);
  if (!rc) return 0;
  return rc == SD_ESQL ? sd_store_error(s, err, "read a path") : sd_err_nomem(err);
}

static int copy_path(struct sd_store *s, struct sd_tell *t, int64_t id, const char **path,
                     size_t *len, struct sd_err *err) {
  struct sd_buf buf = SD_BUF_INIT;
  int rc = put_path(s, id, &buf, err);
  *len = buf.len;
  *path = rc ? NULL : sd_arena_copy(&t->arena, buf.data ? (char *)buf.data : "", buf.len);
  sd_buf_fini(&buf);
  return rc || *path ? rc : sd_err_nomem(err);
}

/* `id` is where it has come to, or was; `from` is 0, or where it came from. Before it is done. */
static int tell(struct sd_store *s, const struct sd_write_opts *o, enum sd_told_what what,
                int64_t id, int64_t from, struct sd_err *err) {
  struct sd_tell *t = o->tell;
  if (!t) return 0;
  if (!SD_ARRAY_ROOM(t, items)) return sd_err_nomem(err);
  struct sd_told *told = &t->items[t->items_len];
  *told = (struct sd_told){.what = what};
  int rc = copy_path(s, t, id, &told->path, &told->path_len, err);
  if (!rc && from) rc = copy_path(s, t, from, &told->from, &told->from_len, err);
  t->items_len += !rc;
  return rc;
}

/* ---- matching ---- */

struct ids {
  int64_t *items;
  size_t items_len, items_cap;
};

/* The entry is who the statement finds first, if anybody: of several names of an inode each one
 * that has vanished gets another of those that are new, since whoever was found is new no more. */
static int match_entry(struct sd_store *s, const struct sd_write_opts *o, int64_t id,
                       struct sd_sweep_count *n, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_MATCH_ENTRY, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, id);
  sqlite3_bind_int(st, 3, o->distrust);
  int step = sqlite3_step(st);
  int64_t now = step == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
  bool same_bytes = step == SQLITE_ROW && sqlite3_column_int(st, 1);
  int rc =
      step == SQLITE_ROW || step == SQLITE_DONE ? 0 : sd_store_error(s, err, "read what vanished");
  sqlite3_reset(st);
  if (rc || !now) return rc;
  n->moved++;
  rc = tell(s, o, SD_TOLD_MOVED, now, id, err);
  return rc ? rc : sd_store_take_place(s, o, id, now, same_bytes, err);
}

/* The files of a directory that are new elsewhere, by name. */
static int get_found_children(struct sd_store *s, const struct sd_write_opts *o, int64_t id,
                              struct ids *out, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_MATCH_CHILDREN, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, id);
  int step = SQLITE_DONE, rc = 0;
  while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
    if (!SD_ARRAY_ROOM(out, items)) rc = sd_err_nomem(err);
    else out->items[out->items_len++] = sqlite3_column_int64(st, 0);
  }
  if (!rc && step != SQLITE_DONE) rc = sd_store_error(s, err, "read what vanished");
  sqlite3_reset(st);
  return rc;
}

static int match_children(struct sd_store *s, const struct sd_write_opts *o, int64_t id,
                          struct sd_sweep_count *n, struct sd_err *err) {
  struct ids ids = {0};
  int rc = get_found_children(s, o, id, &ids, err);
  for (size_t i = 0; !rc && i < ids.items_len; i++) rc = match_entry(s, o, ids.items[i], n, err);
  free(ids.items);
  return rc;
}

static int match_note(struct sd_store *s, const struct sd_write_opts *o, const struct note *v,
                      struct sd_sweep_count *n, struct sd_err *err) {
  int64_t heir;
  int count;
  if (v->k.st.kind != SD_KIND_DIRECTORY) return match_entry(s, o, v->entry, n, err);
  int rc = match_children(s, o, v->entry, n, err);
  if (!rc) rc = heir_of(s, o, v, &heir, err);
  return rc ? rc : note_below(s, o, v, heir, -1, false, &count, err);
}

/* The next note behind *after. 1: there is none, or nothing that it could be. */
static int next_to_match(struct sd_store *s, const struct sd_write_opts *o, int64_t after,
                         struct note *v, struct sd_err *err) {
  int64_t any;
  int rc = ask(s, o, ST_FOUND_ANY, 0, 0, &any, err);
  if (rc || !any) return rc ? rc : 1;
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_FIRST, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, o->job_id);
  sqlite3_bind_int64(st, 3, after);
  return take_note(s, st, v, err);
}

/* What jobs that were given up have left is this job's from now on. */
static int adopt(struct sd_store *s, const struct sd_write_opts *o, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_ADOPT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, o->job_id);
  return sd_store_run(s, st, err, "take over what vanished");
}

int sd_store_match(struct sd_store *s, const struct sd_write_opts *o, int64_t limit, int64_t *after,
                   struct sd_sweep_count *n, bool *left, struct sd_err *err) {
  struct note v;
  int rc = *after ? 0 : adopt(s, o, err);
  *n = (struct sd_sweep_count){0};
  *left = true;
  for (int64_t i = 0; !rc && i + (int64_t)n->moved < limit; i++) {
    rc = next_to_match(s, o, *after, &v, err);
    if (rc) break;
    *after = v.row;
    rc = v.there ? match_note(s, o, &v, n, err) : note_done(s, &v, err);
  }
  if (rc < 0) return rc;
  *left = rc == 0;
  return add_counts(s, o, n, err);
}

/* ---- sweeping ---- */

enum { SWEEP_CHUNK = 256 };

struct child {
  int64_t id;
  struct sd_known k;
};

/* Up to *count children of `id` that are no directories. */
static int get_children(struct sd_store *s, int64_t id, struct child *out, int *count,
                        struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_CHILDREN, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  sqlite3_bind_int(st, 2, *count);
  int rc, n = 0;
  while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
    struct child *c = &out[n++];
    c->id = sqlite3_column_int64(st, 0);
    c->k = (struct sd_known){.parent_id = id, .content_id = sqlite3_column_int64(st, 4)};
    c->k.st.kind = (uint8_t)sqlite3_column_int(st, 1);
    c->k.st.size = sqlite3_column_int64(st, 2);
    c->k.st.allocated = sqlite3_column_int64(st, 3);
  }
  int code = rc == SQLITE_DONE ? 0 : sd_store_error(s, err, "read children");
  sqlite3_reset(st);
  *count = n;
  return code;
}

/* An entry that is no directory ends: in the place of its heir, or for good. */
static int end_entry(struct sd_store *s, const struct sd_write_opts *o, int64_t id,
                     const struct sd_known *k, int64_t heir, struct sd_sweep_count *n,
                     struct sd_err *err) {
  int rc =
      heir ? tell(s, o, SD_TOLD_REPLACED, heir, 0, err) : tell(s, o, SD_TOLD_REMOVED, id, 0, err);
  if (rc) return rc;
  if (heir) n->replaced++;
  else n->removed++;
  return heir ? sd_store_take_place(s, o, id, heir, false, err) : sd_store_delete(s, id, k, err);
}

static int end_children(struct sd_store *s, const struct sd_write_opts *o, int64_t id,
                        int64_t heir_dir, int *count, struct sd_sweep_count *n,
                        struct sd_err *err) {
  struct child children[SWEEP_CHUNK];
  int rc = get_children(s, id, children, count, err);
  for (int i = 0; !rc && i < *count; i++) {
    int64_t heir = 0;
    if (heir_dir) rc = ask(s, o, ST_HEIR_CHILD, children[i].id, heir_dir, &heir, err);
    if (!rc) rc = end_entry(s, o, children[i].id, &children[i].k, heir, n, err);
  }
  return rc;
}

/* The heir of a directory keeps its own id, since what is in it names that; it gets the uuid, and
 * is nobody's heir any more. */
static int bequeath(struct sd_store *s, const struct sd_write_opts *o, int64_t id, int64_t heir,
                    struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_TAKE_UUID, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, heir);
  sqlite3_bind_int64(st, 2, id);
  int rc = sd_store_run(s, st, err, "pass on an identity");
  if (rc || !(st = sd_store_stmt(s, ST_FOUND_FORGET, err))) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, heir);
  return sd_store_run(s, st, err, "forget what was new");
}

/* A directory: its files, then its directories, which come as notes of their own, then itself.
 * *done: it came to that. */
static int end_dir(struct sd_store *s, const struct sd_write_opts *o, const struct note *v,
                   int most, struct sd_sweep_count *n, bool *done, struct sd_err *err) {
  int64_t heir;
  int count = most;
  int rc = heir_of(s, o, v, &heir, err);
  *done = false;
  if (!rc) rc = end_children(s, o, v->entry, heir, &count, n, err);
  if (rc || count) return rc;
  rc = note_below(s, o, v, heir, most, true, &count, err);
  if (rc || count) return rc;
  *done = true;
  if (heir) {
    n->replaced++;
    rc = tell(s, o, SD_TOLD_REPLACED, heir, 0, err);
    if (!rc) rc = bequeath(s, o, v->entry, heir, err);
  } else {
    n->removed++;
    rc = tell(s, o, SD_TOLD_REMOVED, v->entry, 0, err);
  }
  return rc ? rc : sd_store_delete(s, v->entry, &v->k, err);
}

/* Removes at most `most` rows. */
static int sweep_one(struct sd_store *s, const struct sd_write_opts *o, const struct note *v,
                     int64_t most, struct sd_sweep_count *n, struct sd_err *err) {
  int64_t heir;
  int chunk = most < SWEEP_CHUNK ? (int)most : SWEEP_CHUNK, rc = 0;
  bool done = true;
  if (v->there && v->k.st.kind == SD_KIND_DIRECTORY) {
    rc = end_dir(s, o, v, chunk, n, &done, err);
  } else if (v->there) {
    rc = heir_of(s, o, v, &heir, err);
    if (!rc) rc = end_entry(s, o, v->entry, &v->k, heir, n, err);
  }
  return rc || !done ? rc : note_done(s, v, err);
}

/* The entry noted last, so that children go before parents. 1: there is none. */
static int next_to_sweep(struct sd_store *s, const struct sd_write_opts *o, struct note *v,
                         struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_LAST, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, o->job_id);
  return take_note(s, st, v, err);
}

static int64_t ended(const struct sd_sweep_count *n) {
  return (int64_t)(n->removed + n->replaced);
}

int sd_store_sweep(struct sd_store *s, const struct sd_write_opts *o, int64_t limit,
                   struct sd_sweep_count *n, bool *left, struct sd_err *err) {
  struct note v;
  int rc = 0;
  *n = (struct sd_sweep_count){0};
  *left = true;
  for (int64_t i = 0; !rc && i < limit && ended(n) < limit; i++) {
    rc = next_to_sweep(s, o, &v, err);
    if (!rc) rc = sweep_one(s, o, &v, limit - ended(n), n, err);
  }
  if (rc < 0) return rc;
  *left = rc == 0;
  return add_counts(s, o, n, err);
}

int sd_store_forget_found(struct sd_store *s, const struct sd_write_opts *o, int64_t limit,
                          bool *left, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_FOUND_CLEAR, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, limit);
  int rc = sd_store_run(s, st, err, "forget what was new");
  *left = !rc && sqlite3_changes(s->db) >= limit;
  return rc;
}
