/* Where an entry is: taken from its place, put at another, in the place of another. Totals above
 * the old and the new place follow in the same transaction, and so do the paths of directories. */
#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "engine/store_internal.h"

int sd_store_get(struct sd_store *s, int64_t id, struct sd_known *k, struct sd_err *err) {
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

void sd_store_bind_stat(sqlite3_stmt *st, const struct sd_stat *a) {
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

void sd_store_bind_name(sqlite3_stmt *st, int i, const char *name, size_t len, bool text) {
  if (text) sqlite3_bind_text(st, i, name, (int)len, SQLITE_STATIC);
  else sqlite3_bind_blob(st, i, name, (int)len, SQLITE_STATIC);
}

/* ---- totals ---- */

/* What the directory's row says: of the last commit, without what the transaction has gathered.
 * The latter goes up from the directory when it is written, so by its new place. */
static int read_totals(struct sd_store *s, int64_t id, struct sd_totals *t, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_TOTALS, err);
  if (!st) return err->code;
  memset(t, 0, sizeof(*t));
  sqlite3_bind_int64(st, 1, id);
  int rc = sqlite3_step(st);
  if (rc == SQLITE_ROW)
    *t = (struct sd_totals){.files = sqlite3_column_int64(st, 0),
                            .dirs = sqlite3_column_int64(st, 1),
                            .symlinks = sqlite3_column_int64(st, 2),
                            .file_bytes = sqlite3_column_int64(st, 3),
                            .bytes = sqlite3_column_int64(st, 4),
                            .allocated = sqlite3_column_int64(st, 5),
                            .excess_bytes = sqlite3_column_int64(st, 6),
                            .excess_allocated = sqlite3_column_int64(st, 7)};
  int code = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sd_store_error(s, err, "read totals");
  sqlite3_reset(st);
  return code;
}

/* Takes an entry, and `below` it, off the totals above it. */
static int leave(struct sd_store *s, const struct sd_known *k, const struct sd_totals *below,
                 struct sd_err *err) {
  struct sd_totals gone = {0};
  sd_totals_add(&gone, &k->st, -1);
  sd_totals_take(&gone, below);
  return sd_store_add_totals(s, k->parent_id, &gone, err);
}

/* What the transaction gathers for the directory goes up by `parent_id` from now on. */
static int set_parent(struct sd_store *s, int64_t id, int64_t parent_id, struct sd_err *err) {
  struct sd_totals_slot *slot = sd_totals_map_put(&s->totals, id);
  if (!slot) return sd_err_nomem(err);
  slot->parent_id = parent_id;
  return 0;
}

static int note_moved(struct sd_store *s, int64_t id, struct sd_err *err) {
  if (!SD_ARRAY_ROOM(s, moved)) return sd_err_nomem(err);
  s->moved[s->moved_len++] = id;
  return 0;
}

/* ---- making room ---- */

static int put_vanished(struct sd_store *s, const struct sd_write_opts *o, const struct sd_gone *g,
                        struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_PUT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, o->job_id);
  sqlite3_bind_int64(st, 3, g->id);
  sqlite3_bind_int64(st, 4, g->parent_id);
  sd_store_bind_name(st, 5, g->name, g->name_len, g->name_text);
  sqlite3_bind_int(st, 6, g->replaced);
  return sd_store_run(s, st, err, "note what vanished");
}

int sd_store_note_gone(struct sd_store *s, const struct sd_write_opts *o, const struct sd_gone *g,
                       struct sd_err *err) {
  return put_vanished(s, o, g, err);
}

/* 1: it is not at that place. */
static int to_limbo(struct sd_store *s, const struct sd_write_opts *o, const struct sd_gone *g,
                    struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_TO_LIMBO, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, g->id);
  sqlite3_bind_int64(st, 2, sd_store_limbo(o->location_id));
  sqlite3_bind_int64(st, 3, g->parent_id);
  sd_store_bind_name(st, 4, g->name, g->name_len, g->name_text);
  int rc = sd_store_run(s, st, err, "make room");
  return rc ? rc : sqlite3_changes(s->db) == 0;
}

