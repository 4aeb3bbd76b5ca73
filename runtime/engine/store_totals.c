/* Directory totals: each transaction gathers differences by directory, carries them up the tree
 * once, and writes each directory once, so that totals are right in every committed state at a
 * cost that follows what changed. */
#include <stdlib.h>

#include "base/array.h"
#include "engine/store_internal.h"

enum { CLIMB_NEW, CLIMB_PASSED, CLIMB_PLACED }; /* slot->state: is depth known? */

int sd_store_add_totals(struct sd_store *s, int64_t dir_id, const struct sd_totals *t,
                        struct sd_err *err) {
  if (dir_id <= 0) return 0; /* above a root there is nothing */
  struct sd_totals_slot *slot = sd_totals_map_put(&s->totals, dir_id);
  if (!slot) return sd_err_nomem(err);
  sd_totals_merge(&slot->delta, t);
  return 0;
}

int sd_store_parent(struct sd_store *s, int64_t id, int64_t *parent, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_PARENT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  int rc = sqlite3_step(st);
  *parent = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
  int code = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sd_store_error(s, err, "read a parent");
  sqlite3_reset(st);
  return code;
}

/* Gives `id` and everything above it a slot, a parent and a depth: up to the first that has a
 * depth, then down again. `path` is scratch. */
struct climb {
  int64_t *ids;
  size_t ids_len, ids_cap;
};

static int place(struct sd_store *s, int64_t id, struct climb *path, struct sd_err *err) {
  uint32_t depth = 0;
  path->ids_len = 0;
  while (id > 0) {
    struct sd_totals_slot *slot = sd_totals_map_put(&s->totals, id);
    if (!slot || !SD_ARRAY_ROOM(path, ids)) return sd_err_nomem(err);
    if (slot->state == CLIMB_PLACED) {
      depth = slot->depth + 1;
      break;
    }
    if (slot->state == CLIMB_PASSED)
      return sd_err_set(err, SD_EDAMAGED, "the library is damaged: entry %lld lies below itself",
                        (long long)id);
    slot->state = CLIMB_PASSED;
    path->ids[path->ids_len++] = id;
    if (!slot->parent_id) {
      int rc = sd_store_parent(s, id, &slot->parent_id, err);
      if (rc) return rc;
    }
    id = slot->parent_id;
  }
  while (path->ids_len) {
    struct sd_totals_slot *slot = sd_totals_map_get(&s->totals, path->ids[--path->ids_len]);
    slot->depth = depth++;
    slot->state = CLIMB_PLACED;
  }
  return 0;
}

static bool has_excess(const struct sd_totals *t) {
  return (t->excess_bytes | t->excess_allocated) != 0;
}

static void bind_new_dir(sqlite3_stmt *st, const struct sd_totals_slot *slot) {
  const struct sd_new_dir *d = slot->made;
  sqlite3_bind_int64(st, 10, slot->location_id);
  if (d->anchor) sqlite3_bind_int64(st, 11, d->anchor);
  else sqlite3_bind_null(st, 11);
  sd_store_bind_bytes(st, 12, d->segment, d->segment_len);
}

/* Most directories have none: so it is no part of what is written for each. */
static int write_excess(struct sd_store *s, const struct sd_totals_slot *slot, struct sd_err *err) {
  if (!has_excess(&slot->delta)) return 0;
  sqlite3_stmt *st = sd_store_stmt(s, ST_DIR_EXCESS, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, slot->id);
  sqlite3_bind_int64(st, 2, slot->delta.excess_bytes);
  sqlite3_bind_int64(st, 3, slot->delta.excess_allocated);
  return sd_store_run(s, st, err, "write totals");
}

