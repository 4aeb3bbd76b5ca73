/* Loop and lanes: where tasks run, in which order they come back, and how a lane ends. */
#include "support.h"

#include <stdatomic.h>
#include <unistd.h>

#include "loop/loop.h"

enum { TASKS = 1000 };

struct job {
  struct sd_task task; /* first */
  int number;
  unsigned worker;
  bool ran;
  uv_thread_t on; /* the thread that ran it */
  struct fixture *f;
};

struct fixture {
  struct sd_loop *loop;
  struct sd_lane *lane;
  uv_thread_t main;
  struct job jobs[TASKS];
  int delivered[TASKS]; /* numbers in the order of delivery */
  int delivered_len, expected;
  atomic_int running, most_running;
  atomic_bool hold; /* tasks wait while it is set */
};

static void run_job(struct sd_task *t, unsigned worker) {
  struct job *j = (struct job *)t;
  struct fixture *f = j->f;
  int now = atomic_fetch_add(&f->running, 1) + 1, most = atomic_load(&f->most_running);
  while (now > most && !atomic_compare_exchange_weak(&f->most_running, &most, now)) continue;
  while (atomic_load(&f->hold)) usleep(200);
  j->worker = worker;
  j->on = uv_thread_self();
  j->ran = true;
  atomic_fetch_sub(&f->running, 1);
}

static void deliver_job(struct sd_task *t) {
  struct job *j = (struct job *)t;
  struct fixture *f = j->f;
  uv_thread_t self = uv_thread_self();
  assert_true(uv_thread_equal(&self, &f->main));
  f->delivered[f->delivered_len++] = j->number;
  if (f->delivered_len == f->expected) sd_loop_stop(f->loop);
}

static int setup(void **state) {
  struct sd_err err;
  struct fixture *f = calloc(1, sizeof(*f));
  if (!f || sd_loop_open(&f->loop, &err)) return -1;
  f->main = uv_thread_self();
  for (int i = 0; i < TASKS; i++)
    f->jobs[i] =
        (struct job){.task = {.run = run_job, .deliver = deliver_job}, .number = i, .f = f};
  *state = f;
  return 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  sd_lane_close(f->lane);
  sd_loop_close(f->loop);
  free(f);
  return 0;
}

static void open_lane(struct fixture *f, unsigned threads) {
  struct sd_err err;
  assert_ok(sd_lane_open(f->loop, &(struct sd_lane_opts){.name = "test", .threads = threads},
                         &f->lane, &err),
            &err);
  assert_int_equal(sd_lane_threads(f->lane), threads);
}

static void submit(struct fixture *f, int n) {
  f->expected = f->delivered_len + n;
  for (int i = 0; i < n; i++) sd_lane_submit(f->lane, &f->jobs[i].task);
}

/* ---- lanes ---- */

static void one_thread_delivers_in_the_order_of_submission(void **state) {
  struct fixture *f = *state;
  open_lane(f, 1);
  submit(f, TASKS);
  assert_int_equal(sd_lane_load(f->lane), TASKS);
  sd_loop_run(f->loop);
  assert_int_equal(f->delivered_len, TASKS);
  assert_int_equal(sd_lane_load(f->lane), 0);
  for (int i = 0; i < TASKS; i++) assert_int_equal(f->delivered[i], i);
}

static void tasks_run_beside_the_loop_on_every_thread_of_the_lane(void **state) {
  struct fixture *f = *state;
  bool seen[4] = {0};
  open_lane(f, 4);
  atomic_store(&f->hold, true);
  submit(f, TASKS);
  while (atomic_load(&f->running) < 4) usleep(100);
  atomic_store(&f->hold, false);
  sd_loop_run(f->loop);
  assert_int_equal(atomic_load(&f->most_running), 4);
  for (int i = 0; i < TASKS; i++) {
    struct job *j = &f->jobs[i];
    assert_true(j->ran && !uv_thread_equal(&j->on, &f->main));
    assert_true(j->worker < 4);
    seen[j->worker] = true;
  }
  for (int i = 0; i < 4; i++) assert_true(seen[i]);
}

