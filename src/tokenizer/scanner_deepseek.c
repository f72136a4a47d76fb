/* DeepSeek's pattern by hand. It is three splits, one after the other: numbers in groups of three; runs of Chinese
 * characters and kana; then words, signs and spaces in what lies between and in the runs themselves. A number and the
 * edge of such a run are walls for the third split: it sees the text end there.
 */
#include "scanner_parts.h"

/* A character, and what the third split may know of it. */
struct seen {
    size_t length;
    unsigned class;
    bool wall;
};

static inline bool is_east_asian(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
}

static inline struct seen look(const struct cursor *c, const unsigned char *at, bool east_asian)
{
    if (at >= c->end)
        return (struct seen){0, 0, true};
    if (*at < 0x80) {
        unsigned class = c->unicode->class[*at];
        return (struct seen){1, class, east_asian || class & LM_CLASS_NUMBER};
    }
    uint32_t code_point;
    size_t length = lm_character(at, c->end, &code_point);
    unsigned class = lm_unicode_class(c->unicode, code_point);
    return (struct seen){length, class, class & LM_CLASS_NUMBER || is_east_asian(code_point) != east_asian};
}

static const unsigned char *run(const struct cursor *c, const unsigned char *at, bool east_asian, unsigned any)
{
    for (;;) {
        struct seen next = look(c, at, east_asian);
        if (next.wall || !(next.class & any))
            return at;
        at += next.length;
    }
}

static inline bool is_ascii_letter(unsigned char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ up to a wall. */
static const unsigned char *spaces(const struct cursor *c, const unsigned char *at)
{
    const unsigned char *last = at, *next = at, *line = NULL;
    for (;;) {
        struct seen here = look(c, next, false);
        if (here.wall || !(here.class & LM_CLASS_SPACE))
            return line ? line : here.wall || last == at ? next : last;
        last = next;
        next += here.length;
        if (here.class & LM_CLASS_NEWLINE)
            line = next;
    }
}

/* [\p{P}\p{S}]+[\r\n]* */
static const unsigned char *signs(const struct cursor *c, const unsigned char *at, bool east_asian)
{
    at = run(c, at, east_asian, LM_CLASS_SIGN);
    while (at < c->end && (*at == '\r' || *at == '\n') && !east_asian)
        at++;
    return at;
}

enum { WORD = LM_CLASS_LETTER | LM_CLASS_MARK, KNOWN = WORD | LM_CLASS_SIGN | LM_CLASS_SPACE };

/* Characters that nothing matches, up to where something does; the last of them may be the one in front of a word. */
static const unsigned char *unmatched(const struct cursor *c, const unsigned char *at, bool east_asian)
{
    for (;;) {
        struct seen here = look(c, at, east_asian);
        if (here.wall || here.class & KNOWN)
            return at;
        struct seen next = look(c, at + here.length, east_asian);
        if (!next.wall && next.class & WORD)
            return at;
        at += here.length;
    }
}

static const unsigned char *third_split(const struct cursor *c, const unsigned char *at, bool east_asian)
{
    struct seen here = look(c, at, east_asian);
    struct seen next = look(c, at + here.length, east_asian);
    if (*at < 0x80 && here.class & LM_CLASS_SIGN && !next.wall && is_ascii_letter(at[1])) {
        for (at++; at < c->end && is_ascii_letter(*at); at++)
            ;
        return at;
    }
    if (here.class & WORD)
        return run(c, at, east_asian, WORD);
    const bool prefix = !(here.class & (LM_CLASS_NEWLINE | LM_CLASS_SIGN));
    if (prefix && !next.wall && next.class & WORD)
        return run(c, at + here.length, east_asian, WORD);
    if (here.class & LM_CLASS_SIGN)
        return signs(c, at, east_asian);
    if (*at == ' ' && !next.wall && next.class & LM_CLASS_SIGN)
        return signs(c, at + 1, east_asian);
    return here.class & LM_CLASS_SPACE ? spaces(c, at) : unmatched(c, at + here.length, east_asian);
}

size_t lm_scan_deepseek(const struct lm_unicode *unicode, const char *text, size_t length, size_t start)
{
    struct cursor c = {unicode, (const unsigned char *)text, (const unsigned char *)text + length};
    const unsigned char *at = c.begin + start;
    struct seen here = look(&c, at, false);
    if (here.class & LM_CLASS_NUMBER)
        return (size_t)(up_to_three_numbers(&c, at) - c.begin);
    return (size_t)(third_split(&c, at, here.wall) - c.begin);
}
