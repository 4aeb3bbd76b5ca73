/* The reader: what it sees, what it refuses, where it may stand. */
#include "engine/reader.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/functions.h"
#include "support.h"

/* ---- a small library ---- */

static const char rows[] =
    "INSERT INTO location(id,uuid,root,entry_id,created_at,state)"
    " VALUES(1,zeroblob(16),'/data',1,0,'complete'),(2,zeroblob(16),'/',9,0,'complete');"
    "INSERT INTO "
    "entry(id,parent_id,name,kind,size,allocated,mtime,ctime,dev,ino,mode,uid,gid,nlink,"
    "uuid) VALUES"
    "(1,-1,'data',2,0,0,0,0,1,1,0,0,0,2,zeroblob(16)),"
    "(2,1,'a',2,0,0,0,0,1,2,0,0,0,2,zeroblob(16)),"
    "(3,2,x'ff',2,0,0,0,0,1,3,0,0,0,2,zeroblob(16)),"
    "(4,3,'deep',1,5,0,0,0,1,4,0,0,0,1,zeroblob(16)),"
    "(5,1,'caf\303\251',1,1536,0,0,0,1,5,0,0,0,1,zeroblob(16)),"
    "(9,-2,'/',2,0,0,0,0,2,1,0,0,0,2,zeroblob(16)),"
    "(10,9,'etc',1,0,0,0,0,2,2,0,0,0,1,zeroblob(16));"
    "INSERT INTO directory "
    "VALUES(1,1,NULL,'',NULL,0,0,0,0,0,0,0,0,0,0),(2,1,NULL,'a',NULL,0,0,0,0,0,0,0,0,0,0),"
    /* 3: a piece below 2 */
    "(3,1,2,x'ff',NULL,0,0,0,0,0,0,0,0,0,0),(9,2,NULL,'',NULL,0,0,0,0,0,0,0,0,0,0)";

static struct sd_store *new_library(const char *dir) {
  struct sd_err err;
  struct sd_store *s;
  assert_ok(sd_store_open(dir, SD_STORE_WRITE, &s, &err), &err);
  assert_int_equal(sqlite3_exec(sd_store_db(s), rows, NULL, NULL, NULL), SQLITE_OK);
  return s;
}

static struct sd_reader *open_reader(const char *dir, const atomic_int *stop) {
  struct sd_err err;
  struct sd_reader *r;
  assert_ok(sd_reader_open(dir, stop, &r, &err), &err);
  return r;
}

static struct sd_select *open_select(struct sd_reader *r, const char *sql) {
  struct sd_err err;
  struct sd_select *s = NULL;
  size_t used;
  assert_ok(sd_select_open(r, sql, strlen(sql), &s, &used, &err), &err);
  assert_non_null(s);
  return s;
}

/* The first row's first column, as text or the bytes of a blob; "NULL". */
static const char *first(struct sd_reader *r, const char *sql) {
  static char text[256];
  struct sd_err err;
  struct sd_select *s = open_select(r, sql);
  assert_int_equal(sd_select_next(s, &err), 1);
  struct sd_value v = sd_select_value(s, 0);
  if (v.type == SD_VALUE_INT) snprintf(text, sizeof(text), "%lld", (long long)v.i);
  else if (v.type == SD_VALUE_NULL) strcpy(text, "NULL");
  else snprintf(text, sizeof(text), "%.*s", (int)v.s.n, v.s.p);
  sd_select_close(s);
  return text;
}

/* The code with which a statement is refused, while it is prepared or while it runs. */
static int refused(struct sd_reader *r, const char *sql, struct sd_err *err) {
  struct sd_select *s = NULL;
  size_t used;
  int rc = sd_select_open(r, sql, strlen(sql), &s, &used, err);
  while (!rc && s && (rc = sd_select_next(s, err)) == 1) rc = 0;
  sd_select_close(s);
  return rc;
}

/* ---- what it sees ---- */

