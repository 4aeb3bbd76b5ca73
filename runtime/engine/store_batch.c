/* Writing a batch: rows, directories, totals, what vanished, errors. */
#include <errno.h>
#include <string.h>

#include "engine/name_index.h"
#include "engine/store_internal.h"

int sd_store_note(struct sd_store *s, const struct sd_write_opts *o, const struct sd_note *note,
                  struct sd_err *err) {
  bool skip = note->op == 0;
  sqlite3_stmt *st = sd_store_stmt(s, skip ? ST_SKIP_PUT : ST_ERROR_PUT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->job_id);
  sqlite3_bind_int64(st, 2, o->location_id);
  sd_store_bind_bytes(st, 3, note->path, note->path_len);
  if (skip) {
    sd_store_bind_bytes(st, 4, note->reason, strlen(note->reason));
  } else {
    sqlite3_bind_text(st, 4, sd_op_name(note->op), -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 5, sd_err_name(note->code), -1, SQLITE_TRANSIENT);
    sd_store_bind_bytes(st, 6, note->reason, strlen(note->reason));
    sqlite3_bind_int64(st, 7, s->now);
  }
  return sd_store_run(s, st, err, "write an error row");
}

/* Appends the directory's stored piece of path and a slash; nothing where it is not known yet. */
static int put_dir_path(struct sd_store *s, int64_t id, struct sd_buf *out, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_PATH, err);
  int rc = 0;
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  if (sqlite3_step(st) == SQLITE_ROW && sqlite3_column_bytes(st, 0) > 0) {
    const void *piece = sqlite3_column_blob(st, 0);
    rc = sd_buf_put(out, piece, (size_t)sqlite3_column_bytes(st, 0));
    if (!rc) rc = sd_buf_put(out, "/", 1);
  }
  sqlite3_reset(st);
  return rc ? sd_err_nomem(err) : 0;
}

/* The library refused the row at `e`: one file is no reason to lose the rest. A directory is: what
 * lies below it names it as its parent, here and in batches to come. */
static int note_refused(struct sd_store *s, const struct sd_write_opts *o, const struct sd_entry *e,
                        struct sd_err *err) {
  struct sd_totals undo = {0};
  struct sd_buf path = SD_BUF_INIT;
  sd_totals_add(&undo, &e->st, -1);
  int rc = sd_store_add_totals(s, e->parent_id, &undo, err);
  if (!rc) rc = put_dir_path(s, e->parent_id, &path, err);
  if (!rc && sd_buf_put(&path, e->name, e->name_len)) rc = sd_err_nomem(err);
  if (!rc && e->st.kind == SD_KIND_DIRECTORY)
    rc = sd_err_set(err, -EEXIST, "%.*s: the library has a directory of this name already",
                    (int)path.len, (const char *)path.data);
  struct sd_note note = {.path = (const char *)path.data,
                         .path_len = (uint32_t)path.len,
                         .op = SD_OP_CREATE_ENTRY,
                         .code = -EEXIST,
                         .reason = "an entry of this name is already there"};
  if (!rc) rc = sd_store_note(s, o, &note, err);
  sd_buf_fini(&path);
  return rc;
}

static bool is_alike(const struct sd_entry *a, const struct sd_entry *e) {
  return e->change == SD_CHANGE_INSERT && !e->target && e->st.dev == a->st.dev &&
         e->st.uid == a->st.uid && e->st.gid == a->st.gid;
}

/* Where the rows from `from` on stop being alike. */
static size_t alike_until(const struct sd_batch *b, size_t from) {
  size_t i = from;
  while (i < b->entries_len && is_alike(&b->entries[from], &b->entries[i])) i++;
  return i;
}

enum { ALIKE_MIN = 16 }; /* rows for which a statement of their own is worth it */

/* Sets rows->to: as far as one statement serves, which is returned. */
static enum sd_stmt next_rows(const struct sd_batch *b, struct sd_rows *rows) {
  rows->to = alike_until(b, rows->from);
  if (rows->to - rows->from >= ALIKE_MIN) return ST_ENTRY_INSERT_ALIKE;
  for (size_t i = rows->from; i < b->entries_len; i = rows->to) {
    size_t until = alike_until(b, i);
    if (until - i >= ALIKE_MIN) break;
    rows->to = until > i ? until : i + 1;
  }
  return ST_ENTRY_INSERT;
}

static void bind_rows(sqlite3_stmt *st, enum sd_stmt which, struct sd_rows *rows) {
  const struct sd_stat *first = &rows->entries[rows->from].st;
  sqlite3_bind_pointer(st, 1, rows, SD_ROWS_POINTER, NULL);
  if (which != ST_ENTRY_INSERT_ALIKE) return;
  sqlite3_bind_int64(st, 2, (int64_t)first->dev);
  sqlite3_bind_int64(st, 3, first->uid);
  sqlite3_bind_int64(st, 4, first->gid);
}

