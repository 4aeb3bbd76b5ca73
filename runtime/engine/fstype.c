#include "engine/fstype.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"

/* Not in linux/magic.h: values from statfs(2) and the kernel's sources. */
enum {
  CONFIGFS_MAGIC = 0x62656570,
  FUSECTL_MAGIC = 0x65735543,
  MQUEUE_MAGIC = 0x19800202,
  RPC_PIPEFS_MAGIC = 0x67596969,
};

/* The same, of file systems on other machines; and of some that have to be asked further. */
#define ACFS_MAGIC      0x61636673ul
#define BEEGFS_MAGIC    0x19830326ul
#define GFS2_MAGIC      0x01161970ul
#define GPFS_MAGIC      0x47504653ul
#define LUSTRE_MAGIC    0x0bd00bd0ul
#define PANFS_MAGIC     0xaad7aaeaul
#define PRL_FS_MAGIC    0x7c7c6673ul
#define SNFS_MAGIC      0xbeefdeadul
#define VBOXSF_MAGIC    0x786f4256ul
#define VMHGFS_MAGIC    0xbacbacbcul
#define ZFS_SUPER_MAGIC 0x2fc12fc1ul

bool sd_fs_is_pseudo(int fd) {
  static const unsigned long types[] = {
      PROC_SUPER_MAGIC, SYSFS_MAGIC,      DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,
      TRACEFS_MAGIC,    SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
      BPF_FS_MAGIC,     PSTOREFS_MAGIC,   EFIVARFS_MAGIC,     SELINUX_MAGIC,
      BINFMTFS_MAGIC,   HUGETLBFS_MAGIC,  NSFS_MAGIC,         AUTOFS_SUPER_MAGIC,
      CONFIGFS_MAGIC,   FUSECTL_MAGIC,    MQUEUE_MAGIC,       RPC_PIPEFS_MAGIC,
  };
  struct statfs fs;
  if (TEMP_FAILURE_RETRY(fstatfs(fd, &fs)) != 0) return false;
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
    if ((unsigned long)fs.f_type == types[i]) return true;
  return false;
}

/* ---- remote and snapshot ---- */

static bool is_remote_type(unsigned long type) {
  static const unsigned long types[] = {
      NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, CEPH_SUPER_MAGIC,
      AFS_SUPER_MAGIC, AFS_FS_MAGIC,    CODA_SUPER_MAGIC, NCP_SUPER_MAGIC,  OCFS2_SUPER_MAGIC,
      ACFS_MAGIC,      BEEGFS_MAGIC,    GFS2_MAGIC,       GPFS_MAGIC,       LUSTRE_MAGIC,
      PANFS_MAGIC,     PRL_FS_MAGIC,    SNFS_MAGIC,       VBOXSF_MAGIC,     VMHGFS_MAGIC,
  };
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
    if (type == types[i]) return true;
  return false;
}

static bool is_one_of(const char *const *list, const char *name) {
  for (; *list; list++)
    if (strcmp(*list, name) == 0) return true;
  return false;
}

/* FUSE has one number for all: "fuse.TYPE", or "fuse" and the program as the source. */
static enum sd_fs_class class_of_fuse(const char *name) {
  static const char *const remote[] = {
      "afpfs",  "ceph-fuse",  "curlftpfs", "davfs",        "dropbox", "gcsfuse", "glusterfs",
      "goofys", "gvfsd-fuse", "httpfs",    "jmtpfs",       "juicefs", "moosefs", "onedriver",
      "rclone", "s3fs",       "sshfs",     "simple-mtpfs", NULL};
  static const char *const snapshot[] = {"borgfs", "bup", "kopia", "restic", NULL};
  if (is_one_of(remote, name)) return SD_FS_REMOTE;
  return is_one_of(snapshot, name) ? SD_FS_SNAPSHOT : SD_FS_LOCAL;
}