static void a_reader_sees_what_is_committed_while_another_writes(void **state) {
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  assert_string_equal(first(r, "SELECT count(*) FROM entries"), "7");
  sqlite3 *db = sd_store_db(w);
  sqlite3_exec(db, "BEGIN IMMEDIATE; DELETE FROM entry WHERE id=5", NULL, NULL, NULL);
  assert_string_equal(first(r, "SELECT count(*) FROM entries"), "7");
  sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
  assert_string_equal(first(r, "SELECT count(*) FROM entries"), "6");
  sd_reader_close(r);
  sd_store_close(w);
}

static void a_reader_that_stays_sees_one_state(void **state) {
  struct sd_err err;
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  assert_ok(sd_reader_stay(r, &err), &err);
  assert_string_equal(first(r, "SELECT count(*) FROM entries"), "7");
  sqlite3_exec(sd_store_db(w), "DELETE FROM entry WHERE id=5", NULL, NULL, NULL);
  assert_string_equal(first(r, "SELECT count(*) FROM entries"), "7");
  assert_ok(sd_reader_stay(r, &err), &err); /* it does already */
  sd_reader_leave(r);
  assert_string_equal(first(r, "SELECT count(*) FROM entries"), "6");
  sd_reader_leave(r);
  sd_reader_close(r);
  sd_store_close(w);
}

static void paths_are_absolute_and_exact(void **state) {
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  static const char *const want[] = {"/data", "/data/a", "/data/a/\xff", "/data/a/\xff/deep",
                                     "/data/caf\303\251"};
  char sql[96];
  for (int i = 0; i < 5; i++) {
    snprintf(sql, sizeof(sql), "SELECT path(%d)", i + 1);
    assert_string_equal(first(r, sql), want[i]);
  }
  assert_string_equal(first(r, "SELECT path(9)"), "/");
  assert_string_equal(first(r, "SELECT path(10)"), "/etc");
  assert_string_equal(first(r, "SELECT path(4711)"), "NULL");
  assert_string_equal(first(r, "SELECT path('x')"), "NULL");
  assert_string_equal(first(r, "SELECT path(parent_id, name) FROM entry WHERE id = 1"), "/data");
  assert_string_equal(first(r, "SELECT typeof(path(3)) || typeof(path(5))"), "blobtext");
  assert_string_equal(
      first(r, "SELECT count(*) FROM entry WHERE path(id) <> path(parent_id, name)"), "0");
  sd_reader_close(r);
  sd_store_close(w);
}

/* A path that was asked for is not told again when its directory has another name. */
static void paths_follow_the_library(void **state) {
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  assert_string_equal(first(r, "SELECT path(5)"), "/data/caf\303\251");
  sqlite3_exec(sd_store_db(w), "UPDATE location SET root='/moved' WHERE id=1", NULL, NULL, NULL);
  assert_string_equal(first(r, "SELECT path(5)"), "/moved/caf\303\251");
  sd_reader_close(r);
  sd_store_close(w);
}

static void a_number_of_bytes_is_readable(void **state) {
  (void)state;
  static const struct {
    double n;
    const char *text;
  } want[] = {{0, "0 B"},          {1023, "1023 B"},
              {1024, "1.00 KiB"},  {1536, "1.50 KiB"},
              {10240, "10.0 KiB"}, {1048575, "1024 KiB"},
              {1e9, "954 MiB"},    {9223372036854775807.0, "8.00 EiB"},
              {-2048, "-2048 B"}};
  char text[SD_HUMAN_LEN];
  for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
    sd_human(want[i].n, text);
    assert_string_equal(text, want[i].text);
  }
}

