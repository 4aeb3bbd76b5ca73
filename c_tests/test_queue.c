/* The durable queue, against a list that is too simple to be wrong and a disk that is an array. */
#include "support.h"

#include "base/clock.h"
#include "engine/queue.h"

static long live; /* objects that the queue owns */

static int encode_id(const void *obj, struct sd_buf *out) {
  return sd_buf_put_u64(out, (uint64_t) * (const int64_t *)obj);
}

static void free_id(void *obj) {
  live--;
  free(obj);
}

/* As a directory that is listed in part: its stored form is not all of it. */
static bool is_seventh(const void *obj) {
  return *(const int64_t *)obj % 7 == 0;
}

static const struct sd_queue_ops ops = {.encode = encode_id, .free = free_id, .pinned = is_seventh};

static int64_t *new_id(int64_t id) {
  int64_t *p = malloc(sizeof(*p));
  assert_non_null(p);
  *p = id;
  live++;
  return p;
}

static int64_t id_of(const struct sd_queue_item *i) {
  return *(const int64_t *)i->obj;
}

/* ---- the disk ---- */

enum { DISK = 1 << 12, ZERO = DISK / 2 }; /* seq -ZERO to ZERO - 1 */

struct disk {
  int64_t id[DISK]; /* 0: no row */
  size_t len;
};

static int64_t *row(struct disk *d, int64_t seq) {
  assert_true(seq >= -ZERO && seq < ZERO);
  return &d->id[seq + ZERO];
}

static void apply(struct disk *d, const struct sd_queue_delta *delta) {
  for (size_t i = 0; i < delta->changes_len; i++) {
    const struct sd_queue_change *c = &delta->changes[i];
    int64_t *r = row(d, c->seq);
    d->len -= *r != 0;
    *r = c->payload ? (int64_t)sd_get_u64(c->payload) : 0;
    d->len += *r != 0;
  }
}

static size_t commit(struct sd_queue *q, struct disk *d) {
  struct sd_queue_delta delta = {0};
  assert_int_equal(sd_queue_take(q, &delta), 0);
  size_t n = delta.changes_len;
  apply(d, &delta);
  sd_queue_delta_fini(&delta);
  return n;
}

/* The row with the smallest seq from `from` on, or the greatest below `below`. */
static bool disk_next(struct disk *d, int64_t from, int64_t *seq) {
  for (*seq = from; *seq < ZERO; ++*seq)
    if (*row(d, *seq)) return true;
  return false;
}

static bool disk_last(struct disk *d, int64_t below, int64_t *seq) {
  for (*seq = below - 1; *seq >= -ZERO; --*seq)
    if (*row(d, *seq)) return true;
  return false;
}

static struct sd_queue *resume(struct disk *d) {
  int64_t first, last;
  struct sd_queue *q = sd_queue_new(&ops);
  assert_non_null(q);
  if (disk_next(d, -ZERO, &first) && disk_last(d, ZERO, &last))
    sd_queue_on_disk(q, d->len, first, last + 1);
  return q;
}

/* ---- as a job uses it ---- */

static struct sd_queue_item *push(struct sd_queue *q, int64_t id, bool ready) {
  struct sd_queue_item *i = sd_queue_push_back(q, new_id(id), ready);
  assert_non_null(i);
  return i;
}

/* The next item from the front, wherever it is; NULL when the queue is empty. */
static struct sd_queue_item *take_front(struct sd_queue *q, struct disk *d) {
  int64_t from, seq;
  if (!sd_queue_wants_front(q, &from)) return sd_queue_pop_front(q);
  assert_null(sd_queue_pop_front(q));
  assert_true(disk_next(d, from, &seq));
  struct sd_queue_item *i = sd_queue_restore_leased(q, seq, new_id(*row(d, seq)));
  assert_non_null(i);
  return i;
}

