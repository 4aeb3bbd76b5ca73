#include "engine/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/cursor.h"
#include "engine/group.h"
#include "engine/scope.h"

enum { OPEN_DIR = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

/* A path that does not fit starts a new segment at the parent. */
static void place_segment(struct sd_dir *d) {
  const struct sd_dir *p = d->parent;
  if (!p) {
    d->segment_len = 0;
    d->anchor = 0;
    return;
  }
  uint32_t len = p->segment_len + (p->segment_len ? 1 : 0) + d->name_len;
  bool fits = len <= SD_DIR_SEGMENT_MAX;
  d->segment_len = fits ? len : d->name_len;
  d->anchor = fits ? p->anchor : p->id;
}

struct sd_dir *sd_dir_new(struct sd_dir *parent, const char *name, size_t len, int64_t id) {
  struct sd_dir *d = malloc(sizeof(*d) + len + 1);
  if (!d) return NULL;
  d->parent = parent ? sd_dir_get(parent) : NULL;
  d->cursor = NULL;
  d->group = NULL;
  d->lease = NULL;
  d->scope = NULL;
  d->fds_left = NULL;
  d->id = id;
  d->parent_id = parent ? parent->id : 0;
  d->dev = d->device = d->ino = 0;
  d->fd = -1;
  d->known = false;
  d->mount = false;
  d->scoped = false;
  d->entered = false;
  d->partial = false;
  d->checked = true;
  d->name_len = (uint32_t)len;
  memcpy(d->name, name, len);
  d->name[len] = '\0';
  atomic_init(&d->refs, 1);
  atomic_init(&d->claims, 1);
  d->claimed = parent != NULL;
  if (parent) atomic_fetch_add(&parent->claims, 1);
  place_segment(d);
  return d;
}

struct sd_dir *sd_dir_get(struct sd_dir *d) {
  atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
  return d;
}

static void close_fd(struct sd_dir *d) {
  if (d->fd < 0) return;
  close(d->fd);
  d->fd = -1;
  if (d->fds_left) atomic_fetch_add(d->fds_left, 1);
}

/* The last claim closes the descriptor. The root's own claim is never given up, so that there
 * always is an ancestor to open from. */
static void drop_claim(struct sd_dir *d) {
  if (atomic_fetch_sub(&d->claims, 1) == 1) close_fd(d);
}

static void release_parent(struct sd_dir *d) {
  if (!d->claimed) return;
  d->claimed = false;
  drop_claim(d->parent);
}

void sd_dir_put(struct sd_dir *d) {
  while (d && atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1) {
    struct sd_dir *parent = d->parent;
    sd_dir_cursor_free(d->cursor);
    sd_group_free(d->group);
    sd_scope_put(d->scope);
    release_parent(d);
    close_fd(d);
    free(d);
    d = parent;
  }
}

/* Length of the path from `top` (not included; NULL: the root) to `d`. */
static size_t path_len(const struct sd_dir *d, const struct sd_dir *top) {
  size_t n = 0;
  for (; d != top && d->parent; d = d->parent) n += d->name_len + (n ? 1 : 0);
  return n;
}

/* Writes that path backwards from out + len; only the last `len` bytes of it. */
static void path_fill(const struct sd_dir *d, const struct sd_dir *top, char *out, size_t len) {
  for (bool last = true; len && d != top && d->parent; d = d->parent, last = false) {
    if (!last) out[--len] = '/';
    size_t n = d->name_len < len ? d->name_len : len;
    memcpy(out + len - n, d->name + d->name_len - n, n);
    len -= n;
  }
}

int sd_dir_path(const struct sd_dir *d, size_t max, struct sd_buf *out) {
  size_t n = path_len(d, NULL);
  if (n > max) n = max;
  if (sd_buf_reserve(out, n)) return -ENOMEM;
  if (n) path_fill(d, NULL, (char *)out->data + out->len, n);
  out->len += n;
  return 0;
}

uint32_t sd_dir_depth(const struct sd_dir *d) {
  uint32_t depth = 0;
  for (; d->parent; d = d->parent) {
    depth++;
    for (const char *p = d->name; (p = strchr(p, '/')); p++) depth++;
  }
  return depth;
}

/* openat2(2) where the kernel has it; else the caller walks component by component. */
static int open_no_symlinks(int at, const char *path, int flags) {
  struct open_how how = {.flags = (uint64_t)flags, .resolve = RESOLVE_NO_SYMLINKS};
  return (int)syscall(SYS_openat2, at, path, &how, sizeof(how));
}

/* How much of `path` one system call may take: whole components, less than PATH_MAX. */
static size_t piece(const char *path, size_t len, bool single) {
  size_t n = 0;
  if (len < PATH_MAX && !single) return len;
  for (size_t i = 0; i <= len && i < PATH_MAX; i++)
    if (i == len || path[i] == '/') {
      n = i;
      if (single) break;
    }
  return n;
}

int sd_open_below(int root, const char *path, size_t len, int flags) {
  int at = root;
  bool single = false; /* no openat2: one component at a time, each O_NOFOLLOW */
  char part[PATH_MAX];
  for (;;) {
    size_t n = piece(path, len, single);
    memcpy(part, path, n);
    part[n] = '\0';
    int how = n < len ? O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC : flags;
    int fd = single ? TEMP_FAILURE_RETRY(openat(at, n ? part : ".", how))
                    : TEMP_FAILURE_RETRY(open_no_symlinks(at, n ? part : ".", how));
    if (fd < 0 && (errno == ENOSYS || errno == EPERM) && !single) { /* EPERM: seccomp */
      single = true;
      continue;
    }
    int en = errno;
    if (at != root) close(at);
    errno = en;
    if (fd < 0 || n == len) return fd;
    at = fd;
    path += n + 1;
    len -= n + 1;
  }
}

static int open_from_ancestor(const struct sd_dir *d) {
  const struct sd_dir *top = d->parent;
  while (top->fd < 0 && top->parent) top = top->parent;
  size_t n = path_len(d, top);
  char *path = malloc(n + 1);
  if (!path) {
    errno = ENOMEM;
    return -1;
  }
  path_fill(d, top, path, n);
  int fd = sd_open_below(top->fd, path, n, OPEN_DIR);
  int en = errno;
  free(path);
  errno = en;
  return fd;
}

int sd_dir_open(const struct sd_dir *d, int *out, struct sd_err *err) {
  int fd;
  if (d->fd >= 0)
    fd = TEMP_FAILURE_RETRY(openat(d->fd, ".", OPEN_DIR)); /* the root, or canceled before */
  else if (d->parent->fd >= 0 && !memchr(d->name, '/', d->name_len))
    fd = TEMP_FAILURE_RETRY(openat(d->parent->fd, d->name, OPEN_DIR));
  else fd = open_from_ancestor(d);
  if (fd < 0) return sd_err_os(err, "open", d->name);
  *out = fd;
  return 0;
}

const char *sd_dir_name(const struct sd_dir *d, size_t *len) {
  const char *slash = memrchr(d->name, '/', d->name_len);
  const char *name = slash ? slash + 1 : d->name;
  *len = d->name_len - (size_t)(name - d->name);
  return name;
}

/* Where its name should be, opened from the root. */
static int open_above(const struct sd_dir *d, size_t name_len) {
  const struct sd_dir *root = d->parent;
  struct sd_buf path = SD_BUF_INIT;
  while (root->parent) root = root->parent;
  if (sd_dir_path(d, SIZE_MAX, &path)) {
    errno = ENOMEM;
    return -1;
  }
  size_t len = path.len - name_len;
  int fd = sd_open_below(root->fd, (char *)path.data, len ? len - 1 : 0, O_PATH | O_DIRECTORY);
  int en = errno;
  sd_buf_fini(&path);
  errno = en;
  return fd;
}

int sd_dir_is_gone(const struct sd_dir *d, uint64_t *above) {
  struct stat st;
  size_t len;
  if (!d->parent) return 0;
  const char *name = sd_dir_name(d, &len);
  int open = name == d->name ? d->parent->fd : -1;
  int fd = open >= 0 ? open : open_above(d, len);
  if (fd < 0 && sd_err_is_exhausted(-errno)) return -errno;
  bool gone = fd >= 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
  gone = gone && TEMP_FAILURE_RETRY(fstat(fd, &st)) == 0;
  if (gone) *above = st.st_dev;
  if (fd >= 0 && fd != open) close(fd);
  return gone;
}

void sd_dir_keep(struct sd_dir *d, int fd, atomic_int *fds_left) {
  if (d->fd < 0 && atomic_fetch_sub(fds_left, 1) > 0) {
    d->fd = fd;
    d->fds_left = fds_left;
    release_parent(d);
    return;
  }
  if (d->fd < 0) atomic_fetch_add(fds_left, 1);
  close(fd);
}

void sd_dir_listed(struct sd_dir *d) {
  if (d->parent) drop_claim(d);
}
