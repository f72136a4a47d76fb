/* What the tokenizer asks about code points, answered from one small table per tokenizer.
 *
 *     struct lm_unicode *unicode;
 *     lm_unicode_create(&unicode, error);
 *     unsigned class;
 *     size_t bytes = lm_unicode_at(unicode, text, text + length, &class);
 *     if (class & LM_CLASS_LETTER) ...
 *     lm_unicode_free(unicode);
 *
 * Categories are those of utf8proc; white space is the White_Space property (U+180E and U+200B are none).
 */
#ifndef LOAM_TOKENIZER_UNICODE_H
#define LOAM_TOKENIZER_UNICODE_H

#include "base/base.h"

enum lm_class {
    LM_CLASS_LETTER = 1,  /* L* */
    LM_CLASS_NUMBER = 2,  /* N* */
    LM_CLASS_SPACE = 4,   /* White_Space */
    LM_CLASS_NEWLINE = 8, /* \r and \n */
    LM_CLASS_MARK = 16,   /* M* */
    LM_CLASS_UPPER = 32,  /* Lu, Lt */
    LM_CLASS_LOWER = 64,  /* Ll */
    LM_CLASS_SIGN = 128,  /* P*, S* */
};

enum { LM_UNICODE_PAGES = 0x40000 }; /* planes 0 to 3; above them only the variation selectors have a class */

struct lm_unicode {
    uint8_t class[LM_UNICODE_PAGES];
};

int lm_unicode_create(struct lm_unicode **unicode, loam_error *error);
void lm_unicode_free(struct lm_unicode *unicode);

static inline unsigned lm_unicode_class(const struct lm_unicode *unicode, uint32_t code_point)
{
    if (code_point < LM_UNICODE_PAGES)
        return unicode->class[code_point];
    return code_point >= 0xE0100 && code_point <= 0xE01EF ? LM_CLASS_MARK : 0;
}

/* Length of the character at `at` and its code point. A byte that begins no valid character: 1 and UINT32_MAX. */
static inline size_t lm_character(const unsigned char *at, const unsigned char *end, uint32_t *code_point)
{
    unsigned first = at[0];
    size_t left = (size_t)(end - at);
    if (first < 0x80) {
        *code_point = first;
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF && left >= 2 && (at[1] & 0xC0) == 0x80) {
        *code_point = (first & 0x1F) << 6 | (at[1] & 0x3Fu);
        return 2;
    }
    if ((first & 0xF0) == 0xE0 && left >= 3 && (at[1] & 0xC0) == 0x80 && (at[2] & 0xC0) == 0x80) {
        uint32_t value = (first & 0x0F) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
        if (value >= 0x800 && (value < 0xD800 || value > 0xDFFF)) {
            *code_point = value;
            return 3;
        }
    } else if (first >= 0xF0 && first <= 0xF4 && left >= 4 && (at[1] & 0xC0) == 0x80 && (at[2] & 0xC0) == 0x80 &&
               (at[3] & 0xC0) == 0x80) {
        uint32_t value = (first & 0x07) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu);
        if (value >= 0x10000 && value <= 0x10FFFF) {
            *code_point = value;
            return 4;
        }
    }
    *code_point = UINT32_MAX;
    return 1;
}

/* Length and class of the character at `at` (before `end`). A byte that begins no valid character: 1 and no class. */
static inline size_t lm_unicode_at(const struct lm_unicode *unicode, const unsigned char *at, const unsigned char *end,
                                   unsigned *class)
{
    if (*at < 0x80) {
        *class = unicode->class[*at];
        return 1;
    }
    uint32_t code_point;
    size_t length = lm_character(at, end, &code_point);
    *class = lm_unicode_class(unicode, code_point);
    return length;
}

/* Where the grapheme cluster (Unicode Standard Annex 29, extended) that begins at `at` ends. */
size_t lm_cluster_end(const char *text, size_t length, size_t at);

bool lm_is_white_space(uint32_t code_point);
/* \w as the regular expressions of the Rust world have it: Alphabetic, M, Nd, Pc, Join_Control. */
bool lm_is_word(uint32_t code_point);

#endif