int sd_store_make_room(struct sd_store *s, const struct sd_write_opts *o, const struct sd_gone *g,
                       struct sd_err *err) {
  struct sd_known k;
  struct sd_totals below = {0};
  int rc = sd_store_get(s, g->id, &k, err);
  if (!rc) rc = to_limbo(s, o, g, err);
  if (rc) return rc < 0 ? rc : 0;
  bool dir = k.st.kind == SD_KIND_DIRECTORY;
  if (dir) rc = read_totals(s, g->id, &below, err);
  if (!rc) rc = leave(s, &k, &below, err);
  if (!rc && dir) rc = set_parent(s, g->id, sd_store_limbo(o->location_id), err);
  if (!rc && dir) rc = note_moved(s, g->id, err);
  return rc ? rc : put_vanished(s, o, g, err);
}

/* ---- directories ---- */

/* 1: `id` is `top`, or below it. */
static int is_below(struct sd_store *s, int64_t id, int64_t top, struct sd_err *err) {
  int rc = 0;
  while (!rc && id > 0 && id != top) rc = sd_store_parent(s, id, &id, err);
  return rc ? rc : id == top;
}

/* A walk that finds a name taken says so: this is for what was moved while it went on. */
int sd_store_clear_place(struct sd_store *s, const struct sd_write_opts *o,
                         const struct sd_entry *e, struct sd_err *err) {
  struct sd_gone g = {.parent_id = e->parent_id,
                      .name = e->name,
                      .name_len = e->name_len,
                      .name_text = e->name_text,
                      .replaced = true};
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_AT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, e->parent_id);
  sd_store_bind_name(st, 2, e->name, e->name_len, e->name_text);
  int step = sqlite3_step(st);
  if (step == SQLITE_ROW) g.id = sqlite3_column_int64(st, 0);
  int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : sd_store_error(s, err, "read an entry");
  sqlite3_reset(st);
  if (rc || !g.id || g.id == e->id) return rc;
  rc = sd_store_make_room(s, o, &g, err);
  return rc ? rc : 1;
}

static int put_at(struct sd_store *s, const struct sd_entry *e, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_MOVE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, e->id);
  sd_store_bind_stat(st, &e->st);
  sqlite3_bind_int64(st, 15, e->parent_id);
  sd_store_bind_name(st, 16, e->name, e->name_len, e->name_text);
  return sd_store_run(s, st, err, "move an entry");
}

/* Whatever was noted of the entry is no longer true. */
static int is_placed(struct sd_store *s, int64_t id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_VANISHED_PLACED, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  return sd_store_run(s, st, err, "move an entry");
}

int sd_store_move_dir(struct sd_store *s, const struct sd_write_opts *o, const struct sd_entry *e,
                      struct sd_err *err) {
  struct sd_known k;
  struct sd_totals below;
  int rc = sd_store_get(s, e->id, &k, err);
  if (!rc) rc = is_below(s, e->parent_id, e->id, err);
  if (rc) return rc;
  rc = sd_store_clear_place(s, o, e, err);
  if (rc >= 0) rc = put_at(s, e, err);
  if (!rc) rc = read_totals(s, e->id, &below, err);
  if (!rc) rc = leave(s, &k, &below, err);
  /* What the directory itself counts for was added by who listed it. */
  if (!rc) rc = sd_store_add_totals(s, e->parent_id, &below, err);
  if (!rc) rc = set_parent(s, e->id, e->parent_id, err);
  if (!rc) rc = note_moved(s, e->id, err);
  return rc ? rc : is_placed(s, e->id, err);
}

/* ---- in the place of another ---- */

enum { PLACE_VALUES = 16 };

struct place {
  sqlite3_value *values[PLACE_VALUES];
  int64_t dev, ino, content_id;
  bool has_content; /* else NULL: none is wanted */
};

static void place_fini(struct place *p) {
  for (int i = 0; i < PLACE_VALUES; i++) sqlite3_value_free(p->values[i]);
}

static int read_place(struct sd_store *s, int64_t id, struct place *p, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_READ_PLACE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  int rc = sqlite3_step(st) == SQLITE_ROW ? 0 : sd_store_error(s, err, "read an entry");
  for (int i = 0; !rc && i < PLACE_VALUES; i++) {
    p->values[i] = sqlite3_value_dup(sqlite3_column_value(st, i));
    if (!p->values[i]) rc = sd_err_nomem(err);
  }
  p->dev = sqlite3_column_int64(st, 9);
  p->ino = sqlite3_column_int64(st, 10);
  p->has_content = sqlite3_column_type(st, PLACE_VALUES) != SQLITE_NULL;
  p->content_id = sqlite3_column_int64(st, PLACE_VALUES);
  sqlite3_reset(st);
  return rc;
}

