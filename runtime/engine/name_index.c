#include "engine/name_index.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/grams.h"
#include "engine/store_internal.h"

/* What is missing is left as it is below this: a search looks at so many rows itself in about a
 * millisecond. */
enum { TODO_MIN = 1024, TAIL_MIN = 4096 };

enum { GROUPS = SD_GRAM_ROWS / SD_GRAM_GROUP, MASK_GROUPS = SD_MASKS / SD_MASK_GROUP };

enum {
  Q_STATE,
  Q_DIRTY,
  Q_ENTRIES,
  Q_PACKS,
  Q_GRAM_GET,
  Q_GRAM_PUT,
  Q_MASK_GET,
  Q_MASK_PUT,
  Q_DONE,
  Q_END_PUT,
  Q_COUNT
};

#define PUT_END                                               \
  "INSERT INTO counter(id,next_id,names_end) VALUES(1,?1,?1)" \
  " ON CONFLICT DO UPDATE SET names_end=?1 WHERE names_end<?1"

#define END "coalesce((SELECT names_end FROM counter),0)"

static const char *const sql[Q_COUNT] = {
    [Q_STATE] = "SELECT " END
                ", coalesce((SELECT max(id)+1 FROM entry),0),"
                " coalesce((SELECT min(id) FROM name_todo),0),"
                " (SELECT count(*) FROM (SELECT 1 FROM name_todo WHERE id<" END " LIMIT ?1))",
    [Q_DIRTY] = "SELECT min(id)/64 FROM name_todo WHERE id>=?1 AND id<?2",
    [Q_ENTRIES] = "SELECT id,parent_id,kind,name FROM entry WHERE id>=?1 AND id<?2 ORDER BY id",
    [Q_PACKS] = "SELECT id,data FROM name_pack WHERE id>=?1 AND id<?2 ORDER BY id",
    [Q_GRAM_GET] = "SELECT bits FROM name_gram WHERE id=?1",
    [Q_GRAM_PUT] = "INSERT OR REPLACE INTO name_gram(id,bits) VALUES(?1,?2)",
    [Q_MASK_GET] = "SELECT masks FROM name_mask WHERE id=?1",
    [Q_MASK_PUT] = "INSERT OR REPLACE INTO name_mask(id,masks) VALUES(?1,?2)",
    [Q_DONE] = "DELETE FROM name_todo WHERE id>=?1 AND id<?2",
    [Q_END_PUT] = PUT_END,
};

struct state {
  int64_t end;        /* ids below it are packed */
  int64_t entries;    /* behind the last id */
  int64_t first_todo; /* 0: none */
  int64_t todo;       /* how many below the end; no more than TODO_MIN are counted */
};

/* A segment that is being packed. */
struct build {
  struct sd_store *store;
  struct sd_err *err;
  sqlite3_stmt *q[Q_COUNT];
  struct sd_pack_builder pack;
  struct sd_buf packs;    /* that were made and not yet written */
  struct sd_grams *grams; /* of all packs of the segment */
  int packs_len;          /* behind the last one, in the segment */
};

static sqlite3_stmt *query(struct build *b, int which, int64_t first, int64_t second) {
  sqlite3_stmt **q = &b->q[which];
  if (!*q && sqlite3_prepare_v2(b->store->db, sql[which], -1, q, NULL) != SQLITE_OK) {
    sd_store_error(b->store, b->err, "index names");
    return NULL;
  }
  sqlite3_reset(*q);
  sqlite3_bind_int64(*q, 1, first);
  if (sqlite3_bind_parameter_count(*q) > 1) sqlite3_bind_int64(*q, 2, second);
  return *q;
}

/* After the last row of a statement. */
static int ended(struct build *b, sqlite3_stmt *q, int step) {
  int rc = step == SQLITE_DONE ? 0 : sd_store_error(b->store, b->err, "index names");
  sqlite3_reset(q);
  return rc;
}

