#include "engine/gather.h"

enum { HEAD = 12 }; /* in front of a pack: id i64, length u32 */

void sd_gather_fini(struct sd_gather *g) {
  sd_pack_fini(&g->pack);
}

void sd_gather_begin(struct sd_gather *g) {
  g->next = 0;
}

static int put_pack(struct sd_batch *b, int64_t id, const struct sd_buf *pack) {
  int rc = sd_buf_put_u64(&b->packs, (uint64_t)id);
  if (!rc) rc = sd_buf_put_u32(&b->packs, (uint32_t)pack->len);
  return rc ? rc : sd_buf_put(&b->packs, pack->data, pack->len);
}

int sd_gather_add(struct sd_gather *g, struct sd_batch *b, const struct sd_entry *e) {
  bool first = e->id % SD_PACK_IDS == 0;
  if (!first && e->id != g->next) return 0;
  if (first) sd_pack_begin(&g->pack);
  g->next = e->id + 1;
  int rc = sd_pack_add(&g->pack, e->id, e->parent_id, e->st.kind, e->name, e->name_len);
  if (rc || g->next % SD_PACK_IDS) return rc;
  g->next = 0;
  rc = sd_pack_end(&g->pack);
  return rc ? rc : put_pack(b, e->id / SD_PACK_IDS, &g->pack.out);
}

bool sd_gather_next(const struct sd_batch *b, size_t *at, struct sd_gathered *out) {
  if (*at >= b->packs.len) return false;
  out->id = (int64_t)sd_get_u64(b->packs.data + *at);
  out->len = sd_get_u32(b->packs.data + *at + 8);
  out->data = b->packs.data + *at + HEAD;
  *at += HEAD + out->len;
  return true;
}
