/* support.h - what the tests share: directories, commands of the system, forks, random numbers.
 * Owner:  temp_setup() makes the state of a test, temp_teardown() ends it.
 * Thread: the test's thread.
 * Errors: a failure here fails the test; in a forked child it ends the child. */
#ifndef SD_C_TESTS_SUPPORT_H
#define SD_C_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/error.h"

/* ---- a directory per test ---- */

/* Setup and teardown for cmocka: *state is the path of an empty directory, mode 0755, below $TMPDIR
 * or /tmp. The teardown removes it, and fails the test when a descriptor was left open or the
 * working directory has changed. */
int temp_setup(void **state);
int temp_teardown(void **state);

#define temp_test(f) cmocka_unit_test_setup_teardown(f, temp_setup, temp_teardown)

/* `dir`/`name`; valid for the next fifteen calls. */
const char *at(const char *dir, const char *name) __attribute__((returns_nonnull));

void put_file(const char *path, const void *data, size_t len); /* made or replaced */
void make_dir(const char *path);
struct sd_buf read_file(const char *path); /* released with sd_buf_fini() */
unsigned open_fds(void);

/* ---- the system's own answer ---- */

/* What a shell command prints, with a NUL behind it that is not counted. A command that does not
 * end with 0 fails the test. Released with sd_buf_fini(). */
struct sd_buf run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* As run(), for one number. */
long long run_number(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whether git reads "a**" + "/b" as Debian 12's does, and as we do: `**` right behind literal text
 * counts as a component of its own. Later versions ended that. `dir` is an empty directory. */
bool git_splits_components(const char *dir);

/* ---- another process ---- */

enum { NOBODY = 65534 };

/* Calls fn(ud) in a forked child, there as user `uid` (0: as it is; not root: as it is). The result
 * is the child's: 0 where all its checks held, else 1; -1 when it did not end by itself. */
int in_child(unsigned uid, void (*fn)(void *ud), void *ud);

/* In a child cmocka's assertions would run the rest of the tests twice: use this. */
#define check(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))
_Noreturn void check_failed(const char *cond, const char *file, int line);

/* Makes system call `nr` fail with errno `en` in this process, for ever; for a child. */
void deny_syscall(int nr, int en);

/* ---- the rest ---- */

/* Leaves the test, saying why it cannot run here. */
#define skip_because(why)                                             \
  do {                                                                \
    print_message("SKIPPED %s: %s (%s)\n", __func__, why, "not run"); \
    skip();                                                           \
  } while (0)

/* Fails with the message of the error value when `rc` is not 0. */
#define assert_ok(rc, err) assert_ok_at(rc, err, __FILE__, __LINE__)
void assert_ok_at(int rc, const struct sd_err *err, const char *file, int line);

/* A printed seed: $SD_SEED, or another one each time. */
uint64_t test_seed(void);
uint64_t rng_next(uint64_t *state);
uint32_t rng_below(uint64_t *state, uint32_t n);

#endif
