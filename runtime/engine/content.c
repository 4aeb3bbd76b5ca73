#include "engine/content.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "engine/device.h"
#include "engine/hash.h"
#include "engine/mime.h"
#include "engine/store_internal.h"

struct sd_contents *sd_contents_new(void) {
  struct sd_contents *c = calloc(1, sizeof(*c));
  if (c) sd_arena_init(&c->arena);
  return c;
}

void sd_contents_free(struct sd_contents *c) {
  if (!c) return;
  free(c->items);
  sd_mime_names_close(c->mime_names);
  sd_arena_fini(&c->arena);
  free(c);
}

/* ---- what is to be hashed ---- */

/* The twin is another name of the same file: an inode may have been given to another one since, so
 * all must agree that the kernel sets, and a name that is known to be gone says nothing. Of the
 * names in one location only the first is given, and the others when that has failed (?5). */
static const char select_sql[] =
    "SELECT e.id,e.parent_id,e.name,e.size,e.allocated,e.mtime,e.ctime,e.dev,e.ino,e.nlink,e.btime,"
    "d.anchor,d.path," SD_DEVICE_NUMBER("e.dev") ","
    " iif(e.nlink>1,(SELECT t.id FROM entry t INDEXED BY entry_inode JOIN content c"
    "  ON c.id=t.content_id WHERE t.dev=e.dev AND t.ino=e.ino AND t.nlink>1 AND t.kind<>2"
    "  AND t.kind=1 AND t.size=e.size AND t.mtime=e.mtime AND t.ctime=e.ctime"
    "  AND t.btime IS e.btime"
    "  AND (c.hash_kind=1 OR NOT ?4)"
    "  AND NOT EXISTS(SELECT 1 FROM vanished v WHERE v.entry_id=t.id) LIMIT 1),0)"
    " FROM entry e INDEXED BY entry_todo JOIN directory d ON d.entry_id=e.parent_id"
    " WHERE e.content_id=0 AND e.id>?1 AND d.location_id=?2"
    " AND ?5=(e.nlink>1 AND EXISTS(SELECT 1 FROM entry t INDEXED BY entry_inode"
    "  CROSS JOIN directory f ON f.entry_id=t.parent_id WHERE t.dev=e.dev AND t.ino=e.ino"
    "  AND t.nlink>1 AND t.kind<>2 AND t.content_id=0 AND t.id<e.id AND f.location_id=?2))"
    " ORDER BY e.id LIMIT ?3";

/* The same columns, and what is known. Of the names of one inode in the location the first.
 * `which`: of entry `e` in directory `d`, `which_twin`: of another name `t` in directory `f`. */
#define KNOWN_SQL(which, which_twin) \
  "SELECT e.id,e.parent_id,e.name,e.size,e.allocated,e.mtime,e.ctime,e.dev,e.ino,e.nlink,"        \
  "e.btime,d.anchor,d.path," SD_DEVICE_NUMBER("e.dev") ",0,c.hash,c.hash_kind"                    \
  " FROM entry e JOIN directory d ON d.entry_id=e.parent_id JOIN content c ON c.id=e.content_id"  \
  " WHERE e.id>?1 AND d.location_id=?2 AND e.kind=1 AND e.content_id>0" which                     \
  " AND NOT(e.nlink>1 AND EXISTS(SELECT 1 FROM entry t INDEXED BY entry_inode"                    \
  "  CROSS JOIN directory f ON f.entry_id=t.parent_id WHERE t.dev=e.dev AND t.ino=e.ino"          \
  "  AND t.nlink>1 AND t.kind<>2 AND t.content_id=e.content_id AND t.id<e.id"                     \
  "  AND f.location_id=?2" which_twin "))"                                                        \
  " ORDER BY e.id LIMIT ?3"

/* Whether the walk came by: not where a directory could not be read, and not where it is gone or
 * left out now. Of what vanished only the topmost is noted. */
