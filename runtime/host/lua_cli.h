/* lua_cli.h - sdlua as a stand-in for the stock `lua5.4`: its options, messages and exit codes.
 *
 * Owner:  the caller owns the state and the options; argv outlives both.
 * Thread: the main thread. While a chunk runs, SIGINT interrupts it.
 * Errors: reported on stderr here; the result says only how to go on. What is raised (a broken
 *         `arg` table, no memory) is the caller's to catch. */
#ifndef SD_HOST_LUA_CLI_H
#define SD_HOST_LUA_CLI_H

#include <lua.h>
#include <stdbool.h>

struct sd_lua_opts {
  const char *progname; /* what messages begin with */
  char **argv;
  int argc;
  int script;       /* index in argv of the script, or of the bad option; argc: no script */
  bool bad;         /* argv[script] is not an option, or lacks its argument */
  bool interactive; /* -i */
  bool version;     /* -v, and by -i */
  bool execute;     /* -e */
  bool no_env;      /* -E: to be known before the libraries are opened */
};

enum sd_lua_next {
  SD_LUA_FAILED, /* reported; exit with failure */
  SD_LUA_DONE,   /* exit with success */
  SD_LUA_REPL,   /* go on with sd_repl_run() */
};

/* Reads argv[1..]; neither prints nor needs a state. */
void sd_lua_parse(struct sd_lua_opts *o, int argc, char **argv);

/* Says what is wrong with argv[script], and which options there are. */
void sd_lua_usage(const struct sd_lua_opts *o);

/* Does what good options ask for, in a state whose libraries are open: LUA_INIT, -e and -l in their
 * order, the script or stdin. */
enum sd_lua_next sd_lua_run(lua_State *L, const struct sd_lua_opts *o);

/* Calls a function under its `nargs` arguments, as lua_pcall() does, with tracebacks and SIGINT. */
int sd_lua_call(lua_State *L, int nargs, int nresults);

/* Prints and pops the message on top of the stack, where status is not LUA_OK. Without a name, the
 * message stands alone. Returns the status. */
int sd_lua_report(lua_State *L, int status, const char *progname);
void sd_lua_message(const char *progname, const char *msg);

/* The message handler: error object -> message with traceback. */
int lsd_lua_traceback(lua_State *L);

#endif
