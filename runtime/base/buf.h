/* buf.h - a byte buffer that grows.
 * Owner:  the caller owns the struct; sd_buf_fini() releases the bytes.
 * Thread: one thread at a time.
 * Errors: 0, or -ENOMEM with the content unchanged. */
#ifndef SD_BASE_BUF_H
#define SD_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct sd_buf {
  uint8_t *data; /* NULL while nothing was stored */
  size_t len, cap;
};

#define SD_BUF_INIT \
  { NULL, 0, 0 }

void sd_buf_fini(struct sd_buf *b);
int sd_buf_reserve(struct sd_buf *b, size_t more);
int sd_buf_put(struct sd_buf *b, const void *p, size_t n);

/* Fixed-width little-endian fields, as everything that is stored has them. */
int sd_buf_put_u32(struct sd_buf *b, uint32_t v);
int sd_buf_put_u64(struct sd_buf *b, uint64_t v);

static inline uint32_t sd_get_u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t sd_get_u64(const uint8_t *p) {
  return (uint64_t)sd_get_u32(p) | (uint64_t)sd_get_u32(p + 4) << 32;
}

#endif
