/* test_mime.c - engine/mime.h: a table written by the test, the system's table, libmagic, kinds. */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* after the standard headers that it needs */
#include <cmocka.h>

#include "engine/mime.h"

struct fixture {
  char dir[64];
  char path[96]; /* of the table */
  struct sd_mime_names *names;
  struct sd_err err;
};

/* ---- help ---- */

static int set_up(void **state) {
  const char *tmp = getenv("TMPDIR");
  struct fixture *f = calloc(1, sizeof(*f));
  if (!f) return -1;
  snprintf(f->dir, sizeof(f->dir), "%s/sd_mime.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
  if (!mkdtemp(f->dir)) return -1;
  snprintf(f->path, sizeof(f->path), "%s/globs2", f->dir);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  char command[128];
  sd_mime_names_close(f->names);
  snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
  int rc = system(command) == 0 ? 0 : -1;
  free(f);
  return rc;
}

static void write_bytes(const char *path, const char *text, size_t n) {
  FILE *out = fopen(path, "we");
  assert_non_null(out);
  assert_int_equal(fwrite(text, 1, n, out), n);
  assert_int_equal(fclose(out), 0);
}

/* Opens a table of these lines. */
static struct sd_mime_names *open_table(struct fixture *f, const char *lines) {
  write_bytes(f->path, lines, strlen(lines));
  sd_mime_names_close(f->names);
  f->names = NULL;
  assert_int_equal(sd_mime_names_open(f->path, &f->names, &f->err), 0);
  return f->names;
}

static const char *type_of(const struct sd_mime_names *m, const char *name) {
  return sd_mime_by_name(m, name, strlen(name));
}

static void check(const struct sd_mime_names *m, const char *name, const char *type) {
  const char *found = type_of(m, name);
  if (!found || strcmp(found, type) != 0)
    fail_msg("%s is %s, not %s", name, found ? found : "undecided", type);
}

static void check_none(const struct sd_mime_names *m, const char *name) {
  const char *found = type_of(m, name);
  if (found) fail_msg("%s is %s, should be undecided", name, found);
}

/* ---- names ---- */

static void finds_literals_suffixes_and_patterns(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:text/x-makefile:makefile\n"
                                       "50:image/jpeg:*.jpg\n"
                                       "50:application/x-trash:*~\n"
                                       "50:text/plain:*,v\n"
                                       "50:video/mpeg:[0-9][0-9][0-9].vdr\n"
                                       "50:text/x-scons:sconscript.*\n"
                                       "50:text/x-dot:.profile\n");
  check(m, "Makefile", "text/x-makefile");
  check(m, "photo.jpg", "image/jpeg");
  check(m, "photo.jpg~", "application/x-trash");
  check(m, "main.c,v", "text/plain");
  check(m, "001.vdr", "video/mpeg");
  check(m, "SConscript.old", "text/x-scons");
  check(m, ".profile", "text/x-dot");
  check(m, ".jpg", "image/jpeg"); /* a star may stand for nothing */
  check_none(m, "01.vdr");
  check_none(m, "makefile.am");
  check_none(m, "a makefile");
  check_none(m, "photojpg");
  check_none(m, "photo.jpg.");
  check_none(m, "unknown");
}

static void the_longest_suffix_wins(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:application/x-compressed-tar:*.tar.gz\n"
                                       "50:application/gzip:*.gz\n"
                                       "50:application/x-tar:*.tar\n");
  check(m, "x.tar.gz", "application/x-compressed-tar");
  check(m, "x.star.gz", "application/gzip");
  check(m, "x.1.2.3.tar.gz", "application/x-compressed-tar");
  check(m, ".tar.gz", "application/x-compressed-tar");
  check(m, "tar.gz", "application/gzip");
  check(m, "x.gz.tar", "application/x-tar");
}

