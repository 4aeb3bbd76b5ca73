#include "engine/schema.h"

#include <sqlite3.h>
#include <stddef.h>

#include "engine/device.h"

/* Names are TEXT where they are valid UTF-8, BLOB where not: ANY keeps both as they are. Times are
 * nanoseconds since 1970. entry.kind: 1 file, 2 directory, 3 symlink, 4 fifo, 5 socket, 6 char,
 * 7 block, 8 unknown. entry.mode: permission bits; 65536 is added where a time was clamped,
 * 131072 where it was hashed too soon, 262144 where it was the root of a mount.
 * entry.sig: sd_stat_sig() of the other columns, NULL where these must be compared. Only the key is
 * checked for NULL: a check costs as much as a column, and one function writes them all.
 * entry.content_id: NULL where none is wanted, 0 where it is still to be found. A root's entry has
 * -location.id as its parent. An entry whose place was taken by another, and that was not found
 * elsewhere so far, has sd_store_limbo() as its parent and its id as its name; directories from
 * there on have -location.id for their location, so that no view shows what is in them.
 * content.mime_named: whether a name said the type, which the bytes of a file cannot overrule.
 * directory.unread: enum sd_unread, of what is in it; unverified: that, or what is inherited of it
 * from above. directory.path is relative to `anchor` (NULL: the root of the location), so that no
 * stored piece is longer than PATH_MAX. directory.excess_*: see `linking`. */
