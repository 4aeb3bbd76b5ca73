/* error.h - the error value that every engine fills.
 * Owner:  the caller owns the struct; it holds no pointers and needs no release.
 * Thread: a plain value; one thread at a time.
 * Errors: a code is 0, a negative errno, or one of SD_E* below, which lie outside errno's range. */
#ifndef SD_BASE_ERROR_H
#define SD_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

enum {
  SD_ENOLIB = -5001,    /* no library at that place */
  SD_EDAMAGED = -5002,  /* the library is damaged, or the file is not a library */
  SD_ENEWER = -5003,    /* the library or a checkpoint was made by a newer version */
  SD_ELOCKED = -5004,   /* another process holds the library */
  SD_EFORMAT = -5005,   /* bytes that are not what their frame says */
  SD_ESQL = -5006,      /* SQL that SQLite refuses */
  SD_ECANCELED = -5007, /* stopped on request; nothing is wrong */
  SD_ECHANGED = -5008,  /* a file changed while it was read, or is not the one that was listed */
  SD_ESCRIPT = -5009,   /* an error that a script raised */
  SD_EOLDER = -5010,    /* the library was made by an older version: whoever may write renews it */
  SD_EPATTERN = -5020,  /* a pattern that is none, or that takes too long */
};

struct sd_err {
  int code;      /* 0, -errno or SD_E* */
  char msg[512]; /* one line, names the thing; bytes of a path stand as they are */
};

/* Each fills *err (NULL is allowed) and returns the code, so that `return sd_err_os(...)` works.
 * sd_err_os takes errno at entry: call it before anything that may overwrite it. An empty path is
 * called "". */
int sd_err_os(struct sd_err *err, const char *what, const char *path);
int sd_err_nomem(struct sd_err *err);
int sd_err_set(struct sd_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether a code (0 is none) says that the process or the system has run out of memory or of file
 * descriptors: ENOMEM, EMFILE, ENFILE. Nothing is known then of the thing that was to be opened or
 * read: it is the end of the work, and not a fact about the thing. */
bool sd_err_is_exhausted(int code);
int sd_err_exhausted(struct sd_err *err, int code); /* says which of them, as the others above */

/* Symbolic name of a code: "EACCES", "ENOLIB", …; "E123" for an errno without a known name.
 * The result is a static string, or lives in a buffer of the calling thread. */
const char *sd_err_name(int code);

/* What strerror(3) says of a negative errno, in English; a text for every code, not only for those
 * that have one. Static. */
const char *sd_err_text(int code);

/* Preconditions (debug builds) and impossible states (always). Both end the process with the place.
 * */
#define sd_verify(cond) ((cond) ? (void)0 : sd_verify_failed(#cond, __FILE__, __LINE__))
#ifdef NDEBUG
#define sd_assert(cond) ((void)0)
#else
#define sd_assert(cond) sd_verify(cond)
#endif
_Noreturn void sd_verify_failed(const char *cond, const char *file, int line);

#endif
