/* Writing goes through msgpack-c's packer. Reading does not go through its unpacker: that one stops
 * at a depth of 32 and keeps a copy of the value in memory that a Lua error would leak. As
 * sd_codec_open() has checked the payload, a small reader can push the values as they come.
 *
 * Nothing here calls a metamethod of a value. A finalizer or a callback may still change a table
 * while it is written, so the keys are kept apart before they are sorted. */
#include "bind/codec.h"

#include <errno.h>
#include <lauxlib.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "bind/op.h"

#define LSD_CODEC_BUF "sd.codec.buf"

/* Slots of the Lua stack: for each depth, and for a callback at the deepest. */
enum { ENCODE_SLOTS = 5, DECODE_SLOTS = 3 };

static bool grow_stack(lua_State *L, int slots) {
  return lua_checkstack(L, slots * (SD_CODEC_DEPTH_MAX + 1) + LUA_MINSTACK);
}

/* ---- where in a value ---- */

/* A table that is being written, and which of its fields. */
struct level {
  const void *table;
  int key;       /* stack index of the field's key; 0: `i` is the key */
  lua_Integer i; /* 0: no field yet */
};

enum { KEY_SHOWN = 40, KEY_ROOM = 4 * KEY_SHOWN + 16, PATH_ROOM = 256 };

static bool is_identifier(const char *s, size_t n) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
  return n && strlen(s) == n && strchr(letters, *s) &&
         strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") == n;
}

static size_t show_byte(char *out, unsigned char c, bool text) {
  if (c == '"' || c == '\\') return (size_t)sprintf(out, "\\%c", c);
  if (c < 0x20 || c == 0x7f || (c >= 0x80 && !text)) return (size_t)sprintf(out, "\\x%02x", c);
  *out = (char)c;
  return 1;
}

static size_t show_string(const char *s, size_t len, char out[KEY_ROOM]) {
  size_t n = len, at = 2;
  if (n > KEY_SHOWN)
    for (n = KEY_SHOWN; n > KEY_SHOWN - 4 && ((unsigned char)s[n] & 0xc0) == 0x80;) n--;
  if (n == len && is_identifier(s, n)) return (size_t)sprintf(out, ".%s", s);
  bool text = sd_utf8_valid(s, n);
  memcpy(out, "[\"", 2);
  for (size_t i = 0; i < n; i++) at += show_byte(out + at, (unsigned char)s[i], text);
  return at + (size_t)sprintf(out + at, n < len ? "...\"]" : "\"]");
}

/* The field as Lua would write it; its length. */
static size_t show_key(lua_State *L, const struct level *l, char out[KEY_ROOM]) {
  size_t n;
  if (!l->key) return l->i ? (size_t)sprintf(out, "[%lld]", (long long)l->i) : 0;
  switch (lua_type(L, l->key)) {
    case LUA_TSTRING: {
      const char *s = lua_tolstring(L, l->key, &n);
      return show_string(s, n, out);
    }
    case LUA_TBOOLEAN:
      return (size_t)sprintf(out, "[%s]", lua_toboolean(L, l->key) ? "true" : "false");
    default:
      if (lua_isinteger(L, l->key))
        return (size_t)sprintf(out, "[%lld]", (long long)lua_tointeger(L, l->key));
      return (size_t)sprintf(out, "[%.14g]", lua_tonumber(L, l->key));
  }
}

/* "value.stats[3].f", written from its end: where it is too long, the front is left out. */
static const char *show_path(lua_State *L, const struct level *levels, unsigned depth,
                             char path[PATH_ROOM]) {
  static const char whole[] = "value", cut[] = "value[...]";
  char key[KEY_ROOM], *at = path + PATH_ROOM - 1;
  *at = 0;
  for (; depth; depth--) {
    size_t n = show_key(L, &levels[depth - 1], key);
    if (n + sizeof(cut) > (size_t)(at - path)) break;
    at -= n;
    memcpy(at, key, n);
  }
  size_t n = depth ? sizeof(cut) - 1 : sizeof(whole) - 1;
  return memcpy(at - n, depth ? cut : whole, n);
}