static void the_heaviest_wins_even_if_shorter(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "80:application/gzip:*.gz\n"
                                       "50:application/x-compressed-tar:*.tar.gz\n"
                                       "10:text/x-readme:readme*\n"
                                       "50:text/plain:*.txt\n"
                                       "60:text/x-python:*.py\n"
                                       "50:text/x-setup:setup.py\n");
  check(m, "x.tar.gz", "application/gzip");
  check(m, "README.txt", "text/plain");
  check(m, "README.first", "text/x-readme");
  check(m, "setup.py", "text/x-python");
}

static void the_longer_pattern_wins_among_all_forms(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:text/plain:*.txt\n"
                                       "50:text/x-notes:notes-*\n"
                                       "50:text/x-cmake:cmakelists.txt\n"
                                       "50:text/x-digits:[0-9][0-9].txt\n"
                                       "50:text/x-forty-two:42.txt\n");
  check(m, "notes-1.txt", "text/x-notes");
  check(m, "CMakeLists.txt", "text/x-cmake");
  check(m, "41.txt", "text/x-digits");
  check(m, "42.txt", "text/x-forty-two"); /* a literal goes first, though it is shorter */
}

static void case_matters_only_with_the_flag(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:text/x-c++src:*.C:cs\n"
                                       "50:text/x-csrc:*.c:cs\n"
                                       "50:image/jpeg:*.JPG\n"
                                       "50:application/x-core:core:cs\n"
                                       "50:text/x-flags:*.Flags:new,cs,other:field:field\n"
                                       "50:text/x-none:*.none:csx\n");
  check(m, "main.C", "text/x-c++src");
  check(m, "main.c", "text/x-csrc");
  check(m, "MAIN.c", "text/x-csrc");
  check(m, "photo.jpg", "image/jpeg");
  check(m, "PHOTO.JPG", "image/jpeg");
  check(m, "core", "application/x-core");
  check(m, "a.Flags", "text/x-flags");
  check(m, "a.NONE", "text/x-none");
  check_none(m, "CORE");
  check_none(m, "a.flags");
}

/* As update-mime-database writes them. */
static void the_copy_without_the_flag_does_not_count(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:text/x-genie:*.gs:cs\n"
                                       "50:text/x-genie:*.gs\n"
                                       "50:application/x-core:core:cs\n"
                                       "50:application/x-core:core\n"
                                       "50:text/x-c++src:*.C:cs\n"
                                       "50:text/x-c++src:*.C\n"
                                       "50:text/x-other:*.D:cs\n"
                                       "50:text/x-another:*.D\n");
  check(m, "a.gs", "text/x-genie");
  check_none(m, "a.GS");
  check(m, "core", "application/x-core");
  check_none(m, "Core");
  check_none(m, "main.c");
  check(m, "a.D", "text/x-other");
  check(m, "a.d", "text/x-another");
}

static void the_exact_case_goes_before_the_lowered_one(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:text/x-csrc:*.c\n"
                                       "50:text/x-c++src:*.C:cs\n");
  check(m, "main.C", "text/x-c++src");
  check(m, "main.c", "text/x-csrc");
}

static void a_tie_of_different_types_is_undecided(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:audio/ogg:*.ogg\n"
                                       "50:video/ogg:*.ogg\n"
                                       "50:application/x-core:core\n"
                                       "50:application/x-core:core\n"
                                       "50:text/x-one:a*b\n"
                                       "50:text/x-two:*b?\n"
                                       "60:text/x-first:*.tie.ogg\n"
                                       "50:text/x-a:*.abc\n"
                                       "50:text/x-b:?.abc\n");
  check_none(m, "song.ogg");
  check(m, "song.tie.ogg", "text/x-first");
  check(m, "core", "application/x-core");
  check(m, "ab", "text/x-one");
  check_none(m, "abbb");
  check_none(m, "x.abc");
  check(m, "xx.abc", "text/x-a");
}

