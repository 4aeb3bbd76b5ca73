/* Random changes of a tree and scans of it, some cut off: afterwards the library has what is on the
 * disk, inodes have kept their ids and uuids, and totals are right. SD_SCANS says how many scans
 * (default 300), SD_SEED repeats a run. */
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scan.h"

enum { FEW = 120, MOST = 400, NAMES = 12 };

/* ---- the tree ---- */

struct node {
  char path[2048];
  struct statx st;
  bool dir;
};

struct tree {
  struct node nodes[4 * MOST]; /* the first is the root */
  size_t len;
};

static void look(struct tree *t, size_t in) {
  DIR *d = opendir(t->nodes[in].path);
  size_t above = strlen(t->nodes[in].path);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    assert_true(t->len < 4 * MOST);
    struct node *n = &t->nodes[t->len++];
    assert_true(above + strlen(e->d_name) + 2 < sizeof(n->path));
    memcpy(n->path, t->nodes[in].path, above);
    n->path[above] = '/';
    strcpy(n->path + above + 1, e->d_name);
    assert_int_equal(statx(AT_FDCWD, n->path, AT_SYMLINK_NOFOLLOW, SD_STATX_MASK, &n->st), 0);
    n->dir = S_ISDIR(n->st.stx_mode);
    if (n->dir) look(t, t->len - 1);
  }
  closedir(d);
}

static void look_at(struct tree *t, const struct lib *l) {
  snprintf(t->nodes[0].path, sizeof(t->nodes[0].path), "%s", l->root);
  t->nodes[0].dir = true;
  t->len = 1;
  look(t, 0);
}

struct ops {
  uint64_t rng;
  struct tree tree;
  const char *aside;
};

static const struct node *any(struct ops *o) {
  return &o->tree.nodes[rng_below(&o->rng, (uint32_t)o->tree.len)];
}

static const struct node *any_kind(struct ops *o, bool dir) {
  for (int i = 0; i < 100; i++) {
    const struct node *n = any(o);
    if (n->dir == dir) return n;
  }
  return &o->tree.nodes[0];
}

static bool is_root(const struct ops *o, const char *path) {
  return strcmp(path, o->tree.nodes[0].path) == 0;
}

