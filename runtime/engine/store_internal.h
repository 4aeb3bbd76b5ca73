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
  ST_ENTRY_PLACE,
  ST_ENTRY_AT,
  ST_ENTRY_TO_LIMBO,
  ST_ENTRY_MOVE,
  ST_ENTRY_READ_PLACE,
  ST_ENTRY_TAKE_PLACE,
  ST_ENTRY_TAKE_UUID,
  ST_ENTRY_LINK,
  ST_ENTRY_KNOWN,
  ST_INODE_KNOWN,
  ST_ENTRY_RELINK,
  ST_SAMPLE_PUT,
  ST_ENTRY_STAT,
  ST_ENTRY_RACY,
  ST_ENTRY_RACY_AS,
  ST_ENTRY_WAITING,
  ST_INODE_WAITING,
  ST_DIR_PATH,
  ST_DIR_ANCHOR,
  ST_DIR_INHERIT,
  ST_DIR_PUT_INHERITED,
  ST_DIR_BELOW,
  ST_DIR_TOTALS,
  ST_DIR_UNREAD,
  ST_DEVICE_TAKE,
  ST_DEVICE_GIVE_WAY,
  ST_DEVICE_PUT,
  ST_DIR_INSERT,
  ST_DIR_UPDATE,
  ST_DIR_EXCESS,
  ST_DIR_DELETE,
  ST_CONTENT_PUT,
  ST_CONTENT_JOIN,
  ST_CONTENT_TYPE,
  ST_CONTENT_DROP,
  ST_CONTENT_DELETE,
  ST_VANISHED_PUT,
  ST_VANISHED_PUT_BELOW,
  ST_VANISHED_FIRST,
  ST_VANISHED_LAST,
  ST_VANISHED_ADOPT,
  ST_VANISHED_DONE,
  ST_VANISHED_PLACED,
  ST_FOUND_PUT,
  ST_FOUND_DONE,
  ST_FOUND_FORGET,
  ST_FOUND_ANY,
  ST_FOUND_CLEAR,
  ST_MATCH_ENTRY,
  ST_MATCH_CHILDREN,
  ST_HEIR,
  ST_HEIR_CHILD,
  ST_COUNT_ADD,
  ST_ERROR_PUT,
  ST_SKIP_PUT,
  ST_QUEUE_PUT,
  ST_QUEUE_DELETE,
  ST_NEXT_ID_PUT,
  ST_NAMES_END,
  ST_NAMES_TODO,
  ST_PACK_PUT,
  ST_LINK_NAMES_FROM,
  ST_LINK_NEXT_DEV,
  ST_LINK_CHILDREN,
  ST_LINK_FEW,
  ST_LINK_SCAN,
  ST_LINK_SCAN_PUT,
  ST_LINK_SCAN_ALL,
  ST_LINK_SCAN_DONE,
  ST_LINK_TODO,
  ST_LINK_TODO_PUT,
  ST_LINK_TODO_NAMES,
  ST_LINK_TODO_SCANNED,
  ST_LINK_TODO_DONE,
  ST_LINK_MOVED,
  ST_LINK_MOVED_PUT,
  ST_LINK_MOVED_DONE,
  ST_LINK_MOVED_CLEAR,
  ST_LINK_EXCESS,
  ST_LINK_EXCESS_PUT,
  ST_LINK_EXCESS_DELETE,
  ST_COUNT,
};

/* As the library numbers them; in the order of SQLite's integers. */
struct sd_inode {
  int64_t dev, ino;
};

