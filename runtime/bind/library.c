#include "bind/library.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "bind/commit.h"
#include "bind/names.h"
#include "bind/op.h"
#include "bind/query.h"
#include "bind/sweep.h"
#include "bind/table.h"
#include "engine/sql.h"

/* ---- the handle ---- */

static struct lsd_library *check_any(lua_State *L, int i) {
  return luaL_checkudata(L, i, LSD_LIBRARY);
}

struct lsd_library *lsd_check_library(lua_State *L, int i) {
  struct lsd_library *lib = check_any(L, i);
  if (!lib->writer || lib->closing) luaL_argerror(L, i, "the library is closed");
  return lib;
}

void lsd_check_open(lua_State *L, const struct lsd_library *lib) {
  if (lib->closing) luaL_error(L, "the library is closed");
}

void lsd_library_wake(const struct lsd_library *lib, struct lsd_wait *w) {
  if (lib->closing) lsd_wake_later(w);
  else lsd_wake(w);
}

static size_t reader_count(const struct lsd_library *lib) {
  return (size_t)lib->threads + 1;
}

int lsd_library_reader(struct lsd_library *lib, enum lsd_reader lane, unsigned worker,
                       struct sd_store **out, struct sd_err *err) {
  size_t i = lane == LSD_READER_READ ? lib->threads : worker;
  int rc = lib->readers[i] ? 0 : sd_store_open(lib->dir, SD_STORE_READ, &lib->readers[i], err);
  *out = lib->readers[i];
  return rc;
}

/* Lanes end first: a task may use a store. Where the log has more bytes than log_left, it is
 * emptied; -1: never. */
static void close_library(struct lsd_library *lib, int64_t log_left) {
  lib->closing = true;
  atomic_store(&lib->interrupt, true);
  sd_lane_close(lib->walk);
  sd_lane_close(lib->hash);
  sd_lane_close(lib->read);
  sd_lane_close(lib->write);
  lib->walk = lib->hash = lib->read = lib->write = NULL;
  for (size_t i = 0; lib->readers && i < reader_count(lib); i++) sd_store_close(lib->readers[i]);
  free(lib->readers);
  lib->readers = NULL;
  struct sd_err ignored; /* what stays in the log is in the library */
  if (lib->writer && log_left >= 0) sd_store_settle(lib->writer, log_left, &ignored);
  sd_store_close(lib->writer);
  lib->writer = NULL;
  if (lib->lock_fd >= 0) close(lib->lock_fd);
  lib->lock_fd = -1;
  if (lib->dir) uv_mutex_destroy(&lib->wal_lock);
  if (lib->dir) uv_mutex_destroy(&lib->magic_lock);
  free(lib->note);
  free(lib->dir);
  lib->note = lib->dir = NULL;
}

/* ---- opening ---- */

static int make_dirs(const char *dir, struct sd_err *err) {
  char path[PATH_MAX];
  size_t n = strlen(dir);
  if (n == 0) return sd_err_set(err, -EINVAL, "the library's path is empty");
  if (n >= sizeof(path)) return sd_err_set(err, -ENAMETOOLONG, "library path too long");
  memcpy(path, dir, n + 1);
  for (char *p = path + 1;; p++) {
    if (*p && *p != '/') continue;
    char end = *p;
    *p = '\0';
    if (mkdir(path, 0700) != 0 && errno != EEXIST) return sd_err_os(err, "make directory", path);
    if (!end) return 0;
    *p = end;
  }
}

/* The lock's file: the number of the process that holds it, and behind that what its watchdog
 * noted. Truncates `text` to the number, and gives the rest. */
static char *cut_number(char *text) {
  size_t n = strcspn(text, "\n");
  char *rest = text + n + (text[n] == '\n');
  text[n] = '\0';
  return rest;
}

static int locked(struct lsd_library *lib, char *text, struct sd_err *err) {
  long long job;
  char stuck[64] = "";
  if (sscanf(cut_number(text), "stuck %lld", &job) != 1) job = -1;
  if (job > 0) snprintf(stuck, sizeof(stuck), ", in which job %lld lets nothing else run", job);
  else if (job == 0) snprintf(stuck, sizeof(stuck), ", in which a callback lets nothing else run");
  return sd_err_set(err, SD_ELOCKED, "the library %s is in use by another process (pid %s)%s",
                    lib->dir, text, stuck);
}

static int lock_library(struct lsd_library *lib, struct sd_err *err) {
  char path[PATH_MAX], text[LSD_NOTE_MAX + 1] = "";
  snprintf(path, sizeof(path), "%s/library.lock", lib->dir);
  lib->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lib->lock_fd < 0) return sd_err_os(err, "open", path);
  bool busy = flock(lib->lock_fd, LOCK_EX | LOCK_NB) != 0;
  if (busy && errno != EWOULDBLOCK) return sd_err_os(err, "lock", path);
  ssize_t got = pread(lib->lock_fd, text, sizeof(text) - 1, 0);
  text[got > 0 ? got : 0] = '\0';
  if (busy) return locked(lib, text, err);
  const char *note = cut_number(text);
  if (*note && !(lib->note = strdup(note))) return sd_err_nomem(err);
  int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
  if (ftruncate(lib->lock_fd, 0) != 0 || pwrite(lib->lock_fd, text, (size_t)n, 0) != n)
    return sd_err_os(err, "write", path);
  return 0;
}

