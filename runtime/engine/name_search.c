#include "engine/name_search.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "engine/grams.h"
#include "engine/matcher.h"

enum { COL_ID, COL_PARENT, COL_KIND, COL_NAME, COL_PATTERN, COL_MODE };

enum { GRAMS_MOST = 16 }; /* rows that are looked up for one pattern */

enum { Q_END, Q_OLD_END, Q_TODO, Q_PACKS, Q_GRAM, Q_MASK, Q_LATE, Q_TAIL, Q_COUNT };

static const char *const sql[Q_COUNT] = {
    [Q_END] = "SELECT coalesce(max(names_end)/64,0) FROM counter",
    [Q_OLD_END] = "SELECT coalesce(max(id)+1,0) FROM name_pack", /* of a library of version 2 */
    [Q_TODO] = "SELECT id FROM name_todo ORDER BY id",
    [Q_PACKS] = "SELECT id,data FROM name_pack WHERE id>=?1 ORDER BY id",
    [Q_GRAM] = "SELECT bits FROM name_gram WHERE id=?1",
    [Q_MASK] = "SELECT masks FROM name_mask WHERE id=?1",
    [Q_LATE] = "SELECT id,parent_id,kind,name FROM entry WHERE id=?1",
    [Q_TAIL] = "SELECT id,parent_id,kind,name FROM entry WHERE id>=?1 ORDER BY id",
};

/* Where the next match is looked for. */
enum phase { IN_PACKS, IN_TODO, IN_TAIL, AT_END };

struct vtab {
  sqlite3_vtab base;
  sqlite3 *db;
  const atomic_int *stop;
};

struct cursor {
  sqlite3_vtab_cursor base;
  sqlite3_stmt *q[Q_COUNT];
  struct sd_matcher *m;
  enum phase phase;
  bool has_masks;
  int64_t packs; /* how many there are */
  int64_t *todo; /* ids for which packs are not right, in their order */
  size_t todo_len, todo_cap, todo_at;
  /* in packs */
  int64_t pack_id; /* the pack that is looked at, or was */
  bool reading;    /* Q_PACKS stands on it */
  struct sd_pack pack;
  const char *text, *folded;          /* of the pack; NULL: it is done with */
  size_t at;                          /* in the text, where the search goes on */
  unsigned nth;                       /* the entry that `at` stands before */
  uint64_t candidates[SD_GRAM_WORDS]; /* packs of the segment */
  /* the match */
  int64_t id, parent_id;
  int kind;
  const char *name; /* lives until the cursor moves */
  size_t name_len;
};

/* ---- statements ---- */

static int fail(struct vtab *v, const char *why) {
  sqlite3_free(v->base.zErrMsg);
  v->base.zErrMsg = sqlite3_mprintf("%s", why);
  return SQLITE_ERROR;
}

static int db_error(struct vtab *v) {
  int rc = sqlite3_errcode(v->db);
  sqlite3_free(v->base.zErrMsg);
  v->base.zErrMsg = sqlite3_mprintf("%s", sqlite3_errmsg(v->db));
  return rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_ERROR : rc;
}

/* Resets the statement and binds `id` where it has a parameter. */
static int query(struct cursor *c, int which, int64_t id) {
  struct vtab *v = (struct vtab *)c->base.pVtab;
  sqlite3_stmt **q = &c->q[which];
  if (!*q && sqlite3_prepare_v2(v->db, sql[which], -1, q, NULL) != SQLITE_OK) return db_error(v);
  sqlite3_reset(*q);
  if (sqlite3_bind_parameter_count(*q)) sqlite3_bind_int64(*q, 1, id);
  return SQLITE_OK;
}

/* The first column of the only row. */
static int query_int(struct cursor *c, int which, int64_t *out) {
  int rc = query(c, which, 0);
  if (rc) return rc;
  if (sqlite3_step(c->q[which]) != SQLITE_ROW) return db_error((struct vtab *)c->base.pVtab);
  *out = sqlite3_column_int64(c->q[which], 0);
  sqlite3_reset(c->q[which]);
  return SQLITE_OK;
}

/* A library of version 2 has no packs behind the end, and no masks. */
static int read_end(struct cursor *c) {
  int rc = query_int(c, Q_END, &c->packs);
  return rc == SQLITE_ERROR ? query_int(c, Q_OLD_END, &c->packs) : rc;
}