static int put_blob(struct build *b, int which, int64_t id, const void *p, size_t n) {
  sqlite3_stmt *q = query(b, which, id, 0);
  if (!q) return b->err->code;
  sqlite3_bind_blob(q, 2, p, (int)n, SQLITE_STATIC);
  return ended(b, q, sqlite3_step(q));
}

static int read_state(struct build *b, struct state *s) {
  sqlite3_stmt *q = query(b, Q_STATE, TODO_MIN, 0);
  if (!q) return b->err->code;
  if (sqlite3_step(q) != SQLITE_ROW) return ended(b, q, SQLITE_ERROR);
  s->end = sqlite3_column_int64(q, 0);
  s->entries = sqlite3_column_int64(q, 1);
  s->first_todo = sqlite3_column_int64(q, 2);
  s->todo = sqlite3_column_int64(q, 3);
  sqlite3_reset(q);
  return 0;
}

/* The segment that comes first; -1: there is nothing that would be worth it. */
static int64_t next_segment(const struct state *s) {
  int64_t tail = s->entries - s->end >= TAIL_MIN ? s->end / SD_SEGMENT_IDS : -1;
  int64_t todo = s->todo >= TODO_MIN ? s->first_todo / SD_SEGMENT_IDS : -1;
  if (tail < 0 || todo < 0) return tail < 0 ? todo : tail;
  return tail < todo ? tail : todo;
}

/* ---- packs ---- */

static int add_entry(struct build *b, sqlite3_stmt *q) {
  const char *name = sqlite3_column_blob(q, 3);
  int rc = sd_pack_add(&b->pack, sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1),
                       (uint8_t)sqlite3_column_int(q, 2), name ? name : "",
                       (size_t)sqlite3_column_bytes(q, 3));
  return rc ? sd_err_nomem(b->err) : 0;
}

static void add_grams(struct build *b, int64_t pack, const char *text, size_t n) {
  int nth = (int)(pack % SD_SEGMENT_PACKS);
  sd_grams_add(b->grams, (unsigned)nth, text, n);
  if (nth >= b->packs_len) b->packs_len = nth + 1;
}

static int keep_pack(struct build *b, int64_t pack) {
  int rc = sd_pack_end(&b->pack);
  if (!rc) rc = sd_pack_keep(&b->packs, pack, &b->pack);
  if (rc) return sd_err_nomem(b->err);
  add_grams(b, pack, (const char *)b->pack.text.data, b->pack.text.len);
  sd_pack_begin(&b->pack);
  return 0;
}

/* Writes the packs that were kept. */
static int write_packs(struct build *b) {
  int rc = sd_store_put_packs(b->store, &b->packs, b->err);
  b->packs.len = 0;
  return rc;
}

/* Reads entries [id, stop) and makes a pack for each 64 ids, also where there is no entry. */
static int build_packs(struct build *b, int64_t id, int64_t stop) {
  sqlite3_stmt *q = query(b, Q_ENTRIES, id, stop);
  int64_t pack = id / SD_PACK_IDS, last = stop / SD_PACK_IDS;
  int step = SQLITE_ROW, rc = q ? 0 : b->err->code;
  sd_pack_begin(&b->pack);
  while (!rc && pack < last) {
    if (step == SQLITE_ROW) step = sqlite3_step(q);
    if (step != SQLITE_ROW && step != SQLITE_DONE) return ended(b, q, step);
    int64_t next = step == SQLITE_ROW ? sqlite3_column_int64(q, 0) : stop;
    for (; !rc && pack < last && pack < next / SD_PACK_IDS; pack++) rc = keep_pack(b, pack);
    if (!rc && step == SQLITE_ROW) rc = add_entry(b, q);
  }
  if (q) sqlite3_reset(q);
  return rc;
}

