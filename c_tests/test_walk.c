/* The walk, and what it stands on (names, cursor, dir, fstype), against find(1). */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/names.h"
#include "engine/rules.h"
#include "engine/walk.h"

/* ---- a walk from its root to its end ---- */

enum { ROOT_ID = 1, DIRS_A_STEP = 16 };

struct result {
  struct sd_walk *walk;
  struct sd_walker *walker;
  atomic_llong next_id;
  struct sd_batch **batches;
  size_t len, cap;
  struct sd_dir **todo;
  size_t todo_len, todo_cap;
};

static void keep_batch(struct result *r, struct sd_batch *b) {
  r->batches = realloc(r->batches, (r->len + 1) * sizeof(*r->batches));
  check(r->batches);
  r->batches[r->len++] = b;
  while (r->todo_len + b->born_len > r->todo_cap) {
    r->todo_cap = r->todo_cap ? r->todo_cap * 2 : 1024;
    r->todo = realloc(r->todo, r->todo_cap * sizeof(struct sd_dir *));
    check(r->todo);
  }
  for (size_t i = 0; i < b->born_len; i++) r->todo[r->todo_len++] = b->born[i];
  b->born_len = 0;
}

static void walk_begin(struct result *r, struct sd_walk_opts o) {
  struct sd_err err;
  memset(r, 0, sizeof(*r));
  atomic_init(&r->next_id, ROOT_ID + 1);
  o.root_id = ROOT_ID;
  o.next_id = &r->next_id;
  check(sd_walk_open(&o, &r->walk, &err) == 0);
  check(sd_walker_open(r->walk, NULL, NULL, &r->walker, &err) == 0);
  r->todo = calloc(16, sizeof(struct sd_dir *));
  r->todo_cap = 16;
  r->todo[r->todo_len++] = sd_dir_get(sd_walk_root(r->walk));
}

static struct sd_batch *walk_step(struct result *r) {
  struct sd_err err;
  size_t n = r->todo_len < DIRS_A_STEP ? r->todo_len : DIRS_A_STEP;
  struct sd_batch *b = sd_batch_new();
  check(b);
  r->todo_len -= n;
  check(sd_walker_step(r->walker, r->todo + r->todo_len, n, b, &err) == 0);
  keep_batch(r, b);
  return b;
}

static void walk_tree(struct result *r, struct sd_walk_opts o) {
  walk_begin(r, o);
  while (r->todo_len) walk_step(r);
}

static void walk_end(struct result *r) {
  for (size_t i = 0; i < r->todo_len; i++) sd_dir_put(r->todo[i]);
  for (size_t i = 0; i < r->len; i++) sd_batch_free(r->batches[i]);
  free(r->batches);
  free(r->todo);
  sd_walker_close(r->walker);
  sd_walk_close(r->walk);
}

static size_t total(const struct result *r, size_t offset) {
  size_t n = 0;
  for (size_t i = 0; i < r->len; i++) n += *(const size_t *)((const char *)r->batches[i] + offset);
  return n;
}

#define TOTAL(r, name) total(r, offsetof(struct sd_batch, name##_len))

static const struct sd_note *first_note(const struct result *r, bool skip) {
  for (size_t i = 0; i < r->len; i++) {
    const struct sd_batch *b = r->batches[i];
    if (skip ? b->skips_len : b->errors_len) return skip ? b->skips : b->errors;
  }
  return NULL;
}

/* ---- as find prints it ---- */

struct lines {
  struct sd_buf text;
  char **line;
  size_t len;
};

