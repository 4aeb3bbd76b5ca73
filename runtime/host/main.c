/* main.c - the program `sdlua`, and the map of the house.
 *
 *   runtime/base    errors, buffers, clock, uuid, utf-8: what every layer stands on; libc only
 *   runtime/engine  walk, reconcile, rules, hash, store, codec: the hot work; no Lua, no threads
 *   runtime/loop    the event loop and lanes, the threads on which engines run; libuv
 *   runtime/bind    engines and loop as Lua modules; await.c is all that yields and resumes
 *   runtime/host    here: mode, Lua state, package path, exit code; stock `lua` command, REPL
 *   lua/sd          the Lua library: jobs, manager, progress, queries, and the commands under cli/
 *   jobs            job scripts; indexer.lua is the product's main job
 *   c_tests         engines under cmocka
 *   spec            everything above them under busted, run by sdlua itself
 *   bench           corpus maker, the bare walk that speed is measured against
 *   docs            one page per subject
 *
 * Two modes. A word that lua/sd/commands.lua lists, or a request for help or version, is a command
 * and belongs to sd.cli, which returns the exit code. Anything else is for the stock `lua5.4`,
 * whose place lua_cli.c takes. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind/core.h"
#include "host/lua_cli.h"
#include "host/modules.h"
#include "host/repl.h"

enum {
  EXIT_ERRORS = 3,
  EXIT_SCRIPT = 15,
  EXIT_MEMORY = 17
}; /* of commands; a plain script fails with EXIT_FAILURE */

struct host {
  struct sd_lua_opts opts;
  bool command; /* a command runs, its exit codes count */
  int status;
};

/* ---- where the Lua library is ---- */

static bool is_root(lua_State *L, const char *dir) {
  bool found = access(lua_pushfstring(L, "%s/lua/sd/init.lua", dir), R_OK) == 0;
  lua_pop(L, 1);
  return found;
}

/* Cuts the last component of a path. */
static void cut(char *path) {
  char *slash = strrchr(path, '/');
  if (slash) *slash = '\0';
}

/* The directory of the program; "" where that is not known. */
static void find_program(char *dir, size_t size) {
  ssize_t n = readlink("/proc/self/exe", dir, size - 1);
  dir[n > 0 ? n : 0] = '\0';
  cut(dir);
}

/* Pushes the directory that has lua/ and jobs/: as told, as installed beside the program, or the
 * source tree. */
static const char *push_root(lua_State *L, const char *program) {
  const char *home = getenv("SDLUA_HOME"), *last = strrchr(program, '/');
  if (home && *home) return lua_pushstring(L, home);
  lua_pushlstring(L, program, last ? (size_t)(last - program) : 0); /* of bin/ */
  const char *root = lua_pushfstring(L, "%s/share/sdlua", lua_tostring(L, -1));
  lua_remove(L, -2);
  if (is_root(L, root)) return root;
  lua_pop(L, 1);
  return lua_pushliteral(L, SD_SOURCE_DIR);
}

static void prepend_path(lua_State *L, const char *root) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "path");
  lua_pushfstring(L, "%s/lua/?.lua;%s/lua/?/init.lua;%s", root, root, lua_tostring(L, -1));
  lua_setfield(L, -3, "path");
  lua_pop(L, 2);
}

static void set_loaded(lua_State *L, const char *name, const char *value) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

static void open_libs(lua_State *L, bool no_env) {
  if (no_env) {
    lua_pushboolean(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  }
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_sd_core);
  lua_setfield(L, -2, "sd.core");
  lua_pop(L, 1);
  char program[PATH_MAX];
  find_program(program, sizeof(program));
  const char *root = push_root(L, program);
  prepend_path(L, root);
  sd_modules_open(L, root, lua_pushfstring(L, "%s/bytecode", program));
  lua_pop(L, 1);
  set_loaded(L, "sd.root", root);
  set_loaded(L, "sd.version", SD_VERSION);
  lua_pop(L, 1);
  lua_gc(L, LUA_GCGEN, 0, 0);
}

/* ---- commands ---- */

static bool asks_about_us(const char *arg) {
  return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0 || strcmp(arg, "--version") == 0;
}

/* A path with a dot or a slash is never a command: `sdlua ./index` runs a script of that name, and
 * most scripts run without a look at our library. */
static bool is_command(lua_State *L, const char *arg) {
  if (arg[0] == '-' || strpbrk(arg, "./")) return false;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "sd.commands");
  lua_call(L, 1, 1);
  bool found = lua_getfield(L, -1, arg) != LUA_TNIL;
  lua_pop(L, 2);
  return found;
}

