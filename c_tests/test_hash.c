/* test_hash.c - engine/hash.h. What a hash must be is asked from the xxhsum program. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* after the standard headers that it needs */
#include <cmocka.h>

#include "base/clock.h"
#include "engine/hash.h"

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

enum { NOBODY = 65534, PATIENCE_S = 120 };

struct fixture {
  char dir[64];
  int dirfd;
  int fds; /* open when the test began */
  struct sd_hasher *h;
  struct sd_hash_result r;
  struct sd_err err;
};

static const struct sd_hash_want full = {.kind = SD_HASH_FULL};
static const struct sd_hash_want sampled = {.kind = SD_HASH_SAMPLED};

/* ---- help ---- */

static int run(const char *command) {
  return system(command) == 0 ? 0 : -1;
}

static int count_fds(void) {
  int n = 0;
  for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

static int set_up(void **state) {
  const char *tmp = getenv("TMPDIR");
  struct fixture *f = calloc(1, sizeof(*f));
  if (!f) return -1;
  f->fds = count_fds();
  snprintf(f->dir, sizeof(f->dir), "%s/sd_hash.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
  if (!mkdtemp(f->dir)) return -1;
  f->dirfd = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  *state = f;
  alarm(PATIENCE_S); /* an open that blocks ends the program */
  return f->dirfd < 0 ? -1 : sd_hasher_open(&f->h, &f->err);
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  char command[128];
  alarm(0);
  sd_hasher_close(f->h);
  close(f->dirfd);
  snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
  int rc = run(command);
  if (count_fds() != f->fds) {
    print_error("a descriptor was left open\n");
    rc = -1;
  }
  free(f);
  return rc;
}

static void need_xxhsum(void) {
  if (run("command -v xxhsum >/dev/null 2>&1") == 0) return;
  print_message("SKIPPED: the program xxhsum is not installed; nothing to compare with\n");
  skip();
}

/* `n` bytes, the same at every run, no two windows of them alike. */
static uint8_t *make_bytes(size_t n) {
  uint8_t *p = malloc(n + 1);
  uint32_t x = 2463534242u;
  assert_non_null(p);
  for (size_t i = 0; i < n; i++) {
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    p[i] = (uint8_t)(x >> 11);
  }
  return p;
}

static void write_at(struct fixture *f, const char *name, const void *p, size_t n, int64_t pos) {
  int fd = openat(f->dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  assert_true(fd >= 0);
  for (size_t done = 0; done < n;) {
    ssize_t w = pwrite(fd, (const char *)p + done, n - done, pos + (int64_t)done);
    assert_true(w > 0);
    done += (size_t)w;
  }
  close(fd);
}

static void set_size(struct fixture *f, const char *name, int64_t size) {
  int fd = openat(f->dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, size), 0);
  close(fd);
}

static void make_file(struct fixture *f, const char *name, size_t n) {
  uint8_t *p = make_bytes(n);
  write_at(f, name, p, n, 0);
  free(p);
}

static void to_hex(const uint8_t hash[16], char out[33]) {
  for (int i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

/* What xxhsum says of the file. */
static void ask_xxhsum(struct fixture *f, const char *name, char out[33]) {
  char command[256];
  snprintf(command, sizeof(command), "xxhsum -q -H2 '%s/%s'", f->dir, name);
  FILE *p = popen(command, "re");
  assert_non_null(p);
  assert_int_equal(fscanf(p, "%32[0-9a-f]", out), 1);
  while (fgetc(p) != EOF) continue;
  assert_int_equal(pclose(p), 0);
}

static int hash(struct fixture *f, const char *name, const struct sd_hash_want *want) {
  return sd_hash_file(f->h, f->dirfd, name, want, &f->r, &f->err);
}

/* Hashes the file and gives the hash as text. */
static void hash_ok(struct fixture *f, const char *name, const struct sd_hash_want *want,
                    char out[33]) {
  if (hash(f, name, want)) fail_msg("%s", f->err.msg);
  to_hex(f->r.hash, out);
}

static void check_full(struct fixture *f, const char *name) {
  char truth[33], ours[33];
  ask_xxhsum(f, name, truth);
  hash_ok(f, name, &full, ours);
  assert_string_equal(ours, truth);
  assert_int_equal(f->r.kind, SD_HASH_FULL);
}

static void check_error(struct fixture *f, int rc, int code) {
  assert_int_equal(rc, code);
  assert_int_equal(f->err.code, code);
  assert_true(f->err.msg[0] != '\0');
}

/* ---- every byte ---- */

static void equals_xxhsum_at_every_size(void **state) {
  static const size_t sizes[] = {0,      1,      100,        4096,       102400,     102401,
                                 327679, 327680, 327681,     589824,     589825,     1048579,
                                 240,    241,    64 * 1024u, 65 * 1024u, 256 * 1024u};
  struct fixture *f = *state;
  need_xxhsum();
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    make_file(f, "file", sizes[i]);
    set_size(f, "file", (int64_t)sizes[i]);
    check_full(f, "file");
    assert_int_equal(f->r.st.size, sizes[i]);
  }
}

static void shows_the_first_bytes(void **state) {
  static const size_t sizes[] = {0, 1, 4096, 65536, 65537, 1048579};
  struct fixture *f = *state;
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    size_t n = sizes[i] < 65536 ? sizes[i] : 65536;
    uint8_t *p = make_bytes(sizes[i]);
    write_at(f, "file", p, sizes[i], 0);
    assert_int_equal(hash(f, "file", &full), 0);
    assert_int_equal(f->r.head_len, n);
    assert_memory_equal(f->r.head, p, n);
    free(p);
  }
}

static void says_what_the_file_was(void **state) {
  struct fixture *f = *state;
  struct stat st;
  make_file(f, "file", 5000);
  assert_int_equal(fstatat(f->dirfd, "file", &st, 0), 0);
  assert_int_equal(hash(f, "file", &full), 0);
  assert_int_equal(f->r.st.kind, SD_KIND_FILE);
  assert_int_equal(f->r.st.size, 5000);
  assert_int_equal(f->r.st.ino, st.st_ino);
  assert_int_equal(f->r.st.dev, st.st_dev);
  assert_int_equal(f->r.st.mtime, st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
}

/* Holes in front, between, behind; islands that begin and end anywhere. */
static void hashes_holes_as_zeros(void **state) {
  static const struct {
    int64_t pos, len;
  } islands[] = {{MIB + 123, 70000}, {2 * MIB, MIB}, {GIB + 4096, 4096}, {2 * GIB + 5, 1}};
  struct fixture *f = *state;
  uint8_t *p = make_bytes((size_t)MIB);
  need_xxhsum();
  for (size_t i = 0; i < sizeof(islands) / sizeof(islands[0]); i++)
    write_at(f, "holes", p, (size_t)islands[i].len, islands[i].pos);
  set_size(f, "holes", 3 * GIB + 7);
  check_full(f, "holes");
  assert_true(f->r.st.allocated < 8 * MIB);
  assert_int_equal(f->r.head_len, 65536);
  for (size_t i = 0; i < f->r.head_len; i++) assert_int_equal(f->r.head[i], 0);
  free(p);
}

static void hashes_a_hole_up_to_data_at_the_end(void **state) {
  struct fixture *f = *state;
  need_xxhsum();
  write_at(f, "start", "begin", 5, 0);
  write_at(f, "start", "end", 3, 100 * MIB);
  check_full(f, "start");
  set_size(f, "nothing", 100 * MIB);
  check_full(f, "nothing");
  set_size(f, "small", 300 * KIB);
  check_full(f, "small");
}

static void hashes_many_small_islands(void **state) {
  struct fixture *f = *state;
  need_xxhsum();
  for (int64_t i = 0; i < 1000; i++) write_at(f, "many", "island", 6, i * 16 * KIB + i);
  check_full(f, "many");
}

static void hashes_memory(void **state) {
  struct fixture *f = *state;
  char ours[33], truth[33];
  uint8_t out[16];
  need_xxhsum();
  sd_hash_bytes(NULL, 0, out);
  to_hex(out, ours);
  assert_string_equal(ours, "99aa06d3014798d86001c324468d497f");
  uint8_t *p = make_bytes(100000);
  write_at(f, "file", p, 100000, 0);
  ask_xxhsum(f, "file", truth);
  sd_hash_bytes(p, 100000, out);
  to_hex(out, ours);
  assert_string_equal(ours, truth);
  free(p);
}

/* ---- samples ---- */

/* The format spelled out once more: 8 bytes of size; 8 KiB; four times 10 KiB with equal gaps
 * around them; 8 KiB. */
static void make_sample(struct fixture *f, const uint8_t *p, int64_t size) {
  uint8_t le[8];
  int64_t gap = (size - 57344) / 5;
  for (int i = 0; i < 8; i++) le[i] = (uint8_t)(size >> 8 * i);
  write_at(f, "sample", le, 8, 0);
  write_at(f, "sample", p, 8192, 8);
  for (int i = 0; i < 4; i++)
    write_at(f, "sample", p + 8192 + (i + 1) * gap + i * 10240, 10240, 8200 + i * 10240);
  write_at(f, "sample", p + size - 8192, 8192, 8200 + 40960);
}

static void samples_what_the_format_says(void **state) {
  static const int64_t sizes[] = {102401, 102405, 1048579, 5000000};
  struct fixture *f = *state;
  char truth[33], ours[33];
  need_xxhsum();
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    uint8_t *p = make_bytes((size_t)sizes[i]);
    write_at(f, "file", p, (size_t)sizes[i], 0);
    make_sample(f, p, sizes[i]);
    ask_xxhsum(f, "sample", truth);
    hash_ok(f, "file", &sampled, ours);
    assert_string_equal(ours, truth);
    assert_int_equal(f->r.kind, SD_HASH_SAMPLED);
    assert_int_equal(f->r.head_len, 8192);
    assert_memory_equal(f->r.head, p, 8192);
    free(p);
  }
}

/* Stored hashes outlive the program: this one must never change. */
static void keeps_the_frozen_sample(void **state) {
  struct fixture *f = *state;
  char ours[33];
  make_file(f, "file", 200000);
  hash_ok(f, "file", &sampled, ours);
  assert_string_equal(ours, "812098633873566d615d30b219cdd3af");
}

static void reads_all_of_a_small_file_instead_of_samples(void **state) {
  static const size_t sizes[] = {0, 1, 102400};
  struct fixture *f = *state;
  char a[33], b[33];
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    make_file(f, "file", sizes[i]);
    hash_ok(f, "file", &full, a);
    hash_ok(f, "file", &sampled, b);
    assert_string_equal(a, b);
    assert_int_equal(f->r.kind, SD_HASH_FULL);
  }
}

static void sampled_hash_follows_size_and_sampled_bytes(void **state) {
  enum { SIZE = 1000004, GAP = (SIZE - 57344) / 5 };
  static const int64_t seen[] = {0, 8191, 8192 + GAP, SIZE - 8192 - GAP - 1, SIZE - 8192, SIZE - 1};
  static const int64_t unseen[] = {8192, 8192 + GAP - 1, SIZE - 8192 - GAP, SIZE - 8193};
  struct fixture *f = *state;
  char was[33], is[33];
  uint8_t *p = make_bytes(SIZE + 1);
  write_at(f, "file", p, SIZE, 0);
  hash_ok(f, "file", &sampled, was);
  for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
    uint8_t other = p[seen[i]] ^ 1;
    write_at(f, "file", &other, 1, seen[i]);
    hash_ok(f, "file", &sampled, is);
    assert_string_not_equal(is, was);
    write_at(f, "file", &p[seen[i]], 1, seen[i]);
  }
  for (size_t i = 0; i < sizeof(unseen) / sizeof(unseen[0]); i++) {
    uint8_t other = p[unseen[i]] ^ 1;
    write_at(f, "file", &other, 1, unseen[i]);
    hash_ok(f, "file", &sampled, is);
    assert_string_equal(is, was);
  }
  set_size(f, "zeros", SIZE);
  hash_ok(f, "zeros", &sampled, was);
  set_size(f, "zeros", SIZE + 1);
  hash_ok(f, "zeros", &sampled, is);
  assert_string_not_equal(is, was); /* the same bytes, another size */
  free(p);
}

