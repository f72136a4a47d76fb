/* The patterns of GPT-2, Llama 3 and Qwen2 by hand. */
#include "scanner.h"

#include <string.h>

struct cursor {
    const struct lm_unicode *unicode;
    const unsigned char *begin, *end;
};

static inline size_t class_at(const struct cursor *c, const unsigned char *at, unsigned *class)
{
    return lm_unicode_at(c->unicode, at, c->end, class);
}

/* Behind the run of characters that have one of the bits `any`. */
static inline const unsigned char *run_with(const struct cursor *c, const unsigned char *at, unsigned any)
{
    while (at < c->end) {
        unsigned class;
        size_t n = class_at(c, at, &class);
        if (!(class & any))
            break;
        at += n;
    }
    return at;
}

/* Behind the run of characters that have none of the bits. */
static inline const unsigned char *run_without(const struct cursor *c, const unsigned char *at, unsigned none)
{
    while (at < c->end) {
        unsigned class;
        size_t n = class_at(c, at, &class);
        if (class & none)
            break;
        at += n;
    }
    return at;
}

enum { WORDLESS = LM_CLASS_LETTER | LM_CLASS_NUMBER | LM_CLASS_SPACE };

/* \s+(?!\S)|\s+ at a run of spaces: all of it at the end of the text, else all but its last character, which stays for
 * the next piece, unless it is the only one. */
static const unsigned char *space_run(const struct cursor *c, const unsigned char *at)
{
    const unsigned char *last = at, *next = at;
    while (next < c->end) {
        unsigned class;
        size_t n = class_at(c, next, &class);
        if (!(class & LM_CLASS_SPACE))
            return last > at ? last : next;
        last = next;
        next += n;
    }
    return next;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+: up to and with the last line break of the run if it has one. */
static const unsigned char *break_or_space_run(const struct cursor *c, const unsigned char *at)
{
    const unsigned char *last = at, *next = at, *line = NULL;
    while (next < c->end) {
        unsigned class;
        size_t n = class_at(c, next, &class);
        if (!(class & LM_CLASS_SPACE))
            break;
        last = next;
        next += n;
        if (class & LM_CLASS_NEWLINE)
            line = next;
    }
    if (line)
        return line;
    return next == c->end || last == at ? next : last;
}

/* Length of 's, 't, 're, 've, 'm, 'll, 'd at an apostrophe, or 0. */
static size_t contraction(const unsigned char *at, const unsigned char *end)
{
    if (end - at < 2)
        return 0;
    switch (at[1]) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return 2;
    case 'r':
    case 'v':
        return end - at >= 3 && at[2] == 'e' ? 3 : 0;
    case 'l':
        return end - at >= 3 && at[2] == 'l' ? 3 : 0;
    default:
        return 0;
    }
}

/* The same whatever the case; U+017F, the long s, is a lower case s. */
static size_t any_case_contraction(const unsigned char *at, const unsigned char *end)
{
    if (end - at < 2)
        return 0;
    unsigned char second = end - at >= 3 ? at[2] | 0x20 : 0;
    switch (at[1] | 0x20) {
    case 's':
    case 't':
    case 'm':
    case 'd':
        return 2;
    case 'r':
    case 'v':
        return second == 'e' ? 3 : 0;
    case 'l':
        return second == 'l' ? 3 : 0;
    default:
        return end - at >= 3 && at[1] == 0xC5 && at[2] == 0xBF ? 3 : 0;
    }
}

static size_t scan_gpt2(const struct lm_unicode *unicode, const char *text, size_t length, size_t start)
{
    struct cursor c = {unicode, (const unsigned char *)text, (const unsigned char *)text + length};
    const unsigned char *at = c.begin + start;
    if (*at == '\'') {
        size_t n = contraction(at, c.end);
        if (n)
            return start + n;
    }
    unsigned class;
    size_t n = class_at(&c, at, &class);
    if (*at == ' ' && at + 1 < c.end) {
        unsigned next;
        size_t m = class_at(&c, at + 1, &next);
        if (!(next & LM_CLASS_SPACE)) {
            class = next;
            n = 1 + m;
        }
    }
    if (class & LM_CLASS_LETTER)
        return (size_t)(run_with(&c, at + n, LM_CLASS_LETTER) - c.begin);
    if (class & LM_CLASS_NUMBER)
        return (size_t)(run_with(&c, at + n, LM_CLASS_NUMBER) - c.begin);
    if (class & LM_CLASS_SPACE)
        return (size_t)(space_run(&c, at) - c.begin);
    return (size_t)(run_without(&c, at + n, WORDLESS) - c.begin);
}

