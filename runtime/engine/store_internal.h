/* store_internal.h - what the files of the store share. Not for others. */
#ifndef SD_ENGINE_STORE_INTERNAL_H
#define SD_ENGINE_STORE_INTERNAL_H

#include <sqlite3.h>
#include <stdatomic.h>

#include "engine/store.h"
#include "engine/totals.h"

/* Statements that stay prepared, by their place in the table of SQL in store.c. */
enum sd_stmt {
  ST_BEGIN,
  ST_COMMIT,
  ST_ROLLBACK,
  ST_ENTRY_INSERT,
  ST_ENTRY_INSERT_ALIKE,
  ST_ENTRY_UPDATE,
  ST_ENTRY_DELETE,
  ST_ENTRY_GET,
  ST_ENTRY_CHILDREN,
  ST_ENTRY_PARENT,
  ST_ENTRY_LINK,
  ST_ENTRY_KNOWN,
  ST_INODE_KNOWN,
  ST_ENTRY_RELINK,
  ST_SAMPLE_PUT,
  ST_ENTRY_STAT,
  ST_ENTRY_WAITING,
  ST_INODE_WAITING,
  ST_DIR_PATH,
  ST_DIR_INSERT,
  ST_DIR_UPDATE,
  ST_DIR_DELETE,
  ST_CONTENT_PUT,
  ST_CONTENT_JOIN,
  ST_CONTENT_DROP,
  ST_CONTENT_DELETE,
  ST_VANISHED_PUT,
  ST_VANISHED_NEXT,
  ST_VANISHED_DONE,
  ST_ERROR_PUT,
  ST_SKIP_PUT,
  ST_QUEUE_PUT,
  ST_QUEUE_DELETE,
  ST_NEXT_ID_PUT,
  ST_NAMES_END,
  ST_NAMES_TODO,
  ST_COUNT,
};

struct sd_store {
  sqlite3 *db;
  sqlite3_stmt *stmts[ST_COUNT];
  struct sd_totals_map totals; /* differences of the open transaction */
  int64_t now;                 /* wall clock of the open transaction */
  int wal_pages;               /* pages in the WAL after the last commit … */
  int wal_pushed;              /* … of which the kernel was asked to write so many */
  char *log_path;              /* the WAL; owned */
  int log_fd;                  /* the same; -1: not yet open */
  int64_t names_end;           /* entries below it have their names packed; -1: not known yet */
  atomic_ullong turns;         /* see sd_store_turns() */
  bool writer;
  bool restricted; /* see sd_store_restrict() */
};

/* The prepared statement, reset and with no parameters bound. NULL with *err filled. */
sqlite3_stmt *sd_store_stmt(struct sd_store *s, enum sd_stmt which, struct sd_err *err);

/* Steps a statement that gives no rows, and resets it. */
int sd_store_run(struct sd_store *s, sqlite3_stmt *st, struct sd_err *err, const char *what);

/* Binds bytes as TEXT where they are valid UTF-8, as BLOB where not. SQLITE_STATIC. */
void sd_store_bind_bytes(sqlite3_stmt *st, int i, const char *p, size_t len);

/* SQLite's values from and to ours. Bytes are SQLITE_STATIC, and live as long as the row. */
struct sd_value;
int sd_value_bind(sqlite3_stmt *st, int i, const struct sd_value *v);
struct sd_value sd_value_column(sqlite3_stmt *st, int i);

/* Registers the virtual table through which a batch's new entries reach INSERT … SELECT. */
int sd_rows_register(sqlite3 *db);

/* Where the last INSERT through it stood; for finding the row that was refused. */
struct sd_rows {
  const struct sd_entry *entries;
  size_t from, to; /* [from, to) */
  size_t at;       /* out */
  bool want_content;
};
#define SD_ROWS_POINTER "sd_rows"

/* Writes the differences that the transaction gathered. */
int sd_store_flush_totals(struct sd_store *s, struct sd_err *err);

/* One entry less for content `id`; the row goes with its last entry. */
int sd_store_drop_content(struct sd_store *s, int64_t id, struct sd_err *err);

#endif
