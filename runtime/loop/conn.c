#include "loop/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEEP = 256 * 1024 }; /* an empty buffer that is larger is given back */
static const uint64_t NEVER = UINT64_MAX;

struct sd_conn {
  struct sd_loop *loop;
  struct sd_conn_setup setup;
  struct sd_conn *next; /* the server's list */
  const struct sd_conn_ops *ops;
  void *ud;
  struct sd_conn_peer peer;
  int fd;
  uv_poll_t poll;
  uv_timer_t timer; /* the connection is to be looked at again */
  int events;       /* that `poll` waits for */
  uint64_t due;     /* when `timer` fires; NEVER: it does not */
  unsigned handles; /* not closed; the last one ends the struct */
  bool closed;

  struct sd_frame in;
  bool wanted;       /* on_ready is owed */
  bool ended;        /* nothing more is read; err says why, code 0: the peer has ended */
  struct sd_err err; /* of the end */
  uint64_t first_by; /* when the first message must be complete; NEVER: it was */
  int64_t tokens;    /* thousandths of messages that may be taken */
  uint64_t token_at; /* when they were counted */

  struct sd_buf out;
  size_t sent;   /* bytes of `out` that the peer has */
  int gone;      /* 0, or why nothing can be sent: a negative errno */
  bool draining; /* on_drained is owed */
};

int sd_conn_peer_of(int fd, struct sd_conn_peer *peer, struct sd_err *err) {
  struct ucred cred;
  socklen_t len = sizeof(cred);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
    return sd_err_os(err, "ask for the peer of", SD_CONTROL_NAME);
  *peer = (struct sd_conn_peer){.pid = cred.pid, .uid = cred.uid};
  return 0;
}

static uint64_t now(const struct sd_conn *c) {
  return uv_now(sd_loop_uv(c->loop));
}

/* ---- the rate ---- */

/* A bucket of tokens, a thousandth of a message each: RATE of them come in a millisecond. */
static bool may_take(struct sd_conn *c) {
  if (!c->setup.limited) return true;
  int64_t full = (int64_t)SD_CONTROL_BURST * 1000;
  uint64_t passed = now(c) - c->token_at;
  c->token_at += passed;
  if (passed > SD_CONTROL_BURST) passed = SD_CONTROL_BURST; /* ms; more than fills it */
  c->tokens += (int64_t)passed * SD_CONTROL_RATE;
  if (c->tokens > full) c->tokens = full;
  return c->tokens > 0;
}

/* A long message may be taken on credit; the next one waits the longer. */
static void spend(struct sd_conn *c, size_t len) {
  c->tokens -= 1000 * (1 + (int64_t)(len / SD_CONTROL_RATE_BYTES));
}

static uint64_t ms_until_more(const struct sd_conn *c) {
  return 1 + (uint64_t)(-c->tokens) / SD_CONTROL_RATE;
}

/* ---- how it ends ---- */

static void end(struct sd_conn *c) {
  c->ended = true;
  c->first_by = NEVER;
}

static void end_with(struct sd_conn *c, int code, const char *why) {
  if (c->ended) return;
  sd_err_set(&c->err, code, "%s", why);
  end(c);
}

/* Whether a message is there; sees one that is too long. */
static bool message_waits(struct sd_conn *c) {
  int rc = sd_frame_ready(&c->in);
  if (rc > 0) c->first_by = NEVER;
  if (rc < 0) end_with(c, rc, "a message is longer than is allowed");
  return rc > 0;
}

static size_t pending(const struct sd_conn *c) {
  return c->out.len - c->sent;
}

static void count_pending(struct sd_conn *c, ptrdiff_t more) {
  if (c->setup.server) sd_control_pending(c->setup.server, more);
}

static void drop_output(struct sd_conn *c) {
  count_pending(c, -(ptrdiff_t)pending(c));
  sd_buf_fini(&c->out);
  c->sent = 0;
}

/* Nothing can be sent any more. What the peer has sent before is still read. */
static void lose(struct sd_conn *c, int code) {
  if (!c->gone) c->gone = code;
  drop_output(c);
}

static const char *why_gone(int code) {
  if (code == -ENOBUFS) return "the peer does not read what it is sent";
  if (code == -ENOMEM) return "out of memory";
  return "the peer has closed the connection";
}

static int gone_error(const struct sd_conn *c, struct sd_err *err) {
  return sd_err_set(err, c->gone, "%s", why_gone(c->gone));
}

/* ---- what is waited for ---- */

static void on_poll(uv_poll_t *p, int status, int events);
static void on_timer(uv_timer_t *t);

static void set_events(struct sd_conn *c, int events) {
  if (events == c->events) return;
  c->events = events;
  if (events) uv_poll_start(&c->poll, events, on_poll);
  else uv_poll_stop(&c->poll);
}

static void set_due(struct sd_conn *c, uint64_t due) {
  if (due == c->due) return;
  c->due = due;
  if (due == NEVER) uv_timer_stop(&c->timer);
  else uv_timer_start(&c->timer, on_timer, due > now(c) ? due - now(c) : 0, 0);
}