static const char tables[] =
    "CREATE TABLE location("
    " id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, root ANY NOT NULL UNIQUE, entry_id INTEGER,"
    " created_at INTEGER NOT NULL, state TEXT NOT NULL, content_mode TEXT, settings TEXT) STRICT;"

    "CREATE TABLE entry("
    " id INTEGER PRIMARY KEY, parent_id INTEGER NOT NULL, name ANY NOT NULL, sig INTEGER,"
    " kind INTEGER, size INTEGER, allocated INTEGER, mtime INTEGER, ctime INTEGER, btime INTEGER,"
    " dev INTEGER, ino INTEGER, mode INTEGER, uid INTEGER, gid INTEGER, nlink INTEGER,"
    " content_id INTEGER, uuid BLOB, target ANY) STRICT;"
    "CREATE UNIQUE INDEX entry_name ON entry(parent_id, name);"
    "CREATE INDEX entry_todo ON entry(id) WHERE content_id = 0;"

    /* Ids below next_id may be in use, also in the stored queues of a job. names_end: see
     * name_index.h. */
    "CREATE TABLE counter("
    " id INTEGER PRIMARY KEY CHECK(id = 1), next_id INTEGER NOT NULL,"
    " names_end INTEGER NOT NULL DEFAULT 0) STRICT;"

    "CREATE TABLE directory("
    " entry_id INTEGER PRIMARY KEY, location_id INTEGER NOT NULL, anchor INTEGER,"
    " path ANY NOT NULL, scanned_at INTEGER, files INTEGER NOT NULL, dirs INTEGER NOT NULL,"
    " symlinks INTEGER NOT NULL, file_bytes INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " allocated INTEGER NOT NULL, unread INTEGER NOT NULL DEFAULT 0,"
    " unverified INTEGER NOT NULL DEFAULT 0, excess_bytes INTEGER NOT NULL DEFAULT 0,"
    " excess_allocated INTEGER NOT NULL DEFAULT 0) STRICT;"

    "CREATE TABLE content("
    " id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, hash BLOB NOT NULL, hash_kind INTEGER NOT NULL,"
    " size INTEGER NOT NULL, mime TEXT, kind TEXT, entries INTEGER NOT NULL,"
    " first_seen INTEGER NOT NULL, verified_at INTEGER, mime_named INTEGER NOT NULL DEFAULT 0)"
    " STRICT;"
    "CREATE UNIQUE INDEX content_hash ON content(hash, size, hash_kind);"

    "CREATE TABLE user_metadata("
    " uuid BLOB PRIMARY KEY, notes TEXT, favorite INTEGER NOT NULL DEFAULT 0,"
    " hidden INTEGER NOT NULL DEFAULT 0, custom TEXT) STRICT, WITHOUT ROWID;"

    /* Open jobs. A job that has ended is a row of job_history; ids are never used again. `due_at`
     * orders what waits: when the job was made, and a grace by its priority, so that nothing waits
     * for ever. `device`: of a heavy job, one of which runs on a device. `unique_key`: of a job
     * that shall be there once. `on_failure`: what a child's failure means to its parent.
     * `failures`: how often it was tried again after an error that may pass. */
    "CREATE TABLE job("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, uuid BLOB NOT NULL, parent_id INTEGER,"
    " root_id INTEGER, name TEXT NOT NULL, version INTEGER NOT NULL, script TEXT, script_hash BLOB,"
    " args BLOB NOT NULL, unique_key BLOB, location_id INTEGER, status TEXT NOT NULL,"
    " priority TEXT NOT NULL, due_at INTEGER NOT NULL, run_at INTEGER, device INTEGER,"
    " on_failure TEXT, attempt INTEGER NOT NULL DEFAULT 0, phase TEXT, progress TEXT, state BLOB,"
    " created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER,"
    " active_ns INTEGER NOT NULL DEFAULT 0, error TEXT, failures INTEGER NOT NULL DEFAULT 0)"
    " STRICT;"
    "CREATE INDEX job_due ON job(due_at) WHERE status = 'queued';"
    "CREATE INDEX job_parent ON job(parent_id) WHERE parent_id IS NOT NULL;"
    "CREATE UNIQUE INDEX job_unique ON job(unique_key) WHERE unique_key IS NOT NULL;"

    "CREATE TABLE job_dependency("
    " job_id INTEGER NOT NULL, on_id INTEGER NOT NULL, PRIMARY KEY(job_id, on_id)) STRICT,"
    " WITHOUT ROWID;"
    "CREATE INDEX job_dependency_on ON job_dependency(on_id);"

    "CREATE TABLE job_history("
    " id INTEGER PRIMARY KEY, uuid BLOB NOT NULL, parent_id INTEGER, name TEXT NOT NULL,"
    " version INTEGER NOT NULL, script TEXT, args BLOB NOT NULL, location_id INTEGER,"
    " status TEXT NOT NULL, priority TEXT NOT NULL, on_failure TEXT, attempt INTEGER NOT NULL,"
    " phase TEXT, progress TEXT, created_at INTEGER NOT NULL, started_at INTEGER,"
    " finished_at INTEGER, duration_ns INTEGER, output TEXT, error TEXT) STRICT;"
    "CREATE INDEX job_history_parent ON job_history(parent_id) WHERE parent_id IS NOT NULL;"

    /* Every change of a status, append-only. `was` is NULL for a new job. */
    "CREATE TABLE job_event("
    " id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL, at INTEGER NOT NULL, was TEXT,"
    " status TEXT NOT NULL, attempt INTEGER NOT NULL) STRICT;"
    "CREATE INDEX job_event_job ON job_event(job_id);"

    "CREATE TABLE job_log("
    " id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL, at INTEGER NOT NULL, level TEXT NOT NULL,"
    " message ANY NOT NULL) STRICT;"
    "CREATE INDEX job_log_job ON job_log(job_id);"

    "CREATE TABLE job_schedule("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, script TEXT NOT NULL,"
    " args BLOB NOT NULL, priority TEXT NOT NULL, spec TEXT NOT NULL, created_at INTEGER NOT NULL,"
    " next_at INTEGER NOT NULL, last_job_id INTEGER, error TEXT) STRICT;"

    "CREATE TABLE job_queue_item("
    " job_id INTEGER NOT NULL, queue TEXT NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL,"
    " PRIMARY KEY(job_id, queue, seq)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE job_error("
    " id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL, location_id INTEGER, path ANY NOT NULL,"
    " operation TEXT NOT NULL, error TEXT NOT NULL, message TEXT NOT NULL, at INTEGER NOT NULL)"
    " STRICT;"
    "CREATE INDEX job_error_job ON job_error(job_id);"

    "CREATE TABLE job_skip("
    " job_id INTEGER NOT NULL, location_id INTEGER, path ANY NOT NULL, rule TEXT NOT NULL) STRICT;"
    "CREATE INDEX job_skip_job ON job_skip(job_id);";

