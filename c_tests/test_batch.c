/* The bytes of a batch: everything comes back, nothing that is damaged does. */
#include "support.h"

#include <errno.h>
#include <xxhash.h>

#include "engine/batch.h"

static struct sd_batch *new_batch(void) {
  struct sd_batch *b = sd_batch_new();
  assert_non_null(b);
  return b;
}

/* Bytes of a value that differ from field to field, so that two swapped fields are noticed. */
static struct sd_totals totals_from(int64_t n) {
  return (struct sd_totals){.files = n,
                            .dirs = -n - 1,
                            .symlinks = n + 2,
                            .file_bytes = n * 4294967296,
                            .bytes = INT64_MIN / 2 + n,
                            .allocated = INT64_MAX / 2 - n};
}

static struct sd_entry entry_from(struct sd_batch *b, int64_t n, const char *name, size_t len) {
  struct sd_entry e = {.id = n, .parent_id = -n, .name_len = (uint16_t)len, .change = n % 4 + 1};
  e.st = (struct sd_stat){.size = n + 1,
                          .allocated = n + 2,
                          .mtime = -n - 3,
                          .ctime = n + 4,
                          .btime = INT64_MIN,
                          .dev = UINT64_MAX,
                          .ino = UINT64_MAX - 1,
                          .mode = 07777,
                          .uid = UINT32_MAX,
                          .gid = UINT32_MAX - 1,
                          .nlink = 9,
                          .kind = SD_KIND_SYMLINK,
                          .flags = SD_ENTRY_CLAMPED | SD_ENTRY_BTIME};
  e.name = sd_arena_copy(&b->arena, name, len);
  memset(e.uuid, (int)n, sizeof(e.uuid));
  return e;
}

static void add_entry(struct sd_batch *b, const struct sd_entry *e) {
  b->entries = realloc(b->entries, (b->entries_len + 1) * sizeof(*e));
  assert_non_null(b->entries);
  b->entries[b->entries_len++] = *e;
  b->entries_cap = b->entries_len;
}

static struct sd_batch *full_batch(void) {
  struct sd_batch *b = new_batch();
  char longest[UINT16_MAX];
  memset(longest, 'n', sizeof(longest));
  b->seen = totals_from(5);
  b->listed = UINT64_MAX - 7;
  b->skipped[SD_RULE_GITIGNORE] = 3;
  b->skipped[SD_RULE_COUNT - 1] = UINT64_MAX;
  struct sd_entry e[] = {entry_from(b, 1, "plain", 5), entry_from(b, 2, "\xff\n\x01", 3),
                         entry_from(b, 3, longest, sizeof(longest)), entry_from(b, 4, "", 0)};
  e[0].target = sd_arena_copy(&b->arena, "a/target", 8);
  e[0].target_len = 8;
  e[1].target = sd_arena_copy(&b->arena, "", 0);
  for (size_t i = 0; i < 4; i++) add_entry(b, &e[i]);
  b->dirs = calloc(2, sizeof(*b->dirs));
  b->dirs[0] = (struct sd_new_dir){.id = 10, .anchor = 11, .segment_len = 3};
  b->dirs[0].segment = sd_arena_copy(&b->arena, "x/y", 3);
  b->dirs[1] = (struct sd_new_dir){.id = INT64_MAX, .segment = sd_arena_copy(&b->arena, "", 0)};
  b->deltas = calloc(2, sizeof(*b->deltas));
  b->deltas[0] = (struct sd_dir_delta){.id = 20, .parent_id = 21, .listed = true};
  b->deltas[0].delta = totals_from(-22);
  b->deltas[1] = (struct sd_dir_delta){.id = 23, .delta = totals_from(24)};
  b->dirs_len = b->dirs_cap = b->deltas_len = b->deltas_cap = 2;
  static const struct sd_gone gone[] = {
      {.id = 30, .parent_id = INT64_MAX, .name = "gone", .name_len = 4, .name_text = true},
      {.id = INT64_MAX, .parent_id = 31, .name = "\xfe\n", .name_len = 2, .replaced = true},
      {.id = 32, .parent_id = 33, .name = "", .name_text = true}};
  for (size_t i = 0; i < 3; i++) assert_int_equal(sd_batch_gone(b, &gone[i]), 0);
  assert_int_equal(sd_batch_note(b, SD_OP_READ_DIR, -EACCES, "no\nway", 6, "Permission denied"), 0);
  assert_int_equal(sd_batch_note(b, SD_OP_CREATE_ENTRY, SD_ECHANGED, "", 0, ""), 0);
  assert_int_equal(sd_batch_note(b, 0, 0, "proc", 4, "pseudo"), 0);
  return b;
}

