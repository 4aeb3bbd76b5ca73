/* device.h - what the library calls a device.
 *
 * The number that stat(2) gives a device may be another one after each mount, and an inode belongs
 * to a file system, whatever its number is now. So the library has numbers of its own: the first
 * one that a device had, as long as no other device has taken that. Table `device` says what such a
 * number is called by now, where that is not itself; so it is mostly empty.
 *
 * Owner:  the caller owns the map; it borrows the connection.
 * Thread: as the connection.
 * Errors: 0, -ENOMEM, or SD_ESQL: ask the connection. */
#ifndef SD_ENGINE_DEVICE_H
#define SD_ENGINE_DEVICE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/sysmacros.h>

struct sd_batch;

/* Bits of a number as stat(2) gives it; the library's own have a count above them. */
enum { SD_DEVICE_BITS = 48 };

/* What was looked up stays true as long as a file system is mounted, so as long as a walk. */
struct sd_devices {
  sqlite3_stmt *by_number, *by_id;
  struct sd_device_name *items;
  size_t items_len, items_cap;
};

int sd_devices_open(struct sd_devices *d, sqlite3 *db);
void sd_devices_close(struct sd_devices *d);

/* What the library calls the device `st_dev`. A name that is not `st_dev` itself, and new, is added
 * to the batch. */
int sd_devices_find(struct sd_devices *d, uint64_t st_dev, struct sd_batch *b, uint64_t *id);

/* The device that the library calls `id` is `st_dev` now. Added to the batch where that is news. */
int sd_devices_renumber(struct sd_devices *d, uint64_t id, uint64_t st_dev, struct sd_batch *b);

/* The first number that stat(2) gave the device which the library calls `id`. */
static inline uint64_t sd_device_first(uint64_t id) {
  return id & ((UINT64_C(1) << SD_DEVICE_BITS) - 1);
}

/* Whether it is a disk, or a part of one; else the file system has a number of its own, as tmpfs,
 * overlays, network file systems and btrfs have. The first number that it had says so. */
static inline bool sd_device_is_disk(uint64_t id) {
  return major(sd_device_first(id)) != 0;
}

/* SQL for the number of device `dev` (an expression). */
#define SD_DEVICE_NUMBER(dev) "coalesce((SELECT st_dev FROM device WHERE id=" dev ")," dev ")"

#endif
