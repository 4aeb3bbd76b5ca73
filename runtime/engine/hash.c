#include "engine/hash.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h> /* replaces the functions above by those that ask the processor */
#endif

enum {
  HEAD_MAX = 64 * 1024, /* of a file's first bytes, what the result may show */
  CHUNK = 256 * 1024,   /* one read; a cancel waits for it */
  ZEROS = 16 * 1024,
  HOLES_MIN = 1024 * 1024, /* from so many bytes not allocated on, holes are asked for */
  PAGE = 4096,
};

/* Frozen, as hashes of them are stored: the parts of a sampled hash. */
enum { END = 8 * 1024, SAMPLE = 10 * 1024, SAMPLES = 4 };

static_assert((HEAD_MAX + CHUNK) % PAGE == 0 && HEAD_MAX % PAGE == 0, "reads begin on a page");
static_assert(2 * END + SAMPLES * SAMPLE <= SD_HASH_SAMPLE_MIN, "samples must not overlap");
static_assert(END + SAMPLE <= HEAD_MAX, "samples lie behind the head");

/* The first read fills all of the buffer, later ones leave the head as it is. */
struct sd_hasher {
  XXH3_state_t *xxh;
  uint8_t *buf; /* HEAD_MAX + CHUNK */
};

/* One file. */
struct job {
  struct sd_hasher *h;
  const char *name;
  const struct sd_hash_want *want;
  struct sd_err *err;
  int fd;
  struct sd_stat st; /* before anything was read */
  size_t head_len;
};

int sd_hasher_open(struct sd_hasher **out, struct sd_err *err) {
  struct sd_hasher *h = calloc(1, sizeof(*h));
  if (!h) return sd_err_nomem(err);
  h->xxh = XXH3_createState(); /* malloc would not align it for the vector units */
  /* What the kernel copies to the beginning of a page made hashing 1.7 times as fast. */
  h->buf = aligned_alloc(PAGE, HEAD_MAX + CHUNK);
  if (!h->xxh || !h->buf) {
    sd_hasher_close(h);
    return sd_err_nomem(err);
  }
  *out = h;
  return 0;
}

void sd_hasher_close(struct sd_hasher *h) {
  if (!h) return;
  XXH3_freeState(h->xxh);
  free(h->buf);
  free(h);
}

static int changed(const struct job *j) {
  return sd_err_set(j->err, SD_ECHANGED, "%s changed while it was indexed", j->name);
}

static int check_cancel(const struct job *j) {
  for (int i = 0; i < 2; i++) {
    const atomic_bool *cancel = j->want->cancel[i];
    if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
      return sd_err_set(j->err, SD_ECANCELED, "stopped");
  }
  return 0;
}

static int stat_file(const struct job *j, struct sd_stat *st) {
  struct statx stx;
  if (TEMP_FAILURE_RETRY(statx(j->fd, "", AT_EMPTY_PATH, SD_STATX_MASK, &stx)) != 0)
    return sd_err_os(j->err, "stat", j->name);
  sd_stat_from_statx(st, &stx);
  return 0;
}

int sd_hash_open(int dirfd, const char *name) {
  int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY;
  int noatime = O_NOATIME, fd;
  do {
    fd = openat(dirfd, name, flags | noatime);
    if (fd < 0 && errno == EPERM && noatime) { /* O_NOATIME is the owner's privilege */
      noatime = 0;
      errno = EINTR;
    }
  } while (fd < 0 && errno == EINTR);
  return fd;
}

static bool is_own(const struct job *j) {
  for (size_t i = 0; i < j->want->own_len; i++)
    if (j->st.ino == j->want->own[i].ino && j->st.dev == j->want->own[i].dev) return true;
  return false;
}

/* Opens the file and makes sure, before anything is read, that it is the one that is wanted. */
static int open_file(struct job *j, int dirfd) {
  j->fd = sd_hash_open(dirfd, j->name);
  if (j->fd < 0 && (errno == ELOOP || errno == ENXIO)) return changed(j); /* a link, a socket */
  if (j->fd < 0) return sd_err_os(j->err, "open", j->name);
  int rc = stat_file(j, &j->st);
  if (rc) return rc;
  if (j->st.kind != SD_KIND_FILE) return changed(j);
  if (is_own(j)) {
    j->fd = -1; /* stays open: closing it would drop the process's locks on the file */
    return changed(j);
  }
  if (!j->want->check_identity) return 0;
  return j->st.dev == j->want->dev && j->st.ino == j->want->ino ? 0 : changed(j);
}

/* Reads all of the piece into `p` and hashes it. */
static int feed(const struct job *j, uint8_t *p, size_t n, int64_t pos) {
  for (size_t got = 0; got < n;) {
    int rc = check_cancel(j);
    if (rc) return rc;
    ssize_t r = pread(j->fd, p + got, n - got, pos + (int64_t)got);
    if (r == 0) return changed(j); /* shorter than it was */
    if (r < 0 && errno != EINTR) return sd_err_os(j->err, "read", j->name);
    if (r > 0) got += (size_t)r;
  }
  XXH3_128bits_update(j->h->xxh, p, n);
  return 0;
}

