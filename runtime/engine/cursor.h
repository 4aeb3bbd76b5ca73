/* cursor.h - a directory's listing between two steps: too large for one batch.
 * Owner:  the directory it stands in. Thread: as the directory. Errors: as each function says. */
#ifndef SD_ENGINE_CURSOR_H
#define SD_ENGINE_CURSOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `fd` is read on from where it stands. Where there are no descriptors left it is -1, and the
 * directory is opened again and read on from `pos` (getdents64(2), d_off). `seen` are the 64-bit
 * hashes of the names so far, so that a name is not taken twice and what vanished is known at the
 * end. */
struct sd_dir_cursor {
  int fd;
  atomic_int *fds_left; /* where fd is counted */
  int64_t pos;
  size_t count, cap; /* cap is a power of two, or 0 */
  uint64_t *seen;    /* 0: free place */
};

/* A duplicate of `fd` is kept if *fds_left allows it. */
struct sd_dir_cursor *sd_dir_cursor_new(int fd, atomic_int *fds_left);
void sd_dir_cursor_free(struct sd_dir_cursor *c); /* accepts NULL; closes fd */

uint64_t sd_name_hash(const char *name, size_t len); /* never 0 */

/* 1: was new and is there now; 0: was there; -ENOMEM. */
int sd_dir_cursor_add(struct sd_dir_cursor *c, uint64_t hash);
void sd_dir_cursor_remove(struct sd_dir_cursor *c, uint64_t hash);
bool sd_dir_cursor_has(const struct sd_dir_cursor *c, uint64_t hash);

#endif
