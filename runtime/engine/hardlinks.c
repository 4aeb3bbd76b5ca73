#include "engine/hardlinks.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

enum { Q_NAMES, Q_LINKS, Q_ALL, Q_CHILDREN, Q_PARENT, Q_COUNT };

static const char *const sql[Q_COUNT] = {
    [Q_NAMES] = "SELECT files+symlinks FROM directory WHERE entry_id=?1",
    [Q_LINKS] =
        "SELECT count(*) FROM (SELECT 1 FROM entry INDEXED BY entry_inode"
        " WHERE nlink>1 AND kind<>2 LIMIT ?1)",
    [Q_ALL] =
        "SELECT dev,ino,size,allocated,parent_id FROM entry INDEXED BY entry_inode"
        " WHERE nlink>1 AND kind<>2",
    [Q_CHILDREN] = "SELECT dev,ino,size,allocated,id,kind,nlink FROM entry WHERE parent_id=?1",
    [Q_PARENT] = "SELECT parent_id FROM entry WHERE id=?1",
};

struct name {
  int64_t dev, ino, size, allocated;
};

/* Whether a directory is below the one that is asked for: open addressing, a power of two. */
struct place {
  int64_t id; /* 0: free */
  bool below;
};

struct work {
  struct sd_store *store;
  int64_t top;
  sqlite3_stmt *q[Q_COUNT];
  struct name *names; /* with several links, below `top` */
  size_t names_len, names_cap;
  struct place *places;
  size_t places_len, places_cap;
  int64_t *stack; /* directories on the way */
  size_t stack_len, stack_cap;
};

static int open_work(struct work *w, struct sd_store *reader, int64_t top, struct sd_err *err) {
  *w = (struct work){.store = reader, .top = top};
  for (int i = 0; i < Q_COUNT; i++)
    if (sqlite3_prepare_v2(sd_store_db(reader), sql[i], -1, &w->q[i], NULL) != SQLITE_OK)
      return sd_store_error(reader, err, "prepare");
  return 0;
}

static void close_work(struct work *w) {
  for (int i = 0; i < Q_COUNT; i++) sqlite3_finalize(w->q[i]);
  free(w->names);
  free(w->places);
  free(w->stack);
}

static int done(struct work *w, sqlite3_stmt *q, int step, int rc, struct sd_err *err) {
  if (!rc && step != SQLITE_DONE && step != SQLITE_ROW)
    rc = sd_store_error(w->store, err, "read the library");
  sqlite3_reset(q);
  return rc;
}

/* One number; 0 where there is none. */
static int ask(struct work *w, int which, int64_t key, int64_t *out, struct sd_err *err) {
  sqlite3_stmt *q = w->q[which];
  sqlite3_bind_int64(q, 1, key);
  int step = sqlite3_step(q);
  *out = step == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
  return done(w, q, step, 0, err);
}

/* ---- what is below: from the names up, or from the top down ---- */

static struct place *place_of(const struct work *w, int64_t id) {
  size_t i = (size_t)((uint64_t)id * 0x9e3779b97f4a7c15u >> 20) & (w->places_cap - 1);
  while (w->places[i].id && w->places[i].id != id) i = (i + 1) & (w->places_cap - 1);
  return &w->places[i];
}

static int put_place(struct work *w, int64_t id, bool below) {
  if (w->places_len * 4 >= w->places_cap * 3) {
    struct work wide = *w;
    wide.places_cap = w->places_cap ? w->places_cap * 2 : 1024;
    if (!(wide.places = calloc(wide.places_cap, sizeof(*wide.places)))) return -1;
    for (size_t i = 0; i < w->places_cap; i++)
      if (w->places[i].id) *place_of(&wide, w->places[i].id) = w->places[i];
    free(w->places);
    w->places = wide.places;
    w->places_cap = wide.places_cap;
  }
  *place_of(w, id) = (struct place){.id = id, .below = below};
  w->places_len++;
  return 0;
}