/* ---- writing ---- */

struct enc {
  lua_State *L;
  const struct lsd_codec_opts *o;
  struct sd_buf *out;
  size_t start; /* of what we write, in out */
  msgpack_packer pk;
  struct sd_err *err;
  int rc;         /* once set, nothing is written any more */
  unsigned depth; /* of levels: the tables around the current value */
  struct level levels[SD_CODEC_DEPTH_MAX];
};

static void put_value(struct enc *e, int idx);

static void fail(struct enc *e, int code, const char *what) {
  char path[PATH_ROOM];
  if (e->rc) return;
  e->rc = sd_err_set(e->err, code, "%s: %s", show_path(e->L, e->levels, e->depth, path), what);
}

/* `what` is "a key that is " for a key. A type that has a name of its own is called by it too. */
static void refuse(struct enc *e, int idx, const char *what) {
  lua_State *L = e->L;
  int type = lua_type(L, idx), top = lua_gettop(L);
  bool object = type == LUA_TTABLE && !*what;
  const char *kind = type == LUA_TLIGHTUSERDATA ? "light userdata" : lua_typename(L, type);
  const char *name = NULL;
  char text[160];
  if (type == LUA_TUSERDATA || object)
    if (luaL_getmetafield(L, idx, "__name") == LUA_TSTRING) name = lua_tostring(L, -1);
  snprintf(text, sizeof(text), "%sa %s%s%s%.60s%s cannot be stored", what, kind,
           object ? " with a metatable" : "", name ? " (" : "", name ? name : "", name ? ")" : "");
  lua_settop(L, top);
  fail(e, -EINVAL, text);
}

static void too_large(struct enc *e) {
  if (!e->rc)
    e->rc =
        sd_err_set(e->err, -EFBIG, "value: more than %d bytes cannot be stored", SD_CODEC_SIZE_MAX);
}

static void changed(struct enc *e) {
  fail(e, -EINVAL, "the table was changed while it was stored");
}

/* The packer's callback. Its result is not looked at: rc is. */
static int write_out(void *data, const char *p, size_t n) {
  struct enc *e = data;
  if (e->rc) return -1;
  if (n > SD_CODEC_SIZE_MAX - (e->out->len - e->start)) too_large(e);
  else if (sd_buf_put(e->out, p, n)) e->rc = sd_err_nomem(e->err);
  return e->rc ? -1 : 0;
}

static void put_string(struct enc *e, int idx) {
  size_t n;
  const char *s = lua_tolstring(e->L, idx, &n);
  if (n > SD_CODEC_SIZE_MAX) too_large(e); /* the packer counts in 32 bits */
  else msgpack_pack_str_with_body(&e->pk, s, n);
}

/* Whether the object is a queue; if so, it is written as a reference. */
static bool put_queue(struct enc *e, int idx) {
  int top = lua_gettop(e->L);
  const char *name = e->o->queue_name ? e->o->queue_name(e->L, idx, e->o->ud) : NULL;
  size_t n = name ? strlen(name) : 0;
  if (n > SD_CODEC_SIZE_MAX) too_large(e);
  else if (n) msgpack_pack_ext_with_body(&e->pk, name, n, SD_CODEC_EXT_QUEUE);
  else if (name) fail(e, -EINVAL, "a queue without a name cannot be stored");
  lua_settop(e->L, top); /* the callback may have left the name there */
  return name != NULL;
}

/* ---- writing tables ---- */

/* A table that is met twice is written twice; only one that is around itself is refused. */
static bool enter(struct enc *e, int idx) {
  const void *table = lua_topointer(e->L, idx);
  bool cycle = false;
  for (unsigned i = 0; i < e->depth; i++) cycle |= e->levels[i].table == table;
  if (cycle) fail(e, -EINVAL, "a table that contains itself cannot be stored");
  else if (e->depth == SD_CODEC_DEPTH_MAX) fail(e, -EINVAL, "tables this deep cannot be stored");
  else e->levels[e->depth++] = (struct level){.table = table};
  return !e->rc;
}

