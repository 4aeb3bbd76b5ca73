#include "loop/loop.h"

#include <stdlib.h>

#include "loop/lane.h"

struct deferred {
  struct deferred *next;
  void (*fn)(void *ud);
  void *ud;
};

struct sd_loop {
  uv_loop_t uv;
  uv_async_t wake; /* a lane has finished a task, or something was deferred */
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

/* The one place where finished work meets the loop's thread. A delivery may close a lane, and so
 * come here again: the inner call then delivers what is left, the outer one finds nothing. */
static void drain(uv_async_t *wake) {
  struct sd_loop *l = wake->data;
  take_done(l);
  while (l->out) {
    struct sd_task *t = l->out;
    l->out = t->next;
    sd_lane_delivered(t->lane);
    t->deliver(t);
  }
  run_deferred(l);
}

int sd_loop_open(struct sd_loop **out, struct sd_err *err) {
  struct sd_loop *l = calloc(1, sizeof(*l));
  if (!l) return sd_err_nomem(err);
  int rc = uv_loop_init(&l->uv);
  if (!rc) {
    rc = uv_async_init(&l->uv, &l->wake, drain);
    if (rc) uv_loop_close(&l->uv);
  }
  if (rc) {
    free(l);
    return sd_err_set(err, rc, "event loop: %s", uv_strerror(rc));
  }
  l->wake.data = l;
  uv_unref((uv_handle_t *)&l->wake);
  uv_mutex_init(&l->lock);
  *out = l;
  return 0;
}

static void close_handle(uv_handle_t *h, void *ud) {
  (void)ud;
  if (!uv_is_closing(h)) uv_close(h, NULL);
}

void sd_loop_close(struct sd_loop *l) {
  if (!l) return;
  uv_walk(&l->uv, close_handle, NULL);
  while (uv_run(&l->uv, UV_RUN_DEFAULT)) continue; /* a stop that was asked for ends the first */
  while (l->later) {
    struct deferred *next = l->later->next;
    free(l->later);
    l->later = next;
  }
  uv_loop_close(&l->uv);
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
  uv_async_send(&l->wake);
}

void sd_loop_finished(struct sd_loop *l, struct sd_task *t) {
  t->next = NULL;
  uv_mutex_lock(&l->lock);
  if (l->done_tail) l->done_tail->next = t;
  else l->done_head = t;
  l->done_tail = t;
  uv_mutex_unlock(&l->lock);
  uv_async_send(&l->wake);
}

void sd_loop_drain(struct sd_loop *l) {
  drain(&l->wake);
}