static int compare_lines(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Takes over `text`: lines that end with a NUL. */
static struct lines sorted(struct sd_buf text) {
  struct lines l = {.text = text};
  char *p = (char *)text.data, *end = text.len ? p + text.len : p;
  for (char *s = p; s < end; s += strlen(s) + 1) l.len++;
  l.line = calloc(l.len + 1, sizeof(char *));
  size_t n = 0;
  for (char *s = p; s < end; s += strlen(s) + 1) l.line[n++] = s;
  qsort(l.line, l.len, sizeof(char *), compare_lines);
  return l;
}

static void lines_free(struct lines *l) {
  sd_buf_fini(&l->text);
  free(l->line);
}

struct name_of {
  int64_t id;
  const char *path;
};

static int compare_ids(const void *a, const void *b) {
  int64_t x = ((const struct name_of *)a)->id, y = ((const struct name_of *)b)->id;
  return x < y ? -1 : x > y;
}

static const char *find_path(const struct name_of *dirs, size_t n, int64_t id) {
  struct name_of key = {.id = id},
                 *hit = n ? bsearch(&key, dirs, n, sizeof(key), compare_ids) : NULL;
  return hit ? hit->path : NULL;
}

static void print_entry(struct sd_buf *out, const struct sd_entry *e, const char *parent) {
  static const char letters[] = "?fdlpscb?";
  const struct sd_stat *s = &e->st;
  char head[512];
  int64_t sec = s->mtime / SD_NS_PER_S, csec = s->ctime / SD_NS_PER_S;
  int n = snprintf(
      head, sizeof(head), "%c %lld %lld %lld.%09lld0 %lld.%09lld0 %o %u %u %u %llu %llu ",
      letters[s->kind], (long long)s->size, (long long)s->allocated / 512, (long long)sec,
      (long long)(s->mtime % SD_NS_PER_S), (long long)csec, (long long)(s->ctime % SD_NS_PER_S),
      s->mode, s->uid, s->gid, s->nlink, (unsigned long long)s->dev, (unsigned long long)s->ino);
  assert_int_equal(sd_buf_put(out, head, (size_t)n), 0);
  assert_int_equal(sd_buf_put(out, parent, strlen(parent)), 0);
  if (*parent) assert_int_equal(sd_buf_put(out, "/", 1), 0);
  assert_int_equal(sd_buf_put(out, e->name, e->name_len), 0);
  assert_int_equal(sd_buf_put(out, " -> ", 4), 0);
  assert_int_equal(sd_buf_put(out, e->target ? e->target : "", e->target_len + 1), 0);
}

/* The directories' rows carry their paths: no deeper than PATH_MAX, so there is no anchor. */
static struct lines lines_of(const struct result *r) {
  struct sd_buf out = SD_BUF_INIT;
  struct name_of *dirs = calloc(TOTAL(r, dirs) + 1, sizeof(*dirs));
  size_t n = 0;
  for (size_t i = 0; i < r->len; i++)
    for (size_t k = 0; k < r->batches[i]->dirs_len; k++) {
      const struct sd_new_dir *d = &r->batches[i]->dirs[k];
      assert_int_equal(d->anchor, 0);
      dirs[n++] = (struct name_of){.id = d->id, .path = d->segment};
    }
  qsort(dirs, n, sizeof(*dirs), compare_ids);
  for (size_t i = 0; i < r->len; i++)
    for (size_t k = 0; k < r->batches[i]->entries_len; k++) {
      const struct sd_entry *e = &r->batches[i]->entries[k];
      const char *parent = e->parent_id == ROOT_ID ? "" : find_path(dirs, n, e->parent_id);
      assert_non_null(parent);
      print_entry(&out, e, parent);
    }
  free(dirs);
  return sorted(out);
}

static struct lines lines_of_find(const char *root) {
  return sorted(
      run("LC_ALL=C find '%s' -mindepth 1 -printf "
          "'%%y %%s %%b %%T@ %%C@ %%m %%U %%G %%n %%D %%i %%P -> %%l\\0'",
          root));
}

static void assert_same_as_find(const struct result *r, const char *root) {
  struct lines ours = lines_of(r), theirs = lines_of_find(root);
  for (size_t i = 0; i < ours.len && i < theirs.len; i++)
    if (strcmp(ours.line[i], theirs.line[i]) != 0)
      fail_msg("ours %s\nfind %s", ours.line[i], theirs.line[i]);
  assert_int_equal(ours.len, theirs.len);
  lines_free(&ours);
  lines_free(&theirs);
}

/* ---- a tree that nobody would make on purpose ---- */

static void touch_in(int dir, const char *name, const char *text) {
  int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
}

static void make_socket(int dir) {
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/socket", dir);
  assert_int_equal(bind(s, (struct sockaddr *)&sa, sizeof(sa)), 0);
  close(s);
}

static void make_special_entries(int dir) {
  assert_int_equal(symlinkat("loop-b", dir, "loop-a"), 0);
  assert_int_equal(symlinkat("loop-a", dir, "loop-b"), 0);
  assert_int_equal(symlinkat("self", dir, "self"), 0);
  assert_int_equal(symlinkat(".", dir, "here"), 0);
  assert_int_equal(symlinkat("not there\n\xff", dir, "dangling"), 0);
  assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
  make_socket(dir);
  touch_in(dir, "one", "linked");
  assert_int_equal(linkat(dir, "one", dir, "two", 0), 0);
  int fd = openat(dir, "sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_int_equal(ftruncate(fd, 1 << 30), 0);
  close(fd);
  touch_in(dir, "old", "1901");
  struct timespec old[2] = {{.tv_sec = -2147483648}, {.tv_sec = -1000000}};
  assert_int_equal(utimensat(dir, "old", old, 0), 0);
  if (geteuid() == 0) assert_int_equal(mknodat(dir, "null", S_IFCHR | 0666, (1 << 8) | 3), 0);
}

static void make_hostile_tree(const char *root) {
  char longest[256], wide[256];
  memset(longest, 'x', 255);
  longest[255] = 0;
  for (int i = 0; i < 254; i += 2) memcpy(wide + i, "\xc3\xa9", 2);
  wide[254] = 0;
  const char *const names[] = {"plain", "new\nline", "\xff\xfe", "\xc3", "\xed\xa0\x80",
                               longest, wide,        "-rf",      "--",   "\x01\x1f\x7f\x1b[31m",
                               " ",     "*",         "'\"",      "\\",   "$(id)",
                               "...",   "..a",       ".hidden",  "a\tb", "\xe2\x80\xae"};
  make_dir(root);
  int dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    assert_int_equal(mkdirat(dir, names[i], 0755), 0);
    int sub = openat(dir, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) touch_in(sub, names[k], names[i]);
    assert_int_equal(mkdirat(sub, "empty", 0700), 0);
    close(sub);
  }
  make_special_entries(dir);
  close(dir);
}

static void a_hostile_tree_is_listed_as_find_lists_it(void **state) {
  const char *root = at(*state, "tree");
  struct result r;
  make_hostile_tree(root);
  static const size_t batches[] = {1, 7, 1000};
  for (int i = 0; i < 3; i++) {
    walk_tree(&r, (struct sd_walk_opts){.root = root, .batch = batches[i]});
    assert_same_as_find(&r, root);
    assert_int_equal(TOTAL(&r, errors) + TOTAL(&r, skips) + TOTAL(&r, vanished), 0);
    walk_end(&r);
  }
}

/* find prints a time before 1970 with a fraction otherwise than stat does; stat is right. */
static void times_before_1970_keep_their_fraction(void **state) {
  const char *root = *state, *file = at(root, "f");
  struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = -2, .tv_nsec = 500000000}};
  struct result r;
  put_file(file, "", 0);
  assert_int_equal(utimensat(AT_FDCWD, file, t, 0), 0);
  walk_tree(&r, (struct sd_walk_opts){.root = root});
  int64_t mtime = r.batches[0]->entries[0].st.mtime;
  walk_end(&r);
  struct sd_buf out = run("stat -c %%.9Y '%s'", file);
  assert_string_equal((char *)out.data, "-1.500000000\n");
  sd_buf_fini(&out);
  assert_true(mtime == -1500000000);
}

/* ---- deep ---- */

enum { DEEP = 10000 };

static void make_deep_tree(const char *root, int depth, const char *name) {
  make_dir(root);
  int at_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (int i = 0; i < depth; i++) {
    check(mkdirat(at_fd, name, 0755) == 0);
    touch_in(at_fd, "file", "x");
    int next = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(next >= 0);
    close(at_fd);
    at_fd = next;
  }
  close(at_fd);
}

static void walk_deep(void *ud) {
  struct rlimit few = {32, 32};
  struct result r;
  check(setrlimit(RLIMIT_NOFILE, &few) == 0);
  walk_tree(&r, (struct sd_walk_opts){.root = ud, .batch = 100});
  check(TOTAL(&r, errors) == 0 && TOTAL(&r, vanished) == 0);
  check(TOTAL(&r, entries) == 2 * DEEP);
  walk_end(&r);
}

