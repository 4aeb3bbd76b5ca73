/* queue.h - a deque whose changes are written with the commit that they belong to.
 *
 * Items are pushed and popped in memory. A popped item is leased: it stays in the checkpoint until
 * it is done. A commit takes the difference since the last one: items that are ready and still
 * wanted are inserted, items that are done and were written are deleted; an item that came and went
 * between two commits never reaches the disk. Items that lie deep and are on the disk may be
 * forgotten and read again later, so that memory does not follow the length of the queue.
 *
 * Owner:  the caller owns the queue; the queue owns its items and, through `free`, their objects.
 * Thread: one thread at a time.
 * Errors: 0 or -ENOMEM. */
#ifndef SD_ENGINE_QUEUE_H
#define SD_ENGINE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct sd_queue;

/* What an item carries. `encode` runs at commits only, `free` when the item ends. `pinned` (may be
 * NULL) says that the stored form does not hold all of it, so that it must not be forgotten. */
struct sd_queue_ops {
  int (*encode)(const void *obj, struct sd_buf *out);
  void (*free)(void *obj);
  bool (*pinned)(const void *obj);
};

struct sd_queue_item {
  struct sd_queue_item *prev, *next;             /* in the deque, or among the leases */
  struct sd_queue_item *dirty_prev, *dirty_next; /* what the next commit looks at */
  void *obj;
  int64_t seq;  /* place in the deque, and key on the disk */
  bool leased;  /* popped and not done */
  bool ready;   /* what it came from is committed, or will be with the next commit */
  bool done;    /* finished; to be deleted by the next commit */
  bool written; /* on the disk */
  bool dirty;   /* in the list of the next commit */
};

struct sd_queue *sd_queue_new(const struct sd_queue_ops *ops);
void sd_queue_free(struct sd_queue *q); /* accepts NULL */

/* Items that wait, in memory and on the disk. */
size_t sd_queue_len(const struct sd_queue *q);
size_t sd_queue_leased(const struct sd_queue *q);

/* Takes over `obj`. Not ready: kept out of commits until sd_queue_ready(). NULL when memory is out;
 * `obj` is then still the caller's. */
struct sd_queue_item *sd_queue_push_back(struct sd_queue *q, void *obj, bool ready);
struct sd_queue_item *sd_queue_push_front(struct sd_queue *q, void *obj, bool ready);

/* The next item, leased; NULL when there is none in memory (see sd_queue_wants_back). */
struct sd_queue_item *sd_queue_pop_back(struct sd_queue *q);
struct sd_queue_item *sd_queue_pop_front(struct sd_queue *q);
struct sd_queue_item *sd_queue_back(const struct sd_queue *q); /* a look, no lease */
struct sd_queue_item *sd_queue_front(const struct sd_queue *q);
struct sd_queue_item *sd_queue_first(const struct sd_queue *q); /* in memory; go on with ->next */
struct sd_queue_item *sd_queue_find_lease(const struct sd_queue *q, int64_t seq);

void sd_queue_return(struct sd_queue *q, struct sd_queue_item *item); /* back to its place */
void sd_queue_ready(struct sd_queue *q, struct sd_queue_item *item);
void sd_queue_done(struct sd_queue *q, struct sd_queue_item *item); /* the item may end here */
void sd_queue_drop(struct sd_queue *q,
                   struct sd_queue_item *item); /* waits; popped and done at once */

/* ---- commits ---- */

/* One change of the stored queue. payload.data NULL: delete. */
struct sd_queue_change {
  int64_t seq;
  uint8_t *payload;
  size_t payload_len;
};

struct sd_queue_delta {
  struct sd_queue_change *changes;
  size_t changes_len, changes_cap;
};

/* Takes what changed since the last call. The caller writes it, in one transaction with everything
 * that it belongs to; when that fails, the queue is no longer the one on the disk and must be
 * given up together with its job. */
int sd_queue_take(struct sd_queue *q, struct sd_queue_delta *out);
void sd_queue_delta_fini(struct sd_queue_delta *d);

/* ---- items on the disk only: all of them lie before those in memory ---- */

/* Forgets written items at the front beyond the `keep` nearest to the back. Those before the first
 * that can be forgotten stay. Not while a commit that took from this queue is under way. */
void sd_queue_evict(struct sd_queue *q, size_t keep);

/* Says that the `n` items from seq `from` to below `below` are on the disk (a job is resumed). */
void sd_queue_on_disk(struct sd_queue *q, size_t n, int64_t from, int64_t below);

/* Popping at the back: whether the items with the greatest seq below *below must be read first. */
bool sd_queue_wants_back(const struct sd_queue *q, int64_t *below);
int sd_queue_restore(struct sd_queue *q, int64_t seq, void *obj); /* from the greatest seq down */

/* Popping at the front: whether the item with the smallest seq from *from on must be read instead.
 * It comes in leased; NULL when memory is out. */
bool sd_queue_wants_front(const struct sd_queue *q, int64_t *from);
struct sd_queue_item *sd_queue_restore_leased(struct sd_queue *q, int64_t seq, void *obj);

#endif
