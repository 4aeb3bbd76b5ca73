/* lane.h - what loop.c and lane.c tell each other. Not for others. */
#ifndef SD_LOOP_LANE_H
#define SD_LOOP_LANE_H

#include "loop/loop.h"

void sd_lane_delivered(struct sd_lane *lane);                /* the loop's thread */
void sd_loop_finished(struct sd_loop *l, struct sd_task *t); /* any thread */
void sd_loop_drain(struct sd_loop *l,
                   const struct sd_lane *lane); /* the loop's thread: its tasks */
void sd_loop_hold(struct sd_loop *l);           /* the loop's thread */
void sd_loop_release(struct sd_loop *l);        /* the loop's thread */

#endif
