/* Messages out of a stream: however it is cut, the same messages come, and at the same cost. */
#include "support.h"

#include <errno.h>

#include "base/clock.h"
#include "base/frame.h"

/* Feeds `n` bytes, `step` at a time, and takes messages as they come; they are put to `out` with a
 * '|' behind each. The result is that of the last sd_frame_next(). */
static int feed(struct sd_frame *f, const char *p, size_t n, size_t step, struct sd_buf *out) {
  int rc = 0;
  struct sd_frame_text text;
  for (size_t i = 0; i < n && rc >= 0; i += step) {
    size_t part = n - i < step ? n - i : step;
    uint8_t *room = sd_frame_room(f, part);
    assert_non_null(room);
    memcpy(room, p + i, part);
    sd_frame_filled(f, part);
    while ((rc = sd_frame_next(f, &text)) > 0) {
      assert_int_equal(sd_buf_put(out, text.data, text.len), 0);
      assert_int_equal(sd_buf_put(out, "|", 1), 0);
    }
  }
  return rc;
}

/* What comes out of `in` with messages of at most `max` bytes, cut in every way. */
static void expect(const char *in, size_t max, int rc, const char *out, size_t left) {
  for (size_t step = 1; step <= strlen(in) + 1; step++) {
    struct sd_frame f;
    struct sd_buf got = SD_BUF_INIT;
    sd_frame_init(&f, max);
    assert_int_equal(feed(&f, in, strlen(in), step, &got), rc);
    assert_int_equal(got.len, strlen(out));
    if (got.len) assert_memory_equal(got.data, out, got.len);
    if (!rc) assert_int_equal(sd_frame_left(&f), left);
    sd_frame_fini(&f);
    sd_buf_fini(&got);
  }
}

static void messages_are_what_stands_between_newlines(void **state) {
  (void)state;
  expect("one\ntwo\nthree\n", 100, 0, "one|two|three|", 0);
  expect("one\ntwo\nthr", 100, 0, "one|two|", 3);
  expect("\n\na\n\n", 100, 0, "||a||", 0);
  expect("a\r\nb\n", 100, 0, "a\r|b|", 0);
  expect("no end", 100, 0, "", 6);
}

static void a_message_may_have_the_greatest_length_and_no_more(void **state) {
  (void)state;
  expect("1234\n1234\n", 4, 0, "1234|1234|", 0);
  expect("1234\n12345\n1\n", 4, -EMSGSIZE, "1234|", 0);
  expect("12345", 4, -EMSGSIZE, "", 0);
  expect("1234", 4, 0, "", 4);
  expect("\n\n", 0, 0, "||", 0);
  expect("\nx", 0, -EMSGSIZE, "|", 0);
}

static void a_message_that_is_too_long_does_not_go_away(void **state) {
  (void)state;
  struct sd_frame f;
  struct sd_buf got = SD_BUF_INIT;
  struct sd_frame_text text;
  sd_frame_init(&f, 4);
  assert_int_equal(feed(&f, "123456789", 9, 9, &got), -EMSGSIZE);
  assert_int_equal(feed(&f, "\nok\n", 4, 4, &got), -EMSGSIZE);
  assert_int_equal(sd_frame_ready(&f), -EMSGSIZE);
  assert_int_equal(sd_frame_next(&f, &text), -EMSGSIZE);
  assert_int_equal(got.len, 0);
  sd_frame_fini(&f);
}

static void any_byte_but_a_newline_may_be_in_a_message(void **state) {
  (void)state;
  struct sd_frame f;
  struct sd_frame_text text;
  uint8_t *room, all[256];
  for (int i = 0; i < 256; i++) all[i] = (uint8_t)(i == '\n' ? 0 : i);
  sd_frame_init(&f, 256);
  assert_non_null(room = sd_frame_room(&f, 257));
  memcpy(room, all, 256);
  room[256] = '\n';
  sd_frame_filled(&f, 257);
  assert_int_equal(sd_frame_ready(&f), 1);
  assert_int_equal(sd_frame_ready(&f), 1);
  assert_int_equal(sd_frame_next(&f, &text), 1);
  assert_int_equal(text.len, 256);
  assert_memory_equal(text.data, all, 256);
  sd_frame_fini(&f);
}

