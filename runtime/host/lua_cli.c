#include "host/lua_cli.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/repl.h"

/* ---- messages ---- */

void sd_lua_message(const char *progname, const char *msg) {
  fflush(stdout);
  if (progname) fprintf(stderr, "%s: ", progname);
  fprintf(stderr, "%s\n", msg);
  fflush(stderr);
}

int sd_lua_report(lua_State *L, int status, const char *progname) {
  if (status == LUA_OK) return status;
  const char *msg = lua_tostring(L, -1);
  sd_lua_message(progname, msg ? msg : "(error message is not a string)");
  lua_pop(L, 1);
  return status;
}

int lsd_lua_traceback(lua_State *L) {
  const char *msg = lua_tostring(L, 1);
  if (!msg) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
    msg = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  luaL_traceback(L, L, msg, 1);
  return 1;
}

static void print_version(void) {
  lua_writestring(LUA_COPYRIGHT, strlen(LUA_COPYRIGHT));
  lua_writeline();
}

void sd_lua_usage(const struct sd_lua_opts *o) {
  static const char options[] =
      "Available options are:\n"
      "  -e stat   execute string 'stat'\n"
      "  -i        enter interactive mode after executing 'script'\n"
      "  -l mod    require library 'mod' into global 'mod'\n"
      "  -l g=mod  require library 'mod' into global 'g'\n"
      "  -v        show version information\n"
      "  -E        ignore environment variables\n"
      "  -W        turn warnings on\n"
      "  --        stop handling options\n"
      "  -         stop handling options and execute stdin\n";
  const char *bad = o->argv[o->script];
  fprintf(stderr, "%s: ", o->progname);
  if (bad[1] == 'e' || bad[1] == 'l') fprintf(stderr, "'%s' needs argument\n", bad);
  else fprintf(stderr, "unrecognized option '%s'\n", bad);
  fprintf(stderr, "usage: %s [options] [script [args]]\n%s", o->progname, options);
  fflush(stderr);
}

/* ---- calls that SIGINT interrupts ---- */

static lua_State *running; /* for the signal handler; the state whose chunk runs */

static void set_sigint(void (*handler)(int)) {
  struct sigaction sa = {.sa_handler = handler};
  sigemptyset(&sa.sa_mask);
  sigaction(SIGINT, &sa, NULL);
}

static void interrupt_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

/* Setting a hook is all that a handler may do to a running state. A second SIGINT kills. */
static void on_sigint(int sig) {
  int events = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT;
  signal(sig, SIG_DFL);
  lua_sethook(running, interrupt_hook, events, 1);
}

int sd_lua_call(lua_State *L, int nargs, int nresults) {
  int base = lua_gettop(L) - nargs;
  lua_pushcfunction(L, lsd_lua_traceback);
  lua_insert(L, base);
  running = L;
  set_sigint(on_sigint);
  int status = lua_pcall(L, nargs, nresults, base);
  set_sigint(SIG_DFL);
  lua_remove(L, base);
  return status;
}

/* ---- options ---- */

/* Whether argv[*i] is an option; moves *i to the argument of -e and -l. */
static bool parse_option(struct sd_lua_opts *o, int *i) {
  const char *opt = o->argv[*i];
  bool alone = opt[2] == '\0';
  o->interactive |= opt[1] == 'i';
  o->version |= opt[1] == 'v' || opt[1] == 'i';
  o->execute |= opt[1] == 'e';
  o->no_env |= opt[1] == 'E';
  if (opt[1] != 'e' && opt[1] != 'l') return alone && strchr("EWiv", opt[1]);
  if (alone) *i += 1;
  const char *arg = o->argv[*i];
  return !alone || (arg && arg[0] != '-');
}

void sd_lua_parse(struct sd_lua_opts *o, int argc, char **argv) {
  *o = (struct sd_lua_opts){.progname = "sdlua", .argv = argv, .argc = argc};
  if (argc > 0 && argv[0][0]) o->progname = argv[0];
  int i = 1;
  for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
    o->script = i;
    if (strcmp(argv[i], "--") == 0) {
      i++;
      break;
    }
    o->bad = !parse_option(o, &i);
    if (o->bad) return;
  }
  o->script = i < argc ? i : argc;
}

/* ---- running ---- */

