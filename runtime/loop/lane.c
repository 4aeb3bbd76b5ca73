#include "loop/lane.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

struct worker {
  struct sd_lane *lane;
  uv_thread_t thread;
  unsigned index;
};

struct sd_lane {
  struct sd_loop *loop;
  struct sd_lane_opts opts;
  struct worker *workers;
  unsigned threads;
  unsigned load;               /* submitted, not delivered; the loop's thread only */
  uv_mutex_t lock;             /* guards head, tail, closing; never held while a task runs */
  uv_cond_t more;              /* a task was submitted, or the lane closes */
  struct sd_task *head, *tail; /* submitted, not started; lock */
  bool closing;                /* lock */
};

/* The next task; NULL when the lane closes. */
static struct sd_task *next_task(struct sd_lane *lane) {
  uv_mutex_lock(&lane->lock);
  while (!lane->head && !lane->closing) uv_cond_wait(&lane->more, &lane->lock);
  struct sd_task *t = lane->closing ? NULL : lane->head;
  if (t) {
    lane->head = t->next;
    if (!lane->head) lane->tail = NULL;
  }
  uv_mutex_unlock(&lane->lock);
  return t;
}

static void work(void *arg) {
  struct worker *w = arg;
  struct sd_task *t;
  char name[16]; /* what ps(1) and perf show; Linux keeps 15 bytes */
  snprintf(name, sizeof(name), "%s/%u", w->lane->opts.name, w->index);
  pthread_setname_np(pthread_self(), name);
  /* Linux: of this thread. Whoever was called with nice(1) stays at least as nice. */
  setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + w->lane->opts.nice);
  while ((t = next_task(w->lane))) {
    t->run(t, w->index);
    sd_loop_finished(w->lane->loop, t);
  }
}

/* pthread_create(3) says EAGAIN both where there may be no more threads and where there is no
 * memory for a stack. */
static int why_no_thread(int rc) {
  pthread_attr_t attr;
  size_t size = 0;
  if (rc != UV_EAGAIN || pthread_getattr_default_np(&attr) != 0) return rc;
  pthread_attr_getstacksize(&attr, &size);
  pthread_attr_destroy(&attr);
  void *stack = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return UV_ENOMEM;
  munmap(stack, size);
  return rc;
}

int sd_lane_open(struct sd_loop *l, const struct sd_lane_opts *opts, struct sd_lane **out,
                 struct sd_err *err) {
  struct sd_lane *lane = calloc(1, sizeof(*lane));
  if (!lane || !(lane->workers = calloc(opts->threads, sizeof(*lane->workers)))) {
    free(lane);
    return sd_err_nomem(err);
  }
  lane->loop = l;
  lane->opts = *opts;
  uv_mutex_init(&lane->lock);
  uv_cond_init(&lane->more);
  for (unsigned i = 0; i < opts->threads; i++) {
    lane->workers[i] = (struct worker){.lane = lane, .index = i};
    int rc = uv_thread_create(&lane->workers[i].thread, work, &lane->workers[i]);
    if (rc) {
      rc = why_no_thread(rc);
      sd_lane_close(lane);
      return sd_err_set(err, rc, "start a thread of lane %s: %s", opts->name, sd_err_text(rc));
    }
    lane->threads++;
  }
  *out = lane;
  return 0;
}

void sd_lane_close(struct sd_lane *lane) {
  if (!lane) return;
  uv_mutex_lock(&lane->lock);
  lane->closing = true;
  struct sd_task *t = lane->head;
  lane->head = lane->tail = NULL;
  uv_cond_broadcast(&lane->more);
  uv_mutex_unlock(&lane->lock);
  for (unsigned i = 0; i < lane->threads; i++) uv_thread_join(&lane->workers[i].thread);
  while (t) {
    struct sd_task *next = t->next;
    sd_loop_finished(lane->loop, t);
    t = next;
  }
  sd_loop_drain(lane->loop, lane);
  uv_cond_destroy(&lane->more);
  uv_mutex_destroy(&lane->lock);
  free(lane->workers);
  free(lane);
}

unsigned sd_lane_threads(const struct sd_lane *lane) {
  return lane->threads;
}

void sd_lane_submit(struct sd_lane *lane, struct sd_task *t) {
  t->next = NULL;
  t->lane = lane;
  lane->load++;
  sd_loop_hold(lane->loop);
  uv_mutex_lock(&lane->lock);
  if (lane->tail) lane->tail->next = t;
  else lane->head = t;
  lane->tail = t;
  uv_cond_signal(&lane->more);
  uv_mutex_unlock(&lane->lock);
}

void sd_lane_delivered(struct sd_lane *lane) {
  lane->load--;
  sd_loop_release(lane->loop);
}

unsigned sd_lane_load(const struct sd_lane *lane) {
  return lane->load;
}
