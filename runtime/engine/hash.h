/* hash.h - what a file's bytes are: XXH3-128 of all of them, or of samples.
 *
 * Owner:  the caller owns the hasher and its one buffer; results are plain values.
 * Thread: a hasher is used by one thread at a time.
 * Errors: 0 or a negative code with *err filled: an errno, SD_ECANCELED, or SD_ECHANGED where the
 *         file is not the one that was listed, or changed while it was read. */
#ifndef SD_ENGINE_HASH_H
#define SD_ENGINE_HASH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/entry.h"

struct sd_hasher;

/* Frozen: these numbers are stored. */
enum sd_hash_kind {
  SD_HASH_NONE = 0,
  SD_HASH_FULL = 1,    /* every byte; equal to `xxhsum -H2` */
  SD_HASH_SAMPLED = 2, /* size, head, four samples, tail; never proves two files equal */
};

/* Up to this size a sampled hash reads everything, and is a full one. */
enum { SD_HASH_SAMPLE_MIN = 100 * 1024 };

struct sd_hash_want {
  enum sd_hash_kind kind;       /* FULL or SAMPLED */
  bool check_identity;          /* the file must be the regular file (dev, ino) */
  uint64_t dev, ino;            /* with check_identity */
  const struct sd_file_id *own; /* what is open elsewhere in the process, under POSIX locks */
  size_t own_len;
  const atomic_bool *cancel[2]; /* either stops it; looked at before each chunk; may be NULL */
};

struct sd_hash_result {
  uint8_t hash[16];       /* canonical (big-endian) order */
  enum sd_hash_kind kind; /* what `hash` is */
  struct sd_stat st;      /* the file as it was read */
  const uint8_t *head;    /* its first bytes, in the hasher's memory until the next call */
  size_t head_len;
};

int sd_hasher_open(struct sd_hasher **out, struct sd_err *err);
void sd_hasher_close(struct sd_hasher *h); /* accepts NULL */

/* openat(2) for reading, without following a symlink, without blocking and, where allowed, without
 * touching the access time: a descriptor, which the caller closes, or -1 with errno. What it is of
 * may be no regular file. */
int sd_hash_open(int dirfd, const char *name);

/* Hashes the regular file `name` in the directory `dirfd`; it is opened like that. */
int sd_hash_file(struct sd_hasher *h, int dirfd, const char *name, const struct sd_hash_want *want,
                 struct sd_hash_result *out, struct sd_err *err);

/* XXH3-128 of bytes in memory, canonical order. */
void sd_hash_bytes(const void *p, size_t n, uint8_t out[16]);

#endif
