#include "engine/wildcard.h"

#include <stdint.h>
#include <string.h>

#include "engine/glob.h"

/* A place in the pattern and one in the subject. */
struct at {
  const char *p, *s;
};

struct run {
  const char *p_end, *s_end;
  const struct sd_wildcard_opts *o;
};

static unsigned fold(const struct run *r, unsigned c) {
  return r->o->ignore_case && c - 'A' < 26 ? c + 32 : c;
}

/* The character at `s`, and its bytes; a byte that begins none is one, above all characters. */
static uint32_t character(const char *s, const char *end, size_t *len) {
  const unsigned char *u = (const unsigned char *)s;
  size_t want = u[0] < 0xc2 ? 1 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : u[0] < 0xf5 ? 4 : 1;
  uint32_t c = want == 1 ? u[0] : u[0] & (0x7fu >> want);
  *len = 1;
  if (want == 1) return u[0] < 0x80 ? c : 0x110000 + c;
  if ((size_t)(end - s) < want) return 0x110000 + u[0];
  for (size_t i = 1; i < want; i++) {
    if ((u[i] & 0xc0) != 0x80) return 0x110000 + u[0];
    c = c << 6 | (u[i] & 0x3f);
  }
  *len = want;
  return c;
}

/* Behind the class that begins at `p`, as [:alpha:] does, with the length of its name; NULL where
 * none begins. */
static const char *class_end(const char *p, const char *end, size_t *len) {
  if (end - p < 4 || p[0] != '[' || p[1] != ':') return NULL;
  const char *s = p + 2;
  while (s < end && *s >= 'a' && *s <= 'z') s++;
  *len = (size_t)(s - p) - 2;
  return end - s >= 2 && s[0] == ':' && s[1] == ']' ? s + 2 : NULL;
}

/* Behind the bracket expression at `p`, which is a `[`; NULL where nothing closes it. */
static const char *bracket_end(const char *p, const char *end) {
  size_t len;
  p++;
  if (p < end && (*p == '!' || *p == '^')) p++;
  if (p < end && *p == ']') p++;
  while (p < end && *p != ']') {
    const char *behind = class_end(p, end, &len);
    if (behind) p = behind;
    else p += *p == '\\' && p + 1 < end ? 2 : 1;
  }
  return p < end ? p + 1 : NULL;
}

/* One end of a range, behind its escape. */
static uint32_t bracket_char(const char **p, const char *end) {
  size_t len;
  if (**p == '\\' && *p + 1 < end) ++*p;
  uint32_t c = character(*p, end, &len);
  *p += len;
  return c;
}

/* Of the class [:name:] at `p`: 1 or 0, whether it has `c`; -1: there is no such class. */
static int in_class(const char *p, size_t len, uint32_t c) {
  const char *name = p + 2;
  int has = sd_glob_class(name, len, c < 128 ? (uint8_t)c : 0xff);
  if (has == 0 && len == 5 && memcmp(name, "space", 5) == 0) return c == '\v' || c == '\f';
  return has;
}

/* Whether `c` is in the bracket expression [p, end), both brackets included. */
static bool in_bracket(const struct run *r, const char *p, const char *end, uint32_t c) {
  bool negated = p[1] == '!' || p[1] == '^', found = false;
  uint32_t folded = c < 128 ? fold(r, c) : c;
  p += negated ? 2 : 1;
  end--;
  while (p < end) {
    size_t len;
    const char *behind = class_end(p, end, &len);
    if (behind) {
      int has = in_class(p, len, c);
      if (has < 0) return false;
      found |= has;
      p = behind;
      continue;
    }
    uint32_t low = bracket_char(&p, end), high = low;
    if (p + 1 < end && *p == '-') {
      p++;
      high = bracket_char(&p, end);
    }
    found |= (c >= low && c <= high) || (folded >= low && folded <= high);
    if (r->o->ignore_case && folded - 'a' < 26) /* and in upper case */
      found |= folded - 32 >= low && folded - 32 <= high;
  }
  return found != negated;
}

static bool is_slash(const struct run *r, const char *s) {
  return r->o->path && *s == '/';
}

/* Matches what one element other than a star stands for, and moves both places behind it. */
static bool match_one(const struct run *r, struct at *at) {
  size_t len;
  const char *stop = *at->p == '[' ? bracket_end(at->p, r->p_end) : NULL;
  if (at->s == r->s_end) return false;
  if (*at->p == '?' || stop) {
    if (is_slash(r, at->s)) return false;
    uint32_t c = character(at->s, r->s_end, &len);
    if (stop && !in_bracket(r, at->p, stop, c)) return false;
    at->p = stop ? stop : at->p + 1;
    at->s += len;
    return true;
  }
  if (*at->p == '\\' && at->p + 1 < r->p_end) at->p++;
  if (fold(r, (unsigned char)*at->p) != fold(r, (unsigned char)*at->s)) return false;
  at->p++;
  at->s++;
  return true;
}

/* Of each kind of star only the last one is tried again, with one byte more: what was before it has
 * matched already. `*` gives way to `**` where it may not go on. */
bool sd_wildcard_match(const char *pattern, size_t pattern_len, const char *s, size_t n,
                       const struct sd_wildcard_opts *o) {
  struct run r = {.p_end = pattern + pattern_len, .s_end = s + n, .o = o};
  struct at at = {pattern, s}, star = {NULL, NULL}, all = {NULL, NULL};
  for (;;) {
    if (at.p < r.p_end && *at.p == '*') {
      bool twice = at.p + 1 < r.p_end && at.p[1] == '*';
      while (at.p < r.p_end && *at.p == '*') at.p++;
      if (twice) all = at;
      star = twice ? (struct at){NULL, NULL} : at;
      continue;
    }
    if (at.p == r.p_end ? at.s == r.s_end : match_one(&r, &at)) {
      if (at.p == r.p_end && at.s == r.s_end) return true;
      if (at.p < r.p_end || at.s < r.s_end) continue;
    }
    if (star.p && star.s < r.s_end && !is_slash(&r, star.s)) {
      star.s++;
      at = star;
    } else if (all.p && all.s < r.s_end) {
      all.s++;
      at = all;
      star = (struct at){NULL, NULL};
    } else {
      return false;
    }
  }
}

size_t sd_wildcard_literal(const char *pattern, size_t len, const char **out) {
  const char *p = pattern, *end = pattern + len, *from = p, *stop;
  size_t best = 0;
  *out = "";
  for (;;) {
    bool ends = p == end || strchr("*?\\", *p) || (*p == '[' && bracket_end(p, end));
    if (ends && (size_t)(p - from) > best) {
      best = (size_t)(p - from);
      *out = from;
    }
    if (p == end) return best;
    if (ends) {
      stop = *p == '[' ? bracket_end(p, end) : *p == '\\' && p + 1 < end ? p + 2 : p + 1;
      p = from = stop;
    } else {
      p++;
    }
  }
}
