#include "host/modules.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A compiled module begins with a line: mark, size and time of its source (ns), and the source's
 * path below the root. precompile.lua writes it. */
static const char mark[] = "sdlua-bytecode-1";

enum { HEAD = 512, MOST = 1 << 20 };

/* Reads a whole file; NULL where that is not possible. */
static char *read_file(const char *path, size_t *n) {
  struct stat st;
  char *text = NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NULL;
  if (fstat(fd, &st) == 0 && st.st_size < MOST && (text = malloc((size_t)st.st_size + 1))) {
    ssize_t got = read(fd, text, (size_t)st.st_size);
    *n = got > 0 ? (size_t)got : 0;
    text[*n] = '\0';
  }
  close(fd);
  return text;
}

/* The source's path into `path`, and where the code begins; NULL where source and code differ. */
static const char *check_head(const char *text, const char *root, char *path, size_t size) {
  char below[HEAD];
  long long bytes, ns;
  int used = 0;
  struct stat st;
  if (strncmp(text, mark, sizeof(mark) - 1) != 0) return NULL;
  if (sscanf(text + sizeof(mark) - 1, " %lld %lld %511[^\n]%n", &bytes, &ns, below, &used) != 3)
    return NULL;
  if (snprintf(path, size, "%s/%s", root, below) >= (int)size || stat(path, &st) != 0) return NULL;
  if (st.st_size != bytes || st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec != ns)
    return NULL;
  return text + sizeof(mark) - 1 + used + 1;
}

static int load(lua_State *L, const char *text, size_t n, const char *root) {
  char path[PATH_MAX];
  const char *code = check_head(text, root, path, sizeof(path));
  if (!code || code >= text + n) return 0;
  const char *name = lua_pushfstring(L, "@%s", path);
  if (luaL_loadbufferx(L, code, (size_t)(text + n - code), name, "b") != LUA_OK) return 0;
  lua_pushstring(L, path);
  return 2;
}

/* A searcher of package.searchers; upvalues: root, folder of the compiled modules */
static int search(lua_State *L) {
  size_t n;
  const char *name = luaL_checkstring(L, 1);
  if (strncmp(name, "sd", 2) != 0 || (name[2] && name[2] != '.')) return 0;
  const char *path = lua_pushfstring(L, "%s/%s.luac", lua_tostring(L, lua_upvalueindex(2)), name);
  char *text = read_file(path, &n);
  int results = text ? load(L, text, n, lua_tostring(L, lua_upvalueindex(1))) : 0;
  free(text);
  return results;
}

/* Behind the searcher for what is loaded already. */
void sd_modules_open(lua_State *L, const char *root, const char *compiled) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushstring(L, root);
  lua_pushstring(L, compiled);
  lua_pushcclosure(L, search, 2);
  lua_rawseti(L, -2, 2);
  lua_pop(L, 2);
}
