/* cursor.h - a directory's listing between two steps: too large for one batch.
 * Owner:  the directory it stands in. Thread: as the directory. Errors: as each function says. */
#ifndef SD_ENGINE_CURSOR_H
#define SD_ENGINE_CURSOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/rules.h"

struct sd_batch;
struct sd_group;

/* `fd` is read on from where it stands. Where there are no descriptors left it is -1, and the
 * directory is opened again and read on from `pos` (getdents64(2), d_off). `seen` are the 64-bit
 * hashes of the names so far, so that a name is not taken twice and what vanished is known at the
 * end. `children` and `notes` are what the parts so far leave to be walked and to be told: they
 * come with the last part, since a listing that ends early begins anew. */
struct sd_dir_cursor {
  int fd;
  atomic_int *fds_left; /* where fd is counted */
  uint64_t dev, ino;    /* the directory that is read */
  int64_t pos;
  size_t count, cap; /* cap is a power of two, or 0 */
  uint64_t *seen;    /* 0: free place */
  struct sd_group *children;
  struct sd_batch *notes;          /* its errors and skips; NULL: none */
  uint64_t skipped[SD_RULE_COUNT]; /* as the batch has them; they come with the last part as well */
};

/* A duplicate of `fd` is kept if *fds_left allows it. */
struct sd_dir_cursor *sd_dir_cursor_new(int fd, atomic_int *fds_left);
void sd_dir_cursor_free(struct sd_dir_cursor *c); /* accepts NULL; closes fd */

/* Whether `fd` is the directory whose listing this is. */
bool sd_dir_cursor_is(const struct sd_dir_cursor *c, int fd);

/* Moves the errors from `errors` on and the skips from `skips` on out of the batch, and all of them
 * into it. When there are very many, some stay: a directory that is read again tells them twice. */
int sd_dir_cursor_hold(struct sd_dir_cursor *c, struct sd_batch *b, size_t errors, size_t skips);
int sd_dir_cursor_release(struct sd_dir_cursor *c, struct sd_batch *b);

/* Takes the descriptor out of the cursor, uncounted. */
int sd_dir_cursor_take_fd(struct sd_dir_cursor *c);

uint64_t sd_name_hash(const char *name, size_t len); /* never 0 */

/* 1: was new and is there now; 0: was there; -ENOMEM. */
int sd_dir_cursor_add(struct sd_dir_cursor *c, uint64_t hash);
void sd_dir_cursor_remove(struct sd_dir_cursor *c, uint64_t hash);
bool sd_dir_cursor_has(const struct sd_dir_cursor *c, uint64_t hash);

#endif