/* Counts the keys. True: they are 1..n, and there is one. */
static bool count_keys(lua_State *L, int idx, size_t *n) {
  lua_Integer max = 0;
  bool list = true;
  *n = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    lua_Integer i = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    list &= i > 0;
    if (i > max) max = i;
    (*n)++;
  }
  return list && *n && (lua_Unsigned)max == *n;
}

static void put_array(struct enc *e, int idx, size_t n) {
  lua_State *L = e->L;
  struct level *l = &e->levels[e->depth - 1];
  msgpack_pack_array(&e->pk, n);
  for (l->i = 1; !e->rc && (size_t)l->i <= n; l->i++) {
    if (lua_rawgeti(L, idx, l->i) == LUA_TNIL) changed(e);
    else put_value(e, lua_gettop(L));
    lua_pop(L, 1);
  }
}

/* The order of keys is part of the format: by kind, then by value. */
enum key_kind { KEY_BOOLEAN, KEY_INTEGER, KEY_FLOAT, KEY_STRING };

struct key {
  enum key_kind kind;
  int at; /* in the table of keys, which holds the string */
  size_t len;
  union {
    lua_Integer i; /* a boolean too */
    lua_Number f;
    const char *s;
  };
};

static int compare_strings(const struct key *a, const struct key *b) {
  int c = memcmp(a->s, b->s, a->len < b->len ? a->len : b->len);
  return c ? c : (a->len > b->len) - (a->len < b->len);
}

static int compare_keys(const void *pa, const void *pb) {
  const struct key *a = pa, *b = pb;
  if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
  if (a->kind == KEY_STRING) return compare_strings(a, b);
  if (a->kind == KEY_FLOAT) return (a->f > b->f) - (a->f < b->f);
  return (a->i > b->i) - (a->i < b->i);
}

static bool read_key(lua_State *L, int idx, struct key *k) {
  switch (lua_type(L, idx)) {
    case LUA_TBOOLEAN:
      k->kind = KEY_BOOLEAN;
      k->i = lua_toboolean(L, idx);
      return true;
    case LUA_TNUMBER:
      k->kind = lua_isinteger(L, idx) ? KEY_INTEGER : KEY_FLOAT;
      if (k->kind == KEY_INTEGER) k->i = lua_tointeger(L, idx);
      else k->f = lua_tonumber(L, idx);
      return true;
    case LUA_TSTRING:
      k->kind = KEY_STRING;
      k->s = lua_tolstring(L, idx, &k->len);
      return true;
    default: return false;
  }
}

/* Pushes two values: a table of the keys, and the memory of their order, which is returned. */
static const struct key *sort_keys(struct enc *e, int idx, size_t n) {
  lua_State *L = e->L;
  size_t i = 0;
  lua_createtable(L, (int)n, 0);
  struct key *keys = lua_newuserdatauv(L, n * sizeof(*keys), 0);
  int top = lua_gettop(L);
  for (lua_pushnil(L); !e->rc && lua_next(L, idx);) {
    lua_pop(L, 1); /* the value */
    if (i == n) changed(e);
    else if (!read_key(L, -1, &keys[i])) refuse(e, lua_gettop(L), "a key that is ");
    if (e->rc) break;
    keys[i].at = (int)(i + 1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, top - 1, (lua_Integer)++i);
  }
  lua_settop(L, top);
  if (i < n) changed(e);
  if (!e->rc) qsort(keys, n, sizeof(*keys), compare_keys);
  return keys;
}

static void put_field(struct enc *e, int idx, int key) {
  lua_State *L = e->L;
  e->levels[e->depth - 1].key = key;
  lua_pushvalue(L, key);
  if (lua_rawget(L, idx) == LUA_TNIL) changed(e);
  put_value(e, key);
  put_value(e, key + 1);
}

static void put_map(struct enc *e, int idx, size_t n) {
  lua_State *L = e->L;
  int top = lua_gettop(L);
  const struct key *keys = n ? sort_keys(e, idx, n) : NULL;
  msgpack_pack_map(&e->pk, n);
  for (size_t i = 0; !e->rc && i < n; i++) {
    lua_rawgeti(L, top + 1, keys[i].at);
    put_field(e, idx, top + 3);
    lua_settop(L, top + 2);
  }
  lua_settop(L, top);
}

