#include "engine/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"

/* Steps of one match. What needs more backtracks without end on a name. */
enum { MATCH_STEPS = 1000000 };

struct sd_regex {
  pcre2_code *text, *bytes; /* for subjects that are UTF-8, NULL where the pattern is not; all */
  pcre2_match_data *found;
  pcre2_match_context *limits;
};

static int compile(const char *pattern, size_t len, uint32_t options, pcre2_code **out,
                   size_t *offset, struct sd_err *err) {
  int code;
  char why[128];
  PCRE2_SIZE at = 0;
  *out = pcre2_compile((PCRE2_SPTR)pattern, len, options, &code, &at, NULL);
  if (*out) {
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where there is no JIT it is slower, no more */
    return 0;
  }
  *offset = at;
  if (code == PCRE2_ERROR_HEAP_FAILED) return sd_err_nomem(err);
  pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
  return sd_err_set(err, SD_EPATTERN, "%s", why);
}

int sd_regex_open(const char *pattern, size_t len, bool ignore_case, struct sd_regex **out,
                  size_t *offset, struct sd_err *err) {
  uint32_t options = PCRE2_DOTALL | PCRE2_DOLLAR_ENDONLY | (ignore_case ? PCRE2_CASELESS : 0);
  struct sd_regex *re = calloc(1, sizeof(*re));
  int rc = re ? 0 : sd_err_nomem(err);
  *offset = 0;
  if (!rc && sd_utf8_valid(pattern, len))
    rc = compile(pattern, len, options | PCRE2_UTF, &re->text, offset, err);
  /* What is no name in one of them, as \x{263a} in bytes, is told by the first. */
  if (!rc) rc = compile(pattern, len, options | PCRE2_NEVER_UTF, &re->bytes, offset, err);
  if (rc && re && re->text) rc = 0;
  if (rc) goto fail;
  re->found = pcre2_match_data_create(1, NULL);
  re->limits = pcre2_match_context_create(NULL);
  if (!re->found || !re->limits) {
    rc = sd_err_nomem(err);
    goto fail;
  }
  pcre2_set_match_limit(re->limits, MATCH_STEPS);
  *out = re;
  return 0;
fail:
  sd_regex_close(re);
  return rc;
}

void sd_regex_close(struct sd_regex *re) {
  if (!re) return;
  pcre2_code_free(re->text);
  pcre2_code_free(re->bytes);
  pcre2_match_data_free(re->found);
  pcre2_match_context_free(re->limits);
  free(re);
}

int sd_regex_match(struct sd_regex *re, const char *s, size_t n, struct sd_err *err) {
  bool text = re->text && sd_utf8_valid(s, n);
  const pcre2_code *code = text ? re->text : re->bytes;
  if (!code) return 0; /* it speaks of characters that bytes do not have */
  uint32_t options = text ? PCRE2_NO_UTF_CHECK : 0;
  int rc = pcre2_match(code, (PCRE2_SPTR)s, n, 0, options, re->found, re->limits);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter takes its memory from the heap */
    rc = pcre2_match(code, (PCRE2_SPTR)s, n, 0, options | PCRE2_NO_JIT, re->found, re->limits);
  if (rc >= 0) return 1;
  if (rc == PCRE2_ERROR_NOMATCH) return 0;
  char why[128];
  pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof(why));
  return sd_err_set(err, SD_EPATTERN, "the pattern cannot be matched: %s", why);
}
