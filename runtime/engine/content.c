#include "engine/content.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/utf8.h"
#include "base/uuid.h"
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
  sd_arena_fini(&c->arena);
  free(c);
}

/* ---- what is to be hashed ---- */

static const char select_sql[] =
    "SELECT e.id,e.parent_id,e.name,e.size,e.allocated,e.mtime,e.ctime,e.dev,e.ino,e.nlink,"
    "d.anchor,d.path,"
    " iif(e.nlink>1,(SELECT t.id FROM entry t INDEXED BY entry_inode JOIN content c"
    "  ON c.id=t.content_id WHERE t.dev=e.dev AND t.ino=e.ino AND t.nlink>1 AND t.kind=1"
    "  AND t.size=e.size AND t.mtime=e.mtime AND (c.hash_kind=1 OR NOT ?4) LIMIT 1),0)"
    " FROM entry e INDEXED BY entry_todo JOIN directory d ON d.entry_id=e.parent_id"
    " WHERE e.content_id=0 AND e.id>?1 AND d.location_id=?2"
    " AND (e.nlink<2 OR NOT EXISTS(SELECT 1 FROM entry t INDEXED BY entry_inode WHERE t.dev=e.dev"
    "  AND t.ino=e.ino AND t.nlink>1 AND t.kind=1 AND t.content_id=0 AND t.id<e.id))"
    " ORDER BY e.id LIMIT ?3";

static const char anchor_sql[] = "SELECT anchor,path FROM directory WHERE entry_id=?1";

static char *copy_column(struct sd_contents *c, sqlite3_stmt *q, int i, uint32_t *len) {
  const void *p = sqlite3_column_blob(q, i);
  *len = (uint32_t)sqlite3_column_bytes(q, i);
  return sd_arena_copy(&c->arena, p ? p : "", *len);
}

/* Puts the pieces of a long path in front of item->dir, up to the root. */
static int add_anchors(struct sd_store *s, struct sd_contents *c, struct sd_content *item,
                       int64_t anchor, struct sd_err *err) {
  sqlite3_stmt *q = NULL;
  int rc = 0;
  if (sqlite3_prepare_v2(sd_store_db(s), anchor_sql, -1, &q, NULL) != SQLITE_OK)
    rc = sd_store_error(s, err, "prepare");
  while (!rc && anchor) {
    uint32_t len;
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
  i->dir = copy_column(c, q, 11, &i->dir_len);
  i->twin = sqlite3_column_int64(q, 12);
  if (!i->name || !i->dir) return sd_err_nomem(err);
  c->items_len++;
  if (!i->twin) c->bytes += (uint64_t)i->st.size;
  int64_t anchor = sqlite3_column_int64(q, 10);
  return anchor ? add_anchors(s, c, i, anchor, err) : 0;
}

int sd_contents_select(struct sd_store *s, const struct sd_content_want *want,
                       struct sd_contents *out, struct sd_err *err) {
  sqlite3_stmt *q = NULL;
  int step = SQLITE_DONE, rc = 0;
  if (sqlite3_prepare_v2(sd_store_db(s), select_sql, -1, &q, NULL) != SQLITE_OK)
    return sd_store_error(s, err, "prepare");
  sqlite3_bind_int64(q, 1, want->after);
  sqlite3_bind_int64(q, 2, want->location_id);
  sqlite3_bind_int(q, 3, want->limit);
  sqlite3_bind_int(q, 4, want->full);
  while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW) rc = add_item(s, out, q, err);
  if (!rc && step != SQLITE_DONE) rc = sd_store_error(s, err, "read the library");
  sqlite3_finalize(q);
  return rc;
}

/* ---- what was found ---- */

/* `n` more entries have this content; gives its id. */
static int put_content(struct sd_store *s, const struct sd_content *i, int64_t n, int64_t *id,
                       struct sd_err *err) {
  uint8_t uuid[SD_UUID_LEN];
  sqlite3_stmt *st = sd_store_stmt(s, ST_CONTENT_PUT, err);
  if (!st) return err->code;
  sd_uuid_from_hash(i->hash, uuid);
  sqlite3_bind_blob(st, 1, uuid, sizeof(uuid), SQLITE_STATIC);
  sqlite3_bind_blob(st, 2, i->hash, sizeof(i->hash), SQLITE_STATIC);
  sqlite3_bind_int(st, 3, i->kind);
  sqlite3_bind_int64(st, 4, i->now.size);
  sqlite3_bind_text(st, 5, i->mime, -1, SQLITE_STATIC);
  sqlite3_bind_text(st, 6, i->mime ? sd_mime_kind(i->mime) : NULL, -1, SQLITE_STATIC);
  sqlite3_bind_int64(st, 7, n);
  sqlite3_bind_int64(st, 8, s->now);
  int rc = sqlite3_step(st);
  *id = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
  int code = rc == SQLITE_ROW ? 0 : sd_store_error(s, err, "write a content");
  sqlite3_reset(st);
  return code;
}

