#include "bind/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bind/codec.h"
#include "bind/op.h"

/* ---- items ---- */

static void item_free(void *obj) {
  struct lsd_item *i = obj;
  if (i->kind == LSD_ITEM_VALUE) sd_buf_fini(&i->value);
  if (i->kind == LSD_ITEM_DIR) sd_dir_put(i->dir);
  if (i->kind == LSD_ITEM_BATCH) lsd_found_free(i->found);
  free(i);
}

static int item_encode(const void *obj, struct sd_buf *out) {
  const struct lsd_item *i = obj;
  uint8_t kind = (uint8_t)i->kind;
  int rc = sd_buf_put(out, &kind, 1);
  if (rc) return rc;
  if (i->kind == LSD_ITEM_DIR) return sd_walk_encode(i->dir, out);
  if (i->kind == LSD_ITEM_BATCH) return i->found ? sd_batch_encode(i->found->batch, out) : -EINVAL;
  return sd_buf_put(out, i->value.data, i->value.len);
}

/* A listing that goes on: what it leaves to be walked is in memory only, and some of its rows may
 * still be on their way to the library. */
static bool item_pinned(const void *obj) {
  const struct lsd_item *i = obj;
  return i->kind == LSD_ITEM_DIR && i->dir->cursor;
}

static struct lsd_item *item_new(enum lsd_item_kind kind) {
  struct lsd_item *i = calloc(1, sizeof(*i));
  if (i) i->kind = kind;
  return i;
}

/* The item that `data` is the stored form of. */
static struct lsd_item *item_decode(struct lsd_queue *q, const char *data, size_t len,
                                    struct sd_err *err) {
  enum lsd_item_kind kind = len ? (enum lsd_item_kind)data[0] : 0;
  struct lsd_item *i = item_new(kind);
  int rc = i ? 0 : sd_err_nomem(err);
  if (!rc && kind == LSD_ITEM_DIR) {
    i->dir = q->walk ? sd_walk_restore(q->walk, data + 1, len - 1) : NULL;
    if (!i->dir)
      rc = sd_err_set(err, SD_EFORMAT, "queue %s: a stored directory is damaged", q->name);
  } else if (!rc && kind == LSD_ITEM_BATCH) {
    struct sd_batch *b = NULL;
    rc = sd_batch_decode(data + 1, len - 1, &b, err);
    if (!rc && !(i->found = lsd_found_new(b))) {
      sd_batch_free(b);
      rc = sd_err_nomem(err);
    }
  } else if (!rc && kind == LSD_ITEM_VALUE) {
    if (sd_buf_put(&i->value, data + 1, len - 1)) rc = sd_err_nomem(err);
  } else if (!rc) {
    rc = sd_err_set(err, SD_EFORMAT, "queue %s: a stored item is damaged", q->name);
  }
  if (!rc) return i;
  free(i);
  return NULL;
}

int lsd_queue_push_dir(struct lsd_queue *q, struct sd_dir *d, bool ready,
                       struct sd_queue_item **out) {
  struct lsd_item *i = item_new(LSD_ITEM_DIR);
  if (!i) return -ENOMEM;
  i->dir = d;
  *out = sd_queue_push_back(q->q, i, ready);
  if (*out) return 0;
  free(i);
  return -ENOMEM;
}

/* ---- the handle ---- */

struct lsd_queue *lsd_check_queue(lua_State *L, int i) {
  struct lsd_queue *q = luaL_checkudata(L, i, LSD_QUEUE);
  if (!q->q) luaL_argerror(L, i, "the queue is closed");
  return q;
}

struct lsd_queue *lsd_test_queue(lua_State *L, int i) {
  return luaL_testudata(L, i, LSD_QUEUE);
}

