/* clock.h - times in signed 64-bit nanoseconds. Thread: any. Errors: none. */
#ifndef SD_BASE_CLOCK_H
#define SD_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum { SD_NS_PER_MS = 1000000, SD_NS_PER_S = 1000000000 };

int64_t sd_clock_wall(void);    /* since 1970 */
int64_t sd_clock_mono(void);    /* since an arbitrary start; for durations */
int64_t sd_clock_thread(void);  /* CPU time of the calling thread */
int64_t sd_clock_process(void); /* CPU time of all threads */

/* Seconds and nanoseconds as one number; a time that does not fit is clamped to the nearest that
 * does, and *clamped is set. */
int64_t sd_time_ns(int64_t sec, uint32_t nsec, bool *clamped);

#endif
