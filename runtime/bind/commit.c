#include "bind/commit.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/clock.h"
#include "bind/batch.h"
#include "bind/chunk.h"
#include "bind/library.h"
#include "bind/op.h"
#include "bind/query.h"
#include "bind/queue.h"
#include "bind/table.h"
#include "engine/content.h"
#include "engine/sql.h"

struct delta {
  char name[LSD_QUEUE_NAME];
  struct sd_queue_delta delta;
};

/* Lives in a userdata while it is put together, since reading arguments may raise; then the
 * operation has it. */
struct work {
  struct sd_write_opts opts;
  int64_t job_id; /* whose queues these are; opts.job_id is whom notes are for */
  struct lsd_found **founds;
  size_t founds_len, founds_cap;
  struct sd_contents **contents;
  size_t contents_len, contents_cap;
  struct sd_sql *sql;
  size_t sql_len, sql_cap;
  bool sync;         /* a power cut must not take it */
  size_t sql_before; /* that many run before the rows, the others after */
  struct delta *deltas;
  size_t deltas_len, deltas_cap;
};

/* A job while commits of it are under way. When one fails, those behind it were made of what it
 * took from the queues and of the state that it should have left: they must not be written. */
struct lsd_committing {
  struct lsd_committing *next;
  int64_t job_id;
  unsigned commits;  /* under way; the loop's thread */
  struct sd_err err; /* code 0: none has failed; the write lane */
};

struct commit {
  struct lsd_op op;
  struct work w;
  struct lsd_committing *of; /* NULL: of no job */
  struct sd_write_count count;
  struct sd_link_count links;
};

static void work_fini(struct work *w) {
  for (size_t i = 0; i < w->founds_len; i++) lsd_found_free(w->founds[i]);
  for (size_t i = 0; i < w->contents_len; i++) sd_contents_free(w->contents[i]);
  for (size_t i = 0; i < w->sql_len; i++) sd_sql_fini(&w->sql[i]);
  for (size_t i = 0; i < w->deltas_len; i++) sd_queue_delta_fini(&w->deltas[i].delta);
  free(w->founds);
  free(w->contents);
  free(w->sql);
  free(w->deltas);
  memset(w, 0, sizeof(*w));
}

/* ---- on the write lane ---- */

static int write_rows(struct commit *c, struct sd_store *s) {
  struct work *w = &c->w;
  int rc = 0;
  for (size_t i = 0; !rc && i < w->sql_before; i++) rc = sd_sql_run(s, &w->sql[i], &c->op.err);
  for (size_t i = 0; !rc && i < w->founds_len; i++)
    rc = sd_store_write_batch(s, w->founds[i]->batch, &w->opts, &c->count, &c->op.err);
  for (size_t i = 0; !rc && i < w->contents_len; i++)
    rc = sd_contents_link(s, w->contents[i], &w->opts, &c->links, &c->op.err);
  return rc;
}

static int write_checkpoint(struct commit *c, struct sd_store *s) {
  struct work *w = &c->w;
  int rc = 0;
  for (size_t i = w->sql_before; !rc && i < w->sql_len; i++)
    rc = sd_sql_run(s, &w->sql[i], &c->op.err);
  for (size_t i = 0; !rc && i < w->deltas_len; i++)
    rc = sd_store_write_queue(s, w->job_id, w->deltas[i].name, &w->deltas[i].delta, &c->op.err);
  return rc;
}

static int write_commit(struct commit *c) {
  struct lsd_library *lib = c->op.lib;
  struct sd_store *s = lib->writer;
  /* Not while somebody waits for a pause: the disk may take its time. */
  bool sync = c->w.sync && !atomic_load(&lib->interrupt);
  int rc = sync ? sd_store_sync(s, true, &c->op.err) : 0;
  if (!rc) rc = sd_store_begin(s, &c->op.err);
  if (!rc) rc = write_rows(c, s);
  int64_t start = sd_clock_mono();
  if (!rc) rc = write_checkpoint(c, s);
  if (!rc) rc = sd_store_keep_ids(s, atomic_load(&lib->next_id), &c->op.err);
  atomic_fetch_add(&lib->checkpoint_ns, sd_clock_mono() - start);
  if (!rc) rc = sd_store_commit(s, &c->op.err);
  if (rc) sd_store_rollback(s);
  if (sync && sd_store_sync(s, false, rc ? NULL : &c->op.err) && !rc) rc = c->op.err.code;
  return rc;
}

static void run_commit(struct sd_task *t, unsigned worker) {
  struct commit *c = (struct commit *)t;
  struct lsd_committing *of = c->of;
  (void)worker;
  if (of && of->err.code) c->op.err = of->err;
  int rc = of && of->err.code ? of->err.code : write_commit(c);
  if (rc && of) of->err = c->op.err;
  c->op.rc = rc ? rc : lsd_library_move_wal(c->op.lib, &c->op.err);
}

/* ---- on the loop's thread ---- */

static struct lsd_committing *join(struct lsd_library *lib, int64_t job_id) {
  struct lsd_committing *of = lib->committing;
  while (of && of->job_id != job_id) of = of->next;
  if (!of && (of = calloc(1, sizeof(*of)))) {
    of->job_id = job_id;
    of->next = lib->committing;
    lib->committing = of;
  }
  if (of) of->commits++;
  return of;
}

static void leave(struct lsd_library *lib, struct lsd_committing *of) {
  struct lsd_committing **at = &lib->committing;
  if (!of || --of->commits) return;
  while (*at != of) at = &(*at)->next;
  *at = of->next;
  free(of);
}