static void put_table(struct enc *e, int idx) {
  size_t n;
  if (!enter(e, idx)) return;
  bool list = count_keys(e->L, idx, &n);
  if (n > SD_CODEC_SIZE_MAX) too_large(e);
  else if (list) put_array(e, idx, n);
  else put_map(e, idx, n);
  e->depth--;
}

/* A table without a metatable, or with one whose field __sd_plain is true. */
static bool is_plain(lua_State *L, int idx) {
  if (lua_type(L, idx) != LUA_TTABLE) return false;
  if (!lua_getmetatable(L, idx)) return true;
  lua_pushliteral(L, "__sd_plain");
  bool plain = lua_rawget(L, -2) == LUA_TBOOLEAN && lua_toboolean(L, -1);
  lua_pop(L, 2);
  return plain;
}

static void put_number(struct enc *e, int idx) {
  if (lua_isinteger(e->L, idx)) msgpack_pack_int64(&e->pk, lua_tointeger(e->L, idx));
  else msgpack_pack_double(&e->pk, lua_tonumber(e->L, idx));
}

static void put_value(struct enc *e, int idx) {
  if (e->rc) return;
  switch (lua_type(e->L, idx)) {
    case LUA_TNIL: msgpack_pack_nil(&e->pk); break;
    case LUA_TBOOLEAN:
      if (lua_toboolean(e->L, idx)) msgpack_pack_true(&e->pk);
      else msgpack_pack_false(&e->pk);
      break;
    case LUA_TNUMBER: put_number(e, idx); break;
    case LUA_TSTRING: put_string(e, idx); break;
    case LUA_TTABLE:
    case LUA_TUSERDATA:
      if (is_plain(e->L, idx)) put_table(e, idx);
      else if (!put_queue(e, idx)) refuse(e, idx, "");
      break;
    default: refuse(e, idx, "");
  }
}

/* ---- encode ---- */

/* Puts the frame around the payload that is in out, and moves it to where the payload began. */
static int seal(struct enc *e) {
  struct sd_buf *out = e->out;
  size_t n = out->len - e->start;
  int rc = sd_codec_seal(&e->o->meta, out->data + e->start, n, out, e->err);
  if (rc) return rc;
  out->len -= n;
  memmove(out->data + e->start, out->data + e->start + n, out->len - e->start);
  return 0;
}

/* As lsd_codec_encode(), but raises, with half a value in `out`, where memory is out. */
static int encode(lua_State *L, int idx, const struct lsd_codec_opts *o, struct sd_buf *out,
                  struct sd_err *err) {
  struct enc e = {.L = L, .o = o, .out = out, .start = out->len, .err = err};
  int top = lua_gettop(L);
  msgpack_packer_init(&e.pk, &e, write_out);
  if (grow_stack(L, ENCODE_SLOTS)) put_value(&e, lua_absindex(L, idx));
  else e.rc = sd_err_nomem(err);
  lua_settop(L, top);
  if (!e.rc) e.rc = seal(&e);
  if (e.rc) out->len = e.start;
  return e.rc;
}

struct call {
  const struct lsd_codec_opts *o;
  struct sd_buf *out;
  struct sd_err *err;
  int rc;
};

static int protected_encode(lua_State *L) {
  struct call *c = lua_touserdata(L, 2);
  c->rc = encode(L, 1, c->o, c->out, c->err);
  return 0;
}

int lsd_codec_encode(lua_State *L, int idx, const struct lsd_codec_opts *o, struct sd_buf *out,
                     struct sd_err *err) {
  struct call c = {.o = o, .out = out, .err = err};
  size_t start = out->len;
  idx = lua_absindex(L, idx);
  if (!lua_checkstack(L, 3)) return sd_err_nomem(err);
  lua_pushcfunction(L, protected_encode);
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, &c);
  int status = lua_pcall(L, 2, 0, 0);
  if (status == LUA_OK) return c.rc;
  out->len = start;
  if (status != LUA_ERRMEM) lua_error(L); /* the callback's own */
  lua_pop(L, 1);
  return sd_err_nomem(err);
}

