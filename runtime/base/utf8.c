#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the sequence at p (at most `n` of them are there), 0 where it is not well-formed. */
static size_t sequence(const unsigned char *p, size_t n) {
  unsigned char c = p[0], lo = 0x80, hi = 0xbf;
  size_t len = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
  if (len == 0 || len > n) return 0;
  if (c == 0xe0) lo = 0xa0;
  if (c == 0xed) hi = 0x9f;
  if (c == 0xf0) lo = 0x90;
  if (c == 0xf4) hi = 0x8f;
  if (p[1] < lo || p[1] > hi) return 0;
  for (size_t i = 2; i < len; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  return len;
}

bool sd_utf8_valid(const char *s, size_t n) {
  const unsigned char *p = (const unsigned char *)s, *end = p + n;
  while (p < end) {
    uint64_t word;
    if (end - p >= 8) { /* eight ASCII bytes at a time; a zero byte falls to the slow path */
      memcpy(&word, p, sizeof(word));
      uint64_t zero = (word - 0x0101010101010101u) & ~word;
      if (!((word | zero) & 0x8080808080808080u)) {
        p += 8;
        continue;
      }
    }
    if (*p == 0) return false;
    size_t len = *p < 0x80 ? 1 : sequence(p, (size_t)(end - p));
    if (!len) return false;
    p += len;
  }
  return true;
}
