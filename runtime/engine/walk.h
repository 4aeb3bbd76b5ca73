/* walk.h - lists a directory tree in batches.
 *
 * One step reads directories from a given stack, depth first, until its batch is full. Directories
 * are opened relative to their parent's descriptor, symlinks are not followed, and every entry is
 * asked with statx(2). A directory that does not fit one batch goes on in the next.
 *
 * What rules leave out is not in the listing: the library's rows of it count as vanished. It is
 * counted in batch->skipped. A directory that a rule leaves empty for what it has in it, or that
 * is a mount which is not to be entered, is an entry all the same, and nothing is below it; such a
 * mount is one of batch->skips.
 *
 * Owner:  the caller owns the walk and its walkers; a walker ends before its walk. A batch belongs
 *         to whoever took it.
 * Thread: threads may share a walk once it is open; a walker is used by one thread at a time.
 * Errors: 0 or a negative code with *err filled. An unreadable entry is data, not a failure. */
#ifndef SD_ENGINE_WALK_H
#define SD_ENGINE_WALK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/batch.h"
#include "engine/dir.h"
#include "engine/rules.h"

struct sd_walk;
struct sd_walker;

/* Called before the root is listed, with what sd_walker_open() got: compares the root itself, open
 * at `fd`, with what the library has, says what the library calls its device (see device.h), and
 * puts into the batch what differs. 1: the root is not to be listed. */
typedef int (*sd_root_fn)(void *ud, struct sd_dir *root, int fd, const struct sd_stat *now,
                          struct sd_batch *b, struct sd_err *err);

struct sd_walk_opts {
  const char *root;             /* absolute; symlinks in it were resolved by the caller */
  int64_t root_id;              /* id of the root's entry */
  size_t batch;                 /* entries that make a batch full; 0: 1000 */
  const atomic_bool *cancel;    /* set: steps end soon, with what they have; may be NULL */
  atomic_llong *next_id;        /* where ids of new entries are taken from */
  const struct sd_file_id *own; /* files that are not part of any tree: the library's */
  size_t own_len;
  int fds;    /* directories kept open between steps; 0: a quarter of those that are left */
  bool paths; /* entries and what vanished come with the paths of their directories */
  bool moves; /* the library has an older picture of the tree: ask for new directories, too */
  const struct sd_rules *rules; /* what is left out; NULL: nothing, at no cost */
  sd_root_fn root_fn;           /* may be NULL */
};

struct sd_filter;

/* What a directory holds, or a part of it. */
struct sd_listing {
  struct sd_dir *dir;
  int fd;                   /* it is open here, if it is not refused */
  struct sd_filter *filter; /* the rules, turned to it; NULL where there are none */
  bool refused;             /* a rule leaves it empty, whatever is in it */
  struct sd_batch *batch;
  struct sd_entry *entries; /* in the order of sd_name_compare(); kind 0: there, but not readable */
  size_t count;
  bool whole; /* this is all of it */
  bool last;  /* the last part */
  struct sd_dir_delta *delta;
};

/* Compares a listing with what the library has: sets id, change, old and from of each entry, adds
 * what vanished to the batch. In a directory that is not known everything is new, and it is called
 * only where `moves` asks for it, or for entries of another device than the directory's: it sets
 * st.dev of those. */
typedef int (*sd_diff_fn)(void *ud, struct sd_listing *l, struct sd_err *err);

/* Asked about each entry that the rules let stay, of `dir`; its name and attributes are known, a
 * symlink's target is not. 1: it stays; 0: it is left out; or a negative code with *err filled. */
typedef int (*sd_accept_fn)(void *ud, const struct sd_dir *dir, const struct sd_entry *e,
                            struct sd_err *err);

int sd_walk_open(const struct sd_walk_opts *opts, struct sd_walk **out, struct sd_err *err);
void sd_walk_close(struct sd_walk *w); /* accepts NULL */

struct sd_dir *sd_walk_root(struct sd_walk *w); /* borrowed */
const struct sd_stat *sd_walk_root_stat(const struct sd_walk *w);

/* A directory that a checkpoint names by its path below the root, or some of one. A new reference,
 * or NULL. */
struct sd_dir *sd_walk_restore(struct sd_walk *w, const void *data, size_t len);
int sd_walk_encode(const struct sd_dir *d, struct sd_buf *out); /* for sd_walk_restore() */

int sd_walker_open(struct sd_walk *w, sd_diff_fn diff, void *ud, struct sd_walker **out,
                   struct sd_err *err);
void sd_walker_close(struct sd_walker *wk); /* accepts NULL */

/* Before the first step. What `accept` leaves out is counted: accept_directory or accept_entry. */
void sd_walker_accept(struct sd_walker *wk, sd_accept_fn accept, void *ud);

/* Takes over the references in `dirs` (walked from the last to the first) and fills `batch`. What
 * could not be finished is in batch->born again. Sub-directories are there once their directory is
 * finished: one that is read in parts has them in its cursor, and then leaves them in groups (see
 * group.h). On failure the batch must not be used. */
int sd_walker_step(struct sd_walker *wk, struct sd_dir **dirs, size_t n, struct sd_batch *batch,
                   struct sd_err *err);

#endif
