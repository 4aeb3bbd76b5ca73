#include "base/frame.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

enum { KEEP = 256 * 1024 }; /* an empty buffer that is larger is given back */

void sd_frame_init(struct sd_frame *f, size_t max) {
  *f = (struct sd_frame){.buf = SD_BUF_INIT, .max = max};
}

void sd_frame_fini(struct sd_frame *f) {
  sd_buf_fini(&f->buf);
  f->at = f->seen = 0;
}

size_t sd_frame_left(const struct sd_frame *f) {
  return f->buf.len - f->at;
}

/* Moves what is left to the beginning, only where at least as much was taken since: so all moves
 * together cost no more than what was taken. */
static void compact(struct sd_frame *f) {
  size_t left = sd_frame_left(f);
  if (!f->at || left > f->at) return;
  if (left) memmove(f->buf.data, f->buf.data + f->at, left);
  f->buf.len = left;
  f->at = 0;
}

uint8_t *sd_frame_room(struct sd_frame *f, size_t n) {
  compact(f);
  if (!f->buf.len && f->buf.cap > KEEP) sd_buf_fini(&f->buf);
  if (sd_buf_reserve(&f->buf, n)) return NULL;
  return f->buf.data + f->buf.len;
}

void sd_frame_filled(struct sd_frame *f, size_t n) {
  sd_verify(n <= f->buf.cap - f->buf.len);
  f->buf.len += n;
}

int sd_frame_ready(struct sd_frame *f) {
  size_t left = sd_frame_left(f);
  /* A newline behind max + 1 bytes would come too late. */
  size_t reach = left > f->max ? f->max + 1 : left;
  if (reach == f->seen) return left > f->max ? -EMSGSIZE : 0;
  const uint8_t *from = f->buf.data + f->at + f->seen;
  const uint8_t *end = memchr(from, '\n', reach - f->seen);
  f->seen = end ? (size_t)(end - (f->buf.data + f->at)) : reach;
  if (end) return 1;
  return left > f->max ? -EMSGSIZE : 0;
}

int sd_frame_next(struct sd_frame *f, struct sd_frame_text *out) {
  int rc = sd_frame_ready(f);
  if (rc <= 0) return rc;
  *out = (struct sd_frame_text){(const char *)f->buf.data + f->at, f->seen};
  f->at += f->seen + 1;
  f->seen = 0;
  return 1;
}
