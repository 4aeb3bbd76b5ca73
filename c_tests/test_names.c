/* Names packed for searching: what a pack holds, what matches, and that the index says at every
 * moment what the entries say. */
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/gather.h"
#include "engine/grams.h"
#include "engine/matcher.h"
#include "engine/name_index.h"
#include "engine/reader.h"
#include "engine/schema.h"
#include "engine/wildcard.h"
#include "support.h"

/* ---- packs ---- */

static const struct {
  int64_t id, parent;
  uint8_t kind;
  const char *name;
} some[] = {{128, 7, 1, "a"},
            {129, 7, 2, "\xff\xfe"},
            {131, -3, 2, "root"},
            {160, 7, 1, "long name with spaces"},
            {191, 9, 8, "\n"}};
enum { SOME = sizeof(some) / sizeof(some[0]) };

static void build_some(struct sd_pack_builder *b) {
  sd_pack_begin(b);
  for (int i = 0; i < SOME; i++)
    assert_int_equal(sd_pack_add(b, some[i].id, some[i].parent, some[i].kind, some[i].name,
                                 strlen(some[i].name)),
                     0);
  assert_int_equal(sd_pack_end(b), 0);
}

static void a_pack_gives_what_was_put_in(void **state) {
  (void)state;
  struct sd_pack_builder b = {0};
  struct sd_pack p;
  for (int again = 0; again < 2; again++) { /* a builder is used more than once */
    build_some(&b);
    assert_int_equal(sd_pack_open(b.out.data, b.out.len, &p), 0);
    const char *name = p.text + 1;
    for (unsigned i = 0; i < SOME; i++, name += strlen(name) + 1) {
      struct sd_packed e = sd_pack_entry(&p, i);
      assert_int_equal(e.offset, some[i].id - 128);
      assert_int_equal(e.parent_id, some[i].parent);
      assert_int_equal(e.kind, some[i].kind);
      assert_string_equal(name, some[i].name);
    }
    assert_ptr_equal(name, p.text + p.text_len);
  }
  sd_pack_fini(&b);
}

static void an_empty_pack_is_one(void **state) {
  (void)state;
  struct sd_pack_builder b = {0};
  struct sd_pack p;
  sd_pack_begin(&b);
  assert_int_equal(sd_pack_end(&b), 0);
  assert_int_equal(sd_pack_open(b.out.data, b.out.len, &p), 0);
  assert_int_equal(p.text_len, 0);
  sd_pack_fini(&b);
}

static void a_full_pack_has_64_names_and_parents(void **state) {
  (void)state;
  struct sd_pack_builder b = {0};
  struct sd_pack p;
  sd_pack_begin(&b);
  for (int i = 0; i < 64; i++) assert_int_equal(sd_pack_add(&b, 640 + i, i, 1, "x", 1), 0);
  assert_int_equal(sd_pack_end(&b), 0);
  assert_int_equal(sd_pack_open(b.out.data, b.out.len, &p), 0);
  for (unsigned i = 0; i < 64; i++) {
    assert_int_equal(sd_pack_entry(&p, i).parent_id, i);
    assert_int_equal(sd_pack_entry(&p, i).offset, i);
  }
  sd_pack_fini(&b);
}

/* Every byte changed, every length cut: refused, or (a checksum of 32 bits) harmless. */
static void a_damaged_pack_is_refused(void **state) {
  (void)state;
  struct sd_pack_builder b = {0};
  struct sd_pack p;
  build_some(&b);
  for (size_t n = 0; n < b.out.len; n++)
    assert_int_equal(sd_pack_open(b.out.data, n, &p), SD_EFORMAT);
  for (size_t i = 0; i < b.out.len; i++) {
    b.out.data[i] ^= 0x41;
    assert_int_equal(sd_pack_open(b.out.data, b.out.len, &p), SD_EFORMAT);
    b.out.data[i] ^= 0x41;
  }
  sd_pack_fini(&b);
}

/* ---- rows of trigrams ---- */

static unsigned mask_of(const struct sd_grams *g, unsigned mask) {
  uint16_t masks[SD_MASK_OCTET];
  sd_grams_masks(g, mask / SD_MASK_OCTET, masks);
  return masks[mask % SD_MASK_OCTET];
}

