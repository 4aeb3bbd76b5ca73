/* scope.h - what applies in a directory and below: ignore files, and what is inherited.
 *
 * Each scope holds the one above it. A directory that adds nothing has none of its own, so that
 * most share one.
 *
 * Owner:  reference counted; whoever made or took a reference puts it back.
 * Thread: the counter is atomic; a scope does not change once it is made.
 * Errors: 0, or a code of sd_err_is_exhausted(). What is wrong with a file is data, see struct
 *         sd_scope_errors. */
#ifndef SD_ENGINE_SCOPE_H
#define SD_ENGINE_SCOPE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "engine/entry.h"
#include "engine/ignore.h"
#include "engine/names.h"

struct sd_rules;

/* Ignore files that apply in one directory are not larger than this together, in memory. */
enum { SD_SCOPE_BYTES_MAX = 16 * 1024 * 1024 };

struct sd_scope {
  struct sd_scope *above;    /* NULL: nothing applies above */
  struct sd_ignore *git;     /* .gitignore; each of the three may be NULL */
  struct sd_ignore *exclude; /* .git/info/exclude */
  struct sd_ignore *dot;     /* .ignore */
  size_t base;               /* bytes of the path up to here, with a slash */
  size_t bytes;              /* of memory, with all above */
  atomic_uint refs;
  bool border;   /* .gitignore files above do not apply */
  bool dots;     /* here or above is a .ignore */
  bool accepted; /* a child here or above satisfies accept_children */
  bool included; /* this directory or one above matches an include pattern */
};

struct sd_scope *sd_scope_get(struct sd_scope *s); /* accepts NULL */
void sd_scope_put(struct sd_scope *s);             /* accepts NULL */

/* A directory, seen from outside of the walk. */
struct sd_place {
  int fd;
  const struct sd_names *names; /* all that it has in it; NULL: not known, fd is asked */
  const char *path;             /* `base` bytes: to this directory, with a slash behind it */
  size_t base;
  size_t root; /* how many of them lead to the root of the walk; SIZE_MAX: above it */
  const struct sd_file_id *own; /* files that are not to be opened */
  size_t own_len;
};

/* Whether a name is directly in the directory. */
bool sd_place_has(const struct sd_place *p, const char *name);

/* The first bytes of a regular file in it, at most `len`; 0 where it cannot be read. How many, or a
 * negative code. */
ssize_t sd_place_head(const struct sd_place *p, const char *name, char *out, size_t len);

/* Ignore files that were there and could not be used. */
struct sd_scope_errors {
  struct {
    const char *file; /* relative to the directory; both strings are static */
    int code;
    const char *reason;
  } items[3];
  size_t len;
};

/* The scope of a directory below `above` (NULL: none applies): a new reference, perhaps to `above`
 * itself, or NULL. Looks for ignore files where the rules want them. `errors` may be NULL. */
int sd_scope_enter(const struct sd_rules *r, const struct sd_place *p, struct sd_scope *above,
                   struct sd_scope **out, struct sd_scope_errors *errors);

/* Where the directory at the absolute path `root` lies inside a repository that begins above it:
 * the scope there (a reference), and in `path` the way from the repository's root, with a slash
 * behind it. Else NULL and nothing. */
int sd_scope_above(const struct sd_rules *r, const char *root, struct sd_scope **out,
                   struct sd_buf *path);

/* The ignore files that apply to what is directly in a directory, those that outweigh others first:
 * each .ignore, then each .gitignore up to the border, the nearest first, then the exclude file. */
struct sd_lists {
  struct sd_list *items;
  size_t items_len, items_cap;
};

/* For the directory at the end of `base` bytes of the path, whose scope is `s`. */
int sd_lists_fill(struct sd_lists *l, const struct sd_scope *s, const char *path, size_t base);
void sd_lists_fini(struct sd_lists *l);

/* As sd_ignore_match(). */
struct sd_why;
int sd_lists_match(const struct sd_lists *l, const struct sd_ignore_name *n, struct sd_why *why);

/* ---- directories that came from a checkpoint ---- */

/* The scopes on the way to the directory that was looked for last: what they have in common with
 * the next is not read again. */
struct sd_trail {
  struct sd_buf path;
  struct sd_trail_step *steps;
  size_t steps_len, steps_cap;
};

void sd_trail_fini(struct sd_trail *t);

/* The scope that a directory at p->path inherits: the root's, and that of each directory between
 * them, read from the disk. `p->fd` is the root's. A new reference, or NULL. */
int sd_trail_find(struct sd_trail *t, const struct sd_rules *r, const struct sd_place *p,
                  struct sd_scope *above, struct sd_scope **out);

#endif
