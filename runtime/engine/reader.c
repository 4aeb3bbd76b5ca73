#include "engine/reader.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/functions.h"
#include "engine/name_search.h"
#include "engine/paths.h"
#include "engine/schema.h"
#include "engine/store_internal.h"

enum { STEPS_BETWEEN_LOOKS = 4000 }; /* of SQLite's machine; some ten microseconds */

struct sd_reader {
  struct sd_store *store;
  struct sd_paths paths;
  const atomic_int *stop; /* may be NULL */
  const char *refused;    /* what the authorizer refused in the last statement; NULL: nothing */
  int offset;
};

struct sd_select {
  struct sd_reader *r;
  sqlite3_stmt *st;
  bool ended; /* the last row was given: SQLite would begin anew */
};

/* ---- what a question may do ---- */

static bool may_pragma(const char *name) {
  static const char *const known[] = {
      "application_id",   "collation_list",  "compile_options", "database_list", "encoding",
      "foreign_key_list", "freelist_count",  "function_list",   "index_info",    "index_list",
      "index_xinfo",      "integrity_check", "module_list",     "page_count",    "page_size",
      "pragma_list",      "quick_check",     "schema_version",  "table_info",    "table_list",
      "table_xinfo",      "user_version",
  };
  for (size_t i = 0; name && i < sizeof(known) / sizeof(known[0]); i++)
    if (sqlite3_stricmp(name, known[i]) == 0) return true;
  return false;
}

/* Those that take a number would set it. */
static bool sets_something(const char *name, const char *value) {
  return value &&
         (sqlite3_stricmp(name, "application_id") == 0 || sqlite3_stricmp(name, "encoding") == 0 ||
          sqlite3_stricmp(name, "page_size") == 0 || sqlite3_stricmp(name, "schema_version") == 0 ||
          sqlite3_stricmp(name, "user_version") == 0);
}

static int refuse(struct sd_reader *r, const char *what) {
  if (!r->refused) r->refused = what;
  return SQLITE_DENY;
}

/* SQLite asks here for each thing that a statement would do, while it is prepared. */
static int authorize(void *ud, int action, const char *a, const char *b, const char *db,
                     const char *within) {
  struct sd_reader *r = ud;
  (void)db, (void)within;
  switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_FUNCTION:
    case SQLITE_RECURSIVE: return SQLITE_OK;
    case SQLITE_PRAGMA:
      return may_pragma(a) && !sets_something(a, b) ? SQLITE_OK : refuse(r, "this PRAGMA");
    case SQLITE_ATTACH: return refuse(r, "ATTACH");
    case SQLITE_DETACH: return refuse(r, "DETACH");
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT: return refuse(r, "a transaction");
    case SQLITE_UPDATE: /* SQLite looks at the columns of a table-valued function in this way */
      return sqlite3_stricmp(a, "sqlite_master") == 0 ? SQLITE_OK : refuse(r, "a change");
    default: return refuse(r, "a change");
  }
}

static int must_stop(void *ud) {
  const struct sd_reader *r = ud;
  return r->stop && atomic_load_explicit(r->stop, memory_order_relaxed) != 0;
}

/* ---- the reader ---- */

static int exec(struct sd_reader *r, const char *sql, struct sd_err *err) {
  sqlite3 *db = sd_store_db(r->store);
  sqlite3_set_authorizer(db, NULL, NULL);
  int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
  sqlite3_set_authorizer(db, authorize, r);
  return rc == SQLITE_OK ? 0 : sd_store_error(r->store, err, "read the library");
}

int sd_reader_open(const char *dir, const atomic_int *stop, struct sd_reader **out,
                   struct sd_err *err) {
  struct sd_reader *r = calloc(1, sizeof(*r));
  if (!r) return sd_err_nomem(err);
  r->stop = stop;
  r->offset = -1;
  int rc = sd_store_open(dir, SD_STORE_READ, &r->store, err);
  if (!rc) {
    sqlite3 *db = sd_store_db(r->store);
    sd_paths_init(&r->paths, db);
    sqlite3_progress_handler(db, STEPS_BETWEEN_LOOKS, must_stop, r);
    sqlite3_set_authorizer(db, authorize, r);
    /* Else a column that there is not would be a text, if it is in double quotes. */
    sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    if (sd_functions_register(db, &r->paths) != SQLITE_OK ||
        sd_name_search_register(db, stop) != SQLITE_OK)
      rc = sd_store_error(r->store, err, "register");
  }
  if (rc) {
    sd_reader_close(r);
    return rc;
  }
  *out = r;
  return 0;
}

void sd_reader_close(struct sd_reader *r) {
  if (!r) return;
  sd_paths_fini(&r->paths);
  sd_store_close(r->store);
  free(r);
}

int sd_reader_stay(struct sd_reader *r, struct sd_err *err) {
  return sqlite3_get_autocommit(sd_store_db(r->store)) ? exec(r, "BEGIN", err) : 0;
}