#define COME_BY(e, d)                                                                 \
  " AND " d                                                                           \
  ".unverified=0 AND NOT(EXISTS(SELECT 1 FROM vanished WHERE location_id=?2)"         \
  "  AND EXISTS(WITH RECURSIVE up(id) AS (SELECT " e                                  \
  ".id UNION"                                                                         \
  "   SELECT a.parent_id FROM up JOIN entry a ON a.id=up.id)"                         \
  "   SELECT 1 FROM up JOIN entry a ON a.id=up.id JOIN vanished v ON v.entry_id=a.id" \
  "   WHERE v.parent_id=a.parent_id AND v.name=a.name))"

static const char verify_sql[] = KNOWN_SQL("", "");
static const char again_sql[] = KNOWN_SQL(COME_BY("e", "d"), COME_BY("t", "f"));

/* What a job wants hashed, whatever is known of it. */
static const char todo_sql[] =
    "SELECT e.id,e.parent_id,e.name,e.size,e.allocated,e.mtime,e.ctime,e.dev,e.ino,e.nlink,e.btime,"
    "d.anchor,d.path," SD_DEVICE_NUMBER("e.dev") ",0"
    " FROM content_todo t JOIN entry e ON e.id=t.entry_id"
    " JOIN directory d ON d.entry_id=e.parent_id"
    " WHERE t.job_id=?4 AND t.entry_id>?1 AND d.location_id=?2 AND e.kind=1 AND e.size>0"
    " ORDER BY t.entry_id LIMIT ?3";

static const char anchor_sql[] = "SELECT anchor,path FROM directory WHERE entry_id=?1";

static char *copy_column(struct sd_contents *c, sqlite3_stmt *q, int i, uint32_t *len) {
  const void *p = sqlite3_column_blob(q, i);
  *len = (uint32_t)sqlite3_column_bytes(q, i);
  return sd_arena_copy(&c->arena, p ? p : "", *len);
}

/* Puts the pieces of a long path in front of item->dir, up to the root. `mark` falls behind, for
 * longer each time: a climb that comes back to it would never end. */
static int add_anchors(struct sd_store *s, struct sd_contents *c, struct sd_content *item,
                       int64_t anchor, struct sd_err *err) {
  sqlite3_stmt *q = NULL;
  int64_t mark = 0;
  int rc = 0;
  if (sqlite3_prepare_v2(sd_store_db(s), anchor_sql, -1, &q, NULL) != SQLITE_OK)
    rc = sd_store_error(s, err, "prepare");
  for (uint32_t steps = 0; !rc && anchor; steps++) {
    uint32_t len;
    if (anchor == mark) {
      rc = sd_err_set(err, SD_EDAMAGED, "the library is damaged: directory %lld lies below itself",
                      (long long)anchor);
      break;
    }
    if ((steps & (steps - 1)) == 0) mark = anchor;
    sqlite3_reset(q);
    sqlite3_bind_int64(q, 1, anchor);
    if (sqlite3_step(q) != SQLITE_ROW) break;
    anchor = sqlite3_column_int64(q, 0);
    const char *piece = copy_column(c, q, 1, &len);
    char *whole = piece ? sd_arena_alloc(&c->arena, (size_t)len + 2 + item->dir_len) : NULL;
    if (!whole) {
      rc = sd_err_nomem(err);
      break;
    }
    memcpy(whole, piece, len);
    whole[len] = '/';
    memcpy(whole + len + 1, item->dir, item->dir_len + 1);
    item->dir = whole;
    item->dir_len += len + 1;
  }
  sqlite3_finalize(q);
  return rc;
}

