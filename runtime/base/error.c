#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sd_err_os(struct sd_err *err, const char *what, const char *path) {
  int en = errno; /* anything below may overwrite it */
  return sd_err_set(err, -en, "%s %s: %s", what, *path ? path : "\"\"", sd_err_text(-en));
}

int sd_err_nomem(struct sd_err *err) {
  return sd_err_set(err, -ENOMEM, "out of memory");
}

bool sd_err_is_exhausted(int code) {
  return code == -ENOMEM || code == -EMFILE || code == -ENFILE;
}

int sd_err_exhausted(struct sd_err *err, int code) {
  sd_assert(sd_err_is_exhausted(code));
  if (code == -ENOMEM) return sd_err_nomem(err);
  return sd_err_set(err, code,
                    code == -EMFILE ? "no file descriptor is left (see ulimit -n)"
                                    : "no file descriptor is left in the system");
}

int sd_err_set(struct sd_err *err, int code, const char *fmt, ...) {
  if (err) {
    va_list ap;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
  }
  return code;
}

static const char *own_name(int code) {
  switch (code) {
    case SD_ENOLIB: return "ENOLIB";
    case SD_EDAMAGED: return "EDAMAGED";
    case SD_ENEWER: return "ENEWER";
    case SD_ELOCKED: return "ELOCKED";
    case SD_EFORMAT: return "EFORMAT";
    case SD_ESQL: return "ESQL";
    case SD_ECANCELED: return "ECANCELED";
    case SD_ECHANGED: return "ECHANGED";
    case SD_ESCRIPT: return "ESCRIPT";
    case SD_EOLDER: return "EOLDER";
    case SD_EPATTERN: return "EPATTERN";
    default: return NULL;
  }
}

const char *sd_err_name(int code) {
  static _Thread_local char number[16];
  const char *name = own_name(code);
  if (!name && code < 0) name = strerrorname_np(-code);
  if (name) return name;
  snprintf(number, sizeof(number), "E%d", code < 0 ? -code : code);
  return number;
}

const char *sd_err_text(int code) {
  const char *text = strerrordesc_np(-code);
  return text ? text : "unknown error"; /* ours, or what only a FUSE server would say */
}

_Noreturn void sd_verify_failed(const char *cond, const char *file, int line) {
  fprintf(stderr, "sdlua: internal error: %s (%s:%d)\n", cond, file, line);
  abort();
}
