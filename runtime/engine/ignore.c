#include "engine/ignore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "engine/glob.h"

enum {
  NEGATED = 1,  /* begins with "!" */
  DIR_ONLY = 2, /* ends with "/" */
  PATH = 4,     /* has a slash elsewhere: about the path from the list's directory */
  ROOTED = 8,   /* begins with "/", which is not part of `text` */
};

/* Places of patterns that are not about paths, or have no place of their own. */
#define ALWAYS ((uint64_t)1 << 63)
#define DIRS   ((uint64_t)1 << 62)

struct pattern {
  const char *text; /* without the marks that the flags stand for */
  const char *tail; /* the end of the last component; see sd_glob_end() */
  uint32_t len, tail_len;
  uint32_t literal; /* bytes at its beginning that stand for themselves */
  uint32_t last;    /* where its last component begins */
  uint32_t line;
  uint32_t before; /* 1 + the pattern before it with the same key; 0: none */
  uint8_t flags;
  uint8_t kind; /* enum sd_glob_kind */
  bool keyed;   /* found by `key`, else one of the others */
  uint32_t key;
};

struct slot {
  uint32_t key;
  uint32_t last; /* 1 + the last pattern with this key; 0: the slot is free */
};

/* A pattern that has no key: what is looked at first. */
struct other {
  uint64_t bytes; /* that a name must have */
  uint64_t place; /* its bit among the patterns about paths; ALWAYS or DIRS for the rest */
  uint32_t at;    /* of the pattern */
};

struct sd_ignore {
  char *text; /* what the patterns point into */
  size_t text_len;
  struct pattern *items;
  size_t items_len, items_cap;
  struct slot *slots;   /* open addressing */
  size_t slots_cap;     /* a power of two, or 0 */
  struct other *others; /* in the order of the list */
  size_t others_len, others_cap;
  unsigned paths;  /* of them have a place */
  bool extensions; /* there are patterns with the key of an extension */
};

/* ---- names ---- */

static uint64_t word(const char *p) {
  uint64_t v;
  memcpy(&v, p, sizeof(v));
  return v;
}

static uint32_t half(const char *p) {
  uint32_t v;
  memcpy(&v, p, sizeof(v));
  return v;
}

/* Of both ends and the length: names in one directory differ there, and two that do not are
 * compared anyway. */
static uint32_t hash(const char *name, size_t len) {
  uint64_t a = 0, b = 0;
  if (len >= 8) {
    a = word(name);
    b = word(name + len - 8);
  } else if (len >= 4) {
    a = half(name);
    b = half(name + len - 4);
  } else if (len) {
    a = (uint8_t)name[0];
    b = (uint64_t)(uint8_t)name[len / 2] << 8 | (uint8_t)name[len - 1];
  }
  uint64_t h = (a ^ len) * 0x9e3779b97f4a7c15u;
  h = (h ^ h >> 32 ^ b) * 0xbf58476d1ce4e5b9u;
  return (uint32_t)(h >> 32);
}

/* Names and extensions share a table; 0 is no extension. */
static uint32_t hash_extension(const char *dot, size_t len) {
  uint32_t h = ~hash(dot, len);
  return h ? h : 1;
}

struct sd_ignore_name sd_ignore_name(const char *path, size_t len, size_t at, bool dir) {
  struct sd_ignore_name n = {.path = path, .len = len, .at = at, .dir = dir};
  const char *dot = memrchr(path + at, '.', len - at);
  for (size_t i = at; i < len; i++) n.bytes |= sd_glob_byte((uint8_t)path[i]);
  n.hash = hash(path + at, len - at);
  if (dot) n.extension = hash_extension(dot, len - (size_t)(dot - path));
  return n;
}

/* ---- making a list ---- */

static struct pattern *add(struct sd_ignore *ig) {
  if (!SD_ARRAY_ROOM(ig, items)) return NULL;
  struct pattern *p = &ig->items[ig->items_len++];
  memset(p, 0, sizeof(*p));
  return p;
}

static void strip_marks(struct pattern *p, const char *text, size_t len) {
  if (len && *text == '!') {
    p->flags |= NEGATED;
    text++;
    len--;
  }
  if (len && text[len - 1] == '/') {
    p->flags |= DIR_ONLY;
    len--;
  }
  if (memchr(text, '/', len)) p->flags |= PATH;
  if (len && *text == '/') {
    p->flags |= ROOTED;
    text++;
    len--;
  }
  p->text = text;
  p->len = (uint32_t)len;
}

