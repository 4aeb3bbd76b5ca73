/* glob.h - shell patterns over bytes, as git reads them.
 *
 * `*` is any run of bytes, `?` any byte, `[a-z]`, `[!a-z]`, `[^a-z]` and `[[:alpha:]]` one of a
 * set; a backslash takes the next byte as it is. With SD_GLOB_PATH none of them crosses a slash,
 * but for `**` where it is all that stands between two slashes, or between one and an end. A
 * pattern that is malformed (an open bracket, an unknown class, a backslash at its end) matches
 * nothing.
 *
 * Neither recursion nor memory; the time is at most the product of both lengths.
 *
 * Thread: any. Errors: none. */
#ifndef SD_ENGINE_GLOB_H
#define SD_ENGINE_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SD_GLOB_PATH = 1 };

bool sd_glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
                   unsigned flags);

/* Whether the class `name` ("alpha", "upper", …; `len` bytes) has a byte: 1 or 0; -1: there is no
 * such class. Only ASCII is in any. */
int sd_glob_class(const char *name, size_t len, uint8_t c);

/* Bytes at the beginning of a pattern that stand for themselves. */
size_t sd_glob_literal(const char *pattern, size_t len);

/* What can be said of the last component of all that a pattern matches. */
enum sd_glob_kind {
  SD_GLOB_ANY,    /* no more than `bytes` */
  SD_GLOB_NEVER,  /* malformed: there is nothing that it matches */
  SD_GLOB_NAME,   /* it is `tail` */
  SD_GLOB_SUFFIX, /* it ends with `tail` */
};

struct sd_glob_end {
  enum sd_glob_kind kind;
  const char *tail; /* points into the pattern; not empty where it is set */
  size_t tail_len;
  size_t at;      /* where it begins in the pattern */
  uint64_t bytes; /* sd_glob_byte() of bytes that must be in it */
};

struct sd_glob_end sd_glob_end(const char *pattern, size_t len);

/* A byte as a bit of a set in which some share a place; those that names have most do not. */
extern const uint64_t sd_glob_bits[256];
static inline uint64_t sd_glob_byte(uint8_t c) {
  return sd_glob_bits[c];
}

#endif
