/* The patterns of GPT-2, Llama 3, Qwen2 and GPT-4o by hand. */
#include "scanner_parts.h"

#include <string.h>

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
    if (class & LM_CLASS_NUMBER)
        return (size_t)((digits > 1 ? up_to_three_numbers(&c, at) : at + n) - c.begin);
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

/* The characters of ` ?[^\s\p{L}\p{N}]+[\r\n/]*`: a slash is one of both. */
static const unsigned char *signs_breaks_and_slashes(const struct cursor *c, const unsigned char *at)
{
    at = run_without(c, at, WORDLESS);
    while (at < c->end && (*at == '\r' || *at == '\n' || *at == '/'))
        at++;
    return at;
}

/* GPT-4o's words are upper-case letters, then lower-case ones; all other letters and marks count as both. */
static inline bool may_be_upper(unsigned class)
{
    return class & (LM_CLASS_LETTER | LM_CLASS_MARK) && !(class & LM_CLASS_LOWER);
}

static inline bool may_be_lower(unsigned class)
{
    return class & (LM_CLASS_LETTER | LM_CLASS_MARK) && !(class & LM_CLASS_UPPER);
}

/* The end of [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ at `at`, or NULL. *upper: the end of the
 * upper-case run. Where nothing lower follows that run, it gives back what stands behind its last letter of both kinds. */
static const unsigned char *cased_word(const struct cursor *c, const unsigned char *at, const unsigned char **upper)
{
    const unsigned char *both = NULL;
    unsigned class = 0;
    size_t n = 0;
    for (; at < c->end; at += n) {
        n = class_at(c, at, &class);
        if (!may_be_upper(class))
            break;
        if (may_be_lower(class))
            both = at + n;
    }
    *upper = at;
    if (at == c->end || !may_be_lower(class))
        return both;
    for (at += n; at < c->end; at += n) {
        n = class_at(c, at, &class);
        if (!may_be_lower(class))
            break;
    }
    return at;
}

/* The word of `[^\r\n\p{L}\p{N}]?` and a cased word, or of upper-case letters only, that begins at `at`, whose class is
 * given; without what may follow an apostrophe. NULL: there is none. */
static const unsigned char *prefixed_word(const struct cursor *c, const unsigned char *at, size_t n, unsigned class)
{
    const bool prefix = !(class & (LM_CLASS_LETTER | LM_CLASS_NUMBER | LM_CLASS_NEWLINE));
    const unsigned char *upper = at, *upper_behind = at + n, *end = NULL;
    if (prefix)
        end = cased_word(c, at + n, &upper_behind);
    if (!end && class & (LM_CLASS_LETTER | LM_CLASS_MARK))
        end = cased_word(c, at, &upper);
    if (end)
        return end;
    if (prefix && upper_behind > at + n)
        return upper_behind;
    return upper > at ? upper : NULL;
}

static size_t scan_gpt4o(const struct lm_unicode *unicode, const char *text, size_t length, size_t start)
{
    struct cursor c = {unicode, (const unsigned char *)text, (const unsigned char *)text + length};
    const unsigned char *at = c.begin + start;
    unsigned class;
    size_t n = class_at(&c, at, &class);
    if (class & LM_CLASS_NUMBER)
        return (size_t)(up_to_three_numbers(&c, at) - c.begin);
    const unsigned char *end = prefixed_word(&c, at, n, class);
    if (end) {
        if (end < c.end && *end == '\'')
            end += any_case_contraction(end, c.end);
        return (size_t)(end - c.begin);
    }
    unsigned next = LM_CLASS_SPACE;
    size_t m = at + n < c.end ? class_at(&c, at + n, &next) : 0;
    if (*at == ' ' && !(next & WORDLESS))
        return (size_t)(signs_breaks_and_slashes(&c, at + n + m) - c.begin);
    if (class & LM_CLASS_SPACE)
        return (size_t)(break_or_space_run(&c, at) - c.begin);
    return (size_t)(signs_breaks_and_slashes(&c, at + n) - c.begin);
}

#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"
#define LLAMA_HEAD "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define CASED(upper, lower)                                                                                             \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]" upper "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]" lower              \
    "(?i:" CONTRACTIONS ")?|"
#define LLAMA_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct lm_pattern PATTERNS[] = {
    {"gpt2", {CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"}, scan_gpt2},
    {"llama3", {LLAMA_HEAD "\\p{N}{1,3}" LLAMA_TAIL}, scan_llama3},
    {"qwen2", {LLAMA_HEAD "\\p{N}" LLAMA_TAIL}, scan_qwen2},
    {"gpt4o",
     {CASED("*", "+") CASED("+", "*") "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     scan_gpt4o},
    {"deepseek",
     {"\\p{N}{1,3}", "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
      "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     lm_scan_deepseek},
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

/* Files have a line break in a set as it is or written \r and \n. */
static bool same_regex(const char *known, const char *regex, size_t length)
{
    size_t at = 0;
    for (; *known && at < length; at++, known++) {
        const bool breaks = regex[at] == '\r' || regex[at] == '\n';
        if (breaks && known[0] == '\\' && known[1] == (regex[at] == '\r' ? 'r' : 'n'))
            known++;
        else if (*known != regex[at])
            return false;
    }
    return !*known && at == length;
}

bool lm_pattern_has(const struct lm_pattern *pattern, size_t n, const char *regex, size_t length)
{
    return n < LM_PATTERN_SPLITS && pattern->regexes[n] && same_regex(pattern->regexes[n], regex, length);
}

const struct lm_pattern *lm_pattern_of_regex(const char *regex, size_t length)
{
    const struct lm_pattern *pattern;
    for (size_t n = 0; (pattern = lm_pattern_at(n)); n++)
        if (!pattern->regexes[1] && same_regex(pattern->regexes[0], regex, length))
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
