/* The control socket: who may come, what a peer can do wrong, and that nobody else notices.
 *
 * Server and clients live in one thread. Clients are plain sockets where they misbehave, so that
 * what they do is known to the byte. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "loop/control.h"

enum { PEERS = 256, LINE_MAX_LEN = SD_CONTROL_ANSWER_MAX + 16, TICK_MS = 5, LATE_MS = 30000 };

struct fixture;

struct peer { /* the server's view of a connection */
  struct fixture *f;
  struct sd_conn *c; /* NULL: closed */
  int messages, drained;
  size_t last_len;
  int end; /* SD_CONN_END or a negative code; 0: it has not ended */
};

struct fixture {
  char *path; /* first: *state is read as a string by at() */
  void *temp;
  struct sd_loop *loop;
  struct sd_control *server;
  struct peer peers[PEERS];
  int peers_len;
  bool silent; /* what comes is not sent back */
  bool keep;   /* a connection that has ended is not closed */
  bool close_at_once, close_server_at_open;
  uv_timer_t tick;
  int64_t late_at;
  int turns; /* of the loop */
};

/* ---- the server ---- */

static void on_ready(struct sd_conn *c, void *ud) {
  struct peer *p = ud;
  struct sd_frame_text text;
  struct sd_err err = {0};
  int rc;
  assert_ptr_equal(p->c, c);
  while ((rc = sd_conn_next(c, &text, &err)) == SD_CONN_MESSAGE) {
    p->messages++;
    p->last_len = text.len;
    if (!p->f->silent) sd_conn_send(c, text.data, text.len, &err);
  }
  if (rc == SD_CONN_WAIT) return;
  assert_true(rc == SD_CONN_END || (rc == err.code && err.msg[0]));
  p->end = rc;
  if (p->f->keep) return;
  sd_conn_close(c);
  p->c = NULL;
}

static void on_drained(struct sd_conn *c, void *ud) {
  struct peer *p = ud;
  assert_ptr_equal(p->c, c);
  p->drained++;
}

static void on_nothing(struct sd_conn *c, void *ud) {
  (void)c, (void)ud;
}

static const struct sd_conn_ops ops = {.on_ready = on_ready, .on_drained = on_drained};

static void on_open(struct sd_conn *c, void *ud) {
  struct fixture *f = ud;
  assert_true(f->peers_len < PEERS);
  struct peer *p = &f->peers[f->peers_len++];
  *p = (struct peer){.f = f, .c = c};
  sd_conn_set(c, &ops, p);
  if (f->close_at_once) {
    sd_conn_close(c);
    p->c = NULL;
  }
  if (f->close_server_at_open) {
    sd_control_close(f->server);
    f->server = NULL;
  }
}

static int try_listen(struct fixture *f, const char *dir, struct sd_control_opts opts,
                      struct sd_err *err) {
  opts.dir = dir;
  opts.on_open = on_open;
  opts.ud = f;
  opts.background = true; /* the tick runs the loop */
  return sd_control_listen(f->loop, &opts, &f->server, err);
}

static void start(struct fixture *f) {
  struct sd_err err;
  assert_ok(try_listen(f, f->path, (struct sd_control_opts){0}, &err), &err);
}

/* ---- the fixture ---- */

static void on_tick(uv_timer_t *t) {
  (void)t;
}

static int setup(void **state) {
  struct sd_err err;
  struct fixture *f = calloc(1, sizeof(*f));
  if (!f || temp_setup(&f->temp) || sd_loop_open(&f->loop, &err)) return -1;
  f->path = f->temp;
  uv_timer_init(sd_loop_uv(f->loop), &f->tick);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < f->peers_len; i++) sd_conn_close(f->peers[i].c);
  sd_control_close(f->server);
  sd_loop_close(f->loop);
  int rc = temp_teardown(&f->temp);
  free(f);
  return rc;
}

static void turn(struct fixture *f) {
  uv_run(sd_loop_uv(f->loop), UV_RUN_ONCE);
  f->turns++;
  if (sd_clock_mono() > f->late_at) fail_msg("%s", "what was waited for did not happen");
}

static void begin(struct fixture *f) {
  f->late_at = sd_clock_mono() + (int64_t)LATE_MS * SD_NS_PER_MS;
  uv_timer_start(&f->tick, on_tick, TICK_MS, TICK_MS);
}

/* Turns the loop until something holds. */
#define until(f, cond) \
  for (begin(f); !(cond);) turn(f)

static void turn_for(struct fixture *f, int ms) {
  int64_t end = sd_clock_mono() + (int64_t)ms * SD_NS_PER_MS;
  until(f, sd_clock_mono() >= end);
}

/* ---- clients that are plain sockets ---- */

static struct sockaddr_un address(const char *dir) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/" SD_CONTROL_NAME, dir);
  assert_true(n > 0 && (size_t)n < sizeof(a.sun_path));
  return a;
}

static int new_socket(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  assert_true(fd >= 0);
  return fd;
}

static int plain(struct fixture *f) {
  int fd = new_socket();
  struct sockaddr_un a = address(f->path);
  if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) fail_msg("connect: %s", strerror(errno));
  return fd;
}

/* A connection and the server's view of it. */
static struct peer *meet(struct fixture *f, int *fd) {
  int before = f->peers_len;
  *fd = plain(f);
  until(f, f->peers_len > before);
  return &f->peers[before];
}