static void ten_thousand_directories_deep_with_32_descriptors(void **state) {
  const char *root = at(*state, "deep");
  make_deep_tree(root, DEEP, "directory");
  assert_int_equal(in_child(0, walk_deep, (void *)root), 0);
}

/* A checkpoint names a directory by its whole path, longer than PATH_MAX. */
static void reach_deep(void *ud) {
  struct result r;
  struct sd_err err;
  struct sd_buf bytes = SD_BUF_INIT;
  struct rlimit few = {32, 32};
  check(setrlimit(RLIMIT_NOFILE, &few) == 0);
  walk_begin(&r, (struct sd_walk_opts){.root = ud, .batch = 1});
  while (r.todo_len && sd_dir_depth(r.todo[r.todo_len - 1]) < 100) walk_step(&r);
  check(r.todo_len && sd_walk_encode(r.todo[r.todo_len - 1], &bytes) == 0);
  check(bytes.len > 20 + 100 * 250);
  struct sd_dir *d = sd_walk_restore(r.walk, bytes.data, bytes.len);
  check(d && sd_dir_depth(d) == 100 && d->id == r.todo[r.todo_len - 1]->id);
  int fd = -1, again = -1;
  check(sd_dir_open(d, &fd, &err) == 0 && sd_dir_open(r.todo[r.todo_len - 1], &again, &err) == 0);
  struct stat a, b;
  check(fstat(fd, &a) == 0 && fstat(again, &b) == 0);
  check(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  close(fd);
  close(again);
  sd_dir_put(d);
  sd_buf_fini(&bytes);
  walk_end(&r);
}

static void reach_deep_without_openat2(void *ud) {
  deny_syscall(SYS_openat2, ENOSYS);
  reach_deep(ud);
}

static void a_path_longer_than_path_max_is_reached_from_a_checkpoint(void **state) {
  char name[251];
  const char *root = at(*state, "long");
  memset(name, 'd', 250);
  name[250] = 0;
  make_deep_tree(root, 120, name);
  assert_int_equal(in_child(0, reach_deep, (void *)root), 0);
  assert_int_equal(in_child(0, reach_deep_without_openat2, (void *)root), 0);
}

/* A directory from a checkpoint, whose device is another one than that of where it should be: its
 * file system is not mounted. */
static void a_missing_directory_is_gone_from_its_own_device_only(void **state) {
  const char *root = at(*state, "missing");
  enum { DEVICE = 32 }; /* where a checkpoint has it */
  make_dir(root);
  for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
    struct result r;
    struct sd_buf bytes = SD_BUF_INIT;
    make_dir(at(root, "d"));
    walk_begin(&r, (struct sd_walk_opts){.root = root, .batch = 1});
    walk_step(&r);
    assert_int_equal(r.todo_len, 1);
    assert_int_equal(sd_walk_encode(r.todo[0], &bytes), 0);
    sd_dir_put(r.todo[0]);
    bytes.data[DEVICE] ^= (uint8_t)elsewhere;
    r.todo[0] = sd_walk_restore(r.walk, bytes.data, bytes.len);
    assert_non_null(r.todo[0]);
    assert_int_equal(rmdir(at(root, "d")), 0);
    walk_step(&r);
    assert_int_equal(TOTAL(&r, vanished), !elsewhere);
    assert_int_equal(TOTAL(&r, errors), elsewhere);
    if (elsewhere) assert_int_equal(first_note(&r, false)->code, -ENODEV);
    sd_buf_fini(&bytes);
    walk_end(&r);
  }
}

