/* The lowest layer: arena, array, buf, clock, error, fds, utf8, uuid. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <sys/resource.h>
#include <time.h>

#include "base/arena.h"
#include "base/array.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/utf8.h"
#include "base/uuid.h"

/* ---- arena ---- */

static void arena_pieces_are_aligned_and_keep_their_bytes(void **state) {
  (void)state;
  struct sd_arena a;
  unsigned char *p[2000];
  sd_arena_init(&a);
  for (size_t i = 0; i < 2000; i++) {
    p[i] = sd_arena_alloc(&a, i);
    assert_non_null(p[i]);
    assert_int_equal((uintptr_t)p[i] % 8, 0);
    memset(p[i], (int)(i & 255), i);
  }
  for (size_t i = 0; i < 2000; i++)
    for (size_t k = 0; k < i; k++) assert_int_equal(p[i][k], i & 255);
  sd_arena_fini(&a);
}

static void arena_takes_a_piece_larger_than_a_block(void **state) {
  (void)state;
  struct sd_arena a;
  sd_arena_init(&a);
  char *small = sd_arena_copy(&a, "kept", 4);
  char *large = sd_arena_alloc(&a, 1 << 20);
  assert_non_null(large);
  memset(large, 'x', 1 << 20);
  assert_string_equal(small, "kept");
  assert_true(a.total >= 1 << 20);
  sd_arena_fini(&a);
  assert_int_equal(a.total, 0);
}

static void arena_reset_keeps_one_block_and_counts_it(void **state) {
  (void)state;
  struct sd_arena a;
  sd_arena_init(&a);
  sd_arena_reset(&a);
  for (int i = 0; i < 100; i++) assert_non_null(sd_arena_alloc(&a, 10000));
  size_t full = a.total;
  sd_arena_reset(&a);
  assert_true(a.total > 0 && a.total < full);
  size_t kept = a.total;
  assert_non_null(sd_arena_alloc(&a, 1000));
  assert_int_equal(a.total, kept);
  sd_arena_fini(&a);
}

static void arena_refuses_sizes_that_wrap_around(void **state) {
  (void)state;
  struct sd_arena a;
  sd_arena_init(&a);
  for (size_t less = 0; less < 64; less++) assert_null(sd_arena_alloc(&a, SIZE_MAX - less));
  assert_null(sd_arena_copy(&a, "x", SIZE_MAX));
  assert_non_null(sd_arena_alloc(&a, 0));
  sd_arena_fini(&a);
}

static void arena_copy_ends_with_a_nul_and_keeps_inner_ones(void **state) {
  (void)state;
  struct sd_arena a;
  sd_arena_init(&a);
  char *s = sd_arena_copy(&a, "a\0b", 3);
  assert_memory_equal(s, "a\0b\0", 4);
  sd_arena_fini(&a);
}

static void array_room_refuses_a_size_that_wraps_around(void **state) {
  (void)state;
  void *items = NULL;
  size_t cap = SIZE_MAX / 4;
  assert_false(sd_array_room(&items, &cap, cap, 16));
  assert_null(items);
  cap = 0;
  assert_true(sd_array_room(&items, &cap, 0, 16));
  assert_true(cap > 0);
  free(items);
}

/* ---- buf ---- */

static void buf_numbers_are_little_endian(void **state) {
  (void)state;
  struct sd_buf b = SD_BUF_INIT;
  assert_int_equal(sd_buf_put_u32(&b, 0x04030201), 0);
  assert_int_equal(sd_buf_put_u64(&b, 0x0c0b0a0908070605), 0);
  assert_int_equal(b.len, 12);
  for (uint8_t i = 0; i < 12; i++) assert_int_equal(b.data[i], i + 1);
  assert_int_equal(sd_get_u32(b.data), 0x04030201);
  assert_true(sd_get_u64(b.data + 4) == 0x0c0b0a0908070605);
  sd_buf_fini(&b);
  assert_null(b.data);
}

