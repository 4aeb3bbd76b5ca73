#include "engine/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "engine/fstype.h"
#include "engine/rules_internal.h"

static const char *const names[SD_RULE_COUNT] = {
    [SD_RULE_NONE] = "none",
    [SD_RULE_GITIGNORE] = "gitignore",
    [SD_RULE_NO_HIDDEN] = "no_hidden",
    [SD_RULE_NO_GIT] = "no_git",
    [SD_RULE_NO_DEV_DIRS] = "no_dev_dirs",
    [SD_RULE_NO_SYSTEM_FILES] = "no_system_files",
    [SD_RULE_NO_CACHES] = "no_caches",
    [SD_RULE_ONLY_IMAGES] = "only_images",
    [SD_RULE_ONLY_VIDEOS] = "only_videos",
    [SD_RULE_ONLY_AUDIO] = "only_audio",
    [SD_RULE_ONLY_DOCUMENTS] = "only_documents",
    [SD_RULE_INCLUDE] = "include",
    [SD_RULE_EXCLUDE] = "exclude",
    [SD_RULE_MIN_SIZE] = "min_size",
    [SD_RULE_MAX_SIZE] = "max_size",
    [SD_RULE_NEWER] = "newer",
    [SD_RULE_OLDER] = "older",
    [SD_RULE_ACCEPT_CHILDREN] = "accept_children",
    [SD_RULE_REJECT_CHILDREN] = "reject_children",
    [SD_RULE_ONE_FILESYSTEM] = "one_filesystem",
    [SD_RULE_REMOTE] = "remote",
    [SD_RULE_SNAPSHOT] = "snapshot",
    [SD_RULE_ACCEPT_ENTRY] = "accept_entry",
    [SD_RULE_ACCEPT_DIRECTORY] = "accept_directory",
};

enum { FIRST_NAMED = SD_RULE_GITIGNORE, LAST_NAMED = SD_RULE_ONLY_DOCUMENTS };

const char *sd_rule_name(uint8_t rule) {
  return rule < SD_RULE_COUNT ? names[rule] : "unknown";
}

const char *sd_rules_known(size_t n) {
  return n <= LAST_NAMED - FIRST_NAMED ? names[FIRST_NAMED + n] : NULL;
}

/* ---- words ---- */

/* The next word of a text whose words any of `between` keep apart; false at its end. */
static bool next_word(const char **at, const char *between, const char **word, size_t *len) {
  *word = *at + strspn(*at, between);
  *len = strcspn(*word, between);
  *at = *word + *len;
  return *len > 0;
}

static bool is_word(const char *word, size_t len, const char *what) {
  return strlen(what) == len && memcmp(word, what, len) == 0;
}

static int refuse_name(const char *word, size_t len, struct sd_err *err) {
  char known[256] = "";
  size_t n = 0;
  const char *name;
  for (size_t i = 0; (name = sd_rules_known(i)); i++) {
    size_t more = strlen(name);
    if (n + more + 3 > sizeof(known)) break;
    if (n) n = (size_t)(stpcpy(known + n, ", ") - known);
    n = (size_t)(stpcpy(known + n, name) - known);
  }
  return sd_err_set(err, -EINVAL, "unknown rule \"%.*s\"; there are %s", len > 64 ? 64 : (int)len,
                    word, known);
}

int sd_rules_parse(const char *list, uint32_t *named, struct sd_err *err) {
  const char *word;
  size_t len;
  *named = 0;
  if (!list) return 0;
  while (next_word(&list, ", \t\n", &word, &len)) {
    uint8_t rule = FIRST_NAMED;
    while (rule <= LAST_NAMED && !is_word(word, len, names[rule])) rule++;
    if (rule > LAST_NAMED) return refuse_name(word, len, err);
    *named |= (uint32_t)1 << rule;
  }
  return 0;
}

/* ---- compiling ---- */