struct sd_store {
  sqlite3 *db;
  sqlite3_stmt *stmts[ST_COUNT];
  struct sd_totals_map totals; /* differences of the open transaction */
  int64_t *moved;              /* directories that the open transaction has put elsewhere */
  size_t moved_len, moved_cap;
  struct sd_readable *readable; /* directories that it has found to be readable, or not */
  size_t readable_len, readable_cap;
  struct sd_inode links_from; /* what link_scan says; see store_links.c */
  bool links_known;           /* … which the open transaction has read */
  int64_t links_noted;        /* new names that were, since all were settled */
  int64_t now;                /* wall clock of the open transaction */
  int wal_pages;              /* pages in the WAL after the last commit … */
  int wal_pushed;             /* … of which the kernel was asked to write so many */
  int wal_moved;     /* … and so many were there when they were last moved into the database */
  char *log_path;    /* the WAL; owned */
  int log_fd;        /* the same; -1: not yet open */
  int64_t names_end; /* the end that name_index.h describes; -1: not known yet */
  bool writer;
  bool restricted; /* see sd_store_restrict() */
};

/* The prepared statement, reset and with no parameters bound. NULL with *err filled. */
sqlite3_stmt *sd_store_stmt(struct sd_store *s, enum sd_stmt which, struct sd_err *err);

/* Steps a statement that gives no rows, and resets it. */
int sd_store_run(struct sd_store *s, sqlite3_stmt *st, struct sd_err *err, const char *what);

/* Writes packs of names that were kept (pack.h). */
int sd_store_put_packs(struct sd_store *s, const struct sd_buf *packs, struct sd_err *err);

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

/* What `id` stands in; -1: there is no such entry. */
int sd_store_parent(struct sd_store *s, int64_t id, int64_t *parent, struct sd_err *err);

/* Makes right what directories have from those above them, for the directories that the transaction
 * has put elsewhere, or found to be readable or not, and for those below them. After
 * sd_store_flush_totals(), which writes the rows of new ones. */
int sd_store_flush_inherited(struct sd_store *s, struct sd_err *err);

/* A new name of an inode that has several, if it has: its directories are to be reckoned anew. */
int sd_store_note_link(struct sd_store *s, const struct sd_stat *st, struct sd_err *err);

/* ---- places: store_place.c ---- */

/* The parent of entries that made room for others, by location. */
static inline int64_t sd_store_limbo(int64_t location_id) {
  return -(INT64_C(1) << 40) - location_id;
}

struct sd_known {
  int64_t parent_id, content_id; /* content_id 0: none */
  struct sd_stat st;             /* kind, size, allocated */
};

/* 1: there is no such entry. */
int sd_store_get(struct sd_store *s, int64_t id, struct sd_known *k, struct sd_err *err);

/* Binds attributes from parameter 2 on: kind, size, allocated, times, dev, ino, mode, uid, gid,
 * nlink, sig. */
void sd_store_bind_stat(sqlite3_stmt *st, const struct sd_stat *a);
void sd_store_bind_name(sqlite3_stmt *st, int i, const char *name, size_t len, bool text);

/* Takes an entry from its place, if it is there, because another has it, and notes that. */
int sd_store_make_room(struct sd_store *s, const struct sd_write_opts *o, const struct sd_gone *g,
                       struct sd_err *err);

/* Whoever has the place of `e`, and is not `e`, makes room: 1; 0: nobody has it. */
int sd_store_clear_place(struct sd_store *s, const struct sd_write_opts *o,
                         const struct sd_entry *e, struct sd_err *err);

/* Puts a known directory where `e` says, with all that is below it. 1: refused, since it is itself
 * above that place. */
int sd_store_move_dir(struct sd_store *s, const struct sd_write_opts *o, const struct sd_entry *e,
                      struct sd_err *err);

/* `id` is now what `place` was taken for: it gets place and attributes, `place` is no more. */
int sd_store_take_place(struct sd_store *s, const struct sd_write_opts *o, int64_t id,
                        int64_t place, bool same_bytes, struct sd_err *err);

/* Removes a row, and what it counts for. */
int sd_store_delete(struct sd_store *s, int64_t id, const struct sd_known *k, struct sd_err *err);

/* Notes that an entry is not at its place. */
int sd_store_note_gone(struct sd_store *s, const struct sd_write_opts *o, const struct sd_gone *g,
                       struct sd_err *err);

/* One entry less for content `id`; the row goes with its last entry. */
int sd_store_drop_content(struct sd_store *s, int64_t id, struct sd_err *err);

#endif
