/* Classes of code points. */
#include "unicode.h"

#include <string.h>
#include <utf8proc.h>

size_t lm_cluster_end(const char *text, size_t length, size_t at)
{
    const unsigned char *bytes = (const unsigned char *)text, *end = bytes + length;
    utf8proc_int32_t state = 0;
    uint32_t c, next;
    at += lm_character(bytes + at, end, &c);
    while (at < length && c <= 0x10FFFF) {
        const size_t n = lm_character(bytes + at, end, &next);
        if (next > 0x10FFFF ||
            utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
            break;
        at += n;
        c = next;
    }
    return at;
}

bool lm_is_white_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool lm_is_word(uint32_t c)
{
    /* Alphabetic beyond letters, letter numbers and marks: circled and squared Latin letters. */
    if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
        (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C || c == 0x200D)
        return true;
    if (c > 0x10FFFF)
        return false;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return false;
    }
}

static unsigned class_of(uint32_t c)
{
    unsigned class = lm_is_white_space(c) ? LM_CLASS_SPACE : 0;
    if (c == '\r' || c == '\n')
        class |= LM_CLASS_NEWLINE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
        return class | LM_CLASS_LETTER | LM_CLASS_UPPER;
    case UTF8PROC_CATEGORY_LL:
        return class | LM_CLASS_LETTER | LM_CLASS_LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return class | LM_CLASS_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return class | LM_CLASS_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return class | LM_CLASS_NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
        return class | LM_CLASS_SIGN;
    default:
        return class;
    }
}

/* Blocks of ideographs, Hangul, surrogates and private use: of one class wherever both ends are. Looking up all of them
 * one by one would be most of the time that a small tokenizer takes to load. */
static bool is_even(uint32_t block)
{
    return (block >= 0x3400 && block < 0xA000) || (block >= 0xAC00 && block < 0xF900) ||
           (block >= 0x20000 && block < 0x2A600) || block >= 0x38000;
}

int lm_unicode_create(struct lm_unicode **unicode, loam_error *error)
{
    struct lm_unicode *made = lm_alloc(1, sizeof *made, error);
    if (!made)
        return LOAM_ENOMEM;
    for (uint32_t block = 0; block < LM_UNICODE_PAGES; block += 256) {
        uint8_t first = (uint8_t)class_of(block), last = (uint8_t)class_of(block + 255);
        if (is_even(block) && first == last) {
            memset(made->class + block, first, 256);
            continue;
        }
        for (uint32_t c = block; c < block + 256; c++)
            made->class[c] = (uint8_t)class_of(c);
    }
    *unicode = made;
    return LOAM_OK;
}

void lm_unicode_free(struct lm_unicode *unicode)
{
    lm_free(unicode);
}
