/* The virtual table through which the new entries of a batch reach INSERT … SELECT: one statement
 * for a batch instead of one for a row, which takes a third off the time of a row. The batch comes
 * in through the pointer-passing interface (sqlite.org/bindptr.html). */
#include <stdlib.h>
#include <string.h>

#include "engine/store_internal.h"

enum {
  COL_ID,
  COL_PARENT,
  COL_NAME,
  COL_SIG,
  COL_KIND,
  COL_SIZE,
  COL_ALLOCATED,
  COL_MTIME,
  COL_CTIME,
  COL_BTIME,
  COL_DEV,
  COL_INO,
  COL_MODE,
  COL_UID,
  COL_GID,
  COL_NLINK,
  COL_CONTENT,
  COL_UUID,
  COL_TARGET,
  COL_ROWS
};

struct cursor {
  sqlite3_vtab_cursor base;
  struct sd_rows *rows;
};

static int connect(sqlite3 *db, void *aux, int argc, const char *const *argv, sqlite3_vtab **out,
                   char **msg) {
  (void)aux, (void)argc, (void)argv, (void)msg;
  int rc = sqlite3_declare_vtab(
      db,
      "CREATE TABLE x(id,parent_id,name,sig,kind,size,allocated,mtime,ctime,btime,dev,ino,mode,uid,"
      "gid,nlink,content_id,uuid,target,rows HIDDEN)");
  if (rc != SQLITE_OK) return rc;
  *out = sqlite3_malloc(sizeof(**out));
  if (!*out) return SQLITE_NOMEM;
  memset(*out, 0, sizeof(**out));
  return SQLITE_OK;
}

static int disconnect(sqlite3_vtab *v) {
  sqlite3_free(v);
  return SQLITE_OK;
}

static int best_index(sqlite3_vtab *v, sqlite3_index_info *info) {
  (void)v;
  for (int i = 0; i < info->nConstraint; i++)
    if (info->aConstraint[i].usable && info->aConstraint[i].iColumn == COL_ROWS) {
      info->aConstraintUsage[i].argvIndex = 1;
      info->aConstraintUsage[i].omit = 1;
      info->estimatedCost = 1;
      return SQLITE_OK;
    }
  return SQLITE_CONSTRAINT;
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
  sqlite3_free(base);
  return SQLITE_OK;
}

static void skip_known(struct sd_rows *r) {
  while (r->at < r->to && r->entries[r->at].change != SD_CHANGE_INSERT) r->at++;
}

static int filter(sqlite3_vtab_cursor *base, int idx, const char *str, int argc,
                  sqlite3_value **argv) {
  (void)idx, (void)str, (void)argc;
  struct cursor *c = (struct cursor *)base;
  c->rows = sqlite3_value_pointer(argv[0], SD_ROWS_POINTER);
  if (!c->rows) return SQLITE_MISUSE;
  c->rows->at = c->rows->from;
  skip_known(c->rows);
  return SQLITE_OK;
}

static int next(sqlite3_vtab_cursor *base) {
  struct sd_rows *r = ((struct cursor *)base)->rows;
  r->at++;
  skip_known(r);
  return SQLITE_OK;
}

static int eof(sqlite3_vtab_cursor *base) {
  const struct sd_rows *r = ((struct cursor *)base)->rows;
  return r->at >= r->to;
}

static void result_name(sqlite3_context *x, const struct sd_entry *e) {
  if (e->name_text) sqlite3_result_text(x, e->name, e->name_len, SQLITE_STATIC);
  else sqlite3_result_blob(x, e->name, e->name_len, SQLITE_STATIC);
}

static void result_target(sqlite3_context *x, const struct sd_entry *e) {
  if (!e->target) sqlite3_result_null(x);
  else if (e->target_text) sqlite3_result_text(x, e->target, (int)e->target_len, SQLITE_STATIC);
  else sqlite3_result_blob(x, e->target, (int)e->target_len, SQLITE_STATIC);
}

static void result_content(sqlite3_context *x, const struct sd_entry *e, bool want) {
  if (want && e->st.kind == SD_KIND_FILE && e->st.size > 0) sqlite3_result_int(x, 0);
  else sqlite3_result_null(x);
}

static void result_btime(sqlite3_context *x, const struct sd_stat *st) {
  if (st->flags & SD_ENTRY_BTIME) sqlite3_result_int64(x, st->btime);
  else sqlite3_result_null(x);
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *x, int i) {
  const struct sd_rows *r = ((struct cursor *)base)->rows;
  const struct sd_entry *e = &r->entries[r->at];
  const struct sd_stat *st = &e->st;
  switch (i) {
    case COL_ID: sqlite3_result_int64(x, e->id); break;
    case COL_PARENT: sqlite3_result_int64(x, e->parent_id); break;
    case COL_NAME: result_name(x, e); break;
    case COL_SIG: sqlite3_result_int64(x, sd_stat_sig(st)); break;
    case COL_KIND: sqlite3_result_int(x, st->kind); break;
    case COL_SIZE: sqlite3_result_int64(x, st->size); break;
    case COL_ALLOCATED: sqlite3_result_int64(x, st->allocated); break;
    case COL_MTIME: sqlite3_result_int64(x, st->mtime); break;
    case COL_CTIME: sqlite3_result_int64(x, st->ctime); break;
    case COL_BTIME: result_btime(x, st); break;
    case COL_DEV: sqlite3_result_int64(x, (int64_t)st->dev); break;
    case COL_INO: sqlite3_result_int64(x, (int64_t)st->ino); break;
    case COL_MODE: sqlite3_result_int64(x, sd_stat_stored_mode(st)); break;
    case COL_UID: sqlite3_result_int64(x, st->uid); break;
    case COL_GID: sqlite3_result_int64(x, st->gid); break;
    case COL_NLINK: sqlite3_result_int64(x, st->nlink); break;
    case COL_CONTENT: result_content(x, e, r->want_content); break;
    case COL_UUID: sqlite3_result_blob(x, e->uuid, sizeof(e->uuid), SQLITE_STATIC); break;
    case COL_TARGET: result_target(x, e); break;
    default: sqlite3_result_null(x);
  }
  return SQLITE_OK;
}

static int rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *out) {
  *out = (sqlite3_int64)((struct cursor *)base)->rows->at;
  return SQLITE_OK;
}

int sd_rows_register(sqlite3 *db) {
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
  return sqlite3_create_module(db, "sd_rows", &module, NULL);
}
