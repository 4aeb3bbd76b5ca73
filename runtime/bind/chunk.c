#include "bind/chunk.h"

#include <string.h>

#include "bind/table.h"

struct handle {
  struct sd_contents *c; /* NULL: given away */
};

static struct handle *check_handle(lua_State *L, int i) {
  struct handle *h = luaL_checkudata(L, i, LSD_CHUNK);
  if (!h->c) luaL_argerror(L, i, "the chunk was already written");
  return h;
}

void lsd_chunk_push(lua_State *L, struct sd_contents *c) {
  struct handle *h = lua_newuserdatauv(L, sizeof(*h), 0);
  h->c = c;
  luaL_setmetatable(L, LSD_CHUNK);
}

struct sd_contents *lsd_chunk_take(lua_State *L, int i) {
  struct handle *h = check_handle(L, i);
  struct sd_contents *c = h->c;
  h->c = NULL;
  return c;
}

static int lsd_chunk_gc(lua_State *L) {
  struct handle *h = luaL_checkudata(L, 1, LSD_CHUNK);
  sd_contents_free(h->c);
  h->c = NULL;
  return 0;
}

/* ---- methods ---- */

/* What was found is another identity than the one that is known. */
static bool is_other(const struct sd_content *e) {
  return !e->known_kind || e->kind != e->known_kind || e->now.size != e->st.size ||
         memcmp(e->hash, e->known, sizeof(e->hash)) != 0;
}

/* stats() -> {files, bytes, hashed, linked, again, changed, errors, cursor, complete}: `again`: how
 * many of the hashed had an identity; `changed`: how many have another one now, or their first;
 * `cursor`: the entry id up to which nothing is left to do; `complete`: it was not cut short */
static int lsd_chunk_stats(lua_State *L) {
  const struct sd_contents *c = check_handle(L, 1)->c;
  int64_t hashed = 0, linked = 0, again = 0, changed = 0, errors = 0;
  uint64_t bytes = 0; /* wraps: sparse files may claim any size */
  for (size_t i = 0; i < c->items_len; i++) {
    const struct sd_content *e = &c->items[i];
    if (e->twin) linked++;
    else if (e->kind) hashed++, bytes += (uint64_t)e->now.size;
    else errors++;
    if (e->twin || (e->kind && is_other(e))) changed++;
    if (e->kind && e->known_kind) again++;
  }
  lua_createtable(L, 0, 9);
  lsd_set_int(L, "files", (int64_t)c->items_len);
  lsd_set_int(L, "bytes", (int64_t)bytes);
  lsd_set_int(L, "hashed", hashed);
  lsd_set_int(L, "linked", linked);
  lsd_set_int(L, "again", again);
  lsd_set_int(L, "changed", changed);
  lsd_set_int(L, "errors", errors);
  lsd_set_int(L, "cursor", c->items_len ? c->items[c->items_len - 1].entry_id : c->after);
  lua_pushboolean(L, !c->cut);
  lua_setfield(L, -2, "complete");
  return 1;
}

static void push_path(lua_State *L, const struct sd_content *e) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  luaL_addlstring(&b, e->dir, e->dir_len);
  if (e->dir_len) luaL_addchar(&b, '/');
  luaL_addlstring(&b, e->name, e->name_len);
  luaL_pushresult(&b);
}

/* last_path() -> the last file of the chunk, below the root */
static int lsd_chunk_last_path(lua_State *L) {
  const struct sd_contents *c = check_handle(L, 1)->c;
  if (!c->items_len) return 0;
  push_path(L, &c->items[c->items_len - 1]);
  return 1;
}

static void push_item(lua_State *L, const struct sd_content *e) {
  static const char *const kinds[] = {NULL, "full", "sampled"};
  static const char digits[] = "0123456789abcdef";
  char hex[32];
  lua_createtable(L, 0, 7);
  lsd_set_int(L, "id", e->entry_id);
  lua_pushboolean(L, e->known_kind != 0);
  lua_setfield(L, -2, "known");
  lsd_set_int(L, "size", e->kind ? e->now.size : e->st.size);
  push_path(L, e);
  lua_setfield(L, -2, "path");
  if (e->kind) {
    for (int i = 0; i < 16; i++) {
      hex[2 * i] = digits[e->hash[i] >> 4];
      hex[2 * i + 1] = digits[e->hash[i] & 15];
    }
    lua_pushlstring(L, hex, sizeof(hex));
    lua_setfield(L, -2, "hash");
    lua_pushstring(L, kinds[e->kind]);
    lua_setfield(L, -2, "hash_kind");
  } else if (e->code) {
    lua_pushstring(L, sd_err_name(e->code));
    lua_setfield(L, -2, "error");
  }
  if (e->mime) {
    lua_pushstring(L, e->mime);
    lua_setfield(L, -2, "mime");
  }
}

static int next_item(lua_State *L) {
  const struct sd_contents *c = check_handle(L, lua_upvalueindex(1))->c;
  size_t i = (size_t)lua_tointeger(L, lua_upvalueindex(2));
  if (i >= c->items_len) return 0;
  lua_pushinteger(L, (lua_Integer)i + 1);
  lua_replace(L, lua_upvalueindex(2));
  push_item(L, &c->items[i]);
  return 1;
}

/* each() -> iterator over {id, path, size, known, hash?, hash_kind?, mime?, error?} */
static int lsd_chunk_each(lua_State *L) {
  check_handle(L, 1);
  lua_settop(L, 1);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_item, 2);
  return 1;
}

/* Why the file is not what the library has; NULL where it is. */
static const char *difference(const struct sd_content *e) {
  if (!e->known_kind) return NULL;
  if (!e->kind) return "unreadable";
  if (memcmp(e->hash, e->known, sizeof(e->hash)) == 0) return NULL;
  bool touched = e->now.size != e->st.size || e->now.mtime != e->st.mtime;
  return touched ? "changed" : "content";
}

/* differences() -> array of {id, path, why, hash?, error?} */
static int lsd_chunk_differences(lua_State *L) {
  const struct sd_contents *c = check_handle(L, 1)->c;
  lua_Integer n = 0;
  lua_newtable(L);
  for (size_t i = 0; i < c->items_len; i++) {
    const char *why = difference(&c->items[i]);
    if (!why) continue;
    push_item(L, &c->items[i]);
    lua_pushstring(L, why);
    lua_setfield(L, -2, "why");
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static const luaL_Reg methods[] = {
    {"stats", lsd_chunk_stats},
    {"last_path", lsd_chunk_last_path},
    {"each", lsd_chunk_each},
    {"differences", lsd_chunk_differences},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", lsd_chunk_gc}, {"__close", lsd_chunk_gc}, {NULL, NULL}};

int luaopen_sd_chunk(lua_State *L) {
  lsd_class(L, LSD_CHUNK, metamethods, methods);
  return 0;
}