static void open_below_stops_at_symlinks(void *ud) {
  int root = open(ud, O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (int old = 0; old < 2; old++) {
    if (old) deny_syscall(SYS_openat2, ENOSYS);
    check(sd_open_below(root, "link/f", 6, O_RDONLY | O_NOFOLLOW) < 0);
    check(sd_open_below(root, "dir/link", 8, O_RDONLY | O_NOFOLLOW) < 0);
    int fd = sd_open_below(root, "dir/f", 5, O_RDONLY | O_NOFOLLOW);
    check(fd >= 0);
    close(fd);
    fd = sd_open_below(root, "", 0, O_RDONLY | O_DIRECTORY);
    check(fd >= 0 && fd != root);
    close(fd);
  }
}

static void nothing_is_opened_through_a_symlink(void **state) {
  const char *root = *state;
  make_dir(at(root, "dir"));
  put_file(at(root, "dir/f"), "", 0);
  assert_int_equal(symlink("dir", at(root, "link")), 0);
  assert_int_equal(symlink("f", at(root, "dir/link")), 0);
  assert_int_equal(in_child(0, open_below_stops_at_symlinks, *state), 0);
}

/* ---- large ---- */

enum { LARGE = 200000, NESTED = 30 };

/* Names are what is asked for; a new inode for each takes a disk minutes. */
static void make_files(const char *dir, int n) {
  char name[64], first[64] = "";
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (int i = 1; i <= n; i++) {
    snprintf(name, sizeof(name), "file with a name %d", i);
    if (*first && linkat(fd, first, fd, name, 0) == 0) continue;
    if (mknodat(fd, name, S_IFREG | 0644, 0) != 0) fail_msg("%s: %s", name, strerror(errno));
    strcpy(first, name);
  }
  close(fd);
}

static void a_large_directory_is_listed_in_parts_each_name_once(void **state) {
  const char *root = at(*state, "large");
  struct result r;
  size_t most = 0, entries = 0;
  make_dir(root);
  make_files(root, LARGE);
  walk_tree(&r, (struct sd_walk_opts){.root = root, .batch = 10});
  char *seen = calloc(LARGE + 1, 1);
  for (size_t i = 0; i < r.len; i++) {
    const struct sd_batch *b = r.batches[i];
    if (b->entries_len > most) most = b->entries_len;
    entries += b->entries_len;
    for (size_t k = 0; k < b->entries_len; k++) {
      int n = atoi(b->entries[k].name + strlen("file with a name "));
      assert_true(n >= 1 && n <= LARGE && !seen[n]++);
    }
    assert_int_equal(b->deltas_len, 1);
    assert_int_equal(b->deltas[0].listed, false); /* the root is known: the library decides */
  }
  assert_int_equal(entries, LARGE);
  assert_true(most < 10000);
  free(seen);
  walk_end(&r);
}

/* Each of them goes on in a later step while the ones below are walked: a cursor each. */
static void walk_nested(void *ud) {
  struct rlimit few = {16, 16};
  struct result r;
  check(setrlimit(RLIMIT_NOFILE, &few) == 0);
  walk_tree(&r, (struct sd_walk_opts){.root = ud, .batch = 100});
  if (TOTAL(&r, errors)) fprintf(stderr, "%s\n", first_note(&r, false)->reason);
  check(TOTAL(&r, errors) == 0);
  check(TOTAL(&r, entries) == NESTED * 4001);
  walk_end(&r);
}

static void large_directories_inside_each_other_need_few_descriptors(void **state) {
  const char *root = at(*state, "nested");
  char dir[4096];
  size_t n = (size_t)snprintf(dir, sizeof(dir), "%s", root);
  for (int i = 0; i < NESTED; i++) {
    make_dir(dir);
    make_files(dir, 4000);
    n += (size_t)snprintf(dir + n, sizeof(dir) - n, "/sub");
  }
  make_dir(dir);
  assert_int_equal(in_child(0, walk_nested, (void *)root), 0);
}

/* `big` has 4000 files, and between them directories that each hold another one. */
static void make_many(const char *root) {
  struct sd_buf none = run(
      "mkdir -p '%s/big' && cd '%s/big' && seq -f 'd%%.0f/below' 200 | xargs mkdir -p", root, root);
  sd_buf_fini(&none);
  make_files(at(root, "big"), 4000);
  none = run("cd '%s/big' && seq -f 'e%%.0f/below' 200 | xargs mkdir -p && touch d7/below/f e9/f",
             root);
  sd_buf_fini(&none);
}

static bool is_below(const struct sd_dir *d, const char *name) {
  for (; d; d = d->parent)
    if (strcmp(d->name, name) == 0) return true;
  return false;
}

/* A checkpoint that has both would have the children twice once the directory is listed anew. */
static void sub_directories_wait_for_the_last_part_of_the_listing(void **state) {
  const char *root = at(*state, "many");
  struct result r;
  size_t parts = 0;
  make_many(root);
  walk_begin(&r, (struct sd_walk_opts){.root = root, .batch = 500, .fds = 3});
  while (r.todo_len) {
    walk_step(&r);
    size_t big = 0, below = 0;
    for (size_t i = 0; i < r.todo_len; i++) {
      const struct sd_dir *d = r.todo[i];
      if (strcmp(d->name, "big") == 0) big++;
      else below += is_below(d, "big");
    }
    parts += big;
    assert_true(!big || !below);
  }
  assert_true(parts > 0);
  assert_same_as_find(&r, root);
  walk_end(&r);
}

/* All that is to be walked, as a checkpoint has it; false where nothing is packed. */
static bool replace_by_stored(struct result *r) {
  bool packed = false;
  for (size_t i = 0; i < r->todo_len; i++) {
    struct sd_buf bytes = SD_BUF_INIT;
    packed |= r->todo[i]->group != NULL;
    assert_int_equal(sd_walk_encode(r->todo[i], &bytes), 0);
    for (size_t n = 0; r->todo[i]->group && n < 64;
         n++) { /* cut off anywhere: refused, or shorter */
      char *copy = malloc(bytes.len * n / 64 + 1);
      memcpy(copy, bytes.data, bytes.len * n / 64);
      sd_dir_put(sd_walk_restore(r->walk, copy, bytes.len * n / 64));
      free(copy);
    }
    sd_dir_put(r->todo[i]);
    r->todo[i] = sd_walk_restore(r->walk, bytes.data, bytes.len);
    assert_non_null(r->todo[i]);
    sd_buf_fini(&bytes);
  }
  return packed;
}

static void packed_directories_come_back_from_a_checkpoint(void **state) {
  const char *root = at(*state, "many");
  struct result r;
  size_t packed = 0;
  make_many(root);
  walk_begin(&r, (struct sd_walk_opts){.root = root, .batch = 1});
  while (r.todo_len) {
    walk_step(&r);
    bool parts = false;
    for (size_t i = 0; i < r.todo_len; i++) parts |= r.todo[i]->cursor != NULL;
    if (!parts) packed += replace_by_stored(&r);
  }
  assert_true(packed > 0);
  assert_same_as_find(&r, root);
  walk_end(&r);
}

/* So that they are not told twice when the directory is listed anew. */
static void notes_wait_for_the_last_part_of_the_listing(void **state) {
  const char *root = *state;
  struct stat st;
  struct result r;
  put_file(at(root, "library.db"), "x", 1);
  struct sd_buf none =
      run("cd '%s' && for i in $(seq 3000); do ln library.db l$i; done && seq 3000 | xargs touch",
          root);
  sd_buf_fini(&none);
  assert_int_equal(stat(at(root, "library.db"), &st), 0);
  struct sd_file_id own = {.dev = st.st_dev, .ino = st.st_ino};
  walk_tree(&r, (struct sd_walk_opts){.root = root, .batch = 100, .own = &own, .own_len = 1});
  assert_true(r.len > 2);
  for (size_t i = 0; i < r.len; i++)
    assert_int_equal(r.batches[i]->skips_len, i + 1 < r.len ? 0 : 3001);
  assert_int_equal(TOTAL(&r, entries), 3000);
  walk_end(&r);
}

/* ---- several threads ---- */

enum { THREADS = 3 };

struct crew {
  struct result r; /* lock */
  pthread_mutex_t lock;
  size_t busy, errors; /* lock */
};

static struct sd_dir *take_one(struct crew *c) {
  struct sd_dir *d = NULL;
  while (!d) {
    pthread_mutex_lock(&c->lock);
    if (c->r.todo_len) d = c->r.todo[--c->r.todo_len];
    c->busy += d != NULL;
    bool end = !d && !c->busy;
    pthread_mutex_unlock(&c->lock);
    if (end) return NULL;
    if (!d) usleep(100);
  }
  return d;
}

static void *walk_along(void *ud) {
  struct crew *c = ud;
  struct sd_walker *wk;
  struct sd_dir *d;
  struct sd_err err;
  check(sd_walker_open(c->r.walk, NULL, NULL, &wk, &err) == 0);
  while ((d = take_one(c))) {
    struct sd_batch *b = sd_batch_new();
    check(b && sd_walker_step(wk, &d, 1, b, &err) == 0);
    pthread_mutex_lock(&c->lock);
    c->errors += b->errors_len + b->vanished_len;
    keep_batch(&c->r, b);
    c->busy--;
    pthread_mutex_unlock(&c->lock);
  }
  sd_walker_close(wk);
  return NULL;
}

/* Large directories whose first part finds no descriptor left, and a later one does. */
static void threads_share_large_directories_and_few_descriptors(void **state) {
  const char *root = at(*state, "tree");
  struct crew c = {.lock = PTHREAD_MUTEX_INITIALIZER};
  pthread_t threads[THREADS];
  for (int i = 0; i < 4; i++) {
    char name[16];
    snprintf(name, sizeof(name), "p%d", i);
    make_dir(i ? at(root, name) : root);
    if (!i) make_dir(at(root, name));
    make_many(at(root, name));
  }
  walk_begin(&c.r, (struct sd_walk_opts){.root = root, .batch = 50, .fds = 1});
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, walk_along, &c), 0);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(c.errors, 0);
  assert_same_as_find(&c.r, root);
  walk_end(&c.r);
}

