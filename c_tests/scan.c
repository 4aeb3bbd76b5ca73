#include "scan.h"

#include <sqlite3.h>

void exec(struct sd_store *s, const char *sql) {
  if (sqlite3_exec(sd_store_db(s), sql, NULL, NULL, NULL) != SQLITE_OK)
    fail_msg("%s: %s", sql, sqlite3_errmsg(sd_store_db(s)));
}

struct lib open_lib(const char *dir) {
  struct sd_err err;
  struct lib l = {.batch = 100, .find = ""};
  snprintf(l.dir, sizeof(l.dir), "%s", at(dir, "library"));
  snprintf(l.root, sizeof(l.root), "%s", at(dir, "tree"));
  make_dir(l.dir);
  make_dir(l.root);
  assert_ok(sd_store_open(l.dir, SD_STORE_WRITE, &l.writer, &err), &err);
  exec(l.writer,
       "INSERT INTO location(id,uuid,root,entry_id,created_at,state)"
       " VALUES(1,zeroblob(16),'/data',1,0,'new');"
       "INSERT INTO entry VALUES(1,-1,'',NULL,2,0,0,0,0,NULL,1,1,493,0,0,2,NULL,zeroblob(16),NULL);"
       "INSERT INTO directory VALUES(1,1,NULL,'',NULL,0,0,0,0,0,0,0,0,0,0)");
  assert_ok(sd_store_open(l.dir, SD_STORE_READ, &l.reader, &err), &err);
  atomic_init(&l.next_id, ROOT + 1);
  return l;
}

static void forget_left(struct lib *l) {
  for (size_t i = 0; i < l->left_len; i++) sd_buf_fini(&l->left[i]);
  free(l->left);
  l->left = NULL;
  l->left_len = 0;
}

void close_lib(struct lib *l) {
  forget_left(l);
  sd_store_close(l->reader);
  sd_store_close(l->writer);
}

/* ---- one scan ---- */

struct work {
  struct lib *lib;
  struct sd_walk *walk;
  struct sd_walker *walker;
  struct sd_reconcile *reconcile;
  struct scan done;
  int transactions; /* that may still be made */
};

static void open_work(struct work *w, struct lib *l, int transactions) {
  struct sd_err err;
  *w = (struct work){.lib = l, .transactions = transactions};
  struct sd_walk_opts o = {.root = l->root,
                           .root_id = ROOT,
                           .batch = l->batch,
                           .next_id = &l->next_id,
                           .moves = l->known > 0,
                           .rules = l->rules,
                           .root_fn = sd_reconcile_root,
                           .own = &l->own,
                           .own_len = l->own.ino ? 1 : 0};
  struct sd_reconcile_opts known = {.location_id = 1, .moves_below = l->known};
  assert_ok(sd_walk_open(&o, &w->walk, &err), &err);
  assert_ok(sd_reconcile_open(l->reader, &known, &w->reconcile, &err), &err);
  assert_ok(sd_walker_open(w->walk, sd_reconcile_diff, w->reconcile, &w->walker, &err), &err);
}

static void close_work(struct work *w) {
  sd_walker_close(w->walker);
  sd_reconcile_close(w->reconcile);
  sd_walk_close(w->walk);
}

static void write_batch(struct work *w, const struct sd_batch *b) {
  struct sd_err err;
  struct sd_write_opts o = {
      .location_id = 1, .job_id = JOB, .want_content = true, .rescan = w->lib->known > 0};
  for (size_t i = 0; i < b->entries_len; i++)
    w->done.content += b->entries[i].change == SD_CHANGE_CONTENT;
  assert_ok(sd_store_begin(w->lib->writer, &err), &err);
  assert_ok(sd_store_write_batch(w->lib->writer, b, &o, &w->done.n, &err), &err);
  assert_ok(sd_store_commit(w->lib->writer, &err), &err);
  w->transactions--;
}

struct stack {
  struct sd_dir **dirs;
  size_t len;
};

