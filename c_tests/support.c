#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

/* Tests ask for impossible sizes: under the address sanitizer, too, malloc then gives NULL. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "allocator_may_return_null=1";
}

/* ---- a directory per test ---- */

struct temp {
  char path[256]; /* first: *state is read as a string */
  char cwd[PATH_MAX];
  unsigned fds;
};

int temp_setup(void **state) {
  struct temp *t = calloc(1, sizeof(*t));
  const char *base = getenv("TMPDIR");
  if (!t || !getcwd(t->cwd, sizeof(t->cwd))) return -1;
  snprintf(t->path, sizeof(t->path), "%s/sdlua-test-XXXXXX", base ? base : "/tmp");
  if (!mkdtemp(t->path) || chmod(t->path, 0755) != 0) return -1;
  t->fds = open_fds();
  *state = t;
  return 0;
}

/* Removes what it can from `fd`; returns a sub-directory that is not empty, or -1. */
static int clear_level(int fd) {
  int below = -1;
  DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (struct dirent *e; d && below < 0 && (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (unlinkat(fd, e->d_name, 0) == 0 || unlinkat(fd, e->d_name, AT_REMOVEDIR) == 0) continue;
    fchmodat(fd, e->d_name, 0700, 0);
    below = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  }
  if (d) closedir(d);
  return below;
}

/* rm(1) takes minutes for ten thousand directories inside each other. */
static int remove_tree(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (long depth = 0; depth >= 0;) {
    int next = clear_level(fd);
    if (next >= 0) depth++;
    else if (depth-- > 0) next = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(fd);
    fd = next;
  }
  return rmdir(path);
}

int temp_teardown(void **state) {
  struct temp *t = *state;
  char cwd[PATH_MAX];
  int rc = 0;
  if (open_fds() != t->fds) {
    print_error("a descriptor was left open\n");
    rc = -1;
  }
  if (!getcwd(cwd, sizeof(cwd)) || strcmp(cwd, t->cwd) != 0) {
    print_error("the working directory has changed\n");
    rc = -1;
  }
  if (remove_tree(t->path) != 0) {
    print_error("%s was not removed\n", t->path);
    rc = -1;
  }
  free(t);
  return rc;
}

const char *at(const char *dir, const char *name) {
  static char ring[16][PATH_MAX];
  static unsigned turn;
  char *p = ring[turn++ % 16];
  snprintf(p, sizeof(ring[0]), "%s/%s", dir, name);
  return p;
}

void put_file(const char *path, const void *data, size_t len) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, data, len), (ssize_t)len);
  close(fd);
}

void make_dir(const char *path) {
  if (mkdir(path, 0755) != 0) fail_msg("mkdir %s: %s", path, strerror(errno));
}

static struct sd_buf read_stream(FILE *f) {
  struct sd_buf buf = SD_BUF_INIT;
  size_t got;
  do {
    assert_int_equal(sd_buf_reserve(&buf, 65536), 0);
    got = fread(buf.data + buf.len, 1, 65535, f);
    buf.len += got;
  } while (got);
  buf.data[buf.len] = 0;
  return buf;
}

struct sd_buf read_file(const char *path) {
  FILE *f = fopen(path, "re");
  assert_non_null(f);
  struct sd_buf buf = read_stream(f);
  fclose(f);
  return buf;
}

unsigned open_fds(void) {
  unsigned n = 0;
  DIR *d = opendir("/proc/self/fd");
  if (!d) return 0;
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

/* ---- the system's own answer ---- */

__attribute__((format(printf, 1, 0))) static struct sd_buf run_list(const char *fmt, va_list ap) {
  char cmd[4 * PATH_MAX];
  int n = vsnprintf(cmd, sizeof(cmd), fmt, ap);
  assert_true(n > 0 && (size_t)n < sizeof(cmd));
  FILE *f = popen(cmd, "re");
  assert_non_null(f);
  struct sd_buf out = read_stream(f);
  if (pclose(f) != 0) fail_msg("%s: failed, printed: %s", cmd, (const char *)out.data);
  return out;
}

struct sd_buf run(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  struct sd_buf out = run_list(fmt, ap);
  va_end(ap);
  return out;
}

long long run_number(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  struct sd_buf out = run_list(fmt, ap);
  va_end(ap);
  long long n = atoll((const char *)out.data);
  sd_buf_fini(&out);
  return n;
}

bool git_splits_components(const char *dir) {
  return run_number(
             "cd '%s' && git init -q --template= probe && cd probe && echo 'x**/y' >.gitignore"
             " && git check-ignore --no-index xy | wc -l; rm -rf probe",
             dir) == 1;
}

/* ---- another process ---- */

_Noreturn void check_failed(const char *cond, const char *file, int line) {
  fprintf(stderr, "%s:%d: in a child: %s is false\n", file, line, cond);
  _exit(1);
}

int in_child(unsigned uid, void (*fn)(void *ud), void *ud) {
  int status;
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++) signal(crashes[i], SIG_DFL);
    if (uid && geteuid() == 0)
      check(setgroups(0, NULL) == 0 && setgid(uid) == 0 && setuid(uid) == 0);
    fn(ud);
    _exit(0);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void deny_syscall(int nr, int en) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)en),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

/* ---- the rest ---- */

void assert_ok_at(int rc, const struct sd_err *err, const char *file, int line) {
  if (!rc) return;
  print_error("%s: %s\n", sd_err_name(rc), err->code == rc ? err->msg : "(no message)");
  _fail(file, line);
}

uint64_t test_seed(void) {
  const char *env = getenv("SD_SEED");
  uint64_t seed = env ? strtoull(env, NULL, 0) : (uint64_t)sd_clock_wall();
  print_message("SD_SEED=%llu\n", (unsigned long long)seed);
  return seed | 1;
}

/* xorshift64*, Vigna 2016. */
uint64_t rng_next(uint64_t *s) {
  *s ^= *s >> 12;
  *s ^= *s << 25;
  *s ^= *s >> 27;
  return *s * 0x2545f4914f6cdd1du;
}

uint32_t rng_below(uint64_t *s, uint32_t n) {
  return (uint32_t)((rng_next(s) >> 32) % n);
}