static void say_bytes(struct fixture *f, int fd, const char *p, size_t n) {
  size_t at = 0;
  while (at < n) {
    ssize_t got = send(fd, p + at, n - at, MSG_NOSIGNAL);
    if (got > 0) at += (size_t)got;
    else if (errno != EAGAIN) return; /* it was closed, which is the test's affair */
    else turn_for(f, 1);
  }
}

static void say(struct fixture *f, int fd, const char *text) {
  say_bytes(f, fd, text, strlen(text));
}

/* What the peer has sent so far, up to `most` bytes; -1: it has closed. */
static ssize_t hear_some(int fd, char *buf, size_t most) {
  ssize_t n = recv(fd, buf, most, 0);
  if (n > 0) return n;
  return n == 0 || errno == ECONNRESET ? -1 : 0;
}

/* The next line, without its newline; the length, or -1 where it is closed. */
static ssize_t hear(struct fixture *f, int fd, char **line) {
  static char buf[LINE_MAX_LEN];
  size_t n = 0;
  *line = buf;
  begin(f);
  for (;;) {
    ssize_t got = hear_some(fd, buf + n, 1); /* byte by byte: the rest stays where it is */
    if (got < 0) return -1;
    if (got == 0) {
      turn(f);
      continue;
    }
    if (buf[n] == '\n') break;
    n++;
  }
  buf[n] = '\0';
  return (ssize_t)n;
}

static void expect(struct fixture *f, int fd, const char *text) {
  char *line;
  ssize_t n = hear(f, fd, &line);
  assert_true(n >= 0);
  assert_string_equal(line, text);
}

static void expect_end(struct fixture *f, int fd) {
  char c;
  ssize_t n;
  until(f, (n = hear_some(fd, &c, 1)) != 0);
  assert_int_equal(n, -1);
}

/* That the server still serves others. */
static void expect_service(struct fixture *f) {
  int fd;
  bool silent = f->silent;
  f->silent = false;
  meet(f, &fd);
  say(f, fd, "are you there?\n");
  expect(f, fd, "are you there?");
  close(fd);
  f->silent = silent;
}

/* `n` bytes and a newline. */
static char *long_line(size_t n) {
  char *p = malloc(n + 2);
  assert_non_null(p);
  memset(p, 'x', n);
  memcpy(p + n, "\n", 2);
  return p;
}

/* ---- messages ---- */

static void messages_come_whole_however_they_are_cut(void **state) {
  struct fixture *f = *state;
  int fd;
  start(f);
  struct peer *p = meet(f, &fd);
  say(f, fd, "one\ntwo\n\nfo");
  expect(f, fd, "one");
  expect(f, fd, "two");
  expect(f, fd, "");
  for (const char *c = "ur\nfive\n"; *c; c++) {
    say_bytes(f, fd, c, 1);
    turn_for(f, 1);
  }
  expect(f, fd, "four");
  expect(f, fd, "five");
  assert_int_equal(p->messages, 5);
  close(fd);
  until(f, p->end);
  assert_int_equal(p->end, SD_CONN_END);
}

/* Random bytes, cut at random: the server sees the lines that stand between the newlines. */
static void garbage_is_messages_like_any_other(void **state) {
  struct fixture *f = *state;
  uint64_t seed = test_seed();
  char bytes[300];
  int fd, lines = 0;
  start(f);
  f->silent = true;
  struct peer *p = meet(f, &fd);
  say(f, fd, "\n");
  for (int i = 0; i < 2000; i++) {
    size_t n = rng_below(&seed, sizeof(bytes));
    for (size_t k = 0; k < n; k++) {
      bytes[k] = (char)rng_next(&seed);
      lines += bytes[k] == '\n';
    }
    say_bytes(f, fd, bytes, n);
    if (i % 50 == 0) turn_for(f, 1);
  }
  until(f, p->messages == lines + 1);
  expect_service(f);
  close(fd);
  until(f, p->end);
  assert_true(p->end == SD_CONN_END || p->end == SD_EFORMAT);
}

static void a_request_may_have_a_mebibyte(void **state) {
  struct fixture *f = *state;
  int fd;
  start(f);
  f->silent = true;
  struct peer *p = meet(f, &fd);
  char *line = long_line(SD_CONTROL_REQUEST_MAX);
  say(f, fd, line);
  until(f, p->messages == 1);
  assert_int_equal(p->last_len, SD_CONTROL_REQUEST_MAX);
  say(f, fd, "short\n");
  until(f, p->messages == 2);
  free(line);
  close(fd);
}

/* The end comes while the message is still on its way, and an answer may still be sent. */
static void a_longer_one_ends_the_connection(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int fd;
  start(f);
  f->silent = f->keep = true;
  struct peer *p = meet(f, &fd);
  say(f, fd, "first\n");
  char *line = long_line(SD_CONTROL_REQUEST_MAX + 1);
  say_bytes(f, fd, line, SD_CONTROL_REQUEST_MAX + 1); /* no newline */
  until(f, p->end);
  assert_int_equal(p->end, -EMSGSIZE);
  assert_int_equal(p->messages, 1);
  assert_ok(sd_conn_send(p->c, "too long", 8, &err), &err);
  expect(f, fd, "too long");
  sd_conn_close(p->c);
  p->c = NULL;
  expect_end(f, fd);
  expect_service(f);
  free(line);
  close(fd);
}

