#include "engine/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "engine/batch.h"

struct sd_device_name {
  uint64_t st_dev, id;
};

int sd_devices_open(struct sd_devices *d, sqlite3 *db) {
  memset(d, 0, sizeof(*d));
  int rc = sqlite3_prepare_v3(db, "SELECT id FROM device WHERE st_dev=?1", -1,
                              SQLITE_PREPARE_PERSISTENT, &d->by_number, NULL);
  if (rc == SQLITE_OK)
    rc = sqlite3_prepare_v3(db, "SELECT st_dev FROM device WHERE id=?1", -1,
                            SQLITE_PREPARE_PERSISTENT, &d->by_id, NULL);
  return rc == SQLITE_OK ? 0 : SD_ESQL;
}

void sd_devices_close(struct sd_devices *d) {
  sqlite3_finalize(d->by_number);
  sqlite3_finalize(d->by_id);
  free(d->items);
  memset(d, 0, sizeof(*d));
}

static struct sd_device_name *known(const struct sd_devices *d, uint64_t st_dev) {
  for (size_t i = 0; i < d->items_len; i++)
    if (d->items[i].st_dev == st_dev) return &d->items[i];
  return NULL;
}

static int remember(struct sd_devices *d, uint64_t st_dev, uint64_t id) {
  struct sd_device_name *name = known(d, st_dev);
  if (!name) {
    if (!SD_ARRAY_ROOM(d, items)) return -ENOMEM;
    name = &d->items[d->items_len++];
  }
  *name = (struct sd_device_name){.st_dev = st_dev, .id = id};
  return 0;
}

/* 0: *value is what the statement says of `key`, 0 for NULL; 1: nothing. */
static int ask(sqlite3_stmt *q, uint64_t key, uint64_t *value) {
  sqlite3_bind_int64(q, 1, (int64_t)key);
  int step = sqlite3_step(q);
  if (step == SQLITE_ROW) *value = (uint64_t)sqlite3_column_int64(q, 0);
  sqlite3_reset(q);
  return step == SQLITE_ROW ? 0 : step == SQLITE_DONE ? 1 : SD_ESQL;
}

/* Threads that come to the same device at the same time give it the same name. */
static int new_name(struct sd_devices *d, uint64_t st_dev, struct sd_batch *b, uint64_t *id) {
  uint64_t now;
  int rc;
  *id = st_dev;
  while ((rc = ask(d->by_id, *id, &now)) == 0) *id += UINT64_C(1) << SD_DEVICE_BITS;
  if (rc < 0) return rc;
  return *id == st_dev ? 0 : sd_batch_device(b, (int64_t)*id, st_dev);
}

int sd_devices_find(struct sd_devices *d, uint64_t st_dev, struct sd_batch *b, uint64_t *id) {
  const struct sd_device_name *name = known(d, st_dev);
  if (name) {
    *id = name->id;
    return 0;
  }
  int rc = ask(d->by_number, st_dev, id);
  if (rc == 1) rc = new_name(d, st_dev, b, id);
  return rc ? rc : remember(d, st_dev, *id);
}

int sd_devices_renumber(struct sd_devices *d, uint64_t id, uint64_t st_dev, struct sd_batch *b) {
  uint64_t now;
  int rc = ask(d->by_id, id, &now);
  if (rc < 0) return rc;
  if (rc == 1) now = id;
  rc = now == st_dev ? 0 : sd_batch_device(b, (int64_t)id, st_dev);
  return rc ? rc : remember(d, st_dev, id);
}
