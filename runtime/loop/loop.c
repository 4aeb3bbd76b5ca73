#include "loop/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop/lane.h"

struct deferred {
  struct deferred *next;
  void (*fn)(void *ud);
  void *ud;
};

struct sd_loop {
  uv_loop_t uv;
  /* An eventfd that tells of finished and deferred work. Not a uv_async_t: libuv's loop spins while
   * a sender is between two instructions of uv_async_send(), and ours may be preempted there. */
  uv_poll_t wake;
  int wake_fd;
  uv_mutex_t
      lock; /* guards done_head, done_tail; held for a few instructions; taken after a lane's */
  struct sd_task *done_head, *done_tail; /* lock */
  struct sd_task *out, *out_tail;        /* taken from there, to be delivered; the loop's thread */
  struct deferred *later, *later_tail;   /* the loop's thread only */
  unsigned holds; /* what will be delivered or called; the loop's thread only */
};

static void take_done(struct sd_loop *l) {
  uv_mutex_lock(&l->lock);
  if (l->done_head) {
    if (l->out) l->out_tail->next = l->done_head;
    else l->out = l->done_head;
    l->out_tail = l->done_tail;
  }
  l->done_head = l->done_tail = NULL;
  uv_mutex_unlock(&l->lock);
}

static void run_deferred(struct sd_loop *l) {
  struct deferred *d = l->later;
  l->later = l->later_tail = NULL;
  while (d) {
    struct deferred *next = d->next;
    sd_loop_release(l);
    d->fn(d->ud);
    free(d);
    d = next;
  }
}

/* The loop lives as long as something of ours can happen. */
void sd_loop_hold(struct sd_loop *l) {
  if (l->holds++ == 0) uv_ref((uv_handle_t *)&l->wake);
}

void sd_loop_release(struct sd_loop *l) {
  if (--l->holds == 0) uv_unref((uv_handle_t *)&l->wake);
}

static void ring(struct sd_loop *l) {
  const uint64_t one = 1;
  ssize_t n = write(l->wake_fd, &one, sizeof(one));
  sd_verify(n == sizeof(one) || errno == EAGAIN); /* EAGAIN: it rings already, 2^64 - 2 times */
}

static void deliver(struct sd_task *t) {
  sd_lane_delivered(t->lane);
  t->deliver(t);
}

/* The one place where finished work meets the loop's thread. A delivery may close a lane: what that
 * lane has left in `out` is then delivered from there. */
static void drain(struct sd_loop *l) {
  take_done(l);
  while (l->out) {
    struct sd_task *t = l->out;
    l->out = t->next;
    deliver(t);
  }
  run_deferred(l);
}

static void woken(uv_poll_t *wake, int status, int events) {
  struct sd_loop *l = wake->data;
  uint64_t rings;
  (void)status, (void)events;
  /* Before the work is taken: what comes later rings again. */
  if (read(l->wake_fd, &rings, sizeof(rings)) < 0) sd_verify(errno == EAGAIN || errno == EINTR);
  drain(l);
}

static void close_handle(uv_handle_t *h, void *ud) {
  (void)ud;
  if (!uv_is_closing(h)) uv_close(h, NULL);
}

static void close_uv(struct sd_loop *l) {
  uv_walk(&l->uv, close_handle, NULL);
  while (uv_run(&l->uv, UV_RUN_DEFAULT)) continue; /* a stop that was asked for ends the first */
  uv_loop_close(&l->uv);
}

int sd_loop_open(struct sd_loop **out, struct sd_err *err) {
  struct sd_loop *l = calloc(1, sizeof(*l));
  if (!l) return sd_err_nomem(err);
  int rc = 0;
  l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (l->wake_fd < 0) {
    rc = sd_err_os(err, "make an", "eventfd");
    free(l);
    return rc;
  }
  if ((rc = uv_loop_init(&l->uv))) goto fail;
  if ((rc = uv_poll_init(&l->uv, &l->wake, l->wake_fd))) goto fail_loop;
  l->wake.data = l;
  if ((rc = uv_poll_start(&l->wake, UV_READABLE, woken))) goto fail_loop;
  uv_unref((uv_handle_t *)&l->wake);
  uv_mutex_init(&l->lock);
  *out = l;
  return 0;
fail_loop:
  close_uv(l);
fail:
  close(l->wake_fd);
  free(l);
  return sd_err_set(err, rc, "event loop: %s", sd_err_text(rc));
}

void sd_loop_close(struct sd_loop *l) {
  if (!l) return;
  close_uv(l);
  while (l->later) {
    struct deferred *next = l->later->next;
    free(l->later);
    l->later = next;
  }
  close(l->wake_fd);
  uv_mutex_destroy(&l->lock);
  free(l);
}

uv_loop_t *sd_loop_uv(struct sd_loop *l) {
  return &l->uv;
}

void sd_loop_run(struct sd_loop *l) {
  uv_run(&l->uv, UV_RUN_DEFAULT);
}

void sd_loop_stop(struct sd_loop *l) {
  uv_stop(&l->uv);
}

void sd_loop_defer(struct sd_loop *l, void (*fn)(void *ud), void *ud) {
  struct deferred *d = malloc(sizeof(*d));
  sd_verify(d != NULL); /* a lost wake-up would hang the job for ever */
  *d = (struct deferred){.fn = fn, .ud = ud};
  if (l->later_tail && l->later) l->later_tail->next = d;
  else l->later = d;
  l->later_tail = d;
  sd_loop_hold(l);
  if (l->later == d) ring(l); /* else it rings already */
}

void sd_loop_finished(struct sd_loop *l, struct sd_task *t) {
  t->next = NULL;
  uv_mutex_lock(&l->lock);
  bool first = !l->done_head;
  if (l->done_tail) l->done_tail->next = t;
  else l->done_head = t;
  l->done_tail = t;
  uv_mutex_unlock(&l->lock);
  if (first) ring(l); /* else it rings already */
}

/* Nothing but what cannot wait, since whoever closes a lane is in the middle of something. */
void sd_loop_drain(struct sd_loop *l, const struct sd_lane *lane) {
  struct sd_task *mine = NULL, **mine_end = &mine, **out_end = &l->out;
  take_done(l);
  for (struct sd_task *t = l->out; t; t = t->next) {
    struct sd_task ***end = t->lane == lane ? &mine_end : &out_end;
    if (t->lane != lane) l->out_tail = t;
    **end = t;
    *end = &t->next;
  }
  *mine_end = *out_end = NULL;
  while (mine) {
    struct sd_task *t = mine;
    mine = t->next;
    deliver(t);
  }
}