static void a_message_that_is_too_long_to_send_is_not_begun(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int fd;
  start(f);
  struct peer *p = meet(f, &fd);
  char *line = long_line(SD_CONTROL_ANSWER_MAX + 1);
  assert_int_equal(sd_conn_send(p->c, line, SD_CONTROL_ANSWER_MAX + 1, &err), -EMSGSIZE);
  assert_ok(sd_conn_send(p->c, "short", 5, &err), &err);
  expect(f, fd, "short");
  free(line);
  close(fd);
}

static void what_came_before_a_message_was_cut_off_is_good(void **state) {
  struct fixture *f = *state;
  int fd;
  start(f);
  f->silent = true;
  struct peer *p = meet(f, &fd);
  say(f, fd, "one\ntwo\nthr");
  close(fd);
  until(f, p->end);
  assert_int_equal(p->end, SD_EFORMAT);
  assert_int_equal(p->messages, 2);
  expect_service(f);
}

/* `echo ... | socat - UNIX:...` ends its side before the answer comes. */
static void a_peer_that_ended_its_side_still_gets_answers(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  bool gone;
  int fd;
  start(f);
  f->keep = true;
  struct peer *p = meet(f, &fd);
  say(f, fd, "one\n");
  assert_int_equal(shutdown(fd, SHUT_WR), 0);
  until(f, p->end);
  assert_int_equal(p->end, SD_CONN_END);
  assert_int_equal(sd_conn_pending(p->c, &gone), 0);
  assert_false(gone);
  assert_ok(sd_conn_send(p->c, "late", 4, &err), &err);
  expect(f, fd, "one");
  expect(f, fd, "late");
  close(fd);
  turn_for(f, 20);
  assert_int_equal(sd_conn_send(p->c, "x", 1, &err), -EPIPE);
}

static void a_peer_that_closed_is_gone(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  bool gone;
  int fd;
  start(f);
  f->keep = true;
  struct peer *p = meet(f, &fd);
  close(fd);
  until(f, p->end);
  assert_int_equal(p->end, SD_CONN_END);
  assert_int_equal(sd_conn_pending(p->c, &gone), 0);
  assert_true(gone);
  assert_int_equal(sd_conn_send(p->c, "x", 1, &err), -EPIPE);
  assert_int_equal(sd_conn_drain(p->c, &err), -EPIPE);
}

/* ---- many, slow, fast ---- */

static void a_hundred_clients_are_served_at_once(void **state) {
  struct fixture *f = *state;
  enum { CLIENTS = 100, ROUNDS = 10 };
  int fd[CLIENTS];
  char text[64];
  start(f);
  for (int i = 0; i < CLIENTS; i++) fd[i] = plain(f);
  until(f, f->peers_len == CLIENTS);
  assert_int_equal(sd_control_clients(f->server), CLIENTS);
  for (int k = 0; k < ROUNDS; k++) {
    for (int i = 0; i < CLIENTS; i++) {
      snprintf(text, sizeof(text), "client %d, round %d\n", i, k);
      say(f, fd[i], text);
    }
    for (int i = CLIENTS - 1; i >= 0; i--) {
      snprintf(text, sizeof(text), "client %d, round %d", i, k);
      expect(f, fd[i], text);
    }
  }
  for (int i = 0; i < CLIENTS; i++) close(fd[i]);
  until(f, sd_control_clients(f->server) == 0);
}

static void one_too_many_is_told_so_and_closed(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int fd[2], other;
  assert_ok(try_listen(f, f->path, (struct sd_control_opts){.clients = 2, .refusal = "full"}, &err),
            &err);
  for (int i = 0; i < 2; i++) meet(f, &fd[i]);
  other = plain(f);
  expect(f, other, "full");
  expect_end(f, other);
  close(other);
  assert_int_equal(f->peers_len, 2);
  close(fd[0]);
  until(f, sd_control_clients(f->server) == 1);
  expect_service(f);
  close(fd[1]);
}

static void a_client_that_says_nothing_is_closed_after_a_while(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int mute, slow, good;
  assert_ok(try_listen(f, f->path, (struct sd_control_opts){.first_ms = 200}, &err), &err);
  f->silent = true;
  struct peer *m = meet(f, &mute), *s = meet(f, &slow), *g = meet(f, &good);
  say(f, good, "hello\n");
  for (int i = 0; i < 100 && !s->end; i++) { /* a byte now and then does not help */
    say(f, slow, "x");
    turn_for(f, 10);
  }
  until(f, m->end && s->end);
  assert_int_equal(m->end, -ETIMEDOUT);
  assert_int_equal(s->end, -ETIMEDOUT);
  expect_end(f, mute);
  turn_for(f, 300);
  assert_int_equal(g->end, 0); /* once it has spoken it may be silent */
  say(f, good, "still here\n");
  until(f, g->messages == 2);
  close(mute);
  close(slow);
  close(good);
}

/* The loop stood still for longer than the limit; the message came in time. */
static void a_first_message_that_lay_there_is_in_time(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int fd;
  assert_ok(try_listen(f, f->path, (struct sd_control_opts){.first_ms = 50}, &err), &err);
  struct peer *p = meet(f, &fd);
  say(f, fd, "hello\n");
  usleep(100000);
  expect(f, fd, "hello");
  assert_int_equal(p->end, 0);
  close(fd);
}

