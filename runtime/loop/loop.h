/* loop.h - the event loop, and lanes: threads that run tasks and hand them back.
 *
 * A task runs on a thread of its lane and is delivered on the loop's thread, where alone Lua lives.
 * The loop knows nothing of what a task does.
 *
 * Owner:  the caller owns loop and lanes; a lane is closed before its loop. A task belongs to who
 * made
 *         it; the lane borrows it from submit to deliver.
 * Thread: everything here is called on the loop's thread; only sd_task.run runs elsewhere.
 * Errors: 0 or a negative errno with *err filled. */
#ifndef SD_LOOP_LOOP_H
#define SD_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"

struct sd_loop;
struct sd_lane;

struct sd_task {
  void (*run)(struct sd_task *t, unsigned worker); /* on thread `worker` of the lane, from 0 */
  void (*deliver)(struct sd_task *t);              /* on the loop's thread; may free the task */
  struct sd_task *next;                            /* the lane's, then the loop's */
  struct sd_lane *lane;
};

int sd_loop_open(struct sd_loop **out, struct sd_err *err);
void sd_loop_close(struct sd_loop *l); /* accepts NULL */
uv_loop_t *sd_loop_uv(struct sd_loop *l);

/* Runs until sd_loop_stop(), or until nothing is left that could happen. */
void sd_loop_run(struct sd_loop *l);
void sd_loop_stop(struct sd_loop *l);

/* Calls fn(ud) from the loop's drain, soon: never from inside this call. */
void sd_loop_defer(struct sd_loop *l, void (*fn)(void *ud), void *ud);

struct sd_lane_opts {
  const char *name; /* of the threads, as ps(1) shows it; kept, not copied */
  unsigned threads; /* at least 1 */
  int nice;         /* so much nicer than the process, from 0 to 19; see setpriority(2) */
};

int sd_lane_open(struct sd_loop *l, const struct sd_lane_opts *opts, struct sd_lane **out,
                 struct sd_err *err);

/* Waits for running tasks; those that did not start are delivered without having run. Their
 * deliveries come before this returns. */
void sd_lane_close(struct sd_lane *lane); /* accepts NULL */

unsigned sd_lane_threads(const struct sd_lane *lane);
void sd_lane_submit(struct sd_lane *lane, struct sd_task *t);

/* Tasks that were submitted and not yet delivered. */
unsigned sd_lane_load(const struct sd_lane *lane);

#endif