static void a_malformed_line_is_left_out(void **state) {
  struct fixture *f = *state;
  static const char lines[] =
      "# a comment: with:colons\n"
      "\n"
      "50\n"
      "50:text/plain\n"
      "50:text/plain:\n"
      ":text/x-no-weight:*.w1\n"
      "x:text/x-no-number:*.w2\n"
      "-1:text/x-negative:*.w3\n"
      "101:text/x-too-heavy:*.w4\n"
      "99999999999999999999:text/x-too-heavy:*.w5\n"
      "50 :text/x-space:*.w6\n"
      "50:notype:*.w7\n"
      "50::*.w8\n"
      "50:text/x-nul:*.w9\0:cs\n"
      "0:text/x-none:__NOGLOBS__\n"
      "50:text/x-bracket:[\n"
      "50:text/x-good:*.good\n"
      "50:text/x-last:*.last";
  write_bytes(f->path, lines, sizeof(lines) - 1);
  assert_int_equal(sd_mime_names_open(f->path, &f->names, &f->err), 0);
  static const char *const none[] = {"a.w1", "a.w2", "a.w3", "a.w4", "a.w5",        "a.w6",
                                     "a.w7", "a.w8", "a.w9", "",     "__NOGLOBS__", "__noglobs__"};
  for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) check_none(f->names, none[i]);
  check(f->names, "a.good", "text/x-good");
  check(f->names, "a.last", "text/x-last"); /* no newline behind it */
}

static void names_are_any_bytes(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:image/jpeg:*.jpg\n"
                                       "50:text/x-one:one-?-byte\n"
                                       "50:text/x-umlaut:*.\xc3\xa4\n"
                                       "50:application/x-trash:*~\n");
  static char name[70000];
  check(m, "\xff\xfe\x80.jpg", "image/jpeg");
  check(m, "\xff\xfe\x80~", "application/x-trash");
  check(m, "one-\xff-byte", "text/x-one");
  check(m, "a.\xc3\xa4", "text/x-umlaut");
  check_none(m, "a.\xc3\x84"); /* only ASCII has two cases here */
  check(m, "new\nline.jpg", "image/jpeg");
  assert_null(sd_mime_by_name(m, "", 0));
  assert_null(sd_mime_by_name(m, "a\0.jpg", 6));
  assert_null(sd_mime_by_name(m, "a.jpgx", 2));
  assert_string_equal(sd_mime_by_name(m, "a.jpgx", 5), "image/jpeg");
  memset(name, '.', sizeof(name));
  memcpy(name + 4091, ".jpg", 4);
  assert_string_equal(sd_mime_by_name(m, name, 4095), "image/jpeg");
  assert_null(sd_mime_by_name(m, name, sizeof(name)));
}

static void the_locale_changes_nothing(void **state) {
  struct sd_mime_names *m = open_table(*state,
                                       "50:text/x-one:one-?-byte\n"
                                       "50:image/gif:*.gif\n");
  if (!setlocale(LC_ALL, "C.UTF-8")) {
    print_message("SKIPPED: the locale C.UTF-8 is not installed\n");
    skip();
  }
  check(m, "one-\xff-byte", "text/x-one");
  check_none(m, "one-\xc3\xa4-byte"); /* two bytes, whatever letter they are */
  if (setlocale(LC_ALL, "tr_TR.UTF-8")) check(m, "IMAGE.GIF", "image/gif");
  check(m, "one-x-byte", "text/x-one");
  setlocale(LC_ALL, "C");
}

static void many_globs_are_all_found(void **state) {
  struct fixture *f = *state;
  char name[64], type[64];
  FILE *out = fopen(f->path, "we");
  assert_non_null(out);
  for (int i = 0; i < 5000; i++) fprintf(out, "50:text/x-%d:*.s%d\n", i, i);
  assert_int_equal(fclose(out), 0);
  assert_int_equal(sd_mime_names_open(f->path, &f->names, &f->err), 0);
  for (int i = 0; i < 5000; i++) {
    snprintf(name, sizeof(name), "File.S%d", i);
    snprintf(type, sizeof(type), "text/x-%d", i);
    check(f->names, name, type);
  }
}

