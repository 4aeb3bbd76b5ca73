/* Which files are to be hashed, and what becomes of the names of an inode. Rows are made by SQL. */
#include "support.h"

#include <errno.h>
#include <sqlite3.h>

#include "engine/content.h"
#include "engine/hash.h"

enum { HOME = 1, OTHER = 2, JOB = 7 };

static struct sd_store *open_store(const char *dir) {
  struct sd_err err;
  struct sd_store *s = NULL;
  assert_ok(sd_store_open(dir, SD_STORE_WRITE, &s, &err), &err);
  return s;
}

static void exec(struct sd_store *s, const char *sql) {
  if (sqlite3_exec(sd_store_db(s), sql, NULL, NULL, NULL) != SQLITE_OK)
    fail_msg("%s: %s", sql, sqlite3_errmsg(sd_store_db(s)));
}

/* Two locations; the root of each is the entry of the same id. */
static struct sd_store *new_library(const char *dir) {
  struct sd_store *s = open_store(dir);
  exec(s,
       "INSERT INTO location(id,uuid,root,entry_id,created_at,state) VALUES"
       " (1,zeroblob(16),'/home',1,0,'new'),(2,zeroblob(16),'/other',2,0,'new');"
       "INSERT INTO entry(id,parent_id,name,kind,uuid) VALUES(1,-1,'',2,zeroblob(16)),"
       " (2,-2,'',2,zeroblob(16));"
       "INSERT INTO directory(entry_id,location_id,path,files,dirs,symlinks,file_bytes,bytes,"
       " allocated) SELECT id,id,'',0,0,0,0,0,0 FROM entry;"
       "INSERT INTO content(id,uuid,hash,hash_kind,size,entries,first_seen) VALUES"
       " (1,zeroblob(16),x'01',1,10,1,0)");
  return s;
}

struct row {
  int64_t id, parent_id, size, ctime, btime, content_id; /* btime 0: not known */
};

/* A name of one inode, with three links. */
static void add_name(struct sd_store *s, struct row r) {
  char sql[512], btime[24] = "NULL";
  int64_t size = r.size ? r.size : 10;
  if (r.btime) snprintf(btime, sizeof(btime), "%lld", (long long)r.btime);
  snprintf(sql, sizeof(sql),
           "INSERT INTO entry(id,parent_id,name,kind,size,allocated,mtime,ctime,btime,dev,ino,mode,"
           "uid,gid,nlink,content_id,uuid) VALUES(%lld,%lld,'n%lld',1,%lld,%lld,5,%lld,%s,1,77,420,"
           "0,0,3,%lld,zeroblob(16));"
           "UPDATE directory SET files=files+1,file_bytes=file_bytes+%lld,bytes=bytes+%lld,"
           "allocated=allocated+%lld WHERE entry_id=%lld",
           (long long)r.id, (long long)r.parent_id, (long long)r.id, (long long)size,
           (long long)size * 2, (long long)r.ctime, btime, (long long)r.content_id, (long long)size,
           (long long)size, (long long)size * 2, (long long)r.parent_id);
  exec(s, sql);
}

static struct sd_contents *select_next(struct sd_store *s, int64_t location, bool rest) {
  struct sd_err err;
  struct sd_contents *c = sd_contents_new();
  struct sd_content_want want = {.location_id = location, .limit = 10, .full = true, .rest = rest};
  assert_non_null(c);
  assert_ok(sd_contents_select(s, &want, c, &err), &err);
  return c;
}

/* The ids of what is given, with "=twin" where there is one. */
static void assert_given(struct sd_store *s, int64_t location, bool rest, const char *want) {
  char text[256] = "";
  struct sd_contents *c = select_next(s, location, rest);
  for (size_t i = 0; i < c->items_len; i++) {
    size_t n = strlen(text);
    n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%lld", n ? " " : "",
                          (long long)c->items[i].entry_id);
    if (c->items[i].twin)
      snprintf(text + n, sizeof(text) - n, "=%lld", (long long)c->items[i].twin);
  }
  assert_string_equal(text, want);
  sd_contents_free(c);
}

