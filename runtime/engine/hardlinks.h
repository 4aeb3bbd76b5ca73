/* hardlinks.h - what a directory's totals count twice: files with several names in it.
 * Owner:  plain values. Thread: as the store. Errors: 0 or a negative code with *err filled. */
#ifndef SD_ENGINE_HARDLINKS_H
#define SD_ENGINE_HARDLINKS_H

#include <stdint.h>

#include "engine/store.h"

/* To be taken off: each name but one of each inode. */
struct sd_hardlinks {
  int64_t names, bytes, allocated;
};

/* For all that is below directory `id`. The time follows the number of names below it, or that of
 * all hard links of the library, whichever is less. */
int sd_hardlinks(struct sd_store *reader, int64_t id, struct sd_hardlinks *out, struct sd_err *err);

#endif
