#include "base/uuid.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static uint64_t rotl(uint64_t x, int k) {
  return x << k | x >> (64 - k);
}

/* xoshiro256** 1.0, Blackman and Vigna 2018. */
static uint64_t next(uint64_t s[4]) {
  uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotl(s[3], 45);
  return result;
}

static void seed(struct sd_uuid_gen *g) {
  if (getrandom(g->s, sizeof(g->s), 0) == (ssize_t)sizeof(g->s) && (g->s[0] | g->s[1])) return;
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  g->s[0] = (uint64_t)ts.tv_nsec << 20 ^ (uint64_t)getpid();
  g->s[1] = (uint64_t)ts.tv_sec | 1;
}

static void mark(uint8_t out[SD_UUID_LEN], unsigned version) {
  out[6] = (uint8_t)((out[6] & 0x0f) | version << 4);
  out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

void sd_uuid_v7(struct sd_uuid_gen *g, uint64_t ms, uint8_t out[SD_UUID_LEN]) {
  if (!(g->s[0] | g->s[1] | g->s[2] | g->s[3])) seed(g);
  uint64_t a = next(g->s), b = next(g->s);
  for (int i = 0; i < 6; i++) out[i] = (uint8_t)(ms >> (40 - 8 * i));
  memcpy(out + 6, &a, 2);
  memcpy(out + 8, &b, 8);
  mark(out, 7);
}

void sd_uuid_from_hash(const uint8_t hash[16], uint8_t out[SD_UUID_LEN]) {
  memcpy(out, hash, SD_UUID_LEN);
  mark(out, 8);
}

void sd_uuid_format(const uint8_t uuid[SD_UUID_LEN], char out[SD_UUID_TEXT + 1]) {
  static const char hex[] = "0123456789abcdef";
  char *p = out;
  for (int i = 0; i < SD_UUID_LEN; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
    *p++ = hex[uuid[i] >> 4];
    *p++ = hex[uuid[i] & 15];
  }
  *p = '\0';
}
