#include "base/clock.h"

#include <time.h>

static int64_t read_clock(clockid_t id) {
  struct timespec ts;
  clock_gettime(id, &ts);
  return (int64_t)ts.tv_sec * SD_NS_PER_S + ts.tv_nsec;
}

int64_t sd_clock_wall(void) {
  return read_clock(CLOCK_REALTIME);
}

int64_t sd_clock_mono(void) {
  return read_clock(CLOCK_MONOTONIC);
}

int64_t sd_clock_thread(void) {
  return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

int64_t sd_clock_process(void) {
  return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t sd_time_ns(int64_t sec, uint32_t nsec, bool *clamped) {
  int64_t ns, rest = nsec;
  bool before = sec < 0; /* from the second above: the first second of all does not fit by itself */
  if (before) rest -= SD_NS_PER_S;
  if (!__builtin_mul_overflow(sec + before, (int64_t)SD_NS_PER_S, &ns) &&
      !__builtin_add_overflow(ns, rest, &ns))
    return ns;
  *clamped = true;
  return sec < 0 ? INT64_MIN : INT64_MAX;
}