static uint64_t next_due(struct sd_conn *c, bool waits) {
  if (c->draining && !pending(c)) return now(c);
  if (c->wanted && (waits ? may_take(c) : c->ended)) return now(c);
  if (c->wanted && waits) return now(c) + ms_until_more(c);
  return c->first_by;
}

/* After every change: handles follow the state. Reading that is not wanted goes on until bytes
 * come, since most often it is wanted again by then, and each change is a system call or two. */
static void update(struct sd_conn *c) {
  if (c->closed) return;
  bool waits = message_waits(c);
  int events = c->events & UV_READABLE;
  if (c->wanted && !waits) events |= UV_READABLE;
  if (c->ended) events = 0;
  if (pending(c)) events |= UV_WRITABLE;
  set_events(c, events);
  set_due(c, next_due(c, waits));
}

/* ---- bytes ---- */

/* A peer that has closed, and not only ended its side, reads no more either. */
static void hang_up(struct sd_conn *c) {
  struct pollfd p = {.fd = c->fd};
  if (poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR)) lose(c, -EPIPE);
  if (sd_frame_left(&c->in)) end_with(c, SD_EFORMAT, "the peer has ended within a message");
  else end(c);
}

static void receive(struct sd_conn *c) {
  ssize_t n;
  uint8_t *room = sd_frame_room(&c->in, SD_CONN_READ);
  if (!room) {
    end_with(c, -ENOMEM, "out of memory");
    return;
  }
  do n = recv(c->fd, room, SD_CONN_READ, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n > 0) {
    sd_frame_filled(&c->in, (size_t)n);
  } else if (n == 0) {
    hang_up(c);
  } else if (errno != EAGAIN) {
    lose(c, errno == ENOMEM ? -ENOMEM : -EPIPE); /* ECONNRESET: it left unread what we sent */
    end_with(c, c->gone, why_gone(c->gone));
  }
}

/* Bytes that the socket took of `iov`; 0 where it is full, or broken. */
static size_t put_out(struct sd_conn *c, struct iovec *iov, size_t len) {
  struct msghdr m = {.msg_iov = iov, .msg_iovlen = len};
  ssize_t n;
  do n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return (size_t)n;
  if (errno != EAGAIN) lose(c, errno == ENOMEM || errno == ENOBUFS ? -ENOMEM : -EPIPE);
  return 0;
}

static void taken(struct sd_conn *c, size_t n) {
  c->sent += n;
  count_pending(c, -(ptrdiff_t)n);
  if (pending(c)) return;
  c->sent = c->out.len = 0;
  if (c->out.cap > KEEP) sd_buf_fini(&c->out);
}

static void flush(struct sd_conn *c) {
  size_t n = 1;
  while (n && pending(c)) {
    struct iovec v = {.iov_base = c->out.data + c->sent, .iov_len = pending(c)};
    n = put_out(c, &v, 1);
    if (n) taken(c, n);
  }
}

/* ---- from the loop ---- */

static void look(struct sd_conn *c) {
  sd_verify(c->ops != NULL);
  bool waits = message_waits(c);
  if (now(c) >= c->first_by) end_with(c, -ETIMEDOUT, "the first message did not come in time");
  if (c->draining && !pending(c)) {
    c->draining = false;
    c->ops->on_drained(c, c->ud);
    waits = message_waits(c);
  }
  if (!c->closed && c->wanted && (waits ? may_take(c) : c->ended)) {
    c->wanted = false;
    c->ops->on_ready(c, c->ud);
  }
  update(c);
}

static void on_timer(uv_timer_t *t) {
  struct sd_conn *c = t->data;
  c->due = NEVER;
  /* The loop may have stood still, and the message lies there since long. */
  if (now(c) >= c->first_by && c->wanted && !c->ended) receive(c);
  look(c);
}

/* An error of the socket comes as a status, and has stopped `poll`; reading and sending say what
 * it is, after the bytes that came before it. */
static void on_poll(uv_poll_t *p, int status, int events) {
  struct sd_conn *c = p->data;
  if (status < 0) {
    c->events = 0;
    events = UV_READABLE | UV_WRITABLE;
  }
  if (events & UV_WRITABLE) flush(c);
  if (events & UV_READABLE) {
    if (c->wanted && !c->ended) receive(c);
    else set_events(c, c->events & ~UV_READABLE);
  }
  look(c);
}

/* ---- opening, closing ---- */

static int init_handles(struct sd_conn *c) {
  uv_loop_t *uv = sd_loop_uv(c->loop);
  int rc = uv_poll_init(uv, &c->poll, c->fd);
  if (rc) return rc;
  uv_timer_init(uv, &c->timer); /* cannot fail */
  c->poll.data = c->timer.data = c;
  c->handles = 2;
  if (!c->setup.background) return 0;
  uv_unref((uv_handle_t *)&c->poll);
  uv_unref((uv_handle_t *)&c->timer);
  return 0;
}