static void every_substring_finds_its_pack(void **state) {
  (void)state;
  static const char text[] = "\0IMG_2009.JPG\0caf\303\251 au lait\0ab\0";
  static const char *const needles[] = {"IMG", "img_2009.jpg", "9.JP", "caf\303\251", " au"};
  struct sd_gram grams[16];
  struct sd_grams *g = calloc(1, sizeof(*g));
  sd_grams_add(g, 1077, text, sizeof(text) - 1);
  for (int k = 0; k < 5; k++) {
    unsigned n = sd_grams_of(needles[k], strlen(needles[k]), grams, 16);
    assert_true(n > 0);
    for (unsigned i = 0; i < n; i++) {
      assert_true(g->words[1077 / 64][grams[i].row] & UINT64_C(1) << 1077 % 64);
      assert_int_equal(mask_of(g, grams[i].mask), 1 << 1077 / 256);
    }
  }
  assert_int_equal(sd_grams_of("ab", 2, grams, 16), 0);
  assert_int_equal(sd_grams_of("abcdefgh", 8, grams, 3), 3);
  unsigned n = sd_grams_of("gca", 3, grams, 16); /* not across names */
  assert_int_equal(n, 1);
  assert_false(g->words[1077 / 64][grams[0].row]);
  assert_false(mask_of(g, grams[0].mask));
  free(g);
}

/* ---- what matches ---- */

static bool glob(const char *pattern, const char *s, bool ignore_case, bool path) {
  struct sd_wildcard_opts o = {.ignore_case = ignore_case, .path = path};
  return sd_wildcard_match(pattern, strlen(pattern), s, strlen(s), &o);
}

static void globs_match_as_in_the_shell(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *s;
    bool want;
  } cases[] = {
      {"*", "", true},
      {"*", "a/b", true},
      {"*.jpg", "a.jpg", true},
      {"*.jpg", ".jpg", true},
      {"*.jpg", "a.jpg~", false},
      {"a?c", "abc", true},
      {"a?c", "ac", false},
      {"a?c", "a\303\251c", true}, /* one character */
      {"a?c", "a\303c", true},     /* one byte that is none */
      {"a??c", "a\303\251c", false},
      {"[a-c]x", "bx", true},
      {"[!a-c]x", "bx", false},
      {"[^a-c]x", "dx", true},
      {"[]]", "]", true},
      {"[a-]", "-", true},
      {"[\303\240-\303\277]", "\303\251", true},
      {"[", "[", true}, /* nothing closes it */
      {"a[b", "a[b", true},
      {"\\*", "*", true},
      {"\\*", "a", false},
      {"[\\]]", "]", true},
      {"[[:upper:]][[:lower:]]", "Ab", true},
      {"[[:upper:]]", "a", false},
      {"[![:alpha:]]x", "5x", true},
      {"[^[:alpha:][:digit:]]", "5", false},
      {"[[:digit:]a-c]", "b", true},
      {"[[:space:]]", "\v", true},
      {"[![:alpha:]]", "\303\251", true}, /* classes are those of ASCII */
      {"[[:foo:]]", "f", false},
      {"[![:foo:]]", "f", false},
      {"[[:alpha]x", ":x", true},
      {"[[:alpha:]", "[:", true}, /* nothing closes the first one */
      {"[[:]x", ":x", true},
      {"a*b*c*d", "axxbxxcxxd", true},
      {"a*b*c*d", "axxbxxcxx", false},
      {"*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
      {"", "", true},
      {"", "a", false},
      {"A", "a", false},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
    if (glob(cases[i].pattern, cases[i].s, false, false) != cases[i].want)
      fail_msg("%s and %s", cases[i].pattern, cases[i].s);
  assert_true(glob("*.JP[F-H]", "x.jpg", true, false));
  assert_true(glob("img*", "IMG_1", true, false));
}

static void globs_over_paths_mind_slashes(void **state) {
  (void)state;
  assert_true(glob("/a/*", "/a/b", false, true));
  assert_false(glob("/a/*", "/a/b/c", false, true));
  assert_true(glob("/a/**", "/a/b/c", false, true));
  assert_true(glob("**/c", "/a/b/c", false, true));
  assert_true(glob("/**/b*/*.c", "/x/y/b1/f.c", false, true));
  assert_false(glob("/a?b", "/a/b", false, true));
  assert_false(glob("/a[/]b", "/a/b", false, true));
  assert_true(glob("/a/**/**/d", "/a/b/c/d", false, true));
}

static void the_literal_of_a_glob_is_in_every_match(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *want;
  } cases[] = {{"*.jpg", ".jpg"},    {"a*bcd*e", "bcd"}, {"*", ""},
               {"ab[cd]efg", "efg"}, {"a\\*b", "a"},     {"[", "["},
               {"abc[", "abc["},     {"?x?", "x"},       {"[[:alpha:]]yz", "yz"}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    const char *p;
    size_t n = sd_wildcard_literal(cases[i].pattern, strlen(cases[i].pattern), &p);
    assert_int_equal(n, strlen(cases[i].want));
    assert_memory_equal(p, cases[i].want, n);
  }
}

