#include "base/array.h"

#include <stdint.h>
#include <stdlib.h>

bool sd_array_room(void **items, size_t *cap, size_t len, size_t size) {
  if (len < *cap) return true;
  size_t want = *cap ? *cap * 2 : 16;
  if (want > SIZE_MAX / 2 / size) return false;
  void *p = realloc(*items, want * size);
  if (!p) return false;
  *items = p;
  *cap = want;
  return true;
}