static struct sd_buf encode(const struct sd_batch *b) {
  struct sd_buf buf = SD_BUF_INIT;
  assert_int_equal(sd_batch_encode(b, &buf), 0);
  return buf;
}

static int decode_code(const void *p, size_t len) {
  struct sd_err err = {0};
  struct sd_batch *b = NULL;
  int rc = sd_batch_decode(p, len, &b, &err);
  assert_int_equal(rc, err.code);
  if (rc) assert_null(b);
  sd_batch_free(b);
  return rc;
}

/* ---- round trips ---- */

static void assert_same_bytes(const char *a, size_t a_len, const char *b, size_t b_len) {
  assert_int_equal(a == NULL, b == NULL);
  assert_int_equal(a_len, b_len);
  if (a) assert_memory_equal(a, b, a_len);
}

static void assert_same_entry(const struct sd_entry *a, const struct sd_entry *b) {
  assert_true(a->id == b->id && a->parent_id == b->parent_id && a->change == b->change);
  assert_same_bytes(a->name, a->name_len, b->name, b->name_len);
  assert_same_bytes(a->target, a->target_len, b->target, b->target_len);
  assert_memory_equal(a->uuid, b->uuid, sizeof(a->uuid));
  assert_true(a->st.size == b->st.size && a->st.allocated == b->st.allocated);
  assert_true(a->st.mtime == b->st.mtime && a->st.ctime == b->st.ctime);
  assert_true(a->st.btime == b->st.btime && a->st.dev == b->st.dev && a->st.ino == b->st.ino);
  assert_true(a->st.mode == b->st.mode && a->st.uid == b->st.uid && a->st.gid == b->st.gid);
  assert_true(a->st.nlink == b->st.nlink && a->st.kind == b->st.kind);
  assert_int_equal(a->st.flags, b->st.flags);
}

static void assert_same_notes(const struct sd_note *a, const struct sd_note *b, size_t n) {
  for (size_t i = 0; i < n; i++) {
    assert_true(a[i].op == b[i].op && a[i].code == b[i].code);
    assert_same_bytes(a[i].path, a[i].path_len, b[i].path, b[i].path_len);
    assert_string_equal(a[i].reason, b[i].reason);
  }
}

static void assert_same_gone(const struct sd_gone *a, const struct sd_gone *b) {
  assert_true(a->id == b->id && a->parent_id == b->parent_id && a->replaced == b->replaced);
  assert_same_bytes(a->name, a->name_len, b->name, b->name_len);
  assert_int_equal(a->name_text, b->name_text);
}

static void assert_same_totals(const struct sd_totals *a, const struct sd_totals *b) {
  assert_memory_equal(a, b, sizeof(*a)); /* six numbers, no padding */
}

static void a_batch_comes_back_as_it_was(void **state) {
  (void)state;
  struct sd_err err;
  struct sd_batch *a = full_batch(), *b;
  struct sd_buf buf = encode(a);
  assert_ok(sd_batch_decode(buf.data, buf.len, &b, &err), &err);
  assert_same_totals(&a->seen, &b->seen);
  assert_true(a->listed == b->listed);
  assert_int_equal(a->entries_len, b->entries_len);
  for (size_t i = 0; i < a->entries_len; i++) assert_same_entry(&a->entries[i], &b->entries[i]);
  assert_true(b->entries[0].name_text && !b->entries[1].name_text && b->entries[0].target_text);
  assert_true(b->inserted == 1 && b->moved == 1);
  assert_int_equal(a->dirs_len, b->dirs_len);
  for (size_t i = 0; i < a->dirs_len; i++) {
    assert_true(a->dirs[i].id == b->dirs[i].id && a->dirs[i].anchor == b->dirs[i].anchor);
    assert_same_bytes(a->dirs[i].segment, a->dirs[i].segment_len, b->dirs[i].segment,
                      b->dirs[i].segment_len);
  }
  assert_int_equal(a->deltas_len, b->deltas_len);
  for (size_t i = 0; i < a->deltas_len; i++) {
    assert_true(a->deltas[i].id == b->deltas[i].id);
    assert_true(a->deltas[i].parent_id == b->deltas[i].parent_id);
    assert_int_equal(a->deltas[i].listed, b->deltas[i].listed);
    assert_same_totals(&a->deltas[i].delta, &b->deltas[i].delta);
  }
  assert_int_equal(a->vanished_len, b->vanished_len);
  for (size_t i = 0; i < a->vanished_len; i++) assert_same_gone(&a->vanished[i], &b->vanished[i]);
  assert_int_equal(a->errors_len, b->errors_len);
  assert_int_equal(a->skips_len, b->skips_len);
  assert_same_notes(a->errors, b->errors, a->errors_len);
  assert_same_notes(a->skips, b->skips, a->skips_len);
  assert_memory_equal(a->skipped, b->skipped, sizeof(a->skipped));
  struct sd_buf again = encode(b);
  assert_same_bytes((char *)buf.data, buf.len, (char *)again.data, again.len);
  sd_buf_fini(&again);
  sd_buf_fini(&buf);
  sd_batch_free(a);
  sd_batch_free(b);
}

