/* A tree on the disk, changed and walked again: the library then has what find prints, and a rescan
 * of an unchanged tree writes nothing. */
#include "support.h"

#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scan.h"

static void sh(const struct lib *l, const char *cmd) {
  struct sd_buf none = run("cd '%s' && { %s; }", l->root, cmd);
  sd_buf_fini(&none);
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
  assert_int_equal(again.n.inserted + again.n.updated + again.n.vanished + again.n.moved, 0);
  assert_int_equal(sqlite3_total_changes(sd_store_db(l->writer)), changes);
}

static const char small_tree[] =
    "mkdir -p a/b/c empty; echo 1 > a/1; echo 22 > a/b/2; echo 3 > a/b/c/3; ln -s 1 a/link; mkfifo "
    "p;"
    " touch -d @-1000 old; printf x > $(printf 'bad\\377'); mkdir $(printf 'dir\\376'); echo 4 > "
    "$(printf 'dir\\376/4')";

/* ---- the scans ---- */

static void a_first_scan_stores_what_find_prints(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, small_tree);
  struct scan sc = scan(&l);
  assert_int_equal(sc.n.inserted, run_number("find '%s' -mindepth 1 | wc -l", l.root));
  assert_int_equal(sc.n.updated + sc.n.vanished + sc.n.errors, 0);
  assert_settled(&l);
  close_lib(&l);
}

static void each_kind_of_change_is_found(void **state) {
  struct lib l = open_lib(*state);
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
  assert_int_equal(sc.swept.removed, 1);
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
  struct lib l = open_lib(*state);
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
  struct lib l = open_lib(*state);
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "rm -r a");
  assert_int_equal(scan(&l).swept.removed, 7);
  assert_settled(&l);
  close_lib(&l);
}

static void a_directory_that_became_a_file_loses_its_children(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "rm -r a/b; echo file > a/b");
  assert_int_equal(scan(&l).swept.removed, 4);
  assert_settled(&l);
  close_lib(&l);
}

static void a_file_that_became_a_directory_is_one_in_full(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "rm a/1 p; mkdir -p a/1/deep p; echo x > a/1/deep/x");
  scan(&l);
  assert_settled(&l);
  close_lib(&l);
}

/* ---- moves ---- */

/* Keeps a copy of the library, to compare identities with. */
static void remember(const struct lib *l) {
  struct sd_buf none = run("rm -f '%s/before.db' && sqlite3 '%s/library.db' '.backup %s/before.db'",
                           l->dir, l->dir, l->dir);
  sd_buf_fini(&none);
}

/* What has its inode still has its id and its uuid; of a file with several names, one of those that
 * it had. */
static void assert_identities(const struct lib *l) {
  struct sd_buf lost =
      run("sqlite3 '%s/library.db' \"ATTACH '%s/before.db' AS old; SELECT n.path,o.path FROM"
          " old.entries o JOIN main.entries n ON n.dev=o.dev AND n.ino=o.ino AND n.kind=o.kind"
          " AND n.btime_ns=o.btime_ns WHERE (n.id,n.uuid) IS NOT (o.id,o.uuid) AND (n.kind<>'file'"
          " OR n.nlink=1 AND o.nlink=1)\"",
          l->dir, l->dir);
  assert_string_equal((char *)lost.data, "");
  sd_buf_fini(&lost);
}

/* A change of the tree that moves things about, and the scan that follows it. */
static struct scan moved(struct lib *l, const char *cmd) {
  remember(l);
  sh(l, cmd);
  struct scan sc = scan(l);
  assert_identities(l);
  assert_settled(l);
  return sc;
}

static void a_renamed_directory_keeps_its_rows(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, small_tree);
  scan(&l);
  struct scan sc = moved(&l, "mv a z");
  assert_true(sc.n.moved == 1 && sc.n.inserted == 0 && sc.n.updated == 0);
  assert_int_equal(sc.swept.removed + sc.swept.replaced + sc.swept.moved, 0);
  sc = moved(&l, "mkdir -p new/deep; mv z new/deep/a; echo more > new/deep/a/more");
  assert_true(sc.n.moved == 1 && sc.n.inserted == 3);
  close_lib(&l);
}

static void a_renamed_file_keeps_its_row(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, small_tree);
  scan(&l);
  struct scan sc = moved(&l, "mv a/1 a/b/one; mv a/link link; mv p a/b/c/p");
  assert_true(sc.swept.moved == 3 && sc.swept.removed == 0);
  sc = moved(&l, "mv a/b/one 1; echo more >> 1");
  assert_true(sc.swept.moved == 1 && sc.swept.removed == 0);
  close_lib(&l);
}

static void names_change_places(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "mkdir a b; echo 1 > a/x; echo 2 > b/x; echo f > f; echo g > g");
  scan(&l);
  struct scan sc = moved(&l, "mv a t; mv b a; mv t b; mv f t; mv g f; mv t g");
  assert_true(sc.n.moved == 2 && sc.swept.moved == 2 && sc.swept.removed == 0);
  sc = moved(&l, "mv a t; mv f a; mv t f"); /* a file and a directory */
  assert_true(sc.n.moved == 1 && sc.swept.moved == 1 && sc.swept.removed == 0);
  close_lib(&l);
}

