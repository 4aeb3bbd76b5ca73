/* The way into a directory, and what stands in it: a mount, another directory, nothing at all. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "engine/device.h"
#include "engine/fstype.h"
#include "engine/walk_internal.h"

/* Tells whoever asked where the directory that was noted last was. */
static int put_gone_path(struct sd_walker *wk, const struct sd_dir *d, struct sd_batch *b) {
  struct sd_gone *g = &b->vanished[b->vanished_len - 1];
  wk->path.len = 0;
  if (sd_dir_path(d, SIZE_MAX, &wk->path)) return -ENOMEM;
  size_t len = wk->path.len - g->name_len;
  g->dir = sd_arena_copy(&b->arena, wk->path.data, len ? len - 1 : 0);
  return g->dir ? 0 : -ENOMEM;
}

/* Whether the directory is missing where its file system is, `above` being the device of the one
 * that it should be in. Else that was unmounted since it was listed: the next run says what there
 * is. Of one from a checkpoint only the library's name of the device is known. */
static bool is_missing_on(uint64_t above, const struct sd_dir *d) {
  return above == (d->dev ? d->dev : sd_device_first(d->device));
}

/* The directory is not there: it has vanished, or something above it. 0, or a code of
 * sd_err_is_exhausted(). */
static int note_gone(struct sd_walker *wk, const struct sd_dir *d, struct sd_batch *b) {
  const struct sd_dir *top = d;
  uint64_t above;
  size_t len;
  int rc = 0;
  while (top->parent && !(rc = sd_dir_is_gone(top, &above))) top = top->parent;
  if (rc < 0) return rc;
  if (!top->parent) return sd_walker_cannot_read(wk, d, b, -ENOENT);
  if (!is_missing_on(above, top)) return sd_walker_cannot_read(wk, top, b, -ENODEV);
  struct sd_gone gone = {.id = top->id, .parent_id = top->parent_id};
  gone.name = sd_dir_name(top, &len);
  gone.name_len = (uint16_t)len;
  gone.name_text = sd_utf8_valid(gone.name, len);
  rc = sd_batch_gone(b, &gone);
  return rc || !wk->walk->opts.paths ? rc : put_gone_path(wk, top, b);
}

/* Of a directory that came from a checkpoint: what its device is called by now, and whether it is
 * still the one that was listed. */
static bool is_another(struct sd_dir *d, int fd) {
  struct stat st;
  if ((d->checked && d->dev) || TEMP_FAILURE_RETRY(fstat(fd, &st)) != 0) return false;
  d->dev = st.st_dev;
  return !d->checked && st.st_ino != d->ino;
}

int sd_walker_enter(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b, int *fd,
                    struct sd_err *err) {
  struct sd_err why;
  const struct sd_stat *root = &wk->walk->root_stat;
  struct sd_filter *filter = d->mount ? wk->filter : NULL;
  uint8_t rule = filter ? sd_filter_mount(filter, d, -1, root->dev) : 0;
  if (rule) return sd_walker_refuse(wk, d, b, rule, err);
  int rc = sd_dir_open(d, fd, &why);
  if (rc) {
    rc = rc == -ENOENT && d->parent ? note_gone(wk, d, b) : sd_walker_cannot_read(wk, d, b, rc);
    return rc ? sd_err_exhausted(err, rc) : 1;
  }
  if (is_another(d, *fd)) {
    close(*fd);
    rc = sd_walker_note(wk, b, SD_OP_READ_DIR, SD_ECHANGED, d, NULL,
                        "another directory has taken its place");
    if (!rc) rc = sd_batch_readable(b, d->id, SD_UNREADABLE);
    return rc ? sd_err_nomem(err) : 1;
  }
  const char *skip = NULL;
  if (d->mount && sd_fs_is_pseudo(*fd) && !sd_fs_is_pseudo(wk->walk->root->fd)) skip = "pseudo";
  rc = d->mount && !skip ? sd_fs_is_loop(*fd, root->dev, root->ino) : 0;
  if (rc < 0) {
    close(*fd);
    return sd_err_exhausted(err, rc);
  }
  if (rc) skip = "loop";
  if (!skip && filter) rule = sd_filter_mount(filter, d, *fd, root->dev);
  if (!skip && !rule) return 0;
  close(*fd);
  if (rule) return sd_walker_refuse(wk, d, b, rule, err);
  return sd_walker_note(wk, b, 0, 0, d, NULL, skip) ? sd_err_nomem(err) : 1;
}