static int feed_zeros(const struct job *j, int64_t n) {
  static const uint8_t zeros[ZEROS];
  while (n > 0) {
    int rc = check_cancel(j);
    if (rc) return rc;
    size_t part = n < ZEROS ? (size_t)n : ZEROS;
    XXH3_128bits_update(j->h->xxh, zeros, part);
    n -= (int64_t)part;
  }
  return 0;
}

/* Where the next byte lies that is stored. A file system that cannot tell stores all of them. */
static int64_t find_data(const struct job *j, int64_t pos) {
  int64_t at = lseek(j->fd, pos, SEEK_DATA);
  if (at < 0) return errno == ENXIO ? j->st.size : pos; /* ENXIO: nothing but a hole follows */
  return at < j->st.size ? at : j->st.size;
}

/* Where the data at `pos` ends. */
static int64_t find_hole(const struct job *j, int64_t pos) {
  int64_t at = lseek(j->fd, pos, SEEK_HOLE);
  return at > pos && at < j->st.size ? at : j->st.size;
}

/* The head is read even where it is a hole: the caller may look at it. */
static int hash_head(struct job *j) {
  size_t n = j->st.size < HEAD_MAX + CHUNK ? (size_t)j->st.size : HEAD_MAX + CHUNK;
  j->head_len = n < HEAD_MAX ? n : HEAD_MAX;
  return feed(j, j->h->buf, n, 0);
}

static int hash_range(const struct job *j, int64_t pos, int64_t end) {
  int rc = 0;
  while (!rc && pos < end) {
    size_t n = end - pos < CHUNK ? (size_t)(end - pos) : CHUNK;
    rc = feed(j, j->h->buf + HEAD_MAX, n, pos);
    pos += (int64_t)n;
  }
  return rc;
}

/* Asks for holes where there must be some, and hashes them without reading. */
static int hash_sparse(const struct job *j, int64_t pos) {
  int rc = 0;
  while (!rc && pos < j->st.size) {
    int64_t data = find_data(j, pos);
    rc = feed_zeros(j, data - pos);
    pos = data;
    if (rc || pos == j->st.size) break;
    int64_t hole = find_hole(j, pos);
    rc = hash_range(j, pos, hole);
    pos = hole;
  }
  return rc;
}

static int hash_full(struct job *j) {
  int rc = hash_head(j);
  if (rc || j->st.size <= HEAD_MAX + CHUNK) return rc;
  if (j->st.size - j->st.allocated >= HOLES_MIN) return hash_sparse(j, HEAD_MAX + CHUNK);
  return hash_range(j, HEAD_MAX + CHUNK, j->st.size);
}

/* The size, the head, samples with equal gaps between head and tail, the tail. */
static int hash_samples(struct job *j) {
  uint8_t *buf = j->h->buf, size[8];
  int64_t gap = (j->st.size - 2 * END - SAMPLES * SAMPLE) / (SAMPLES + 1);
  for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)j->st.size >> 8 * i);
  XXH3_128bits_update(j->h->xxh, size, sizeof(size));
  j->head_len = END;
  int rc = feed(j, buf, END, 0);
  for (int i = 0; !rc && i < SAMPLES; i++)
    rc = feed(j, buf + END, SAMPLE, END + (i + 1) * gap + i * SAMPLE);
  return rc ? rc : feed(j, buf + END, END, j->st.size - END);
}

static int hash_opened(struct job *j, struct sd_hash_result *out) {
  XXH128_canonical_t canonical;
  struct sd_stat now;
  bool sampled = j->want->kind == SD_HASH_SAMPLED && j->st.size > SD_HASH_SAMPLE_MIN;
  XXH3_128bits_reset(j->h->xxh);
  int rc = sampled ? hash_samples(j) : hash_full(j);
  if (!rc) rc = stat_file(j, &now);
  if (rc) return rc;
  if (now.size != j->st.size || now.mtime != j->st.mtime || now.ctime != j->st.ctime)
    return changed(j);
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(j->h->xxh));
  memcpy(out->hash, canonical.digest, sizeof(out->hash));
  out->kind = sampled ? SD_HASH_SAMPLED : SD_HASH_FULL;
  out->st = now;
  out->head = j->h->buf;
  out->head_len = j->head_len;
  return 0;
}

int sd_hash_file(struct sd_hasher *h, int dirfd, const char *name, const struct sd_hash_want *want,
                 struct sd_hash_result *out, struct sd_err *err) {
  struct job j = {.h = h, .name = name, .want = want, .err = err, .fd = -1};
  sd_assert(want->kind == SD_HASH_FULL || want->kind == SD_HASH_SAMPLED);
  int rc = open_file(&j, dirfd);
  if (!rc) rc = hash_opened(&j, out);
  if (j.fd >= 0) close(j.fd);
  return rc;
}

void sd_hash_bytes(const void *p, size_t n, uint8_t out[16]) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(p, n));
  memcpy(out, canonical.digest, sizeof(canonical.digest));
}
