/* entry.h - what the index knows of one file, directory, link or special node.
 * Owner:  plain values; name and target point into the arena of the batch that holds the entry.
 * Thread: as the batch. Errors: none. */
#ifndef SD_ENGINE_ENTRY_H
#define SD_ENGINE_ENTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Frozen: these numbers are stored. */
enum sd_kind {
  SD_KIND_FILE = 1,
  SD_KIND_DIRECTORY = 2,
  SD_KIND_SYMLINK = 3,
  SD_KIND_FIFO = 4,
  SD_KIND_SOCKET = 5,
  SD_KIND_CHAR = 6,
  SD_KIND_BLOCK = 7,
  SD_KIND_UNKNOWN = 8,
};

enum {
  SD_ENTRY_CLAMPED = 1, /* a time did not fit 64-bit nanoseconds; stored */
  SD_ENTRY_BTIME = 2,   /* the file system says when the entry was made; else btime is 0 */
  SD_ENTRY_MOUNT = 4,   /* the root of a mount, as statx tells; stored, and no difference */
  SD_ENTRY_RACY = 8,    /* hashed so soon after it was written that it may have been written again
                           without a trace; stored, of what the library has only */
};

/* What reconciling found out. */
enum sd_change {
  SD_CHANGE_NONE = 0,
  SD_CHANGE_INSERT = 1,
  SD_CHANGE_UPDATE = 2,  /* attributes differ, the bytes need no second look */
  SD_CHANGE_CONTENT = 3, /* the bytes may differ: what was known of them is dropped */
  SD_CHANGE_MOVE = 4,    /* a directory that the library has at another place */
};

struct sd_stat {
  int64_t size, allocated;     /* bytes */
  int64_t mtime, ctime, btime; /* ns since 1970 */
  uint64_t dev, ino;           /* dev: as stat(2) says, until it is compared: see device.h */
  uint32_t mode;               /* permission bits, 07777 */
  uint32_t uid, gid, nlink;
  uint8_t kind;  /* enum sd_kind */
  uint8_t flags; /* SD_ENTRY_* */
};

/* What tells one file from all others at one time. */
struct sd_file_id {
  uint64_t dev, ino;
};

/* Counts of names below a directory, the directory itself not among them. As a difference, each may
 * be negative. */
struct sd_totals {
  int64_t files;                          /* neither directory nor symlink */
  int64_t dirs;                           /* directories */
  int64_t symlinks;                       /* symlinks */
  int64_t file_bytes;                     /* size of the files */
  int64_t bytes;                          /* size of everything */
  int64_t allocated;                      /* bytes on the disk of everything */
  int64_t excess_bytes, excess_allocated; /* of these two, what hard links count too often: known to
                                             the store alone, see store_links.c */
};

struct sd_entry {
  int64_t id, parent_id;
  struct sd_stat st;
  const struct sd_stat *old; /* what the library has, in the arena; only with SD_CHANGE_UPDATE,
                                _CONTENT and _MOVE in the process that found it out */
  uint64_t st_dev;           /* as stat(2) says */
  const char *name, *target;
  const char *dir;     /* path of the directory it is in, below the root; where that is asked for */
  const char *from;    /* where it was, below the root; as `old`, with SD_CHANGE_MOVE only */
  uint32_t target_len; /* target is NULL where there is none */
  uint32_t from_len;
  uint16_t name_len;
  bool name_text; /* well-formed UTF-8: stored as TEXT, else as BLOB */
  bool target_text;
  uint8_t change; /* enum sd_change */
  bool again;     /* with SD_CHANGE_CONTENT: nothing differs, the bytes are to be looked at again */
  uint8_t uuid[16];
};

/* The statx mask that an entry is made from. */
#define SD_STATX_MASK (STATX_BASIC_STATS | STATX_BTIME)

void sd_stat_from_statx(struct sd_stat *st, const struct statx *stx);

/* Whether two looks at a device and an inode number have seen the same file, and not one that was
 * given the number of another. Times of birth decide where there are any; else what a rename leaves
 * as it is, size and mtime. */
bool sd_stat_same_file(const struct sd_stat *a, const struct sd_stat *b);

/* A fingerprint of all that is stored of `st` (XXH3, 64 bits): a rescan compares it instead of
 * thirteen columns. Stored, so frozen. Never 0. */
int64_t sd_stat_sig(const struct sd_stat *st);

/* Column mode: the permission bits, whether a time was clamped, whether it was hashed too soon,
 * whether it was the root of a mount when the row was written. */
enum { SD_STORED_CLAMPED = 65536, SD_STORED_RACY = 131072, SD_STORED_MOUNT = 262144 };
static inline int64_t sd_stat_stored_mode(const struct sd_stat *st) {
  return (int64_t)st->mode | (st->flags & SD_ENTRY_CLAMPED ? SD_STORED_CLAMPED : 0) |
         (st->flags & SD_ENTRY_MOUNT ? SD_STORED_MOUNT : 0);
}

/* What differs, in words ("size, mtime"), for who wants to know; at most SD_DIFFERENCES_MAX
 * bytes. */
enum { SD_DIFFERENCES_MAX = 128 };
void sd_stat_differences(const struct sd_stat *a, const struct sd_stat *b, char *out);

/* "file", "directory", … as the public views have it. */
const char *sd_kind_name(uint8_t kind);

/* Adds one entry to `t`, `sign` times (1 or -1). */
void sd_totals_add(struct sd_totals *t, const struct sd_stat *st, int sign);
void sd_totals_merge(struct sd_totals *t, const struct sd_totals *more);
bool sd_totals_is_zero(const struct sd_totals *t); /* apart from the excess */
void sd_totals_take(struct sd_totals *t, const struct sd_totals *less);

/* Names in the order of SQLite's index: text before blobs, then bytes. */
int sd_name_compare(const char *a, uint16_t a_len, bool a_text, const char *b, uint16_t b_len,
                    bool b_text);

#endif