/* ---- what is not the file that was listed ---- */

static void refuses_another_inode(void **state) {
  struct fixture *f = *state;
  struct stat st;
  make_file(f, "file", 100);
  assert_int_equal(fstatat(f->dirfd, "file", &st, 0), 0);
  struct sd_hash_want want = {
      .kind = SD_HASH_FULL, .check_identity = true, .dev = st.st_dev, .ino = st.st_ino};
  assert_int_equal(hash(f, "file", &want), 0);
  want.ino++;
  check_error(f, hash(f, "file", &want), SD_ECHANGED);
  want.ino--, want.dev++;
  check_error(f, hash(f, "file", &want), SD_ECHANGED);
}

/* Asked by another process, whose own locks these are not. */
static bool is_locked(const char *path) {
  pid_t pid = fork();
  if (pid == 0) {
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CLOEXEC);
    _exit(fd >= 0 && fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK ? 0 : 1);
  }
  int status = -1;
  return waitpid(pid, &status, 0) == pid && status == 0;
}

/* 0: the lock has survived, as it does not where the file is opened and closed. */
static int hash_locked(struct fixture *f, bool own) {
  char path[128];
  struct stat st;
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  snprintf(path, sizeof(path), "%s/file", f->dir);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st) != 0 || fcntl(fd, F_SETLK, &l) != 0) return 2;
  struct sd_file_id id = {.dev = st.st_dev, .ino = st.st_ino};
  struct sd_hash_want want = {.kind = SD_HASH_FULL, .own = &id, .own_len = own};
  if (hash(f, "file", &want) != (own ? SD_ECHANGED : 0)) return 3;
  return is_locked(path) ? 0 : 1;
}

