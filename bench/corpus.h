/* corpus.h - what the parts of the corpus maker share: options, random numbers, names, threads,
 * failure.
 *
 * A corpus is a function of (shape, seed, scale, bytes): names, sizes, bytes and mtimes are the
 * same on every machine with the same byte order. Inode numbers, ctimes and directory sizes are
 * the file system's business. Work is cut into units, each with a random stream of its own, so
 * that threads do not change the result.
 *
 * Owner:  no object is shared beyond the options, which outlive everything.
 * Thread: a rng belongs to one thread; the names are pure functions of it.
 * Errors: this is a tool that makes files; what goes wrong ends the program through corpus_die().
 */
#ifndef SD_BENCH_CORPUS_H
#define SD_BENCH_CORPUS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct corpus_opts {
  const char *shape;
  const char *dir; /* no trailing slash */
  uint64_t seed;
  double scale;   /* factor on the number of entries; 1 is the shape's own size */
  uint64_t bytes; /* content shape only: sum of the file sizes */
  int root;       /* descriptor of dir */
};

/* splitmix64: one 64-bit word of state, any seed is good. */
struct rng {
  uint64_t state;
};

static inline uint64_t rng_next(struct rng *r) {
  uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* A number in [0, n), n > 0. */
static inline uint32_t rng_below(struct rng *r, uint32_t n) {
  return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}

/* The stream of a unit of work: independent of the streams of all others. */
static inline struct rng rng_stream(uint64_t seed, uint64_t unit) {
  struct rng r = {seed};
  r.state = rng_next(&r) ^ (unit * 0xd1342543de82ef95u);
  r.state = rng_next(&r);
  return r;
}

/* What a directory's files are; its file names and extensions go together. */
enum corpus_theme {
  THEME_PHOTOS,
  THEME_CODE,
  THEME_PAPERS,
  THEME_MUSIC,
  THEME_OBJECTS,
  THEME_MIXED,
  THEME_COUNT
};

/* Writes a file name of 6 to 30 characters. It may be one that the directory already has: draw
 * again. */
void corpus_file_name(struct rng *r, enum corpus_theme theme, char *out, size_t size);

/* Writes a directory name; `nth` makes it unique among its siblings. */
void corpus_dir_name(struct rng *r, uint32_t nth, char *out, size_t size);

/* Runs fn(arg, unit) for every unit in [0, units) on all processors; returns when all are done. */
void corpus_parallel(uint64_t units, void (*fn)(void *arg, uint64_t unit), void *arg);

/* A time of the last twenty years in nanosecond resolution, for utimensat: [0] is atime, [1]
 * mtime. */
void corpus_times(struct rng *r, struct timespec times[2]);

/* mkdirat and open; an existing directory is taken as it is. */
int corpus_mkdir(int at, const char *name);

/* Prints "corpus: WHAT: errno's text" and exits with 1. */
_Noreturn void corpus_die(const char *what);

/* The makers, each fills the empty directory opts->root. */
void corpus_make_tree(const struct corpus_opts *opts, uint64_t entries); /* small and wide shapes */
void corpus_make_flat(const struct corpus_opts *opts, uint64_t files);
void corpus_make_content(const struct corpus_opts *opts);
void corpus_make_shape_large(const struct corpus_opts *opts);

#endif
