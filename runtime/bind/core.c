#include "bind/core.h"

#include <lauxlib.h>
#include <luv/luv.h>
#include <string.h>

#include "bind/await.h"
#include "bind/batch.h"
#include "bind/chunk.h"
#include "bind/codec.h"
#include "bind/control.h"
#include "bind/copy.h"
#include "bind/coroutine.h"
#include "bind/hasher.h"
#include "bind/library.h"
#include "bind/queue.h"
#include "bind/reader.h"
#include "bind/rules.h"
#include "bind/sys.h"
#include "bind/walker.h"
#include "bind/watchdog.h"

/* run(): until stop(), or until nothing can happen any more. Raises what a callback raised. */
static int lsd_run(lua_State *L) {
  struct lsd_core *core = lsd_core(L);
  sd_loop_run(core->loop);
  if (core->failure_ref == LUA_NOREF) return 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, core->failure_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, core->failure_ref);
  core->failure_ref = LUA_NOREF;
  return lua_error(L);
}

static int lsd_stop(lua_State *L) {
  sd_loop_stop(lsd_core(L)->loop);
  return 0;
}

/* How luv calls a callback of Lua: an error ends the loop, as in all other callbacks. */
static int call_from_luv(lua_State *L, int nargs, int nresults, int flags) {
  struct lsd_core *core = lsd_core(L);
  int base = lua_gettop(L) - nargs;
  (void)flags;
  if (core->closing) {
    lua_settop(L, base - 1);
    return 0;
  }
  struct lsd_entered before = lsd_enter(core, L, lsd_current_job(core));
  int rc = lua_pcall(L, nargs, nresults, 0);
  lsd_leave(core, before);
  if (rc == LUA_OK) return nresults == LUA_MULTRET ? lua_gettop(L) - base + 1 : nresults;
  if (core->failure_ref == LUA_NOREF) core->failure_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  else lua_pop(L, 1);
  sd_loop_stop(core->loop);
  return -rc;
}

/* luv on our loop: timers, signals, processes, sockets for scripts. It calls back with the state
 * that set its loop: not a coroutine, which may have ended by then. */
static int lsd_open_luv(lua_State *L) {
  struct lsd_core *core = lsd_core(L);
  luv_set_loop(core->main, sd_loop_uv(core->loop));
  luv_set_callback(L, call_from_luv);
  return luaopen_luv(L);
}

/* __index of the module: luv is opened when somebody asks for it. */
static int lsd_core_index(lua_State *L) {
  const char *name = lua_tostring(L, 2);
  if (!name || strcmp(name, "luv") != 0) return 0;
  luaL_requiref(L, "luv", lsd_open_luv, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, 1, "luv");
  return 1;
}

static void offer_luv(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, lsd_open_luv);
  lua_setfield(L, -2, "luv");
  lua_pop(L, 1);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, lsd_core_index);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

void lsd_core_end(lua_State *L) {
  struct lsd_core *core = lsd_core(L);
  if (!core) return;
  core->closing = true;
  uv_run(sd_loop_uv(core->loop), UV_RUN_NOWAIT);
}

int luaopen_sd_core(lua_State *L) {
  static const luaL_Reg functions[] = {{"run", lsd_run}, {"stop", lsd_stop}, {NULL, NULL}};
  static const struct {
    const char *name;
    lua_CFunction open;
  } parts[] = {
      {"library", luaopen_sd_library}, {"queue", luaopen_sd_queue},
      {"walker", luaopen_sd_walker},   {"hasher", luaopen_sd_hasher},
      {"codec", luaopen_sd_codec},     {"control", luaopen_sd_control},
      {"sys", luaopen_sd_sys},         {"reader", luaopen_sd_reader},
      {"copy", luaopen_sd_copy},       {"watchdog", luaopen_sd_watchdog},
      {"rules", luaopen_sd_rules},
  };
  luaL_newlib(L, functions);
  lsd_await_open(L);
  lsd_coroutine_open(L);
  luaopen_sd_batch(L);
  luaopen_sd_chunk(L);
  for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
    lua_pushcfunction(L, parts[i].open);
    lua_call(L, 0, 1);
    lua_setfield(L, -2, parts[i].name);
  }
  offer_luv(L);
  return 1;
}
