#include "engine/mime.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <locale.h>
#include <magic.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/array.h"
#include "base/buf.h"

enum {
  DATABASES_MAX = 8,
  NAME_SIZE = 4096,        /* longer ones are no file names, and have no type */
  HEAD_BYTES = 64 * 1024,  /* libmagic looks no further */
  ROOM = 64 * 1024 * 1024, /* of addresses, that libmagic and its database fit into */
};

enum shape { LITERAL, SUFFIX, OTHER };

/* One line of the table. Literals, and suffixes without their "*", are found by their text; there
 * are few others, and they are tried one after the other. */
struct glob {
  const char *text;
  const char *type;
  uint32_t next; /* in the same slot, plus 1 */
  uint16_t text_len;
  uint8_t weight;
  uint8_t shape; /* enum shape */
  bool cs;       /* compared as it is; else with the lower-cased name, and lower-cased itself */
};

struct sd_mime_names {
  struct sd_arena arena; /* texts and types */
  struct glob *globs;
  size_t globs_len, globs_cap;
  uint32_t *slots; /* first glob, plus 1; literals and suffixes */
  size_t slots_mask;
  uint32_t *others;
  size_t others_len, others_cap;
  size_t suffix_max; /* bytes of the longest */
  locale_t c_locale; /* names are bytes, whatever locale the program has */
  atomic_uint held;  /* by others than who opened it */
};

/* The best match so far. */
struct match {
  const struct glob *glob;
  bool tie; /* another one is as good and says something else */
};

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static uint64_t hash_text(const char *s, size_t n) { /* FNV-1a */
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 1099511628211u;
  return h ^ h >> 32;
}

/* ---- reading the table ---- */

static enum shape shape_of(const char *text) {
  if (!strpbrk(text, "*?[\\")) return LITERAL;
  return text[0] == '*' && text[1] == '.' && !strpbrk(text + 1, "*?[\\") ? SUFFIX : OTHER;
}

/* The next field, ended with a NUL; NULL behind the last one. */
static char *next_field(char **at) {
  return *at ? strsep(at, ":") : NULL;
}

static bool parse_weight(const char *s, uint8_t *out) {
  char *end;
  if (!s || *s < '0' || *s > '9') return false;
  unsigned long v = strtoul(s, &end, 10);
  *out = (uint8_t)v;
  return *end == '\0' && v <= 100;
}

static bool has_flag(char *flags, const char *flag) {
  for (const char *f; (f = strsep(&flags, ","));)
    if (strcmp(f, flag) == 0) return true;
  return false;
}

/* A case-sensitive line is written once more without its flag, for readers that know no flags. */
static bool repeats_last(const struct sd_mime_names *m, const struct glob *g, const char *text,
                         const char *type) {
  const struct glob *last = m->globs_len ? &m->globs[m->globs_len - 1] : NULL;
  if (!last || !last->cs || g->cs || last->weight != g->weight) return false;
  if (last->shape != shape_of(text)) return false;
  return strcmp(last->type, type) == 0 && strcmp(last->text, text + (last->shape == SUFFIX)) == 0;
}

static int add_glob(struct sd_mime_names *m, const struct glob *g, const char *text,
                    const char *type) {
  if (!SD_ARRAY_ROOM(m, globs)) return -ENOMEM;
  struct glob *to = &m->globs[m->globs_len];
  *to = *g;
  to->shape = shape_of(text);
  if (to->shape == SUFFIX) text++;
  to->text_len = (uint16_t)strlen(text);
  char *copy = sd_arena_copy(&m->arena, text, to->text_len);
  to->type = sd_arena_copy(&m->arena, type, strlen(type));
  if (!copy || !to->type) return -ENOMEM;
  for (char *p = copy; *p && !g->cs; p++) *p = lower(*p);
  to->text = copy;
  m->globs_len++;
  return 0;
}

/* "weight:type:glob[:flags[:more]]"; what is not understood is left out. */
static int add_line(struct sd_mime_names *m, char *line) {
  struct glob g = {0};
  char *at = line, *weight = next_field(&at), *type = next_field(&at), *text = next_field(&at),
       *flags = next_field(&at);
  if (!parse_weight(weight, &g.weight) || !text || !*text || strlen(text) >= NAME_SIZE) return 0;
  if (!strchr(type, '/') || strcmp(text, "__NOGLOBS__") == 0) return 0;
  g.cs = flags && has_flag(flags, "cs");
  return repeats_last(m, &g, text, type) ? 0 : add_glob(m, &g, text, type);
}

