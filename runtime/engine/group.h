/* group.h - some of the sub-directories of one directory, packed: a directory that holds a million
 * others leaves as many to be walked, which would not fit in memory one by one.
 * Owner:  a cursor has a list of groups; afterwards each is the struct sd_dir that stands for it.
 * Thread: as its owner; nothing changes once it is complete.
 * Errors: -ENOMEM, or NULL as each function says. */
#ifndef SD_ENGINE_GROUP_H
#define SD_ENGINE_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "engine/dir.h"

struct sd_group;

struct sd_group_item {
  int64_t id;
  uint64_t ino, device;
  const char *name; /* one component, not terminated; lives as long as the group */
  uint16_t name_len;
  bool known, mount; /* as struct sd_dir has them */
};

/* Adds what is to be remembered of `child` to the first group of the list, or to a new one. */
int sd_group_add(struct sd_group **list, const struct sd_dir *child);

/* Takes a group off the list; NULL where it is empty. */
struct sd_group *sd_group_take(struct sd_group **list);

void sd_group_free(struct sd_group *list); /* accepts NULL */

/* What stands for the group on a stack or in a queue; takes it over. NULL when memory is out. */
struct sd_dir *sd_group_dir(struct sd_dir *parent, struct sd_group *g);

/* The item at *at (0: the first), which moves on; false at the end. */
bool sd_group_next(const struct sd_group *g, size_t *at, struct sd_group_item *item);

/* Appends the items as bytes, for sd_group_decode(). */
int sd_group_encode(const struct sd_group *g, struct sd_buf *out);

/* A group that comes from a checkpoint: every item is known, and perhaps a mount. NULL where the
 * bytes are damaged or memory is out. */
struct sd_group *sd_group_decode(const uint8_t *p, size_t len);

#endif
