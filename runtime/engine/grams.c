#include "engine/grams.h"

#include <string.h>

static unsigned lower(unsigned char c) {
  return (unsigned)(c - 'A') < 26 ? c + 32u : c;
}

/* Frozen: rows and masks are stored. */
static struct sd_gram place_of(uint32_t gram) {
  uint32_t hash = gram * UINT32_C(0x9e3779b1);
  return (struct sd_gram){.row = hash >> 20, .mask = hash >> 13};
}

void sd_grams_add(struct sd_grams *g, unsigned nth, const char *text, size_t n) {
  uint64_t bit = UINT64_C(1) << nth % 64;
  uint16_t part = (uint16_t)(1u << nth / SD_MASK_PACKS);
  uint32_t gram = 0;
  unsigned since = 0; /* bytes since the last zero */
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)text[i];
    gram = (gram << 8 | lower(c)) & 0xffffff;
    since = c ? since + 1 : 0;
    if (since < 3) continue;
    struct sd_gram place = place_of(gram);
    g->rows[place.row][nth / 64] |= bit;
    g->masks[place.mask] |= part;
  }
}

unsigned sd_grams_of(const char *needle, size_t n, struct sd_gram *out, unsigned most) {
  if (n < 3) return 0;
  size_t all = n - 2, count = all < most ? all : most;
  for (size_t i = 0; i < count; i++) {
    const unsigned char *p =
        (const unsigned char *)needle + (count > 1 ? i * (all - 1) / (count - 1) : 0);
    out[i] = place_of(lower(p[0]) << 16 | lower(p[1]) << 8 | lower(p[2]));
  }
  return (unsigned)count;
}
