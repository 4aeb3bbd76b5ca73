/* dir.h - a directory that is to be walked: its place in the tree, and a descriptor to reach it by.
 *
 * Owner:  reference counted; a child holds its parent. Whoever made or took a reference puts it
 *         back.
 * Thread: the counter is atomic. Everything else is written by the one thread that has the
 *         directory in hand, before other threads can see its children.
 * Errors: 0 or a negative errno with *err filled. */
#ifndef SD_ENGINE_DIR_H
#define SD_ENGINE_DIR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* Segments of a path that are kept with a directory are at most this long; see `anchor`. */
enum { SD_DIR_SEGMENT_MAX = 4095 };

struct sd_dir_cursor;
struct sd_group;
struct sd_scope;

struct sd_dir {
  struct sd_dir *parent;        /* NULL for the root */
  struct sd_dir_cursor *cursor; /* a listing that goes on in a later step; owned */
  struct sd_group *group;       /* not NULL: not a directory, but some of its parent's; owned */
  void *lease;                  /* the queue item that carries the directory, or NULL */
  struct sd_scope *scope; /* what the rules say in it, owned; NULL: nothing, or see `scoped` */
  atomic_int *fds_left;   /* where a kept descriptor is counted: budget of the root */
  atomic_int budget;      /* of the root: descriptors that may still be kept */
  int64_t id;             /* of its entry */
  int64_t parent_id;      /* of the entry above; the root has none */
  int64_t anchor;         /* id of the ancestor that `segment` is relative to; 0: the root */
  uint64_t dev;           /* as stat(2) says; 0: not known before it is opened */
  uint64_t device;        /* as the library calls it: see device.h */
  uint64_t ino;           /* as it was listed; of the root: 0 */
  atomic_uint refs;
  atomic_uint claims;   /* who may still need fd: its own listing, children that are not open */
  int fd;               /* -1 where the budget had none left */
  uint32_t segment_len; /* bytes at the end of the path that follow the anchor */
  uint32_t name_len;
  bool claimed; /* one of the parent's claims is ours */
  bool known;   /* the library may have rows below it */
  bool mount;   /* perhaps the root of a mount: look before entering */
  bool scoped;  /* `scope` is what applies above it; else it came from a checkpoint */
  bool entered; /* `scope` is its own: its ignore files are read */
  bool partial; /* some of what is in it could not be looked at */
  bool checked; /* is it still the one that was listed? Else it came from a checkpoint: look */
  char name[];  /* one component; or, for one that came from a checkpoint, the whole path */
};

/* A directory below `parent` (a reference of it is taken). NULL when memory is out. */
struct sd_dir *sd_dir_new(struct sd_dir *parent, const char *name, size_t len, int64_t id);

struct sd_dir *sd_dir_get(struct sd_dir *d);
void sd_dir_put(struct sd_dir *d); /* accepts NULL */

/* Appends the path relative to the root, without a leading slash; at most the last `max` bytes. */
int sd_dir_path(const struct sd_dir *d, size_t max, struct sd_buf *out);

/* Components between the root and this directory; the root is 0. */
uint32_t sd_dir_depth(const struct sd_dir *d);

/* A new descriptor for reading the directory, reached from the nearest ancestor that is open,
 * without following a symlink. The caller closes it. */
int sd_dir_open(const struct sd_dir *d, int *fd, struct sd_err *err);

/* Its last component; not for the root. */
const char *sd_dir_name(const struct sd_dir *d, size_t *len);

/* Whether the directory that it should be in is there, and has no such name: 1, 0, or a code of
 * sd_err_is_exhausted(). *above: the device of that directory then, as stat(2) says. */
int sd_dir_is_gone(const struct sd_dir *d, uint64_t *above);

/* Keeps `fd` for the children if the budget allows it, else closes it. A directory that has its own
 * descriptor no longer needs its parent's. */
void sd_dir_keep(struct sd_dir *d, int fd, atomic_int *fds_left);

/* The directory is listed to its end: its descriptor lives only as long as children need it. */
void sd_dir_listed(struct sd_dir *d);

/* openat(2) for a path of any length below `root`, no component of which may be a symlink. */
int sd_open_below(int root, const char *path, size_t len, int flags);

#endif