static int match(int kind, const char *pattern, const char *s) {
  struct sd_err err;
  struct sd_matcher *m;
  size_t offset;
  assert_ok(sd_matcher_open(kind, pattern, strlen(pattern), &m, &offset, &err), &err);
  int rc = sd_matcher_match(m, s, strlen(s), &err);
  sd_matcher_close(m);
  return rc;
}

static void all_kinds_of_patterns_match(void **state) {
  (void)state;
  const int i = SD_MATCH_IGNORE_CASE;
  assert_int_equal(match(SD_MATCH_CONTAINS, "b", "abc"), 1);
  assert_int_equal(match(SD_MATCH_CONTAINS, "B", "abc"), 0);
  assert_int_equal(match(SD_MATCH_CONTAINS | i, "B", "abc"), 1);
  assert_int_equal(match(SD_MATCH_CONTAINS, "", ""), 1);
  assert_int_equal(match(SD_MATCH_BEGINS, "ab", "abc"), 1);
  assert_int_equal(match(SD_MATCH_BEGINS, "bc", "abc"), 0);
  assert_int_equal(match(SD_MATCH_ENDS | i, "BC", "abc"), 1);
  assert_int_equal(match(SD_MATCH_ENDS, "abcd", "abc"), 0);
  assert_int_equal(match(SD_MATCH_REGEX, "^a.c$", "abc"), 1);
  assert_int_equal(match(SD_MATCH_REGEX | i, "^A", "abc"), 1);
  assert_int_equal(match(SD_MATCH_GLOB | i, "A*", "abc"), 1);
  assert_int_equal(match(SD_MATCH_GLOB_PATH, "/*", "/a/b"), 0);
  /* What ASCII does not fold. */
  assert_int_equal(match(SD_MATCH_CONTAINS | i, "\303\211T\303\211.", "\303\251t\303\251."), 1);
  assert_int_equal(match(SD_MATCH_CONTAINS | i, "\303\211T\303\211.", "\303\251t\303\251x"), 0);
  assert_int_equal(match(SD_MATCH_BEGINS | i, "\303\211", "x\303\251"), 0);
  assert_int_equal(match(SD_MATCH_ENDS | i, "\303\211", "x\303\251"), 1);
  struct sd_err err;
  struct sd_matcher *m;
  size_t offset;
  assert_int_equal(sd_matcher_open(SD_MATCH_REGEX, "a(b", 3, &m, &offset, &err), SD_EPATTERN);
  assert_int_equal(offset, 3);
  assert_int_equal(sd_matcher_open(77, "a", 1, &m, &offset, &err), SD_EPATTERN);
}

/* ---- the index ---- */

static struct sd_store *open_library(const char *dir) {
  struct sd_err err;
  struct sd_store *s;
  assert_ok(sd_store_open(dir, SD_STORE_WRITE, &s, &err), &err);
  return s;
}

static void exec(struct sd_store *s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *sql = sqlite3_vmprintf(fmt, ap);
  va_end(ap);
  if (sqlite3_exec(sd_store_db(s), sql, NULL, NULL, NULL) != SQLITE_OK)
    fail_msg("%s: %s", sql, sqlite3_errmsg(sd_store_db(s)));
  sqlite3_free(sql);
}

