/* Rules, one by one; and nested ignore files of generated trees against `git check-ignore`, asked
 * path by path as well as by the walk. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/filter.h"
#include "engine/fstype.h"
#include "engine/rules.h"
#include "engine/walk.h"

/* ---- asking ---- */

static struct sd_rules *compile(struct sd_rules_opts o, const char *names) {
  struct sd_err err;
  struct sd_rules *r;
  assert_ok(sd_rules_parse(names, &o.named, &err), &err);
  assert_ok(sd_rules_compile(&o, &r, &err), &err);
  return r;
}

static struct sd_verdict decide(const struct sd_rules *r, const char *root, const char *path) {
  struct sd_err err;
  struct sd_verdict v;
  assert_ok(sd_rules_decide(r, root, path, strlen(path), &v, &err), &err);
  return v;
}

/* "RULE PATH DETAIL" of the verdict, as far as they are there. */
static const char *say(const struct sd_rules *r, const char *root, const char *path) {
  static char ring[8][4096];
  static unsigned turn;
  char *text = ring[turn++ % 8];
  struct sd_verdict v = decide(r, root, path);
  int n = snprintf(text, sizeof(ring[0]), "%s", sd_rule_name(v.rule));
  if (v.rule)
    n += snprintf(text + n, sizeof(ring[0]) - (size_t)n, " %.*s", (int)v.path.len,
                  (char *)v.path.data);
  if (v.detail.len)
    snprintf(text + n, sizeof(ring[0]) - (size_t)n, " %.*s", (int)v.detail.len,
             (char *)v.detail.data);
  sd_verdict_fini(&v);
  return text;
}

static void sh(const char *root, const char *cmd) {
  struct sd_buf none = run("cd '%s' && { %s; }", root, cmd);
  sd_buf_fini(&none);
}

/* ---- a walk ---- */

struct listing {
  struct sd_buf text; /* paths, each with a NUL behind it */
  char **path;        /* sorted */
  size_t len;
  uint64_t skipped[SD_RULE_COUNT];
  struct sd_buf notes; /* "OP PATH: REASON\n" of errors and skips */
};

struct name_of {
  int64_t id;
  char *path;
};

static int compare_paths(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void listing_free(struct listing *l) {
  sd_buf_fini(&l->text);
  sd_buf_fini(&l->notes);
  free(l->path);
}

static void put_notes(struct listing *l, const struct sd_note *notes, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char line[4096];
    int len = snprintf(line, sizeof(line), "%s %s: %s\n", sd_op_name(notes[i].op), notes[i].path,
                       notes[i].reason);
    assert_int_equal(sd_buf_put(&l->notes, line, (size_t)len), 0);
  }
}

static const char *parent_path(const struct name_of *dirs, size_t n, int64_t id) {
  for (size_t i = 0; i < n; i++)
    if (dirs[i].id == id) return dirs[i].path;
  return "";
}

static void take_batch(struct listing *l, const struct sd_batch *b, struct name_of **dirs,
                       size_t *n) {
  *dirs = realloc(*dirs, (*n + b->dirs_len + 1) * sizeof(**dirs));
  for (size_t i = 0; i < b->dirs_len; i++)
    (*dirs)[(*n)++] = (struct name_of){.id = b->dirs[i].id, .path = strdup(b->dirs[i].segment)};
  for (size_t i = 0; i < b->entries_len; i++) {
    const char *parent = parent_path(*dirs, *n, b->entries[i].parent_id);
    assert_int_equal(sd_buf_put(&l->text, parent, strlen(parent)), 0);
    if (*parent) assert_int_equal(sd_buf_put(&l->text, "/", 1), 0);
    assert_int_equal(sd_buf_put(&l->text, b->entries[i].name, b->entries[i].name_len + 1u), 0);
    l->len++;
  }
  for (size_t i = 0; i < SD_RULE_COUNT; i++) l->skipped[i] += b->skipped[i];
  put_notes(l, b->errors, b->errors_len);
  put_notes(l, b->skips, b->skips_len);
}

static void sort_paths(struct listing *l) {
  char *p = (char *)l->text.data;
  l->path = calloc(l->len + 1, sizeof(char *));
  for (size_t i = 0; i < l->len; i++, p += strlen(p) + 1) l->path[i] = p;
  qsort(l->path, l->len, sizeof(char *), compare_paths);
}

/* As a checkpoint would bring it back. */
static struct sd_dir *restored(struct sd_walk *w, struct sd_dir *d) {
  struct sd_buf bytes = SD_BUF_INIT;
  assert_int_equal(sd_walk_encode(d, &bytes), 0);
  struct sd_dir *again = sd_walk_restore(w, bytes.data, bytes.len);
  assert_non_null(again);
  again->known = d->known;
  sd_buf_fini(&bytes);
  sd_dir_put(d);
  return again;
}