static int read_todo(struct cursor *c) {
  int rc = query(c, Q_TODO, 0), step;
  if (rc) return rc;
  while ((step = sqlite3_step(c->q[Q_TODO])) == SQLITE_ROW) {
    if (!SD_ARRAY_ROOM(c, todo)) return SQLITE_NOMEM;
    c->todo[c->todo_len++] = sqlite3_column_int64(c->q[Q_TODO], 0);
  }
  sqlite3_reset(c->q[Q_TODO]);
  return step == SQLITE_DONE ? SQLITE_OK : db_error((struct vtab *)c->base.pVtab);
}

static bool in_todo(const struct cursor *c, int64_t id) {
  size_t low = 0, high = c->todo_len;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (c->todo[mid] < id) low = mid + 1;
    else high = mid;
  }
  return low < c->todo_len && c->todo[low] == id;
}

/* ---- which packs ---- */

/* Takes from the candidates what a row does not have. A row that is not there, or is shorter, says
 * nothing. */
static int apply_row(struct cursor *c, int64_t segment, unsigned row) {
  int rc = query(c, Q_GRAM, segment * (SD_GRAM_ROWS / SD_GRAM_GROUP) + row / SD_GRAM_GROUP);
  if (rc) return rc;
  int step = sqlite3_step(c->q[Q_GRAM]);
  if (step == SQLITE_ROW) {
    size_t words = (size_t)sqlite3_column_bytes(c->q[Q_GRAM], 0) / 8 / SD_GRAM_GROUP;
    const uint8_t *p = sqlite3_column_blob(c->q[Q_GRAM], 0);
    if (words > SD_GRAM_WORDS) words = SD_GRAM_WORDS;
    if (p) p += words * 8 * (row % SD_GRAM_GROUP);
    for (size_t w = 0; p && w < words; w++, p += 8) c->candidates[w] &= sd_get_u64(p);
  }
  sqlite3_reset(c->q[Q_GRAM]);
  return step == SQLITE_ROW || step == SQLITE_DONE ? SQLITE_OK
                                                   : db_error((struct vtab *)c->base.pVtab);
}

/* Takes from `parts`, a bit for each sixteenth of the segment, what a mask does not have. */
static int apply_mask(struct cursor *c, int64_t segment, unsigned mask, unsigned *parts) {
  int rc = query(c, Q_MASK, segment * (SD_MASKS / SD_MASK_GROUP) + mask / SD_MASK_GROUP);
  if (rc) return rc;
  int step = sqlite3_step(c->q[Q_MASK]);
  if (step == SQLITE_ROW && sqlite3_column_bytes(c->q[Q_MASK], 0) == SD_MASK_GROUP * 2) {
    const uint8_t *p = sqlite3_column_blob(c->q[Q_MASK], 0);
    p += mask % SD_MASK_GROUP * 2;
    *parts &= p[0] | (unsigned)p[1] << 8;
  }
  sqlite3_reset(c->q[Q_MASK]);
  return step == SQLITE_ROW || step == SQLITE_DONE ? SQLITE_OK
                                                   : db_error((struct vtab *)c->base.pVtab);
}

static int find_candidates(struct cursor *c, int64_t segment) {
  enum { PART_WORDS = SD_MASK_PACKS / 64 };
  const char *needle;
  struct sd_gram grams[GRAMS_MOST];
  size_t n = sd_matcher_needle(c->m, &needle);
  unsigned count = sd_grams_of(needle, n, grams, GRAMS_MOST), parts = 0xffff;
  int rc = SQLITE_OK;
  for (unsigned i = 0; !rc && c->has_masks && parts && i < count; i++)
    rc = apply_mask(c, segment, grams[i].mask, &parts);
  for (unsigned w = 0; w < SD_GRAM_WORDS; w++)
    c->candidates[w] = parts >> w / PART_WORDS & 1 ? UINT64_MAX : 0;
  for (unsigned i = 0; !rc && parts && i < count; i++) rc = apply_row(c, segment, grams[i].row);
  return rc;
}

/* ---- packs ---- */

/* The next pack that may match, from `id` on; behind the last one where there is none. */
static int next_candidate(struct cursor *c, int64_t id, int64_t *out) {
  for (; id < c->packs; id++) {
    unsigned nth = (unsigned)(id % SD_SEGMENT_PACKS);
    int rc = nth == 0 ? find_candidates(c, id / SD_SEGMENT_PACKS) : SQLITE_OK;
    if (rc) return rc;
    uint64_t left = c->candidates[nth / 64] >> nth % 64;
    if (left & 1) break;
    if (!left) id |= 63; /* none in this word any more */
  }
  *out = id;
  return SQLITE_OK;
}

/* Reads the pack `id`: the next row of the statement, or one that is looked up. SQLITE_NOTFOUND
 * where it is not there. */