/* As the writer's batches do it: those below the end are noted. */
static void insert(struct sd_store *s, int64_t id, int64_t parent, const char *name, size_t len) {
  struct sd_err err;
  struct sd_batch *b = sd_batch_new();
  struct sd_write_opts o = {.location_id = 1, .job_id = 1};
  struct sd_write_count n = {0};
  struct sd_entry *e = calloc(1, sizeof(*e));
  b->entries = e;
  b->entries_len = b->entries_cap = 1;
  e->id = id;
  e->parent_id = parent;
  e->name = sd_arena_copy(&b->arena, name, len);
  e->name_len = (uint16_t)len;
  e->change = SD_CHANGE_INSERT;
  e->st.kind = SD_KIND_FILE;
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_store_write_batch(s, b, &o, &n, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  assert_int_equal(n.inserted, 1);
  sd_batch_free(b);
}

static void fill(struct sd_store *s, int64_t from, int64_t to) {
  exec(s,
       "INSERT INTO entry(id,parent_id,name,kind) WITH RECURSIVE n(i) AS (SELECT %lld UNION ALL"
       " SELECT i+1 FROM n WHERE i<%lld) SELECT i, -1-i/50, 'name '||i||' of '||(i*7919%%1000), 1"
       " FROM n",
       (long long)from, (long long)to - 1);
}

static int build(struct sd_store *s) {
  struct sd_err err;
  bool left = true;
  int calls = 0;
  for (; left; calls++) {
    assert_ok(sd_store_begin(s, &err), &err);
    assert_ok(sd_name_index_build(s, &left, &err), &err);
    assert_ok(sd_store_commit(s, &err), &err);
    assert_true(calls < 100);
  }
  return calls;
}

static long long count(const char *dir, const char *sql) {
  struct sd_err err;
  struct sd_reader *r;
  struct sd_select *q;
  size_t used;
  assert_ok(sd_reader_open(dir, NULL, &r, &err), &err);
  assert_ok(sd_select_open(r, sql, strlen(sql), &q, &used, &err), &err);
  int rc = sd_select_next(q, &err);
  if (rc != 1) fail_msg("%s: %s", sql, err.msg);
  long long n = sd_select_value(q, 0).i;
  sd_select_close(q);
  sd_reader_close(r);
  return n;
}

/* The index gives what a look at all entries gives: as many, and the same sums. */
static void assert_right(const char *dir, const char *needle, int kind) {
  char sql[1024];
  static const char sums[] =
      "count(*)||' '||ifnull(sum(id),0)||' '||ifnull(sum(id*(parent_id+9)*(kind+3)),0)"
      "||' '||ifnull(sum(length(CAST(name AS BLOB))*(id%977)),0)";
  snprintf(sql, sizeof(sql),
           "SELECT (SELECT %s FROM sd_names('%s',%d)) <> (SELECT %s FROM entry"
           " WHERE sd_match(%d,'%s',name))",
           sums, needle, kind, sums, kind, needle);
  if (count(dir, sql)) fail_msg("%s, kind %d: not what the entries say", needle, kind);
}

static void assert_all_right(const char *dir) {
  static const struct {
    const char *needle;
    int kind;
  } some_patterns[] = {
      {"name 77", 0},    {"of 4", 0},   {"x", 0},  {"", 0},     {"NAME 123", 8}, {"*of 99", 1},
      {"^name .*9$", 2}, {"name 1", 3}, {" 7", 4}, {"late", 0}, {"renamed", 0},  {"AME 5", 8},
  };
  for (size_t i = 0; i < sizeof(some_patterns) / sizeof(some_patterns[0]); i++)
    assert_right(dir, some_patterns[i].needle, some_patterns[i].kind);
}

static void little_is_left_as_it_is(void **state) {
  struct sd_store *s = open_library(*state);
  fill(s, 1, 3000);
  assert_int_equal(build(s), 1);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_pack"), 0);
  assert_all_right(*state);
  sd_store_close(s);
}

static void much_is_packed_and_a_second_time_nothing_is_written(void **state) {
  struct sd_store *s = open_library(*state);
  fill(s, 1, 300000); /* two segments, the second one not full */
  assert_int_equal(build(s), 2);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_pack"), 300000 / 64);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_gram"), 2 * 1024);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_mask"), 256); /* of the first one */
  assert_all_right(*state);
  int before = sqlite3_total_changes(sd_store_db(s));
  assert_int_equal(build(s), 1);
  assert_int_equal(sqlite3_total_changes(sd_store_db(s)), before);
  sd_store_close(s);
}

/* Packs that are damaged are no trouble to who does not look at them. */
static void what_nothing_has_is_looked_for_in_no_pack(void **state) {
  static const char *const absent[] = {"zqx", "qjz", "%%%", "zeb", "zebra", "xyz.c", "IMG"};
  char sql[256];
  struct sd_store *s = open_library(*state);
  exec(s,
       "INSERT INTO entry(id,parent_id,name,kind) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL"
       " SELECT i+1 FROM n WHERE i<4096*64-1) SELECT i, -1-i/50,"
       " printf('%%08x%%08x', i*2654435761&0xffffffff, i*2246822519&0xffffffff), 1 FROM n");
  build(s);
  exec(s, "UPDATE name_pack SET data=x'00'");
  for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM sd_names('%s', 8)", absent[i]);
    assert_int_equal(count(*state, sql), 0);
  }
  sd_store_close(s);
}

