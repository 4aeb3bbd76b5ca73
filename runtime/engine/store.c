#include "engine/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "engine/dir_path.h"
#include "engine/schema.h"
#include "engine/store_internal.h"

#define INSERT_ROWS                                                                            \
  "INSERT OR FAIL INTO entry(id,parent_id,name,sig,kind,size,allocated,mtime,ctime,btime,dev," \
  "ino,mode,uid,gid,nlink,content_id,uuid,target)"                                             \
  " SELECT id,parent_id,name,sig,kind,size,allocated,mtime,ctime,btime,"

/* All that an entry has from being where it is. */
#define PLACE_COLUMNS \
  "parent_id,name,sig,kind,size,allocated,mtime,ctime,btime,dev,ino,mode,uid,gid,nlink,target"

/* Entry `n` is new in this run. */
#define IS_FOUND(n)                                                                      \
  "EXISTS(SELECT 1 FROM found f WHERE f.location_id=?1 AND f.dev=" n ".dev AND f.ino=" n \
  ".ino AND f.entry_id=" n ".id)"

/* sd_stat_same_file() */
#define SAME_FILE                                                                         \
  "n.dev=r.dev AND n.ino=r.ino AND n.kind=r.kind AND CASE WHEN r.btime<>0 AND n.btime<>0" \
  " THEN r.btime=n.btime ELSE n.size=r.size AND n.mtime=r.mtime END"

/* Of an entry `r` that has vanished: who it is, `n`, among those that are new. In the order of the
 * key of `found` the first of many names is there without the others. */
#define FOUND_AS "f.location_id=?1 AND f.dev=r.dev AND f.ino=r.ino AND " SAME_FILE

/* Whether its bytes are the same, as far as ?3 wants it known: 0 by size and mtime, 1 also by
 * ctime. */
#define SAME_BYTES \
  "n.size=r.size AND n.mtime=r.mtime AND NOT r.mode&131072 AND (?3=0 OR n.ctime=r.ctime)"

/* a + b modulo 2^64, as sd_totals_add() has it: SQLite would make a REAL of what overflows. */
#define MOST "9223372036854775807"
#define SUM(a, b)                                                                             \
  "iif(typeof(" a "+" b ")='integer'," a "+" b ",iif(" a ">0,(" a "-" MOST "-1)+(" b "-" MOST \
  "-1),(" a "+" MOST "+1)+(" b "+" MOST "+1)))"

/* Whether a content's new type, `excluded`, replaces the one it has. */
#define BETTER_MIME                             \
  "excluded.mime IS NOT NULL AND (mime IS NULL" \
  " OR (excluded.mime_named,mime)>(mime_named,excluded.mime))"