static int insert_entries(struct sd_store *s, const struct sd_batch *b,
                          const struct sd_write_opts *o, struct sd_write_count *n,
                          struct sd_err *err) {
  struct sd_rows rows = {.entries = b->entries, .want_content = o->want_content};
  while (rows.from < b->entries_len) {
    enum sd_stmt which = next_rows(b, &rows);
    sqlite3_stmt *st = sd_store_stmt(s, which, err);
    if (!st) return err->code;
    bind_rows(st, which, &rows);
    int rc = sqlite3_step(st);
    bool refused = rc != SQLITE_DONE && (rc & 0xff) == SQLITE_CONSTRAINT;
    int code = rc == SQLITE_DONE || refused ? 0 : sd_store_error(s, err, "write entries");
    n->inserted += (uint64_t)sqlite3_changes(s->db);
    sqlite3_reset(st);
    if (code) return code;
    rows.from = refused ? rows.at + 1 : rows.to;
    if (!refused) continue;
    n->errors++;
    if ((code = note_refused(s, o, &b->entries[rows.at], err))) return code;
  }
  return 0;
}

int sd_store_drop_content(struct sd_store *s, int64_t id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_CONTENT_DROP, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  int rc = sqlite3_step(st);
  bool last = rc == SQLITE_ROW && sqlite3_column_int64(st, 0) <= 0;
  int code = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sd_store_error(s, err, "drop a content");
  sqlite3_reset(st);
  if (code || !last) return code;
  if (!(st = sd_store_stmt(s, ST_CONTENT_DELETE, err))) return err->code;
  sqlite3_bind_int64(st, 1, id);
  return sd_store_run(s, st, err, "drop a content");
}

struct known {
  int64_t parent_id, content_id; /* content_id 0: none */
  struct sd_stat st;             /* kind, size, allocated */
};

/* 1: there is no such entry. */
static int get_entry(struct sd_store *s, int64_t id, struct known *k, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_GET, err);
  if (!st) return err->code;
  memset(k, 0, sizeof(*k));
  sqlite3_bind_int64(st, 1, id);
  int rc = sqlite3_step(st), code = rc == SQLITE_DONE;
  if (rc == SQLITE_ROW) {
    k->parent_id = sqlite3_column_int64(st, 0);
    k->st.kind = (uint8_t)sqlite3_column_int(st, 1);
    k->st.size = sqlite3_column_int64(st, 2);
    k->st.allocated = sqlite3_column_int64(st, 3);
    k->content_id = sqlite3_column_int64(st, 4);
  } else if (rc != SQLITE_DONE) {
    code = sd_store_error(s, err, "read an entry");
  }
  sqlite3_reset(st);
  return code;
}

static void bind_stat(sqlite3_stmt *st, const struct sd_stat *a) {
  sqlite3_bind_int(st, 2, a->kind);
  sqlite3_bind_int64(st, 3, a->size);
  sqlite3_bind_int64(st, 4, a->allocated);
  sqlite3_bind_int64(st, 5, a->mtime);
  sqlite3_bind_int64(st, 6, a->ctime);
  if (a->flags & SD_ENTRY_BTIME) sqlite3_bind_int64(st, 7, a->btime);
  else sqlite3_bind_null(st, 7);
  sqlite3_bind_int64(st, 8, (int64_t)a->dev);
  sqlite3_bind_int64(st, 9, (int64_t)a->ino);
  sqlite3_bind_int64(st, 10, sd_stat_stored_mode(a));
  sqlite3_bind_int64(st, 11, a->uid);
  sqlite3_bind_int64(st, 12, a->gid);
  sqlite3_bind_int64(st, 13, a->nlink);
  sqlite3_bind_int64(st, 14, sd_stat_sig(a));
}

static int update_entry(struct sd_store *s, const struct sd_entry *e, bool want_content,
                        struct sd_err *err) {
  struct known k;
  bool drop = e->change == SD_CHANGE_CONTENT;
  int rc = drop ? get_entry(s, e->id, &k, err) : 0;
  if (rc) return rc < 0 ? rc : 0;
  if (drop && k.content_id && (rc = sd_store_drop_content(s, k.content_id, err))) return rc;
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_UPDATE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, e->id);
  bind_stat(st, &e->st);
  sd_store_bind_bytes(st, 15, e->target, e->target_len);
  sqlite3_bind_int(st, 16, drop);
  if (want_content && e->st.kind == SD_KIND_FILE && e->st.size > 0) sqlite3_bind_int64(st, 17, 0);
  else sqlite3_bind_null(st, 17);
  return sd_store_run(s, st, err, "update an entry");
}