int sd_conn_open(struct sd_loop *l, int fd, const struct sd_conn_setup *setup, struct sd_conn **out,
                 struct sd_err *err) {
  struct sd_conn *c = calloc(1, sizeof(*c));
  if (!c) return sd_err_nomem(err);
  c->loop = l;
  c->setup = *setup;
  c->fd = fd;
  sd_frame_init(&c->in, setup->in_max);
  int rc = sd_conn_peer_of(fd, &c->peer, err);
  if (!rc && (rc = init_handles(c))) sd_err_set(err, rc, "watch a connection: %s", sd_err_text(rc));
  if (rc) {
    free(c);
    return rc;
  }
  c->wanted = true; /* the first message is read before anybody has asked for it */
  c->due = NEVER;
  c->token_at = now(c);
  c->tokens = (int64_t)SD_CONTROL_BURST * 1000;
  c->first_by = setup->first_ms ? now(c) + setup->first_ms : NEVER;
  update(c);
  *out = c;
  return 0;
}

static void handle_closed(uv_handle_t *h) {
  struct sd_conn *c = h->data;
  if (--c->handles == 0) free(c);
}

void sd_conn_close(struct sd_conn *c) {
  if (!c) return;
  sd_verify(!c->closed);
  c->closed = true;
  drop_output(c);
  sd_frame_fini(&c->in);
  if (c->setup.server) sd_control_left(c->setup.server, c);
  uv_close((uv_handle_t *)&c->poll, handle_closed);
  uv_close((uv_handle_t *)&c->timer, handle_closed);
  close(c->fd); /* nobody polls it any more */
}

void sd_conn_cut(struct sd_conn *c, int code) {
  lose(c, code);
  end_with(c, code, why_gone(code));
  sd_frame_fini(&c->in);
  update(c);
}

void sd_conn_forget_server(struct sd_conn *c) {
  c->setup.server = NULL;
}

struct sd_conn **sd_conn_link(struct sd_conn *c) {
  return &c->next;
}

void sd_conn_set(struct sd_conn *c, const struct sd_conn_ops *ops, void *ud) {
  c->ops = ops;
  c->ud = ud;
}

const struct sd_conn_peer *sd_conn_peer(const struct sd_conn *c) {
  return &c->peer;
}

/* ---- messages ---- */

int sd_conn_next(struct sd_conn *c, struct sd_frame_text *out, struct sd_err *err) {
  bool waits = message_waits(c);
  if (waits && may_take(c)) {
    sd_frame_next(&c->in, out);
    spend(c, out->len);
    return SD_CONN_MESSAGE;
  }
  if (!waits && c->ended) {
    if (!c->err.code) return SD_CONN_END;
    if (err) *err = c->err;
    return c->err.code;
  }
  c->wanted = true;
  update(c);
  return SD_CONN_WAIT;
}

/* Keeps what is left of `text` and its newline after `at` bytes of both. */
static void keep(struct sd_conn *c, const char *text, size_t len, size_t at) {
  size_t left = len + 1 - at, waiting = pending(c);
  if (waiting + left > SD_CONTROL_PENDING_MAX) {
    sd_conn_cut(c, -ENOBUFS);
    return;
  }
  if (c->sent > waiting) { /* so that all moves cost no more than what was sent */
    memmove(c->out.data, c->out.data + c->sent, waiting);
    c->out.len = waiting;
    c->sent = 0;
  }
  /* What is begun must be ended, or the peer would see another message. */
  if (sd_buf_reserve(&c->out, left)) {
    sd_conn_cut(c, -ENOMEM);
    return;
  }
  if (at < len) sd_buf_put(&c->out, text + at, len - at);
  sd_buf_put(&c->out, "\n", 1);
  count_pending(c, (ptrdiff_t)left);
  if (c->setup.server) sd_control_relieve(c->setup.server);
}

int sd_conn_send(struct sd_conn *c, const char *text, size_t len, struct sd_err *err) {
  sd_assert(!memchr(text, '\n', len));
  size_t at = 0, most = c->setup.out_max;
  if (c->gone) return gone_error(c, err);
  if (len > most)
    return sd_err_set(err, -EMSGSIZE, "a message of %zu bytes is longer than %zu", len, most);
  if (!pending(c)) {
    struct iovec v[] = {{.iov_base = (char *)text, .iov_len = len},
                        {.iov_base = "\n", .iov_len = 1}};
    at = put_out(c, v, 2);
  }
  if (!c->gone && at <= len) keep(c, text, len, at);
  update(c);
  return c->gone ? gone_error(c, err) : 0;
}

size_t sd_conn_pending(const struct sd_conn *c, bool *gone) {
  if (gone) *gone = c->gone != 0;
  return pending(c);
}

int sd_conn_drain(struct sd_conn *c, struct sd_err *err) {
  if (c->gone) return gone_error(c, err);
  if (!pending(c)) return 1;
  c->draining = true;
  update(c);
  return 0;
}
