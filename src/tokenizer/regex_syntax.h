/* Oniguruma's regular expressions as PCRE2 writes them.
 *
 *     struct lm_bytes pattern = {0};
 *     int code = lm_regex_translate("[\\w&&[^\\d]]", 12, &pattern, error);
 *     lm_bytes_free(&pattern);
 *
 * Meant for PCRE2_UTF, PCRE2_UCP and PCRE2_MULTILINE: ^ and $ stand at every line, as Ruby has it. What is no regular
 * expression stays so: PCRE2 complains of it. Any thread.
 */
#ifndef LOAM_TOKENIZER_REGEX_SYNTAX_H
#define LOAM_TOKENIZER_REGEX_SYNTAX_H

#include "base/base.h"

/* Appends to `out`. Brackets nested too deep: LOAM_EFORMAT. */
int lm_regex_translate(const char *regex, size_t length, struct lm_bytes *out, loam_error *error);

#endif