/* Behind a sign run: ` ?[^\s\p{L}\p{N}]+[\r\n]*`. */
static inline const unsigned char *signs_and_breaks(const struct cursor *c, const unsigned char *at)
{
    at = run_without(c, at, WORDLESS);
    while (at < c->end && (*at == '\r' || *at == '\n'))
        at++;
    return at;
}

static inline size_t scan_llama(const struct lm_unicode *unicode, const char *text, size_t length, size_t start,
                                int digits)
{
    struct cursor c = {unicode, (const unsigned char *)text, (const unsigned char *)text + length};
    const unsigned char *at = c.begin + start;
    if (*at == '\'') {
        size_t n = any_case_contraction(at, c.end);
        if (n)
            return start + n;
    }
    unsigned class;
    size_t n = class_at(&c, at, &class);
    if (class & LM_CLASS_LETTER)
        return (size_t)(run_with(&c, at + n, LM_CLASS_LETTER) - c.begin);
    if (class & LM_CLASS_NUMBER) {
        at += n;
        for (int i = 1; i < digits && at < c.end; i++, at += n) {
            n = class_at(&c, at, &class);
            if (!(class & LM_CLASS_NUMBER))
                break;
        }
        return (size_t)(at - c.begin);
    }
    unsigned next = LM_CLASS_SPACE;
    size_t m = 0;
    if (at + n < c.end)
        m = class_at(&c, at + n, &next);
    if ((next & LM_CLASS_LETTER) && !(class & LM_CLASS_NEWLINE))
        return (size_t)(run_with(&c, at + n + m, LM_CLASS_LETTER) - c.begin);
    if (*at == ' ' && !(next & WORDLESS))
        return (size_t)(signs_and_breaks(&c, at + n + m) - c.begin);
    if (class & LM_CLASS_SPACE)
        return (size_t)(break_or_space_run(&c, at) - c.begin);
    return (size_t)(signs_and_breaks(&c, at + n) - c.begin);
}

static size_t scan_llama3(const struct lm_unicode *unicode, const char *text, size_t length, size_t at)
{
    return scan_llama(unicode, text, length, at, 3);
}

static size_t scan_qwen2(const struct lm_unicode *unicode, const char *text, size_t length, size_t at)
{
    return scan_llama(unicode, text, length, at, 1);
}

#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"
#define LLAMA_HEAD "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define LLAMA_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct lm_pattern PATTERNS[] = {
    {"gpt2", CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", scan_gpt2},
    {"llama3", LLAMA_HEAD "\\p{N}{1,3}" LLAMA_TAIL, scan_llama3},
    {"qwen2", LLAMA_HEAD "\\p{N}" LLAMA_TAIL, scan_qwen2},
};

const struct lm_pattern *lm_pattern_at(size_t n)
{
    return n < sizeof PATTERNS / sizeof *PATTERNS ? &PATTERNS[n] : NULL;
}

const struct lm_pattern *lm_pattern_named(const char *name)
{
    const struct lm_pattern *pattern;
    for (size_t n = 0; (pattern = lm_pattern_at(n)); n++)
        if (!strcmp(pattern->name, name))
            return pattern;
    return NULL;
}

const struct lm_pattern *lm_pattern_of_regex(const char *regex, size_t length)
{
    const struct lm_pattern *pattern;
    for (size_t n = 0; (pattern = lm_pattern_at(n)); n++)
        if (strlen(pattern->regex) == length && !memcmp(pattern->regex, regex, length))
            return pattern;
    return NULL;
}

size_t lm_pattern_cut(const struct lm_unicode *unicode, const char *text, size_t length, size_t least, size_t at)
{
    const unsigned char *bytes = (const unsigned char *)text;
    if (at >= length)
        at = length ? length - 1 : 0;
    for (; at > least; at--) {
        unsigned here, before;
        if ((bytes[at] & 0xC0) == 0x80 || bytes[at] == '\'')
            continue;
        lm_unicode_at(unicode, bytes + at, bytes + length, &here);
        if (!(here & (LM_CLASS_SPACE | LM_CLASS_SIGN)))
            continue;
        size_t start = at - 1;
        while (start > least && at - start < 4 && (bytes[start] & 0xC0) == 0x80)
            start--;
        if (lm_unicode_at(unicode, bytes + start, bytes + at, &before) == at - start && before & LM_CLASS_LETTER)
            return at;
    }
    return least;
}