/* As if each file had been read: `code` 0, and then it has grown by `grown` bytes. */
static struct sd_link_count link_given(struct sd_store *s, struct sd_contents *c, int64_t location,
                                       int code, int64_t grown) {
  struct sd_err err;
  struct sd_link_count n = {0};
  struct sd_write_opts o = {.location_id = location, .job_id = JOB, .want_content = true};
  for (size_t i = 0; i < c->items_len; i++) {
    struct sd_content *item = &c->items[i];
    item->code = code;
    item->kind = code ? SD_HASH_NONE : SD_HASH_FULL;
    item->now = item->st;
    item->now.size += grown;
    item->now.mtime += grown;
  }
  assert_ok(sd_store_begin(s, &err), &err);
  assert_ok(sd_contents_link(s, c, &o, &n, &err), &err);
  assert_ok(sd_store_commit(s, &err), &err);
  sd_contents_free(c);
  return n;
}

static struct sd_link_count link_next(struct sd_store *s, int64_t location, int code,
                                      int64_t grown) {
  return link_given(s, select_next(s, location, false), location, code, grown);
}

/* What the job noted, whatever is known of it. */
static struct sd_link_count link_noted(struct sd_store *s, int code, int64_t grown) {
  struct sd_err err;
  struct sd_contents *c = sd_contents_new();
  struct sd_content_want want = {.location_id = HOME, .limit = 10, .full = true, .job_id = JOB};
  assert_non_null(c);
  assert_ok(sd_contents_select(s, &want, c, &err), &err);
  assert_int_equal(c->items_len, 1);
  return link_given(s, c, HOME, code, grown);
}

#define assert_sqlite(dir, sql, want)                                     \
  do {                                                                    \
    struct sd_buf out_ = run("sqlite3 '%s/library.db' \"%s\"", dir, sql); \
    assert_string_equal((char *)out_.data, want);                         \
    sd_buf_fini(&out_);                                                   \
  } while (0)

/* ---- twins ---- */

static void a_twin_is_a_name_of_the_same_file(void **state) {
  struct sd_store *s = new_library(*state);
  add_name(s, (struct row){.id = 10, .parent_id = HOME, .ctime = 6, .btime = 4, .content_id = 1});
  add_name(s, (struct row){.id = 20, .parent_id = OTHER, .ctime = 6, .btime = 4});
  assert_given(s, OTHER, false, "20=10");
  sd_store_close(s);
}

/* Both names were replaced by those of another file, of the same size and time. */
static void an_inode_that_was_given_to_another_file_has_no_twin(void **state) {
  struct sd_store *s = new_library(*state);
  add_name(s, (struct row){.id = 10, .parent_id = HOME, .ctime = 6, .btime = 4, .content_id = 1});
  add_name(s, (struct row){.id = 20, .parent_id = HOME, .ctime = 9, .btime = 8});
  assert_given(s, HOME, false, "20");
  exec(s, "UPDATE entry SET ctime=6 WHERE id=20");
  assert_given(s, HOME, false, "20");
  exec(s, "UPDATE entry SET btime=4 WHERE id=20");
  assert_given(s, HOME, false, "20=10");
  exec(s,
       "INSERT INTO vanished(location_id,job_id,entry_id,parent_id,name,keep) "
       "VALUES(1,7,10,1,'a',0)");
  assert_given(s, HOME, false, "20");
  sd_store_close(s);
}

static void all_new_names_join_one_that_was_read_before(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  add_name(s, (struct row){.id = 10, .parent_id = HOME, .content_id = 1});
  for (int64_t id = 20; id < 24; id++) add_name(s, (struct row){.id = id, .parent_id = HOME});
  assert_given(s, HOME, false, "20=10");
  assert_int_equal(link_next(s, HOME, 0, 0).linked, 4);
  assert_given(s, HOME, false, "");
  assert_given(s, HOME, true, "");
  assert_sqlite(dir, "SELECT entries FROM content", "5\n");
  sd_store_close(s);
}

