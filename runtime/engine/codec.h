/* codec.h - the frame around a checkpoint: magic, versions, owner, length, checksum.
 *
 *   "SDLC"  u32 format version
 *   u32 job version, 16 bytes script hash (XXH3-128; zero: none)
 *   u32 name length, name
 *   u32 payload length, payload: one MessagePack value
 *   u64 XXH3-64 of everything before it
 *
 * All integers are little-endian. MessagePack extension type 1 is a reference to a queue: its
 * payload is the queue's name.
 *
 * Owner:  sd_codec_open() points into the caller's bytes. Thread: any. Errors: 0 or a negative code
 *         with *err filled: SD_EFORMAT for bytes that are no frame, SD_ENEWER for a later format.
 *         */
#ifndef SD_ENGINE_CODEC_H
#define SD_ENGINE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum {
  SD_CODEC_VERSION = 1,
  SD_CODEC_DEPTH_MAX = 64,
  SD_CODEC_SIZE_MAX = 64 << 20, /* bytes of payload */
  SD_CODEC_NAME_MAX = 255,
  SD_CODEC_EXT_QUEUE = 1,
};

struct sd_codec_meta {
  char name[SD_CODEC_NAME_MAX + 1]; /* of the job; may be empty */
  uint32_t version;                 /* of the job */
  uint8_t script[16];               /* XXH3-128 of the script */
};

/* Puts a frame around `payload` at the end of `out`; `payload` may lie in `out`. On error `out` is
 * as it was: -EFBIG beyond SD_CODEC_SIZE_MAX, -ENOMEM. */
int sd_codec_seal(const struct sd_codec_meta *meta, const void *payload, size_t len,
                  struct sd_buf *out, struct sd_err *err);

/* Checks a frame, and its payload: one value, at most SD_CODEC_DEPTH_MAX deep, with nothing behind
 * it, no extension types but ours. *payload points into `data`; `meta` may be NULL. */
int sd_codec_open(const void *data, size_t len, struct sd_codec_meta *meta, const uint8_t **payload,
                  size_t *payload_len, struct sd_err *err);

#endif
