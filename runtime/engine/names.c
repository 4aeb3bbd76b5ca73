#include "engine/names.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/utf8.h"
#include "engine/entry.h"

/* 64 KiB: the largest buffer with which ext4, xfs and btrfs still gain. A part is as many names as
 * make one or two batches. */
enum { DENTS_SIZE = 64 * 1024, PART = 2048, FEW = 32 };

int sd_names_init(struct sd_names *n) {
  memset(n, 0, sizeof(*n));
  sd_arena_init(&n->arena);
  n->dents = malloc(DENTS_SIZE);
  return n->dents ? 0 : -ENOMEM;
}

void sd_names_fini(struct sd_names *n) {
  free(n->items);
  free(n->dents);
  sd_arena_fini(&n->arena);
}

static bool is_dots(const char *s) {
  return s[0] == '.' && (!s[1] || (s[1] == '.' && !s[2]));
}

static uint64_t prefix_of(const char *s, size_t len) {
  uint64_t v = 0;
  memcpy(&v, s, len < sizeof(v) ? len : sizeof(v));
  return be64toh(v);
}

static uint8_t kind_of(uint8_t type) {
  static const uint8_t kinds[] = {
      [DT_REG] = SD_KIND_FILE,  [DT_DIR] = SD_KIND_DIRECTORY, [DT_LNK] = SD_KIND_SYMLINK,
      [DT_FIFO] = SD_KIND_FIFO, [DT_SOCK] = SD_KIND_SOCKET,   [DT_CHR] = SD_KIND_CHAR,
      [DT_BLK] = SD_KIND_BLOCK,
  };
  return type < sizeof(kinds) ? kinds[type] : 0;
}

static int add(struct sd_names *n, const struct dirent64 *e) {
  const char *s = e->d_name;
  size_t len = strlen(s);
  if (!sd_array_room((void **)&n->items, &n->cap, n->len, sizeof(*n->items))) return -ENOMEM;
  struct sd_name *item = &n->items[n->len];
  item->name = sd_arena_copy(&n->arena, s, len);
  if (!item->name) return -ENOMEM;
  item->len = (uint16_t)len;
  item->blob = !sd_utf8_valid(s, len);
  item->prefix = prefix_of(s, len);
  item->kind = kind_of(e->d_type);
  item->out = false;
  n->len++;
  return 0;
}

int sd_names_read(struct sd_names *n, int fd) {
  sd_arena_reset(&n->arena);
  n->len = 0;
  while (n->len < PART) {
    ssize_t got = getdents64(fd, n->dents, DENTS_SIZE);
    if (got == 0) return 1;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == ENOENT ? 1 : -errno; /* ENOENT: removed while open (readdir(3)) */
    for (ssize_t at = 0; at < got;) {
      const struct dirent64 *e = (const void *)(n->dents + at);
      at += e->d_reclen;
      if (!is_dots(e->d_name) && add(n, e)) return -ENOMEM;
    }
  }
  return 0;
}

int sd_names_only_new(struct sd_names *n, struct sd_dir_cursor *c) {
  size_t kept = 0;
  for (size_t i = 0; i < n->len; i++) {
    int rc = sd_dir_cursor_add(c, sd_name_hash(n->items[i].name, n->items[i].len));
    if (rc < 0) return rc;
    if (rc) n->items[kept++] = n->items[i];
  }
  n->len = kept;
  return 0;
}

void sd_names_forget(const struct sd_names *n, struct sd_dir_cursor *c) {
  for (size_t i = 0; i < n->len; i++)
    sd_dir_cursor_remove(c, sd_name_hash(n->items[i].name, n->items[i].len));
}

static int compare(const void *pa, const void *pb) {
  const struct sd_name *a = pa, *b = pb;
  if (a->blob == b->blob && a->prefix != b->prefix) return a->prefix < b->prefix ? -1 : 1;
  return sd_name_compare(a->name, a->len, !a->blob, b->name, b->len, !b->blob);
}

/* Most directories are small: this is three times as fast for them as qsort(3), which takes memory
 * and calls through a pointer. */
static void sort_few(struct sd_name *items, size_t n) {
  for (size_t i = 1; i < n; i++) {
    struct sd_name item = items[i];
    size_t to = i;
    for (; to && compare(&item, &items[to - 1]) < 0; to--) items[to] = items[to - 1];
    items[to] = item;
  }
}

void sd_names_sort(struct sd_names *n) {
  size_t kept = 0;
  if (n->len <= FEW) sort_few(n->items, n->len);
  else qsort(n->items, n->len, sizeof(*n->items), compare);
  for (size_t i = 0; i < n->len; i++)
    if (!kept || compare(&n->items[kept - 1], &n->items[i]) != 0) n->items[kept++] = n->items[i];
  n->len = kept;
}

const struct sd_name *sd_names_find(const struct sd_names *n, const char *name) {
  size_t len = strlen(name), low = 0, high = n->len;
  struct sd_name key = {.prefix = prefix_of(name, len),
                        .name = name,
                        .len = (uint16_t)len,
                        .blob = !sd_utf8_valid(name, len)};
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    int c = compare(&n->items[mid], &key);
    if (c == 0) return &n->items[mid];
    if (c < 0) low = mid + 1;
    else high = mid;
  }
  return NULL;
}

void sd_names_drop(struct sd_names *n) {
  size_t kept = 0;
  for (size_t i = 0; i < n->len; i++)
    if (!n->items[i].out) n->items[kept++] = n->items[i];
  n->len = kept;
}