/* ---- several names that wait ---- */

static void names_in_another_location_neither_block_nor_follow(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  add_name(s, (struct row){.id = 10, .parent_id = OTHER});
  add_name(s, (struct row){.id = 20, .parent_id = HOME});
  add_name(s, (struct row){.id = 21, .parent_id = HOME});
  assert_given(s, HOME, false, "20");
  assert_int_equal(link_next(s, HOME, 0, 0).linked, 2);
  assert_given(s, OTHER, false, "10=20");
  sd_store_close(s);
}

static void the_rest_is_given_where_the_first_name_could_not_be_read(void **state) {
  struct sd_store *s = new_library(*state);
  for (int64_t id = 20; id < 23; id++) add_name(s, (struct row){.id = id, .parent_id = HOME});
  assert_given(s, HOME, false, "20");
  assert_int_equal(link_next(s, HOME, -ENOENT, 0).vanished, 1);
  assert_given(s, HOME, true, "21 22");
  sd_store_close(s);
}

static void names_that_were_listed_while_the_file_grew_are_right_in_the_totals(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  add_name(s, (struct row){.id = 20, .parent_id = HOME});
  add_name(s, (struct row){.id = 21, .parent_id = HOME, .size = 15}); /* listed later */
  add_name(s, (struct row){.id = 22, .parent_id = HOME, .size = 20});
  assert_int_equal(link_next(s, HOME, 0, 10).linked, 3);
  assert_sqlite(dir, "SELECT id,size,allocated,mtime FROM entry WHERE id>=20",
                "20|20|20|15\n21|20|20|15\n22|20|20|15\n");
  assert_sqlite(dir, "SELECT files,file_bytes,bytes,allocated FROM directory WHERE entry_id=1",
                "3|60|60|60\n");
  sd_store_close(s);
}

/* ---- types ---- */

/* A table in which n20 has no type, and of n21 and n22 that of the latter comes first. */
static struct sd_mime_names *open_types(const char *dir) {
  struct sd_err err;
  struct sd_mime_names *types = NULL;
  char path[4096];
  snprintf(path, sizeof(path), "%s/globs2", dir);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs("50:text/x-b:n21\n50:text/x-a:n22\n50:text/x-z:n23\n", f);
  assert_int_equal(fclose(f), 0);
  assert_ok(sd_mime_names_open(path, &types, &err), &err);
  return types;
}

/* As if the first name of each file had said `mime`, or its bytes. */
static void link_typed(struct sd_store *s, const char *dir, const char *mime, bool named) {
  struct sd_contents *c = select_next(s, HOME, false);
  c->mime_names = open_types(dir);
  for (size_t i = 0; i < c->items_len; i++) {
    c->items[i].mime = c->items[i].twin ? NULL : mime;
    c->items[i].mime_named = named;
  }
  link_given(s, c, HOME, 0, 0);
}

static void the_type_is_that_which_one_of_the_names_says(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  exec(s, "DELETE FROM content");
  add_name(s, (struct row){.id = 20, .parent_id = HOME});
  add_name(s, (struct row){.id = 21, .parent_id = HOME});
  add_name(s, (struct row){.id = 22, .parent_id = HOME});
  link_typed(s, dir, "application/x-bytes", false);
  assert_sqlite(dir, "SELECT mime,kind,mime_named,entries FROM content", "text/x-a|text|1|3\n");
  sd_store_close(s);
}

static void a_name_that_was_read_counts_as_much_as_the_others(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  exec(s, "DELETE FROM content");
  add_name(s, (struct row){.id = 21, .parent_id = HOME});
  add_name(s, (struct row){.id = 23, .parent_id = HOME});
  link_typed(s, dir, "text/x-b", true);
  assert_sqlite(dir, "SELECT mime,mime_named FROM content", "text/x-b|1\n");
  sd_store_close(s);
}