static void an_empty_batch_comes_back_empty(void **state) {
  (void)state;
  struct sd_err err;
  struct sd_batch *a = new_batch(), *b;
  struct sd_buf buf = encode(a);
  assert_ok(sd_batch_decode(buf.data, buf.len, &b, &err), &err);
  assert_int_equal(b->entries_len + b->dirs_len + b->deltas_len + b->vanished_len, 0);
  sd_buf_fini(&buf);
  sd_batch_free(a);
  sd_batch_free(b);
}

static void encoding_appends_to_what_is_there(void **state) {
  (void)state;
  struct sd_batch *a = full_batch();
  struct sd_buf buf = SD_BUF_INIT;
  assert_int_equal(sd_buf_put(&buf, "before", 6), 0);
  assert_int_equal(sd_batch_encode(a, &buf), 0);
  assert_memory_equal(buf.data, "before", 6);
  assert_int_equal(decode_code(buf.data + 6, buf.len - 6), 0);
  sd_buf_fini(&buf);
  sd_batch_free(a);
}

/* ---- damage ---- */

/* A batch without the longest name: its every byte is tried. */
static struct sd_buf small_encoded(void) {
  struct sd_batch *b = full_batch();
  b->entries[2].name_len = 40;
  struct sd_buf buf = encode(b);
  sd_batch_free(b);
  return buf;
}

static void every_flipped_bit_is_refused(void **state) {
  (void)state;
  struct sd_buf buf = small_encoded();
  for (size_t i = 0; i < buf.len * 8; i++) {
    buf.data[i / 8] ^= (uint8_t)(1 << i % 8);
    assert_int_equal(decode_code(buf.data, buf.len), SD_EFORMAT);
    buf.data[i / 8] ^= (uint8_t)(1 << i % 8);
  }
  assert_int_equal(decode_code(buf.data, buf.len), 0);
  sd_buf_fini(&buf);
}

/* Each in memory of exactly its size, so that a sanitizer sees a byte read too far. */
static void every_truncation_is_refused(void **state) {
  (void)state;
  struct sd_buf buf = small_encoded();
  for (size_t n = 0; n < buf.len; n++) {
    uint8_t *exact = malloc(n ? n : 1);
    memcpy(exact, buf.data, n);
    assert_int_equal(decode_code(exact, n), SD_EFORMAT);
    free(exact);
  }
  sd_buf_fini(&buf);
}

