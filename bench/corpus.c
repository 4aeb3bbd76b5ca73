/* corpus.c - makes the trees that the bench and the tests run over.
 *
 *   corpus SHAPE DIR [--seed N] [--scale F] [--bytes N]
 *
 *   small300k    300 000 entries, small files, realistic directories
 *   small1m      the same with 1 000 000
 *   wide10m      the same with 10 000 000
 *   flat         one directory of 1 000 000 empty files
 *   content      1 GiB (--bytes) of dense files of log-spread size, a fifth of them duplicates
 *   content_small  the same of files smaller than 16 KiB: a million of them in 800 MiB
 *   shape_large  100 000 files, depth 4, fan-out 12, sparse where large
 *
 * The same arguments make the same tree. DIR must be empty or absent, unless DIR.stamp, written
 * beside it when a run is complete, says that the same arguments made it: then there is nothing to
 * do.
 *
 * Owner:  main owns the options and the root descriptor.
 * Thread: corpus_parallel() runs units on all processors; everything else is single.
 * Errors: one line on stderr; exit 1, or 2 for wrong usage. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "corpus.h"

#define STAMP_VERSION 1 /* raise it when the same arguments make another tree */

_Noreturn void corpus_die(const char *what) {
  fprintf(stderr, "corpus: %s: %s\n", what, strerror(errno));
  exit(1);
}

int corpus_mkdir(int at, const char *name) {
  if (mkdirat(at, name, 0755) != 0 && errno != EEXIST) corpus_die(name);
  int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) corpus_die(name);
  return fd;
}

void corpus_times(struct rng *r, struct timespec times[2]) {
  times[1].tv_sec = 1104537600 + (time_t)rng_below(r, 631152000); /* 2005 to 2024 */
  times[1].tv_nsec = (long)rng_below(r, 1000000000);
  times[0] = times[1];
}

struct crew {
  void (*fn)(void *arg, uint64_t unit);
  void *arg;
  uint64_t units;
  _Atomic uint64_t next;
};

static void *crew_work(void *arg) {
  struct crew *c = arg;
  uint64_t unit;
  while ((unit = atomic_fetch_add(&c->next, 1)) < c->units) c->fn(c->arg, unit);
  return NULL;
}

void corpus_parallel(uint64_t units, void (*fn)(void *arg, uint64_t unit), void *arg) {
  struct crew crew = {.fn = fn, .arg = arg, .units = units};
  pthread_t thread[16];
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  if (n > 16) n = 16;
  for (long i = 1; i < n; i++)
    if ((errno = pthread_create(&thread[i], NULL, crew_work, &crew))) corpus_die("thread");
  crew_work(&crew);
  for (long i = 1; i < n; i++) pthread_join(thread[i], NULL);
}

static int has_bytes(const struct corpus_opts *o) {
  return !strcmp(o->shape, "content") || !strcmp(o->shape, "content_small");
}

/* 1 when made, 0 when there is no such shape. */
static int make(const struct corpus_opts *o) {
  static const struct {
    const char *name;
    uint64_t entries;
  } trees[] = {
      {"small300k", 300000}, {"small1m", 1000000}, {"wide10m", 10000000}, {"flat", 1000000}};
  for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
    if (strcmp(o->shape, trees[i].name) != 0) continue;
    uint64_t entries = (uint64_t)((double)trees[i].entries * o->scale + 0.5);
    if (o->root < 0) return 1;
    if (!strcmp(o->shape, "flat")) corpus_make_flat(o, entries);
    else corpus_make_tree(o, entries);
    return 1;
  }
  if (has_bytes(o)) {
    if (o->root >= 0) corpus_make_content(o);
    return 1;
  }
  if (!strcmp(o->shape, "shape_large")) {
    if (o->root >= 0) corpus_make_shape_large(o);
    return 1;
  }
  return 0;
}

