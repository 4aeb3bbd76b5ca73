/* rules.h - what is left out of the index, and by which rule.
 *
 * A rule set is compiled from options and then only read. An entry stays when every rule lets it:
 * rules about names come first, those about size and age last. What a rule says of a directory is
 * true of all below it, since the walk does not enter what is left out. Rules that say what is
 * wanted (only_*, include, sizes, ages) are about files and never leave out a directory.
 *
 * gitignore: .gitignore, .git/info/exclude and .ignore, nested, with git's meaning. .gitignore
 * counts outside of repositories as well. A repository's root (a directory with a .git that is a
 * repository's) is a border for those above it, and the inside of a .git for all. Where the root of
 * the walk lies inside a repository, the repository's files above it count too. .ignore files
 * outweigh all others and know no border. The user's own file (core.excludesFile) is not looked at:
 * the index must not depend on who runs it.
 *
 * Owner:  whoever compiled the set; it must outlive the walks that use it.
 * Thread: any; a set does not change.
 * Errors: 0 or a negative code with *err filled. */
#ifndef SD_ENGINE_RULES_H
#define SD_ENGINE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* Frozen: these numbers are stored. */
enum sd_rule {
  SD_RULE_NONE = 0, /* stays */
  SD_RULE_GITIGNORE = 1,
  SD_RULE_NO_HIDDEN = 2,
  SD_RULE_NO_GIT = 3,
  SD_RULE_NO_DEV_DIRS = 4,
  SD_RULE_NO_SYSTEM_FILES = 5,
  SD_RULE_NO_CACHES = 6,
  SD_RULE_ONLY_IMAGES = 7,
  SD_RULE_ONLY_VIDEOS = 8,
  SD_RULE_ONLY_AUDIO = 9,
  SD_RULE_ONLY_DOCUMENTS = 10,
  SD_RULE_INCLUDE = 11,
  SD_RULE_EXCLUDE = 12,
  SD_RULE_MIN_SIZE = 13,
  SD_RULE_MAX_SIZE = 14,
  SD_RULE_NEWER = 15,
  SD_RULE_OLDER = 16,
  SD_RULE_ACCEPT_CHILDREN = 17,
  SD_RULE_REJECT_CHILDREN = 18,
  SD_RULE_ONE_FILESYSTEM = 19,
  SD_RULE_REMOTE = 20,
  SD_RULE_SNAPSHOT = 21,
  SD_RULE_ACCEPT_ENTRY = 22, /* a script's predicates: see walk.h */
  SD_RULE_ACCEPT_DIRECTORY = 23,
};
enum { SD_RULE_COUNT = 24 };

/* "gitignore", "no_hidden", … */
const char *sd_rule_name(uint8_t rule);

struct sd_rules;

struct sd_rules_opts {
  uint32_t named; /* the rules that are chosen by name: sd_rules_parse() */

  /* Patterns as in ignore.h, relative to the root of the walk; a later one outweighs an earlier
   * one. include: only files that a pattern matches stay, and those below a directory that one
   * matches. exclude: what a pattern matches is left out. */
  const char *const *include, *const *exclude;
  size_t include_len, exclude_len;

  /* Names that a directory may have directly in it. accept_children: only files stay that are at
   * any depth below a directory with one of them. reject_children: such a directory is left
   * empty. */
  const char *const *accept_children, *const *reject_children;
  size_t accept_children_len, reject_children_len;

  int64_t min_size, max_size; /* bytes, of regular files; 0: no bound. The bounds themselves stay */
  int64_t newer, older;       /* mtime of regular files, ns since 1970; 0: no bound. Left out is
                               * what is older than `newer`, or newer than `older` */

  bool one_filesystem;    /* mounts below the root are not entered, nor are btrfs subvolumes */
  bool remote, snapshots; /* file systems of these kinds are entered also below the root */
};

/* A list as "gitignore, no_hidden" into opts.named; NULL and "" are none. An unknown name is
 * -EINVAL, and *err lists the known ones. */
int sd_rules_parse(const char *list, uint32_t *named, struct sd_err *err);

/* The n-th of the rules that can be chosen by name, from 0; NULL behind the last. */
const char *sd_rules_known(size_t n);

/* A pattern or a name of a child that is none is -EINVAL. */
int sd_rules_compile(const struct sd_rules_opts *o, struct sd_rules **out, struct sd_err *err);
void sd_rules_free(struct sd_rules *r); /* accepts NULL */

/* What becomes of one path, and why. */
struct sd_verdict {
  uint8_t rule;         /* enum sd_rule */
  struct sd_buf path;   /* what the rule is about: the path, or a directory above it */
  struct sd_buf detail; /* FILE:LINE:PATTERN, a pattern, a child's name; may be empty. Also of a
                         * pattern of an ignore file that keeps the path */
};

/* Decides for `path`, relative to `root`, as a walk of `root` would. What is not there is taken for
 * a file, what stands before a slash for a directory. */
int sd_rules_decide(const struct sd_rules *r, const char *root, const char *path, size_t len,
                    struct sd_verdict *v, struct sd_err *err);
void sd_verdict_fini(struct sd_verdict *v);

#endif
