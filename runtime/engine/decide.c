/* What a rule set says of one path: the walk's questions along the way to it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/filter.h"
#include "engine/rules_internal.h"

struct way {
  struct sd_filter_tree tree;
  const char *root;       /* its path */
  struct sd_buf path;     /* the whole, from where tree.path begins */
  size_t end;             /* how much of it is looked at */
  int fd;                 /* the directory that we stand in; -1: it is not there */
  uint64_t dev, root_dev; /* of that directory, and of the root */
  struct sd_here here;    /* the same directory */
  struct sd_scope *scope;
  struct sd_why why;
  struct sd_verdict *verdict;
};

/* ---- the answer ---- */

static int put_text(struct sd_buf *b, const char *s) {
  return sd_buf_put(b, s, strlen(s));
}

static int put_number(struct sd_buf *b, uint32_t n) {
  char digits[12], *p = digits + sizeof(digits);
  do *--p = (char)('0' + n % 10);
  while (n /= 10);
  return sd_buf_put(b, p, (size_t)(digits + sizeof(digits) - p));
}

/* FILE:LINE: - relative to the root of the walk where the file is below it, else absolute. */
static int put_place(const struct way *w, struct sd_buf *b) {
  size_t root = w->tree.path.len, base = w->why.base;
  const char *path = (const char *)w->path.data;
  int rc = base >= root ? sd_buf_put(b, path + root, base - root)
                        : sd_buf_put(b, w->root, strlen(w->root) - (root - 1));
  if (!rc && base < root) rc = sd_buf_put(b, path, base);
  if (!rc) rc = put_text(b, w->why.file);
  if (!rc) rc = sd_buf_put(b, ":", 1);
  if (!rc) rc = put_number(b, w->why.hit.line);
  return rc ? rc : sd_buf_put(b, ":", 1);
}

static int answer(struct way *w, uint8_t rule, const char *child) {
  struct sd_verdict *v = w->verdict;
  size_t root = w->tree.path.len;
  int rc = 0;
  v->rule = rule;
  if (w->end > root) rc = sd_buf_put(&v->path, w->path.data + root, w->end - root);
  if (!rc && child) rc = put_text(&v->detail, child);
  if (child || !w->why.hit.pattern) return rc;
  if (!rc && w->why.file) rc = put_place(w, &v->detail);
  return rc ? rc : sd_buf_put(&v->detail, w->why.hit.pattern, w->why.hit.len);
}

/* ---- the way ---- */

/* Makes the directory at `fd` (-1: it is not there) the one that we stand in. 1: it is left empty,
 * and that is the answer. */
static int enter(struct way *w, int fd, size_t base) {
  const char *child = NULL;
  struct sd_scope *own;
  bool is_root = base == w->tree.path.len;
  if (w->fd >= 0) close(w->fd);
  w->fd = fd;
  w->here.place = (struct sd_place){
      .fd = fd, .path = (const char *)w->path.data, .base = base, .root = w->tree.path.len};
  int rc = sd_scope_enter(w->tree.rules, &w->here.place, w->scope, &own, NULL);
  if (rc) return rc;
  sd_scope_put(w->scope);
  w->scope = own;
  int rule = is_root ? 0 : sd_rules_by_children(w->tree.rules, &w->here.place, &child);
  if (rule < 0) return rule;
  if (!rule) return sd_here_enter(&w->here, w->tree.rules, own);
  rc = answer(w, (uint8_t)rule, child);
  return rc ? rc : 1;
}

