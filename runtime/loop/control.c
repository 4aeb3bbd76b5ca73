#include "loop/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop/conn.h"

enum {
  ACCEPTS = 16,   /* connections that are taken at once: then it is another socket's turn */
  PAUSE_MS = 100, /* until it is tried again where there is no descriptor for a connection */
};

struct sd_control {
  struct sd_loop *loop;
  struct sd_control_opts opts; /* dir is not kept, refusal is a copy with a newline */
  int dir_fd, fd;
  dev_t dev; /* of the socket's name, so that only that is removed */
  ino_t ino;
  uv_poll_t poll;
  uv_timer_t pause;
  unsigned handles;      /* not closed; the last one ends the struct */
  struct sd_conn *conns; /* that are not closed */
  unsigned conns_len;
  size_t pending; /* bytes that wait for all of them */
  bool closed;
};

/* ---- the socket and its name ---- */

int sd_control_socket(struct sd_err *err) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return fd >= 0 ? fd : sd_err_os(err, "make", "a socket");
}

/* An address has room for 107 bytes. Where that is too few the directory is named by its
 * descriptor, which needs /proc, but no change of the working directory. */
void sd_control_address(int dirfd, const char *dir, struct sockaddr_un *addr) {
  *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
  size_t size = sizeof(addr->sun_path), n = strlen(dir);
  if (n + sizeof("/" SD_CONTROL_NAME) <= size) {
    memcpy(addr->sun_path, dir, n);
    memcpy(addr->sun_path + n, "/" SD_CONTROL_NAME, sizeof("/" SD_CONTROL_NAME));
  } else {
    snprintf(addr->sun_path, size, "/proc/self/fd/%d/" SD_CONTROL_NAME, dirfd);
  }
}

static int name_error(struct sd_err *err, const char *what, const char *dir) {
  int en = errno;
  const char *why = strerrordesc_np(en);
  return sd_err_set(err, -en, "%s %s/%s: %s", what, dir, SD_CONTROL_NAME, why);
}

/* What has the name already: a dead runner's socket is removed, all else is an error. The lock of
 * the library is ours, so nobody takes the name meanwhile. */