/* Runs what was loaded, or reports why it was not. */
static bool run_loaded(lua_State *L, const struct sd_lua_opts *o, int status) {
  if (status == LUA_OK) status = sd_lua_call(L, 0, 0);
  return sd_lua_report(L, status, o->progname) == LUA_OK;
}

static bool run_file(lua_State *L, const struct sd_lua_opts *o, const char *path) {
  return run_loaded(L, o, luaL_loadfile(L, path));
}

static bool run_string(lua_State *L, const struct sd_lua_opts *o, const char *s, const char *name) {
  return run_loaded(L, o, luaL_loadbuffer(L, s, strlen(s), name));
}

/* "mod", or "global=mod". */
static bool run_require(lua_State *L, const struct sd_lua_opts *o, const char *spec) {
  const char *equals = strchr(spec, '=');
  lua_pushlstring(L, spec, equals ? (size_t)(equals - spec) : strlen(spec));
  lua_getglobal(L, "require");
  lua_pushstring(L, equals ? equals + 1 : spec);
  int status = sd_lua_call(L, 1, 1);
  if (sd_lua_report(L, status, o->progname) != LUA_OK) return false;
  lua_setglobal(L, lua_tostring(L, -2));
  lua_pop(L, 1);
  return true;
}

static bool run_init(lua_State *L, const struct sd_lua_opts *o) {
  const char *name = "=LUA_INIT" LUA_VERSUFFIX;
  const char *init = getenv(name + 1);
  if (!init) {
    name = "=LUA_INIT";
    init = getenv(name + 1);
  }
  if (!init) return true;
  return init[0] == '@' ? run_file(L, o, init + 1) : run_string(L, o, init, name);
}

/* -e, -l and -W take effect in the order in which they are given. */
static bool run_options(lua_State *L, const struct sd_lua_opts *o) {
  for (int i = 1; i < o->script; i++) {
    int option = o->argv[i][1];
    if (option == 'W') lua_warning(L, "@on", 0);
    if (option != 'e' && option != 'l') continue;
    const char *arg = o->argv[i] + 2;
    if (!*arg) arg = o->argv[++i];
    bool ok = option == 'l' ? run_require(L, o, arg) : run_string(L, o, arg, "=(command line)");
    if (!ok) return false;
  }
  return true;
}

/* The script is arg[0]; without one, the program is. */
static void set_arg_table(lua_State *L, const struct sd_lua_opts *o) {
  int zero = o->script < o->argc ? o->script : 0;
  lua_createtable(L, o->argc - zero, zero + 1);
  for (int i = 0; i < o->argc; i++) {
    lua_pushstring(L, o->argv[i]);
    lua_rawseti(L, -2, i - zero);
  }
  lua_setglobal(L, "arg");
}

/* What the script gets is what `arg` holds now, not what the command line held. */
static int push_args(lua_State *L) {
  if (lua_getglobal(L, "arg") != LUA_TTABLE) luaL_error(L, "'arg' is not a table");
  int n = (int)luaL_len(L, -1);
  luaL_checkstack(L, n + 3, "too many arguments to script");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, -i, i);
  lua_remove(L, -n - 1);
  return n;
}

static bool run_script(lua_State *L, const struct sd_lua_opts *o) {
  const char *path = o->argv[o->script];
  if (strcmp(path, "-") == 0 && strcmp(o->argv[o->script - 1], "--") != 0) path = NULL;
  int status = luaL_loadfile(L, path);
  if (status == LUA_OK) {
    int n = push_args(L);
    status = sd_lua_call(L, n, LUA_MULTRET);
  }
  return sd_lua_report(L, status, o->progname) == LUA_OK;
}

enum sd_lua_next sd_lua_run(lua_State *L, const struct sd_lua_opts *o) {
  bool has_script = o->script < o->argc;
  if (o->version) print_version();
  set_arg_table(L, o);
  if (!o->no_env && !run_init(L, o)) return SD_LUA_FAILED;
  if (!run_options(L, o)) return SD_LUA_FAILED;
  if (has_script && !run_script(L, o)) return SD_LUA_FAILED;
  if (o->interactive) return SD_LUA_REPL;
  if (has_script || o->execute || o->version) return SD_LUA_DONE;
  if (isatty(STDIN_FILENO)) {
    print_version();
    return SD_LUA_REPL;
  }
  run_file(L, o, NULL); /* as in the stock command, its failure is no failure of ours */
  return SD_LUA_DONE;
}
