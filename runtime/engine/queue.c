#include "engine/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"

struct sd_queue {
  struct sd_queue_ops ops;
  struct sd_queue_item *front, *back;
  struct sd_queue_item *dirty; /* head of the list for the next commit */
  size_t len;                  /* waiting in memory */
  size_t leased;
  size_t away; /* waiting on the disk only: all below `away_below` */
  int64_t away_below;
  int64_t next_front, next_back; /* the next seq at either end */
};

struct sd_queue *sd_queue_new(const struct sd_queue_ops *ops) {
  struct sd_queue *q = calloc(1, sizeof(*q));
  if (!q) return NULL;
  q->ops = *ops;
  q->next_front = -1;
  return q;
}

static void item_free(struct sd_queue *q, struct sd_queue_item *i) {
  if (i->obj && q->ops.free) q->ops.free(i->obj);
  free(i);
}

static void dirty_remove(struct sd_queue *q, struct sd_queue_item *i) {
  if (!i->dirty) return;
  if (i->dirty_prev) i->dirty_prev->dirty_next = i->dirty_next;
  else q->dirty = i->dirty_next;
  if (i->dirty_next) i->dirty_next->dirty_prev = i->dirty_prev;
  i->dirty = false;
}

static void dirty_add(struct sd_queue *q, struct sd_queue_item *i) {
  if (i->dirty) return;
  i->dirty = true;
  i->dirty_prev = NULL;
  i->dirty_next = q->dirty;
  if (q->dirty) q->dirty->dirty_prev = i;
  q->dirty = i;
}

void sd_queue_free(struct sd_queue *q) {
  if (!q) return;
  for (struct sd_queue_item *i = q->front, *next; i; i = next) {
    next = i->next;
    dirty_remove(q, i);
    item_free(q, i);
  }
  for (struct sd_queue_item *i = q->dirty, *next; i; i = next) { /* leased or done */
    next = i->dirty_next;
    item_free(q, i);
  }
  free(q);
}

size_t sd_queue_len(const struct sd_queue *q) {
  return q->len + q->away;
}

size_t sd_queue_leased(const struct sd_queue *q) {
  return q->leased;
}

/* ---- the deque ---- */

static void link_back(struct sd_queue *q, struct sd_queue_item *i) {
  i->prev = q->back;
  i->next = NULL;
  if (q->back) q->back->next = i;
  else q->front = i;
  q->back = i;
  q->len++;
}

static void link_front(struct sd_queue *q, struct sd_queue_item *i) {
  i->next = q->front;
  i->prev = NULL;
  if (q->front) q->front->prev = i;
  else q->back = i;
  q->front = i;
  q->len++;
}

static void unlink_item(struct sd_queue *q, struct sd_queue_item *i) {
  if (i->prev) i->prev->next = i->next;
  else q->front = i->next;
  if (i->next) i->next->prev = i->prev;
  else q->back = i->prev;
  i->prev = i->next = NULL;
  q->len--;
}

static struct sd_queue_item *new_item(struct sd_queue *q, void *obj, int64_t seq, bool ready) {
  struct sd_queue_item *i = calloc(1, sizeof(*i));
  if (!i) return NULL;
  i->obj = obj;
  i->seq = seq;
  i->ready = ready;
  dirty_add(q, i);
  return i;
}

struct sd_queue_item *sd_queue_push_back(struct sd_queue *q, void *obj, bool ready) {
  struct sd_queue_item *i = new_item(q, obj, q->next_back, ready);
  if (!i) return NULL;
  q->next_back++;
  link_back(q, i);
  return i;
}

struct sd_queue_item *sd_queue_push_front(struct sd_queue *q, void *obj, bool ready) {
  struct sd_queue_item *i = new_item(q, obj, q->next_front, ready);
  if (!i) return NULL;
  q->next_front--;
  link_front(q, i);
  return i;
}

static struct sd_queue_item *lease(struct sd_queue *q, struct sd_queue_item *i) {
  if (!i) return NULL;
  unlink_item(q, i);
  i->leased = true;
  q->leased++;
  return i;
}

struct sd_queue_item *sd_queue_pop_back(struct sd_queue *q) {
  return lease(q, q->back);
}

struct sd_queue_item *sd_queue_pop_front(struct sd_queue *q) {
  return q->away ? NULL : lease(q, q->front);
}

struct sd_queue_item *sd_queue_back(const struct sd_queue *q) {
  return q->back;
}

struct sd_queue_item *sd_queue_front(const struct sd_queue *q) {
  return q->away ? NULL : q->front;
}

void sd_queue_return(struct sd_queue *q, struct sd_queue_item *i) {
  sd_assert(i->leased);
  i->leased = false;
  q->leased--;
  link_back(q, i);
}

void sd_queue_ready(struct sd_queue *q, struct sd_queue_item *i) {
  i->ready = true;
  if (!i->written) dirty_add(q, i);
}

void sd_queue_done(struct sd_queue *q, struct sd_queue_item *i) {
  sd_assert(i->leased && !i->done);
  q->leased--;
  i->leased = false;
  if (i->written) {
    i->done = true;
    dirty_add(q, i);
  } else {
    dirty_remove(q, i);
    item_free(q, i);
  }
}

/* ---- commits ---- */

static int add_change(struct sd_queue *q, struct sd_queue_delta *d, struct sd_queue_item *i) {
  struct sd_buf buf = SD_BUF_INIT;
  if (!SD_ARRAY_ROOM(d, changes)) return -ENOMEM;
  if (!i->done && (q->ops.encode(i->obj, &buf) || sd_buf_reserve(&buf, 1))) {
    sd_buf_fini(&buf);
    return -ENOMEM;
  }
  d->changes[d->changes_len++] =
      (struct sd_queue_change){.seq = i->seq, .payload = buf.data, .payload_len = buf.len};
  return 0;
}

int sd_queue_take(struct sd_queue *q, struct sd_queue_delta *d) {
  for (struct sd_queue_item *i = q->dirty, *next; i; i = next) {
    next = i->dirty_next;
    if (!i->done && !i->ready) continue; /* what it came from is not committed */
    int rc = add_change(q, d, i);
    if (rc) return rc;
    dirty_remove(q, i);
    if (i->done) item_free(q, i);
    else i->written = true;
  }
  return 0;
}

void sd_queue_delta_fini(struct sd_queue_delta *d) {
  for (size_t i = 0; i < d->changes_len; i++) free(d->changes[i].payload);
  free(d->changes);
  memset(d, 0, sizeof(*d));
}

/* ---- items on the disk only ---- */

void sd_queue_evict(struct sd_queue *q, size_t keep) {
  while (q->len > keep && q->front->written && !q->front->dirty) {
    struct sd_queue_item *i = q->front;
    unlink_item(q, i);
    q->away++;
    q->away_below = i->seq + 1;
    item_free(q, i);
  }
}

bool sd_queue_wanted(const struct sd_queue *q, int64_t *below) {
  *below = q->away_below;
  return q->away && !q->len;
}

void sd_queue_on_disk(struct sd_queue *q, size_t n, int64_t below) {
  q->away = n;
  q->away_below = below;
  if (below > q->next_back) q->next_back = below;
}

int sd_queue_restore(struct sd_queue *q, int64_t seq, void *obj) {
  struct sd_queue_item *i = calloc(1, sizeof(*i));
  if (!i) return -ENOMEM;
  i->obj = obj;
  i->seq = seq;
  i->ready = i->written = true;
  link_front(q, i);
  q->away--;
  q->away_below = seq;
  return 0;
}