/* {exit = code, message = text}: an error that sd.cli meant for its user. Pushes both. */
static bool is_exit(lua_State *L, int i) {
  if (!lua_istable(L, i)) return false;
  lua_getfield(L, i, "exit");
  lua_getfield(L, i, "message");
  return lua_isinteger(L, -2) && lua_type(L, -1) == LUA_TSTRING;
}

static int handle_error(lua_State *L) {
  bool planned = is_exit(L, 1);
  lua_settop(L, 1);
  return planned ? 1 : lsd_lua_traceback(L);
}

static int call_main(lua_State *L) {
  struct host *h = lua_touserdata(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "sd.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_createtable(L, h->opts.argc - 1, 0);
  for (int i = 1; i < h->opts.argc; i++) {
    lua_pushstring(L, h->opts.argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_call(L, 1, 1);
  if (!lua_isinteger(L, -1))
    return luaL_error(L, "sd.cli.main returned a %s, not an exit code", luaL_typename(L, -1));
  h->status = (int)lua_tointeger(L, -1);
  return 0;
}

static int report_command(lua_State *L, int status) {
  if (status == LUA_ERRMEM) {
    sd_lua_message("sdlua", "not enough memory");
    return EXIT_MEMORY;
  }
  int top = lua_gettop(L);
  if (is_exit(L, top)) {
    sd_lua_message("sdlua", lua_tostring(L, -1));
    return (int)lua_tointeger(L, -2);
  }
  lua_settop(L, top);
  sd_lua_report(L, status, "sdlua");
  return EXIT_SCRIPT;
}

/* A result that was lost on the way is no success. */
static void check_output(lua_State *L, struct host *h) {
  int en = fflush(stdout) != 0 ? errno : 0;
  if (!en && !ferror(stdout)) return;
  if (h->status != EXIT_SUCCESS && h->status != EXIT_ERRORS) return; /* said already */
  lua_pushfstring(L, "cannot write to standard output: %s", en ? strerror(en) : "write error");
  sd_lua_message("sdlua", lua_tostring(L, -1));
  h->status = EXIT_FAILURE;
}

/* SIGINT stays as it is: a command handles it on the loop. */
static void run_command(lua_State *L, struct host *h) {
  int base = lua_gettop(L);
  lua_pushcfunction(L, handle_error);
  lua_pushcfunction(L, call_main);
  lua_pushlightuserdata(L, h);
  int status = lua_pcall(L, 1, 0, base + 1);
  lua_remove(L, base + 1);
  if (status != LUA_OK) h->status = report_command(L, status);
  check_output(L, h);
}

/* ---- the program ---- */

/* What is opened next takes the lowest free number: without this, a pipe of the event loop or the
 * database itself would be where others print to. */
static void open_standard_descriptors(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

static int end_core(lua_State *L) {
  lsd_core_end(L);
  return 0;
}

/* On top of the stack: what is to be closed is so before anything is collected, also in
 * os.exit(code, true). */
static void push_end(lua_State *L) {
  lua_newuserdatauv(L, 0, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, end_core);
  lua_setfield(L, -2, "__close");
  lua_setmetatable(L, -2);
  lua_toclose(L, -1);
}

static int run(lua_State *L) {
  struct host *h = lua_touserdata(L, 1);
  struct sd_lua_opts *o = &h->opts;
  const char *first = o->argc > 1 ? o->argv[1] : "-";
  lua_settop(L, 0);
  push_end(L);
  luaL_checkversion(L);
  h->command = asks_about_us(first);
  if (o->bad && !h->command) {
    sd_lua_usage(o);
    return 0;
  }
  open_libs(L, o->no_env);
  if (!h->command) h->command = is_command(L, first);
  if (h->command) {
    run_command(L, h);
    return 0;
  }
  enum sd_lua_next next = sd_lua_run(L, o);
  if (next == SD_LUA_REPL) sd_repl_run(L);
  h->status = next == SD_LUA_FAILED ? EXIT_FAILURE : EXIT_SUCCESS;
  return 0;
}

int main(int argc, char **argv) {
  struct host h = {.status = EXIT_FAILURE};
  open_standard_descriptors();
  signal(SIGXFSZ, SIG_IGN); /* a write past ulimit -f is to be an error like others */
  sd_lua_parse(&h.opts, argc, argv);
  lua_State *L = luaL_newstate();
  if (!L) {
    sd_lua_message(h.opts.progname, "cannot create state: not enough memory");
    return EXIT_FAILURE;
  }
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, &h);
  int status = lua_pcall(L, 1, 0, 0);
  if (sd_lua_report(L, status, h.opts.progname) != LUA_OK && h.command)
    h.status = status == LUA_ERRMEM ? EXIT_MEMORY : EXIT_SCRIPT;
  lua_close(L);
  return h.status;
}