/* new(name) -> queue */
static int lsd_queue_new(lua_State *L) {
  static const struct sd_queue_ops ops = {
      .encode = item_encode, .free = item_free, .pinned = item_pinned};
  size_t len;
  const char *name = luaL_checklstring(L, 1, &len);
  luaL_argcheck(L, len > 0 && len < LSD_QUEUE_NAME, 1, "a queue's name has 1 to 63 bytes");
  struct lsd_queue *q = lua_newuserdatauv(L, sizeof(*q), 2);
  memset(q, 0, sizeof(*q));
  memcpy(q->name, name, len + 1);
  luaL_setmetatable(L, LSD_QUEUE);
  q->q = sd_queue_new(&ops);
  if (!q->q) lsd_no_memory(L);
  return 1;
}

static int lsd_queue_close(lua_State *L) {
  struct lsd_queue *q = luaL_checkudata(L, 1, LSD_QUEUE);
  sd_queue_free(q->q);
  q->q = NULL;
  return 0;
}

/* Pushes what the leased `item` carries, and its seq. A batch leaves its item; the lease stays. */
static int push_item(lua_State *L, struct lsd_queue *q, struct sd_queue_item *item) {
  struct lsd_item *i = item->obj;
  struct sd_err err;
  if (i->kind == LSD_ITEM_BATCH) {
    struct lsd_found *f = i->found;
    lsd_batch_push(L, f, 1, item->seq);
    i->found = NULL;
  } else if (i->kind == LSD_ITEM_DIR) {
    return luaL_error(L, "queue %s holds directories: give it to a walker", q->name);
  } else if (lsd_codec_decode(L, i->value.data, i->value.len, &(struct lsd_codec_opts){0}, NULL,
                              &err)) {
    return luaL_error(L, "queue %s: %s", q->name, err.msg);
  }
  lua_pushinteger(L, item->seq);
  return 2;
}

static struct lsd_item *read_item(lua_State *L, int idx) {
  struct lsd_item *i;
  if (luaL_testudata(L, idx, LSD_BATCH)) {
    struct lsd_queue *from;
    struct sd_queue_item *lease;
    struct lsd_found *f = lsd_batch_take(L, idx, &from, &lease);
    if ((i = item_new(LSD_ITEM_BATCH))) i->found = f;
    else lsd_found_free(f);
    if (!i) lsd_no_memory(L);
    return i;
  }
  struct sd_err err;
  struct sd_buf buf = SD_BUF_INIT;
  if (lsd_codec_encode(L, idx, &(struct lsd_codec_opts){0}, &buf, &err)) {
    sd_buf_fini(&buf);
    luaL_error(L, "%s", err.msg);
  }
  if (!(i = item_new(LSD_ITEM_VALUE))) {
    sd_buf_fini(&buf);
    lsd_no_memory(L);
  }
  i->value = buf;
  return i;
}

/* push(value | batch): at the back. A batch is kept out of commits until it is settled. */
static int lsd_queue_push(lua_State *L) {
  struct lsd_queue *q = lsd_check_queue(L, 1);
  luaL_checkany(L, 2);
  struct lsd_item *i = read_item(L, 2);
  if (!sd_queue_push_back(q->q, i, i->kind == LSD_ITEM_VALUE)) {
    item_free(i);
    lsd_no_memory(L);
  }
  return 0;
}

/* pop_memory() -> value | batch, lease; nothing where the front is not in memory */
static int lsd_queue_pop_memory(lua_State *L) {
  struct lsd_queue *q = lsd_check_queue(L, 1);
  struct sd_queue_item *item = sd_queue_pop_front(q->q);
  return item ? push_item(L, q, item) : 0;
}

/* finish(lease): the item leaves the checkpoint with the next commit */
static int lsd_queue_finish(lua_State *L) {
  struct lsd_queue *q = lsd_check_queue(L, 1);
  struct sd_queue_item *item = sd_queue_find_lease(q->q, luaL_checkinteger(L, 2));
  luaL_argcheck(L, item != NULL, 2, "no such lease");
  sd_queue_done(q->q, item);
  return 0;
}

/* wants_front() -> seq from which on the next item must be read from the library, or nothing */
static int lsd_queue_wants_front(lua_State *L) {
  int64_t from;
  if (!sd_queue_wants_front(lsd_check_queue(L, 1)->q, &from)) return 0;
  lua_pushinteger(L, from);
  return 1;
}