static int add_item(struct sd_store *s, struct sd_contents *c, sqlite3_stmt *q,
                    struct sd_err *err) {
  uint32_t name_len;
  if (!SD_ARRAY_ROOM(c, items)) return sd_err_nomem(err);
  struct sd_content *i = &c->items[c->items_len];
  memset(i, 0, sizeof(*i));
  i->entry_id = sqlite3_column_int64(q, 0);
  i->parent_id = sqlite3_column_int64(q, 1);
  i->name = copy_column(c, q, 2, &name_len);
  i->name_len = (uint16_t)name_len;
  i->st.kind = SD_KIND_FILE;
  i->st.size = sqlite3_column_int64(q, 3);
  i->st.allocated = sqlite3_column_int64(q, 4);
  i->st.mtime = sqlite3_column_int64(q, 5);
  i->st.ctime = sqlite3_column_int64(q, 6);
  i->st.dev = (uint64_t)sqlite3_column_int64(q, 7);
  i->st.ino = (uint64_t)sqlite3_column_int64(q, 8);
  i->st.nlink = (uint32_t)sqlite3_column_int64(q, 9);
  i->st.btime = sqlite3_column_int64(q, 10);
  i->st.flags = sqlite3_column_type(q, 10) != SQLITE_NULL ? SD_ENTRY_BTIME : 0;
  i->dir = copy_column(c, q, 12, &i->dir_len);
  i->st_dev = (uint64_t)sqlite3_column_int64(q, 13);
  i->twin = sqlite3_column_int64(q, 14);
  if (!i->name || !i->dir) return sd_err_nomem(err);
  if (sqlite3_column_count(q) > 15 && sqlite3_column_bytes(q, 15) == sizeof(i->known)) {
    memcpy(i->known, sqlite3_column_blob(q, 15), sizeof(i->known));
    i->known_kind = (uint8_t)sqlite3_column_int(q, 16);
  }
  c->items_len++;
  if (!i->twin) c->bytes += (uint64_t)i->st.size;
  int64_t anchor = sqlite3_column_int64(q, 11);
  return anchor ? add_anchors(s, c, i, anchor, err) : 0;
}

static uint64_t bytes_to_read(const struct sd_content_want *want, const struct sd_content *i) {
  uint64_t size = (uint64_t)i->st.size;
  bool full = i->known_kind == SD_HASH_FULL || (want->full && !want->verify);
  if (i->twin) return 0;
  return full || size < SD_HASH_SAMPLE_MIN ? size : SD_HASH_SAMPLE_MIN;
}

/* Adds the row; *left, the bytes that may still be read, is 0 where it is to be the last. */
static int add_bounded(struct sd_store *s, struct sd_contents *c, sqlite3_stmt *q,
                       const struct sd_content_want *want, uint64_t *left, struct sd_err *err) {
  int rc = add_item(s, c, q, err);
  if (rc) return rc;
  uint64_t n = bytes_to_read(want, &c->items[c->items_len - 1]);
  *left -= n < *left ? n : *left;
  return 0;
}

int sd_contents_select(struct sd_store *s, const struct sd_content_want *want,
                       struct sd_contents *out, struct sd_err *err) {
  sqlite3_stmt *q = NULL;
  uint64_t left = want->max_bytes ? want->max_bytes : UINT64_MAX;
  int step = SQLITE_DONE, rc = 0;
  bool known = want->verify || want->again;
  const char *sql = want->job_id   ? todo_sql
                    : want->again  ? again_sql
                    : want->verify ? verify_sql
                                   : select_sql;
  if (sqlite3_prepare_v2(sd_store_db(s), sql, -1, &q, NULL) != SQLITE_OK)
    return sd_store_error(s, err, "prepare");
  out->replace = want->job_id || want->again;
  out->sweeps = !want->job_id;
  out->after = want->after;
  sqlite3_bind_int64(q, 1, want->after);
  sqlite3_bind_int64(q, 2, want->location_id);
  sqlite3_bind_int(q, 3, want->limit);
  if (want->job_id) sqlite3_bind_int64(q, 4, want->job_id);
  else if (!known) sqlite3_bind_int(q, 4, want->full);
  if (!want->job_id && !known) sqlite3_bind_int(q, 5, want->rest);
  while (!rc && left && (step = sqlite3_step(q)) == SQLITE_ROW)
    rc = add_bounded(s, out, q, want, &left, err);
  if (!rc && left && step != SQLITE_DONE) rc = sd_store_error(s, err, "read the library");
  /* Whoever asks goes on from the last id: it must rise, or the questions would not end. */
  if (!rc && out->items_len && out->items[out->items_len - 1].entry_id <= want->after)
    rc = sd_err_set(err, SD_EDAMAGED, "the library is damaged: entries are out of order");
  sqlite3_finalize(q);
  return rc;
}