/* A new directory's row is written once, with its totals, when these are known: see
 * store_totals.c. */
static int gather_dirs(struct sd_store *s, const struct sd_batch *b, const struct sd_write_opts *o,
                       struct sd_err *err) {
  for (size_t i = 0; i < b->dirs_len; i++) {
    struct sd_totals_slot *slot = sd_totals_map_put(&s->totals, b->dirs[i].id);
    if (!slot) return sd_err_nomem(err);
    slot->made = &b->dirs[i];
    slot->location_id = o->location_id;
  }
  return 0;
}

static int put_vanished(struct sd_store *s, int64_t job_id, int64_t id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_PUT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, job_id);
  sqlite3_bind_int64(st, 2, id < 0 ? -id : id);
  sqlite3_bind_int(st, 3, id < 0);
  return sd_store_run(s, st, err, "note what vanished");
}

static int write_notes(struct sd_store *s, const struct sd_batch *b, const struct sd_write_opts *o,
                       struct sd_err *err) {
  int rc = 0;
  for (size_t i = 0; !rc && i < b->errors_len; i++) rc = sd_store_note(s, o, &b->errors[i], err);
  for (size_t i = 0; !rc && i < b->skips_len; i++) rc = sd_store_note(s, o, &b->skips[i], err);
  return rc;
}

static int gather_totals(struct sd_store *s, const struct sd_batch *b, struct sd_err *err) {
  for (size_t i = 0; i < b->deltas_len; i++) {
    const struct sd_dir_delta *d = &b->deltas[i];
    struct sd_totals_slot *slot = sd_totals_map_put(&s->totals, d->id);
    if (!slot) return sd_err_nomem(err);
    sd_totals_merge(&slot->delta, &d->delta);
    slot->listed |= d->listed;
    if (d->parent_id) slot->parent_id = d->parent_id;
  }
  return 0;
}

int sd_store_write_batch(struct sd_store *s, const struct sd_batch *b,
                         const struct sd_write_opts *o, struct sd_write_count *n,
                         struct sd_err *err) {
  int rc = insert_entries(s, b, o, n, err);
  for (size_t i = 0; !rc && i < b->entries_len; i++) {
    if (b->entries[i].change <= SD_CHANGE_INSERT) continue;
    rc = update_entry(s, &b->entries[i], o->want_content, err);
    n->updated++;
  }
  if (!rc) rc = sd_names_note(s, b, err);
  if (!rc) rc = gather_dirs(s, b, o, err);
  if (!rc) rc = gather_totals(s, b, err);
  for (size_t i = 0; !rc && i < b->vanished_len; i++, n->vanished++)
    rc = put_vanished(s, o->job_id, b->vanished[i], err);
  n->errors += b->errors_len;
  return rc ? rc : write_notes(s, b, o, err);
}

/* ---- the sweep ---- */

static int delete_row(struct sd_store *s, enum sd_stmt which, int64_t id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, which, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  return sd_store_run(s, st, err, "remove an entry");
}

/* The climb from the directory's own slot needs to know where it was. */
static int delete_dir(struct sd_store *s, int64_t id, int64_t parent_id, struct sd_err *err) {
  struct sd_totals_slot *slot = sd_totals_map_put(&s->totals, id);
  if (!slot) return sd_err_nomem(err);
  slot->parent_id = parent_id;
  return delete_row(s, ST_DIR_DELETE, id, err);
}

static int delete_entry(struct sd_store *s, int64_t id, const struct known *k, struct sd_err *err) {
  struct sd_totals gone = {0};
  sd_totals_add(&gone, &k->st, -1);
  int rc = sd_store_add_totals(s, k->parent_id, &gone, err);
  if (!rc && k->content_id) rc = sd_store_drop_content(s, k->content_id, err);
  if (!rc && k->st.kind == SD_KIND_DIRECTORY) rc = delete_dir(s, id, k->parent_id, err);
  return rc ? rc : delete_row(s, ST_ENTRY_DELETE, id, err);
}

enum { SWEEP_CHUNK = 256 };

struct child {
  int64_t id;
  struct known k;
};

