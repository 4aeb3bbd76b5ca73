/* name_gather.h - packs of new names, made from batches while their rows are written.
 *
 * A walker gives its new entries ids that follow each other, and its batches are written in their
 * order: so the 64 names of a pack pass by one after the other, and need not be read again. Only
 * whole packs are written; what is missing behind the end (name_index.h) is read from the rows
 * when that end moves on.
 *
 * Owner, thread: a part of its store. Errors: 0 or a negative code with *err filled. */
#ifndef SD_ENGINE_NAME_GATHER_H
#define SD_ENGINE_NAME_GATHER_H

#include "engine/store.h"

struct sd_gather;

/* The rows of the batch are written, in this transaction. */
int sd_gather_batch(struct sd_store *s, const struct sd_batch *b, struct sd_err *err);

/* What was gathered so far may not be what is stored: no pack is made of it. Accepts NULL. */
void sd_gather_forget(struct sd_gather *g);

void sd_gather_free(struct sd_gather *g); /* accepts NULL */

#endif