/* git matches what follows the literal beginning for itself, so that `**` right behind it counts
 * as a component of its own: "foo**" + "/bar" is about "foobar" too. */
static bool splits_component(const struct pattern *p) {
  size_t n = p->literal;
  return n && n + 1 < p->len && p->text[n - 1] != '/' && memcmp(p->text + n, "**", 2) == 0;
}

/* What a name must have in common with the pattern so that it is worth a look: true. */
static bool find_key(struct pattern *p) {
  if (splits_component(p)) return false;
  if (p->kind == SD_GLOB_NAME) {
    p->key = hash(p->tail, p->tail_len);
    return true;
  }
  const char *dot = p->kind == SD_GLOB_SUFFIX ? memrchr(p->tail, '.', p->tail_len) : NULL;
  if (!dot) return false;
  p->key = hash_extension(dot, p->tail_len - (size_t)(dot - p->tail));
  return true;
}

/* What comes before the last component can be matched for itself, unless git's splitting gets in
 * the way, or the slash is an escaped one. */
static bool has_place(const struct sd_ignore *ig, const struct pattern *p) {
  if (!(p->flags & PATH) || splits_component(p) || ig->paths == SD_IGNORE_PATHS) return false;
  return p->last < 2 || p->text[p->last - 2] != '\\';
}

static uint64_t place_of(struct sd_ignore *ig, const struct pattern *p) {
  if (has_place(ig, p)) return (uint64_t)1 << ig->paths++;
  return p->flags & DIR_ONLY ? DIRS : ALWAYS;
}

static int add_other(struct sd_ignore *ig, const struct pattern *p, uint64_t bytes) {
  if (!SD_ARRAY_ROOM(ig, others)) return -ENOMEM;
  ig->others[ig->others_len++] = (struct other){.bytes = splits_component(p) ? 0 : bytes,
                                                .place = place_of(ig, p),
                                                .at = (uint32_t)(p - ig->items)};
  return 0;
}

/* Adds one pattern. 1: it is one that matches nothing. */
static int add_pattern(struct sd_ignore *ig, const char *text, size_t len, uint32_t line) {
  struct pattern *p = add(ig);
  if (!p) return -ENOMEM;
  strip_marks(p, text, len);
  struct sd_glob_end end = sd_glob_end(p->text, p->len);
  if (end.kind == SD_GLOB_NEVER || !p->len) {
    ig->items_len--;
    return 1;
  }
  p->line = line;
  p->literal = (uint32_t)sd_glob_literal(p->text, p->len);
  p->kind = (uint8_t)end.kind;
  p->tail = end.tail;
  p->tail_len = (uint32_t)end.tail_len;
  p->last = (uint32_t)end.at;
  if ((p->keyed = find_key(p))) {
    ig->extensions |= p->kind == SD_GLOB_SUFFIX;
    return 0; /* goes into the table when all are there */
  }
  return add_other(ig, p, end.bytes);
}

static inline struct slot *find_slot(const struct sd_ignore *ig, uint32_t key) {
  size_t i = key & (ig->slots_cap - 1);
  while (ig->slots[i].last && ig->slots[i].key != key) i = (i + 1) & (ig->slots_cap - 1);
  return &ig->slots[i];
}

static int make_table(struct sd_ignore *ig) {
  size_t keyed = ig->items_len - ig->others_len, cap = 8;
  if (!keyed) return 0;
  while (cap < keyed * 4) cap *= 2;
  ig->slots = calloc(cap, sizeof(*ig->slots));
  if (!ig->slots) return -ENOMEM;
  ig->slots_cap = cap;
  for (size_t i = 0; i < ig->items_len; i++) {
    struct pattern *p = &ig->items[i];
    if (!p->keyed) continue;
    struct slot *s = find_slot(ig, p->key);
    s->key = p->key;
    p->before = s->last;
    s->last = (uint32_t)i + 1;
  }
  return 0;
}

static struct sd_ignore *new_list(size_t text_len) {
  struct sd_ignore *ig = calloc(1, sizeof(*ig));
  if (ig) ig->text = malloc(text_len + 1);
  if (!ig || !ig->text) {
    free(ig);
    return NULL;
  }
  ig->text_len = text_len;
  return ig;
}

