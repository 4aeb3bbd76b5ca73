/* What is in a directory: names, what statx says of them, and what of that the library lacks. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "engine/cursor.h"
#include "engine/walk_internal.h"

enum {
  ID_BLOCK = 4096,    /* ids a walker takes at a time */
  CANCEL_EVERY = 128, /* entries between two looks at the cancel flag */
  STATX_HOW = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
};

/* ---- entries as the disk has them ---- */

static bool is_own(const struct sd_walk *w, const struct sd_stat *st) {
  if (st->kind != SD_KIND_FILE && st->kind != SD_KIND_SOCKET) return false;
  for (size_t i = 0; i < w->opts.own_len; i++)
    if (st->ino == w->own[i].ino && st->dev == w->own[i].dev) return true;
  return false;
}

static int read_target(struct sd_walker *wk, struct sd_batch *b, int fd, const struct sd_dir *d,
                       struct sd_entry *e) {
  char buf[PATH_MAX];
  ssize_t n = TEMP_FAILURE_RETRY(readlinkat(fd, e->name, buf, sizeof(buf)));
  if (n < 0) { /* half of it is no entry: the next run is to look again */
    memset(&e->st, 0, sizeof(e->st));
    return sd_walker_note_error(wk, b, SD_OP_CREATE_ENTRY, -errno, d, e->name);
  }
  e->target = sd_arena_copy(&b->arena, buf, (size_t)n);
  e->target_len = (uint32_t)n;
  e->target_text = sd_utf8_valid(buf, (size_t)n);
  return e->target ? 0 : -ENOMEM;
}

/* The name is not in the directory: what the library has under it vanishes at the end of a listing
 * in parts. */
static void forget_name(const struct sd_dir *d, const struct sd_name *n) {
  if (d->cursor) sd_dir_cursor_remove(d->cursor, sd_name_hash(n->name, n->len));
}

/* Whether a rule leaves out an entry whose attributes are known: 1, 0 or a negative code. */
static int is_left_out(struct sd_walker *wk, const struct sd_dir *d, const struct sd_name *n,
                       const struct sd_entry *e, struct sd_err *err) {
  uint8_t rule = 0;
  if (wk->filter && sd_filter_entry(wk->filter, n, &e->st, &rule)) return -ENOMEM;
  if (!rule && wk->accept) {
    int rc = wk->accept(wk->accept_ud, d, e, err);
    if (rc < 0) return rc;
    bool dir = e->st.kind == SD_KIND_DIRECTORY;
    if (!rc) rule = dir ? SD_RULE_ACCEPT_DIRECTORY : SD_RULE_ACCEPT_ENTRY;
  }
  if (!rule) return 0;
  wk->skipped[rule]++;
  forget_name(d, n);
  return 1;
}

/* Adds the entry `n` of the directory to the batch, unless it vanished or is none of ours. A code
 * of sd_err_is_exhausted(), or another negative code with *err filled. */
static int add_entry(struct sd_walker *wk, struct sd_batch *b, int fd, const struct sd_dir *d,
                     const struct sd_name *n, struct sd_err *err) {
  struct statx stx;
  if (!SD_ARRAY_ROOM(b, entries)) return -ENOMEM;
  struct sd_entry *e = &b->entries[b->entries_len];
  e->id = 0;
  e->parent_id = d->id;
  e->name = n->name; /* copied when the entry stays in the batch */
  e->name_len = n->len;
  e->name_text = !n->blob;
  e->target = NULL;
  e->target_len = 0;
  e->st_dev = 0;
  e->again = false;
  e->old = NULL;
  e->dir = NULL;
  e->from = NULL;
  e->from_len = 0;
  e->change = SD_CHANGE_INSERT;
  memset(e->uuid, 0, sizeof(e->uuid));
  if (TEMP_FAILURE_RETRY(statx(fd, n->name, STATX_HOW, SD_STATX_MASK, &stx)) != 0) {
    if (errno == ENOENT) { /* vanished since it was listed */
      forget_name(d, n);
      return 0;
    }
    memset(&e->st, 0, sizeof(e->st));
    e->st_dev = d->dev;
    int rc = sd_walker_note_error(wk, b, SD_OP_CREATE_ENTRY, -errno, d, n->name);
    if (rc) return rc;
  } else {
    sd_stat_from_statx(&e->st, &stx);
    e->st_dev = e->st.dev;
    if (is_own(wk->walk, &e->st)) {
      forget_name(d, n);
      return sd_walker_note(wk, b, 0, 0, d, n->name, "library");
    }
    if (wk->filter || wk->accept) {
      int rc = is_left_out(wk, d, n, e, err);
      if (rc) return rc < 0 ? rc : 0;
    }
  }
  if (e->st.kind == SD_KIND_SYMLINK) {
    int rc = read_target(wk, b, fd, d, e);
    if (rc) return rc;
  }
  b->entries_len++;
  return 0;
}

