/* array.h - room for one more element. Owner, thread: as the array. Errors: false when memory is
 * out. */
#ifndef SD_BASE_ARRAY_H
#define SD_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

/* `*items` has `cap` places of `size` bytes, `len` of them used; afterwards at least one more. */
bool sd_array_room(void **items, size_t *cap, size_t len, size_t size);

/* Room in the array `a->name`, whose fields are named name, name_len and name_cap. */
#define SD_ARRAY_ROOM(a, name) \
  sd_array_room((void **)&(a)->name, &(a)->name##_cap, (a)->name##_len, sizeof(*(a)->name))

#endif
