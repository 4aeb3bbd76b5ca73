/* libFuzzer target: a list of patterns, two NULs, then paths with a NUL behind each (a slash at its
 * end: a directory). The index of a list must find what its patterns say one by one; the matcher
 * what one finds that tries everything.
 *
 *   fuzz_ignore -max_total_time=120 c_tests/corpus/ignore */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/glob.h"
#include "engine/ignore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- a matcher that tries everything, for a while ---- */

struct slow {
  const char *begin, *end; /* of the pattern */
  const char *text_end;
  bool path;
  long steps; /* left */
};

static bool slow_match(struct slow *s, const char *p, const char *t);

static bool slow_star(struct slow *s, const char *p, const char *t) {
  const char *next = p;
  while (next < s->end && *next == '*') next++;
  bool left = p == s->begin || p[-1] == '/', slash = next < s->end && *next == '/';
  bool right = next == s->end || slash || (s->end - next > 1 && next[0] == '\\' && next[1] == '/');
  bool deep = !s->path || (next - p > 1 && left && right);
  if (s->path && deep && slash && slow_match(s, next + 1, t)) return true; /* no directory */
  for (;; t++) {
    if (slow_match(s, next, t)) return true;
    if (t == s->text_end || (!deep && *t == '/')) return false;
  }
}

/* One byte that is no star: a pattern of its own, against a text of its own. */
static bool slow_match(struct slow *s, const char *p, const char *t) {
  if (s->steps-- <= 0) return false;
  if (p == s->end) return t == s->text_end;
  if (*p == '*') return slow_star(s, p, t);
  if (t == s->text_end) return false;
  const char *next = p + 1;
  if (*p == '\\') next = p + 2;
  if (*p == '[') { /* the shortest that is whole: a set ends there, or it is malformed */
    while (next < s->end && sd_glob_end(p, (size_t)(next - p)).kind == SD_GLOB_NEVER) next++;
  }
  if (next > s->end) return false;
  return sd_glob_match(p, (size_t)(next - p), t, 1, s->path ? SD_GLOB_PATH : 0) &&
         slow_match(s, next, t + 1);
}

/* What was said beforehand of all that matches. */
static void check_end(const struct sd_glob_end *e, const char *text, size_t len) {
  uint64_t bytes = 0;
  for (size_t i = len; i && text[i - 1] != '/'; i--) bytes |= sd_glob_byte((uint8_t)text[i - 1]);
  sd_verify(e->kind != SD_GLOB_NEVER && !(e->bytes & ~bytes));
  if (e->kind == SD_GLOB_ANY) return;
  sd_verify(len >= e->tail_len && memcmp(text + len - e->tail_len, e->tail, e->tail_len) == 0);
  bool whole = len == e->tail_len || text[len - e->tail_len - 1] == '/';
  sd_verify(e->kind == SD_GLOB_SUFFIX || whole);
}

static void check_glob(const char *pattern, size_t len, const char *text, size_t text_len) {
  struct sd_glob_end e = sd_glob_end(pattern, len);
  for (int path = 0; path < 2; path++) {
    bool is = sd_glob_match(pattern, len, text, text_len, path ? SD_GLOB_PATH : 0);
    struct slow s = {.begin = pattern,
                     .end = pattern + len,
                     .text_end = text + text_len,
                     .path = path,
                     .steps = 20000};
    bool slow = e.kind != SD_GLOB_NEVER && slow_match(&s, pattern, text);
    sd_verify(is == slow || s.steps <= 0);
    if (is && path) check_end(&e, text, text_len);
  }
}

/* ---- a list, line by line ---- */

static int match(const struct sd_ignore *ig, const char *path, size_t len,
                 struct sd_ignore_hit *hit) {
  bool dir = path[len - 1] == '/';
  size_t at = len - dir;
  while (at && path[at - 1] != '/') at--;
  if (at == len - dir) return 0; /* no name */
  struct sd_ignore_name n = sd_ignore_name(path, len - dir, at, dir);
  uint64_t paths = sd_ignore_paths(ig, path, at ? at - 1 : 0);
  int c = sd_ignore_match(ig, &n, 0, paths, hit);
  sd_verify(sd_ignore_match(ig, &n, 0, SD_IGNORE_ALL, hit) == c);
  return c;
}

