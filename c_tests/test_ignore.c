/* Lists of patterns, against `git check-ignore`: which line of a .gitignore decides, for one list
 * and many paths. Nested lists are test_rules' affair. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/ignore.h"

/* ---- git's answer ---- */

struct repository {
  char root[512], paths[512];
};

static struct repository new_repository(void **state) {
  struct repository r;
  snprintf(r.root, sizeof(r.root), "%s", at(*state, "repository"));
  snprintf(r.paths, sizeof(r.paths), "%s", at(*state, "paths"));
  struct sd_buf none = run("git init -q --template= '%s'", r.root);
  sd_buf_fini(&none);
  return r;
}

/* For each path that ends with a NUL in `paths`: the line that decides and its pattern, "0:" where
 * none does; each with a NUL behind it. */
static struct sd_buf ask_git(const struct repository *r, const struct sd_buf *list,
                             const struct sd_buf *paths) {
  struct sd_buf answers = SD_BUF_INIT;
  put_file(at(r->root, ".gitignore"), list->data, list->len);
  put_file(r->paths, paths->data, paths->len);
  struct sd_buf out =
      run("env HOME=/nonexistent XDG_CONFIG_HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 git -C '%s'"
          " check-ignore --no-index --stdin -z -v -n <'%s' || test $? = 1",
          r->root, r->paths);
  const char *p = (const char *)out.data, *end = p + out.len;
  while (p < end) { /* source, line, pattern, path */
    const char *line = p + strlen(p) + 1, *pattern = line + strlen(line) + 1;
    char answer[4096];
    int n = snprintf(answer, sizeof(answer), "%s:%s", *line ? line : "0", pattern);
    assert_int_equal(sd_buf_put(&answers, answer, (size_t)n + 1), 0);
    p = pattern + strlen(pattern) + 1;
    p += strlen(p) + 1;
  }
  sd_buf_fini(&out);
  return answers;
}

/* ---- ours ---- */

/* As the walk does: nothing comes back below a directory that is excluded. */
static int match_path(const struct sd_ignore *ig, const char *path, bool dir,
                      struct sd_ignore_hit *hit) {
  size_t len = strlen(path), at = 0;
  for (;;) {
    const char *slash = memchr(path + at, '/', len - at);
    size_t end = slash ? (size_t)(slash - path) : len;
    struct sd_ignore_name n = sd_ignore_name(path, end, at, slash || dir);
    uint64_t paths = sd_ignore_paths(ig, path, at ? at - 1 : 0);
    int c = sd_ignore_match(ig, &n, 0, paths, hit);
    if (c > 0 || !slash) return c;
    at = end + 1;
  }
}

static void compare_with_git(const struct repository *r, const struct sd_buf *list,
                             const struct sd_buf *paths) {
  struct sd_err err;
  struct sd_ignore *ig;
  struct stat st;
  struct sd_buf answers = ask_git(r, list, paths);
  assert_ok(sd_ignore_parse((const char *)list->data, list->len, &ig, &err), &err);
  const char *path = (const char *)paths->data, *answer = (const char *)answers.data;
  for (; path < (const char *)paths->data + paths->len; path += strlen(path) + 1) {
    struct sd_ignore_hit hit = {.pattern = ""};
    char ours[4096];
    bool dir = lstat(at(r->root, path), &st) == 0 && S_ISDIR(st.st_mode);
    if (!match_path(ig, path, dir, &hit)) hit = (struct sd_ignore_hit){.pattern = ""};
    snprintf(ours, sizeof(ours), "%u:%.*s", hit.line, (int)hit.len, hit.pattern);
    if (strcmp(ours, answer) != 0)
      fail_msg("\"%s\": ours %s, git's %s, of the list\n%.*s", path, ours, answer, (int)list->len,
               (const char *)list->data);
    answer += strlen(answer) + 1;
  }
  assert_ptr_equal(answer, (const char *)answers.data + answers.len);
  sd_ignore_free(ig);
  sd_buf_fini(&answers);
}

static void put_text(struct sd_buf *b, const char *s, size_t len) {
  assert_int_equal(sd_buf_put(b, s, len), 0);
}

