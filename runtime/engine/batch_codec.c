/* A batch as bytes: magic "SDBT", u16 version, u16 zero, sections, u64 XXH3 of all before it.
 * Numbers are little-endian and of fixed width; strings are u32 length and bytes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/array.h"
#include "base/utf8.h"
#include "engine/batch.h"

enum { MAGIC = 0x54424453, VERSION = 3, HEAD = 8, SUM = 8 };

/* ---- writing ---- */

/* One sticky error instead of a check per field. */
struct out {
  struct sd_buf *buf;
  int rc;
};

static void put64(struct out *o, uint64_t v) {
  if (!o->rc) o->rc = sd_buf_put_u64(o->buf, v);
}

static void put32(struct out *o, uint32_t v) {
  if (!o->rc) o->rc = sd_buf_put_u32(o->buf, v);
}

static void put_bytes(struct out *o, const char *p, size_t n) {
  put32(o, p ? (uint32_t)n : UINT32_MAX);
  if (!o->rc && p) o->rc = sd_buf_put(o->buf, p, n);
}

static void put_stat(struct out *o, const struct sd_stat *s) {
  const int64_t wide[] = {s->size,  s->allocated,    s->mtime,       s->ctime,
                          s->btime, (int64_t)s->dev, (int64_t)s->ino};
  for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) put64(o, (uint64_t)wide[i]);
  put32(o, s->mode);
  put32(o, s->uid);
  put32(o, s->gid);
  put32(o, s->nlink);
  put32(o, (uint32_t)s->kind | (uint32_t)s->flags << 8);
}

static void put_totals(struct out *o, const struct sd_totals *t) {
  const int64_t all[] = {t->files, t->dirs, t->symlinks, t->file_bytes, t->bytes, t->allocated};
  for (size_t i = 0; i < 6; i++) put64(o, (uint64_t)all[i]);
}

static void put_entry(struct out *o, const struct sd_entry *e) {
  put64(o, (uint64_t)e->id);
  put64(o, (uint64_t)e->parent_id);
  put32(o, (uint32_t)e->change | (uint32_t)e->again << 8);
  put_stat(o, &e->st);
  put_bytes(o, e->name, e->name_len);
  put_bytes(o, e->target, e->target_len);
  if (!o->rc) o->rc = sd_buf_put(o->buf, e->uuid, sizeof(e->uuid));
}

static void put_gone(struct out *o, const struct sd_gone *g) {
  put64(o, (uint64_t)g->id);
  put64(o, (uint64_t)g->parent_id);
  put32(o, g->replaced);
  put_bytes(o, g->name, g->name_len);
}

static void put_notes(struct out *o, const struct sd_note *notes, size_t n) {
  put32(o, (uint32_t)n);
  for (size_t i = 0; i < n; i++) {
    put32(o, notes[i].op);
    put32(o, (uint32_t)notes[i].code);
    put_bytes(o, notes[i].path, notes[i].path_len);
    put_bytes(o, notes[i].reason, strlen(notes[i].reason));
  }
}

static void put_skipped(struct out *o, const uint64_t *skipped) {
  uint32_t n = 0;
  for (size_t i = 0; i < SD_RULE_COUNT; i++) n += skipped[i] != 0;
  put32(o, n);
  for (uint32_t i = 0; i < SD_RULE_COUNT; i++) {
    if (!skipped[i]) continue;
    put32(o, i);
    put64(o, skipped[i]);
  }
}

