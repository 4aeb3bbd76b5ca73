/* sql.h - SQL of Lua: one statement, bound values, all of its rows.
 * Owner:  the caller owns the struct; sd_sql_fini() releases text, values and rows.
 * Thread: one thread at a time; runs where its store runs.
 * Errors: 0 or a negative code with *err filled; for what SQLite refuses SD_EDAMAGED
 *         where the statement is our own, else SD_ESQL. */
#ifndef SD_ENGINE_SQL_H
#define SD_ENGINE_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "engine/store.h"

enum sd_value_type { SD_VALUE_NULL, SD_VALUE_INT, SD_VALUE_REAL, SD_VALUE_TEXT, SD_VALUE_BLOB };

struct sd_value {
  enum sd_value_type type;
  union {
    int64_t i;
    double r;
    struct {
      const char *p; /* in the arena of the statement */
      size_t n;
    } s;
  };
};

struct sd_sql {
  struct sd_arena arena;
  const char *text;
  struct sd_value *params;
  size_t params_len, params_cap;
  const char **names; /* of the columns */
  size_t names_len, names_cap;
  struct sd_value *values; /* names_len of them a row */
  size_t values_len, values_cap;
  int64_t changes; /* rows that the statement changed */
  bool own;        /* a statement of the Lua library, on tables of ours */
};

void sd_sql_init(struct sd_sql *q);
void sd_sql_fini(struct sd_sql *q);

/* Sets the text, or adds a parameter; strings are copied. 0 or -ENOMEM. */
int sd_sql_text(struct sd_sql *q, const char *text, size_t len);
int sd_sql_param(struct sd_sql *q, const struct sd_value *v);

/* Whether bytes are stored as TEXT; else they are a BLOB. */
bool sd_sql_is_text(const char *p, size_t n);

/* Runs it and fills names, values and changes. More than one statement in the text is an error, as
 * is a number of parameters that is not the statement's. */
int sd_sql_run(struct sd_store *s, struct sd_sql *q, struct sd_err *err);

#endif
