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
int sd_csv_value(struct sd_buf *b, const struct sd_value *v);

#endif