/* ---- reading ---- */

struct dec {
  lua_State *L;
  const struct lsd_codec_opts *o;
  const uint8_t *p, *end;
  struct sd_err *err;
  int rc; /* once set, nothing is read any more; what is on the stack is the caller's to drop */
};

static void get_value(struct dec *d);

static void damaged(struct dec *d, const char *why) {
  if (!d->rc) d->rc = sd_err_set(d->err, SD_EFORMAT, "a stored value is damaged: %s", why);
}

/* sd_codec_open() has seen that the bytes are there. */
static const char *take(struct dec *d, size_t n) {
  sd_verify((size_t)(d->end - d->p) >= n);
  const uint8_t *p = d->p;
  d->p += n;
  return (const char *)p;
}

static uint64_t get_uint(struct dec *d, unsigned width) {
  const uint8_t *p = (const uint8_t *)take(d, width);
  uint64_t v = 0;
  for (unsigned i = 0; i < width; i++) v = v << 8 | p[i];
  return v;
}

static void push_uint(struct dec *d, unsigned width) {
  uint64_t v = get_uint(d, width);
  if (v > INT64_MAX) damaged(d, "it has an integer above 2^63");
  else lua_pushinteger(d->L, (lua_Integer)v);
}

static void push_int(struct dec *d, unsigned width) {
  uint64_t sign = UINT64_C(1) << (8 * width - 1);
  lua_pushinteger(d->L, (lua_Integer)((get_uint(d, width) ^ sign) - sign));
}

static void push_float(struct dec *d, unsigned width) {
  uint64_t bits = get_uint(d, width);
  uint32_t bits32 = (uint32_t)bits;
  double v;
  float v32;
  memcpy(&v, &bits, sizeof(v));
  memcpy(&v32, &bits32, sizeof(v32));
  lua_pushnumber(d->L, width == 4 ? (double)v32 : v);
}

static void push_bytes(struct dec *d, size_t n) {
  lua_pushlstring(d->L, take(d, n), n);
}

static void push_queue(struct dec *d, size_t n) {
  int top = lua_gettop(d->L);
  sd_verify(get_uint(d, 1) == SD_CODEC_EXT_QUEUE);
  const char *name = take(d, n);
  if (!d->o->push_queue) {
    d->rc = sd_err_set(d->err, SD_EFORMAT, "a stored value refers to a queue where none can be");
    return;
  }
  d->rc = d->o->push_queue(d->L, name, n, d->o->ud, d->err);
  sd_verify(d->rc || lua_gettop(d->L) == top + 1);
}

/* Every value takes a byte at least, so that the room asked for is bounded by the payload. */
static void push_array(struct dec *d, size_t n) {
  lua_createtable(d->L, (int)n, 0);
  for (size_t i = 1; i <= n; i++) {
    get_value(d);
    if (!d->rc && lua_isnil(d->L, -1)) damaged(d, "it has a nil in a table");
    if (d->rc) return;
    lua_rawseti(d->L, -2, (lua_Integer)i);
  }
}

/* Whether the value on top may be a key: Lua raises for nil and NaN. */
static bool is_key(lua_State *L) {
  int type = lua_type(L, -1);
  if (type == LUA_TNUMBER) return lua_rawequal(L, -1, -1);
  return type == LUA_TSTRING || type == LUA_TBOOLEAN;
}

static void push_map(struct dec *d, size_t n) {
  lua_createtable(d->L, 0, (int)n);
  for (size_t i = 0; i < n; i++) {
    get_value(d);
    if (!d->rc && !is_key(d->L)) damaged(d, "it has a key that cannot be one");
    if (d->rc) return;
    get_value(d);
    if (!d->rc && lua_isnil(d->L, -1)) damaged(d, "it has a nil in a table");
    if (d->rc) return;
    lua_rawset(d->L, -3);
  }
}