/* The next item from the back; up to `n` at a time come from the disk. */
static struct sd_queue_item *take_back(struct sd_queue *q, struct disk *d, size_t n) {
  int64_t below, seq;
  if (sd_queue_wants_back(q, &below))
    for (; n && disk_last(d, below, &seq); n--, below = seq)
      assert_int_equal(sd_queue_restore(q, seq, new_id(*row(d, seq))), 0);
  return sd_queue_pop_back(q);
}

static void ends(struct sd_queue *q) {
  sd_queue_free(q);
  assert_int_equal(live, 0);
}

/* ---- by hand ---- */

static void items_come_in_order_from_either_end(void **state) {
  (void)state;
  struct sd_queue *q = sd_queue_new(&ops);
  for (int i = 1; i <= 4; i++) push(q, i, true);
  assert_non_null(sd_queue_push_front(q, new_id(9), true));
  assert_int_equal(sd_queue_len(q), 5);
  assert_int_equal(id_of(sd_queue_front(q)), 9);
  assert_int_equal(id_of(sd_queue_back(q)), 4);
  assert_int_equal(id_of(sd_queue_pop_front(q)), 9);
  assert_int_equal(id_of(sd_queue_pop_back(q)), 4);
  assert_int_equal(id_of(sd_queue_pop_front(q)), 1);
  assert_int_equal(sd_queue_len(q), 2);
  assert_int_equal(sd_queue_leased(q), 3);
  ends(q);
}

static void an_item_that_comes_and_goes_between_commits_is_never_written(void **state) {
  (void)state;
  static struct disk d;
  memset(&d, 0, sizeof(d));
  struct sd_queue *q = sd_queue_new(&ops);
  for (int i = 1; i <= 100; i++) {
    push(q, i, true);
    sd_queue_done(q, sd_queue_pop_front(q));
  }
  assert_int_equal(live, 0);
  assert_int_equal(commit(q, &d), 0);
  ends(q);
}

static void a_commit_costs_what_changed(void **state) {
  (void)state;
  static struct disk d;
  memset(&d, 0, sizeof(d));
  struct sd_queue *q = sd_queue_new(&ops);
  for (int i = 1; i <= 1000; i++) push(q, i, true);
  assert_int_equal(commit(q, &d), 1000);
  assert_int_equal(commit(q, &d), 0);
  push(q, 1001, true);
  sd_queue_done(q, sd_queue_pop_front(q));
  assert_int_equal(commit(q, &d), 2);
  assert_int_equal(d.len, 1000);
  ends(q);
}

static void a_leased_item_stays_in_the_checkpoint_until_it_is_done(void **state) {
  (void)state;
  static struct disk d;
  memset(&d, 0, sizeof(d));
  struct sd_queue *q = sd_queue_new(&ops);
  push(q, 7, true);
  struct sd_queue_item *i = sd_queue_pop_back(q);
  assert_int_equal(commit(q, &d), 1);
  ends(q); /* a crash */
  q = resume(&d);
  assert_int_equal(sd_queue_len(q), 1);
  i = take_back(q, &d, 1);
  assert_int_equal(id_of(i), 7);
  sd_queue_done(q, i);
  assert_int_equal(d.len, 1);
  assert_int_equal(commit(q, &d), 1);
  assert_int_equal(d.len, 0);
  ends(q);
}

static void an_item_that_is_not_ready_is_kept_out_of_commits(void **state) {
  (void)state;
  static struct disk d;
  memset(&d, 0, sizeof(d));
  struct sd_queue *q = sd_queue_new(&ops);
  struct sd_queue_item *i = push(q, 1, false);
  assert_int_equal(commit(q, &d), 0);
  sd_queue_ready(q, i);
  sd_queue_ready(q, i);
  assert_int_equal(commit(q, &d), 1);
  assert_int_equal(commit(q, &d), 0);
  assert_int_equal(*row(&d, 0), 1);
  ends(q);
}

