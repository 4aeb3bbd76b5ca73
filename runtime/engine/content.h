/* content.h - which files still need a content identity, and what hashing them found.
 * Owner:  whoever took the chunk; released with sd_contents_free().
 * Thread: one at a time, except that several threads may hash different items of one chunk.
 * Errors: 0 or a negative code with *err filled. A file that cannot be read is data. */
#ifndef SD_ENGINE_CONTENT_H
#define SD_ENGINE_CONTENT_H

#include "base/arena.h"
#include "engine/mime.h"
#include "engine/store.h"

struct sd_content {
  int64_t entry_id, parent_id;
  const char *dir; /* path of the directory below the root */
  const char *name;
  uint32_t dir_len;
  uint16_t name_len;
  struct sd_stat st;             /* as the library has it: sizes, times, dev, ino, nlink */
  uint64_t st_dev;               /* what its device is called by now */
  struct sd_stat now;            /* as it was when it was hashed */
  int64_t hashed_at;             /* the wall clock when that began */
  int64_t twin;                  /* an entry of the same inode that has a content; 0: none */
  uint8_t hash[16], kind;        /* kind 0: no hash */
  uint8_t known[16], known_kind; /* what the library has, where that is to be verified; else 0 */
  int code;                      /* why there is none */
  const char *mime;              /* in the arena of the chunk, or static; may be NULL */
  bool mime_named;               /* the name says so, and not the bytes: see mime_names below */
};

struct sd_contents {
  struct sd_arena arena;
  struct sd_content *items;
  size_t items_len, items_cap;
  int64_t after;  /* the entry id behind which the chunk begins */
  uint64_t bytes; /* of the files that are to be read */
  bool replace;   /* they may have an identity, which gives way to what was found */
  bool sweeps;    /* what is gone is noted: the run will sweep */
  bool cut;       /* see sd_contents_cut() */
  struct sd_mime_names *mime_names; /* held: what other names of a file are asked; may be NULL */
};

struct sd_content_want {
  int64_t location_id;
  int64_t after; /* entries with a greater id */
  int limit;
  uint64_t max_bytes; /* the file that reaches so many bytes to read is the last; 0: no bound */
  bool full;          /* a sampled identity of another name of the inode is not enough */
  bool rest;          /* the names that were not given since another name of the inode was */
  bool verify; /* the files that have an identity, with that, instead of those that wait for one */
  bool again;  /* the same, to be read again: those that the walk of this run has come by, as they
                * were hashed or better; what was found takes the place of what is known */
  int64_t job_id; /* not 0: the files that this job noted in content_todo, one of an inode */
};

struct sd_contents *sd_contents_new(void);
void sd_contents_free(struct sd_contents *c); /* accepts NULL */

/* Reads the next files, in the order of their ids. Of an inode with several names in the location
 * that all wait, only the first is given. When all that was given is linked, ask for the rest: the
 * other names of those that could not be read. */
int sd_contents_select(struct sd_store *reader, const struct sd_content_want *want,
                       struct sd_contents *out, struct sd_err *err);

/* Ends the chunk before the first file that was not hashed since it was cancelled, so that the next
 * one can begin there. */
void sd_contents_cut(struct sd_contents *c);

struct sd_link_count {
  uint64_t linked, errors, vanished;
};

/* Inside a transaction: writes contents and links their entries, all names of an inode in the
 * location at once. Where there is a table of MIME types, all these names count: the type is that
 * which one of them says, the first in the alphabet, and else what the item has. */
int sd_contents_link(struct sd_store *s, const struct sd_contents *c, const struct sd_write_opts *o,
                     struct sd_link_count *n, struct sd_err *err);

#endif