/* Indexes and tables that version 1 did not have, or not so. */
static const char living[] =
    "CREATE INDEX entry_dir ON entry(dev, ino) WHERE kind = 2;"

    /* See device.h. st_dev: NULL where another device has the number now. */
    "CREATE TABLE device(id INTEGER PRIMARY KEY, st_dev INTEGER) STRICT;"
    "CREATE UNIQUE INDEX device_number ON device(st_dev);"

    /* What a location leaves out, as JSON: see lua/sd/rules.lua. No row: nothing. */
    "CREATE TABLE location_rules("
    " location_id INTEGER PRIMARY KEY, rules TEXT NOT NULL) STRICT;"

    /* What an unfinished run has counted that no state has: see sd_store_match() and _sweep(). */
    "CREATE TABLE job_count("
    " job_id INTEGER NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY(job_id, name)) STRICT, WITHOUT ROWID;"

    /* Entries that are not at their place, as long as the run is not over. */
    "CREATE TABLE vanished("
    " id INTEGER PRIMARY KEY, location_id INTEGER NOT NULL, job_id INTEGER NOT NULL,"
    " entry_id INTEGER NOT NULL, parent_id INTEGER NOT NULL, name ANY NOT NULL, heir_dir INTEGER,"
    " keep INTEGER NOT NULL) STRICT;"
    "CREATE INDEX vanished_job ON vanished(location_id, job_id);"
    "CREATE INDEX vanished_entry ON vanished(entry_id);"

    /* Entries that are new in a location which was indexed before, until the run is over. */
    "CREATE TABLE found("
    " location_id INTEGER NOT NULL, dev INTEGER NOT NULL, ino INTEGER NOT NULL,"
    " entry_id INTEGER NOT NULL, PRIMARY KEY(location_id, dev, ino, entry_id))"
    " STRICT, WITHOUT ROWID;";

/* A cast gives the column of a view a type, from SQLite 3.41 on. */
#define HEX(col) "CAST(lower(hex(" col ")) AS TEXT)"

#define UUID_TEXT(col)                                                                       \
  "CAST(lower(substr(hex(" col "),1,8)||'-'||substr(hex(" col "),9,4)||'-'||substr(hex(" col \
  "),13,4)||'-'||substr(hex(" col "),17,4)||'-'||substr(hex(" col "),21)) AS TEXT)"

#define DEVICE SD_DEVICE_NUMBER("e.dev")

#define HASH_KIND(col) "CAST(CASE " col " WHEN 1 THEN 'full' WHEN 2 THEN 'sampled' END AS TEXT)"

#define JOB_COLUMNS                                                                      \
  "parent_id, name, version, status, priority, phase, progress, created_at, started_at," \
  " finished_at, error"

#define KIND_TEXT(col)                                                                   \
  "CAST(CASE " col                                                                       \
  " WHEN 1 THEN 'file' WHEN 2 THEN 'directory' WHEN 3 THEN 'symlink' WHEN 4 THEN 'fifo'" \
  " WHEN 5 THEN 'socket' WHEN 6 THEN 'char' WHEN 7 THEN 'block' ELSE 'unknown' END AS TEXT)"

/* The path of directory `d`: its piece, behind the pieces of its anchors, as a BLOB where one of
 * them is no text: '/' is ASCII. No path has so many as the limit says; in a damaged library a
 * directory may be its own anchor: then the least integer has no absolute value, which is an
 * error. */
#define DIR_PATH                                                                       \
  "CASE WHEN d.anchor IS NULL THEN d.path ELSE"                                        \
  " (SELECT CASE WHEN max(n) = 100000 THEN abs(-9223372036854675808 - max(n))"         \
  " WHEN max(typeof(path) = 'blob')"                                                   \
  " THEN CAST(group_concat(path, '/') AS BLOB) ELSE group_concat(path, '/') END"       \
  " FROM (WITH RECURSIVE up(anchor, path, n) AS ("                                     \
  "SELECT d.anchor, d.path, 0 UNION ALL"                                               \
  " SELECT a.anchor, a.path, n + 1 FROM up JOIN directory a ON a.entry_id = up.anchor" \
  " WHERE n < 100000) SELECT path, n FROM up ORDER BY n DESC)) END"

