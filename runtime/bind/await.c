#include "bind/await.h"

#include <stdlib.h>

static const char COROUTINES = 0; /* registry key: thread -> struct lsd_co */
static const char CORE = 0;       /* registry key: struct lsd_core */

struct lsd_co {
  lua_State *L; /* held by user value 1 */
  struct lsd_core *core;
  struct lsd_wait *waiting; /* for a task, or for `parked` */
  struct lsd_wait parked;
  bool wake_pending; /* woken before it parked */
  bool queued;       /* a resume is deferred */
  bool closed;       /* has ended, or was ended: nothing resumes it any more */
  int nargs;         /* for the first resume */
  long long job;     /* whose it is; 0: nobody's */
  int on_done;       /* ref of the function that takes the result */
  int self;          /* ref of this userdata while the coroutine lives */
};

struct lsd_core *lsd_core(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &CORE);
  struct lsd_core *core = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return core;
}

/* ---- who runs ---- */

struct lsd_entered lsd_enter(struct lsd_core *core, lua_State *L, long long job) {
  struct lsd_running *r = &core->running;
  struct lsd_entered before = {.L = atomic_load_explicit(&r->L, memory_order_relaxed),
                               .job = atomic_load_explicit(&r->job, memory_order_relaxed)};
  if (!before.L) {
    unsigned long long entry = atomic_load_explicit(&r->entry, memory_order_relaxed);
    atomic_store_explicit(&r->entry, entry + 1, memory_order_relaxed);
  }
  atomic_store_explicit(&r->job, job, memory_order_relaxed);
  atomic_store_explicit(&r->L, L, memory_order_relaxed);
  return before;
}

void lsd_leave(struct lsd_core *core, struct lsd_entered before) {
  struct lsd_running *r = &core->running;
  atomic_store_explicit(&r->L, before.L, memory_order_relaxed);
  atomic_store_explicit(&r->job, before.job, memory_order_relaxed);
  if (!before.L && atomic_load_explicit(&r->reported, memory_order_relaxed) && core->on_left)
    core->on_left(core);
}

long long lsd_current_job(struct lsd_core *core) {
  return atomic_load_explicit(&core->running.job, memory_order_relaxed);
}

static struct lsd_co *find(lua_State *L, lua_State *thread) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &COROUTINES);
  lua_pushthread(thread);
  if (thread != L) lua_xmove(thread, L, 1);
  lua_rawget(L, -2);
  struct lsd_co *co = lua_touserdata(L, -1);
  lua_pop(L, 2);
  return co;
}

static void forget(lua_State *L, struct lsd_co *co) {
  co->closed = true;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &COROUTINES);
  lua_pushthread(co->L);
  if (co->L != L) lua_xmove(co->L, L, 1);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void lsd_check_await(lua_State *L) {
  if (!lua_isyieldable(L) || !find(L, L))
    luaL_error(L, "this function waits: call it from a job or from sd.spawn");
}

int lsd_await(lua_State *L, struct lsd_wait *w, lua_KFunction k, lua_KContext ctx) {
  struct lsd_co *co = find(L, L);
  sd_verify(co && !co->waiting);
  w->co = co;
  co->waiting = w;
  return lua_yieldk(L, 0, ctx, k);
}

/* ---- going on ---- */

void lsd_call(struct lsd_core *core, int n) {
  lua_State *L = core->main;
  struct lsd_entered before = lsd_enter(core, L, lsd_current_job(core));
  int status = lua_pcall(L, n, 0, 0);
  lsd_leave(core, before);
  if (status == LUA_OK) return;
  if (core->failure_ref == LUA_NOREF) core->failure_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  else lua_pop(L, 1);
  sd_loop_stop(core->loop);
}

