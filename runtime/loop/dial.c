#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/conn.h"
#include "loop/control.h"

enum { PAUSE_MS = 5, LONGEST_PAUSE_MS = 50 }; /* between two tries */

struct sd_dial {
  struct sd_loop *loop;
  struct sd_dial_opts opts; /* dir is a copy */
  uv_timer_t timer;
  uint64_t until, pause; /* ms */
};

/* Somebody else's process at our library's socket could tell us anything. Root may ask everybody,
 * and root's answers are true. */
static int check_peer(int fd, const char *dir, struct sd_err *err) {
  struct sd_conn_peer peer;
  int rc = sd_conn_peer_of(fd, &peer, err);
  if (rc || peer.uid == geteuid() || peer.uid == 0 || geteuid() == 0) return rc;
  return sd_err_set(err, -EPERM, "connect to %s/%s: it belongs to user %u", dir, SD_CONTROL_NAME,
                    (unsigned)peer.uid);
}

static int connect_in(int dirfd, const char *dir, struct sd_err *err) {
  struct sockaddr_un addr;
  int fd = sd_control_socket(err), rc = 0;
  if (fd < 0) return fd;
  sd_control_address(dirfd, dir, &addr);
  if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
    rc = sd_err_set(err, -errno, "connect to %s/%s: %s", dir, SD_CONTROL_NAME,
                    strerrordesc_np(errno));
  if (!rc) rc = check_peer(fd, dir, err);
  if (!rc) return fd;
  close(fd);
  return rc;
}

static int try_once(struct sd_dial *d, struct sd_conn **out, struct sd_err *err) {
  const struct sd_conn_setup setup = {.in_max = SD_CONTROL_ANSWER_MAX,
                                      .out_max = SD_CONTROL_REQUEST_MAX};
  int dirfd = open(d->opts.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dirfd < 0) {
    sd_err_os(err, "open", d->opts.dir);
    return -ENOTDIR; /* time does not help, whatever the reason */
  }
  int fd = connect_in(dirfd, d->opts.dir, err);
  close(dirfd);
  if (fd < 0) return fd;
  int rc = sd_conn_open(d->loop, fd, &setup, out, err);
  if (rc) close(fd);
  return rc;
}

/* A full backlog is EAGAIN at once, since the socket does not block. */
static bool may_change(int rc) {
  return rc == -ENOENT || rc == -ECONNREFUSED || rc == -EAGAIN;
}

static void release(uv_handle_t *h) {
  struct sd_dial *d = h->data;
  free((char *)d->opts.dir);
  free(d);
}

static void try_now(uv_timer_t *t) {
  struct sd_dial *d = t->data;
  struct sd_conn *c = NULL;
  struct sd_err err;
  int rc = try_once(d, &c, &err);
  if (rc && may_change(rc) && uv_now(t->loop) < d->until) {
    uv_timer_start(t, try_now, d->pause, 0);
    d->pause = d->pause < LONGEST_PAUSE_MS / 2 ? d->pause * 2 : LONGEST_PAUSE_MS;
    return;
  }
  if (rc == -EAGAIN)
    sd_err_set(&err, -ETIMEDOUT, "connect to %s/%s: it takes no connections", d->opts.dir,
               SD_CONTROL_NAME);
  uv_close((uv_handle_t *)t, release);
  d->opts.on_done(c, &err, d->opts.ud);
}

int sd_dial_open(struct sd_loop *l, const struct sd_dial_opts *opts, struct sd_dial **out,
                 struct sd_err *err) {
  struct sd_dial *d = calloc(1, sizeof(*d));
  char *dir = strdup(opts->dir);
  if (!d || !dir) {
    free(d);
    free(dir);
    return sd_err_nomem(err);
  }
  *d = (struct sd_dial){.loop = l, .opts = *opts, .pause = PAUSE_MS};
  d->opts.dir = dir;
  uv_timer_init(sd_loop_uv(l), &d->timer); /* cannot fail */
  d->timer.data = d;
  uv_update_time(sd_loop_uv(l));
  d->until = uv_now(sd_loop_uv(l)) + opts->timeout_ms;
  uv_timer_start(&d->timer, try_now, 0, 0);
  *out = d;
  return 0;
}

void sd_dial_close(struct sd_dial *d) {
  if (d) uv_close((uv_handle_t *)&d->timer, release);
}
