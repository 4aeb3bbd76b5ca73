/* names.h - the names in a directory, a part at a time, sorted.
 * Owner:  the caller owns the struct; names live until the next read.
 * Thread: one thread at a time. Errors: 0, 1 at the end of the directory, or a negative errno. */
#ifndef SD_ENGINE_NAMES_H
#define SD_ENGINE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "engine/cursor.h"

struct sd_name {
  uint64_t prefix; /* the first eight bytes, big-endian: most comparisons end here */
  const char *name;
  uint16_t len;
  bool blob;    /* not well-formed UTF-8 */
  uint8_t kind; /* enum sd_kind; 0: the file system does not say it here */
  bool out;     /* sd_names_drop() takes it away */
};

struct sd_names {
  struct sd_name *items;
  size_t len, cap;
  char *dents; /* what getdents64(2) fills */
  struct sd_arena arena;
};

int sd_names_init(struct sd_names *n);
void sd_names_fini(struct sd_names *n);

/* Reads from where `fd` stands, without "." and "..", until a part is full. 1: that was the end. */
int sd_names_read(struct sd_names *n, int fd);

/* Drops the names that the cursor has seen, and lets it see the others. */
int sd_names_only_new(struct sd_names *n, struct sd_dir_cursor *c);

/* Undoes sd_names_only_new(). */
void sd_names_forget(const struct sd_names *n, struct sd_dir_cursor *c);

/* In the order of sd_name_compare(); equal names once. */
void sd_names_sort(struct sd_names *n);

/* Among sorted names; NULL: it is not there. */
const struct sd_name *sd_names_find(const struct sd_names *n, const char *name);

/* Takes away the names that are marked `out`; the others stay in order. */
void sd_names_drop(struct sd_names *n);

#endif
