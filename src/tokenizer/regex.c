/* Patterns that no scanner knows: PCRE2 with JIT and Unicode properties. */
#include "regex_syntax.h"
#include "scanner.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    STEP_LIMIT = 50 * 1000 * 1000, /* steps of one match; a pattern that wants more never ends in practice */
    STACK_LEAST = 32 * 1024,       /* bytes of the JIT's own stack */
    STACK_MOST = 64 * 1024 * 1024,
};

struct lm_regex {
    pcre2_code *code;
    bool jit;
};

struct lm_regex_match {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

int lm_regex_compile(const char *regex, size_t length, struct lm_regex **made, loam_error *error)
{
    struct lm_bytes pattern = {0};
    int code = lm_regex_translate(regex, length, &pattern, error);
    struct lm_regex *result = code == LOAM_OK ? lm_alloc(1, sizeof *result, error) : NULL;
    if (!result) {
        lm_bytes_free(&pattern);
        return code == LOAM_OK ? LOAM_ENOMEM : code;
    }
    int number;
    PCRE2_SIZE where;
    result->code =
        pcre2_compile((PCRE2_SPTR)pattern.data, pattern.length,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &number,
                      &where, NULL);
    lm_bytes_free(&pattern);
    if (!result->code) {
        PCRE2_UCHAR text[160] = "";
        pcre2_get_error_message(number, text, sizeof text);
        lm_free(result);
        return lm_fail(error, number == PCRE2_ERROR_NOMEMORY ? LOAM_ENOMEM : LOAM_EFORMAT,
                       "regular expression '%.*s': %s", (int)(length < 200 ? length : 200), regex, (const char *)text);
    }
    result->jit = pcre2_jit_compile(result->code, PCRE2_JIT_COMPLETE) == 0;
    *made = result;
    return LOAM_OK;
}

void lm_regex_free(struct lm_regex *regex)
{
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    lm_free(regex);
}

int lm_regex_match_create(struct lm_regex_match **match, loam_error *error)
{
    struct lm_regex_match *made = lm_alloc(1, sizeof *made, error);
    if (!made)
        return LOAM_ENOMEM;
    made->data = pcre2_match_data_create(1, NULL);
    made->context = pcre2_match_context_create(NULL);
    made->stack = pcre2_jit_stack_create(STACK_LEAST, STACK_MOST, NULL);
    if (!made->data || !made->context || !made->stack) {
        lm_regex_match_free(made);
        return lm_fail(error, LOAM_ENOMEM, "not enough memory to match a regular expression");
    }
    pcre2_set_match_limit(made->context, STEP_LIMIT);
    pcre2_jit_stack_assign(made->context, NULL, made->stack);
    *match = made;
    return LOAM_OK;
}

void lm_regex_match_free(struct lm_regex_match *match)
{
    if (!match)
        return;
    pcre2_match_data_free(match->data);
    pcre2_match_context_free(match->context);
    pcre2_jit_stack_free(match->stack);
    lm_free(match);
}

/* The next character's place, the end's beyond the last. */
static size_t behind(const char *text, size_t length, size_t at)
{
    uint32_t c;
    const unsigned char *bytes = (const unsigned char *)text;
    return at < length ? at + lm_character(bytes + at, bytes + length, &c) : at + 1;
}

int lm_regex_find(const struct lm_regex *regex, struct lm_regex_match *match, const char *text, size_t length,
                  size_t at, bool empty, bool *found, size_t *start, size_t *end, loam_error *error)
{
    for (*found = false; at <= length; empty = true) {
        int count = pcre2_match(regex->code, (PCRE2_SPTR)text, length, at, 0, match->data, match->context);
        if (count == PCRE2_ERROR_NOMATCH)
            return LOAM_OK;
        if (count < 0) {
            PCRE2_UCHAR why[160] = "";
            pcre2_get_error_message(count, why, sizeof why);
            return lm_fail_at(error, LOAM_EUNSUPPORTED, (int64_t)at,
                              "the tokenizer's regular expression gave up at byte %zu of a text of %zu bytes: %s", at,
                              length, (const char *)why);
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match->data);
        if (span[1] >= span[0] && span[0] >= at && (span[1] > at || empty)) {
            *start = span[0];
            *end = span[1];
            *found = true;
            return LOAM_OK;
        }
        at = behind(text, length, at);
    }
    return LOAM_OK;
}