enum sd_fs_class sd_fs_class_of(const char *type, const char *source, const char *options) {
  if (strncmp(type, "fuse.", 5) == 0) return class_of_fuse(type + 5);
  if (strcmp(type, "fuse") == 0) return class_of_fuse(source);
  bool zfs = strcmp(type, "zfs") == 0 && strchr(source, '@');
  bool nilfs = strcmp(type, "nilfs2") == 0 && strstr(options, "cp=");
  return zfs || nilfs ? SD_FS_SNAPSHOT : SD_FS_LOCAL;
}

/* "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS] - TYPE SOURCE OPTIONS"; proc(5). */
static bool read_mount(char *line, unsigned major_nr, unsigned minor_nr, enum sd_fs_class *class) {
  unsigned ma, mi;
  char *rest = strstr(line, " - "), *save;
  if (!rest || sscanf(line, "%*u %*u %u:%u", &ma, &mi) != 2) return false;
  if (ma != major_nr || mi != minor_nr) return false;
  const char *type = strtok_r(rest + 3, " \n", &save), *source = strtok_r(NULL, " \n", &save);
  const char *options = strtok_r(NULL, " \n", &save);
  *class = sd_fs_class_of(type ? type : "", source ? source : "", options ? options : "");
  return true;
}

static enum sd_fs_class ask_mountinfo(int fd) {
  enum sd_fs_class class = SD_FS_LOCAL;
  struct stat st;
  char *line = NULL;
  size_t cap = 0;
  FILE *f = fstat(fd, &st) == 0 ? fopen("/proc/self/mountinfo", "re") : NULL;
  if (!f) return class;
  while (getline(&line, &cap, f) > 0)
    if (read_mount(line, major(st.st_dev), minor(st.st_dev), &class)) break;
  free(line);
  fclose(f);
  return class;
}

/* A subvolume that was made from another and cannot be written. A writable one may be what a
 * system was rolled back to. */
static bool is_btrfs_snapshot(int fd) {
  static const uint8_t none[BTRFS_UUID_SIZE];
  struct btrfs_ioctl_get_subvol_info_args info;
  uint64_t flags = 0;
  if (ioctl(fd, BTRFS_IOC_SUBVOL_GETFLAGS, &flags) != 0 || !(flags & BTRFS_SUBVOL_RDONLY))
    return false;
  return ioctl(fd, BTRFS_IOC_GET_SUBVOL_INFO, &info) == 0 &&
         memcmp(info.parent_uuid, none, sizeof(none)) != 0;
}

enum sd_fs_class sd_fs_class(int fd) {
  struct statfs fs;
  if (TEMP_FAILURE_RETRY(fstatfs(fd, &fs)) != 0) return SD_FS_LOCAL;
  unsigned long type = (unsigned long)fs.f_type & 0xffffffff; /* it is signed, and may be 32 bits */
  if (is_remote_type(type)) return SD_FS_REMOTE;
  if (type == BTRFS_SUPER_MAGIC) return is_btrfs_snapshot(fd) ? SD_FS_SNAPSHOT : SD_FS_LOCAL;
  bool hidden = type == FUSE_SUPER_MAGIC || type == ZFS_SUPER_MAGIC || type == NILFS_SUPER_MAGIC;
  return hidden ? ask_mountinfo(fd) : SD_FS_LOCAL;
}

int sd_fs_is_loop(int fd, uint64_t root_dev, uint64_t root_ino) {
  struct stat self, here, above;
  if (TEMP_FAILURE_RETRY(fstat(fd, &self)) != 0) return 0;
  here = self;
  int at = fcntl(fd, F_DUPFD_CLOEXEC, 0), failed = at < 0 ? -errno : 0;
  bool loop = false;
  while (at >= 0 && !loop) {
    int up = TEMP_FAILURE_RETRY(openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (up < 0) failed = -errno;
    close(at);
    at = up;
    if (up < 0 || TEMP_FAILURE_RETRY(fstat(up, &above)) != 0) break;
    if (above.st_dev == here.st_dev && above.st_ino == here.st_ino) break; /* "/" */
    loop = above.st_dev == self.st_dev && above.st_ino == self.st_ino;
    if (above.st_dev == root_dev && above.st_ino == root_ino) break;
    here = above;
  }
  if (at >= 0) close(at);
  if (sd_err_is_exhausted(failed)) return failed;
  return loop;
}
