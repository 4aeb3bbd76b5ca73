/* conn.h - what control.c, dial.c and conn.c tell each other. Not for others. */
#ifndef SD_LOOP_CONN_H
#define SD_LOOP_CONN_H

#include <sys/un.h>

#include "loop/control.h"

enum {
  SD_CONN_READ = 64 * 1024, /* bytes of one read: then it is another connection's turn */
};

struct sd_conn_setup {
  size_t in_max, out_max; /* bytes of a message */
  unsigned first_ms;      /* until the first message must be complete; 0: whenever */
  bool limited;           /* by rate */
  bool background;
  struct sd_control *server; /* told about bytes that wait, and of the end; NULL: none */
};

/* A connection over socket `fd`, which it takes over only where this succeeds. */
int sd_conn_open(struct sd_loop *l, int fd, const struct sd_conn_setup *setup, struct sd_conn **out,
                 struct sd_err *err);
void sd_conn_cut(struct sd_conn *c, int code); /* ends it as it is, both ways */
void sd_conn_forget_server(struct sd_conn *c);

/* In a list of the server's. */
struct sd_conn **sd_conn_link(struct sd_conn *c);

void sd_control_left(struct sd_control *s, struct sd_conn *c); /* the connection is closed */
void sd_control_pending(struct sd_control *s, ptrdiff_t more); /* bytes that wait for clients */
void sd_control_relieve(struct sd_control *s); /* ends connections until few enough wait */

/* A new socket; its address in `dir`, which is open as `dirfd`. The address is good as long as
 * that is. */
int sd_control_socket(struct sd_err *err);
void sd_control_address(int dirfd, const char *dir, struct sockaddr_un *addr);

/* Who is at the other end of `fd`. */
int sd_conn_peer_of(int fd, struct sd_conn_peer *peer, struct sd_err *err);

#endif
