#include "engine/batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"

const char *sd_op_name(uint8_t op) {
  switch (op) {
    case SD_OP_READ_DIR: return "ReadDir";
    case SD_OP_CREATE_ENTRY: return "CreateEntry";
    case SD_OP_CONTENT_ID: return "ContentId";
    case SD_OP_READ_RULES: return "ReadRules";
    default: return "Skip";
  }
}

struct sd_batch *sd_batch_new(void) {
  struct sd_batch *b = calloc(1, sizeof(*b));
  if (b) sd_arena_init(&b->arena);
  return b;
}

void sd_batch_free(struct sd_batch *b) {
  if (!b) return;
  for (size_t i = 0; i < b->born_len; i++) sd_dir_put(b->born[i]);
  free(b->entries);
  free(b->dirs);
  free(b->deltas);
  free(b->errors);
  free(b->skips);
  free(b->vanished);
  free(b->readable);
  free(b->devices);
  free(b->born);
  free(b->done);
  sd_buf_fini(&b->packs);
  sd_arena_fini(&b->arena);
  free(b);
}

int sd_batch_gone(struct sd_batch *b, const struct sd_gone *gone) {
  if (!SD_ARRAY_ROOM(b, vanished)) return -ENOMEM;
  struct sd_gone *g = &b->vanished[b->vanished_len];
  *g = *gone;
  if (!(g->name = sd_arena_copy(&b->arena, gone->name, gone->name_len))) return -ENOMEM;
  b->vanished_len++;
  return 0;
}

int sd_batch_readable(struct sd_batch *b, int64_t id, uint8_t unread) {
  if (!SD_ARRAY_ROOM(b, readable)) return -ENOMEM;
  b->readable[b->readable_len++] = (struct sd_readable){.id = id, .unread = unread};
  return 0;
}

int sd_batch_device(struct sd_batch *b, int64_t id, uint64_t st_dev) {
  if (!SD_ARRAY_ROOM(b, devices)) return -ENOMEM;
  b->devices[b->devices_len++] = (struct sd_device){.id = id, .st_dev = st_dev};
  return 0;
}

int sd_batch_note(struct sd_batch *b, uint8_t op, int code, const char *path, size_t path_len,
                  const char *reason) {
  if (!(op ? SD_ARRAY_ROOM(b, errors) : SD_ARRAY_ROOM(b, skips))) return -ENOMEM;
  struct sd_note note = {.op = op, .code = code, .path_len = (uint32_t)path_len};
  note.path = sd_arena_copy(&b->arena, path, path_len);
  note.reason = sd_arena_copy(&b->arena, reason, strlen(reason));
  if (!note.path || !note.reason) return -ENOMEM;
  if (op) b->errors[b->errors_len++] = note;
  else b->skips[b->skips_len++] = note;
  return 0;
}

void sd_batch_count(struct sd_batch *b, const struct sd_entry *e) {
  const bool is_new = e->change == SD_CHANGE_INSERT || e->change == SD_CHANGE_CONTENT;
  b->inserted += e->change == SD_CHANGE_INSERT;
  b->moved += e->change == SD_CHANGE_MOVE;
  b->again += e->again;
  if (!is_new || e->st.kind != SD_KIND_FILE || e->st.size <= 0) return;
  b->new_files++;
  if (__builtin_add_overflow(b->new_bytes, e->st.size, &b->new_bytes)) /* sparse files */
    b->new_bytes = INT64_MAX;
}