/* Makes packs of [first, stop) anew where something is noted. */
static int build_dirty(struct build *b, int64_t first, int64_t stop) {
  int rc = 0;
  while (!rc && first < stop) {
    sqlite3_stmt *q = query(b, Q_DIRTY, first, stop);
    if (!q) return b->err->code;
    int step = sqlite3_step(q);
    bool any = step == SQLITE_ROW && sqlite3_column_type(q, 0) == SQLITE_INTEGER;
    int64_t pack = any ? sqlite3_column_int64(q, 0) : 0;
    rc = ended(b, q, step == SQLITE_ROW ? SQLITE_DONE : step);
    if (rc || !any) break;
    rc = build_packs(b, pack * SD_PACK_IDS, (pack + 1) * SD_PACK_IDS);
    first = (pack + 1) * SD_PACK_IDS;
  }
  return rc ? rc : write_packs(b);
}

/* Makes packs of [first, stop) where there is none that can be read, and adds the others to the
 * rows. */
static int build_missing(struct build *b, int64_t first, int64_t stop) {
  int64_t pack = first / SD_PACK_IDS, last = stop / SD_PACK_IDS;
  sqlite3_stmt *q = query(b, Q_PACKS, pack, last);
  int step = SQLITE_ROW, rc = q ? 0 : b->err->code;
  while (!rc && step == SQLITE_ROW) {
    struct sd_pack view;
    step = sqlite3_step(q);
    bool any = step == SQLITE_ROW;
    int64_t id = any ? sqlite3_column_int64(q, 0) : last;
    if (any && sd_pack_open(sqlite3_column_blob(q, 1), (size_t)sqlite3_column_bytes(q, 1), &view))
      continue;
    if (pack < id) rc = build_packs(b, pack * SD_PACK_IDS, id * SD_PACK_IDS);
    if (any) add_grams(b, id, view.text, view.text_len);
    pack = id + 1;
  }
  if (!rc) rc = ended(b, q, step);
  else if (q) sqlite3_reset(q);
  return rc ? rc : write_packs(b);
}

/* ---- rows ---- */

/* Writes a group where it is not as it is stored. */
static int put_group(struct build *b, int get, int put, int64_t id, const struct sd_buf *bytes) {
  sqlite3_stmt *q = query(b, get, id, 0);
  if (!q) return b->err->code;
  int step = sqlite3_step(q);
  bool same = step == SQLITE_ROW && (size_t)sqlite3_column_bytes(q, 0) == bytes->len &&
              memcmp(sqlite3_column_blob(q, 0), bytes->data, bytes->len) == 0;
  int rc = ended(b, q, step == SQLITE_ROW ? SQLITE_DONE : step);
  return rc || same ? rc : put_blob(b, put, id, bytes->data, bytes->len);
}

/* Little-endian, as all numbers that are stored. */
static int put_masks(struct build *b, int64_t group, struct sd_buf *bytes) {
  enum { OCTETS = SD_MASK_GROUP / SD_MASK_OCTET };
  uint16_t masks[SD_MASK_OCTET];
  int rc = 0;
  bytes->len = 0;
  for (unsigned i = 0; !rc && i < OCTETS; i++) {
    sd_grams_masks(b->grams, (unsigned)group * OCTETS + i, masks);
    for (int k = 0; k < SD_MASK_OCTET; k++) masks[k] = htole16(masks[k]);
    rc = sd_buf_put(bytes, masks, sizeof(masks));
  }
  return rc ? sd_err_nomem(b->err) : 0;
}

static int write_masks(struct build *b, int64_t segment) {
  struct sd_buf bytes = SD_BUF_INIT;
  int rc = 0;
  if (b->packs_len < SD_MASK_PACKS_MIN) return 0;
  for (int64_t group = 0; !rc && group < MASK_GROUPS; group++) {
    rc = put_masks(b, group, &bytes);
    if (!rc) rc = put_group(b, Q_MASK_GET, Q_MASK_PUT, segment * MASK_GROUPS + group, &bytes);
  }
  sd_buf_fini(&bytes);
  return rc;
}