/* Inserts the row of a new directory, or updates that of a known one. */
static int write_row(struct sd_store *s, const struct sd_totals_slot *slot, struct sd_err *err) {
  const struct sd_totals *t = &slot->delta;
  if (!slot->made && !slot->listed && sd_totals_is_zero(t)) return 0;
  sqlite3_stmt *st = sd_store_stmt(s, slot->made ? ST_DIR_INSERT : ST_DIR_UPDATE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, slot->id);
  sqlite3_bind_int(st, 2, slot->listed);
  sqlite3_bind_int64(st, 3, s->now);
  sqlite3_bind_int64(st, 4, t->files);
  sqlite3_bind_int64(st, 5, t->dirs);
  sqlite3_bind_int64(st, 6, t->symlinks);
  sqlite3_bind_int64(st, 7, t->file_bytes);
  sqlite3_bind_int64(st, 8, t->bytes);
  sqlite3_bind_int64(st, 9, t->allocated);
  if (slot->made) bind_new_dir(st, slot);
  return sd_store_run(s, st, err, "write totals");
}

static int deepest_first(const void *pa, const void *pb) {
  const struct sd_totals_slot *a = *(const struct sd_totals_slot *const *)pa;
  const struct sd_totals_slot *b = *(const struct sd_totals_slot *const *)pb;
  if (a->depth != b->depth) return a->depth > b->depth ? -1 : 1;
  return a->id < b->id ? -1 : a->id > b->id;
}

static int by_id(const void *pa, const void *pb) {
  const struct sd_totals_slot *a = *(const struct sd_totals_slot *const *)pa;
  const struct sd_totals_slot *b = *(const struct sd_totals_slot *const *)pb;
  return a->id < b->id ? -1 : a->id > b->id;
}

static void merge_into(struct sd_totals_slot *up, const struct sd_totals *delta) {
  struct sd_totals more = *delta;
  if (up->gone) more.excess_bytes = more.excess_allocated = 0;
  sd_totals_merge(&up->delta, &more);
}

/* Sums first, from the deepest up; then the rows, in the order in which they lie on the disk. */
static int carry_up(struct sd_store *s, struct sd_err *err) {
  struct sd_totals_map *m = &s->totals;
  struct sd_totals_slot **order = malloc(m->len * sizeof(struct sd_totals_slot *));
  size_t n = 0;
  int rc = 0;
  if (!order) return sd_err_nomem(err);
  for (size_t i = 0; i < m->cap; i++)
    if (m->slots[i].id) order[n++] = &m->slots[i];
  qsort(order, n, sizeof(struct sd_totals_slot *), deepest_first);
  for (size_t i = 0; i < n; i++) {
    struct sd_totals_slot *up = NULL;
    if (order[i]->parent_id > 0) up = sd_totals_map_get(m, order[i]->parent_id);
    if (up) merge_into(up, &order[i]->delta);
  }
  qsort(order, n, sizeof(struct sd_totals_slot *), by_id);
  for (size_t i = 0; !rc && i < n; i++) {
    rc = write_row(s, order[i], err);
    if (!rc) rc = write_excess(s, order[i], err);
  }
  free(order);
  return rc;
}

int sd_store_flush_totals(struct sd_store *s, struct sd_err *err) {
  struct sd_totals_map *m = &s->totals;
  struct climb path = {0}, ids = {0};
  int rc = 0;
  for (size_t i = 0; !rc && i < m->cap; i++) { /* place() may move the slots: take the ids first */
    /* What has nothing to carry needs no place. */
    const struct sd_totals *t = &m->slots[i].delta;
    if (!m->slots[i].id || (sd_totals_is_zero(t) && !has_excess(t))) continue;
    if (!SD_ARRAY_ROOM(&ids, ids)) rc = sd_err_nomem(err);
    else ids.ids[ids.ids_len++] = m->slots[i].id;
  }
  for (size_t i = 0; !rc && i < ids.ids_len; i++) rc = place(s, ids.ids[i], &path, err);
  if (!rc && m->len) rc = carry_up(s, err);
  free(path.ids);
  free(ids.ids);
  sd_totals_map_clear(m);
  return rc;
}