/* ---- what cannot or shall not be read ---- */

static void walk_locked(void *ud) {
  struct result r;
  walk_tree(&r, (struct sd_walk_opts){.root = ud});
  check(TOTAL(&r, errors) == 2);
  bool list = false, look = false;
  for (size_t i = 0; i < r.len; i++)
    for (size_t k = 0; k < r.batches[i]->errors_len; k++) {
      const struct sd_note *n = &r.batches[i]->errors[k];
      check(n->code == -EACCES && strcmp(n->reason, "Permission denied") == 0);
      list |= n->op == SD_OP_READ_DIR && strcmp(n->path, "a/locked") == 0;
      look |= n->op == SD_OP_CREATE_ENTRY && strcmp(n->path, "noexec/f") == 0;
    }
  check(list && look);
  check(TOTAL(&r, entries) == 5); /* a, a/locked, a/z, noexec, z */
  walk_end(&r);
}

static void an_unreadable_directory_is_an_error_note(void **state) {
  const char *root = at(*state, "tree");
  struct sd_buf none =
      run("mkdir '%s' && cd '%s' && mkdir -p a/locked noexec && touch a/locked/f a/z noexec/f z"
          " && chmod 0 a/locked && chmod 744 noexec",
          root, root);
  sd_buf_fini(&none);
  if (geteuid() != 0) skip_because("not root: own directories would need another owner");
  assert_int_equal(in_child(NOBODY, walk_locked, (void *)root), 0);
}

/* What a FUSE server may answer: an errno without a text. */
static void walk_strange(void *ud) {
  struct result r;
  deny_syscall(SYS_readlinkat, 200);
  walk_tree(&r, (struct sd_walk_opts){.root = ud});
  check(TOTAL(&r, errors) == 1 && first_note(&r, false)->code == -200);
  walk_end(&r);
}

static void an_unknown_errno_is_an_error_note_like_others(void **state) {
  assert_int_equal(symlink("x", at(*state, "link")), 0);
  assert_int_equal(in_child(0, walk_strange, *state), 0);
}

static void the_librarys_own_files_are_skipped_and_listed(void **state) {
  const char *root = *state;
  struct stat st;
  struct result r;
  put_file(at(root, "library.db"), "x", 1);
  put_file(at(root, "other"), "x", 1);
  assert_int_equal(stat(at(root, "library.db"), &st), 0);
  struct sd_file_id own = {.dev = st.st_dev, .ino = st.st_ino};
  walk_tree(&r, (struct sd_walk_opts){.root = root, .own = &own, .own_len = 1});
  assert_int_equal(TOTAL(&r, entries), 1);
  assert_int_equal(TOTAL(&r, skips), 1);
  assert_string_equal(first_note(&r, true)->path, "library.db");
  assert_string_equal(first_note(&r, true)->reason, "library");
  walk_end(&r);
}

static void skipped_as(const char *root, const char *path, const char *reason) {
  struct result r;
  walk_tree(&r, (struct sd_walk_opts){.root = root});
  size_t skips = TOTAL(&r, skips);
  const struct sd_note *n = first_note(&r, true);
  bool same = n && strcmp(n->path, path) == 0 && strcmp(n->reason, reason) == 0;
  walk_end(&r);
  umount2(at(root, path), MNT_DETACH);
  assert_int_equal(skips, 1);
  assert_true(same);
}

static void a_bind_mount_of_an_ancestor_is_a_loop(void **state) {
  const char *root = *state;
  make_dir(at(root, "a"));
  make_dir(at(root, "a/b"));
  make_dir(at(root, "a/b/c"));
  if (mount(at(root, "a"), at(root, "a/b/c"), NULL, MS_BIND, NULL) != 0)
    skip_because("mount is not permitted");
  skipped_as(root, "a/b/c", "loop");
  assert_int_equal(mount(root, at(root, "a/b"), NULL, MS_BIND, NULL), 0);
  skipped_as(root, "a/b", "loop");
}

static void a_pseudo_file_system_is_not_entered(void **state) {
  const char *root = *state;
  make_dir(at(root, "proc"));
  if (mount("proc", at(root, "proc"), "proc", 0, NULL) != 0) skip_because("mount is not permitted");
  skipped_as(root, "proc", "pseudo");
}

/* ---- cancel ---- */

static void a_canceled_walk_gives_back_what_it_did_not_read(void **state) {
  const char *root = at(*state, "tree");
  atomic_bool cancel = true;
  struct result r;
  make_hostile_tree(root);
  walk_begin(&r, (struct sd_walk_opts){.root = root, .batch = 20, .cancel = &cancel});
  walk_step(&r);
  assert_int_equal(r.todo_len, 1);
  assert_int_equal(TOTAL(&r, entries), 0);
  for (int i = 0; r.todo_len; i++) {
    atomic_store(&cancel, i % 2);
    size_t before = TOTAL(&r, entries);
    walk_step(&r);
    if (i % 2) assert_int_equal(TOTAL(&r, entries), before);
  }
  assert_same_as_find(&r, root);
  walk_end(&r);
}

struct toggle {
  atomic_bool cancel, end;
};

static void *keep_toggling(void *ud) {
  struct toggle *t = ud;
  while (!atomic_load(&t->end)) {
    atomic_store(&t->cancel, true);
    usleep(30);
    atomic_store(&t->cancel, false);
    usleep(600);
  }
  return NULL;
}

