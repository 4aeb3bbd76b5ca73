/* uuid.h - identifiers of RFC 9562.
 * Owner:  plain values. Thread: a generator belongs to one thread at a time. Errors: none. */
#ifndef SD_BASE_UUID_H
#define SD_BASE_UUID_H

#include <stdint.h>

enum { SD_UUID_LEN = 16, SD_UUID_TEXT = 36 };

/* Seeded from getrandom(2) on first use; xoshiro256** afterwards, since an identifier is no secret.
 * */
struct sd_uuid_gen {
  uint64_t s[4]; /* all zero: not seeded */
};

/* Version 7: `ms` since 1970 in the upper 48 bits, random below. */
void sd_uuid_v7(struct sd_uuid_gen *g, uint64_t ms, uint8_t out[SD_UUID_LEN]);

/* Version 8: 122 bits of a 128-bit hash, so that equal bytes have equal identifiers everywhere. */
void sd_uuid_from_hash(const uint8_t hash[16], uint8_t out[SD_UUID_LEN]);

/* 8-4-4-4-12 lower-case hexadecimal digits and a NUL. */
void sd_uuid_format(const uint8_t uuid[SD_UUID_LEN], char out[SD_UUID_TEXT + 1]);

#endif
