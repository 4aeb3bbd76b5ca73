/* A tree on the disk, changed and walked again: the library then has what find prints, and a rescan
 * of an unchanged tree writes nothing. */
#include "support.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/reconcile.h"
#include "engine/rules.h"
#include "engine/schema.h"
#include "engine/store.h"

enum { ROOT = 1, JOB = 1 };

struct lib {
  char dir[256], root[256];
  struct sd_file_id own; /* ino 0: none */
  struct sd_store *writer, *reader;
  atomic_llong next_id;
  size_t batch;
  const struct sd_rules *rules;
  const char *find; /* what find shall not see, as its arguments */
};

/* What a scan did. */
struct scan {
  struct sd_write_count n;
  uint64_t removed, content;
};

static void exec(struct sd_store *s, const char *sql) {
  if (sqlite3_exec(sd_store_db(s), sql, NULL, NULL, NULL) != SQLITE_OK)
    fail_msg("%s: %s", sql, sqlite3_errmsg(sd_store_db(s)));
}

static void sh(const struct lib *l, const char *cmd) {
  struct sd_buf none = run("cd '%s' && { %s; }", l->root, cmd);
  sd_buf_fini(&none);
}

static struct lib open_lib(void **state) {
  struct sd_err err;
  struct lib l = {.batch = 100, .find = ""};
  snprintf(l.dir, sizeof(l.dir), "%s", at(*state, "library"));
  snprintf(l.root, sizeof(l.root), "%s", at(*state, "tree"));
  make_dir(l.dir);
  make_dir(l.root);
  assert_ok(sd_store_open(l.dir, SD_STORE_WRITE, &l.writer, &err), &err);
  exec(l.writer,
       "INSERT INTO location(id,uuid,root,entry_id,created_at,state)"
       " VALUES(1,zeroblob(16),'/data',1,0,'new');"
       "INSERT INTO entry VALUES(1,-1,'',NULL,2,0,0,0,0,NULL,1,1,493,0,0,2,NULL,zeroblob(16),NULL);"
       "INSERT INTO directory VALUES(1,1,NULL,'',NULL,0,0,0,0,0,0)");
  assert_ok(sd_store_open(l.dir, SD_STORE_READ, &l.reader, &err), &err);
  atomic_init(&l.next_id, ROOT + 1);
  return l;
}

static void close_lib(struct lib *l) {
  sd_store_close(l->reader);
  sd_store_close(l->writer);
}

static void write_batch(struct lib *l, const struct sd_batch *b, struct scan *sc) {
  struct sd_err err;
  struct sd_write_opts o = {.location_id = 1, .job_id = JOB, .want_content = true};
  for (size_t i = 0; i < b->entries_len; i++)
    sc->content += b->entries[i].change == SD_CHANGE_CONTENT;
  assert_ok(sd_store_begin(l->writer, &err), &err);
  assert_ok(sd_store_write_batch(l->writer, b, &o, &sc->n, &err), &err);
  assert_ok(sd_store_commit(l->writer, &err), &err);
}

static void sweep(struct lib *l, struct scan *sc) {
  struct sd_err err;
  for (bool left = true; left;) {
    uint64_t removed;
    assert_ok(sd_store_begin(l->writer, &err), &err);
    assert_ok(sd_store_sweep(l->writer, JOB, 1000, &removed, &left, &err), &err);
    assert_ok(sd_store_commit(l->writer, &err), &err);
    sc->removed += removed;
  }
}

/* Walks with a stack of all directories that are left, a batch and a transaction at a time. */
static void walk(struct lib *l, struct sd_walk *w, struct sd_walker *wk, struct sd_reconcile *r,
                 struct scan *sc) {
  struct sd_err err;
  size_t n = 1;
  struct sd_dir **todo = malloc(sizeof(struct sd_dir *));
  todo[0] = sd_dir_get(sd_walk_root(w));
  while (n) {
    struct sd_batch *b = sd_batch_new();
    assert_ok(sd_reconcile_begin(r, &err), &err);
    assert_ok(sd_walker_step(wk, todo, n, b, &err), &err);
    sd_reconcile_end(r);
    n = b->born_len;
    todo = realloc(todo, (n + 1) * sizeof(struct sd_dir *));
    for (size_t i = 0; i < n; i++) todo[i] = b->born[i];
    b->born_len = 0;
    write_batch(l, b, sc);
    sd_batch_free(b);
  }
  free(todo);
}

