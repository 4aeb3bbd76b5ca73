#include "bind/walker.h"

#include <stdlib.h>
#include <string.h>

#include "bind/accept.h"
#include "bind/library.h"
#include "bind/op.h"
#include "bind/queue.h"
#include "bind/rules.h"
#include "bind/table.h"

enum { DIRS_A_STEP = 64 }; /* directories given to one step; what it leaves comes back */

struct worker {
  struct sd_walker *walker;
  struct sd_reconcile *reconcile;
  struct lsd_accept *accept; /* made by the loop's thread; NULL: all is accepted */
};

struct handle {
  struct lsd_core *core;
  struct lsd_library *lib; /* held by user value 1 */
  struct lsd_queue *dirs;  /* held by user value 2 */
  struct lsd_rules *rules; /* a reference, or NULL */
  struct sd_walk *walk;
  struct sd_reconcile_opts known;       /* what the library has of the tree */
  struct worker *workers;               /* one a thread of the walk lane, filled by it */
  struct step *ready_head, *ready_tail; /* delivered, not yet taken by next() */
  unsigned running;                     /* steps on the lane */
  struct lsd_wait waiting;              /* next() */
  bool closed;                          /* to be released when no step runs */
  int self;                             /* ref while steps run */
};

struct step {
  struct sd_task task; /* first */
  struct step *next;
  struct handle *h;
  struct sd_dir *dirs[DIRS_A_STEP];
  size_t dirs_len;
  struct sd_batch *batch;
  struct lsd_found *found;
  int rc;
  struct sd_err err;
};

static struct handle *check_handle(lua_State *L, int i) {
  struct handle *h = luaL_checkudata(L, i, LSD_WALKER);
  if (!h->walk || h->closed) luaL_argerror(L, i, "the walker is closed");
  return h;
}

/* ---- one step: on the lane ---- */

static int open_worker(struct handle *h, unsigned i, struct sd_err *err) {
  struct sd_store *reader;
  struct worker *w = &h->workers[i];
  if (w->walker) return 0;
  int rc = lsd_library_reader(h->lib, LSD_READER_WALK, i, &reader, err);
  if (!rc && !w->reconcile) rc = sd_reconcile_open(reader, &h->known, &w->reconcile, err);
  if (!rc) rc = sd_walker_open(h->walk, sd_reconcile_diff, w->reconcile, &w->walker, err);
  if (!rc && w->accept) sd_walker_accept(w->walker, lsd_accept_ask, w->accept);
  return rc;
}

static void run_step(struct sd_task *t, unsigned worker) {
  struct step *s = (struct step *)t;
  int rc = open_worker(s->h, worker, &s->err);
  struct worker *w = &s->h->workers[worker];
  if (!rc) rc = sd_reconcile_begin(w->reconcile, &s->err);
  if (!rc) {
    rc = sd_walker_step(w->walker, s->dirs, s->dirs_len, s->batch, &s->err);
    s->dirs_len = 0; /* taken over */
    sd_reconcile_end(w->reconcile);
  }
  s->rc = rc;
}

/* ---- and back ---- */

static void free_step(struct step *s) {
  for (size_t i = 0; i < s->dirs_len; i++) sd_dir_put(s->dirs[i]);
  if (s->found) lsd_found_free(s->found);
  else sd_batch_free(s->batch);
  free(s);
}

/* What the step did not finish goes back to the queue: a leased directory to its place, a new one
 * as an item that waits for its batch. */
static int take_born(struct step *s) {
  struct lsd_found *f = s->found;
  struct sd_batch *b = s->batch;
  f->born = calloc(b->born_len + 1, sizeof(struct sd_queue_item *));
  if (!f->born) return -1;
  for (size_t i = 0; i < b->born_len; i++) {
    struct sd_dir *d = b->born[i];
    if (d->lease) {
      sd_queue_return(s->h->dirs->q, d->lease);
      d->lease = NULL;
      sd_dir_put(d); /* the item has its own */
    } else if (lsd_queue_push_dir(s->h->dirs, d, false, &f->born[f->born_len])) {
      return -1;
    } else {
      f->born_len++;
    }
    b->born[i] = NULL;
  }
  b->born_len = 0;
  return 0;
}