/* wants_back() -> seq below which items must be read from the library, or nothing */
static int lsd_queue_wants_back(lua_State *L) {
  int64_t below;
  if (!sd_queue_wants_back(lsd_check_queue(L, 1)->q, &below)) return 0;
  lua_pushinteger(L, below);
  return 1;
}

/* The item of the arguments seq and payload. NULL: *err says why not. */
static struct lsd_item *restored(lua_State *L, struct lsd_queue *q, int64_t *seq,
                                 struct sd_err *err) {
  size_t len;
  *seq = luaL_checkinteger(L, 2);
  const char *data = luaL_checklstring(L, 3, &len);
  return item_decode(q, data, len, err);
}

/* restore_front(seq, payload) -> value | batch, lease; or nil, message, code */
static int lsd_queue_restore_front(lua_State *L) {
  struct lsd_queue *q = lsd_check_queue(L, 1);
  struct sd_err err;
  int64_t seq;
  struct lsd_item *i = restored(L, q, &seq, &err);
  if (!i) return lsd_push_error(L, &err);
  struct sd_queue_item *item = sd_queue_restore_leased(q->q, seq, i);
  if (!item) {
    item_free(i);
    lsd_no_memory(L);
  }
  return push_item(L, q, item);
}

/* restore_back(seq, payload) -> true; or nil, message, code */
static int lsd_queue_restore_back(lua_State *L) {
  struct lsd_queue *q = lsd_check_queue(L, 1);
  struct sd_err err;
  int64_t seq;
  struct lsd_item *i = restored(L, q, &seq, &err);
  if (!i) return lsd_push_error(L, &err);
  if (sd_queue_restore(q->q, seq, i)) {
    item_free(i);
    lsd_no_memory(L);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* on_disk(count, from, below): what a checkpoint left */
static int lsd_queue_on_disk(lua_State *L) {
  struct lsd_queue *q = lsd_check_queue(L, 1);
  lua_Integer n = luaL_checkinteger(L, 2);
  luaL_argcheck(L, n >= 0, 2, "a count");
  if (n) sd_queue_on_disk(q->q, (size_t)n, luaL_checkinteger(L, 3), luaL_checkinteger(L, 4));
  return 0;
}

/* evict(keep): forgets what is on the disk beyond that many. Not while a commit is under way. */
static int lsd_queue_evict(lua_State *L) {
  sd_queue_evict(lsd_check_queue(L, 1)->q, (size_t)luaL_checkinteger(L, 2));
  return 0;
}

static void settle_item(struct sd_queue *q, struct sd_queue_item *item) {
  struct lsd_item *i = item->obj;
  if (i->kind != LSD_ITEM_BATCH || item->ready || lsd_found_settle(i->found)) return;
  sd_queue_ready(q, item);
}

/* Not before: a batch that is settled and popped, but not stored, would be in no checkpoint. */
void lsd_queue_settle_waiting(struct lsd_queue *q) {
  if (!q->settling) return;
  q->settling = false;
  for (struct sd_queue_item *i = sd_queue_first(q->q); i; i = i->next) settle_item(q->q, i);
}

/* settle(): batches that wait then become part of the next commit as they are */
static int lsd_queue_settle(lua_State *L) {
  lsd_check_queue(L, 1)->settling = true;
  return 0;
}

/* The oldest directory that waits here, is part of a checkpoint or will be with the next commit,
 * was not begun and stands for itself: it may be given to somebody else. */
static struct sd_queue_item *oldest_directory(struct sd_queue *q) {
  struct sd_queue_item *item = sd_queue_first(q);
  for (; item; item = item->next) {
    const struct lsd_item *i = item->obj;
    if (i->kind == LSD_ITEM_DIR && item->ready && !i->dir->cursor && !i->dir->group) return item;
  }
  return NULL;
}

/* oldest() -> path below the root, depth: of the directory that give() would give */
static int lsd_queue_oldest(lua_State *L) {
  struct sd_queue_item *item = oldest_directory(lsd_check_queue(L, 1)->q);
  if (!item) return 0;
  const struct lsd_item *i = item->obj;
  struct sd_buf path = SD_BUF_INIT;
  int rc = sd_dir_path(i->dir, SD_DIR_SEGMENT_MAX, &path);
  char text[SD_DIR_SEGMENT_MAX];
  size_t n = rc ? 0 : path.len;
  if (n) memcpy(text, path.data, n);
  sd_buf_fini(&path); /* before Lua may raise */
  lua_pushlstring(L, text, n);
  lua_pushinteger(L, sd_dir_depth(i->dir));
  return 2;
}

/* give() -> the oldest directory as bytes, for walker:push(); it leaves the queue with the next
 * commit. Nothing where there is none. */
static int lsd_queue_give(lua_State *L) {
  struct sd_queue *q = lsd_check_queue(L, 1)->q;
  struct sd_queue_item *item = oldest_directory(q);
  if (!item) return 0;
  luaL_Buffer out;
  struct sd_buf bytes = SD_BUF_INIT;
  const struct lsd_item *i = item->obj;
  int rc = sd_walk_encode(i->dir, &bytes);
  char *p = rc ? NULL : luaL_buffinitsize(L, &out, bytes.len);
  if (p) memcpy(p, bytes.data, bytes.len);
  size_t n = bytes.len;
  sd_buf_fini(&bytes);
  if (!p) lsd_no_memory(L);
  luaL_pushresultsize(&out, n);
  sd_queue_drop(q, item);
  return 1;
}

static int lsd_queue_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)sd_queue_len(lsd_check_queue(L, 1)->q));
  return 1;
}