/* A directory that is half listed stays as it is: a checkpoint would begin it anew. */
static struct listing walk_with(struct sd_walk_opts o, uint64_t *rng) {
  struct sd_err err;
  struct sd_walk *w;
  struct sd_walker *wk;
  struct listing l = {0};
  struct name_of *dirs = NULL;
  struct sd_dir **todo = malloc(sizeof(struct sd_dir *));
  size_t n = 1, dirs_len = 0;
  atomic_llong next_id = 2;
  o.root_id = 1;
  o.next_id = &next_id;
  assert_ok(sd_walk_open(&o, &w, &err), &err);
  assert_ok(sd_walker_open(w, NULL, NULL, &wk, &err), &err);
  todo[0] = sd_dir_get(sd_walk_root(w));
  while (n) {
    struct sd_batch *b = sd_batch_new();
    assert_ok(sd_walker_step(wk, todo, n, b, &err), &err);
    n = b->born_len;
    todo = realloc(todo, (n + 1) * sizeof(struct sd_dir *));
    for (size_t i = 0; i < n; i++) {
      bool again = rng && !b->born[i]->cursor && rng_below(rng, 2);
      todo[i] = again ? restored(w, b->born[i]) : b->born[i];
    }
    b->born_len = 0;
    take_batch(&l, b, &dirs, &dirs_len);
    sd_batch_free(b);
  }
  sort_paths(&l);
  for (size_t i = 0; i < dirs_len; i++) free(dirs[i].path);
  free(dirs);
  free(todo);
  sd_walker_close(wk);
  sd_walk_close(w);
  return l;
}

static struct listing walk(const struct sd_rules *r, const char *root) {
  return walk_with((struct sd_walk_opts){.root = root, .rules = r, .batch = 3}, NULL);
}

/* What the walk lists, in order, with blanks between. */
static void assert_listed(const struct listing *l, const char *expected) {
  char text[8192] = "";
  size_t n = 0;
  for (size_t i = 0; i < l->len; i++)
    n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : "", l->path[i]);
  assert_string_equal(text, expected);
}

static void assert_walk(const struct sd_rules *r, const char *root, const char *expected) {
  struct listing l = walk(r, root);
  assert_listed(&l, expected);
  assert_int_equal(l.notes.len, 0);
  listing_free(&l);
}

/* ---- named rules ---- */

static void names_of_rules_are_parsed(void **state) {
  (void)state;
  struct sd_err err;
  uint32_t named;
  assert_ok(sd_rules_parse(NULL, &named, &err), &err);
  assert_int_equal(named, 0);
  assert_ok(sd_rules_parse(" no_git,gitignore , no_git", &named, &err), &err);
  assert_int_equal(named, 1u << SD_RULE_NO_GIT | 1u << SD_RULE_GITIGNORE);
  assert_int_equal(sd_rules_parse("no_git,no_such", &named, &err), -EINVAL);
  assert_string_equal(err.msg,
                      "unknown rule \"no_such\"; there are gitignore, no_hidden, no_git,"
                      " no_dev_dirs, no_system_files, no_caches, only_images,"
                      " only_videos, only_audio, only_documents");
  assert_int_equal(sd_rules_parse("include", &named, &err), -EINVAL);
  for (size_t i = 0; sd_rules_known(i); i++)
    assert_int_equal(sd_rules_parse(sd_rules_known(i), &named, &err), 0);
}

static void hidden_files_and_version_control_are_left_out(void **state) {
  const char *root = *state;
  sh(root,
     "mkdir -p .git/refs .hidden sub/.svn sub/CVS x && touch .git/HEAD .hidden/f .dot sub/f"
     " sub/CVS/Root x/CVS x/.hg sub/.git ..x");
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "no_git");
  assert_walk(r, root, "..x .dot .hidden .hidden/f sub sub/f x x/.hg x/CVS");
  assert_string_equal(say(r, root, ".git/HEAD"), "no_git .git .git");
  assert_string_equal(say(r, root, "sub/CVS"), "no_git sub/CVS CVS/");
  assert_string_equal(say(r, root, "x/CVS"), "none");
  sd_rules_free(r);
  r = compile((struct sd_rules_opts){0}, "no_hidden");
  assert_walk(r, root, "sub sub/CVS sub/CVS/Root sub/f x x/CVS");
  assert_string_equal(say(r, root, ".hidden/f"), "no_hidden .hidden");
  sd_rules_free(r);
  r = compile((struct sd_rules_opts){0}, "no_hidden,no_git");
  struct listing l = walk(r, root);
  assert_int_equal(l.skipped[SD_RULE_NO_GIT], 4); /* the more telling of two */
  assert_int_equal(l.skipped[SD_RULE_NO_HIDDEN], 4);
  listing_free(&l);
  sd_rules_free(r);
}

static void build_directories_are_known_by_what_is_beside_them(void **state) {
  const char *root = *state;
  sh(root,
     "mkdir -p rust/target/debug photos/target web/node_modules/a web/build py/env/bin"
     " py/__pycache__ go/vendor a/build && touch rust/Cargo.toml rust/target/x photos/target/p"
     " web/package.json web/node_modules/a/f py/env/pyvenv.cfg py/env/bin/python"
     " py/__pycache__/x node_modules");
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "no_dev_dirs");
  assert_walk(r, root,
              "a a/build go go/vendor node_modules photos photos/target photos/target/p"
              " py py/env rust rust/Cargo.toml web web/package.json");
  struct listing l = walk(r, root);
  assert_int_equal(l.skipped[SD_RULE_NO_DEV_DIRS], 5);
  listing_free(&l);
  assert_string_equal(say(r, root, "rust/target/debug"), "no_dev_dirs rust/target target/");
  assert_string_equal(say(r, root, "photos/target/p"), "none");
  assert_string_equal(say(r, root, "py/env/bin"), "no_dev_dirs py/env pyvenv.cfg");
  assert_string_equal(say(r, root, "py/env"), "none");
  sd_rules_free(r);
}

