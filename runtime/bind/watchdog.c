#include "bind/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/error.h"
#include "bind/await.h"
#include "bind/op.h"

#define WATCHDOG "sd.watchdog"
enum { TEXT_MAX = 4000, HEAD_MAX = 64 };

/* By default it is ignored, and nobody else sends it to a thread. */
#define ASK_SIGNAL SIGURG

/* What ends the process where the loop does not come to it. */
static const int guarded[] = {SIGINT, SIGTERM};
enum { GUARDED = sizeof(guarded) / sizeof(guarded[0]), PATIENCE_MS = 120 };

struct report {
  long long job;
  uint64_t since; /* uv_hrtime() */
  char text[TEXT_MAX];
};

struct watchdog {
  struct lsd_core *core;
  uint64_t limit_ns, tick_ns;
  bool quiet;  /* nothing on stderr */
  int note_fd; /* a report is written there, behind note_at, and removed when it is over */
  off_t note_at;
  int on_over; /* ref */
  bool started;
  struct sigaction handler_before;
  uv_thread_t thread, loop_thread;
  atomic_ullong asked; /* the entry in which a place is wanted; the handler reads it */
  uv_mutex_t lock;     /* guards what follows; held while a report is written */
  uv_cond_t wake;
  bool closing;
  unsigned long long seen; /* the entry at the last look */
  unsigned long long told; /* the last one that was reported */
  uint64_t since, looked;  /* when `seen` was first seen; the last look */
  uint64_t unheard_since;  /* a guarded signal was seen that the loop had not come to */
  struct report report;
};

static _Atomic(struct watchdog *) active;

/* The last guarded signal; any thread's handler writes it, the watchdog's thread takes it. */
static struct {
  atomic_int sig; /* 0: none */
  atomic_ullong entry;
  void (*handlers[GUARDED])(int sig); /* libuv's; the loop's thread writes, before they are used */
} came;

/* The hook that ours took the place of; the loop's thread and its handler. */
static struct {
  lua_State *L;
  lua_Hook fn;
  int mask, count;
} hooked;

/* ---- reports; w->lock is held ---- */

static void put_stderr(const char *text) {
  struct pollfd p = {.fd = 2, .events = POLLOUT};
  char line[TEXT_MAX + HEAD_MAX];
  if (poll(&p, 1, 0) <= 0) return; /* whom nobody reads must not hold us up */
  int n = snprintf(line, sizeof(line), "%ssdlua: %s", isatty(2) ? "\r\033[K" : "", text);
  if (write(2, line, (size_t)n) < 0) return;
}

static void put_note(const struct watchdog *w, const struct report *r) {
  char note[TEXT_MAX + HEAD_MAX];
  if (w->note_fd < 0) return;
  int n = snprintf(note, sizeof(note), "stuck %lld %lld\n%s", r->job, (long long)sd_clock_wall(),
                   r->text);
  if (pwrite(w->note_fd, note, (size_t)n, w->note_at) < 0) return;
}

static void remove_note(const struct watchdog *w) {
  if (w->note_fd >= 0 && ftruncate(w->note_fd, w->note_at) != 0) return;
}

/* Names of files may hold what a terminal would take for orders. */
static void clean(char *s) {
  for (; *s; s++)
    if (((unsigned char)*s < ' ' && *s != '\n' && *s != '\t') || *s == 127) *s = '?';
}

static void report(struct watchdog *w, unsigned long long entry, const char *what) {
  struct report *r = &w->report;
  char who[32] = "a callback";
  r->job = atomic_load(&w->core->running.job);
  r->since = w->since;
  if (r->job) snprintf(who, sizeof(who), "job %lld", r->job);
  snprintf(r->text, sizeof(r->text) - 1, "%s has let nothing else run for %.1f s%s", who,
           (double)(uv_hrtime() - r->since) / 1e9, what);
  clean(r->text);
  strcat(r->text, "\n");
  w->told = entry;
  if (!w->quiet) put_stderr(r->text);
  put_note(w, r);
  atomic_store(&w->core->running.reported, true);
}

/* ---- the loop's thread ---- */

/* In protected mode, since memory may be out. */
static int report_place(lua_State *L) {
  struct watchdog *w = lua_touserdata(L, 1);
  unsigned long long entry = atomic_load(&w->core->running.entry);
  lua_pushliteral(L, ":\n");
  luaL_traceback(L, L, NULL, 1);
  lua_concat(L, 2);
  uv_mutex_lock(&w->lock);
  report(w, entry, lua_tostring(L, -1));
  uv_mutex_unlock(&w->lock);
  return 0;
}

static bool is_asked(const struct watchdog *w) {
  return w && atomic_load(&w->core->running.entry) == atomic_load(&w->asked);
}

/* The state's next instruction, or the return of a C function, which still knows who called it.
 * Whether that is in the entry that was asked for is to be seen. */
