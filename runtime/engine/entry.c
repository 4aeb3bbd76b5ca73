#include "engine/entry.h"

#include <endian.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include "base/clock.h"

static uint8_t kind_of(unsigned mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return SD_KIND_FILE;
    case S_IFDIR: return SD_KIND_DIRECTORY;
    case S_IFLNK: return SD_KIND_SYMLINK;
    case S_IFIFO: return SD_KIND_FIFO;
    case S_IFSOCK: return SD_KIND_SOCKET;
    case S_IFCHR: return SD_KIND_CHAR;
    case S_IFBLK: return SD_KIND_BLOCK;
    default: return SD_KIND_UNKNOWN;
  }
}

void sd_stat_from_statx(struct sd_stat *st, const struct statx *stx) {
  bool clamped = false;
  st->size = stx->stx_size > INT64_MAX ? INT64_MAX : (int64_t)stx->stx_size;
  st->allocated = stx->stx_blocks > INT64_MAX / 512 ? INT64_MAX : (int64_t)stx->stx_blocks * 512;
  st->mtime = sd_time_ns(stx->stx_mtime.tv_sec, stx->stx_mtime.tv_nsec, &clamped);
  st->ctime = sd_time_ns(stx->stx_ctime.tv_sec, stx->stx_ctime.tv_nsec, &clamped);
  st->btime = 0;
  st->flags = 0;
  if (stx->stx_mask & STATX_BTIME) {
    st->btime = sd_time_ns(stx->stx_btime.tv_sec, stx->stx_btime.tv_nsec, &clamped);
    st->flags |= SD_ENTRY_BTIME;
  }
  if (clamped) st->flags |= SD_ENTRY_CLAMPED;
  if (stx->stx_attributes & STATX_ATTR_MOUNT_ROOT) st->flags |= SD_ENTRY_MOUNT;
  st->dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
  st->ino = stx->stx_ino;
  st->mode = stx->stx_mode & 07777;
  st->uid = stx->stx_uid;
  st->gid = stx->stx_gid;
  st->nlink = stx->stx_nlink;
  st->kind = kind_of(stx->stx_mode);
}

/* Images of file systems are made with all times of birth 0. */
static bool has_birth(const struct sd_stat *st) {
  return (st->flags & SD_ENTRY_BTIME) && st->btime != 0;
}

bool sd_stat_same_file(const struct sd_stat *a, const struct sd_stat *b) {
  if (a->ino != b->ino || a->dev != b->dev || a->kind != b->kind) return false;
  if (has_birth(a) && has_birth(b)) return a->btime == b->btime;
  return a->size == b->size && a->mtime == b->mtime;
}

int64_t sd_stat_sig(const struct sd_stat *st) {
  const uint8_t stored = st->flags & (SD_ENTRY_CLAMPED | SD_ENTRY_BTIME);
  const uint64_t all[] = {
      htole64((uint64_t)st->size),
      htole64((uint64_t)st->allocated),
      htole64((uint64_t)st->mtime),
      htole64((uint64_t)st->ctime),
      htole64((uint64_t)st->btime),
      htole64(st->dev),
      htole64(st->ino),
      htole64((uint64_t)st->mode << 32 | st->nlink),
      htole64((uint64_t)st->uid << 32 | st->gid),
      htole64((uint64_t)st->kind << 8 | stored),
  };
  int64_t sig = (int64_t)XXH3_64bits(all, sizeof(all));
  return sig ? sig : 1;
}

void sd_stat_differences(const struct sd_stat *a, const struct sd_stat *b, char *out) {
  bool born_anew = has_birth(a) && has_birth(b) && a->btime != b->btime;
  const struct {
    bool differs;
    const char *name;
  } all[] = {{a->kind != b->kind, "kind"},
             {a->size != b->size, "size"},
             {a->mtime != b->mtime, "mtime"},
             {a->dev != b->dev, "device"},
             {a->ino != b->ino || born_anew, "inode"},
             {a->mode != b->mode, "mode"},
             {a->uid != b->uid || a->gid != b->gid, "owner"},
             {a->nlink != b->nlink, "links"},
             {a->allocated != b->allocated, "allocated"},
             {a->ctime != b->ctime, "ctime"}};
  *out = '\0';
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
    if (!all[i].differs) continue;
    if (*out) strcat(out, ", ");
    strcat(out, all[i].name);
  }
}

const char *sd_kind_name(uint8_t kind) {
  static const char *const names[] = {"unknown", "file", "directory", "symlink", "fifo",
                                      "socket",  "char", "block",     "unknown"};
  return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}

/* Sums wrap, and not only in theory: two sparse files may claim 2^63 bytes each, and a FUSE server
 * as many blocks as it likes. What is added and taken away again leaves what was there before. */
static int64_t sum(int64_t a, int64_t b) {
  return (int64_t)((uint64_t)a + (uint64_t)b);
}

void sd_totals_add(struct sd_totals *t, const struct sd_stat *st, int sign) {
  if (st->kind == SD_KIND_DIRECTORY) {
    t->dirs += sign;
  } else if (st->kind == SD_KIND_SYMLINK) {
    t->symlinks += sign;
  } else {
    t->files += sign;
    t->file_bytes = sum(t->file_bytes, sign * st->size);
  }
  t->bytes = sum(t->bytes, sign * st->size);
  t->allocated = sum(t->allocated, sign * st->allocated);
}

bool sd_totals_is_zero(const struct sd_totals *t) {
  return !(t->files | t->dirs | t->symlinks | t->file_bytes | t->bytes | t->allocated);
}

void sd_totals_merge(struct sd_totals *t, const struct sd_totals *more) {
  t->files += more->files;
  t->dirs += more->dirs;
  t->symlinks += more->symlinks;
  t->file_bytes = sum(t->file_bytes, more->file_bytes);
  t->bytes = sum(t->bytes, more->bytes);
  t->allocated = sum(t->allocated, more->allocated);
  t->excess_bytes = sum(t->excess_bytes, more->excess_bytes);
  t->excess_allocated = sum(t->excess_allocated, more->excess_allocated);
}

void sd_totals_take(struct sd_totals *t, const struct sd_totals *less) {
  const struct sd_totals minus = {.files = -less->files,
                                  .dirs = -less->dirs,
                                  .symlinks = -less->symlinks,
                                  .file_bytes = sum(~less->file_bytes, 1),
                                  .bytes = sum(~less->bytes, 1),
                                  .allocated = -less->allocated,
                                  .excess_bytes = sum(~less->excess_bytes, 1),
                                  .excess_allocated = sum(~less->excess_allocated, 1)};
  sd_totals_merge(t, &minus);
}

int sd_name_compare(const char *a, uint16_t a_len, bool a_text, const char *b, uint16_t b_len,
                    bool b_text) {
  if (a_text != b_text) return a_text ? -1 : 1;
  int c = memcmp(a, b, a_len < b_len ? a_len : b_len);
  return c ? c : (int)a_len - (int)b_len;
}
