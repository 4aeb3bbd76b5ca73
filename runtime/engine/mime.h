/* mime.h - the type of a file, by its name and by its first bytes.
 *
 * Names are matched against the glob table of shared-mime-info ("globs2", Shared MIME-info Database
 * specification 0.22): heavier globs first, then longer ones, case-sensitive ones as they are and
 * the others on the lower-cased name. Bytes are given to libmagic.
 *
 * Owner:  the caller owns tables and magics. Results are static, or live as long as their table or,
 *         for sd_mime_by_magic(), until the next call.
 * Thread: a name table may be read, held and closed by many threads; a magic is used by one thread
 *         at a time.
 * Errors: 0 or a negative code with *err filled. */
#ifndef SD_ENGINE_MIME_H
#define SD_ENGINE_MIME_H

#include <stddef.h>

#include "base/error.h"

struct sd_mime_names;
struct sd_mime_magic;

/* `path`: a globs2 file; NULL: the system's ($XDG_DATA_HOME, then $XDG_DATA_DIRS, the first that
 * exists). -ENOENT where there is none. */
int sd_mime_names_open(const char *path, struct sd_mime_names **out, struct sd_err *err);
void sd_mime_names_close(struct sd_mime_names *m); /* accepts NULL */

/* One more owner, who closes the table too; the last of them frees it. Gives `m`; accepts NULL. */
struct sd_mime_names *sd_mime_names_hold(struct sd_mime_names *m);

/* The type, or NULL where the name does not decide: no glob matches, or several of equal weight and
 * length that say different types. */
const char *sd_mime_by_name(const struct sd_mime_names *m, const char *name, size_t len);

/* One at a time in a process: room for libmagic is looked for before it is loaded. Compiled
 * databases are mapped here; what is text (a magic(5) file of the user's) is left to libmagic. */
int sd_mime_magic_open(struct sd_mime_magic **out, struct sd_err *err);
void sd_mime_magic_close(struct sd_mime_magic *m); /* accepts NULL */

/* The type of a file that begins with these bytes; NULL where libmagic has no answer. */
const char *sd_mime_by_magic(struct sd_mime_magic *m, const void *head, size_t len);

/* What a content of this type is, in one word: image, video, audio, font, text, document, archive,
 * application, model, message, or other. NULL for NULL. */
const char *sd_mime_kind(const char *mime);

#endif
