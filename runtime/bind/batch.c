#include "bind/batch.h"

#include <stdlib.h>
#include <string.h>

#include "bind/queue.h"
#include "bind/table.h"

struct handle {
  struct lsd_found *found; /* NULL: given away */
  struct lsd_queue *queue; /* that leased it, held by user value 1; or NULL */
  int64_t seq;             /* of the lease, which a script may have ended */
};

struct lsd_found *lsd_found_new(struct sd_batch *b) {
  struct lsd_found *f = calloc(1, sizeof(*f));
  if (f) f->batch = b;
  return f;
}

void lsd_found_free(struct lsd_found *f) {
  if (!f) return;
  sd_batch_free(f->batch);
  free(f->born);
  free(f);
}

int lsd_found_settle(struct lsd_found *f) {
  struct lsd_queue *q = f->dirs;
  if (f->settled || !q) return 0;
  if (f->order != q->next_settled) return -1;
  q->next_settled++;
  f->settled = true;
  /* What it found first: an item that came and went within one commit ends here. */
  for (size_t i = 0; i < f->born_len; i++) sd_queue_ready(q->q, f->born[i]);
  for (size_t i = 0; i < f->batch->done_len; i++) sd_queue_done(q->q, f->batch->done[i]);
  return 0;
}

/* ---- the handle ---- */

static struct handle *check_handle(lua_State *L, int i) {
  struct handle *h = luaL_checkudata(L, i, LSD_BATCH);
  if (!h->found) luaL_argerror(L, i, "the batch was already written or given away");
  return h;
}

void lsd_batch_push(lua_State *L, struct lsd_found *f, int from, int64_t seq) {
  if (from) from = lua_absindex(L, from);
  struct handle *h = lua_newuserdatauv(L, sizeof(*h), 1);
  *h = (struct handle){.found = f, .seq = seq};
  if (from) {
    h->queue = lsd_check_queue(L, from);
    lua_pushvalue(L, from);
    lua_setiuservalue(L, -2, 1);
  }
  luaL_setmetatable(L, LSD_BATCH);
}

struct lsd_found *lsd_batch_take(lua_State *L, int i, struct lsd_queue **queue,
                                 struct sd_queue_item **lease) {
  struct handle *h = check_handle(L, i);
  struct lsd_found *f = h->found;
  *queue = h->queue;
  *lease = h->queue && h->queue->q ? sd_queue_find_lease(h->queue->q, h->seq) : NULL;
  if (h->queue && !*lease) luaL_argerror(L, i, "the batch's lease was finished without it");
  h->found = NULL;
  return f;
}

static int lsd_batch_gc(lua_State *L) {
  struct handle *h = luaL_checkudata(L, 1, LSD_BATCH);
  lsd_found_free(h->found);
  h->found = NULL;
  return 0;
}

/* ---- methods ---- */

/* stats() -> {files, dirs, symlinks, bytes, listed, changed, inserted, moved, again, vanished,
 * errors, skips, new_files, new_bytes}: everything that was listed, changed or not */
static int lsd_batch_stats(lua_State *L) {
  const struct sd_batch *b = check_handle(L, 1)->found->batch;
  lua_createtable(L, 0, 14);
  lsd_set_int(L, "files", b->seen.files);
  lsd_set_int(L, "dirs", b->seen.dirs);
  lsd_set_int(L, "symlinks", b->seen.symlinks);
  lsd_set_int(L, "bytes", b->seen.file_bytes);
  lsd_set_int(L, "listed", (int64_t)b->listed);
  lsd_set_int(L, "changed", (int64_t)b->entries_len);
  lsd_set_int(L, "inserted", (int64_t)b->inserted);
  lsd_set_int(L, "moved", (int64_t)b->moved);
  lsd_set_int(L, "again", (int64_t)b->again);
  lsd_set_int(L, "vanished", (int64_t)b->vanished_len);
  lsd_set_int(L, "errors", (int64_t)b->errors_len);
  lsd_set_int(L, "skips", (int64_t)b->skips_len);
  lsd_set_int(L, "new_files", b->new_files);
  lsd_set_int(L, "new_bytes", b->new_bytes);
  return 1;
}

/* last_path() -> the directory that was read last, below the root */
static int lsd_batch_last_path(lua_State *L) {
  const struct sd_batch *b = check_handle(L, 1)->found->batch;
  lua_pushlstring(L, b->last_path ? b->last_path : "", b->last_path_len);
  return 1;
}

/* `dir` and `name` as a path below the root, at field `path`; nothing where `dir` is not known. */
static void set_path(lua_State *L, const char *dir, const char *name, size_t len) {
  if (!dir) return;
  lua_pushstring(L, dir);
  if (*dir) lua_pushliteral(L, "/");
  lua_pushlstring(L, name, len);
  lua_concat(L, *dir ? 3 : 2);
  lua_setfield(L, -2, "path");
}

/* What differs from the library. */
static void push_why(lua_State *L, const struct sd_entry *e) {
  char why[SD_DIFFERENCES_MAX];
  sd_stat_differences(&e->st, e->old, why);
  if (e->again) lua_pushliteral(L, "racy");
  else lua_pushstring(L, why);
  lua_setfield(L, -2, "why");
}