/* As one of version 2, which nobody has written to since. */
static void a_library_without_masks_is_searched(void **state) {
  struct sd_store *s = open_library(*state);
  fill(s, 1, 100000);
  build(s);
  exec(s, "DROP TABLE name_mask");
  assert_all_right(*state);
  sd_store_close(s);
}

/* As batches of a walker, of `step` entries. */
static void fill_by_batches(struct sd_store *s, int64_t from, int64_t to, int64_t step) {
  struct sd_err err;
  struct sd_write_opts o = {.location_id = 1, .job_id = 1};
  struct sd_gather g = {0};
  for (int64_t first = from; first < to; first += step) {
    struct sd_batch *b = sd_batch_new();
    sd_gather_begin(&g);
    struct sd_write_count n = {0};
    int64_t stop = first + step < to ? first + step : to;
    b->entries = calloc((size_t)step, sizeof(*b->entries));
    b->entries_cap = (size_t)step;
    for (int64_t id = first; id < stop; id++) {
      char name[48];
      int len = snprintf(name, sizeof(name), "name %lld of %lld", (long long)id,
                         (long long)(id * 7919 % 1000));
      b->entries[b->entries_len++] = (struct sd_entry){
          .id = id,
          .parent_id = -1 - id / 50,
          .name = sd_arena_copy(&b->arena, name, (size_t)len),
          .name_len = (uint16_t)len,
          .name_text = true,
          .change = SD_CHANGE_INSERT,
          .st = {.kind = SD_KIND_FILE},
      };
      assert_int_equal(sd_gather_add(&g, b, &b->entries[b->entries_len - 1]), 0);
    }
    assert_ok(sd_store_begin(s, &err), &err);
    assert_ok(sd_store_write_batch(s, b, &o, &n, &err), &err);
    assert_ok(sd_store_commit(s, &err), &err);
    sd_batch_free(b);
  }
  sd_gather_fini(&g);
}

static void batches_bring_their_packs_with_them(void **state) {
  struct sd_store *s = open_library(*state);
  for (int64_t id = 0; id < 4096; id += 512) { /* two walkers by turns */
    fill_by_batches(s, 4096 + id, 4096 + id + 512, 128);
    fill_by_batches(s, 8192 + id, 8192 + id + 512, 512);
  }
  assert_int_equal(count(*state, "SELECT count(*) FROM name_pack"), 128);
  fill_by_batches(s, 16384 + 30, 16384 + 300, 200); /* [30, 230), [230, 300) */
  assert_int_equal(count(*state, "SELECT count(*) FROM name_pack"), 128 + 2);
  assert_all_right(*state);
  exec(s, "DELETE FROM entry WHERE id IN (5000, 9000)");
  exec(s, "UPDATE entry SET name = 'renamed' WHERE id = 6000");
  assert_all_right(*state);
  build(s);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_pack"), (16384 + 300) / 64);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_todo"), 0);
  assert_all_right(*state);
  sd_store_close(s);
}

/* What is not in one batch may not be written at all. */
static void a_pack_is_whole_in_its_batch(void **state) {
  struct sd_store *s = open_library(*state);
  fill_by_batches(s, 64, 128, 63);
  fill_by_batches(s, 129, 200, 71);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_pack"), 0);
  fill_by_batches(s, 200, 6000, 1000);
  assert_all_right(*state);
  build(s);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_pack"), 6000 / 64);
  assert_all_right(*state);
  sd_store_close(s);
}

/* An id that is there already is refused, and so is its name in a pack. */
static void a_refused_row_is_in_no_pack(void **state) {
  struct sd_store *s = open_library(*state);
  exec(s, "INSERT INTO entry(id,parent_id,name,kind) VALUES(100, -1000, 'it', 1)");
  fill_by_batches(s, 64, 6000, 1000);
  assert_all_right(*state);
  build(s);
  assert_int_equal(count(*state, "SELECT count(*) FROM sd_names('name 100 ', 0)"), 0);
  assert_all_right(*state);
  sd_store_close(s);
}