void sd_ignore_free(struct sd_ignore *ig) {
  if (!ig) return;
  free(ig->text);
  free(ig->items);
  free(ig->slots);
  free(ig->others);
  free(ig);
}

size_t sd_ignore_count(const struct sd_ignore *ig) {
  return ig->items_len;
}

size_t sd_ignore_bytes(const struct sd_ignore *ig) {
  return sizeof(*ig) + ig->text_len + ig->items_cap * sizeof(*ig->items) +
         ig->slots_cap * sizeof(*ig->slots) + ig->others_cap * sizeof(*ig->others);
}

/* ---- a file ---- */

/* Without blanks at its end, unless a backslash keeps them. Only spaces are blanks. */
static size_t trimmed(const char *line, size_t len) {
  size_t end = 0;
  for (size_t i = 0; i < len; i++) {
    if (line[i] == ' ') continue;
    if (line[i] == '\\' && ++i == len) return len;
    end = i + 1;
  }
  return end;
}

/* git takes a line for a string: a NUL ends it. */
static size_t line_len(const char *line, size_t len) {
  if (len && line[len - 1] == '\r') len--;
  const char *nul = memchr(line, 0, len);
  if (nul) len = (size_t)(nul - line);
  return trimmed(line, len);
}

static int parse_lines(struct sd_ignore *ig, struct sd_err *err) {
  const char *p = ig->text, *end = ig->text + ig->text_len;
  if (end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) p += 3;
  for (uint32_t line = 1; p < end; line++) {
    const char *eol = memchr(p, '\n', (size_t)(end - p));
    if (!eol) eol = end;
    size_t len = *p == '#' ? 0 : line_len(p, (size_t)(eol - p));
    if (len && add_pattern(ig, p, len, line) < 0) return sd_err_nomem(err);
    if (ig->items_len > SD_IGNORE_PATTERNS_MAX)
      return sd_err_set(err, -EFBIG, "more than %d patterns", SD_IGNORE_PATTERNS_MAX);
    p = eol + 1;
  }
  return 0;
}

int sd_ignore_parse(const char *text, size_t len, struct sd_ignore **out, struct sd_err *err) {
  if (len > SD_IGNORE_BYTES_MAX)
    return sd_err_set(err, -EFBIG, "more than %d bytes of patterns", SD_IGNORE_BYTES_MAX);
  struct sd_ignore *ig = new_list(len);
  if (!ig) return sd_err_nomem(err);
  if (len) memcpy(ig->text, text, len);
  int rc = parse_lines(ig, err);
  if (!rc && make_table(ig)) rc = sd_err_nomem(err);
  if (rc) sd_ignore_free(ig);
  else *out = ig;
  return rc;
}

/* ---- patterns one by one ---- */

static int add_globs(struct sd_ignore *ig, const char *const *globs, size_t n, struct sd_err *err) {
  char *p = ig->text;
  for (size_t i = 0; i < n; i++) {
    size_t len = strlen(globs[i]);
    memcpy(p, globs[i], len);
    int rc = add_pattern(ig, p, len, (uint32_t)i + 1);
    if (rc < 0) return sd_err_nomem(err);
    if (rc) return sd_err_set(err, -EINVAL, "not a pattern: \"%.256s\"", globs[i]);
    p += len;
  }
  return make_table(ig) ? sd_err_nomem(err) : 0;
}

int sd_ignore_globs(const char *const *globs, size_t n, struct sd_ignore **out,
                    struct sd_err *err) {
  size_t len = 0;
  for (size_t i = 0; i < n; i++) len += strlen(globs[i]);
  if (len > SD_IGNORE_BYTES_MAX || n > SD_IGNORE_PATTERNS_MAX)
    return sd_err_set(err, -EFBIG, "too many patterns");
  struct sd_ignore *ig = new_list(len);
  if (!ig) return sd_err_nomem(err);
  int rc = add_globs(ig, globs, n, err);
  if (rc) sd_ignore_free(ig);
  else *out = ig;
  return rc;
}

/* ---- matching ---- */

static bool ends_with(const char *s, size_t len, const char *tail, size_t tail_len) {
  return len >= tail_len && memcmp(s + len - tail_len, tail, tail_len) == 0;
}