static void a_missing_table_is_enoent(void **state) {
  struct fixture *f = *state;
  assert_int_equal(sd_mime_names_open(f->path, &f->names, &f->err), -ENOENT);
  assert_int_equal(f->err.code, -ENOENT);
  assert_null(f->names);
  assert_int_equal(sd_mime_names_open(f->dir, &f->names, NULL), -EISDIR);
  sd_mime_names_close(NULL);
}

static void an_empty_table_knows_nothing(void **state) {
  check_none(open_table(*state, ""), "photo.jpg");
}

/* ---- the system's table ---- */

/* Writes "<dir>/<sub>/mime/globs2" with this type for "*.x", and gives "<dir>/<sub>". */
static const char *make_data_dir(struct fixture *f, const char *sub, const char *type, char *out) {
  char command[256], path[160], line[64];
  snprintf(out, 128, "%s/%s", f->dir, sub);
  snprintf(command, sizeof(command), "mkdir -p '%s/mime'", out);
  assert_int_equal(system(command), 0);
  snprintf(path, sizeof(path), "%s/mime/globs2", out);
  snprintf(line, sizeof(line), "50:%s:*.x\n", type);
  write_bytes(path, line, strlen(line));
  return out;
}

static void check_system(struct fixture *f, const char *type) {
  assert_int_equal(sd_mime_names_open(NULL, &f->names, &f->err), 0);
  check(f->names, "a.x", type);
  sd_mime_names_close(f->names);
  f->names = NULL;
}

static void keep_env(const char *name, char **old) {
  const char *v = getenv(name);
  *old = v ? strdup(v) : NULL;
}

static void restore_env(const char *name, char *old) {
  if (old) setenv(name, old, 1);
  else unsetenv(name);
  free(old);
}

static void looks_where_xdg_says(void **state) {
  struct fixture *f = *state;
  char home[128], share[128], one[128], two[128], dirs[512], *was[3];
  static const char *const vars[] = {"HOME", "XDG_DATA_HOME", "XDG_DATA_DIRS"};
  for (int i = 0; i < 3; i++) keep_env(vars[i], &was[i]);
  make_data_dir(f, "home", "text/x-home", home);
  make_data_dir(f, "user/.local/share", "text/x-user", share);
  make_data_dir(f, "one", "text/x-one", one);
  make_data_dir(f, "two", "text/x-two", two);

  snprintf(dirs, sizeof(dirs), "relative::%s/none:%s:%s", f->dir, one, two);
  setenv("XDG_DATA_HOME", home, 1);
  setenv("XDG_DATA_DIRS", dirs, 1);
  check_system(f, "text/x-home");
  share[strlen(share) - strlen("/.local/share")] = '\0';
  setenv("HOME", share, 1);
  setenv("XDG_DATA_HOME", "", 1);
  check_system(f, "text/x-user");
  setenv("HOME", "/nowhere", 1);
  check_system(f, "text/x-one");
  setenv("XDG_DATA_HOME", "/nowhere", 1);
  setenv("XDG_DATA_DIRS", two, 1);
  check_system(f, "text/x-two");
  snprintf(dirs, sizeof(dirs), "../../../../../../../../../../../..%s:%s", one, two);
  setenv("XDG_DATA_DIRS", dirs, 1);
  check_system(f, "text/x-two"); /* a relative directory does not count, even if it is there */
  setenv("XDG_DATA_DIRS", "/nowhere:", 1);
  assert_int_equal(sd_mime_names_open(NULL, &f->names, &f->err), -ENOENT);
  for (int i = 0; i < 3; i++) restore_env(vars[i], was[i]);
}