/* Siblings and ignore files may be in another part of the listing. */
static void large_directories_are_filtered_before_they_are_read_to_their_end(void **state) {
  const char *root = *state;
  sh(root,
     "mkdir target build && touch target/x build/y && seq -f 'a%g' 5000 | xargs touch"
     " && touch Cargo.toml && echo 'z9?' >.gitignore && seq -f 'z%g' 5000 | xargs touch");
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "no_dev_dirs,gitignore");
  struct listing l = walk(r, root);
  assert_int_equal(l.len, 10004 - 10);
  assert_int_equal(l.skipped[SD_RULE_NO_DEV_DIRS], 1);
  assert_int_equal(l.skipped[SD_RULE_GITIGNORE], 10);
  listing_free(&l);
  sd_rules_free(r);
}

static void system_files_and_caches_are_left_out(void **state) {
  static const char tag[] = "Signature: 8a477f597d28d172789f06886806bc55\n# a comment\n";
  const char *root = *state;
  sh(root,
     "mkdir -p lost+found '$RECYCLE.BIN' .Trash-1000 d .cache real fake short && touch"
     " .DS_Store ._x Thumbs.db d/.nfs0000123 d/.nfsx .fuse_hidden1 real/data fake/data"
     " short/data '.cache/x' 'Icon\r' Icon");
  put_file(at(root, "real/CACHEDIR.TAG"), tag, sizeof(tag) - 1);
  put_file(at(root, "fake/CACHEDIR.TAG"), "Signature: no\n", 14);
  put_file(at(root, "short/CACHEDIR.TAG"), tag, 42);
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "no_system_files");
  struct listing l = walk(r, root);
  assert_listed(&l,
                ".cache .cache/x Icon d d/.nfsx fake fake/CACHEDIR.TAG fake/data real"
                " real/CACHEDIR.TAG real/data short short/CACHEDIR.TAG short/data");
  assert_int_equal(l.skipped[SD_RULE_NO_SYSTEM_FILES], 9);
  listing_free(&l);
  sd_rules_free(r);
  r = compile((struct sd_rules_opts){0}, "no_caches,no_system_files");
  l = walk(r, root);
  assert_listed(&l,
                "Icon d d/.nfsx fake fake/CACHEDIR.TAG fake/data real short short/CACHEDIR.TAG"
                " short/data");
  assert_int_equal(l.skipped[SD_RULE_NO_CACHES], 2);
  listing_free(&l);
  assert_string_equal(say(r, root, "real/data"), "no_caches real CACHEDIR.TAG");
  assert_walk(r, at(root, "real"), "CACHEDIR.TAG data"); /* named as the root, it is meant */
  sd_rules_free(r);
}

/* As file systems are that do not tell it with the name: nothing is dropped before it is known. */
static void where_the_kind_is_not_known_rules_wait_for_it(void **state) {
  const char *root = *state;
  struct sd_scope_errors errors;
  struct sd_names names;
  struct sd_filter *f;
  uint64_t counts[SD_RULE_COUNT] = {0};
  uint8_t rule;
  sh(root, "mkdir CVS target && touch Cargo.toml a.jpg x.c");
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "no_git,no_dev_dirs,only_images");
  struct sd_dir *dir = sd_dir_new(NULL, "", 0, 1);
  struct sd_filter_tree tree = {.rules = r, .root = open(root, O_RDONLY | O_CLOEXEC)};
  assert_int_equal(sd_names_init(&names), 0);
  assert_int_equal(sd_names_read(&names, tree.root), 1);
  sd_names_sort(&names);
  for (size_t i = 0; i < names.len; i++) names.items[i].kind = 0;
  assert_int_equal(sd_filter_tree_open(&tree, root), 0);
  assert_int_equal(sd_filter_open(&tree, &f), 0);
  assert_int_equal(sd_filter_enter(f, dir, tree.root, &names, &errors, &rule), 0);
  assert_int_equal(sd_filter_names(f, &names, NULL, counts), 0);
  assert_int_equal(names.len, 5);
  static const uint8_t expected[] = {SD_RULE_NO_GIT, SD_RULE_ONLY_IMAGES, 0, SD_RULE_NO_DEV_DIRS,
                                     SD_RULE_ONLY_IMAGES};
  for (size_t i = 0; i < 5; i++) {
    struct sd_stat st = {.kind = i % 3 ? SD_KIND_FILE : SD_KIND_DIRECTORY}; /* CVS, target */
    assert_int_equal(sd_filter_entry(f, &names.items[i], &st, &rule), 0);
    assert_int_equal(rule, expected[i]);
  }
  sd_filter_close(f);
  sd_filter_tree_close(&tree);
  sd_names_fini(&names);
  sd_dir_put(dir);
  close(tree.root);
  sd_rules_free(r);
}

static void kinds_of_files_are_known_by_extension(void **state) {
  const char *root = *state;
  sh(root, "mkdir -p d.jpg && touch a.jpg B.JPEG c.mp4 d.jpg/e.txt f.ts .jpg g.tar.gz noext x.");
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "only_images");
  assert_walk(r, root, "B.JPEG a.jpg d.jpg");
  assert_string_equal(say(r, root, "c.mp4"), "only_images c.mp4");
  sd_rules_free(r);
  r = compile((struct sd_rules_opts){0}, "only_documents,only_videos");
  assert_walk(r, root, "c.mp4 d.jpg d.jpg/e.txt");
  sd_rules_free(r);
  r = compile((struct sd_rules_opts){0}, "only_audio");
  assert_walk(r, root, "d.jpg");
  sd_rules_free(r);
}

