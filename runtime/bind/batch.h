/* batch.h - a batch of the walk in Lua's hands, and what becomes of its directories with it.
 *
 * The directories that a batch finished, and those that it found, change in the checkpoint with the
 * commit that holds the batch: lsd_found_settle() is called when that commit is put together.
 * Batches of one walk are settled in the order in which they came.
 *
 * Owner:  a struct lsd_found belongs to a userdata, a queue item, or a commit.
 * Thread: the loop's thread; a commit only reads ->batch.
 * Errors: misuse raises. */
#ifndef SD_BIND_BATCH_H
#define SD_BIND_BATCH_H

#include "bind/await.h"
#include "engine/batch.h"
#include "engine/queue.h"

#define LSD_BATCH "sd.batch"

struct lsd_queue;

struct lsd_found {
  struct sd_batch *batch;
  struct lsd_queue *dirs; /* where the directories went; NULL: from a checkpoint. Not owned: the
                                * queue outlives the walk */
  struct sd_queue_item **born; /* items for what it found */
  size_t born_len;
  uint64_t order; /* among the batches of the walk */
  bool settled;
};

struct lsd_found *lsd_found_new(struct sd_batch *b);
void lsd_found_free(struct lsd_found *f); /* accepts NULL */

/* 0, or -1 where an earlier batch is not settled yet. */
int lsd_found_settle(struct lsd_found *f);

/* Pushes a userdata that owns `f`. `from` (index, 0: none) is the queue that leased it to us as
 * item `seq`. */
void lsd_batch_push(lua_State *L, struct lsd_found *f, int from, int64_t seq);

/* Takes the batch out of the userdata at `i`, which is empty afterwards; raises where it is, or
 * where its lease has ended. The lease and its queue (NULL: none) come with it. */
struct lsd_found *lsd_batch_take(lua_State *L, int i, struct lsd_queue **queue,
                                 struct sd_queue_item **lease);

int luaopen_sd_batch(lua_State *L);

#endif