/* 1: stopped by the cancel flag, nothing kept. Else as add_entry(). */
static int stat_names(struct sd_walker *wk, struct sd_batch *b, int fd, const struct sd_dir *d,
                      struct sd_err *err) {
  for (size_t i = 0; i < wk->names.len; i++) {
    if (i % CANCEL_EVERY == CANCEL_EVERY - 1 && sd_walker_canceled(wk)) return 1;
    int rc = add_entry(wk, b, fd, d, &wk->names.items[i], err);
    if (rc) return rc;
  }
  return 0;
}

/* ---- entries as the library has them ---- */

static int64_t new_id(struct sd_walker *wk) {
  if (wk->id_next == wk->id_end) {
    /* From where a pack of names begins. */
    int64_t first = atomic_fetch_add(wk->walk->opts.next_id, ID_BLOCK);
    wk->id_next = (first + SD_PACK_IDS - 1) / SD_PACK_IDS * SD_PACK_IDS;
    wk->id_end = first + ID_BLOCK;
  }
  return wk->id_next++;
}

/* What stays in the batch of a listing: what changed. Sub-directories go on the stack. */
static int push_child(struct sd_walker *wk, struct sd_dir *d, const struct sd_entry *e) {
  struct sd_dir *child = sd_dir_new(d, e->name, e->name_len, e->id);
  if (!child) return -ENOMEM;
  child->dev = e->st_dev;
  child->device = e->st.dev;
  child->ino = e->st.ino;
  child->known = e->change != SD_CHANGE_INSERT;
  child->mount = (e->st.flags & SD_ENTRY_MOUNT) || e->st_dev != d->dev;
  if (wk->filter) {
    child->scope = sd_scope_get(d->scope);
    child->scoped = true;
  }
  return sd_walker_push(wk, child);
}

static int add_new_dir(struct sd_walker *wk, struct sd_batch *b, const struct sd_dir *child) {
  if (!SD_ARRAY_ROOM(b, dirs)) return -ENOMEM;
  wk->path.len = 0;
  if (sd_dir_path(child, child->segment_len, &wk->path)) return -ENOMEM;
  struct sd_new_dir *nd = &b->dirs[b->dirs_len];
  nd->id = child->id;
  nd->anchor = child->anchor;
  nd->segment_len = (uint32_t)wk->path.len;
  nd->segment = sd_arena_copy(&b->arena, wk->path.data, wk->path.len);
  if (!nd->segment) return -ENOMEM;
  b->dirs_len++;
  return 0;
}

/* What a moved one has below it is carried by the store: see store_place.c. */
static int settle_entry(struct sd_walker *wk, struct sd_listing *l, struct sd_entry *e) {
  struct sd_batch *b = l->batch;
  if (e->change == SD_CHANGE_INSERT) {
    e->id = new_id(wk);
    sd_uuid_v7(&wk->uuids, wk->now_ms, e->uuid);
    sd_totals_add(&l->delta->delta, &e->st, 1);
    if (sd_gather_add(&wk->gather, b, e)) return -ENOMEM;
  } else if (e->change == SD_CHANGE_MOVE) {
    sd_totals_add(&l->delta->delta, &e->st, 1);
  } else if (e->change != SD_CHANGE_NONE) {
    sd_totals_add(&l->delta->delta, &e->st, 1);
    sd_totals_add(&l->delta->delta, e->old, -1);
  }
  sd_totals_add(&b->seen, &e->st, 1);
  if (e->st.kind != SD_KIND_DIRECTORY) return 0;
  int rc = push_child(wk, l->dir, e);
  if (rc || e->change != SD_CHANGE_INSERT) return rc;
  return add_new_dir(wk, b, wk->stack[wk->stack_len - 1]);
}