/* One pattern as git's documentation has it, without any index. */
static bool matches(const char *p, size_t len, const char *path, size_t path_len) {
  bool dir = path[path_len - 1] == '/';
  size_t at = path_len -= dir;
  while (at && path[at - 1] != '/') at--;
  if (at == path_len) return false;
  if (len && *p == '!') p++, len--;
  bool dir_only = len && p[len - 1] == '/';
  len -= dir_only;
  if (!len || (dir_only && !dir)) return false;
  if (!memchr(p, '/', len)) return sd_glob_match(p, len, path + at, path_len - at, 0);
  if (*p == '/') p++, len--;
  size_t n = sd_glob_literal(p, len); /* compared for itself */
  if (!len || path_len < n || memcmp(path, p, n) != 0) return false;
  return sd_glob_match(p + n, len - n, path + n, path_len - n, SD_GLOB_PATH);
}

static void check_pattern(const char *text, size_t len, const char *path, size_t path_len) {
  struct sd_err err;
  struct sd_ignore *ig = NULL;
  struct sd_ignore_hit hit;
  char *pattern = strndup(text, len);
  sd_verify(pattern);
  const char *globs[] = {pattern};
  int rc = sd_ignore_globs(globs, 1, &ig, &err);
  sd_verify(rc == 0 || rc == -EINVAL);
  int c = rc ? 0 : match(ig, path, path_len, &hit);
  sd_verify((c != 0) == matches(pattern, strlen(pattern), path, path_len));
  sd_ignore_free(ig);
  free(pattern);
}

/* What the last of the lines says that says anything. */
static int match_lines(const char *text, size_t size, const char *path, size_t len,
                       uint32_t *decides) {
  struct sd_err err;
  const char *end = text + size;
  int last = 0;
  if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3;
  for (uint32_t line = 1; text < end; line++) {
    const char *eol = memchr(text, '\n', (size_t)(end - text));
    struct sd_ignore *ig;
    struct sd_ignore_hit hit;
    if (!eol) eol = end;
    sd_verify(sd_ignore_parse(text, (size_t)(eol - text), &ig, &err) == 0);
    int c = match(ig, path, len, &hit);
    sd_ignore_free(ig);
    if (c) *decides = line;
    if (c) last = c;
    text = eol < end ? eol + 1 : end;
  }
  return last;
}

/* A mark at the beginning of a later line would be taken off when it is parsed for itself. */
static bool has_mark_inside(const char *text, size_t size) {
  return size > 3 && memmem(text + 1, size - 1, "\xef\xbb\xbf", 3) != NULL;
}

static void check_path(const struct sd_ignore *ig, const char *text, size_t size, const char *path,
                       size_t len) {
  struct sd_ignore_hit hit = {0};
  uint32_t line = 0;
  int c = match(ig, path, len, &hit);
  sd_verify(!c || (hit.len && hit.pattern && hit.line));
  if (size > 4096 || has_mark_inside(text, size)) return; /* slow */
  sd_verify(match_lines(text, size, path, len, &line) == c);
  sd_verify(!c || line == hit.line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct sd_err err;
  struct sd_ignore *ig;
  const char *text = (const char *)data, *end = text + size;
  const char *gap = size ? memmem(text, size, "\0", 2) : NULL;
  size_t text_len = gap ? (size_t)(gap - text) : size;
  int rc = sd_ignore_parse(text, text_len, &ig, &err);
  sd_verify(rc == 0 || (rc == -EFBIG && err.msg[0]));
  if (rc) return 0;
  const char *line_end = memchr(text, '\n', text_len);
  size_t first = line_end ? (size_t)(line_end - text) : text_len;
  int paths = 0;
  for (const char *p = gap ? gap + 2 : end; p < end && paths < 20; paths++) {
    const char *nul = memchr(p, 0, (size_t)(end - p));
    size_t len = (size_t)((nul ? nul : end) - p);
    if (len) {
      check_path(ig, text, text_len, p, len);
      check_pattern(text, first, p, len);
      check_glob(text, first, p, len);
    }
    p += len + 1;
  }
  sd_ignore_free(ig);
  return 0;
}