/* Whether directory `id` is `top` or below it. Each directory is looked up once. */
static int is_below(struct work *w, int64_t id, bool *below, struct sd_err *err) {
  int rc = 0;
  *below = false;
  w->stack_len = 0;
  while (!rc && id > 0) {
    const struct place *p = w->places_cap ? place_of(w, id) : NULL;
    if (id == w->top || (p && p->id && p->below)) *below = true;
    if (*below || (p && p->id)) break;
    if (!SD_ARRAY_ROOM(w, stack)) return sd_err_nomem(err);
    w->stack[w->stack_len++] = id;
    rc = ask(w, Q_PARENT, id, &id, err);
  }
  while (!rc && w->stack_len)
    if (put_place(w, w->stack[--w->stack_len], *below)) rc = sd_err_nomem(err);
  return rc;
}

static int add_name(struct work *w, sqlite3_stmt *q, struct sd_err *err) {
  if (!SD_ARRAY_ROOM(w, names)) return sd_err_nomem(err);
  w->names[w->names_len++] = (struct name){.dev = sqlite3_column_int64(q, 0),
                                           .ino = sqlite3_column_int64(q, 1),
                                           .size = sqlite3_column_int64(q, 2),
                                           .allocated = sqlite3_column_int64(q, 3)};
  return 0;
}

static int from_all(struct work *w, struct sd_err *err) {
  sqlite3_stmt *q = w->q[Q_ALL];
  int step = SQLITE_DONE, rc = 0;
  while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW) {
    bool below;
    rc = is_below(w, sqlite3_column_int64(q, 4), &below, err);
    if (!rc && below) rc = add_name(w, q, err);
  }
  return done(w, q, step, rc, err);
}

static int from_dir(struct work *w, int64_t id, struct sd_err *err) {
  sqlite3_stmt *q = w->q[Q_CHILDREN];
  int step = SQLITE_DONE, rc = 0;
  sqlite3_bind_int64(q, 1, id);
  while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW) {
    bool dir = sqlite3_column_int(q, 5) == SD_KIND_DIRECTORY;
    if (dir && !SD_ARRAY_ROOM(w, stack)) rc = sd_err_nomem(err);
    else if (dir) w->stack[w->stack_len++] = sqlite3_column_int64(q, 4);
    else if (sqlite3_column_int64(q, 6) > 1) rc = add_name(w, q, err);
  }
  return done(w, q, step, rc, err);
}

static int from_top(struct work *w, struct sd_err *err) {
  int rc = from_dir(w, w->top, err);
  while (!rc && w->stack_len) rc = from_dir(w, w->stack[--w->stack_len], err);
  return rc;
}

/* ---- the sum ---- */

static int by_inode(const void *pa, const void *pb) {
  const struct name *a = pa, *b = pb;
  if (a->dev != b->dev) return a->dev < b->dev ? -1 : 1;
  return a->ino < b->ino ? -1 : a->ino > b->ino;
}

static void sum_up(struct work *w, struct sd_hardlinks *out) {
  if (w->names_len) qsort(w->names, w->names_len, sizeof(*w->names), by_inode);
  for (size_t i = 1; i < w->names_len; i++) {
    if (by_inode(&w->names[i - 1], &w->names[i])) continue;
    out->names++;
    out->bytes += w->names[i].size;
    out->allocated += w->names[i].allocated;
  }
}

int sd_hardlinks(struct sd_store *reader, int64_t id, struct sd_hardlinks *out,
                 struct sd_err *err) {
  struct work w;
  int64_t names = 0, links = 0;
  memset(out, 0, sizeof(*out));
  int rc = open_work(&w, reader, id, err);
  if (!rc) rc = ask(&w, Q_NAMES, id, &names, err);
  if (!rc) rc = ask(&w, Q_LINKS, names + 1, &links, err);
  if (!rc && links) rc = links > names ? from_top(&w, err) : from_all(&w, err);
  if (!rc) sum_up(&w, out);
  close_work(&w);
  return rc;
}
