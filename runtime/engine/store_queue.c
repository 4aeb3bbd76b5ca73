/* The stored side of the durable queues. */
#include <string.h>

#include "engine/store_internal.h"

static int write_change(struct sd_store *s, int64_t job_id, const char *queue,
                        const struct sd_queue_change *c, struct sd_err *err) {
  sqlite3_stmt *st = sd_store_stmt(s, c->payload ? ST_QUEUE_PUT : ST_QUEUE_DELETE, err);
  if (!st) return err->code;
  sqlite3_bind_int64(st, 1, job_id);
  sqlite3_bind_text(st, 2, queue, -1, SQLITE_STATIC);
  sqlite3_bind_int64(st, 3, c->seq);
  if (c->payload) sqlite3_bind_blob64(st, 4, c->payload, c->payload_len, SQLITE_STATIC);
  return sd_store_run(s, st, err, "write a queue");
}

int sd_store_write_queue(struct sd_store *s, int64_t job_id, const char *queue,
                         const struct sd_queue_delta *d, struct sd_err *err) {
  int rc = 0;
  for (size_t i = 0; !rc && i < d->changes_len; i++)
    rc = write_change(s, job_id, queue, &d->changes[i], err);
  return rc;
}