static void a_client_that_never_reads_is_cut_off(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  bool gone = false;
  int fd, rc = 0;
  size_t most = 0, sent = 0, len = 100000;
  start(f);
  f->keep = true;
  struct peer *p = meet(f, &fd);
  char *line = long_line(len);
  say(f, fd, "subscribe\n");
  until(f, p->messages == 1);
  assert_ok(sd_conn_send(p->c, line, len, &err), &err);
  while (sd_conn_drain(p->c, &err)) sd_conn_send(p->c, line, len, &err);
  while (!rc && sent < 4u * SD_CONTROL_PENDING_MAX) {
    rc = sd_conn_send(p->c, line, len, &err);
    sent += len;
    if (sd_conn_pending(p->c, &gone) > most) most = sd_conn_pending(p->c, NULL);
  }
  assert_int_equal(rc, -ENOBUFS);
  assert_true(most > SD_CONTROL_PENDING_MAX - 2 * len && most <= SD_CONTROL_PENDING_MAX);
  assert_int_equal(sd_conn_pending(p->c, &gone), 0);
  assert_true(gone);
  until(f, p->end);
  assert_int_equal(p->end, -ENOBUFS);
  until(f, p->drained); /* who waits for it to read is told too */
  assert_int_equal(sd_conn_drain(p->c, &err), -ENOBUFS);
  expect_service(f);
  free(line);
  close(fd);
}

/* Also where nobody waits for its messages. */
static void who_waits_for_a_peer_to_read_is_told_of_its_end(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int fd, rc = 0;
  start(f);
  struct peer *p = meet(f, &fd);
  sd_conn_set(p->c, &(const struct sd_conn_ops){on_nothing, on_drained}, p);
  say(f, fd, "hello\n");
  turn_for(f, 20);
  char *line = long_line(1000000);
  for (int i = 0; i < 5; i++) assert_ok(sd_conn_send(p->c, line, 1000000, &err), &err);
  assert_int_equal(sd_conn_drain(p->c, &err), 0);
  turn_for(f, 20);
  assert_int_equal(p->drained, 0);
  while (!rc) rc = sd_conn_send(p->c, line, 1000000, &err);
  assert_int_equal(rc, -ENOBUFS);
  assert_int_equal(p->drained, 0); /* not from inside */
  until(f, p->drained);
  free(line);
  close(fd);
}

/* Six clients that do not read may keep 8 MiB each, and not 48 together. */
static void all_that_is_unread_together_is_bounded(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  enum { CLIENTS = 6 };
  int fd[CLIENTS];
  size_t all = 0, most = 0, len = 1000000;
  start(f);
  f->keep = true;
  char *line = long_line(len);
  for (int i = 0; i < CLIENTS; i++) meet(f, &fd[i]);
  for (int k = 0; k < 8; k++) {
    for (int i = 0; i < CLIENTS; i++) sd_conn_send(f->peers[i].c, line, len, &err);
    all = 0;
    for (int i = 0; i < CLIENTS; i++) all += sd_conn_pending(f->peers[i].c, NULL);
    if (all > most) most = all;
  }
  assert_true(most <= SD_CONTROL_PENDING_ALL);
  assert_true(most > SD_CONTROL_PENDING_ALL / 2);
  turn_for(f, 20);
  int cut = 0;
  for (int i = 0; i < CLIENTS; i++) cut += f->peers[i].end == -ENOBUFS;
  assert_true(cut >= 1 && cut < CLIENTS);
  expect_service(f);
  free(line);
  for (int i = 0; i < CLIENTS; i++) close(fd[i]);
}

static void what_a_slow_client_left_comes_in_order(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  char text[64], *line;
  int fd, n = 0;
  start(f);
  struct peer *p = meet(f, &fd);
  assert_int_equal(sd_conn_drain(p->c, &err), 1);
  while (sd_conn_pending(p->c, NULL) < 3 * SD_CONTROL_BEHIND) {
    int len = snprintf(text, sizeof(text), "update %d", n++);
    assert_ok(sd_conn_send(p->c, text, (size_t)len, &err), &err);
  }
  assert_int_equal(sd_conn_drain(p->c, &err), 0);
  turn_for(f, 20);
  assert_int_equal(p->drained, 0);
  for (int i = 0; i < n; i++) {
    snprintf(text, sizeof(text), "update %d", i);
    expect(f, fd, text);
  }
  until(f, p->drained);
  assert_int_equal(p->drained, 1);
  assert_int_equal(sd_conn_pending(p->c, NULL), 0);
  assert_int_equal(sd_conn_drain(p->c, &err), 1);
  assert_ok(sd_conn_send(p->c, "end", 3, &err), &err);
  assert_int_equal(hear(f, fd, &line), 3);
  close(fd);
}

/* Two clients send as fast as they may: the one with many messages is slowed down, the other does
 * not wait for it. */
static void a_flood_is_slowed_down_and_others_do_not_notice(void **state) {
  struct fixture *f = *state;
  enum { LINES = 6000 };
  int flood, other;
  char *lines = malloc(2 * LINES);
  assert_non_null(lines);
  for (int i = 0; i < LINES; i++) memcpy(lines + 2 * i, "x\n", 2);
  start(f);
  f->silent = true;
  struct peer *p = meet(f, &flood), *o = meet(f, &other);
  int64_t began = sd_clock_mono();
  say_bytes(f, flood, lines, 2 * LINES);
  say(f, other, "me\n");
  until(f, o->messages == 1);
  assert_true(p->messages <= SD_CONTROL_BURST + 100);
  until(f, p->messages == LINES);
  double seconds = (double)(sd_clock_mono() - began) / SD_NS_PER_S;
  double least = (double)(LINES - SD_CONTROL_BURST) / SD_CONTROL_RATE;
  assert_true(seconds >= 0.9 * least);
  assert_int_equal(p->end, 0);
  free(lines);
  close(flood);
  close(other);
}

