/* control.h - the control socket of a library: its server in the runner, and connections.
 *
 * A Unix stream socket in the library's directory that only the owner may use. It carries messages
 * that end with a newline; what they say is not known here.
 *
 * Messages are pulled. sd_conn_next() gives one or sees to it that on_ready is called, and nothing
 * is read from a peer whose last message nobody has taken. So a peer that sends more than is
 * handled waits itself, and memory is bounded. What is sent to a peer that does not read is kept up
 * to a limit; then the connection ends.
 *
 * Owner:  the caller owns server, dials and connections, and closes each of them before the loop;
 *         a connection also after it has ended. Callbacks may close anything.
 * Thread: the loop's thread. Callbacks come from the loop, never from inside a call.
 * Errors: 0 or a negative code with *err filled. */
#ifndef SD_LOOP_CONTROL_H
#define SD_LOOP_CONTROL_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/frame.h"
#include "loop/loop.h"

#define SD_CONTROL_NAME "library.sock" /* in the library's directory */

/* All limits of the control socket; the module sd.core.control shows them to lua/sd/rpc.lua. */
enum {
  /* Connections of a server at once: a descriptor each, of the 1024 that a process often has. */
  SD_CONTROL_CLIENTS = 128,
  /* Bytes of a message to the runner. A job's arguments are small, and somebody must parse it. */
  SD_CONTROL_REQUEST_MAX = 1 << 20,
  /* Bytes of a message from the runner, which clients trust more: a listing of many jobs. */
  SD_CONTROL_ANSWER_MAX = 4 << 20,
  /* Bytes that one peer leaves unread, then its connection ends: two answers of full size. */
  SD_CONTROL_PENDING_MAX = 8 << 20,
  /* The same of all clients together; then the connection ends that has most of them. */
  SD_CONTROL_PENDING_ALL = 32 << 20,
  /* From so many unread bytes on a client is behind, and progress is not sent to it. */
  SD_CONTROL_BEHIND = 64 << 10,
  /* Messages a second that are taken from one client, and how many at once after a rest. One that
   * sends more waits. An empty method costs 20 us, so most of the loop's thread is left to jobs. */
  SD_CONTROL_RATE = 10000,
  SD_CONTROL_BURST = 1000,
  /* A long message counts once more for each so many bytes: it costs 60 ns a byte to parse. */
  SD_CONTROL_RATE_BYTES = 512,
  /* Until the first message of a client must be complete. After that it may be silent for ever:
   * it may be waiting for a job of days. */
  SD_CONTROL_FIRST_MS = 10000,
  /* Requests of one client that run at once; the next one is read when one has ended. */
  SD_CONTROL_REQUESTS = 32,
  /* Notifications that a client's library keeps for whoever iterates over them. */
  SD_CONTROL_NOTIFICATIONS = 256,
  /* Until a client gives up to find a listening runner, which may be starting. */
  SD_CONTROL_DIAL_MS = 5000,
};

struct sd_conn;

/* ---- the server ---- */

struct sd_control;

struct sd_control_opts {
  const char *dir; /* the library's directory; its path may have any length */
  void (*on_open)(struct sd_conn *c, void *ud); /* c is the callee's from then on */
  void *ud;
  const char *refusal; /* a message for who comes when there are too many; NULL: closed without */
  unsigned clients;    /* 0: SD_CONTROL_CLIENTS */
  unsigned first_ms;   /* 0: SD_CONTROL_FIRST_MS */
  bool background;     /* server and connections do not keep the loop running */
};

/* Listens in `dir`. The caller holds the library's lock: so a socket that nobody listens at is a
 * dead runner's, and is replaced. -EADDRINUSE where somebody does listen, -EEXIST where something
 * else has the socket's name. */
int sd_control_listen(struct sd_loop *l, const struct sd_control_opts *opts,
                      struct sd_control **out, struct sd_err *err);

/* Removes the socket. Connections stay their owners'. Accepts NULL. */
void sd_control_close(struct sd_control *s);

unsigned sd_control_clients(const struct sd_control *s);

/* ---- a client on its way to the server ---- */

struct sd_dial;

struct sd_dial_opts {
  const char *dir;
  unsigned timeout_ms; /* how long it is tried again where nobody listens; 0: once */
  /* Called once; then the dial is over and must not be closed. c is the callee's, or NULL: see
   * err. -ENOENT, -ECONNREFUSED: nobody listens; -ETIMEDOUT: it takes no connections;
   * -EPERM: it is another user's. */
  void (*on_done)(struct sd_conn *c, const struct sd_err *err, void *ud);
  void *ud;
};

int sd_dial_open(struct sd_loop *l, const struct sd_dial_opts *opts, struct sd_dial **out,
                 struct sd_err *err);
void sd_dial_close(struct sd_dial *d); /* on_done is not called; accepts NULL */

/* ---- a connection ---- */

struct sd_conn_ops {
  void (*on_ready)(struct sd_conn *c, void *ud);   /* sd_conn_next() has something to say */
  void (*on_drained)(struct sd_conn *c, void *ud); /* so has sd_conn_drain() */
};

/* To be called before the loop goes on. */
void sd_conn_set(struct sd_conn *c, const struct sd_conn_ops *ops, void *ud);
void sd_conn_close(struct sd_conn *c); /* unread bytes are lost; accepts NULL */

struct sd_conn_peer {
  pid_t pid;
  uid_t uid;
};

const struct sd_conn_peer *sd_conn_peer(const struct sd_conn *c);

enum {
  SD_CONN_WAIT,    /* nothing yet: on_ready will be called */
  SD_CONN_MESSAGE, /* *out; good until the next call, or until the connection is closed */
  SD_CONN_END,     /* the peer has sent its last; it may still read what it is sent */
};

/* One of the above, or a negative code: -EMSGSIZE a message was too long, SD_EFORMAT the last one
 * was cut short, -ETIMEDOUT the first one did not come, -ENOBUFS the peer did not read, -EPIPE it
 * is gone and has not read all. */
int sd_conn_next(struct sd_conn *c, struct sd_frame_text *out, struct sd_err *err);

/* Sends a message without a newline in it; what the peer does not take now is kept for it.
 * -EMSGSIZE: too long, nothing was sent. -EPIPE: the peer is gone. -ENOBUFS: it left too much
 * unread, and the connection has ended. */
int sd_conn_send(struct sd_conn *c, const char *text, size_t len, struct sd_err *err);

/* Bytes that the peer has not taken; *gone: nothing can be sent any more. NULL is allowed. */
size_t sd_conn_pending(const struct sd_conn *c, bool *gone);

/* 1: the peer has taken everything. 0: not yet, on_drained will be called. Else as send. */
int sd_conn_drain(struct sd_conn *c, struct sd_err *err);

#endif
