/* Patterns that no scanner knows: PCRE2 with JIT and Unicode properties. */
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

/* PCRE2's \s counts U+180E and leaves out none of White_Space; the tokenizers' engines mean White_Space. So the set is
 * written out, and its complement for \S inside brackets. */
#define SPACES "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NO_SPACES                                                                                                      \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"        \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

static int translate(const char *regex, size_t length, struct lm_bytes *out, loam_error *error)
{
    bool class = false;
    int code = lm_bytes_reserve(out, length * 2 + 1, error);
    for (size_t i = 0; code == LOAM_OK && i < length; i++) {
        if (regex[i] == '\\' && i + 1 < length) {
            char next = regex[++i];
            if (next == 's')
                code = lm_bytes_format(out, error, "%s%s%s", class ? "" : "[", SPACES, class ? "" : "]");
            else if (next == 'S')
                code =
                    class ? lm_bytes_format(out, error, "%s", NO_SPACES) : lm_bytes_format(out, error, "[^%s]", SPACES);
            else
                code = lm_bytes_append(out, (const char[]){'\\', next}, 2, error);
            continue;
        }
        bool first = class && i && regex[i - 1] == '[';
        if (!class && regex[i] == '[')
            class = true;
        else if (class && regex[i] == ']' && !first)
            class = false;
        code = lm_bytes_append(out, regex + i, 1, error);
    }
    return code;
}

int lm_regex_compile(const char *regex, size_t length, struct lm_regex **made, loam_error *error)
{
    struct lm_bytes pattern = {0};
    int code = translate(regex, length, &pattern, error);
    struct lm_regex *result = code == LOAM_OK ? lm_alloc(1, sizeof *result, error) : NULL;
    if (!result) {
        lm_bytes_free(&pattern);
        return LOAM_ENOMEM;
    }
    int number;
    PCRE2_SIZE where;
    result->code =
        pcre2_compile((PCRE2_SPTR)pattern.data, pattern.length,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &number, &where, NULL);
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

int lm_regex_find(const struct lm_regex *regex, struct lm_regex_match *match, const char *text, size_t length,
                  size_t at, bool *found, size_t *start, size_t *end, loam_error *error)
{
    while (at < length) {
        int count = pcre2_match(regex->code, (PCRE2_SPTR)text, length, at, PCRE2_NOTEMPTY, match->data, match->context);
        if (count == PCRE2_ERROR_NOMATCH)
            break;
        if (count < 0) {
            PCRE2_UCHAR why[160] = "";
            pcre2_get_error_message(count, why, sizeof why);
            return lm_fail_at(error, LOAM_EUNSUPPORTED, (int64_t)at,
                              "the tokenizer's regular expression gave up at byte %zu of a text of %zu bytes: %s", at,
                              length, (const char *)why);
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match->data);
        if (span[1] > span[0] && span[0] >= at) {
            *start = span[0];
            *end = span[1];
            *found = true;
            return LOAM_OK;
        }
        at = span[1] > at ? span[1] : at + 1;
    }
    *found = false;
    return LOAM_OK;
}