static void release(struct handle *h) {
  for (struct step *s = h->ready_head, *next; s; s = next) {
    next = s->next;
    free_step(s);
  }
  h->ready_head = h->ready_tail = NULL;
  for (unsigned i = 0; h->workers && i < h->lib->threads; i++) {
    sd_walker_close(h->workers[i].walker);
    sd_reconcile_close(h->workers[i].reconcile);
    lsd_accept_free(h->workers[i].accept);
  }
  free(h->workers);
  h->workers = NULL;
  if (h->walk && h->dirs->walk == h->walk) h->dirs->walk = NULL;
  sd_walk_close(h->walk);
  h->walk = NULL;
  lsd_rules_put(h->rules);
  h->rules = NULL;
}

static void add_ready(struct handle *h, struct step *s) {
  if (!s->rc) {
    s->found = lsd_found_new(s->batch);
    if (!s->found || take_born(s)) s->rc = sd_err_nomem(&s->err);
  }
  if (s->found) {
    s->found->dirs = h->dirs;
    s->found->order = h->dirs->next_order++;
  }
  if (h->ready_tail) h->ready_tail->next = s;
  else h->ready_head = s;
  h->ready_tail = s;
}

static void deliver_step(struct sd_task *t) {
  struct step *s = (struct step *)t;
  struct handle *h = s->h;
  lua_State *L = h->core->main;
  h->running--;
  if (h->closed) free_step(s); /* what it found is walked again when the job is resumed */
  else add_ready(h, s);
  lsd_library_wake(h->lib, &h->waiting);
  if (h->running) return;
  int self = h->self;
  h->self = LUA_NOREF;
  if (h->closed) release(h);
  luaL_unref(L, LUA_REGISTRYINDEX, self); /* the handle may end here */
}

static struct step *new_step(struct handle *h) {
  struct step *s = calloc(1, sizeof(*s));
  if (!s) return NULL;
  s->h = h;
  s->task.run = run_step;
  s->task.deliver = deliver_step;
  s->batch = sd_batch_new();
  if (s->batch) return s;
  free(s);
  return NULL;
}

static void fill_step(struct step *s) {
  struct sd_queue *q = s->h->dirs->q;
  struct sd_dir *taken[DIRS_A_STEP];
  size_t n = 0;
  struct sd_queue_item *item;
  /* A fair share each, so that the last directories are not all in one thread's hands. */
  size_t waiting = sd_queue_len(q), share = 1 + waiting / (2 * (size_t)s->h->lib->threads);
  while (n < DIRS_A_STEP && n < share && (item = sd_queue_pop_back(q))) {
    struct lsd_item *i = item->obj;
    taken[n] = sd_dir_get(i->dir); /* the item stays in the checkpoint, and keeps its own */
    taken[n++]->lease = item;
  }
  /* The walker takes the last first: the one that was nearest to the back. */
  for (size_t k = 0; k < n; k++) s->dirs[s->dirs_len++] = taken[n - 1 - k];
}

/* ---- for Lua ---- */

/* The set of the field `rules`, and a reference; NULL where there is none. */
static struct lsd_rules *field_rules(lua_State *L, int i) {
  struct lsd_rules *r = NULL;
  if (lua_getfield(L, i, "rules") != LUA_TNIL) r = lsd_rules_get(L, -1);
  lua_pop(L, 1);
  return r;
}

/* The predicates in the table of the field `accept`, once for each thread. */
static void make_accept(lua_State *L, int i, struct handle *h) {
  if (lua_getfield(L, i, "accept") != LUA_TNIL)
    for (unsigned k = 0; k < h->lib->threads; k++) h->workers[k].accept = lsd_accept_new(L, -1);
  lua_pop(L, 1);
}

