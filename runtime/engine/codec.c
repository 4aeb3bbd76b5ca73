#include "engine/codec.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#endif

/* Offsets in a frame, up to the name; what follows has no fixed place. */
enum {
  AT_VERSION = 4,
  AT_JOB_VERSION = 8,
  AT_SCRIPT = 12,
  AT_NAME_LEN = 28,
  AT_NAME = 32,
  SUM = 8,
  FRAME_MIN = AT_NAME + 4 + SUM, /* an empty name, an empty payload */
};

static const char magic[4] = "SDLC";

static_assert(AT_SCRIPT + sizeof(((struct sd_codec_meta *)0)->script) == AT_NAME_LEN,
              "the layout of format 1");
static_assert(SD_CODEC_EXT_QUEUE == 1, "a stored number");

/* ---- writing ---- */

/* One sticky error instead of a check per field. */
struct out {
  struct sd_buf *buf;
  int rc;
};

static void put(struct out *o, const void *p, size_t n) {
  if (!o->rc) o->rc = sd_buf_put(o->buf, p, n);
}

static void put32(struct out *o, uint32_t v) {
  if (!o->rc) o->rc = sd_buf_put_u32(o->buf, v);
}

static void put_frame(struct out *o, const struct sd_codec_meta *meta, const uint8_t *payload,
                      size_t len) {
  size_t start = o->buf->len, name_len = strlen(meta->name);
  put(o, magic, sizeof(magic));
  put32(o, SD_CODEC_VERSION);
  put32(o, meta->version);
  put(o, meta->script, sizeof(meta->script));
  put32(o, (uint32_t)name_len);
  put(o, meta->name, name_len);
  put32(o, (uint32_t)len);
  put(o, payload, len);
  if (!o->rc)
    o->rc = sd_buf_put_u64(o->buf, XXH3_64bits(o->buf->data + start, o->buf->len - start));
}

int sd_codec_seal(const struct sd_codec_meta *meta, const void *payload, size_t len,
                  struct sd_buf *out, struct sd_err *err) {
  sd_verify(memchr(meta->name, 0, sizeof(meta->name)) != NULL);
  if (len > SD_CODEC_SIZE_MAX)
    return sd_err_set(err, -EFBIG, "a value of %zu bytes cannot be stored: at most %d", len,
                      SD_CODEC_SIZE_MAX);
  const uint8_t *p = payload;
  uintptr_t first = (uintptr_t)out->data, at = (uintptr_t)p;
  bool inside = p && out->data && at >= first && at < first + out->len;
  size_t offset = inside ? (size_t)(at - first) : 0;
  /* Room for all of it at once: below, nothing moves and nothing fails. */
  if (sd_buf_reserve(out, FRAME_MIN + strlen(meta->name) + len)) return sd_err_nomem(err);
  struct out o = {.buf = out};
  put_frame(&o, meta, inside ? out->data + offset : p, len);
  sd_verify(o.rc == 0);
  return 0;
}

/* ---- checking a payload ---- */

enum kind { SCALAR, BYTES, EXT, ARRAY, MAP, INVALID };

/* What stands behind the bytes 0xc0 to 0xdf: a scalar of `width` bytes, or a count of `width`
 * bytes. A fixed extension has no count but a body of `fixed` bytes. */
static const struct {
  uint8_t kind, width, fixed;
} tags[32] = {
    {SCALAR, 0, 0}, {INVALID, 0, 0}, {SCALAR, 0, 0}, {SCALAR, 0, 0}, /* nil, unused, false, true */
    {BYTES, 1, 0},  {BYTES, 2, 0},   {BYTES, 4, 0},                  /* bin */
    {EXT, 1, 0},    {EXT, 2, 0},     {EXT, 4, 0},                    /* ext */
    {SCALAR, 4, 0}, {SCALAR, 8, 0},                                  /* float */
    {SCALAR, 1, 0}, {SCALAR, 2, 0},  {SCALAR, 4, 0}, {SCALAR, 8, 0}, /* uint */
    {SCALAR, 1, 0}, {SCALAR, 2, 0},  {SCALAR, 4, 0}, {SCALAR, 8, 0}, /* int */
    {EXT, 0, 1},    {EXT, 0, 2},     {EXT, 0, 4},                    /* fixext */
    {EXT, 0, 8},    {EXT, 0, 16},                                    /* fixext */
    {BYTES, 1, 0},  {BYTES, 2, 0},   {BYTES, 4, 0},                  /* str */
    {ARRAY, 2, 0},  {ARRAY, 4, 0},                                   /* array */
    {MAP, 2, 0},    {MAP, 4, 0},                                     /* map */
};

struct in {
  const uint8_t *p, *end;
  const char *why; /* what is wrong; NULL so far */
};

struct head {
  enum kind kind;
  uint64_t n; /* bytes of the body, or values inside */
};

static const uint8_t *take(struct in *in, uint64_t n) {
  if (!in->why && (uint64_t)(in->end - in->p) < n) in->why = "it is cut off";
  if (in->why) return NULL;
  const uint8_t *p = in->p;
  in->p += n;
  return p;
}

static uint32_t take_count(struct in *in, unsigned width) {
  const uint8_t *p = take(in, width);
  uint32_t n = 0;
  for (unsigned i = 0; p && i < width; i++) n = n << 8 | p[i]; /* MessagePack is big-endian */
  return n;
}