static void put_path(struct sd_buf *b, const char *path) {
  put_text(b, path, strlen(path) + 1);
}

/* ---- lines ---- */

static void lines_are_read_as_git_reads_them(void **state) {
  static const char list[] =
      "\xef\xbb\xbf"
      "bom\n"
      "# comment\n"
      "\\#hash\n"
      "\\!bang\n"
      "  leading\n"
      "trailing   \n"
      "kept\\ \n"
      "kept\\  \n"
      "tab\t\n"
      "crlf\r\n"
      "cr-inside\rx\n"
      "crlf-blank \r\n"
      "\r\n"
      "   \n"
      "\n"
      "/\n"
      "!\n"
      "!/\n"
      "//\n"
      "nul\0ignored\n"
      "back\\\n"
      "dir/\n"
      "dir2//\n"
      "!!twice\n"
      "/rooted\n"
      "//rooted-twice\n"
      "a/b\n"
      "star*\n"
      "!starred\n"
      "*.ext\n"
      "[[:bad:]]x\n"
      "**\\/escaped\n"
      "last\r";
  static const char *const paths[] = {"bom",          "\xef\xbb\xbf\x62om",
                                      "# comment",    "#hash",
                                      "\\#hash",      "!bang",
                                      "leading",      "  leading",
                                      "trailing",     "trailing   ",
                                      "kept",         "kept ",
                                      "kept  ",       "tab",
                                      "tab\t",        "crlf",
                                      "crlf\r",       "cr-inside\rx",
                                      "cr-inside",    "crlf-blank",
                                      "crlf-blank ",  " ",
                                      "nul",          "nulignored",
                                      "back",         "back\\",
                                      "dir",          "sub/dir",
                                      "dir/x",        "dir2",
                                      "twice",        "!twice",
                                      "rooted",       "sub/rooted",
                                      "rooted-twice", "a/b",
                                      "sub/a/b",      "a/b/c",
                                      "stars",        "starred",
                                      "sub/starry",   "x.ext",
                                      ".ext",         "sub/y.ext",
                                      "[[:bad:]]x",   "bx",
                                      "escaped",      "sub/escaped",
                                      "last",         "last\r"};
  struct repository r = new_repository(state);
  struct sd_buf all = SD_BUF_INIT, text = SD_BUF_INIT;
  make_dir(at(r.root, "dir"));
  make_dir(at(r.root, "sub"));
  make_dir(at(r.root, "sub/dir"));
  put_file(at(r.root, "dir2"), "", 0);
  put_text(&text, list, sizeof(list) - 1);
  for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) put_path(&all, paths[i]);
  compare_with_git(&r, &text, &all);
  sd_buf_fini(&text);
  sd_buf_fini(&all);
}

/* What a list says of a directory's names at once must be what each pattern says. */
static void slashes_may_be_escaped(void **state) {
  static const char list[] =
      "a\\/b\n"
      "[a/b]\\/**/**/\n"
      "c\\/**/x\n"
      "c\\\\/**/y\n"
      "d/**\\/**/z\n"
      "d\\/**/**/**/w\n";
  static const char *const dirs[] = {"a", "a/d", "a/d/e", "c", "c/d", "c\\", "d", "d/e", "d/e/f"};
  static const char *const ends[] = {"", "/b", "/x", "/y", "/z", "/w"};
  struct repository r = new_repository(state);
  struct sd_buf text = SD_BUF_INIT, paths = SD_BUF_INIT;
  char path[64];
  put_text(&text, list, sizeof(list) - 1);
  for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
    make_dir(at(r.root, dirs[i]));
    for (size_t k = 0; k < sizeof(ends) / sizeof(ends[0]); k++) {
      snprintf(path, sizeof(path), "%s%s", dirs[i], ends[k]);
      put_path(&paths, path);
    }
  }
  compare_with_git(&r, &text, &paths);
  sd_buf_fini(&text);
  sd_buf_fini(&paths);
}

