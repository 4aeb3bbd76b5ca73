/* corpus_content.c - the trees whose bytes matter: content, content_small and shape_large.
 *
 * First a plan is drawn (path, size, key of the bytes, relation to an earlier file), then all
 * processors write it. The bytes of a file are a function of its key, so a duplicate is written
 * like any other file. One file in five repeats an earlier one; one in twenty has the size of an
 * earlier one and other bytes: all of them, or only one, so that a sampled hash cannot tell the
 * two apart.
 *
 * shape_large follows a published benchmark recipe: 100 000 files, depth 4, fan-out 12, four size
 * classes up to 1 GB, a tenth hard links; files above 64 KiB hold data only where a sampling
 * reader looks (head, four samples, tail).
 *
 * Owner:  the plan owns its items.
 * Thread: an item is one unit of work; items are read-only once planned.
 * Errors: end the program. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "corpus.h"

#define BLOCK      (256 * 1024) /* bytes made from one random stream */
#define MAX_EXP    26           /* content files are smaller than 2^26 bytes */
#define SMALL_EXP  14           /* those of content_small than 2^14 */
#define PER_DIR    24
#define DENSE_MAX  65536 /* shape_large: larger files are sparse */
#define EDGE       8192  /* their dense head and tail */
#define SAMPLE     10240 /* and four samples between */
#define LARGE_DIRS 4
#define LARGE_FAN  12

/* What a file name's extension promises, so that a MIME detector meets what it meets in life. */
struct type {
  const char *ext;
  const char *magic;
  uint8_t magic_len;
  uint8_t text; /* the bytes are printable ASCII with line ends */
};

