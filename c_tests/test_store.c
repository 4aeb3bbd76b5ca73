/* The library's file: what is written comes back, what is damaged is named, a failed write costs
 * nothing. The sqlite3 program looks at the same file from outside. */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/schema.h"
#include "engine/store.h"

enum { ROOT = 1, LOCATION = 1, JOB = 7 };

static const struct sd_write_opts first = {
    .location_id = LOCATION, .job_id = JOB, .want_content = true};
static const struct sd_write_opts again = {
    .location_id = LOCATION, .job_id = JOB, .want_content = true, .rescan = true};

/* ---- as a job writes ---- */

static struct sd_store *open_store(const char *dir, enum sd_store_mode mode) {
  struct sd_err err;
  struct sd_store *s = NULL;
  assert_ok(sd_store_open(dir, mode, &s, &err), &err);
  return s;
}

static void exec(struct sd_store *s, const char *sql) {
  if (sqlite3_exec(sd_store_db(s), sql, NULL, NULL, NULL) != SQLITE_OK)
    fail_msg("%s: %s", sql, sqlite3_errmsg(sd_store_db(s)));
}

/* A library with one location, whose root is entry 1. */
static struct sd_store *new_library(const char *dir) {
  struct sd_store *s = open_store(dir, SD_STORE_WRITE);
  exec(s,
       "INSERT INTO location(id,uuid,root,entry_id,created_at,state)"
       " VALUES(1,zeroblob(16),'/data',1,0,'new');"
       "INSERT INTO entry VALUES(1,-1,'',NULL,2,0,0,0,0,NULL,1,1,493,0,0,2,NULL,zeroblob(16),NULL);"
       "INSERT INTO directory VALUES(1,1,NULL,'',NULL,0,0,0,0,0,0,0,0,0,0)");
  return s;
}

static void *grown(void *p, size_t n, size_t size) {
  void *q = realloc(p, (n + 1) * size);
  assert_non_null(q);
  return q;
}

static struct sd_entry *add_entry(struct sd_batch *b, int64_t id, int64_t parent, const char *name,
                                  uint8_t kind, int64_t size) {
  b->entries = grown(b->entries, b->entries_len, sizeof(*b->entries));
  struct sd_entry *e = &b->entries[b->entries_len++];
  memset(e, 0, sizeof(*e));
  b->entries_cap = b->entries_len;
  e->id = id;
  e->parent_id = parent;
  e->name = sd_arena_copy(&b->arena, name, strlen(name));
  e->name_len = (uint16_t)strlen(name);
  e->name_text = (unsigned char)name[0] < 0x80;
  e->change = SD_CHANGE_INSERT;
  e->st = (struct sd_stat){.kind = kind,
                           .size = size,
                           .allocated = size * 2,
                           .mtime = -1,
                           .dev = 1,
                           .ino = (uint64_t)id,
                           .nlink = 1,
                           .mode = 0644};
  b->deltas = grown(b->deltas, b->deltas_len, sizeof(*b->deltas));
  b->deltas[b->deltas_len] = (struct sd_dir_delta){.id = parent};
  sd_totals_add(&b->deltas[b->deltas_len++].delta, &e->st, 1);
  b->deltas_cap = b->deltas_len;
  return e;
}

static void add_dir(struct sd_batch *b, int64_t id, int64_t parent, const char *name,
                    const char *path) {
  add_entry(b, id, parent, name, SD_KIND_DIRECTORY, 10);
  b->dirs = grown(b->dirs, b->dirs_len, sizeof(*b->dirs));
  b->dirs[b->dirs_len++] =
      (struct sd_new_dir){.id = id,
                          .segment_len = (uint32_t)strlen(path),
                          .segment = sd_arena_copy(&b->arena, path, strlen(path))};
  b->dirs_cap = b->dirs_len;
}

static void add_gone(struct sd_batch *b, int64_t id, int64_t parent, const char *name,
                     bool replaced) {
  const struct sd_gone g = {.id = id,
                            .parent_id = parent,
                            .name = name,
                            .name_len = (uint16_t)strlen(name),
                            .name_text = (unsigned char)name[0] < 0x80,
                            .replaced = replaced};
  assert_int_equal(sd_batch_gone(b, &g), 0);
}

/* Its attributes are those of add_entry(). */
static void add_move(struct sd_batch *b, int64_t id, int64_t parent, const char *name,
                     int64_t size) {
  add_entry(b, id, parent, name, SD_KIND_DIRECTORY, size)->change = SD_CHANGE_MOVE;
}

static int try_write(struct sd_store *s, const struct sd_batch *b, const struct sd_write_opts *o,
                     struct sd_write_count *n, struct sd_err *err) {
  int rc = sd_store_begin(s, err);
  if (!rc) rc = sd_store_write_batch(s, b, o, n, err);
  if (!rc) rc = sd_store_commit(s, err);
  if (rc) sd_store_rollback(s);
  return rc;
}

/* Takes over the batch. */
static struct sd_write_count write_as(struct sd_store *s, struct sd_batch *b,
                                      const struct sd_write_opts *o) {
  struct sd_err err;
  struct sd_write_count n = {0};
  assert_ok(try_write(s, b, o, &n, &err), &err);
  sd_batch_free(b);
  return n;
}

static struct sd_write_count write_batch(struct sd_store *s, struct sd_batch *b) {
  return write_as(s, b, &first);
}