static const char *const sql[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    /* OR FAIL keeps the rows before the one that is refused, and needs no statement journal. */
    [ST_ENTRY_INSERT] =
        INSERT_ROWS "dev,ino,mode,uid,gid,nlink,content_id,uuid,target FROM sd_rows(?1)",
    /* What is the same in all rows is said once: each column that is asked for takes time. */
    [ST_ENTRY_INSERT_ALIKE] =
        INSERT_ROWS "?2,ino,mode,?3,?4,nlink,content_id,uuid,NULL FROM sd_rows(?1)",
    [ST_ENTRY_UPDATE] =
        "UPDATE entry SET kind=?2,size=?3,allocated=?4,mtime=?5,ctime=?6,btime=?7,dev=?8,ino=?9,"
        "mode=?10,uid=?11,gid=?12,nlink=?13,sig=?14,target=?15,"
        "content_id=iif(?16,?17,content_id) WHERE id=?1",
    [ST_ENTRY_DELETE] = "DELETE FROM entry WHERE id=?1",
    [ST_ENTRY_GET] = "SELECT parent_id,kind,size,allocated,content_id FROM entry WHERE id=?1",
    [ST_ENTRY_CHILDREN] =
        "SELECT id,kind,size,allocated,content_id FROM entry"
        " WHERE parent_id=?1 AND kind<>2 LIMIT ?2",
    [ST_ENTRY_PARENT] = "SELECT parent_id FROM entry WHERE id=?1",
    [ST_ENTRY_PLACE] =
        "SELECT coalesce(v.parent_id,e.parent_id),coalesce(v.name,e.name) FROM entry e"
        " LEFT JOIN vanished v ON v.entry_id=e.id AND e.parent_id<0"
        " WHERE e.id=?1 ORDER BY v.id DESC LIMIT 1",
    [ST_ENTRY_AT] = "SELECT id FROM entry WHERE parent_id=?1 AND name=?2",
    [ST_ENTRY_TO_LIMBO] =
        "UPDATE entry SET parent_id=?2,name=?1 WHERE id=?1 AND parent_id=?3 AND name=?4",
    [ST_ENTRY_MOVE] =
        "UPDATE entry SET kind=?2,size=?3,allocated=?4,mtime=?5,ctime=?6,btime=?7,dev=?8,ino=?9,"
        "mode=?10,uid=?11,gid=?12,nlink=?13,sig=?14,parent_id=?15,name=?16 WHERE id=?1",
    [ST_ENTRY_READ_PLACE] = "SELECT " PLACE_COLUMNS ",content_id FROM entry WHERE id=?1",
    [ST_ENTRY_TAKE_PLACE] = "UPDATE entry SET (" PLACE_COLUMNS ",content_id)="
                            "(?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)"
                            " WHERE id=?1",
    [ST_ENTRY_TAKE_UUID] =
        "UPDATE entry SET uuid=(SELECT uuid FROM entry WHERE id=?2) WHERE id=?1",
    [ST_ENTRY_LINK] = "UPDATE entry SET content_id=?2 WHERE id=?1 AND content_id=0",
    [ST_ENTRY_STAT] =
        "UPDATE entry SET size=?2,allocated=?3,mtime=?4,ctime=?5,sig=NULL WHERE id=?1",
    [ST_ENTRY_KNOWN] =
        "SELECT id,parent_id,size,allocated,mtime,ctime,coalesce(content_id,0),name FROM entry"
        " WHERE id=?1 AND dev=?2 AND ino=?3 AND size=?4 AND mtime=?5 AND ctime=?6 AND kind=1",
    [ST_INODE_KNOWN] =
        "SELECT id,parent_id,size,allocated,mtime,ctime,coalesce(content_id,0),name FROM entry"
        " INDEXED BY entry_inode WHERE dev=?2 AND ino=?3 AND nlink>1 AND kind<>2 AND kind=1"
        " AND size=?4 AND mtime=?5 AND ctime=?6 AND ?1 IS NOT NULL",
    [ST_ENTRY_RELINK] = "UPDATE entry SET content_id=?2 WHERE id=?1",
    [ST_SAMPLE_PUT] =
        "INSERT OR IGNORE INTO content_sample(content_id,hash) SELECT n.id,o.hash"
        " FROM content n JOIN content o ON o.size=n.size"
        " WHERE n.id=?1 AND n.hash_kind=1 AND o.id=?2 AND o.hash_kind=2",
    [ST_ENTRY_RACY] = "UPDATE entry SET sig=NULL,mode=mode|?2 WHERE id=?1",
    [ST_ENTRY_RACY_AS] =
        "UPDATE entry SET sig=NULL,mode=mode|?2 WHERE id=?1"
        " AND (SELECT mode&?2 FROM entry WHERE id=?3)<>0",
    [ST_ENTRY_WAITING] =
        "SELECT id,parent_id,size,allocated,mtime,ctime,0,name FROM entry"
        " WHERE id=?1 AND content_id=0",
    [ST_INODE_WAITING] =
        "SELECT e.id,e.parent_id,e.size,e.allocated,e.mtime,e.ctime,0,e.name FROM entry e"
        " INDEXED BY entry_inode CROSS JOIN directory d ON d.entry_id=e.parent_id"
        " WHERE e.dev=?1 AND e.ino=?2 AND e.nlink>1 AND e.kind<>2 AND e.content_id=0"
        " AND e.btime IS ?3 AND d.location_id=?4 AND e.id<>?5",
    [ST_DIR_PATH] = "SELECT path FROM directory WHERE entry_id=?1",
    [ST_DIR_ANCHOR] = SD_DIR_PATH_SQL,
    [ST_DIR_INHERIT] =
        "SELECT e.parent_id,e.name,d.location_id,d.anchor,d.path,d.unverified,p.location_id,"
        "p.anchor,p.path,iif(d.unread,d.unread,coalesce(p.unverified,0))"
        " FROM entry e JOIN directory d ON d.entry_id=e.id"
        " LEFT JOIN directory p ON p.entry_id=e.parent_id WHERE e.id=?1",
    [ST_DIR_PUT_INHERITED] =
        "UPDATE directory SET location_id=?2,anchor=?3,path=?4,unverified=?5 WHERE entry_id=?1",
    [ST_DIR_UNREAD] = "UPDATE directory SET unread=?2 WHERE entry_id=?1 AND unread<>?2",
    [ST_DIR_BELOW] = "SELECT id FROM entry WHERE parent_id=?1 AND kind=2",
    [ST_DIR_TOTALS] =
        "SELECT files,dirs,symlinks,file_bytes,bytes,allocated,excess_bytes,excess_allocated"
        " FROM directory WHERE entry_id=?1",
    [ST_DIR_INSERT] =
        "INSERT INTO directory(entry_id,location_id,anchor,path,scanned_at,files,dirs,symlinks,"
        "file_bytes,bytes,allocated) VALUES(?1,?10,?11,?12,iif(?2,?3,NULL),?4,?5,?6,?7,?8,?9)"
        " ON CONFLICT DO UPDATE SET scanned_at=coalesce(excluded.scanned_at,scanned_at),"
        "files=files+?4,dirs=dirs+?5,symlinks=symlinks+?6,file_bytes=" SUM("file_bytes", "?7") ","
        "bytes=" SUM("bytes", "?8") ",allocated=" SUM("allocated", "?9") "",
    [ST_DIR_UPDATE] =
        "UPDATE directory SET scanned_at=iif(?2,?3,scanned_at),files=files+?4,dirs=dirs+?5,"
        "symlinks=symlinks+?6,file_bytes=" SUM("file_bytes", "?7") ","
        "bytes=" SUM("bytes", "?8") ",allocated=" SUM("allocated", "?9") ""
        " WHERE entry_id=?1",
    [ST_DIR_EXCESS] =
        "UPDATE directory SET excess_bytes=" SUM("excess_bytes", "?2") ","
        "excess_allocated=" SUM("excess_allocated", "?3") " WHERE entry_id=?1",
    [ST_DIR_DELETE] =
        "DELETE FROM directory WHERE entry_id=?1 RETURNING excess_bytes,excess_allocated",
    /* A number belongs to one device: whoever had it has none before it is seen again. */
    [ST_DEVICE_TAKE] = "UPDATE device SET st_dev=NULL WHERE st_dev=?2 AND id<>?1",
    [ST_DEVICE_GIVE_WAY] = "INSERT OR IGNORE INTO device(id,st_dev) SELECT ?2,NULL WHERE ?1<>?2",
    [ST_DEVICE_PUT] =
        "INSERT INTO device(id,st_dev) VALUES(?1,?2) ON CONFLICT(id) DO UPDATE SET st_dev=?2",
    /* One content may have several names and so several types. One that a name says comes before
     * one that the bytes say, then the smallest: the order in which files are hashed does not
     * matter. */
    [ST_CONTENT_PUT] =
        "INSERT INTO content(uuid,hash,hash_kind,size,mime,kind,entries,first_seen,verified_at,"
        "mime_named) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?8,?9) ON CONFLICT(hash,size,hash_kind) DO"
        " UPDATE SET entries=entries+?7,verified_at=?8,"
        "kind=iif(" BETTER_MIME ",excluded.kind,kind),mime=iif(" BETTER_MIME ",excluded.mime,mime),"
        "mime_named=iif(" BETTER_MIME ",excluded.mime_named,mime_named) RETURNING id",
    [ST_CONTENT_JOIN] =
        "UPDATE content SET entries=entries+?2 WHERE id=(SELECT content_id FROM entry WHERE id=?1)"
        " RETURNING id",
    [ST_CONTENT_TYPE] =
        "UPDATE content SET mime=?2,kind=?3,mime_named=1 WHERE id=?1"
        " AND (mime IS NULL OR (1,mime)>(mime_named,?2))",
    [ST_CONTENT_DROP] = "UPDATE content SET entries=entries-1 WHERE id=?1 RETURNING entries",
    [ST_CONTENT_DELETE] = "DELETE FROM content WHERE id=?1",
    [ST_VANISHED_PUT] =
        "INSERT INTO vanished(location_id,job_id,entry_id,parent_id,name,heir_dir,keep)"
        " VALUES(?1,?2,?3,?4,?5,?4,?6)",
    [ST_VANISHED_PUT_BELOW] =
        "INSERT INTO vanished(location_id,job_id,entry_id,parent_id,name,heir_dir,keep)"
        " SELECT ?1,?2,e.id,e.parent_id,e.name,?4,0 FROM entry e WHERE e.parent_id=?3 AND e.kind=2"
        " AND (?6 OR NOT EXISTS(SELECT 1 FROM vanished v WHERE v.entry_id=e.id"
        "  AND v.parent_id=e.parent_id AND v.name=e.name)) ORDER BY e.name LIMIT ?5",
    [ST_VANISHED_FIRST] =
        "SELECT v.id,v.entry_id,e.parent_id,e.parent_id=v.parent_id AND e.name=v.name,e.kind,"
        "e.size,e.allocated,e.content_id FROM vanished v LEFT JOIN entry e ON e.id=v.entry_id"
        " WHERE v.location_id=?1 AND v.job_id=?2 AND v.id>?3 ORDER BY v.id LIMIT 1",
    [ST_VANISHED_LAST] =
        "SELECT v.id,v.entry_id,e.parent_id,e.parent_id=v.parent_id AND e.name=v.name,e.kind,"
        "e.size,e.allocated,e.content_id FROM vanished v LEFT JOIN entry e ON e.id=v.entry_id"
        " WHERE v.location_id=?1 AND v.job_id=?2 ORDER BY v.id DESC LIMIT 1",
    [ST_VANISHED_ADOPT] = "UPDATE vanished SET job_id=?2 WHERE location_id=?1 AND job_id=0",
    [ST_VANISHED_DONE] = "DELETE FROM vanished WHERE id=?1",
    [ST_VANISHED_PLACED] = "DELETE FROM vanished WHERE entry_id=?1",
    [ST_FOUND_PUT] =
        "INSERT OR IGNORE INTO found(location_id,dev,ino,entry_id) VALUES(?1,?2,?3,?4)",
    [ST_FOUND_DONE] =
        "DELETE FROM found WHERE location_id=?1 AND dev=?2 AND ino=?3 AND entry_id=?4",
    [ST_FOUND_FORGET] =
        "DELETE FROM found WHERE location_id=?1 AND entry_id=?2 AND (dev,ino)="
        "(SELECT dev,ino FROM entry WHERE id=?2)",
    [ST_FOUND_ANY] = "SELECT EXISTS(SELECT 1 FROM found WHERE location_id=?1)",
    [ST_FOUND_CLEAR] =
        "DELETE FROM found WHERE location_id=?1 AND (dev,ino,entry_id) IN"
        " (SELECT dev,ino,entry_id FROM found WHERE location_id=?1 LIMIT ?2)",
    [ST_MATCH_ENTRY] =
        "SELECT n.id," SAME_BYTES " FROM entry r CROSS JOIN found f CROSS JOIN entry n"
        " ON n.id=f.entry_id WHERE r.id=?2 AND " FOUND_AS
        " ORDER BY f.entry_id LIMIT 1",
    [ST_MATCH_CHILDREN] =
        "SELECT r.id FROM entry r WHERE r.parent_id=?2 AND r.kind<>2 AND EXISTS(SELECT 1"
        " FROM found f CROSS JOIN entry n ON n.id=f.entry_id WHERE " FOUND_AS ") ORDER BY r.name",
    [ST_HEIR] =
        "SELECT n.id FROM vanished v JOIN entry r ON r.id=v.entry_id JOIN entry n"
        " ON n.parent_id=v.heir_dir AND n.name=v.name AND n.kind=r.kind"
        " WHERE v.id=?2 AND " IS_FOUND("n"),
    [ST_HEIR_CHILD] =
        "SELECT n.id FROM entry r JOIN entry n ON n.parent_id=?3 AND n.name=r.name"
        " AND n.kind=r.kind WHERE r.id=?2 AND " IS_FOUND("n"),
    [ST_COUNT_ADD] =
        "INSERT INTO job_count(job_id,name,n) VALUES(?1,?2,?3) ON CONFLICT DO UPDATE SET n=n+?3",
    [ST_ERROR_PUT] =
        "INSERT INTO job_error(job_id,location_id,path,operation,error,message,at)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7)",
    [ST_SKIP_PUT] = "INSERT INTO job_skip(job_id,location_id,path,rule) VALUES(?1,?2,?3,?4)",
    [ST_QUEUE_PUT] =
        "INSERT OR REPLACE INTO job_queue_item(job_id,queue,seq,payload) VALUES(?1,?2,?3,?4)",
    [ST_QUEUE_DELETE] = "DELETE FROM job_queue_item WHERE job_id=?1 AND queue=?2 AND seq=?3",
    [ST_NEXT_ID_PUT] =
        "INSERT INTO counter(id,next_id) VALUES(1,?1)"
        " ON CONFLICT DO UPDATE SET next_id=?1 WHERE next_id<?1",
    [ST_NAMES_END] = "SELECT coalesce((SELECT names_end FROM counter),0)",
    [ST_NAMES_TODO] = "INSERT OR IGNORE INTO name_todo(id) VALUES(?1)",
    [ST_PACK_PUT] = "INSERT OR REPLACE INTO name_pack(id,data) VALUES(?1,?2)",
    [ST_LINK_NAMES_FROM] =
        "SELECT ino,parent_id,size,allocated FROM entry INDEXED BY entry_inode"
        " WHERE nlink>1 AND kind<>2 AND dev=?1 AND ino>=?2 ORDER BY ino",
    [ST_LINK_NEXT_DEV] =
        "SELECT min(dev) FROM entry INDEXED BY entry_inode WHERE nlink>1 AND kind<>2 AND dev>?1",
    [ST_LINK_CHILDREN] = "SELECT id,kind,nlink,dev,ino FROM entry WHERE parent_id=?1",
    [ST_LINK_FEW] =
        "SELECT count(*)<?1 FROM (SELECT 1 FROM entry INDEXED BY entry_inode"
        " WHERE nlink>1 AND kind<>2 LIMIT ?1)",
    [ST_LINK_SCAN] = "SELECT dev,ino FROM link_scan",
    [ST_LINK_SCAN_PUT] = "UPDATE link_scan SET dev=?1,ino=?2",
    [ST_LINK_SCAN_ALL] = "INSERT OR REPLACE INTO link_scan(id,dev,ino) VALUES(1,?1,?1)",
    [ST_LINK_SCAN_DONE] = "DELETE FROM link_scan",
    [ST_LINK_TODO] = "SELECT dev,ino FROM link_todo LIMIT 1",
    [ST_LINK_TODO_PUT] = "INSERT OR IGNORE INTO link_todo(dev,ino) VALUES(?1,?2)",
    [ST_LINK_TODO_NAMES] =
        "SELECT t.ino,e.parent_id,e.size,e.allocated FROM link_todo t LEFT JOIN entry e"
        " INDEXED BY entry_inode ON e.dev=t.dev AND e.ino=t.ino AND e.nlink>1 AND e.kind<>2"
        " WHERE t.dev=?1 AND t.ino>=?2 ORDER BY t.ino",
    /* Those that are there: of one without names, what it put down is not come by. */
    [ST_LINK_TODO_SCANNED] =
        "DELETE FROM link_todo WHERE dev=?1 AND ino BETWEEN ?2 AND ?3 AND EXISTS(SELECT 1"
        " FROM entry e INDEXED BY entry_inode WHERE e.dev=link_todo.dev AND e.ino=link_todo.ino"
        " AND e.nlink>1 AND e.kind<>2)",
    [ST_LINK_TODO_DONE] = "DELETE FROM link_todo WHERE dev=?1 AND ino BETWEEN ?2 AND ?3",
    [ST_LINK_MOVED] = "SELECT entry_id FROM link_moved LIMIT 1",
    [ST_LINK_MOVED_PUT] = "INSERT OR IGNORE INTO link_moved(entry_id) VALUES(?1)",
    [ST_LINK_MOVED_DONE] = "DELETE FROM link_moved WHERE entry_id=?1",
    [ST_LINK_MOVED_CLEAR] =
        "DELETE FROM link_moved WHERE NOT EXISTS(SELECT 1 FROM entry INDEXED BY entry_inode"
        " WHERE nlink>1 AND kind<>2)",
    [ST_LINK_EXCESS] = "SELECT data FROM link_excess WHERE dev=?1 AND bucket=?2",
    [ST_LINK_EXCESS_PUT] = "INSERT OR REPLACE INTO link_excess(dev,bucket,data) VALUES(?1,?2,?3)",
    [ST_LINK_EXCESS_DELETE] = "DELETE FROM link_excess WHERE dev=?1 AND bucket=?2",
};