/* What became known later than the file was read: in the end the order does not matter. */
static void new_names_of_a_known_file_may_say_its_type(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  exec(s, "UPDATE content SET mime='application/x-bytes',kind='application'");
  add_name(s, (struct row){.id = 10, .parent_id = HOME, .content_id = 1});
  add_name(s, (struct row){.id = 20, .parent_id = HOME});
  link_typed(s, dir, NULL, false);
  assert_sqlite(dir, "SELECT mime,mime_named FROM content", "application/x-bytes|0\n");
  add_name(s, (struct row){.id = 21, .parent_id = HOME});
  link_typed(s, dir, NULL, false);
  assert_sqlite(dir, "SELECT mime,kind,mime_named FROM content", "text/x-b|text|1\n");
  add_name(s, (struct row){.id = 22, .parent_id = HOME});
  add_name(s, (struct row){.id = 23, .parent_id = HOME});
  link_typed(s, dir, NULL, false);
  assert_sqlite(dir, "SELECT mime,entries FROM content", "text/x-a|5\n");
  sd_store_close(s);
}

/* ---- a better identity ---- */

static const char sampled[] =
    "UPDATE content SET hash_kind=2,entries=2 WHERE id=1;"
    "INSERT INTO content_todo(job_id,entry_id) VALUES(7,10)";

static void what_a_job_noted_gets_a_better_identity_with_all_its_names(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  add_name(s, (struct row){.id = 10, .parent_id = HOME, .ctime = 6, .content_id = 1});
  add_name(s, (struct row){.id = 20, .parent_id = OTHER, .ctime = 6, .content_id = 1});
  exec(s, sampled);
  assert_int_equal(link_noted(s, 0, 0).linked, 2);
  assert_sqlite(dir,
                "SELECT e.id,c.hash_kind,c.entries,hex(s.hash) FROM entry e JOIN content c ON"
                " c.id=e.content_id JOIN content_sample s ON s.content_id=c.id",
                "10|1|2|01\n20|1|2|01\n");
  assert_sqlite(dir, "SELECT count(*) FROM content", "1\n");
  /* Once more changes nothing: the content is the one that is there. */
  assert_int_equal(link_noted(s, 0, 0).linked, 2);
  assert_sqlite(dir, "SELECT hash_kind,entries FROM content", "1|2\n");
  exec(s, "DELETE FROM content");
  assert_sqlite(dir, "SELECT count(*) FROM content_sample", "0\n");
  sd_store_close(s);
}

static void samples_of_other_bytes_are_not_kept(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  add_name(s, (struct row){.id = 10, .parent_id = HOME, .ctime = 6, .content_id = 1});
  exec(s, sampled);
  assert_int_equal(link_noted(s, 0, 5).linked, 1);
  assert_sqlite(dir,
                "SELECT size,hash_kind,(SELECT count(*) FROM content_sample) FROM content"
                " WHERE id>1",
                "15|1|0\n");
  assert_sqlite(dir, "SELECT bytes FROM directory WHERE entry_id=1", "15\n");
  sd_store_close(s);
}

static void what_cannot_be_read_keeps_its_identity(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  add_name(s, (struct row){.id = 10, .parent_id = HOME, .ctime = 6, .content_id = 1});
  exec(s, sampled);
  assert_int_equal(link_noted(s, -ENOENT, 0).errors, 1);
  assert_sqlite(dir, "SELECT content_id,(SELECT error FROM job_error) FROM entry WHERE id=10",
                "1|ENOENT\n");
  sd_store_close(s);
}

/* ---- read again ---- */

static struct sd_contents *select_again(struct sd_store *s) {
  struct sd_err err;
  struct sd_contents *c = sd_contents_new();
  struct sd_content_want want = {.location_id = HOME, .limit = 10, .full = true, .again = true};
  assert_non_null(c);
  assert_ok(sd_contents_select(s, &want, c, &err), &err);
  return c;
}