static void regexp_matches_text_and_bytes(void **state) {
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  static const struct {
    const char *sql, *want;
  } cases[] = {
      {"SELECT 'abc' REGEXP 'B'", "0"},
      {"SELECT 'abc' REGEXP '(?i)B'", "1"},
      {"SELECT 'caf\303\251' REGEXP '^caf.$'", "1"}, /* a character is one */
      {"SELECT x'ff61' REGEXP '^.a$'", "1"},         /* and so is a byte that is none */
      {"SELECT 'a' || char(10) REGEXP '^a$'", "0"},
      {"SELECT 'a' || char(10) || 'b' REGEXP '^a.b$'", "1"},
      {"SELECT NULL REGEXP 'a'", "NULL"},
      {"SELECT 'a' REGEXP NULL", "NULL"},
      {"SELECT '' REGEXP ''", "1"},
      {"SELECT x'' REGEXP '^$'", "1"},
      {"SELECT 42 REGEXP '^4'", "1"},
      {"SELECT sum(name REGEXP column1) FROM entry, (VALUES ('^d'), ('e'))", "4"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
    assert_string_equal(first(r, cases[i].sql), cases[i].want);
  struct sd_err err;
  assert_int_equal(refused(r, "SELECT 'a' REGEXP 'a(b'", &err), SD_ESQL);
  assert_non_null(strstr(err.msg, "offset "));
  /* Backtracks without end. */
  assert_int_equal(refused(r, "SELECT printf('%.60c', 'a') REGEXP '^(a+)+[^a]$'", &err), SD_ESQL);
  sd_reader_close(r);
  sd_store_close(w);
}

/* ---- what it refuses ---- */

static void nothing_is_changed(void **state) {
  struct sd_err err;
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  char attach[512];
  snprintf(attach, sizeof(attach), "ATTACH '%s/other.db' AS x", (char *)*state);
  const char *const sqls[] = {
      "DELETE FROM entry",
      "UPDATE location SET root = 'x'",
      "INSERT INTO counter VALUES(1, 1)",
      "CREATE TABLE x(y)",
      "CREATE TEMP TABLE x(y)",
      "DROP VIEW entries",
      "CREATE TEMP VIEW v AS SELECT 1",
      "BEGIN",
      "SAVEPOINT x",
      "COMMIT",
      "PRAGMA journal_mode=DELETE",
      "PRAGMA user_version=9",
      "PRAGMA query_only=0",
      "PRAGMA writable_schema=1",
      "VACUUM",
      "VACUUM INTO '/nowhere'",
      "UPDATE sqlite_master SET sql = ''",
      "REINDEX",
      "ANALYZE",
      "DETACH main",
      "SELECT load_extension('x')",
      "INSERT INTO entry SELECT * FROM entry RETURNING id",
      attach,
      "WITH x(y) AS (SELECT 1) DELETE FROM entry",
      "SELECT * FROM pragma_journal_mode('delete')",
  };
  struct sd_buf before = run("sqlite3 '%s/library.db' .dump", (char *)*state);
  for (size_t i = 0; i < sizeof(sqls) / sizeof(sqls[0]); i++) {
    int rc = refused(r, sqls[i], &err);
    if (rc != SD_ESQL) fail_msg("%s: %d", sqls[i], rc);
  }
  struct sd_buf after = run("sqlite3 '%s/library.db' .dump", (char *)*state);
  assert_int_equal(before.len, after.len);
  assert_memory_equal(before.data, after.data, after.len);
  assert_int_not_equal(access(at(*state, "other.db"), F_OK), 0);
  sd_buf_fini(&before);
  sd_buf_fini(&after);
  sd_reader_close(r);
  sd_store_close(w);
}

static void what_only_tells_is_allowed(void **state) {
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  assert_string_equal(first(r, "PRAGMA user_version"),
                      first(r, "SELECT * FROM pragma_user_version"));
  assert_string_equal(first(r, "SELECT name FROM pragma_table_info('locations')"), "id");
  assert_string_equal(first(r, "PRAGMA integrity_check"), "ok");
  assert_string_equal(first(r,
                            "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n"
                            " WHERE i<9) SELECT sum(i) FROM n"),
                      "45");
  first(r, "EXPLAIN QUERY PLAN SELECT * FROM entries");
  sd_reader_close(r);
  sd_store_close(w);
}

static void a_wrong_statement_has_its_place(void **state) {
  struct sd_err err;
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  assert_int_equal(refused(r, "SELECT id, nosuch FROM entries", &err), SD_ESQL);
  assert_int_equal(sd_reader_offset(r), 11);
  assert_non_null(strstr(err.msg, "nosuch"));
  assert_int_equal(refused(r, "SELECT 1 FORM entries", &err), SD_ESQL);
  assert_int_equal(sd_reader_offset(r), 14);
  assert_int_equal(refused(r, "ATTACH 'x' AS y", &err), SD_ESQL);
  assert_int_equal(sd_reader_offset(r), -1);
  assert_non_null(strstr(err.msg, "ATTACH"));
  sd_reader_close(r);
  sd_store_close(w);
}

/* ---- statements ---- */

static void statements_follow_each_other_in_a_text(void **state) {
  struct sd_err err;
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  const char *text = "SELECT 1; SELECT 2 -- the last\n;  -- nothing\n";
  size_t used, at = 0, len = strlen(text);
  for (int i = 1; i <= 3; i++, at += used) {
    struct sd_select *s;
    assert_ok(sd_select_open(r, text + at, len - at, &s, &used, &err), &err);
    if (i == 3) {
      assert_null(s);
      break;
    }
    assert_int_equal(sd_select_next(s, &err), 1);
    assert_int_equal(sd_select_value(s, 0).i, i);
    sd_select_close(s);
  }
  sd_reader_close(r);
  sd_store_close(w);
}

static void values_are_bound_as_they_are(void **state) {
  struct sd_err err;
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, NULL);
  struct sd_select *s = open_select(r, "SELECT ?, ?2, ?, ?, hex(?1)");
  struct sd_value v[] = {{.type = SD_VALUE_BLOB, .s = {"\0\xff", 2}},
                         {.type = SD_VALUE_INT, .i = INT64_MIN},
                         {.type = SD_VALUE_REAL, .r = 0.5},
                         {.type = SD_VALUE_NULL}};
  assert_int_equal(sd_select_params(s), 4);
  for (int i = 0; i < 4; i++) assert_ok(sd_select_bind(s, i + 1, &v[i], &err), &err);
  assert_int_equal(sd_select_next(s, &err), 1);
  assert_int_equal(sd_select_columns(s), 5);
  for (int i = 0; i < 4; i++) assert_int_equal(sd_select_value(s, i).type, v[i].type);
  assert_memory_equal(sd_select_value(s, 0).s.p, "\0\xff", 2);
  assert_true(sd_select_value(s, 1).i == INT64_MIN);
  assert_memory_equal(sd_select_value(s, 4).s.p, "00FF", 4);
  assert_int_equal(sd_select_next(s, &err), 0);
  assert_int_equal(sd_select_next(s, &err), 0); /* the end stays the end */
  sd_select_close(s);
  sd_reader_close(r);
  sd_store_close(w);
}

static void *stop_soon(void *stop) {
  usleep(50000);
  atomic_store((atomic_int *)stop, 2);
  return NULL;
}

static void a_statement_without_end_is_stopped(void **state) {
  struct sd_err err;
  atomic_int stop = 0;
  pthread_t thread;
  struct sd_store *w = new_library(*state);
  struct sd_reader *r = open_reader(*state, &stop);
  pthread_create(&thread, NULL, stop_soon, &stop);
  int rc = refused(r,
                   "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n)"
                   " SELECT sum(i) FROM n",
                   &err);
  pthread_join(thread, NULL);
  assert_int_equal(rc, SD_ECANCELED);
  assert_int_equal(refused(r, "SELECT 1", &err), SD_ECANCELED);
  atomic_store(&stop, 0);
  assert_int_equal(refused(r, "SELECT 1", &err), 0);
  sd_reader_close(r);
  sd_store_close(w);
}

/* ---- where it may stand ---- */

static int open_code(const char *dir, struct sd_err *err) {
  struct sd_reader *r = NULL;
  int rc = sd_reader_open(dir, NULL, &r, err);
  sd_reader_close(r);
  return rc;
}

static void a_place_without_a_library_stays_as_it_is(void **state) {
  struct sd_err err;
  assert_int_equal(open_code(*state, &err), SD_ENOLIB);
  assert_non_null(strstr(err.msg, *state));
  assert_int_equal(open_code(at(*state, "nosuch"), &err), SD_ENOLIB);
  assert_int_equal(run_number("ls -A '%s' | wc -l", (char *)*state), 0);
  put_file(at(*state, "library.db"),
           "no database at all, but longer than a header of one .........."
           "...................................................",
           113);
  assert_int_equal(open_code(*state, &err), SD_EDAMAGED);
  assert_non_null(strstr(err.msg, "library.db"));
  put_file(at(*state, "library.db"), "", 0);
  assert_int_equal(open_code(*state, &err), SD_ENOLIB);
  assert_int_equal(run_number("ls -A '%s' | wc -l", (char *)*state), 1);
}

static void a_newer_library_is_refused(void **state) {
  struct sd_err err;
  sd_store_close(new_library(*state));
  struct sd_buf out = run("sqlite3 '%s/library.db' 'PRAGMA user_version=99'", (char *)*state);
  sd_buf_fini(&out);
  assert_int_equal(open_code(*state, &err), SD_ENEWER);
}

/* With the files of the log there, without them, and with a log whose index is missing. */
static void a_read_only_file_system_is_enough(void **state) {
  struct sd_err err;
  const char *disk = at(*state, "disk?#%");
  make_dir(disk);
  if (mount("tmpfs", disk, "tmpfs", 0, "size=16m") != 0) skip_because("mount is not permitted");
  static const char *const names[] = {"whole", "alone", "lost"};
  for (int i = 0; i < 3; i++) {
    make_dir(at(disk, names[i]));
    sd_store_close(new_library(at(disk, names[i])));
  }
  struct sd_buf out =
      run("cd '%s' && sqlite3 alone/library.db 'PRAGMA wal_checkpoint(TRUNCATE)' &&"
          " rm -f alone/*-wal alone/*-shm lost/*-shm",
          disk);
  sd_buf_fini(&out);
  assert_int_equal(mount(NULL, disk, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
  int codes[3];
  for (int i = 0; i < 3; i++) codes[i] = open_code(at(disk, names[i]), &err);
  struct sd_reader *r = NULL;
  char count[256] = "";
  if (!sd_reader_open(at(disk, "alone"), NULL, &r, &err))
    strcpy(count, first(r, "SELECT count(*) FROM entries"));
  sd_reader_close(r);
  umount2(disk, MNT_DETACH);
  assert_int_equal(codes[0], 0);
  assert_int_equal(codes[1], 0);
  assert_true(codes[2] < 0);
  assert_string_equal(count, "7");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(a_reader_sees_what_is_committed_while_another_writes),
      temp_test(a_reader_that_stays_sees_one_state),
      temp_test(paths_are_absolute_and_exact),
      temp_test(paths_follow_the_library),
      temp_test(a_number_of_bytes_is_readable),
      temp_test(regexp_matches_text_and_bytes),
      temp_test(nothing_is_changed),
      temp_test(what_only_tells_is_allowed),
      temp_test(a_wrong_statement_has_its_place),
      temp_test(statements_follow_each_other_in_a_text),
      temp_test(values_are_bound_as_they_are),
      temp_test(a_statement_without_end_is_stopped),
      temp_test(a_place_without_a_library_stays_as_it_is),
      temp_test(a_newer_library_is_refused),
      temp_test(a_read_only_file_system_is_enough),
  };
  return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
