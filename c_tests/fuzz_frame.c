/* libFuzzer target: a stream of bytes, cut as the input says, must give the messages that stand
 * between its newlines, up to the first one that is too long.
 *
 * The first byte is the greatest length of a message, the second says how the stream is cut, the
 * third how many messages are taken before more bytes come; the rest is the stream. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct truth {
  const uint8_t *p, *end; /* what was not expected yet */
  size_t max;
};

/* The next message as one finds it who has the whole stream. */
static int next_truth(struct truth *t, struct sd_frame_text *out) {
  size_t left = (size_t)(t->end - t->p), len = 0;
  while (len < left && t->p[len] != '\n') len++;
  if (len > t->max) return -EMSGSIZE;
  if (len == left) return 0;
  *out = (struct sd_frame_text){(const char *)t->p, len};
  t->p += len + 1;
  return 1;
}

static void compare(struct sd_frame *f, struct truth *t, unsigned most) {
  struct sd_frame_text got, want;
  for (unsigned i = 0; i < most; i++) {
    int ready = sd_frame_ready(f), rc = sd_frame_next(f, &got);
    sd_verify(rc == ready);
    if (rc <= 0) {
      /* The end of what came so far: the truth for that part is the same. */
      struct truth part = {t->p, t->p + sd_frame_left(f), t->max};
      sd_verify(next_truth(&part, &want) == rc);
      return;
    }
    sd_verify(next_truth(t, &want) == 1);
    sd_verify(got.len == want.len && memcmp(got.data, want.data, got.len) == 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct sd_frame f;
  if (size < 3) return 0;
  unsigned cut = data[1], most = data[2] ? data[2] : 1;
  struct truth t = {data + 3, data + size, data[0]};
  sd_frame_init(&f, data[0]);
  for (const uint8_t *p = data + 3; p < data + size;) {
    size_t n = 1 + cut % 31;
    cut = cut * 5 + 1;
    if (n > (size_t)(data + size - p)) n = (size_t)(data + size - p);
    uint8_t *room = sd_frame_room(&f, n);
    sd_verify(room != NULL);
    memcpy(room, p, n);
    sd_frame_filled(&f, n);
    p += n;
    compare(&f, &t, most);
  }
  compare(&f, &t, UINT32_MAX);
  sd_frame_fini(&f);
  return 0;
}