/* ---- globs, sizes, ages, children ---- */

static void globs_of_the_user_say_what_stays(void **state) {
  static const char *const exclude[] = {"*.log", "!keep.log", "/top", "docs/_build/"};
  static const char *const include[] = {"*.c", "/src/", "!src/*.o"};
  const char *root = *state;
  sh(root,
     "mkdir -p src/deep docs/_build sub/top top && touch a.log keep.log sub/b.log sub/top/x"
     " top/y docs/_build/z docs/i.txt m.c src/a.o src/b.txt src/deep/c.o sub/n.c");
  struct sd_rules *r = compile((struct sd_rules_opts){.exclude = exclude, .exclude_len = 4}, NULL);
  assert_walk(r, root,
              "docs docs/i.txt keep.log m.c src src/a.o src/b.txt src/deep src/deep/c.o"
              " sub sub/n.c sub/top sub/top/x");
  assert_string_equal(say(r, root, "docs/_build/z"), "exclude docs/_build docs/_build/");
  assert_string_equal(say(r, root, "keep.log"), "none !keep.log");
  sd_rules_free(r);
  r = compile((struct sd_rules_opts){.include = include, .include_len = 3}, NULL);
  assert_walk(r, root,
              "docs docs/_build m.c src src/b.txt src/deep src/deep/c.o sub sub/n.c"
              " sub/top top");
  assert_string_equal(say(r, root, "src/a.o"), "include src/a.o");
  assert_string_equal(say(r, root, "src/deep/c.o"), "none");
  sd_rules_free(r);
}

static void a_bad_glob_or_child_is_refused_by_name(void **state) {
  (void)state;
  static const char *const bad[] = {"[a"}, *const slash[] = {"a/b"}, *const empty[] = {""};
  struct sd_err err;
  struct sd_rules *r = NULL;
  const struct sd_rules_opts all[] = {{.exclude = bad, .exclude_len = 1},
                                      {.include = bad, .include_len = 1},
                                      {.reject_children = slash, .reject_children_len = 1},
                                      {.accept_children = empty, .accept_children_len = 1}};
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(sd_rules_compile(&all[i], &r, &err), -EINVAL);
    assert_true(i == 3 || strstr(err.msg, i < 2 ? "[a" : "a/b"));
    assert_null(r);
  }
}

static void sizes_and_ages_are_about_files(void **state) {
  const char *root = *state;
  sh(root,
     "mkdir d && head -c 10 /dev/zero >ten && head -c 11 /dev/zero >eleven && touch empty"
     " && ln -s ten link && mkfifo fifo && touch -d @1000 ten && touch -d @2000 eleven"
     " && touch -d @3000 empty && touch -h -d @1000 link && touch -d @1000 d");
  struct sd_rules *r = compile((struct sd_rules_opts){.min_size = 10, .max_size = 10}, NULL);
  struct listing l = walk(r, root);
  assert_listed(&l, "d fifo link ten");
  assert_int_equal(l.skipped[SD_RULE_MIN_SIZE], 1);
  assert_int_equal(l.skipped[SD_RULE_MAX_SIZE], 1);
  listing_free(&l);
  assert_string_equal(say(r, root, "eleven"), "max_size eleven");
  sd_rules_free(r);
  const int64_t ns = SD_NS_PER_S;
  r = compile((struct sd_rules_opts){.newer = 2000 * ns, .older = 2000 * ns}, NULL);
  l = walk(r, root);
  assert_listed(&l, "d eleven fifo link");
  assert_int_equal(l.skipped[SD_RULE_NEWER], 1);
  assert_int_equal(l.skipped[SD_RULE_OLDER], 1);
  listing_free(&l);
  sd_rules_free(r);
}

static void children_say_what_becomes_of_a_directory(void **state) {
  static const char *const nomedia[] = {".nomedia"}, *const git[] = {".git"};
  const char *root = *state;
  sh(root,
     "mkdir -p a/.git/x a/src b/c/.git b/d m && touch a/src/f b/f b/c/f b/d/f m/.nomedia m/f"
     " top");
  struct sd_rules *r =
      compile((struct sd_rules_opts){.reject_children = nomedia, .reject_children_len = 1}, NULL);
  struct listing l = walk(r, root);
  assert_listed(&l, "a a/.git a/.git/x a/src a/src/f b b/c b/c/.git b/c/f b/d b/d/f b/f m top");
  assert_int_equal(l.skipped[SD_RULE_REJECT_CHILDREN], 1);
  listing_free(&l);
  assert_string_equal(say(r, root, "m/f"), "reject_children m .nomedia");
  sd_rules_free(r);
  r = compile((struct sd_rules_opts){.accept_children = git, .accept_children_len = 1}, "no_git");
  assert_walk(r, root, "a a/src a/src/f b b/c b/c/f b/d m");
  assert_string_equal(say(r, root, "b/d/f"), "accept_children b/d/f");
  assert_string_equal(say(r, root, "a/src/f"), "none");
  sd_rules_free(r);
}

/* ---- ignore files ---- */