/* The values whose first byte is 0xc0 to 0xdf. */
static void get_long(struct dec *d, unsigned t) {
  if (t == 0xc0) lua_pushnil(d->L);
  else if (t == 0xc2 || t == 0xc3) lua_pushboolean(d->L, t == 0xc3);
  else if (t >= 0xc4 && t <= 0xc6) push_bytes(d, get_uint(d, 1u << (t - 0xc4)));
  else if (t >= 0xc7 && t <= 0xc9) push_queue(d, get_uint(d, 1u << (t - 0xc7)));
  else if (t == 0xca || t == 0xcb) push_float(d, t == 0xca ? 4 : 8);
  else if (t >= 0xcc && t <= 0xcf) push_uint(d, 1u << (t - 0xcc));
  else if (t >= 0xd0 && t <= 0xd3) push_int(d, 1u << (t - 0xd0));
  else if (t >= 0xd4 && t <= 0xd8) push_queue(d, 1u << (t - 0xd4));
  else if (t >= 0xd9 && t <= 0xdb) push_bytes(d, get_uint(d, 1u << (t - 0xd9)));
  else if (t == 0xdc || t == 0xdd) push_array(d, get_uint(d, t == 0xdc ? 2 : 4));
  else if (t == 0xde || t == 0xdf) push_map(d, get_uint(d, t == 0xde ? 2 : 4));
  else sd_verify(!"a byte that begins nothing");
}

/* Pushes one value. Recurses as deep as tables are nested: sd_codec_open() bounds that. */
static void get_value(struct dec *d) {
  if (d->rc) return;
  unsigned t = (unsigned)get_uint(d, 1);
  if (t < 0x80) lua_pushinteger(d->L, t);
  else if (t < 0x90) push_map(d, t & 15u);
  else if (t < 0xa0) push_array(d, t & 15u);
  else if (t < 0xc0) push_bytes(d, t & 31u);
  else if (t >= 0xe0) lua_pushinteger(d->L, (lua_Integer)t - 256);
  else get_long(d, t);
}

int lsd_codec_decode(lua_State *L, const void *data, size_t len, const struct lsd_codec_opts *o,
                     struct sd_codec_meta *meta, struct sd_err *err) {
  struct dec d = {.L = L, .o = o, .err = err};
  int top = lua_gettop(L);
  size_t n;
  int rc = sd_codec_open(data, len, meta, &d.p, &n, err);
  if (rc) return rc;
  if (!grow_stack(L, DECODE_SLOTS)) return sd_err_nomem(err);
  d.end = d.p + n;
  get_value(&d);
  sd_verify(d.rc || (d.p == d.end && lua_gettop(L) == top + 1));
  if (d.rc) lua_settop(L, top);
  return d.rc;
}

/* ---- functions ---- */

/* Where encode() and decode() keep their arguments on the stack. */
enum { ARG_VALUE = 1, ARG_OPTIONS, ARG_CALLBACK };

/* The stack becomes: value, options, callback or nil. */
static void read_arguments(lua_State *L, const char *callback) {
  luaL_checkany(L, ARG_VALUE);
  lua_settop(L, ARG_OPTIONS);
  if (lua_isnil(L, ARG_OPTIONS)) {
    lua_pushnil(L);
    return;
  }
  luaL_checktype(L, ARG_OPTIONS, LUA_TTABLE);
  int type = lua_getfield(L, ARG_OPTIONS, callback);
  if (type != LUA_TNIL && type != LUA_TFUNCTION)
    luaL_error(L, "option '%s': a function expected", callback);
}

static void copy_option(lua_State *L, const char *name, void *to, size_t min, size_t max) {
  size_t n = 0;
  if (lua_getfield(L, ARG_OPTIONS, name) != LUA_TNIL) {
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
    if (!s) luaL_error(L, "option '%s': a string expected", name);
    if (n < min || n > max) luaL_error(L, "option '%s': %d bytes cannot be one", name, (int)n);
    memcpy(to, s, n);
  }
  lua_pop(L, 1);
}

