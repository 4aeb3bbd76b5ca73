#include "engine/pack.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

enum { AT_IDS = 8, AT_RUNS_LEN = 16, AT_RUNS = 17, RUN = 9 };
enum { KEPT_HEAD = 12 }; /* in front of a pack that is kept: id i64, length u32 */

static const uint64_t MAGIC = UINT64_C(0x314e4453) << 32; /* "SDN1" */

static uint64_t checksum(const uint8_t *p, size_t n) {
  return MAGIC | (XXH3_64bits(p, n) & UINT32_MAX);
}

/* ---- building ---- */

void sd_pack_begin(struct sd_pack_builder *b) {
  b->runs.len = b->kinds.len = b->text.len = b->out.len = 0;
  b->ids = 0;
  b->runs_len = 0;
}

void sd_pack_fini(struct sd_pack_builder *b) {
  sd_buf_fini(&b->runs);
  sd_buf_fini(&b->kinds);
  sd_buf_fini(&b->text);
  sd_buf_fini(&b->out);
}

static int begin_run(struct sd_pack_builder *b, int64_t parent_id) {
  const uint8_t first = (uint8_t)b->kinds.len;
  if (b->runs_len && parent_id == b->last_parent) return 0;
  b->last_parent = parent_id;
  b->runs_len++;
  int rc = sd_buf_put_u64(&b->runs, (uint64_t)parent_id);
  return rc ? rc : sd_buf_put(&b->runs, &first, 1);
}

int sd_pack_add(struct sd_pack_builder *b, int64_t id, int64_t parent_id, uint8_t kind,
                const char *name, size_t len) {
  int rc = b->text.len ? 0 : sd_buf_put(&b->text, "", 1);
  b->ids |= UINT64_C(1) << (id & (SD_PACK_IDS - 1));
  if (!rc) rc = begin_run(b, parent_id);
  if (!rc) rc = sd_buf_put(&b->kinds, &kind, 1);
  if (!rc) rc = sd_buf_put(&b->text, name, len);
  return rc ? rc : sd_buf_put(&b->text, "", 1);
}

int sd_pack_end(struct sd_pack_builder *b) {
  struct sd_buf *o = &b->out;
  const uint8_t runs = (uint8_t)b->runs_len;
  int rc = sd_buf_put_u64(o, 0);
  if (!rc) rc = sd_buf_put_u64(o, b->ids);
  if (!rc) rc = sd_buf_put(o, &runs, 1);
  if (!rc) rc = sd_buf_put(o, b->runs.data, b->runs.len);
  if (!rc) rc = sd_buf_put(o, b->kinds.data, b->kinds.len);
  if (!rc) rc = sd_buf_put(o, b->text.data, b->text.len);
  if (rc) return rc;
  size_t n = o->len;
  o->len = 0;
  sd_buf_put_u64(o, checksum(o->data + AT_IDS, n - AT_IDS));
  o->len = n;
  return 0;
}

int sd_pack_keep(struct sd_buf *packs, int64_t id, const struct sd_pack_builder *b) {
  int rc = sd_buf_put_u64(packs, (uint64_t)id);
  if (!rc) rc = sd_buf_put_u32(packs, (uint32_t)b->out.len);
  return rc ? rc : sd_buf_put(packs, b->out.data, b->out.len);
}

bool sd_pack_next(const struct sd_buf *packs, size_t *at, struct sd_kept_pack *out) {
  if (*at >= packs->len) return false;
  out->id = (int64_t)sd_get_u64(packs->data + *at);
  out->len = sd_get_u32(packs->data + *at + 8);
  out->data = packs->data + *at + KEPT_HEAD;
  *at += KEPT_HEAD + out->len;
  return true;
}

/* ---- reading ---- */

static int check_runs(const struct sd_pack *p, unsigned count) {
  if ((p->runs_len == 0) != (count == 0)) return SD_EFORMAT;
  for (unsigned i = 0; i < p->runs_len; i++) {
    unsigned first = p->runs[i * RUN + 8];
    unsigned last = i ? p->runs[(i - 1) * RUN + 8] : 0;
    if (i == 0 ? first != 0 : first <= last || first >= count) return SD_EFORMAT;
  }
  return 0;
}

int sd_pack_open(const void *bytes, size_t n, struct sd_pack *p) {
  const uint8_t *b = bytes;
  if (n < AT_RUNS || sd_get_u64(b) != checksum(b + AT_IDS, n - AT_IDS)) return SD_EFORMAT;
  *p = (struct sd_pack){.ids = sd_get_u64(b + AT_IDS), .runs_len = b[AT_RUNS_LEN]};
  unsigned count = (unsigned)__builtin_popcountll(p->ids);
  size_t kinds = AT_RUNS + (size_t)RUN * p->runs_len, text = kinds + count;
  if (text > n) return SD_EFORMAT;
  p->runs = b + AT_RUNS;
  p->kinds = b + kinds;
  p->text = (const char *)b + text;
  p->text_len = n - text;
  if (p->text_len ? p->text_len < 2 || p->text[0] || p->text[p->text_len - 1] : count != 0)
    return SD_EFORMAT;
  return check_runs(p, count);
}

/* The run that holds entry number `n`. */
static unsigned run_of(const struct sd_pack *p, unsigned n) {
  unsigned i = p->runs_len - 1;
  while (i > 0 && p->runs[i * RUN + 8] > n) i--;
  return i;
}

struct sd_packed sd_pack_entry(const struct sd_pack *p, unsigned nth) {
  uint64_t ids = p->ids;
  for (unsigned i = 0; i < nth; i++) ids &= ids - 1;
  if (!ids) return (struct sd_packed){0}; /* more names than ids: a checksum does not see it */
  return (struct sd_packed){
      .offset = (unsigned)__builtin_ctzll(ids),
      .parent_id = (int64_t)sd_get_u64(p->runs + (size_t)run_of(p, nth) * RUN),
      .kind = p->kinds[nth],
  };
}