static void each_task_of_many_threads_is_delivered_once(void **state) {
  struct fixture *f = *state;
  static int times[TASKS];
  memset(times, 0, sizeof(times));
  open_lane(f, 8);
  submit(f, TASKS);
  sd_loop_run(f->loop);
  for (int i = 0; i < f->delivered_len; i++) times[f->delivered[i]]++;
  for (int i = 0; i < TASKS; i++) assert_int_equal(times[i], 1);
}

/* A task that submits itself again from its delivery, as a walk does. */
static void deliver_again(struct sd_task *t) {
  struct job *j = (struct job *)t;
  if (++j->f->delivered_len < TASKS) sd_lane_submit(t->lane, t);
  else sd_loop_stop(j->f->loop);
}

static void a_task_may_be_submitted_again_from_its_delivery(void **state) {
  struct fixture *f = *state;
  open_lane(f, 2);
  f->jobs[0].task.deliver = deliver_again;
  sd_lane_submit(f->lane, &f->jobs[0].task);
  sd_loop_run(f->loop);
  assert_int_equal(f->delivered_len, TASKS);
  assert_int_equal(sd_lane_load(f->lane), 0);
}

/* One task runs while the lane closes: it is waited for, the others are handed back as they are. */
static void closing_delivers_what_ran_and_what_did_not(void **state) {
  struct fixture *f = *state;
  int ran = 0;
  open_lane(f, 1);
  submit(f, TASKS);
  sd_lane_close(f->lane);
  f->lane = NULL;
  assert_int_equal(f->delivered_len, TASKS);
  for (int i = 0; i < TASKS; i++) {
    assert_int_equal(f->delivered[i], i);
    ran += f->jobs[i].ran;
  }
  for (int i = 0; i < ran; i++) assert_true(f->jobs[i].ran); /* those that ran came first */
}

static void an_idle_lane_closes_at_once(void **state) {
  struct fixture *f = *state;
  open_lane(f, 8);
  sd_lane_close(f->lane);
  f->lane = NULL;
  sd_lane_close(NULL);
  sd_loop_close(NULL);
}

static void deliver_and_close(struct sd_task *t) {
  struct job *j = (struct job *)t;
  struct fixture *f = j->f;
  f->delivered[f->delivered_len++] = j->number;
  sd_lane_close(f->lane);
  f->lane = NULL;
  assert_int_equal(f->delivered_len, 10); /* the deliveries come before close returns */
  sd_loop_stop(f->loop);
}

/* All ten are finished and in the loop's hands when the first delivery closes their lane. */
static void a_lane_may_be_closed_from_a_delivery_of_its_own(void **state) {
  struct fixture *f = *state;
  open_lane(f, 1);
  f->jobs[0].task.deliver = deliver_and_close;
  submit(f, 10);
  f->expected = TASKS; /* not stopped by the others */
  usleep(50000);
  sd_loop_run(f->loop);
  for (int i = 0; i < 10; i++) assert_int_equal(f->delivered[i], i);
}

static void closing_one_lane_leaves_the_other_alone(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  struct sd_lane *other;
  open_lane(f, 2);
  assert_ok(
      sd_lane_open(f->loop, &(struct sd_lane_opts){.name = "other", .threads = 2}, &other, &err),
      &err);
  submit(f, 100);
  sd_lane_close(other);
  sd_loop_run(f->loop);
  assert_int_equal(f->delivered_len, 100);
}

/* ---- the loop ---- */

struct later {
  struct fixture *f;
  int number;
  bool again, inside;
};

static void run_later(void *ud);

/* Whoever closes a lane does not expect that anything else happens meanwhile. */
static void closing_a_lane_delivers_its_own_tasks_alone(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  struct sd_lane *other;
  struct later l = {.f = f, .number = 20};
  open_lane(f, 1);
  assert_ok(
      sd_lane_open(f->loop, &(struct sd_lane_opts){.name = "other", .threads = 1}, &other, &err),
      &err);
  for (int i = 0; i < 10; i++) sd_lane_submit(i % 2 ? other : f->lane, &f->jobs[i].task);
  sd_loop_defer(f->loop, run_later, &l);
  usleep(50000);
  sd_lane_close(other);
  assert_int_equal(f->delivered_len, 5);
  for (int i = 0; i < 5; i++) assert_int_equal(f->delivered[i], 2 * i + 1);
  f->expected = 11;
  sd_loop_run(f->loop);
  assert_int_equal(f->delivered_len, 11);
  for (int i = 5; i < 10; i++) assert_int_equal(f->delivered[i], 2 * (i - 5));
  assert_int_equal(f->delivered[10], 20);
}