/* ---- errors ---- */

static int last_errno(sqlite3_file *f) {
  int en = 0;
  if (f && f->pMethods) f->pMethods->xFileControl(f, SQLITE_FCNTL_LAST_ERRNO, &en);
  return en;
}

/* A disk that cannot be read is SQLITE_CORRUPT too. */
static int corrupt_code(sqlite3 *db) {
  sqlite3_file *main = NULL, *wal = NULL;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &main);
  sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
  return last_errno(main) == EIO || last_errno(wal) == EIO ? -EIO : SD_EDAMAGED;
}

static int code_of(sqlite3 *db, int rc) {
  switch (rc & 0xff) {
    case SQLITE_NOMEM: return -ENOMEM;
    case SQLITE_FULL: return -ENOSPC;
    case SQLITE_READONLY: return -EROFS;
    case SQLITE_PERM: return -EACCES;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return SD_ELOCKED;
    case SQLITE_CORRUPT: return corrupt_code(db);
    case SQLITE_NOTADB: return SD_EDAMAGED;
    case SQLITE_INTERRUPT: return SD_ECANCELED;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: {
      int en = sqlite3_system_errno(db);
      return en ? -en : -EIO;
    }
    default: return SD_ESQL;
  }
}

/* The library's file, where something is wrong with it and not with the statement, and nobody has
 * named it. */