static int read_pack(struct cursor *c, int64_t id) {
  struct vtab *v = (struct vtab *)c->base.pVtab;
  int rc = id == c->pack_id + 1 && c->reading ? SQLITE_OK : query(c, Q_PACKS, id);
  c->pack_id = id;
  if (rc) return rc;
  sqlite3_stmt *q = c->q[Q_PACKS]; /* holds the bytes until it is stepped */
  int step = sqlite3_step(q);
  c->reading = step == SQLITE_ROW;
  if (step == SQLITE_DONE) return SQLITE_NOTFOUND;
  if (step != SQLITE_ROW) return db_error(v);
  if (sqlite3_column_int64(q, 0) != id) {
    c->reading = false;
    return SQLITE_NOTFOUND;
  }
  if (sd_pack_open(sqlite3_column_blob(q, 1), (size_t)sqlite3_column_bytes(q, 1), &c->pack))
    return fail(v, "the index of names is damaged: index again into a new library");
  return SQLITE_OK;
}

/* Goes to the next pack with names that may match; *found is false where there is none. */
static int open_pack(struct cursor *c, bool *found) {
  struct vtab *v = (struct vtab *)c->base.pVtab;
  int64_t id = c->pack_id;
  int rc = SQLITE_NOTFOUND;
  while (rc == SQLITE_NOTFOUND) {
    if ((rc = next_candidate(c, id + 1, &id))) return rc;
    *found = id < c->packs;
    if (!*found) return SQLITE_OK;
    if (v->stop && atomic_load(v->stop)) return SQLITE_INTERRUPT;
    rc = read_pack(c, id);
    if (!rc && !c->pack.text_len) rc = SQLITE_NOTFOUND;
  }
  if (rc) return rc;
  c->at = 1; /* behind the zero byte */
  c->nth = 0;
  c->text = c->pack.text;
  c->folded = c->text;
  if (sd_matcher_is_find(c->m)) c->folded = sd_matcher_fold(c->m, c->text, c->pack.text_len);
  return c->folded ? SQLITE_OK : SQLITE_NOMEM;
}

static unsigned zeros(const char *p, size_t n) {
  unsigned count = 0;
  for (size_t i = 0; i < n; i++) count += p[i] == 0;
  return count;
}

/* Sets the name that begins there, and moves behind it. */
static void take_name(struct cursor *c, size_t begin) {
  const char *stop = memchr(c->text + begin, 0, c->pack.text_len - begin);
  c->name = c->text + begin;
  c->name_len = (size_t)(stop - c->name); /* the text ends with a zero byte */
  c->at = begin + c->name_len + 1;
}

/* A pattern that is bytes: found in many names at once. */
static bool find_in_pack(struct cursor *c) {
  if (c->at >= c->pack.text_len) return false;
  const char *hit = sd_matcher_find(c->m, c->folded + c->at, c->pack.text_len - c->at);
  if (!hit) return false;
  size_t begin = (size_t)(hit - c->folded);
  while (begin > c->at && c->text[begin - 1]) begin--;
  c->nth += zeros(c->text + c->at, begin - c->at);
  take_name(c, begin);
  return true;
}

/* 1: a name of the pack matches; 0: none does any more. */
static int match_in_pack(struct cursor *c, struct sd_err *err) {
  for (; c->at < c->pack.text_len; c->nth++) {
    take_name(c, c->at);
    int rc = sd_matcher_match(c->m, c->name, c->name_len, err);
    if (rc) return rc;
  }
  return 0;
}

/* 1: there is a match; 0: not in this pack. */
static int search_pack(struct cursor *c, struct sd_err *err) {
  for (;;) {
    int rc = sd_matcher_is_find(c->m) ? find_in_pack(c) : match_in_pack(c, err);
    if (rc != 1) return rc;
    struct sd_packed e = sd_pack_entry(&c->pack, c->nth++);
    c->id = c->pack_id * SD_PACK_IDS + e.offset;
    c->parent_id = e.parent_id;
    c->kind = e.kind;
    if (!c->todo_len || !in_todo(c, c->id)) return 1;
  }
}

static int next_in_packs(struct cursor *c) {
  struct sd_err err;
  for (;;) {
    bool found = c->text != NULL;
    int rc = found ? SQLITE_OK : open_pack(c, &found);
    if (rc) return rc;
    if (!found) {
      c->phase = IN_TODO;
      return SQLITE_OK;
    }
    int match = search_pack(c, &err);
    if (match < 0) return fail((struct vtab *)c->base.pVtab, err.msg);
    if (match) return SQLITE_ROW;
    c->text = NULL;
  }
}