static void does_not_close_a_file_of_our_own(void **state) {
  struct fixture *f = *state;
  make_file(f, "file", 100);
  for (int own = 0; own < 2; own++) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) _exit(hash_locked(f, own));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), !own);
  }
}

static void refuses_what_is_no_regular_file(void **state) {
  struct fixture *f = *state;
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  make_file(f, "file", 100);
  assert_int_equal(symlinkat("file", f->dirfd, "link"), 0);
  assert_int_equal(mkdirat(f->dirfd, "directory", 0755), 0);
  assert_int_equal(mkfifoat(f->dirfd, "fifo", 0644), 0);
  snprintf(at.sun_path, sizeof(at.sun_path), "%s/socket", f->dir);
  int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(s, (struct sockaddr *)&at, sizeof(at)), 0);
  check_error(f, hash(f, "link", &full), SD_ECHANGED);
  check_error(f, hash(f, "directory", &full), SD_ECHANGED);
  check_error(f, hash(f, "fifo", &full), SD_ECHANGED);
  check_error(f, hash(f, "socket", &full), SD_ECHANGED);
  close(s);
}

static void reports_a_missing_file(void **state) {
  struct fixture *f = *state;
  check_error(f, hash(f, "missing", &full), -ENOENT);
  assert_non_null(strstr(f->err.msg, "missing"));
}