/* The file has changed since it was listed: its row says what was hashed. */
static int refresh_stat(struct sd_store *s, const struct sd_content *i, int64_t entry_id,
                        struct sd_err *err) {
  struct sd_totals t = {0};
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_STAT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, entry_id);
  sqlite3_bind_int64(st, 2, i->now.size);
  sqlite3_bind_int64(st, 3, i->now.allocated);
  sqlite3_bind_int64(st, 4, i->now.mtime);
  sqlite3_bind_int64(st, 5, i->now.ctime);
  int rc = sqlite3_step(st);
  int64_t parent = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
  int code = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : sd_store_error(s, err, "update an entry");
  sqlite3_reset(st);
  sd_totals_add(&t, &i->now, 1);
  sd_totals_add(&t, &i->st, -1);
  return code ? code : sd_store_add_totals(s, parent, &t, err);
}

static int link_entry(struct sd_store *s, const struct sd_content *i, int64_t entry_id,
                      int64_t content_id, struct sd_err *err) {
  bool stale = i->now.size != i->st.size || i->now.allocated != i->st.allocated ||
               i->now.mtime != i->st.mtime || i->now.ctime != i->st.ctime;
  int rc = stale ? refresh_stat(s, i, entry_id, err) : 0;
  sqlite3_stmt *st = rc ? NULL : sd_store_stmt(s, ST_ENTRY_LINK, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, entry_id);
  if (content_id) sqlite3_bind_int64(st, 2, content_id);
  else sqlite3_bind_null(st, 2);
  return sd_store_run(s, st, err, "link a content");
}

/* The other names of the inode that still wait. */
struct names {
  int64_t *ids;
  size_t ids_len, ids_cap;
};

static int other_names(struct sd_store *s, const struct sd_content *i, struct names *out,
                       struct sd_err *err) {
  int step = SQLITE_DONE, rc = 0;
  if (i->st.nlink < 2) return 0;
  sqlite3_stmt *st = sd_store_stmt(s, ST_INODE_CONTENT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, (int64_t)i->st.dev);
  sqlite3_bind_int64(st, 2, (int64_t)i->st.ino);
  sqlite3_bind_int64(st, 3, i->entry_id);
  while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW)
    if (!SD_ARRAY_ROOM(out, ids)) rc = sd_err_nomem(err);
    else out->ids[out->ids_len++] = sqlite3_column_int64(st, 0);
  if (!rc && step != SQLITE_DONE) rc = sd_store_error(s, err, "read the library");
  sqlite3_reset(st);
  return rc;
}

/* 1: the entry is gone or has been linked meanwhile. */
static int still_waits(struct sd_store *s, int64_t entry_id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_ENTRY_GET, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, entry_id);
  int rc = sqlite3_step(st);
  bool waits = rc == SQLITE_ROW && sqlite3_column_type(st, 4) == SQLITE_INTEGER &&
               sqlite3_column_int64(st, 4) == 0;
  int code =
      rc == SQLITE_ROW || rc == SQLITE_DONE ? !waits : sd_store_error(s, err, "read an entry");
  sqlite3_reset(st);
  return code;
}

static int link_hashed(struct sd_store *s, const struct sd_content *i, struct sd_link_count *n,
                       struct sd_err *err) {
  struct names names = {0};
  int64_t content_id = 0;
  int rc = still_waits(s, i->entry_id, err);
  if (rc) return rc < 0 ? rc : 0;
  rc = other_names(s, i, &names, err);
  /* Emptied since it was listed: no content, as for what was listed empty. */
  if (!rc && i->now.size) rc = put_content(s, i, 1 + (int64_t)names.ids_len, &content_id, err);
  if (!rc) rc = link_entry(s, i, i->entry_id, content_id, err);
  for (size_t k = 0; !rc && k < names.ids_len; k++)
    rc = link_entry(s, i, names.ids[k], content_id, err);
  n->linked += 1 + names.ids_len;
  free(names.ids);
  return rc;
}

/* Another name of the inode was hashed before: its content is this one's. */
static int link_twin(struct sd_store *s, const struct sd_content *i, struct sd_link_count *n,
                     struct sd_err *err) {
  static const char sql[] =
      "UPDATE content SET entries=entries+1 WHERE id=(SELECT content_id FROM entry WHERE id=?1)"
      " RETURNING id";
  sqlite3_stmt *st = NULL;
  int rc = still_waits(s, i->entry_id, err);
  if (rc) return rc < 0 ? rc : 0;
  if (sqlite3_prepare_v2(sd_store_db(s), sql, -1, &st, NULL) != SQLITE_OK)
    return sd_store_error(s, err, "prepare");
  sqlite3_bind_int64(st, 1, i->twin);
  int step = sqlite3_step(st);
  int64_t content_id = step == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
  rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : sd_store_error(s, err, "link a content");
  sqlite3_finalize(st);
  struct sd_content same = *i;
  same.now = i->st;
  if (!rc && content_id) rc = link_entry(s, &same, i->entry_id, content_id, err);
  n->linked++;
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
                                         : strerrordesc_np(-i->code);
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
    if (i->twin) rc = link_twin(s, i, n, err);
    else if (i->kind) rc = link_hashed(s, i, n, err);
    else if (i->code == -ENOENT) rc = note_vanished(s, i, o, n, err);
    else if (i->code != SD_ECANCELED) rc = note_failed(s, i, o, n, err);
  }
  return rc;
}