/* Goes from an entry that is a directory into it. 1: as enter(). */
static int go_into(struct way *w, const char *name) {
  struct stat st;
  int fd = TEMP_FAILURE_RETRY(
      openat(w->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (fd < 0)
    fd = TEMP_FAILURE_RETRY(openat(w->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd < 0 && sd_err_is_exhausted(-errno)) return -errno;
  memset(&w->why, 0, sizeof(w->why));
  if (fd >= 0 && TEMP_FAILURE_RETRY(fstat(fd, &st)) == 0 && st.st_dev != w->dev) {
    uint8_t rule = sd_rules_by_mount(w->tree.rules, fd, st.st_dev, w->tree.root, w->root_dev);
    w->dev = st.st_dev;
    if (rule) {
      close(fd);
      int rc = answer(w, rule, NULL);
      return rc ? rc : 1;
    }
  }
  return enter(w, fd, w->end + 1);
}

static bool get_stat(const struct way *w, const char *name, struct sd_stat *st) {
  struct statx stx;
  if (TEMP_FAILURE_RETRY(
          statx(w->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, SD_STATX_MASK, &stx)) != 0)
    return false;
  sd_stat_from_statx(st, &stx);
  return true;
}

/* The rule that leaves out the entry `name`, which is the path up to w->end; or 0. */
static uint8_t ask(struct way *w, const char *name, bool dir) {
  struct sd_stat st;
  size_t len = strlen(name);
  bool there = w->fd >= 0 && get_stat(w, name, &st);
  bool is_dir = dir || (there && st.kind == SD_KIND_DIRECTORY);
  const char *path = (const char *)w->path.data;
  struct sd_question q = {
      .name = sd_ignore_name(path, w->end, w->end - len, is_dir), .here = &w->here, .why = &w->why};
  memset(&w->why, 0, sizeof(w->why));
  uint8_t rule = sd_rules_by_name(w->tree.rules, &q);
  if (rule || !there || dir) return rule;
  rule = sd_rules_by_stat(w->tree.rules, &st);
  if (rule) memset(&w->why, 0, sizeof(w->why));
  return rule;
}

/* The component from `at` to w->end; `dir`: a slash follows; `last`: and nothing more. 1: the
 * answer is there. */
static int step(struct way *w, size_t at, bool dir, bool last) {
  char name[256];
  size_t len = w->end - at;
  if (!len || len >= sizeof(name)) return -EINVAL;
  memcpy(name, w->path.data + at, len);
  name[len] = '\0';
  if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return -EINVAL;
  uint8_t rule = ask(w, name, dir);
  if (!rule && !last) return go_into(w, name);
  int rc = answer(w, rule, NULL);
  return rc ? rc : 1;
}

/* The components of the path, one after the other. */
static int walk(struct way *w) {
  size_t len = w->path.len;
  int rc = enter(w, fcntl(w->tree.root, F_DUPFD_CLOEXEC, 0), w->tree.path.len);
  for (size_t at = w->tree.path.len; rc == 0 && at < len; at = w->end + 1) {
    const char *path = (const char *)w->path.data, *slash = memchr(path + at, '/', len - at);
    w->end = slash ? (size_t)(slash - path) : len;
    rc = step(w, at, slash != NULL, w->end + 1 >= len);
  }
  if (rc == 0) rc = answer(w, 0, NULL);
  return rc < 0 ? rc : 0;
}

static int begin(struct way *w, const char *path, size_t len, struct sd_err *err) {
  struct stat st;
  w->tree.root = TEMP_FAILURE_RETRY(open(w->root, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC));
  if (w->tree.root < 0 || TEMP_FAILURE_RETRY(fstat(w->tree.root, &st)) != 0)
    return sd_err_os(err, "open", w->root);
  w->dev = w->root_dev = st.st_dev;
  int rc = sd_filter_tree_open(&w->tree, w->root);
  if (!rc) rc = sd_buf_put(&w->path, w->tree.path.data, w->tree.path.len);
  if (!rc) rc = sd_buf_put(&w->path, path, len);
  if (!rc) rc = sd_buf_reserve(&w->path, 1);
  w->scope = sd_scope_get(w->tree.above);
  w->end = w->tree.path.len;
  return rc ? sd_err_exhausted(err, rc) : 0;
}

int sd_rules_decide(const struct sd_rules *r, const char *root, const char *path, size_t len,
                    struct sd_verdict *v, struct sd_err *err) {
  struct way w = {.tree = {.rules = r, .root = -1}, .root = root, .fd = -1, .verdict = v};
  memset(v, 0, sizeof(*v));
  int rc = begin(&w, path, len, err);
  if (!rc && (rc = walk(&w)))
    rc = sd_err_is_exhausted(rc) ? sd_err_exhausted(err, rc)
                                 : sd_err_set(err, rc, "not a path below the root: %.256s", path);
  if (w.tree.root >= 0) close(w.tree.root);
  if (w.fd >= 0) close(w.fd);
  sd_here_fini(&w.here);
  sd_scope_put(w.scope);
  sd_filter_tree_close(&w.tree);
  sd_buf_fini(&w.path);
  if (rc) sd_verdict_fini(v);
  return rc;
}

void sd_verdict_fini(struct sd_verdict *v) {
  sd_buf_fini(&v->path);
  sd_buf_fini(&v->detail);
}
