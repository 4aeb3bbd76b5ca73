/* utf8.h - is this text? Thread: any. Errors: none. */
#ifndef SD_BASE_UTF8_H
#define SD_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Whether `n` bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most
 * U+10FFFF) without a NUL. */
bool sd_utf8_valid(const char *s, size_t n);

#endif