/* The flag is set in the middle of a listing as well: that part is given up, and read again later.
 * */
static void a_listing_canceled_in_its_middle_is_complete_in_the_end(void **state) {
  char root[512];
  struct toggle t = {0};
  struct result r;
  pthread_t thread;
  snprintf(root, sizeof(root), "%s", at(*state, "tree"));
  make_dir(root);
  make_files(root, 12000);
  for (int i = 0; i < 20; i++) {
    char name[16];
    snprintf(name, sizeof(name), "sub%d", i);
    make_dir(at(root, name));
    make_files(at(root, name), 500);
    make_dir(at(at(root, name), "below"));
  }
  assert_int_equal(pthread_create(&thread, NULL, keep_toggling, &t), 0);
  walk_tree(&r, (struct sd_walk_opts){.root = root, .batch = 700, .cancel = &t.cancel, .fds = 3});
  atomic_store(&t.end, true);
  pthread_join(thread, NULL);
  assert_int_equal(TOTAL(&r, entries), 12000 + 20 * 502);
  assert_same_as_find(&r, root);
  walk_end(&r);
}

/* ---- rules; what each one says is test_rules' affair ---- */

static struct sd_rules *rules(struct sd_rules_opts o, const char *names) {
  struct sd_err err;
  struct sd_rules *r;
  check(sd_rules_parse(names, &o.named, &err) == 0 && sd_rules_compile(&o, &r, &err) == 0);
  return r;
}

static uint64_t skipped(const struct result *r, uint8_t rule) {
  uint64_t n = 0;
  for (size_t i = 0; i < r->len; i++) n += r->batches[i]->skipped[rule];
  return n;
}

/* ---- too few descriptors ---- */

struct scarce {
  const char *root;
  const struct sd_rules *rules;
  int left;     /* descriptors; -1: enough */
  size_t found; /* entries where there are enough */
  bool late;    /* there are enough until the first step */
  bool restore; /* between steps, as from a checkpoint */
};

static void leave_fds(int n) {
  struct rlimit few = {64, 64};
  int fd, last = -1;
  check(setrlimit(RLIMIT_NOFILE, &few) == 0);
  while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) last = fd;
  check(errno == EMFILE && last > 40);
  while (n-- > 0) check(close(last--) == 0);
}

static void restore_all(struct result *r) {
  for (size_t i = 0; i < r->todo_len; i++) {
    struct sd_buf bytes = SD_BUF_INIT;
    check(sd_walk_encode(r->todo[i], &bytes) == 0);
    sd_dir_put(r->todo[i]);
    check((r->todo[i] = sd_walk_restore(r->walk, bytes.data, bytes.len)));
    sd_buf_fini(&bytes);
  }
}

/* All of the tree, or -EMFILE. */
static int walk_scarce(struct result *r, const struct scarce *s) {
  struct sd_err err;
  struct sd_walk_opts o = {.root = s->root, .rules = s->rules, .batch = 1, .root_id = ROOT_ID};
  memset(r, 0, sizeof(*r));
  atomic_init(&r->next_id, ROOT_ID + 1);
  o.next_id = &r->next_id;
  if (s->left >= 0 && !s->late) leave_fds(s->left);
  int rc = sd_walk_open(&o, &r->walk, &err);
  if (!rc) rc = sd_walker_open(r->walk, NULL, NULL, &r->walker, &err);
  if (s->left >= 0 && s->late) leave_fds(s->left);
  struct sd_dir *todo = rc ? NULL : sd_dir_get(sd_walk_root(r->walk));
  size_t n = 1;
  for (struct sd_dir **dirs = &todo; !rc && n; n = r->todo_len, dirs = r->todo) {
    struct sd_batch *b = sd_batch_new();
    r->todo_len = 0; /* taken over */
    rc = sd_walker_step(r->walker, dirs, n, b, &err);
    if (rc) sd_batch_free(b);
    else keep_batch(r, b);
    if (s->restore) restore_all(r);
  }
  check(!rc || (rc == -EMFILE && err.code == rc));
  return rc;
}

static void walk_with_few(void *ud) {
  const struct scarce *s = ud;
  struct result r;
  int rc = walk_scarce(&r, s);
  if (s->left == 0) check(rc == -EMFILE);
  if (s->left >= 8) check(rc == 0);
  if (!rc) check(TOTAL(&r, errors) == 0 && TOTAL(&r, vanished) == 0);
  if (!rc) check(TOTAL(&r, entries) == s->found);
  walk_end(&r);
}

/* A work tree of git and what it takes to know its rules; a cache; what a repository above says. */
static void make_ruled_tree(const char *top) {
  struct sd_buf none =
      run("mkdir -p '%s/tree' && cd '%s' && git init -q . && echo '*.up' >.gitignore && cd tree"
          " && mkdir -p work/a/b/c meta/wt meta/common/objects meta/common/refs meta/common/info"
          " cache one/two/three && echo 'gitdir: ../meta/wt' >work/.git && touch meta/wt/HEAD"
          " && echo ../common >meta/wt/commondir && echo '*.x' >meta/common/info/exclude"
          " && echo '*.o' >work/.gitignore && echo '*.i' >work/a/.ignore"
          " && echo 'Signature: 8a477f597d28d172789f06886806bc55' >cache/CACHEDIR.TAG"
          " && for d in work work/a/b work/a/b/c cache one/two/three; do"
          " touch $d/1.up $d/2.o $d/3.x $d/4.i $d/5.c; done",
          top, top);
  sd_buf_fini(&none);
}

/* `skipped` by rules, where there are enough. */
static void assert_walks_with_few(struct scarce s, size_t skips) {
  struct result r;
  s.left = -1;
  assert_int_equal(walk_scarce(&r, &s), 0);
  assert_int_equal(skipped(&r, SD_RULE_GITIGNORE) + skipped(&r, SD_RULE_NO_CACHES), skips);
  s.found = TOTAL(&r, entries);
  walk_end(&r);
  for (int i = 0; i < 4 * 10; i++) {
    s.left = i / 4;
    s.restore = i & 1;
    s.late = i & 2;
    assert_int_equal(in_child(0, walk_with_few, &s), 0);
  }
}

