#include "engine/sql.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/utf8.h"
#include "engine/store_internal.h"

void sd_sql_init(struct sd_sql *q) {
  memset(q, 0, sizeof(*q));
  sd_arena_init(&q->arena);
}

void sd_sql_fini(struct sd_sql *q) {
  free(q->params);
  free(q->names);
  free(q->values);
  sd_arena_fini(&q->arena);
  sd_sql_init(q);
}

int sd_sql_text(struct sd_sql *q, const char *text, size_t len) {
  q->text = sd_arena_copy(&q->arena, text, len);
  return q->text ? 0 : -ENOMEM;
}

bool sd_sql_is_text(const char *p, size_t n) {
  return sd_utf8_valid(p, n);
}

static bool is_bytes(const struct sd_value *v) {
  return v->type == SD_VALUE_TEXT || v->type == SD_VALUE_BLOB;
}

static int add_value(struct sd_sql *q, struct sd_value **to, size_t *len, size_t *cap,
                     const struct sd_value *v) {
  struct sd_value copy = *v;
  if (!sd_array_room((void **)to, cap, *len, sizeof(**to))) return -ENOMEM;
  if (is_bytes(v) && !(copy.s.p = sd_arena_copy(&q->arena, v->s.p, v->s.n))) return -ENOMEM;
  (*to)[(*len)++] = copy;
  return 0;
}

int sd_sql_param(struct sd_sql *q, const struct sd_value *v) {
  return add_value(q, &q->params, &q->params_len, &q->params_cap, v);
}

int sd_value_bind(sqlite3_stmt *st, int i, const struct sd_value *v) {
  switch (v->type) {
    case SD_VALUE_NULL: return sqlite3_bind_null(st, i);
    case SD_VALUE_INT: return sqlite3_bind_int64(st, i, v->i);
    case SD_VALUE_REAL: return sqlite3_bind_double(st, i, v->r);
    case SD_VALUE_TEXT:
      return sqlite3_bind_text64(st, i, v->s.p, v->s.n, SQLITE_STATIC, SQLITE_UTF8);
    default: return sqlite3_bind_blob64(st, i, v->s.p, v->s.n, SQLITE_STATIC);
  }
}

struct sd_value sd_value_column(sqlite3_stmt *st, int i) {
  struct sd_value v = {.type = SD_VALUE_NULL};
  switch (sqlite3_column_type(st, i)) {
    case SQLITE_INTEGER:
      v.type = SD_VALUE_INT;
      v.i = sqlite3_column_int64(st, i);
      break;
    case SQLITE_FLOAT:
      v.type = SD_VALUE_REAL;
      v.r = sqlite3_column_double(st, i);
      break;
    case SQLITE_TEXT:
    case SQLITE_BLOB:
      v.type = sqlite3_column_type(st, i) == SQLITE_TEXT ? SD_VALUE_TEXT : SD_VALUE_BLOB;
      v.s.p = sqlite3_column_blob(st, i);
      v.s.n = (size_t)sqlite3_column_bytes(st, i);
      if (!v.s.p) v.s.p = "";
      break;
    default: break;
  }
  return v;
}

static int refused(struct sd_store *s, const struct sd_sql *q, struct sd_err *err) {
  return q->own ? sd_store_error(s, err, "SQL") : sd_store_sql_error(s, err, "SQL");
}

/* Blanks and comments are none; what does not even parse is. */
static bool has_statement(struct sd_store *s, const char *text) {
  sqlite3_stmt *st = NULL;
  bool none = sqlite3_prepare_v2(sd_store_db(s), text, -1, &st, NULL) == SQLITE_OK && !st;
  sqlite3_finalize(st);
  return !none;
}

static int prepare(struct sd_store *s, struct sd_sql *q, sqlite3_stmt **st, struct sd_err *err) {
  const char *tail = NULL;
  if (sqlite3_prepare_v2(sd_store_db(s), q->text, -1, st, &tail) != SQLITE_OK)
    return refused(s, q, err);
  if (!*st) return sd_err_set(err, SD_ESQL, "SQL: there is no statement");
  if (has_statement(s, tail)) return sd_err_set(err, SD_ESQL, "SQL: one statement at a time");
  if ((size_t)sqlite3_bind_parameter_count(*st) != q->params_len)
    return sd_err_set(err, SD_ESQL, "SQL: %zu values for %d parameters", q->params_len,
                      sqlite3_bind_parameter_count(*st));
  for (size_t i = 0; i < q->params_len; i++) sd_value_bind(*st, (int)i + 1, &q->params[i]);
  return 0;
}

static int take_names(struct sd_sql *q, sqlite3_stmt *st) {
  int n = sqlite3_column_count(st);
  for (int i = 0; i < n; i++) {
    const char *name = sqlite3_column_name(st, i);
    if (!name || !SD_ARRAY_ROOM(q, names)) return -ENOMEM;
    q->names[q->names_len] = sd_arena_copy(&q->arena, name, strlen(name));
    if (!q->names[q->names_len++]) return -ENOMEM;
  }
  return 0;
}

static int take_row(struct sd_sql *q, sqlite3_stmt *st) {
  int rc = 0;
  for (size_t i = 0; !rc && i < q->names_len; i++) {
    struct sd_value v = sd_value_column(st, (int)i);
    rc = add_value(q, &q->values, &q->values_len, &q->values_cap, &v);
  }
  return rc;
}

int sd_sql_run(struct sd_store *s, struct sd_sql *q, struct sd_err *err) {
  sqlite3_stmt *st = NULL;
  int rc = 0, before = sqlite3_total_changes(sd_store_db(s));
  int code = prepare(s, q, &st, err);
  if (!code && take_names(q, st)) code = sd_err_nomem(err);
  while (!code && (rc = sqlite3_step(st)) == SQLITE_ROW)
    if (take_row(q, st)) code = sd_err_nomem(err);
  if (!code && rc != SQLITE_DONE) code = refused(s, q, err);
  q->changes = sqlite3_total_changes(sd_store_db(s)) - before;
  sqlite3_finalize(st);
  return code;
}