void sd_contents_cut(struct sd_contents *c) {
  size_t n = 0;
  while (n < c->items_len && c->items[n].code != SD_ECANCELED) n++;
  c->cut = n < c->items_len;
  c->items_len = n;
}

/* ---- what was found ---- */

struct type {
  const char *mime; /* NULL: none was found */
  bool named;       /* a name says so */
};

/* `n` more entries have this content; gives its id. */
static int put_content(struct sd_store *s, const struct sd_content *i, struct type type, int64_t n,
                       int64_t *id, struct sd_err *err) {
  uint8_t uuid[SD_UUID_LEN];
  sqlite3_stmt *st = sd_store_stmt(s, ST_CONTENT_PUT, err);
  if (!st) return err->code;
  sd_uuid_from_hash(i->hash, uuid);
  sqlite3_bind_blob(st, 1, uuid, sizeof(uuid), SQLITE_STATIC);
  sqlite3_bind_blob(st, 2, i->hash, sizeof(i->hash), SQLITE_STATIC);
  sqlite3_bind_int(st, 3, i->kind);
  sqlite3_bind_int64(st, 4, i->now.size);
  sqlite3_bind_text(st, 5, type.mime, -1, SQLITE_STATIC);
  sqlite3_bind_text(st, 6, sd_mime_kind(type.mime), -1, SQLITE_STATIC);
  sqlite3_bind_int64(st, 7, n);
  sqlite3_bind_int64(st, 8, s->now);
  sqlite3_bind_int(st, 9, type.named);
  int rc = sqlite3_step(st);
  *id = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
  int code = rc == SQLITE_ROW ? 0 : sd_store_error(s, err, "write a content");
  sqlite3_reset(st);
  return code;
}

/* An entry, as its row has it. */
struct name {
  int64_t id, parent_id, content_id; /* content_id 0: none, or it waits */
  const char *mime;                  /* the type that the name says; NULL: none */
  struct sd_stat st;                 /* size, allocated, mtime, ctime */
};

/* The names of an inode: the one that was given first, where they wait. */
struct names {
  const struct sd_mime_names *types; /* NULL: names are not asked for types */
  struct name *items;
  size_t items_len, items_cap;
};

/* A name that is alone was asked for its type where the file was read. */
static struct names names_of(const struct sd_contents *c, const struct sd_content *i) {
  return (struct names){.types = i->st.nlink > 1 ? c->mime_names : NULL};
}

static struct name read_name(const struct names *of, sqlite3_stmt *st) {
  struct name n = {.id = sqlite3_column_int64(st, 0), .parent_id = sqlite3_column_int64(st, 1)};
  n.st.kind = SD_KIND_FILE;
  n.st.size = sqlite3_column_int64(st, 2);
  n.st.allocated = sqlite3_column_int64(st, 3);
  n.st.mtime = sqlite3_column_int64(st, 4);
  n.st.ctime = sqlite3_column_int64(st, 5);
  n.content_id = sqlite3_column_int64(st, 6);
  const char *name = of->types ? sqlite3_column_blob(st, 7) : NULL;
  if (name) n.mime = sd_mime_by_name(of->types, name, (size_t)sqlite3_column_bytes(st, 7));
  return n;
}

static int add_names(struct sd_store *s, sqlite3_stmt *st, struct names *out, struct sd_err *err) {
  int step = SQLITE_DONE, rc = 0;
  while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW)
    if (!SD_ARRAY_ROOM(out, items)) rc = sd_err_nomem(err);
    else out->items[out->items_len++] = read_name(out, st);
  if (!rc && step != SQLITE_DONE) rc = sd_store_error(s, err, "read the library");
  sqlite3_reset(st);
  return rc;
}

