#include "engine/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/store_internal.h"

struct sd_copy {
  sqlite3 *db;
  char *path;
  bool made, finished;
};

/* A file that nobody else sees before it is finished needs no journal. */
static const char setup[] =
    "PRAGMA page_size=16384; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
    " PRAGMA locking_mode=EXCLUSIVE; BEGIN";

static int failed(struct sd_copy *c, struct sd_err *err) {
  int en = c->db ? sqlite3_system_errno(c->db) : 0, rc = c->db ? sqlite3_errcode(c->db) & 0xff : 0;
  int code = rc == SQLITE_FULL              ? -ENOSPC
             : !c->db || rc == SQLITE_NOMEM ? -ENOMEM
             : en && rc == SQLITE_IOERR     ? -en
             : rc == SQLITE_IOERR           ? -EIO
                                            : SD_ESQL;
  return sd_err_set(err, code, "write %s: %s", c->path,
                    c->db ? sqlite3_errmsg(c->db) : "out of memory");
}

int sd_copy_open(const char *path, struct sd_copy **out, struct sd_err *err) {
  int rc = 0, fd;
  struct sd_copy *c = calloc(1, sizeof(*c));
  if (!c || !(c->path = strdup(path))) {
    rc = sd_err_nomem(err);
    goto fail;
  }
  fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (fd < 0) {
    rc = sd_err_os(err, "make", path);
    goto fail;
  }
  c->made = true;
  close(fd);
  if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
          SQLITE_OK ||
      sqlite3_exec(c->db, setup, NULL, NULL, NULL) != SQLITE_OK) {
    rc = failed(c, err);
    goto fail;
  }
  *out = c;
  return 0;
fail:
  sd_copy_close(c);
  return rc;
}

void sd_copy_close(struct sd_copy *c) {
  if (!c) return;
  sqlite3_close_v2(c->db);
  if (c->made && !c->finished) unlink(c->path);
  free(c->path);
  free(c);
}

int sd_copy_exec(struct sd_copy *c, const char *sql, struct sd_err *err) {
  return sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(c, err);
}

static int prepare_insert(struct sd_copy *c, const char *table, int columns, sqlite3_stmt **st,
                          struct sd_err *err) {
  char sql[512];
  int n = snprintf(sql, sizeof(sql), "INSERT INTO %s VALUES(?", table);
  for (int i = 1; i < columns && n < (int)sizeof(sql) - 4; i++)
    n += snprintf(sql + n, sizeof(sql) - (size_t)n, ",?");
  snprintf(sql + n, sizeof(sql) - (size_t)n, ")");
  return sqlite3_prepare_v2(c->db, sql, -1, st, NULL) == SQLITE_OK ? 0 : failed(c, err);
}

int sd_copy_rows(struct sd_copy *c, struct sd_select *from, const char *table, struct sd_err *err) {
  sqlite3_stmt *st = NULL;
  int columns = sd_select_columns(from), more;
  int rc = prepare_insert(c, table, columns, &st, err);
  while (!rc && (more = sd_select_next(from, err)) != 0) {
    if (more < 0) {
      rc = more;
      break;
    }
    for (int i = 0; i < columns; i++) {
      struct sd_value v = sd_select_value(from, i);
      sd_value_bind(st, i + 1, &v);
    }
    if (sqlite3_step(st) != SQLITE_DONE) rc = failed(c, err);
    sqlite3_reset(st);
  }
  sqlite3_finalize(st);
  return rc;
}

/* SQLite was told not to care about the disk. */
static int sync_file(const char *path, struct sd_err *err) {
  int fd = open(path, O_RDWR | O_CLOEXEC), rc = 0;
  if (fd < 0 || fsync(fd) != 0) rc = sd_err_os(err, "write", path);
  if (fd >= 0) close(fd);
  return rc;
}

int sd_copy_finish(struct sd_copy *c, struct sd_err *err) {
  int rc = sd_copy_exec(c, "COMMIT", err);
  if (rc) return rc;
  if (sqlite3_close(c->db) != SQLITE_OK) return failed(c, err);
  c->db = NULL;
  rc = sync_file(c->path, err);
  c->finished = !rc;
  return rc;
}
