/* corpus_names.c - file and directory names that look like those on people's disks.
 *
 * Owner:  results go to the caller's buffer.
 * Thread: pure functions of the caller's rng.
 * Errors: none; a name that does not fit is cut. */
#include <stdio.h>

#include "corpus.h"

static const char *const words[] = {
    "alpha",  "archive", "backup",  "budget",  "camera",  "chapter", "client",  "config",
    "cover",  "daily",   "data",    "design",  "draft",   "export",  "family",  "figure",
    "final",  "garden",  "handler", "holiday", "index",   "invoice", "journal", "kitchen",
    "letter", "manual",  "meeting", "memo",    "minutes", "module",  "notes",   "orders",
    "paper",  "parser",  "plan",    "project", "receipt", "report",  "sample",  "scan",
    "script", "server",  "session", "shared",  "sketch",  "summary", "table",   "taxes",
    "test",   "travel",  "update",  "video",   "weekly",  "widget",  "winter",  "work",
    "café",   "größe",   "été",     "nagoya",  "lisboa",  "oslo",    "verano",  "写真",
};

static const char *const dir_words[] = {
    "Archive", "Documents", "Music",   "Photos", "Projects", "assets",  "bin",    "build",
    "cache",   "data",      "docs",    "drafts", "images",   "include", "lib",    "locale",
    "media",   "modules",   "objects", "old",    "raw",      "scans",   "share",  "site",
    "sources", "src",       "tests",   "themes", "tmp",      "tools",   "vendor", "work",
};

#define COUNT(a)   (uint32_t)(sizeof(a) / sizeof((a)[0]))
#define PICK(r, a) ((a)[rng_below(r, COUNT(a))])

static const char *word(struct rng *r) {
  return PICK(r, words);
}

static void photo(struct rng *r, char *out, size_t size) {
  unsigned shot = rng_below(r, 10000);
  if (rng_below(r, 3) == 0)
    snprintf(out, size, "DSC_%04u.%s", shot, rng_below(r, 4) ? "JPG" : "NEF");
  else
    snprintf(out, size, "IMG_%04u%02u%02u_%02u%02u%02u.%s", 2008 + rng_below(r, 17),
             1 + rng_below(r, 12), 1 + rng_below(r, 28), rng_below(r, 24), rng_below(r, 60),
             rng_below(r, 60), rng_below(r, 12) ? "jpg" : "mp4");
}

static void code(struct rng *r, char *out, size_t size) {
  static const char *const ext[] = {"c",    "h",   "py", "js",  "ts",   "json",
                                    "html", "css", "md", "lua", "yaml", "map"};
  const char *a = word(r), *b = word(r);
  switch (rng_below(r, 4)) {
    case 0: snprintf(out, size, "%s_%s.%s", a, b, PICK(r, ext)); break;
    case 1: snprintf(out, size, "%s-%s.test.%s", a, b, PICK(r, ext)); break;
    case 2: snprintf(out, size, "%s%u.%s", a, 10 + rng_below(r, 990), PICK(r, ext)); break;
    default: snprintf(out, size, "%s.%s.%s", a, b, PICK(r, ext)); break;
  }
}

static void paper(struct rng *r, char *out, size_t size) {
  static const char *const ext[] = {"pdf", "docx", "odt", "xlsx", "txt", "csv", "eml", "tex"};
  const char *a = word(r), *b = word(r);
  unsigned year = 1998 + rng_below(r, 27);
  if (rng_below(r, 2))
    snprintf(out, size, "%u-%02u-%02u %s.%s", year, 1 + rng_below(r, 12), 1 + rng_below(r, 28), a,
             PICK(r, ext));
  else snprintf(out, size, "%s %s %u.%s", a, b, year, PICK(r, ext));
}

static void song(struct rng *r, char *out, size_t size) {
  static const char *const ext[] = {"mp3", "flac", "ogg", "m4a"};
  const char *a = word(r), *b = word(r);
  snprintf(out, size, "%02u - %s %s.%s", 1 + rng_below(r, 24), a, b, PICK(r, ext));
}

static void object(struct rng *r, char *out, size_t size) {
  static const char *const ext[] = {".o", ".bin", ".pack", ".tmp", "", ""};
  unsigned hi = rng_below(r, UINT32_MAX), lo = rng_below(r, UINT32_MAX);
  snprintf(out, size, "%08x%08x%s", hi, lo, PICK(r, ext));
}

void corpus_file_name(struct rng *r, enum corpus_theme theme, char *out, size_t size) {
  if (theme >= THEME_MIXED) theme = (enum corpus_theme)rng_below(r, THEME_MIXED);
  switch (theme) {
    case THEME_PHOTOS: photo(r, out, size); break;
    case THEME_CODE: code(r, out, size); break;
    case THEME_PAPERS: paper(r, out, size); break;
    case THEME_MUSIC: song(r, out, size); break;
    default: object(r, out, size); break;
  }
}

void corpus_dir_name(struct rng *r, uint32_t nth, char *out, size_t size) {
  const char *a = PICK(r, dir_words);
  switch (rng_below(r, 3)) {
    case 0: snprintf(out, size, "%s%u", a, nth); break;
    case 1: snprintf(out, size, "%u-%s", 2000 + nth, word(r)); break;
    default: snprintf(out, size, "%s_%s_%u", a, word(r), nth); break;
  }
}
