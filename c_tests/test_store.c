/* The library's file: what is written comes back, what is damaged is named, a failed write costs
 * nothing. The sqlite3 program looks at the same file from outside. */
#include "support.h"

#include <errno.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/schema.h"
#include "engine/store.h"

enum { ROOT = 1, LOCATION = 1, JOB = 7 };

static const struct sd_write_opts opts = {
    .location_id = LOCATION, .job_id = JOB, .want_content = true};

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
       "INSERT INTO directory VALUES(1,1,NULL,'',NULL,0,0,0,0,0,0)");
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

static void add_vanished(struct sd_batch *b, int64_t id) {
  b->vanished = grown(b->vanished, b->vanished_len, sizeof(*b->vanished));
  b->vanished[b->vanished_len++] = id;
  b->vanished_cap = b->vanished_len;
}

static int try_write(struct sd_store *s, const struct sd_batch *b, struct sd_write_count *n,
                     struct sd_err *err) {
  int rc = sd_store_begin(s, err);
  if (!rc) rc = sd_store_write_batch(s, b, &opts, n, err);
  if (!rc) rc = sd_store_commit(s, err);
  if (rc) sd_store_rollback(s);
  return rc;
}

/* Takes over the batch. */
static struct sd_write_count write_batch(struct sd_store *s, struct sd_batch *b) {
  struct sd_err err;
  struct sd_write_count n = {0};
  assert_ok(try_write(s, b, &n, &err), &err);
  sd_batch_free(b);
  return n;
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
  assert_sqlite(dir, "PRAGMA user_version", "2\n");
  assert_sqlite(dir, "PRAGMA journal_mode", "wal\n");
  assert_sqlite(dir,
                "SELECT group_concat(name) FROM (SELECT name FROM sqlite_schema WHERE type='view' "
                "ORDER BY 1)",
                "contents,directories,entries,errors,jobs,locations,skips\n");
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
  assert_ok(sd_store_write_batch(s, b, &opts, &n, &err), &err);
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
  add_entry(b, 11, 2, "four", SD_KIND_FILE, 5); /* is there */
  add_entry(b, 12, 2, "after", SD_KIND_FILE, 1);
  add_entry(b, 13, 3, "five", SD_KIND_FILE, 5); /* is there */
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
  add_dir(b, 11, 2, "b", "a/b"); /* is there */
  add_entry(b, 12, 11, "below", SD_KIND_FILE, 1);
  assert_int_equal(try_write(s, b, &n, &err), -EEXIST);
  assert_string_equal(err.msg, "a/b: the library has a directory of this name already");
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
       "INSERT INTO content VALUES(1,zeroblob(16),zeroblob(16),1,100,NULL,NULL,1,0,0),"
       "(2,zeroblob(16),x'01',1,1000,NULL,NULL,2,0,0);"
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

static uint64_t sweep(struct sd_store *s, int64_t limit, bool *left) {
  struct sd_err err;
  uint64_t removed;
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_sweep(s, JOB, limit, &removed, left, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  return removed;
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
  add_vanished(b, 2);
  add_vanished(b, 4); /* below it as well */
  add_vanished(b, 4711);
  write_batch(s, b);
  for (int calls = 0; left && calls < 10000; calls++) {
    uint64_t n = sweep(s, 100, &left);
    assert_true(n <= 100);
    all += n;
    if (calls < 5) assert_totals(dir);
  }
  assert_false(left);
  assert_int_equal(all, 1005);
  assert_sqlite(dir, "SELECT count(*) FROM entry", "2\n");
  assert_sqlite(dir, "SELECT count(*) FROM directory", "1\n");
  assert_sqlite(dir, "SELECT count(*) FROM vanished", "0\n");
  assert_totals(dir);
  sd_store_close(s);
}

static void what_became_a_file_loses_only_what_was_below_it(void **state) {
  const char *dir = *state;
  bool left;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  struct sd_entry *e = add_entry(b, 3, 2, "b", SD_KIND_FILE, 10);
  e->change = SD_CHANGE_CONTENT;
  b->deltas[0].delta.dirs--;
  b->deltas[0].delta.bytes = b->deltas[0].delta.allocated = 0;
  add_vanished(b, -3);
  write_batch(s, b);
  assert_int_equal(sweep(s, 1000, &left), 2);
  assert_false(left);
  assert_sqlite(dir, "SELECT group_concat(id) FROM (SELECT id FROM entry ORDER BY id)",
                "1,2,3,4,7\n");
  assert_sqlite(dir, "SELECT count(*) FROM directory", "2\n");
  assert_totals(dir);
  sd_store_close(s);
}

/* The job that saw a directory become a file was given up: its note is nobody's (job 0). */
/* The run that saw the file did not come to its sweep; in the next one the file is gone as well. */
static void a_directory_that_became_a_file_and_went_leaves_nothing(void **state) {
  const char *dir = *state;
  bool left;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  struct sd_entry *e = add_entry(b, 2, ROOT, "a", SD_KIND_FILE, 10);
  e->change = SD_CHANGE_CONTENT;
  b->deltas[0].delta.dirs--;
  b->deltas[0].delta.bytes = b->deltas[0].delta.allocated = 0;
  add_vanished(b, -2);
  write_batch(s, b);
  b = sd_batch_new();
  add_vanished(b, 2);
  write_batch(s, b);
  assert_int_equal(sweep(s, 1000, &left), 5);
  assert_false(left);
  assert_sqlite(dir, "SELECT group_concat(id) FROM (SELECT id FROM entry ORDER BY id)", "1,7\n");
  assert_sqlite(dir, "SELECT count(*) FROM directory", "1\n");
  assert_totals(dir);
  sd_store_close(s);
}

static void what_a_job_noted_that_was_given_up_is_swept_by_the_next(void **state) {
  const char *dir = *state;
  bool left;
  struct sd_err err;
  struct sd_store *s = new_library(dir);
  write_batch(s, small_tree());
  struct sd_batch *b = sd_batch_new();
  struct sd_entry *e = add_entry(b, 3, 2, "b", SD_KIND_FILE, 10);
  e->change = SD_CHANGE_CONTENT;
  b->deltas[0].delta.dirs--;
  b->deltas[0].delta.bytes = b->deltas[0].delta.allocated = 0;
  add_vanished(b, -3);
  add_vanished(b, -2); /* a directory again when it is swept: stays as it is */
  write_batch(s, b);
  assert_ok(sd_store_begin(s, &err), &err);
  assert_int_equal(sqlite3_exec(sd_store_db(s), "UPDATE vanished SET job_id=0", NULL, NULL, NULL),
                   SQLITE_OK);
  assert_ok(sd_store_commit(s, &err), &err);
  assert_int_equal(sweep(s, 1000, &left), 2);
  assert_false(left);
  assert_sqlite(dir, "SELECT count(*) FROM entry WHERE parent_id = 3", "0\n");
  assert_sqlite(dir, "SELECT count(*) FROM entry WHERE id IN (2, 3)", "2\n");
  assert_sqlite(dir, "SELECT count(*) FROM vanished", "0\n");
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
  int rc = try_write(s, b, &n, err);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(a_new_library_has_its_marks_and_its_views),
      temp_test(the_views_give_what_was_written),
      temp_test(a_rolled_back_batch_leaves_nothing),
      temp_test(a_refused_row_is_an_error_and_the_rest_is_written),
      temp_test(a_refused_directory_fails_the_transaction),
      temp_test(notes_become_error_and_skip_rows),
      temp_test(changed_bytes_drop_what_was_known_of_them),
      temp_test(totals_follow_a_difference_in_file_bytes_alone),
      temp_test(the_sweep_removes_a_tree_at_most_so_many_rows_at_a_time),
      temp_test(what_became_a_file_loses_only_what_was_below_it),
      temp_test(a_directory_that_became_a_file_and_went_leaves_nothing),
      temp_test(what_a_job_noted_that_was_given_up_is_swept_by_the_next),
      temp_test(queue_changes_are_rows),
      temp_test(no_library_is_named_as_such),
      temp_test(a_newer_library_is_refused_and_untouched),
      temp_test(a_database_of_somebody_else_is_refused_and_untouched),
      temp_test(garbage_is_refused_and_untouched),
      temp_test(a_truncated_library_is_refused),
      temp_test(a_second_writer_is_told_that_it_is_locked),
      temp_test(a_read_only_directory_is_an_error_that_says_so),
      temp_test(a_full_disk_leaves_a_good_library),
  };
  return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
