#include "host/repl.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "host/lua_cli.h"

enum { NO_INPUT = -1 }; /* beside the statuses of Lua */

static void write_prompt(lua_State *L, bool first) {
  const char *prompt = first ? "> " : ">> ";
  if (lua_getglobal(L, first ? "_PROMPT" : "_PROMPT2") != LUA_TNIL)
    prompt = luaL_tolstring(L, -1, NULL);
  else lua_pushnil(L); /* where the text would be */
  fputs(prompt, stdout);
  fflush(stdout);
  lua_pop(L, 2);
}

/* Pushes one line of any length without its newline; false and nothing at the end of input. */
static bool push_line(lua_State *L, bool first) {
  luaL_Buffer b;
  bool any = false, whole = false;
  write_prompt(L, first);
  luaL_buffinit(L, &b);
  while (!whole) {
    char *part = luaL_prepbuffer(&b);
    if (!fgets(part, LUAL_BUFFERSIZE, stdin)) break;
    size_t n = strlen(part);
    any = true;
    whole = n > 0 && part[n - 1] == '\n';
    luaL_addsize(&b, whole ? n - 1 : n);
  }
  luaL_pushresult(&b);
  if (!any) lua_pop(L, 1);
  return any;
}

/* An older way to ask for a value: "= expr". */
static void replace_equals(lua_State *L) {
  const char *line = lua_tostring(L, -1);
  if (line[0] != '=') return;
  lua_pushfstring(L, "return %s", line + 1);
  lua_remove(L, -2);
}

static int load_text(lua_State *L, int i) {
  size_t len;
  const char *text = lua_tolstring(L, i, &len);
  return luaL_loadbuffer(L, text, len, "=stdin");
}

/* Pushes the line on top as a function that returns its value; nothing if it is no expression. */
static int load_expression(lua_State *L) {
  lua_pushfstring(L, "return %s", lua_tostring(L, -1));
  int status = load_text(L, -1);
  if (status == LUA_OK) lua_remove(L, -2);
  else lua_pop(L, 2);
  return status;
}

/* The parser met the end of the text where more had to come. */
static bool is_incomplete(lua_State *L, int status) {
  static const char mark[] = "<eof>";
  size_t len, n = sizeof(mark) - 1;
  if (status != LUA_ERRSYNTAX) return false;
  const char *msg = lua_tolstring(L, -1, &len);
  return len >= n && memcmp(msg + len - n, mark, n) == 0;
}

/* Pushes the statement that begins with the line on top, reading on as long as it is incomplete. */
static int load_statement(lua_State *L) {
  int text = lua_gettop(L);
  for (;;) {
    int status = load_text(L, text);
    if (!is_incomplete(L, status) || !push_line(L, false)) return status;
    lua_remove(L, -2); /* the message */
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
}

/* Pushes the next input as a function, or the message that says why it is none. */
static int read_input(lua_State *L) {
  if (!push_line(L, true)) return NO_INPUT;
  replace_equals(L);
  int status = load_expression(L);
  if (status != LUA_OK) status = load_statement(L);
  lua_remove(L, -2); /* the text */
  return status;
}

static void print_results(lua_State *L, int base) {
  int n = lua_gettop(L) - base;
  if (n == 0) return;
  luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
  lua_getglobal(L, "print");
  lua_insert(L, base + 1);
  if (lua_pcall(L, n, 0, 0) == LUA_OK) return;
  sd_lua_message(NULL, lua_pushfstring(L, "error calling 'print' (%s)", lua_tostring(L, -1)));
}

void sd_repl_run(lua_State *L) {
  int base = lua_gettop(L), status;
  while ((status = read_input(L)) != NO_INPUT) {
    if (status == LUA_OK) status = sd_lua_call(L, 0, LUA_MULTRET);
    if (sd_lua_report(L, status, NULL) == LUA_OK) print_results(L, base);
    lua_settop(L, base);
  }
  lua_writeline();
}