/* ---- rows ---- */

/* SQLITE_ROW where the row that the statement stands on matches. */
static int match_row(struct cursor *c, sqlite3_stmt *q) {
  struct sd_err err;
  const char *name = sqlite3_column_blob(q, 3);
  c->name = name ? name : "";
  c->name_len = (size_t)sqlite3_column_bytes(q, 3);
  int rc = sd_matcher_match(c->m, c->name, c->name_len, &err);
  if (rc < 0) return fail((struct vtab *)c->base.pVtab, err.msg);
  if (!rc) return SQLITE_OK;
  c->id = sqlite3_column_int64(q, 0);
  c->parent_id = sqlite3_column_int64(q, 1);
  c->kind = sqlite3_column_int(q, 2);
  return SQLITE_ROW;
}

static int next_in_todo(struct cursor *c) {
  while (c->todo_at < c->todo_len) {
    int64_t id = c->todo[c->todo_at++];
    if (id >= c->packs * SD_PACK_IDS) break; /* the rest is in the tail */
    int rc = query(c, Q_LATE, id);
    if (rc) return rc;
    int step = sqlite3_step(c->q[Q_LATE]);
    if (step == SQLITE_ROW && (rc = match_row(c, c->q[Q_LATE]))) return rc;
    if (step != SQLITE_ROW && step != SQLITE_DONE) return db_error((struct vtab *)c->base.pVtab);
  }
  c->phase = IN_TAIL;
  return query(c, Q_TAIL, c->packs * SD_PACK_IDS);
}

static int next_in_tail(struct cursor *c) {
  struct vtab *v = (struct vtab *)c->base.pVtab;
  int step;
  while ((step = sqlite3_step(c->q[Q_TAIL])) == SQLITE_ROW) {
    int rc = match_row(c, c->q[Q_TAIL]);
    if (rc) return rc;
  }
  c->phase = AT_END;
  return step == SQLITE_DONE ? SQLITE_OK : db_error(v);
}

/* ---- the virtual table ---- */

static int next(sqlite3_vtab_cursor *base) {
  struct cursor *c = (struct cursor *)base;
  int rc = SQLITE_OK;
  if (c->phase == IN_PACKS) rc = next_in_packs(c);
  if (rc == SQLITE_OK && c->phase == IN_TODO) rc = next_in_todo(c);
  if (rc == SQLITE_OK && c->phase == IN_TAIL) rc = next_in_tail(c);
  return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static void end_search(struct cursor *c) {
  for (int i = 0; i < Q_COUNT; i++) sqlite3_reset(c->q[i]);
  sd_matcher_close(c->m);
  c->m = NULL;
  c->todo_len = c->todo_at = 0;
  c->packs = 0;
  c->pack_id = -1;
  c->reading = false;
  c->text = NULL;
  c->phase = AT_END;
}

static int open_matcher(struct cursor *c, sqlite3_value *pattern, sqlite3_value *mode) {
  struct sd_err err;
  size_t offset;
  char why[256];
  const char *p = sqlite3_value_blob(pattern);
  size_t n = (size_t)sqlite3_value_bytes(pattern);
  if (!sd_matcher_open(sqlite3_value_int(mode), p ? p : "", n, &c->m, &offset, &err))
    return SQLITE_OK;
  snprintf(why, sizeof(why), "%.200s at offset %zu of the pattern", err.msg, offset);
  return fail((struct vtab *)c->base.pVtab, why);
}

static int filter(sqlite3_vtab_cursor *base, int idx, const char *str, int argc,
                  sqlite3_value **argv) {
  (void)idx, (void)str, (void)argc;
  struct cursor *c = (struct cursor *)base;
  end_search(c);
  int rc = open_matcher(c, argv[0], argv[1]);
  if (!rc) rc = read_end(c);
  c->has_masks = !rc && query(c, Q_MASK, 0) == SQLITE_OK;
  if (!rc && c->packs) rc = read_todo(c);
  c->phase = IN_PACKS;
  return rc ? rc : next(base);
}

static int connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out,
                   char **msg) {
  (void)argc, (void)argv, (void)msg;
  int rc =
      sqlite3_declare_vtab(db, "CREATE TABLE x(id,parent_id,kind,name,pattern HIDDEN,mode HIDDEN)");
  if (rc != SQLITE_OK) return rc;
  struct vtab *v = sqlite3_malloc(sizeof(*v));
  if (!v) return SQLITE_NOMEM;
  memset(v, 0, sizeof(*v));
  v->db = db;
  v->stop = aux;
  *out = &v->base;
  return SQLITE_OK;
}