static const char *file_to_name(sqlite3 *db, int code, const char *said) {
  if (code == SD_ESQL || code == SD_ECANCELED || code == -ENOMEM) return NULL;
  if (strstr(said, "/library.db")) return NULL;
  const char *path = sqlite3_db_filename(db, "main");
  return path && *path ? path : NULL;
}

int sd_store_sql_error(struct sd_store *s, struct sd_err *err, const char *what) {
  if (!s->db) return sd_err_set(err, -ENOMEM, "%s: out of memory", what);
  int code = code_of(s->db, sqlite3_extended_errcode(s->db));
  const char *path = file_to_name(s->db, code, what), *why = sqlite3_errmsg(s->db);
  return path ? sd_err_set(err, code, "%s: %s: %s", what, path, why)
              : sd_err_set(err, code, "%s: %s", what, why);
}

/* Whether SQLite refuses a statement, or a value, that a sound library takes. Triggers refuse what
 * is wrong in a sound one. */
static bool is_refused(int rc) {
  if (rc == SQLITE_CONSTRAINT_TRIGGER) return false;
  rc &= 0xff;
  return rc == SQLITE_ERROR || rc == SQLITE_CONSTRAINT || rc == SQLITE_MISMATCH ||
         rc == SQLITE_SCHEMA;
}