static void names_move_up_in_a_chain(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "for i in 1 2 3 4; do mkdir d$i; echo $i > d$i/$i; echo $i > f$i; done");
  scan(&l);
  struct scan sc = moved(&l,
                         "mv f4 t; mv f3 f4; mv f2 f3; mv f1 f2; rm t;"
                         " mv d4 t; mv d3 d4; mv d2 d3; mv d1 d2; rm -r t");
  assert_true(sc.n.moved == 3 && sc.swept.moved == 3 && sc.swept.removed == 3);
  close_lib(&l);
}

static void a_directory_takes_the_place_of_the_one_it_was_in(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "mkdir -p x/y/z; echo 1 > x/1; echo 2 > x/y/2; echo 3 > x/y/z/3");
  scan(&l);
  struct scan sc = moved(&l, "mv x/y t; mv x t/x; mv t x");
  assert_true(sc.n.moved == 2 && sc.n.inserted == 0);
  sc = moved(&l, "mv x/z t; mv x t/z; mv t x"); /* the one in the middle */
  assert_true(sc.n.moved == 2 && sc.n.inserted == 0);
  sc = moved(&l, "mv x/z/x/1 .; mv x/z/x x; rm -r x/z");
  close_lib(&l);
}

static void what_is_moved_out_of_a_removed_tree_stays(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "mkdir -p x/y/z; echo 1 > x/1; echo 2 > x/y/2; echo 3 > x/y/z/3");
  scan(&l);
  struct scan sc = moved(&l, "mkdir n; mv x/y/z n/a; mv x/1 n/b; rm -r x");
  assert_true(sc.n.moved == 1 && sc.swept.moved == 1 && sc.swept.removed == 3);
  close_lib(&l);
}

static void what_is_written_anew_keeps_the_identity_of_the_name(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "echo 1 > f; mkdir -p d/e; echo 2 > d/g; echo 3 > d/e/h; echo 4 > d/i");
  scan(&l);
  remember(&l);
  sh(&l, "echo new > t; mv t f; cp -r d t; rm -r d; mv t d; rm d/i; echo 5 > d/j");
  struct scan sc = scan(&l);
  assert_int_equal(sc.swept.replaced, 5);
  assert_int_equal(sc.swept.removed, 1);
  assert_settled(&l);
  assert_int_equal(run_number("sqlite3 '%s/library.db' \"ATTACH '%s/before.db' AS old;"
                              " SELECT count(*) FROM old.entries o JOIN main.entries n"
                              " ON (n.path,n.uuid)=(o.path,o.uuid) WHERE o.parent_id>0\"",
                              l.dir, l.dir),
                   5);
  close_lib(&l);
}

/* The old name stays with its file: the new one that has its name is no heir. */
static void a_file_that_is_put_aside_keeps_its_identity(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "echo 1 > f; mkdir d; echo 2 > d/g");
  scan(&l);
  struct scan sc = moved(&l, "mv f f.bak; echo new > f; mv d d.bak; mkdir d; echo new > d/g");
  assert_true(sc.swept.moved == 1 && sc.n.moved == 1 && sc.swept.replaced + sc.swept.removed == 0);
  close_lib(&l);
}

static void an_inode_that_is_used_again_is_not_the_old_file(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "mkdir d; echo 1 > d/f; echo 2 > g");
  scan(&l);
  remember(&l);
  sh(&l, "rm -r d g; mkdir e; echo 1 > e/f; echo 2 > h"); /* ext4 gives the same numbers */
  struct scan sc = scan(&l);
  assert_true(sc.n.moved == 0 && sc.swept.moved == 0);
  assert_int_equal(sc.swept.removed, 3);
  assert_identities(&l);
  assert_settled(&l);
  close_lib(&l);
}

static void names_of_one_file_are_told_apart(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "mkdir d; echo 1 > a; ln a b; ln a d/c");
  scan(&l);
  struct scan sc = moved(&l, "ln a e"); /* no move: the old names are there */
  assert_true(sc.swept.moved == 0 && sc.n.inserted == 1);
  sc = moved(&l, "mv b f; rm d/c; ln a g");
  assert_int_equal(sc.swept.moved, 2);
  assert_int_equal(run_number("sqlite3 '%s/library.db' \"ATTACH '%s/before.db' AS old; SELECT"
                              " count(*) FROM old.entries o JOIN main.entries n USING(id,uuid)"
                              " WHERE n.kind='file'\"",
                              l.dir, l.dir),
                   4);
  close_lib(&l);
}

