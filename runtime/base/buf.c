#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void sd_buf_fini(struct sd_buf *b) {
  free(b->data);
  *b = (struct sd_buf)SD_BUF_INIT;
}

int sd_buf_reserve(struct sd_buf *b, size_t more) {
  if (b->cap - b->len >= more) return 0;
  if (more > SIZE_MAX / 2 - b->len) return -ENOMEM;
  size_t cap = b->cap ? b->cap : 256;
  while (cap < b->len + more) cap *= 2;
  uint8_t *p = realloc(b->data, cap);
  if (!p) return -ENOMEM;
  b->data = p;
  b->cap = cap;
  return 0;
}

int sd_buf_put(struct sd_buf *b, const void *p, size_t n) {
  if (sd_buf_reserve(b, n)) return -ENOMEM;
  if (n) memcpy(b->data + b->len, p, n);
  b->len += n;
  return 0;
}

int sd_buf_put_u32(struct sd_buf *b, uint32_t v) {
  uint8_t p[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
  return sd_buf_put(b, p, sizeof(p));
}

int sd_buf_put_u64(struct sd_buf *b, uint64_t v) {
  int rc = sd_buf_put_u32(b, (uint32_t)v);
  return rc ? rc : sd_buf_put_u32(b, (uint32_t)(v >> 32));
}
