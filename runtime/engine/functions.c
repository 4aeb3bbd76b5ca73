#include "engine/functions.h"

#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>

#include "base/error.h"
#include "base/utf8.h"
#include "engine/paths.h"
#include "engine/regex.h"

/* As sd.text.bytes() of Lua has it. */
void sd_human(double n, char out[SD_HUMAN_LEN]) {
  static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  int i = -1;
  if (!(n >= 1024)) {
    snprintf(out, SD_HUMAN_LEN, "%.0f B", floor(n));
    return;
  }
  while (n >= 1024 && i < 5) {
    n /= 1024;
    i++;
  }
  snprintf(out, SD_HUMAN_LEN, "%.*f %s", n < 10 ? 2 : n < 100 ? 1 : 0, n, units[i]);
}

static void human(sqlite3_context *x, int argc, sqlite3_value **argv) {
  char text[SD_HUMAN_LEN];
  int type = sqlite3_value_numeric_type(argv[0]);
  (void)argc;
  if (type != SQLITE_INTEGER && type != SQLITE_FLOAT) return;
  sd_human(sqlite3_value_double(argv[0]), text);
  sqlite3_result_text(x, text, -1, SQLITE_TRANSIENT);
}

/* ---- path ---- */

/* The code tells whoever asks what is wrong: without one it would be the statement. */
static void path_failed(sqlite3_context *x, const struct sd_paths *p, int rc) {
  char text[128] = "path: the library cannot be read";
  bool damaged = rc == SD_EDAMAGED;
  if (rc == -ENOMEM) {
    sqlite3_result_error_nomem(x);
    return;
  }
  if (damaged) snprintf(text, sizeof(text), "path: the library is damaged");
  if (damaged && p->looped)
    snprintf(text, sizeof(text), "path: the library is damaged: directory %lld lies below itself",
             (long long)p->looped);
  sqlite3_result_error(x, text, -1);
  sqlite3_result_error_code(x, damaged ? SQLITE_CORRUPT : SQLITE_IOERR);
}

static void result_path(sqlite3_context *x, struct sd_paths *p, int rc) {
  if (rc == 1) return; /* NULL */
  if (rc) path_failed(x, p, rc);
  else if (sd_utf8_valid((const char *)p->path.data, p->path.len))
    sqlite3_result_text(x, (const char *)p->path.data, (int)p->path.len, SQLITE_TRANSIENT);
  else sqlite3_result_blob(x, p->path.data, (int)p->path.len, SQLITE_TRANSIENT);
}

static void path_of(sqlite3_context *x, int argc, sqlite3_value **argv) {
  struct sd_paths *p = sqlite3_user_data(x);
  (void)argc;
  if (sqlite3_value_type(argv[0]) != SQLITE_INTEGER) return;
  result_path(x, p, sd_paths_of(p, sqlite3_value_int64(argv[0])));
}

static void path_below(sqlite3_context *x, int argc, sqlite3_value **argv) {
  struct sd_paths *p = sqlite3_user_data(x);
  const void *name = sqlite3_value_blob(argv[1]);
  size_t len = (size_t)sqlite3_value_bytes(argv[1]);
  (void)argc;
  if (sqlite3_value_type(argv[0]) != SQLITE_INTEGER) return;
  result_path(x, p, sd_paths_below(p, sqlite3_value_int64(argv[0]), name, len));
}

/* ---- regexp ---- */

static void close_regex(void *re) {
  sd_regex_close(re);
}

/* The compiled pattern, kept by SQLite as long as the pattern is a constant. */
static struct sd_regex *regex_of(sqlite3_context *x, sqlite3_value *pattern) {
  struct sd_err err;
  size_t offset = 0;
  struct sd_regex *re = sqlite3_get_auxdata(x, 0);
  if (re) return re;
  const char *text = (const char *)sqlite3_value_text(pattern);
  if (!text) text = "";
  if (sd_regex_open(text, (size_t)sqlite3_value_bytes(pattern), false, &re, &offset, &err)) {
    char what[256];
    snprintf(what, sizeof(what), "regexp: %.200s at offset %zu of the pattern", err.msg, offset);
    sqlite3_result_error(x, what, -1);
    return NULL;
  }
  sqlite3_set_auxdata(x, 0, re, close_regex); /* may close it at once */
  return sqlite3_get_auxdata(x, 0);
}

static void regexp(sqlite3_context *x, int argc, sqlite3_value **argv) {
  struct sd_err err;
  (void)argc;
  if (sqlite3_value_type(argv[0]) == SQLITE_NULL || sqlite3_value_type(argv[1]) == SQLITE_NULL)
    return;
  struct sd_regex *re = regex_of(x, argv[0]);
  if (!re) return;
  bool blob = sqlite3_value_type(argv[1]) == SQLITE_BLOB;
  const char *s = blob ? sqlite3_value_blob(argv[1]) : (const char *)sqlite3_value_text(argv[1]);
  int rc = sd_regex_match(re, s ? s : "", (size_t)sqlite3_value_bytes(argv[1]), &err);
  if (rc < 0) sqlite3_result_error(x, err.msg, -1);
  else sqlite3_result_int(x, rc);
}

/* ---- extension ---- */

/* Behind the last dot, neither the first nor the last byte; ASCII letters in lower case. */
static void extension(sqlite3_context *x, int argc, sqlite3_value **argv) {
  enum { LONGEST = 255 };
  char text[LONGEST];
  const char *name = sqlite3_value_blob(argv[0]);
  size_t n = (size_t)sqlite3_value_bytes(argv[0]), dot = n;
  (void)argc;
  while (dot > 1 && name[dot - 1] != '.') dot--;
  if (dot <= 1 || dot == n || n - dot > LONGEST) return;
  for (size_t i = dot; i < n; i++) {
    char c = name[i];
    text[i - dot] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  if (sd_utf8_valid(text, n - dot)) sqlite3_result_text(x, text, (int)(n - dot), SQLITE_TRANSIENT);
  else sqlite3_result_blob(x, text, (int)(n - dot), SQLITE_TRANSIENT);
}

int sd_functions_register(sqlite3 *db, struct sd_paths *paths) {
  const int pure = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
  const int ours = SQLITE_UTF8 | SQLITE_DIRECTONLY;
  int rc = sqlite3_create_function(db, "human", 1, pure, NULL, human, NULL, NULL);
  if (!rc) rc = sqlite3_create_function(db, "regexp", 2, pure, NULL, regexp, NULL, NULL);
  if (!rc) rc = sqlite3_create_function(db, "extension", 1, pure, NULL, extension, NULL, NULL);
  if (!rc) rc = sqlite3_create_function(db, "path", 1, ours, paths, path_of, NULL, NULL);
  if (!rc) rc = sqlite3_create_function(db, "path", 2, ours, paths, path_below, NULL, NULL);
  return rc;
}