static int add_lines(struct sd_mime_names *m, FILE *f) {
  char *line = NULL;
  size_t cap = 0;
  int rc = 0;
  for (ssize_t n; !rc && (n = getline(&line, &cap, f)) >= 0;) {
    if (n && line[n - 1] == '\n') line[--n] = '\0';
    if (strlen(line) == (size_t)n) rc = add_line(m, line);
  }
  if (!rc && !feof(f)) rc = -errno;
  free(line);
  return rc;
}

static int index_globs(struct sd_mime_names *m) {
  size_t slots = 64;
  while (slots < 2 * m->globs_len) slots *= 2;
  m->slots = calloc(slots, sizeof(*m->slots));
  if (!m->slots) return -ENOMEM;
  m->slots_mask = slots - 1;
  for (size_t i = 0; i < m->globs_len; i++) {
    struct glob *g = &m->globs[i];
    if (g->shape == OTHER) {
      if (!SD_ARRAY_ROOM(m, others)) return -ENOMEM;
      m->others[m->others_len++] = (uint32_t)i;
      continue;
    }
    uint32_t *slot = &m->slots[hash_text(g->text, g->text_len) & m->slots_mask];
    g->next = *slot;
    *slot = (uint32_t)i + 1;
    if (g->shape == SUFFIX && g->text_len > m->suffix_max) m->suffix_max = g->text_len;
  }
  return 0;
}

static int load(FILE *f, const char *path, struct sd_mime_names **out, struct sd_err *err) {
  struct sd_mime_names *m = calloc(1, sizeof(*m));
  if (!m) return sd_err_nomem(err);
  sd_arena_init(&m->arena);
  m->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  int rc = m->c_locale ? add_lines(m, f) : -ENOMEM;
  if (!rc) rc = index_globs(m);
  if (rc) {
    sd_mime_names_close(m);
    errno = -rc;
    return sd_err_os(err, "read", path);
  }
  *out = m;
  return 0;
}

/* ---- where the table is ---- */

/* Opens "<dir>/mime/globs2"; `path` is what was tried last. A relative directory is not valid. */
static FILE *open_in(const char *dir, size_t len, struct sd_buf *path) {
  static const char rest[] = "/mime/globs2";
  if (!len || dir[0] != '/') return NULL;
  path->len = 0;
  if (sd_buf_put(path, dir, len) || sd_buf_put(path, rest, sizeof(rest))) return NULL;
  return fopen((const char *)path->data, "re");
}

static FILE *open_in_home(struct sd_buf *path) {
  static const char rest[] = "/.local/share";
  const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
  if (data && *data) return open_in(data, strlen(data), path);
  if (!home || !*home) return NULL;
  struct sd_buf dir = SD_BUF_INIT;
  FILE *f = NULL;
  if (!sd_buf_put(&dir, home, strlen(home)) && !sd_buf_put(&dir, rest, sizeof(rest) - 1))
    f = open_in((const char *)dir.data, dir.len, path);
  sd_buf_fini(&dir);
  return f;
}

/* As the XDG Base Directory specification has it: the user's own directory, then the others. */
static FILE *open_system(struct sd_buf *path) {
  const char *dirs = getenv("XDG_DATA_DIRS");
  if (!dirs || !*dirs) dirs = "/usr/local/share:/usr/share";
  FILE *f = open_in_home(path);
  while (!f) {
    size_t n = strcspn(dirs, ":");
    f = open_in(dirs, n, path);
    if (!dirs[n]) break;
    dirs += n + 1;
  }
  return f;
}

int sd_mime_names_open(const char *path, struct sd_mime_names **out, struct sd_err *err) {
  struct sd_buf found = SD_BUF_INIT;
  errno = 0;
  FILE *f = path ? fopen(path, "re") : open_system(&found);
  int rc = f ? 0 : -errno;
  if (sd_err_is_exhausted(rc)) rc = sd_err_exhausted(err, rc); /* there may be one */
  else if (f) rc = load(f, path ? path : (const char *)found.data, out, err);
  else if (path) rc = sd_err_os(err, "open", path);
  else rc = sd_err_set(err, -ENOENT, "no table of MIME types (mime/globs2) is installed");
  if (f) fclose(f);
  sd_buf_fini(&found);
  return rc;
}

