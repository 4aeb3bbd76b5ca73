#include "engine/matcher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/regex.h"
#include "engine/wildcard.h"

struct sd_matcher {
  int kind; /* enum sd_match_kind, without IGNORE_CASE */
  bool ignore_case;
  char *pattern; /* in lower case with ignore_case, where `re` is NULL */
  size_t len;
  struct sd_regex *re; /* REGEX, and what ASCII does not fold */
  char *needle;        /* in lower case */
  size_t needle_len;
  struct sd_buf folded; /* what is looked through, in lower case */
};

/* ---- lower case of ASCII ---- */

static char lower(char c) {
  return (char)((unsigned char)(c - 'A') < 26 ? c + 32 : c);
}

static void lower_copy(char *to, const char *from, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = lower(from[i]);
}

static char *lower_dup(const char *s, size_t n) {
  char *p = malloc(n + 1);
  if (p) lower_copy(p, s, n);
  return p;
}

static bool is_ascii(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (s[i] & 0x80) return false;
  return true;
}

/* ---- opening ---- */

static bool is_glob(const struct sd_matcher *m) {
  return m->kind == SD_MATCH_GLOB || m->kind == SD_MATCH_GLOB_PATH;
}

/* A pattern that is not ASCII, and whose case is to be ignored, as a regular expression. */
static int open_quoted(struct sd_matcher *m, size_t *offset, struct sd_err *err) {
  struct sd_buf b = SD_BUF_INIT;
  int rc = sd_buf_put(&b, "\\A", m->kind == SD_MATCH_BEGINS ? 2 : 0);
  for (size_t i = 0; !rc && i < m->len; i++) {
    bool special = strchr("\\^$.[]|()?*+{}#- \t\n", m->pattern[i]) && m->pattern[i];
    if (special) rc = sd_buf_put(&b, "\\", 1);
    if (!rc) rc = sd_buf_put(&b, m->pattern + i, 1);
  }
  if (!rc && m->kind == SD_MATCH_ENDS) rc = sd_buf_put(&b, "\\z", 2);
  if (!rc) rc = sd_regex_open((const char *)b.data, b.len, true, &m->re, offset, err);
  else rc = sd_err_nomem(err);
  sd_buf_fini(&b);
  return rc;
}

/* What `re` folds may lie outside of ASCII (a Kelvin sign is a k): then nothing is sure. */
static int set_needle(struct sd_matcher *m, struct sd_err *err) {
  const char *p = m->pattern;
  size_t n = m->len;
  if (m->re) n = 0;
  else if (is_glob(m)) n = sd_wildcard_literal(m->pattern, m->len, &p);
  m->needle = lower_dup(p, n);
  m->needle_len = n;
  return m->needle ? 0 : sd_err_nomem(err);
}

static bool needs_regex(const struct sd_matcher *m) {
  return m->ignore_case && !is_glob(m) && m->kind != SD_MATCH_REGEX &&
         !is_ascii(m->pattern, m->len);
}

int sd_matcher_open(int kind, const char *pattern, size_t len, struct sd_matcher **out,
                    size_t *offset, struct sd_err *err) {
  int rc = 0;
  *offset = 0;
  if (kind < 0 || (kind & ~SD_MATCH_IGNORE_CASE) >= SD_MATCH_KINDS)
    return sd_err_set(err, SD_EPATTERN, "no such kind of pattern");
  struct sd_matcher *m = calloc(1, sizeof(*m));
  if (!m || !(m->pattern = malloc(len + 1))) {
    free(m);
    return sd_err_nomem(err);
  }
  memcpy(m->pattern, pattern, len);
  m->len = len;
  m->kind = kind & ~SD_MATCH_IGNORE_CASE;
  m->ignore_case = kind & SD_MATCH_IGNORE_CASE;
  if (m->kind == SD_MATCH_REGEX)
    rc = sd_regex_open(pattern, len, m->ignore_case, &m->re, offset, err);
  else if (needs_regex(m)) rc = open_quoted(m, offset, err);
  else if (m->ignore_case && !is_glob(m)) lower_copy(m->pattern, pattern, len);
  if (!rc) rc = set_needle(m, err);
  if (rc) sd_matcher_close(m);
  else *out = m;
  return rc;
}

void sd_matcher_close(struct sd_matcher *m) {
  if (!m) return;
  sd_regex_close(m->re);
  sd_buf_fini(&m->folded);
  free(m->pattern);
  free(m->needle);
  free(m);
}

/* ---- matching ---- */

static bool same(const struct sd_matcher *m, const char *s) {
  if (!m->ignore_case) return memcmp(s, m->pattern, m->len) == 0;
  for (size_t i = 0; i < m->len; i++)
    if (lower(s[i]) != m->pattern[i]) return false;
  return true;
}

int sd_matcher_match(struct sd_matcher *m, const char *s, size_t n, struct sd_err *err) {
  struct sd_wildcard_opts o = {.ignore_case = m->ignore_case,
                               .path = m->kind == SD_MATCH_GLOB_PATH};
  if (m->re) return sd_regex_match(m->re, s, n, err);
  switch (m->kind) {
    case SD_MATCH_GLOB:
    case SD_MATCH_GLOB_PATH: return sd_wildcard_match(m->pattern, m->len, s, n, &o);
    case SD_MATCH_BEGINS: return n >= m->len && same(m, s);
    case SD_MATCH_ENDS: return n >= m->len && same(m, s + n - m->len);
    default: break;
  }
  const char *text = sd_matcher_fold(m, s, n);
  return text ? sd_matcher_find(m, text, n) != NULL : sd_err_nomem(err);
}

size_t sd_matcher_needle(const struct sd_matcher *m, const char **out) {
  *out = m->needle;
  return m->needle_len;
}

bool sd_matcher_is_find(const struct sd_matcher *m) {
  return m->kind == SD_MATCH_CONTAINS && !m->re;
}

const char *sd_matcher_fold(struct sd_matcher *m, const char *s, size_t n) {
  if (!m->ignore_case) return s;
  m->folded.len = 0;
  if (sd_buf_reserve(&m->folded, n + 1)) return NULL;
  lower_copy((char *)m->folded.data, s, n);
  return (const char *)m->folded.data;
}

const char *sd_matcher_find(const struct sd_matcher *m, const char *s, size_t n) {
  return memmem(s, n, m->pattern, m->len);
}