/* Nobody takes its messages, so nothing is read, and it waits in its own send(). */
static void a_client_nobody_listens_to_waits_itself(void **state) {
  struct fixture *f = *state;
  struct sd_frame_text text;
  struct sd_err err;
  int fd;
  start(f);
  struct peer *p = meet(f, &fd);
  sd_conn_set(p->c, &(const struct sd_conn_ops){on_nothing, on_drained}, p);
  char *line = long_line(1000);
  size_t sent = 0;
  for (int idle = 0; idle < 20;) {
    ssize_t n = send(fd, line, 1001, MSG_NOSIGNAL);
    if (n > 0) sent += (size_t)n;
    idle = n > 0 ? 0 : idle + 1;
    turn_for(f, 1);
  }
  assert_true(sent < 4 << 20); /* what the socket holds, and one read */
  assert_int_equal(sd_conn_next(p->c, &text, &err), SD_CONN_MESSAGE);
  assert_int_equal(text.len, 1000);
  free(line);
  close(fd);
}

/* ---- closing in the middle ---- */

static void a_connection_may_be_closed_as_it_opens(void **state) {
  struct fixture *f = *state;
  int fd;
  start(f);
  f->close_at_once = true;
  meet(f, &fd);
  expect_end(f, fd);
  close(fd);
  f->close_at_once = false;
  expect_service(f);
}

static void connections_outlive_their_server(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int fd, waiting;
  start(f);
  f->close_server_at_open = true;
  fd = plain(f);
  waiting = plain(f);
  until(f, f->peers_len == 1);
  assert_null(f->server);
  assert_int_equal(access(at(f->path, SD_CONTROL_NAME), F_OK), -1);
  say(f, fd, "still there?\n");
  expect(f, fd, "still there?");
  expect_end(f, waiting);
  close(fd);
  close(waiting);
  until(f, f->peers[0].end);
  f->close_server_at_open = false;
  assert_ok(try_listen(f, f->path, (struct sd_control_opts){0}, &err), &err);
  expect_service(f);
}

/* ---- the socket's file ---- */

static mode_t mode_of(const char *path) {
  struct stat st;
  assert_int_equal(lstat(path, &st), 0);
  assert_true(S_ISSOCK(st.st_mode));
  return st.st_mode & 07777;
}

static void the_socket_is_its_owners_whatever_the_umask(void **state) {
  struct fixture *f = *state;
  static const mode_t masks[] = {0, 022, 077, 0277, 0777};
  for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
    mode_t before = umask(masks[i]);
    start(f);
    umask(before);
    assert_int_equal(mode_of(at(f->path, SD_CONTROL_NAME)), 0600);
    sd_control_close(f->server);
    f->server = NULL;
    assert_int_equal(access(at(f->path, SD_CONTROL_NAME), F_OK), -1);
  }
}

/* Without the means to set it afterwards. */
static void listen_without_chmod(void *ud) {
  struct sd_loop *loop;
  struct sd_control *server;
  struct sd_err err;
  struct stat st;
  const struct sd_control_opts o = {.dir = ud, .on_open = on_open};
  deny_syscall(SYS_fchmodat, EPERM);
  umask(0);
  check(sd_loop_open(&loop, &err) == 0);
  check(sd_control_listen(loop, &o, &server, &err) == 0);
  check(lstat(at(ud, SD_CONTROL_NAME), &st) == 0 && (st.st_mode & 07777) == 0600);
  sd_control_close(server);
  sd_loop_close(loop);
}

static void the_mode_holds_from_the_first_moment(void **state) {
  struct fixture *f = *state;
  assert_int_equal(in_child(0, listen_without_chmod, f->path), 0);
}

static int bound_socket(const char *dir) {
  int fd = new_socket();
  struct sockaddr_un a = address(dir);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
  return fd;
}

static void a_dead_runners_socket_is_replaced(void **state) {
  struct fixture *f = *state;
  close(bound_socket(f->path));
  start(f);
  assert_int_equal(mode_of(at(f->path, SD_CONTROL_NAME)), 0600);
  expect_service(f);
}

static void a_socket_that_somebody_listens_at_is_left_alone(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int fd = bound_socket(f->path);
  assert_int_equal(listen(fd, 1), 0);
  assert_int_equal(try_listen(f, f->path, (struct sd_control_opts){0}, &err), -EADDRINUSE);
  assert_non_null(strstr(err.msg, "another process"));
  for (int i = 0; i < 2; i++) /* also where its backlog is full */
    assert_int_equal(try_listen(f, f->path, (struct sd_control_opts){0}, &err), -EADDRINUSE);
  assert_int_equal(access(at(f->path, SD_CONTROL_NAME), F_OK), 0);
  close(fd);
}

static void what_is_no_socket_is_left_alone(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  const char *name = at(f->path, SD_CONTROL_NAME);
  put_file(name, "mine", 4);
  assert_int_equal(try_listen(f, f->path, (struct sd_control_opts){0}, &err), -EEXIST);
  struct sd_buf left = read_file(name);
  assert_int_equal(left.len, 4);
  sd_buf_fini(&left);
  assert_int_equal(unlink(name), 0);
  assert_int_equal(symlink("elsewhere", name), 0);
  assert_int_equal(try_listen(f, f->path, (struct sd_control_opts){0}, &err), -EEXIST);
  assert_int_equal(unlink(name), 0);
  assert_int_equal(try_listen(f, at(f->path, "none"), (struct sd_control_opts){0}, &err), -ENOENT);
}