/* Lower case; false where it is no extension that any rule knows. */
static bool pack_extension(const char *s, size_t len, uint64_t *out) {
  uint64_t v = 0;
  if (!len || len > sizeof(v)) return false;
  for (size_t i = 0; i < len; i++) {
    uint8_t c = (uint8_t)s[i];
    v = v << 8 | (c >= 'A' && c <= 'Z' ? c | 0x20u : c);
  }
  *out = v;
  return true;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static int compile_extensions(struct sd_rules *r) {
  for (size_t i = 0; i < sd_known_kinds_len; i++) {
    const char *at = sd_known_kinds[i].extensions, *word;
    size_t len;
    if (!sd_rules_has(r, sd_known_kinds[i].rule)) continue;
    if (!r->only) r->only = sd_known_kinds[i].rule;
    while (next_word(&at, " ", &word, &len)) {
      if (!SD_ARRAY_ROOM(r, extensions)) return -ENOMEM;
      sd_verify(pack_extension(word, len, &r->extensions[r->extensions_len]));
      r->extensions_len++;
    }
  }
  if (r->extensions_len) qsort(r->extensions, r->extensions_len, sizeof(uint64_t), by_value);
  return 0;
}

struct globs {
  char **items;
  size_t items_len, items_cap;
};

static int gather_globs(struct sd_rules *r, const struct sd_known_names *group, struct globs *g,
                        size_t *groups_cap) {
  const char *at = group->globs, *word;
  size_t len;
  while (next_word(&at, "\n", &word, &len)) {
    if (!SD_ARRAY_ROOM(g, items) ||
        !sd_array_room((void **)&r->groups, groups_cap, g->items_len, sizeof(*r->groups)))
      return -ENOMEM;
    if (!(g->items[g->items_len] = strndup(word, len))) return -ENOMEM;
    r->groups[g->items_len++] = group;
  }
  return 0;
}

static int compile_system(struct sd_rules *r, struct sd_err *err) {
  struct globs g = {0};
  size_t groups_cap = 0;
  int rc = 0;
  for (size_t i = 0; !rc && i < sd_known_names_len; i++)
    if (sd_rules_has(r, sd_known_names[i].rule))
      rc = gather_globs(r, &sd_known_names[i], &g, &groups_cap);
  if (rc) rc = sd_err_nomem(err);
  else if (g.items_len)
    rc = sd_ignore_globs((const char *const *)g.items, g.items_len, &r->system, err);
  for (size_t i = 0; i < g.items_len; i++) free(g.items[i]);
  free(g.items);
  return rc;
}

static int compile_children(struct sd_children *c, const char *const *list, size_t n,
                            struct sd_err *err) {
  for (size_t i = 0; i < n; i++) {
    const char *name = list[i];
    if (!*name || strchr(name, '/') || strlen(name) > 255)
      return sd_err_set(err, -EINVAL, "not the name of a file: \"%.256s\"", name);
    if (!SD_ARRAY_ROOM(c, items)) return sd_err_nomem(err);
    if (!(c->items[c->items_len] = strdup(name))) return sd_err_nomem(err);
    c->items_len++;
  }
  return 0;
}

static int compile(struct sd_rules *r, const struct sd_rules_opts *o, struct sd_err *err) {
  int rc = compile_extensions(r) ? sd_err_nomem(err) : compile_system(r, err);
  if (!rc && o->include_len) rc = sd_ignore_globs(o->include, o->include_len, &r->include, err);
  if (!rc && o->exclude_len) rc = sd_ignore_globs(o->exclude, o->exclude_len, &r->exclude, err);
  if (!rc) rc = compile_children(&r->accept, o->accept_children, o->accept_children_len, err);
  if (!rc) rc = compile_children(&r->reject, o->reject_children, o->reject_children_len, err);
  return rc;
}

int sd_rules_compile(const struct sd_rules_opts *o, struct sd_rules **out, struct sd_err *err) {
  struct sd_rules *r = calloc(1, sizeof(*r));
  if (!r) return sd_err_nomem(err);
  r->named = o->named;
  r->min_size = o->min_size;
  r->max_size = o->max_size;
  r->newer = o->newer;
  r->older = o->older;
  r->one_filesystem = o->one_filesystem;
  r->remote = o->remote;
  r->snapshots = o->snapshots;
  int rc = compile(r, o, err);
  if (rc) {
    sd_rules_free(r);
    return rc;
  }
  r->children = r->reject.items_len || sd_rules_has(r, SD_RULE_NO_CACHES) ||
                sd_rules_has(r, SD_RULE_NO_DEV_DIRS);
  r->names = r->named || r->include || r->exclude || r->accept.items_len || r->children;
  r->stats = r->min_size || r->max_size || r->newer || r->older;
  *out = r;
  return 0;
}

static void free_children(struct sd_children *c) {
  for (size_t i = 0; i < c->items_len; i++) free(c->items[i]);
  free(c->items);
}

void sd_rules_free(struct sd_rules *r) {
  if (!r) return;
  sd_ignore_free(r->system);
  sd_ignore_free(r->include);
  sd_ignore_free(r->exclude);
  free_children(&r->accept);
  free_children(&r->reject);
  free(r->groups);
  free(r->extensions);
  free(r);
}

/* ---- by name ---- */

static bool has_sibling(const struct sd_question *q, const char *siblings) {
  const char *word;
  size_t len;
  char name[256];
  while (next_word(&siblings, " ", &word, &len)) {
    memcpy(name, word, len);
    name[len] = '\0';
    if (sd_place_has(&q->here->place, name)) return true;
  }
  return false;
}

static uint8_t by_system(const struct sd_rules *r, const struct sd_question *q) {
  struct sd_ignore_hit hit;
  if (sd_ignore_match(r->system, &q->name, 0, SD_IGNORE_ALL, &hit) <= 0) return 0;
  const struct sd_known_names *group = r->groups[hit.line - 1];
  if (group->siblings && !has_sibling(q, group->siblings)) return 0;
  if (q->why) q->why->hit = hit;
  return group->rule;
}

static bool has_extension(const struct sd_rules *r, const struct sd_ignore_name *n) {
  const char *name = n->path + n->at;
  size_t len = n->len - n->at;
  const char *dot = memrchr(name, '.', len);
  uint64_t key;
  if (!dot || dot == name) return false;
  if (!pack_extension(dot + 1, len - (size_t)(dot + 1 - name), &key)) return false;
  return bsearch(&key, r->extensions, r->extensions_len, sizeof(key), by_value) != NULL;
}

static bool is_included(const struct sd_rules *r, const struct sd_question *q) {
  const struct sd_here *h = q->here;
  int c = sd_ignore_match(r->include, &q->name, h->place.root, h->include, NULL);
  return c ? c > 0 : h->scope && h->scope->included;
}

static uint8_t by_wish(const struct sd_rules *r, const struct sd_question *q) {
  if (r->only && !has_extension(r, &q->name)) return r->only;
  if (r->include && !is_included(r, q)) return SD_RULE_INCLUDE;
  const struct sd_scope *scope = q->here->scope;
  if (r->accept.items_len && !(scope && scope->accepted)) return SD_RULE_ACCEPT_CHILDREN;
  return 0;
}

static bool is_excluded(const struct sd_rules *r, const struct sd_question *q) {
  const struct sd_here *h = q->here;
  return r->exclude && sd_ignore_match(r->exclude, &q->name, h->place.root, h->exclude,
                                       q->why ? &q->why->hit : NULL) > 0;
}

uint8_t sd_rules_by_name(const struct sd_rules *r, const struct sd_question *q) {
  const struct sd_ignore_name *n = &q->name;
  uint8_t rule = r->system ? by_system(r, q) : 0;
  if (rule) return rule;
  if (n->path[n->at] == '.' && sd_rules_has(r, SD_RULE_NO_HIDDEN)) return SD_RULE_NO_HIDDEN;
  if (is_excluded(r, q)) return SD_RULE_EXCLUDE;
  if (sd_lists_match(&q->here->lists, n, q->why) > 0) return SD_RULE_GITIGNORE;
  if (n->dir) return 0;
  rule = by_wish(r, q);
  if (rule && q->why) memset(q->why, 0, sizeof(*q->why));
  return rule;
}

/* ---- entering a directory ---- */

static uint64_t paths_in(const struct sd_ignore *ig, const struct sd_place *p) {
  size_t len = p->base > p->root ? p->base - p->root - 1 : 0;
  return ig ? sd_ignore_paths(ig, p->path + p->root, len) : SD_IGNORE_ALL;
}

int sd_here_enter(struct sd_here *h, const struct sd_rules *r, const struct sd_scope *scope) {
  h->scope = scope;
  h->include = paths_in(r->include, &h->place);
  h->exclude = paths_in(r->exclude, &h->place);
  return sd_lists_fill(&h->lists, scope, h->place.path, h->place.base);
}

void sd_here_fini(struct sd_here *h) {
  sd_lists_fini(&h->lists);
}

/* ---- by what is known otherwise ---- */

uint8_t sd_rules_by_stat(const struct sd_rules *r, const struct sd_stat *st) {
  if (st->kind != SD_KIND_FILE) return 0;
  if (r->min_size && st->size < r->min_size) return SD_RULE_MIN_SIZE;
  if (r->max_size && st->size > r->max_size) return SD_RULE_MAX_SIZE;
  if (r->newer && st->mtime < r->newer) return SD_RULE_NEWER;
  if (r->older && st->mtime > r->older) return SD_RULE_OLDER;
  return 0;
}

/* bford.info/cachedir: the tag is only one with its signature. */
/* 1, 0, or a negative code. */
static int is_cache(const struct sd_place *p) {
  static const char signature[] = "Signature: 8a477f597d28d172789f06886806bc55";
  char head[sizeof(signature) - 1];
  if (!sd_place_has(p, "CACHEDIR.TAG")) return 0;
  ssize_t n = sd_place_head(p, "CACHEDIR.TAG", head, sizeof(head));
  if (n < 0) return (int)n;
  return n == (ssize_t)sizeof(head) && memcmp(head, signature, sizeof(head)) == 0;
}

int sd_rules_by_children(const struct sd_rules *r, const struct sd_place *p, const char **child) {
  int cache = sd_rules_has(r, SD_RULE_NO_CACHES) ? is_cache(p) : 0;
  if (cache < 0) return cache;
  if (cache) {
    *child = "CACHEDIR.TAG";
    return SD_RULE_NO_CACHES;
  }
  if (sd_rules_has(r, SD_RULE_NO_DEV_DIRS) && sd_place_has(p, "pyvenv.cfg")) {
    *child = "pyvenv.cfg"; /* a virtual environment of Python, whatever its name */
    return SD_RULE_NO_DEV_DIRS;
  }
  for (size_t i = 0; i < r->reject.items_len; i++)
    if (sd_place_has(p, r->reject.items[i])) {
      *child = r->reject.items[i];
      return SD_RULE_REJECT_CHILDREN;
    }
  return 0;
}

uint8_t sd_rules_by_mount(const struct sd_rules *r, int fd, uint64_t dev, int root,
                          uint64_t root_dev) {
  if (r->one_filesystem && dev != root_dev) return SD_RULE_ONE_FILESYSTEM;
  if (r->remote && r->snapshots) return 0;
  enum sd_fs_class class = sd_fs_class(fd);
  bool remote = class == SD_FS_REMOTE && !r->remote;
  bool snapshot = class == SD_FS_SNAPSHOT && !r->snapshots;
  if (!remote && !snapshot) return 0;
  if (sd_fs_class(root) == class) return 0; /* who names such a root means what is in it */
  return remote ? SD_RULE_REMOTE : SD_RULE_SNAPSHOT;
}
