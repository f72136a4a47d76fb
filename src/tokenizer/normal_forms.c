/* Unicode's normal forms on top of utf8proc's tables. */
#include "normal_forms.h"

#include <string.h>

#include <utf8proc.h>

static int class_of(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

/* Jamo vowels and finals compose with the syllable before them. */
static bool is_joining_jamo(uint32_t c)
{
    return (c >= 0x1161 && c <= 0x1175) || (c >= 0x11A7 && c <= 0x11C2);
}

/* Starters that are the second half of a composition, by Unicode's composition table. */
static bool composes_backward(uint32_t c)
{
    static const uint32_t seconds[] = {0x09BE,  0x09D7,  0x0B3E,  0x0B56,  0x0B57,  0x0BBE,  0x0BD7,  0x0CC2, 0x0CD5,
                                       0x0CD6,  0x0D3E,  0x0D57,  0x0DCF,  0x0DDF,  0x0FB5,  0x0FB7,  0x102E, 0x1B35,
                                       0x11127, 0x1133E, 0x11357, 0x114B0, 0x114BA, 0x114BD, 0x115AF, 0x11930};
    for (size_t i = 0; c >= 0x09BE && c <= 0x11930 && i < sizeof seconds / sizeof *seconds; i++)
        if (seconds[i] == c)
            return true;
    return is_joining_jamo(c);
}

static size_t decompose(enum lm_form form, int32_t c, int32_t *out, size_t room)
{
    int boundary = 0;
    utf8proc_option_t options = UTF8PROC_DECOMPOSE;
    if (form == LM_NFKC || form == LM_NFKD)
        options |= UTF8PROC_COMPAT;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, out, (utf8proc_ssize_t)room, options, &boundary);
    if (n < 1 || (size_t)n > room) {
        out[0] = c;
        return 1;
    }
    return (size_t)n;
}

bool lm_form_begins(uint32_t c)
{
    if (c < 0x300)
        return true;
    if (class_of((int32_t)c) || composes_backward(c))
        return false;
    if (utf8proc_get_property((int32_t)c)->decomp_seqindex == UINT16_MAX)
        return true;
    int32_t out[LM_FORM_GROWTH];
    decompose(LM_NFKD, (int32_t)c, out, LM_FORM_GROWTH);
    return !class_of(out[0]) && !composes_backward((uint32_t)out[0]);
}

bool lm_form_keeps(enum lm_form form, uint32_t c)
{
    if (c < 0xA0 || (form == LM_NFC && c < 0x300))
        return true;
    bool hangul = c >= 0xAC00 && c <= 0xD7A3;
    if (utf8proc_get_property((int32_t)c)->decomp_seqindex == UINT16_MAX && !hangul)
        return true;
    if (hangul)
        return form == LM_NFC || form == LM_NFKC;
    int32_t points[LM_FORM_GROWTH], scratch[LM_FORM_GROWTH];
    points[0] = (int32_t)c;
    return lm_form_segment(form, points, 1, scratch) == 1 && points[0] == (int32_t)c;
}

/* Stable sort of a run of non-starters by combining class. */
static void order_run(int32_t *points, size_t count, int32_t *scratch)
{
    if (count < 24) {
        for (size_t i = 1; i < count; i++) {
            int32_t c = points[i];
            int class = class_of(c);
            size_t j = i;
            for (; j && class_of(points[j - 1]) > class; j--)
                points[j] = points[j - 1];
            points[j] = c;
        }
        return;
    }
    size_t places[257] = {0};
    for (size_t i = 0; i < count; i++)
        places[class_of(points[i]) + 1]++;
    for (int i = 1; i < 257; i++)
        places[i] += places[i - 1];
    for (size_t i = 0; i < count; i++)
        scratch[places[class_of(points[i])]++] = points[i];
    memcpy(points, scratch, count * sizeof *points);
}

size_t lm_form_segment(enum lm_form form, int32_t *points, size_t count, int32_t *scratch)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += decompose(form, points[i], scratch + n, LM_FORM_GROWTH);
    memcpy(points, scratch, n * sizeof *points);
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && class_of(points[end]))
            end++;
        order_run(points + i, end - i, scratch);
        i = end + 1;
    }
    if (form == LM_NFC || form == LM_NFKC) {
        utf8proc_ssize_t composed =
            utf8proc_normalize_utf32(points, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        if (composed > 0)
            n = (size_t)composed;
    }
    return n;
}
