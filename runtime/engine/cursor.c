#include "engine/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "engine/batch.h"
#include "engine/group.h"

struct sd_dir_cursor *sd_dir_cursor_new(int fd, atomic_int *fds_left) {
  struct sd_dir_cursor *c = calloc(1, sizeof(*c));
  if (!c) return NULL;
  struct stat st;
  c->fds_left = fds_left;
  c->fd = -1;
  if (TEMP_FAILURE_RETRY(fstat(fd, &st)) == 0) {
    c->dev = st.st_dev;
    c->ino = st.st_ino;
  }
  if (atomic_fetch_sub(fds_left, 1) > 0) c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (c->fd < 0) atomic_fetch_add(fds_left, 1);
  return c;
}

bool sd_dir_cursor_is(const struct sd_dir_cursor *c, int fd) {
  struct stat st;
  return TEMP_FAILURE_RETRY(fstat(fd, &st)) == 0 && st.st_dev == c->dev && st.st_ino == c->ino;
}

int sd_dir_cursor_take_fd(struct sd_dir_cursor *c) {
  int fd = c->fd;
  if (fd >= 0) atomic_fetch_add(c->fds_left, 1);
  c->fd = -1;
  return fd;
}

void sd_dir_cursor_free(struct sd_dir_cursor *c) {
  if (!c) return;
  int fd = sd_dir_cursor_take_fd(c);
  if (fd >= 0) close(fd);
  sd_group_free(c->children);
  sd_batch_free(c->notes);
  free(c->seen);
  free(c);
}

uint64_t sd_name_hash(const char *name, size_t len) {
  uint64_t h = XXH3_64bits(name, len);
  return h ? h : 1;
}

/* The place of `hash`, or the free one where it belongs. */
static size_t place(const struct sd_dir_cursor *c, uint64_t hash) {
  size_t i = hash & (c->cap - 1);
  while (c->seen[i] && c->seen[i] != hash) i = (i + 1) & (c->cap - 1);
  return i;
}

static int grow(struct sd_dir_cursor *c) {
  struct sd_dir_cursor wide = *c;
  wide.cap = c->cap ? c->cap * 2 : 8192;
  wide.seen = calloc(wide.cap, sizeof(*wide.seen));
  if (!wide.seen) return -ENOMEM;
  for (size_t i = 0; i < c->cap; i++)
    if (c->seen[i]) wide.seen[place(&wide, c->seen[i])] = c->seen[i];
  free(c->seen);
  *c = wide;
  return 0;
}

int sd_dir_cursor_add(struct sd_dir_cursor *c, uint64_t hash) {
  if (c->count * 4 >= c->cap * 3 && grow(c)) return -ENOMEM;
  size_t i = place(c, hash);
  if (c->seen[i]) return 0;
  c->seen[i] = hash;
  c->count++;
  return 1;
}

bool sd_dir_cursor_has(const struct sd_dir_cursor *c, uint64_t hash) {
  return c->cap && c->seen[place(c, hash)] == hash;
}

/* Linear probing without tombstones: what follows the gap moves up (Knuth 6.4, algorithm R). */
void sd_dir_cursor_remove(struct sd_dir_cursor *c, uint64_t hash) {
  if (!sd_dir_cursor_has(c, hash)) return;
  size_t mask = c->cap - 1, gap = place(c, hash);
  for (size_t i = (gap + 1) & mask; c->seen[i]; i = (i + 1) & mask) {
    size_t home = c->seen[i] & mask;
    if (((i - home) & mask) < ((i - gap) & mask)) continue;
    c->seen[gap] = c->seen[i];
    gap = i;
  }
  c->seen[gap] = 0;
  c->count--;
}

/* ---- notes ---- */

enum { HELD_MAX = 4096 };

static int copy(struct sd_batch *to, const struct sd_note *notes, size_t from, size_t below) {
  int rc = 0;
  for (size_t i = from; !rc && i < below; i++)
    rc = sd_batch_note(to, notes[i].op, notes[i].code, notes[i].path, notes[i].path_len,
                       notes[i].reason);
  return rc;
}

int sd_dir_cursor_hold(struct sd_dir_cursor *c, struct sd_batch *b, size_t errors, size_t skips) {
  if (b->errors_len == errors && b->skips_len == skips) return 0;
  if (!c->notes && !(c->notes = sd_batch_new())) return -ENOMEM;
  if (c->notes->errors_len + c->notes->skips_len >= HELD_MAX) return 0;
  int rc = copy(c->notes, b->errors, errors, b->errors_len);
  if (!rc) rc = copy(c->notes, b->skips, skips, b->skips_len);
  b->errors_len = errors;
  b->skips_len = skips;
  return rc;
}

int sd_dir_cursor_release(struct sd_dir_cursor *c, struct sd_batch *b) {
  const struct sd_batch *held = c->notes;
  for (size_t i = 0; i < SD_RULE_COUNT; i++) b->skipped[i] += c->skipped[i];
  int rc = held ? copy(b, held->errors, 0, held->errors_len) : 0;
  return rc || !held ? rc : copy(b, held->skips, 0, held->skips_len);
}