static struct scan scan(struct lib *l) {
  struct sd_err err;
  struct scan sc = {0};
  struct sd_walk *w;
  struct sd_walker *wk;
  struct sd_reconcile *r;
  struct sd_walk_opts o = {.root = l->root,
                           .root_id = ROOT,
                           .batch = l->batch,
                           .next_id = &l->next_id,
                           .rules = l->rules};
  if (l->own.ino) {
    o.own = &l->own;
    o.own_len = 1;
  }
  assert_ok(sd_walk_open(&o, &w, &err), &err);
  assert_ok(sd_reconcile_open(l->reader, &r, &err), &err);
  assert_ok(sd_walker_open(w, sd_reconcile_diff, r, &wk, &err), &err);
  walk(l, w, wk, r, &sc);
  sd_walker_close(wk);
  sd_reconcile_close(r);
  sd_walk_close(w);
  sweep(l, &sc);
  return sc;
}

/* ---- the truth ---- */

static void assert_as_find(const struct lib *l) {
  struct sd_buf ours =
      run("sqlite3 '%s/library.db' \"SELECT "
          "kind,size,allocated/512,printf('%%o',mode),uid,gid,nlink,dev,ino,"
          "mtime_ns/1000000000,hex(path),hex(coalesce(target,'')) FROM entries WHERE parent_id IS "
          "NOT NULL\""
          " | sort",
          l->dir);
  struct sd_buf theirs =
      run("cd '%s' && find . -mindepth 1 %s -printf "
          "'%%y|%%s|%%b|%%m|%%U|%%G|%%n|%%D|%%i|%%T@\\0%%P\\0%%l\\0' | perl -0 -ne "
          "'chomp; push @f, $_; if (@f == 3) { my %%k = (f => q(file), d => q(directory), l => "
          "q(symlink), p => q(fifo));"
          " $f[0] =~ s/^(.)/$k{$1}/; $f[0] =~ s/\\.\\d+$//;"
          " print $f[0], q(|), uc unpack(q(H*), $f[1]), q(|), uc unpack(q(H*), $f[2]), qq(\\n); @f "
          "= () }' | sort",
          l->root, l->find);
  assert_string_equal((char *)ours.data, (char *)theirs.data);
  sd_buf_fini(&ours);
  sd_buf_fini(&theirs);
}

static void assert_totals(const struct lib *l) {
  assert_int_equal(
      run_number(
          "sqlite3 '%s/library.db' \"WITH RECURSIVE below(top,id) AS (SELECT entry_id,entry_id FROM"
          " directory UNION ALL SELECT top,e.id FROM below JOIN entry e ON e.parent_id=below.id)"
          " SELECT count(*) FROM directory d WHERE (files,dirs,symlinks,file_bytes,bytes,allocated)"
          " IS NOT (SELECT count(*) FILTER (WHERE kind NOT IN (2,3)),"
          " count(*) FILTER (WHERE kind=2), count(*) FILTER (WHERE kind=3),"
          " coalesce(sum(size) FILTER (WHERE kind NOT IN (2,3)),0), coalesce(sum(size),0),"
          " coalesce(sum(allocated),0) FROM below JOIN entry e ON e.id=below.id"
          " WHERE top=d.entry_id AND e.id<>top)\"",
          l->dir),
      0);
  assert_int_equal(
      run_number("sqlite3 '%s/library.db' 'SELECT (SELECT count(*) FROM entry WHERE kind=2)"
                 " - (SELECT count(*) FROM directory)'",
                 l->dir),
      0);
  assert_int_equal(
      run_number(
          "sqlite3 '%s/library.db' 'SELECT count(*) FROM directory WHERE scanned_at IS NULL'",
          l->dir),
      0);
}