/* As root this needs somebody else's eyes. */
static bool become_nobody(struct fixture *f) {
  if (geteuid() != 0) return true;
  if (chmod(f->dir, 0755) == 0 && seteuid(NOBODY) == 0) return true;
  print_message("SKIPPED: root reads everything, and cannot become another user here\n");
  return false;
}

static void become_root(void) {
  if (getuid() == 0) assert_int_equal(seteuid(0), 0);
}

static void reports_an_unreadable_file(void **state) {
  struct fixture *f = *state;
  make_file(f, "secret", 100);
  assert_int_equal(fchmodat(f->dirfd, "secret", 0, 0), 0);
  if (!become_nobody(f)) skip();
  int rc = hash(f, "secret", &full);
  become_root();
  check_error(f, rc, -EACCES);
}

/* O_NOATIME is refused to all but the owner. */
static void reads_what_belongs_to_somebody_else(void **state) {
  struct fixture *f = *state;
  if (geteuid() != 0) {
    print_message("SKIPPED: only root can make a file that is somebody else's\n");
    skip();
  }
  make_file(f, "theirs", 100);
  if (!become_nobody(f)) skip();
  int rc = hash(f, "theirs", &full);
  become_root();
  assert_int_equal(rc, 0);
}

static void leaves_the_access_time(void **state) {
  static const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000001}};
  struct fixture *f = *state;
  struct stat st;
  make_file(f, "file", 100);
  assert_int_equal(utimensat(f->dirfd, "file", old, 0), 0);
  assert_int_equal(hash(f, "file", &full), 0);
  assert_int_equal(fstatat(f->dirfd, "file", &st, 0), 0);
  assert_int_equal(st.st_atim.tv_sec, 1000000000);
}

