/* reader.h - a connection for questions: it sees the library while another process writes, and
 * changes nothing, whatever the SQL says.
 *
 * Owner:  the caller owns readers and selects; a select is closed before its reader.
 * Thread: one thread at a time; *stop may be set by any thread or by a signal handler.
 * Errors: 0 or a negative code with *err filled. SD_ESQL for what SQLite or this file refuses:
 *         sd_reader_offset() says where. SD_ECANCELED where *stop was set. */
#ifndef SD_ENGINE_READER_H
#define SD_ENGINE_READER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/sql.h"

struct sd_reader;
struct sd_select;

/* `dir` is the library's directory. While *stop is not 0 every statement ends soon; NULL: never. */
int sd_reader_open(const char *dir, const atomic_int *stop, struct sd_reader **out,
                   struct sd_err *err);
void sd_reader_close(struct sd_reader *r); /* accepts NULL */

/* Until sd_reader_leave(), or the end of the reader, all selects see the library as it is at the
 * first of them. */
int sd_reader_stay(struct sd_reader *r, struct sd_err *err);
void sd_reader_leave(struct sd_reader *r);

/* The byte of the text at which the last statement was refused; -1 where that is not known. */
int sd_reader_offset(const struct sd_reader *r);

/* Prepares the first statement of the text; *used: its bytes, so that the next one can follow.
 * *out is NULL where there are only blanks and comments. */
int sd_select_open(struct sd_reader *r, const char *text, size_t len, struct sd_select **out,
                   size_t *used, struct sd_err *err);
void sd_select_close(struct sd_select *s); /* accepts NULL */

int sd_select_params(const struct sd_select *s);

/* From the beginning, with the values that are bound anew. */
void sd_select_rewind(struct sd_select *s);

/* Binds parameter `i`, from 1; bytes must stay until the select is closed. */
int sd_select_bind(struct sd_select *s, int i, const struct sd_value *v, struct sd_err *err);

int sd_select_columns(const struct sd_select *s);
const char *sd_select_name(const struct sd_select *s, int i); /* of column `i`, from 0 */

/* 1: a row; 0: no more. */
int sd_select_next(struct sd_select *s, struct sd_err *err);

/* Column `i` of the row, from 0; bytes live until the next call of sd_select_next(). */
struct sd_value sd_select_value(const struct sd_select *s, int i);

#endif
