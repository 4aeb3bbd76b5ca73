/* frame.h - messages out of a stream of bytes: each ends with a newline.
 *
 * Bytes are read to where sd_frame_room() says; then messages are taken as long as there are any.
 * However the stream was cut, a byte is searched once and moved a bounded number of times.
 *
 * Owner:  the caller owns the struct; sd_frame_fini() releases the bytes. A message is good until
 *         the next sd_frame_room() or sd_frame_fini().
 * Thread: one thread at a time.
 * Errors: -EMSGSIZE, which does not go away; NULL when memory is out. */
#ifndef SD_BASE_FRAME_H
#define SD_BASE_FRAME_H

#include "base/buf.h"

struct sd_frame {
  struct sd_buf buf;
  size_t at;   /* where the first message begins that was not taken */
  size_t seen; /* bytes from there on that are no newline */
  size_t max;  /* bytes of a message, its newline not counted */
};

struct sd_frame_text {
  const char *data; /* no NUL behind it; may hold any byte but a newline */
  size_t len;
};

void sd_frame_init(struct sd_frame *f, size_t max);
void sd_frame_fini(struct sd_frame *f);

/* Room for `n` more bytes, at least one; say afterwards with sd_frame_filled() how many came. */
uint8_t *sd_frame_room(struct sd_frame *f, size_t n);
void sd_frame_filled(struct sd_frame *f, size_t n);

/* 1: a whole message is there. 0: not yet. -EMSGSIZE: what is there is longer than a message. */
int sd_frame_ready(struct sd_frame *f);

/* The same, and takes the message. */
int sd_frame_next(struct sd_frame *f, struct sd_frame_text *out);

/* Bytes that were not taken; where no message is ready: of one that is not complete. */
size_t sd_frame_left(const struct sd_frame *f);

#endif