static void with_too_few_descriptors_a_walk_fails_or_finds_all(void **state) {
  char top[256];
  struct sd_rules *git = rules((struct sd_rules_opts){0}, "gitignore,no_caches");
  snprintf(top, sizeof(top), "%s", at(*state, "top"));
  make_ruled_tree(top);
  assert_walks_with_few((struct scarce){.root = at(top, "tree")}, 0);
  assert_walks_with_few((struct scarce){.root = at(top, "tree"), .rules = git}, 2 + 2 * 3 + 1 + 1);
  sd_rules_free(git);
}

/* Where a directory is easier to open than what says which of its names stay. */
static void with_too_few_descriptors_no_rule_is_forgotten(void **state) {
  char top[256];
  struct sd_rules *git = rules((struct sd_rules_opts){0}, "gitignore,no_caches");
  snprintf(top, sizeof(top), "%s", at(*state, "top"));
  make_ruled_tree(top);
  struct sd_buf none =
      run("cd '%s' && mkdir -p ../c ../g/g ../r/r && mv tree/cache ../c"
          " && mv tree/work/.gitignore ../g/g && touch ../g/g/x.o ../r/r/x.x"
          " && echo 'gitdir: ../../top/tree/meta/wt' >../r/r/.git",
          top);
  sd_buf_fini(&none);
  for (const char *const *name = (const char *const[]){"c", "g", "r", NULL}; *name; name++)
    assert_walks_with_few((struct scarce){.root = at(*state, *name), .rules = git}, 1);
  sd_rules_free(git);
}

static void what_is_left_out_is_counted_once_in_a_canceled_walk(void **state) {
  char root[512];
  struct toggle t = {0};
  struct result r;
  pthread_t thread;
  struct sd_rules *no_hidden = rules((struct sd_rules_opts){.max_size = 5}, "no_hidden");
  snprintf(root, sizeof(root), "%s", at(*state, "tree"));
  make_dir(root);
  make_files(root, 9000);
  struct sd_buf none =
      run("cd '%s' && seq -f '.%%g' 3000 | xargs touch && echo 123456 >large"
          " && seq -f 'l%%g' 300 | xargs -n1 ln large"
          " && for i in 1 2 3 4 5; do mkdir -p s$i/.a s$i/b; done",
          root);
  sd_buf_fini(&none);
  assert_int_equal(pthread_create(&thread, NULL, keep_toggling, &t), 0);
  walk_tree(&r, (struct sd_walk_opts){
                    .root = root, .batch = 70, .cancel = &t.cancel, .fds = 3, .rules = no_hidden});
  atomic_store(&t.end, true);
  pthread_join(thread, NULL);
  assert_int_equal(TOTAL(&r, entries), 9000 + 10);
  assert_int_equal(skipped(&r, SD_RULE_NO_HIDDEN), 3000 + 5);
  assert_int_equal(skipped(&r, SD_RULE_MAX_SIZE), 301);
  walk_end(&r);
  sd_rules_free(no_hidden);
}

/* Keeps what has an even size and is not called "no". */
static int accept_some(void *ud, const struct sd_dir *dir, const struct sd_entry *e,
                       struct sd_err *err) {
  size_t *asked = ud;
  check(dir->id == e->parent_id && e->st.kind != 0);
  if (e->name_len == 5 && memcmp(e->name, "wrong", 5) == 0)
    return sd_err_set(err, SD_ESCRIPT, "wrong");
  (*asked)++;
  if (e->st.kind != SD_KIND_DIRECTORY) return e->st.size % 2 == 0;
  return e->name_len != 2 || memcmp(e->name, "no", 2) != 0;
}

static void what_is_not_accepted_is_left_out_and_counted(void **state) {
  char root[512];
  struct result r;
  struct sd_err err;
  size_t asked = 0;
  struct sd_rules *none = rules((struct sd_rules_opts){0}, "no_hidden");
  snprintf(root, sizeof(root), "%s", at(*state, "tree"));
  make_dir(root);
  make_files(root, 9000);
  struct sd_buf out =
      run("cd '%s' && mkdir -p a/no/b yes && touch a/no/x yes/y .hidden"
          " && echo 12 >yes/odd && echo 123 >a/even",
          root);
  sd_buf_fini(&out);
  for (int i = 0; i < 2; i++) { /* with rules and without, which ask first */
    walk_begin(&r, (struct sd_walk_opts){.root = root, .batch = 70, .rules = i ? none : NULL});
    sd_walker_accept(r.walker, accept_some, &asked);
    while (r.todo_len) walk_step(&r);
    assert_int_equal(TOTAL(&r, entries), 9000 + 4 + !i); /* a, a/even, yes, yes/y; .hidden */
    assert_int_equal(asked, 9000 + 6 + !i);
    assert_int_equal(skipped(&r, SD_RULE_ACCEPT_ENTRY), 1);
    assert_int_equal(skipped(&r, SD_RULE_ACCEPT_DIRECTORY), 1);
    walk_end(&r);
    asked = 0;
  }
  put_file(at(root, "yes/wrong"), "", 0);
  walk_begin(&r, (struct sd_walk_opts){.root = at(root, "yes")});
  sd_walker_accept(r.walker, accept_some, &asked);
  struct sd_batch *b = sd_batch_new();
  assert_int_equal(sd_walker_step(r.walker, r.todo, r.todo_len, b, &err), SD_ESCRIPT);
  assert_string_equal(err.msg, "wrong");
  r.todo_len = 0;
  sd_batch_free(b);
  walk_end(&r);
  sd_rules_free(none);
}

/* statx(2) would fail, and be noted. */
static void walk_without_statx(void *ud) {
  struct result r;
  struct sd_rules *no_hidden = rules((struct sd_rules_opts){0}, "no_hidden");
  walk_begin(&r, (struct sd_walk_opts){.root = ud, .rules = no_hidden});
  deny_syscall(SYS_statx, EIO);
  while (r.todo_len) walk_step(&r);
  check(TOTAL(&r, errors) == 1 && strcmp(first_note(&r, false)->path, "seen") == 0);
  check(skipped(&r, SD_RULE_NO_HIDDEN) == 2);
  walk_end(&r);
  sd_rules_free(no_hidden);
}

static void what_a_name_rule_leaves_out_is_never_asked_for(void **state) {
  struct sd_buf none = run("cd '%s' && mkdir .d && touch .f .d/x seen", (char *)*state);
  sd_buf_fini(&none);
  assert_int_equal(in_child(0, walk_without_statx, *state), 0);
}

