/* name_index.h - the names of all entries, packed for searching; kept by the writer.
 *
 * name_pack has a pack (pack.h) for each 64 ids that follow each other, up to an end, which is
 * counter.names_end; behind the end there may be packs too (gather.h), but not all. name_gram
 * and name_mask have the rows and the masks (grams.h) of each segment with enough packs: they cover
 * all packs of the segment below the end. name_todo has the ids for which a pack is not right:
 * entries that are gone, renamed, or came late. So packs without those ids, and the rows of what
 * was left out, are the names at any moment; what is missing costs time and no more.
 *
 * Owner, thread: as the store; inside a transaction of the writer.
 * Errors: 0 or a negative code with *err filled. */
#ifndef SD_ENGINE_NAME_INDEX_H
#define SD_ENGINE_NAME_INDEX_H

#include "engine/store.h"

/* Packs what has gathered, one segment at most; *left: another call is needed. Little that is
 * missing is left as it is, and nothing is written. */
int sd_name_index_build(struct sd_store *s, bool *left, struct sd_err *err);

/* Notes new entries of a batch that lie below the end. */
int sd_name_index_note(struct sd_store *s, const struct sd_batch *b, struct sd_err *err);

#endif
