/* totals.h - differences of directory totals, gathered by directory.
 * Owner:  the caller owns the map. Thread: one at a time. Errors: 0 or -ENOMEM. */
#ifndef SD_ENGINE_TOTALS_H
#define SD_ENGINE_TOTALS_H

#include <stddef.h>

#include "engine/entry.h"

struct sd_new_dir;

struct sd_totals_slot {
  int64_t id; /* 0: free */
  int64_t parent_id;
  int64_t location_id;           /* with `made` */
  const struct sd_new_dir *made; /* the row is still to be inserted; NULL: it is there */
  struct sd_totals delta;
  uint32_t depth;
  uint8_t state; /* of the climb to the root; see store_totals.c */
  bool listed;
  bool gone; /* the row is removed: `delta` takes off what it had too much for hard links, whatever
                becomes of that below it */
};

struct sd_totals_map {
  struct sd_totals_slot *slots;
  size_t len, cap; /* cap is a power of two, or 0 */
};

void sd_totals_map_fini(struct sd_totals_map *m);
void sd_totals_map_clear(struct sd_totals_map *m);

/* The slot of directory `id` (not 0), made if it is not there; valid until the next call. */
struct sd_totals_slot *sd_totals_map_put(struct sd_totals_map *m, int64_t id);
struct sd_totals_slot *sd_totals_map_get(const struct sd_totals_map *m, int64_t id);

#endif
