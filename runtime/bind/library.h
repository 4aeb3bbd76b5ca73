/* library.h - an open library: its lock, its writer, its lanes, and a reader for each thread.
 *
 * Owner:  the userdata owns everything here; closing waits for running tasks.
 * Thread: the loop's thread, except where a field says otherwise.
 * Errors: misuse raises; the world's failures return nil, message, code. */
#ifndef SD_BIND_LIBRARY_H
#define SD_BIND_LIBRARY_H

#include <stdatomic.h>

#include "bind/await.h"
#include "engine/reconcile.h"
#include "engine/store.h"
#include "engine/walk.h"

#define LSD_LIBRARY "sd.library"
enum { LSD_OWN_FILES = 8, LSD_NOTE_MAX = 4400 };

struct lsd_committing;

struct lsd_library {
  char *dir;
  bool closing; /* or closed: nothing is started any more, nobody resumed on the spot */
  int lock_fd;
  char *note; /* of the process that held the lock before; NULL: none */
  unsigned threads;
  struct sd_store *writer;   /* the write lane only, once that runs */
  struct sd_store **readers; /* one a thread of the walk lane, then one of the read lane */
  struct sd_lane *walk, *hash, *write, *read;
  struct lsd_committing *committing; /* jobs with commits under way; see commit.c */
  atomic_llong next_id;              /* any thread */
  atomic_bool interrupt;             /* set: long tasks end soon; any thread */
  uv_mutex_t magic_lock;             /* held while libmagic is loaded, see sd_mime_magic_open() */
  uv_mutex_t wal_lock;               /* guards wal_moving against sqlite3_interrupt() */
  bool wal_moving;                   /* the write lane moves the log into the database; wal_lock */
  struct sd_file_id own[LSD_OWN_FILES];
  size_t own_len;
  atomic_llong checkpoint_ns; /* spent on job state and queues; any thread */
  atomic_llong wal_ns;        /* spent on moving the log into the database; any thread */
};

/* The open library at `i`; raises where it is closed. */
struct lsd_library *lsd_check_library(lua_State *L, int i);

/* The same for one that something else holds. */
void lsd_check_open(lua_State *L, const struct lsd_library *lib);

/* lsd_wake(), unless the library is being closed: then later. */
void lsd_library_wake(const struct lsd_library *lib, struct lsd_wait *w);

/* The reader of a worker, opened on first use by the thread that owns it. */
enum lsd_reader { LSD_READER_WALK, LSD_READER_READ };
int lsd_library_reader(struct lsd_library *lib, enum lsd_reader lane, unsigned worker,
                       struct sd_store **out, struct sd_err *err);

/* On the write lane: moves the log into the database where it has become long; not while somebody
 * waits for a pause, as it may take as long as the disk likes. */
int lsd_library_move_wal(struct lsd_library *lib, struct sd_err *err);

int luaopen_sd_library(lua_State *L);

#endif