#define MAGIC(s) s, sizeof(s) - 1
static const struct type types[] = {
    {".jpg", MAGIC("\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"), 0},
    {".png", MAGIC("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), 0},
    {".mp4",
     MAGIC("\0\0\0\x18"
           "ftypisom\0\0\2\0"),
     0},
    {".mkv", MAGIC("\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska"), 0},
    {".pdf", MAGIC("%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"), 0},
    {".zip", MAGIC("PK\3\4\x14\0\0\0\x08\0"), 0},
    {".gz", MAGIC("\x1f\x8b\x08\0\0\0\0\0\0\3"), 0},
    {".mp3", MAGIC("ID3\3\0\0\0\0\0\x21"), 0},
    {".txt", MAGIC(""), 1},
    {".md", MAGIC("# Notes\n\n"), 1},
    {".csv", MAGIC("id,name,value\n"), 1},
    {".html", MAGIC("<!DOCTYPE html>\n<html>\n"), 1},
    {".json", MAGIC("{\n  \"items\": "), 1},
    {"",
     MAGIC("\x7f"
           "ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\x3e\0"),
     0}, /* names that do not tell */
    {"", MAGIC("#!/bin/sh\n"), 1},
    {".dat", MAGIC(""), 0},
};
#define TYPES (uint32_t)(sizeof(types) / sizeof(types[0]))

struct item {
  char path[80];
  uint64_t size;
  uint64_t key;   /* of the bytes */
  uint64_t flip;  /* 1 + offset of the one byte that differs from the key's, or 0 */
  uint32_t link;  /* 1 + index of the item that this is a hard link to, or 0 */
  uint8_t type;   /* in types */
  uint8_t sparse; /* data at head, tail and samples only */
};

struct plan {
  const struct corpus_opts *opts;
  struct item *item;
  size_t len;
  size_t cap;
};

static struct item *plan_add(struct plan *p) {
  if (p->len == p->cap) {
    p->cap = p->cap ? p->cap * 2 : 4096;
    p->item = realloc(p->item, p->cap * sizeof(struct item));
    if (!p->item) corpus_die("memory");
  }
  struct item *it = &p->item[p->len++];
  memset(it, 0, sizeof(*it));
  return it;
}

/* Fills buf with the bytes of `it` from a multiple of BLOCK on. */
static void fill(const struct item *it, uint64_t at, uint64_t *buf, size_t len) {
  const struct type *t = &types[it->type];
  struct rng r = rng_stream(it->key, at / BLOCK);
  for (size_t i = 0; i < (len + 7) / 8; i++) {
    uint64_t v = rng_next(&r);
    if (t->text) { /* 0x20 to 0x5f, and about one line end in sixty-four bytes */
      v = (v & 0x3f3f3f3f3f3f3f3fu) + 0x2020202020202020u;
      if (i % 8 == 7) v = (v & 0xffffffffffffff00u) | '\n';
    }
    buf[i] = v;
  }
  unsigned char *bytes = (unsigned char *)buf;
  if (at == 0) memcpy(bytes, t->magic, len < t->magic_len ? len : t->magic_len);
  if (it->flip && it->flip - 1 >= at && it->flip - 1 < at + len) bytes[it->flip - 1 - at] ^= 1;
}

static void put(int fd, const struct item *it, const void *buf, size_t len, uint64_t at) {
  const char *from = buf;
  while (len) {
    ssize_t n = pwrite(fd, from, len, (off_t)at);
    if (n < 0) corpus_die(it->path);
    from += n;
    len -= (size_t)n;
    at += (uint64_t)n;
  }
}

static void put_dense(int fd, const struct item *it, uint64_t *buf) {
  for (uint64_t at = 0; at < it->size; at += BLOCK) {
    size_t len = it->size - at < BLOCK ? (size_t)(it->size - at) : BLOCK;
    fill(it, at, buf, len);
    put(fd, it, buf, len, at);
  }
}

static void put_sparse(int fd, const struct item *it, uint64_t *buf) {
  if (ftruncate(fd, (off_t)it->size) != 0) corpus_die(it->path);
  fill(it, 0, buf, EDGE);
  put(fd, it, buf, EDGE, 0);
  uint64_t step = (it->size - 2 * EDGE) / 4;
  for (uint64_t i = 0; i < 4; i++) {
    uint64_t at = EDGE + i * step;
    size_t len = it->size - at < SAMPLE ? (size_t)(it->size - at) : SAMPLE;
    fill(it, (i + 1) * BLOCK, buf, len);
    put(fd, it, buf, len, at);
  }
  fill(it, 5 * BLOCK, buf, EDGE);
  put(fd, it, buf, EDGE, it->size - EDGE);
}

static void make_item(void *arg, uint64_t unit) {
  static _Thread_local uint64_t buf[BLOCK / 8];
  struct plan *p = arg;
  const struct item *it = &p->item[unit];
  if (it->link) return;
  int fd =
      openat(p->opts->root, it->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) corpus_die(it->path);
  if (it->sparse) put_sparse(fd, it, buf);
  else put_dense(fd, it, buf);
  struct rng r = rng_stream(p->opts->seed, unit + 1);
  struct timespec times[2];
  corpus_times(&r, times);
  if (futimens(fd, times) != 0) corpus_die(it->path);
  close(fd);
}

/* Makes the directories of a relative file path. */
static void make_parents(const struct corpus_opts *o, const char *path) {
  char dir[80];
  for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
    snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
    if (mkdirat(o->root, dir, 0755) != 0 && errno != EEXIST) corpus_die(dir);
  }
}

static void carry_out(struct plan *p) {
  for (size_t i = 0; i < p->len; i++) make_parents(p->opts, p->item[i].path);
  corpus_parallel(p->len, make_item, p);
  for (size_t i = 0; i < p->len; i++) {
    const struct item *it = &p->item[i];
    if (it->link &&
        linkat(p->opts->root, p->item[it->link - 1].path, p->opts->root, it->path, 0) != 0)
      corpus_die(it->path);
  }
  free(p->item);
}

/* One file in fifty is empty; the others are log-spread from 1 byte to 2^max_exp: to 64 MiB around
 * 8 KiB, or to 16 KiB around 128 bytes. */
static uint64_t draw_size(struct rng *r, uint32_t max_exp) {
  uint32_t e = (rng_below(r, max_exp) + rng_below(r, max_exp) + 1) / 2;
  return rng_below(r, 50) ? (1u << e) + rng_below(r, 1u << e) : 0;
}

/* Draws what the item holds: new bytes, an earlier file's, or something of an earlier file's size.
 */
static void draw_bytes(struct rng *r, struct plan *p, struct item *it, uint32_t max_exp) {
  uint32_t dice = rng_below(r, 100);
  it->key = rng_next(r);
  it->type = (uint8_t)rng_below(r, TYPES);
  it->size = draw_size(r, max_exp);
  if (dice >= 25 || p->len < 2) return;
  const struct item *old = &p->item[rng_below(r, (uint32_t)p->len - 1)];
  it->size = old->size;
  it->type = old->type;
  if (dice < 20 || !old->size) { /* a duplicate */
    it->key = old->key;
    it->flip = old->flip;
  } else if (dice < 23 && !old->flip &&
             old->size > types[old->type].magic_len) { /* one byte differs */
    it->key = old->key;
    it->flip = 1 + (dice == 20 ? old->size - 1 : dice == 21 ? old->size / 2 : old->size / 3);
  }
}

void corpus_make_content(const struct corpus_opts *opts) {
  uint32_t max_exp = !strcmp(opts->shape, "content") ? MAX_EXP : SMALL_EXP;
  struct rng r = rng_stream(opts->seed, 0);
  struct plan p = {.opts = opts};
  uint64_t sum = 0;
  while (sum < opts->bytes) {
    struct item *it = plan_add(&p);
    uint32_t nth = (uint32_t)(p.len - 1);
    draw_bytes(&r, &p, it, max_exp);
    if (it->size > opts->bytes - sum) { /* the last one fits exactly, so it is nobody's duplicate */
      it->size = opts->bytes - sum;
      it->flip = 0;
      it->key = rng_next(&r);
    }
    sum += it->size;
    char dir[32];
    struct rng names =
        rng_stream(opts->seed ^ 0xd1, nth / PER_DIR); /* the same for all files of a directory */
    corpus_dir_name(&names, nth / PER_DIR, dir, sizeof(dir));
    snprintf(it->path, sizeof(it->path), "part%u/%s/item_%06u%s", nth / PER_DIR / 16, dir, nth,
             types[it->type].ext);
  }
  carry_out(&p);
}

/* A directory up to LARGE_DIRS deep. */
static int draw_large_dir(struct rng *r, char *out, size_t size) {
  int len = 0;
  for (uint32_t depth = 1 + rng_below(r, LARGE_DIRS); depth > 0; depth--)
    len += snprintf(out + len, size - (size_t)len, "d%u/", rng_below(r, LARGE_FAN));
  return len;
}

/* The published size classes: 5 % tiny, 25 % small, 45 % medium, 25 % large. */
static uint64_t draw_large_size(struct rng *r) {
  uint32_t p = rng_below(r, 100);
  if (p < 5) return rng_below(r, 1024 + 1);
  if (p < 30) return 1024 + rng_below(r, 65536 - 1024 + 1);
  if (p < 75) return 65536 + rng_below(r, 5000000 - 65536 + 1);
  return 5000000 + rng_below(r, 1000000000 - 5000000 + 1);
}

void corpus_make_shape_large(const struct corpus_opts *opts) {
  struct rng r = rng_stream(opts->seed, 0);
  struct plan p = {.opts = opts};
  uint64_t files = (uint64_t)(100000 * opts->scale + 0.5), originals = files - files / 10;
  for (uint64_t i = 0; i < files; i++) {
    struct item *it = plan_add(&p);
    int len = draw_large_dir(&r, it->path, sizeof(it->path));
    it->key = rng_next(&r);
    it->type = (uint8_t)rng_below(&r, TYPES);
    it->size = draw_large_size(&r);
    it->sparse = it->size > DENSE_MAX;
    if (i >= originals) {
      it->link = 1 + rng_below(&r, (uint32_t)originals);
      it->type = p.item[it->link - 1].type;
    }
    snprintf(it->path + len, sizeof(it->path) - (size_t)len, "%s_%016jx%s", it->link ? "dup" : "f",
             (uintmax_t)it->key, types[it->type].ext);
  }
  carry_out(&p);
}