/* Whichever of its names a file was read by, and in whatever order they have their ids. */
static struct type type_of(const struct sd_content *i, const struct names *names) {
  struct type t = {.mime = i->mime, .named = i->mime_named};
  for (size_t k = 0; k < names->items_len; k++) {
    const char *mime = names->items[k].mime;
    if (mime && (!t.named || strcmp(mime, t.mime) < 0)) t = (struct type){mime, true};
  }
  return t;
}

/* None: the entry is gone, or has been linked meanwhile. */
static int waiting_names(struct sd_store *s, const struct sd_content *i,
                         const struct sd_write_opts *o, struct names *out, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_WAITING, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, i->entry_id);
  int rc = add_names(s, st, out, err);
  if (rc || !out->items_len || i->st.nlink < 2) return rc;
  if (!(st = sd_store_stmt(s, ST_INODE_WAITING, err))) return err->code;
  sqlite3_bind_int64(st, 1, (int64_t)i->st.dev);
  sqlite3_bind_int64(st, 2, (int64_t)i->st.ino);
  if (i->st.flags & SD_ENTRY_BTIME) sqlite3_bind_int64(st, 3, i->st.btime);
  else sqlite3_bind_null(st, 3);
  sqlite3_bind_int64(st, 4, o->location_id);
  sqlite3_bind_int64(st, 5, i->entry_id);
  return add_names(s, st, out, err);
}

/* The file has changed since it was listed: its row says what was hashed. */
static int refresh_stat(struct sd_store *s, const struct sd_stat *now, const struct name *n,
                        struct sd_err *err) {
  struct sd_totals t = {0};
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_STAT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, n->id);
  sqlite3_bind_int64(st, 2, now->size);
  sqlite3_bind_int64(st, 3, now->allocated);
  sqlite3_bind_int64(st, 4, now->mtime);
  sqlite3_bind_int64(st, 5, now->ctime);
  int rc = sd_store_run(s, st, err, "update an entry");
  sd_totals_add(&t, now, 1);
  sd_totals_add(&t, &n->st, -1);
  return rc ? rc : sd_store_add_totals(s, n->parent_id, &t, err);
}

static bool is_stale(const struct sd_stat *row, const struct sd_stat *now) {
  return now->size != row->size || now->allocated != row->allocated || now->mtime != row->mtime ||
         now->ctime != row->ctime;
}

/* How exactly times of files go: as the clock ticks that the kernel takes them from, or in seconds,
 * two at worst, where a file system has no parts of them. */
static int64_t tick_of(int64_t mtime) {
  struct timespec tick = {0};
  if (mtime % SD_NS_PER_S == 0) return INT64_C(2) * SD_NS_PER_S;
  clock_getres(CLOCK_REALTIME_COARSE, &tick);
  return tick.tv_nsec ? tick.tv_nsec : SD_NS_PER_S;
}

/* Whether it may have been written again, after it was hashed, with the same mtime. (See git's
 * Documentation/technical/racy-git.txt.) */
static bool is_racy(const struct sd_content *i) {
  return !i->twin && i->now.mtime >= i->hashed_at - tick_of(i->now.mtime);
}

/* The next run looks at the file again, whatever it finds: as at those names of it. */
static int mark_racy(struct sd_store *s, const struct sd_content *i, int64_t entry_id,
                     struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, i->twin ? ST_ENTRY_RACY_AS : ST_ENTRY_RACY, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, entry_id);
  sqlite3_bind_int64(st, 2, SD_STORED_RACY);
  if (i->twin) sqlite3_bind_int64(st, 3, i->twin);
  return sd_store_run(s, st, err, "update an entry");
}

static int link_name(struct sd_store *s, const struct sd_content *i, const struct name *n,
                     int64_t content_id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_LINK, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, n->id);
  if (content_id) sqlite3_bind_int64(st, 2, content_id);
  else sqlite3_bind_null(st, 2);
  int rc = sd_store_run(s, st, err, "link a content");
  bool racy = content_id && (i->twin || is_racy(i));
  return rc || !racy ? rc : mark_racy(s, i, n->id, err);
}