void sd_reader_leave(struct sd_reader *r) {
  struct sd_err ignored;
  if (!sqlite3_get_autocommit(sd_store_db(r->store))) exec(r, "COMMIT", &ignored);
}

int sd_reader_offset(const struct sd_reader *r) {
  return r->offset;
}

/* ---- selects ---- */

static int fail(struct sd_reader *r, struct sd_err *err) {
  sqlite3 *db = sd_store_db(r->store);
  r->offset = sqlite3_error_offset(db);
  if (must_stop(r)) return sd_err_set(err, SD_ECANCELED, "interrupted");
  if (r->refused) return sd_err_set(err, SD_ESQL, "SQL: a query only reads: %s", r->refused);
  int code = sd_store_sql_error(r->store, err, "SQL");
  if (code != SD_ESQL || sd_schema_is_whole(db)) return code;
  struct sd_err said = *err;
  r->offset = -1; /* nothing is wrong with the text */
  return sd_err_set(err, SD_EDAMAGED, "the library is damaged: %s", said.msg);
}

/* A directory whose path has no end, 0 where there is none: for that the views fail. */
static int64_t looped(struct sd_reader *r) {
  static const char sql[] = "SELECT entry_id FROM directory WHERE anchor IS NOT NULL";
  sqlite3_stmt *st = NULL;
  int64_t id = 0;
  if (sqlite3_prepare_v2(sd_store_db(r->store), sql, -1, &st, NULL) != SQLITE_OK) return 0;
  while (!id && sqlite3_step(st) == SQLITE_ROW)
    if (sd_paths_below(&r->paths, sqlite3_column_int64(st, 0), "", 0)) id = r->paths.looped;
  sqlite3_finalize(st);
  return id;
}

/* The statement is one that SQLite takes. */
static int fail_running(struct sd_reader *r, struct sd_err *err) {
  int code = fail(r, err);
  int64_t dir = code == SD_ESQL ? looped(r) : 0;
  if (!dir) return code;
  r->offset = -1; /* nothing is wrong with the text */
  return sd_err_set(err, SD_EDAMAGED, "the library is damaged: directory %lld lies below itself",
                    (long long)dir);
}

int sd_select_open(struct sd_reader *r, const char *text, size_t len, struct sd_select **out,
                   size_t *used, struct sd_err *err) {
  const char *tail = text + len;
  *out = NULL;
  r->refused = NULL;
  r->offset = -1;
  if (len > INT_MAX) return sd_err_set(err, SD_ESQL, "SQL: the text is too long");
  const char *zero = memchr(text, 0, len);
  if (zero) { /* SQLite would not look any further */
    r->offset = (int)(zero - text);
    return sd_err_set(err, SD_ESQL, "SQL: a zero byte");
  }
  struct sd_select *s = calloc(1, sizeof(*s));
  if (!s) return sd_err_nomem(err);
  s->r = r;
  int rc = 0;
  if (sqlite3_prepare_v2(sd_store_db(r->store), text, (int)len, &s->st, &tail) != SQLITE_OK)
    rc = fail(r, err);
  else if (s->st && !sqlite3_stmt_readonly(s->st))
    rc = sd_err_set(err, SD_ESQL, "SQL: a query only reads: a change");
  *used = (size_t)(tail - text);
  if (rc || !s->st) sd_select_close(s);
  else *out = s;
  return rc;
}

void sd_select_close(struct sd_select *s) {
  if (!s) return;
  sqlite3_finalize(s->st);
  free(s);
}

void sd_select_rewind(struct sd_select *s) {
  sqlite3_reset(s->st);
  s->ended = false;
}

int sd_select_params(const struct sd_select *s) {
  return sqlite3_bind_parameter_count(s->st);
}

int sd_select_bind(struct sd_select *s, int i, const struct sd_value *v, struct sd_err *err) {
  return sd_value_bind(s->st, i, v) == SQLITE_OK ? 0 : fail(s->r, err);
}

int sd_select_columns(const struct sd_select *s) {
  return sqlite3_column_count(s->st);
}

const char *sd_select_name(const struct sd_select *s, int i) {
  const char *name = sqlite3_column_name(s->st, i);
  return name ? name : "";
}

int sd_select_next(struct sd_select *s, struct sd_err *err) {
  struct sd_reader *r = s->r;
  if (must_stop(r)) return sd_err_set(err, SD_ECANCELED, "interrupted");
  if (s->ended) return 0;
  /* Another state of the library than before: paths may have changed. */
  if (!sqlite3_stmt_busy(s->st) && sqlite3_get_autocommit(sd_store_db(r->store)))
    sd_paths_forget(&r->paths);
  r->refused = NULL;
  int rc = sqlite3_step(s->st);
  if (rc == SQLITE_ROW) return 1;
  s->ended = true;
  return rc == SQLITE_DONE ? 0 : fail_running(r, err);
}

struct sd_value sd_select_value(const struct sd_select *s, int i) {
  return sd_value_column(s->st, i);
}