static void assert_again(struct sd_store *s, const char *want) {
  char text[256] = "";
  struct sd_contents *c = select_again(s);
  for (size_t i = 0; i < c->items_len; i++) {
    size_t n = strlen(text);
    snprintf(text + n, sizeof(text) - n, "%s%lld", n ? " " : "", (long long)c->items[i].entry_id);
  }
  assert_string_equal(text, want);
  sd_contents_free(c);
}

/* Two directories in HOME, 3 and 4, with one in the latter, 5; a name of one file in each. */
static struct sd_store *new_tree(const char *dir) {
  struct sd_store *s = new_library(dir);
  exec(s,
       "INSERT INTO entry(id,parent_id,name,kind,uuid) VALUES(3,1,'c',2,zeroblob(16)),"
       " (4,1,'d',2,zeroblob(16)),(5,4,'e',2,zeroblob(16));"
       "INSERT INTO directory(entry_id,location_id,path,files,dirs,symlinks,file_bytes,bytes,"
       " allocated) SELECT id,1,'x',0,0,0,0,0,0 FROM entry WHERE id>=3");
  for (int64_t parent = 3; parent <= 5; parent++)
    add_name(s, (struct row){.id = 10 * parent, .parent_id = parent, .ctime = 6, .content_id = 1});
  return s;
}

/* Of several names the first is read that the walk has come by. */
static void what_the_walk_did_not_come_by_is_not_read_again(void **state) {
  struct sd_store *s = new_tree(*state);
  assert_again(s, "30");
  exec(s, "UPDATE directory SET unverified=1 WHERE entry_id=3");
  assert_again(s, "40");
  exec(s,
       "INSERT INTO vanished(location_id,job_id,entry_id,parent_id,name,keep)"
       " VALUES(1,7,40,4,'n40',0)");
  assert_again(s, "50");
  exec(s, "UPDATE vanished SET entry_id=4,parent_id=1,name='d'");
  assert_again(s, "");
  exec(s, "UPDATE vanished SET name='elsewhere'"); /* it is not there, but at its place */
  assert_again(s, "40");
  exec(s, "UPDATE entry SET nlink=1");
  assert_again(s, "40 50");
  sd_store_close(s);
}

static void what_is_the_same_stays_as_it_is_known(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_tree(dir);
  exec(s,
       "UPDATE content SET hash=zeroblob(16),entries=3,mime='text/x-a',kind='text',mime_named=1");
  assert_int_equal(link_given(s, select_again(s), HOME, 0, 0).linked, 3);
  assert_sqlite(dir, "SELECT id,entries,mime FROM content", "1|3|text/x-a\n");
  assert_int_equal(link_given(s, select_again(s), HOME, -EACCES, 0).errors, 1);
  assert_sqlite(dir, "SELECT id,entries,mime FROM content", "1|3|text/x-a\n");
  assert_int_equal(link_given(s, select_again(s), HOME, -ENOENT, 0).vanished, 1);
  assert_sqlite(dir, "SELECT entry_id FROM vanished", "30\n");
  sd_store_close(s);
}

static void other_bytes_take_the_place_of_what_is_known(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_tree(dir);
  exec(s, "UPDATE content SET entries=3,mime='text/x-a',kind='text',mime_named=1");
  assert_int_equal(link_given(s, select_again(s), HOME, 0, 0).linked, 3);
  assert_sqlite(dir, "SELECT hex(hash)=hex(zeroblob(16)),entries,mime IS NULL FROM content",
                "1|3|1\n");
  sd_store_close(s);
}

