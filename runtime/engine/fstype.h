/* fstype.h - kinds of file systems. Thread: any. Errors: none. */
#ifndef SD_ENGINE_FSTYPE_H
#define SD_ENGINE_FSTYPE_H

#include <stdbool.h>
#include <stdint.h>

enum sd_fs_class {
  SD_FS_LOCAL,    /* or one of which nothing is known */
  SD_FS_REMOTE,   /* the files are on another machine, or on the host of this one */
  SD_FS_SNAPSHOT, /* an older state of files that are elsewhere: read-only btrfs snapshots, ZFS,
                   * NILFS2, mounted backups */
};

/* Of what `fd` lies on. What FUSE and ZFS hide is asked in /proc/self/mountinfo. */
enum sd_fs_class sd_fs_class(int fd);

/* By the type, source and options of a line of mountinfo: "fuse.sshfs", "host:/home", "rw,…". */
enum sd_fs_class sd_fs_class_of(const char *type, const char *source, const char *options);

/* Whether `fd` lies on a pseudo file system (proc, sysfs, cgroup, …; statfs(2)). */
bool sd_fs_is_pseudo(int fd);

/* Whether the directory `fd` is one of its own ancestors up to the root of the walk, as bind mounts
 * can make it: 1, 0, or a code of sd_err_is_exhausted(). Climbs "..", so use it at mount points
 * only. */
int sd_fs_is_loop(int fd, uint64_t root_dev, uint64_t root_ino);

#endif