static void repositories_are_borders_for_gitignore(void **state) {
  const char *root = *state;
  sh(root,
     "mkdir -p in/.git/objects in/.git/refs in/sub out fake/.git && touch in/.git/HEAD"
     " && printf '*.o\\n*.x\\n' >.gitignore && printf '*.i\\n' >.ignore"
     " && mkdir in/.git/info && echo '*.x' >in/.git/info/exclude"
     " && echo '!b.x' >in/sub/.gitignore"
     " && for d in in in/sub out fake in/.git; do touch $d/a.o $d/a.x $d/b.x $d/a.i; done");
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "gitignore");
  assert_walk(r, root,
              ".gitignore .ignore fake fake/.git in in/.git in/.git/HEAD in/.git/a.o"
              " in/.git/a.x in/.git/b.x in/.git/info in/.git/info/exclude in/.git/objects"
              " in/.git/refs in/a.o in/sub in/sub/.gitignore in/sub/a.o in/sub/b.x out");
  assert_string_equal(say(r, root, "out/a.o"), "gitignore out/a.o .gitignore:1:*.o");
  assert_string_equal(say(r, root, "in/a.x"), "gitignore in/a.x in/.git/info/exclude:1:*.x");
  assert_string_equal(say(r, root, "in/sub/b.x"), "none in/sub/.gitignore:1:!b.x");
  assert_string_equal(say(r, root, "in/sub/a.i"), "gitignore in/sub/a.i .ignore:1:*.i");
  sd_rules_free(r);
}

static void a_dot_ignore_outweighs_any_gitignore(void **state) {
  const char *root = *state;
  sh(root,
     "mkdir -p a/b && printf '!keep\\nzap\\n' >.ignore && printf 'keep\\n!zap\\n' >a/.gitignore"
     " && touch a/keep a/zap a/b/keep a/b/zap");
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "gitignore");
  assert_walk(r, root, ".ignore a a/.gitignore a/b a/b/keep a/keep");
  sd_rules_free(r);
}

static void a_repository_that_begins_above_the_root_counts(void **state) {
  char top[512];
  const char *root = *state;
  snprintf(top, sizeof(top), "%s", at(root, "top"));
  sh(root,
     "echo '*' >.gitignore; mkdir top && cd top && mkdir -p .git/objects .git/refs .git/info"
     " a/b/c && touch .git/HEAD a/b/f.o a/b/c/f.o a/b/g a/b/keep.o a/b/x a/b/y"
     " && echo '*.o' >.gitignore && echo '/a/b/x' >.git/info/exclude"
     " && printf '!keep.o\\nb/y\\n' >a/.gitignore");
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "gitignore");
  assert_walk(r, at(top, "a/b"), "c g keep.o");
  char expected[1024];
  snprintf(expected, sizeof(expected), "gitignore y %s/a/.gitignore:2:b/y", top);
  assert_string_equal(say(r, at(top, "a/b"), "y"), expected);
  snprintf(expected, sizeof(expected), "gitignore x %s/.git/info/exclude:1:/a/b/x", top);
  assert_string_equal(say(r, at(top, "a/b"), "x"), expected);
  sd_rules_free(r);
}

static void walk_unreadable(void *ud) {
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "gitignore");
  struct listing l = walk(r, ud);
  assert_int_equal(sd_buf_put(&l.notes, "", 1), 0);
  check(strcmp((char *)l.notes.data,
               "ReadRules .gitignore: larger than an ignore file may be (1 MiB)\n"
               "ReadRules e/.ignore: Too many levels of symbolic links\n"
               "ReadRules d/.gitignore: Permission denied\n") == 0);
  check(l.len == 11);
  listing_free(&l);
  sd_rules_free(r);
}

static void an_ignore_file_that_cannot_be_used_is_one_error(void **state) {
  const char *root = *state;
  sh(root,
     "mkdir d e f g && head -c 1048577 /dev/zero | tr '\\0' x >.gitignore"
     " && echo '*' >d/.gitignore && chmod 0 d/.gitignore && touch d/x"
     " && echo '*' >real && ln -s ../real e/.ignore && mkdir f/.gitignore"
     " && mkfifo g/.gitignore");
  if (geteuid() != 0) skip_because("not root: own files would need another owner");
  assert_int_equal(in_child(NOBODY, walk_unreadable, (void *)root), 0);
}

/* The process holds locks on them: closing any descriptor would drop these. */
static void the_librarys_own_files_are_no_ignore_files(void **state) {
  const char *root = *state;
  struct stat st;
  sh(root, "echo '*' >.gitignore; touch f");
  assert_int_equal(stat(at(root, ".gitignore"), &st), 0);
  struct sd_file_id own = {.dev = st.st_dev, .ino = st.st_ino};
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "gitignore");
  struct listing l =
      walk_with((struct sd_walk_opts){.root = root, .rules = r, .own = &own, .own_len = 1}, NULL);
  assert_listed(&l, "f");
  listing_free(&l);
  sd_rules_free(r);
}

