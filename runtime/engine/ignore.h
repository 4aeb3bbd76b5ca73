/* ignore.h - a list of patterns as .gitignore files have them.
 *
 * A later pattern outweighs an earlier one; `!` takes back what an earlier one excludes. A pattern
 * with a slash at its beginning or in its middle is relative to the directory of the list, any
 * other one is about names at any depth; a slash at its end asks for a directory. The meaning is
 * git's, byte by byte. That nothing comes back below a directory that is excluded is up to the
 * caller, who does not enter it.
 *
 * Most patterns are found by the hash of a name or of its extension; what a name costs follows the
 * others.
 *
 * Owner:  whoever made the list; sd_ignore_free() releases it.
 * Thread: any; a list does not change once it is made.
 * Errors: 0 or a negative code with *err filled. */
#ifndef SD_ENGINE_IGNORE_H
#define SD_ENGINE_IGNORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
  SD_IGNORE_BYTES_MAX = 1024 * 1024, /* of the text of one list */
  SD_IGNORE_PATTERNS_MAX = 65536,
};

struct sd_ignore;

/* The lines of a file: comments, empty lines, a byte order mark and CRLF are as git has them. Too
 * much is -EFBIG. */
int sd_ignore_parse(const char *text, size_t len, struct sd_ignore **out, struct sd_err *err);

/* Patterns just as they stand, numbered from 1. A malformed one is -EINVAL, and *err names it. */
int sd_ignore_globs(const char *const *globs, size_t n, struct sd_ignore **out, struct sd_err *err);

void sd_ignore_free(struct sd_ignore *ig); /* accepts NULL */

size_t sd_ignore_count(const struct sd_ignore *ig); /* patterns that could match something */
size_t sd_ignore_bytes(const struct sd_ignore *ig); /* of memory */

/* What is asked for: made once for a name by sd_ignore_name(), and used with all lists. */
struct sd_ignore_name {
  const char *path; /* without a leading slash, from a directory at or above those of all lists */
  size_t len;
  size_t at; /* where the last component begins */
  bool dir;
  /* Of the last component: */
  uint32_t hash;
  uint32_t extension; /* hash of what begins at its last dot; 0: it has none */
  uint64_t bytes;     /* sd_glob_byte() of each */
};

/* The component must not be empty. */
struct sd_ignore_name sd_ignore_name(const char *path, size_t len, size_t at, bool dir);

struct sd_ignore_hit {
  const char *pattern; /* as the list has it, without the blanks behind it; not terminated */
  size_t len;
  uint32_t line; /* from 1 */
};

/* The patterns about paths that may be about what is directly in a directory, for
 * sd_ignore_match(): asked once for all names in it. `dir` is its path from the list's directory,
 * without slashes at its ends. */
enum { SD_IGNORE_PATHS = 62 };
#define SD_IGNORE_ALL UINT64_MAX
uint64_t sd_ignore_paths(const struct sd_ignore *ig, const char *dir, size_t len);

/* 1: excluded; -1: taken back; 0: no pattern matches. `base`: bytes of the path up to the list's
 * directory, its slash among them. `paths`: of the name's directory, or SD_IGNORE_ALL. `hit` (may
 * be NULL) is set to the pattern that decides. */
int sd_ignore_match(const struct sd_ignore *ig, const struct sd_ignore_name *n, size_t base,
                    uint64_t paths, struct sd_ignore_hit *hit);

#endif