/* Puts the right checksum behind what was changed, as somebody who means it would. */
static void seal(uint8_t *p, size_t len) {
  uint64_t sum = XXH3_64bits(p, len - 8);
  for (int i = 0; i < 8; i++) p[len - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
}

/* Whatever a number says: refused or read, but never more memory than the bytes can fill. */
static void any_number_anywhere_is_survived(void **state) {
  (void)state;
  static const uint32_t numbers[] = {0, 1, 0xffff, 0x10000, 0x7fffffff, 0xfffffffe, 0xffffffff};
  struct sd_buf buf = small_encoded();
  uint8_t *p = malloc(buf.len);
  for (size_t i = 4; i + 12 <= buf.len; i++)
    for (size_t k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
      memcpy(p, buf.data, buf.len);
      for (int n = 0; n < 4; n++) p[i + (size_t)n] = (uint8_t)(numbers[k] >> 8 * n);
      seal(p, buf.len);
      int rc = decode_code(p, buf.len);
      assert_true(rc == 0 || rc == SD_EFORMAT || (i < 8 && rc == SD_ENEWER));
    }
  free(p);
  sd_buf_fini(&buf);
}

static void cut_and_sealed_again_is_refused(void **state) {
  (void)state;
  struct sd_buf buf = small_encoded();
  uint8_t *p = malloc(buf.len + 8);
  for (size_t n = 16; n < buf.len; n++) {
    memcpy(p, buf.data, n);
    seal(p, n);
    assert_int_equal(decode_code(p, n), SD_EFORMAT);
  }
  memcpy(p, buf.data, buf.len);
  memset(p + buf.len - 8, 0, 16);
  seal(p, buf.len + 8);
  assert_int_equal(decode_code(p, buf.len + 8), SD_EFORMAT); /* something behind the end */
  free(p);
  sd_buf_fini(&buf);
}

static void a_later_format_is_named_as_such(void **state) {
  (void)state;
  struct sd_buf buf = small_encoded();
  buf.data[4]++;
  seal(buf.data, buf.len);
  assert_int_equal(decode_code(buf.data, buf.len), SD_ENEWER);
  sd_buf_fini(&buf);
}

static void a_name_with_a_nul_or_a_slash_is_refused(void **state) {
  (void)state;
  static const char *const names[] = {"a\0b", "a/b"};
  for (int i = 0; i < 2; i++) {
    struct sd_batch *b = new_batch();
    struct sd_entry e = entry_from(b, 1, names[i], 3);
    add_entry(b, &e);
    struct sd_buf buf = encode(b);
    assert_int_equal(decode_code(buf.data, buf.len), SD_EFORMAT);
    sd_buf_fini(&buf);
    sd_batch_free(b);
  }
}

static void a_rule_that_does_not_exist_is_refused(void **state) {
  (void)state;
  struct sd_batch *b = new_batch();
  b->skipped[1] = 1;
  struct sd_buf buf = encode(b);
  buf.data[buf.len - 20] = SD_RULE_COUNT;
  seal(buf.data, buf.len);
  assert_int_equal(decode_code(buf.data, buf.len), SD_EFORMAT);
  sd_buf_fini(&buf);
  sd_batch_free(b);
}

static void a_change_that_does_not_exist_is_refused(void **state) {
  (void)state;
  struct sd_batch *b = new_batch();
  struct sd_entry e = entry_from(b, 1, "n", 1);
  e.change = 5;
  add_entry(b, &e);
  struct sd_buf buf = encode(b);
  assert_int_equal(decode_code(buf.data, buf.len), SD_EFORMAT);
  sd_buf_fini(&buf);
  sd_batch_free(b);
}

/* The seeds of the fuzzer: test_batch --seeds DIR writes them. */
static int write_seeds(const char *dir) {
  struct sd_batch *b = full_batch();
  struct sd_buf small = small_encoded();
  put_file(at(dir, "full"), small.data, small.len);
  b->entries_len = b->dirs_len = b->deltas_len = b->vanished_len = 0;
  struct sd_buf notes = encode(b);
  put_file(at(dir, "notes"), notes.data, notes.len);
  b->errors_len = b->skips_len = 0;
  struct sd_buf empty = encode(b);
  put_file(at(dir, "empty"), empty.data, empty.len);
  put_file(at(dir, "cut"), small.data, small.len / 2);
  sd_buf_fini(&small);
  sd_buf_fini(&notes);
  sd_buf_fini(&empty);
  sd_batch_free(b);
  return 0;
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_batch_comes_back_as_it_was),
      cmocka_unit_test(an_empty_batch_comes_back_empty),
      cmocka_unit_test(encoding_appends_to_what_is_there),
      cmocka_unit_test(every_flipped_bit_is_refused),
      cmocka_unit_test(every_truncation_is_refused),
      cmocka_unit_test(any_number_anywhere_is_survived),
      cmocka_unit_test(cut_and_sealed_again_is_refused),
      cmocka_unit_test(a_later_format_is_named_as_such),
      cmocka_unit_test(a_name_with_a_nul_or_a_slash_is_refused),
      cmocka_unit_test(a_change_that_does_not_exist_is_refused),
      cmocka_unit_test(a_rule_that_does_not_exist_is_refused),
  };
  if (argc == 3 && strcmp(argv[1], "--seeds") == 0) return write_seeds(argv[2]);
  return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