static int is_empty(const char *path) {
  DIR *d = opendir(path);
  if (!d && errno == ENOENT) return 1;
  if (!d) corpus_die(path);
  int count = 0;
  while (readdir(d)) count++;
  closedir(d);
  return count <= 2;
}

/* The line that a complete corpus leaves in DIR.stamp. */
static void describe(const struct corpus_opts *o, char *out, size_t size) {
  snprintf(out, size, "corpus %d %s seed=%ju scale=%.9g bytes=%ju\n", STAMP_VERSION, o->shape,
           (uintmax_t)o->seed, o->scale, (uintmax_t)(has_bytes(o) ? o->bytes : 0));
}

static int stamp_matches(const char *path, const char *want) {
  char have[256] = "";
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  int same = fgets(have, sizeof(have), f) && !strcmp(have, want);
  fclose(f);
  return same;
}

static void stamp_write(const char *path, const char *line) {
  FILE *f = fopen(path, "w");
  if (!f || fputs(line, f) < 0 || fclose(f) != 0) corpus_die(path);
}

static _Noreturn void usage(const char *why) {
  fprintf(stderr,
          "corpus: %s\n"
          "usage: corpus SHAPE DIR [--seed N] [--scale F] [--bytes N]\n"
          "shapes: small300k small1m wide10m flat content content_small shape_large\n",
          why);
  exit(2);
}

/* A whole number, optionally followed by K, M or G (powers of 1024). */
static uint64_t parse_number(const char *text) {
  char *end;
  errno = 0;
  uint64_t n = strtoull(text, &end, 10), unit = 1;
  if (*end && !end[1])
    unit = *end == 'K' ? 1ull << 10 : *end == 'M' ? 1ull << 20 : *end == 'G' ? 1ull << 30 : 0;
  else if (*end) unit = 0;
  if (errno || end == text || *text == '-' || !unit || n > UINT64_MAX / unit) usage("not a number");
  return n * unit;
}

static double parse_scale(const char *text) {
  char *end;
  double f = strtod(text, &end);
  if (end == text || *end || !(f > 0) || f > 1000)
    usage("--scale takes a factor above 0, at most 1000");
  return f;
}

static void parse(int argc, char **argv, struct corpus_opts *o) {
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (argv[i][0] != '-') {
      if (o->dir) usage("too many arguments");
      *(o->shape ? &o->dir : &o->shape) = argv[i];
      continue;
    }
    if (!value) usage("an option without its value");
    if (!strcmp(argv[i], "--seed")) o->seed = parse_number(value);
    else if (!strcmp(argv[i], "--bytes")) o->bytes = parse_number(value);
    else if (!strcmp(argv[i], "--scale")) o->scale = parse_scale(value);
    else usage("unknown option");
    i++;
  }
  if (!o->dir || !make(o)) usage(o->dir ? "unknown shape" : "a shape and a directory, please");
}

int main(int argc, char **argv) {
  struct corpus_opts o = {.seed = 1, .scale = 1, .bytes = 1ull << 30, .root = -1};
  char dir[PATH_MAX], stamp[PATH_MAX + 8], line[256];
  parse(argc, argv, &o);
  size_t len = strlen(o.dir);
  while (len > 1 && o.dir[len - 1] == '/') len--;
  snprintf(dir, sizeof(dir), "%.*s", (int)len, o.dir);
  snprintf(stamp, sizeof(stamp), "%s.stamp", dir);
  o.dir = dir;
  describe(&o, line, sizeof(line));
  if (!is_empty(dir)) {
    if (stamp_matches(stamp, line)) {
      printf("corpus: %s is up to date\n", dir);
      return 0;
    }
    fprintf(stderr,
            "corpus: %s is not empty and not the finished result of this call; remove it first\n",
            dir);
    return 1;
  }
  if (unlink(stamp) != 0 && errno != ENOENT) corpus_die(stamp);
  umask(022);
  o.root = corpus_mkdir(AT_FDCWD, dir);
  make(&o);
  stamp_write(stamp, line);
  printf("corpus: %s is made\n", dir);
  return 0;
}
