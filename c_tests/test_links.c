/* What hard links count twice, by directory: what is stored is what SQL adds up of the names below
 * each, when nothing is noted any more. SD_SEED repeats a run. */
#include "support.h"

#include <sqlite3.h>

#include "engine/store.h"

enum { ROOT = 1, DIRS = 20, NAMES = 400 };

static const struct sd_write_opts first = {.location_id = 1, .job_id = 7};

static void exec(struct sd_store *s, const char *sql) {
  if (sqlite3_exec(sd_store_db(s), sql, NULL, NULL, NULL) != SQLITE_OK)
    fail_msg("%s: %s", sql, sqlite3_errmsg(sd_store_db(s)));
}

static int64_t number(struct sd_store *s, const char *sql) {
  sqlite3_stmt *q;
  if (sqlite3_prepare_v2(sd_store_db(s), sql, -1, &q, NULL) != SQLITE_OK)
    fail_msg("%s: %s", sql, sqlite3_errmsg(sd_store_db(s)));
  assert_int_equal(sqlite3_step(q), SQLITE_ROW);
  int64_t n = sqlite3_column_int64(q, 0);
  sqlite3_finalize(q);
  return n;
}

/* Directories 1 to DIRS, each but the first in one before it that `rng` draws, or in the first. */
static struct sd_store *new_library(const char *dir, uint64_t *rng) {
  struct sd_err err;
  struct sd_store *s = NULL;
  assert_ok(sd_store_open(dir, SD_STORE_WRITE, &s, &err), &err);
  exec(s,
       "INSERT INTO location(id,uuid,root,entry_id,created_at,state)"
       " VALUES(1,zeroblob(16),'/data',1,0,'new')");
  for (int id = 1; id <= DIRS; id++) {
    char sql[400];
    int above = id == 1 ? -1 : rng ? 1 + (int)rng_below(rng, (uint32_t)id - 1) : 1;
    snprintf(sql, sizeof(sql),
             "INSERT INTO entry(id,parent_id,name,kind,nlink,dev,ino) VALUES(%d,%d,'d%d',2,2,1,%d);"
             "INSERT INTO directory(entry_id,location_id,path,files,dirs,symlinks,file_bytes,bytes,"
             "allocated) VALUES(%d,1,'',0,0,0,0,0,0)",
             id, above, id, id, id);
    exec(s, sql);
  }
  return s;
}

struct one {
  int64_t id, parent, dev, ino, size, allocated;
  uint32_t nlink;
};

