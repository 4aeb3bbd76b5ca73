#include "engine/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/rules_internal.h"

struct sd_filter {
  const struct sd_filter_tree *tree;
  struct sd_here here; /* the directory in hand */
  struct sd_buf path;  /* to that directory, with a slash; then the name asked for */
  struct sd_trail trail;
};

/* ---- the tree ---- */

int sd_filter_tree_open(struct sd_filter_tree *t, const char *root) {
  t->above = NULL;
  t->path = (struct sd_buf)SD_BUF_INIT;
  return sd_scope_above(t->rules, root, &t->above, &t->path);
}

void sd_filter_tree_close(struct sd_filter_tree *t) {
  sd_scope_put(t->above);
  sd_buf_fini(&t->path);
  t->above = NULL;
}

int sd_filter_open(const struct sd_filter_tree *t, struct sd_filter **out) {
  struct sd_filter *f = calloc(1, sizeof(*f));
  if (!f) return -ENOMEM;
  f->tree = t;
  *out = f;
  return 0;
}

void sd_filter_close(struct sd_filter *f) {
  if (!f) return;
  sd_trail_fini(&f->trail);
  sd_here_fini(&f->here);
  sd_buf_fini(&f->path);
  free(f);
}

/* ---- a directory ---- */

static int put_path(struct sd_filter *f, const struct sd_dir *d) {
  f->path.len = 0;
  int rc = sd_buf_put(&f->path, f->tree->path.data, f->tree->path.len);
  if (!rc) rc = sd_dir_path(d, SIZE_MAX, &f->path);
  if (!rc && f->path.len > f->tree->path.len) rc = sd_buf_put(&f->path, "/", 1);
  return rc ? rc : sd_buf_reserve(&f->path, 256);
}

static void set_place(struct sd_filter *f, int fd, const struct sd_names *whole) {
  f->here.place = (struct sd_place){.fd = fd,
                                    .names = whole,
                                    .path = (const char *)f->path.data,
                                    .base = f->path.len,
                                    .root = f->tree->path.len,
                                    .own = f->tree->own,
                                    .own_len = f->tree->own_len};
}

/* What the directory inherits: from its parent, from above the root, or as the disk has it. */
static int find_inherited(struct sd_filter *f, struct sd_dir *d) {
  struct sd_place p = f->here.place;
  p.fd = f->tree->root;
  p.names = NULL;
  int rc = sd_trail_find(&f->trail, f->tree->rules, &p, f->tree->above, &d->scope);
  d->scoped = !rc;
  return rc;
}

int sd_filter_enter(struct sd_filter *f, struct sd_dir *d, int fd, const struct sd_names *whole,
                    struct sd_scope_errors *errors, uint8_t *refused) {
  const struct sd_rules *r = f->tree->rules;
  const char *child;
  *refused = 0;
  errors->len = 0;
  if (!r->names) return 0;
  int rc = put_path(f, d);
  if (rc) return rc;
  set_place(f, fd, whole);
  if (!d->scoped && (rc = find_inherited(f, d))) return rc;
  if (!d->entered) {
    struct sd_scope *own;
    if ((rc = sd_scope_enter(r, &f->here.place, d->scope, &own, errors))) return rc;
    sd_scope_put(d->scope);
    d->scope = own;
    d->entered = true;
    int rule = r->children && d->parent ? sd_rules_by_children(r, &f->here.place, &child) : 0;
    if (rule < 0) return rule;
    *refused = (uint8_t)rule;
  }
  return *refused ? 0 : sd_here_enter(&f->here, r, d->scope);
}

/* ---- its names ---- */

static int ask(struct sd_filter *f, const struct sd_name *n, uint8_t kind, uint8_t *rule) {
  size_t base = f->here.place.base;
  f->path.len = base;
  if (sd_buf_put(&f->path, n->name, n->len)) return -ENOMEM;
  const char *path = f->here.place.path = (const char *)f->path.data;
  struct sd_question q = {
      .name = sd_ignore_name(path, f->path.len, base, kind == SD_KIND_DIRECTORY), .here = &f->here};
  *rule = sd_rules_by_name(f->tree->rules, &q);
  return 0;
}

int sd_filter_names(struct sd_filter *f, struct sd_names *names, struct sd_dir_cursor *cursor,
                    uint64_t *counts) {
  bool drop = false;
  if (!f->tree->rules->names) return 0;
  for (size_t i = 0; i < names->len; i++) {
    struct sd_name *n = &names->items[i];
    uint8_t rule = 0;
    if (!n->kind) continue;
    if (ask(f, n, n->kind, &rule)) return -ENOMEM;
    if (!rule) continue;
    n->out = drop = true;
    counts[rule]++;
    if (cursor) sd_dir_cursor_remove(cursor, sd_name_hash(n->name, n->len));
  }
  f->here.place.names = NULL; /* they are not all any more */
  if (drop) sd_names_drop(names);
  return 0;
}

int sd_filter_entry(struct sd_filter *f, const struct sd_name *name, const struct sd_stat *st,
                    uint8_t *rule) {
  const struct sd_rules *r = f->tree->rules;
  *rule = 0;
  if (r->names && name->kind != st->kind) { /* not known before, or another now */
    int rc = ask(f, name, st->kind, rule);
    if (rc || *rule) return rc;
  }
  if (r->stats) *rule = sd_rules_by_stat(r, st);
  return 0;
}

int sd_filter_absent(struct sd_filter *f, const char *name, size_t len, uint8_t *rule) {
  const struct sd_rules *r = f->tree->rules;
  const struct sd_name n = {.name = name, .len = (uint16_t)len};
  *rule = r->one_filesystem ? SD_RULE_ONE_FILESYSTEM : 0;
  return *rule || !r->names ? 0 : ask(f, &n, SD_KIND_DIRECTORY, rule);
}

uint8_t sd_filter_mount(const struct sd_filter *f, const struct sd_dir *d, int fd,
                        uint64_t root_dev) {
  const struct sd_rules *r = f->tree->rules;
  struct stat st;
  uint64_t dev = d->dev;
  if (fd < 0) return dev && r->one_filesystem && dev != root_dev ? SD_RULE_ONE_FILESYSTEM : 0;
  if (!dev) dev = fstat(fd, &st) == 0 ? st.st_dev : root_dev; /* from a checkpoint */
  return sd_rules_by_mount(r, fd, dev, f->tree->root, root_dev);
}