static bool add_own(struct lsd_library *lib, const char *name) {
  char path[PATH_MAX];
  struct stat st;
  snprintf(path, sizeof(path), "%s/%s", lib->dir, name);
  if (lib->own_len == LSD_OWN_FILES || lstat(path, &st) != 0) return false;
  lib->own[lib->own_len++] = (struct sd_file_id){.dev = st.st_dev, .ino = st.st_ino};
  return true;
}

/* Ids are counted up from 1: nobody ever comes near. */
#define MOST_IDS (INT64_C(1) << 62)

static int first_id(struct lsd_library *lib, struct sd_err *err) {
  struct sd_sql q;
  static const char text[] =
      "SELECT max(coalesce((SELECT max(id) FROM entry), 0),"
      " coalesce((SELECT next_id - 1 FROM counter), 0))";
  sd_sql_init(&q);
  q.own = true;
  int rc = sd_sql_text(&q, text, sizeof(text) - 1) ? sd_err_nomem(err)
                                                   : sd_sql_run(lib->writer, &q, err);
  if (!rc && q.values[0].i >= MOST_IDS)
    rc = sd_err_set(err, SD_EDAMAGED, "the library is damaged: an entry has the id %lld",
                    (long long)q.values[0].i);
  if (!rc) atomic_store(&lib->next_id, q.values[0].i + 1);
  sd_sql_fini(&q);
  return rc;
}

/* The writer is what a first run waits for, so that it comes before those who read. */
static int start_lanes(struct lsd_library *lib, struct sd_loop *loop, struct sd_err *err) {
  /* Whoever writes is one thread, and what all others wait for in the end. */
  enum { BEHIND_WRITER = 10 };
  const struct sd_lane_opts walk = {.name = "walk", .threads = lib->threads, .nice = BEHIND_WRITER};
  const struct sd_lane_opts hash = {.name = "hash", .threads = lib->threads, .nice = BEHIND_WRITER};
  const struct sd_lane_opts read = {.name = "read", .threads = 1};
  const struct sd_lane_opts write = {.name = "write", .threads = 1};
  int rc = sd_lane_open(loop, &walk, &lib->walk, err);
  if (!rc) rc = sd_lane_open(loop, &hash, &lib->hash, err);
  if (!rc) rc = sd_lane_open(loop, &read, &lib->read, err);
  if (!rc) rc = sd_lane_open(loop, &write, &lib->write, err);
  return rc;
}

static int open_library(struct lsd_library *lib, const char *dir, bool create, struct sd_loop *loop,
                        struct sd_err *err) {
  char db[PATH_MAX];
  /* Before anything is made: the longest name in it, and a NUL. */
  if (strlen(dir) + sizeof("/library.db-journal") > sizeof(db))
    return sd_err_set(err, -ENAMETOOLONG, "library path too long");
  if (!(lib->dir = strdup(dir))) return sd_err_nomem(err);
  uv_mutex_init(&lib->wal_lock);
  uv_mutex_init(&lib->magic_lock);
  snprintf(db, sizeof(db), "%s/library.db", dir);
  if (!create && access(db, F_OK) != 0)
    return sd_err_set(err, SD_ENOLIB, "%s: no library there", dir);
  if (!lib->threads)
    return sd_err_set(err, -EMFILE,
                      "open the library %s: too few file descriptors are left"
                      " (see ulimit -n)",
                      dir);
  int rc = create ? make_dirs(dir, err) : 0;
  if (!rc) rc = lock_library(lib, err);
  if (!rc) rc = sd_store_open(dir, SD_STORE_WRITE, &lib->writer, err);
  if (!rc) rc = first_id(lib, err);
  if (rc) return rc;
  static const char *const own[] = {"library.db", "library.db-wal", "library.db-shm",
                                    "library.db-journal", "library.lock"};
  for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) add_own(lib, own[i]);
  lib->readers = calloc(reader_count(lib), sizeof(struct sd_store *));
  return lib->readers ? start_lanes(lib, loop, err) : sd_err_nomem(err);
}

/* A thread of each lane has a reader, which is two descriptors, and reads something itself: where
 * few are left, fewer threads do the work. 0: it would not come far. */
static unsigned affordable_threads(unsigned asked) {
  enum { OTHERS = 8, A_THREAD = 8 };
  int left = sd_fds_left();
  if (left >= OTHERS + A_THREAD * (int)asked) return asked;
  return left < OTHERS + A_THREAD ? 0 : (unsigned)(left - OTHERS) / A_THREAD;
}

