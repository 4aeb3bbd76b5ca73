#include "engine/name_gather.h"

#include <stdlib.h>

#include "engine/pack.h"
#include "engine/store_internal.h"

/* Packs that are begun at the same time: one for each thread that walks. With more, the oldest is
 * given up. */
enum { SLOTS = 64 };

struct slot {
  struct sd_pack_builder pack;
  int64_t next; /* the id that comes next; 0: the slot is free */
};

struct sd_gather {
  struct slot slots[SLOTS];
  unsigned last, oldest;
};

void sd_gather_forget(struct sd_gather *g) {
  for (unsigned i = 0; g && i < SLOTS; i++) g->slots[i].next = 0;
}

void sd_gather_free(struct sd_gather *g) {
  for (unsigned i = 0; g && i < SLOTS; i++) sd_pack_fini(&g->slots[i].pack);
  free(g);
}

/* The slot whose next id it is; NULL: a part of its pack was not seen. */
static struct slot *slot_of(struct sd_gather *g, int64_t id) {
  if (g->slots[g->last].next == id) return &g->slots[g->last];
  for (unsigned i = 0; i < SLOTS; i++)
    if (g->slots[i].next == id) return &g->slots[g->last = i];
  if (id % SD_PACK_IDS) return NULL;
  unsigned i = 0;
  while (i < SLOTS && g->slots[i].next) i++;
  if (i == SLOTS) i = g->oldest++ % SLOTS;
  sd_pack_begin(&g->slots[i].pack);
  return &g->slots[g->last = i];
}

static int put_pack(struct sd_store *s, int64_t id, const struct sd_buf *pack, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_PACK_PUT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, id);
  sqlite3_bind_blob(st, 2, pack->data, (int)pack->len, SQLITE_STATIC);
  return sd_store_run(s, st, err, "pack names");
}

static int add(struct sd_store *s, const struct sd_entry *e, struct sd_err *err) {
  struct slot *slot = slot_of(s->gather, e->id);
  if (!slot) return 0;
  slot->next = 0;
  if (sd_pack_add(&slot->pack, e->id, e->parent_id, e->st.kind, e->name, e->name_len))
    return sd_err_nomem(err);
  if ((e->id + 1) % SD_PACK_IDS) {
    slot->next = e->id + 1;
    return 0;
  }
  if (sd_pack_end(&slot->pack)) return sd_err_nomem(err);
  return put_pack(s, e->id / SD_PACK_IDS, &slot->pack.out, err);
}

int sd_gather_batch(struct sd_store *s, const struct sd_batch *b, struct sd_err *err) {
  int rc = 0;
  if (!s->gather && !(s->gather = calloc(1, sizeof(*s->gather)))) return sd_err_nomem(err);
  for (size_t i = 0; !rc && i < b->entries_len; i++)
    if (b->entries[i].change == SD_CHANGE_INSERT) rc = add(s, &b->entries[i], err);
  return rc;
}