/* Says what the library calls the devices. True: there are others than that of the directory. */
static bool name_devices(struct sd_listing *l) {
  bool others = false;
  for (size_t i = 0; i < l->count; i++) {
    struct sd_entry *e = &l->entries[i];
    if (!e->st.kind) l->dir->partial = true;
    if (e->st_dev == l->dir->dev) e->st.dev = l->dir->device;
    else others = true;
  }
  return others;
}

static int settle(struct sd_walker *wk, struct sd_listing *l, struct sd_err *err) {
  struct sd_batch *b = l->batch;
  size_t first = (size_t)(l->entries - b->entries), kept = first;
  bool others = name_devices(l);
  if (wk->diff && (l->dir->known || wk->walk->opts.moves || others)) {
    int rc = wk->diff(wk->ud, l, err);
    if (rc) return rc;
  }
  wk->now_ms = (uint64_t)(sd_clock_wall() / SD_NS_PER_MS);
  for (size_t i = first; i < first + l->count; i++) {
    struct sd_entry *e = &b->entries[i];
    if (e->st.kind == 0) continue;
    if (settle_entry(wk, l, e)) return sd_err_nomem(err);
    if (e->change != SD_CHANGE_NONE) {
      sd_batch_count(b, e);
      if (!(e->name = sd_arena_copy(&b->arena, e->name, e->name_len))) return sd_err_nomem(err);
      if (kept != i) b->entries[kept] = *e;
      kept++;
    }
  }
  b->entries_len = kept;
  return 0;
}

/* ---- one directory, or a part of it ---- */

/* Reads names into wk->names until there are enough for a part; 1 at the end of the directory. */
static int read_names(struct sd_walker *wk, struct sd_dir *d, int fd) {
  int rc = sd_names_read(&wk->names, fd);
  if (rc < 0) return rc;
  bool end = rc == 1;
  if (!end && !d->cursor) {
    d->cursor = sd_dir_cursor_new(fd, &wk->walk->root->budget);
    if (!d->cursor) return -ENOMEM;
  }
  if (d->cursor && (rc = sd_names_only_new(&wk->names, d->cursor))) return rc;
  sd_names_sort(&wk->names);
  return end;
}

static struct sd_dir_delta *add_delta(struct sd_batch *b, const struct sd_dir *d) {
  if (!SD_ARRAY_ROOM(b, deltas)) return NULL;
  struct sd_dir_delta *delta = &b->deltas[b->deltas_len++];
  /* A known one may be moved by a batch that comes before this one. */
  *delta = (struct sd_dir_delta){.id = d->id, .parent_id = d->known ? 0 : d->parent_id};
  return delta;
}

/* What says nothing of a known directory is not sent: a rescan finds most of them so. */
static void drop_idle_delta(struct sd_batch *b, const struct sd_dir *d) {
  const struct sd_dir_delta *last = &b->deltas[b->deltas_len - 1];
  if (d->known && !last->listed && sd_totals_is_zero(&last->delta)) b->deltas_len--;
}

/* Lets the rules look at the names. 1: they leave the whole directory empty. */
static int sift(struct sd_walker *wk, struct sd_dir *d, int fd, struct sd_batch *b, bool all) {
  struct sd_scope_errors errors;
  uint8_t refused;
  int rc = sd_filter_enter(wk->filter, d, fd, all ? &wk->names : NULL, &errors, &refused);
  for (size_t i = 0; !rc && i < errors.len; i++)
    rc = sd_walker_note(wk, b, SD_OP_READ_RULES, errors.items[i].code, d, errors.items[i].file,
                        errors.items[i].reason);
  if (!rc && !refused) rc = sd_filter_names(wk->filter, &wk->names, d->cursor, wk->skipped);
  if (rc || !refused) return rc;
  wk->skipped[refused] = 1;
  wk->names.len = 0;
  return 1;
}

