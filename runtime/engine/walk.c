#include "engine/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "engine/cursor.h"
#include "engine/device.h"
#include "engine/filter.h"
#include "engine/fstype.h"
#include "engine/gather.h"
#include "engine/group.h"
#include "engine/names.h"

enum {
  DEFAULT_BATCH = 1000,
  ID_BLOCK = 4096,    /* ids a walker takes at a time */
  LOOKS_A_STEP = 4,   /* batches' worth of entries that a step looks at, at most */
  CANCEL_EVERY = 128, /* entries between two looks at the cancel flag */
  STATX_HOW = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
};

struct sd_walk {
  struct sd_walk_opts opts;
  struct sd_file_id *own;
  struct sd_dir *root;
  struct sd_stat root_stat;
  struct sd_filter_tree rules; /* rules.rules is NULL where there are none */
};

struct sd_walker {
  struct sd_walk *walk;
  sd_diff_fn diff;
  void *ud;
  sd_accept_fn accept; /* may be NULL */
  void *accept_ud;
  struct sd_names names; /* one listing's names; reused */
  struct sd_uuid_gen uuids;
  uint64_t now_ms; /* wall clock at the start of the listing */
  int64_t id_next, id_end;
  struct sd_gather gather; /* of new names */
  struct sd_buf path;      /* scratch */
  struct sd_dir **stack;
  size_t stack_len, stack_cap;
  struct sd_dir *last;             /* that the step has finished; NULL: none */
  struct sd_filter *filter;        /* NULL: nothing is left out */
  uint64_t skipped[SD_RULE_COUNT]; /* of the part in hand */
};

/* ---- the walk ---- */