int sd_batch_encode(const struct sd_batch *b, struct sd_buf *buf) {
  struct out o = {.buf = buf};
  size_t start = buf->len;
  put32(&o, MAGIC);
  put32(&o, VERSION);
  put_totals(&o, &b->seen);
  put64(&o, b->listed);
  put64(&o, (uint64_t)b->root_id);
  put_stat(&o, &b->root);
  put32(&o, (uint32_t)b->entries_len);
  for (size_t i = 0; i < b->entries_len; i++) put_entry(&o, &b->entries[i]);
  put32(&o, (uint32_t)b->dirs_len);
  for (size_t i = 0; i < b->dirs_len; i++) {
    put64(&o, (uint64_t)b->dirs[i].id);
    put64(&o, (uint64_t)b->dirs[i].anchor);
    put_bytes(&o, b->dirs[i].segment, b->dirs[i].segment_len);
  }
  put32(&o, (uint32_t)b->deltas_len);
  for (size_t i = 0; i < b->deltas_len; i++) {
    put64(&o, (uint64_t)b->deltas[i].id);
    put64(&o, (uint64_t)b->deltas[i].parent_id);
    put32(&o, b->deltas[i].listed);
    put_totals(&o, &b->deltas[i].delta);
  }
  put32(&o, (uint32_t)b->vanished_len);
  for (size_t i = 0; i < b->vanished_len; i++) put_gone(&o, &b->vanished[i]);
  put32(&o, (uint32_t)b->readable_len);
  for (size_t i = 0; i < b->readable_len; i++) {
    put64(&o, (uint64_t)b->readable[i].id);
    put32(&o, b->readable[i].unread);
  }
  put32(&o, (uint32_t)b->devices_len);
  for (size_t i = 0; i < b->devices_len; i++) {
    put64(&o, (uint64_t)b->devices[i].id);
    put64(&o, b->devices[i].st_dev);
  }
  put_notes(&o, b->errors, b->errors_len);
  put_notes(&o, b->skips, b->skips_len);
  put_skipped(&o, b->skipped);
  if (!o.rc) put64(&o, XXH3_64bits(buf->data + start, buf->len - start));
  return o.rc;
}

/* ---- reading ---- */

struct in {
  const uint8_t *p, *end;
  struct sd_batch *b;
  int rc; /* 0, SD_EFORMAT or -ENOMEM; once set, every read gives zero */
};

static const uint8_t *take(struct in *in, size_t n) {
  if (!in->rc && (size_t)(in->end - in->p) < n) in->rc = SD_EFORMAT;
  if (in->rc) return NULL;
  const uint8_t *p = in->p;
  in->p += n;
  return p;
}

static uint64_t get64(struct in *in) {
  const uint8_t *p = take(in, 8);
  return p ? sd_get_u64(p) : 0;
}

static uint32_t get32(struct in *in) {
  const uint8_t *p = take(in, 4);
  return p ? sd_get_u32(p) : 0;
}

static const char *get_bytes(struct in *in, uint32_t *len) {
  uint32_t n = get32(in);
  *len = 0;
  if (in->rc || n == UINT32_MAX) return NULL;
  const uint8_t *p = take(in, n);
  char *copy = p ? sd_arena_copy(&in->b->arena, p, n) : NULL;
  if (p && !copy) in->rc = -ENOMEM;
  if (copy) *len = n;
  return copy;
}

static void get_stat(struct in *in, struct sd_stat *s) {
  s->size = (int64_t)get64(in);
  s->allocated = (int64_t)get64(in);
  s->mtime = (int64_t)get64(in);
  s->ctime = (int64_t)get64(in);
  s->btime = (int64_t)get64(in);
  s->dev = get64(in);
  s->ino = get64(in);
  s->mode = get32(in);
  s->uid = get32(in);
  s->gid = get32(in);
  s->nlink = get32(in);
  uint32_t bits = get32(in);
  s->kind = (uint8_t)bits;
  s->flags = (uint8_t)(bits >> 8);
}

static void get_totals(struct in *in, struct sd_totals *t) {
  t->files = (int64_t)get64(in);
  t->dirs = (int64_t)get64(in);
  t->symlinks = (int64_t)get64(in);
  t->file_bytes = (int64_t)get64(in);
  t->bytes = (int64_t)get64(in);
  t->allocated = (int64_t)get64(in);
}

static bool is_name(const char *s, size_t n) {
  return !memchr(s, 0, n) && !memchr(s, '/', n);
}

static void get_entry(struct in *in, struct sd_entry *e) {
  uint32_t n;
  memset(e, 0, sizeof(*e));
  e->id = (int64_t)get64(in);
  e->parent_id = (int64_t)get64(in);
  uint32_t change = get32(in);
  e->change = (uint8_t)change;
  e->again = change >> 8 & 1;
  get_stat(in, &e->st);
  e->name = get_bytes(in, &n);
  e->name_len = (uint16_t)n;
  e->target = get_bytes(in, &e->target_len);
  const uint8_t *uuid = take(in, sizeof(e->uuid));
  if (uuid) memcpy(e->uuid, uuid, sizeof(e->uuid));
  if (in->rc) return;
  if (!e->name || n > UINT16_MAX || e->change > SD_CHANGE_MOVE || !is_name(e->name, n)) {
    in->rc = SD_EFORMAT;
    return;
  }
  sd_batch_count(in->b, e);
  e->name_text = sd_utf8_valid(e->name, e->name_len);
  e->target_text = e->target && sd_utf8_valid(e->target, e->target_len);
}