/* The same directory at two places: it has not moved. */
static void a_bind_mount_is_no_move(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "mkdir -p a/b m; echo 1 > a/b/1");
  scan(&l);
  if (mount(at(l.root, "a"), at(l.root, "m"), NULL, MS_BIND, NULL) != 0) {
    close_lib(&l);
    skip_because("mount is not permitted");
  }
  struct scan sc = scan(&l);
  umount2(at(l.root, "m"), MNT_DETACH);
  assert_int_equal(sc.n.moved, 0);
  assert_int_equal(sc.n.inserted, 3);
  struct sd_buf paths = run("sqlite3 '%s/library.db' 'SELECT path FROM entries ORDER BY 1'", l.dir);
  assert_string_equal((char *)paths.data, "\na\na/b\na/b/1\nm\nm/b\nm/b/1\n");
  sd_buf_fini(&paths);
  close_lib(&l);
}

/* In a directory that is read in parts, neither old nor new name are all in one. */
static void names_in_a_large_directory_change_places(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "mkdir big; cd big; seq 9000 | xargs touch; mkdir d1 d2 d3; touch d1/1 d2/2 d3/3");
  scan(&l);
  struct scan sc = moved(&l,
                         "cd big; mv d1 t; mv d2 d1; mv t d2; mv d3 d4; mv 5 t; mv 8000 5;"
                         " mv t 8000; mv 17 new");
  assert_true(sc.n.moved == 3 && sc.swept.moved == 3 && sc.swept.removed == 0);
  close_lib(&l);
}

/* Large enough for several parts: names are looked up one by one, and missed at the end. */
static void a_large_directory_is_compared_in_parts(void **state) {
  struct lib l = open_lib(*state);
  sh(&l, "mkdir big; cd big; seq 9000 | xargs touch; mkdir sub; touch sub/f $(printf '\\377')");
  assert_int_equal(scan(&l).n.inserted, 9004);
  assert_settled(&l);
  sh(&l,
     "cd big; rm 5 6000 9000; echo x > 17; chmod 600 8000; mkdir sub2; touch sub2/f; rm -r sub");
  struct scan sc = scan(&l);
  assert_int_equal(sc.swept.removed, 5);
  assert_int_equal(sc.n.inserted, 2);
  assert_int_equal(sc.n.updated, 3); /* 17, 8000, big */
  assert_settled(&l);
  close_lib(&l);
}

/* One that statx does not find any more is treated alike. */
static void what_is_left_out_of_a_large_directory_vanishes(void **state) {
  struct lib l = open_lib(*state);
  struct stat st;
  sh(&l, "mkdir big; cd big; seq 9000 | xargs touch");
  scan(&l);
  assert_int_equal(stat(at(l.root, "big/4500"), &st), 0);
  l.own = (struct sd_file_id){.dev = st.st_dev, .ino = st.st_ino};
  assert_int_equal(scan(&l).swept.removed, 1);
  assert_totals(&l);
  close_lib(&l);
}

static void an_unreadable_directory_keeps_its_rows(void **state) {
  if (geteuid() != 0) skip_because("not root: cannot become somebody else");
  struct lib l = open_lib(*state); /* after the skip, which closes nothing */
  sh(&l, small_tree);
  scan(&l);
  sh(&l, "chmod 0 a/b");
  assert_int_equal(seteuid(NOBODY), 0);
  struct scan sc = scan(&l);
  assert_int_equal(seteuid(0), 0);
  assert_int_equal(sc.swept.removed, 0);
  assert_int_equal(sc.n.errors, 1);
  assert_as_find(&l);
  close_lib(&l);
}

static void the_next_entries_go_on_where_deep_paths_end(void **state) {
  struct lib l = open_lib(*state);
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
  assert_int_equal(scan(l).swept.removed, rows);
  assert_settled(l);
  l->rules = NULL;
  l->find = "";
  assert_int_equal(scan(l).n.inserted, rows);
  assert_settled(l);
}

static void what_a_rule_leaves_out_vanishes_and_comes_back(void **state) {
  struct lib l = open_lib(*state);
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
  struct lib l = open_lib(*state);
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
  struct lib l = open_lib(*state);
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
  struct lib l = open_lib(*state);
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
  assert_int_equal(less.swept.removed, 2);
  assert_int_equal(left, 1 + 4); /* the directory that is mounted on stays */
  assert_int_equal(again.n.inserted + again.n.updated + again.n.vanished + again.swept.removed, 0);
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
      temp_test(a_renamed_directory_keeps_its_rows),
      temp_test(a_renamed_file_keeps_its_row),
      temp_test(names_change_places),
      temp_test(names_move_up_in_a_chain),
      temp_test(a_directory_takes_the_place_of_the_one_it_was_in),
      temp_test(what_is_moved_out_of_a_removed_tree_stays),
      temp_test(what_is_written_anew_keeps_the_identity_of_the_name),
      temp_test(a_file_that_is_put_aside_keeps_its_identity),
      temp_test(an_inode_that_is_used_again_is_not_the_old_file),
      temp_test(names_of_one_file_are_told_apart),
      temp_test(a_bind_mount_is_no_move),
      temp_test(names_in_a_large_directory_change_places),
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