static struct sd_write_count rescan(struct sd_store *s, struct sd_batch *b) {
  return write_as(s, b, &again);
}

/* 2 = a (directory), 3 = a/b (directory); files 4 in a, 5 and 6 in a/b, 7 in the root. */
static struct sd_batch *small_tree(void) {
  struct sd_batch *b = sd_batch_new();
  add_dir(b, 2, ROOT, "a", "a");
  add_dir(b, 3, 2, "b", "a/b");
  add_entry(b, 4, 2, "four", SD_KIND_FILE, 100);
  add_entry(b, 5, 3, "five", SD_KIND_FILE, 1000);
  struct sd_entry *e = add_entry(b, 6, 3, "\xff\xfe", SD_KIND_SYMLINK, 3);
  e->target =
      "\xff"
      "to";
  e->target_len = 3;
  add_entry(b, 7, ROOT, "seven", SD_KIND_FIFO, 0);
  return b;
}

#define assert_sqlite(dir, sql, want)                                     \
  do {                                                                    \
    struct sd_buf out_ = run("sqlite3 '%s/library.db' \"%s\"", dir, sql); \
    assert_string_equal((char *)out_.data, want);                         \
    sd_buf_fini(&out_);                                                   \
  } while (0)

/* What every directory's totals must be: counted anew from the entries, by SQLite. */
static void assert_totals(const char *dir) {
  assert_sqlite(
      dir,
      "WITH RECURSIVE below(top,id) AS (SELECT entry_id,entry_id FROM directory UNION ALL"
      " SELECT top,e.id FROM below JOIN entry e ON e.parent_id=below.id)"
      " SELECT d.entry_id FROM directory d WHERE (files,dirs,symlinks,file_bytes,bytes,allocated)"
      " IS NOT (SELECT count(*) FILTER (WHERE kind NOT IN (2,3)),"
      " count(*) FILTER (WHERE kind=2), count(*) FILTER (WHERE kind=3),"
      " coalesce(sum(size) FILTER (WHERE kind NOT IN (2,3)),0), coalesce(sum(size),0),"
      " coalesce(sum(allocated),0) FROM below JOIN entry e ON e.id=below.id"
      " WHERE top=d.entry_id AND e.id<>top)",
      "");
}

/* ---- what is written ---- */

static void a_new_library_has_its_marks_and_its_views(void **state) {
  const char *dir = *state;
  sd_store_close(open_store(dir, SD_STORE_WRITE));
  assert_sqlite(dir, "PRAGMA application_id", "1935961205\n");
  assert_sqlite(dir, "PRAGMA user_version", "3\n");
  assert_sqlite(dir, "PRAGMA journal_mode", "wal\n");
  assert_sqlite(
      dir,
      "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema WHERE type='view' "
      "ORDER BY 1)",
      "contents,directories,directory_row,entries,entry_row,errors,job_row,jobs,locations,skips\n");
  static const char *const views[] = {"contents", "directories", "entries",
                                      "errors",   "jobs",        "locations"};
  for (int i = 0; i < 6; i++)
    assert_int_equal(run_number("sqlite3 '%s/library.db' 'SELECT count(*) FROM %s'", dir, views[i]),
                     0);
}

static void the_views_give_what_was_written(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  struct sd_write_count n = write_batch(s, small_tree());
  assert_int_equal(n.inserted, 6);
  assert_int_equal(n.errors, 0);
  sd_store_close(s);
  sd_store_close(open_store(dir, SD_STORE_READ));
  assert_sqlite(dir,
                "SELECT id,parent_id,hex(path),kind,size,mtime_ns,typeof(name),hex(target) FROM "
                "entries ORDER BY id",
                "1|||directory|0|0|text|\n"
                "2|1|61|directory|10|-1|text|\n"
                "3|2|612F62|directory|10|-1|text|\n"
                "4|2|612F666F7572|file|100|-1|text|\n"
                "5|3|612F622F66697665|file|1000|-1|text|\n"
                "6|3|612F622FFFFE|symlink|3|-1|blob|FF746F\n"
                "7|1|736576656E|fifo|0|-1|text|\n");
  assert_sqlite(dir, "SELECT id,path,files,dirs,bytes,allocated FROM directories ORDER BY id",
                "1||3|2|1123|2246\n2|a|2|1|1113|2226\n3|a/b|1|0|1003|2006\n");
  assert_sqlite(dir, "SELECT group_concat(id) FROM entry WHERE content_id=0", "4,5\n");
  assert_totals(dir);
}

static void a_rolled_back_batch_leaves_nothing(void **state) {
  const char *dir = *state;
  struct sd_err err;
  struct sd_write_count n = {0};
  struct sd_store *s = new_library(dir);
  struct sd_batch *b = small_tree();
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_write_batch(s, b, &first, &n, &err), &err);
  sd_store_rollback(s);
  assert_sqlite(dir, "SELECT count(*), (SELECT files FROM directory) FROM entry", "1|0\n");
  sd_store_rollback(s); /* none is open */
  write_batch(s, b);
  assert_totals(dir);
  sd_store_close(s);
}