static int write_grams(struct build *b, int64_t segment) {
  size_t words = ((size_t)b->packs_len + 63) / 64;
  struct sd_buf bytes = SD_BUF_INIT;
  int rc = 0;
  if (b->packs_len < SD_GRAM_PACKS_MIN) return 0;
  for (size_t group = 0; !rc && group < GROUPS; group++) {
    bytes.len = 0;
    for (size_t row = 0; row < SD_GRAM_GROUP; row++)
      for (size_t w = 0; !rc && w < words; w++)
        rc = sd_buf_put_u64(&bytes, b->grams->words[w][group * SD_GRAM_GROUP + row]);
    if (rc) sd_err_nomem(b->err);
    else rc = put_group(b, Q_GRAM_GET, Q_GRAM_PUT, segment * GROUPS + (int64_t)group, &bytes);
  }
  sd_buf_fini(&bytes);
  return rc ? rc : write_masks(b, segment);
}

/* ---- a segment ---- */

static void end_build(struct build *b) {
  for (int i = 0; i < Q_COUNT; i++) sqlite3_finalize(b->q[i]);
  sd_pack_fini(&b->pack);
  sd_buf_fini(&b->packs);
  free(b->grams);
}

static int run(struct build *b, int which, int64_t first, int64_t second) {
  sqlite3_stmt *q = query(b, which, first, second);
  return q ? ended(b, q, sqlite3_step(q)) : b->err->code;
}

/* As far as packs are full, and never less far than before. */
static int build_segment(struct build *b, const struct state *s, int64_t segment) {
  int64_t first = segment * SD_SEGMENT_IDS, stop = s->entries / SD_PACK_IDS * SD_PACK_IDS;
  if (stop < s->end) stop = s->end;
  if (stop > first + SD_SEGMENT_IDS) stop = first + SD_SEGMENT_IDS;
  if (!(b->grams = calloc(1, sizeof(*b->grams)))) return sd_err_nomem(b->err);
  int rc = build_dirty(b, first, stop);
  if (!rc) rc = build_missing(b, first, stop);
  if (!rc) rc = write_grams(b, segment);
  if (!rc) rc = run(b, Q_DONE, first, stop);
  return rc ? rc : run(b, Q_END_PUT, stop, 0);
}

int sd_name_index_build(struct sd_store *s, bool *left, struct sd_err *err) {
  struct build b = {.store = s, .err = err};
  struct state state;
  int rc = read_state(&b, &state);
  int64_t segment = rc ? -1 : next_segment(&state);
  *left = false;
  if (segment >= 0) {
    rc = build_segment(&b, &state, segment);
    if (!rc) rc = read_state(&b, &state);
    *left = !rc && next_segment(&state) >= 0;
  }
  end_build(&b);
  return rc;
}

/* ---- what comes late ---- */

static int read_end(struct sd_store *s, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_NAMES_END, err);
  if (!st) return err->code;
  int rc = sqlite3_step(st) == SQLITE_ROW ? 0 : sd_store_error(s, err, "read the library");
  s->names_end = rc ? 0 : sqlite3_column_int64(st, 0);
  sqlite3_reset(st);
  return rc;
}

int sd_name_index_note(struct sd_store *s, const struct sd_batch *b, struct sd_err *err) {
  int rc = s->names_end < 0 ? read_end(s, err) : 0;
  for (size_t i = 0; !rc && i < b->entries_len; i++) {
    const struct sd_entry *e = &b->entries[i];
    if (e->change != SD_CHANGE_INSERT || e->id >= s->names_end) continue;
    sqlite3_stmt *st = sd_store_stmt(s, ST_NAMES_TODO, err);
    if (!st) return err->code;
    sqlite3_bind_int64(st, 1, e->id);
    rc = sd_store_run(s, st, err, "note a name");
  }
  return rc;
}
