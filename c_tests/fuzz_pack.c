/* Packs of names: whatever bytes a library holds, reading them ends, and stays within them. */
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

#include "engine/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Walks over all names as a search does. */
static void walk(const struct sd_pack *p) {
  unsigned nth = 0;
  for (size_t at = 1; at < p->text_len; nth++) {
    const char *stop = memchr(p->text + at, 0, p->text_len - at);
    sd_pack_entry(p, nth);
    at = (size_t)(stop - p->text) + 1;
  }
}

/* With a right checksum, so that what lies behind it is reached. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct sd_pack p;
  uint8_t bytes[4096];
  if (sd_pack_open(data, size, &p) == 0) walk(&p);
  if (size < 8 || size > sizeof(bytes)) return 0;
  memcpy(bytes, data, size);
  uint64_t sum = XXH3_64bits(bytes + 8, size - 8);
  for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(sum >> 8 * i);
  memcpy(bytes + 4, "SDN1", 4);
  if (sd_pack_open(bytes, size, &p) == 0) walk(&p);
  return 0;
}
