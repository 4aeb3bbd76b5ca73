/* walk_rules.c - what rules cost: sdlua's own walk with and without them, over the same tree.
 *
 * One thread, no library; rounds alternate, and the fastest of each kind counts. Patterns that
 * match nothing show the cost best: both walks then do the same work.
 *
 * usage: walk_rules [-n ROUNDS] [-r NAMES] [-f FILE] [-a SCRIPT] DIR
 *   -n  rounds (default 5)
 *   -r  rules by name (default: gitignore and all no_*)
 *   -f  patterns for `exclude`, a line each
 *   -a  a script of predicates, as `sdlua index --accept` takes it
 *
 * Prints one line: entries=N left_out=N plain=S rules=S cost=P% each=NS. Seconds are CPU time;
 * each: nanoseconds of it for each entry. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bind/accept.h"
#include "engine/rules.h"
#include "engine/walk.h"

enum { PATTERNS_MAX = 4096 };

struct run {
  uint64_t entries, left_out;
  int64_t ns;
};

_Noreturn static void die(const char *what) {
  fprintf(stderr, "walk_rules: %s\n", what);
  exit(1);
}

static void step_all(struct sd_walk *w, struct sd_walker *wk, struct run *r) {
  struct sd_err err;
  size_t n = 1, cap = 1;
  struct sd_dir **todo = malloc(sizeof(struct sd_dir *));
  if (!todo) die("memory");
  todo[0] = sd_dir_get(sd_walk_root(w));
  while (n) {
    size_t take = n < 64 ? n : 64;
    struct sd_batch *b = sd_batch_new();
    n -= take;
    if (!b || sd_walker_step(wk, todo + n, take, b, &err)) die("a step failed");
    if (n + b->born_len > cap) {
      cap = 2 * (n + b->born_len);
      if (!(todo = realloc(todo, cap * sizeof(struct sd_dir *)))) die("memory");
    }
    for (size_t i = 0; i < b->born_len; i++) todo[n++] = b->born[i];
    b->born_len = 0;
    r->entries += b->entries_len;
    for (size_t i = 0; i < SD_RULE_COUNT; i++) r->left_out += b->skipped[i];
    sd_batch_free(b);
  }
  free(todo);
}

static struct run walk(const char *root, const struct sd_rules *rules, struct lsd_accept *accept) {
  struct sd_err err;
  struct sd_walk *w = NULL;
  struct sd_walker *wk = NULL;
  struct run r = {0};
  atomic_llong next_id = 2;
  struct sd_walk_opts o = {.root = root, .root_id = 1, .next_id = &next_id, .rules = rules};
  int64_t begin = sd_clock_process();
  if (sd_walk_open(&o, &w, &err) || sd_walker_open(w, NULL, NULL, &wk, &err)) die(err.msg);
  if (accept) sd_walker_accept(wk, lsd_accept_ask, accept);
  step_all(w, wk, &r);
  sd_walker_close(wk);
  sd_walk_close(w);
  r.ns = sd_clock_process() - begin;
  return r;
}

static size_t read_patterns(const char *file, const char **list) {
  char *line = NULL;
  size_t cap = 0, n = 0;
  FILE *f = fopen(file, "re");
  if (!f) die("the patterns cannot be read");
  while (n < PATTERNS_MAX && getline(&line, &cap, f) > 0) {
    line[strcspn(line, "\n")] = '\0';
    if (*line && *line != '#') list[n++] = strdup(line);
  }
  free(line);
  fclose(f);
  return n;
}

static struct lsd_accept *load_predicates(lua_State *L, const char *file) {
  luaL_openlibs(L);
  if (luaL_loadfile(L, file) || lua_pcall(L, 0, 1, 0)) die(lua_tostring(L, -1));
  return lsd_accept_new(L, -1);
}

static void compare(const char *root, const struct sd_rules *rules, struct lsd_accept *accept,
                    int rounds) {
  struct run plain = {0}, with = {0};
  walk(root, NULL, NULL); /* warm */
  for (int i = 0; i < rounds; i++) {
    struct run a = walk(root, NULL, NULL), b = walk(root, rules, accept);
    if (!i || a.ns < plain.ns) plain = a;
    if (!i || b.ns < with.ns) with = b;
  }
  printf("entries=%llu left_out=%llu plain=%.4f rules=%.4f cost=%.1f%% each=%.0f\n",
         (unsigned long long)plain.entries, (unsigned long long)with.left_out,
         (double)plain.ns / 1e9, (double)with.ns / 1e9,
         100.0 * (double)(with.ns - plain.ns) / (double)plain.ns,
         (double)(with.ns - plain.ns) / (double)plain.entries);
}

int main(int argc, char **argv) {
  static const char *patterns[PATTERNS_MAX];
  const char *names = "gitignore,no_hidden,no_git,no_dev_dirs,no_system_files,no_caches";
  struct sd_rules_opts o = {.exclude = patterns};
  struct sd_rules *rules = NULL;
  struct lsd_accept *accept = NULL;
  struct sd_err err;
  lua_State *L = luaL_newstate();
  int opt, rounds = 5;
  while ((opt = getopt(argc, argv, "n:r:f:a:")) != -1) {
    if (opt == 'n') rounds = atoi(optarg);
    else if (opt == 'r') names = optarg;
    else if (opt == 'f') o.exclude_len = read_patterns(optarg, patterns);
    else if (opt == 'a' && L) accept = load_predicates(L, optarg);
    else rounds = 0;
  }
  if (argc - optind != 1 || rounds < 1) {
    fputs("usage: walk_rules [-n ROUNDS] [-r NAMES] [-f FILE] [-a SCRIPT] DIR\n", stderr);
    return 2;
  }
  if (sd_rules_parse(names, &o.named, &err) || sd_rules_compile(&o, &rules, &err)) die(err.msg);
  compare(argv[optind], rules, accept, rounds);
  lsd_accept_free(accept);
  if (L) lua_close(L);
  sd_rules_free(rules);
  for (size_t i = 0; i < o.exclude_len; i++) free((char *)patterns[i]);
  return 0;
}