static int delete_row(struct sd_store *s, enum sd_stmt which, int64_t id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, which, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  return sd_store_run(s, st, err, "remove an entry");
}

static int found_done(struct sd_store *s, const struct sd_write_opts *o, const struct place *p,
                      int64_t id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_FOUND_DONE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, o->location_id);
  sqlite3_bind_int64(st, 2, p->dev);
  sqlite3_bind_int64(st, 3, p->ino);
  sqlite3_bind_int64(st, 4, id);
  return sd_store_run(s, st, err, "forget what was new");
}

static int write_place(struct sd_store *s, int64_t id, const struct place *p, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_TAKE_PLACE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  for (int i = 0; i < PLACE_VALUES; i++) sqlite3_bind_value(st, 2 + i, p->values[i]);
  if (p->has_content) sqlite3_bind_int64(st, 2 + PLACE_VALUES, p->content_id);
  else sqlite3_bind_null(st, 2 + PLACE_VALUES);
  return sd_store_run(s, st, err, "move an entry");
}

/* Of the two contents one stays: the entry's own where its bytes are the same. */
static int choose_content(struct sd_store *s, const struct sd_known *k, bool same_bytes,
                          struct place *p, struct sd_err *err) {
  bool keep = same_bytes && k->content_id;
  int64_t drop = keep ? p->content_id : k->content_id;
  if (keep) {
    p->has_content = true;
    p->content_id = k->content_id;
  }
  return drop ? sd_store_drop_content(s, drop, err) : 0;
}

int sd_store_take_place(struct sd_store *s, const struct sd_write_opts *o, int64_t id,
                        int64_t place, bool same_bytes, struct sd_err *err) {
  struct place p = {0};
  struct sd_known k;
  static const struct sd_totals none;
  int rc = sd_store_get(s, id, &k, err);
  if (rc) return rc < 0 ? rc : 0;
  rc = read_place(s, place, &p, err);
  if (!rc) rc = leave(s, &k, &none, err);
  if (!rc) rc = choose_content(s, &k, same_bytes, &p, err);
  if (!rc) rc = delete_row(s, ST_ENTRY_DELETE, place, err);
  if (!rc) rc = write_place(s, id, &p, err);
  if (!rc) rc = found_done(s, o, &p, place, err);
  if (!rc) rc = is_placed(s, id, err);
  place_fini(&p);
  return rc;
}

/* ---- removing ---- */

/* What it had too much for hard links goes with it: what link_excess says of it is true no more, as
 * store_links.c will find. */
static int delete_dir(struct sd_store *s, int64_t id, int64_t parent_id, struct sd_err *err) {
  struct sd_totals_slot *slot = sd_totals_map_put(&s->totals, id);
  sqlite3_stmt *st = slot ? sd_store_stmt(s, ST_DIR_DELETE, err) : NULL;
  if (!st) return slot ? err->code : sd_err_nomem(err);
  slot->parent_id = parent_id; /* the climb from its own slot needs to know where it was */
  slot->gone = true;
  slot->delta.excess_bytes = slot->delta.excess_allocated = 0;
  sqlite3_bind_int64(st, 1, id);
  int step = sqlite3_step(st);
  if (step == SQLITE_ROW) {
    struct sd_totals had = {.excess_bytes = sqlite3_column_int64(st, 0),
                            .excess_allocated = sqlite3_column_int64(st, 1)};
    sd_totals_take(&slot->delta, &had);
    step = sqlite3_step(st);
  }
  int rc = step == SQLITE_DONE ? 0 : sd_store_error(s, err, "remove an entry");
  sqlite3_reset(st);
  return rc;
}

int sd_store_delete(struct sd_store *s, int64_t id, const struct sd_known *k, struct sd_err *err) {
  struct sd_totals gone = {0};
  sd_totals_add(&gone, &k->st, -1);
  int rc = sd_store_add_totals(s, k->parent_id, &gone, err);
  if (!rc && k->content_id) rc = sd_store_drop_content(s, k->content_id, err);
  if (!rc && k->st.kind == SD_KIND_DIRECTORY) rc = delete_dir(s, id, k->parent_id, err);
  return rc ? rc : delete_row(s, ST_ENTRY_DELETE, id, err);
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
