#include "engine/rowtext.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static int put_text(struct sd_buf *b, const char *s) {
  return sd_buf_put(b, s, strlen(s));
}

static int put_int(struct sd_buf *b, int64_t v) {
  char text[24];
  int n = snprintf(text, sizeof(text), "%" PRId64, v);
  return sd_buf_put(b, text, (size_t)n);
}

/* The shortest of two forms that is read back as the same number. */
static int put_real(struct sd_buf *b, double v) {
  char text[40];
  if (isinf(v)) return put_text(b, v > 0 ? "9e999" : "-9e999");
  int n = snprintf(text, sizeof(text), "%.15g", v);
  if (strtod(text, NULL) != v) n = snprintf(text, sizeof(text), "%.17g", v);
  return sd_buf_put(b, text, (size_t)n);
}

/* ---- JSON ---- */

/* The character at `p`, which is part of valid UTF-8, and how many bytes it has. */
static uint32_t decode(const unsigned char *p, size_t *len) {
  if (p[0] < 0x80) return *len = 1, p[0];
  if (p[0] < 0xe0) return *len = 2, (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
  if (p[0] >= 0xf0) return *len = 4, 0x10000; /* nothing up there is looked for */
  *len = 3;
  return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
}

/* As sd.text.is_control() of Lua has it: control characters, overrides of the direction of text. */
static bool is_control(uint32_t c) {
  return c < 32 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static int put_escaped(struct sd_buf *b, uint32_t c) {
  static const char shorts[] = "\"\"\\\\\nn\tt\rr";
  char text[8];
  for (const char *s = shorts; *s; s += 2)
    if ((uint32_t)(unsigned char)*s == c) {
      text[0] = '\\';
      text[1] = s[1];
      return sd_buf_put(b, text, 2);
    }
  snprintf(text, sizeof(text), "\\u%04x", (unsigned)c);
  return sd_buf_put(b, text, 6);
}

static int put_string(struct sd_buf *b, const char *s, size_t n) {
  const unsigned char *p = (const unsigned char *)s;
  size_t from = 0, len;
  int rc = put_text(b, "\"");
  for (size_t i = 0; !rc && i < n; i += len) {
    uint32_t c = decode(p + i, &len);
    if (c != '"' && c != '\\' && !is_control(c)) continue;
    rc = sd_buf_put(b, s + from, i - from);
    if (!rc) rc = put_escaped(b, c);
    from = i + len;
  }
  if (!rc) rc = sd_buf_put(b, s + from, n - from);
  return rc ? rc : put_text(b, "\"");
}

static int put_hex(struct sd_buf *b, const char *s, size_t n) {
  static const char digits[] = "0123456789abcdef";
  int rc = put_text(b, "{\"hex\":\"");
  for (size_t i = 0; !rc && i < n; i++) {
    const unsigned char c = (unsigned char)s[i];
    const char two[] = {digits[c >> 4], digits[c & 15]};
    rc = sd_buf_put(b, two, 2);
  }
  return rc ? rc : put_text(b, "\"}");
}

int sd_json_value(struct sd_buf *b, const struct sd_value *v) {
  switch (v->type) {
    case SD_VALUE_NULL: return put_text(b, "null");
    case SD_VALUE_INT: return put_int(b, v->i);
    case SD_VALUE_REAL: return isnan(v->r) ? put_text(b, "null") : put_real(b, v->r);
    default:
      return sd_utf8_valid(v->s.p, v->s.n) ? put_string(b, v->s.p, v->s.n)
                                           : put_hex(b, v->s.p, v->s.n);
  }
}

/* ---- names of columns ---- */

/* Bytes of the character at `s`; 0: a byte that is part of none. */
static size_t char_len(const char *s, size_t n) {
  for (size_t len = 1; len <= 4 && len <= n; len++)
    if (sd_utf8_valid(s, len)) return len;
  return 0;
}

/* The name as text, as sd.text.escape() of Lua has what is none; with its zero byte. */
static int put_name(struct sd_buf *b, const char *s) {
  size_t n = strlen(s), len;
  int rc = 0;
  if (sd_utf8_valid(s, n)) return sd_buf_put(b, s, n + 1);
  for (size_t i = 0; !rc && i < n; i += len ? len : 1) {
    char text[8];
    len = char_len(s + i, n - i);
    if (!len) snprintf(text, sizeof(text), "\\x%02x", (unsigned)(unsigned char)s[i]);
    if (!len) rc = put_text(b, text);
    else if (s[i] == '\\') rc = put_text(b, "\\\\");
    else rc = sd_buf_put(b, s + i, len);
  }
  return rc ? rc : sd_buf_put(b, "", 1);
}

/* How many of the first `n` strings in the list are `s`. */
static size_t count_equal(const struct sd_buf *list, size_t n, const char *s) {
  const char *at = (const char *)list->data;
  size_t found = 0;
  for (size_t i = 0; i < n; i++, at += strlen(at) + 1) found += strcmp(at, s) == 0;
  return found;
}

/* Appends to `given` what the column `i` of `n` is called, whose own name is `name`. */
static int give_name(struct sd_buf *given, const struct sd_buf *own, size_t i, size_t n,
                     const char *name) {
  size_t number = count_equal(own, i, name), len = strlen(name);
  if (!number) return sd_buf_put(given, name, len + 1);
  char *text = malloc(len + 24);
  if (!text) return -ENOMEM;
  do snprintf(text, len + 24, "%s_%zu", name, ++number);
  while (count_equal(own, n, text) || count_equal(given, i, text));
  int rc = sd_buf_put(given, text, strlen(text) + 1);
  free(text);
  return rc;
}

int sd_json_keys(struct sd_buf *b, const char *const *names, size_t n) {
  struct sd_buf own = SD_BUF_INIT, given = SD_BUF_INIT;
  int rc = 0;
  for (size_t i = 0; !rc && i < n; i++) rc = put_name(&own, names[i]);
  const char *at = (const char *)own.data;
  for (size_t i = 0; !rc && i < n; i++, at += strlen(at) + 1)
    rc = give_name(&given, &own, i, n, at);
  at = (const char *)given.data;
  for (size_t i = 0; !rc && i < n; i++, at += strlen(at) + 1) {
    rc = put_string(b, at, strlen(at));
    if (!rc) rc = sd_buf_put(b, ":", 2);
  }
  sd_buf_fini(&own);
  sd_buf_fini(&given);
  return rc;
}

/* ---- CSV ---- */

static bool must_quote(const char *s, size_t n) {
  if (n == 0 || strchr(" \t", s[0]) || strchr(" \t", s[n - 1])) return true;
  for (size_t i = 0; i < n; i++)
    if (s[i] == '"' || s[i] == ',' || s[i] == '\n' || s[i] == '\r') return true;
  return false;
}

static int put_quoted(struct sd_buf *b, const char *s, size_t n) {
  size_t from = 0;
  int rc = put_text(b, "\"");
  for (size_t i = 0; !rc && i < n; i++) {
    if (s[i] != '"') continue;
    rc = sd_buf_put(b, s + from, i + 1 - from);
    from = i; /* again */
  }
  if (!rc) rc = sd_buf_put(b, s + from, n - from);
  return rc ? rc : put_text(b, "\"");
}

int sd_csv_value(struct sd_buf *b, const struct sd_value *v) {
  switch (v->type) {
    case SD_VALUE_NULL: return 0;
    case SD_VALUE_INT: return put_int(b, v->i);
    case SD_VALUE_REAL: return put_real(b, v->r);
    default:
      return must_quote(v->s.p, v->s.n) ? put_quoted(b, v->s.p, v->s.n)
                                        : sd_buf_put(b, v->s.p, v->s.n);
  }
}
