#include "engine/totals.h"

#include <stdlib.h>
#include <string.h>

void sd_totals_map_fini(struct sd_totals_map *m) {
  free(m->slots);
  memset(m, 0, sizeof(*m));
}

void sd_totals_map_clear(struct sd_totals_map *m) {
  if (m->len) memset(m->slots, 0, m->cap * sizeof(*m->slots));
  m->len = 0;
}

static size_t place(const struct sd_totals_map *m, int64_t id) {
  /* Fibonacci hashing (Knuth 6.4): ids are consecutive numbers. */
  size_t i = (size_t)(((uint64_t)id * 0x9e3779b97f4a7c15u) >> 20) & (m->cap - 1);
  while (m->slots[i].id && m->slots[i].id != id) i = (i + 1) & (m->cap - 1);
  return i;
}

static bool grow(struct sd_totals_map *m) {
  struct sd_totals_map wide = {.len = m->len, .cap = m->cap ? m->cap * 2 : 256};
  wide.slots = calloc(wide.cap, sizeof(*wide.slots));
  if (!wide.slots) return false;
  for (size_t i = 0; i < m->cap; i++)
    if (m->slots[i].id) wide.slots[place(&wide, m->slots[i].id)] = m->slots[i];
  free(m->slots);
  *m = wide;
  return true;
}

struct sd_totals_slot *sd_totals_map_put(struct sd_totals_map *m, int64_t id) {
  if (m->len * 4 >= m->cap * 3 && !grow(m)) return NULL;
  struct sd_totals_slot *slot = &m->slots[place(m, id)];
  if (!slot->id) {
    slot->id = id;
    m->len++;
  }
  return slot;
}

struct sd_totals_slot *sd_totals_map_get(const struct sd_totals_map *m, int64_t id) {
  if (!m->cap) return NULL;
  struct sd_totals_slot *slot = &m->slots[place(m, id)];
  return slot->id ? slot : NULL;
}