static void buf_grows_and_keeps_its_content(void **state) {
  (void)state;
  struct sd_buf b = SD_BUF_INIT;
  for (uint32_t i = 0; i < 100000; i++) assert_int_equal(sd_buf_put_u32(&b, i), 0);
  for (uint32_t i = 0; i < 100000; i++) assert_int_equal(sd_get_u32(b.data + 4 * (size_t)i), i);
  assert_int_equal(sd_buf_put(&b, NULL, 0), 0);
  assert_int_equal(b.len, 400000);
  sd_buf_fini(&b);
}

static void buf_that_cannot_grow_is_unchanged(void **state) {
  (void)state;
  struct sd_buf b = SD_BUF_INIT;
  assert_int_equal(sd_buf_put(&b, "abc", 3), 0);
  assert_int_equal(sd_buf_reserve(&b, SIZE_MAX), -ENOMEM);
  assert_int_equal(sd_buf_reserve(&b, SIZE_MAX - 3), -ENOMEM);
  assert_int_equal(sd_buf_reserve(&b, SIZE_MAX / 2), -ENOMEM);
  assert_int_equal(b.len, 3);
  assert_memory_equal(b.data, "abc", 3);
  sd_buf_fini(&b);
}

/* ---- clock ---- */

static void times_around_1970_keep_their_nanoseconds(void **state) {
  (void)state;
  bool clamped = false;
  assert_true(sd_time_ns(0, 0, &clamped) == 0);
  assert_true(sd_time_ns(-1, 999999999, &clamped) == -1);
  assert_true(sd_time_ns(-2, 500000000, &clamped) == -1500000000);
  assert_true(sd_time_ns(1700000000, 123456789, &clamped) == 1700000000123456789);
  assert_false(clamped);
}

/* INT64_MIN ns is -9223372037 s + 145224192 ns, INT64_MAX ns is 9223372036 s + 854775807 ns. */
static void times_are_clamped_only_where_they_do_not_fit(void **state) {
  (void)state;
  bool clamped = false;
  assert_true(sd_time_ns(9223372036, 854775807, &clamped) == INT64_MAX);
  assert_true(sd_time_ns(-9223372037, 145224192, &clamped) == INT64_MIN);
  assert_true(sd_time_ns(-9223372037, 999999999, &clamped) == -9223372036000000001);
  assert_false(clamped);
  assert_true(sd_time_ns(9223372036, 854775808, &clamped) == INT64_MAX);
  assert_true(clamped);
  clamped = false;
  assert_true(sd_time_ns(-9223372037, 145224191, &clamped) == INT64_MIN);
  assert_true(clamped);
  clamped = false;
  assert_true(sd_time_ns(INT64_MIN, 0, &clamped) == INT64_MIN);
  assert_true(sd_time_ns(INT64_MAX, 999999999, &clamped) == INT64_MAX);
  assert_true(clamped);
}

static void wall_clock_is_that_of_the_system(void **state) {
  (void)state;
  int64_t before = time(NULL), now = sd_clock_wall() / SD_NS_PER_S, after = time(NULL);
  assert_true(before - 1 <= now && now <= after);
  assert_true(sd_clock_mono() <= sd_clock_mono());
  assert_true(sd_clock_thread() <= sd_clock_process());
}

/* ---- error ---- */

static void error_of_the_system_names_what_and_where(void **state) {
  (void)state;
  struct sd_err err;
  errno = EACCES;
  assert_int_equal(sd_err_os(&err, "open", "some/path"), -EACCES);
  assert_int_equal(err.code, -EACCES);
  assert_string_equal(err.msg, "open some/path: Permission denied");
  errno = ENOENT;
  assert_int_equal(sd_err_os(NULL, "open", "x"), -ENOENT);
  errno = ENOENT;
  assert_int_equal(sd_err_os(&err, "open", ""), -ENOENT);
  assert_string_equal(err.msg, "open \"\": No such file or directory");
  assert_int_equal(sd_err_nomem(&err), -ENOMEM);
}

static void error_says_what_there_is_no_more_of(void **state) {
  (void)state;
  struct sd_err err;
  assert_int_equal(sd_err_exhausted(&err, -EMFILE), -EMFILE);
  assert_string_equal(err.msg, "no file descriptor is left (see ulimit -n)");
  assert_int_equal(sd_err_exhausted(&err, -ENFILE), -ENFILE);
  assert_string_equal(err.msg, "no file descriptor is left in the system");
  assert_int_equal(sd_err_exhausted(&err, -ENOMEM), -ENOMEM);
  assert_string_equal(err.msg, "out of memory");
  assert_false(sd_err_is_exhausted(0) || sd_err_is_exhausted(-EACCES) || sd_err_is_exhausted(1));
}