/* A damaged pack is made anew when its segment is. */
static void building_mends_a_pack(void **state) {
  struct sd_store *s = open_library(*state);
  fill(s, 1, 10000);
  build(s);
  exec(s, "UPDATE name_pack SET data = x'00' WHERE id = 7");
  fill(s, 10000, 20000);
  build(s);
  assert_all_right(*state);
  sd_store_close(s);
}

/* Entries that go, are renamed, move, or come late are right at once, before anything is packed
 * anew; and after that too. */
static void what_changes_is_right_at_once(void **state) {
  struct sd_store *s = open_library(*state);
  fill(s, 1, 20000);
  exec(s, "DELETE FROM entry WHERE id IN (5000, 5001, 6000)");
  build(s);
  exec(s, "DELETE FROM entry WHERE id %% 97 = 0 OR id = 19999");
  exec(s, "UPDATE entry SET name = 'renamed ' || id WHERE id %% 101 = 0");
  exec(s, "UPDATE entry SET parent_id = -3 WHERE id %% 103 = 0");
  exec(s, "UPDATE entry SET kind = 2 WHERE id = 77");
  insert(s, 5000, -4, "late one", 8);
  insert(s, 97, -4, "late \xff", 6); /* it was there, went, and is something else */
  assert_int_equal(count(*state, "SELECT count(*) FROM sd_names('late', 0)"), 2);
  assert_all_right(*state);
  int64_t todo = count(*state, "SELECT count(*) FROM name_todo");
  assert_true(todo > 400 && todo < 1024);
  build(s);
  assert_int_equal(count(*state, "SELECT count(*) FROM name_todo"), todo); /* not worth it yet */
  exec(s, "DELETE FROM entry WHERE id BETWEEN 100 AND 1500");
  assert_all_right(*state);
  build(s);
  assert_int_equal(
      count(*state, "SELECT count(*) FROM name_todo WHERE id < (SELECT names_end FROM counter)"),
      0);
  assert_all_right(*state);
  assert_int_equal(count(*state, "SELECT count(*) FROM sd_names('name 700 ', 0)"), 0);
  sd_store_close(s);
}

static void ids_that_nobody_has_are_no_trouble(void **state) {
  struct sd_store *s = open_library(*state);
  fill(s, 1, 10);
  fill(s, 600000, 605000);
  build(s);
  assert_all_right(*state);
  exec(s, "DELETE FROM entry");
  assert_all_right(*state);
  build(s);
  assert_int_equal(count(*state, "SELECT count(*) FROM sd_names('', 0)"), 0);
  fill(s, 700000, 700100);
  assert_all_right(*state);
  sd_store_close(s);
}

/* Random changes, builds in between; the index and the entries agree after each step. */
static void random_changes_never_make_it_wrong(void **state) {
  uint64_t rng = test_seed();
  struct sd_store *s = open_library(*state);
  int64_t next = 1;
  for (int step = 0; step < 30; step++) {
    char name[32];
    uint32_t n = rng_below(&rng, 6000);
    unsigned m = 2 + rng_below(&rng, 300), k = rng_below(&rng, 1000);
    switch (rng_below(&rng, 7)) {
      case 0:
      case 1:
        fill(s, next, next + n + 1);
        next += n + 1 + rng_below(&rng, 200);
        break;
      case 2: exec(s, "DELETE FROM entry WHERE id %% %u = %u", m, k % m); break;
      case 3:
        exec(s, "UPDATE entry SET name = 'renamed '||(id*31%%1000) WHERE id %% %u = %u", m, k % m);
        break;
      case 4:
        exec(s, "DELETE FROM entry WHERE id = %lld", (long long)(next / 2));
        snprintf(name, sizeof(name), "late name 77 %d", step);
        if (next > 2) insert(s, next / 2, -9, name, strlen(name));
        break;
      case 5:
        fill_by_batches(s, next, next + n / 4 + 1, 1 + k);
        next += n / 4 + 1 + rng_below(&rng, 200);
        break;
      default: build(s);
    }
    assert_all_right(*state);
  }
  build(s);
  assert_all_right(*state);
  sd_store_close(s);
}

