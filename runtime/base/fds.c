#include "base/fds.h"

#include <fcntl.h>
#include <sys/resource.h>

int sd_fds_left(void) {
  struct rlimit lim;
  int left = 0;
  if (getrlimit(RLIMIT_NOFILE, &lim) != 0) return SD_FDS_MANY;
  /* Not from /proc/self/fd: that takes one, and may not be there. */
  for (int fd = 0; (rlim_t)fd < lim.rlim_cur && left < SD_FDS_MANY; fd++)
    if (fcntl(fd, F_GETFD) < 0) left++;
  return left;
}