struct sd_mime_names *sd_mime_names_hold(struct sd_mime_names *m) {
  if (m) atomic_fetch_add(&m->held, 1);
  return m;
}

void sd_mime_names_close(struct sd_mime_names *m) {
  if (!m || atomic_fetch_sub(&m->held, 1) > 0) return;
  if (m->c_locale) freelocale(m->c_locale);
  free(m->globs);
  free(m->slots);
  free(m->others);
  sd_arena_fini(&m->arena);
  free(m);
}

/* ---- the type of a name ---- */

/* Above 0: `a` is the better match. Literals go before patterns of the same weight. */
static int compare(const struct glob *a, const struct glob *b) {
  if (a->weight != b->weight) return a->weight - b->weight;
  if ((a->shape == LITERAL) != (b->shape == LITERAL)) return a->shape == LITERAL ? 1 : -1;
  int a_len = a->text_len + (a->shape == SUFFIX), b_len = b->text_len + (b->shape == SUFFIX);
  if (a_len != b_len) return a_len - b_len;
  return a->cs - b->cs;
}

static void consider(struct match *best, const struct glob *g) {
  int c = best->glob ? compare(g, best->glob) : 1;
  if (c > 0) *best = (struct match){.glob = g};
  else if (c == 0 && strcmp(g->type, best->glob->type) != 0) best->tie = true;
}

static void find_text(const struct sd_mime_names *m, struct match *best, const struct glob *like) {
  uint32_t i = m->slots[hash_text(like->text, like->text_len) & m->slots_mask];
  for (const struct glob *g; i; i = g->next) {
    g = &m->globs[i - 1];
    if (g->shape == like->shape && g->cs == like->cs && g->text_len == like->text_len &&
        memcmp(g->text, like->text, g->text_len) == 0)
      consider(best, g);
  }
}

/* `name` as it is (cs) or lower-cased: the whole of it, and what follows each dot. */
static void find_texts(const struct sd_mime_names *m, struct match *best, const char *name,
                       struct glob like) {
  size_t len = like.text_len, from = len > m->suffix_max ? len - m->suffix_max : 0;
  like.shape = LITERAL;
  like.text = name;
  find_text(m, best, &like);
  like.shape = SUFFIX;
  for (size_t i = from; i < len; i++) {
    if (name[i] != '.') continue;
    like.text = name + i;
    like.text_len = (uint16_t)(len - i);
    find_text(m, best, &like);
  }
}

static void find_others(const struct sd_mime_names *m, struct match *best, const char *name,
                        const char *lowered) {
  locale_t before = uselocale(m->c_locale);
  for (size_t i = 0; i < m->others_len; i++) {
    const struct glob *g = &m->globs[m->others[i]];
    if (best->glob && compare(g, best->glob) < 0) continue;
    if (fnmatch(g->text, g->cs ? name : lowered, 0) == 0) consider(best, g);
  }
  uselocale(before);
}

const char *sd_mime_by_name(const struct sd_mime_names *m, const char *name, size_t len) {
  char exact[NAME_SIZE], lowered[NAME_SIZE];
  struct match best = {0};
  if (!len || len >= NAME_SIZE || memchr(name, '\0', len)) return NULL;
  for (size_t i = 0; i < len; i++) {
    exact[i] = name[i];
    lowered[i] = lower(name[i]);
  }
  exact[len] = lowered[len] = '\0';
  find_texts(m, &best, exact, (struct glob){.cs = true, .text_len = (uint16_t)len});
  find_texts(m, &best, lowered, (struct glob){.cs = false, .text_len = (uint16_t)len});
  find_others(m, &best, exact, lowered);
  return best.glob && !best.tie ? best.glob->type : NULL;
}

/* ---- the type of bytes ---- */

/* Loaded when it is needed: most runs of the program do not ask for it, and it brings three more
 * libraries along. */
struct sd_mime_magic {
  void *library;
  magic_t cookie;
  magic_t (*open)(int flags);
  void (*close)(magic_t cookie);
  int (*load)(magic_t cookie, const char *path);
  int (*setparam)(magic_t cookie, int param, const void *value);
  const char *(*buffer)(magic_t cookie, const void *p, size_t n);
  const char *(*error)(magic_t cookie);
  int (*number)(magic_t cookie);
  const char *(*getpath)(const char *path, int action);
  int (*load_buffers)(magic_t cookie, void **buffers, size_t *sizes, size_t n);
  void *maps[DATABASES_MAX]; /* of the databases, while the cookie lives */
  size_t sizes[DATABASES_MAX], maps_len;
};

