/* matcher.h - does a name match? One thing for substrings, shell patterns and regular expressions.
 *
 * Owner:  the caller owns the matcher.
 * Thread: one thread at a time.
 * Errors: 0 or a negative code with *err filled: SD_EPATTERN, -ENOMEM. */
#ifndef SD_ENGINE_MATCHER_H
#define SD_ENGINE_MATCHER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct sd_matcher;

/* Numbers that SQL passes: see sd_match() in name_search.h. */
enum sd_match_kind {
  SD_MATCH_CONTAINS = 0,
  SD_MATCH_GLOB = 1, /* the whole of it */
  SD_MATCH_REGEX = 2,
  SD_MATCH_BEGINS = 3,
  SD_MATCH_ENDS = 4,
  SD_MATCH_GLOB_PATH = 5, /* as GLOB, where a slash is something special */
  SD_MATCH_KINDS = 6,
  SD_MATCH_IGNORE_CASE = 8, /* added: letters of ASCII, where the pattern is ASCII; else as
                               regular expressions fold characters */
};

/* *offset: the byte of the pattern at which it is wrong. */
int sd_matcher_open(int kind, const char *pattern, size_t len, struct sd_matcher **out,
                    size_t *offset, struct sd_err *err);
void sd_matcher_close(struct sd_matcher *m); /* accepts NULL */

/* 1: it matches; 0: it does not. */
int sd_matcher_match(struct sd_matcher *m, const char *s, size_t n, struct sd_err *err);

/* Bytes that every match contains, letters of ASCII in lower case; maybe none. */
size_t sd_matcher_needle(const struct sd_matcher *m, const char **out);

/* Whether matching is no more than finding bytes somewhere, so that sd_matcher_find() looks through
 * many names at once. */
bool sd_matcher_is_find(const struct sd_matcher *m);

/* The text as it is looked through: itself, or a copy in lower case that lives until the next call.
 * NULL when memory is out. */
const char *sd_matcher_fold(struct sd_matcher *m, const char *s, size_t n);

/* Where the pattern is found first in the `n` bytes, which were folded; NULL: nowhere. */
const char *sd_matcher_find(const struct sd_matcher *m, const char *s, size_t n);

#endif
