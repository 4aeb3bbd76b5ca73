/* reconcile.h - a directory's listing against the library's rows: insert, update, move, vanish or
 * nothing.
 *
 * Names are matched in the order of the index, so that a directory costs one range scan. A file
 * system may have another device number than the last time: that is no difference. An entry is its
 * inode: where another inode has taken a name, the row of that name has to make room. A
 * directory that is new under its name is looked for by its inode, so that what is below it keeps
 * its rows. Files that moved are found later, among what is missing: see sd_store_match().
 *
 * Owner:  the caller owns the reconciler; it owns its statements and borrows the store.
 * Thread: as the store (a reader of its own per thread).
 * Errors: 0 or a negative code with *err filled. */
#ifndef SD_ENGINE_RECONCILE_H
#define SD_ENGINE_RECONCILE_H

#include "engine/store.h"
#include "engine/walk.h"

struct sd_reconcile;

/* What tells that the bytes of a file may differ from those that were hashed. */
enum sd_changed_by {
  SD_CHANGED_BY_INODE, /* size, mtime; another inode has the name, or the inode another file */
  SD_CHANGED_BY_MTIME, /* size, mtime: where inodes do not last */
  SD_CHANGED_BY_CTIME, /* as inode, and ctime: by any change of attributes */
};

struct sd_reconcile_opts {
  int64_t location_id;
  int64_t moves_below; /* directories with a smaller id may have moved; 0: the library has none */
  enum sd_changed_by changed_by;
};

int sd_reconcile_open(struct sd_store *reader, const struct sd_reconcile_opts *opts,
                      struct sd_reconcile **out, struct sd_err *err);
void sd_reconcile_close(struct sd_reconcile *r); /* accepts NULL */

/* One read transaction around a step of the walk. */
int sd_reconcile_begin(struct sd_reconcile *r, struct sd_err *err);
void sd_reconcile_end(struct sd_reconcile *r);

/* An sd_diff_fn; `ud` is the struct sd_reconcile. */
int sd_reconcile_diff(void *ud, struct sd_listing *l, struct sd_err *err);

/* An sd_root_fn, likewise. */
int sd_reconcile_root(void *ud, struct sd_dir *root, int fd, const struct sd_stat *now,
                      struct sd_batch *b, struct sd_err *err);

#endif
