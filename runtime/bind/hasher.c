#include "bind/hasher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "bind/chunk.h"
#include "bind/library.h"
#include "bind/op.h"
#include "bind/table.h"
#include "engine/device.h"
#include "engine/dir.h"
#include "engine/hash.h"
#include "engine/mime.h"

enum {
  CHUNKS_AHEAD = 8,               /* files of so many whole chunks are under way at once: one large
                                   * file does not stop the other threads */
  CHUNK_BYTES = 32 * 1024 * 1024, /* a chunk ends behind so many: what has not been committed is
                                   * lost when the process dies */
};

enum mime_mode { MIME_NONE, MIME_NAME, MIME_MAGIC };

/* What a thread of the hash lane keeps from file to file. */
struct worker {
  struct sd_hasher *hasher;
  struct sd_mime_magic *magic; /* opened for the first name that does not decide */
  struct sd_err magic_err;     /* of the opening that failed last */
  atomic_bool magic_failed;    /* there is none, and will be none */
  int64_t dir_id;              /* the directory that dir_fd is; 0: none */
  int dir_fd;
  int dir_code; /* why it could not be opened */
};

struct chunk;

struct part { /* one thread's share of a chunk */
  struct sd_task task;
  struct chunk *chunk;
};

struct chunk {
  struct sd_task task; /* first: the select */
  struct chunk *next;
  struct handle *h;
  struct sd_contents *contents;
  struct sd_content_want want;
  int rc; /* of the select, then of the parts; lock, as err */
  struct sd_err err;
  atomic_size_t at;    /* the item that is taken next; the hash lane */
  uv_mutex_t lock;     /* guards contents->arena, rc and err while parts run */
  unsigned parts_left; /* not delivered */
  bool selected, last; /* the select is delivered; it found less than a whole chunk */
  struct part parts[]; /* one a thread */
};

struct handle {
  struct lsd_core *core;
  struct lsd_library *lib; /* held by user value 1 */
  struct sd_mime_names *names;
  struct worker *workers;    /* one a thread of the hash lane, used by it */
  struct chunk *head, *tail; /* in order; the last may still be selected */
  size_t files;              /* of the chunks in the list */
  unsigned running;          /* tasks on lanes */
  struct lsd_wait waiting;   /* next() */
  struct sd_content_want want;
  enum sd_hash_kind kind;
  enum mime_mode mime;
  struct sd_file_id own[LSD_OWN_FILES]; /* the library's files when it was opened */
  size_t own_len;
  int root_fd;        /* -1: closed */
  bool ended;         /* nothing is left to select */
  atomic_bool closed; /* tasks end soon; to be released when none runs */
  int self;           /* ref while tasks run */
};

/* ---- on the hash lane ---- */

static int open_worker(struct worker *w, struct sd_err *err) {
  return w->hasher ? 0 : sd_hasher_open(&w->hasher, err);
}

/* A hash without a type is worth more than no hash: without libmagic only names decide. 0, or a
 * code of sd_err_is_exhausted(). */
static int open_magic(struct handle *h, struct worker *w) {
  if (w->magic || atomic_load(&w->magic_failed)) return 0;
  uv_mutex_lock(&h->lib->magic_lock);
  int rc = sd_mime_magic_open(&w->magic, &w->magic_err);
  uv_mutex_unlock(&h->lib->magic_lock);
  if (sd_err_is_exhausted(rc)) return rc;
  if (rc) atomic_store(&w->magic_failed, true);
  return 0;
}

