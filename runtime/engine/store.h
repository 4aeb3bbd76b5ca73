/* store.h - library.db: one SQLite file with entries, contents, jobs and their queues.
 *
 * Owner:  the caller owns the store; it owns its connection and statements.
 * Thread: one thread at a time (SQLITE_OPEN_NOMUTEX). One store in the process writes; readers are
 *         opened read-only and never checkpoint the WAL.
 * Errors: 0 or a negative code with *err filled: -ENOSPC, -EIO, -EROFS, SD_EDAMAGED, SD_ENEWER,
 *         SD_EOLDER, SD_ENOLIB, SD_ELOCKED, SD_ESQL, … After a failed write the transaction must be
 *         rolled back. */
#ifndef SD_ENGINE_STORE_H
#define SD_ENGINE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/batch.h"
#include "engine/queue.h"

struct sd_store;
struct sqlite3;

enum sd_store_mode {
  SD_STORE_READ,  /* an existing library, read-only */
  SD_STORE_WRITE, /* an existing library, or a new one; migrates an older schema */
};

/* `dir` is the library's directory. */
int sd_store_open(const char *dir, enum sd_store_mode mode, struct sd_store **out,
                  struct sd_err *err);
void sd_store_close(struct sd_store *s); /* accepts NULL; an open transaction is rolled back */

int sd_store_begin(struct sd_store *s, struct sd_err *err);
int sd_store_commit(struct sd_store *s, struct sd_err *err);

/* Outside a transaction: whether the next commits come back only when they, and all before them,
 * are on the disk. */
int sd_store_sync(struct sd_store *s, bool on, struct sd_err *err);
void sd_store_rollback(struct sd_store *s);

/* Moves the WAL into the database when it has grown by `pages` (0: always). Waits for readers a
 * tenth of a second where they let it grow further. Writer only.
 * sqlite3_interrupt(3) ends it early, which is no error: the next call goes on. */
int sd_store_checkpoint(struct sd_store *s, int pages, struct sd_err *err);

/* Moves all of the WAL into the database and empties it, if it has more than `bytes`: who opens the
 * library next would have to read it. Does not wait for readers. Writer only. */
int sd_store_settle(struct sd_store *s, int64_t bytes, struct sd_err *err);

/* The connection, for the other files of this engine and for the SQL of scripts. */
struct sqlite3 *sd_store_db(struct sd_store *s);

/* While it is on, what begins or ends a transaction and what attaches a database is not prepared:
 * SQLITE_AUTH. */
void sd_store_restrict(struct sd_store *s, bool on);

/* Maps the connection's last error to a code; `what` says what was tried. A statement of ours that
 * SQLite refuses means a damaged library; one of a script's is SD_ESQL. */
int sd_store_error(struct sd_store *s, struct sd_err *err, const char *what);
int sd_store_sql_error(struct sd_store *s, struct sd_err *err, const char *what);

/* ---- inside a transaction ---- */

/* What matching and sweeping did to whom. */
enum sd_told_what { SD_TOLD_MOVED, SD_TOLD_REPLACED, SD_TOLD_REMOVED };

struct sd_told {
  enum sd_told_what what;
  const char *path, *from; /* below the root; from: of what moved, else NULL */
  size_t path_len, from_len;
};

/* The list that it is put into, for who wants to know; the caller's, as its arena. */
struct sd_tell {
  struct sd_arena arena;
  struct sd_told *items;
  size_t items_len, items_cap;
};

struct sd_write_opts {
  int64_t location_id, job_id;
  bool want_content; /* new and changed files get a content identity later */
  bool notes_only;   /* of a batch only errors and skips are written */
  bool rescan;       /* the location was indexed before: new entries may be old ones that moved */
  uint8_t distrust; /* of a match: bytes of a file that moved are the same 0: if size and mtime are,
                        1: and ctime */
  struct sd_tell *tell; /* of a match or a sweep; NULL: nobody asks */
};

struct sd_write_count {
  uint64_t inserted, updated, moved, vanished, errors;
};

/* Writes a batch, which must stay until the transaction has ended. Rows that the library refuses
 * become CreateEntry errors; only a directory that it refuses is a failure, -EEXIST. */
int sd_store_write_batch(struct sd_store *s, const struct sd_batch *b,
                         const struct sd_write_opts *o, struct sd_write_count *n,
                         struct sd_err *err);

/* What matching and sweeping did; also added to the job's counts (table job_count), in the same
 * transaction. */
struct sd_sweep_count {
  uint64_t moved;    /* entries that were found at another place */
  uint64_t replaced; /* others that took the name, and the identity, of one that has vanished */
  uint64_t removed;
};

/* Finds what is noted as vanished, by this job or one that was given up, among what is new: by its
 * inode. Such an entry keeps its id, its uuid and its content, and takes the place of the new one.
 * Begins with *after = 0, goes on from where it got to; some `limit` notes at a time. *left: more
 * calls are needed. */
int sd_store_match(struct sd_store *s, const struct sd_write_opts *o, int64_t limit, int64_t *after,
                   struct sd_sweep_count *n, bool *left, struct sd_err *err);

/* After that, removes up to `limit` rows of what is still noted as vanished, children before
 * parents. What took the place of a removed one is its heir: it gets its uuid. *left: more calls
 * are needed. */
int sd_store_sweep(struct sd_store *s, const struct sd_write_opts *o, int64_t limit,
                   struct sd_sweep_count *n, bool *left, struct sd_err *err);

/* After that, forgets up to `limit` rows of what was new. *left: more calls are needed. */
int sd_store_forget_found(struct sd_store *s, const struct sd_write_opts *o, int64_t limit,
                          bool *left, struct sd_err *err);

/* Brings what directories have too much for hard links up to date with the names that there are:
 * after a run has written, moved and removed entries. Looks at some `limit` names, an inode's all
 * at once. *left: more calls are needed. */
int sd_store_settle_links(struct sd_store *s, int64_t limit, bool *left, struct sd_err *err);

/* Adds one error or skip to the job's list. */
int sd_store_note(struct sd_store *s, const struct sd_write_opts *o, const struct sd_note *note,
                  struct sd_err *err);

/* Writes what sd_queue_take() gave. */
int sd_store_write_queue(struct sd_store *s, int64_t job_id, const char *queue,
                         const struct sd_queue_delta *d, struct sd_err *err);

/* Entry ids below `next_id` are never given again, whether or not their rows were written. */
int sd_store_keep_ids(struct sd_store *s, int64_t next_id, struct sd_err *err);

/* Adds a difference to the totals of `dir_id` and everything above it, at commit at the latest. */
int sd_store_add_totals(struct sd_store *s, int64_t dir_id, const struct sd_totals *t,
                        struct sd_err *err);

#endif