static void a_returned_item_has_its_place_again(void **state) {
  (void)state;
  struct sd_queue *q = sd_queue_new(&ops);
  struct sd_queue_item *out[5];
  for (int i = 0; i < 5; i++) push(q, i + 1, true);
  for (int i = 0; i < 5; i++) out[i] = sd_queue_pop_front(q);
  assert_ptr_equal(sd_queue_find_lease(q, out[3]->seq), out[3]);
  static const int order[] = {2, 0, 4, 1, 3};
  for (int i = 0; i < 5; i++) sd_queue_return(q, out[order[i]]);
  assert_null(sd_queue_find_lease(q, out[3]->seq));
  for (int i = 0; i < 5; i++) assert_int_equal(id_of(sd_queue_pop_front(q)), i + 1);
  ends(q);
}

/* Item 5 is done, but its row is deleted by the next commit only: what is evicted around it must
 * not bring it back. */
static void an_evicted_range_does_not_bring_back_what_is_done(void **state) {
  (void)state;
  static struct disk d;
  memset(&d, 0, sizeof(d));
  struct sd_queue *q = sd_queue_new(&ops);
  struct sd_queue_item *out[10];
  for (int i = 0; i < 10; i++) push(q, i + 1, true);
  commit(q, &d);
  for (int i = 9; i >= 4; i--) out[i] = sd_queue_pop_back(q);
  for (int i = 5; i < 10; i++) sd_queue_return(q, out[i]);
  sd_queue_done(q, out[4]);
  sd_queue_evict(q, 0);
  assert_int_equal(sd_queue_len(q), 9);
  for (int id = 10; id >= 1; id--) {
    if (id == 5) continue;
    struct sd_queue_item *i = take_back(q, &d, 3);
    assert_non_null(i);
    assert_int_equal(id_of(i), id);
    sd_queue_done(q, i);
  }
  assert_int_equal(sd_queue_len(q), 0);
  commit(q, &d);
  assert_int_equal(d.len, 0);
  ends(q);
}

/* The first item came from the disk and goes back while the rest is there still. */
static void an_item_returned_before_those_on_the_disk_is_the_first_again(void **state) {
  (void)state;
  static struct disk d;
  memset(&d, 0, sizeof(d));
  struct sd_queue *q = sd_queue_new(&ops);
  for (int i = 0; i < 10; i++) push(q, i + 1, true);
  commit(q, &d);
  sd_queue_evict(q, 2);
  sd_queue_return(q, take_front(q, &d));
  sd_queue_evict(q, 0);
  assert_int_equal(sd_queue_len(q), 10);
  for (int id = 1; id <= 10; id++) {
    struct sd_queue_item *i = take_front(q, &d);
    assert_non_null(i);
    assert_int_equal(id_of(i), id);
  }
  ends(q);
}

static void evicting_keeps_those_nearest_to_the_back_in_memory(void **state) {
  (void)state;
  static struct disk d;
  memset(&d, 0, sizeof(d));
  struct sd_queue *q = sd_queue_new(&ops);
  for (int i = 1; i <= 1000; i++) push(q, 7 * i + 1, true);
  sd_queue_evict(q, 10);
  assert_int_equal(live, 1000); /* nothing is written yet */
  commit(q, &d);
  sd_queue_evict(q, 10);
  assert_int_equal(live, 10);
  assert_int_equal(sd_queue_len(q), 1000);
  assert_null(sd_queue_front(q));
  assert_int_equal(id_of(sd_queue_back(q)), 7 * 1000 + 1);
  for (int n = 1000; n >= 1; n--) {
    struct sd_queue_item *i = take_back(q, &d, 64);
    assert_int_equal(id_of(i), 7 * n + 1);
    sd_queue_done(q, i);
  }
  ends(q);
}

