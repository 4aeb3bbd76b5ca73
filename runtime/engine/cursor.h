/* cursor.h - a directory's listing between two steps: too large for one batch.
 * Owner:  the directory it stands in. Thread: as the directory. Errors: as each function says. */
#ifndef SD_ENGINE_CURSOR_H
#define SD_ENGINE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `fd` is read on from where it stands; `seen` are the 64-bit hashes of the names so far, so that a
 * name is not taken twice and what vanished is known at the end. */
struct sd_dir_cursor {
  int fd;
  size_t count, cap; /* cap is a power of two, or 0 */
  uint64_t *seen;    /* 0: free place */
};

struct sd_dir_cursor *sd_dir_cursor_new(int fd);
void sd_dir_cursor_free(struct sd_dir_cursor *c); /* accepts NULL; closes fd */

uint64_t sd_name_hash(const char *name, size_t len); /* never 0 */

/* 1: was new and is there now; 0: was there; -ENOMEM. */
int sd_dir_cursor_add(struct sd_dir_cursor *c, uint64_t hash);
void sd_dir_cursor_remove(struct sd_dir_cursor *c, uint64_t hash);
bool sd_dir_cursor_has(const struct sd_dir_cursor *c, uint64_t hash);

#endif
