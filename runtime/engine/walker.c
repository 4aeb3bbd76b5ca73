/* One walker: its stack of directories, and the steps that it takes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "engine/cursor.h"
#include "engine/group.h"
#include "engine/walk_internal.h"

enum { LOOKS_A_STEP = 4 }; /* batches' worth of entries that a step looks at, at most */

int sd_walker_open(struct sd_walk *w, sd_diff_fn diff, void *ud, struct sd_walker **out,
                   struct sd_err *err) {
  struct sd_walker *wk = calloc(1, sizeof(*wk));
  if (!wk || sd_names_init(&wk->names)) {
    free(wk);
    return sd_err_nomem(err);
  }
  if (w->rules.rules && sd_filter_open(&w->rules, &wk->filter)) {
    sd_walker_close(wk);
    return sd_err_nomem(err);
  }
  wk->walk = w;
  wk->diff = diff;
  wk->ud = ud;
  *out = wk;
  return 0;
}

void sd_walker_close(struct sd_walker *wk) {
  if (!wk) return;
  for (size_t i = 0; i < wk->stack_len; i++) sd_dir_put(wk->stack[i]);
  free(wk->stack);
  sd_dir_put(wk->last);
  sd_filter_close(wk->filter);
  sd_names_fini(&wk->names);
  sd_buf_fini(&wk->path);
  sd_gather_fini(&wk->gather);
  free(wk);
}

void sd_walker_accept(struct sd_walker *wk, sd_accept_fn accept, void *ud) {
  wk->accept = accept;
  wk->accept_ud = ud;
}

int sd_walker_push(struct sd_walker *wk, struct sd_dir *d) {
  if (!sd_array_room((void **)&wk->stack, &wk->stack_cap, wk->stack_len, sizeof(*wk->stack))) {
    sd_dir_put(d);
    return -ENOMEM;
  }
  wk->stack[wk->stack_len++] = d;
  return 0;
}

/* ---- notes ---- */

int sd_walker_note(struct sd_walker *wk, struct sd_batch *b, uint8_t op, int code,
                   const struct sd_dir *d, const char *name, const char *reason) {
  wk->path.len = 0;
  if (sd_dir_path(d, SIZE_MAX, &wk->path)) return -ENOMEM;
  if (name && wk->path.len && sd_buf_put(&wk->path, "/", 1)) return -ENOMEM;
  if (name && sd_buf_put(&wk->path, name, strlen(name))) return -ENOMEM;
  const char *path = wk->path.data ? (const char *)wk->path.data : "";
  return sd_batch_note(b, op, code, path, wk->path.len, reason);
}

int sd_walker_note_error(struct sd_walker *wk, struct sd_batch *b, uint8_t op, int code,
                         const struct sd_dir *d, const char *name) {
  if (sd_err_is_exhausted(code)) return code;
  return sd_walker_note(wk, b, op, code, d, name, sd_err_text(code));
}

int sd_walker_cannot_read(struct sd_walker *wk, const struct sd_dir *d, struct sd_batch *b,
                          int code) {
  int rc = sd_walker_note_error(wk, b, SD_OP_READ_DIR, code, d, NULL);
  return rc ? rc : sd_batch_readable(b, d->id, SD_UNREADABLE);
}

/* ---- one directory ---- */

static int enter_root(struct sd_walker *wk, struct sd_dir *d, int fd, struct sd_batch *b,
                      struct sd_err *err) {
  sd_root_fn fn = wk->walk->opts.root_fn;
  return fn && wk->diff ? fn(wk->ud, d, fd, &wk->walk->root_stat, b, err) : 0;
}

/* As sd_walker_list(), for the directory that was on top of the stack. */
static int list_dir(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b,
                    struct sd_err *err) {
  int fd = -1;
  bool fresh = !d->cursor || d->cursor->fd < 0;
  size_t above = wk->stack_len;
  if (!fresh) fd = d->cursor->fd;
  else {
    int rc = sd_walker_enter(wk, d, b, &fd, err);
    if (rc) return rc < 0 ? rc : 0;
    if (d->cursor && !sd_dir_cursor_is(d->cursor, fd)) {
      close(fd);
      return sd_walker_note(wk, b, SD_OP_READ_DIR, SD_ECHANGED, d, NULL,
                            "replaced while it was read")
                 ? sd_err_nomem(err)
                 : 0;
    }
    if (d->cursor) lseek(fd, d->cursor->pos, SEEK_SET);
  }
  int rc = 0;
  if (fresh && !d->parent && (rc = enter_root(wk, d, fd, b, err))) {
    close(fd);
    return rc < 0 ? rc : 0;
  }
  rc = sd_walker_list(wk, d, fd, b, err);
  bool parent = wk->stack_len > above || (d->cursor && d->cursor->children);
  bool keep = rc == 0 ? parent : rc == 2 && !d->cursor; /* else the cursor is what goes on */
  if (!fresh && keep) fd = sd_dir_cursor_take_fd(d->cursor);
  if (keep) sd_dir_keep(d, fd, &wk->walk->root->budget);
  else if (fresh) close(fd);
  return rc;
}

/* ---- a directory that is read in parts: what it leaves comes with its last part ---- */

static int hold_children(struct sd_walker *wk, struct sd_dir_cursor *c, size_t above) {
  int rc = 0;
  for (size_t i = above; !rc && i < wk->stack_len; i++)
    rc = sd_group_add(&c->children, wk->stack[i]);
  while (wk->stack_len > above) sd_dir_put(wk->stack[--wk->stack_len]);
  return rc;
}