/* Two of them: before the first that is forgotten, and in the middle, where the range ends. */
static void what_is_pinned_stays_in_memory_and_in_order(void **state) {
  (void)state;
  static struct disk d;
  memset(&d, 0, sizeof(d));
  struct sd_queue *q = sd_queue_new(&ops);
  for (int i = 6; i <= 20; i++) push(q, i == 6 ? 70 : i, true);
  commit(q, &d);
  const struct sd_queue_item *first = sd_queue_first(q);
  sd_queue_evict(q, 0);
  assert_int_equal(live, 2 + 7); /* 70, 7; from 14 on: all between was forgotten */
  assert_ptr_equal(sd_queue_first(q), first);
  sd_queue_evict(q, 0);
  assert_int_equal(live, 2 + 7);
  for (int i = 20; i >= 6; i--) {
    struct sd_queue_item *out = take_back(q, &d, 4);
    assert_int_equal(id_of(out), i == 6 ? 70 : i);
    sd_queue_done(q, out);
  }
  commit(q, &d);
  assert_int_equal(d.len, 0);
  ends(q);
}

/* In the square of their number it would take minutes. */
static void many_leases_end_in_time(void **state) {
  (void)state;
  enum { N = 200000 };
  struct sd_queue *q = sd_queue_new(&ops);
  for (int i = 0; i < N; i++) push(q, i + 1, true);
  for (int i = 0; i < N; i++) assert_non_null(sd_queue_pop_front(q));
  int64_t start = sd_clock_mono();
  for (int64_t seq = 0; seq < N; seq++) sd_queue_done(q, sd_queue_find_lease(q, seq));
  assert_true(sd_clock_mono() - start < INT64_C(5) * SD_NS_PER_S);
  assert_int_equal(sd_queue_leased(q), 0);
  ends(q);
}

/* ---- against the model ---- */

enum { WAITING, LEASED };

struct model_item {
  int64_t id, seq;
  int place;
  bool ready, stored;         /* stored: a commit has taken it */
  struct sd_queue_item *item; /* valid while leased, or while not ready */
};

enum { MODEL_MAX = 256 };

struct model {
  struct model_item items[MODEL_MAX];
  size_t len;
  struct sd_queue *q;
  struct disk disk;
  int64_t last_id;
  uint64_t rng;
};

static void model_remove(struct model *m, struct model_item *i) {
  *i = m->items[--m->len];
}

static struct model_item *end_of_model(struct model *m, bool back) {
  struct model_item *best = NULL;
  for (size_t i = 0; i < m->len; i++) {
    struct model_item *x = &m->items[i];
    if (x->place != WAITING) continue;
    if (!best || (back ? x->seq > best->seq : x->seq < best->seq)) best = x;
  }
  return best;
}

/* Any item in `place`, ready or not as asked (-1: either). */
static struct model_item *any(struct model *m, int place, int ready) {
  size_t start = m->len ? rng_below(&m->rng, (uint32_t)m->len) : 0;
  for (size_t n = 0; n < m->len; n++) {
    struct model_item *x = &m->items[(start + n) % m->len];
    if (x->place == place && (ready < 0 || x->ready == ready)) return x;
  }
  return NULL;
}

static size_t count(const struct model *m, int place) {
  size_t n = 0;
  for (size_t i = 0; i < m->len; i++) n += m->items[i].place == place;
  return n;
}

static void step_push(struct model *m, bool front) {
  if (m->len == MODEL_MAX) return;
  struct model_item *x = &m->items[m->len++];
  bool ready = rng_below(&m->rng, 3) != 0;
  int64_t *obj = new_id(++m->last_id);
  struct sd_queue_item *i =
      front ? sd_queue_push_front(m->q, obj, ready) : sd_queue_push_back(m->q, obj, ready);
  assert_non_null(i);
  *x = (struct model_item){.id = *obj, .seq = i->seq, .ready = ready, .item = i};
  for (size_t k = 0; k + 1 < m->len; k++) assert_int_not_equal(m->items[k].seq, i->seq);
}

static void step_pop(struct model *m, bool back) {
  struct model_item *want = end_of_model(m, back);
  struct sd_queue_item *i =
      back ? take_back(m->q, &m->disk, 1 + rng_below(&m->rng, 4)) : take_front(m->q, &m->disk);
  if (!want) {
    assert_null(i);
    return;
  }
  assert_non_null(i);
  assert_int_equal(id_of(i), want->id);
  assert_int_equal(i->seq, want->seq);
  want->place = LEASED;
  want->item = i;
}

