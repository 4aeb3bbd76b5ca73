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
  struct sd_queue_item *leases;
  size_t away; /* waiting on the disk only: from away_from to below away_below */
  int64_t away_from, away_below;
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

static void free_list(struct sd_queue *q, struct sd_queue_item *i) {
  while (i) {
    struct sd_queue_item *next = i->next;
    dirty_remove(q, i);
    item_free(q, i);
    i = next;
  }
}

void sd_queue_free(struct sd_queue *q) {
  if (!q) return;
  free_list(q, q->front);
  free_list(q, q->leases);
  for (struct sd_queue_item *i = q->dirty, *next; i; i = next) { /* done, not yet taken */
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

/* Before `at`; at the front where `at` is the front. */
static void link_before(struct sd_queue *q, struct sd_queue_item *i, struct sd_queue_item *at) {
  i->next = at;
  i->prev = at->prev;
  if (at->prev) at->prev->next = i;
  else q->front = i;
  at->prev = i;
  q->len++;
}

static void link_front(struct sd_queue *q, struct sd_queue_item *i) {
  if (q->front) link_before(q, i, q->front);
  else link_back(q, i);
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

static void lease(struct sd_queue *q, struct sd_queue_item *i) {
  i->leased = true;
  i->prev = NULL;
  i->next = q->leases;
  if (q->leases) q->leases->prev = i;
  q->leases = i;
  q->leased++;
}

static void end_lease(struct sd_queue *q, struct sd_queue_item *i) {
  sd_assert(i->leased);
  i->leased = false;
  if (i->prev) i->prev->next = i->next;
  else q->leases = i->next;
  if (i->next) i->next->prev = i->prev;
  i->prev = i->next = NULL;
  q->leased--;
}

static struct sd_queue_item *pop(struct sd_queue *q, struct sd_queue_item *i) {
  if (!i) return NULL;
  unlink_item(q, i);
  lease(q, i);
  return i;
}

struct sd_queue_item *sd_queue_pop_back(struct sd_queue *q) {
  return pop(q, sd_queue_back(q));
}

struct sd_queue_item *sd_queue_pop_front(struct sd_queue *q) {
  return pop(q, sd_queue_front(q));
}

/* What was leased when others went away, or was pushed at the front since, lies before them. */
struct sd_queue_item *sd_queue_back(const struct sd_queue *q) {
  return q->away && q->back && q->back->seq < q->away_from ? NULL : q->back;
}

struct sd_queue_item *sd_queue_front(const struct sd_queue *q) {
  return q->away && q->front && q->front->seq >= q->away_from ? NULL : q->front;
}

struct sd_queue_item *sd_queue_first(const struct sd_queue *q) {
  return q->front;
}

struct sd_queue_item *sd_queue_find_lease(const struct sd_queue *q, int64_t seq) {
  struct sd_queue_item *i = q->leases;
  while (i && i->seq != seq) i = i->next;
  return i;
}

/* The deque stays in the order of seq. */
static void link_in_place(struct sd_queue *q, struct sd_queue_item *i) {
  struct sd_queue_item *at = q->back;
  while (at && at->seq > i->seq) at = at->prev;
  if (!at) link_front(q, i);
  else if (at->next) link_before(q, i, at->next);
  else link_back(q, i);
}

void sd_queue_return(struct sd_queue *q, struct sd_queue_item *i) {
  end_lease(q, i);
  link_in_place(q, i);
}

void sd_queue_ready(struct sd_queue *q, struct sd_queue_item *i) {
  i->ready = true;
  if (!i->written) dirty_add(q, i);
}

void sd_queue_done(struct sd_queue *q, struct sd_queue_item *i) {
  sd_assert(!i->done);
  end_lease(q, i);
  if (i->written) {
    i->done = true;
    dirty_add(q, i);
  } else {
    dirty_remove(q, i);
    item_free(q, i);
  }
}

void sd_queue_drop(struct sd_queue *q, struct sd_queue_item *i) {
  sd_queue_done(q, pop(q, i));
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

/* The first seq from `from` on whose row on the disk is not an item that waits: it is leased, or
 * will be deleted by the next commit. */
static int64_t first_taken(const struct sd_queue *q, int64_t from) {
  int64_t low = INT64_MAX;
  for (const struct sd_queue_item *i = q->leases; i; i = i->next)
    if (i->seq >= from && i->seq < low) low = i->seq;
  for (const struct sd_queue_item *i = q->dirty; i; i = i->dirty_next)
    if (i->done && i->seq >= from && i->seq < low) low = i->seq;
  return low;
}

static bool may_leave(const struct sd_queue *q, const struct sd_queue_item *i) {
  return i->written && !i->dirty && !(q->ops.pinned && q->ops.pinned(i->obj));
}

/* What is away is one range of seq: nothing joins it from before, nor from behind a gap. */
static struct sd_queue_item *first_to_leave(const struct sd_queue *q) {
  struct sd_queue_item *i = q->front;
  while (i && (q->away ? i->seq < q->away_below : !may_leave(q, i))) i = i->next;
  return i;
}

void sd_queue_evict(struct sd_queue *q, size_t keep) {
  struct sd_queue_item *i = q->len > keep ? first_to_leave(q) : NULL;
  if (!i) return;
  int64_t low = first_taken(q, q->away ? q->away_below : i->seq);
  for (struct sd_queue_item *next; i && q->len > keep && i->seq < low && may_leave(q, i);
       i = next) {
    next = i->next;
    unlink_item(q, i);
    if (!q->away++) q->away_from = i->seq;
    q->away_below = i->seq + 1;
    item_free(q, i);
  }
}

void sd_queue_on_disk(struct sd_queue *q, size_t n, int64_t from, int64_t below) {
  q->away = n;
  q->away_from = from;
  q->away_below = below;
  if (below > q->next_back) q->next_back = below;
  if (from <= q->next_front) q->next_front = from - 1;
}

bool sd_queue_wants_back(const struct sd_queue *q, int64_t *below) {
  *below = q->away_below;
  return q->away && !sd_queue_back(q);
}

bool sd_queue_wants_front(const struct sd_queue *q, int64_t *from) {
  *from = q->away_from;
  return q->away && !sd_queue_front(q);
}

static struct sd_queue_item *restored(struct sd_queue *q, int64_t seq, void *obj) {
  struct sd_queue_item *i = calloc(1, sizeof(*i));
  if (!i) return NULL;
  i->obj = obj;
  i->seq = seq;
  i->ready = i->written = true;
  q->away--;
  return i;
}

int sd_queue_restore(struct sd_queue *q, int64_t seq, void *obj) {
  if (!q->away || seq < q->away_from) { /* a row before those that wait: leased, or done */
    if (q->ops.free) q->ops.free(obj);
    return 0;
  }
  struct sd_queue_item *i = restored(q, seq, obj);
  if (!i) return -ENOMEM;
  link_in_place(q, i);
  q->away_below = seq;
  return 0;
}

struct sd_queue_item *sd_queue_restore_leased(struct sd_queue *q, int64_t seq, void *obj) {
  struct sd_queue_item *i = restored(q, seq, obj);
  if (!i) return NULL;
  lease(q, i);
  q->away_from = seq + 1;
  return i;
}