/* As a walk that found it. */
static void add_name(struct sd_store *s, const struct one *n) {
  struct sd_err err;
  struct sd_write_count count = {0};
  char name[32];
  snprintf(name, sizeof(name), "n%lld", (long long)n->id);
  struct sd_batch *b = sd_batch_new();
  assert_non_null(b);
  b->entries = calloc(1, sizeof(*b->entries));
  assert_non_null(b->entries);
  b->entries_len = b->entries_cap = 1;
  *b->entries = (struct sd_entry){
      .id = n->id, .parent_id = n->parent, .change = SD_CHANGE_INSERT, .name_text = true};
  b->entries->name = sd_arena_copy(&b->arena, name, strlen(name));
  b->entries->name_len = (uint16_t)strlen(name);
  b->entries->st = (struct sd_stat){.kind = SD_KIND_FILE,
                                    .size = n->size,
                                    .allocated = n->allocated,
                                    .dev = (uint64_t)n->dev,
                                    .ino = (uint64_t)n->ino,
                                    .nlink = n->nlink};
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_write_batch(s, b, &first, &count, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  assert_int_equal(count.inserted, 1);
  sd_batch_free(b);
}

/* A call: whether more are needed. */
static bool settle(struct sd_store *s, int64_t limit) {
  struct sd_err err;
  bool left;
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_settle_links(s, limit, &left, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  return left;
}

static const char noted[] =
    "SELECT (SELECT count(*) FROM link_todo)+(SELECT count(*) FROM link_moved)+(SELECT count(*)"
    " FROM link_scan)";

static void settle_all(struct sd_store *s) {
  while (settle(s, 1000)) {
  }
  assert_int_equal(number(s, noted), 0);
}

static const char wrong_excess[] =
    "WITH RECURSIVE up(dir,dev,ino,size,allocated) AS (SELECT parent_id,dev,ino,size,allocated FROM"
    " entry WHERE nlink>1 AND kind<>2 UNION ALL SELECT e.parent_id,u.dev,u.ino,u.size,u.allocated"
    " FROM up u JOIN entry e ON e.id=u.dir), inode AS (SELECT dir,sum(size)-max(size) AS b,"
    " sum(allocated)-max(allocated) AS a FROM up GROUP BY dir,dev,ino)"
    " SELECT count(*) FROM directory d WHERE (excess_bytes,excess_allocated) IS NOT (SELECT"
    " coalesce(sum(b),0),coalesce(sum(a),0) FROM inode WHERE dir=d.entry_id)";

static int64_t excess_of(struct sd_store *s, int64_t dir) {
  char sql[96];
  snprintf(sql, sizeof(sql), "SELECT excess_bytes FROM directory WHERE entry_id=%lld",
           (long long)dir);
  return number(s, sql);
}

/* ---- any changes ---- */

static const int64_t inodes[] = {1, 2, 62, 63, 64, 65, 127, 128, 4000, -1, -64, -65, INT64_MAX};
static const int64_t devices[] = {1, 2, 1 << 20, -5};
static const int64_t sizes[] = {0, 1, 100, 100, 100, INT64_C(1) << 40};

#define PICK(rng, list) (list)[rng_below(rng, sizeof(list) / sizeof((list)[0]))]

static struct one any_name(uint64_t *rng, int64_t id) {
  return (struct one){.id = id,
                      .parent = 1 + rng_below(rng, DIRS),
                      .dev = PICK(rng, devices),
                      .ino = PICK(rng, inodes),
                      .size = PICK(rng, sizes),
                      .allocated = PICK(rng, sizes),
                      .nlink = rng_below(rng, 5) ? 2 : 1};
}

static void change_any(struct sd_store *s, uint64_t *rng) {
  char sql[256];
  int id = 100 + (int)rng_below(rng, NAMES);
  struct one n = any_name(rng, id);
  switch (rng_below(rng, 6)) {
    case 0: snprintf(sql, sizeof(sql), "DELETE FROM entry WHERE id=%d", id); break;
    case 1:
      snprintf(sql, sizeof(sql), "UPDATE entry SET parent_id=%lld WHERE id=%d", (long long)n.parent,
               id);
      break;
    case 2:
      snprintf(sql, sizeof(sql), "UPDATE entry SET size=%lld WHERE id=%d", (long long)n.size, id);
      break;
    case 3:
      snprintf(sql, sizeof(sql), "UPDATE entry SET allocated=%lld WHERE id=%d",
               (long long)n.allocated, id);
      break;
    case 4: snprintf(sql, sizeof(sql), "UPDATE entry SET nlink=%u WHERE id=%d", n.nlink, id); break;
    default:
      snprintf(sql, sizeof(sql), "UPDATE entry SET dev=%lld,ino=%lld,size=%lld WHERE id=%d",
               (long long)n.dev, (long long)n.ino, (long long)n.size, id);
  }
  exec(s, sql);
}

/* Names come and change before, between and after the pieces of the first look at all of them. */
static void after_any_changes_it_is_what_the_names_add_up_to(void **state) {
  uint64_t rng = test_seed();
  int settled = 0;
  struct sd_store *s = new_library(*state, &rng);
  for (int round = 0, id = 100; round < 600; round++) {
    for (uint32_t k = rng_below(&rng, 4); k && id < 100 + NAMES; k--) {
      struct one n = any_name(&rng, id++);
      add_name(s, &n);
    }
    for (uint32_t k = rng_below(&rng, 5); k; k--) change_any(s, &rng);
    for (uint32_t k = rng_below(&rng, 4); k; k--) settle(s, 1 + rng_below(&rng, 10));
    if (number(s, noted)) continue;
    assert_int_equal(number(s, wrong_excess), 0);
    settled++;
  }
  assert_true(settled > 20);
  settle_all(s);
  assert_int_equal(number(s, wrong_excess), 0);
  exec(s, "UPDATE entry SET nlink=1");
  settle_all(s);
  assert_int_equal(number(s, wrong_excess), 0);
  assert_int_equal(number(s, "SELECT count(*) FROM link_excess"), 0);
  sd_store_close(s);
}

/* ---- what is noted ---- */

static void a_new_name_is_noted_only_when_all_have_been_looked_at(void **state) {
  struct sd_store *s = new_library(*state, NULL);
  struct one n = {.id = 100, .parent = 2, .dev = 1, .ino = 9, .size = 10, .nlink = 3};
  add_name(s, &n);
  assert_int_equal(number(s, "SELECT count(*) FROM link_todo"), 0);
  settle_all(s);
  n.id = 101, n.nlink = 1;
  add_name(s, &n);
  assert_int_equal(number(s, "SELECT count(*) FROM link_todo"), 0);
  n.id = 102, n.nlink = 3;
  add_name(s, &n);
  assert_int_equal(number(s, "SELECT count(*) FROM link_todo WHERE dev=1 AND ino=9"), 1);
  settle_all(s);
  assert_int_equal(excess_of(s, 2), 10);
  assert_int_equal(excess_of(s, ROOT), 10);
  sd_store_close(s);
}

static void add_many(struct sd_store *s, int64_t id, int n) {
  for (int i = 0; i < n; i++) {
    struct one name = {.id = id + i, .parent = 2 + i % 2, .dev = 1, .ino = id + i / 2, .nlink = 2};
    name.size = 10;
    add_name(s, &name);
  }
}

/* Then a further location costs no note for each name. An inode that is gone is still noted. */
static void where_most_names_are_new_all_are_looked_at(void **state) {
  struct sd_store *s = new_library(*state, NULL);
  add_many(s, 100, 10);
  settle_all(s);
  assert_int_equal(excess_of(s, ROOT), 50);
  exec(s, "DELETE FROM entry WHERE id IN (100,101)");
  add_many(s, 1000, 1000);
  assert_int_equal(number(s, "SELECT count(*) FROM link_scan"), 1);
  assert_true(number(s, "SELECT count(*) FROM link_todo") < 300);
  assert_true(settle(s, 100));
  assert_int_equal(number(s, "SELECT count(*) FROM link_todo WHERE ino=100"), 1);
  settle_all(s);
  assert_int_equal(excess_of(s, ROOT), 50 - 10 + 5000);
  assert_int_equal(number(s, wrong_excess), 0);
  add_many(s, 3000, 255);
  assert_int_equal(number(s, "SELECT count(*) FROM link_scan"), 0);
  settle_all(s);
  add_many(s, 4000, 300);
  assert_int_equal(number(s, "SELECT count(*) FROM link_scan"), 0);
  settle_all(s);
  assert_int_equal(number(s, wrong_excess), 0);
  sd_store_close(s);
}

/* A rescan writes times, and so on, of every name of an inode that was touched. */
static void what_counts_for_nothing_is_not_noted(void **state) {
  struct sd_store *s = new_library(*state, NULL);
  struct one n = {.id = 100, .parent = 2, .dev = 1, .ino = 9, .size = 10, .nlink = 3};
  add_name(s, &n);
  settle_all(s);
  exec(s,
       "UPDATE entry SET mtime=5,size=10,nlink=2,parent_id=2,name='x',content_id=0 WHERE id=100;"
       "UPDATE entry SET size=6,parent_id=parent_id WHERE id=2");
  assert_int_equal(number(s, noted), 0);
  exec(s, "UPDATE entry SET parent_id=3 WHERE id=100");
  assert_int_equal(number(s, noted), 1);
  sd_store_close(s);
}

static void a_moved_directory_is_looked_through_in_pieces(void **state) {
  struct sd_store *s = new_library(*state, NULL);
  exec(s, "UPDATE entry SET parent_id=2 WHERE id BETWEEN 3 AND 8");
  for (int i = 0; i < 30; i++) {
    struct one n = {.id = 100 + i, .parent = 3 + i % 6, .dev = 1, .ino = 1 + i, .nlink = 2};
    add_name(s, &n);
  }
  settle_all(s);
  exec(s, "UPDATE entry SET parent_id=9 WHERE id=2");
  assert_int_equal(number(s, "SELECT count(*) FROM link_moved"), 1);
  assert_true(settle(s, 8));
  assert_true(number(s, "SELECT count(*) FROM link_moved") > 1);
  settle_all(s);
  exec(s, "DELETE FROM entry WHERE kind=1");
  settle_all(s);
  exec(s, "UPDATE entry SET parent_id=10 WHERE id=2"); /* nobody has two names: nothing to do */
  assert_false(settle(s, 2));
  assert_int_equal(number(s, noted), 0);
  sd_store_close(s);
}

/* ---- extremes ---- */

static void of_names_with_different_sizes_the_largest_counts(void **state) {
  struct sd_store *s = new_library(*state, NULL);
  const int64_t parents[] = {2, 2, 3, 3}, bytes[] = {5, 9, 7, 7}, blocks[] = {40, 10, 20, 30};
  for (int i = 0; i < 4; i++) {
    struct one n = {100 + i, parents[i], 1, 9, bytes[i], blocks[i], 4};
    add_name(s, &n);
  }
  settle_all(s);
  assert_int_equal(excess_of(s, 2), 5);
  assert_int_equal(excess_of(s, 3), 7);
  assert_int_equal(excess_of(s, ROOT), 5 + 7 + 7);
  assert_int_equal(number(s, "SELECT excess_allocated FROM directory WHERE entry_id=1"), 60);
  assert_int_equal(number(s, wrong_excess), 0);
  sd_store_close(s);
}

/* As all totals: what is added and taken away again leaves what was there before. */
static void sums_wrap(void **state) {
  struct sd_store *s = new_library(*state, NULL);
  for (int i = 0; i < 6; i++) {
    struct one n = {100 + i, 2 + i % 2, 1, 9, INT64_MAX, INT64_MIN, 6};
    add_name(s, &n);
  }
  settle_all(s);
  assert_int_equal(excess_of(s, ROOT), (int64_t)(5 * (uint64_t)INT64_MAX));
  assert_int_equal(excess_of(s, 2), (int64_t)(2 * (uint64_t)INT64_MAX));
  exec(s, "DELETE FROM entry WHERE id>100");
  settle_all(s);
  assert_int_equal(number(s, "SELECT total(excess_bytes<>0 OR excess_allocated<>0) FROM directory"),
                   0);
  sd_store_close(s);
}

static void what_is_damaged_is_named(void **state) {
  struct sd_store *s = new_library(*state, NULL);
  struct sd_err err;
  bool left;
  for (int i = 0; i < 2; i++) {
    struct one n = {100 + i, 2 + i, 1, 9, 10, 10, 2};
    add_name(s, &n);
  }
  settle_all(s);
  for (int i = 0; i < 2; i++) {
    exec(s, i ? "UPDATE link_excess SET data=x'00'"
              : "UPDATE entry SET parent_id=3 WHERE id=2; UPDATE entry SET parent_id=2 WHERE id=3");
    exec(s, "INSERT OR IGNORE INTO link_todo VALUES(1,9)");
    assert_ok(sd_store_begin(s, &err), &err);
    assert_int_equal(sd_store_settle_links(s, 100, &left, &err), SD_EDAMAGED);
    sd_store_rollback(s);
    exec(s, "UPDATE entry SET parent_id=1 WHERE id IN (2,3)");
  }
  sd_store_close(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(after_any_changes_it_is_what_the_names_add_up_to),
      temp_test(a_new_name_is_noted_only_when_all_have_been_looked_at),
      temp_test(where_most_names_are_new_all_are_looked_at),
      temp_test(what_counts_for_nothing_is_not_noted),
      temp_test(a_moved_directory_is_looked_through_in_pieces),
      temp_test(of_names_with_different_sizes_the_largest_counts),
      temp_test(sums_wrap),
      temp_test(what_is_damaged_is_named),
  };
  return cmocka_run_group_tests_name("links", tests, NULL, NULL);
}