/* A walk reads no file: what `content` wants read again, though nothing tells that it has changed,
 * is the hasher's. */
static enum sd_changed_by field_changed_by(lua_State *L, int i) {
  static const char *const names[] = {"inode", "mtime", "ctime", "content", NULL};
  static const enum sd_changed_by by[] = {SD_CHANGED_BY_INODE, SD_CHANGED_BY_MTIME,
                                          SD_CHANGED_BY_CTIME, SD_CHANGED_BY_CTIME};
  lua_getfield(L, i, "changed_by");
  int k = luaL_checkoption(L, -1, "inode", names);
  lua_pop(L, 1);
  return by[k];
}

/* open(library, {root = string, root_id = integer, location_id = integer, queue = queue,
 * batch = integer?, moves_below = integer?, changed_by = string?, paths = boolean?, rules = rules?,
 * accept = {accept_entry = function?, accept_directory = function?}?}) -> walker */
static int lsd_walker_open(lua_State *L) {
  struct sd_err err;
  struct lsd_library *lib = lsd_check_library(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_getfield(L, 2, "queue");
  struct lsd_queue *q = lsd_check_queue(L, 3);
  lua_getfield(L, 2, "root");
  struct sd_walk_opts opts = {.root = luaL_checkstring(L, 4),
                              .root_id = lsd_field_int(L, 2, "root_id", 0),
                              .batch = (size_t)lsd_field_int(L, 2, "batch", 1000),
                              .paths = lsd_field_true(L, 2, "paths"),
                              .moves = lsd_field_int(L, 2, "moves_below", 0) > 0,
                              .root_fn = sd_reconcile_root,
                              .cancel = &lib->interrupt,
                              .next_id = &lib->next_id,
                              .own = lib->own,
                              .own_len = lib->own_len};
  luaL_argcheck(L, opts.batch >= 1 && opts.batch <= 65536, 2, "batch: from 1 to 65536");
  enum sd_changed_by changed_by = field_changed_by(L, 2);
  struct handle *h = lua_newuserdatauv(L, sizeof(*h), 2);
  memset(h, 0, sizeof(*h));
  h->self = LUA_NOREF;
  h->core = lsd_core(L);
  h->lib = lib;
  luaL_setmetatable(L, LSD_WALKER);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, 2);
  h->dirs = q;
  h->rules = field_rules(L, 2); /* the handle releases it */
  if (h->rules) opts.rules = h->rules->rules;
  h->known = (struct sd_reconcile_opts){.location_id = lsd_field_int(L, 2, "location_id", 0),
                                        .moves_below = lsd_field_int(L, 2, "moves_below", 0),
                                        .changed_by = changed_by};
  h->workers = calloc(lib->threads, sizeof(*h->workers));
  if (!h->workers) lsd_no_memory(L);
  make_accept(L, 2, h);
  if (sd_walk_open(&opts, &h->walk, &err)) return lsd_push_error(L, &err);
  q->walk = h->walk;
  return 1;
}

static int lsd_walker_close(lua_State *L) {
  struct handle *h = luaL_checkudata(L, 1, LSD_WALKER);
  h->closed = true;
  if (!h->running) release(h);
  return 0;
}