/* The heads with their count in the first byte, and the small integers. */
static bool short_head(uint8_t tag, struct head *h) {
  if (tag >= 0xc0 && tag < 0xe0) return false;
  *h = (struct head){SCALAR, 0};
  if (tag >= 0x80 && tag < 0x90) *h = (struct head){MAP, 2 * (tag & 15u)};
  else if (tag >= 0x90 && tag < 0xa0) *h = (struct head){ARRAY, tag & 15u};
  else if (tag >= 0xa0 && tag < 0xc0) *h = (struct head){BYTES, tag & 31u};
  return true;
}

static struct head read_head(struct in *in) {
  struct head h = {INVALID, 0};
  const uint8_t *p = take(in, 1);
  if (!p || short_head(*p, &h)) return h;
  unsigned t = *p & 31u;
  h.kind = tags[t].kind;
  if (h.kind == SCALAR) h.n = tags[t].width;
  else h.n = tags[t].width ? take_count(in, tags[t].width) : tags[t].fixed;
  if (h.kind == MAP) h.n *= 2;
  return h;
}

static void skip_ext(struct in *in, uint64_t n) {
  const uint8_t *type = take(in, 1);
  if (type && *type != SD_CODEC_EXT_QUEUE) in->why = "it has an extension of unknown type";
  else if (type && !n) in->why = "it names a queue without a name";
  take(in, n);
}

/* Checks that a value begins here, and goes behind it. `left` counts what is still to come at each
 * depth: a stack of known size, so that no input makes us recurse or allocate. */
static void check_value(struct in *in) {
  uint64_t left[SD_CODEC_DEPTH_MAX + 1];
  unsigned depth = 0;
  left[0] = 1;
  for (;;) {
    while (depth && !left[depth]) depth--;
    if (!left[depth] || in->why) return;
    left[depth]--;
    struct head h = read_head(in);
    if (in->why) return;
    if (h.kind == INVALID) in->why = "it has a byte that begins nothing";
    else if (h.kind == EXT) skip_ext(in, h.n);
    else if (h.kind != ARRAY && h.kind != MAP) take(in, h.n);
    else if (h.n > (uint64_t)(in->end - in->p))
      in->why = "it is cut off"; /* a byte each at least */
    else if (depth == SD_CODEC_DEPTH_MAX) in->why = "it is nested too deep";
    else left[++depth] = h.n;
  }
}

static const char *check_payload(const uint8_t *p, size_t len) {
  struct in in = {.p = p, .end = p + len};
  check_value(&in);
  if (!in.why && in.p != in.end) in.why = "bytes follow the value";
  return in.why;
}

/* ---- reading ---- */

static int damaged(struct sd_err *err, const char *why) {
  return sd_err_set(err, SD_EFORMAT, "a stored value is damaged: %s", why);
}

/* Magic and version come first: a later format may have another layout behind them. */
static int check_format(const uint8_t *p, size_t len, struct sd_err *err) {
  if (len < AT_JOB_VERSION || memcmp(p, magic, sizeof(magic)) != 0)
    return damaged(err, "it does not begin as one");
  uint32_t version = sd_get_u32(p + AT_VERSION);
  if (version > SD_CODEC_VERSION)
    return sd_err_set(err, SD_ENEWER, "a stored value has format %u, this sdlua knows %d", version,
                      SD_CODEC_VERSION);
  return version ? 0 : damaged(err, "it has format 0");
}

/* Whether the lengths in the frame add up to its own. */
static bool find_payload(const uint8_t *p, size_t len, size_t *at, size_t *payload_len) {
  if (len < FRAME_MIN) return false;
  size_t name_len = sd_get_u32(p + AT_NAME_LEN);
  if (name_len > SD_CODEC_NAME_MAX || name_len > len - FRAME_MIN) return false;
  *at = AT_NAME + name_len + 4;
  *payload_len = sd_get_u32(p + *at - 4);
  return *payload_len <= SD_CODEC_SIZE_MAX && *payload_len == len - FRAME_MIN - name_len;
}

static void get_meta(const uint8_t *p, struct sd_codec_meta *meta) {
  memset(meta, 0, sizeof(*meta));
  meta->version = sd_get_u32(p + AT_JOB_VERSION);
  memcpy(meta->script, p + AT_SCRIPT, sizeof(meta->script));
  memcpy(meta->name, p + AT_NAME, sd_get_u32(p + AT_NAME_LEN));
}

int sd_codec_open(const void *data, size_t len, struct sd_codec_meta *meta, const uint8_t **payload,
                  size_t *payload_len, struct sd_err *err) {
  const uint8_t *p = data;
  size_t at, n;
  int rc = check_format(p, len, err);
  if (rc) return rc;
  if (!find_payload(p, len, &at, &n)) return damaged(err, "its length is not what it says");
  if (sd_get_u64(p + len - SUM) != XXH3_64bits(p, len - SUM)) return damaged(err, "wrong checksum");
  if (memchr(p + AT_NAME, 0, at - 4 - AT_NAME)) return damaged(err, "the job's name has a NUL");
  const char *why = check_payload(p + at, n);
  if (why) return damaged(err, why);
  if (meta) get_meta(p, meta);
  *payload = p + at;
  *payload_len = n;
  return 0;
}