static void a_refused_row_is_an_error_and_the_rest_is_written(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  add_entry(b, 10, 2, "before", SD_KIND_FILE, 1);
  add_entry(b, 4, 2, "id of four", SD_KIND_FILE, 5);
  add_entry(b, 12, 2, "after", SD_KIND_FILE, 1);
  add_entry(b, 5, 3, "id of five", SD_KIND_FILE, 5);
  struct sd_write_count n = write_batch(s, b);
  assert_int_equal(n.inserted, 2);
  assert_int_equal(n.errors, 2);
  assert_sqlite(dir, "SELECT job_id,operation,error FROM errors",
                "7|CreateEntry|EEXIST\n7|CreateEntry|EEXIST\n");
  assert_sqlite(dir, "SELECT group_concat(id) FROM (SELECT id FROM entry ORDER BY id)",
                "1,2,3,4,5,6,7,10,12\n");
  assert_totals(dir);
  sd_store_close(s);
}

static void a_refused_directory_fails_the_transaction(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  struct sd_err err;
  struct sd_write_count n = {0};
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  add_entry(b, 10, 2, "before", SD_KIND_FILE, 1);
  add_dir(b, 3, 2, "id of b", "a/id of b");
  add_entry(b, 12, 3, "below", SD_KIND_FILE, 1);
  assert_int_equal(try_write(s, b, &first, &n, &err), -EEXIST);
  assert_string_equal(err.msg, "id of b: the library has a directory of this id already");
  sd_batch_free(b);
  assert_sqlite(dir, "SELECT group_concat(id) FROM (SELECT id FROM entry ORDER BY id)",
                "1,2,3,4,5,6,7\n");
  assert_totals(dir);
  sd_store_close(s);
}

static void notes_become_error_and_skip_rows(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  struct sd_batch *b = sd_batch_new();
  sd_batch_note(b, SD_OP_READ_DIR, -EACCES, "a\xff", 2, "Permission denied");
  sd_batch_note(b, 0, 0, "proc", 4, "pseudo");
  write_batch(s, b);
  assert_sqlite(dir, "SELECT hex(path),typeof(path),operation,error,message,at>0 FROM errors",
                "61FF|blob|ReadDir|EACCES|Permission denied|1\n");
  assert_sqlite(dir, "SELECT path,rule FROM job_skip", "proc|pseudo\n");
  sd_store_close(s);
}

static void changed_bytes_drop_what_was_known_of_them(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  exec(s,
       "INSERT INTO content(id,uuid,hash,hash_kind,size,entries,first_seen)"
       " VALUES(1,zeroblob(16),zeroblob(16),1,100,1,0),"
       "(2,zeroblob(16),x'01',1,1000,2,0);"
       "UPDATE entry SET content_id=1 WHERE id=4; UPDATE entry SET content_id=2 WHERE id=5");
  struct sd_batch *b = sd_batch_new();
  add_entry(b, 4, 2, "four", SD_KIND_FILE, 100)->change = SD_CHANGE_CONTENT;
  add_entry(b, 5, 3, "five", SD_KIND_FILE, 1000)->change = SD_CHANGE_UPDATE;
  add_entry(b, 99, 3, "gone meanwhile", SD_KIND_FILE, 1)->change = SD_CHANGE_CONTENT;
  memset(b->deltas, 0, b->deltas_len * sizeof(*b->deltas));
  b->deltas_len = 0;
  assert_int_equal(write_batch(s, b).updated, 3);
  assert_sqlite(dir, "SELECT id,content_id FROM entry WHERE id IN (4,5,99)", "4|0\n5|2\n");
  assert_sqlite(dir, "SELECT id,entries FROM content", "2|2\n");
  sd_store_close(s);
}

