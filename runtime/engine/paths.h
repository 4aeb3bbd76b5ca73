/* paths.h - absolute paths of entries, as their location's root and the library's rows make them.
 *
 * Owner:  the caller owns the struct; its statements belong to the connection, and it ends first.
 * Thread: as the connection.
 * Errors: 0; 1 where there is no such entry; a negative code otherwise, SQLite's message in the
 *         connection. */
#ifndef SD_ENGINE_PATHS_H
#define SD_ENGINE_PATHS_H

#include <stdint.h>

#include "base/buf.h"

struct sqlite3;
struct sqlite3_stmt;

/* Entries of one directory mostly follow each other: the last one's path is kept. */
struct sd_paths {
  struct sqlite3 *db;
  struct sqlite3_stmt *entry, *dir, *root; /* prepared on first use */
  struct sd_buf above;                     /* path of the directory `above_id`, with a slash */
  int64_t above_id;                        /* 0: none */
  struct sd_buf path;                      /* the last result */
  int64_t looped; /* after a failure: lies below itself; 0: it is not that */
};

void sd_paths_init(struct sd_paths *p, struct sqlite3 *db);
void sd_paths_fini(struct sd_paths *p);

/* What is kept may be of an older state of the library: forgets it. */
void sd_paths_forget(struct sd_paths *p);

/* The path of the entry `id`, in p->path until the next call. */
int sd_paths_of(struct sd_paths *p, int64_t id);

/* The same of the entry `name` in the directory `parent_id`, which is not looked up. A parent below
 * zero is that of the root of location -parent_id. */
int sd_paths_below(struct sd_paths *p, int64_t parent_id, const void *name, size_t len);

#endif
