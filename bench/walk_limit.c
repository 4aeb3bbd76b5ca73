/* walk_limit.c - the bare walk that the bench compares sdlua with.
 *
 * Reads a directory tree with getdents64, asks statx for every entry (the mask that an indexer
 * needs), and keeps nothing but three sums: the least work that any indexer of the tree has to do.
 * Directories are opened relative to their parent's descriptor, never by path. Each thread has its
 * own stack of directories still to read and hands the older half over when another thread is
 * idle, so that threads meet about as often as somebody runs dry.
 *
 * Owner:  a directory node is owned by the stack it lies on; while it is read, and until its last
 *         child has been opened, by its reference count.
 * Thread: THREADS workers; `struct pool` says which lock guards what.
 * Errors: an unreadable entry is counted, reported on stderr at the end, and makes the exit code
 *         1.
 *
 * Prints one line: entries=N dirs=N bytes=N seconds=S. The root is counted, as find does; bytes
 * are those of regular files, hard links each time. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DENTS_SIZE (64 * 1024)
#define STATX_WANT (STATX_BASIC_STATS | STATX_BTIME)
#define STATX_HOW  (AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT)
#define OPEN_HOW   (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)

/* A directory: waiting on a stack (fd < 0), then open while it and the opening of its children
 * last. */
struct dir {
  struct dir *parent; /* holds a reference while waiting; NULL for the root */
  atomic_uint refs;   /* the reader, plus one per waiting child */
  int fd;
  char name[];
};

struct stack {
  struct dir **at;
  size_t len;
  size_t cap;
};

/* What the threads share. */
struct pool {
  pthread_mutex_t lock; /* guards shared, done; never held during a system call of the walk */
  pthread_cond_t wake;  /* shared has grown, or done is set */
  struct stack shared;  /* handed-over directories; lock */
  int done;             /* lock */
  int threads;
  atomic_int idle; /* threads in pool_take; written under lock, read without as a hint */
};

struct worker {
  pthread_t thread;
  struct pool *pool;
  struct stack todo;
  char *dents;
  uint64_t entries, dirs, bytes, errors;
  int first_errno;
};

static void die(const char *what) {
  fprintf(stderr, "walk_limit: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void stack_push(struct stack *s, struct dir *d) {
  if (s->len == s->cap) {
    s->cap = s->cap ? s->cap * 2 : 256;
    s->at = realloc(s->at, s->cap * sizeof(struct dir *));
    if (!s->at) die("memory");
  }
  s->at[s->len++] = d;
}

/* Moves the n oldest of `from` to the top of `to`: they lie nearest to the root and have the most
 * below them. */
static void stack_move(struct stack *to, struct stack *from, size_t n) {
  for (size_t i = 0; i < n; i++) stack_push(to, from->at[i]);
  from->len -= n;
  memmove(from->at, from->at + n, from->len * sizeof(struct dir *));
}

static struct dir *dir_new(struct dir *parent, const char *name) {
  size_t len = strlen(name) + 1;
  struct dir *d = malloc(sizeof(*d) + len);
  if (!d) die("memory");
  d->parent = parent;
  atomic_init(&d->refs, 1);
  d->fd = -1;
  memcpy(d->name, name, len);
  if (parent) atomic_fetch_add_explicit(&parent->refs, 1, memory_order_relaxed);
  return d;
}

static void dir_unref(struct dir *d) {
  if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1) return;
  if (d->fd >= 0) close(d->fd);
  free(d);
}

static void count_error(struct worker *w) {
  if (!w->errors++) w->first_errno = errno;
}

static void visit(struct worker *w, struct dir *d, const struct dirent64 *e) {
  const char *n = e->d_name;
  struct statx st;
  if (n[0] == '.' && (!n[1] || (n[1] == '.' && !n[2]))) return;
  if (statx(d->fd, n, STATX_HOW, STATX_WANT, &st) != 0) {
    count_error(w);
    return;
  }
  w->entries++;
  if (S_ISREG(st.stx_mode)) w->bytes += st.stx_size;
  else if (S_ISDIR(st.stx_mode)) stack_push(&w->todo, dir_new(d, n));
}

/* Opens a waiting directory; its parent is no longer needed for it. */
static int dir_open(struct dir *d) {
  if (d->parent) d->fd = openat(d->parent->fd, d->name, OPEN_HOW | O_NOFOLLOW);
  else d->fd = open(d->name, OPEN_HOW);
  int en = errno;
  dir_unref(d->parent);
  d->parent = NULL;
  errno = en;
  return d->fd;
}

