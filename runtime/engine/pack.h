/* pack.h - the names of up to 64 entries with ids that follow each other, as one piece of bytes.
 *
 * What a search looks through: names lie behind each other, each with a zero byte in front and one
 * behind, so that a pattern is found in all of them at once; the entry is known from the place.
 * All numbers are little-endian:
 *
 *   checksum u64     the lower half is XXH3 of all behind it, the upper half "SDN1"
 *   ids u64          a bit for each id that is there
 *   runs u8          how many
 *   runs {parent i64, first u8}   from the entry number `first` on, entries lie in this directory
 *   kinds u8         one for each entry
 *   text             "\0name\0name\0"; nothing where there is no entry
 *
 * Owner:  the builder owns its buffers; a view points into bytes that are the caller's.
 * Thread: one thread at a time.
 * Errors: 0, -ENOMEM, or SD_EFORMAT. */
#ifndef SD_ENGINE_PACK_H
#define SD_ENGINE_PACK_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"

enum { SD_PACK_IDS = 64 };

/* ---- building ---- */

struct sd_pack_builder {
  struct sd_buf runs, kinds, text, out;
  uint64_t ids;
  int64_t last_parent;
  unsigned runs_len;
};

void sd_pack_begin(struct sd_pack_builder *b); /* a zeroed struct, or a used one */
void sd_pack_fini(struct sd_pack_builder *b);

/* Entries come in the order of their ids. */
int sd_pack_add(struct sd_pack_builder *b, int64_t id, int64_t parent_id, uint8_t kind,
                const char *name, size_t len);

/* The bytes are in b->out until the next sd_pack_begin(). */
int sd_pack_end(struct sd_pack_builder *b);

/* Puts the pack behind others that are still to be written; after sd_pack_end(). */
int sd_pack_keep(struct sd_buf *packs, int64_t id, const struct sd_pack_builder *b);

/* Goes through packs that were kept: *at is 0 at first. False: there is none any more. */
struct sd_kept_pack {
  int64_t id;
  const uint8_t *data;
  size_t len;
};
bool sd_pack_next(const struct sd_buf *packs, size_t *at, struct sd_kept_pack *out);

/* ---- reading ---- */

struct sd_pack {
  uint64_t ids;
  const uint8_t *runs, *kinds;
  const char *text; /* with a zero byte at its beginning and at its end */
  size_t text_len;  /* 0: there is no entry */
  unsigned runs_len;
};

/* Checks all of it. */
int sd_pack_open(const void *p, size_t n, struct sd_pack *out);

struct sd_packed {
  unsigned offset; /* of its id in the pack */
  int64_t parent_id;
  uint8_t kind;
};

/* The entry number `nth`, from 0. */
struct sd_packed sd_pack_entry(const struct sd_pack *p, unsigned nth);

#endif
