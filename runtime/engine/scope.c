#include "engine/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/error.h"
#include "engine/dir.h"
#include "engine/rules_internal.h"

enum {
  OPEN_FILE = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
  OPEN_PATH = O_PATH | O_DIRECTORY | O_CLOEXEC,
  GITDIR_MAX = PATH_MAX, /* of a .git that is a file */
};

struct sd_scope *sd_scope_get(struct sd_scope *s) {
  if (s) atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

void sd_scope_put(struct sd_scope *s) {
  while (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
    struct sd_scope *above = s->above;
    sd_ignore_free(s->git);
    sd_ignore_free(s->exclude);
    sd_ignore_free(s->dot);
    free(s);
    s = above;
  }
}

bool sd_place_has(const struct sd_place *p, const char *name) {
  struct stat st;
  if (p->names) return sd_names_find(p->names, name) != NULL;
  return fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- reading a file ---- */

static int open_quietly(int dir, const char *name, int flags) {
  int fd = TEMP_FAILURE_RETRY(openat(dir, name, flags | O_NOATIME));
  if (fd < 0 && errno == EPERM)
    fd = TEMP_FAILURE_RETRY(openat(dir, name, flags)); /* not the owner */
  return fd;
}

/* At most `max` bytes and one more, which tells that there are too many. */
static int read_fd(int fd, size_t max, struct sd_buf *out) {
  for (;;) {
    if (sd_buf_reserve(out, 4096)) return -ENOMEM;
    size_t room = out->cap - out->len, left = max + 1 - out->len;
    ssize_t n = read(fd, out->data + out->len, room < left ? room : left);
    if (n < 0 && errno != EINTR) return -errno;
    if (n > 0) out->len += (size_t)n;
    if (n == 0 || out->len > max) return 0;
  }
}

/* What may be said of a thing that could not be opened, errno being why: `other`, unless nothing
 * could be opened at all. */
static int unless_exhausted(int other) {
  return sd_err_is_exhausted(-errno) ? -errno : other;
}

/* Whether a regular file is there that may be read: 1, 0 or a negative errno. What else is called
 * so is no ignore file; nothing but a regular file is opened. */
static int look(int dir, const char *name, int how, const struct sd_place *own) {
  struct stat st;
  if (fstatat(dir, name, &st, how) != 0) return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
  if (S_ISLNK(st.st_mode)) return -ELOOP; /* git does not follow it either */
  if (!S_ISREG(st.st_mode)) return 0;
  for (size_t i = 0; i < own->own_len; i++)
    if (own->own[i].dev == st.st_dev && own->own[i].ino == st.st_ino) return 0;
  return st.st_size > SD_IGNORE_BYTES_MAX ? -EFBIG : 1;
}

static int read_file(int dir, const char *name, int how, const struct sd_place *own, size_t max,
                     struct sd_buf *out) {
  int rc = look(dir, name, how, own);
  if (rc <= 0) return rc;
  int fd = open_quietly(dir, name, OPEN_FILE | (how & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0));
  if (fd < 0) return errno == ENOENT ? 0 : -errno;
  rc = read_fd(fd, max, out);
  close(fd);
  return rc ? rc : 1;
}

ssize_t sd_place_head(const struct sd_place *p, const char *name, char *out, size_t len) {
  int rc = look(p->fd, name, AT_SYMLINK_NOFOLLOW, p);
  if (rc != 1 && rc != -EFBIG) return 0;
  int fd = open_quietly(p->fd, name, OPEN_FILE | O_NOFOLLOW);
  if (fd < 0) return unless_exhausted(0);
  ssize_t n = TEMP_FAILURE_RETRY(read(fd, out, len));
  close(fd);
  return n;
}

/* ---- the scope that is being made ---- */

struct making {
  const struct sd_rules *rules;
  const struct sd_place *place;
  struct sd_scope *above;
  struct sd_scope scope; /* as it will be; `git` and so on are owned */
  struct sd_scope_errors *errors;
};

/* `reason`: a literal, or NULL for what the system says of the code. */
static void note(struct making *m, const char *file, int code, const char *reason) {
  struct sd_scope_errors *e = m->errors;
  if (!e || e->len == sizeof(e->items) / sizeof(e->items[0])) return;
  if (!reason) reason = strerrordesc_np(-code);
  e->items[e->len].file = file;
  e->items[e->len].code = code;
  e->items[e->len++].reason = reason ? reason : "unknown error";
}

static int parse(struct making *m, const char *file, const struct sd_buf *text,
                 struct sd_ignore **out) {
  struct sd_ignore *ig;
  int rc = sd_ignore_parse((const char *)text->data, text->len, &ig, NULL);
  if (rc == -ENOMEM) return rc;
  if (rc) {
    note(m, file, rc, "more patterns than an ignore file may have (65536)");
    return 0;
  }
  size_t bytes = sd_ignore_bytes(ig);
  bool fits = m->scope.bytes + bytes <= SD_SCOPE_BYTES_MAX;
  if (!fits) note(m, file, -EFBIG, "with the ignore files above it, too large");
  if (!fits || !sd_ignore_count(ig)) {
    sd_ignore_free(ig);
    return 0;
  }
  m->scope.bytes += bytes;
  *out = ig;
  return 0;
}

/* Reads the ignore file `name` in `dir`; `file` is how it is called from the place. */
static int load(struct making *m, int dir, const char *name, const char *file, int how,
                struct sd_ignore **out) {
  struct sd_buf text = SD_BUF_INIT;
  int rc = read_file(dir, name, how, m->place, SD_IGNORE_BYTES_MAX, &text);
  if (rc == 1) rc = parse(m, file, &text, out);
  else if (rc == -EFBIG) note(m, file, rc, "larger than an ignore file may be (1 MiB)");
  else if (rc < 0 && !sd_err_is_exhausted(rc)) note(m, file, rc, NULL);
  sd_buf_fini(&text);
  return sd_err_is_exhausted(rc) ? rc : 0;
}

/* ---- repositories ---- */

static bool exists(int dir, const char *name) {
  struct stat st;
  return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

enum { NO_DIR = -1 }; /* there is none, or none that can be opened */

/* Opens the directory whose name stands in a file of git's: "gitdir: PATH" or "PATH". A descriptor,
 * NO_DIR, or a code of sd_err_is_exhausted(); as what follows. */
static int open_named(int dir, const char *file, const char *before, const struct sd_place *own) {
  struct sd_buf text = SD_BUF_INIT;
  size_t skip = strlen(before);
  int fd = NO_DIR, rc = read_file(dir, file, 0, own, GITDIR_MAX, &text);
  if (sd_err_is_exhausted(rc)) fd = rc;
  if (rc == 1 && text.len > skip && text.len < GITDIR_MAX && memcmp(text.data, before, skip) == 0) {
    while (text.len > skip && strchr("\r\n", text.data[text.len - 1])) text.len--;
    text.data[text.len] = '\0'; /* there is room: see read_fd() */
    fd = TEMP_FAILURE_RETRY(openat(dir, (const char *)text.data + skip, OPEN_PATH));
    if (fd < 0) fd = unless_exhausted(NO_DIR);
  }
  sd_buf_fini(&text);
  return fd;
}

/* The git directory of the work tree at `dir`, as git finds it; NO_DIR: it is no repository's root.
 * In a worktree the common one is meant: there is info/exclude. */
static int open_repository(int dir, const struct sd_place *own) {
  int git = TEMP_FAILURE_RETRY(openat(dir, ".git", OPEN_PATH));
  if (git < 0) git = unless_exhausted(NO_DIR);
  if (git == NO_DIR) git = open_named(dir, ".git", "gitdir: ", own);
  if (git < 0) return git;
  bool head = exists(git, "HEAD");
  int common = open_named(git, "commondir", "", own);
  if (common != NO_DIR) {
    close(git);
    git = common;
  }
  if (git < 0 || (head && exists(git, "objects") && exists(git, "refs"))) return git;
  close(git);
  return NO_DIR;
}

/* ---- entering ---- */

static bool is_inside_git(const struct sd_place *p) {
  static const char name[] = ".git/";
  size_t n = sizeof(name) - 1;
  if (p->base < n || memcmp(p->path + p->base - n, name, n) != 0) return false;
  return p->base == n || p->path[p->base - n - 1] == '/';
}

static int load_git_files(struct making *m) {
  const struct sd_place *p = m->place;
  int rc = 0;
  if (is_inside_git(p)) {
    m->scope.border = m->above != NULL;
    return 0;
  }
  if (sd_place_has(p, ".gitignore"))
    rc = load(m, p->fd, ".gitignore", ".gitignore", AT_SYMLINK_NOFOLLOW, &m->scope.git);
  int git = !rc && sd_place_has(p, ".git") ? open_repository(p->fd, p) : NO_DIR;
  if (git < 0) return git == NO_DIR ? rc : git;
  m->scope.border = true;
  rc = load(m, git, "info/exclude", ".git/info/exclude", 0, &m->scope.exclude);
  close(git);
  return rc;
}

static int load_files(struct making *m) {
  const struct sd_place *p = m->place;
  int rc = load_git_files(m);
  if (!rc && sd_place_has(p, ".ignore"))
    rc = load(m, p->fd, ".ignore", ".ignore", AT_SYMLINK_NOFOLLOW, &m->scope.dot);
  if (m->scope.dot) m->scope.dots = true;
  return rc;
}

static bool has_any(const struct sd_place *p, const struct sd_children *children) {
  for (size_t i = 0; i < children->items_len; i++)
    if (sd_place_has(p, children->items[i])) return true;
  return false;
}

/* Whether the directory itself matches an include pattern, or is below one that does. */
static bool is_included(const struct making *m) {
  const struct sd_place *p = m->place;
  bool above = m->above && m->above->included;
  if (!m->rules->include || p->base <= p->root) return above;
  size_t at = p->base - 1;
  while (at > p->root && p->path[at - 1] != '/') at--;
  struct sd_ignore_name n = sd_ignore_name(p->path, p->base - 1, at, true);
  int c = sd_ignore_match(m->rules->include, &n, p->root, SD_IGNORE_ALL, NULL);
  return c ? c > 0 : above;
}

/* Whether the scope says more than the one above it. */
static bool differs(const struct making *m) {
  const struct sd_scope *s = &m->scope, *a = m->above;
  return s->git || s->exclude || s->dot || s->border || s->accepted != (a && a->accepted) ||
         s->included != (a && a->included);
}

static int finish(struct making *m, int rc, struct sd_scope **out) {
  struct sd_scope *s = NULL;
  *out = NULL;
  if (!rc && !differs(m)) {
    *out = sd_scope_get(m->above);
    return 0;
  }
  if (!rc && (s = malloc(sizeof(*s)))) {
    *s = m->scope;
    s->above = sd_scope_get(m->above);
    atomic_init(&s->refs, 1);
    *out = s;
    return 0;
  }
  sd_ignore_free(m->scope.git);
  sd_ignore_free(m->scope.exclude);
  sd_ignore_free(m->scope.dot);
  return rc ? rc : -ENOMEM;
}

int sd_scope_enter(const struct sd_rules *r, const struct sd_place *p, struct sd_scope *above,
                   struct sd_scope **out, struct sd_scope_errors *errors) {
  struct making m = {.rules = r, .place = p, .above = above, .errors = errors};
  m.scope.base = p->base;
  if (above) {
    m.scope.bytes = above->bytes;
    m.scope.dots = above->dots;
    m.scope.accepted = above->accepted;
  }
  if (errors) errors->len = 0;
  int rc = sd_rules_has(r, SD_RULE_GITIGNORE) ? load_files(&m) : 0;
  if (!m.scope.accepted && p->base >= p->root) m.scope.accepted = has_any(p, &r->accept);
  m.scope.included = is_included(&m);
  return finish(&m, rc, out);
}

/* ---- above the root ---- */

/* Shortens an absolute path to the directory above; false at "/". */
static bool go_up(const char *path, size_t *len) {
  if (*len <= 1) return false;
  while (*len > 1 && path[*len - 1] != '/') --*len;
  if (*len > 1) --*len;
  return true;
}

static int open_prefix(const char *path, size_t len) {
  char part[PATH_MAX];
  if (len >= sizeof(part)) return NO_DIR;
  memcpy(part, path, len);
  part[len] = '\0';
  int fd = TEMP_FAILURE_RETRY(open(part, OPEN_PATH));
  return fd < 0 ? unless_exhausted(NO_DIR) : fd;
}

/* 1, 0, or a negative code. */
static int is_repository(const char *path, size_t len) {
  struct sd_place none = {0};
  int fd = open_prefix(path, len), git = fd;
  if (fd >= 0) {
    git = open_repository(fd, &none);
    close(fd);
  }
  if (git >= 0) close(git);
  return git >= 0 ? 1 : git == NO_DIR ? 0 : git;
}

/* From the repository's root, `from` bytes of the path, down to the directory above the root. */
static int enter_all(const struct sd_rules *r, const char *root, size_t from,
                     struct sd_scope **out) {
  size_t begin = from == 1 ? 1 : from + 1, len = strlen(root);
  struct sd_scope *scope = NULL;
  int rc = 0;
  for (size_t at = from; !rc && at < len;) {
    struct sd_scope *next = NULL;
    size_t base = at == from ? 0 : at + 1 - begin;
    struct sd_place p = {.path = root + begin, .base = base, .root = SIZE_MAX};
    p.fd = open_prefix(root, at);
    if (p.fd >= 0) {
      rc = sd_scope_enter(r, &p, scope, &next, NULL);
      close(p.fd);
      sd_scope_put(scope);
      scope = next;
    } else if (p.fd != NO_DIR) {
      rc = p.fd;
    }
    const char *slash = strchr(root + at + 1, '/');
    at = slash ? (size_t)(slash - root) : len;
  }
  *out = scope;
  return rc;
}

int sd_scope_above(const struct sd_rules *r, const char *root, struct sd_scope **out,
                   struct sd_buf *path) {
  size_t len = strlen(root), from = len;
  *out = NULL;
  if (!sd_rules_has(r, SD_RULE_GITIGNORE) || *root != '/') return 0;
  int rc = is_repository(root, len);
  if (rc) return rc < 0 ? rc : 0;
  do {
    if (!go_up(root, &from)) return 0;
    rc = is_repository(root, from);
  } while (!rc);
  if (rc > 0) rc = enter_all(r, root, from, out);
  if (rc || !*out) return rc;
  size_t begin = from == 1 ? 1 : from + 1;
  rc = sd_buf_put(path, root + begin, len - begin);
  return rc ? rc : sd_buf_put(path, "/", 1);
}

/* ---- matching ---- */

struct sd_list {
  const struct sd_ignore *ig; /* borrowed from its scope */
  const char *file;
  size_t base;    /* of its directory */
  uint64_t paths; /* sd_ignore_paths() of the directory in hand */
};

static int put_list(struct sd_lists *l, const struct sd_scope *s, const struct sd_ignore *ig,
                    const char *file, const char *path, size_t base) {
  if (!ig) return 0;
  if (!SD_ARRAY_ROOM(l, items)) return -ENOMEM;
  size_t len = base > s->base ? base - s->base - 1 : 0;
  l->items[l->items_len++] = (struct sd_list){
      .ig = ig, .file = file, .base = s->base, .paths = sd_ignore_paths(ig, path + s->base, len)};
  return 0;
}

int sd_lists_fill(struct sd_lists *l, const struct sd_scope *s, const char *path, size_t base) {
  int rc = 0;
  l->items_len = 0;
  for (const struct sd_scope *at = s; !rc && at && at->dots; at = at->above)
    rc = put_list(l, at, at->dot, ".ignore", path, base);
  for (; !rc && s; s = s->border ? NULL : s->above) {
    rc = put_list(l, s, s->git, ".gitignore", path, base);
    if (!rc) rc = put_list(l, s, s->exclude, ".git/info/exclude", path, base);
  }
  return rc;
}

void sd_lists_fini(struct sd_lists *l) {
  free(l->items);
}

int sd_lists_match(const struct sd_lists *l, const struct sd_ignore_name *n, struct sd_why *why) {
  for (size_t i = 0; i < l->items_len; i++) {
    const struct sd_list *at = &l->items[i];
    int c = sd_ignore_match(at->ig, n, at->base, at->paths, why ? &why->hit : NULL);
    if (!c) continue;
    if (why) why->file = at->file;
    if (why) why->base = at->base;
    return c;
  }
  return 0;
}

/* ---- directories that came from a checkpoint ---- */

struct sd_trail_step {
  size_t base; /* of the directory: the root's is the first */
  struct sd_scope *scope;
};

static void cut(struct sd_trail *t, size_t len) {
  while (t->steps_len > len) sd_scope_put(t->steps[--t->steps_len].scope);
}

void sd_trail_fini(struct sd_trail *t) {
  cut(t, 0);
  free(t->steps);
  sd_buf_fini(&t->path);
}

/* Keeps the steps that lead to an ancestor of p->path, and remembers that path. */
static int keep_common(struct sd_trail *t, const struct sd_place *p) {
  size_t same = 0, keep = 0;
  while (same < t->path.len && same < p->base && t->path.data[same] == (uint8_t)p->path[same])
    same++;
  while (keep < t->steps_len && t->steps[keep].base <= same && t->steps[keep].base < p->base)
    keep++;
  cut(t, keep);
  t->path.len = 0;
  return sd_buf_put(&t->path, p->path, p->base);
}

/* Enters the directory `base` bytes down the path, open at `fd`. */
static int add_step(struct sd_trail *t, const struct sd_rules *r, const struct sd_place *p,
                    struct sd_scope *above, int fd, size_t base) {
  struct sd_place here = *p;
  if (!SD_ARRAY_ROOM(t, steps)) return -ENOMEM;
  here.fd = fd;
  here.base = base;
  here.names = NULL;
  struct sd_trail_step *step = &t->steps[t->steps_len];
  step->base = base;
  if (t->steps_len) above = step[-1].scope;
  int rc = sd_scope_enter(r, &here, above, &step->scope, NULL);
  if (!rc) t->steps_len++;
  return rc;
}

/* Opens the component of the path between two bases, below `at`. */
static int open_component(int at, const char *path, size_t from, size_t to) {
  char name[NAME_MAX + 1];
  if (to - from > sizeof(name)) return NO_DIR;
  memcpy(name, path + from, to - from - 1);
  name[to - from - 1] = '\0';
  int fd = TEMP_FAILURE_RETRY(openat(at, name, OPEN_PATH | O_NOFOLLOW));
  return fd < 0 ? unless_exhausted(NO_DIR) : fd;
}

int sd_trail_find(struct sd_trail *t, const struct sd_rules *r, const struct sd_place *p,
                  struct sd_scope *above, struct sd_scope **out) {
  *out = NULL;
  if (p->base == p->root) {
    *out = sd_scope_get(above);
    return 0;
  }
  int rc = keep_common(t, p);
  if (!rc && !t->steps_len) rc = add_step(t, r, p, above, p->fd, p->root);
  if (rc) return rc;
  size_t at = t->steps[t->steps_len - 1].base;
  const char *slash = memchr(p->path + at, '/', p->base - at);
  bool more = slash && (size_t)(slash - p->path) + 1 < p->base;
  /* From the last step that is known; what cannot be opened here cannot be walked either. */
  int fd = !more ? NO_DIR
           : at > p->root
               ? sd_open_below(p->fd, p->path + p->root, at - 1 - p->root, OPEN_PATH | O_NOFOLLOW)
               : fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
  if (more && fd < 0) rc = unless_exhausted(0);
  while (!rc && more && fd >= 0) {
    size_t base = (size_t)(slash - p->path) + 1;
    int next = open_component(fd, p->path, at, base);
    close(fd);
    if ((fd = next) >= 0) rc = add_step(t, r, p, above, fd, base);
    else if (fd != NO_DIR) rc = fd;
    at = base;
    slash = memchr(p->path + at, '/', p->base - at);
    more = slash && (size_t)(slash - p->path) + 1 < p->base;
  }
  if (fd >= 0) close(fd);
  if (!rc) *out = sd_scope_get(t->steps[t->steps_len - 1].scope);
  return rc;
}