static int submit_steps(lua_State *L, struct handle *h) {
  /* One step waits for each thread, so that none is idle until Lua has looked at what came. */
  while (h->running < 2 * h->lib->threads && sd_queue_back(h->dirs->q)) {
    struct step *s = new_step(h);
    if (!s) lsd_no_memory(L);
    fill_step(s);
    if (h->self == LUA_NOREF) {
      lua_pushvalue(L, 1);
      h->self = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    h->running++;
    sd_lane_submit(h->lib->walk, &s->task);
  }
  return 0;
}

static int take_ready(lua_State *L, int status, lua_KContext ctx) {
  struct handle *h = lua_touserdata(L, 1);
  struct step *s = h->ready_head;
  (void)status, (void)ctx;
  lsd_check_open(L, h->lib);
  if (!s) return 0;
  h->ready_head = s->next;
  if (!h->ready_head) h->ready_tail = NULL;
  if (s->rc) {
    int n = lsd_push_error(L, &s->err);
    free_step(s);
    return n;
  }
  struct lsd_found *f = s->found;
  s->found = NULL;
  s->batch = NULL;
  free_step(s);
  lsd_batch_push(L, f, 0, 0);
  return 1;
}

/* next() -> batch; nothing when no directory is left in memory; nil, message, code. Waits. Batches
 * come in the order in which they must be written. */
static int lsd_walker_next(lua_State *L) {
  struct handle *h = check_handle(L, 1);
  lsd_check_await(L);
  lua_settop(L, 1);
  lsd_check_open(L, h->lib);
  if (h->waiting.co) return luaL_error(L, "the walker is waited for already");
  if (!atomic_load(&h->lib->interrupt)) submit_steps(L, h);
  if (h->ready_head) return take_ready(L, LUA_OK, 0);
  if (!h->running) return 0;
  return lsd_await(L, &h->waiting, take_ready, 0);
}

/* push_root(): the root is to be walked */
static int lsd_walker_push_root(lua_State *L) {
  struct handle *h = check_handle(L, 1);
  struct sd_queue_item *item;
  struct sd_dir *root = sd_dir_get(sd_walk_root(h->walk));
  if (lsd_queue_push_dir(h->dirs, root, true, &item)) {
    sd_dir_put(root);
    lsd_no_memory(L);
  }
  return 0;
}

/* push(bytes): a directory that another queue gave is to be walked */
static int lsd_walker_push(lua_State *L) {
  struct handle *h = check_handle(L, 1);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  struct sd_queue_item *item;
  struct sd_dir *d = sd_walk_restore(h->walk, bytes, n);
  luaL_argcheck(L, d != NULL, 2, "not a directory of a queue");
  if (lsd_queue_push_dir(h->dirs, d, true, &item)) {
    sd_dir_put(d);
    lsd_no_memory(L);
  }
  return 0;
}

/* root_stat() -> the attributes of the root, by the names of the columns of table entry */
static int lsd_walker_root_stat(lua_State *L) {
  const struct sd_stat *st = sd_walk_root_stat(check_handle(L, 1)->walk);
  const struct {
    const char *name;
    int64_t v;
  } all[] = {{"size", st->size},
             {"allocated", st->allocated},
             {"mtime", st->mtime},
             {"ctime", st->ctime},
             {"dev", (int64_t)st->dev},
             {"ino", (int64_t)st->ino},
             {"uid", st->uid},
             {"gid", st->gid},
             {"nlink", st->nlink},
             {"kind", st->kind},
             {"mode", sd_stat_stored_mode(st)}};
  lua_createtable(L, 0, 12);
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    lua_pushinteger(L, all[i].v);
    lua_setfield(L, -2, all[i].name);
  }
  if (st->flags & SD_ENTRY_BTIME) {
    lua_pushinteger(L, st->btime);
    lua_setfield(L, -2, "btime");
  }
  return 1;
}

/* running() -> steps under way */
static int lsd_walker_running(lua_State *L) {
  lua_pushinteger(L, check_handle(L, 1)->running);
  return 1;
}

static const luaL_Reg functions[] = {{"open", lsd_walker_open}, {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"next", lsd_walker_next},
    {"push_root", lsd_walker_push_root},
    {"push", lsd_walker_push},
    {"root_stat", lsd_walker_root_stat},
    {"running", lsd_walker_running},
    {"close", lsd_walker_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", lsd_walker_close}, {"__close", lsd_walker_close}, {NULL, NULL}};

int luaopen_sd_walker(lua_State *L) {
  lsd_class(L, LSD_WALKER, metamethods, methods);
  luaL_newlib(L, functions);
  return 1;
}
