/* libFuzzer target: a connection of the control socket whose peer does what the input says. What
 * the connection gives must be the lines that the peer wrote, and what the peer reads must be what
 * was sent; nothing else may happen, whatever the order.
 *
 * The input is a list of steps, one byte each: what is done, and how much of it. Bytes that the
 * peer writes come from the input too. */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IN_MAX = 40, OUT_MAX = 3000, LONGEST = 3100 };

struct run {
  struct sd_loop *loop;
  struct sd_conn *c; /* NULL: closed */
  int peer;          /* -1: closed */
  struct sd_buf written, sent;
  size_t given, heard; /* of them: came out of the connection; the peer has read */
  bool close_in_callback, ended;
};

/* The next line of what the peer wrote must be this one. */
static void expect_line(struct run *r, const struct sd_frame_text *text) {
  sd_verify(text->len <= IN_MAX);
  sd_verify(r->given + text->len < r->written.len);
  if (text->len) sd_verify(memcmp(r->written.data + r->given, text->data, text->len) == 0);
  sd_verify(r->written.data[r->given + text->len] == '\n');
  r->given += text->len + 1;
}

static void close_conn(struct run *r) {
  sd_conn_close(r->c);
  r->c = NULL;
}

static void take(struct run *r, int most) {
  struct sd_frame_text text;
  struct sd_err err = {0};
  int rc = SD_CONN_MESSAGE;
  for (int i = 0; r->c && i < most && rc == SD_CONN_MESSAGE; i++) {
    rc = sd_conn_next(r->c, &text, &err);
    sd_verify(!(r->ended && rc == SD_CONN_MESSAGE) && rc <= SD_CONN_END);
    if (rc == SD_CONN_MESSAGE) expect_line(r, &text);
    else if (rc != SD_CONN_WAIT) r->ended = true;
    if (rc < 0) sd_verify(rc == err.code && err.msg[0]);
  }
}

static void on_ready(struct sd_conn *c, void *ud) {
  struct run *r = ud;
  sd_verify(c == r->c);
  take(r, 2);
  if (r->close_in_callback) close_conn(r);
}

static void on_drained(struct sd_conn *c, void *ud) {
  struct run *r = ud;
  sd_verify(c == r->c && sd_conn_pending(c, NULL) == 0);
  if (r->close_in_callback) close_conn(r);
}

static void send_one(struct run *r, size_t len, uint8_t fill) {
  char text[LONGEST];
  struct sd_err err;
  bool gone;
  memset(text, fill == '\n' ? 'n' : fill, sizeof(text));
  int rc = sd_conn_send(r->c, text, len, &err);
  sd_verify(rc == 0 || rc == -EPIPE || rc == -ENOBUFS || (rc == -EMSGSIZE && len > OUT_MAX));
  sd_conn_pending(r->c, &gone);
  sd_verify(gone == (rc == -EPIPE || rc == -ENOBUFS));
  if (rc == -ENOBUFS) { /* the peer did not read: it was cut off, and stays so */
    sd_verify(r->sent.len - r->heard + len >= SD_CONTROL_PENDING_MAX || r->ended);
    r->ended = true;
  }
  if (rc) return;
  sd_verify(!sd_buf_put(&r->sent, text, len) && !sd_buf_put(&r->sent, "\n", 1));
}

static void peer_writes(struct run *r, const uint8_t *p, size_t n) {
  if (r->peer < 0 || n == 0) return;
  ssize_t put = send(r->peer, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (put > 0) sd_verify(!sd_buf_put(&r->written, p, (size_t)put));
}

static void peer_reads(struct run *r, size_t n) {
  uint8_t buf[65536];
  if (r->peer < 0) return;
  ssize_t got = recv(r->peer, buf, n < sizeof(buf) ? n : sizeof(buf), MSG_DONTWAIT);
  if (got <= 0) return;
  sd_verify(r->heard + (size_t)got <= r->sent.len);
  sd_verify(memcmp(r->sent.data + r->heard, buf, (size_t)got) == 0);
  r->heard += (size_t)got;
}

static void peer_closes(struct run *r) {
  if (r->peer >= 0) close(r->peer);
  r->peer = -1;
}

static void turn(struct run *r) {
  uv_run(sd_loop_uv(r->loop), UV_RUN_NOWAIT);
}

/* One step; how many bytes of the rest it used. */
static size_t step(struct run *r, uint8_t what, const uint8_t *rest, size_t left) {
  size_t amount = what >> 3, n = amount < left ? amount : left;
  switch (what & 7) {
    case 0: peer_writes(r, rest, n); return n;
    case 1: turn(r); break;
    case 2: take(r, (int)amount); break;
    case 3:
      for (size_t i = 0; r->c && i < amount; i++) send_one(r, 100 * amount, what);
      break;
    case 4: peer_reads(r, amount * 4000); break;
    case 5:
      if (r->c) sd_conn_drain(r->c, NULL);
      break;
    case 6:
      if (amount < 4) peer_closes(r);
      else if (amount < 8 && r->peer >= 0) shutdown(r->peer, SHUT_WR);
      else if (amount < 10 && r->c) close_conn(r);
      else if (amount == 10 && r->c) sd_conn_cut(r->c, -EPIPE), r->ended = true;
      break;
    default: r->close_in_callback = amount == 1; break;
  }
  return 0;
}

static void start(struct run *r, bool limited) {
  static const struct sd_conn_ops ops = {.on_ready = on_ready, .on_drained = on_drained};
  const struct sd_conn_setup setup = {
      .in_max = IN_MAX, .out_max = OUT_MAX, .limited = limited, .background = true};
  int fds[2], small = 1;
  struct sd_err err;
  sd_verify(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
  setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)); /* so that something waits */
  sd_verify(sd_conn_open(r->loop, fds[0], &setup, &r->c, &err) == 0);
  sd_conn_set(r->c, &ops, r);
  r->peer = fds[1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct sd_loop *loop; /* one for all: to make it takes longer than to use it */
  struct sd_err err;
  struct run r = {.peer = -1};
  if (size < 2) return 0;
  if (!loop) sd_verify(sd_loop_open(&loop, &err) == 0);
  r.loop = loop;
  start(&r, data[0] & 1);
  for (size_t i = 1; i < size; i++) i += step(&r, data[i], data + i + 1, size - i - 1);
  r.close_in_callback = false;
  for (int i = 0; i < 4; i++) {
    turn(&r);
    take(&r, 1000);
    peer_reads(&r, SIZE_MAX);
  }
  if (r.c) close_conn(&r);
  peer_closes(&r);
  turn(&r); /* handles end */
  sd_buf_fini(&r.written);
  sd_buf_fini(&r.sent);
  return 0;
}
