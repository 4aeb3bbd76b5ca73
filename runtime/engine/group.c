#include "engine/group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An item: u64 id, u64 inode, u64 device, u16 length of the name, u8 flags, the name;
 * little-endian. Stored. */
enum { LEN = 24, FLAGS = 26, ITEM_HEAD = 27, KNOWN = 1, MOUNT = 2 };

/* One or two hundred names: what a step unpacks at once, and one row in the library. */
enum { GROUP_SIZE = 4096 };

struct sd_group {
  struct sd_group *next;
  size_t len;
  uint8_t bytes[];
};

static void put_item(struct sd_group *g, const struct sd_dir *child) {
  uint8_t *p = g->bytes + g->len;
  const uint64_t numbers[] = {(uint64_t)child->id, child->ino, child->device};
  for (int i = 0; i < LEN; i++) p[i] = (uint8_t)(numbers[i / 8] >> 8 * (i % 8));
  p[LEN] = (uint8_t)child->name_len;
  p[LEN + 1] = (uint8_t)(child->name_len >> 8);
  p[FLAGS] = (uint8_t)((child->known ? KNOWN : 0) | (child->mount ? MOUNT : 0));
  memcpy(p + ITEM_HEAD, child->name, child->name_len);
  g->len += ITEM_HEAD + child->name_len;
}

int sd_group_add(struct sd_group **list, const struct sd_dir *child) {
  size_t need = ITEM_HEAD + child->name_len;
  if (!*list || (*list)->len + need > GROUP_SIZE) {
    struct sd_group *g = malloc(sizeof(*g) + (need > GROUP_SIZE ? need : GROUP_SIZE));
    if (!g) return -ENOMEM;
    g->next = *list;
    g->len = 0;
    *list = g;
  }
  put_item(*list, child);
  return 0;
}

struct sd_group *sd_group_take(struct sd_group **list) {
  struct sd_group *g = *list;
  if (!g) return NULL;
  *list = g->next;
  g->next = NULL;
  struct sd_group *fitting = realloc(g, sizeof(*g) + g->len);
  return fitting ? fitting : g;
}

void sd_group_free(struct sd_group *list) {
  while (list) {
    struct sd_group *next = list->next;
    free(list);
    list = next;
  }
}

struct sd_dir *sd_group_dir(struct sd_dir *parent, struct sd_group *g) {
  struct sd_dir *all = sd_dir_new(parent, "", 0, parent->id);
  if (all) all->group = g;
  else sd_group_free(g);
  return all;
}

bool sd_group_next(const struct sd_group *g, size_t *at, struct sd_group_item *item) {
  if (*at >= g->len) return false;
  const uint8_t *p = g->bytes + *at;
  item->id = (int64_t)sd_get_u64(p);
  item->ino = sd_get_u64(p + 8);
  item->device = sd_get_u64(p + 16);
  item->name_len = (uint16_t)(p[LEN] | p[LEN + 1] << 8);
  item->known = p[FLAGS] & KNOWN;
  item->mount = p[FLAGS] & MOUNT;
  item->name = (const char *)p + ITEM_HEAD;
  *at += ITEM_HEAD + item->name_len;
  return true;
}

int sd_group_encode(const struct sd_group *g, struct sd_buf *out) {
  return sd_buf_put(out, g->bytes, g->len);
}

static bool is_sound(const struct sd_group_item *i) {
  return i->id > 0 && i->name_len && !memchr(i->name, 0, i->name_len) &&
         !memchr(i->name, '/', i->name_len);
}

/* Whether the items fill the bytes exactly; and nobody remembers what may have changed since. */
static bool restore_items(struct sd_group *g) {
  struct sd_group_item item;
  size_t at = 0;
  while (at < g->len) {
    uint8_t *p = g->bytes + at;
    if (g->len - at < ITEM_HEAD) return false;
    if (g->len - at - ITEM_HEAD < (size_t)(p[LEN] | p[LEN + 1] << 8)) return false;
    p[FLAGS] = KNOWN | MOUNT;
    if (!sd_group_next(g, &at, &item) || !is_sound(&item)) return false;
  }
  return true;
}

struct sd_group *sd_group_decode(const uint8_t *p, size_t len) {
  struct sd_group *g = malloc(sizeof(*g) + len);
  if (!g) return NULL;
  g->next = NULL;
  g->len = len;
  memcpy(g->bytes, p, len);
  if (restore_items(g)) return g;
  free(g);
  return NULL;
}