static int link_hashed(struct sd_store *s, const struct sd_content *i, const struct names *names,
                       struct sd_link_count *n, struct sd_err *err) {
  int64_t content_id = 0;
  int rc = 0;
  /* Emptied since it was listed: no content, as for what was listed empty. */
  if (i->now.size)
    rc = put_content(s, i, type_of(i, names), (int64_t)names->items_len, &content_id, err);
  for (size_t k = 0; !rc && k < names->items_len; k++) {
    const struct name *name = &names->items[k];
    if (is_stale(&name->st, &i->now)) rc = refresh_stat(s, &i->now, name, err);
    if (!rc) rc = link_name(s, i, name, content_id, err);
    n->linked++;
  }
  return rc;
}

/* 1: the twin has no content any more. */
static int add_to_twin(struct sd_store *s, const struct sd_content *i, int64_t n,
                       int64_t *content_id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_CONTENT_JOIN, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, i->twin);
  sqlite3_bind_int64(st, 2, n);
  int step = sqlite3_step(st);
  *content_id = step == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
  int rc = step == SQLITE_ROW || step == SQLITE_DONE ? step == SQLITE_DONE
                                                     : sd_store_error(s, err, "link a content");
  sqlite3_reset(st);
  return rc;
}

/* The content has new names. */
static int improve_type(struct sd_store *s, int64_t content_id, struct type type,
                        struct sd_err *err) {
  sqlite3_stmt *st = type.named ? sd_store_stmt(s, ST_CONTENT_TYPE, err) : NULL;
  if (!st) return type.named ? err->code : 0;
  sqlite3_bind_int64(st, 1, content_id);
  sqlite3_bind_text(st, 2, type.mime, -1, SQLITE_STATIC);
  sqlite3_bind_text(st, 3, sd_mime_kind(type.mime), -1, SQLITE_STATIC);
  return sd_store_run(s, st, err, "write a content");
}

/* Another name of the inode was hashed before: its content is that of all listed alike. */
static int link_twin(struct sd_store *s, const struct sd_content *i, struct names *names,
                     struct sd_link_count *n, struct sd_err *err) {
  int64_t content_id;
  size_t alike = 0;
  for (size_t k = 0; k < names->items_len; k++) {
    const struct sd_stat *row = &names->items[k].st;
    if (row->size == i->st.size && row->mtime == i->st.mtime)
      names->items[alike++] = names->items[k];
  }
  names->items_len = alike;
  int rc = alike ? add_to_twin(s, i, (int64_t)alike, &content_id, err) : 1;
  if (!rc) rc = improve_type(s, content_id, type_of(i, names), err);
  for (size_t k = 0; !rc && k < alike; k++, n->linked++)
    rc = link_name(s, i, &names->items[k], content_id, err);
  return rc < 0 ? rc : 0;
}

static int link_names(struct sd_store *s, const struct sd_contents *c, const struct sd_content *i,
                      const struct sd_write_opts *o, struct sd_link_count *n, struct sd_err *err) {
  struct names names = names_of(c, i);
  int rc = waiting_names(s, i, o, &names, err);
  if (!rc && names.items_len)
    rc = i->twin ? link_twin(s, i, &names, n, err) : link_hashed(s, i, &names, n, err);
  free(names.items);
  return rc;
}

/* ---- a better identity than the one that is there ---- */

/* All names of the inode, in whatever location, that are as they were when the file was chosen. */
static int known_names(struct sd_store *s, const struct sd_content *i, struct names *out,
                       struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, i->st.nlink > 1 ? ST_INODE_KNOWN : ST_ENTRY_KNOWN, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, i->entry_id);
  sqlite3_bind_int64(st, 2, (int64_t)i->st.dev);
  sqlite3_bind_int64(st, 3, (int64_t)i->st.ino);
  sqlite3_bind_int64(st, 4, i->st.size);
  sqlite3_bind_int64(st, 5, i->st.mtime);
  sqlite3_bind_int64(st, 6, i->st.ctime);
  return add_names(s, st, out, err);
}