#define NOW_NS "CAST((julianday('now') - 2440587.5) * 86400000000000 AS INTEGER)"

/* Only these ways lead from one status to another, whoever writes. */
static const char triggers[] =
    "CREATE TRIGGER job_made AFTER INSERT ON job BEGIN"
    " INSERT INTO job_event(job_id, at, was, status, attempt)"
    " VALUES(new.id, " NOW_NS
    ", NULL, new.status, new.attempt);"
    " UPDATE job SET root_id = id WHERE id = new.id AND root_id IS NULL;"
    "END;"
    "CREATE TRIGGER job_moved BEFORE UPDATE OF status ON job WHEN new.status IS NOT old.status "
    "BEGIN"
    " SELECT RAISE(ABORT, 'a job cannot change its status in this way')"
    "  WHERE old.status || ' ' || new.status NOT IN ('queued running', 'queued paused',"
    "   'running queued', 'running paused', 'paused queued', 'paused running');"
    " INSERT INTO job_event(job_id, at, was, status, attempt)"
    " VALUES(new.id, " NOW_NS
    ", old.status, new.status, new.attempt);"
    "END;"
    "CREATE TRIGGER job_ended BEFORE INSERT ON job_history BEGIN"
    " SELECT RAISE(ABORT, 'a job cannot end in this way') WHERE NOT EXISTS("
    "  SELECT 1 FROM job WHERE id = new.id AND (new.status = 'cancelled'"
    "   OR (status = 'running' AND new.status IN ('completed', 'failed'))));"
    " INSERT INTO job_event(job_id, at, was, status, attempt)"
    " SELECT id, " NOW_NS
    ", status, new.status, attempt FROM job WHERE id = new.id;"
    "END;";

/* What every question pays for is that SQLite reads all of this: so nothing is said twice. And
 * programs that read the SQL of a view themselves, as DuckDB does, hand it back to SQLite as they
 * print it where they do not understand it, which goes wrong with a union or a recursion. So these
 * are in private views (*_row) below the public ones; SQLite makes one statement of both. Where
 * they do understand it, an INTEGER is one of 32 bits: so numbers are cast to BIGINT. */