static void read_meta(lua_State *L, struct sd_codec_meta *meta) {
  if (lua_isnil(L, ARG_OPTIONS)) return;
  copy_option(L, "name", meta->name, 0, SD_CODEC_NAME_MAX);
  copy_option(L, "script", meta->script, sizeof(meta->script), sizeof(meta->script));
  if (lua_getfield(L, ARG_OPTIONS, "version") != LUA_TNIL) {
    int ok;
    lua_Integer v = lua_tointegerx(L, -1, &ok);
    if (!ok || v < 0 || v > UINT32_MAX) luaL_error(L, "option 'version': 0 to 2^32-1 expected");
    meta->version = (uint32_t)v;
  }
  lua_pop(L, 1);
}

static const char *call_queue_name(lua_State *L, int idx, void *ud) {
  size_t n = 0;
  (void)ud;
  lua_pushvalue(L, ARG_CALLBACK);
  lua_pushvalue(L, idx);
  lua_call(L, 1, 1);
  if (!lua_toboolean(L, -1)) return NULL;
  const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
  if (!n || strlen(name) != n) luaL_error(L, "queue_name: a name or nil expected");
  return name; /* stays on the stack until it is written */
}

static int call_push_queue(lua_State *L, const char *name, size_t len, void *ud,
                           struct sd_err *err) {
  (void)ud;
  lua_pushvalue(L, ARG_CALLBACK);
  lua_pushlstring(L, name, len);
  lua_call(L, 1, 1);
  if (!lua_isnil(L, -1)) return 0;
  return sd_err_set(err, SD_EFORMAT, "a stored value refers to a queue that is not there: %.*s",
                    len < 64 ? (int)len : 64, name);
}

static int lsd_codec_buf_gc(lua_State *L) {
  sd_buf_fini(luaL_checkudata(L, 1, LSD_CODEC_BUF));
  return 0;
}

/* A buffer that a Lua error releases. */
static struct sd_buf *push_buf(lua_State *L) {
  struct sd_buf *b = lua_newuserdatauv(L, sizeof(*b), 0);
  *b = (struct sd_buf)SD_BUF_INIT;
  luaL_setmetatable(L, LSD_CODEC_BUF);
  return b;
}

static int lsd_codec_encode_value(lua_State *L) {
  struct lsd_codec_opts o = {0};
  struct sd_err err;
  read_arguments(L, "queue_name");
  read_meta(L, &o.meta);
  if (!lua_isnil(L, ARG_CALLBACK)) o.queue_name = call_queue_name;
  struct sd_buf *out = push_buf(L);
  if (encode(L, ARG_VALUE, &o, out, &err)) return lsd_push_error(L, &err);
  lua_pushlstring(L, (const char *)out->data, out->len);
  sd_buf_fini(out);
  return 1;
}

static void push_meta(lua_State *L, const struct sd_codec_meta *meta) {
  static const uint8_t none[sizeof(meta->script)];
  lua_createtable(L, 0, 3);
  lua_pushstring(L, meta->name);
  lua_setfield(L, -2, "name");
  lua_pushinteger(L, meta->version);
  lua_setfield(L, -2, "version");
  if (memcmp(meta->script, none, sizeof(none)) == 0) return;
  lua_pushlstring(L, (const char *)meta->script, sizeof(meta->script));
  lua_setfield(L, -2, "script");
}

static int lsd_codec_decode_string(lua_State *L) {
  struct lsd_codec_opts o = {0};
  struct sd_codec_meta meta;
  struct sd_err err;
  size_t len;
  const char *data = luaL_checklstring(L, ARG_VALUE, &len);
  read_arguments(L, "push_queue");
  if (!lua_isnil(L, ARG_CALLBACK)) o.push_queue = call_push_queue;
  if (lsd_codec_decode(L, data, len, &o, &meta, &err)) return lsd_push_error(L, &err);
  push_meta(L, &meta);
  return 2;
}

static const luaL_Reg functions[] = {
    {"encode", lsd_codec_encode_value}, {"decode", lsd_codec_decode_string}, {NULL, NULL}};

int luaopen_sd_codec(lua_State *L) {
  luaL_newmetatable(L, LSD_CODEC_BUF);
  lua_pushcfunction(L, lsd_codec_buf_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
