/* What the hand-written scanners have in common: a place in a text, and runs of characters of one kind. */
#ifndef LOAM_TOKENIZER_SCANNER_PARTS_H
#define LOAM_TOKENIZER_SCANNER_PARTS_H

#include "scanner.h"

size_t lm_scan_deepseek(const struct lm_unicode *unicode, const char *text, size_t length, size_t start);

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

/* \s*[\r\n]+|\s+(?!\S)|\s+: up to and with the last line break of the run if it has one. */
static inline const unsigned char *break_or_space_run(const struct cursor *c, const unsigned char *at)
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

/* \p{N}{1,3} at a number. */
static inline const unsigned char *up_to_three_numbers(const struct cursor *c, const unsigned char *at)
{
    for (int i = 0; i < 3 && at < c->end; i++) {
        unsigned class;
        size_t n = class_at(c, at, &class);
        if (!(class & LM_CLASS_NUMBER))
            break;
        at += n;
    }
    return at;
}

#endif
