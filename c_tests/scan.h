/* scan.h - for tests: a tree and a library, and what a job does to make the one the picture of the
 * other, in one thread.
 * Owner:  close_lib() ends what open_lib() made. Thread: the test's. Errors: fail the test. */
#ifndef SD_C_TESTS_SCAN_H
#define SD_C_TESTS_SCAN_H

#include <stdatomic.h>

#include "engine/reconcile.h"
#include "engine/rules.h"
#include "engine/store.h"
#include "support.h"

enum { ROOT = 1, JOB = 1 };

struct lib {
  char dir[256], root[256];
  struct sd_file_id own; /* a file that is left out; ino 0: none */
  struct sd_store *writer, *reader;
  atomic_llong next_id;
  int64_t known; /* ids below this were there before the scan; 0: it is the first one */
  size_t batch;
  const struct sd_rules *rules; /* NULL: none */
  const char *find;             /* what find(1) shall not see, as its arguments */
  struct sd_buf *left; /* directories that an interrupted scan left, as a checkpoint has them */
  size_t left_len;
};

/* What a scan did. */
struct scan {
  struct sd_write_count n;
  struct sd_sweep_count swept;
  uint64_t content; /* entries whose bytes may differ */
};

/* An empty tree and a library with one location, whose root is entry 1, below `dir`. */
struct lib open_lib(const char *dir);
void close_lib(struct lib *l);

void exec(struct sd_store *s, const char *sql);

/* Walks the tree, writes what differs, matches and sweeps. */
struct scan scan(struct lib *l);

/* The same, ended after so many transactions, as by a crash; false where it was through before.
 * The next scan goes on from there, but for give_up(). */
bool scan_some(struct lib *l, int transactions);
void give_up(struct lib *l);

#endif