static void classes_have_the_bytes_that_gits_have(void **state) {
  static const char *const classes[] = {"alnum", "alpha", "blank", "cntrl", "digit", "graph",
                                        "lower", "print", "punct", "space", "upper", "xdigit"};
  struct repository r = new_repository(state);
  struct sd_buf text = SD_BUF_INIT, paths = SD_BUF_INIT;
  char line[64];
  for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
    int n = snprintf(line, sizeof(line), "%s=[[:%s:]]\n", classes[i], classes[i]);
    put_text(&text, line, (size_t)n);
    for (int c = 1; c < 256; c++) {
      if (c == '/') continue;
      n = snprintf(line, sizeof(line), "%s=%c", classes[i], c);
      put_text(&paths, line, (size_t)n + 1);
    }
  }
  compare_with_git(&r, &text, &paths);
  sd_buf_fini(&text);
  sd_buf_fini(&paths);
}

/* ---- generated lists ---- */

static const char *pick(uint64_t *rng, const char *const *list, size_t n) {
  return list[rng_below(rng, (uint32_t)n)];
}

#define PICK(rng, list) pick(rng, list, sizeof(list) / sizeof((list)[0]))

static const char *const pieces[] = {
    "a",    "b",     "ab",   "c",     ".",   "*",   "*",           "**",    "?",
    "[ab]", "[!a]",  "[^b]", "[a-c]", "\\a", "\\*", "[[:alpha:]]", "[]-]",  "a.b",
    "-",    "[a/b]", "[",    "\\",    " ",   "***", "[\\]]",       "[[:x]", "[[:foo:]]"};
static const char *const names[] = {"a", "b", "ab", "c",  "a.b", "ba",  "abc",
                                    "-", "*", "aa", ".b", "]",   "b.a", "a b"};

static void put_pattern(struct sd_buf *b, uint64_t *rng) {
  if (rng_below(rng, 5) == 0) put_text(b, "!", 1);
  if (rng_below(rng, 5) == 0) put_text(b, "/", 1);
  for (uint32_t n = 1 + rng_below(rng, 3); n--;) {
    if (rng_below(rng, 5) == 0) put_text(b, "**", 2);
    else
      for (uint32_t k = 1 + rng_below(rng, 3); k--;) {
        /* Half of them plain, so that something matches. */
        const char *piece = rng_below(rng, 2) ? PICK(rng, names) : PICK(rng, pieces);
        put_text(b, piece, strlen(piece));
        if (rng_below(rng, 2)) break;
      }
    if (n || rng_below(rng, 4) == 0) put_text(b, "/", 1);
  }
  if (rng_below(rng, 10) == 0) put_text(b, "  ", 2);
  if (rng_below(rng, 10) == 0) put_text(b, "\r", 1);
  put_text(b, "\n", 1);
}

static void make_generated_tree(const struct repository *r, struct sd_buf *paths, uint64_t *rng) {
  for (int i = 0; i < 60; i++) {
    char path[256] = "";
    size_t len = 0;
    for (uint32_t n = 1 + rng_below(rng, 4); n--;) {
      len += (size_t)snprintf(path + len, sizeof(path) - len, "%s%s", len ? "/" : "",
                              PICK(rng, names));
      if (n || rng_below(rng, 3) == 0) (void)!mkdir(at(r->root, path), 0755);
    }
    put_path(paths, path);
  }
}

static void generated_lists_decide_as_git_does(void **state) {
  enum { LISTS = 200 };
  if (!git_splits_components(*state)) skip_because("this git reads `a**` otherwise than 2.39");
  struct repository r = new_repository(state);
  uint64_t rng = test_seed();
  struct sd_buf paths = SD_BUF_INIT;
  make_generated_tree(&r, &paths, &rng);
  for (int i = 0; i < LISTS; i++) {
    struct sd_buf list = SD_BUF_INIT;
    for (uint32_t n = 1 + rng_below(&rng, 12); n--;) put_pattern(&list, &rng);
    compare_with_git(&r, &list, &paths);
    sd_buf_fini(&list);
  }
  sd_buf_fini(&paths);
}

/* ---- limits ---- */