/* The samples stay known, as long as both hashes are those of the same bytes. */
static int keep_sample(struct sd_store *s, const struct name *k, int64_t content_id,
                       struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_SAMPLE_PUT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, content_id);
  sqlite3_bind_int64(st, 2, k->content_id);
  return sd_store_run(s, st, err, "keep a sampled hash");
}

static int change_content(struct sd_store *s, int64_t entry_id, int64_t content_id,
                          struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_RELINK, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, entry_id);
  if (content_id) sqlite3_bind_int64(st, 2, content_id);
  else sqlite3_bind_null(st, 2);
  return sd_store_run(s, st, err, "link a content");
}

static int relink(struct sd_store *s, const struct sd_content *i, const struct name *k,
                  int64_t content_id, struct sd_err *err) {
  bool other = k->content_id != content_id || !content_id;
  int rc = is_stale(&k->st, &i->now) ? refresh_stat(s, &i->now, k, err)
           : other && k->content_id  ? keep_sample(s, k, content_id, err)
                                     : 0;
  if (!rc && other) rc = change_content(s, k->id, content_id, err);
  if (!rc && content_id && is_racy(i)) rc = mark_racy(s, i, k->id, err);
  return rc || !k->content_id ? rc : sd_store_drop_content(s, k->content_id, err);
}

/* The new content comes first: the old one may be the same, and would go with its last entry. */
static int link_again(struct sd_store *s, const struct sd_contents *c, const struct sd_content *i,
                      struct sd_link_count *n, struct sd_err *err) {
  struct names names = names_of(c, i);
  int64_t content_id = 0;
  int rc = known_names(s, i, &names, err);
  if (!rc && names.items_len && i->now.size)
    rc = put_content(s, i, type_of(i, &names), (int64_t)names.items_len, &content_id, err);
  for (size_t k = 0; !rc && k < names.items_len; k++)
    rc = relink(s, i, &names.items[k], content_id, err);
  n->linked += names.items_len;
  free(names.items);
  return rc;
}

static int note_failed(struct sd_store *s, const struct sd_content *i,
                       const struct sd_write_opts *o, struct sd_link_count *n, struct sd_err *err) {
  struct sd_arena a;
  sd_arena_init(&a);
  size_t len = i->dir_len + (i->dir_len ? 1 : 0) + i->name_len;
  char *path = sd_arena_alloc(&a, len + 1);
  int rc = path ? 0 : sd_err_nomem(err);
  if (!rc) {
    memcpy(path, i->dir, i->dir_len);
    if (i->dir_len) path[i->dir_len] = '/';
    memcpy(path + len - i->name_len, i->name, i->name_len);
    struct sd_note note = {.path = path, .path_len = (uint32_t)len, .op = SD_OP_CONTENT_ID};
    note.code = i->code;
    note.reason = i->code == SD_ECHANGED ? "changed while it was read, or since it was listed"
                                         : sd_err_text(i->code);
    rc = sd_store_note(s, o, &note, err);
  }
  sd_arena_fini(&a);
  n->errors++;
  return rc;
}

static int note_vanished(struct sd_store *s, const struct sd_content *i,
                         const struct sd_write_opts *o, struct sd_link_count *n,
                         struct sd_err *err) {
  struct sd_gone g = {.id = i->entry_id,
                      .parent_id = i->parent_id,
                      .name = i->name,
                      .name_len = i->name_len,
                      .name_text = sd_utf8_valid(i->name, i->name_len)};
  n->vanished++;
  return sd_store_note_gone(s, o, &g, err);
}

int sd_contents_link(struct sd_store *s, const struct sd_contents *c, const struct sd_write_opts *o,
                     struct sd_link_count *n, struct sd_err *err) {
  int rc = 0;
  for (size_t k = 0; !rc && k < c->items_len; k++) {
    const struct sd_content *i = &c->items[k];
    if (c->replace && i->kind) rc = link_again(s, c, i, n, err);
    else if (i->twin || i->kind) rc = link_names(s, c, i, o, n, err);
    else if (i->code == -ENOENT && c->sweeps) rc = note_vanished(s, i, o, n, err);
    else rc = note_failed(s, i, o, n, err);
  }
  return rc;
}