static void count_fds_left(void *ud) {
  (void)ud;
  struct rlimit few = {40, 40};
  check(setrlimit(RLIMIT_NOFILE, &few) == 0);
  int left = sd_fds_left();
  check(left > 10 && left < 40);
  for (int i = left; i > 0; i--) check(sd_fds_left() == i && open("/dev/null", O_RDONLY) >= 0);
  check(sd_fds_left() == 0 && open("/dev/null", O_RDONLY) < 0 && errno == EMFILE);
}

static void fds_that_are_open_are_not_left(void **state) {
  (void)state;
  assert_int_equal(in_child(0, count_fds_left, NULL), 0);
}

/* A FUSE server may answer with any number. */
static void error_without_a_text_is_still_a_message(void **state) {
  (void)state;
  struct sd_err err;
  errno = 200;
  assert_int_equal(sd_err_os(&err, "open", "p"), -200);
  assert_null(strstr(err.msg, "(null)"));
  assert_string_equal(sd_err_name(-200), "E200");
}

static void error_message_is_cut_never_overrun(void **state) {
  (void)state;
  struct sd_err err;
  char path[4096];
  memset(path, 'p', sizeof(path));
  path[sizeof(path) - 1] = 0;
  sd_err_set(&err, SD_EFORMAT, "%s", path);
  assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

static void error_codes_have_names(void **state) {
  (void)state;
  assert_string_equal(sd_err_name(-EACCES), "EACCES");
  assert_string_equal(sd_err_name(-ENOSPC), "ENOSPC");
  static const struct {
    int code;
    const char *name;
  } own[] = {{SD_ENOLIB, "ENOLIB"},       {SD_EDAMAGED, "EDAMAGED"}, {SD_ENEWER, "ENEWER"},
             {SD_ELOCKED, "ELOCKED"},     {SD_EFORMAT, "EFORMAT"},   {SD_ESQL, "ESQL"},
             {SD_ECANCELED, "ECANCELED"}, {SD_ECHANGED, "ECHANGED"}, {SD_EOLDER, "EOLDER"}};
  for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
    assert_string_equal(sd_err_name(own[i].code), own[i].name);
}

/* ---- utf8 ---- */

static bool iconv_accepts(iconv_t cd, const unsigned char *s, size_t n) {
  char in[16], out[256], *pi = in, *po = out;
  size_t left = n, room = sizeof(out);
  memcpy(in, s, n);
  iconv(cd, NULL, NULL, NULL, NULL);
  return iconv(cd, &pi, &left, &po, &room) != (size_t)-1 && left == 0;
}

/* Lead and second byte run through all values, the others through those at which a rule changes. */
static void utf8_agrees_with_iconv(void **state) {
  (void)state;
  static const unsigned char edge[] = {0x01, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0xbf, 0xc0, 0xff};
  iconv_t cd = iconv_open("UTF-32LE", "UTF-8");
  assert_true(cd != (iconv_t)-1);
  unsigned char s[4];
  for (unsigned lead = 1; lead < 256; lead++)
    for (unsigned second = 1; second < 256; second++)
      for (unsigned k = 0; k < sizeof(edge) * sizeof(edge); k++) {
        s[0] = (unsigned char)lead;
        s[1] = (unsigned char)second;
        s[2] = edge[k / sizeof(edge)];
        s[3] = edge[k % sizeof(edge)];
        for (size_t n = k ? 3 : 1; n <= 4; n++)
          if (sd_utf8_valid((char *)s, n) != iconv_accepts(cd, s, n))
            fail_msg("%02x %02x %02x %02x, %zu bytes", s[0], s[1], s[2], s[3], n);
      }
  iconv_close(cd);
}

/* Eight bytes at a time must not hide a bad one, nor a NUL, at any place. */
static void utf8_finds_a_bad_byte_at_every_place(void **state) {
  (void)state;
  char s[40];
  for (size_t len = 0; len <= sizeof(s); len++) {
    memset(s, 'a', sizeof(s));
    assert_true(sd_utf8_valid(s, len));
    for (size_t i = 0; i < len; i++) {
      static const char bad[] = {0, '\x80', '\xff', '\xc3'};
      for (size_t k = 0; k < sizeof(bad); k++) {
        s[i] = bad[k];
        assert_false(sd_utf8_valid(s, len));
      }
      s[i] = 'a';
    }
  }
}

/* ---- uuid ---- */

static void uuid_v7_has_time_version_and_variant(void **state) {
  (void)state;
  struct sd_uuid_gen g = {0};
  uint8_t u[SD_UUID_LEN];
  for (int i = 0; i < 1000; i++) {
    sd_uuid_v7(&g, 0x0123456789ab, u);
    assert_memory_equal(u, "\x01\x23\x45\x67\x89\xab", 6);
    assert_int_equal(u[6] >> 4, 7);
    assert_int_equal(u[8] >> 6, 2);
  }
}

static int compare_uuids(const void *a, const void *b) {
  return memcmp(a, b, SD_UUID_LEN);
}

static void uuids_of_one_millisecond_and_of_two_generators_differ(void **state) {
  (void)state;
  enum { N = 100000 };
  struct sd_uuid_gen g[2] = {0};
  uint8_t(*u)[SD_UUID_LEN] = malloc(N * SD_UUID_LEN);
  assert_non_null(u);
  for (int i = 0; i < N; i++) sd_uuid_v7(&g[i & 1], 1, u[i]);
  qsort(u, N, SD_UUID_LEN, compare_uuids);
  for (int i = 1; i < N; i++) assert_memory_not_equal(u[i - 1], u[i], SD_UUID_LEN);
  free(u);
}

static void uuid_of_a_hash_is_version_8_and_the_same_everywhere(void **state) {
  (void)state;
  uint8_t hash[16], u[SD_UUID_LEN];
  char text[SD_UUID_TEXT + 1];
  memset(hash, 0xff, sizeof(hash));
  sd_uuid_from_hash(hash, u);
  sd_uuid_format(u, text);
  assert_string_equal(text, "ffffffff-ffff-8fff-bfff-ffffffffffff");
  for (uint8_t i = 0; i < 16; i++) hash[i] = (uint8_t)(i * 0x11);
  sd_uuid_from_hash(hash, u);
  sd_uuid_format(u, text);
  assert_string_equal(text, "00112233-4455-8677-8899-aabbccddeeff");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arena_pieces_are_aligned_and_keep_their_bytes),
      cmocka_unit_test(arena_takes_a_piece_larger_than_a_block),
      cmocka_unit_test(arena_reset_keeps_one_block_and_counts_it),
      cmocka_unit_test(arena_refuses_sizes_that_wrap_around),
      cmocka_unit_test(arena_copy_ends_with_a_nul_and_keeps_inner_ones),
      cmocka_unit_test(array_room_refuses_a_size_that_wraps_around),
      cmocka_unit_test(buf_numbers_are_little_endian),
      cmocka_unit_test(buf_grows_and_keeps_its_content),
      cmocka_unit_test(buf_that_cannot_grow_is_unchanged),
      cmocka_unit_test(times_around_1970_keep_their_nanoseconds),
      cmocka_unit_test(times_are_clamped_only_where_they_do_not_fit),
      cmocka_unit_test(wall_clock_is_that_of_the_system),
      cmocka_unit_test(error_of_the_system_names_what_and_where),
      cmocka_unit_test(error_says_what_there_is_no_more_of),
      cmocka_unit_test(fds_that_are_open_are_not_left),
      cmocka_unit_test(error_without_a_text_is_still_a_message),
      cmocka_unit_test(error_message_is_cut_never_overrun),
      cmocka_unit_test(error_codes_have_names),
      cmocka_unit_test(utf8_agrees_with_iconv),
      cmocka_unit_test(utf8_finds_a_bad_byte_at_every_place),
      cmocka_unit_test(uuid_v7_has_time_version_and_variant),
      cmocka_unit_test(uuids_of_one_millisecond_and_of_two_generators_differ),
      cmocka_unit_test(uuid_of_a_hash_is_version_8_and_the_same_everywhere),
  };
  return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