static void ignore_files_above_each_other_are_bounded(void **state) {
  char dir[4096];
  size_t n = (size_t)snprintf(dir, sizeof(dir), "%s", (const char *)*state);
  enum { DEEP = 8, LINES = 50000, BYTES = 4 * LINES };
  char *text = malloc(BYTES);
  for (size_t i = 0; i < LINES; i++) memcpy(text + 4 * i, "x*y\n", 4);
  for (int i = 0; i < DEEP; i++) {
    put_file(at(dir, ".gitignore"), text, BYTES);
    put_file(at(dir, "xay"), "", 0);
    n += (size_t)snprintf(dir + n, sizeof(dir) - n, "/d");
    make_dir(dir);
  }
  struct sd_rules *r = compile((struct sd_rules_opts){0}, "gitignore");
  struct listing l = walk(r, *state);
  assert_int_equal(l.len, 2 * DEEP); /* files and directories; each xay is excluded by the first */
  assert_int_equal(l.skipped[SD_RULE_GITIGNORE], DEEP);
  assert_int_equal(sd_buf_put(&l.notes, "", 1), 0);
  assert_non_null(strstr((char *)l.notes.data, "with the ignore files above it, too large"));
  listing_free(&l);
  sd_rules_free(r);
  free(text);
}

/* ---- generated trees ---- */

enum { TREES = 200, PATHS = 10000, PATHS_MAX = 400, REPOS_MAX = 64 };

struct repo {
  char path[256]; /* below the root of the tree, with a slash behind it; "" for the root */
};

struct path {
  char name[256]; /* below the root of the tree */
  size_t repo;    /* whose git is asked */
  bool there;
  bool excluded; /* says git, of this or of a directory above */
  char why[512]; /* FILE:LINE:PATTERN */
};

struct tree {
  char root[512], gits[512];
  uint64_t *rng;
  struct repo repos[REPOS_MAX];
  struct path paths[PATHS_MAX];
  size_t repos_len, paths_len;
};

static const char *const pieces[] = {"a",    "b",    "ab",          "*",   "*",    "**", "?",
                                     "[ab]", "[!a]", "[[:alpha:]]", "\\a", "a.b",  ".b", "[a-c]",
                                     "***",  "c",    "*.b",         "a*",  "[^/]", " "};
static const char *const words[] = {"a", "b", "ab", "c", "a.b", "ba", "abc", ".b", "a b", "\xff"};

#define PICK(rng, list) (list)[rng_below(rng, sizeof(list) / sizeof((list)[0]))]

static void put_text(struct sd_buf *b, const char *s) {
  assert_int_equal(sd_buf_put(b, s, strlen(s)), 0);
}

static void put_pattern(struct sd_buf *b, uint64_t *rng) {
  if (rng_below(rng, 4) == 0) put_text(b, "!");
  if (rng_below(rng, 4) == 0) put_text(b, "/");
  for (uint32_t n = 1 + rng_below(rng, 3); n--;) {
    if (rng_below(rng, 5) == 0) put_text(b, "**");
    else if (rng_below(rng, 3)) put_text(b, PICK(rng, words));
    else
      for (uint32_t k = 1 + rng_below(rng, 2); k--;) put_text(b, PICK(rng, pieces));
    if (n || rng_below(rng, 4) == 0) put_text(b, "/");
  }
  if (rng_below(rng, 12) == 0) put_text(b, "  ");
  put_text(b, rng_below(rng, 12) ? "\n" : "\r\n");
}

static void put_patterns(const char *file, uint64_t *rng) {
  struct sd_buf b = SD_BUF_INIT;
  if (rng_below(rng, 20) == 0) put_text(&b, "\xef\xbb\xbf");
  for (uint32_t n = 1 + rng_below(rng, 6); n--;) put_pattern(&b, rng);
  if (rng_below(rng, 8) == 0) b.len--; /* no newline at the end */
  put_file(file, b.data, b.len);
  sd_buf_fini(&b);
}

/* The least that git takes for a repository: in place, or elsewhere and named by a file. */
static void make_repository(struct tree *t, const char *dir) {
  char git[1024];
  bool apart = t->repos_len && rng_below(t->rng, 3) == 0;
  if (apart) {
    snprintf(git, sizeof(git), "%s/%zu", t->gits, t->repos_len);
    char text[1100];
    int n = snprintf(text, sizeof(text), "gitdir: %s\n", git);
    put_file(at(dir, ".git"), text, (size_t)n);
  } else {
    snprintf(git, sizeof(git), "%s/.git", dir);
  }
  make_dir(git);
  make_dir(at(git, "objects"));
  make_dir(at(git, "refs"));
  put_file(at(git, "HEAD"), "ref: refs/heads/main\n", 21);
  make_dir(at(git, "info"));
  if (rng_below(t->rng, 2)) put_patterns(at(git, "info/exclude"), t->rng);
}

static struct path *add_path(struct tree *t, const char *dir, const char *name, size_t repo) {
  if (t->paths_len == PATHS_MAX) return NULL;
  struct path *p = &t->paths[t->paths_len];
  memset(p, 0, sizeof(*p));
  if ((size_t)snprintf(p->name, sizeof(p->name), "%s%s", dir, name) >= sizeof(p->name)) return NULL;
  for (size_t i = 0; i < t->paths_len; i++)
    if (strcmp(t->paths[i].name, p->name) == 0) return NULL;
  p->repo = repo;
  t->paths_len++;
  return p;
}

static void make_children(struct tree *t, const char *dir, size_t repo, int depth);

