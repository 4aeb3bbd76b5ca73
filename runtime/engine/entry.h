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
  SD_ENTRY_MOUNT = 4,   /* the root of a mount, as statx tells; not stored */
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
  uint64_t dev, ino;
  uint32_t mode; /* permission bits, 07777 */
  uint32_t uid, gid, nlink;
  uint8_t kind;  /* enum sd_kind */
  uint8_t flags; /* SD_ENTRY_* */
};

/* Counts of names below a directory, the directory itself not among them. As a difference, each may
 * be negative. */
struct sd_totals {
  int64_t files;      /* neither directory nor symlink */
  int64_t dirs;       /* directories */
  int64_t symlinks;   /* symlinks */
  int64_t file_bytes; /* size of the files */
  int64_t bytes;      /* size of everything */
  int64_t allocated;  /* bytes on the disk of everything */
};

struct sd_entry {
  int64_t id, parent_id;
  struct sd_stat st;
  const struct sd_stat *old; /* what the library has, in the arena; only with SD_CHANGE_UPDATE,
                                _CONTENT and _MOVE in the process that found it out */
  const char *name, *target;
  const char *from;    /* where it was, below the root; as `old`, with SD_CHANGE_MOVE only */
  uint32_t target_len; /* target is NULL where there is none */
  uint32_t from_len;
  uint16_t name_len;
  bool name_text; /* well-formed UTF-8: stored as TEXT, else as BLOB */
  bool target_text;
  uint8_t change; /* enum sd_change */
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

/* Column mode: the permission bits, and whether a time was clamped. */
enum { SD_STORED_CLAMPED = 65536 };
static inline int64_t sd_stat_stored_mode(const struct sd_stat *st) {
  return (int64_t)st->mode | (st->flags & SD_ENTRY_CLAMPED ? SD_STORED_CLAMPED : 0);
}

/* "file", "directory", … as the public views have it. */
const char *sd_kind_name(uint8_t kind);

/* Adds one entry to `t`, `sign` times (1 or -1). */
void sd_totals_add(struct sd_totals *t, const struct sd_stat *st, int sign);
void sd_totals_merge(struct sd_totals *t, const struct sd_totals *more);
void sd_totals_take(struct sd_totals *t, const struct sd_totals *less);

/* Names in the order of SQLite's index: text before blobs, then bytes. */
int sd_name_compare(const char *a, uint16_t a_len, bool a_text, const char *b, uint16_t b_len,
                    bool b_text);

#endif
