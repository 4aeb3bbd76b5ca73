/* batch.h - what one step of the walk found, on its way to the library.
 * Owner:  whoever took it; released with sd_batch_free(). Owns its strings and references.
 * Thread: one thread at a time.
 * Errors: 0 or -ENOMEM; a batch that could not take something is still valid. */
#ifndef SD_ENGINE_BATCH_H
#define SD_ENGINE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "engine/dir.h"
#include "engine/entry.h"
#include "engine/rules.h"

/* Frozen: these numbers are stored. */
enum sd_op {
  SD_OP_READ_DIR = 1,
  SD_OP_CREATE_ENTRY = 2,
  SD_OP_CONTENT_ID = 3,
  SD_OP_READ_RULES = 4, /* an ignore file */
};

/* "ReadDir", "CreateEntry", "ContentId", "ReadRules". */
const char *sd_op_name(uint8_t op);

/* Something that could not be read, or was left out on purpose. */
struct sd_note {
  const char *path; /* below the root */
  uint32_t path_len;
  uint8_t op; /* enum sd_op; 0 for what was left out */
  int code;   /* negative errno or SD_E*; 0 for what was left out */
  const char
      *reason; /* a message, or what left it out: "pseudo", "loop", "library", a mount rule */
};

/* A directory that is new in the library, with the piece of its path that is kept; see dir.h. */
struct sd_new_dir {
  int64_t id, anchor;
  const char *segment;
  uint32_t segment_len;
};

/* An entry that is not, or no longer, where the library has it: its place in the library. */
struct sd_gone {
  int64_t id, parent_id;
  const char *name;
  const char *dir; /* as sd_entry has it */
  uint16_t name_len;
  bool name_text;
  bool replaced; /* something else is there: it makes room before the batch is written */
};

/* Whether what the library has of a directory's content can be looked at. Frozen: stored. */
enum sd_unread {
  SD_READ = 0,
  SD_UNREADABLE = 1, /* it cannot be read, or not all of it */
  SD_UNMOUNTED = 2,  /* the file system that is in it is not there */
};

struct sd_readable {
  int64_t id;
  uint8_t unread; /* enum sd_unread */
};

/* A device whose number is now another one than the library has. */
struct sd_device {
  int64_t id;      /* in the library */
  uint64_t st_dev; /* as stat(2) says */
};

/* How the names directly in one directory changed. */
struct sd_dir_delta {
  int64_t id, parent_id; /* parent_id 0: ask the library */
  struct sd_totals delta;
  bool listed; /* read to its end for the first time */
};

struct sd_batch {
  struct sd_arena arena;
  struct sd_entry *entries; /* only what differs from the library */
  size_t entries_len, entries_cap;
  size_t inserted, moved;       /* of them, how many are new, and how many were elsewhere … */
  size_t again;                 /* … and how many do not differ at all: see sd_entry */
  int64_t new_files, new_bytes; /* … whose bytes the library does not know; no empty files */
  struct sd_new_dir *dirs;
  size_t dirs_len, dirs_cap;
  struct sd_dir_delta *deltas;
  size_t deltas_len, deltas_cap;
  struct sd_note *errors;
  size_t errors_len, errors_cap;
  struct sd_note *skips;
  size_t skips_len, skips_cap;
  struct sd_gone *vanished;
  size_t vanished_len, vanished_cap;
  struct sd_readable *readable; /* directories that can be read now, or no longer */
  size_t readable_len, readable_cap;
  struct sd_device *devices;
  size_t devices_len, devices_cap;
  struct sd_buf packs;  /* of new names: see gather.h; sd_pack_next() goes through them */
  struct sd_dir **born; /* directories still to be walked; each a reference */
  size_t born_len, born_cap;
  void **done; /* leases of the directories that are finished with this batch */
  size_t done_len, done_cap;
  uint64_t skipped[SD_RULE_COUNT]; /* names that rules left out, by enum sd_rule */
  int64_t root_id;         /* the root of the walk, where it differs from the library; else 0 */
  struct sd_stat root;     /* its attributes */
  struct sd_stat root_was; /* what the library has; kind 0 in a batch that a queue has stored */
  struct sd_totals seen;   /* everything listed, changed or not */
  uint64_t listed;         /* directories read */
  const char *last_path; /* the directory read last, for progress; its end where it is very long */
  uint32_t last_path_len;
};

struct sd_batch *sd_batch_new(void);
void sd_batch_free(struct sd_batch *b); /* accepts NULL */

/* Notes that `path` (copied) could not be read, or was left out (op 0). */
int sd_batch_note(struct sd_batch *b, uint8_t op, int code, const char *path, size_t path_len,
                  const char *reason);

/* Notes that entry `id` is not at its place; the name is copied. */
int sd_batch_gone(struct sd_batch *b, const struct sd_gone *gone);

/* Notes whether directory `id` can be read (enum sd_unread). */
int sd_batch_readable(struct sd_batch *b, int64_t id, uint8_t unread);

int sd_batch_device(struct sd_batch *b, int64_t id, uint64_t st_dev);

/* Counts an entry that differs. */
void sd_batch_count(struct sd_batch *b, const struct sd_entry *e);

/* The rows of a batch as bytes, for a queue that outlives the process: version, fixed-width
 * little-endian fields, XXH3 checksum. What belongs to this process (born, done) is not part of it.
 * */
int sd_batch_encode(const struct sd_batch *b, struct sd_buf *out);
int sd_batch_decode(const void *data, size_t len, struct sd_batch **out, struct sd_err *err);

#endif