/* What the literal beginning leaves over is matched for itself, as git does it. */
static bool match_text(const struct pattern *p, const char *text, size_t len, unsigned flags) {
  size_t n = p->literal;
  if (len < n || memcmp(text, p->text, n) != 0) return false;
  if (n == p->len) return len == n;
  return sd_glob_match(p->text + n, p->len - n, text + n, len - n, flags);
}

static bool matches(const struct pattern *p, const struct sd_ignore_name *n, size_t base) {
  const char *name = n->path + n->at;
  size_t len = n->len - n->at;
  if ((p->flags & DIR_ONLY) && !n->dir) return false;
  if (p->flags & PATH) return match_text(p, n->path + base, n->len - base, SD_GLOB_PATH);
  if (p->kind == SD_GLOB_SUFFIX) return ends_with(name, len, p->tail, p->tail_len);
  return match_text(p, name, len, 0);
}

/* Length of what stands before the slash at `at`, which may be escaped. */
static size_t before_slash(const char *p, size_t at) {
  size_t n = at;
  while (n && p[n - 1] == '\\') n--;
  return at - (at - n) % 2;
}

/* Without the component at its end, where that is `**` and may stand for nothing. */
static bool drop_deep(const char *p, size_t *len) {
  size_t n = *len;
  while (n && p[n - 1] == '*') n--;
  if (*len - n < 2 || !n || p[n - 1] != '/') return false;
  *len = before_slash(p, n - 1);
  return true;
}

/* Whether the pattern may be about something directly in that directory. */
static bool is_about(const struct pattern *p, const char *dir, size_t len) {
  const char *t = p->text;
  size_t above = p->last ? before_slash(t, p->last - 1) : 0;
  bool deep = p->len - p->last > 1 && memcmp(t + p->last, "**", 2) == 0;
  if (deep && sd_glob_match(t, p->len, dir, len, SD_GLOB_PATH)) return true;
  if (!p->last) return len == 0;
  do
    if (sd_glob_match(t, above, dir, len, SD_GLOB_PATH)) return true;
  while (drop_deep(t, &above));
  return false;
}

uint64_t sd_ignore_paths(const struct sd_ignore *ig, const char *dir, size_t len) {
  uint64_t paths = ALWAYS | DIRS;
  if (!ig->paths) return paths;
  for (size_t i = 0; i < ig->others_len; i++) {
    const struct other *o = &ig->others[i];
    if (!(o->place & (ALWAYS | DIRS)) && is_about(&ig->items[o->at], dir, len)) paths |= o->place;
  }
  return paths;
}

/* 1 + the last pattern with that key that matches; 0: none. */
static inline uint32_t match_key(const struct sd_ignore *ig, uint32_t key,
                                 const struct sd_ignore_name *n, size_t base) {
  uint32_t i = find_slot(ig, key)->last;
  while (i && !matches(&ig->items[i - 1], n, base)) i = ig->items[i - 1].before;
  return i;
}

/* 1 + the last of the others that matches and comes after `found`; else `found`. */
static uint32_t match_others(const struct sd_ignore *ig, const struct sd_ignore_name *n,
                             size_t base, uint64_t paths, uint32_t found) {
  uint64_t lacks = ~n->bytes;
  if (!n->dir) paths &= ~DIRS;
  for (size_t k = ig->others_len; k-- && ig->others[k].at >= found;) {
    const struct other *o = &ig->others[k];
    if ((o->bytes & lacks) || !(o->place & paths)) continue;
    if (matches(&ig->items[o->at], n, base)) return o->at + 1;
  }
  return found;
}

int sd_ignore_match(const struct sd_ignore *ig, const struct sd_ignore_name *n, size_t base,
                    uint64_t paths, struct sd_ignore_hit *hit) {
  uint32_t i = 0;
  if (ig->slots_cap) i = match_key(ig, n->hash, n, base);
  if (ig->extensions && n->extension) {
    uint32_t k = match_key(ig, n->extension, n, base);
    if (k > i) i = k;
  }
  i = match_others(ig, n, base, paths, i);
  if (!i) return 0;
  const struct pattern *p = &ig->items[i - 1];
  if (hit) {
    size_t front = (p->flags & NEGATED ? 1 : 0) + (p->flags & ROOTED ? 1 : 0);
    hit->pattern = p->text - front;
    hit->len = p->len + front + (p->flags & DIR_ONLY ? 1 : 0);
    hit->line = p->line;
  }
  return p->flags & NEGATED ? -1 : 1;
}