/* leased() -> items that are popped and not finished */
static int lsd_queue_leased(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)sd_queue_leased(lsd_check_queue(L, 1)->q));
  return 1;
}

static int lsd_queue_name(lua_State *L) {
  lua_pushstring(L, lsd_check_queue(L, 1)->name);
  return 1;
}

/* owner(value?) -> the value that was set: the job's context */
static int lsd_queue_owner(lua_State *L) {
  lsd_check_queue(L, 1);
  if (lua_gettop(L) > 1) {
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, 1);
  }
  lua_getiuservalue(L, 1, 1);
  return 1;
}

/* name_of(value) -> its name, or nothing where it is not a queue */
static int lsd_queue_name_of(lua_State *L) {
  struct lsd_queue *q = lsd_test_queue(L, 1);
  if (!q) return 0;
  lua_pushstring(L, q->name);
  return 1;
}

static const luaL_Reg functions[] = {
    {"new", lsd_queue_new}, {"name_of", lsd_queue_name_of}, {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"push", lsd_queue_push},
    {"pop_memory", lsd_queue_pop_memory},
    {"finish", lsd_queue_finish},
    {"wants_front", lsd_queue_wants_front},
    {"wants_back", lsd_queue_wants_back},
    {"restore_front", lsd_queue_restore_front},
    {"restore_back", lsd_queue_restore_back},
    {"on_disk", lsd_queue_on_disk},
    {"evict", lsd_queue_evict},
    {"settle", lsd_queue_settle},
    {"oldest", lsd_queue_oldest},
    {"give", lsd_queue_give},
    {"leased", lsd_queue_leased},
    {"name", lsd_queue_name},
    {"owner", lsd_queue_owner},
    {"close", lsd_queue_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {{"__gc", lsd_queue_close},
                                       {"__close", lsd_queue_close},
                                       {"__len", lsd_queue_len},
                                       {NULL, NULL}};

int luaopen_sd_queue(lua_State *L) {
  luaL_newmetatable(L, LSD_QUEUE);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__index");
  luaL_newlib(L, functions);
  lua_insert(L, -2);
  lua_setfield(L, -2, "methods"); /* the Lua library adds what waits */
  return 1;
}
