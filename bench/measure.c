/* measure.c - runs one command and says what it cost.
 *
 *   measure [-o FILE] [-i SECONDS] COMMAND [ARG...]
 *
 * Writes one line `wall user sys maxrss status` to FILE (default: stderr): seconds, seconds of CPU
 * of the command and everything it waited for, the largest resident set of any one process in KiB,
 * and the exit status (128 + signal when a signal ended it). With -i the command gets a SIGINT
 * after that many seconds, and wall is the time from the signal to its end; -1 when it ended
 * before.
 *
 * Owner:  one child.
 * Thread: single.
 * Errors: a command that cannot be started has status 127. The exit code is the command's status.
 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t) {
  return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* Waits for the child's end for at most `limit` seconds; 1 when it has ended. SIGCHLD is blocked.
 */
static int ended_within(pid_t child, double limit) {
  double left, end = now() + limit;
  sigset_t chld;
  siginfo_t info;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  while ((left = end - now()) > 0) {
    struct timespec t = {.tv_sec = (time_t)left};
    t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
    sigtimedwait(&chld, NULL, &t);
    info.si_pid = 0;
    if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid)
      return 1;
  }
  return 0;
}

/* The command inherits our terminal and descriptors, but neither our signal mask nor an ignored
 * SIGINT, which a shell gives to what it starts in the background. */
static int start(char **argv, pid_t *child) {
  posix_spawnattr_t attr;
  sigset_t none, ints;
  sigemptyset(&none);
  sigemptyset(&ints);
  sigaddset(&ints, SIGINT);
  posix_spawnattr_init(&attr);
  posix_spawnattr_setsigmask(&attr, &none);
  posix_spawnattr_setsigdefault(&attr, &ints);
  posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  int rc = posix_spawnp(child, argv[0], NULL, &attr, argv, environ);
  posix_spawnattr_destroy(&attr);
  return rc;
}

static int run(char **argv, double interrupt, FILE *out) {
  double begin = now(), wall;
  pid_t child;
  int status = 127 << 8, rc = start(argv, &child), early = 0;
  if (rc != 0) {
    fprintf(stderr, "measure: %s: %s\n", argv[0], strerror(rc));
  } else {
    if (interrupt >= 0 && !(early = ended_within(child, interrupt))) {
      begin = now();
      kill(child, SIGINT);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  }
  wall = early ? -1 : now() - begin;
  int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  struct rusage use;
  getrusage(RUSAGE_CHILDREN, &use);
  fprintf(out, "%.6f %.6f %.6f %ld %d\n", wall, seconds(use.ru_utime), seconds(use.ru_stime),
          use.ru_maxrss, code);
  return code;
}

int main(int argc, char **argv) {
  const char *file = NULL;
  double interrupt = -1;
  int opt;
  while ((opt = getopt(argc, argv, "+o:i:")) != -1) {
    if (opt == 'o') file = optarg;
    else if (opt == 'i') interrupt = strtod(optarg, NULL);
    else optind = argc;
  }
  if (optind >= argc) {
    fputs("usage: measure [-o FILE] [-i SECONDS] COMMAND [ARG...]\n", stderr);
    return 2;
  }
  FILE *out = file ? fopen(file, "we") : stderr;
  if (!out) {
    fprintf(stderr, "measure: %s: %s\n", file, strerror(errno));
    return 2;
  }
  sigset_t chld;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  sigprocmask(SIG_BLOCK, &chld, NULL);
  int code = run(argv + optind, interrupt, out);
  if (file && fclose(out) != 0) return 2;
  return code;
}
