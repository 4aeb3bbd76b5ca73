/* rowtext.h - values as JSON and CSV, without loss.
 *
 * JSON: bytes that are not text (UTF-8 without a zero byte) become {"hex":"…"}; characters that
 * could change what a terminal shows are written as \u. CSV: as RFC 4180 has it, lines end as Unix
 * has it, bytes stay as they are; NULL is nothing, an empty string "".
 *
 * Owner:  the caller owns the buffer, to which all is appended.
 * Thread: any. Errors: 0, or -ENOMEM with the buffer in some state. */
#ifndef SD_ENGINE_ROWTEXT_H
#define SD_ENGINE_ROWTEXT_H

#include "base/buf.h"
#include "engine/sql.h"

int sd_json_value(struct sd_buf *b, const struct sd_value *v);

/* The names of `n` columns as keys of one object: appends for each a string, a colon and a zero
 * byte, which no key has. A byte that is not text becomes \xNN, and then a backslash two. Of equal
 * names the second is `name_2` and so on, with the next number where a column has that name. */
int sd_json_keys(struct sd_buf *b, const char *const *names, size_t n);

int sd_csv_value(struct sd_buf *b, const struct sd_value *v);

#endif