static int disconnect(sqlite3_vtab *v) {
  sqlite3_free(v);
  return SQLITE_OK;
}

static int best_index(sqlite3_vtab *v, sqlite3_index_info *info) {
  (void)v;
  int found = 0;
  for (int i = 0; i < info->nConstraint; i++) {
    int column = info->aConstraint[i].iColumn;
    bool ours = column == COL_PATTERN || column == COL_MODE;
    if (!ours || !info->aConstraint[i].usable ||
        info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ)
      continue;
    info->aConstraintUsage[i].argvIndex = column == COL_PATTERN ? 1 : 2;
    info->aConstraintUsage[i].omit = 1;
    found |= column == COL_PATTERN ? 1 : 2;
  }
  info->estimatedCost = 10000;
  info->estimatedRows = 1000;
  return found == 3 ? SQLITE_OK : SQLITE_CONSTRAINT;
}

static int open_cursor(sqlite3_vtab *v, sqlite3_vtab_cursor **out) {
  (void)v;
  struct cursor *c = sqlite3_malloc(sizeof(*c));
  if (!c) return SQLITE_NOMEM;
  memset(c, 0, sizeof(*c));
  *out = &c->base;
  return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *base) {
  struct cursor *c = (struct cursor *)base;
  end_search(c);
  for (int i = 0; i < Q_COUNT; i++) sqlite3_finalize(c->q[i]);
  free(c->todo);
  sqlite3_free(c);
  return SQLITE_OK;
}

static int eof(sqlite3_vtab_cursor *base) {
  return ((struct cursor *)base)->phase == AT_END;
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *x, int i) {
  const struct cursor *c = (struct cursor *)base;
  switch (i) {
    case COL_ID: sqlite3_result_int64(x, c->id); break;
    case COL_PARENT: sqlite3_result_int64(x, c->parent_id); break;
    case COL_KIND: sqlite3_result_int(x, c->kind); break;
    case COL_NAME: /* bytes: whoever shows them looks whether they are text */
      sqlite3_result_blob(x, c->name, (int)c->name_len, SQLITE_STATIC);
      break;
    default: sqlite3_result_null(x);
  }
  return SQLITE_OK;
}

static int rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *out) {
  *out = ((struct cursor *)base)->id;
  return SQLITE_OK;
}

/* ---- sd_match ---- */

static void close_matcher(void *m) {
  sd_matcher_close(m);
}

/* The matcher of kind and pattern, kept by SQLite as long as both are constant. */
static struct sd_matcher *matcher_of(sqlite3_context *x, sqlite3_value **argv) {
  struct sd_err err;
  size_t offset;
  char why[256];
  struct sd_matcher *m = sqlite3_get_auxdata(x, 1);
  if (m) return m;
  const char *p = sqlite3_value_blob(argv[1]);
  size_t n = (size_t)sqlite3_value_bytes(argv[1]);
  if (sd_matcher_open(sqlite3_value_int(argv[0]), p ? p : "", n, &m, &offset, &err)) {
    snprintf(why, sizeof(why), "%.200s at offset %zu of the pattern", err.msg, offset);
    sqlite3_result_error(x, why, -1);
    return NULL;
  }
  sqlite3_set_auxdata(x, 1, m, close_matcher);
  return sqlite3_get_auxdata(x, 1);
}

static void match(sqlite3_context *x, int argc, sqlite3_value **argv) {
  struct sd_err err;
  struct sd_matcher *m = matcher_of(x, argv);
  (void)argc;
  if (!m) return;
  const char *s = sqlite3_value_blob(argv[2]);
  int rc = sd_matcher_match(m, s ? s : "", (size_t)sqlite3_value_bytes(argv[2]), &err);
  if (rc < 0) sqlite3_result_error(x, err.msg, -1);
  else sqlite3_result_int(x, rc);
}

int sd_name_search_register(sqlite3 *db, const atomic_int *stop) {
  static const sqlite3_module module = {
      .xConnect = connect,
      .xBestIndex = best_index,
      .xDisconnect = disconnect,
      .xOpen = open_cursor,
      .xClose = close_cursor,
      .xFilter = filter,
      .xNext = next,
      .xEof = eof,
      .xColumn = column,
      .xRowid = rowid,
  };
  int rc = sqlite3_create_module(db, "sd_names", &module, (void *)stop);
  if (rc) return rc;
  return sqlite3_create_function(db, "sd_match", 3,
                                 SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY, NULL,
                                 match, NULL, NULL);
}