static void make_child(struct tree *t, const char *dir, size_t repo, int depth) {
  char below[256];
  struct path *p = add_path(t, dir, PICK(t->rng, words), repo);
  if (!p) return;
  uint32_t kind = rng_below(t->rng, 8);
  const char *full = at(t->root, p->name);
  p->there = true;
  if (kind == 0) {
    p->there = false; /* only asked for */
  } else if (kind == 1) {
    assert_int_equal(symlink(".", full), 0);
  } else if (kind < 4 || depth == 0) {
    put_file(full, "", 0);
  } else {
    make_dir(full);
    snprintf(below, sizeof(below), "%.254s/", p->name);
    if (t->repos_len < REPOS_MAX && rng_below(t->rng, 10) == 0) {
      make_repository(t, full);
      repo = t->repos_len;
      snprintf(t->repos[t->repos_len++].path, sizeof(t->repos[0].path), "%s", below);
    }
    make_children(t, below, repo, depth - 1);
  }
}

static void make_children(struct tree *t, const char *dir, size_t repo, int depth) {
  if (rng_below(t->rng, 3) == 0) {
    struct path *p = add_path(t, dir, ".gitignore", repo);
    if (p) put_patterns(at(t->root, p->name), t->rng);
    if (p) p->there = true;
  }
  for (uint32_t n = 1 + rng_below(t->rng, 6); n--;) make_child(t, dir, repo, depth);
}

static void make_tree(struct tree *t, const char *dir, int number, uint64_t *rng) {
  memset(t, 0, sizeof(*t));
  t->rng = rng;
  snprintf(t->root, sizeof(t->root), "%s/tree%d", dir, number);
  snprintf(t->gits, sizeof(t->gits), "%s/gits%d", dir, number);
  make_dir(t->root);
  make_dir(t->gits);
  make_repository(t, t->root);
  t->repos_len = 1;
  for (int i = 0; i < 3; i++) make_children(t, "", 0, 4);
}

static struct path *find_path(struct tree *t, const char *name, size_t len) {
  for (size_t i = 0; i < t->paths_len; i++)
    if (strlen(t->paths[i].name) == len && memcmp(t->paths[i].name, name, len) == 0)
      return &t->paths[i];
  return NULL;
}

/* Notes git's answers, in the order in which it was asked. */
static void take_answers(struct tree *t, size_t repo, const char *p, const char *end) {
  const char *base = t->repos[repo].path;
  for (size_t i = 0; i < t->paths_len; i++) {
    struct path *path = &t->paths[i];
    if (path->repo != repo) continue;
    assert_true(p < end);
    const char *source = p, *line = source + strlen(source) + 1;
    const char *pattern = line + strlen(line) + 1, *name = pattern + strlen(pattern) + 1;
    assert_string_equal(name, path->name + strlen(base));
    p = name + strlen(name) + 1;
    path->excluded = *pattern && *pattern != '!';
    if (!*pattern) continue;
    if (strstr(source, "info/exclude")) source = ".git/info/exclude";
    snprintf(path->why, sizeof(path->why), "%s%s:%s:%s", base, source, line, pattern);
  }
  assert_ptr_equal(p, end);
}

static void ask_git(struct tree *t, const char *file, size_t repo) {
  struct sd_buf paths = SD_BUF_INIT;
  for (size_t i = 0; i < t->paths_len; i++) {
    const char *name = t->paths[i].name + strlen(t->repos[repo].path);
    if (t->paths[i].repo == repo) assert_int_equal(sd_buf_put(&paths, name, strlen(name) + 1), 0);
  }
  put_file(file, paths.data, paths.len);
  struct sd_buf out =
      run("env HOME=/nonexistent XDG_CONFIG_HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 git -C '%s/%s'"
          " check-ignore --no-index --stdin -z -v -n <'%s' || test $? = 1",
          t->root, t->repos[repo].path, file);
  take_answers(t, repo, (char *)out.data, (char *)out.data + out.len);
  sd_buf_fini(&out);
  sd_buf_fini(&paths);
}

/* What is excluded further up, perhaps by another repository, is so for what is below. */
static void inherit(struct tree *t) {
  for (size_t i = 0; i < t->paths_len; i++) {
    struct path *p = &t->paths[i];
    for (const char *s = strchr(p->name, '/'); s; s = strchr(s + 1, '/')) {
      const struct path *dir = find_path(t, p->name, (size_t)(s - p->name));
      if (!dir || !dir->excluded) continue;
      p->excluded = true;
      strcpy(p->why, dir->why);
      break;
    }
  }
}

static void assert_verdicts(struct tree *t, const struct sd_rules *r) {
  for (size_t i = 0; i < t->paths_len; i++) {
    const struct path *p = &t->paths[i];
    struct sd_verdict v = decide(r, t->root, p->name);
    if (sd_buf_put(&v.detail, "", 1)) fail();
    if ((v.rule != 0) != p->excluded || strcmp((char *)v.detail.data, p->why) != 0)
      fail_msg("%s/%s: ours %s %s, git's %s", t->root, p->name, sd_rule_name(v.rule),
               (char *)v.detail.data, p->why);
    sd_verdict_fini(&v);
  }
}

/* All that is there and not excluded, and nothing else. */
static void assert_walks(struct tree *t, const struct sd_rules *r) {
  uint32_t batch = 1 + rng_below(t->rng, 40);
  struct listing l =
      walk_with((struct sd_walk_opts){.root = t->root, .rules = r, .batch = batch}, t->rng);
  size_t expected = 0;
  for (size_t i = 0; i < t->paths_len; i++) {
    const struct path *p = &t->paths[i];
    const char *name = p->name;
    bool listed = bsearch(&name, l.path, l.len, sizeof(char *), compare_paths) != NULL;
    if (listed != (p->there && !p->excluded))
      fail_msg("%s/%s: listed %d; git: %s", t->root, name, listed, p->why);
    expected += listed;
  }
  assert_int_equal(l.len, expected);
  assert_int_equal(l.notes.len, 0);
  listing_free(&l);
}

