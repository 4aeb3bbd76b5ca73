/* walk_internal.h - what the files of the walk share: walk.c has what all walkers know, walker.c
 * the steps of one, walk_dir.c how it comes into a directory, walk_listing.c what it finds there.
 *
 * Owner, thread, errors: as walk.h says, unless a declaration says otherwise. */
#ifndef SD_ENGINE_WALK_INTERNAL_H
#define SD_ENGINE_WALK_INTERNAL_H

#include "base/buf.h"
#include "base/uuid.h"
#include "engine/filter.h"
#include "engine/gather.h"
#include "engine/names.h"
#include "engine/walk.h"

struct sd_walk {
  struct sd_walk_opts opts;
  struct sd_file_id *own;
  struct sd_dir *root;
  struct sd_stat root_stat;
  struct sd_filter_tree rules; /* rules.rules is NULL where there are none */
};

struct sd_walker {
  struct sd_walk *walk;
  sd_diff_fn diff;
  void *ud;
  sd_accept_fn accept; /* may be NULL */
  void *accept_ud;
  struct sd_names names; /* one listing's names; reused */
  struct sd_uuid_gen uuids;
  uint64_t now_ms; /* wall clock at the start of the listing */
  int64_t id_next, id_end;
  struct sd_gather gather; /* of new names */
  struct sd_buf path;      /* scratch */
  struct sd_dir **stack;
  size_t stack_len, stack_cap;
  struct sd_dir *last;             /* that the step has finished; NULL: none */
  struct sd_filter *filter;        /* NULL: nothing is left out */
  uint64_t skipped[SD_RULE_COUNT]; /* of the part in hand */
};

static inline bool sd_walker_canceled(const struct sd_walker *wk) {
  const atomic_bool *c = wk->walk->opts.cancel;
  return c && atomic_load_explicit(c, memory_order_relaxed);
}

/* Puts a directory on the stack. Takes over the reference, also when there is no room. Like all
 * that has no err here: 0 or -ENOMEM. */
int sd_walker_push(struct sd_walker *wk, struct sd_dir *d);

/* Notes an error or a skip at `name` in `d`, or at `d` itself (name NULL). */
int sd_walker_note(struct sd_walker *wk, struct sd_batch *b, uint8_t op, int code,
                   const struct sd_dir *d, const char *name, const char *reason);

/* The same for what the system said, and that the directory cannot be read: what the library has of
 * it stays. A code of sd_err_is_exhausted() is not noted, but given back: it ends the step. */
int sd_walker_note_error(struct sd_walker *wk, struct sd_batch *b, uint8_t op, int code,
                         const struct sd_dir *d, const char *name);
int sd_walker_cannot_read(struct sd_walker *wk, const struct sd_dir *d, struct sd_batch *b,
                          int code);

/* Opens the directory. 0: *fd is open, for the caller to close; 1: it cannot or shall not be read,
 * and that is noted. */
int sd_walker_enter(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b, int *fd,
                    struct sd_err *err);

/* One part of the listing of a directory that is open at `fd`, from names to settled entries. 0:
 * the directory is finished; 1: it goes on; 2: canceled, to be read again. */
int sd_walker_list(struct sd_walker *wk, struct sd_dir *d, int fd, struct sd_batch *b,
                   struct sd_err *err);

/* A mount that a rule does not let us into: nothing is below it, whatever the library has there. 1,
 * or a negative code. */
int sd_walker_refuse(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b, uint8_t rule,
                     struct sd_err *err);

#endif