/* In the batch when the directory is read to its end, as its errors are. */
static void count_skipped(const struct sd_walker *wk, uint64_t *counts) {
  for (size_t i = 0; i < SD_RULE_COUNT; i++) counts[i] += wk->skipped[i];
}

/* Tells whoever asked where these entries are. */
static int put_paths(struct sd_walker *wk, const struct sd_listing *l, size_t vanished) {
  struct sd_batch *b = l->batch;
  size_t first = (size_t)(l->entries - b->entries);
  wk->path.len = 0;
  if (b->entries_len == first && b->vanished_len == vanished) return 0;
  if (sd_dir_path(l->dir, SIZE_MAX, &wk->path)) return -ENOMEM;
  const char *dir =
      sd_arena_copy(&b->arena, wk->path.data ? wk->path.data : (uint8_t *)"", wk->path.len);
  if (!dir) return -ENOMEM;
  for (size_t i = first; i < b->entries_len; i++) b->entries[i].dir = dir;
  for (size_t i = vanished; i < b->vanished_len; i++) b->vanished[i].dir = dir;
  return 0;
}

int sd_walker_list(struct sd_walker *wk, struct sd_dir *d, int fd, struct sd_batch *b,
                   struct sd_err *err) {
  off_t start = d->cursor ? lseek(fd, 0, SEEK_CUR) : 0;
  bool whole = !d->cursor;
  int end = read_names(wk, d, fd), rc = 0;
  if (end < 0 && (rc = sd_walker_cannot_read(wk, d, b, end))) return sd_err_exhausted(err, rc);
  if (end < 0) return 0;
  memset(wk->skipped, 0, sizeof(wk->skipped));
  if (wk->filter && (rc = sift(wk, d, fd, b, whole && end)) < 0) return sd_err_exhausted(err, rc);
  bool refused = rc; /* nothing is in it, whatever else there is to read */
  if (refused) {
    whole = true;
    end = 1;
  }
  size_t first = b->entries_len, errors = b->errors_len, skips = b->skips_len;
  rc = stat_names(wk, b, fd, d, err);
  if (sd_err_is_exhausted(rc)) return sd_err_exhausted(err, rc);
  if (rc < 0) return rc;
  if (rc == 1) {
    b->entries_len = first;
    b->errors_len = errors;
    b->skips_len = skips;
    if (d->cursor) sd_names_forget(&wk->names, d->cursor);
    lseek(fd, start, SEEK_SET);
    return 2;
  }
  struct sd_listing l = {.dir = d, .fd = fd, .batch = b, .whole = whole && end, .last = end};
  l.filter = wk->filter;
  l.refused = refused;
  l.count = b->entries_len - first;
  l.entries = b->entries ? b->entries + first : NULL;
  if (!(l.delta = add_delta(b, d))) return sd_err_nomem(err);
  l.delta->listed = end && !d->known;
  if (wk->filter || wk->accept) count_skipped(wk, end ? b->skipped : d->cursor->skipped);
  size_t vanished = b->vanished_len;
  if ((rc = settle(wk, &l, err))) return rc;
  drop_idle_delta(b, d);
  if (wk->walk->opts.paths && put_paths(wk, &l, vanished)) return sd_err_nomem(err);
  if (end && d->partial && sd_batch_readable(b, d->id, SD_UNREADABLE)) return sd_err_nomem(err);
  if (d->cursor) d->cursor->pos = lseek(fd, 0, SEEK_CUR);
  return !end;
}

int sd_walker_refuse(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b, uint8_t rule,
                     struct sd_err *err) {
  struct sd_listing l = {.dir = d, .batch = b, .refused = true, .whole = true, .last = true};
  if (sd_walker_note(wk, b, 0, 0, d, NULL, sd_rule_name(rule))) return sd_err_nomem(err);
  if (!d->known) return 1;
  if (!(l.delta = add_delta(b, d))) return sd_err_nomem(err);
  l.entries = b->entries ? b->entries + b->entries_len : NULL;
  int rc = settle(wk, &l, err);
  l.delta->listed = false; /* it was not read */
  return rc ? rc : 1;
}
