/* The frame and the values in it. Truth comes from the MessagePack specification, as bytes written
 * by hand, from msgpack-c's reader, and from a frame of format 1 that was stored once and for all.
 *
 * `test_codec corpus DIR` writes the frames of these tests as seeds for the fuzzer. */
#include "support.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <msgpack.h>
#include <unistd.h>

#include "bind/codec.h"

/* ---- payloads ---- */

struct payload {
  const char *name, *bytes;
  size_t len;
};

#define P(name, bytes) \
  { name, bytes, sizeof(bytes) - 1 }

static const struct payload good[] = {
    P("nil", "\xc0"),
    P("false", "\xc2"),
    P("true", "\xc3"),
    P("fixint", "\x7f"),
    P("negative-fixint", "\xe0"),
    P("uint8", "\xcc\xff"),
    P("uint16", "\xcd\xff\xff"),
    P("uint32", "\xce\xff\xff\xff\xff"),
    P("uint64", "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"),
    P("int8", "\xd0\x80"),
    P("int16", "\xd1\x80\x00"),
    P("int32", "\xd2\x80\x00\x00\x00"),
    P("int64", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
    P("float32", "\xca\x3f\xc0\x00\x00"),
    P("float64", "\xcb\x80\x00\x00\x00\x00\x00\x00\x00"),
    P("fixstr",
      "\xa3"
      "a\0b"),
    P("str8", "\xd9\x01x"),
    P("str16", "\xda\x00\x01x"),
    P("str32", "\xdb\x00\x00\x00\x01x"),
    P("bin8", "\xc4\x01\xff"),
    P("bin16", "\xc5\x00\x01\xff"),
    P("bin32", "\xc6\x00\x00\x00\x01\xff"),
    P("fixext1", "\xd4\x01q"),
    P("fixext2", "\xd5\x01qq"),
    P("fixext4", "\xd6\x01qqqq"),
    P("fixext8", "\xd7\x01qqqqqqqq"),
    P("fixext16", "\xd8\x01qqqqqqqqqqqqqqqq"),
    P("ext8", "\xc7\x03\x01qqq"),
    P("ext16", "\xc8\x00\x03\x01qqq"),
    P("ext32", "\xc9\x00\x00\x00\x03\x01qqq"),
    P("fixarray", "\x93\x01\x90\x03"),
    P("array16", "\xdc\x00\x02\x01\x02"),
    P("array32", "\xdd\x00\x00\x00\x02\x01\x02"),
    P("fixmap", "\x82\xa1x\x01\xa1y\x80"),
    P("map16", "\xde\x00\x01\xa1x\x01"),
    P("map32", "\xdf\x00\x00\x00\x01\xa1x\x01"),
};

static const struct payload bad[] = {
    P("empty", ""),
    P("unused-tag", "\xc1"),
    P("second-value", "\x01\x02"),
    P("ext-0", "\xd4\x00q"),
    P("ext-2", "\xc7\x01\x02q"),
    P("timestamp", "\xd6\xff\x00\x00\x00\x00"),
    P("empty-ext", "\xc7\x00\x01"),
    P("array-short", "\x92\x01"),
    P("map-short", "\x81\x01"),
    P("array16-huge", "\xdc\xff\xff\x01"),
    P("array32-huge", "\xdd\xff\xff\xff\xff\x01"),
    P("map32-huge", "\xdf\xff\xff\xff\xff\x01\x01"),
    P("str32-huge", "\xdb\xff\xff\xff\xffx"),
    P("bin32-huge", "\xc6\xff\xff\xff\xffx"),
    P("ext32-huge", "\xc9\xff\xff\xff\xff\x01q"),
    P("nested-huge", "\x91\xdf\x80\x00\x00\x00"),
};

/* Values that MessagePack has and a Lua table has not. */
static const struct payload unfit[] = {
    P("uint64-above-lua", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00"),
    P("nil-key", "\x81\xc0\x01"),
    P("nan-key", "\x81\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\x01"),
    P("table-key", "\x81\x90\x01"),
    P("queue-key", "\x81\xd4\x01q\x01"),
    P("nil-value", "\x81\x01\xc0"),
    P("nil-item", "\x91\xc0"),
    P("deep-nil-value", "\x91\x91\x81\x01\xc0"),
};

#define EACH(p, list) \
  for (const struct payload *p = list; p < list + sizeof(list) / sizeof(list[0]); p++)

static const struct sd_codec_meta meta = {
    .name = "indexer",
    .version = 7,
    .script = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static struct sd_buf seal(const void *p, size_t n) {
  struct sd_buf b = SD_BUF_INIT;
  struct sd_err err;
  assert_ok(sd_codec_seal(&meta, p, n, &b, &err), &err);
  return b;
}

/* From memory of just that size, so that a sanitizer sees the first byte read beyond it. */
static int open_copy(const void *p, size_t n, struct sd_err *err) {
  const uint8_t *payload;
  size_t len;
  void *copy = malloc(n ? n : 1);
  assert_non_null(copy);
  if (n) memcpy(copy, p, n);
  int rc = sd_codec_open(copy, n, NULL, &payload, &len, err);
  free(copy);
  return rc;
}

static int open_payload(const void *p, size_t n, struct sd_err *err) {
  struct sd_buf b = seal(p, n);
  int rc = open_copy(b.data, b.len, err);
  sd_buf_fini(&b);
  return rc;
}

/* ---- the frame ---- */

static void a_frame_gives_back_what_was_put_in(void **state) {
  (void)state;
  struct sd_buf b = seal("\xa1x", 2);
  struct sd_codec_meta got;
  struct sd_err err;
  const uint8_t *payload;
  size_t len;
  assert_ok(sd_codec_open(b.data, b.len, &got, &payload, &len, &err), &err);
  assert_int_equal(len, 2);
  assert_memory_equal(payload, "\xa1x", 2);
  assert_true(payload > b.data && payload < b.data + b.len);
  assert_memory_equal(&got, &meta, sizeof(meta));
  sd_buf_fini(&b);
}

static void a_frame_goes_behind_what_the_buffer_holds(void **state) {
  (void)state;
  struct sd_buf b = SD_BUF_INIT, alone = seal("\xa1x", 2);
  struct sd_err err;
  assert_int_equal(sd_buf_put(&b, "\xa1x", 2), 0);
  assert_ok(sd_codec_seal(&meta, b.data, 2, &b, &err), &err); /* the payload lies in the buffer */
  assert_int_equal(b.len, 2 + alone.len);
  assert_memory_equal(b.data + 2, alone.data, alone.len);
  sd_buf_fini(&alone);
  sd_buf_fini(&b);
}

static void a_payload_too_large_is_not_sealed(void **state) {
  (void)state;
  struct sd_buf b = SD_BUF_INIT;
  struct sd_err err;
  assert_int_equal(sd_codec_seal(&meta, "", (size_t)SD_CODEC_SIZE_MAX + 1, &b, &err), -EFBIG);
  assert_int_equal(b.len, 0);
  sd_buf_fini(&b);
}

static void every_flipped_bit_is_refused(void **state) {
  (void)state;
  struct sd_buf b = seal("\x82\xa1x\x01\xa1y\x80", 7);
  struct sd_err err;
  for (size_t i = 0; i < 8 * b.len; i++) {
    b.data[i / 8] ^= (uint8_t)(1u << i % 8);
    int rc = open_copy(b.data, b.len, &err);
    assert_int_equal(rc, i / 8 >= 4 && i / 8 < 8 && i != 32 ? SD_ENEWER : SD_EFORMAT);
    assert_int_equal(err.code, rc);
    b.data[i / 8] ^= (uint8_t)(1u << i % 8);
  }
  assert_ok(open_copy(b.data, b.len, &err), &err);
  sd_buf_fini(&b);
}

static void a_frame_that_is_cut_or_longer_is_refused(void **state) {
  (void)state;
  struct sd_buf b = seal("\x93\x01\x90\x03", 4);
  struct sd_err err;
  for (size_t n = 0; n < b.len; n++) assert_int_equal(open_copy(b.data, n, &err), SD_EFORMAT);
  assert_int_equal(sd_buf_put(&b, "", 1), 0);
  assert_int_equal(open_copy(b.data, b.len, &err), SD_EFORMAT);
  sd_buf_fini(&b);
}

/* A later sdlua may have changed all that follows: only its version is looked at. */
static void a_later_format_is_named_as_such(void **state) {
  (void)state;
  struct sd_err err;
  assert_int_equal(open_copy("SDLC\x02\0\0\0", 8, &err), SD_ENEWER);
  assert_non_null(strstr(err.msg, "format 2"));
  assert_int_equal(open_copy("SDLC\0\0\0\0", 8, &err), SD_EFORMAT);
  assert_int_equal(open_copy("SDLX\x02\0\0\0", 8, &err), SD_EFORMAT);
}

static void a_name_of_the_longest_length_is_kept(void **state) {
  (void)state;
  struct sd_codec_meta m = {.version = UINT32_MAX}, got;
  struct sd_buf b = SD_BUF_INIT;
  struct sd_err err;
  const uint8_t *payload;
  size_t len;
  memset(m.name, 'n', SD_CODEC_NAME_MAX);
  assert_ok(sd_codec_seal(&m, "\xc0", 1, &b, &err), &err);
  assert_ok(sd_codec_open(b.data, b.len, &got, &payload, &len, &err), &err);
  assert_memory_equal(&got, &m, sizeof(m));
  sd_buf_fini(&b);
}

/* ---- the payload ---- */

static void every_type_of_messagepack_is_accepted(void **state) {
  (void)state;
  struct sd_err err;
  EACH(p, good) assert_ok(open_payload(p->bytes, p->len, &err), &err);
  EACH(p, unfit) assert_ok(open_payload(p->bytes, p->len, &err), &err);
}

static void a_payload_that_is_cut_or_longer_is_refused(void **state) {
  (void)state;
  struct sd_err err;
  EACH(p, good) {
    char longer[64] = {0};
    memcpy(longer, p->bytes, p->len);
    assert_int_equal(open_payload(longer, p->len + 1, &err), SD_EFORMAT);
    for (size_t n = 0; n < p->len; n++)
      assert_int_equal(open_payload(p->bytes, n, &err), SD_EFORMAT);
  }
}

static void what_is_not_messagepack_is_refused(void **state) {
  (void)state;
  struct sd_err err;
  EACH(p, bad) {
    if (open_payload(p->bytes, p->len, &err) != SD_EFORMAT) fail_msg("%s was accepted", p->name);
  }
}

static void nesting_is_bounded(void **state) {
  static const char *const tables[] = {"\x91", "\x81\x01", "\x92\x01", "\xdd\0\0\0\x01"};
  static const size_t lens[] = {1, 2, 2, 5};
  char p[8 * (SD_CODEC_DEPTH_MAX + 1)];
  struct sd_err err;
  (void)state;
  for (size_t t = 0; t < 4; t++)
    for (int depth = 1; depth <= SD_CODEC_DEPTH_MAX + 1; depth++) {
      size_t n = 0;
      for (int i = 0; i < depth; i++, n += lens[t]) memcpy(p + n, tables[t], lens[t]);
      p[n++] = 1;
      assert_int_equal(open_payload(p, n, &err), depth > SD_CODEC_DEPTH_MAX ? SD_EFORMAT : 0);
    }
}

/* What we accept, msgpack-c accepts, and ends where we end. (It stops at a depth of 32.) */
static void what_is_accepted_is_messagepack(void **state) {
  uint64_t seed = test_seed();
  struct sd_err err;
  unsigned accepted = 0;
  (void)state;
  for (int round = 0; round < 200000; round++) {
    char p[24];
    size_t n = 1 + rng_below(&seed, sizeof(p)), end = 0;
    for (size_t i = 0; i < n; i++)
      p[i] = (char)(rng_below(&seed, 3) ? 0x80 + rng_below(&seed, 0x60) : rng_below(&seed, 4));
    if (open_payload(p, n, &err)) continue;
    msgpack_zone zone;
    msgpack_object value;
    assert_true(msgpack_zone_init(&zone, 1024));
    assert_int_equal(msgpack_unpack(p, n, &end, &zone, &value), MSGPACK_UNPACK_SUCCESS);
    msgpack_zone_destroy(&zone);
    accepted++;
  }
  print_message("%u of 200000 random payloads accepted\n", accepted);
  assert_true(accepted > 100);
}

/* ---- values of Lua ---- */

/* An allocator that counts, and that fails at the n-th request. */
struct memory {
  size_t used, peak;
  long fail_at; /* counts down; 0: never fails */
};

static void *allocate(void *ud, void *p, size_t old, size_t n) {
  struct memory *m = ud;
  if (!p) old = 0;
  if (n > old && m->fail_at && --m->fail_at == 0) {
    m->fail_at = 1; /* and all that follow */
    return NULL;
  }
  void *q = NULL;
  if (n && !(q = realloc(p, n))) return NULL;
  if (!n) free(p);
  m->used += n - old;
  if (m->used > m->peak) m->peak = m->used;
  return q;
}

static const char prelude[] =
    "Queue = {}\n"
    "function queue(name) return setmetatable({name = name}, Queue) end\n"
    "function same(a, b)\n"
    "  if type(a) ~= 'table' or type(b) ~= 'table' then\n"
    "    if math.type(a) ~= math.type(b) then return false end\n"
    "    if math.type(a) ~= 'float' then return a == b end\n"
    "    return string.pack('d', a) == string.pack('d', b)\n"
    "  end\n"
    "  if getmetatable(a) ~= getmetatable(b) then return false end\n"
    "  for k, v in next, a do if not same(v, b[k]) then return false end end\n"
    "  for k in next, b do if a[k] == nil then return false end end\n"
    "  return true\n"
    "end\n";

static lua_State *open_lua(struct memory *m) {
  *m = (struct memory){0};
  lua_State *L = lua_newstate(allocate, m);
  assert_non_null(L);
  luaL_openlibs(L);
  assert_int_equal(luaL_dostring(L, prelude), LUA_OK);
  return L;
}

static void push_lua(lua_State *L, const char *chunk) {
  if (luaL_dostring(L, chunk) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
}

static void assert_same(lua_State *L) {
  lua_getglobal(L, "same");
  lua_insert(L, -3);
  lua_call(L, 2, 1);
  assert_true(lua_toboolean(L, -1));
  lua_pop(L, 1);
}

static const char *queue_name(lua_State *L, int idx, void *ud) {
  (void)ud;
  return lua_getfield(L, idx, "name") == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
}

static int push_queue(lua_State *L, const char *name, size_t len, void *ud, struct sd_err *err) {
  if (ud) return sd_err_set(err, SD_ENOLIB, "no queue here");
  lua_getglobal(L, "queue");
  lua_pushlstring(L, name, len);
  lua_call(L, 1, 1);
  return 0;
}

static const struct lsd_codec_opts *opts(void) {
  static struct lsd_codec_opts o = {.queue_name = queue_name, .push_queue = push_queue};
  o.meta = meta;
  return &o;
}

/* Every type, every width of integers and lengths, every kind of key, and the order of keys. */
static const char everything[] =
    "local t = {list = {}, text = {}, [1.5] = 'float', [-1.5] = 'float', [1/0] = 'inf',"
    "  [-1/0] = '-inf', [true] = 'true', [false] = 'false', [-1] = 'integer', [0] = 0, [1] = 1,"
    "  [3] = 3, [math.mininteger] = 'min', [math.maxinteger] = 'max', [''] = 'empty', ['a\\0b'] = "
    "1,"
    "  ['a'] = 2, ['\\xff'] = 3, empty = {}, deep = {{{{}}}}, yes = true, no = false,"
    "  q = queue('dirs_to_walk'), qs = {queue('a'), queue('entry_batches')},"
    "  nan = string.unpack('<d', '\\0\\0\\0\\0\\0\\0\\xf8\\x7f'),"
    "  floats = {0.0, -0.0, 1.0, 0.1, -1.5, 1/0, -1/0, 5e-324, 1.7976931348623157e308, 2.0^63}}\n"
    "for bit = 0, 63 do for d = -1, 1 do"
    "  t.list[#t.list + 1] = (1 << bit) + d; t.list[#t.list + 1] = -(1 << bit) + d end end\n"
    "for _, n in ipairs {0, 1, 31, 32, 255, 256} do t.text[n] = ('x'):rep(n) end\n"
    "for _, n in ipairs {15, 16} do\n"
    "  local list, map = {}, {}\n"
    "  for i = 1, n do list[i] = i; map[-i] = i end\n"
    "  t['list' .. n], t['map' .. n] = list, map\n"
    "end\n"
    "return t";

static const char *fixture(void) {
  static char path[4096];
  const char *slash = strrchr(__FILE__, '/');
  snprintf(path, sizeof(path), "%.*s/fixtures/codec-v1.bin", slash ? (int)(slash - __FILE__) : 1,
           slash ? __FILE__ : ".");
  return path;
}

static struct sd_buf encode(lua_State *L, int idx) {
  struct sd_buf b = SD_BUF_INIT;
  struct sd_err err;
  int top = lua_gettop(L);
  assert_ok(lsd_codec_encode(L, idx, opts(), &b, &err), &err);
  assert_int_equal(lua_gettop(L), top);
  return b;
}

/* When this fails the format has changed: then it needs a new version and a fixture of its own, and
 * this one must still be read. */
static void the_stored_frame_of_format_1_is_read_and_written(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = open_lua(&m);
  struct sd_buf stored = read_file(fixture());
  struct sd_codec_meta got;
  struct sd_err err;
  assert_ok(lsd_codec_decode(L, stored.data, stored.len, opts(), &got, &err), &err);
  assert_memory_equal(&got, &meta, sizeof(meta));
  push_lua(L, everything);
  struct sd_buf b = encode(L, -1);
  assert_int_equal(b.len, stored.len);
  assert_memory_equal(b.data, stored.data, b.len);
  sd_buf_fini(&b);
  assert_same(L);
  lua_close(L);
  sd_buf_fini(&stored);
}

/* msgpack-c reads what we write: so does every other program. */
static void what_is_written_is_messagepack(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = open_lua(&m);
  push_lua(L, everything);
  struct sd_buf b = encode(L, -1);
  const uint8_t *payload;
  size_t len, end = 0;
  struct sd_err err;
  msgpack_zone zone;
  msgpack_object value;
  assert_ok(sd_codec_open(b.data, b.len, NULL, &payload, &len, &err), &err);
  assert_true(msgpack_zone_init(&zone, 1 << 16));
  assert_int_equal(msgpack_unpack((const char *)payload, len, &end, &zone, &value),
                   MSGPACK_UNPACK_SUCCESS);
  assert_int_equal(value.type, MSGPACK_OBJECT_MAP);
  msgpack_zone_destroy(&zone);
  sd_buf_fini(&b);
  lua_close(L);
}

static int decode_payload(lua_State *L, const void *p, size_t n, struct sd_err *err) {
  struct sd_buf b = seal(p, n);
  int rc = lsd_codec_decode(L, b.data, b.len, opts(), NULL, err);
  sd_buf_fini(&b);
  return rc;
}

static void what_lua_cannot_hold_is_refused(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = open_lua(&m);
  struct sd_err err;
  EACH(p, unfit) {
    if (decode_payload(L, p->bytes, p->len, &err) != SD_EFORMAT) fail_msg("%s was read", p->name);
    assert_int_equal(lua_gettop(L), 0);
  }
  EACH(p, good) {
    assert_ok(decode_payload(L, p->bytes, p->len, &err), &err);
    assert_int_equal(lua_gettop(L), 1);
    lua_settop(L, 0);
  }
  lua_close(L);
}

static void an_unknown_queue_is_the_callbacks_error(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = open_lua(&m);
  struct lsd_codec_opts o = {.push_queue = push_queue, .ud = &o};
  struct sd_err err;
  struct sd_buf b = seal("\x92\x01\xd4\x01q", 5);
  assert_int_equal(lsd_codec_decode(L, b.data, b.len, &o, NULL, &err), SD_ENOLIB);
  assert_string_equal(err.msg, "no queue here");
  assert_int_equal(lua_gettop(L), 0);
  sd_buf_fini(&b);
  lua_close(L);
}

static void an_error_leaves_the_buffer_as_it_was(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = open_lua(&m);
  struct sd_buf b = SD_BUF_INIT;
  struct sd_err err;
  assert_int_equal(sd_buf_put(&b, "before", 6), 0);
  push_lua(L, "return {a = ('x'):rep(100000), b = {c = print}}");
  assert_int_equal(lsd_codec_encode(L, -1, opts(), &b, &err), -EINVAL);
  assert_string_equal(err.msg, "value.b.c: a function cannot be stored");
  assert_int_equal(b.len, 6);
  push_lua(L, "local t = {('x'):rep(1 << 20)}; for i = 1, 7 do t = {t, t} end return t");
  assert_int_equal(lsd_codec_encode(L, -1, opts(), &b, &err), -EFBIG);
  assert_int_equal(b.len, 6);
  assert_int_equal(lua_gettop(L), 2);
  sd_buf_fini(&b);
  lua_close(L);
}

/* Memory fails at the first request, then at the second, and so on until encoding needs no more. */
static void encode_without_memory_is_an_error_value(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = open_lua(&m);
  struct sd_buf b = SD_BUF_INIT;
  struct sd_err err;
  int rc = -ENOMEM;
  long n = 0;
  push_lua(L, "return {a = {b = {1, 2, {c = 'd', e = {}}}}, q = queue('q'), f = {1.5, true}}");
  lua_gc(L, LUA_GCSTOP);
  while (rc == -ENOMEM) {
    m.fail_at = ++n;
    rc = lsd_codec_encode(L, -1, opts(), &b, &err);
    m.fail_at = 0;
    assert_true(rc == 0 || b.len == 0);
    assert_int_equal(lua_gettop(L), 1);
  }
  assert_ok(rc, &err);
  print_message("%ld requests for memory\n", n - 1);
  assert_true(n > 1);
  sd_buf_fini(&b);
  lua_close(L);
}

static int decode_in_lua(lua_State *L) {
  const struct sd_buf *b = lua_touserdata(L, 1);
  struct sd_err err;
  assert_ok(lsd_codec_decode(L, b->data, b->len, opts(), NULL, &err), &err);
  return 1;
}

static void decode_without_memory_raises(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = open_lua(&m);
  push_lua(L, "return {a = {b = {1, 2, {c = 'd', e = {}}}}, q = queue('q'), f = {1.5, true}}");
  struct sd_buf b = encode(L, -1);
  int rc = LUA_ERRMEM;
  lua_gc(L, LUA_GCSTOP);
  for (long n = 1; rc == LUA_ERRMEM; n++) {
    lua_settop(L, 1);
    lua_pushcfunction(L, decode_in_lua);
    lua_pushlightuserdata(L, &b);
    m.fail_at = n;
    rc = lua_pcall(L, 1, 1, 0);
    m.fail_at = 0;
  }
  assert_int_equal(rc, LUA_OK);
  assert_same(L);
  sd_buf_fini(&b);
  lua_close(L);
}

static size_t decode_peak(const struct sd_buf *payload) {
  struct memory m;
  lua_State *L = open_lua(&m);
  struct sd_err err;
  lua_gc(L, LUA_GCCOLLECT);
  size_t before = m.peak = m.used;
  int rc = decode_payload(L, payload->data, payload->len, &err);
  assert_true(rc == 0 || rc == SD_EFORMAT);
  size_t peak = m.peak - before;
  lua_close(L);
  return peak;
}

/* The worst that a payload of a given size can ask for: an empty table for each byte. */
static void memory_is_bounded_by_the_size_of_the_payload(void **state) {
  static const struct {
    const char *what, *head, *item;
    size_t head_len, item_len;
    unsigned items; /* that the head counts for each of ours */
  } shapes[] = {
      {"empty tables", "\xdd", "\x80", 1, 1, 1},
      {"small integers", "\xdd", "\x01", 1, 1, 1},
      {"one key again and again", "\xdf", "\x01\x01", 1, 2, 1},
      {"tables of one", "\xdd", "\x81\x01\x01", 1, 3, 1},
      {"a nil at the end", "\xdd", "\xc0", 1, 1, 1},
      {"floats as keys", "\xdf", "\xca\x3f\xc0\x00\x00\x01", 1, 6, 1},
  };
  enum { SIZE = 1 << 20 };
  (void)state;
  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    struct sd_buf p = SD_BUF_INIT;
    uint32_t n = SIZE / (uint32_t)shapes[i].item_len;
    uint8_t count[] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    sd_buf_put(&p, shapes[i].head, shapes[i].head_len);
    sd_buf_put(&p, count, sizeof(count));
    while (n--) sd_buf_put(&p, shapes[i].item, shapes[i].item_len);
    size_t peak = decode_peak(&p);
    print_message("%s: %.1f bytes a byte\n", shapes[i].what, (double)peak / (double)p.len);
    assert_true(peak < 100 * p.len);
    sd_buf_fini(&p);
  }
}

/* ---- the seeds of the fuzzer ---- */

static void write_seed(const char *dir, const char *group, const char *name, const void *p,
                       size_t n) {
  char path[4096];
  snprintf(path, sizeof(path), "%s/%s%s", dir, group, name);
  put_file(path, p, n);
}

static void write_sealed(const char *dir, const char *group, const struct payload *p) {
  struct sd_buf b = seal(p->bytes, p->len);
  write_seed(dir, group, p->name, b.data, b.len);
  sd_buf_fini(&b);
}

static int write_corpus(const char *dir) {
  EACH(p, good) write_sealed(dir, "good-", p);
  EACH(p, bad) write_sealed(dir, "bad-", p);
  write_seed(dir, "bad-", "later-format", "SDLC\x02\0\0\0", 8);
  if (access(fixture(), F_OK) == 0) return 0; /* a golden file is written once */
  struct memory m;
  lua_State *L = open_lua(&m);
  push_lua(L, everything);
  struct sd_buf b = encode(L, -1);
  put_file(fixture(), b.data, b.len);
  sd_buf_fini(&b);
  lua_close(L);
  return 0;
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_frame_gives_back_what_was_put_in),
      cmocka_unit_test(a_frame_goes_behind_what_the_buffer_holds),
      cmocka_unit_test(a_payload_too_large_is_not_sealed),
      cmocka_unit_test(every_flipped_bit_is_refused),
      cmocka_unit_test(a_frame_that_is_cut_or_longer_is_refused),
      cmocka_unit_test(a_later_format_is_named_as_such),
      cmocka_unit_test(a_name_of_the_longest_length_is_kept),
      cmocka_unit_test(every_type_of_messagepack_is_accepted),
      cmocka_unit_test(a_payload_that_is_cut_or_longer_is_refused),
      cmocka_unit_test(what_is_not_messagepack_is_refused),
      cmocka_unit_test(nesting_is_bounded),
      cmocka_unit_test(what_is_accepted_is_messagepack),
      cmocka_unit_test(the_stored_frame_of_format_1_is_read_and_written),
      cmocka_unit_test(what_is_written_is_messagepack),
      cmocka_unit_test(what_lua_cannot_hold_is_refused),
      cmocka_unit_test(an_unknown_queue_is_the_callbacks_error),
      cmocka_unit_test(an_error_leaves_the_buffer_as_it_was),
      cmocka_unit_test(encode_without_memory_is_an_error_value),
      cmocka_unit_test(decode_without_memory_raises),
      cmocka_unit_test(memory_is_bounded_by_the_size_of_the_payload),
  };
  if (argc == 3 && strcmp(argv[1], "corpus") == 0) return write_corpus(argv[2]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