static void hook(lua_State *L, lua_Debug *ar) {
  struct watchdog *w = atomic_load(&active);
  (void)ar;
  if (hooked.L == L) lua_sethook(L, hooked.fn, hooked.mask, hooked.count);
  else lua_sethook(L, NULL, 0, 0);
  if (!is_asked(w)) return;
  lua_pushcfunction(L, report_place);
  lua_pushlightuserdata(L, w);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
}

/* lua_sethook() is what may be called in a handler, as the `lua` command does. */
static void on_signal(int sig) {
  struct watchdog *w = atomic_load(&active);
  (void)sig;
  if (!is_asked(w)) return;
  lua_State *L = atomic_load(&w->core->running.L);
  if (!L || lua_gethook(L) == hook) return;
  hooked.L = L;
  hooked.fn = lua_gethook(L);
  hooked.mask = lua_gethookmask(L);
  hooked.count = lua_gethookcount(L);
  lua_sethook(L, hook, LUA_MASKCOUNT | LUA_MASKRET, 1);
}

/* on_over(job, seconds, text) */
static int call_on_over(lua_State *L) {
  struct watchdog *w = lua_touserdata(L, 1);
  uv_mutex_lock(&w->lock);
  struct report r = w->report;
  uv_mutex_unlock(&w->lock);
  lua_rawgeti(L, LUA_REGISTRYINDEX, w->on_over);
  lua_pushinteger(L, r.job);
  lua_pushnumber(L, (double)(uv_hrtime() - r.since) / 1e9);
  lua_pushstring(L, r.text);
  lua_call(L, 3, 0);
  return 0;
}

static void tell_over(void *ud) {
  struct lsd_core *core = ud;
  struct watchdog *w = atomic_load(&active);
  if (!w || core->closing) return; /* closed meanwhile */
  lua_pushcfunction(core->main, call_on_over);
  lua_pushlightuserdata(core->main, w);
  lsd_call(core, 1);
}

static void on_left(struct lsd_core *core) {
  struct watchdog *w = atomic_load(&active);
  atomic_store(&core->running.reported, false);
  uv_mutex_lock(&w->lock);
  remove_note(w);
  uv_mutex_unlock(&w->lock);
  sd_loop_defer(core->loop, tell_over, core);
}

/* ---- signals that the loop should take ---- */

static void on_guarded(int sig) {
  struct watchdog *w = atomic_load(&active);
  if (w) {
    atomic_store(&came.entry, atomic_load(&w->core->running.entry));
    atomic_store(&came.sig, sig);
  }
  for (int i = 0; i < GUARDED; i++)
    if (guarded[i] == sig) came.handlers[i](sig);
}

/* guard_signals(): behind whoever handles them on the loop */
static int lsd_watchdog_guard_signals(lua_State *L) {
  luaL_checkudata(L, 1, WATCHDOG);
  for (int i = 0; i < GUARDED; i++) {
    struct sigaction act;
    sigaction(guarded[i], NULL, &act);
    if (act.sa_flags & SA_SIGINFO || act.sa_handler == SIG_DFL || act.sa_handler == SIG_IGN ||
        act.sa_handler == on_guarded)
      continue;
    came.handlers[i] = act.sa_handler;
    act.sa_handler = on_guarded;
    sigaction(guarded[i], &act, NULL);
  }
  return 0;
}

/* The loop has not come to the signal since the last look, and is in the same Lua as then: the
 * library stands an end like that of a crash. */
static void end_where_unheard(struct watchdog *w, uint64_t now) {
  struct lsd_running *r = &w->core->running;
  int sig = atomic_load(&came.sig);
  if (!sig) return;
  if (!atomic_load(&r->L) || atomic_load(&r->entry) != atomic_load(&came.entry)) {
    atomic_compare_exchange_strong(&came.sig, &sig, 0);
    w->unheard_since = 0;
  } else if (!w->unheard_since) {
    w->unheard_since = now;
  } else if (now - w->unheard_since >= PATIENCE_MS * (uint64_t)SD_NS_PER_MS) {
    put_stderr("stopped; the same command goes on from the last checkpoint\n");
    _exit(128 + sig);
  }
}

/* ---- the watchdog's thread ---- */

static void look(struct watchdog *w) {
  struct lsd_running *r = &w->core->running;
  uint64_t now = uv_hrtime(), before = w->looked;
  unsigned long long entry = atomic_load(&r->entry);
  w->looked = now;
  end_where_unheard(w, now);
  /* A late look tells that the whole process stood still. */
  if (!atomic_load(&r->L) || entry != w->seen || now - before > 4 * w->tick_ns) {
    w->seen = entry;
    w->since = now;
  }
  if (now - w->since < w->limit_ns) return;
  if (atomic_load(&w->asked) != entry) {
    atomic_store(&w->asked, entry);
    pthread_kill(w->loop_thread, ASK_SIGNAL);
  } else if (w->told != entry && now - w->since >= w->limit_ns + 2 * w->tick_ns) {
    report(w, entry,
           ": it waits in a C function, and where that was called is known when it"
           " returns");
  }
}