static int clear_name(struct sd_control *s, const struct sockaddr_un *addr, struct sd_err *err) {
  struct stat st;
  const char *dir = s->opts.dir;
  if (fstatat(s->dir_fd, SD_CONTROL_NAME, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? 0 : name_error(err, "look at", dir);
  if (!S_ISSOCK(st.st_mode))
    return sd_err_set(err, -EEXIST, "%s/%s is there and is no socket", dir, SD_CONTROL_NAME);
  int fd = sd_control_socket(err);
  if (fd < 0) return fd;
  int en = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : errno;
  close(fd);
  if (en == 0 || en == EAGAIN)
    return sd_err_set(err, -EADDRINUSE, "another process listens at %s/%s", dir, SD_CONTROL_NAME);
  errno = en;
  if (en != ECONNREFUSED) return name_error(err, "connect to", dir);
  if (unlinkat(s->dir_fd, SD_CONTROL_NAME, 0) != 0) return name_error(err, "remove", dir);
  return 0;
}

/* The name is made with the mode that the socket has, so 0600 holds from the first moment, and no
 * umask is changed under other threads. A umask may have taken more away. Until listen() nobody
 * can connect. */
static int bind_name(struct sd_control *s, struct sd_err *err) {
  struct stat st;
  struct sockaddr_un addr;
  const char *dir = s->opts.dir;
  sd_control_address(s->dir_fd, dir, &addr);
  if (fchmod(s->fd, 0600) != 0) return name_error(err, "set the mode of", dir);
  int rc = bind(s->fd, (struct sockaddr *)&addr, sizeof(addr));
  if (rc != 0 && errno == EADDRINUSE) {
    if ((rc = clear_name(s, &addr, err))) return rc;
    rc = bind(s->fd, (struct sockaddr *)&addr, sizeof(addr));
  }
  if (rc != 0) return name_error(err, "bind", dir);
  if (fstatat(s->dir_fd, SD_CONTROL_NAME, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return name_error(err, "look at", dir);
  s->dev = st.st_dev;
  s->ino = st.st_ino;
  if ((st.st_mode & 07777) != 0600 && fchmodat(s->dir_fd, SD_CONTROL_NAME, 0600, 0) != 0)
    return name_error(err, "set the mode of", dir);
  return listen(s->fd, SD_CONTROL_CLIENTS) == 0 ? 0 : name_error(err, "listen at", dir);
}

static void remove_name(struct sd_control *s) {
  struct stat st;
  if (!s->ino || fstatat(s->dir_fd, SD_CONTROL_NAME, &st, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (st.st_dev == s->dev && st.st_ino == s->ino) unlinkat(s->dir_fd, SD_CONTROL_NAME, 0);
}

/* ---- clients ---- */

/* The owner, and root, who could do everything without asking. */
static bool is_trusted(int fd) {
  struct sd_conn_peer peer;
  return !sd_conn_peer_of(fd, &peer, NULL) && (peer.uid == geteuid() || peer.uid == 0);
}

static int add_client(struct sd_control *s, int fd) {
  struct sd_conn *c;
  const struct sd_conn_setup setup = {.in_max = SD_CONTROL_REQUEST_MAX,
                                      .out_max = SD_CONTROL_ANSWER_MAX,
                                      .first_ms = s->opts.first_ms,
                                      .limited = true,
                                      .background = s->opts.background,
                                      .server = s};
  int rc = sd_conn_open(s->loop, fd, &setup, &c, NULL);
  if (rc) return rc;
  *sd_conn_link(c) = s->conns;
  s->conns = c;
  s->conns_len++;
  s->opts.on_open(c, s->opts.ud);
  return 0;
}

/* Strangers learn nothing. Who comes when it is full is told so, if the socket takes it. */
static void take_client(struct sd_control *s, int fd) {
  if (!is_trusted(fd)) {
    close(fd);
    return;
  }
  if (s->conns_len < s->opts.clients) {
    if (add_client(s, fd)) close(fd);
    return;
  }
  if (s->opts.refusal)
    (void)!send(fd, s->opts.refusal, strlen(s->opts.refusal), MSG_NOSIGNAL | MSG_DONTWAIT);
  close(fd);
}

static void on_incoming(uv_poll_t *p, int status, int events);

/* Clients wait in the backlog meanwhile; to try at once would be a busy loop. */
static void go_on(uv_timer_t *t) {
  struct sd_control *s = t->data;
  uv_poll_start(&s->poll, UV_READABLE, on_incoming);
}

static void pause_accepting(struct sd_control *s) {
  uv_poll_stop(&s->poll);
  uv_timer_start(&s->pause, go_on, PAUSE_MS, 0);
}

static void on_incoming(uv_poll_t *p, int status, int events) {
  struct sd_control *s = p->data;
  (void)events;
  if (status < 0) pause_accepting(s);
  for (int i = 0; i < ACCEPTS && status >= 0 && !s->closed; i++) {
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      take_client(s, fd);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      pause_accepting(s); /* EMFILE, ENFILE, ENOMEM */
      return;
    }
  }
}

void sd_control_left(struct sd_control *s, struct sd_conn *c) {
  struct sd_conn **at = &s->conns;
  while (*at != c) at = sd_conn_link(*at);
  *at = *sd_conn_link(c);
  s->conns_len--;
}

void sd_control_pending(struct sd_control *s, ptrdiff_t more) {
  s->pending += (size_t)more;
}

static struct sd_conn *most_behind(struct sd_control *s) {
  struct sd_conn *most = s->conns;
  for (struct sd_conn *c = most; c; c = *sd_conn_link(c))
    if (sd_conn_pending(c, NULL) > sd_conn_pending(most, NULL)) most = c;
  return most;
}

void sd_control_relieve(struct sd_control *s) {
  while (s->pending > SD_CONTROL_PENDING_ALL) sd_conn_cut(most_behind(s), -ENOBUFS);
}

unsigned sd_control_clients(const struct sd_control *s) {
  return s->conns_len;
}

/* ---- opening, closing ---- */

static int copy_opts(struct sd_control *s, const struct sd_control_opts *opts, struct sd_err *err) {
  s->opts = *opts;
  s->opts.refusal = NULL;
  if (!opts->clients) s->opts.clients = SD_CONTROL_CLIENTS;
  if (!opts->first_ms) s->opts.first_ms = SD_CONTROL_FIRST_MS;
  if (!opts->refusal) return 0;
  char *line;
  if (asprintf(&line, "%s\n", opts->refusal) < 0) return sd_err_nomem(err);
  s->opts.refusal = line;
  return 0;
}

static int watch(struct sd_control *s, struct sd_err *err) {
  uv_loop_t *uv = sd_loop_uv(s->loop);
  int rc = uv_poll_init(uv, &s->poll, s->fd);
  if (rc) return sd_err_set(err, rc, "watch the control socket: %s", sd_err_text(rc));
  uv_timer_init(uv, &s->pause); /* cannot fail */
  s->poll.data = s->pause.data = s;
  s->handles = 2;
  if (s->opts.background) {
    uv_unref((uv_handle_t *)&s->poll);
    uv_unref((uv_handle_t *)&s->pause);
  }
  uv_poll_start(&s->poll, UV_READABLE, on_incoming);
  return 0;
}

static void release(struct sd_control *s) {
  free((char *)s->opts.refusal);
  free(s);
}

static void handle_closed(uv_handle_t *h) {
  struct sd_control *s = h->data;
  if (--s->handles == 0) release(s);
}

int sd_control_listen(struct sd_loop *l, const struct sd_control_opts *opts,
                      struct sd_control **out, struct sd_err *err) {
  struct sd_control *s = calloc(1, sizeof(*s));
  if (!s) return sd_err_nomem(err);
  s->loop = l;
  s->fd = s->dir_fd = -1;
  int rc = copy_opts(s, opts, err);
  if (rc) goto fail;
  s->dir_fd = open(opts->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (s->dir_fd < 0) {
    rc = sd_err_os(err, "open", opts->dir);
    goto fail;
  }
  rc = s->fd = sd_control_socket(err);
  if (rc < 0 || (rc = bind_name(s, err)) || (rc = watch(s, err))) goto fail;
  s->opts.dir = NULL;
  *out = s;
  return 0;
fail:
  sd_control_close(s);
  return rc;
}

void sd_control_close(struct sd_control *s) {
  if (!s) return;
  sd_verify(!s->closed);
  s->closed = true;
  for (struct sd_conn *c = s->conns; c; c = *sd_conn_link(c)) sd_conn_forget_server(c);
  remove_name(s); /* before nobody listens: who comes now finds no socket rather than a dead one */
  if (s->handles) {
    uv_close((uv_handle_t *)&s->poll, handle_closed);
    uv_close((uv_handle_t *)&s->pause, handle_closed);
  }
  if (s->fd >= 0) close(s->fd);
  if (s->dir_fd >= 0) close(s->dir_fd);
  if (!s->handles) release(s);
}