static void nothing_is_ready_before_anything_came(void **state) {
  (void)state;
  struct sd_frame f;
  struct sd_frame_text text;
  sd_frame_init(&f, 10);
  assert_int_equal(sd_frame_ready(&f), 0);
  assert_int_equal(sd_frame_next(&f, &text), 0);
  assert_non_null(sd_frame_room(&f, 1));
  sd_frame_filled(&f, 0);
  assert_int_equal(sd_frame_next(&f, &text), 0);
  assert_int_equal(sd_frame_left(&f), 0);
  sd_frame_fini(&f);
  sd_frame_fini(&f);
}

static void room_that_cannot_be_had_leaves_all_as_it_was(void **state) {
  (void)state;
  struct sd_frame f;
  struct sd_buf got = SD_BUF_INIT;
  sd_frame_init(&f, 100);
  assert_int_equal(feed(&f, "abc", 3, 3, &got), 0);
  assert_null(sd_frame_room(&f, SIZE_MAX / 2));
  assert_int_equal(feed(&f, "d\n", 2, 2, &got), 0);
  assert_memory_equal(got.data, "abcd|", 5);
  sd_frame_fini(&f);
  sd_buf_fini(&got);
}

/* Nanoseconds for `n` bytes without a newline, a little at a time. */
static int64_t time_of(size_t n, size_t step) {
  struct sd_frame f;
  struct sd_frame_text text;
  int64_t began = sd_clock_thread();
  sd_frame_init(&f, n);
  for (size_t i = 0; i < n; i += step) {
    uint8_t *room = sd_frame_room(&f, step);
    assert_non_null(room);
    memset(room, 'x', step);
    sd_frame_filled(&f, step);
    assert_int_equal(sd_frame_next(&f, &text), 0);
  }
  sd_frame_fini(&f);
  return sd_clock_thread() - began;
}

/* Searched from its beginning each time, 4 MiB in steps of 16 would be half a terabyte. */
static void the_cost_of_a_long_message_is_linear(void **state) {
  (void)state;
  assert_true(time_of(4 << 20, 16) < 2LL * SD_NS_PER_S);
}

/* One message is taken for two that come: the rest must not be moved each time. */
static void the_cost_of_many_that_wait_is_linear(void **state) {
  (void)state;
  struct sd_frame f;
  struct sd_frame_text text;
  int64_t began = sd_clock_thread();
  sd_frame_init(&f, 100);
  for (int i = 0; i < 1000000; i++) {
    uint8_t *room = sd_frame_room(&f, 8);
    assert_non_null(room);
    memcpy(room, "abc\ndef\n", 8);
    sd_frame_filled(&f, 8);
    assert_int_equal(sd_frame_next(&f, &text), 1);
    assert_memory_equal(text.data, i % 2 ? "def" : "abc", 3);
  }
  assert_int_equal(sd_frame_left(&f), 4000000);
  assert_true(sd_clock_thread() - began < 5LL * SD_NS_PER_S);
  sd_frame_fini(&f);
}

static void a_large_buffer_is_given_back_when_it_is_empty(void **state) {
  (void)state;
  struct sd_frame f;
  struct sd_frame_text text;
  sd_frame_init(&f, 1 << 20);
  uint8_t *room = sd_frame_room(&f, 1 << 20);
  assert_non_null(room);
  memset(room, 'x', 1 << 20);
  room[(1 << 20) - 1] = '\n';
  sd_frame_filled(&f, 1 << 20);
  assert_int_equal(sd_frame_next(&f, &text), 1);
  assert_int_equal(text.len, (1 << 20) - 1);
  assert_non_null(sd_frame_room(&f, 100));
  assert_true(f.buf.cap < 1 << 20);
  sd_frame_fini(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_are_what_stands_between_newlines),
      cmocka_unit_test(a_message_may_have_the_greatest_length_and_no_more),
      cmocka_unit_test(a_message_that_is_too_long_does_not_go_away),
      cmocka_unit_test(any_byte_but_a_newline_may_be_in_a_message),
      cmocka_unit_test(nothing_is_ready_before_anything_came),
      cmocka_unit_test(room_that_cannot_be_had_leaves_all_as_it_was),
      cmocka_unit_test(the_cost_of_a_long_message_is_linear),
      cmocka_unit_test(the_cost_of_many_that_wait_is_linear),
      cmocka_unit_test(a_large_buffer_is_given_back_when_it_is_empty),
  };
  return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
