/* name_index.h - the names of all entries, packed for searching; kept by the writer.
 *
 * name_pack has a pack (pack.h) for each 64 ids that follow each other, up to an end; entries
 * behind the end are not packed yet. name_gram and name_mask have the rows and the masks (grams.h)
 * of each segment with enough packs: they cover all packs of the segment. name_todo has the ids
 * below the end for which the pack is not right: entries that are gone, renamed, or came late. So
 * packs without those ids, and the rows of what was left out, are the names at any moment; what is
 * missing costs time and no more.
 *
 * Owner, thread: as the store; inside a transaction of the writer, but for
 * sd_name_index_part_read().
 * Errors: 0 or a negative code with *err filled. */
#ifndef SD_ENGINE_NAME_INDEX_H
#define SD_ENGINE_NAME_INDEX_H

#include "engine/store.h"

/* Packs what has gathered, one segment at most; *left: another call is needed. Little that is
 * missing is left as it is, and nothing is written. */
int sd_name_index_build(struct sd_store *s, bool *left, struct sd_err *err);

/* The same for many new names, in two steps, since most of it is reading: segments can be read by
 * several readers at once. `nth`: the segment, counted from the one that is next. *out is NULL
 * where it has nothing, or something else must be done first. Outside a transaction. */
struct sd_name_index_part;
int sd_name_index_part_read(struct sd_store *reader, int64_t nth, struct sd_name_index_part **out,
                            struct sd_err *err);

/* Only where nothing was written since the part was read, but parts before it. Not taken: it is not
 * what comes next. */
int sd_name_index_part_write(struct sd_store *s, struct sd_name_index_part *p, bool *taken,
                             struct sd_err *err);
void sd_name_index_part_free(struct sd_name_index_part *p); /* accepts NULL */

/* Notes new entries of a batch that lie below the end. */
int sd_name_index_note(struct sd_store *s, const struct sd_batch *b, struct sd_err *err);

#endif
