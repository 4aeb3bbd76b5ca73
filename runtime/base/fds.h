/* fds.h - how many file descriptors are left.
 * Owner:  none. Thread: any; a number that others may change at once. Errors: none. */
#ifndef SD_BASE_FDS_H
#define SD_BASE_FDS_H

/* How many descriptors the process may still open (RLIMIT_NOFILE), at most SD_FDS_MANY. Those that
 * are open already count, also what was inherited. */
enum { SD_FDS_MANY = 4096 };
int sd_fds_left(void);

#endif