static void closing_removes_only_its_own_socket(void **state) {
  struct fixture *f = *state;
  const char *name = at(f->path, SD_CONTROL_NAME);
  start(f);
  assert_int_equal(unlink(name), 0);
  put_file(name, "mine", 4);
  sd_control_close(f->server);
  f->server = NULL;
  assert_int_equal(access(name, F_OK), 0);
}

/* ---- a client that is a connection too ---- */

struct client {
  struct sd_dial *dial;
  struct sd_conn *c;
  struct sd_err err;
  int done, ready;
};

static void client_ready(struct sd_conn *c, void *ud) {
  (void)c;
  ((struct client *)ud)->ready++;
}

static void client_done(struct sd_conn *c, const struct sd_err *err, void *ud) {
  static const struct sd_conn_ops client_ops = {client_ready, client_ready};
  struct client *k = ud;
  k->done++;
  k->dial = NULL;
  k->c = c;
  if (c) sd_conn_set(c, &client_ops, k);
  else k->err = *err;
}

static void dial(struct fixture *f, struct client *k, const char *dir, unsigned timeout_ms) {
  struct sd_err err;
  const struct sd_dial_opts o = {
      .dir = dir, .timeout_ms = timeout_ms, .on_done = client_done, .ud = k};
  *k = (struct client){0};
  assert_ok(sd_dial_open(f->loop, &o, &k->dial, &err), &err);
  assert_int_equal(k->done, 0);
}

static void exchange(struct fixture *f, struct client *k, const char *text) {
  struct sd_frame_text got;
  struct sd_err err;
  int rc;
  assert_ok(sd_conn_send(k->c, text, strlen(text), &err), &err);
  until(f, (rc = sd_conn_next(k->c, &got, &err)) != SD_CONN_WAIT);
  assert_int_equal(rc, SD_CONN_MESSAGE);
  assert_int_equal(got.len, strlen(text));
  assert_memory_equal(got.data, text, got.len);
}

static void a_client_speaks_with_the_server(void **state) {
  struct fixture *f = *state;
  struct client k;
  start(f);
  dial(f, &k, f->path, 0);
  until(f, k.done);
  assert_non_null(k.c);
  exchange(f, &k, "hello");
  exchange(f, &k, "");
  char *line = long_line(SD_CONTROL_REQUEST_MAX);
  line[SD_CONTROL_REQUEST_MAX] = '\0';
  exchange(f, &k, line);
  free(line);
  assert_int_equal(sd_conn_peer(k.c)->uid, geteuid());
  assert_int_equal(sd_conn_peer(k.c)->pid, getpid());
  sd_conn_close(f->peers[0].c);
  f->peers[0].c = NULL;
  struct sd_frame_text got;
  struct sd_err err;
  int rc;
  until(f, (rc = sd_conn_next(k.c, &got, &err)) != SD_CONN_WAIT);
  assert_int_equal(rc, SD_CONN_END);
  sd_conn_close(k.c);
}

static void a_path_may_be_longer_than_an_address(void **state) {
  struct fixture *f = *state;
  struct client k;
  struct sd_err err;
  char dir[2000];
  snprintf(dir, sizeof(dir), "%s", f->path);
  for (int i = 0; i < 7; i++) {
    size_t n = strlen(dir);
    snprintf(dir + n, sizeof(dir) - n, "/%0200d", i);
    make_dir(dir);
  }
  assert_ok(try_listen(f, dir, (struct sd_control_opts){0}, &err), &err);
  assert_int_equal(mode_of(at(dir, SD_CONTROL_NAME)), 0600);
  dial(f, &k, dir, 0);
  until(f, k.done);
  assert_non_null(k.c);
  exchange(f, &k, "far away");
  sd_conn_close(k.c);
  sd_control_close(f->server);
  f->server = NULL;
  assert_int_equal(access(at(dir, SD_CONTROL_NAME), F_OK), -1);
}

/* Lengths around the 107 bytes of an address. */
static void every_length_of_a_path_will_do(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  for (size_t len = strlen(f->path) + 2; len < 125; len++) {
    struct client k;
    char dir[200];
    snprintf(dir, sizeof(dir), "%s/%0*d", f->path, (int)(len - strlen(f->path) - 1), 0);
    make_dir(dir);
    assert_ok(try_listen(f, dir, (struct sd_control_opts){0}, &err), &err);
    assert_int_equal(mode_of(at(dir, SD_CONTROL_NAME)), 0600);
    dial(f, &k, dir, 0);
    until(f, k.done);
    assert_non_null(k.c);
    sd_conn_close(k.c);
    sd_control_close(f->server);
    f->server = NULL;
  }
}

static void a_client_waits_for_a_runner_that_starts(void **state) {
  struct fixture *f = *state;
  struct client k;
  for (int stale = 0; stale < 2; stale++) {
    if (stale) close(bound_socket(f->path));
    dial(f, &k, f->path, 10000);
    turn_for(f, 100);
    assert_int_equal(k.done, 0);
    start(f);
    until(f, k.done);
    assert_non_null(k.c);
    exchange(f, &k, "at last");
    sd_conn_close(k.c);
    sd_control_close(f->server);
    f->server = NULL;
  }
}