static void get_gone(struct in *in, struct sd_gone *g) {
  uint32_t n;
  g->id = (int64_t)get64(in);
  g->parent_id = (int64_t)get64(in);
  g->replaced = get32(in) != 0;
  g->name = get_bytes(in, &n);
  g->name_len = (uint16_t)n;
  if (in->rc) return;
  if (!g->name || n > UINT16_MAX || !is_name(g->name, n)) in->rc = SD_EFORMAT;
  else g->name_text = sd_utf8_valid(g->name, n);
}

/* Reads the count of an array and makes room for it as the bytes come, not as the count says. */
#define EACH(in, name, item)                               \
  for (uint32_t n_ = get32(in); !(in)->rc && n_; n_--)     \
    if (!SD_ARRAY_ROOM((in)->b, name)) (in)->rc = -ENOMEM; \
    else if ((item = &(in)->b->name[(in)->b->name##_len++], memset(item, 0, sizeof(*item)), 1))

static void get_note(struct in *in, struct sd_note *note) {
  uint32_t n;
  note->op = (uint8_t)get32(in);
  note->code = (int)get32(in);
  note->path = get_bytes(in, &note->path_len);
  note->reason = get_bytes(in, &n);
  if (!in->rc && (!note->path || !note->reason)) in->rc = SD_EFORMAT;
}

static void get_skipped(struct in *in) {
  for (uint32_t n = get32(in); !in->rc && n; n--) {
    uint32_t rule = get32(in);
    uint64_t count = get64(in);
    if (rule < SD_RULE_COUNT) in->b->skipped[rule] = count;
    else if (!in->rc) in->rc = SD_EFORMAT;
  }
}

static void get_all(struct in *in) {
  struct sd_entry *e;
  struct sd_new_dir *d;
  struct sd_dir_delta *t;
  struct sd_note *note;
  struct sd_gone *gone;
  struct sd_readable *readable;
  struct sd_device *device;
  get_totals(in, &in->b->seen);
  in->b->listed = get64(in);
  in->b->root_id = (int64_t)get64(in);
  get_stat(in, &in->b->root);
  EACH(in, entries, e) get_entry(in, e);
  EACH(in, dirs, d) {
    d->id = (int64_t)get64(in);
    d->anchor = (int64_t)get64(in);
    d->segment = get_bytes(in, &d->segment_len);
    if (!in->rc && !d->segment) in->rc = SD_EFORMAT;
  }
  EACH(in, deltas, t) {
    t->id = (int64_t)get64(in);
    t->parent_id = (int64_t)get64(in);
    t->listed = get32(in) != 0;
    get_totals(in, &t->delta);
  }
  EACH(in, vanished, gone) get_gone(in, gone);
  EACH(in, readable, readable) {
    readable->id = (int64_t)get64(in);
    readable->unread = (uint8_t)get32(in);
  }
  EACH(in, devices, device) {
    device->id = (int64_t)get64(in);
    device->st_dev = get64(in);
  }
  EACH(in, errors, note) get_note(in, note);
  EACH(in, skips, note) get_note(in, note);
  get_skipped(in);
  if (!in->rc && in->p != in->end) in->rc = SD_EFORMAT;
}

int sd_batch_decode(const void *data, size_t len, struct sd_batch **out, struct sd_err *err) {
  const uint8_t *p = data;
  if (len < HEAD + SUM || sd_get_u32(p) != MAGIC)
    return sd_err_set(err, SD_EFORMAT, "a stored batch is damaged");
  if (sd_get_u64(p + len - SUM) != XXH3_64bits(p, len - SUM))
    return sd_err_set(err, SD_EFORMAT, "a stored batch is damaged: wrong checksum");
  uint32_t version = sd_get_u32(p + 4);
  if (version != VERSION)
    return sd_err_set(err, SD_ENEWER, "a stored batch has format %u, this sdlua knows %d", version,
                      VERSION);
  struct in in = {.p = p + HEAD, .end = p + len - SUM, .b = sd_batch_new()};
  if (!in.b) return sd_err_nomem(err);
  get_all(&in);
  if (in.rc) {
    sd_batch_free(in.b);
    return in.rc == -ENOMEM ? sd_err_nomem(err)
                            : sd_err_set(err, in.rc, "a stored batch is damaged");
  }
  *out = in.b;
  return 0;
}