static void knows_the_systems_types(void **state) {
  struct fixture *f = *state;
  static const char table[] = "/usr/share/mime/globs2";
  if (access(table, R_OK) != 0) {
    print_message("SKIPPED: shared-mime-info is not installed\n");
    skip();
  }
  assert_int_equal(sd_mime_names_open(table, &f->names, &f->err), 0);
  check(f->names, "photo.JPG", "image/jpeg");
  check(f->names, "photo.jpeg", "image/jpeg");
  check(f->names, "x.tar.gz", "application/x-compressed-tar");
  check(f->names, "x.gz", "application/gzip");
  check(f->names, "README", "text/x-readme");
  check(f->names, "README.md", "text/markdown");
  check(f->names, "main.C", "text/x-c++src");
  check(f->names, "main.c", "text/x-csrc");
  check(f->names, "MAIN.C", "text/x-c++src");
  check_none(f->names, "CORE");
  check(f->names, "main.py", "text/x-python");
  check(f->names, "libm.so.6", "application/x-sharedlib");
  check(f->names, "Makefile", "text/x-makefile");
  check(f->names, "CMakeLists.txt", "text/x-cmake");
  check(f->names, "song.mp3", "audio/mpeg");
  check(f->names, "letter.odt", "application/vnd.oasis.opendocument.text");
  check_none(f->names, "unknown");
  check_none(f->names, "unknown.no-such-suffix");
}

/* ---- bytes ---- */