static void step_lease(struct model *m, bool done) {
  struct model_item *x = any(m, LEASED, -1);
  if (!x) return;
  if (done) {
    sd_queue_done(m->q, x->item);
    model_remove(m, x);
  } else {
    sd_queue_return(m->q, x->item);
    x->place = WAITING;
  }
}

static void step_ready(struct model *m) {
  struct model_item *x = any(m, (int)rng_below(&m->rng, 2), false);
  if (!x) return;
  sd_queue_ready(m->q, x->item);
  x->ready = true;
}

/* What is promised of every commit: the disk has exactly what is ready and not done. */
static void step_commit(struct model *m) {
  size_t n = 0;
  commit(m->q, &m->disk);
  for (size_t i = 0; i < m->len; i++) {
    struct model_item *x = &m->items[i];
    if (x->ready) x->stored = true;
    n += x->ready;
    assert_int_equal(*row(&m->disk, x->seq), x->ready ? x->id : 0);
  }
  assert_int_equal(m->disk.len, n);
}

/* The process dies: what the last commit wrote waits again, nothing else is left. */
static void step_crash(struct model *m) {
  sd_queue_free(m->q);
  assert_int_equal(live, 0);
  m->len = 0;
  for (int64_t seq = -ZERO; seq < ZERO; seq++)
    if (*row(&m->disk, seq))
      m->items[m->len++] =
          (struct model_item){.id = *row(&m->disk, seq), .seq = seq, .ready = true, .stored = true};
  m->q = resume(&m->disk);
}

static void step(struct model *m) {
  switch (rng_below(&m->rng, 16)) {
    case 0:
    case 1:
    case 2:
    case 3: step_push(m, false); break;
    case 4: step_push(m, true); break;
    case 5:
    case 6: step_pop(m, true); break;
    case 7:
    case 8: step_pop(m, false); break;
    case 9:
    case 10: step_lease(m, true); break;
    case 11: step_lease(m, false); break;
    case 12: step_ready(m); break;
    case 13: step_commit(m); break;
    case 14: sd_queue_evict(m->q, rng_below(&m->rng, 8)); break;
    default:
      if (rng_below(&m->rng, 20) == 0) step_crash(m);
  }
  assert_int_equal(sd_queue_len(m->q), count(m, WAITING));
  assert_int_equal(sd_queue_leased(m->q), count(m, LEASED));
}

static void any_history_leaves_the_disk_that_the_model_has(void **state) {
  (void)state;
  static struct model m;
  uint64_t rng = test_seed();
  for (int history = 0; history < 300; history++) {
    memset(&m, 0, sizeof(m));
    m.rng = rng_next(&rng);
    m.q = sd_queue_new(&ops);
    for (int i = 0; i < 1000; i++) step(&m);
    step_commit(&m);
    step_crash(&m);
    while (m.len) { /* everything that is left comes out once */
      step_pop(&m, rng_below(&m.rng, 2));
      step_lease(&m, true);
    }
    step_commit(&m);
    assert_int_equal(m.disk.len, 0);
    ends(m.q);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(items_come_in_order_from_either_end),
      cmocka_unit_test(an_item_that_comes_and_goes_between_commits_is_never_written),
      cmocka_unit_test(a_commit_costs_what_changed),
      cmocka_unit_test(a_leased_item_stays_in_the_checkpoint_until_it_is_done),
      cmocka_unit_test(an_item_that_is_not_ready_is_kept_out_of_commits),
      cmocka_unit_test(a_returned_item_has_its_place_again),
      cmocka_unit_test(an_evicted_range_does_not_bring_back_what_is_done),
      cmocka_unit_test(an_item_returned_before_those_on_the_disk_is_the_first_again),
      cmocka_unit_test(evicting_keeps_those_nearest_to_the_back_in_memory),
      cmocka_unit_test(many_leases_end_in_time),
      cmocka_unit_test(what_is_pinned_stays_in_memory_and_in_order),
      cmocka_unit_test(any_history_leaves_the_disk_that_the_model_has),
  };
  return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
