#include "engine/gather.h"

void sd_gather_fini(struct sd_gather *g) {
  sd_pack_fini(&g->pack);
}

void sd_gather_begin(struct sd_gather *g) {
  g->next = 0;
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
  return rc ? rc : sd_pack_keep(&b->packs, e->id / SD_PACK_IDS, &g->pack);
}