/* From a directory inside the tree, what is in it is decided the same way. */
static void assert_verdicts_from_below(struct tree *t, const struct sd_rules *r) {
  const struct path *dir = &t->paths[rng_below(t->rng, (uint32_t)t->paths_len)];
  struct stat st;
  char root[1024];
  size_t len = strlen(dir->name);
  snprintf(root, sizeof(root), "%s/%.255s", t->root, dir->name);
  if (dir->excluded || lstat(root, &st) != 0 || !S_ISDIR(st.st_mode)) return;
  for (size_t i = 0; i < t->paths_len; i++) {
    const struct path *p = &t->paths[i];
    if (strncmp(p->name, dir->name, len) != 0 || p->name[len] != '/') continue;
    struct sd_verdict v = decide(r, root, p->name + len + 1);
    if ((v.rule != 0) != p->excluded) fail_msg("%s: %s; git: %s", root, p->name + len + 1, p->why);
    sd_verdict_fini(&v);
  }
}

static void generated_trees_are_filtered_as_git_does(void **state) {
  if (!git_splits_components(*state)) skip_because("this git reads `a**` otherwise than 2.39");
  uint64_t rng = test_seed();
  struct tree *t = malloc(sizeof(*t));
  struct sd_rules *git = compile((struct sd_rules_opts){0}, "gitignore");
  struct sd_rules *walked = compile((struct sd_rules_opts){0}, "gitignore,no_git");
  size_t paths = 0, decided = 0, excluded = 0, repos = 0;
  for (int i = 0; i < TREES || paths < PATHS; i++) {
    make_tree(t, *state, i, &rng);
    for (size_t k = 0; k < t->repos_len; k++) ask_git(t, at(*state, "paths"), k);
    inherit(t);
    assert_verdicts(t, git);
    assert_walks(t, walked);
    for (int k = 0; k < 4; k++) assert_verdicts_from_below(t, git);
    for (size_t k = 0; k < t->paths_len; k++) {
      decided += t->paths[k].why[0] != 0;
      excluded += t->paths[k].excluded;
    }
    paths += t->paths_len;
    repos += t->repos_len;
  }
  print_message("%zu paths in %zu repositories, %zu decided by a pattern, %zu excluded\n", paths,
                repos, decided, excluded);
  assert_true(decided > paths / 4 && excluded < decided);
  sd_rules_free(git);
  sd_rules_free(walked);
  free(t);
}

/* ---- file systems ---- */

static void types_of_file_systems_are_told_apart(void **state) {
  (void)state;
  static const struct {
    const char *type, *source, *options;
    enum sd_fs_class class;
  } rows[] = {
      {"ext4", "/dev/sda1", "rw", SD_FS_LOCAL},
      {"fuse.sshfs", "host:/home", "rw,user_id=0", SD_FS_REMOTE},
      {"fuse.rclone", "drive:", "rw", SD_FS_REMOTE},
      {"fuse", "borgfs", "ro", SD_FS_SNAPSHOT},
      {"fuse.restic", "restic", "ro", SD_FS_SNAPSHOT},
      {"fuse.mergerfs", "a:b", "rw", SD_FS_LOCAL},
      {"fuseblk", "/dev/sdb1", "rw", SD_FS_LOCAL},
      {"zfs", "tank/home", "rw", SD_FS_LOCAL},
      {"zfs", "tank/home@daily", "ro", SD_FS_SNAPSHOT},
      {"nilfs2", "/dev/sdc1", "ro,cp=1234", SD_FS_SNAPSHOT},
      {"nilfs2", "/dev/sdc1", "rw,order=relaxed", SD_FS_LOCAL},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
    assert_int_equal(sd_fs_class_of(rows[i].type, rows[i].source, rows[i].options), rows[i].class);
  int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  (void)sd_fs_class(fd);
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_of_rules_are_parsed),
      temp_test(hidden_files_and_version_control_are_left_out),
      temp_test(build_directories_are_known_by_what_is_beside_them),
      temp_test(large_directories_are_filtered_before_they_are_read_to_their_end),
      temp_test(system_files_and_caches_are_left_out),
      temp_test(where_the_kind_is_not_known_rules_wait_for_it),
      temp_test(kinds_of_files_are_known_by_extension),
      temp_test(globs_of_the_user_say_what_stays),
      cmocka_unit_test(a_bad_glob_or_child_is_refused_by_name),
      temp_test(sizes_and_ages_are_about_files),
      temp_test(children_say_what_becomes_of_a_directory),
      temp_test(repositories_are_borders_for_gitignore),
      temp_test(a_dot_ignore_outweighs_any_gitignore),
      temp_test(a_repository_that_begins_above_the_root_counts),
      temp_test(an_ignore_file_that_cannot_be_used_is_one_error),
      temp_test(the_librarys_own_files_are_no_ignore_files),
      temp_test(ignore_files_above_each_other_are_bounded),
      temp_test(generated_trees_are_filtered_as_git_does),
      cmocka_unit_test(types_of_file_systems_are_told_apart),
  };
  return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
