/* Patterns: what git's documentation and its matcher say of them; git itself is asked by
 * test_ignore. */
#include "support.h"

#include "base/clock.h"
#include "engine/glob.h"

struct row {
  const char *pattern, *text;
  bool path;  /* with SD_GLOB_PATH */
  bool plain; /* without */
};

static void check_rows(const struct row *rows, size_t n) {
  for (size_t i = 0; i < n; i++)
    for (unsigned path = 0; path < 2; path++) {
      const struct row *r = &rows[i];
      bool is = sd_glob_match(r->pattern, strlen(r->pattern), r->text, strlen(r->text), path);
      if (is != (path ? r->path : r->plain))
        fail_msg("\"%s\" and \"%s\", flags %u: %d", r->pattern, r->text, path, is);
    }
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void stars_stay_within_a_component_of_a_path(void **state) {
  (void)state;
  static const struct row rows[] = {
      {"foo", "foo", true, true},
      {"foo", "bar", false, false},
      {"", "", true, true},
      {"", "a", false, false},
      {"*", "", true, true},
      {"*", "foo", true, true},
      {"*", "foo/bar", false, true},
      {"f*", "foo", true, true},
      {"*f", "foo", false, false},
      {"*foo*", "foo", true, true},
      {"*ob*a*r*", "foobar", true, true},
      {"*ab", "aaaaaaabababab", true, true},
      {"foo\\*", "foo*", true, true},
      {"foo\\*bar", "foobar", false, false},
      {"f\\\\oo", "f\\oo", true, true},
      {"???", "foo", true, true},
      {"??", "foo", false, false},
      {"foo?bar", "foo/bar", false, true},
      {"foo[/]bar", "foo/bar", false, true},
      {"foo[^a]bar", "foo/bar", false, true},
      {"f[^eiu][^eiu][^eiu][^eiu][^eiu]r", "foo/bar", false, true},
      {"foo*bar", "foo/baz/bar", false, true},
      {"foo/*", "foo/bar", true, true},
      {"foo/*", "foo/bar/baz", false, true},
      {"*/foo", "bar/foo", true, true},
      {"*/foo", "bar/baz/foo", false, true},
      {"*/foo", "foo", false, false},
      {"*/b*/c", "a/bx/c", true, true},
      {"*a/b", "xa/a/b", false, true},
      {"a*b*c", "aXbYbZc", true, true},
      {"*b*/c", "abab/c", true, true},
  };
  CHECK_ROWS(rows);
}

static void two_stars_cross_directories_where_they_fill_a_component(void **state) {
  (void)state;
  static const struct row rows[] = {
      {"**", "a/b/c", true, true},
      {"**/foo", "foo", true, false},
      {"**/foo", "XXX/foo", true, true},
      {"**/foo", "bar/baz/foo", true, true},
      {"**/foo", "bar/baz/foobar", false, false},
      {"**/foo", "xfoo", false, false},
      {"*/**/foo", "foo", false, false},
      {"*/**/foo", "a/foo", true, false},
      {"foo/**/bar", "foo/bar", true, false},
      {"foo/**/bar", "foo/baz/bar", true, true},
      {"foo/**/**/bar", "foo/bar", true, false},
      {"foo/**/**/bar", "foo/b/a/z/bar", true, true},
      {"foo/**bar", "foo/a/bar", false, true},
      {"foo/**bar", "foo/abar", true, true},
      {"foo**bar", "foo/baz/bar", false, true},
      {"foo**/bar", "foobar", false, false},
      {"foo**/bar", "foox/bar", true, true},
      {"foo**/bar", "foo/a/bar", false, true},
      {"foo/**", "foo", false, false},
      {"foo/**", "foo/bar/baz", true, true},
      {"**/foo/**", "a/foo/b/c", true, true},
      {"**/foo/**", "foo", false, false},
      {"**/*a*b*g*n*t", "abcd/abcdefg/abcdefghijk/abcdefghijklmnop.txt", true, true},
      {"**/*a*b*g*n*t", "abcd/abcdefg/abcdefghijk/abcdefghijklmnop.txtz", false, false},
      {"**/t[o]", "foo/bar/baz/to", true, true},
      {"**/a/b/a/c", "a/b/a/b/a/c", true, true},
      {"***/foo", "a/b/foo", true, true},
      {"a/**\\/b", "a/x/b", true, true},
      {"a/**\\/b", "a/b", false, false},
      {"**/x*yz", "xy/xyz", true, true},
      {"**/**/a", "a", true, false},
      {"a/**/b/**/c", "a/b/b/x/c", true, true},
      {"a/**/b/**/c", "a/x/c/b", false, false},
  };
  CHECK_ROWS(rows);
}

static void sets_have_ranges_classes_and_negation(void **state) {
  (void)state;
  static const struct row rows[] = {
      {"t[a-g]n", "ten", true, true},
      {"t[!a-g]n", "ten", false, false},
      {"t[!a-g]n", "ton", true, true},
      {"t[^a-g]n", "ton", true, true},
      {"a[]]b", "a]b", true, true},
      {"a[]-]b", "a-b", true, true},
      {"a[]-]b", "a]b", true, true},
      {"a[]-]b", "aab", false, false},
      {"a[]a-]b", "aab", true, true},
      {"[!]a-]", "b", true, true},
      {"]", "]", true, true},
      {"[a-c]b*", "bbdbd", true, true},
      {"[!-]", "a", true, true},
      {"[,-.]", "-", true, true},
      {"[+--]", "-", true, true},
      {"[---]", "-", true, true},
      {"[a-e-n]", "j", false, false},
      {"[a-e-n]", "-", true, true},
      {"[z-a]", "m", false, false},
      {"[\\-^]", "]", false, false},
      {"[\\-^]", "-", true, true},
      {"[\\]]", "]", true, true},
      {"[\\\\]", "\\", true, true},
      {"[A-\\\\]", "G", true, true},
      {"[!\\^a]", "b", true, true},
      {"[[:alpha:][:digit:]]", "5", true, true},
      {"[[:alpha:][:digit:][:upper:]]", " ", false, false},
      {"[[:xdigit:]]", "D", true, true},
      {"[![:space:]]", "x", true, true},
      {"[a-[:digit:]]", "5]", false, false},
      {"[[:digit:]-z]", "-", true, true},
      {"[[:digit]", ":", true, true},
      {"[[:]", "[", true, true},
      {"[[:x]", "x", true, true},
      {"[\xc0-\xff]", "\xe9", true, true},
      {"[a-\xff]", "\xff", true, true},
      {"?", "\xff", true, true},
  };
  CHECK_ROWS(rows);
}

static void a_malformed_pattern_matches_nothing(void **state) {
  (void)state;
  static const char *const patterns[] = {"[",      "[a",           "[]",        "[!]",  "[[:foo:]]",
                                         "[[::]]", "[a-",          "[\\",       "a\\",  "*[",
                                         "**/[",   "x*[[:foo:]]*", "[[:alpha:", "[a-\\"};
  static const char *const texts[] = {"", "[", "a", "a\\", "[]", "x", "xa", "a/b", "\\"};
  for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
    const char *p = patterns[i];
    for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
      for (unsigned flags = 0; flags < 2; flags++)
        assert_false(sd_glob_match(p, strlen(p), texts[k], strlen(texts[k]), flags));
    assert_int_equal(sd_glob_end(p, strlen(p)).kind, SD_GLOB_NEVER);
  }
}