static int push_children(struct sd_walker *wk, struct sd_dir *d) {
  struct sd_group *g;
  while ((g = sd_group_take(&d->cursor->children))) {
    struct sd_dir *all = sd_group_dir(d, g);
    if (!all || sd_walker_push(wk, all)) return -ENOMEM;
  }
  return 0;
}

/* The group on top of the stack, already off it: its directories take its place. */
static int unpack(struct sd_walker *wk, struct sd_dir *all) {
  struct sd_group_item item;
  size_t at = 0;
  int rc = 0;
  while (!rc && sd_group_next(all->group, &at, &item)) {
    struct sd_dir *child = sd_dir_new(all->parent, item.name, item.name_len, item.id);
    if (!child) return -ENOMEM;
    child->dev = item.mount ? 0 : all->parent->dev;
    child->device = item.device;
    child->ino = item.ino;
    child->checked = all->parent->checked;
    child->known = item.known;
    child->mount = item.mount;
    if (all->parent->entered) { /* else it came from a checkpoint */
      child->scope = sd_scope_get(all->parent->scope);
      child->scoped = true;
    }
    rc = sd_walker_push(wk, child);
  }
  return rc;
}

/* ---- a step ---- */

static int end_lease(struct sd_batch *b, struct sd_dir *d) {
  if (!d->lease) return 0;
  if (!SD_ARRAY_ROOM(b, done)) return -ENOMEM;
  b->done[b->done_len++] = d->lease;
  d->lease = NULL;
  return 0;
}

static int finish_dir(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b) {
  if (d->cursor && (push_children(wk, d) || sd_dir_cursor_release(d->cursor, b))) return -ENOMEM;
  sd_dir_cursor_free(d->cursor);
  d->cursor = NULL;
  b->listed++;
  sd_dir_listed(d);
  sd_dir_put(wk->last);
  wk->last = sd_dir_get(d);
  return end_lease(b, d);
}

static int note_last_path(struct sd_walker *wk, struct sd_batch *b) {
  wk->path.len = 0;
  if (!wk->last) return 0;
  if (sd_dir_path(wk->last, SD_DIR_SEGMENT_MAX, &wk->path)) return -ENOMEM;
  sd_dir_put(wk->last);
  wk->last = NULL;
  b->last_path = sd_arena_copy(&b->arena, wk->path.data ? (char *)wk->path.data : "", wk->path.len);
  b->last_path_len = (uint32_t)wk->path.len;
  return b->last_path ? 0 : -ENOMEM;
}

static int give_back(struct sd_walker *wk, struct sd_batch *b) {
  for (size_t i = 0; i < wk->stack_len; i++) {
    if (!SD_ARRAY_ROOM(b, born)) return -ENOMEM;
    b->born[b->born_len++] = wk->stack[i];
    wk->stack[i] = NULL;
  }
  wk->stack_len = 0;
  return 0;
}

static int take_stack(struct sd_walker *wk, struct sd_dir **dirs, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (!sd_array_room((void **)&wk->stack, &wk->stack_cap, wk->stack_len, sizeof(*wk->stack)))
      return -ENOMEM;
    wk->stack[wk->stack_len++] = dirs[i];
  }
  return 0;
}

/* The directory that was on top of the stack. 0: it is finished; 1: it goes on. */
static int step_dir(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b,
                    struct sd_err *err) {
  size_t above = wk->stack_len, errors = b->errors_len, skips = b->skips_len;
  int rc = list_dir(wk, d, b, err);
  if (rc < 0) return rc;
  int failed = d->cursor ? hold_children(wk, d->cursor, above) : 0;
  if (!failed && rc && d->cursor) failed = sd_dir_cursor_hold(d->cursor, b, errors, skips);
  if (!failed && !rc) failed = finish_dir(wk, d, b);
  return failed ? sd_err_nomem(err) : rc != 0;
}

/* One directory from the stack; it stays there when it is not finished. */
static int step_one(struct sd_walker *wk, struct sd_batch *b, struct sd_err *err) {
  struct sd_dir *d = wk->stack[--wk->stack_len];
  int rc = 0;
  if (!d->group) rc = step_dir(wk, d, b, err);
  else if (unpack(wk, d) || end_lease(b, d)) rc = sd_err_nomem(err);
  if (rc == 1) {
    wk->stack[wk->stack_len++] = d; /* where it was: its children are in its cursor */
    return 0;
  }
  sd_dir_put(d);
  return rc;
}

/* Where nothing differs a batch stays empty: then it is the looking that ends the step. Each
 * directory has a place in the batch, also where nothing is in it. */
static bool is_full(const struct sd_walker *wk, const struct sd_batch *b) {
  const struct sd_totals *s = &b->seen;
  size_t looked_at = (size_t)(s->files + s->dirs + s->symlinks), batch = wk->walk->opts.batch;
  return b->entries_len >= batch || b->listed >= batch || looked_at >= LOOKS_A_STEP * batch;
}

int sd_walker_step(struct sd_walker *wk, struct sd_dir **dirs, size_t n, struct sd_batch *b,
                   struct sd_err *err) {
  int rc = take_stack(wk, dirs, n) ? sd_err_nomem(err) : 0;
  sd_gather_begin(&wk->gather);
  while (!rc && wk->stack_len && !sd_walker_canceled(wk) && !is_full(wk, b))
    rc = step_one(wk, b, err);
  if (!rc && (give_back(wk, b) || note_last_path(wk, b))) rc = sd_err_nomem(err);
  while (wk->stack_len) sd_dir_put(wk->stack[--wk->stack_len]);
  return rc;
}