static void watch(void *arg) {
  struct watchdog *w = arg;
  uv_mutex_lock(&w->lock);
  w->looked = w->since = uv_hrtime();
  while (!w->closing) {
    uv_cond_timedwait(&w->wake, &w->lock, w->tick_ns);
    look(w);
  }
  uv_mutex_unlock(&w->lock);
}

/* ---- opening and closing ---- */

static int start(struct watchdog *w, struct sd_err *err) {
  struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  uv_mutex_init(&w->lock);
  uv_cond_init(&w->wake);
  w->loop_thread = uv_thread_self();
  sigemptyset(&act.sa_mask);
  sigaction(ASK_SIGNAL, &act, &w->handler_before);
  w->core->on_left = on_left;
  atomic_store(&active, w);
  w->started = uv_thread_create(&w->thread, watch, w) == 0;
  return w->started ? 0 : sd_err_set(err, -EAGAIN, "start the watchdog's thread");
}

static void stop_thread(struct watchdog *w) {
  uv_mutex_lock(&w->lock);
  w->closing = true;
  uv_cond_signal(&w->wake);
  uv_mutex_unlock(&w->lock);
  uv_thread_join(&w->thread);
}

static void close_watchdog(lua_State *L, struct watchdog *w) {
  if (atomic_load(&active) == w) {
    if (w->started) stop_thread(w);
    atomic_store(&active, NULL);
    atomic_store(&came.sig, 0);
    w->core->on_left = NULL;
    atomic_store(&w->core->running.reported, false);
    sigaction(ASK_SIGNAL, &w->handler_before, NULL);
    uv_cond_destroy(&w->wake);
    uv_mutex_destroy(&w->lock);
  }
  luaL_unref(L, LUA_REGISTRYINDEX, w->on_over);
  w->on_over = LUA_NOREF;
  if (w->note_fd >= 0) close(w->note_fd);
  w->note_fd = -1;
}

static int lsd_watchdog_close(lua_State *L) {
  close_watchdog(L, luaL_checkudata(L, 1, WATCHDOG));
  return 0;
}

static int open_note(struct watchdog *w, const char *path, struct sd_err *err) {
  struct stat st;
  if (!path) return 0;
  w->note_fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (w->note_fd < 0 || fstat(w->note_fd, &st) != 0) return sd_err_os(err, "open", path);
  w->note_at = st.st_size;
  return 0;
}

/* start({seconds, on_over, note = path, quiet = boolean}) -> watchdog */
static int lsd_watchdog_start(lua_State *L) {
  struct sd_err err;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "seconds");
  lua_getfield(L, 1, "on_over");
  lua_getfield(L, 1, "note");
  lua_getfield(L, 1, "quiet");
  lua_Number seconds = luaL_checknumber(L, 2);
  luaL_argcheck(L, seconds >= 0.01 && seconds <= 1e6, 1, "seconds: from 0.01 to 1000000");
  luaL_checktype(L, 3, LUA_TFUNCTION);
  const char *note = luaL_optstring(L, 4, NULL);
  struct watchdog *w = lua_newuserdatauv(L, sizeof(*w), 0);
  memset(w, 0, sizeof(*w));
  w->core = lsd_core(L);
  w->limit_ns = (uint64_t)(seconds * 1e9);
  w->tick_ns = w->limit_ns / 4 < SD_NS_PER_S ? w->limit_ns / 4 : SD_NS_PER_S;
  w->quiet = lua_toboolean(L, 5);
  w->note_fd = -1;
  w->on_over = LUA_NOREF;
  luaL_setmetatable(L, WATCHDOG);
  lua_pushvalue(L, 3);
  w->on_over = luaL_ref(L, LUA_REGISTRYINDEX);
  int rc = 0;
  if (atomic_load(&active)) rc = sd_err_set(&err, -EBUSY, "this process has a watchdog already");
  if (!rc) rc = open_note(w, note, &err);
  if (!rc) rc = start(w, &err);
  if (!rc) return 1;
  close_watchdog(L, w);
  return lsd_push_error(L, &err);
}

static const luaL_Reg functions[] = {{"start", lsd_watchdog_start}, {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"close", lsd_watchdog_close}, {"guard_signals", lsd_watchdog_guard_signals}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__gc", lsd_watchdog_close},
    {"__close", lsd_watchdog_close},
    {NULL, NULL},
};

int luaopen_sd_watchdog(lua_State *L) {
  luaL_newmetatable(L, WATCHDOG);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