static int load_library(struct sd_mime_magic *m, struct sd_err *err) {
  m->library = dlopen("libmagic.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!m->library) return sd_err_set(err, -ENOENT, "libmagic: %s", dlerror());
  const struct {
    const char *name;
    void *place;
  } functions[] = {{"magic_open", &m->open},
                   {"magic_close", &m->close},
                   {"magic_load", &m->load},
                   {"magic_setparam", &m->setparam},
                   {"magic_buffer", &m->buffer},
                   {"magic_error", &m->error},
                   {"magic_errno", &m->number},
                   {"magic_getpath", &m->getpath},
                   {"magic_load_buffers", &m->load_buffers}};
  for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
    void *f = dlsym(m->library, functions[i].name);
    if (!f) return sd_err_set(err, -ENOENT, "libmagic: no %s", functions[i].name);
    memcpy(functions[i].place, &f, sizeof(f));
  }
  return 0;
}

/* Maps a compiled database: 1; 0: there is none; or a negative code. */
static int map_database(struct sd_mime_magic *m, const char *path, struct sd_err *err) {
  struct stat st;
  int fd = TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC)), rc = 0;
  if (fd < 0) return sd_err_is_exhausted(-errno) ? sd_err_exhausted(err, -errno) : 0;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    rc = p == MAP_FAILED ? sd_err_os(err, "map", path) : 1;
    if (rc == 1) m->maps[m->maps_len] = p;
    if (rc == 1) m->sizes[m->maps_len++] = (size_t)st.st_size;
  }
  close(fd);
  return rc;
}

/* Whether a database that is text says nothing, as /etc/magic does; or is not there. */
static bool is_silent(const char *path) {
  char line[HEAD_BYTES / 64];
  bool silent = true;
  FILE *f = fopen(path, "re");
  if (!f) return errno == ENOENT;
  while (silent && fgets(line, sizeof(line), f))
    silent = line[0] == '#' || line[strspn(line, " \t\r\n")] == '\0';
  silent = silent && !ferror(f);
  fclose(f);
  return silent;
}

/* What magic_load(3) would load, where that is compiled. Where it cannot map a database, libmagic
 * prints a warning itself, and reads the text that it was made from. 1: that is all; 0: it must be
 * left to libmagic. */
static int map_databases(struct sd_mime_magic *m, struct sd_err *err) {
  char path[PATH_MAX];
  const char *list = m->getpath(NULL, 0);
  int rc = 1;
  while (rc == 1 && list && *list) {
    size_t n = strcspn(list, ":");
    if (n + sizeof(".mgc") > sizeof(path) || m->maps_len == DATABASES_MAX) return 0;
    memcpy(path, list, n);
    strcpy(path + n, ".mgc");
    rc = map_database(m, path, err);
    path[n] = '\0';
    if (!rc) rc = is_silent(path);
    list += n + (list[n] == ':');
  }
  return rc == 1 ? m->maps_len > 0 : rc;
}

/* dlopen(3) does not say why it fails, so that is found out before. */
static int has_room(struct sd_err *err) {
  int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && sd_err_is_exhausted(-errno)) return sd_err_exhausted(err, -errno);
  if (fd >= 0) close(fd);
  void *p =
      mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return sd_err_nomem(err);
  munmap(p, ROOM);
  return 0;
}

int sd_mime_magic_open(struct sd_mime_magic **out, struct sd_err *err) {
  size_t head = HEAD_BYTES;
  struct sd_mime_magic *m = calloc(1, sizeof(*m));
  int rc = m ? has_room(err) : sd_err_nomem(err);
  if (!rc) rc = load_library(m, err);
  if (rc) goto fail;
  m->cookie = m->open(MAGIC_MIME_TYPE | MAGIC_NO_CHECK_COMPRESS);
  if (!m->cookie) {
    rc = sd_err_nomem(err);
    goto fail;
  }
  m->setparam(m->cookie, MAGIC_PARAM_BYTES_MAX, &head);
  if ((rc = map_databases(m, err)) < 0) goto fail;
  if (rc ? m->load_buffers(m->cookie, m->maps, m->sizes, m->maps_len) : m->load(m->cookie, NULL)) {
    const char *why = m->error(m->cookie);
    int en = m->number(m->cookie);
    rc = sd_err_set(err, en ? -en : SD_EFORMAT, "libmagic: %s", why ? why : "no database");
    goto fail;
  }
  *out = m;
  return 0;
fail:
  sd_mime_magic_close(m);
  return rc;
}

