/* regex.h - Perl-compatible regular expressions over names, which are bytes.
 *
 * A subject that is valid UTF-8 is matched as text, any other one byte by byte: so `.` is a
 * character where there are characters, and no name is out of reach. A pattern that is itself not
 * UTF-8 is matched byte by byte always.
 *
 * Owner:  the caller owns the expression; sd_regex_close() releases it.
 * Thread: one thread at a time.
 * Errors: 0 or a negative code with *err filled: SD_EPATTERN, -ENOMEM. */
#ifndef SD_ENGINE_REGEX_H
#define SD_ENGINE_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct sd_regex;

/* *offset is the byte of the pattern at which it is wrong. */
int sd_regex_open(const char *pattern, size_t len, bool ignore_case, struct sd_regex **out,
                  size_t *offset, struct sd_err *err);
void sd_regex_close(struct sd_regex *re); /* accepts NULL */

/* 1: somewhere in the `n` bytes there is a match; 0: none. SD_EPATTERN where the search for one was
 * given up, since it would take too long. */
int sd_regex_match(struct sd_regex *re, const char *s, size_t n, struct sd_err *err);

#endif