/* The library is right, and another scan finds nothing to write. */
static void assert_settled(struct lib *l) {
  assert_as_find(l);
  assert_totals(l);
  int changes = sqlite3_total_changes(sd_store_db(l->writer));
  struct scan again = scan(l);
  assert_int_equal(again.n.inserted + again.n.updated + again.n.vanished + again.removed, 0);
  assert_int_equal(sqlite3_total_changes(sd_store_db(l->writer)), changes);
}

static const char small_tree[] =
    "mkdir -p a/b/c empty; echo 1 > a/1; echo 22 > a/b/2; echo 3 > a/b/c/3; ln -s 1 a/link; mkfifo "
    "p;"
    " touch -d @-1000 old; printf x > $(printf 'bad\\377'); mkdir $(printf 'dir\\376'); echo 4 > "
    "$(printf 'dir\\376/4')";

/* ---- the scans ---- */

static void a_first_scan_stores_what_find_prints(void **state) {
  struct lib l = open_lib(state);
  sh(&l, small_tree);
  struct scan sc = scan(&l);
  assert_int_equal(sc.n.inserted, run_number("find '%s' -mindepth 1 | wc -l", l.root));
  assert_int_equal(sc.n.updated + sc.n.vanished + sc.n.errors, 0);
  assert_settled(&l);
  close_lib(&l);
}

static void each_kind_of_change_is_found(void **state) {
  struct lib l = open_lib(state);
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "echo more >> a/1");
  assert_int_equal(scan(&l).content, 1);
  assert_settled(&l);
  sh(&l, "chmod 600 a/b/2");
  struct scan sc = scan(&l);
  assert_int_equal(sc.content, 0);
  assert_int_equal(sc.n.updated, 1);
  assert_settled(&l);
  sh(&l, "rm a/b/2");
  sc = scan(&l);
  assert_int_equal(sc.removed, 1);
  assert_settled(&l);
  sh(&l, "mkdir new; echo n > new/n");
  assert_int_equal(scan(&l).n.inserted, 2);
  assert_settled(&l);
  sh(&l, "ln a/1 new/hard; ln -sfn 2 a/link");
  scan(&l);
  assert_settled(&l);
  close_lib(&l);
}

/* A file was removed, and one of the same size and time got its inode. */
static void an_inode_that_was_reused_is_another_file(void **state) {
  struct lib l = open_lib(state);
  sh(&l, "echo one > f");
  scan(&l);
  long long known = run_number(
      "sqlite3 '%s/library.db' 'SELECT count(*) FROM entry WHERE kind=1 AND btime<>0'", l.dir);
  if (known) {
    exec(l.writer, "UPDATE entry SET btime=btime-1000000000,sig=NULL WHERE kind=1");
    assert_int_equal(scan(&l).content, 1);
    assert_settled(&l);
  }
  close_lib(&l);
  if (!known) skip_because("this file system does not say when a file was made");
}

static void a_tree_that_vanished_is_swept(void **state) {
  struct lib l = open_lib(state);
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "rm -r a");
  assert_int_equal(scan(&l).removed, 7);
  assert_settled(&l);
  close_lib(&l);
}

static void a_directory_that_became_a_file_loses_its_children(void **state) {
  struct lib l = open_lib(state);
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "rm -r a/b; echo file > a/b");
  assert_int_equal(scan(&l).removed, 3);
  assert_settled(&l);
  close_lib(&l);
}

static void a_file_that_became_a_directory_is_one_in_full(void **state) {
  struct lib l = open_lib(state);
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "rm a/1 p; mkdir -p a/1/deep p; echo x > a/1/deep/x");
  scan(&l);
  assert_settled(&l);
  close_lib(&l);
}

static void a_renamed_directory_is_there_once(void **state) {
  struct lib l = open_lib(state);
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "mv a z");
  scan(&l);
  assert_settled(&l);
  close_lib(&l);
}

