/* grams.h - which packs of names can contain a pattern: a bit for each pack in each of 4096 rows,
 * set where the pack has a name with a trigram that belongs to the row (three bytes that follow
 * each other, letters of ASCII in lower case). A pack without all bits of a pattern's trigrams need
 * not be looked at; one that has them may still not match.
 *
 * Names have more trigrams than there are rows, so that a rare one shares its row with others. So
 * there are masks besides, of half a million trigrams: a bit for each sixteenth of a segment, set
 * where a name in it has one.
 *
 * A segment is 4096 packs. Its rows are stored as far as there are packs.
 *
 * Owner:  the caller owns the struct. Thread: one thread at a time. Errors: none. */
#ifndef SD_ENGINE_GRAMS_H
#define SD_ENGINE_GRAMS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/pack.h"

enum {
  SD_GRAM_ROWS = 4096,
  SD_GRAM_WORDS = 64, /* of a row, each of 64 packs */
  SD_GRAM_GROUP = 4,  /* rows that are stored together */
  SD_SEGMENT_PACKS = SD_GRAM_WORDS * 64,
  SD_SEGMENT_IDS = SD_SEGMENT_PACKS * SD_PACK_IDS,
  SD_GRAM_PACKS_MIN = 256, /* a segment with fewer packs has no rows: it is looked through */
  SD_MASKS = 1 << 19,
  SD_MASK_GROUP = 2048, /* masks that are stored together, two bytes each */
  SD_MASK_PARTS = 16,   /* bits of a mask */
  SD_MASK_OCTET = 8,    /* masks whose bits lie in one byte */
  SD_MASK_PACKS = SD_SEGMENT_PACKS / SD_MASK_PARTS, /* that a bit stands for */
  SD_MASK_PACKS_MIN = 1024,                         /* a segment with fewer packs has no masks */
};

/* What neighbouring packs set lies together, so that it stays in the processor's caches. */
struct sd_grams {
  uint64_t words[SD_GRAM_WORDS][SD_GRAM_ROWS];            /* of each row */
  uint8_t parts[SD_MASK_PARTS][SD_MASKS / SD_MASK_OCTET]; /* a bit for each mask */
};

/* Of a trigram: where it is looked up. */
struct sd_gram {
  unsigned row, mask;
};

/* Sets the bits of the names of a pack. `nth`: of the pack in the segment. */
void sd_grams_add(struct sd_grams *g, unsigned nth, const char *text, size_t n);

/* Eight masks that follow each other, from number 8 * `octet` on. */
void sd_grams_masks(const struct sd_grams *g, unsigned octet, uint16_t out[SD_MASK_OCTET]);

/* The trigrams of a needle, at most `most` of them, spread over it. */
unsigned sd_grams_of(const char *needle, size_t n, struct sd_gram *out, unsigned most);

#endif