static void a_client_gives_up_where_nobody_listens(void **state) {
  struct fixture *f = *state;
  struct client k;
  dial(f, &k, f->path, 0);
  until(f, k.done);
  assert_null(k.c);
  assert_int_equal(k.err.code, -ENOENT);
  assert_non_null(strstr(k.err.msg, SD_CONTROL_NAME));
  int64_t began = sd_clock_mono();
  close(bound_socket(f->path));
  dial(f, &k, f->path, 150);
  until(f, k.done);
  assert_int_equal(k.err.code, -ECONNREFUSED);
  assert_true(sd_clock_mono() - began >= 140LL * SD_NS_PER_MS);
  dial(f, &k, at(f->path, "none"), 10000); /* not there at all: no reason to wait */
  until(f, k.done);
  assert_int_equal(k.err.code, -ENOENT);
  assert_int_equal(k.done, 1);
}

static void a_client_gives_up_where_nobody_takes_connections(void **state) {
  struct fixture *f = *state;
  struct client k;
  int fd = bound_socket(f->path), waiting = new_socket();
  struct sockaddr_un a = address(f->path);
  assert_int_equal(listen(fd, 0), 0);
  assert_int_equal(connect(waiting, (struct sockaddr *)&a, sizeof(a)), 0);
  dial(f, &k, f->path, 100);
  until(f, k.done);
  assert_null(k.c);
  assert_int_equal(k.err.code, -ETIMEDOUT);
  close(waiting);
  close(fd);
}

static void a_dial_may_be_given_up(void **state) {
  struct fixture *f = *state;
  struct client k;
  dial(f, &k, f->path, 10000);
  turn_for(f, 20);
  sd_dial_close(k.dial);
  sd_dial_close(NULL);
  start(f);
  turn_for(f, 100);
  assert_int_equal(k.done, 0);
  assert_int_equal(f->peers_len, 0);
}

/* ---- who may come ---- */

struct stranger {
  int fd;
  struct sockaddr_un addr;
};

static void connect_as_stranger(void *ud) {
  struct stranger *s = ud;
  check(connect(s->fd, (struct sockaddr *)&s->addr, sizeof(s->addr)) == 0);
}

static void fail_to_connect(void *ud) {
  struct stranger *s = ud;
  check(connect(s->fd, (struct sockaddr *)&s->addr, sizeof(s->addr)) == -1 && errno == EACCES);
}

/* The socket is made here and connected there, so that the peer is the other user and the test
 * still has the descriptor. */
static void another_user_is_turned_away(void **state) {
  struct fixture *f = *state;
  if (geteuid() != 0) skip_because("only root can be somebody else");
  start(f);
  struct stranger s = {.fd = new_socket(), .addr = address(f->path)};
  assert_int_equal(in_child(NOBODY, fail_to_connect, &s), 0); /* by the mode */
  assert_int_equal(chmod(at(f->path, SD_CONTROL_NAME), 0666), 0);
  assert_int_equal(in_child(NOBODY, connect_as_stranger, &s), 0);
  say(f, s.fd, "let me in\n");
  expect_end(f, s.fd); /* by who it is */
  assert_int_equal(f->peers_len, 0);
  close(s.fd);
  expect_service(f);
}

static void listen_as_stranger(void *ud) {
  struct stranger *s = ud;
  check(bind(s->fd, (struct sockaddr *)&s->addr, sizeof(s->addr)) == 0);
  check(listen(s->fd, 5) == 0);
}

struct visit {
  struct fixture *f;
  unsigned uid;
  int code;
};

/* A whole client in the child. */
static void dial_there(void *ud) {
  struct visit *v = ud;
  struct client k = {0};
  struct sd_err err;
  struct sd_loop *loop;
  const struct sd_dial_opts o = {.dir = v->f->path, .on_done = client_done, .ud = &k};
  check(sd_loop_open(&loop, &err) == 0);
  check(sd_dial_open(loop, &o, &k.dial, &err) == 0);
  while (!k.done) uv_run(sd_loop_uv(loop), UV_RUN_ONCE);
  check(k.err.code == v->code);
  check((k.c != NULL) == (v->code == 0));
  sd_conn_close(k.c);
  sd_loop_close(loop);
}

/* Who sits at the library's socket must be its owner or root. */
static void another_users_runner_is_not_trusted(void **state) {
  struct fixture *f = *state;
  if (geteuid() != 0) skip_because("only root can be somebody else");
  assert_int_equal(chmod(f->path, 0777), 0);
  struct stranger s = {.fd = new_socket(), .addr = address(f->path)};
  assert_int_equal(in_child(NOBODY, listen_as_stranger, &s), 0);
  assert_int_equal(chmod(at(f->path, SD_CONTROL_NAME), 0666), 0);
  struct visit v = {.f = f, .code = -EPERM};
  assert_int_equal(in_child(NOBODY - 1, dial_there, &v), 0);
  v.code = 0;
  assert_int_equal(in_child(NOBODY, dial_there, &v), 0);
  assert_int_equal(in_child(0, dial_there, &v), 0); /* root may ask everybody */
  close(s.fd);
}

/* ---- no descriptors left ---- */

/* That the loop sleeps, and turns hardly more often than its tick wakes it. */
static void expect_rest(struct fixture *f, int ms) {
  int before = f->turns;
  turn_for(f, ms);
  assert_true(f->turns - before < 2 * ms / TICK_MS);
}