/* ---- while it is read ---- */

struct meddler {
  pthread_t thread;
  atomic_bool stop;
  int fd;
  void (*meddle)(int fd, unsigned turn);
};

static void *meddle_until_stopped(void *arg) {
  struct meddler *m = arg;
  for (unsigned turn = 0; !atomic_load(&m->stop); turn++) {
    m->meddle(m->fd, turn);
    usleep(200);
  }
  return NULL;
}

static void append(int fd, unsigned turn) {
  (void)turn;
  if (lseek(fd, 0, SEEK_END) < 0 || write(fd, "more", 4) != 4) abort();
}

static void truncate_and_grow(int fd, unsigned turn) {
  if (ftruncate(fd, 32 * MIB - (turn % 2) * 16 * MIB) != 0) abort();
}

/* The size stays; only the times tell. They are set, as the kernel's clock for them is coarse. */
static void overwrite(int fd, unsigned turn) {
  struct timespec at[2] = {{.tv_sec = 1000000000 + turn}, {.tv_sec = 1000000000 + turn}};
  if (pwrite(fd, "x", 1, 31 * MIB) != 1 || futimens(fd, at) != 0) abort();
}

/* Another thread writes every 0.2 ms while 32 MiB are read, which takes some milliseconds: nearly
 * each try sees a change. One that does not is repeated. */
static void check_meddling(struct fixture *f, void (*meddle)(int fd, unsigned turn)) {
  struct meddler m = {.meddle = meddle};
  int rc = 0;
  make_file(f, "busy", (size_t)(32 * MIB));
  m.fd = openat(f->dirfd, "busy", O_RDWR | O_CLOEXEC);
  assert_true(m.fd >= 0);
  assert_int_equal(pthread_create(&m.thread, NULL, meddle_until_stopped, &m), 0);
  for (int i = 0; !rc && i < 200; i++) rc = hash(f, "busy", &full);
  atomic_store(&m.stop, true);
  pthread_join(m.thread, NULL);
  close(m.fd);
  check_error(f, rc, SD_ECHANGED);
  assert_int_equal(hash(f, "busy", &full), 0);
}

static void refuses_a_file_that_grows(void **state) {
  check_meddling(*state, append);
}

