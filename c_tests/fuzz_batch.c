/* libFuzzer on the decoder of batches. A fuzzer does not find checksums: each input is tried as it
 * is, and with the right one put behind it. What is accepted must encode to something that is
 * accepted. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "engine/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct sd_batch *b) {
  struct sd_err err;
  struct sd_batch *again = NULL;
  struct sd_buf buf = SD_BUF_INIT;
  sd_verify(sd_batch_encode(b, &buf) == 0);
  sd_verify(sd_batch_decode(buf.data, buf.len, &again, &err) == 0);
  sd_verify(again->entries_len == b->entries_len && again->errors_len == b->errors_len);
  sd_batch_free(again);
  sd_buf_fini(&buf);
}

static void decode(const uint8_t *data, size_t size) {
  struct sd_err err;
  struct sd_batch *b = NULL;
  if (sd_batch_decode(data, size, &b, &err)) return;
  round_trip(b);
  sd_batch_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  decode(data, size);
  if (size < 8) return 0;
  uint8_t *sealed = malloc(size);
  if (!sealed) return 0;
  memcpy(sealed, data, size);
  uint64_t sum = XXH3_64bits(sealed, size - 8);
  for (int i = 0; i < 8; i++) sealed[size - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
  decode(sealed, size);
  free(sealed);
  return 0;
}