/* Accepting fails, and must not be tried again and again; the client waits and is served later. */
static void without_descriptors_clients_wait_and_nothing_spins(void **state) {
  struct fixture *f = *state;
  struct rlimit lim, low;
  int fill[64], fd, n = 0;
  start(f);
  fd = plain(f);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
  low = lim;
  low.rlim_cur = 64;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
  while (n < 64 && (fill[n] = dup(fd)) >= 0) n++;
  assert_int_equal(errno, EMFILE);
  say(f, fd, "when you can\n");
  expect_rest(f, 400);
  assert_int_equal(f->peers_len, 0);
  while (n > 0) close(fill[--n]);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
  expect(f, fd, "when you can");
  close(fd);
}

/* Ended, not read, closed by the peer, half closed: none of it may keep the loop busy. */
static void connections_in_every_state_cost_no_time(void **state) {
  struct fixture *f = *state;
  struct sd_err err;
  int fd[5];
  start(f);
  f->keep = true;
  for (int i = 0; i < 5; i++) {
    struct peer *p = meet(f, &fd[i]);
    say(f, fd[i], "hello\n");
    expect(f, fd[i], "hello");
    if (i == 4) sd_conn_set(p->c, &(const struct sd_conn_ops){on_nothing, on_drained}, p);
  }
  say(f, fd[0], "cut of");
  close(fd[0]);
  shutdown(fd[1], SHUT_WR);
  char *line = long_line(1000000);
  sd_conn_send(f->peers[2].c, line, 1000000, &err); /* never read */
  sd_conn_send(f->peers[3].c, line, 1000000, &err);
  close(fd[3]); /* with unread bytes: an error at the other end */
  say(f, fd[4], "nobody takes this\n");
  turn_for(f, 50);
  say(f, fd[4], "and nobody reads this\n");
  expect_rest(f, 300);
  free(line);
  close(fd[1]);
  close(fd[2]);
  close(fd[4]);
}

static void give_up(uv_timer_t *t) {
  *(bool *)t->data = true;
  uv_stop(t->loop);
}

static void a_server_in_the_background_does_not_keep_the_loop(void **state) {
  struct fixture *f = *state;
  bool gave_up = false;
  int fd;
  start(f);
  meet(f, &fd);
  say(f, fd, "hello\n");
  expect(f, fd, "hello");
  uv_timer_stop(&f->tick);
  uv_timer_t timer;
  uv_timer_init(sd_loop_uv(f->loop), &timer);
  timer.data = &gave_up;
  uv_timer_start(&timer, give_up, 5000, 0);
  uv_unref((uv_handle_t *)&timer);
  sd_loop_run(f->loop);
  assert_false(gave_up);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(sd_loop_uv(f->loop), UV_RUN_NOWAIT);
  close(fd);
}

/* The first loop of a process opens descriptors that stay open. */
static int open_a_first_loop(void **state) {
  struct sd_loop *loop;
  struct sd_err err;
  (void)state;
  int rc = sd_loop_open(&loop, &err);
  if (!rc) sd_loop_close(loop);
  return rc;
}

int main(void) {
#define control_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
  const struct CMUnitTest tests[] = {
      control_test(messages_come_whole_however_they_are_cut),
      control_test(garbage_is_messages_like_any_other),
      control_test(a_request_may_have_a_mebibyte),
      control_test(a_longer_one_ends_the_connection),
      control_test(a_message_that_is_too_long_to_send_is_not_begun),
      control_test(what_came_before_a_message_was_cut_off_is_good),
      control_test(a_peer_that_ended_its_side_still_gets_answers),
      control_test(a_peer_that_closed_is_gone),
      control_test(a_hundred_clients_are_served_at_once),
      control_test(one_too_many_is_told_so_and_closed),
      control_test(a_client_that_says_nothing_is_closed_after_a_while),
      control_test(a_first_message_that_lay_there_is_in_time),
      control_test(a_client_that_never_reads_is_cut_off),
      control_test(who_waits_for_a_peer_to_read_is_told_of_its_end),
      control_test(all_that_is_unread_together_is_bounded),
      control_test(what_a_slow_client_left_comes_in_order),
      control_test(a_flood_is_slowed_down_and_others_do_not_notice),
      control_test(a_client_nobody_listens_to_waits_itself),
      control_test(a_connection_may_be_closed_as_it_opens),
      control_test(connections_outlive_their_server),
      control_test(the_socket_is_its_owners_whatever_the_umask),
      control_test(the_mode_holds_from_the_first_moment),
      control_test(a_dead_runners_socket_is_replaced),
      control_test(a_socket_that_somebody_listens_at_is_left_alone),
      control_test(what_is_no_socket_is_left_alone),
      control_test(closing_removes_only_its_own_socket),
      control_test(a_client_speaks_with_the_server),
      control_test(a_path_may_be_longer_than_an_address),
      control_test(every_length_of_a_path_will_do),
      control_test(a_client_waits_for_a_runner_that_starts),
      control_test(a_client_gives_up_where_nobody_listens),
      control_test(a_client_gives_up_where_nobody_takes_connections),
      control_test(a_dial_may_be_given_up),
      control_test(another_user_is_turned_away),
      control_test(another_users_runner_is_not_trusted),
      control_test(without_descriptors_clients_wait_and_nothing_spins),
      control_test(connections_in_every_state_cost_no_time),
      control_test(a_server_in_the_background_does_not_keep_the_loop),
  };
  return cmocka_run_group_tests_name("control", tests, open_a_first_loop, NULL);
}