/* newfstatat(2) is how ignore files, repositories and tags are looked for. */
static void walk_without_fstatat(void *ud) {
  struct result r;
  struct sd_rules *all = rules((struct sd_rules_opts){0}, "gitignore,no_caches,no_dev_dirs");
  walk_begin(&r, (struct sd_walk_opts){.root = ud, .rules = all});
  deny_syscall(SYS_newfstatat, EIO);
  while (r.todo_len) walk_step(&r);
  check(TOTAL(&r, errors) == 1);
  check(strcmp(first_note(&r, false)->path, "a/.gitignore") == 0);
  check(first_note(&r, false)->code == -EIO && first_note(&r, false)->op == SD_OP_READ_RULES);
  walk_end(&r);
  sd_rules_free(all);
}

static void ignore_files_are_looked_for_where_the_listing_has_them(void **state) {
  struct sd_buf none =
      run("cd '%s' && mkdir -p a/b c/target && touch a/.gitignore a/b/f c/f", (char *)*state);
  sd_buf_fini(&none);
  assert_int_equal(in_child(0, walk_without_fstatat, *state), 0);
}

static void a_mount_is_not_entered_where_a_rule_says_so(void **state) {
  const char *root = *state;
  struct result r;
  struct sd_rules *one = rules((struct sd_rules_opts){.one_filesystem = true}, NULL);
  make_dir(at(root, "mnt"));
  if (mount("tmpfs", at(root, "mnt"), "tmpfs", 0, "size=1m") != 0) {
    sd_rules_free(one);
    skip_because("mount is not permitted");
  }
  put_file(at(root, "mnt/f"), "", 0);
  walk_tree(&r, (struct sd_walk_opts){.root = root, .rules = one});
  umount2(at(root, "mnt"), MNT_DETACH);
  size_t entries = TOTAL(&r, entries), skips = TOTAL(&r, skips);
  const struct sd_note *n = first_note(&r, true);
  bool named = n && strcmp(n->path, "mnt") == 0 && strcmp(n->reason, "one_filesystem") == 0;
  walk_end(&r);
  sd_rules_free(one);
  assert_int_equal(entries, 1);
  assert_int_equal(skips, 1);
  assert_true(named);
}

/* ---- names and cursor ---- */

static void names_come_sorted_as_sqlite_sorts_them(void **state) {
  const char *root = at(*state, "tree");
  struct result r;
  make_hostile_tree(root);
  walk_tree(&r, (struct sd_walk_opts){.root = root, .batch = 1});
  const struct sd_batch *b = r.batches[0];
  for (size_t i = 1; i < b->entries_len; i++) {
    const struct sd_entry *x = &b->entries[i - 1], *y = &b->entries[i];
    assert_true(x->name_text >= y->name_text); /* TEXT before BLOB, then memcmp */
    if (x->name_text == y->name_text) assert_true(strcmp(x->name, y->name) < 0);
  }
  walk_end(&r);
}

static void a_cursor_is_a_set(void **state) {
  (void)state;
  enum { N = 40000 };
  atomic_int fds_left = 1;
  struct sd_dir_cursor *c = sd_dir_cursor_new(0, &fds_left);
  static bool in[N];
  uint64_t rng = test_seed();
  assert_false(sd_dir_cursor_has(c, 1));
  sd_dir_cursor_remove(c, 1);
  for (int i = 0; i < 400000; i++) {
    uint32_t n = rng_below(&rng, N);
    uint64_t hash = 1 + n * (uint64_t)(n % 2 ? 1 : 8192); /* half of them in one place */
    if (n % 2 == 0 && n > 400) continue;                  /* long chains cost */
    if (rng_below(&rng, 3)) {
      assert_int_equal(sd_dir_cursor_add(c, hash), !in[n]);
      in[n] = true;
    } else {
      sd_dir_cursor_remove(c, hash);
      in[n] = false;
    }
    assert_int_equal(sd_dir_cursor_has(c, hash), in[n]);
  }
  size_t count = 0;
  for (uint32_t n = 0; n < N; n++) count += in[n];
  assert_int_equal(c->count, count);
  sd_dir_cursor_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(a_hostile_tree_is_listed_as_find_lists_it),
      temp_test(times_before_1970_keep_their_fraction),
      temp_test(ten_thousand_directories_deep_with_32_descriptors),
      temp_test(a_path_longer_than_path_max_is_reached_from_a_checkpoint),
      temp_test(a_missing_directory_is_gone_from_its_own_device_only),
      temp_test(nothing_is_opened_through_a_symlink),
      temp_test(a_large_directory_is_listed_in_parts_each_name_once),
      temp_test(large_directories_inside_each_other_need_few_descriptors),
      temp_test(sub_directories_wait_for_the_last_part_of_the_listing),
      temp_test(packed_directories_come_back_from_a_checkpoint),
      temp_test(notes_wait_for_the_last_part_of_the_listing),
      temp_test(threads_share_large_directories_and_few_descriptors),
      temp_test(an_unreadable_directory_is_an_error_note),
      temp_test(an_unknown_errno_is_an_error_note_like_others),
      temp_test(the_librarys_own_files_are_skipped_and_listed),
      temp_test(a_bind_mount_of_an_ancestor_is_a_loop),
      temp_test(a_pseudo_file_system_is_not_entered),
      temp_test(a_canceled_walk_gives_back_what_it_did_not_read),
      temp_test(a_listing_canceled_in_its_middle_is_complete_in_the_end),
      temp_test(with_too_few_descriptors_a_walk_fails_or_finds_all),
      temp_test(with_too_few_descriptors_no_rule_is_forgotten),
      temp_test(what_is_left_out_is_counted_once_in_a_canceled_walk),
      temp_test(what_is_not_accepted_is_left_out_and_counted),
      temp_test(what_a_name_rule_leaves_out_is_never_asked_for),
      temp_test(ignore_files_are_looked_for_where_the_listing_has_them),
      temp_test(a_mount_is_not_entered_where_a_rule_says_so),
      temp_test(names_come_sorted_as_sqlite_sorts_them),
      temp_test(a_cursor_is_a_set),
  };
  return cmocka_run_group_tests_name("walk", tests, NULL, NULL);
}