static void read_dir(struct worker *w, struct dir *d) {
  ssize_t n = -1;
  w->dirs++;
  if (dir_open(d) >= 0) {
    while ((n = getdents64(d->fd, w->dents, DENTS_SIZE)) > 0) {
      for (ssize_t at = 0; at < n;) {
        const struct dirent64 *e = (const void *)(w->dents + at);
        visit(w, d, e);
        at += e->d_reclen;
      }
    }
  }
  if (n < 0) count_error(w);
  dir_unref(d);
}

static void pool_give(struct pool *p, struct stack *todo) {
  pthread_mutex_lock(&p->lock);
  stack_move(&p->shared, todo, (todo->len + 1) / 2);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
}

/* Waits for handed-over work and takes a fair part of it; 0 when every thread waits, that is, at
 * the end. */
static int pool_take(struct pool *p, struct stack *todo) {
  pthread_mutex_lock(&p->lock);
  int idle = atomic_fetch_add_explicit(&p->idle, 1, memory_order_relaxed) + 1;
  if (idle == p->threads && !p->shared.len) {
    p->done = 1;
    pthread_cond_broadcast(&p->wake);
  }
  while (!p->shared.len && !p->done) pthread_cond_wait(&p->wake, &p->lock);
  idle = atomic_fetch_sub_explicit(&p->idle, 1, memory_order_relaxed);
  if (p->shared.len)
    stack_move(todo, &p->shared, (p->shared.len + (size_t)idle - 1) / (size_t)idle);
  pthread_mutex_unlock(&p->lock);
  return todo->len > 0;
}

static void *work(void *arg) {
  struct worker *w = arg;
  while (w->todo.len || pool_take(w->pool, &w->todo)) {
    read_dir(w, w->todo.at[--w->todo.len]);
    if (w->todo.len > 1 && atomic_load_explicit(&w->pool->idle, memory_order_relaxed))
      pool_give(w->pool, &w->todo);
  }
  return NULL;
}

/* A tree whose every level has waiting siblings holds one descriptor per level. */
static void raise_fd_limit(void) {
  struct rlimit lim;
  if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
  }
}

/* Walks `root`; the sums of all workers end in workers[0]. */
static void walk(struct pool *p, struct worker *workers, const char *root) {
  stack_push(&workers[0].todo, dir_new(NULL, root));
  for (int i = 0; i < p->threads; i++) {
    workers[i].pool = p;
    workers[i].dents = malloc(DENTS_SIZE);
    if (!workers[i].dents) die("memory");
    if (i > 0 && (errno = pthread_create(&workers[i].thread, NULL, work, &workers[i])))
      die("thread");
  }
  work(&workers[0]);
  for (int i = 0; i < p->threads; i++) {
    struct worker *w = &workers[i];
    if (i > 0) {
      pthread_join(w->thread, NULL);
      workers[0].entries += w->entries;
      workers[0].dirs += w->dirs;
      workers[0].bytes += w->bytes;
      workers[0].errors += w->errors;
      if (!workers[0].first_errno) workers[0].first_errno = w->first_errno;
    }
    free(w->dents);
    free(w->todo.at);
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  long threads = sysconf(_SC_NPROCESSORS_ONLN);
  int opt;
  while ((opt = getopt(argc, argv, "t:")) != -1)
    threads = opt == 't' ? strtol(optarg, NULL, 10) : 0;
  if (argc - optind != 1 || threads < 1 || threads > 1024) {
    fputs("usage: walk_limit [-t THREADS] DIR\n", stderr);
    return 2;
  }
  struct stat st;
  if (stat(argv[optind], &st) != 0 || (!S_ISDIR(st.st_mode) && (errno = ENOTDIR)))
    die(argv[optind]);
  raise_fd_limit();
  struct worker *workers = calloc((size_t)threads, sizeof(*workers));
  if (!workers) die("memory");
  struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
  pool.threads = (int)threads;
  double start = now();
  workers[0].entries = 1; /* the root */
  walk(&pool, workers, argv[optind]);
  double seconds = now() - start;
  struct worker sum = workers[0];
  free(pool.shared.at);
  free(workers);
  printf("entries=%ju dirs=%ju bytes=%ju seconds=%.6f\n", (uintmax_t)sum.entries,
         (uintmax_t)sum.dirs, (uintmax_t)sum.bytes, seconds);
  if (sum.errors)
    fprintf(stderr, "walk_limit: %ju errors, the first: %s\n", (uintmax_t)sum.errors,
            strerror(sum.first_errno));
  return sum.errors ? 1 : 0;
}