int sd_store_error(struct sd_store *s, struct sd_err *err, const char *what) {
  if (!s->db || !is_refused(sqlite3_extended_errcode(s->db)))
    return sd_store_sql_error(s, err, what);
  return sd_err_set(err, SD_EDAMAGED, "the library is damaged: %s: %s", what,
                    sqlite3_errmsg(s->db));
}

/* ---- statements ---- */

sqlite3 *sd_store_db(struct sd_store *s) {
  return s->db;
}

sqlite3_stmt *sd_store_stmt(struct sd_store *s, enum sd_stmt which, struct sd_err *err) {
  sqlite3_stmt **st = &s->stmts[which];
  if (!*st &&
      sqlite3_prepare_v3(s->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, st, NULL) != SQLITE_OK)
    sd_store_error(s, err, "prepare");
  return *st;
}

int sd_store_run(struct sd_store *s, sqlite3_stmt *st, struct sd_err *err, const char *what) {
  int rc = sqlite3_step(st);
  int code = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : sd_store_error(s, err, what);
  sqlite3_reset(st);
  return code;
}

void sd_store_bind_bytes(sqlite3_stmt *st, int i, const char *p, size_t len) {
  if (!p) sqlite3_bind_null(st, i);
  else if (sd_utf8_valid(p, len)) sqlite3_bind_text(st, i, p, (int)len, SQLITE_STATIC);
  else sqlite3_bind_blob(st, i, p, (int)len, SQLITE_STATIC);
}