/* Large enough for several parts: names are looked up one by one, and missed at the end. */
static void a_large_directory_is_compared_in_parts(void **state) {
  struct lib l = open_lib(state);
  sh(&l, "mkdir big; cd big; seq 9000 | xargs touch; mkdir sub; touch sub/f $(printf '\\377')");
  assert_int_equal(scan(&l).n.inserted, 9004);
  assert_settled(&l);
  sh(&l,
     "cd big; rm 5 6000 9000; echo x > 17; chmod 600 8000; mkdir sub2; touch sub2/f; rm -r sub");
  struct scan sc = scan(&l);
  assert_int_equal(sc.removed, 5);
  assert_int_equal(sc.n.inserted, 2);
  assert_int_equal(sc.n.updated, 3); /* 17, 8000, big */
  assert_settled(&l);
  close_lib(&l);
}

/* One that statx does not find any more is treated alike. */
static void what_is_left_out_of_a_large_directory_vanishes(void **state) {
  struct lib l = open_lib(state);
  struct stat st;
  sh(&l, "mkdir big; cd big; seq 9000 | xargs touch");
  scan(&l);
  assert_int_equal(stat(at(l.root, "big/4500"), &st), 0);
  l.own = (struct sd_file_id){.dev = st.st_dev, .ino = st.st_ino};
  assert_int_equal(scan(&l).removed, 1);
  assert_totals(&l);
  close_lib(&l);
}

static void an_unreadable_directory_keeps_its_rows(void **state) {
  if (geteuid() != 0) skip_because("not root: cannot become somebody else");
  struct lib l = open_lib(state); /* after the skip, which closes nothing */
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "chmod 0 a/b");
  assert_int_equal(seteuid(NOBODY), 0);
  struct scan sc = scan(&l);
  assert_int_equal(seteuid(0), 0);
  assert_int_equal(sc.removed, 0);
  assert_int_equal(sc.n.errors, 1);
  assert_as_find(&l);
  close_lib(&l);
}

static void the_next_entries_go_on_where_deep_paths_end(void **state) {
  struct lib l = open_lib(state);
  sh(&l, "perl -e '$d = q(n) x 200; for (1..45) { mkdir $d; open F, q(>f); chdir $d }'");
  scan(&l);
  assert_settled(&l);
  assert_true(run_number("sqlite3 '%s/library.db' 'SELECT max(length(path)) FROM entries'", l.dir) >
              9000);
  assert_true(run_number("sqlite3 '%s/library.db' 'SELECT max(length(path)) FROM directory'",
                         l.dir) < 4096);
  close_lib(&l);
}

/* ---- rules ---- */

static struct sd_rules *rules(struct sd_rules_opts o, const char *names) {
  struct sd_err err;
  struct sd_rules *r;
  assert_ok(sd_rules_parse(names, &o.named, &err), &err);
  assert_ok(sd_rules_compile(&o, &r, &err), &err);
  return r;
}

/* Scans with rules and without, each time until nothing is left to write. */
static void assert_rules_take_and_give_back(struct lib *l, const struct sd_rules *r,
                                            const char *find, uint64_t rows) {
  scan(l);
  assert_settled(l);
  l->rules = r;
  l->find = find;
  assert_int_equal(scan(l).removed, rows);
  assert_settled(l);
  l->rules = NULL;
  l->find = "";
  assert_int_equal(scan(l).n.inserted, rows);
  assert_settled(l);
}

static void what_a_rule_leaves_out_vanishes_and_comes_back(void **state) {
  struct lib l = open_lib(state);
  struct sd_rules *r = rules((struct sd_rules_opts){0}, "no_hidden,gitignore,no_dev_dirs");
  sh(&l, small_tree);
  sh(&l,
     "mkdir -p .h/d a/.git/x a/b/venv/bin; touch .h/d/f a/.git/y a/b/venv/pyvenv.cfg"
     " a/b/venv/bin/python a/x.o a/b/c/x.o; echo '*.o' >a/b/.gitignore");
  assert_rules_take_and_give_back(
      &l, r, "-not -path '*/.*' -not -path '*/venv/*' -not -path ./a/b/c/x.o", 11);
  sd_rules_free(r);
  close_lib(&l);
}