/* on_done(ok, ...): results, or the error and a traceback. */
static void finish(struct lsd_co *co, int status, int nres) {
  lua_State *L = co->core->main;
  forget(L, co); /* first: what is closed below may not wait any more */
  lua_rawgeti(L, LUA_REGISTRYINDEX, co->on_done);
  lua_pushboolean(L, status == LUA_OK);
  luaL_unref(L, LUA_REGISTRYINDEX, co->on_done);
  if (status == LUA_OK) {
    luaL_checkstack(L, nres, NULL);
    lua_xmove(co->L, L, nres);
  } else {
    luaL_traceback(L, co->L, NULL, 0);
    lua_xmove(co->L, L, 1);
    lua_insert(L, -2);
    nres = 2;
    lua_resetthread(co->L); /* closes what the failed coroutine left open */
  }
  struct lsd_core *core = co->core;
  lsd_enter(core, L, co->job);                /* go_on() leaves; co->L may be collected now */
  luaL_unref(L, LUA_REGISTRYINDEX, co->self); /* co may end here */
  lsd_call(core, nres + 1);
}

static void go_on(struct lsd_co *co);

static void deferred_go_on(void *ud) {
  struct lsd_co *co = ud;
  co->queued = false;
  if (co->closed) luaL_unref(co->core->main, LUA_REGISTRYINDEX, co->self); /* co may end here */
  else if (!co->waiting && !co->core->closing) go_on(co);
}

static void defer_go_on(struct lsd_co *co) {
  if (co->queued) return;
  co->queued = true;
  sd_loop_defer(co->core->loop, deferred_go_on, co);
}

static void go_on(struct lsd_co *co) {
  struct lsd_core *core = co->core;
  int nres = 0, nargs = co->nargs;
  co->nargs = 0;
  struct lsd_entered before = lsd_enter(core, co->L, co->job);
  int status = lua_resume(co->L, core->main, nargs, &nres);
  if (status != LUA_YIELD) {
    finish(co, status, nres);
  } else {
    lua_pop(co->L, nres);
    if (!co->waiting) defer_go_on(co); /* a plain coroutine.yield(): lets others run */
  }
  lsd_leave(core, before);
}

bool lsd_wake(struct lsd_wait *w) {
  struct lsd_co *co = w->co;
  if (!co) return false;
  w->co = NULL;
  co->waiting = NULL;
  if (co->core->closing) return false;
  go_on(co);
  return true;
}

void lsd_wake_later(struct lsd_wait *w) {
  struct lsd_co *co = w->co;
  if (!co) return;
  w->co = NULL;
  co->waiting = NULL;
  defer_go_on(co);
}

static void call_late(void *ud) {
  struct lsd_core *core = ud;
  struct lsd_late *late = core->late;
  core->late = core->late_tail = NULL;
  while (late) {
    struct lsd_late *next = late->next;
    late->fn(late);
    late = next;
  }
}

void lsd_defer(struct lsd_core *core, struct lsd_late *late) {
  late->next = NULL;
  if (core->late) core->late_tail->next = late;
  else core->late = late;
  core->late_tail = late;
  if (core->late == late) sd_loop_defer(core->loop, call_late, core);
}

/* ---- for Lua ---- */

/* spawn(on_done, fn, ...) -> thread */
static int lsd_spawn(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  int nargs = lua_gettop(L) - 2;
  struct lsd_co *co = lua_newuserdatauv(L, sizeof(*co), 1);
  struct lsd_core *core = lsd_core(L);
  *co = (struct lsd_co){
      .core = core, .job = lsd_current_job(core), .on_done = LUA_NOREF, .self = LUA_NOREF};
  co->L = lua_newthread(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &COROUTINES);
  lua_pushvalue(L, -2);
  lua_pushvalue(L, -4);
  lua_rawset(L, -3);
  lua_pop(L, 1); /* ..., co, thread */
  lua_pushvalue(L, 1);
  co->on_done = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, -2);
  co->self = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_replace(L, 1); /* the thread is what is returned */
  lua_pop(L, 1);
  luaL_checkstack(co->L, nargs + 1, NULL);
  lua_xmove(L, co->L, nargs + 1);
  co->nargs = nargs;
  defer_go_on(co);
  return 1;
}

