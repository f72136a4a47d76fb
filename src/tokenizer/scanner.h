/* Splitting text into pieces: hand-written scanners for the known patterns, PCRE2 for all others.
 *
 *     const struct lm_pattern *known = lm_pattern_named("llama3");
 *     for (size_t at = 0; at < length; at = end) {
 *         end = known->scan(unicode, text, length, at);
 *         // text[at, end) is a piece
 *     }
 *
 * Scanners look only forward, so that a text may be cut wherever a piece ends. Bytes that are not UTF-8 count as
 * characters that are neither letter, number nor space.
 */
#ifndef LOAM_TOKENIZER_SCANNER_H
#define LOAM_TOKENIZER_SCANNER_H

#include "unicode.h"

typedef size_t (*lm_scan)(const struct lm_unicode *unicode, const char *text, size_t length, size_t at);

enum { LM_PATTERN_SPLITS = 3 };
struct lm_pattern {
    const char *name;
    /* As tokenizer.json has them: each cuts the pieces that the one before has made, what matches and what lies between
     * being pieces. Most patterns are one regular expression that leaves nothing between. */
    const char *regexes[LM_PATTERN_SPLITS];
    lm_scan scan;
};

/* A place at or before `at` (down to `least`) where every known pattern ends a piece whatever stands around: between a
 * letter and white space, punctuation or a sign that is no apostrophe. `least` where there is none. */
size_t lm_pattern_cut(const struct lm_unicode *unicode, const char *text, size_t length, size_t least, size_t at);

/* "gpt2", "llama3", "qwen2", "gpt4o", "deepseek"; NULL for another name. */
const struct lm_pattern *lm_pattern_named(const char *name);
/* The known pattern that is this one regular expression, or NULL. */
const struct lm_pattern *lm_pattern_of_regex(const char *regex, size_t length);
/* Whether its n-th regular expression is this one. */
bool lm_pattern_has(const struct lm_pattern *pattern, size_t n, const char *regex, size_t length);
/* The n-th known pattern, NULL behind the last. */
const struct lm_pattern *lm_pattern_at(size_t n);

/* A regular expression compiled for matching in any thread. */
struct lm_regex;
struct lm_regex_match; /* what one thread needs to match */
int lm_regex_compile(const char *regex, size_t length, struct lm_regex **made, loam_error *error);
void lm_regex_free(struct lm_regex *regex);
int lm_regex_match_create(struct lm_regex_match **match, loam_error *error);
void lm_regex_match_free(struct lm_regex_match *match);
/* The first match at or behind `at`; *found tells whether there is one. It may be empty, at `at` itself only where
 * `empty`: behind a match it is not, as Oniguruma's callers have it. A pattern that takes too many steps: LOAM_EUNSUPPORTED. */
int lm_regex_find(const struct lm_regex *regex, struct lm_regex_match *match, const char *text, size_t length,
                  size_t at, bool empty, bool *found, size_t *start, size_t *end, loam_error *error);

#endif
