#include "engine/glob.h"

#include <stdint.h>
#include <string.h>

/* ---- sets ---- */

static bool is_digit(uint8_t c) {
  return c >= '0' && c <= '9';
}

static bool is_lower(uint8_t c) {
  return c >= 'a' && c <= 'z';
}

static bool is_upper(uint8_t c) {
  return c >= 'A' && c <= 'Z';
}

static bool is_alpha(uint8_t c) {
  return is_lower(c) || is_upper(c);
}

static bool is_alnum(uint8_t c) {
  return is_alpha(c) || is_digit(c);
}

static bool is_blank(uint8_t c) {
  return c == ' ' || c == '\t';
}

static bool is_cntrl(uint8_t c) {
  return c < 0x20 || c == 0x7f;
}

static bool is_graph(uint8_t c) {
  return c > 0x20 && c < 0x7f;
}

static bool is_print(uint8_t c) {
  return c >= 0x20 && c < 0x7f;
}

static bool is_punct(uint8_t c) {
  return is_graph(c) && !is_alnum(c);
}

/* git's own: vertical tab and form feed are not among them. */
static bool is_space(uint8_t c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_xdigit(uint8_t c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static const struct {
  const char *name;
  bool (*has)(uint8_t c);
} classes[] = {
    {"alnum", is_alnum}, {"alpha", is_alpha}, {"blank", is_blank}, {"cntrl", is_cntrl},
    {"digit", is_digit}, {"graph", is_graph}, {"lower", is_lower}, {"print", is_print},
    {"punct", is_punct}, {"space", is_space}, {"upper", is_upper}, {"xdigit", is_xdigit},
};

int sd_glob_class(const char *name, size_t len, uint8_t c) {
  for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
    if (strlen(classes[i].name) == len && memcmp(classes[i].name, name, len) == 0)
      return classes[i].has(c);
  return -1;
}

/* The member of a set that begins at `p`: returns what follows it, NULL where it is malformed.
 * `*before` is the byte that a range may begin with, 0 where none may. */
static const char *set_member(const char *p, const char *end, uint8_t c, uint8_t *before,
                              bool *hit) {
  uint8_t m = (uint8_t)*p;
  if (m == '-' && *before && end - p > 1 && p[1] != ']') {
    p++;
    if (*p == '\\' && ++p == end) return NULL;
    if (c >= *before && c <= (uint8_t)*p) *hit = true;
    *before = 0;
    return p + 1;
  }
  if (m == '[' && end - p > 1 && p[1] == ':') {
    const char *name = p + 2, *close = memchr(name, ']', (size_t)(end - name));
    if (!close) return NULL;
    if (close > name && close[-1] == ':') {
      int has = sd_glob_class(name, (size_t)(close - name) - 1, c);
      if (has < 0) return NULL;
      if (has) *hit = true;
      *before = 0;
      return close + 1;
    }
  }
  if (m == '\\' && ++p == end) return NULL;
  m = (uint8_t)*p;
  if (m == c) *hit = true;
  *before = m;
  return p + 1;
}

/* The set whose bracket opens at `p`: what follows it, NULL where it is malformed. A bracket that
 * closes is a member where it comes first. */
static const char *match_set(const char *p, const char *end, uint8_t c, bool *hit) {
  uint8_t before = 0;
  bool in = false, negated = false;
  if (++p < end && (*p == '!' || *p == '^')) {
    negated = true;
    p++;
  }
  do {
    if (p == end) return NULL;
    if (!(p = set_member(p, end, c, &before, &in))) return NULL;
  } while (p == end || *p != ']');
  *hit = in != negated;
  return p + 1;
}

/* ---- matching ---- */

static bool is_special(char c) {
  return c == '*' || c == '?' || c == '[' || c == '\\';
}

struct match {
  const char *p, *p_end; /* what is left of the pattern */
  const char *t, *t_end; /* and of the text */
  const char *p_begin;
  bool path;
  /* Where to go on when what follows the last `*` or `**` did not match; NULL: there is none.
   * Earlier ones need no second look: each was passed at its first chance, and whatever a later
   * chance leads to, the last one reaches as well. */
  const char *star_p, *star_t;
  const char *deep_p, *deep_t;
};

enum outcome { GO_ON, MISMATCH, MATCHED, HOPELESS };

static const char *find_slash(const char *t, const char *end) {
  return t < end ? memchr(t, '/', (size_t)(end - t)) : NULL;
}

/* Whether the stars from m->p to `next` are a component of their own. */
static bool is_deep(const struct match *m, const char *next) {
  if (next - m->p < 2) return false;
  if (m->p != m->p_begin && m->p[-1] != '/') return false;
  return next == m->p_end || *next == '/' ||
         (*next == '\\' && m->p_end - next > 1 && next[1] == '/');
}

/* `**` and a slash: any number of directories; none only where the slash is not escaped. */
static enum outcome begin_deep(struct match *m, const char *next) {
  bool none = *next == '/';
  m->star_p = NULL;
  m->deep_p = m->p = next + (none ? 1 : 2);
  m->deep_t = m->t;
  if (none) return GO_ON;
  const char *slash = find_slash(m->t, m->t_end);
  if (!slash) return HOPELESS;
  m->deep_t = m->t = slash + 1;
  return GO_ON;
}

/* Lets the star take what cannot begin the literal that follows it. */
static void skip_for_star(struct match *m) {
  char c = *m->star_p;
  const char *t = m->star_t;
  if (is_special(c)) return;
  if (m->path)
    while (t < m->t_end && *t != c && *t != '/') t++;
  else if (!(t = memchr(t, c, (size_t)(m->t_end - t)))) t = m->t_end;
  m->t = m->star_t = t;
}

static enum outcome begin_star(struct match *m) {
  const char *next = m->p;
  while (next < m->p_end && *next == '*') next++;
  bool deep = !m->path || is_deep(m, next);
  if (next == m->p_end) return deep || !find_slash(m->t, m->t_end) ? MATCHED : MISMATCH;
  if (m->path && deep) return begin_deep(m, next);
  if (m->path && *next == '/') { /* what follows can only begin at the next slash */
    const char *slash = find_slash(m->t, m->t_end);
    if (!slash) return MISMATCH;
    m->t = slash;
    m->p = next;
    return GO_ON;
  }
  m->star_p = m->p = next;
  m->star_t = m->t;
  skip_for_star(m);
  return GO_ON;
}

/* One byte of the text against the pattern. */
static enum outcome match_byte(struct match *m) {
  const char *p = m->p, *next = p + 1;
  uint8_t c = (uint8_t)*m->t;
  bool slash = m->path && c == '/', hit;
  if (*p == '?') {
    hit = !slash;
  } else if (*p == '[') {
    if (!(next = match_set(p, m->p_end, c, &hit))) return HOPELESS;
    hit = hit && !slash;
  } else {
    if (*p == '\\') {
      if (next == m->p_end) return HOPELESS;
      p = next++;
    }
    hit = (uint8_t)*p == c;
    if (hit && slash) m->star_p = NULL; /* a star does not cross a slash */
  }
  if (!hit) return MISMATCH;
  m->p = next;
  m->t++;
  return GO_ON;
}

/* Lets the last star take one byte more, or the last `**` one directory. */
static bool back_up(struct match *m) {
  if (m->star_p && m->star_t < m->t_end && !(m->path && *m->star_t == '/')) {
    m->t = ++m->star_t;
    m->p = m->star_p;
    skip_for_star(m);
    return true;
  }
  const char *slash = m->deep_p ? find_slash(m->deep_t, m->t_end) : NULL;
  if (!slash) return false;
  m->star_p = NULL;
  m->deep_t = m->t = slash + 1;
  m->p = m->deep_p;
  return true;
}

bool sd_glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
                   unsigned flags) {
  struct match m = {.p = pattern,
                    .p_end = pattern + pattern_len,
                    .t = text,
                    .t_end = text + text_len,
                    .p_begin = pattern,
                    .path = flags & SD_GLOB_PATH};
  for (;;) {
    enum outcome o;
    if (m.p < m.p_end && *m.p == '*') o = begin_star(&m);
    else if (m.t == m.t_end) return m.p == m.p_end; /* later chances leave even less text */
    else o = m.p == m.p_end ? MISMATCH : match_byte(&m);
    if (o == MISMATCH && back_up(&m)) continue;
    if (o != GO_ON) return o == MATCHED;
  }
}

/* ---- what can be said of a pattern ---- */

#define BIT(c)     ((uint64_t)1 << (((c) ^ (c) >> 3) & 63))
#define BITS_4(c)  BIT(c), BIT((c) + 1), BIT((c) + 2), BIT((c) + 3)
#define BITS_16(c) BITS_4(c), BITS_4((c) + 4), BITS_4((c) + 8), BITS_4((c) + 12)
#define BITS_64(c) BITS_16(c), BITS_16((c) + 16), BITS_16((c) + 32), BITS_16((c) + 48)

const uint64_t sd_glob_bits[256] = {BITS_64(0), BITS_64(64), BITS_64(128), BITS_64(192)};

size_t sd_glob_literal(const char *pattern, size_t len) {
  size_t n = 0;
  while (n < len && !is_special(pattern[n])) n++;
  return n;
}

struct sd_glob_end sd_glob_end(const char *pattern, size_t len) {
  struct sd_glob_end e = {.kind = SD_GLOB_NEVER};
  const char *p = pattern, *end = pattern + len, *literal = pattern;
  bool star = false, plain = true, hit;
  while (p < end) {
    const char *at = p;
    if (*p == '[') p = match_set(p, end, 0, &hit);
    else if (*p == '\\') p = end - p > 1 ? p + 2 : NULL;
    else p++;
    if (!p) return e;
    if (p[-1] == '/') {
      star = false;
      plain = true;
      literal = p;
      e.at = (size_t)(p - pattern);
      e.bytes = 0;
    } else if (*at == '*' && at == literal) {
      star = true;
      literal = p;
    } else if (is_special(*at)) {
      plain = false;
    }
    if (p[-1] != '/' && (*at == '\\' || !is_special(*at))) e.bytes |= sd_glob_byte((uint8_t)p[-1]);
  }
  e.kind = !plain || literal == end ? SD_GLOB_ANY : star ? SD_GLOB_SUFFIX : SD_GLOB_NAME;
  if (e.kind == SD_GLOB_ANY) return e;
  e.tail = literal;
  e.tail_len = (size_t)(end - literal);
  return e;
}