/* A file grows by as much as a link shrinks: only the bytes of the files differ. */
static void totals_follow_a_difference_in_file_bytes_alone(void **state) {
  const char *dir = *state;
  struct sd_err err;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  assert_ok(sd_store_begin(s, &err), &err);
  exec(s, "UPDATE entry SET size=size+2 WHERE id=5; UPDATE entry SET size=size-2 WHERE id=6");
  struct sd_totals t = {.file_bytes = 2};
  assert_ok(sd_store_add_totals(s, 3, &t, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  assert_totals(dir);
  sd_store_close(s);
}

/* ---- the sweep ---- */

static struct sd_sweep_count sweep(struct sd_store *s, int64_t limit, bool *left) {
  struct sd_err err;
  struct sd_sweep_count n;
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_sweep(s, &again, limit, &n, left, &err), &err);
  for (bool more = !*left; more;)
    assert_ok(sd_store_forget_found(s, &again, limit, &more, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  return n;
}

static struct sd_sweep_count match(struct sd_store *s, int64_t limit, int64_t *after, bool *left) {
  struct sd_err err;
  struct sd_sweep_count n;
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_match(s, &again, limit, after, &n, left, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  return n;
}

static void the_sweep_removes_a_tree_at_most_so_many_rows_at_a_time(void **state) {
  const char *dir = *state;
  bool left = true;
  uint64_t all = 0;
  struct sd_store *s = new_library(dir);
  struct sd_batch *b = small_tree();
  for (int i = 0; i < 1000; i++) {
    char name[32];
    snprintf(name, sizeof(name), "n%d", i);
    if (i % 2) add_entry(b, 100 + i, 3, name, SD_KIND_FILE, i);
    else add_dir(b, 100 + i, 2, name, name);
  }
  add_gone(b, 2, ROOT, "a", false);
  add_gone(b, 4, 2, "four", false); /* below it as well */
  add_gone(b, 4711, ROOT, "who", false);
  add_gone(b, 7, ROOT, "another name", false); /* it is not there, but elsewhere */
  write_batch(s, b);
  for (int calls = 0; left && calls < 10000; calls++) {
    uint64_t n = sweep(s, 100, &left).removed;
    assert_true(n <= 100);
    all += n;
    if (calls < 5) assert_totals(dir);
  }
  assert_false(left);
  assert_int_equal(all, 1005);
  assert_sqlite(dir, "SELECT group_concat(id) FROM entry", "1,7\n");
  assert_sqlite(dir, "SELECT count(*) FROM directory", "1\n");
  assert_sqlite(dir, "SELECT name,n FROM job_count", "removed|1005\n");
  assert_sqlite(dir, "SELECT count(*) FROM vanished", "0\n");
  assert_totals(dir);
  sd_store_close(s);
}

/* ---- places ---- */

/* Directory 3 is a/b; another inode is there now. */
static struct sd_batch *replaced_dir(void) {
  struct sd_batch *b = sd_batch_new();
  add_gone(b, 3, 2, "b", true);
  add_dir(b, 20, 2, "b", "a/b");
  add_entry(b, 21, 20, "five", SD_KIND_FILE, 1);
  add_entry(b, 22, 20, "new", SD_KIND_FILE, 2);
  return b;
}

static const char places[] = "SELECT id,parent_id,path FROM entries WHERE id>1 ORDER BY id";

static void what_made_room_is_not_seen_and_not_counted(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  rescan(s, replaced_dir());
  assert_sqlite(dir, places,
                "2|1|a\n4|2|a/four\n7|1|seven\n20|2|a/b\n21|20|a/b/five\n22|20|a/b/new\n");
  assert_sqlite(dir, "SELECT id,path,files,bytes FROM directories ORDER BY id",
                "1||4|123\n2|a|3|113\n20|a/b|2|3\n");
  assert_sqlite(dir, "SELECT keep FROM vanished", "1\n");
  sd_store_close(s);
}

static void what_was_replaced_passes_its_uuid_on(void **state) {
  const char *dir = *state;
  bool left;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  exec(s, "UPDATE entry SET uuid=CAST(id AS BLOB)");
  rescan(s, replaced_dir());
  struct sd_sweep_count n = sweep(s, 1000, &left);
  assert_false(left);
  /* The directory and `five` have heirs; the link is gone. */
  assert_int_equal(n.replaced, 2);
  assert_int_equal(n.removed, 1);
  assert_sqlite(
      dir,
      "SELECT id,parent_id,CAST(uuid AS TEXT) FROM entry WHERE parent_id IN (2,20) ORDER BY id",
      "4|2|4\n5|20|5\n20|2|3\n22|20|\n");
  assert_sqlite(dir, "SELECT (SELECT count(*) FROM vanished)+(SELECT count(*) FROM found)", "0\n");
  assert_sqlite(dir, "SELECT name,n FROM job_count", "removed|1\nreplaced|2\n");
  assert_totals(dir);
  sd_store_close(s);
}

static void a_moved_directory_takes_its_tree_along(void **state) {
  const char *dir = *state;
  bool left;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  add_gone(b, 2, ROOT, "a", false);
  add_dir(b, 30, ROOT, "z", "z");
  add_move(b, 2, 30, "moved", 10);
  struct sd_write_count n = rescan(s, b);
  assert_true(n.inserted == 1 && n.moved == 1 && n.errors == 0);
  assert_sqlite(dir, "SELECT id,parent_id,path FROM entries WHERE id IN (2,3,4,5,30) ORDER BY id",
                "2|30|z/moved\n3|2|z/moved/b\n4|2|z/moved/four\n5|3|z/moved/b/five\n30|1|z\n");
  assert_sqlite(dir, "SELECT id,path,files,dirs FROM directories ORDER BY id",
                "1||3|3\n2|z/moved|2|1\n3|z/moved/b|1|0\n30|z|2|2\n");
  assert_totals(dir);
  assert_int_equal(sweep(s, 1000, &left).removed, 0); /* the note is void */
  assert_false(left);
  sd_store_close(s);
}

/* 2 is a, 3 is a/b: afterwards 3 is a, and 2 is a/a. */
static void a_directory_moves_into_its_child(void **state) {
  const char *dir = *state;
  bool left;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  add_gone(b, 2, ROOT, "a", true);
  add_move(b, 3, ROOT, "a", 10);
  add_move(b, 2, 3, "a", 10);
  add_gone(b, 3, 2, "b", false);
  assert_int_equal(rescan(s, b).moved, 2);
  assert_sqlite(dir, places,
                "2|3|a/a\n3|1|a\n4|2|a/a/four\n5|3|a/five\n6|3|a/\xff\xfe\n7|1|seven\n");
  assert_totals(dir);
  struct sd_sweep_count n = sweep(s, 1000, &left);
  assert_int_equal(n.removed + n.replaced, 0);
  assert_totals(dir);
  sd_store_close(s);
}

static void two_directories_change_places(void **state) {
  const char *dir = *state;
  bool left;
  struct sd_store *s = new_library(dir);
  struct sd_batch *b = small_tree();
  add_dir(b, 8, ROOT, "z", "z");
  add_entry(b, 9, 8, "nine", SD_KIND_FILE, 9);
  write_batch(s, b);
  b = sd_batch_new();
  add_gone(b, 2, ROOT, "a", true);
  add_gone(b, 8, ROOT, "z", true);
  add_move(b, 8, ROOT, "a", 10);
  add_move(b, 2, ROOT, "z", 10);
  rescan(s, b);
  assert_sqlite(dir, "SELECT id,path FROM entries WHERE id IN (2,3,8,9) ORDER BY id",
                "2|z\n3|z/b\n8|a\n9|a/nine\n");
  struct sd_sweep_count n = sweep(s, 1000, &left);
  assert_int_equal(n.removed + n.replaced, 0);
  assert_sqlite(dir, "SELECT count(*) FROM entry", "9\n");
  assert_totals(dir);
  sd_store_close(s);
}

/* As when somebody moves directories while they are walked. */
static void nothing_is_moved_into_itself(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  add_move(b, 2, 3, "a", 10);
  struct sd_write_count n = rescan(s, b);
  assert_true(n.moved == 0 && n.errors == 1);
  assert_sqlite(dir, "SELECT path,error FROM errors", "a/b/a|ELOOP\n");
  assert_sqlite(dir, "SELECT parent_id FROM entry WHERE id=2", "1\n");
  assert_totals(dir);
  sd_store_close(s);
}

/* The place was taken by somebody since the walk has looked. */
static void a_taken_place_is_cleared_for_what_moves_there(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  add_move(b, 3, 2, "four", 10);
  rescan(s, b);
  assert_sqlite(dir, "SELECT id,path FROM entries WHERE parent_id=2", "3|a/four\n");
  assert_sqlite(dir, "SELECT entry_id,keep FROM vanished", "4|1\n");
  assert_totals(dir);
  sd_store_close(s);
}

/* What was listed twice, since it was moved meanwhile, is there once. */
static void a_taken_name_is_cleared_for_what_is_new(void **state) {
  const char *dir = *state;
  bool left;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  for (int i = 0; i < 40; i++) {
    char name[16];
    snprintf(name, sizeof(name), "n%d", i);
    add_entry(b, 100 + i, 2, i == 20 ? "four" : name, SD_KIND_FILE, 1);
  }
  add_dir(b, 200, 2, "b", "a/b");
  add_entry(b, 201, 200, "below", SD_KIND_FILE, 1);
  struct sd_write_count n = rescan(s, b);
  assert_true(n.inserted == 42 && n.errors == 0);
  assert_sqlite(dir, "SELECT id FROM entries WHERE path IN ('a/four','a/b','a/b/below') ORDER BY 1",
                "120\n200\n201\n");
  assert_sqlite(dir, "SELECT count(*),count(DISTINCT path) FROM entries", "45|45\n");
  assert_int_equal(sweep(s, 1000, &left).replaced, 2);
  assert_totals(dir);
  sd_store_close(s);
}

/* A place that is not the entry's any more is not cleared. */
static void nobody_makes_room_at_another_place(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  add_gone(b, 4, 3, "four", true);
  add_gone(b, 4, 2, "fourth", true);
  add_gone(b, 4711, 2, "four", true);
  rescan(s, b);
  assert_sqlite(dir, "SELECT path FROM entries WHERE id=4", "a/four\n");
  assert_sqlite(dir, "SELECT count(*) FROM vanished", "0\n");
  assert_totals(dir);
  sd_store_close(s);
}

/* ---- files that moved ---- */

/* A new name of the inode of `of`, whose number add_entry() makes of its id. */
static void add_name(struct sd_batch *b, int64_t id, int64_t of, int64_t parent, const char *name,
                     int64_t size) {
  add_entry(b, id, parent, name, SD_KIND_FILE, size)->st.ino = (uint64_t)of;
}

static void a_moved_file_keeps_id_and_content(void **state) {
  const char *dir = *state;
  bool left;
  int64_t after = 0;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  exec(s,
       "INSERT INTO content(id,uuid,hash,hash_kind,size,entries,first_seen)"
       " VALUES(1,zeroblob(16),zeroblob(16),1,100,1,0),"
       "(2,zeroblob(16),x'01',1,1000,1,0);"
       "UPDATE entry SET content_id=1 WHERE id=4; UPDATE entry SET content_id=2 WHERE id=5");
  struct sd_batch *b = sd_batch_new();
  add_gone(b, 4, 2, "four", false);
  add_gone(b, 3, 2, "b", false); /* with five in it */
  add_name(b, 40, 4, ROOT, "same", 100);
  add_name(b, 50, 5, ROOT, "written", 1001);
  add_name(b, 60, 60, ROOT, "new", 1000);
  rescan(s, b);
  exec(s, "UPDATE entry SET btime=77 WHERE id IN (5,50)"); /* so that it may be written to */
  struct sd_sweep_count n = match(s, 1000, &after, &left);
  assert_int_equal(n.moved, 2);
  assert_false(left);
  assert_sqlite(dir, "SELECT id,name,size,content_id FROM entry WHERE kind=1 ORDER BY id",
                "4|same|100|1\n5|written|1001|0\n60|new|1000|0\n");
  assert_sqlite(dir, "SELECT id FROM content", "1\n");
  assert_int_equal(sweep(s, 1000, &left).removed, 2);
  assert_sqlite(dir, "SELECT group_concat(id) FROM (SELECT id FROM entry ORDER BY id)",
                "1,2,4,5,7,60\n");
  assert_totals(dir);
  sd_store_close(s);
}

static void an_inode_that_was_used_again_is_no_move(void **state) {
  const char *dir = *state;
  bool left;
  int64_t after = 0;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  add_gone(b, 4, 2, "four", false);
  add_gone(b, 5, 3, "five", false);
  add_name(b, 40, 4, ROOT, "another size", 101);
  add_name(b, 50, 5, ROOT, "another birth", 1000);
  add_entry(b, 60, ROOT, "another kind", SD_KIND_FIFO, 100)->st.ino = 4;
  rescan(s, b);
  exec(s, "UPDATE entry SET btime=id WHERE id IN (5,50)");
  assert_int_equal(match(s, 1000, &after, &left).moved, 0);
  assert_int_equal(sweep(s, 1000, &left).removed, 2);
  assert_totals(dir);
  sd_store_close(s);
}

/* Three names of an inode: one stays, one is gone, and there are two new ones. */
static void a_new_name_of_a_file_is_a_move_once_for_each_name_that_is_gone(void **state) {
  const char *dir = *state;
  bool left;
  int64_t after = 0;
  struct sd_store *s = new_library(dir);
  struct sd_batch *b = small_tree();
  add_name(b, 8, 4, 3, "second", 100);
  write_batch(s, b);
  b = sd_batch_new();
  add_gone(b, 8, 3, "second", false);
  add_name(b, 41, 4, ROOT, "x", 100);
  add_name(b, 42, 4, ROOT, "y", 100);
  rescan(s, b);
  assert_int_equal(match(s, 1000, &after, &left).moved, 1);
  assert_sqlite(dir, "SELECT id,name FROM entry WHERE ino=4 ORDER BY id", "4|four\n8|x\n42|y\n");
  sweep(s, 1000, &left);
  assert_totals(dir);
  sd_store_close(s);
}

/* Files out of a tree that vanished, at a few notes a call, and once more from the start, as after
 * a crash. */
static void a_tree_that_vanished_is_searched_in_pieces(void **state) {
  const char *dir = *state;
  bool left = true;
  int64_t after = 0;
  uint64_t moved = 0;
  struct sd_store *s = new_library(dir);
  struct sd_batch *b = small_tree();
  for (int i = 0; i < 50; i++) {
    char name[32];
    snprintf(name, sizeof(name), "d%d", i);
    add_dir(b, 100 + i, i ? 99 + i : 3, name, name);
    add_entry(b, 200 + i, 100 + i, "file", SD_KIND_FILE, i);
  }
  write_batch(s, b);
  b = sd_batch_new();
  add_gone(b, 2, ROOT, "a", false);
  for (int i = 0; i < 50; i += 2) {
    char name[32];
    snprintf(name, sizeof(name), "out%d", i);
    add_name(b, 300 + i, 200 + i, ROOT, name, i);
  }
  rescan(s, b);
  for (int i = 0; i < 5; i++) moved += match(s, 3, &after, &left).moved;
  after = 0;
  while (left) moved += match(s, 3, &after, &left).moved;
  assert_int_equal(moved, 25);
  left = true;
  while (left) sweep(s, 7, &left);
  assert_sqlite(dir, "SELECT count(*),sum(id<300) FROM entry WHERE parent_id=1", "26|26\n");
  assert_sqlite(dir, "SELECT count(*) FROM entry", "27\n");
  assert_sqlite(dir, "SELECT (SELECT count(*) FROM vanished)+(SELECT count(*) FROM found)", "0\n");
  assert_totals(dir);
  sd_store_close(s);
}

static void queue_changes_are_rows(void **state) {
  const char *dir = *state;
  struct sd_err err;
  struct sd_store *s = new_library(dir);
  uint8_t one[] = {1, 2}, none[1];
  struct sd_queue_change put[] = {{.seq = -1, .payload = one, .payload_len = 2},
                                  {.seq = 5, .payload = none, .payload_len = 0}};
  struct sd_queue_change change[] = {
      {.seq = -1}, {.seq = 5, .payload = one, .payload_len = 1}, {.seq = 9}};
  struct sd_queue_delta a = {.changes = put, .changes_len = 2},
                        b = {.changes = change, .changes_len = 3};
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_write_queue(s, JOB, "dirs", &a, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  assert_sqlite(dir, "SELECT job_id,queue,seq,hex(payload) FROM job_queue_item",
                "7|dirs|-1|0102\n7|dirs|5|\n");
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_write_queue(s, JOB, "dirs", &b, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  assert_sqlite(dir, "SELECT seq,hex(payload) FROM job_queue_item", "5|01\n");
  sd_store_close(s);
}

/* ---- what is refused ---- */

static int open_code(const char *dir, enum sd_store_mode mode) {
  struct sd_err err = {0};
  struct sd_store *s = NULL;
  int rc = sd_store_open(dir, mode, &s, &err);
  sd_store_close(s);
  if (rc && rc != err.code) return 1;
  if (rc && !err.msg[0]) return 2;
  return rc;
}

static void no_library_is_named_as_such(void **state) {
  const char *dir = *state;
  assert_int_equal(open_code(dir, SD_STORE_READ), SD_ENOLIB);
  assert_int_equal(access(at(dir, "library.db"), F_OK), -1);
  assert_int_equal(open_code(at(dir, "nowhere"), SD_STORE_READ), SD_ENOLIB);
  assert_int_equal(open_code(at(dir, "nowhere"), SD_STORE_WRITE), -ENOENT);
  put_file(at(dir, "library.db"), "", 0); /* the process died before the first commit */
  assert_int_equal(open_code(dir, SD_STORE_READ), SD_ENOLIB);
  assert_int_equal(open_code(dir, SD_STORE_WRITE), 0);
}

static void refused_untouched(const char *dir, int code) {
  struct sd_buf before = read_file(at(dir, "library.db"));
  assert_int_equal(open_code(dir, SD_STORE_READ), code);
  assert_int_equal(open_code(dir, SD_STORE_WRITE), code);
  struct sd_buf after = read_file(at(dir, "library.db"));
  assert_int_equal(before.len, after.len);
  assert_memory_equal(before.data, after.data, before.len);
  sd_buf_fini(&before);
  sd_buf_fini(&after);
}

static void a_newer_library_is_refused_and_untouched(void **state) {
  const char *dir = *state;
  sd_store_close(new_library(dir));
  assert_sqlite(dir, "PRAGMA user_version=99", "");
  refused_untouched(dir, SD_ENEWER);
}

static void a_database_of_somebody_else_is_refused_and_untouched(void **state) {
  const char *dir = *state;
  assert_sqlite(dir, "CREATE TABLE t(x)", "");
  refused_untouched(dir, SD_EDAMAGED);
}

/* To SQLite a file of one byte is an empty one. */
static void garbage_is_refused_and_untouched(void **state) {
  const char *dir = *state;
  char junk[20000];
  memset(junk, 'j', sizeof(junk));
  static const size_t sizes[] = {2, 10, 100, 511, 512, 4096, 20000};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    put_file(at(dir, "library.db"), junk, sizes[i]);
    refused_untouched(dir, SD_EDAMAGED);
  }
}

static struct sd_buf checkpointed_library(const char *dir) {
  struct sd_err err;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  assert_ok(sd_store_checkpoint(s, 0, &err), &err);
  sd_store_close(s);
  unlink(at(dir, "library.db-wal"));
  unlink(at(dir, "library.db-shm"));
  return read_file(at(dir, "library.db"));
}

/* A part of the last page may be what a crash left of a checkpoint: SQLite looks at it when it is
 * read. Whatever lacks a whole page is seen at once. */
static void a_truncated_library_is_refused(void **state) {
  const char *dir = *state;
  struct sd_buf whole = checkpointed_library(dir);
  enum { PAGE = 16384 };
  for (size_t n = 2; n + PAGE <= whole.len; n += n < 4096 ? 1365 : 4096) {
    put_file(at(dir, "library.db"), whole.data, n);
    unlink(at(dir, "library.db-wal"));
    unlink(at(dir, "library.db-shm"));
    assert_int_equal(open_code(dir, SD_STORE_READ), SD_EDAMAGED);
    assert_int_equal(open_code(dir, SD_STORE_WRITE), SD_EDAMAGED);
  }
  sd_buf_fini(&whole);
}

static void a_second_writer_is_told_that_it_is_locked(void **state) {
  const char *dir = *state;
  struct sd_err err;
  struct sd_store *a = new_library(dir), *b = open_store(dir, SD_STORE_WRITE);
  assert_ok(sd_store_begin(a, &err), &err);
  assert_int_equal(sd_store_begin(b, &err), SD_ELOCKED);
  sd_store_rollback(a);
  sd_store_close(a);
  sd_store_close(b);
}

/* ---- a log that somebody reads ---- */

struct readers {
  sqlite3 *db[2];
  atomic_bool stop;
};

/* One begins before the other ends. */
static void *read_without_a_gap(void *ud) {
  struct readers *r = ud;
  for (unsigned turn = 0; !atomic_load(&r->stop); turn++) {
    if (sqlite3_exec(r->db[turn % 2], "BEGIN; SELECT count(*) FROM location", NULL, NULL, NULL))
      return r;
    usleep(5000);
    if (turn > 0) sqlite3_exec(r->db[1 - turn % 2], "COMMIT", NULL, NULL, NULL);
  }
  return NULL;
}

static off_t log_size(const char *dir) {
  struct stat st;
  return stat(at(dir, "library.db-wal"), &st) ? 0 : st.st_size;
}

static void readers_one_after_another_do_not_make_the_log_grow(void **state) {
  const char *dir = *state;
  enum { PAGES = 40, COMMITS = 400 };
  struct sd_err err;
  struct sd_store *s = new_library(dir);
  struct readers r = {0};
  pthread_t thread;
  for (int i = 0; i < 2; i++)
    assert_int_equal(sqlite3_open_v2(at(dir, "library.db"), &r.db[i],
                                     SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL),
                     SQLITE_OK);
  assert_int_equal(pthread_create(&thread, NULL, read_without_a_gap, &r), 0);
  for (int i = 0; i < COMMITS; i++) {
    assert_ok(sd_store_begin(s, &err), &err);
    exec(s, "INSERT OR REPLACE INTO name_pack VALUES(1, zeroblob(50000))");
    assert_ok(sd_store_commit(s, &err), &err);
    assert_ok(sd_store_checkpoint(s, PAGES, &err), &err);
  }
  atomic_store(&r.stop, true);
  void *failed = NULL;
  pthread_join(thread, &failed);
  assert_null(failed);
  for (int i = 0; i < 2; i++) sqlite3_close(r.db[i]);
  assert_true(log_size(dir) < (off_t)10 * PAGES * 16384);
  sd_store_close(s);
}

/* ---- places that cannot be written ---- */

static void open_read_only(void *ud) {
  const char *dir = ud;
  check(open_code(at(dir, "empty"), SD_STORE_WRITE) == -EACCES);
  check(open_code(at(dir, "full"), SD_STORE_WRITE) == -EACCES);
  check(open_code(at(dir, "full"), SD_STORE_READ) == 0);
  check(open_code(at(dir, "closed"), SD_STORE_READ) == -EACCES);
}

static void a_read_only_directory_is_an_error_that_says_so(void **state) {
  const char *dir = *state;
  if (geteuid() != 0) skip_because("not root: cannot become somebody else");
  static const char *const names[] = {"empty", "full", "closed"};
  for (int i = 0; i < 3; i++) make_dir(at(dir, names[i]));
  sd_store_close(new_library(at(dir, "full"))); /* -wal and -shm stay */
  chmod(at(dir, "closed"), 0700);
  assert_int_equal(in_child(NOBODY, open_read_only, (void *)dir), 0);
}

static int fill(struct sd_store *s, int64_t *id, struct sd_err *err) {
  struct sd_batch *b = sd_batch_new();
  struct sd_write_count n = {0};
  char name[64];
  for (int i = 0; i < 1000; i++) {
    snprintf(name, sizeof(name), "a name that takes some room %lld", (long long)++*id);
    add_entry(b, *id, ROOT, name, SD_KIND_FILE, 1);
  }
  int rc = try_write(s, b, &first, &n, err);
  sd_batch_free(b);
  return rc;
}

static void a_full_disk_leaves_a_good_library(void **state) {
  const char *dir = at(*state, "small");
  struct sd_err err;
  int64_t id = 100;
  int rc = 0;
  make_dir(dir);
  if (mount("tmpfs", dir, "tmpfs", 0, "size=2m") != 0) skip_because("mount is not permitted");
  struct sd_store *s = new_library(dir);
  for (int i = 0; !rc && i < 100; i++) rc = fill(s, &id, &err);
  sd_store_close(s);
  struct sd_buf copy = run("cp '%s'/library.db* '%s'", dir, (char *)*state);
  sd_buf_fini(&copy);
  umount2(dir, MNT_DETACH);
  assert_int_equal(rc, -ENOSPC);
  assert_sqlite((char *)*state, "PRAGMA integrity_check", "ok\n");
  assert_int_equal(
      run_number("sqlite3 '%s/library.db' 'SELECT count(*) FROM entry'", (char *)*state),
      (id - 100) / 1000 * 1000 - 1000 + 1);
  assert_totals(*state);
}

/* Two threads may open libraries of different versions: neither changes what the other has. */
static void the_scripts_of_a_version_stay_what_they_are(void **state) {
  (void)state;
  const char *const *fresh = sd_schema_scripts(0);
  const char *text = fresh[0];
  char *copy = strdup(text);
  assert_non_null(copy);
  assert_non_null(sd_schema_scripts(1)[0]);
  assert_non_null(sd_schema_scripts(2)[0]);
  assert_string_equal(text, copy);
  assert_ptr_equal(sd_schema_scripts(0), fresh);
  assert_null(sd_schema_scripts(SD_SCHEMA_VERSION)[0]);
  free(copy);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(a_new_library_has_its_marks_and_its_views),
      cmocka_unit_test(the_scripts_of_a_version_stay_what_they_are),
      temp_test(the_views_give_what_was_written),
      temp_test(a_rolled_back_batch_leaves_nothing),
      temp_test(a_refused_row_is_an_error_and_the_rest_is_written),
      temp_test(a_refused_directory_fails_the_transaction),
      temp_test(notes_become_error_and_skip_rows),
      temp_test(changed_bytes_drop_what_was_known_of_them),
      temp_test(totals_follow_a_difference_in_file_bytes_alone),
      temp_test(the_sweep_removes_a_tree_at_most_so_many_rows_at_a_time),
      temp_test(what_made_room_is_not_seen_and_not_counted),
      temp_test(what_was_replaced_passes_its_uuid_on),
      temp_test(a_moved_directory_takes_its_tree_along),
      temp_test(a_directory_moves_into_its_child),
      temp_test(two_directories_change_places),
      temp_test(nothing_is_moved_into_itself),
      temp_test(a_taken_place_is_cleared_for_what_moves_there),
      temp_test(a_taken_name_is_cleared_for_what_is_new),
      temp_test(nobody_makes_room_at_another_place),
      temp_test(a_moved_file_keeps_id_and_content),
      temp_test(an_inode_that_was_used_again_is_no_move),
      temp_test(a_new_name_of_a_file_is_a_move_once_for_each_name_that_is_gone),
      temp_test(a_tree_that_vanished_is_searched_in_pieces),
      temp_test(queue_changes_are_rows),
      temp_test(no_library_is_named_as_such),
      temp_test(a_newer_library_is_refused_and_untouched),
      temp_test(a_database_of_somebody_else_is_refused_and_untouched),
      temp_test(garbage_is_refused_and_untouched),
      temp_test(a_truncated_library_is_refused),
      temp_test(a_second_writer_is_told_that_it_is_locked),
      temp_test(readers_one_after_another_do_not_make_the_log_grow),
      temp_test(a_read_only_directory_is_an_error_that_says_so),
      temp_test(a_full_disk_leaves_a_good_library),
  };
  return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