static int parse_code(const char *text, size_t len) {
  struct sd_err err;
  struct sd_ignore *ig = NULL;
  int rc = sd_ignore_parse(text, len, &ig, &err);
  if (rc) assert_null(ig);
  sd_ignore_free(ig);
  return rc;
}

static void too_much_is_refused_not_cut_off(void **state) {
  (void)state;
  enum { LINES = SD_IGNORE_PATTERNS_MAX + 1 };
  char *text = malloc(SD_IGNORE_BYTES_MAX + 1);
  memset(text, 'x', SD_IGNORE_BYTES_MAX + 1);
  assert_int_equal(parse_code(text, SD_IGNORE_BYTES_MAX), 0);
  assert_int_equal(parse_code(text, SD_IGNORE_BYTES_MAX + 1), -EFBIG);
  for (size_t i = 0; i < LINES; i++) memcpy(text + 2 * i, "x\n", 2);
  assert_int_equal(parse_code(text, 2 * LINES), -EFBIG);
  assert_int_equal(parse_code(text, 2 * (LINES - 1)), 0);
  memset(text, '\n', SD_IGNORE_BYTES_MAX); /* empty lines are no patterns */
  assert_int_equal(parse_code(text, SD_IGNORE_BYTES_MAX), 0);
  free(text);
}

static int match_name(const struct sd_ignore *ig, const char *path, struct sd_ignore_hit *hit) {
  return match_path(ig, path, false, hit);
}

static void the_last_of_many_patterns_decides(void **state) {
  (void)state;
  enum { N = 20000 };
  struct sd_err err;
  struct sd_ignore *ig;
  struct sd_ignore_hit hit;
  struct sd_buf text = SD_BUF_INIT;
  char line[64];
  for (int i = 0; i < N; i++) {
    int n = snprintf(line, sizeof(line), "%sname-%d\n", i % 3 ? "" : "!", i % (N / 2));
    put_text(&text, line, (size_t)n);
  }
  assert_ok(sd_ignore_parse((const char *)text.data, text.len, &ig, &err), &err);
  assert_int_equal(sd_ignore_count(ig), N);
  for (int i = N / 2; i < N; i++) {
    snprintf(line, sizeof(line), "sub/name-%d", i % (N / 2));
    assert_int_equal(match_name(ig, line, &hit), i % 3 ? 1 : -1);
    assert_int_equal(hit.line, i + 1);
  }
  assert_int_equal(match_name(ig, "name", &hit), 0);
  sd_ignore_free(ig);
  sd_buf_fini(&text);
}

static void globs_are_taken_as_they_stand(void **state) {
  (void)state;
  static const char *const globs[] = {"#a", "b ", "*.log", "!keep.log", "sub/x"};
  static const char *const bad[] = {"good", "[oops"};
  struct sd_err err;
  struct sd_ignore *ig;
  struct sd_ignore_hit hit;
  assert_ok(sd_ignore_globs(globs, 5, &ig, &err), &err);
  assert_int_equal(match_name(ig, "#a", &hit), 1);
  assert_int_equal(match_name(ig, "b", &hit), 0);
  assert_int_equal(match_name(ig, "b ", &hit), 1);
  assert_int_equal(match_name(ig, "d/x.log", &hit), 1);
  assert_int_equal(match_name(ig, "d/keep.log", &hit), -1);
  assert_int_equal(hit.line, 4);
  assert_int_equal(match_name(ig, "d/sub/x", &hit), 0);
  assert_int_equal(match_name(ig, "sub/x", &hit), 1);
  sd_ignore_free(ig);
  assert_int_equal(sd_ignore_globs(bad, 2, &ig, &err), -EINVAL);
  assert_non_null(strstr(err.msg, "[oops"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(lines_are_read_as_git_reads_them),
      temp_test(slashes_may_be_escaped),
      temp_test(classes_have_the_bytes_that_gits_have),
      temp_test(generated_lists_decide_as_git_does),
      cmocka_unit_test(too_much_is_refused_not_cut_off),
      cmocka_unit_test(the_last_of_many_patterns_decides),
      cmocka_unit_test(globs_are_taken_as_they_stand),
  };
  return cmocka_run_group_tests_name("ignore", tests, NULL, NULL);
}
