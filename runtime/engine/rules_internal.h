/* rules_internal.h - what the files of the rules share; nobody else includes it.
 * Owner, thread, errors: as rules.h. */
#ifndef SD_ENGINE_RULES_INTERNAL_H
#define SD_ENGINE_RULES_INTERNAL_H

#include "engine/entry.h"
#include "engine/ignore.h"
#include "engine/rules.h"
#include "engine/scope.h"

/* ---- tables ---- */

struct sd_known_names {
  uint8_t rule;
  const char *siblings; /* words, one of which must be beside it; NULL: nothing has to */
  const char *globs;    /* lines */
};
extern const struct sd_known_names sd_known_names[];
extern const size_t sd_known_names_len;

struct sd_known_kind {
  uint8_t rule;
  const char *extensions; /* words */
};
extern const struct sd_known_kind sd_known_kinds[];
extern const size_t sd_known_kinds_len;

/* ---- a rule set ---- */

/* Names of children that decide about their directory. */
struct sd_children {
  char **items;
  size_t items_len, items_cap;
};

struct sd_rules {
  uint32_t named;
  struct sd_ignore *system; /* of the named rules; pattern n is one of groups[n - 1] */
  const struct sd_known_names **groups;
  struct sd_ignore *include, *exclude; /* may be NULL */
  struct sd_children accept, reject;
  uint64_t *extensions; /* sorted; see pack_extension() */
  size_t extensions_len, extensions_cap;
  uint8_t only; /* the rule that stands for all only_*; 0: none is chosen */
  int64_t min_size, max_size, newer, older;
  bool one_filesystem, remote, snapshots;
  bool names;    /* a rule looks at names */
  bool stats;    /* a rule looks at sizes or times */
  bool children; /* a rule looks at what a directory has in it */
};

static inline bool sd_rules_has(const struct sd_rules *r, uint8_t rule) {
  return r->named >> rule & 1;
}

/* ---- questions ---- */

/* Why an entry stays or does not. */
struct sd_why {
  const char *file;         /* an ignore file's name; NULL: no ignore file */
  size_t base;              /* where in the path its directory ends */
  struct sd_ignore_hit hit; /* hit.pattern is NULL where no pattern decides */
};

/* A directory, and what applies to all that is directly in it. */
struct sd_here {
  struct sd_place place;
  const struct sd_scope *scope; /* borrowed; may be NULL */
  struct sd_lists lists;
  uint64_t include, exclude; /* sd_ignore_paths() of the user's patterns */
};

/* `scope` is the directory's own; its place is set. */
int sd_here_enter(struct sd_here *h, const struct sd_rules *r, const struct sd_scope *scope);
void sd_here_fini(struct sd_here *h);

struct sd_question {
  struct sd_ignore_name name;
  const struct sd_here *here; /* the directory that it is in */
  struct sd_why *why;         /* may be NULL */
};

/* The rule that leaves it out by its name, or 0. */
uint8_t sd_rules_by_name(const struct sd_rules *r, const struct sd_question *q);

/* The rule that leaves it out by its attributes, or 0. */
uint8_t sd_rules_by_stat(const struct sd_rules *r, const struct sd_stat *st);

/* The rule that leaves a directory empty for what it has in it, or 0; *child: what that is. Or a
 * code of sd_err_is_exhausted(). */
int sd_rules_by_children(const struct sd_rules *r, const struct sd_place *place,
                         const char **child);

/* The rule that does not let the walk into the mount at `fd`, or 0. `root`: a descriptor of the
 * root of the walk. */
uint8_t sd_rules_by_mount(const struct sd_rules *r, int fd, uint64_t dev, int root,
                          uint64_t root_dev);

#endif
