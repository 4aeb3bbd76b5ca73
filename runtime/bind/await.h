/* await.h - the one place where coroutines wait and go on.
 *
 * A coroutine that was started by lsd_spawn() may wait for a task: the C function that starts the
 * task returns lsd_await(), and its continuation pushes the results. A resume always comes from the
 * loop (its drain, or what a handle calls), never from inside the call that completes. A coroutine
 * that is closed while it waits is detached: its task is finished for nobody.
 *
 * Owner:  struct lsd_wait lies in the operation that is waited for; the operation outlives the
 * wait. Thread: the loop's thread.
 * Errors: misuse raises. */
#ifndef SD_BIND_AWAIT_H
#define SD_BIND_AWAIT_H

#include <lauxlib.h>
#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "loop/loop.h"

struct lsd_co;

struct lsd_wait {
  struct lsd_co *co; /* who waits; NULL: nobody (any more) */
};

/* What is to be done later; lies in what it is done for. */
struct lsd_late {
  struct lsd_late *next;
  void (*fn)(struct lsd_late *late);
};

/* What runs since the loop entered Lua. The loop's thread writes it; its signal handlers and the
 * watchdog's thread read it. */
struct lsd_running {
  _Atomic(lua_State *) L; /* NULL: the loop is not in Lua */
  atomic_llong job;       /* whose code it is; 0: nobody's */
  atomic_ullong entry;    /* the number of the entry, from 1 */
  atomic_bool reported;   /* the entry has taken too long: on_left is to be called after it */
};

/* What a Lua state has once. */
struct lsd_core {
  lua_State *main;
  struct sd_loop *loop;
  struct lsd_late *late, *late_tail;
  bool closing;    /* the state is being closed: nobody is resumed */
  int failure_ref; /* an error that a callback of the loop raised; LUA_NOREF: none */
  struct lsd_running running;
  void (*on_left)(struct lsd_core *core); /* the watchdog's */
};

struct lsd_core *lsd_core(lua_State *L);

/* Around everything that runs Lua for the loop; nests. */
struct lsd_entered {
  lua_State *L;
  long long job;
};
struct lsd_entered lsd_enter(struct lsd_core *core, lua_State *L, long long job);
void lsd_leave(struct lsd_core *core, struct lsd_entered before);

/* Whose code runs. */
long long lsd_current_job(struct lsd_core *core);

/* Waits: `return lsd_await(L, &op->wait, k, (lua_KContext)op)`. Raises where the running coroutine
 * is not one of lsd_spawn()'s. Check with lsd_check_await() before anything is started. */
void lsd_check_await(lua_State *L);
int lsd_await(lua_State *L, struct lsd_wait *w, lua_KFunction k, lua_KContext ctx);

/* The wait is over. False: nobody waits any more, and the operation is the caller's to release. */
bool lsd_wake(struct lsd_wait *w);

/* The same, where nothing is to happen now: who waits goes on from the loop. */
void lsd_wake_later(struct lsd_wait *w);

/* Calls late->fn(late) from the loop, or when the state is closed, but in any case. */
void lsd_defer(struct lsd_core *core, struct lsd_late *late);

/* Calls the function on top of the main state's stack with `n` arguments below it protected; an
 * error ends the loop and is raised by run(). */
void lsd_call(struct lsd_core *core, int n);

/* spawn, running, park, wake, close: into the module table on top of the stack. */
void lsd_await_open(lua_State *L);

#endif