static int run_stmt(struct sd_store *s, enum sd_stmt which, struct sd_err *err, const char *what) {
  sqlite3_stmt *st = sd_store_stmt(s, which, err);
  return st ? sd_store_run(s, st, err, what) : err->code;
}

/* Set once for all: each sqlite3_set_authorizer() has all statements prepared again. */
static int authorize(void *ud, int action, const char *a, const char *b, const char *db,
                     const char *trigger) {
  const struct sd_store *s = ud;
  (void)a, (void)b, (void)db, (void)trigger;
  switch (action) {
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
    case SQLITE_ATTACH:
    case SQLITE_DETACH: return s->restricted ? SQLITE_DENY : SQLITE_OK;
    default: return SQLITE_OK;
  }
}

void sd_store_restrict(struct sd_store *s, bool on) {
  s->restricted = on;
}

static int exec(struct sd_store *s, const char *text, struct sd_err *err, const char *what) {
  return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0
                                                                  : sd_store_error(s, err, what);
}

static int pragma_int(struct sd_store *s, const char *text, int *out, struct sd_err *err) {
  sqlite3_stmt *st = NULL;
  int rc = 0;
  if (sqlite3_prepare_v2(s->db, text, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
    rc = sd_store_error(s, err, "read the library");
  else *out = sqlite3_column_int(st, 0);
  sqlite3_finalize(st);
  return rc;
}

/* ---- opening ---- */

enum {
  BUSY_MS = 2000,
  RESTART_MS = 100, /* a pause shall take effect within 200 */
  PAGE = 16384,
  WAL_FRAME = PAGE + 24, /* sqlite.org/fileformat2.html, 4.1 */
  PUSH_PAGES = 256
};

static int make_schema(struct sd_store *s, int from, struct sd_err *err) {
  char text[96];
  int rc = exec(s, "BEGIN IMMEDIATE", err, "begin");
  for (const char *const *one = sd_schema_scripts(from); !rc && *one; one++)
    rc = exec(s, *one, err, "make the schema");
  snprintf(text, sizeof(text), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
           SD_SCHEMA_APPLICATION_ID, SD_SCHEMA_VERSION);
  if (!rc) rc = exec(s, text, err, "make the schema");
  if (rc) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
  return rc;
}

static int name_file(struct sd_err *err, const char *path) {
  struct sd_err said = *err;
  if (strstr(said.msg, "/library.db")) return said.code;
  return sd_err_set(err, said.code, "%s: %s", path, said.msg);
}

/* WAL mode is kept in the file: asked for once, and only when nobody objects to the file. */
static int use_wal(struct sd_store *s, struct sd_err *err) {
  sqlite3_stmt *st = NULL;
  int rc = 0;
  if (sqlite3_prepare_v2(s->db, "PRAGMA journal_mode=WAL", -1, &st, NULL) != SQLITE_OK ||
      sqlite3_step(st) != SQLITE_ROW)
    rc = sd_store_error(s, err, "use a write-ahead log");
  else if (sqlite3_stricmp((const char *)sqlite3_column_text(st, 0), "wal") != 0)
    rc = sd_err_set(err, -EROFS, "this place does not allow a write-ahead log");
  sqlite3_finalize(st);
  return rc;
}

/* Whoever only reads changes nothing. */
static int older(const char *path, int version, struct sd_err *err) {
  return sd_err_set(err, SD_EOLDER,
                    "%s was made by an older sdlua (schema %d, this one reads %d): bring it up to "
                    "date, for example with `sdlua location list`, which keeps all that is in it",
                    path, version, SD_SCHEMA_READABLE);
}

/* Refuses what is not ours or not of our time, before anything is written. */
static int check_schema(struct sd_store *s, const char *path, struct sd_err *err) {
  int id = 0, version = 0, tables = 0;
  int rc = pragma_int(s, "SELECT count(*) FROM sqlite_schema", &tables, err);
  if (!rc) rc = pragma_int(s, "PRAGMA application_id", &id, err);
  if (!rc) rc = pragma_int(s, "PRAGMA user_version", &version, err);
  if (rc) return name_file(err, path);
  if (tables == 0 && id == 0) {
    if (!s->writer) return sd_err_set(err, SD_ENOLIB, "%s: no library there", path);
    /* The log first: a kill in between then leaves no journal that readers cannot roll back. */
    return (rc = use_wal(s, err)) ? rc : make_schema(s, 0, err);
  }
  if (id != SD_SCHEMA_APPLICATION_ID)
    return sd_err_set(err, SD_EDAMAGED, "%s is not an sdlua library", path);
  if (version <= 0) return sd_err_set(err, SD_EDAMAGED, "%s is damaged: schema %d", path, version);
  if (version > SD_SCHEMA_VERSION)
    return sd_err_set(err, SD_ENEWER, "%s was made by a newer sdlua (schema %d, this one knows %d)",
                      path, version, SD_SCHEMA_VERSION);
  if (version < SD_SCHEMA_READABLE && !s->writer) return older(path, version, err);
  return version < SD_SCHEMA_VERSION && s->writer ? make_schema(s, version, err) : 0;
}

static int configure(struct sd_store *s, const char *path, struct sd_err *err) {
  char what[PATH_MAX + 8];
  snprintf(what, sizeof(what), "open %s", path);
  sqlite3_busy_timeout(s->db, BUSY_MS);
  sqlite3_set_authorizer(s->db, authorize, s);
  sqlite3_extended_result_codes(s->db, 1);
  sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  if (!s->writer)
    return exec(s, "PRAGMA query_only=1; PRAGMA cache_size=-2048; PRAGMA temp_store=MEMORY", err,
                what);
  /* The writer checkpoints when we say so (sd_store_checkpoint). 16 MiB hold the upper pages of the
   * indexes of ten million entries. */
  return exec(s,
              "PRAGMA page_size=16384; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; "
              "PRAGMA cache_size=-16384;"
              " PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=268435456",
              err, what);
}

enum { URI_MAX = 3 * PATH_MAX + 32 };

static int open_file(struct sd_store *s, const char *path, int flags, struct sd_err *err) {
  flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (sqlite3_open_v2(path, &s->db, flags, NULL) == SQLITE_OK) return 0;
  char what[URI_MAX + 8];
  snprintf(what, sizeof(what), "open %s", path);
  return sd_store_error(s, err, what);
}

static int open_db(struct sd_store *s, const char *path, struct sd_err *err) {
  struct stat st;
  if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* a pipe would keep us waiting */
    return sd_err_set(err, SD_EDAMAGED, "%s is not a file", path);
  if (!s->writer && access(path, R_OK) != 0)
    return errno == ENOENT ? sd_err_set(err, SD_ENOLIB, "%s: no library there", path)
                           : sd_err_os(err, "open", path);
  if (s->writer && access(path, F_OK) == 0 && access(path, W_OK) != 0)
    return sd_err_os(err, "write to", path); /* else SQLite would open it read-only */
  return open_file(
      s, path, s->writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY, err);
}

/* A reader needs the index of the log in shared memory, which it cannot make in a place that cannot
 * be written. Where there is no log the file is all there is, and nobody changes it: a medium that
 * is read-only, somebody else's copy. */
static int open_unchanging(struct sd_store *s, const char *path, struct sd_err *err) {
  char uri[URI_MAX], *to = uri + sprintf(uri, "file:");
  for (const char *p = path; *p; p++)
    if (strchr("?#%", *p)) to += sprintf(to, "%%%02x", (unsigned char)*p);
    else *to++ = *p;
  strcpy(to, "?immutable=1");
  sqlite3_close_v2(s->db);
  s->db = NULL;
  return open_file(s, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err);
}

static bool lacks_shared_memory(struct sd_store *s, const char *path) {
  char log[PATH_MAX + 8];
  struct stat st;
  snprintf(log, sizeof(log), "%s-wal", path);
  if (s->writer || !s->db) return false;
  int rc = sqlite3_errcode(s->db) & 0xff;
  if (rc != SQLITE_CANTOPEN && rc != SQLITE_READONLY) return false;
  return stat(log, &st) != 0 ? errno == ENOENT : st.st_size == 0;
}

static int set_up(struct sd_store *s, const char *path, struct sd_err *err) {
  int rc = configure(s, path, err);
  return rc ? rc : check_schema(s, path, err);
}

/* Nobody asks how much memory SQLite has; counting takes a lock at each allocation. */
static void configure_process(void) {
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int count_wal(void *ud, sqlite3 *db, const char *name, int pages) {
  (void)db, (void)name;
  ((struct sd_store *)ud)->wal_pages = pages;
  return SQLITE_OK;
}

int sd_store_open(const char *dir, enum sd_store_mode mode, struct sd_store **out,
                  struct sd_err *err) {
  char path[PATH_MAX];
  int rc;
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, configure_process);
  struct sd_store *s = calloc(1, sizeof(*s));
  if (!s) return sd_err_nomem(err);
  s->writer = mode == SD_STORE_WRITE;
  s->log_fd = -1;
  if (snprintf(path, sizeof(path), "%s/library.db", dir) >= (int)sizeof(path)) {
    rc = sd_err_set(err, -ENAMETOOLONG, "library path too long: %s", dir);
    goto fail;
  }
  if (s->writer && access(dir, W_OK | X_OK) != 0) { /* SQLite would say that there is no file */
    rc = sd_err_os(err, "write to", dir);
    goto fail;
  }
  if ((rc = open_db(s, path, err))) goto fail;
  rc = set_up(s, path, err);
  if (rc && lacks_shared_memory(s, path)) {
    rc = open_unchanging(s, path, err);
    if (!rc) rc = set_up(s, path, err);
  }
  if (rc) goto fail;
  if (s->writer && (rc = use_wal(s, err))) goto fail;
  if (s->writer) sqlite3_wal_hook(s->db, count_wal, s);
  if (s->writer && asprintf(&s->log_path, "%s-wal", path) < 0) {
    s->log_path = NULL;
    rc = sd_err_nomem(err);
    goto fail;
  }
  if (s->writer && sd_rows_register(s->db) != SQLITE_OK) {
    rc = sd_store_error(s, err, "register");
    goto fail;
  }
  *out = s;
  return 0;
fail:
  sd_store_close(s);
  return rc;
}

void sd_store_close(struct sd_store *s) {
  if (!s) return;
  if (s->log_fd >= 0) close(s->log_fd);
  free(s->log_path);
  for (int i = 0; i < ST_COUNT; i++) sqlite3_finalize(s->stmts[i]);
  sd_totals_map_fini(&s->totals);
  free(s->moved);
  free(s->readable);
  sqlite3_close_v2(s->db);
  free(s);
}

/* ---- transactions ---- */

int sd_store_begin(struct sd_store *s, struct sd_err *err) {
  sd_assert(s->writer);
  sd_totals_map_clear(&s->totals);
  s->moved_len = s->readable_len = 0;
  s->now = sd_clock_wall();
  s->names_end = -1;
  s->links_known = false;
  return run_stmt(s, ST_BEGIN, err, "begin");
}

/* Lets the kernel write what is new in the log while the next commit is made. Otherwise all of it
 * would wait for the fdatasync() before a checkpoint, and so would whoever commits; see
 * sync_file_range(2). Only to be faster: errors come with the fdatasync(). */
static void start_writeback(struct sd_store *s) {
  if (s->wal_pages < s->wal_pushed) s->wal_pushed = 0; /* the log began anew */
  if (s->wal_pages - s->wal_pushed < PUSH_PAGES) return;
  if (s->log_fd < 0) s->log_fd = open(s->log_path, O_RDONLY | O_CLOEXEC);
  if (s->log_fd < 0) return;
  off_t from = (off_t)s->wal_pushed * WAL_FRAME, to = (off_t)s->wal_pages * WAL_FRAME;
  sync_file_range(s->log_fd, from, to - from, SYNC_FILE_RANGE_WRITE);
  s->wal_pushed = s->wal_pages;
}

int sd_store_commit(struct sd_store *s, struct sd_err *err) {
  int rc = sd_store_flush_totals(s, err);
  if (!rc) rc = sd_store_flush_inherited(s, err);
  if (!rc) rc = run_stmt(s, ST_COMMIT, err, "commit");
  if (rc) return rc;
  start_writeback(s);
  return 0;
}

int sd_store_sync(struct sd_store *s, bool on, struct sd_err *err) {
  return exec(s, on ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", err, "sync");
}

void sd_store_rollback(struct sd_store *s) {
  struct sd_err ignored;
  sd_totals_map_clear(&s->totals);
  if (!sqlite3_get_autocommit(s->db)) run_stmt(s, ST_ROLLBACK, &ignored, "roll back");
}

/* PASSIVE neither waits for readers nor makes them wait; what they still read stays for the next
 * time. But where a reader comes before the last one has gone, the log never begins anew, and all
 * become slower: then RESTART, during which new readers do without the log, waits for the old ones
 * a moment. */
int sd_store_checkpoint(struct sd_store *s, int pages, struct sd_err *err) {
  if (s->wal_pages < s->wal_moved) s->wal_moved = 0; /* the log began anew */
  if (s->wal_pages - s->wal_moved < pages) return 0;
  int mode = s->wal_moved > 0 ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE;
  sqlite3_busy_timeout(s->db, RESTART_MS);
  int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, mode, NULL, NULL);
  sqlite3_busy_timeout(s->db, BUSY_MS);
  if ((rc & 0xff) == SQLITE_INTERRUPT) return 0;
  if (rc != SQLITE_OK && rc != SQLITE_BUSY && rc != SQLITE_LOCKED)
    return sd_store_error(s, err, "checkpoint the log");
  s->wal_moved = s->wal_pages;
  return 0;
}

static int64_t wal_bytes(struct sd_store *s) {
  sqlite3_file *log = NULL;
  sqlite3_int64 size = 0;
  if (sqlite3_file_control(s->db, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK) return 0;
  if (!log || !log->pMethods || log->pMethods->xFileSize(log, &size) != SQLITE_OK) return 0;
  return size;
}

int sd_store_settle(struct sd_store *s, int64_t bytes, struct sd_err *err) {
  if (wal_bytes(s) <= bytes) return 0;
  sqlite3_busy_timeout(s->db, 0);
  int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
  sqlite3_busy_timeout(s->db, BUSY_MS);
  s->wal_pages = s->wal_moved = 0;
  bool later = rc == SQLITE_BUSY || rc == SQLITE_LOCKED;
  return rc == SQLITE_OK || later ? 0 : sd_store_error(s, err, "checkpoint the log");
}

int sd_store_keep_ids(struct sd_store *s, int64_t next_id, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, ST_NEXT_ID_PUT, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, next_id);
  return sd_store_run(s, st, err, "keep the ids in use");
}
