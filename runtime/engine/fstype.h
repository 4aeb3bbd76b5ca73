/* fstype.h - file systems that hold no files. Thread: any. Errors: none. */
#ifndef SD_ENGINE_FSTYPE_H
#define SD_ENGINE_FSTYPE_H

#include <stdbool.h>
#include <stdint.h>

/* Whether `fd` lies on a pseudo file system (proc, sysfs, cgroup, …; statfs(2)). */
bool sd_fs_is_pseudo(int fd);

/* Whether the directory `fd` is one of its own ancestors up to the root of the walk, as bind mounts
 * can make it. Climbs "..", so use it at mount points only. */
bool sd_fs_is_loop(int fd, uint64_t root_dev, uint64_t root_ino);

#endif