static void run_later(void *ud) {
  struct later *l = ud;
  assert_false(l->inside);
  l->f->delivered[l->f->delivered_len++] = l->number;
  if (l->again) {
    l->again = false;
    l->inside = true;
    sd_loop_defer(l->f->loop, run_later, l);
    l->inside = false;
  } else if (l->f->delivered_len == l->f->expected) {
    sd_loop_stop(l->f->loop);
  }
}

static void deferred_calls_come_in_order_and_never_from_inside(void **state) {
  struct fixture *f = *state;
  struct later l[10];
  f->expected = 11;
  for (int i = 0; i < 10; i++) {
    l[i] = (struct later){.f = f, .number = i, .again = i == 0, .inside = true};
    sd_loop_defer(f->loop, run_later, &l[i]);
    l[i].inside = false;
  }
  assert_int_equal(f->delivered_len, 0);
  sd_loop_run(f->loop);
  assert_int_equal(f->delivered_len, 11);
  for (int i = 0; i < 10; i++) assert_int_equal(f->delivered[i], i);
  assert_int_equal(f->delivered[10], 0);
}

static void what_was_deferred_is_dropped_when_the_loop_closes(void **state) {
  struct fixture *f = *state;
  struct later l = {.f = f};
  sd_loop_defer(f->loop, run_later, &l);
  sd_loop_defer(f->loop, run_later, &l);
  sd_loop_close(f->loop);
  f->loop = NULL;
  assert_int_equal(f->delivered_len, 0);
}

static void give_up(uv_timer_t *t) {
  *(bool *)t->data = true;
  uv_stop(t->loop);
}

/* A timer that counts for nothing stops a loop that would wait for ever. */
static bool ends_by_itself(struct fixture *f) {
  uv_timer_t timer;
  bool gave_up = false;
  uv_timer_init(sd_loop_uv(f->loop), &timer);
  timer.data = &gave_up;
  uv_timer_start(&timer, give_up, 2000, 0);
  uv_unref((uv_handle_t *)&timer);
  sd_loop_run(f->loop);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(sd_loop_uv(f->loop), UV_RUN_NOWAIT);
  return !gave_up;
}

static void a_loop_ends_when_nothing_is_left_that_could_happen(void **state) {
  struct fixture *f = *state;
  assert_true(ends_by_itself(f));
  open_lane(f, 2);
  submit(f, 100);
  f->expected = -1; /* nobody stops the loop */
  assert_true(ends_by_itself(f));
  assert_int_equal(f->delivered_len, 100);
  struct later l = {.f = f, .again = true};
  sd_loop_defer(f->loop, run_later, &l);
  assert_true(ends_by_itself(f));
  assert_int_equal(f->delivered_len, 102);
}

int main(void) {
#define loop_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
  const struct CMUnitTest tests[] = {
      loop_test(one_thread_delivers_in_the_order_of_submission),
      loop_test(tasks_run_beside_the_loop_on_every_thread_of_the_lane),
      loop_test(each_task_of_many_threads_is_delivered_once),
      loop_test(a_task_may_be_submitted_again_from_its_delivery),
      loop_test(closing_delivers_what_ran_and_what_did_not),
      loop_test(an_idle_lane_closes_at_once),
      loop_test(a_lane_may_be_closed_from_a_delivery_of_its_own),
      loop_test(closing_one_lane_leaves_the_other_alone),
      loop_test(closing_a_lane_delivers_its_own_tasks_alone),
      loop_test(deferred_calls_come_in_order_and_never_from_inside),
      loop_test(what_was_deferred_is_dropped_when_the_loop_closes),
      loop_test(a_loop_ends_when_nothing_is_left_that_could_happen),
  };
  return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
