/* Writing a batch: rows, directories, totals, what is not at its place, errors. */
#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "engine/name_index.h"
#include "engine/pack.h"
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

/* The library refused to have `e` where it was listed: one file is no reason to lose the rest. */
static int note_refused(struct sd_store *s, const struct sd_write_opts *o, const struct sd_entry *e,
                        int code, const char *why, struct sd_err *err) {
  struct sd_totals undo = {0};
  struct sd_buf path = SD_BUF_INIT;
  sd_totals_add(&undo, &e->st, -1);
  int rc = sd_store_add_totals(s, e->parent_id, &undo, err);
  if (!rc) rc = put_dir_path(s, e->parent_id, &path, err);
  if (!rc && sd_buf_put(&path, e->name, e->name_len)) rc = sd_err_nomem(err);
  struct sd_note note = {.path = (const char *)path.data,
                         .path_len = (uint32_t)path.len,
                         .op = SD_OP_CREATE_ENTRY,
                         .code = code,
                         .reason = why};
  if (!rc) rc = sd_store_note(s, o, &note, err);
  sd_buf_fini(&path);
  return rc;
}

/* A row was refused. Who has its name was listed before, and is no longer there: it makes room, and
 * the row is tried again (1). Else it is left out; but not a directory, which what lies below it
 * names as its parent, here and in batches to come. */
static int row_refused(struct sd_store *s, const struct sd_write_opts *o, const struct sd_entry *e,
                       struct sd_write_count *n, struct sd_err *err) {
  int rc = sd_store_clear_place(s, o, e, err);
  if (rc) return rc;
  if (e->st.kind == SD_KIND_DIRECTORY)
    return sd_err_set(err, -EEXIST, "%.*s: the library has a directory of this id already",
                      (int)e->name_len, e->name);
  n->errors++;
  return note_refused(s, o, e, -EEXIST, "an entry of this id is already there", err);
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
    rows.from = rows.to;
    if (!refused) continue;
    code = row_refused(s, o, &b->entries[rows.at], n, err);
    if (code < 0) return code;
    rows.from = code ? rows.at : rows.at + 1;
  }
  return 0;
}

static int update_entry(struct sd_store *s, const struct sd_entry *e, bool want_content,
                        struct sd_err *err) {
  struct sd_known k;
  bool drop = e->change == SD_CHANGE_CONTENT;
  int rc = drop ? sd_store_get(s, e->id, &k, err) : 0;
  if (rc) return rc < 0 ? rc : 0;
  if (drop && k.content_id && (rc = sd_store_drop_content(s, k.content_id, err))) return rc;
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_UPDATE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, e->id);
  sd_store_bind_stat(st, &e->st);
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

/* What the entry is may be known under another name: see sd_store_match(). */
static int put_found(struct sd_store *s, const struct sd_write_opts *o, const struct sd_entry *e,
                     struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_FOUND_PUT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, (int64_t)e->st.dev);
  sqlite3_bind_int64(st, 3, (int64_t)e->st.ino);
  sqlite3_bind_int64(st, 4, e->id);
  return sd_store_run(s, st, err, "note what is new");
}

static int move_entry(struct sd_store *s, const struct sd_write_opts *o, const struct sd_entry *e,
                      struct sd_write_count *n, struct sd_err *err) {
  int rc = sd_store_move_dir(s, o, e, err);
  if (rc == 0) n->moved++;
  if (rc != 1) return rc;
  n->errors++;
  return note_refused(s, o, e, -ELOOP, "it was moved while it was walked", err);
}

static int write_known(struct sd_store *s, const struct sd_batch *b, const struct sd_write_opts *o,
                       struct sd_write_count *n, struct sd_err *err) {
  int rc = 0;
  for (size_t i = 0; !rc && i < b->entries_len; i++) {
    const struct sd_entry *e = &b->entries[i];
    if (e->change == SD_CHANGE_INSERT) {
      rc = o->rescan ? put_found(s, o, e, err) : 0;
      if (!rc && e->st.nlink > 1) rc = sd_store_note_link(s, &e->st, err);
    } else if (e->change == SD_CHANGE_MOVE) {
      rc = move_entry(s, o, e, n, err);
    } else if (e->change != SD_CHANGE_NONE) {
      rc = update_entry(s, e, o->want_content, err);
      n->updated++;
    }
  }
  return rc;
}

