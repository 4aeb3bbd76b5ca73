/* Directories that are to be walked, as a checkpoint has them. */
#include <string.h>

#include "engine/group.h"
#include "engine/walk.h"

/* A directory: u64 id, u64 anchor, u64 id of the one it is in, u64 inode, u64 device, u32 length of
 * the segment, the path. A group: the same of the directory that it is in, with ~id, u32 length of
 * the path before it, and the items behind it. */
enum { SEGMENT = 40, HEAD = 44, GROUP_HEAD = 48 };

static int encode_head(const struct sd_dir *d, bool group, struct sd_buf *out) {
  int rc = sd_buf_put_u64(out, (uint64_t)(group ? ~d->id : d->id));
  if (!rc) rc = sd_buf_put_u64(out, (uint64_t)d->anchor);
  if (!rc) rc = sd_buf_put_u64(out, (uint64_t)d->parent_id);
  if (!rc) rc = sd_buf_put_u64(out, d->ino);
  if (!rc) rc = sd_buf_put_u64(out, d->device);
  return rc ? rc : sd_buf_put_u32(out, d->segment_len);
}

static int encode_group(const struct sd_dir *all, struct sd_buf *out) {
  struct sd_buf path = SD_BUF_INIT;
  int rc = sd_dir_path(all->parent, SIZE_MAX, &path);
  if (!rc) rc = encode_head(all->parent, true, out);
  if (!rc) rc = sd_buf_put_u32(out, (uint32_t)path.len);
  if (!rc && path.len) rc = sd_buf_put(out, path.data, path.len);
  if (!rc) rc = sd_group_encode(all->group, out);
  sd_buf_fini(&path);
  return rc;
}

int sd_walk_encode(const struct sd_dir *d, struct sd_buf *out) {
  if (d->group) return encode_group(d, out);
  int rc = encode_head(d, false, out);
  return rc ? rc : sd_dir_path(d, SIZE_MAX, out);
}

static struct sd_dir *restore_dir(struct sd_walk *w, const uint8_t *head, const uint8_t *path,
                                  size_t len) {
  uint32_t segment_len = sd_get_u32(head + SEGMENT);
  int64_t id = (int64_t)sd_get_u64(head);
  if (segment_len > len || segment_len > SD_DIR_SEGMENT_MAX || memchr(path, 0, len)) return NULL;
  if (!len) return sd_dir_get(sd_walk_root(w));
  struct sd_dir *d = sd_dir_new(sd_walk_root(w), (const char *)path, len, id < 0 ? ~id : id);
  if (!d) return NULL;
  d->anchor = (int64_t)sd_get_u64(head + 8);
  d->segment_len = segment_len;
  d->parent_id = (int64_t)sd_get_u64(head + 16);
  d->ino = sd_get_u64(head + 24);
  d->device = sd_get_u64(head + 32);
  d->known = true;
  d->mount = true; /* nobody remembers: look when it is opened */
  d->checked = false;
  return d;
}

static struct sd_dir *restore_group(struct sd_walk *w, const uint8_t *p, size_t len) {
  size_t path_len = len < GROUP_HEAD ? 0 : sd_get_u32(p + HEAD);
  if (len < GROUP_HEAD || path_len > len - GROUP_HEAD) return NULL;
  struct sd_dir *parent = restore_dir(w, p, p + GROUP_HEAD, path_len);
  struct sd_group *g =
      parent ? sd_group_decode(p + GROUP_HEAD + path_len, len - GROUP_HEAD - path_len) : NULL;
  struct sd_dir *all = g ? sd_group_dir(parent, g) : NULL;
  sd_dir_put(parent);
  return all;
}

struct sd_dir *sd_walk_restore(struct sd_walk *w, const void *data, size_t len) {
  const uint8_t *p = data;
  if (len < HEAD || len - HEAD > UINT32_MAX) return NULL;
  return (int64_t)sd_get_u64(p) < 0 ? restore_group(w, p, len)
                                    : restore_dir(w, p, p + HEAD, len - HEAD);
}