static void push_entry(lua_State *L, const struct sd_entry *e) {
  static const char *const changes[] = {"none", "insert", "update", "content", "move"};
  lua_createtable(L, 0, 14);
  lsd_set_int(L, "id", e->id);
  lsd_set_int(L, "parent_id", e->parent_id);
  lua_pushlstring(L, e->name, e->name_len);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, sd_kind_name(e->st.kind));
  lua_setfield(L, -2, "kind");
  lua_pushstring(L, changes[e->change]);
  lua_setfield(L, -2, "change");
  lsd_set_int(L, "size", e->st.size);
  lsd_set_int(L, "allocated", e->st.allocated);
  lsd_set_int(L, "mtime_ns", e->st.mtime);
  lsd_set_int(L, "mode", e->st.mode);
  lsd_set_int(L, "uid", e->st.uid);
  lsd_set_int(L, "gid", e->st.gid);
  lsd_set_int(L, "nlink", e->st.nlink);
  if (e->target) {
    lua_pushlstring(L, e->target, e->target_len);
    lua_setfield(L, -2, "target");
  }
  if (e->from) {
    lua_pushlstring(L, e->from, e->from_len);
    lua_setfield(L, -2, "from");
  }
  set_path(L, e->dir, e->name, e->name_len);
  if (e->old) push_why(L, e);
  lua_pushboolean(L, e->again);
  lua_setfield(L, -2, "again");
}

/* root() -> {why}, where the walk's root differs from the library; not known of a batch that a
 * queue has stored */
static int lsd_batch_root(lua_State *L) {
  const struct sd_batch *b = check_handle(L, 1)->found->batch;
  char why[SD_DIFFERENCES_MAX];
  if (!b->root_id || !b->root_was.kind) return 0;
  sd_stat_differences(&b->root, &b->root_was, why);
  lua_createtable(L, 0, 1);
  lua_pushstring(L, why);
  lua_setfield(L, -2, "why");
  return 1;
}

static int next_entry(lua_State *L) {
  const struct sd_batch *b = check_handle(L, lua_upvalueindex(1))->found->batch;
  size_t i = (size_t)lua_tointeger(L, lua_upvalueindex(2));
  if (i >= b->entries_len) return 0;
  lua_pushinteger(L, (lua_Integer)i + 1);
  lua_replace(L, lua_upvalueindex(2));
  push_entry(L, &b->entries[i]);
  return 1;
}

/* each() -> iterator over what differs from the library */
static int lsd_batch_each(lua_State *L) {
  check_handle(L, 1);
  lua_settop(L, 1);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_entry, 2);
  return 1;
}

/* vanished() -> array of {id, parent_id, name, replaced, path?}: what is not at its place */
static int lsd_batch_vanished(lua_State *L) {
  const struct sd_batch *b = check_handle(L, 1)->found->batch;
  lua_createtable(L, (int)b->vanished_len, 0);
  for (size_t i = 0; i < b->vanished_len; i++) {
    const struct sd_gone *g = &b->vanished[i];
    lua_createtable(L, 0, 5);
    lsd_set_int(L, "id", g->id);
    lsd_set_int(L, "parent_id", g->parent_id);
    lua_pushlstring(L, g->name, g->name_len);
    lua_setfield(L, -2, "name");
    lua_pushboolean(L, g->replaced);
    lua_setfield(L, -2, "replaced");
    set_path(L, g->dir, g->name, g->name_len);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int push_notes(lua_State *L, const struct sd_note *notes, size_t n) {
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    lua_createtable(L, 0, 4);
    lua_pushlstring(L, notes[i].path, notes[i].path_len);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, sd_op_name(notes[i].op));
    lua_setfield(L, -2, "operation");
    lua_pushstring(L, notes[i].reason);
    lua_setfield(L, -2, "message");
    if (notes[i].code) {
      lua_pushstring(L, sd_err_name(notes[i].code));
      lua_setfield(L, -2, "error");
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* errors() -> array of {path, operation, error, message} */
static int lsd_batch_errors(lua_State *L) {
  const struct sd_batch *b = check_handle(L, 1)->found->batch;
  return push_notes(L, b->errors, b->errors_len);
}

/* skips() -> array of {path, operation = "Skip", message = rule} */
static int lsd_batch_skips(lua_State *L) {
  const struct sd_batch *b = check_handle(L, 1)->found->batch;
  return push_notes(L, b->skips, b->skips_len);
}

/* skip_counts() -> {rule = names that it left out} */
static int lsd_batch_skip_counts(lua_State *L) {
  const struct sd_batch *b = check_handle(L, 1)->found->batch;
  lua_newtable(L);
  for (uint8_t rule = 1; rule < SD_RULE_COUNT; rule++)
    if (b->skipped[rule]) lsd_set_int(L, sd_rule_name(rule), (int64_t)b->skipped[rule]);
  return 1;
}

static const luaL_Reg methods[] = {
    {"stats", lsd_batch_stats},
    {"last_path", lsd_batch_last_path},
    {"root", lsd_batch_root},
    {"each", lsd_batch_each},
    {"vanished", lsd_batch_vanished},
    {"errors", lsd_batch_errors},
    {"skips", lsd_batch_skips},
    {"skip_counts", lsd_batch_skip_counts},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", lsd_batch_gc}, {"__close", lsd_batch_gc}, {NULL, NULL}};

int luaopen_sd_batch(lua_State *L) {
  lsd_class(L, LSD_BATCH, metamethods, methods);
  return 0;
}