static struct lsd_co *check_co(lua_State *L, int i) {
  luaL_checktype(L, i, LUA_TTHREAD);
  return find(L, lua_tothread(L, i));
}

static int parked_k(lua_State *L, int status, lua_KContext ctx) {
  (void)L, (void)status, (void)ctx;
  return 0;
}

/* park(): until wake(thread); at once if that came before. */
static int lsd_park(lua_State *L) {
  lsd_check_await(L);
  struct lsd_co *co = find(L, L);
  if (co->wake_pending) {
    co->wake_pending = false;
    return 0;
  }
  return lsd_await(L, &co->parked, parked_k, 0);
}

/* wake(thread) -> whether it will go on */
static int lsd_wake_thread(lua_State *L) {
  struct lsd_co *co = check_co(L, 1);
  bool alive = co != NULL;
  if (alive && co->waiting == &co->parked) {
    co->waiting = NULL;
    co->parked.co = NULL;
    defer_go_on(co);
  } else if (alive) {
    co->wake_pending = true;
  }
  lua_pushboolean(L, alive);
  return 1;
}

/* Also where it has resumed another one, which is what runs. */
static bool is_running(const struct lsd_co *co) {
  lua_Debug ar;
  return lua_status(co->L) == LUA_OK && lua_getstack(co->L, 0, &ar);
}

/* close(thread): its to-be-closed variables run; on_done is not called. */
static int lsd_close(lua_State *L) {
  struct lsd_co *co = check_co(L, 1);
  if (!co) return 0;
  if (is_running(co)) return luaL_error(L, "a coroutine cannot close itself");
  if (co->waiting) co->waiting->co = NULL;
  co->waiting = NULL;
  forget(L, co);
  luaL_unref(L, LUA_REGISTRYINDEX, co->on_done);
  struct lsd_entered before = lsd_enter(co->core, co->L, co->job);
  lua_resetthread(co->L);
  lsd_leave(co->core, before);
  if (!co->queued) luaL_unref(L, LUA_REGISTRYINDEX, co->self);
  return 0;
}

/* set_job(thread, id) -> the one before: whose the coroutine is, and what it spawns; 0: nobody's */
static int lsd_set_job(lua_State *L) {
  struct lsd_co *co = check_co(L, 1);
  lua_Integer job = luaL_checkinteger(L, 2);
  lua_pushinteger(L, co ? co->job : 0);
  if (!co) return 1;
  co->job = job;
  if (co->L == L) atomic_store_explicit(&co->core->running.job, job, memory_order_relaxed);
  return 1;
}

/* awaitable() -> whether functions that wait may be called here */
static int lsd_awaitable(lua_State *L) {
  lua_pushboolean(L, lua_isyieldable(L) && find(L, L) != NULL);
  return 1;
}

static int core_gc(lua_State *L) {
  struct lsd_core *core = lua_touserdata(L, 1);
  core->closing = true;
  call_late(core);
  sd_loop_close(core->loop);
  core->loop = NULL;
  return 0;
}

static void open_core(lua_State *L) {
  struct sd_err err;
  struct lsd_core *core = lua_newuserdatauv(L, sizeof(*core), 0);
  *core = (struct lsd_core){.failure_ref = LUA_NOREF};
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  core->main = lua_tothread(L, -1);
  lua_pop(L, 1);
  if (sd_loop_open(&core->loop, &err)) luaL_error(L, "%s", err.msg);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, core_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &CORE);
}

void lsd_await_open(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"spawn", lsd_spawn}, {"park", lsd_park},           {"wake", lsd_wake_thread},
      {"close", lsd_close}, {"awaitable", lsd_awaitable}, {"set_job", lsd_set_job},
      {NULL, NULL},
  };
  if (!lsd_core(L)) open_core(L);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &COROUTINES);
  luaL_setfuncs(L, functions, 0);
}