static void lengths_are_what_is_said_not_where_a_nul_is(void **state) {
  (void)state;
  assert_true(sd_glob_match("abc*", 3, "abcd", 3, 0));
  assert_false(sd_glob_match("a", 1, "a\0b", 3, 0));
  assert_true(sd_glob_match("a?b", 3, "a\0b", 3, 0));
}

static void the_end_of_the_last_component_is_known(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *tail;
    enum sd_glob_kind kind;
  } rows[] = {
      {"foo", "foo", SD_GLOB_NAME},     {"a/b/foo", "foo", SD_GLOB_NAME},
      {"*/foo", "foo", SD_GLOB_NAME},   {"**/foo", "foo", SD_GLOB_NAME},
      {"a\\/foo", "foo", SD_GLOB_NAME}, {"*.o", ".o", SD_GLOB_SUFFIX},
      {"a/**.o", ".o", SD_GLOB_SUFFIX}, {"[a]/*.o", ".o", SD_GLOB_SUFFIX},
      {"*", NULL, SD_GLOB_ANY},         {"a/**", NULL, SD_GLOB_ANY},
      {"x/[a/]b", NULL, SD_GLOB_ANY},   {"a*", NULL, SD_GLOB_ANY},
      {"*a*", NULL, SD_GLOB_ANY},       {"a\\b", NULL, SD_GLOB_ANY},
      {"?a", NULL, SD_GLOB_ANY},        {"", NULL, SD_GLOB_ANY},
      {"foo/", NULL, SD_GLOB_ANY},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    struct sd_glob_end e = sd_glob_end(rows[i].pattern, strlen(rows[i].pattern));
    assert_int_equal(e.kind, rows[i].kind);
    if (!rows[i].tail) continue;
    assert_int_equal(e.tail_len, strlen(rows[i].tail));
    assert_memory_equal(e.tail, rows[i].tail, e.tail_len);
  }
}

static void assert_hopeless_in_time(const char *pattern, size_t n, const char *text, size_t len) {
  int64_t begin = sd_clock_thread();
  assert_false(sd_glob_match(pattern, n, text, len, SD_GLOB_PATH));
  assert_false(sd_glob_match(pattern, n, text, len, 0));
  int64_t ms = (sd_clock_thread() - begin) / SD_NS_PER_MS;
  if (ms > 5000) fail_msg("%.20s: %lld ms", pattern, (long long)ms);
}

/* "aaaa…" against "a*a*a*…b", which takes a matcher that tries everything longer than anybody has;
 * the same with directories; and one that has to try at each byte. */
static void time_is_at_most_the_product_of_the_lengths(void **state) {
  (void)state;
  enum { N = 4000 };
  static char text[N + 1], pattern[2 * N + 2];
  static const char *const stars[] = {"a*", "*?", "**/a*/", "*a/", "a?*[a-z]", "a"};
  for (size_t s = 0; s < sizeof(stars) / sizeof(stars[0]); s++) {
    size_t n = 0, len = strlen(stars[s]);
    bool dirs = strchr(stars[s], '/') != NULL;
    for (size_t i = 0; i < N; i++) text[i] = dirs && i % 2 ? '/' : 'a';
    pattern[n++] = '*';
    while (n + len <= N / 2) {
      memcpy(pattern + n, stars[s], len);
      n += len;
    }
    pattern[n++] = 'b';
    assert_hopeless_in_time(pattern, n, text, N);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stars_stay_within_a_component_of_a_path),
      cmocka_unit_test(two_stars_cross_directories_where_they_fill_a_component),
      cmocka_unit_test(sets_have_ranges_classes_and_negation),
      cmocka_unit_test(a_malformed_pattern_matches_nothing),
      cmocka_unit_test(lengths_are_what_is_said_not_where_a_nul_is),
      cmocka_unit_test(the_end_of_the_last_component_is_known),
      cmocka_unit_test(time_is_at_most_the_product_of_the_lengths),
  };
  return cmocka_run_group_tests_name("glob", tests, NULL, NULL);
}