static void what_a_rule_leaves_out_of_a_large_directory_vanishes_too(void **state) {
  struct lib l = open_lib(state);
  struct sd_rules *r = rules((struct sd_rules_opts){.min_size = 3}, "no_hidden");
  sh(&l,
     "mkdir big; cd big; for i in $(seq 100); do echo 1234 >keep$i; done; seq 9000 | xargs touch"
     " && seq -f '.%g' 3000 | xargs touch");
  assert_rules_take_and_give_back(&l, r, "-not -path './big/.*' -not -path './big/[0-9]*'", 12000);
  sd_rules_free(r);
  close_lib(&l);
}

static void a_large_directory_that_is_left_empty_has_no_rows(void **state) {
  static const char *const child[] = {"5000"};
  struct lib l = open_lib(state);
  struct sd_rules *r =
      rules((struct sd_rules_opts){.reject_children = child, .reject_children_len = 1}, NULL);
  sh(&l, "mkdir -p big/sub; cd big; seq 9000 | xargs touch; touch sub/f");
  assert_rules_take_and_give_back(&l, r, "-not -path './big/*'", 9002);
  sd_rules_free(r);
  close_lib(&l);
}

static long long entries(const struct lib *l) {
  return run_number("sqlite3 '%s/library.db' 'SELECT count(*) FROM entries'", l->dir);
}

/* Nothing is asserted while something is mounted: the teardown could not remove it. */
static void a_mount_that_is_not_entered_loses_its_rows(void **state) {
  struct lib l = open_lib(state);
  struct sd_rules *r = rules((struct sd_rules_opts){.one_filesystem = true}, NULL);
  sh(&l, "mkdir -p a/mnt b");
  if (mount("tmpfs", at(l.root, "a/mnt"), "tmpfs", 0, "size=1m") != 0) {
    close_lib(&l);
    sd_rules_free(r);
    skip_because("mount is not permitted");
  }
  sh(&l, "mkdir a/mnt/d; touch a/mnt/d/f b/g");
  struct scan all = scan(&l);
  l.rules = r;
  struct scan less = scan(&l), again = scan(&l);
  long long left = entries(&l);
  l.rules = NULL;
  struct scan back = scan(&l);
  umount2(at(l.root, "a/mnt"), MNT_DETACH);
  assert_int_equal(all.n.inserted, 6);
  assert_int_equal(less.removed, 2);
  assert_int_equal(left, 1 + 4); /* the directory that is mounted on stays */
  assert_int_equal(again.n.inserted + again.n.updated + again.n.vanished + again.removed, 0);
  assert_int_equal(back.n.inserted, 2);
  assert_totals(&l);
  sd_rules_free(r);
  close_lib(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(a_first_scan_stores_what_find_prints),
      temp_test(each_kind_of_change_is_found),
      temp_test(an_inode_that_was_reused_is_another_file),
      temp_test(a_tree_that_vanished_is_swept),
      temp_test(a_directory_that_became_a_file_loses_its_children),
      temp_test(a_file_that_became_a_directory_is_one_in_full),
      temp_test(a_renamed_directory_is_there_once),
      temp_test(a_large_directory_is_compared_in_parts),
      temp_test(what_is_left_out_of_a_large_directory_vanishes),
      temp_test(an_unreadable_directory_keeps_its_rows),
      temp_test(the_next_entries_go_on_where_deep_paths_end),
      temp_test(what_a_rule_leaves_out_vanishes_and_comes_back),
      temp_test(what_a_rule_leaves_out_of_a_large_directory_vanishes_too),
      temp_test(a_large_directory_that_is_left_empty_has_no_rows),
      temp_test(a_mount_that_is_not_entered_loses_its_rows),
  };
  return cmocka_run_group_tests_name("reconcile", tests, NULL, NULL);
}
