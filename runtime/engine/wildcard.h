/* wildcard.h - shell patterns over names and paths: `*`, `?`, `[a-z]`, `[!x]`, `[[:alpha:]]`, `\x`,
 * `**`.
 *
 * `?` and `[` stand for one character where the subject is UTF-8 there, else for one byte. Classes
 * are those of ASCII; a bracket with one that does not exist matches nothing. `**` matches
 * everything; where `path` is set, nothing else matches a slash.
 *
 * Owner: nothing is kept. Thread: any.
 * Errors: none; a `[` that nothing closes stands for itself. */
#ifndef SD_ENGINE_WILDCARD_H
#define SD_ENGINE_WILDCARD_H

#include <stdbool.h>
#include <stddef.h>

struct sd_wildcard_opts {
  bool ignore_case; /* letters of ASCII */
  bool path;        /* slashes are something special */
};

/* Whether the whole of `s` matches. */
bool sd_wildcard_match(const char *pattern, size_t pattern_len, const char *s, size_t n,
                       const struct sd_wildcard_opts *o);

/* The longest piece of the pattern that stands for itself: every match contains it. */
size_t sd_wildcard_literal(const char *pattern, size_t len, const char **out);

#endif