void sd_mime_magic_close(struct sd_mime_magic *m) {
  if (!m) return;
  if (m->cookie) m->close(m->cookie);
  for (size_t i = 0; i < m->maps_len; i++) munmap(m->maps[i], m->sizes[i]);
  if (m->library) dlclose(m->library);
  free(m);
}

const char *sd_mime_by_magic(struct sd_mime_magic *m, const void *head, size_t len) {
  const char *type = m->buffer(m->cookie, head, len);
  return type && strchr(type, '/') ? type : NULL;
}

/* ---- the kind of a type ---- */

/* The first rule that fits decides. '*' stands at the end or at the beginning of a type. */
static const struct kind_rule {
  const char *type, *kind;
} kind_rules[] = {
    {"image/*", "image"},
    {"video/*", "video"},
    {"audio/*", "audio"},
    {"font/*", "font"},
    {"model/*", "model"},
    {"message/*", "message"},
    /* What is text by its type and a document by its use. */
    {"text/rtf", "document"},
    {"text/*", "text"},

    {"application/pdf", "document"},
    {"application/epub+zip", "document"},
    {"application/msword*", "document"},
    {"application/rtf", "document"},
    {"application/postscript", "document"},
    {"application/oxps", "document"},
    {"application/oda", "document"},
    {"application/msonenote", "document"},
    {"application/vnd.amazon.*", "document"},
    {"application/vnd.apple.keynote", "document"},
    {"application/vnd.apple.numbers", "document"},
    {"application/vnd.apple.pages", "document"},
    {"application/vnd.comicbook*", "document"},
    {"application/vnd.framemaker", "document"},
    {"application/vnd.lotus-*", "document"},
    {"application/vnd.ms-excel*", "document"},
    {"application/vnd.ms-powerpoint*", "document"},
    {"application/vnd.ms-project", "document"},
    {"application/vnd.ms-publisher", "document"},
    {"application/vnd.ms-visio.*", "document"},
    {"application/vnd.ms-word.*", "document"},
    {"application/vnd.ms-works*", "document"},
    {"application/vnd.ms-xpsdocument", "document"},
    {"application/vnd.oasis.opendocument.*", "document"},
    {"application/vnd.openxmlformats-officedocument.*", "document"},
    {"application/vnd.stardivision.*", "document"},
    {"application/vnd.sun.xml.*", "document"},
    {"application/vnd.visio", "document"},
    {"application/vnd.wordperfect", "document"},
    {"application/x-abiword", "document"},
    {"application/x-bzpdf", "document"},
    {"application/x-cb7", "document"},
    {"application/x-cbt", "document"},
    {"application/x-dvi", "document"},
    {"application/x-fictionbook+xml", "document"},
    {"application/x-gnumeric", "document"},
    {"application/x-gzpdf", "document"},
    {"application/x-gzpostscript", "document"},
    {"application/x-hwp", "document"},
    {"application/x-kpresenter", "document"},
    {"application/x-kspread", "document"},
    {"application/x-kword", "document"},
    {"application/x-lyx", "document"},
    {"application/x-mobipocket-ebook", "document"},
    {"application/x-mswrite", "document"},
    {"application/x-xzpdf", "document"},
    {"application/x-zip-compressed-fb2", "document"},

    {"application/gzip", "archive"},
    {"application/mac-binhex*", "archive"},
    {"application/vnd.debian.binary-package", "archive"},
    {"application/vnd.ms-cab-compressed", "archive"},
    {"application/vnd.rar", "archive"},
    {"application/vnd.squashfs", "archive"},
    {"application/warc", "archive"},
    {"application/x-7z-compressed", "archive"},
    {"application/x-ace*", "archive"},
    {"application/x-alz", "archive"},
    {"application/x-apple-diskimage", "archive"},
    {"application/x-arc", "archive"},
    {"application/x-archive", "archive"},
    {"application/x-arj", "archive"},
    {"application/x-bzip*", "archive"},
    {"application/x-cd-image", "archive"},
    {"application/x-compress*", "archive"},
    {"application/x-cpio*", "archive"},
    {"application/x-dar", "archive"},
    {"application/x-gtar", "archive"},
    {"application/x-gzip", "archive"},
    {"application/x-iso9660-image", "archive"},
    {"application/x-java-archive", "archive"},
    {"application/java-archive", "archive"},
    {"application/x-lha", "archive"},
    {"application/x-lhz", "archive"},
    {"application/x-lrzip", "archive"},
    {"application/x-lz4", "archive"},
    {"application/x-lzh-compressed", "archive"},
    {"application/x-lzip", "archive"},
    {"application/x-lzma", "archive"},
    {"application/x-lzop", "archive"},
    {"application/x-ms-wim", "archive"},
    {"application/x-rar*", "archive"},
    {"application/x-rpm", "archive"},
    {"application/x-source-rpm", "archive"},
    {"application/x-stuffit*", "archive"},
    {"application/x-tar", "archive"},
    {"application/x-tarz", "archive"},
    {"application/x-tzo", "archive"},
    {"application/x-ustar", "archive"},
    {"application/x-xar", "archive"},
    {"application/x-xz", "archive"},
    {"application/x-zip*", "archive"},
    {"application/x-zoo", "archive"},
    {"application/zip", "archive"},
    {"application/zlib", "archive"},
    {"application/zstd", "archive"},
    {"*-compressed-tar", "archive"},

    {"application/vnd.android.package-archive", "application"},
    {"application/vnd.appimage", "application"},
    {"application/vnd.flatpak", "application"},
    {"application/vnd.microsoft.portable-executable", "application"},
    {"application/vnd.snap", "application"},
    {"application/wasm", "application"},
    {"application/x-coff", "application"},
    {"application/x-dosdriver", "application"},
    {"application/x-dosexec", "application"},
    {"application/x-iso9660-appimage", "application"},
    {"application/x-java", "application"},
    {"application/x-java-applet", "application"},
    {"application/x-mach-binary", "application"},
    {"application/x-msdownload", "application"},
    {"application/x-msi", "application"},
    {"application/x-object", "application"},
    {"application/x-python-bytecode", "application"},
    {"application/x-bytecode.python", "application"},
    {"application/x-sharedlib", "application"},
    {"*-executable", "application"},

    {"application/annodex", "video"},
    {"application/mxf", "video"},
    {"application/vnd.ms-asf", "video"},
    {"application/vnd.rn-realmedia*", "video"},
    {"application/x-matroska", "video"},
    {"application/x-font*", "font"},
    {"application/x-gz-font*", "font"},
    {"application/vnd.ms-fontobject", "font"},
    {"application/vnd.ms-opentype", "font"},
    {"application/vnd.font-*", "font"},
    {"application/dicom", "image"},
    {"application/illustrator", "image"},
    {"application/vnd.corel-draw", "image"},
    {"application/x-krita", "image"},
    {"application/x-blender", "model"},
    {"application/mbox", "message"},
    {"application/vnd.ms-outlook", "message"},
    {"application/vnd.ms-tnef", "message"},

    {"application/json*", "text"},
    {"application/xml*", "text"},
    {"application/javascript", "text"},
    {"application/ecmascript", "text"},
    {"application/sql", "text"},
    {"application/toml", "text"},
    {"application/x-awk", "text"},
    {"application/x-csh", "text"},
    {"application/x-desktop", "text"},
    {"application/x-m4", "text"},
    {"application/x-perl", "text"},
    {"application/x-php", "text"},
    {"application/x-ruby", "text"},
    {"application/x-shellscript", "text"},
    {"application/x-subrip", "text"},
    {"application/x-troff-man", "text"},
    {"application/x-yaml", "text"},
    {"application/yaml", "text"},
    {"*+json", "text"},
    {"*+xml", "text"},
    {"*+yaml", "text"},
};

static bool fits(const char *rule, const char *type, size_t len) {
  size_t n = strlen(rule);
  if (rule[0] == '*') return len >= n - 1 && memcmp(type + len - (n - 1), rule + 1, n - 1) == 0;
  if (rule[n - 1] == '*') return strncmp(type, rule, n - 1) == 0;
  return strcmp(type, rule) == 0;
}

const char *sd_mime_kind(const char *mime) {
  if (!mime) return NULL;
  size_t len = strlen(mime);
  for (size_t i = 0; i < sizeof(kind_rules) / sizeof(kind_rules[0]); i++)
    if (fits(kind_rules[i].type, mime, len)) return kind_rules[i].kind;
  return "other";
}
