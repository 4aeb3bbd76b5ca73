#include "engine/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fds.h"
#include "engine/walk_internal.h"

enum { DEFAULT_BATCH = 1000 };

static int fd_budget(int asked) {
  if (asked > 0) return asked;
  /* What is to be opened yet, by all threads, and by other jobs, has the greater part. */
  int left = sd_fds_left();
  return left < 48 ? 2 : left / 4;
}

static int open_root(struct sd_walk *w, struct sd_err *err) {
  struct statx stx;
  struct sd_dir *root = sd_dir_new(NULL, "", 0, w->opts.root_id);
  if (!root) return sd_err_nomem(err);
  w->root = root;
  root->known = true;
  atomic_init(&root->budget, fd_budget(w->opts.fds));
  root->fd = TEMP_FAILURE_RETRY(
      open(w->opts.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (root->fd < 0) return sd_err_os(err, "open", w->opts.root);
  if (TEMP_FAILURE_RETRY(statx(root->fd, "", AT_EMPTY_PATH, SD_STATX_MASK, &stx)) != 0)
    return sd_err_os(err, "statx", w->opts.root);
  sd_stat_from_statx(&w->root_stat, &stx);
  root->dev = root->device = w->root_stat.dev;
  return 0;
}

int sd_walk_open(const struct sd_walk_opts *opts, struct sd_walk **out, struct sd_err *err) {
  int rc;
  struct sd_walk *w = calloc(1, sizeof(*w));
  if (!w) return sd_err_nomem(err);
  w->opts = *opts;
  if (!w->opts.batch) w->opts.batch = DEFAULT_BATCH;
  w->own = calloc(opts->own_len + 1, sizeof(*w->own));
  if (!w->own) {
    rc = sd_err_nomem(err);
    goto fail;
  }
  if (opts->own_len) memcpy(w->own, opts->own, opts->own_len * sizeof(*w->own));
  if ((rc = open_root(w, err))) goto fail;
  if (opts->rules) {
    w->rules = (struct sd_filter_tree){
        .rules = opts->rules, .own = w->own, .own_len = opts->own_len, .root = w->root->fd};
    if ((rc = sd_filter_tree_open(&w->rules, opts->root))) {
      sd_err_exhausted(err, rc);
      goto fail;
    }
  }
  *out = w;
  return 0;
fail:
  sd_walk_close(w);
  return rc;
}

void sd_walk_close(struct sd_walk *w) {
  if (!w) return;
  sd_filter_tree_close(&w->rules);
  sd_dir_put(w->root);
  free(w->own);
  free(w);
}

struct sd_dir *sd_walk_root(struct sd_walk *w) {
  return w->root;
}

const struct sd_stat *sd_walk_root_stat(const struct sd_walk *w) {
  return &w->root_stat;
}