/* Up to *count children of `id`: directories, or everything else. */
static int get_children(struct sd_store *s, int64_t id, bool dirs, struct child *out, int *count,
                        struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_CHILDREN, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  sqlite3_bind_int(st, 2, dirs);
  sqlite3_bind_int(st, 3, *count);
  int rc, n = 0;
  while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
    struct child *c = &out[n++];
    c->id = sqlite3_column_int64(st, 0);
    c->k = (struct known){.parent_id = id, .content_id = sqlite3_column_int64(st, 4)};
    c->k.st.kind = (uint8_t)sqlite3_column_int(st, 1);
    c->k.st.size = sqlite3_column_int64(st, 2);
    c->k.st.allocated = sqlite3_column_int64(st, 3);
  }
  int code = rc == SQLITE_DONE ? 0 : sd_store_error(s, err, "read children");
  sqlite3_reset(st);
  *count = n;
  return code;
}

/* Removes the files of directory `id`, up to *count, or puts its directories on the list. *count:
 * how many there were. */
static int sweep_children(struct sd_store *s, int64_t job_id, int64_t id, int *count,
                          uint64_t *removed, struct sd_err *err) {
  struct child children[SWEEP_CHUNK];
  int most = *count;
  int rc = get_children(s, id, false, children, count, err);
  if (rc) return rc;
  for (int i = 0; !rc && i < *count; i++, ++*removed)
    rc = delete_entry(s, children[i].id, &children[i].k, err);
  if (rc || *count) return rc;
  *count = most;
  if ((rc = get_children(s, id, true, children, count, err))) return rc;
  for (int i = 0; !rc && i < *count; i++) rc = put_vanished(s, job_id, children[i].id, err);
  return rc;
}

struct vanished {
  int64_t row, entry;
  bool keep;
};

/* The entry noted last, so that children go before parents. 1: there is none. */
static int next_vanished_of(struct sd_store *s, int64_t job_id, struct vanished *v,
                            struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_NEXT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, job_id);
  int rc = sqlite3_step(st), code = rc == SQLITE_DONE;
  if (rc == SQLITE_ROW) {
    v->row = sqlite3_column_int64(st, 0);
    v->entry = sqlite3_column_int64(st, 1);
    v->keep = sqlite3_column_int(st, 2);
  } else if (rc != SQLITE_DONE) {
    code = sd_store_error(s, err, "read what vanished");
  }
  sqlite3_reset(st);
  return code;
}

/* Job 0: what lay below directories that are none any more, noted by jobs that were given up. No
 * later listing would find it. */
static int next_vanished(struct sd_store *s, int64_t job_id, struct vanished *v,
                         struct sd_err *err) {
  int rc = next_vanished_of(s, job_id, v, err);
  return rc == 1 ? next_vanished_of(s, 0, v, err) : rc;
}

/* Whether the entry has a directory's row, also where it is none any more. */
static int has_dir(struct sd_store *s, int64_t id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_PATH, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  int rc = sqlite3_step(st);
  int code = rc == SQLITE_ROW || rc == SQLITE_DONE ? rc == SQLITE_ROW
                                                   : sd_store_error(s, err, "read a directory");
  sqlite3_reset(st);
  return code;
}

/* Removes at most `most` rows. */
static int sweep_one(struct sd_store *s, int64_t job_id, const struct vanished *v, int64_t most,
                     uint64_t *removed, struct sd_err *err) {
  struct known k;
  int count = most < SWEEP_CHUNK ? (int)most : SWEEP_CHUNK;
  int rc = get_entry(s, v->entry, &k, err);
  if (rc < 0) return rc;
  bool there = rc == 0;
  /* A directory again: it has been listed since, and what is gone is noted for itself. */
  if (v->keep && there && k.st.kind == SD_KIND_DIRECTORY)
    return delete_row(s, ST_VANISHED_DONE, v->row, err);
  rc = there ? has_dir(s, v->entry, err) : 0;
  if (rc > 0) {
    if ((rc = sweep_children(s, job_id, v->entry, &count, removed, err))) return rc;
    if (count) return 0; /* comes again when they are gone */
    if (k.st.kind != SD_KIND_DIRECTORY) rc = delete_dir(s, v->entry, k.parent_id, err);
  }
  if (rc < 0) return rc;
  if (there && !v->keep) {
    if ((rc = delete_entry(s, v->entry, &k, err))) return rc;
    ++*removed;
  }
  return delete_row(s, ST_VANISHED_DONE, v->row, err);
}

int sd_store_sweep(struct sd_store *s, int64_t job_id, int64_t limit, uint64_t *removed, bool *left,
                   struct sd_err *err) {
  struct vanished v = {0};
  *removed = 0;
  *left = true;
  for (int64_t steps = 0; steps < limit && (int64_t)*removed < limit; steps++) {
    int rc = next_vanished(s, job_id, &v, err);
    if (rc < 0) return rc;
    if (rc == 1) {
      *left = false;
      return 0;
    }
    if ((rc = sweep_one(s, job_id, &v, limit - (int64_t)*removed, removed, err))) return rc;
  }
  return 0;
}