static void refuses_a_file_that_shrinks(void **state) {
  check_meddling(*state, truncate_and_grow);
}

static void refuses_a_file_that_is_overwritten(void **state) {
  check_meddling(*state, overwrite);
}

static void stops_before_the_first_chunk(void **state) {
  struct fixture *f = *state;
  atomic_bool cancel = true;
  struct sd_hash_want want = {.kind = SD_HASH_FULL, .cancel = {&cancel}};
  make_file(f, "file", 200000);
  check_error(f, hash(f, "file", &want), SD_ECANCELED);
  want.kind = SD_HASH_SAMPLED;
  check_error(f, hash(f, "file", &want), SD_ECANCELED);
  want.cancel[0] = NULL, want.cancel[1] = &cancel;
  check_error(f, hash(f, "file", &want), SD_ECANCELED);
  cancel = false;
  assert_int_equal(hash(f, "file", &want), 0);
}

static void *cancel_soon(void *arg) {
  usleep(50 * 1000);
  atomic_store((atomic_bool *)arg, true);
  return NULL;
}

/* A terabyte of nothing takes a minute to hash; nobody waits for its end. */
static void stops_inside_a_hole(void **state) {
  struct fixture *f = *state;
  atomic_bool cancel = false;
  pthread_t thread;
  struct sd_hash_want want = {.kind = SD_HASH_FULL, .cancel = {&cancel}};
  set_size(f, "huge", 1024 * GIB);
  assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancel), 0);
  int64_t began = sd_clock_mono();
  int rc = hash(f, "huge", &want);
  int64_t took = sd_clock_mono() - began;
  pthread_join(thread, NULL);
  check_error(f, rc, SD_ECANCELED);
  assert_true(took < 5 * (int64_t)SD_NS_PER_S);
}

static void is_as_good_as_new_after_every_error(void **state) {
  struct fixture *f = *state;
  atomic_bool cancel = true;
  struct sd_hash_want stopped = {.kind = SD_HASH_FULL, .cancel = {&cancel}};
  char was[33], is[33];
  make_file(f, "file", 1048579);
  hash_ok(f, "file", &full, was);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(hash(f, "missing", &full), -ENOENT);
    assert_int_equal(hash(f, "file", &stopped), SD_ECANCELED);
    assert_int_equal(hash(f, "file", &sampled), 0);
    hash_ok(f, "file", &full, is);
    assert_string_equal(is, was);
  }
}

static void needs_no_error_value(void **state) {
  struct fixture *f = *state;
  assert_int_equal(sd_hash_file(f->h, f->dirfd, "missing", &full, &f->r, NULL), -ENOENT);
  sd_hasher_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(equals_xxhsum_at_every_size),
      TEST(shows_the_first_bytes),
      TEST(says_what_the_file_was),
      TEST(hashes_holes_as_zeros),
      TEST(hashes_a_hole_up_to_data_at_the_end),
      TEST(hashes_many_small_islands),
      TEST(hashes_memory),
      TEST(samples_what_the_format_says),
      TEST(keeps_the_frozen_sample),
      TEST(reads_all_of_a_small_file_instead_of_samples),
      TEST(sampled_hash_follows_size_and_sampled_bytes),
      TEST(refuses_another_inode),
      TEST(does_not_close_a_file_of_our_own),
      TEST(refuses_what_is_no_regular_file),
      TEST(reports_a_missing_file),
      TEST(reports_an_unreadable_file),
      TEST(reads_what_belongs_to_somebody_else),
      TEST(leaves_the_access_time),
      TEST(refuses_a_file_that_grows),
      TEST(refuses_a_file_that_shrinks),
      TEST(refuses_a_file_that_is_overwritten),
      TEST(stops_before_the_first_chunk),
      TEST(stops_inside_a_hole),
      TEST(is_as_good_as_new_after_every_error),
      TEST(needs_no_error_value),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