/* open(dir, {create = boolean, threads = integer}) -> library */
static int lsd_open(lua_State *L) {
  struct sd_err err;
  const char *dir = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_getfield(L, 2, "create");
  lua_getfield(L, 2, "threads");
  bool create = lua_toboolean(L, -2);
  lua_Integer threads = luaL_optinteger(L, -1, (lua_Integer)uv_available_parallelism());
  luaL_argcheck(L, threads >= 1 && threads <= 64, 2, "threads: from 1 to 64");
  struct lsd_library *lib = lua_newuserdatauv(L, sizeof(*lib), 0);
  memset(lib, 0, sizeof(*lib));
  lib->lock_fd = -1;
  lib->threads = affordable_threads((unsigned)threads);
  luaL_setmetatable(L, LSD_LIBRARY);
  if (open_library(lib, dir, create, lsd_core(L)->loop, &err)) {
    close_library(lib, -1);
    return lsd_push_error(L, &err);
  }
  return 1;
}

/* close(log_left?); as __close it gets an error in its place */
static int lsd_library_close(lua_State *L) {
  close_library(check_any(L, 1), lua_isinteger(L, 2) ? lua_tointeger(L, 2) : -1);
  return 0;
}

/* ---- small things ---- */

int lsd_library_move_wal(struct lsd_library *lib, struct sd_err *err) {
  /* With larger pieces all wait for the disk, at once and at the end. */
  enum { WAL_PAGES = 32 * 1024 * 1024 / 16384 };
  int64_t start = sd_clock_mono();
  uv_mutex_lock(&lib->wal_lock);
  lib->wal_moving = !atomic_load(&lib->interrupt);
  uv_mutex_unlock(&lib->wal_lock);
  int rc = lib->wal_moving ? sd_store_checkpoint(lib->writer, WAL_PAGES, err) : 0;
  uv_mutex_lock(&lib->wal_lock);
  lib->wal_moving = false;
  uv_mutex_unlock(&lib->wal_lock);
  atomic_fetch_add(&lib->wal_ns, sd_clock_mono() - start);
  return rc;
}

/* interrupt(on): long tasks end soon, with what they have */
static int lsd_library_interrupt(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  bool on = lua_toboolean(L, 2);
  atomic_store(&lib->interrupt, on);
  uv_mutex_lock(&lib->wal_lock);
  if (on && lib->wal_moving) sqlite3_interrupt(sd_store_db(lib->writer));
  uv_mutex_unlock(&lib->wal_lock);
  return 0;
}

/* new_id() -> an entry id that was never used */
static int lsd_library_new_id(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)atomic_fetch_add(&lsd_check_library(L, 1)->next_id, 1));
  return 1;
}

/* next_id() -> the entry id that is given next */
static int lsd_library_next_id(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)atomic_load(&lsd_check_library(L, 1)->next_id));
  return 1;
}

/* note() -> what the process that held the lock before noted and did not take back, or nil */
static int lsd_library_note(lua_State *L) {
  lua_pushstring(L, lsd_check_library(L, 1)->note);
  return 1;
}

/* leave_out(name) -> whether walks that are opened from now on leave out that file of the library's
 * directory */
static int lsd_library_leave_out(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  lua_pushboolean(L, add_own(lib, luaL_checkstring(L, 2)));
  return 1;
}

/* metrics() -> {checkpoint_ns, wal_ns} */
static int lsd_library_metrics(lua_State *L) {
  struct lsd_library *lib = lsd_check_library(L, 1);
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, atomic_load(&lib->checkpoint_ns));
  lua_setfield(L, -2, "checkpoint_ns");
  lua_pushinteger(L, atomic_load(&lib->wal_ns));
  lua_setfield(L, -2, "wal_ns");
  lua_pushinteger(L, lib->threads);
  lua_setfield(L, -2, "threads");
  return 1;
}

static int lsd_library_tostring(lua_State *L) {
  struct lsd_library *lib = check_any(L, 1);
  lua_pushfstring(L, "sd.library (%s)", lib->dir ? lib->dir : "closed");
  return 1;
}

static const luaL_Reg functions[] = {{"open", lsd_open}, {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"close", lsd_library_close},
    {"interrupt", lsd_library_interrupt},
    {"new_id", lsd_library_new_id},
    {"next_id", lsd_library_next_id},
    {"metrics", lsd_library_metrics},
    {"query", lsd_library_query},
    {"commit", lsd_library_commit},
    {"match", lsd_library_match},
    {"sweep", lsd_library_sweep},
    {"forget", lsd_library_forget},
    {"settle_links", lsd_library_settle_links},
    {"leave_out", lsd_library_leave_out},
    {"index_names", lsd_library_index_names},
    {"note", lsd_library_note},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", lsd_library_close},
    {"__close", lsd_library_close},
    {"__tostring", lsd_library_tostring},
    {NULL, NULL},
};

int luaopen_sd_library(lua_State *L) {
  lsd_class(L, LSD_LIBRARY, metamethods, methods);
  luaL_newlib(L, functions);
  return 1;
}