static void a_search_sees_one_state(void **state) {
  struct sd_err err;
  struct sd_store *s = open_library(*state);
  struct sd_reader *r;
  struct sd_select *q;
  size_t used;
  const char *sql = "SELECT id FROM sd_names('name', 0)";
  fill(s, 1, 10000);
  build(s);
  assert_ok(sd_reader_open(*state, NULL, &r, &err), &err);
  assert_ok(sd_select_open(r, sql, strlen(sql), &q, &used, &err), &err);
  assert_int_equal(sd_select_next(q, &err), 1);
  exec(s, "DELETE FROM entry WHERE id > 100");
  build(s);
  int n = 1;
  while (sd_select_next(q, &err) == 1) n++;
  assert_int_equal(n, 9999);
  sd_select_close(q);
  assert_int_equal(count(*state, "SELECT count(*) FROM sd_names('name', 0)"), 100);
  sd_reader_close(r);
  sd_store_close(s);
}

static void a_damaged_index_says_so(void **state) {
  struct sd_err err;
  struct sd_store *s = open_library(*state);
  struct sd_reader *r;
  struct sd_select *q;
  size_t used;
  const char *sql = "SELECT id FROM sd_names('name', 0)";
  fill(s, 1, 10000);
  build(s);
  exec(s, "UPDATE name_pack SET data = x'00' WHERE id = 7");
  assert_ok(sd_reader_open(*state, NULL, &r, &err), &err);
  assert_ok(sd_select_open(r, sql, strlen(sql), &q, &used, &err), &err);
  int rc;
  while ((rc = sd_select_next(q, &err)) == 1) continue;
  assert_int_equal(rc, SD_ESQL);
  assert_non_null(strstr(err.msg, "index of names is damaged"));
  sd_select_close(q);
  sd_reader_close(r);
  sd_store_close(s);
}

/* ---- a library of version 2 ---- */

static void an_old_library_is_searched_and_brought_up_to_date(void **state) {
  const char *dir = *state;
  const char *slash = strrchr(__FILE__, '/');
  struct sd_buf out = run("sqlite3 '%s/library.db' < '%.*s/fixtures/library-v2.sql'", dir,
                          slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".");
  sd_buf_fini(&out);
  assert_int_equal(run_number("sqlite3 '%s/library.db' 'PRAGMA user_version'", dir), 2);
  assert_int_equal(count(dir, "SELECT count(*) FROM sd_names('e', 0)"), 2);
  assert_int_equal(count(dir, "SELECT count(*) FROM entries"), 4);
  assert_int_equal(run_number("sqlite3 '%s/library.db' 'PRAGMA user_version'", dir), 2);
  struct sd_store *s = open_library(dir);
  assert_int_equal(run_number("sqlite3 '%s/library.db' 'PRAGMA user_version'", dir),
                   SD_SCHEMA_VERSION);
  assert_int_equal(count(dir, "SELECT count(*) FROM sd_names('e', 0)"), 2);
  assert_int_equal(count(dir, "SELECT count(*) FROM entries"), 4);
  fill(s, 100, 9000);
  build(s);
  exec(s, "DELETE FROM entry WHERE id = 3");
  assert_int_equal(count(dir, "SELECT count(*) FROM sd_names('three', 0)"), 0);
  assert_all_right(dir);
  sd_store_close(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_pack_gives_what_was_put_in),
      cmocka_unit_test(an_empty_pack_is_one),
      cmocka_unit_test(a_full_pack_has_64_names_and_parents),
      cmocka_unit_test(a_damaged_pack_is_refused),
      cmocka_unit_test(every_substring_finds_its_pack),
      cmocka_unit_test(globs_match_as_in_the_shell),
      cmocka_unit_test(globs_over_paths_mind_slashes),
      cmocka_unit_test(the_literal_of_a_glob_is_in_every_match),
      cmocka_unit_test(all_kinds_of_patterns_match),
      temp_test(little_is_left_as_it_is),
      temp_test(much_is_packed_and_a_second_time_nothing_is_written),
      temp_test(what_nothing_has_is_looked_for_in_no_pack),
      temp_test(a_library_without_masks_is_searched),
      temp_test(batches_bring_their_packs_with_them),
      temp_test(a_pack_is_whole_in_its_batch),
      temp_test(a_refused_row_is_in_no_pack),
      temp_test(building_mends_a_pack),
      temp_test(what_changes_is_right_at_once),
      temp_test(ids_that_nobody_has_are_no_trouble),
      temp_test(random_changes_never_make_it_wrong),
      temp_test(a_search_sees_one_state),
      temp_test(a_damaged_index_says_so),
      temp_test(an_old_library_is_searched_and_brought_up_to_date),
  };
  return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
