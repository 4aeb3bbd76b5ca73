/* corpus_tree.c - the trees of many small files: small300k, small1m, wide10m and flat.
 *
 * A tree has exactly the asked number of entries below its root. Most directories hold 10 to 60
 * files, some several hundred, some none; nesting ends at depth 8. Nine files in ten are empty and
 * the others a few bytes, so that making a million of them is a matter of seconds.
 *
 * Owner:  every directory's descriptor is owned by the call that fills it.
 * Thread: each top-level directory is one unit with its own random stream.
 * Errors: end the program. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "corpus.h"

#define MAX_DEPTH    8
#define UNIT_MEAN    5000 /* entries below a top-level directory, on average */
#define PART_BASE    12   /* entries that every sub-directory gets, where there are enough */
#define ROOT_FILES   12
#define MAX_CHILDREN 1024

/* The number of files that a directory would like to have: log-spread around 20, at most 1023. */
static uint32_t draw_files(struct rng *r) {
  static const uint8_t share[] = {4,  5, 10, 22, 29,
                                  18, 7, 3,  1,  1}; /* percent that have 2^i .. 2^(i+1)-1 */
  uint32_t p = rng_below(r, 100), i = 0;
  while (p >= share[i]) p -= share[i++];
  return (1u << i) + rng_below(r, 1u << i);
}

/* Splits `total` over n parts: a base for each, the rest by weights of 1 to 32, log-spread. The
 * sum is exact. */
static void split(struct rng *r, uint64_t total, uint32_t n, uint64_t *part) {
  uint64_t base = total / n < PART_BASE ? total / n : PART_BASE;
  uint64_t weights = 0, seen = 0, given = 0;
  total -= base * n;
  for (uint32_t i = 0; i < n; i++) weights += part[i] = 1u << rng_below(r, 6);
  for (uint32_t i = 0; i < n; i++) {
    seen += part[i];
    uint64_t upto = (uint64_t)((double)total * (double)seen / (double)weights);
    part[i] = (i + 1 == n ? total : upto) - given;
    given += part[i];
    part[i] += base;
  }
}

static void make_file(struct rng *r, int dir, enum corpus_theme theme) {
  static const char text[] =
      "The quick brown fox jumps over the lazy dog, again and again and again.\n";
  char name[64];
  int fd;
  do {
    corpus_file_name(r, theme, name, sizeof(name));
    fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  } while (fd < 0 && errno == EEXIST);
  if (fd < 0) corpus_die(name);
  if (rng_below(r, 10) == 0) {
    size_t len = 1 + rng_below(r, sizeof(text) - 1);
    if (write(fd, text, len) != (ssize_t)len) corpus_die(name);
  }
  struct timespec times[2];
  corpus_times(r, times);
  if (futimens(fd, times) != 0) corpus_die(name);
  close(fd);
}

/* How many sub-directories shall hold `rest` entries. */
static uint32_t draw_children(struct rng *r, uint64_t rest, int depth) {
  uint64_t n = 2 + rng_below(r, 8);
  if (depth + 1 == MAX_DEPTH) n = rest / 32 + 1; /* they cannot nest further: make them small */
  else if (n > rest / 24 + 1) n = rest / 24 + 1;
  return n < MAX_CHILDREN ? (uint32_t)n : MAX_CHILDREN;
}

/* Makes exactly `quota` entries below the directory `fd`, sets its time and closes it. */
static void fill_dir(struct rng *r, int fd, uint64_t quota, int depth) {
  enum corpus_theme theme = (enum corpus_theme)rng_below(r, THEME_COUNT);
  uint64_t files = rng_below(r, 16) ? draw_files(r) : 0, part[MAX_CHILDREN];
  if (files + 10 > quota || depth == MAX_DEPTH) files = quota;
  for (uint64_t i = 0; i < files; i++) make_file(r, fd, theme);
  uint64_t rest = quota - files;
  if (rest) {
    uint32_t n = draw_children(r, rest, depth);
    split(r, rest - n, n, part);
    for (uint32_t i = 0; i < n; i++) {
      char name[64];
      corpus_dir_name(r, i, name, sizeof(name));
      fill_dir(r, corpus_mkdir(fd, name), part[i], depth + 1);
    }
  }
  struct timespec times[2];
  corpus_times(r, times);
  if (futimens(fd, times) != 0) corpus_die("directory time");
  close(fd);
}

struct tree {
  const struct corpus_opts *opts;
  uint64_t *quota; /* of each unit */
};

static void make_unit(void *arg, uint64_t unit) {
  struct tree *t = arg;
  struct rng r = rng_stream(t->opts->seed, unit + 1);
  char name[64];
  corpus_dir_name(&r, (uint32_t)unit, name, sizeof(name));
  fill_dir(&r, corpus_mkdir(t->opts->root, name), t->quota[unit], 1);
}

void corpus_make_tree(const struct corpus_opts *opts, uint64_t entries) {
  struct rng r = rng_stream(opts->seed, 0);
  uint64_t files = entries < ROOT_FILES ? entries : ROOT_FILES, units = entries / UNIT_MEAN;
  for (uint64_t i = 0; i < files; i++) make_file(&r, opts->root, THEME_MIXED);
  entries -= files;
  if (units < 4) units = entries < 4 ? entries : 4;
  if (!units) return;
  struct tree t = {opts, malloc(units * sizeof(uint64_t))};
  if (!t.quota) corpus_die("memory");
  split(&r, entries - units, (uint32_t)units, t.quota);
  corpus_parallel(units, make_unit, &t);
  free(t.quota);
}

void corpus_make_flat(const struct corpus_opts *opts, uint64_t files) {
  static const char *const ext[] = {"txt", "jpg", "log", "json", "dat", "eml"};
  struct rng r = rng_stream(opts->seed, 0);
  for (uint64_t i = 0; i < files; i++) {
    char name[64];
    snprintf(name, sizeof(name), "record-%08ju.%s", (uintmax_t)i, ext[rng_below(&r, 6)]);
    struct timespec times[2];
    corpus_times(&r, times);
    if (mknodat(opts->root, name, S_IFREG | 0644, 0) != 0 ||
        utimensat(opts->root, name, times, AT_SYMLINK_NOFOLLOW) != 0)
      corpus_die(name);
  }
}
