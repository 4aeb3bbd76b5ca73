/* filter.h - a rule set at work: which names of a listing stay.
 *
 * Between the names of a directory and statx(2): what a rule leaves out by its name is never asked
 * for. What is left out is counted by rule, not listed.
 *
 * Owner:  a tree belongs to the walk, a filter to one walker; the filter ends before the tree.
 * Thread: a tree does not change once it is open; a filter is used by one thread at a time.
 * Errors: 0, or a code of sd_err_is_exhausted(). What is wrong with an ignore file is data. */
#ifndef SD_ENGINE_FILTER_H
#define SD_ENGINE_FILTER_H

#include "engine/cursor.h"
#include "engine/dir.h"
#include "engine/names.h"
#include "engine/rules.h"
#include "engine/scope.h"

struct sd_filter_tree {
  const struct sd_rules *rules;
  const struct sd_file_id *own; /* files that are not to be opened; borrowed */
  size_t own_len;
  int root;               /* its descriptor; borrowed */
  struct sd_scope *above; /* what a repository around the root says; may be NULL */
  struct sd_buf path;     /* from that repository's root to ours, with a slash; may be empty */
};

/* `t` has all its borrowed fields set; `root` is the root's absolute path. */
int sd_filter_tree_open(struct sd_filter_tree *t, const char *root);
void sd_filter_tree_close(struct sd_filter_tree *t);

struct sd_filter;

int sd_filter_open(const struct sd_filter_tree *t, struct sd_filter **out);
void sd_filter_close(struct sd_filter *f); /* accepts NULL */

/* Turns to a directory that is open at `fd`. `whole`: all its names, sorted; NULL where they are
 * not known. The first time its ignore files are read; *errors says which could not be. *refused:
 * the rule that leaves it empty, or 0. */
int sd_filter_enter(struct sd_filter *f, struct sd_dir *d, int fd, const struct sd_names *whole,
                    struct sd_scope_errors *errors, uint8_t *refused);

/* Drops names of the directory that it was turned to, and takes them out of the cursor (may be
 * NULL): what is left out is not there for the library. Adds to counts[rule]. Names whose kind is
 * not known stay. */
int sd_filter_names(struct sd_filter *f, struct sd_names *names, struct sd_dir_cursor *cursor,
                    uint64_t *counts);

/* The rule that leaves out an entry whose attributes are known now, or 0. */
int sd_filter_entry(struct sd_filter *f, const struct sd_name *name, const struct sd_stat *st,
                    uint8_t *rule);

/* Asked in the directory that it was turned to. *rule: what leaves out a mount of this name, though
 * none is there now, or 0. */
int sd_filter_absent(struct sd_filter *f, const char *name, size_t len, uint8_t *rule);

/* The rule that does not let the walk into a mount, or 0. `fd`: the directory, or -1 where it is
 * not open yet and d->dev is known. */
uint8_t sd_filter_mount(const struct sd_filter *f, const struct sd_dir *d, int fd,
                        uint64_t root_dev);

#endif