static const char views[] =
    /* When a run came to its end is in the history, so that a rescan of an unchanged tree leaves
     * the location as it is. */
    "CREATE VIEW locations AS SELECT l.id AS id, " UUID_TEXT("l.uuid")
    " AS uuid, l.root AS root, l.created_at AS created_at,"
    " CAST((SELECT max(h.finished_at) FROM job_history h WHERE h.location_id = l.id"
    "  AND h.name = 'indexer' AND h.status = 'completed' AND h.parent_id IS NULL) AS BIGINT)"
    " AS indexed_at, l.state AS state"
    " FROM location l;"

    "CREATE VIEW directory_row AS SELECT d.entry_id AS id, d.location_id AS location_id, " DIR_PATH
    " AS path, d.files AS files, d.dirs AS dirs, d.bytes AS bytes, d.allocated AS allocated,"
    " CAST(CASE d.unverified WHEN 1 THEN 'unreadable' WHEN 2 THEN 'unmounted' END AS TEXT)"
    " AS unverified"
    " FROM directory d WHERE d.location_id > 0;"

    "CREATE VIEW directories AS SELECT id, location_id, path, files, dirs, bytes, allocated,"
    " unverified FROM directory_row;"

    /* The last part of a union says the types of the columns. */
    "CREATE VIEW entry_row AS SELECT e.id AS id, e.uuid AS uuid, l.id AS location_id,"
    " NULL AS parent_id, '' AS path, e.name AS name, e.kind AS kind, e.size AS size,"
    " e.allocated AS allocated, e.mtime AS mtime, e.ctime AS ctime, e.btime AS btime,"
    " e.mode AS mode, e.uid AS uid, e.gid AS gid, e.nlink AS nlink, e.dev AS dev, e.ino AS ino,"
    " NULL AS target, NULL AS hash, NULL AS hash_kind, NULL AS mime, NULL AS unverified"
    " FROM location l JOIN entry e ON e.id = l.entry_id"
    " UNION ALL"
    " SELECT e.id, e.uuid, d.location_id, e.parent_id, CASE WHEN d.path = '' THEN e.name"
    " WHEN typeof(d.path) = 'blob' OR typeof(e.name) = 'blob'"
    "  THEN CAST(d.path || '/' || e.name AS BLOB) ELSE d.path || '/' || e.name END,"
    " e.name, e.kind, e.size, e.allocated, e.mtime, e.ctime, e.btime, e.mode, e.uid, e.gid,"
    " e.nlink, e.dev, e.ino, e.target, c.hash, c.hash_kind, c.mime,"
    " CASE WHEN EXISTS(SELECT 1 FROM vanished v WHERE v.entry_id = e.id) THEN 'missing'"
    " ELSE d.unverified END"
    " FROM entry e JOIN directory_row d ON d.id = e.parent_id"
    " LEFT JOIN content c ON c.id = e.content_id;"

    "CREATE VIEW entries AS SELECT e.id AS id, " UUID_TEXT("e.uuid")
    " AS uuid, e.location_id AS location_id, e.parent_id AS parent_id, e.path AS path,"
    " e.name AS name, " KIND_TEXT("e.kind") " AS kind, e.size AS size, e.allocated AS allocated,"
    " e.mtime AS mtime_ns, e.ctime AS ctime_ns, e.btime AS btime_ns,"
    " CAST(e.mode & 4095 AS BIGINT) AS mode, e.uid AS uid, e.gid AS gid, e.nlink AS nlink,"
    " CAST(" DEVICE " AS BIGINT) AS dev, e.ino AS ino, e.target AS target,"
    " CAST(CASE WHEN e.hash IS NOT NULL THEN lower(hex(e.hash)) END AS TEXT) AS hash,"
    " " HASH_KIND("e.hash_kind")
    " AS hash_kind, e.mime AS mime, CAST(e.unverified AS TEXT) AS unverified FROM entry_row e;"

    "CREATE VIEW contents AS SELECT id, " UUID_TEXT("uuid")
    " AS uuid, " HEX("hash") " AS hash, " HASH_KIND("hash_kind")
    " AS hash_kind, size, mime, kind, entries FROM content;"

    "CREATE VIEW job_row AS SELECT id, uuid, " JOB_COLUMNS
    " FROM job UNION ALL SELECT id, uuid, " JOB_COLUMNS
    " FROM job_history;"

    "CREATE VIEW jobs AS SELECT id, " UUID_TEXT("uuid") " AS uuid, " JOB_COLUMNS
    " FROM job_row;"

    "CREATE VIEW errors AS"
    " SELECT job_id, location_id, path, operation, error, message, \"at\" FROM job_error;"

    "CREATE VIEW skips AS SELECT job_id, location_id, path, rule FROM job_skip;";

static const char masks[] =
    "CREATE TABLE name_mask(id INTEGER PRIMARY KEY, masks BLOB NOT NULL) STRICT;";

/* Names packed for searching (name_index.h). What a pack says of an entry that is gone or renamed
 * is not true any more, whoever did it. content_todo: files that a job wants hashed though they may
 * have an identity. content_sample: the sampled hash of what was hashed whole since, so that files
 * that differ from it by samples need not be read. */