static bool is_in(const char *path, const char *dir) {
  size_t n = strlen(dir);
  return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* A path that may be taken, not too deep. */
static const char *place(struct ops *o) {
  const char *dir = any_kind(o, true)->path;
  for (int i = 0; strlen(dir) > 200 && i < 10; i++) dir = any_kind(o, true)->path;
  char name[] = {(char)('a' + rng_below(&o->rng, NAMES)), '\0'};
  return at(dir, name);
}

static void remove_any(const char *path) {
  struct sd_buf none = run("rm -rf '%s'", path);
  sd_buf_fini(&none);
}

static void write_file(const char *path, int flags, unsigned size) {
  static char bytes[256];
  int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
  if (fd < 0) return;
  assert_int_equal(write(fd, bytes, size % sizeof(bytes)), (int)(size % sizeof(bytes)));
  close(fd);
}

static void exchange(const char *a, const char *b) {
  if (is_in(a, b) || is_in(b, a)) return;
  assert_int_equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
}

static void move(struct ops *o, const char *from, const char *to) {
  if (is_root(o, from) || is_in(to, from)) return;
  if (rename(from, to) == 0 || is_in(from, to)) return;
  remove_any(to);
  assert_int_equal(rename(from, to), 0);
}

/* A directory takes the place of the one it is in, which goes into it. */
static void turn_inside_out(struct ops *o) {
  char outer[2048];
  const char *inner = any_kind(o, true)->path;
  if (is_root(o, inner)) return;
  snprintf(outer, sizeof(outer), "%.*s", (int)(strrchr(inner, '/') - inner), inner);
  if (is_root(o, outer)) return;
  assert_int_equal(rename(inner, o->aside), 0);
  remove_any(at(o->aside, "a"));
  assert_int_equal(rename(outer, at(o->aside, "a")), 0);
  assert_int_equal(rename(o->aside, outer), 0);
}

static void recreate(struct ops *o) {
  const struct node *n = any(o);
  if (is_root(o, n->path)) return;
  remove_any(n->path);
  if (rng_below(&o->rng, 2)) mkdir(n->path, 0755);
  else write_file(n->path, O_WRONLY | O_CREAT | O_EXCL, rng_below(&o->rng, 200));
}

static void save(struct ops *o) {
  const struct node *n = any_kind(o, false);
  if (n->dir) return;
  write_file(o->aside, O_WRONLY | O_CREAT, rng_below(&o->rng, 200));
  assert_int_equal(rename(o->aside, n->path), 0);
}

static void change(struct ops *o) {
  const struct node *a = any(o), *f = any_kind(o, false), *d = any_kind(o, true);
  uint32_t what = rng_below(&o->rng, 100), size = rng_below(&o->rng, 200);
  if (o->tree.len > MOST) what = 90;
  else if (o->tree.len < FEW && (what > 88 || rng_below(&o->rng, 2))) what = rng_below(&o->rng, 32);
  if (what < 18) write_file(place(o), O_WRONLY | O_CREAT | O_EXCL, size);
  else if (what < 32) mkdir(place(o), 0755);
  else if (what < 36 && !f->dir) write_file(f->path, O_WRONLY, size);
  else if (what < 39 && !f->dir) write_file(f->path, O_WRONLY | O_APPEND, size);
  else if (what < 51) move(o, a->path, place(o));
  else if (what < 57) move(o, d->path, place(o));
  else if (what < 63) exchange(a->path, any(o)->path);
  else if (what < 66 && !f->dir) exchange(f->path, d->path);
  else if (what < 71 && !f->dir) (void)!link(f->path, place(o));
  else if (what < 74) (void)!symlink("a", place(o));
  else if (what < 76) chmod(a->path, size & 1 ? 0700 : 0755);
  else if (what < 81) save(o);
  else if (what < 85) recreate(o);
  else if (what < 89) turn_inside_out(o);
  else if (what < 92 && !is_root(o, d->path)) remove_any(d->path);
  else if (!a->dir) unlink(a->path);
}

/* ---- what must hold ---- */

static int64_t number(const struct lib *l, const char *sql) {
  sqlite3_stmt *q;
  assert_int_equal(sqlite3_prepare_v2(sd_store_db(l->reader), sql, -1, &q, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(q), SQLITE_ROW);
  int64_t n = sqlite3_column_int64(q, 0);
  sqlite3_finalize(q);
  return n;
}

static void assert_number(const struct lib *l, const char *sql, int64_t want) {
  int64_t n = number(l, sql);
  if (n != want) fail_msg("%lld, not %lld: %s", (long long)n, (long long)want, sql);
}

/* A table of what is on the disk, beside the library's. */
static void store_tree(const struct lib *l, const struct tree *t) {
  sqlite3 *db = sd_store_db(l->reader);
  sqlite3_stmt *q;
  size_t root = strlen(l->root) + 1;
  exec(l->reader,
       "PRAGMA query_only=0; DROP TABLE IF EXISTS temp.disk; CREATE TEMP TABLE disk(path,ino,size,"
       "mtime,btime,nlink,dir,mode)");
  assert_int_equal(sqlite3_prepare_v2(db, "INSERT INTO disk VALUES(?,?,?,?,?,?,?,?)", -1, &q, NULL),
                   SQLITE_OK);
  for (size_t i = 1; i < t->len; i++) {
    const struct node *n = &t->nodes[i];
    struct sd_stat st;
    sd_stat_from_statx(&st, &n->st);
    const int64_t values[] = {(int64_t)st.ino, st.size, st.mtime, st.btime,
                              st.nlink,        n->dir,  st.mode};
    sqlite3_bind_text(q, 1, n->path + root, -1, SQLITE_STATIC);
    for (int k = 0; k < 7; k++) sqlite3_bind_int64(q, 2 + k, values[k]);
    assert_int_equal(sqlite3_step(q), SQLITE_DONE);
    sqlite3_reset(q);
  }
  sqlite3_finalize(q);
}

static const char wrong_totals[] =
    "WITH RECURSIVE below(top,id) AS (SELECT entry_id,entry_id FROM directory UNION ALL"
    " SELECT top,e.id FROM below JOIN entry e ON e.parent_id=below.id)"
    " SELECT count(*) FROM directory d WHERE (files,dirs,symlinks,file_bytes,bytes,allocated)"
    " IS NOT (SELECT count(*) FILTER (WHERE kind NOT IN (2,3)), count(*) FILTER (WHERE kind=2),"
    " count(*) FILTER (WHERE kind=3), coalesce(sum(size) FILTER (WHERE kind NOT IN (2,3)),0),"
    " coalesce(sum(size),0), coalesce(sum(allocated),0) FROM below JOIN entry e ON e.id=below.id"
    " WHERE top=d.entry_id AND e.id<>top)";

/* Directories whose excess is not what the names of inodes below them add up to. */
static const char wrong_excess[] =
    "WITH RECURSIVE up(dir,dev,ino,size,allocated) AS (SELECT parent_id,dev,ino,size,allocated FROM"
    " entry WHERE nlink>1 AND kind<>2 UNION ALL SELECT e.parent_id,u.dev,u.ino,u.size,u.allocated"
    " FROM up u JOIN entry e ON e.id=u.dir), inode AS (SELECT dir,sum(size)-max(size) AS b,"
    " sum(allocated)-max(allocated) AS a FROM up GROUP BY dir,dev,ino)"
    " SELECT count(*) FROM directory d WHERE (excess_bytes,excess_allocated) IS NOT (SELECT"
    " coalesce(sum(b),0),coalesce(sum(a),0) FROM inode WHERE dir=d.entry_id)";

static const char noted[] =
    "SELECT (SELECT count(*) FROM link_todo)+(SELECT count(*) FROM link_moved)+(SELECT count(*)"
    " FROM link_scan)";

/* Of an inode that is still there, as many rows as it has names, or had, have not changed. */
static const char lost_identities[] =
    "SELECT count(*) FROM (SELECT o.ino,o.btime,o.n AS had,n.n AS has,(SELECT count(*) FROM"
    " temp.before b JOIN entry e ON e.id=b.id AND e.uuid=b.uuid AND e.ino=b.ino WHERE b.ino=o.ino"
    " AND b.btime=o.btime) AS kept FROM (SELECT ino,btime,count(*) AS n FROM temp.before GROUP BY"
    " 1,2) o JOIN (SELECT ino,btime,count(*) AS n FROM entry WHERE parent_id>0 GROUP BY 1,2) n"
    " ON n.ino=o.ino AND n.btime=o.btime) WHERE kept<>min(had,has)";

static void remember(const struct lib *l) {
  exec(l->reader,
       "PRAGMA query_only=0; DROP TABLE IF EXISTS temp.before; CREATE TEMP TABLE before AS SELECT"
       " id,uuid,ino,btime FROM entry WHERE parent_id>0; CREATE INDEX temp.before_ino ON"
       " before(ino,btime)");
}

static void check_library(const struct lib *l, struct tree *t) {
  look_at(t, l);
  store_tree(l, t);
  assert_number(l, "SELECT count(*) FROM entries WHERE parent_id IS NOT NULL", (int64_t)t->len - 1);
  assert_number(l,
                "SELECT count(*) FROM disk d JOIN entries e ON e.path=d.path AND e.ino=d.ino AND"
                " e.size=d.size AND e.mtime_ns=d.mtime AND e.btime_ns=d.btime AND e.nlink=d.nlink"
                " AND e.mode=d.mode AND (e.kind='directory')=d.dir",
                (int64_t)t->len - 1);
  assert_number(l,
                "SELECT count(*) FROM directories d JOIN entries e ON e.id=d.id AND e.path=d.path",
                run_number("find '%s' -type d | wc -l", l->root));
  assert_number(l, wrong_totals, 0);
  assert_number(l, noted, 0);
  assert_number(l, wrong_excess, 0);
  assert_number(l, lost_identities, 0);
  assert_number(l, "SELECT count(*)-count(DISTINCT uuid) FROM entry", 0);
  assert_number(l,
                "SELECT (SELECT count(*) FROM vanished)+(SELECT count(*) FROM found)+(SELECT"
                " count(*) FROM entry WHERE parent_id<-1)",
                0);
}

/* In between, too, nothing is at two places, and totals are right; what hard links count twice is
 * where nothing is noted. */
static void check_cut_off(const struct lib *l) {
  assert_number(l, "SELECT count(*)-count(DISTINCT path) FROM entries", 0);
  assert_number(l, wrong_totals, 0);
  if (number(l, noted) == 0) assert_number(l, wrong_excess, 0);
}

static int scans(void) {
  const char *env = getenv("SD_SCANS");
  return env ? atoi(env) : 300;
}

static void after_any_changes_the_library_has_what_is_there(void **state) {
  struct lib l = open_lib(*state);
  struct ops *o = calloc(1, sizeof(*o));
  size_t entries = 0, moved = 0, replaced = 0;
  char aside[300];
  snprintf(aside, sizeof(aside), "%s", at(*state, "aside"));
  o->rng = test_seed();
  o->aside = aside;
  remember(&l);
  for (int i = 0; i < scans(); i++) {
    uint32_t changes = 1 + rng_below(&o->rng, rng_below(&o->rng, 4) ? 10 : 100);
    for (uint32_t k = 0; k < changes; k++) {
      look_at(&o->tree, &l);
      change(o);
    }
    l.batch = 1 + rng_below(&o->rng, 30);
    for (uint32_t cuts = rng_below(&o->rng, 3); cuts; cuts--) {
      if (!scan_some(&l, 1 + (int)rng_below(&o->rng, 12))) break;
      check_cut_off(&l);
      if (rng_below(&o->rng, 2)) give_up(&l);
    }
    struct scan sc = scan(&l);
    check_library(&l, &o->tree);
    remember(&l);
    entries += o->tree.len - 1;
    moved += sc.n.moved + sc.swept.moved;
    replaced += sc.swept.replaced;
  }
  print_message("%d scans: entries %zu, moved %zu, replaced %zu\n", scans(), entries, moved,
                replaced);
  free(o);
  close_lib(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      temp_test(after_any_changes_the_library_has_what_is_there),
  };
  return cmocka_run_group_tests_name("living", tests, NULL, NULL);
}