static void magic_knows_the_first_bytes(void **state) {
  static const uint8_t png[] = {0x89, 'P', 'N', 'G', 13, 10, 26, 10, 0, 0, 0, 13, 'I', 'H', 'D',
                                'R',  0,   0,   0,   1,  0,  0,  0,  1, 8, 6, 0,  0x0, 0x0};
  static const char html[] = "<!DOCTYPE html>\n<html><head><title>x</title></head></html>\n";
  static const uint8_t elf[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1, 0, [16] = 2, 0, 62, 0, 1};
  static const uint8_t gzip[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  struct fixture *f = *state;
  struct sd_mime_magic *m = NULL;
  assert_int_equal(sd_mime_magic_open(&m, &f->err), 0);
  assert_string_equal(sd_mime_by_magic(m, png, sizeof(png)), "image/png");
  assert_string_equal(sd_mime_by_magic(m, html, sizeof(html) - 1), "text/html");
  assert_string_equal(sd_mime_kind(sd_mime_by_magic(m, elf, sizeof(elf))), "application");
  assert_string_equal(sd_mime_by_magic(m, gzip, sizeof(gzip)), "application/gzip");
  assert_string_equal(sd_mime_by_magic(m, "plain words\n", 12), "text/plain");
  assert_string_equal(sd_mime_kind(sd_mime_by_magic(m, "\x01\x02\x00\xff\xfe\x03", 6)), "other");
  assert_string_equal(sd_mime_by_magic(m, png, sizeof(png)), "image/png");
  sd_mime_magic_close(m);
  sd_mime_magic_close(NULL);
}

static void magic_takes_an_empty_buffer(void **state) {
  struct fixture *f = *state;
  struct sd_mime_magic *m = NULL;
  assert_int_equal(sd_mime_magic_open(&m, &f->err), 0);
  const char *type = sd_mime_by_magic(m, "", 0);
  assert_non_null(type);
  assert_non_null(strstr(type, "x-empty"));
  assert_string_equal(sd_mime_kind(type), "other");
  assert_string_equal(sd_mime_kind(sd_mime_by_magic(m, NULL, 0)), "other");
  sd_mime_magic_close(m);
}

/* A tar is known by its sum: libmagic has code for that, which must not be switched off. */
static void magic_knows_a_tar(void **state) {
  struct fixture *f = *state;
  struct sd_mime_magic *m = NULL;
  char command[256], bytes[2048];
  snprintf(command, sizeof(command), "cd '%s' && echo x >x && tar -cf - x", f->dir);
  FILE *p = popen(command, "re");
  assert_non_null(p);
  size_t n = fread(bytes, 1, sizeof(bytes), p);
  pclose(p);
  if (n < 512) {
    print_message("SKIPPED: the program tar is not installed\n");
    skip();
  }
  assert_int_equal(sd_mime_magic_open(&m, &f->err), 0);
  assert_string_equal(sd_mime_kind(sd_mime_by_magic(m, bytes, n)), "archive");
  sd_mime_magic_close(m);
}

/* ---- kinds ---- */

static void kinds_of_types(void **state) {
  static const char *const pairs[][2] = {
      {"image/png", "image"},
      {"image/svg+xml", "image"},
      {"video/mp4", "video"},
      {"audio/flac", "audio"},
      {"font/woff2", "font"},
      {"application/x-font-type1", "font"},
      {"text/plain", "text"},
      {"text/rtf", "document"},
      {"application/json", "text"},
      {"application/ld+json", "text"},
      {"application/xml", "text"},
      {"application/x-shellscript", "text"},
      {"application/pdf", "document"},
      {"application/msword", "document"},
      {"application/vnd.ms-excel", "document"},
      {"application/vnd.ms-excel.sheet.macroEnabled.12", "document"},
      {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", "document"},
      {"application/vnd.oasis.opendocument.text-flat-xml", "document"},
      {"application/epub+zip", "document"},
      {"application/zip", "archive"},
      {"application/x-tar", "archive"},
      {"application/x-7z-compressed", "archive"},
      {"application/gzip", "archive"},
      {"application/x-compressed-tar", "archive"},
      {"application/x-zstd-compressed-tar", "archive"},
      {"application/x-iso9660-image", "archive"},
      {"application/x-executable", "application"},
      {"application/x-pie-executable", "application"},
      {"application/x-sharedlib", "application"},
      {"application/x-dosexec", "application"},
      {"application/vnd.microsoft.portable-executable", "application"},
      {"model/stl", "model"},
      {"message/rfc822", "message"},
      {"inode/x-empty", "other"},
      {"application/x-empty", "other"},
      {"application/octet-stream", "other"},
      {"application/vnd.sqlite3", "other"},
      {"image", "other"},
      {"x", "other"},
      {"", "other"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
    if (strcmp(sd_mime_kind(pairs[i][0]), pairs[i][1]) != 0)
      fail_msg("%s is %s, not %s", pairs[i][0], sd_mime_kind(pairs[i][0]), pairs[i][1]);
  assert_null(sd_mime_kind(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void without_descriptors_nothing_is_said_to_be_missing(void **state) {
  (void)state;
  struct sd_mime_names *names = NULL;
  struct sd_mime_magic *magic = NULL;
  struct sd_err err;
  struct rlimit before, none;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  none = before;
  none.rlim_cur = 0;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  int by_name = sd_mime_names_open(NULL, &names, &err);
  int by_magic = sd_mime_magic_open(&magic, &err);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_int_equal(by_name, -EMFILE);
  assert_int_equal(by_magic, -EMFILE);
  assert_string_equal(err.msg, "no file descriptor is left (see ulimit -n)");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(finds_literals_suffixes_and_patterns),
      TEST(the_longest_suffix_wins),
      TEST(the_heaviest_wins_even_if_shorter),
      TEST(the_longer_pattern_wins_among_all_forms),
      TEST(case_matters_only_with_the_flag),
      TEST(the_copy_without_the_flag_does_not_count),
      TEST(the_exact_case_goes_before_the_lowered_one),
      TEST(a_tie_of_different_types_is_undecided),
      TEST(a_malformed_line_is_left_out),
      TEST(names_are_any_bytes),
      TEST(the_locale_changes_nothing),
      TEST(many_globs_are_all_found),
      TEST(a_missing_table_is_enoent),
      TEST(an_empty_table_knows_nothing),
      TEST(looks_where_xdg_says),
      TEST(knows_the_systems_types),
      TEST(magic_knows_the_first_bytes),
      TEST(magic_takes_an_empty_buffer),
      TEST(magic_knows_a_tar),
      TEST(kinds_of_types),
      TEST(without_descriptors_nothing_is_said_to_be_missing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