static int write_gone(struct sd_store *s, const struct sd_batch *b, const struct sd_write_opts *o,
                      bool replaced, struct sd_write_count *n, struct sd_err *err) {
  int rc = 0;
  for (size_t i = 0; !rc && i < b->vanished_len; i++) {
    const struct sd_gone *g = &b->vanished[i];
    if (g->replaced != replaced) continue;
    rc = replaced ? sd_store_make_room(s, o, g, err) : sd_store_note_gone(s, o, g, err);
    n->vanished++;
  }
  return rc;
}

static int update_root(struct sd_store *s, const struct sd_batch *b, const struct sd_write_opts *o,
                       struct sd_err *err) {
  const struct sd_entry root = {.id = b->root_id, .st = b->root, .change = SD_CHANGE_UPDATE};
  return update_entry(s, &root, o->want_content, err);
}

static int put_device(struct sd_store *s, const struct sd_device *d, struct sd_err *err) {
  static const enum sd_stmt all[] = {ST_DEVICE_TAKE, ST_DEVICE_GIVE_WAY, ST_DEVICE_PUT};
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    sqlite3_stmt *st = sd_store_stmt(s, all[i], err);
    if (!st) return err->code;
    sqlite3_bind_int64(st, 1, d->id);
    sqlite3_bind_int64(st, 2, (int64_t)d->st_dev);
    int rc = sd_store_run(s, st, err, "number a device");
    if (rc) return rc;
  }
  return 0;
}

/* What is known of devices, and whether directories can be read, which is written at the end. */
static int write_surroundings(struct sd_store *s, const struct sd_batch *b, struct sd_err *err) {
  int rc = 0;
  for (size_t i = 0; !rc && i < b->devices_len; i++) rc = put_device(s, &b->devices[i], err);
  for (size_t i = 0; !rc && i < b->readable_len; i++) {
    if (!SD_ARRAY_ROOM(s, readable)) rc = sd_err_nomem(err);
    else s->readable[s->readable_len++] = b->readable[i];
  }
  return rc;
}

int sd_store_put_packs(struct sd_store *s, const struct sd_buf *packs, struct sd_err *err) {
  struct sd_kept_pack pack;
  int rc = 0;
  for (size_t at = 0; !rc && sd_pack_next(packs, &at, &pack);) {
    sqlite3_stmt *st = sd_store_stmt(s, ST_PACK_PUT, err);
    if (!st) return err->code;
    sqlite3_bind_int64(st, 1, pack.id);
    sqlite3_bind_blob64(st, 2, pack.data, pack.len, SQLITE_STATIC);
    rc = sd_store_run(s, st, err, "pack names");
  }
  return rc;
}

/* Where a row was refused, a pack would have a name too much. */
static int index_names(struct sd_store *s, const struct sd_batch *b, bool refused,
                       struct sd_err *err) {
  int rc = refused ? 0 : sd_store_put_packs(s, &b->packs, err);
  return rc ? rc : sd_name_index_note(s, b, err);
}

/* First who has to make room; parents stand before what is moved into them. */
int sd_store_write_batch(struct sd_store *s, const struct sd_batch *b,
                         const struct sd_write_opts *o, struct sd_write_count *n,
                         struct sd_err *err) {
  const uint64_t errors = n->errors;
  if (o->notes_only) return write_notes(s, b, o, err);
  int rc = write_gone(s, b, o, true, n, err);
  if (!rc) rc = insert_entries(s, b, o, n, err);
  if (!rc) rc = index_names(s, b, n->errors > errors, err);
  if (!rc && b->root_id) rc = update_root(s, b, o, err);
  if (!rc) rc = write_surroundings(s, b, err);
  if (!rc) rc = gather_dirs(s, b, o, err);
  if (!rc) rc = write_known(s, b, o, n, err);
  if (!rc) rc = gather_totals(s, b, err);
  if (!rc) rc = write_gone(s, b, o, false, n, err);
  n->errors += b->errors_len;
  return rc ? rc : write_notes(s, b, o, err);
}