static int fd_budget(int asked) {
  struct rlimit lim;
  if (asked > 0) return asked;
  if (getrlimit(RLIMIT_NOFILE, &lim) != 0) return 16;
  /* Below about a hundred descriptors the library, the loop and the threads need nearly all. */
  rlim_t n = lim.rlim_cur < 64 ? 2 : lim.rlim_cur / 4;
  return n > 4096 ? 4096 : (int)n;
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
    if (sd_filter_tree_open(&w->rules, opts->root)) {
      rc = sd_err_nomem(err);
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

/* ---- a walker ---- */

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

static bool canceled(const struct sd_walker *wk) {
  const atomic_bool *c = wk->walk->opts.cancel;
  return c && atomic_load_explicit(c, memory_order_relaxed);
}

static int64_t new_id(struct sd_walker *wk) {
  if (wk->id_next == wk->id_end) {
    /* From where a pack of names begins. */
    int64_t first = atomic_fetch_add(wk->walk->opts.next_id, ID_BLOCK);
    wk->id_next = (first + SD_PACK_IDS - 1) / SD_PACK_IDS * SD_PACK_IDS;
    wk->id_end = first + ID_BLOCK;
  }
  return wk->id_next++;
}

/* Notes an error or a skip at `name` in `d`, or at `d` itself (name NULL). */
static int note(struct sd_walker *wk, struct sd_batch *b, uint8_t op, int code,
                const struct sd_dir *d, const char *name, const char *reason) {
  wk->path.len = 0;
  if (sd_dir_path(d, SIZE_MAX, &wk->path)) return -ENOMEM;
  if (name && wk->path.len && sd_buf_put(&wk->path, "/", 1)) return -ENOMEM;
  if (name && sd_buf_put(&wk->path, name, strlen(name))) return -ENOMEM;
  const char *path = wk->path.data ? (const char *)wk->path.data : "";
  return sd_batch_note(b, op, code, path, wk->path.len, reason);
}

static int note_error(struct sd_walker *wk, struct sd_batch *b, uint8_t op, int code,
                      const struct sd_dir *d, const char *name) {
  return note(wk, b, op, code, d, name, sd_err_text(code));
}

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
    return note_error(wk, b, SD_OP_CREATE_ENTRY, -errno, d, e->name);
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

/* Adds the entry `n` of the directory to the batch, unless it vanished or is none of ours. -ENOMEM,
 * or another negative code with *err filled. */
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
    int rc = note_error(wk, b, SD_OP_CREATE_ENTRY, -errno, d, n->name);
    if (rc) return rc;
  } else {
    sd_stat_from_statx(&e->st, &stx);
    e->st_dev = e->st.dev;
    if (is_own(wk->walk, &e->st)) {
      forget_name(d, n);
      return note(wk, b, 0, 0, d, n->name, "library");
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

/* Takes over the reference, also when there is no room. */
static int push_dir(struct sd_walker *wk, struct sd_dir *d) {
  if (!sd_array_room((void **)&wk->stack, &wk->stack_cap, wk->stack_len, sizeof(*wk->stack))) {
    sd_dir_put(d);
    return -ENOMEM;
  }
  wk->stack[wk->stack_len++] = d;
  return 0;
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
  return push_dir(wk, child);
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

/* 1: stopped by the cancel flag, nothing kept. Else as add_entry(). */
static int stat_names(struct sd_walker *wk, struct sd_batch *b, int fd, const struct sd_dir *d,
                      struct sd_err *err) {
  for (size_t i = 0; i < wk->names.len; i++) {
    if (i % CANCEL_EVERY == CANCEL_EVERY - 1 && canceled(wk)) return 1;
    int rc = add_entry(wk, b, fd, d, &wk->names.items[i], err);
    if (rc) return rc;
  }
  return 0;
}

/* Lets the rules look at the names. 1: they leave the whole directory empty. */
static int sift(struct sd_walker *wk, struct sd_dir *d, int fd, struct sd_batch *b, bool all) {
  struct sd_scope_errors errors;
  uint8_t refused;
  int rc = sd_filter_enter(wk->filter, d, fd, all ? &wk->names : NULL, &errors, &refused);
  for (size_t i = 0; !rc && i < errors.len; i++)
    rc = note(wk, b, SD_OP_READ_RULES, errors.items[i].code, d, errors.items[i].file,
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

/* What the library has of it stays. */
static int cannot_read(struct sd_walker *wk, const struct sd_dir *d, struct sd_batch *b, int code) {
  int rc = note_error(wk, b, SD_OP_READ_DIR, code, d, NULL);
  return rc ? rc : sd_batch_readable(b, d->id, SD_UNREADABLE);
}

/* One part of the listing, from names to settled entries. 0: the directory is finished; 1: it goes
 * on; 2: canceled, to be read again. */
static int list_part(struct sd_walker *wk, struct sd_dir *d, int fd, struct sd_batch *b,
                     struct sd_err *err) {
  off_t start = d->cursor ? lseek(fd, 0, SEEK_CUR) : 0;
  bool whole = !d->cursor;
  int end = read_names(wk, d, fd), rc = 0;
  if (end == -ENOMEM) return sd_err_nomem(err);
  if (end < 0) return cannot_read(wk, d, b, end) ? sd_err_nomem(err) : 0;
  memset(wk->skipped, 0, sizeof(wk->skipped));
  if (wk->filter && (rc = sift(wk, d, fd, b, whole && end)) < 0) return sd_err_nomem(err);
  bool refused = rc; /* nothing is in it, whatever else there is to read */
  if (refused) {
    whole = true;
    end = 1;
  }
  size_t first = b->entries_len, errors = b->errors_len, skips = b->skips_len;
  rc = stat_names(wk, b, fd, d, err);
  if (rc < 0 && rc != -ENOMEM) return rc;
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
  l.delta = rc ? NULL : add_delta(b, d);
  if (!l.delta) return sd_err_nomem(err);
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

/* A mount that a rule does not let us into: nothing is below it, whatever the library has there. */
static int refuse_mount(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b, uint8_t rule,
                        struct sd_err *err) {
  struct sd_listing l = {.dir = d, .batch = b, .refused = true, .whole = true, .last = true};
  if (note(wk, b, 0, 0, d, NULL, sd_rule_name(rule))) return sd_err_nomem(err);
  if (!d->known) return 1;
  if (!(l.delta = add_delta(b, d))) return sd_err_nomem(err);
  l.entries = b->entries ? b->entries + b->entries_len : NULL;
  int rc = settle(wk, &l, err);
  l.delta->listed = false; /* it was not read */
  return rc ? rc : 1;
}

/* As put_paths(), for the directory noted last. */
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

/* The directory is not there: it has vanished, or something above it. */
static int note_gone(struct sd_walker *wk, const struct sd_dir *d, struct sd_batch *b) {
  const struct sd_dir *top = d;
  uint64_t above;
  size_t len;
  while (top->parent && !sd_dir_is_gone(top, &above)) top = top->parent;
  if (!top->parent) return cannot_read(wk, d, b, -ENOENT);
  if (!is_missing_on(above, top)) return cannot_read(wk, top, b, -ENODEV);
  struct sd_gone gone = {.id = top->id, .parent_id = top->parent_id};
  gone.name = sd_dir_name(top, &len);
  gone.name_len = (uint16_t)len;
  gone.name_text = sd_utf8_valid(gone.name, len);
  int rc = sd_batch_gone(b, &gone);
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

/* Opens the directory. 0: *fd is open; 1: it cannot or shall not be read, and that is noted. */
static int open_dir(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b, int *fd,
                    struct sd_err *err) {
  struct sd_err why;
  const struct sd_stat *root = &wk->walk->root_stat;
  struct sd_filter *filter = d->mount ? wk->filter : NULL;
  uint8_t rule = filter ? sd_filter_mount(filter, d, -1, root->dev) : 0;
  if (rule) return refuse_mount(wk, d, b, rule, err);
  int rc = sd_dir_open(d, fd, &why);
  if (rc == -ENOENT && d->parent) return note_gone(wk, d, b) ? sd_err_nomem(err) : 1;
  if (rc) return cannot_read(wk, d, b, rc) ? sd_err_nomem(err) : 1;
  if (is_another(d, *fd)) {
    close(*fd);
    rc = note(wk, b, SD_OP_READ_DIR, SD_ECHANGED, d, NULL, "another directory has taken its place");
    if (!rc) rc = sd_batch_readable(b, d->id, SD_UNREADABLE);
    return rc ? sd_err_nomem(err) : 1;
  }
  const char *skip = NULL;
  if (d->mount && sd_fs_is_pseudo(*fd) && !sd_fs_is_pseudo(wk->walk->root->fd)) skip = "pseudo";
  if (d->mount && !skip && sd_fs_is_loop(*fd, root->dev, root->ino)) skip = "loop";
  if (!skip && filter) rule = sd_filter_mount(filter, d, *fd, root->dev);
  if (!skip && !rule) return 0;
  close(*fd);
  if (rule) return refuse_mount(wk, d, b, rule, err);
  return note(wk, b, 0, 0, d, NULL, skip) ? sd_err_nomem(err) : 1;
}

static int enter_root(struct sd_walker *wk, struct sd_dir *d, int fd, struct sd_batch *b,
                      struct sd_err *err) {
  sd_root_fn fn = wk->walk->opts.root_fn;
  return fn && wk->diff ? fn(wk->ud, d, fd, &wk->walk->root_stat, b, err) : 0;
}

/* As list_part, for the directory on top of the stack. */
static int list_dir(struct sd_walker *wk, struct sd_dir *d, struct sd_batch *b,
                    struct sd_err *err) {
  int fd = -1;
  bool fresh = !d->cursor || d->cursor->fd < 0;
  size_t above = wk->stack_len;
  if (!fresh) fd = d->cursor->fd;
  else {
    int rc = open_dir(wk, d, b, &fd, err);
    if (rc) return rc < 0 ? rc : 0;
    if (d->cursor && !sd_dir_cursor_is(d->cursor, fd)) {
      close(fd);
      return note(wk, b, SD_OP_READ_DIR, SD_ECHANGED, d, NULL, "replaced while it was read")
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
  rc = list_part(wk, d, fd, b, err);
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
    if (!all || push_dir(wk, all)) return -ENOMEM;
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
    rc = push_dir(wk, child);
  }
  return rc;
}

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
  while (!rc && wk->stack_len && !canceled(wk) && !is_full(wk, b)) rc = step_one(wk, b, err);
  if (!rc && (give_back(wk, b) || note_last_path(wk, b))) rc = sd_err_nomem(err);
  while (wk->stack_len) sd_dir_put(wk->stack[--wk->stack_len]);
  return rc;
}