static const char asking[] =
    "CREATE TABLE name_pack(id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;"
    "CREATE TABLE name_gram(id INTEGER PRIMARY KEY, bits BLOB NOT NULL) STRICT;"
    "CREATE TABLE name_todo(id INTEGER PRIMARY KEY) STRICT;"
    "CREATE TRIGGER name_gone AFTER DELETE ON entry BEGIN"
    " INSERT OR IGNORE INTO name_todo(id) VALUES(old.id); END;"
    "CREATE TRIGGER name_changed AFTER UPDATE OF parent_id, name, kind ON entry"
    " WHEN new.parent_id <> old.parent_id OR new.name <> old.name OR new.kind <> old.kind BEGIN"
    " INSERT OR IGNORE INTO name_todo(id) VALUES(old.id); END;"
    "CREATE TABLE content_todo("
    " job_id INTEGER NOT NULL, entry_id INTEGER NOT NULL, PRIMARY KEY(job_id, entry_id)) STRICT,"
    " WITHOUT ROWID;"
    "CREATE TABLE content_sample("
    " content_id INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;"
    "CREATE TRIGGER content_gone AFTER DELETE ON content BEGIN"
    " DELETE FROM content_sample WHERE content_id = old.id; END;";

/* What hard links count twice: see store_links.c. directory.excess_*: so much the totals of a
 * directory have too much, each inode of LINKED names taken once. link_excess: what an inode adds
 * to that in a directory itself. What is not yet in it: inodes that have changed (link_todo), those
 * with names below a directory that was moved (link_moved), and all from one inode on (link_scan),
 * at first each one. New entries have no trigger, which each would pay for: the store notes them.
 * The index has all that is asked of such a name; `id` is there to ask for those before one. */
#define LINKED(n)   n "nlink > 1 AND " n "kind <> 2"
#define FIRST_INODE "-9223372036854775807 - 1"

static const char linking[] =
    "CREATE INDEX entry_inode ON entry(dev, ino, id, parent_id, size, allocated)"
    " WHERE " LINKED("") ";"
    "CREATE TABLE link_excess("
    " dev INTEGER NOT NULL, bucket INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(dev, bucket))"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE link_todo("
    " dev INTEGER NOT NULL, ino INTEGER NOT NULL, PRIMARY KEY(dev, ino)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE link_moved(entry_id INTEGER PRIMARY KEY) STRICT;"
    "CREATE TABLE link_scan("
    " id INTEGER PRIMARY KEY CHECK(id = 1), dev INTEGER NOT NULL, ino INTEGER NOT NULL) STRICT;"
    "INSERT INTO link_scan(id, dev, ino) VALUES(1, " FIRST_INODE ", " FIRST_INODE ");"
    "CREATE TRIGGER link_gone AFTER DELETE ON entry WHEN " LINKED("old.") " BEGIN"
    " INSERT OR IGNORE INTO link_todo(dev, ino) VALUES(old.dev, old.ino); END;"
    "CREATE TRIGGER link_changed"
    " AFTER UPDATE OF parent_id, kind, size, allocated, dev, ino, nlink ON entry"
    " WHEN (" LINKED("old.") " OR " LINKED("new.") ") AND"
    " (old.parent_id, old.kind, old.size, old.allocated, old.dev, old.ino, old.nlink > 1) IS NOT"
    " (new.parent_id, new.kind, new.size, new.allocated, new.dev, new.ino, new.nlink > 1) BEGIN"
    " INSERT OR IGNORE INTO link_todo(dev, ino) SELECT old.dev, old.ino WHERE " LINKED("old.") ";"
    " INSERT OR IGNORE INTO link_todo(dev, ino) SELECT new.dev, new.ino WHERE " LINKED("new.") ";"
    "END;"
    "CREATE TRIGGER link_dir_moved AFTER UPDATE OF parent_id ON entry"
    " WHEN old.kind = 2 AND new.parent_id <> old.parent_id BEGIN"
    " INSERT OR IGNORE INTO link_moved(entry_id) VALUES(old.id); END;";

/* How much of the history is kept: so many jobs that are nobody's children, and none that ended
 * longer ago; NULL: no limit. No row: see lua/sd/retention.lua. The indexes are over the same jobs:
 * which are the oldest, and which is the last of its name and location. */
static const char keeping[] =
    "CREATE TABLE job_retention("
    " id INTEGER PRIMARY KEY CHECK(id = 1), jobs INTEGER, days REAL) STRICT;"
    "CREATE INDEX job_history_top ON job_history(finished_at) WHERE parent_id IS NULL;"
    "CREATE INDEX job_history_name ON job_history(name, location_id) WHERE parent_id IS NULL;";

static const char no_views[] =
    "DROP VIEW locations; DROP VIEW entries; DROP VIEW directories; DROP VIEW contents;"
    "DROP VIEW jobs; DROP VIEW errors; DROP VIEW IF EXISTS skips;";

/* What versions before 3 did not keep of a directory is told by its device. */
static const char since_2[] =
    "UPDATE entry SET mode = mode | 262144 WHERE kind = 2"
    " AND dev <> (SELECT above.dev FROM entry above WHERE above.id = entry.parent_id);"
    "ALTER TABLE content ADD COLUMN mime_named INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE counter ADD COLUMN names_end INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE job_schedule ADD COLUMN error TEXT;"
    "ALTER TABLE directory ADD COLUMN excess_bytes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE directory ADD COLUMN excess_allocated INTEGER NOT NULL DEFAULT 0;"
    "DROP INDEX entry_inode;"
    "DROP INDEX job_history_finished;";

/* The next run packs all names again, so that there are masks. */
static const char no_packs[] =
    "DELETE FROM name_pack; DELETE FROM name_gram; DELETE FROM name_todo;";

/* What version 1 had otherwise. What an unfinished run had noted as vanished is lost: it was of
 * another script and cannot go on, and the next one notes it again. */
static const char since_1[] =
    "ALTER TABLE location ADD COLUMN settings TEXT;"
    "ALTER TABLE directory ADD COLUMN unread INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE directory ADD COLUMN unverified INTEGER NOT NULL DEFAULT 0;"
    "DROP TABLE vanished;";

const char *const *sd_schema_scripts(int from) {
  static const char *const fresh[] = {tables,  living,   asking, masks, linking,
                                      keeping, triggers, views,  NULL};
  static const char *const from_1[] = {no_views, since_1, since_2, living, asking,
                                       masks,    linking, keeping, views,  NULL};
  static const char *const from_2[] = {no_views, since_2, no_packs, masks,
                                       linking,  keeping, views,    NULL};
  static const char *const none[] = {NULL};
  static const char *const *const all[SD_SCHEMA_VERSION] = {fresh, from_1, from_2};
  return from >= 0 && from < SD_SCHEMA_VERSION ? all[from] : none;
}

/* ---- what a library must have ---- */

static int version_of(sqlite3 *db) {
  sqlite3_stmt *st = NULL;
  int version = 0;
  if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK &&
      sqlite3_step(st) == SQLITE_ROW)
    version = sqlite3_column_int(st, 0);
  sqlite3_finalize(st);
  return version;
}

