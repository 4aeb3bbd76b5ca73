#include "engine/fstype.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Not in linux/magic.h: values from statfs(2) and the kernel's sources. */
enum {
  CONFIGFS_MAGIC = 0x62656570,
  FUSECTL_MAGIC = 0x65735543,
  MQUEUE_MAGIC = 0x19800202,
  RPC_PIPEFS_MAGIC = 0x67596969,
};

bool sd_fs_is_pseudo(int fd) {
  static const unsigned long types[] = {
      PROC_SUPER_MAGIC, SYSFS_MAGIC,      DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,
      TRACEFS_MAGIC,    SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
      BPF_FS_MAGIC,     PSTOREFS_MAGIC,   EFIVARFS_MAGIC,     SELINUX_MAGIC,
      BINFMTFS_MAGIC,   HUGETLBFS_MAGIC,  NSFS_MAGIC,         AUTOFS_SUPER_MAGIC,
      CONFIGFS_MAGIC,   FUSECTL_MAGIC,    MQUEUE_MAGIC,       RPC_PIPEFS_MAGIC,
  };
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0) return false;
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
    if ((unsigned long)fs.f_type == types[i]) return true;
  return false;
}

bool sd_fs_is_loop(int fd, uint64_t root_dev, uint64_t root_ino) {
  struct stat self, here, above;
  if (fstat(fd, &self) != 0) return false;
  here = self;
  int at = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  bool loop = false;
  while (at >= 0 && !loop) {
    int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    close(at);
    at = up;
    if (up < 0 || fstat(up, &above) != 0) break;
    if (above.st_dev == here.st_dev && above.st_ino == here.st_ino) break; /* "/" */
    loop = above.st_dev == self.st_dev && above.st_ino == self.st_ino;
    if (above.st_dev == root_dev && above.st_ino == root_ino) break;
    here = above;
  }
  if (at >= 0) close(at);
  return loop;
}
