#include "bind/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <lauxlib.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "bind/op.h"
#include "engine/hash.h"

/* wall_ns() -> since 1970; mono_ns() -> for durations; thread_ns(), process_ns() -> CPU time */
static int lsd_wall_ns(lua_State *L) {
  lua_pushinteger(L, sd_clock_wall());
  return 1;
}

static int lsd_mono_ns(lua_State *L) {
  lua_pushinteger(L, sd_clock_mono());
  return 1;
}

static int lsd_thread_ns(lua_State *L) {
  lua_pushinteger(L, sd_clock_thread());
  return 1;
}

static int lsd_process_ns(lua_State *L) {
  lua_pushinteger(L, sd_clock_process());
  return 1;
}

/* max_rss() -> bytes, the peak of this process */
static int lsd_max_rss(lua_State *L) {
  struct rusage ru;
  getrusage(RUSAGE_SELF, &ru);
  lua_pushinteger(L, (lua_Integer)ru.ru_maxrss * 1024);
  return 1;
}

/* uuid7() -> 16 bytes */
static int lsd_uuid7(lua_State *L) {
  static struct sd_uuid_gen gen; /* the loop's thread alone */
  uint8_t uuid[SD_UUID_LEN];
  sd_uuid_v7(&gen, (uint64_t)(sd_clock_wall() / SD_NS_PER_MS), uuid);
  lua_pushlstring(L, (const char *)uuid, sizeof(uuid));
  return 1;
}

/* uuid_text(16 bytes) -> string */
static int lsd_uuid_text(lua_State *L) {
  size_t n;
  char text[SD_UUID_TEXT + 1];
  const char *uuid = luaL_checklstring(L, 1, &n);
  luaL_argcheck(L, n == SD_UUID_LEN, 1, "16 bytes expected");
  sd_uuid_format((const uint8_t *)uuid, text);
  lua_pushstring(L, text);
  return 1;
}

/* xxh128(string) -> 16 bytes */
static int lsd_xxh128(lua_State *L) {
  size_t n;
  uint8_t hash[16];
  const char *s = luaL_checklstring(L, 1, &n);
  sd_hash_bytes(s, n, hash);
  lua_pushlstring(L, (const char *)hash, sizeof(hash));
  return 1;
}

/* is_text(string) -> whether it is valid UTF-8 without NUL */
static int lsd_is_text(lua_State *L) {
  size_t n;
  const char *s = luaL_checklstring(L, 1, &n);
  lua_pushboolean(L, sd_utf8_valid(s, n));
  return 1;
}

/* isatty(fd) -> boolean */
static int lsd_isatty(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* writable(fd) -> whether a write of a page or less would not wait, or would fail */
static int lsd_writable(lua_State *L) {
  struct pollfd p = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLOUT};
  lua_pushboolean(L, poll(&p, 1, 0) > 0);
  return 1;
}

/* winsize(fd) -> columns, rows; nothing where that is not a terminal */
static int lsd_winsize(lua_State *L) {
  struct winsize ws;
  if (ioctl((int)luaL_checkinteger(L, 1), TIOCGWINSZ, &ws) != 0 || !ws.ws_col) return 0;
  lua_pushinteger(L, ws.ws_col);
  lua_pushinteger(L, ws.ws_row);
  return 2;
}

/* realpath(path) -> absolute path without symlinks; nil, message, code */
static int lsd_realpath(lua_State *L) {
  struct sd_err err;
  char path[PATH_MAX];
  const char *given = luaL_checkstring(L, 1);
  char *found;
  do found = realpath(given, path);
  while (!found && errno == EINTR);
  if (!found) {
    sd_err_os(&err, "open", given);
    return lsd_push_error(L, &err);
  }
  lua_pushstring(L, path);
  return 1;
}

/* open_file(path) -> descriptor; nil, what is wrong without the path, code */
static int lsd_open_file(lua_State *L) {
  struct sd_err err;
  int fd = sd_hash_open(AT_FDCWD, luaL_checkstring(L, 1));
  if (fd < 0) {
    int code = -errno;
    sd_err_set(&err, code, "%s", sd_err_text(code));
    return lsd_push_error(L, &err);
  }
  lua_pushinteger(L, fd);
  return 1;
}

/* user_name(uid), group_name(gid) -> string, or nil where the system has no name */
static int lsd_user_name(lua_State *L) {
  const struct passwd *pw = getpwuid((uid_t)luaL_checkinteger(L, 1));
  lua_pushstring(L, pw ? pw->pw_name : NULL);
  return 1;
}

static int lsd_group_name(lua_State *L) {
  const struct group *gr = getgrgid((gid_t)luaL_checkinteger(L, 1));
  lua_pushstring(L, gr ? gr->gr_name : NULL);
  return 1;
}

/* user_id(name), group_id(name) -> integer, or nil */
static int lsd_user_id(lua_State *L) {
  const struct passwd *pw = getpwnam(luaL_checkstring(L, 1));
  if (!pw) return 0;
  lua_pushinteger(L, pw->pw_uid);
  return 1;
}

static int lsd_group_id(lua_State *L) {
  const struct group *gr = getgrnam(luaL_checkstring(L, 1));
  if (!gr) return 0;
  lua_pushinteger(L, gr->gr_gid);
  return 1;
}

/* exit_now(status): without closing anything, as a crash would; the library stands that */
static int lsd_exit_now(lua_State *L) {
  _exit((int)luaL_checkinteger(L, 1));
}

/* versions() -> {lua, sqlite, libuv} */
static int lsd_versions(lua_State *L) {
  lua_createtable(L, 0, 3);
  lua_pushstring(L, LUA_RELEASE);
  lua_setfield(L, -2, "lua");
  lua_pushstring(L, sqlite3_libversion());
  lua_setfield(L, -2, "sqlite");
  lua_pushstring(L, uv_version_string());
  lua_setfield(L, -2, "libuv");
  return 1;
}

int luaopen_sd_sys(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"wall_ns", lsd_wall_ns},       {"mono_ns", lsd_mono_ns},     {"thread_ns", lsd_thread_ns},
      {"process_ns", lsd_process_ns}, {"max_rss", lsd_max_rss},     {"uuid7", lsd_uuid7},
      {"uuid_text", lsd_uuid_text},   {"xxh128", lsd_xxh128},       {"is_text", lsd_is_text},
      {"isatty", lsd_isatty},         {"winsize", lsd_winsize},     {"realpath", lsd_realpath},
      {"exit_now", lsd_exit_now},     {"versions", lsd_versions},   {"writable", lsd_writable},
      {"user_name", lsd_user_name},   {"user_id", lsd_user_id},     {"group_name", lsd_group_name},
      {"group_id", lsd_group_id},     {"open_file", lsd_open_file}, {NULL, NULL},
  };
  luaL_newlib(L, functions);
  return 1;
}