/* Since the same mtime may be that of other bytes, the next run looks at the file again. */
static void what_was_read_again_too_soon_is_looked_at_once_more(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_tree(dir);
  struct sd_contents *c = select_again(s);
  c->items[0].hashed_at = INT64_C(1000000000);
  link_given(s, c, HOME, 0, 0);
  assert_sqlite(dir, "SELECT id FROM entry WHERE mode&131072", "");
  c = select_again(s);
  c->items[0].hashed_at = 5; /* as mtime */
  link_given(s, c, HOME, 0, 0);
  assert_sqlite(dir, "SELECT id FROM entry WHERE mode&131072", "30\n40\n50\n");
  sd_store_close(s);
}

/* ---- bounds ---- */

/* The last file that is given when `max_bytes` bound the reading: of 20, 30 and 40. */
static void assert_bounded(struct sd_store *s, bool full, uint64_t max_bytes, int64_t last) {
  struct sd_err err;
  struct sd_contents *c = sd_contents_new();
  struct sd_content_want want = {
      .location_id = HOME, .limit = 10, .full = full, .max_bytes = max_bytes};
  assert_non_null(c);
  assert_ok(sd_contents_select(s, &want, c, &err), &err);
  assert_int_equal(c->items[c->items_len - 1].entry_id, last);
  sd_contents_free(c);
}

static void a_chunk_ends_behind_the_bytes_that_bound_it(void **state) {
  struct sd_store *s = new_library(*state);
  for (int64_t id = 20; id <= 40; id += 10)
    add_name(s, (struct row){.id = id, .parent_id = HOME, .size = 1000000, .ctime = id});
  exec(s, "UPDATE entry SET nlink=1");
  assert_bounded(s, true, 0, 40);
  assert_bounded(s, true, 1, 20);
  assert_bounded(s, true, 1000000, 20);
  assert_bounded(s, true, 1000001, 30);
  assert_bounded(s, true, 3000000, 40);
  assert_bounded(s, false, SD_HASH_SAMPLE_MIN + 1, 30); /* of samples not more is read */
  sd_store_close(s);
}

/* ---- errors ---- */

static void an_error_without_a_text_has_one(void **state) {
  const char *dir = *state;
  struct sd_store *s = new_library(dir);
  add_name(s, (struct row){.id = 20, .parent_id = HOME});
  static const int codes[] = {-4242, SD_EFORMAT, SD_ECHANGED, -EIO};
  for (size_t i = 0; i < 4; i++) assert_int_equal(link_next(s, HOME, codes[i], 0).errors, 1);
  assert_sqlite(dir, "SELECT error,message FROM job_error",
                "E4242|unknown error\nEFORMAT|unknown error\n"
                "ECHANGED|changed while it was read, or since it was listed\n"
                "EIO|Input/output error\n");
  sd_store_close(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(a_twin_is_a_name_of_the_same_file),
      temp_test(an_inode_that_was_given_to_another_file_has_no_twin),
      temp_test(all_new_names_join_one_that_was_read_before),
      temp_test(names_in_another_location_neither_block_nor_follow),
      temp_test(the_rest_is_given_where_the_first_name_could_not_be_read),
      temp_test(names_that_were_listed_while_the_file_grew_are_right_in_the_totals),
      temp_test(the_type_is_that_which_one_of_the_names_says),
      temp_test(a_name_that_was_read_counts_as_much_as_the_others),
      temp_test(new_names_of_a_known_file_may_say_its_type),
      temp_test(what_a_job_noted_gets_a_better_identity_with_all_its_names),
      temp_test(samples_of_other_bytes_are_not_kept),
      temp_test(what_cannot_be_read_keeps_its_identity),
      temp_test(what_the_walk_did_not_come_by_is_not_read_again),
      temp_test(what_is_the_same_stays_as_it_is_known),
      temp_test(other_bytes_take_the_place_of_what_is_known),
      temp_test(what_was_read_again_too_soon_is_looked_at_once_more),
      temp_test(a_chunk_ends_behind_the_bytes_that_bound_it),
      temp_test(an_error_without_a_text_has_one),
  };
  return cmocka_run_group_tests_name("content", tests, NULL, NULL);
}