static int push_commit(lua_State *L, struct lsd_op *op) {
  struct commit *c = (struct commit *)op;
  lua_createtable(L, 0, 6);
  lsd_set_int(L, "inserted", c->count.inserted);
  lsd_set_int(L, "moved", c->count.moved);
  lsd_set_int(L, "updated", c->count.updated);
  lsd_set_int(L, "vanished", c->count.vanished + c->links.vanished);
  lsd_set_int(L, "errors", c->count.errors + c->links.errors);
  lsd_set_int(L, "linked", c->links.linked);
  return 1;
}

static void free_commit(struct lsd_op *op) {
  struct commit *c = (struct commit *)op;
  work_fini(&c->w);
  leave(op->lib, c->of);
}

#define PENDING "sd.work"

static int pending_gc(lua_State *L) {
  work_fini(luaL_checkudata(L, 1, PENDING));
  return 0;
}

/* The array at field `name` of the argument; false where there is none. Leaves it on the stack. */
static bool open_list(lua_State *L, const char *name, lua_Integer *n) {
  if (lua_getfield(L, 2, name) == LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  if (!lua_istable(L, -1)) luaL_error(L, "commit: %s is not a list", name);
  *n = (lua_Integer)lua_rawlen(L, -1);
  return true;
}

static void take_batches(lua_State *L, struct work *w) {
  lua_Integer n;
  if (!open_list(L, "batches", &n)) return;
  for (lua_Integer i = 1; i <= n; i++) {
    struct lsd_queue *queue;
    struct sd_queue_item *lease;
    if (!SD_ARRAY_ROOM(w, founds)) lsd_no_memory(L);
    lua_rawgeti(L, -1, i);
    struct lsd_found *f = lsd_batch_take(L, -1, &queue, &lease);
    w->founds[w->founds_len++] = f;
    lua_pop(L, 1);
    if (lsd_found_settle(f)) luaL_error(L, "batches are written in the order in which they came");
    if (queue) sd_queue_done(queue->q, lease);
  }
  lua_pop(L, 1);
}

static void take_contents(lua_State *L, struct work *w) {
  lua_Integer n;
  if (!open_list(L, "contents", &n)) return;
  for (lua_Integer i = 1; i <= n; i++) {
    if (!SD_ARRAY_ROOM(w, contents)) lsd_no_memory(L);
    lua_rawgeti(L, -1, i);
    w->contents[w->contents_len++] = lsd_chunk_take(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* {text, values, own = boolean}: one statement */
static void take_statement(lua_State *L, struct work *w, bool own) {
  if (!SD_ARRAY_ROOM(w, sql)) lsd_no_memory(L);
  sd_sql_init(&w->sql[w->sql_len++]);
  luaL_checktype(L, -1, LUA_TTABLE);
  lua_getfield(L, -1, "own");
  w->sql[w->sql_len - 1].own = own || lua_toboolean(L, -1);
  lua_pop(L, 1);
  lua_rawgeti(L, -1, 1);
  lua_rawgeti(L, -2, 2);
  lsd_sql_read(L, lua_absindex(L, -2), lua_absindex(L, -1), &w->sql[w->sql_len - 1]);
  lua_pop(L, 2);
}

static void take_sql(lua_State *L, struct work *w, const char *name, bool own) {
  lua_Integer n;
  if (!open_list(L, name, &n)) return;
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    take_statement(L, w, own);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Before anything is taken: settling a batch changes the queue of its directories, too. */
static void settle_queues(lua_State *L, lua_Integer n) {
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    lsd_queue_settle_waiting(lsd_check_queue(L, -1));
    lua_pop(L, 1);
  }
}

/* Last: from here on nothing may raise, or the queues would be ahead of the library. */
static void take_queues(lua_State *L, struct work *w) {
  lua_Integer n;
  if (!open_list(L, "queues", &n)) return;
  settle_queues(L, n);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    struct lsd_queue *q = lsd_check_queue(L, -1);
    if (!SD_ARRAY_ROOM(w, deltas)) lsd_no_memory(L);
    struct delta *d = &w->deltas[w->deltas_len++];
    memset(d, 0, sizeof(*d));
    memcpy(d->name, q->name, sizeof(d->name));
    if (sd_queue_take(q->q, &d->delta)) lsd_no_memory(L);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

int lsd_library_commit(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lsd_check_await(L);
  lua_settop(L, 2);
  struct work *w = lsd_pending(L, PENDING, sizeof(*w), pending_gc);
  w->job_id = lsd_field_int(L, 2, "job_id", 0);
  w->opts.job_id = lsd_field_int(L, 2, "note_id", 0);
  w->opts.location_id = lsd_field_int(L, 2, "location_id", 0);
  lua_getfield(L, 2, "want_content");
  w->opts.want_content = lua_toboolean(L, -1);
  lua_getfield(L, 2, "rescan");
  w->opts.rescan = lua_toboolean(L, -1);
  lua_getfield(L, 2, "notes_only");
  w->opts.notes_only = lua_toboolean(L, -1);
  lua_getfield(L, 2, "sync");
  w->sync = lua_toboolean(L, -1);
  take_sql(L, w, "sql", false);
  w->sql_before = w->sql_len;
  take_sql(L, w, "state", true);
  take_contents(L, w);
  take_batches(L, w);
  take_queues(L, w);
  struct commit *c = calloc(1, sizeof(*c));
  if (!c) lsd_no_memory(L);
  if (w->job_id && !(c->of = join(lib, w->job_id))) {
    free(c);
    lsd_no_memory(L);
  }
  c->w = *w;
  memset(w, 0, sizeof(*w));
  c->op.push = push_commit;
  c->op.free = free_commit;
  lua_pushvalue(L, 1);
  lsd_op_init(L, &c->op, lib, run_commit);
  return lsd_op_start(L, &c->op, lib->write);
}
