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
  uint64_t *words = g->words[nth / 64], bit = UINT64_C(1) << nth % 64;
  uint8_t *part = g->parts[nth / SD_MASK_PACKS];
  uint32_t gram = 0;
  unsigned since = 0; /* bytes since the last zero */
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)text[i];
    gram = (gram << 8 | lower(c)) & 0xffffff;
    since = c ? since + 1 : 0;
    if (since < 3) continue;
    struct sd_gram place = place_of(gram);
    words[place.row] |= bit;
    part[place.mask / SD_MASK_OCTET] |= (uint8_t)(1u << place.mask % SD_MASK_OCTET);
  }
}

/* Turns a matrix of 8 x 8 bits, a row in each byte: Warren, Hacker's Delight, 7-3. */
static uint64_t transpose(uint64_t x) {
  uint64_t t = (x ^ (x >> 7)) & UINT64_C(0x00aa00aa00aa00aa);
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & UINT64_C(0x0000cccc0000cccc);
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & UINT64_C(0x00000000f0f0f0f0);
  return x ^ t ^ (t << 28);
}

void sd_grams_masks(const struct sd_grams *g, unsigned octet, uint16_t out[SD_MASK_OCTET]) {
  uint64_t half[2] = {0, 0};
  for (unsigned i = 0; i < SD_MASK_PARTS; i++)
    half[i / 8] |= (uint64_t)g->parts[i][octet] << i % 8 * 8;
  half[0] = transpose(half[0]);
  half[1] = transpose(half[1]);
  for (unsigned i = 0; i < SD_MASK_OCTET; i++)
    out[i] = (uint16_t)((half[0] >> i * 8 & 0xff) | (half[1] >> i * 8 & 0xff) << 8);
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
