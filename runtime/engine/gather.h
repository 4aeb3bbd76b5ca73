/* gather.h - packs of new names, made while a walk finds them.
 *
 * A walker gives its new entries ids that follow each other: so the 64 names of a pack pass by one
 * after the other, and need not be read again from their rows. Only packs that are whole in one
 * batch are made: they are written with it, or not at all. What is missing is made from the rows
 * (name_index.h).
 *
 * Owner:  the caller owns the struct, zeroed at first. Thread: one thread at a time.
 * Errors: 0 or -ENOMEM. */
#ifndef SD_ENGINE_GATHER_H
#define SD_ENGINE_GATHER_H

#include "engine/batch.h"
#include "engine/pack.h"

struct sd_gather {
  struct sd_pack_builder pack;
  int64_t next; /* the id that comes next; 0: no pack is begun */
};

void sd_gather_fini(struct sd_gather *g);

/* Another batch begins. */
void sd_gather_begin(struct sd_gather *g);

/* A new entry of the batch, which gets the pack that is full with it. */
int sd_gather_add(struct sd_gather *g, struct sd_batch *b, const struct sd_entry *e);

#endif