/* From the root, or from what the last scan left. */
static struct stack first_dirs(struct work *w) {
  struct lib *l = w->lib;
  struct stack s = {.len = l->left ? l->left_len : 1};
  s.dirs = malloc((s.len + 1) * sizeof(struct sd_dir *));
  if (!l->left) s.dirs[0] = sd_dir_get(sd_walk_root(w->walk));
  for (size_t i = 0; l->left && i < s.len; i++) {
    s.dirs[i] = sd_walk_restore(w->walk, l->left[i].data, l->left[i].len);
    assert_non_null(s.dirs[i]);
  }
  forget_left(l);
  return s;
}

static void keep_left(struct lib *l, struct stack *s) {
  l->left = calloc(s->len + 1, sizeof(*l->left));
  l->left_len = s->len;
  for (size_t i = 0; i < s->len; i++) {
    assert_int_equal(sd_walk_encode(s->dirs[i], &l->left[i]), 0);
    sd_dir_put(s->dirs[i]);
  }
}

/* A directory that is read in parts begins anew after a crash: nothing may end before its last. */
static bool may_stop(const struct stack *s) {
  for (size_t i = 0; i < s->len; i++)
    if (s->dirs[i]->cursor) return false;
  return true;
}

/* A batch and a transaction at a time. */
static void walk(struct work *w) {
  struct sd_err err;
  struct stack s = first_dirs(w);
  while (s.len && (w->transactions > 0 || !may_stop(&s))) {
    struct sd_batch *b = sd_batch_new();
    assert_ok(sd_reconcile_begin(w->reconcile, &err), &err);
    assert_ok(sd_walker_step(w->walker, s.dirs, s.len, b, &err), &err);
    sd_reconcile_end(w->reconcile);
    s.len = b->born_len;
    s.dirs = realloc(s.dirs, (s.len + 1) * sizeof(struct sd_dir *));
    for (size_t i = 0; i < s.len; i++) s.dirs[i] = b->born[i];
    b->born_len = 0;
    write_batch(w, b);
    sd_batch_free(b);
  }
  keep_left(w->lib, &s);
  free(s.dirs);
}

static void add_swept(struct scan *sc, const struct sd_sweep_count *n) {
  sc->swept.moved += n->moved;
  sc->swept.replaced += n->replaced;
  sc->swept.removed += n->removed;
}

enum { AT_ONCE = 10 };

static bool match_and_sweep(struct work *w) {
  struct sd_err err;
  struct sd_store *s = w->lib->writer;
  struct sd_write_opts o = {.location_id = 1, .job_id = JOB};
  int64_t after = 0;
  for (int pass = 0; pass < 4; pass++)
    for (bool left = true; left; w->transactions--) {
      struct sd_sweep_count n = {0};
      if (w->transactions <= 0) return false;
      assert_ok(sd_store_begin(s, &err), &err);
      if (pass == 0) assert_ok(sd_store_match(s, &o, AT_ONCE, &after, &n, &left, &err), &err);
      else if (pass == 1) assert_ok(sd_store_sweep(s, &o, AT_ONCE, &n, &left, &err), &err);
      else if (pass == 2) assert_ok(sd_store_forget_found(s, &o, AT_ONCE, &left, &err), &err);
      else assert_ok(sd_store_settle_links(s, AT_ONCE, &left, &err), &err);
      assert_ok(sd_store_commit(s, &err), &err);
      add_swept(&w->done, &n);
    }
  return true;
}

static bool scan_until(struct lib *l, int transactions, struct scan *done) {
  struct work w;
  open_work(&w, l, transactions);
  walk(&w);
  close_work(&w);
  bool through = !l->left_len && match_and_sweep(&w);
  *done = w.done;
  if (!through) return false;
  forget_left(l);
  l->known = atomic_load(&l->next_id);
  return true;
}

struct scan scan(struct lib *l) {
  struct scan done;
  assert_true(scan_until(l, INT32_MAX, &done));
  return done;
}

bool scan_some(struct lib *l, int transactions) {
  struct scan done;
  return !scan_until(l, transactions, &done);
}

void give_up(struct lib *l) {
  forget_left(l);
  exec(l->writer,
       "UPDATE vanished SET job_id=0 WHERE keep; DELETE FROM vanished WHERE NOT keep;"
       "DELETE FROM job_count");
  if (l->known || run_number("sqlite3 '%s/library.db' 'SELECT count(*) FROM entry'", l->dir) > 1)
    l->known = atomic_load(&l->next_id);
}
