/* libFuzzer target: sd_codec_open() on bytes as they come, and on the same bytes as the payload of
 * a sound frame. Without the second, the checksum would keep the fuzzer out of the payload.
 *
 *   fuzz_codec -max_total_time=120 c_tests/corpus/codec */
#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* msgpack-c must read what we accept, unless it is deeper than it goes. */
static void check_value(const uint8_t *p, size_t n) {
  msgpack_zone zone;
  msgpack_object value;
  size_t end = 0;
  sd_verify(msgpack_zone_init(&zone, 1024));
  msgpack_unpack_return rc = msgpack_unpack((const char *)p, n, &end, &zone, &value);
  sd_verify(rc == MSGPACK_UNPACK_SUCCESS || rc == MSGPACK_UNPACK_NOMEM_ERROR);
  msgpack_zone_destroy(&zone);
}

static void check_open(const uint8_t *data, size_t size) {
  struct sd_codec_meta meta;
  struct sd_err err = {0};
  const uint8_t *payload = NULL;
  size_t len = 0;
  int rc = sd_codec_open(data, size, &meta, &payload, &len, &err);
  sd_verify(rc == 0 || rc == SD_EFORMAT || rc == SD_ENEWER);
  sd_verify(rc == 0 || (rc == err.code && err.msg[0]));
  if (rc) return;
  sd_verify(payload > data && len && payload + len < data + size);
  check_value(payload, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct sd_codec_meta meta = {.name = "fuzz", .version = 1};
  struct sd_buf frame = SD_BUF_INIT;
  check_open(data, size);
  sd_verify(sd_codec_seal(&meta, data, size, &frame, NULL) == 0);
  check_open(frame.data, frame.len);
  sd_buf_fini(&frame);
  return 0;
}