/* Whether `db` has all that `made` has. */
static bool has_all(sqlite3 *db, sqlite3 *made) {
  static const char all[] = "SELECT type,name FROM sqlite_schema";
  static const char one[] = "SELECT 1 FROM sqlite_schema WHERE type=?1 AND name=?2";
  sqlite3_stmt *names = NULL, *find = NULL;
  bool whole = true;
  if (sqlite3_prepare_v2(made, all, -1, &names, NULL) == SQLITE_OK &&
      sqlite3_prepare_v2(db, one, -1, &find, NULL) == SQLITE_OK)
    while (whole && sqlite3_step(names) == SQLITE_ROW) {
      sqlite3_bind_value(find, 1, sqlite3_column_value(names, 0));
      sqlite3_bind_value(find, 2, sqlite3_column_value(names, 1));
      whole = sqlite3_step(find) != SQLITE_DONE;
      sqlite3_reset(find);
    }
  sqlite3_finalize(names);
  sqlite3_finalize(find);
  return whole;
}

bool sd_schema_is_whole(sqlite3 *db) {
  sqlite3 *made = NULL;
  bool whole = true;
  if (version_of(db) != SD_SCHEMA_VERSION) return true;
  int rc = sqlite3_open(":memory:", &made);
  for (const char *const *text = sd_schema_scripts(0); !rc && *text; text++)
    rc = sqlite3_exec(made, *text, NULL, NULL, NULL);
  if (!rc) whole = has_all(db, made);
  sqlite3_close(made);
  return whole;
}