/* Files of one directory follow each other: its descriptor is kept for them. */
static int open_parent(struct handle *h, struct worker *w, const struct sd_content *i) {
  if (w->dir_id == i->parent_id) return w->dir_code;
  if (w->dir_fd >= 0) close(w->dir_fd);
  w->dir_fd =
      sd_open_below(h->root_fd, i->dir, i->dir_len, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  w->dir_code = w->dir_fd < 0 ? -errno : 0;
  /* No directory any more: what was in it is gone, as the walk may have noted already. */
  if (w->dir_code == -ENOTDIR || w->dir_code == -ELOOP) w->dir_code = -ENOENT;
  w->dir_id = sd_err_is_exhausted(w->dir_code) ? 0 : i->parent_id;
  return w->dir_code;
}

/* Why a file is gone: -ENOENT; -ENODEV where its disk is not mounted, the nearest directory above
 * it being on another one; or a code of sd_err_is_exhausted(). Where there is no disk, a file and
 * its directory may differ (overlays). */
static int why_gone(struct handle *h, const struct sd_content *i) {
  struct stat st;
  if (!sd_device_is_disk(i->st_dev)) return -ENOENT;
  for (size_t len = i->dir_len;; len--) {
    if (len && len < i->dir_len && i->dir[len] != '/') continue;
    int fd = sd_open_below(h->root_fd, i->dir, len, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && sd_err_is_exhausted(-errno)) return -errno;
    bool there = fd >= 0 && fstat(fd, &st) == 0;
    if (fd >= 0) close(fd);
    if (there || !len) return there && st.st_dev != i->st_dev ? -ENODEV : -ENOENT;
  }
}

static int find_mime(struct handle *h, struct worker *w, struct chunk *c, struct sd_content *i,
                     const struct sd_hash_result *r) {
  const char *mime = h->names ? sd_mime_by_name(h->names, i->name, i->name_len) : NULL;
  i->mime_named = mime != NULL;
  int rc = !mime && h->mime == MIME_MAGIC ? open_magic(h, w) : 0;
  if (!rc && !mime && w->magic) mime = sd_mime_by_magic(w->magic, r->head, r->head_len);
  if (rc || !mime) return rc;
  uv_mutex_lock(&c->lock);
  i->mime = sd_arena_copy(&c->contents->arena, mime, strlen(mime));
  uv_mutex_unlock(&c->lock);
  return i->mime ? 0 : -ENOMEM;
}

static bool must_stop(struct handle *h) {
  return atomic_load(&h->lib->interrupt) || atomic_load(&h->closed);
}

/* What is compared with an identity is hashed as that was; what takes its place is no less. */
static enum sd_hash_kind kind_of(const struct handle *h, const struct sd_content *i) {
  bool as_known = h->want.verify || i->known_kind == SD_HASH_FULL;
  return i->known_kind && as_known ? (enum sd_hash_kind)i->known_kind : h->kind;
}

static void hash_item(struct handle *h, struct worker *w, struct chunk *c, struct sd_content *i) {
  struct sd_err err;
  struct sd_hash_result r;
  struct sd_hash_want want = {.kind = kind_of(h, i),
                              .check_identity = true,
                              .dev = i->st_dev,
                              .ino = i->st.ino,
                              .own = h->own,
                              .own_len = h->own_len,
                              .cancel = {&h->lib->interrupt, &h->closed}};
  if (i->twin) return;
  i->code = must_stop(h) ? SD_ECANCELED : open_worker(w, &err);
  if (!i->code) i->code = open_parent(h, w, i);
  i->hashed_at = sd_clock_wall();
  if (!i->code) i->code = sd_hash_file(w->hasher, w->dir_fd, i->name, &want, &r, &err);
  if (i->code == -ENOENT) i->code = why_gone(h, i);
  if (i->code) return;
  memcpy(i->hash, r.hash, sizeof(i->hash));
  i->kind = (uint8_t)r.kind;
  i->now = r.st;
  if (h->mime != MIME_NONE) i->code = find_mime(h, w, c, i, &r);
}

/* Not the fault of a file: nothing of the chunk counts, and its other files are left alone. */
static void fail_chunk(struct chunk *c, int code) {
  uv_mutex_lock(&c->lock);
  c->rc = sd_err_exhausted(&c->err, code);
  uv_mutex_unlock(&c->lock);
  atomic_store(&c->at, c->contents->items_len);
}

static void run_part(struct sd_task *t, unsigned worker) {
  struct chunk *c = ((struct part *)t)->chunk;
  struct worker *w = &c->h->workers[worker];
  size_t k;
  while ((k = atomic_fetch_add(&c->at, 1)) < c->contents->items_len) {
    struct sd_content *i = &c->contents->items[k];
    hash_item(c->h, w, c, i);
    if (sd_err_is_exhausted(i->code)) fail_chunk(c, i->code);
  }
}

/* ---- on the read lane ---- */

static void run_select(struct sd_task *t, unsigned worker) {
  struct chunk *c = (struct chunk *)t;
  struct sd_store *reader;
  c->rc = lsd_library_reader(c->h->lib, LSD_READER_READ, worker, &reader, &c->err);
  if (!c->rc) c->rc = sd_contents_select(reader, &c->want, c->contents, &c->err);
}

/* ---- the loop's thread ---- */

static void free_chunk(struct chunk *c) {
  sd_contents_free(c->contents);
  uv_mutex_destroy(&c->lock);
  free(c);
}

static struct chunk *take_head(struct handle *h) {
  struct chunk *c = h->head;
  h->head = c->next;
  if (!h->head) h->tail = NULL;
  h->files -= c->contents->items_len;
  return c;
}

static void release(struct handle *h) {
  while (h->head) free_chunk(take_head(h));
  for (unsigned i = 0; h->workers && i < h->lib->threads; i++) {
    struct worker *w = &h->workers[i];
    sd_hasher_close(w->hasher);
    sd_mime_magic_close(w->magic);
    if (w->dir_fd >= 0) close(w->dir_fd);
  }
  free(h->workers);
  h->workers = NULL;
  sd_mime_names_close(h->names);
  h->names = NULL;
  if (h->root_fd >= 0) close(h->root_fd);
  h->root_fd = -1;
}

static void start(lua_State *L, struct handle *h, struct sd_lane *lane, struct sd_task *t) {
  if (h->self == LUA_NOREF) {
    lua_pushvalue(L, 1);
    h->self = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  h->running++;
  sd_lane_submit(lane, t);
}

/* After every delivery: somebody may wait for this, and the handle may end here. */
static void delivered(struct handle *h) {
  lua_State *L = h->core->main;
  h->running--;
  lsd_library_wake(h->lib, &h->waiting);
  if (h->running) return;
  int self = h->self;
  h->self = LUA_NOREF;
  if (h->closed) release(h);
  luaL_unref(L, LUA_REGISTRYINDEX, self);
}

static void deliver_part(struct sd_task *t) {
  struct chunk *c = ((struct part *)t)->chunk;
  c->parts_left--;
  delivered(c->h);
}

static void deliver_select(struct sd_task *t) {
  struct chunk *c = (struct chunk *)t;
  struct handle *h = c->h;
  c->selected = true;
  h->files += c->contents->items_len;
  if (!c->rc && c->contents->items_len) {
    h->want.after = c->contents->items[c->contents->items_len - 1].entry_id;
    c->parts_left = h->closed || h->lib->closing ? 0 : h->lib->threads;
    h->running += c->parts_left;
    for (unsigned i = 0; i < c->parts_left; i++) sd_lane_submit(h->lib->hash, &c->parts[i].task);
  } else {
    h->ended = true;
  }
  delivered(h);
}

static struct chunk *new_chunk(struct handle *h) {
  struct chunk *c = calloc(1, sizeof(*c) + h->lib->threads * sizeof(struct part));
  if (!c || !(c->contents = sd_contents_new())) {
    free(c);
    return NULL;
  }
  c->h = h;
  c->contents->mime_names = sd_mime_names_hold(h->names);
  c->want = h->want;
  c->task = (struct sd_task){.run = run_select, .deliver = deliver_select};
  uv_mutex_init(&c->lock);
  for (unsigned i = 0; i < h->lib->threads; i++) {
    c->parts[i].task = (struct sd_task){.run = run_part, .deliver = deliver_part};
    c->parts[i].chunk = c;
  }
  return c;
}

static struct handle *check_handle(lua_State *L, int i) {
  struct handle *h = luaL_checkudata(L, i, LSD_HASHER);
  if (h->closed || h->root_fd < 0) luaL_argerror(L, i, "the hasher is closed");
  return h;
}

/* One select at a time: the next begins where the last one ended. */
static void select_more(lua_State *L, struct handle *h) {
  if (h->ended || (h->tail && !h->tail->selected)) return;
  if (h->files >= (size_t)CHUNKS_AHEAD * (size_t)h->want.limit) return;
  if (atomic_load(&h->lib->interrupt)) return;
  struct chunk *c = new_chunk(h);
  if (!c) lsd_no_memory(L);
  if (h->tail) h->tail->next = c;
  else h->head = c;
  h->tail = c;
  start(L, h, h->lib->read, &c->task);
}

static int take_ready(lua_State *L, int status, lua_KContext ctx) {
  struct handle *h = check_handle(L, 1);
  (void)status, (void)ctx;
  lsd_check_open(L, h->lib);
  for (;;) {
    struct chunk *c = h->head;
    select_more(L, h);
    if (!c && !h->head) {
      lua_pushnil(L);
      lua_pushboolean(L, h->ended);
      return 2;
    }
    if (!c) c = h->head;
    if (!c->selected || c->parts_left) return lsd_await(L, &h->waiting, take_ready, 0);
    take_head(h);
    int n = c->rc ? lsd_push_error(L, &c->err) : 0;
    if (!n && c->contents->items_len) {
      struct sd_contents *found = c->contents;
      c->contents = NULL;
      free_chunk(c);
      sd_contents_cut(found);
      lsd_chunk_push(L, found);
      return 1;
    }
    free_chunk(c);
    if (n) return n;
  }
}

/* next() -> chunk; nil, whether no file is left (else there was an interruption); nil, message,
 * code. Waits. */
static int lsd_hasher_next(lua_State *L) {
  struct handle *h = check_handle(L, 1);
  lsd_check_await(L);
  lua_settop(L, 1);
  if (h->waiting.co) return luaL_error(L, "the hasher is waited for already");
  return take_ready(L, LUA_OK, 0);
}

static int lsd_hasher_close(lua_State *L) {
  struct handle *h = luaL_checkudata(L, 1, LSD_HASHER);
  atomic_store(&h->closed, true);
  if (!h->running) release(h);
  return 0;
}

static int field_option(lua_State *L, int i, const char *name, const char *const *list) {
  lua_getfield(L, i, name);
  int v = luaL_checkoption(L, -1, list[0], list);
  lua_pop(L, 1);
  return v;
}

static int open_files(struct handle *h, const char *root, struct sd_err *err) {
  h->workers = calloc(h->lib->threads, sizeof(*h->workers));
  if (!h->workers) return sd_err_nomem(err);
  for (unsigned i = 0; i < h->lib->threads; i++) h->workers[i].dir_fd = -1;
  h->root_fd = TEMP_FAILURE_RETRY(open(root, O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (h->root_fd < 0) return sd_err_os(err, "open", root);
  if (h->mime == MIME_NONE) return 0;
  int rc = sd_mime_names_open(NULL, &h->names, err);
  return rc == -ENOENT ? 0 : rc; /* no table: magic alone decides */
}

/* open(library, {root, location_id, after = 0, chunk = 100, kind = "sampled" | "full",
 * mime = "none" | "name" | "magic", rest = false, verify = false, again = false}) -> hasher */
static int lsd_hasher_open(lua_State *L) {
  static const char *const kinds[] = {"sampled", "full", NULL};
  static const char *const mimes[] = {"none", "name", "magic", NULL};
  struct sd_err err;
  struct lsd_library *lib = lsd_check_library(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_getfield(L, 2, "root");
  const char *root = luaL_checkstring(L, 3);
  struct sd_content_want want = {.location_id = lsd_field_int(L, 2, "location_id", 0),
                                 .after = lsd_field_int(L, 2, "after", 0),
                                 .job_id = lsd_field_int(L, 2, "job_id", 0),
                                 .limit = (int)lsd_field_int(L, 2, "chunk", 100),
                                 .max_bytes = CHUNK_BYTES};
  luaL_argcheck(L, want.limit >= 1 && want.limit <= 65536, 2, "chunk: from 1 to 65536");
  want.full = field_option(L, 2, "kind", kinds) == 1;
  want.rest = lsd_field_true(L, 2, "rest");
  want.verify = lsd_field_true(L, 2, "verify");
  want.again = lsd_field_true(L, 2, "again");
  int mime = field_option(L, 2, "mime", mimes);
  struct handle *h = lua_newuserdatauv(L, sizeof(*h), 1);
  memset(h, 0, sizeof(*h));
  h->self = LUA_NOREF;
  h->root_fd = -1;
  h->core = lsd_core(L);
  h->lib = lib;
  h->want = want;
  h->kind = want.full ? SD_HASH_FULL : SD_HASH_SAMPLED;
  h->mime = (enum mime_mode)mime;
  memcpy(h->own, lib->own, sizeof(h->own));
  h->own_len = lib->own_len;
  luaL_setmetatable(L, LSD_HASHER);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (open_files(h, root, &err)) {
    release(h);
    return lsd_push_error(L, &err);
  }
  return 1;
}

/* warning() -> what is wrong and does not end the hashing, or nil */
static int lsd_hasher_warning(lua_State *L) {
  struct handle *h = check_handle(L, 1);
  for (unsigned i = 0; i < h->lib->threads; i++) {
    struct worker *w = &h->workers[i];
    if (!atomic_load(&w->magic_failed)) continue;
    lua_pushstring(L, w->magic_err.msg);
    return 1;
  }
  return 0;
}

static const luaL_Reg functions[] = {{"open", lsd_hasher_open}, {NULL, NULL}};

static const luaL_Reg methods[] = {{"next", lsd_hasher_next},
                                   {"warning", lsd_hasher_warning},
                                   {"close", lsd_hasher_close},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__gc", lsd_hasher_close}, {"__close", lsd_hasher_close}, {NULL, NULL}};

int luaopen_sd_hasher(lua_State *L) {
  lsd_class(L, LSD_HASHER, metamethods, methods);
  luaL_newlib(L, functions);
  return 1;
}
