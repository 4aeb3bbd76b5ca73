/* queue.h - a durable queue in Lua's hands: values, directories to walk, batches to write.
 * Owner:  the userdata. Thread: the loop's thread. Errors: misuse raises. */
#ifndef SD_BIND_QUEUE_H
#define SD_BIND_QUEUE_H

#include "bind/await.h"
#include "bind/batch.h"
#include "engine/queue.h"
#include "engine/walk.h"

#define LSD_QUEUE "sd.queue"
enum { LSD_QUEUE_NAME = 64 };

struct lsd_queue {
  struct sd_queue *q;
  char name[LSD_QUEUE_NAME];
  struct sd_walk *walk;  /* what directories from a checkpoint belong to; set by the walker */
  uint64_t next_order;   /* for the next batch of the walk */
  uint64_t next_settled; /* the batch that is to be settled next */
  bool settling;         /* batches that wait are part of the next commit */
};

/* Frozen: the first byte of a stored item. */
enum lsd_item_kind { LSD_ITEM_VALUE = 'V', LSD_ITEM_DIR = 'D', LSD_ITEM_BATCH = 'B' };

struct lsd_item {
  enum lsd_item_kind kind;
  union {
    struct sd_buf value;
    struct sd_dir *dir;
    struct lsd_found *found;
  };
};

struct lsd_queue *lsd_check_queue(lua_State *L, int i);

/* NULL where the value at `i` is not a queue. */
struct lsd_queue *lsd_test_queue(lua_State *L, int i);

/* A new item for `d` (the reference is taken over); -ENOMEM leaves it with the caller. */
int lsd_queue_push_dir(struct lsd_queue *q, struct sd_dir *d, bool ready,
                       struct sd_queue_item **out);

/* For the commit that is put together: settles what waits, where that was asked for. */
void lsd_queue_settle_waiting(struct lsd_queue *q);

int luaopen_sd_queue(lua_State *L);

#endif
