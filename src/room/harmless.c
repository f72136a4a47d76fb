/* Texts and names that cannot pass for something else. */
#include "protocol.h"

#include <string.h>
#include <utf8proc.h>

enum { ZWNJ = 0x200C, ZWJ = 0x200D, PERSON = 0x1F464, AI = 0x1F916, NAME_CHARACTERS = 48, MARKS_IN_A_ROW = 3 };

/* Nothing is seen of it, or it changes how what stands around it is read. */
static bool unseen(uint32_t c)
{
    return c == 0xAD || c == 0x34F || c == 0x61C || c == 0x115F || c == 0x1160 || c == 0x17B4 || c == 0x17B5 || (c >= 0x180B && c <= 0x180F) ||
           (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0x3164 ||
           (c >= 0xFE00 && c <= 0xFE0F) || c == 0xFEFF || c == 0xFFA0 || (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE0FFF);
}

/* Those of them that words and emoji need: joiners, and the selectors of variants; the tags of flags. */
static bool needed_unseen(uint32_t c)
{
    return c == ZWNJ || c == ZWJ || (c >= 0xFE00 && c <= 0xFE0F) || (c >= 0xE0020 && c <= 0xE007F) || (c >= 0x180B && c <= 0x180D);
}

static bool control(uint32_t c)
{
    return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029;
}

static bool opens(uint32_t c)
{
    return c == '[' || c == 0xFF3B || c == 0x3010 || c == 0x27E6 || c == 0x2045 || c == 0x301A || c == 0x2772;
}

static bool closes(uint32_t c)
{
    return c == ']' || c == 0xFF3D || c == 0x3011 || c == 0x27E7 || c == 0x2046 || c == 0x301B || c == 0x2773;
}

static bool sign(uint32_t c)
{
    return c == PERSON || c == AI;
}

/* The character at `text`, which is not empty; a byte that begins none is U+FFFD. */
static size_t character(const char *text, size_t length, uint32_t *c)
{
    const size_t size = lm_utf8_decode(text, length, c);
    if (size)
        return size;
    *c = 0xFFFD;
    return 1;
}

/* Also what is left out of texts: it must not part the two before it goes. */
static bool between_sign_and_bracket(uint32_t c)
{
    return unseen(c) || (control(c) && c != '\r' && c != 0x2028 && c != 0x2029) || c == ' ' || c == '\t' || c == 0xA0 || (c >= 0x1F3FB && c <= 0x1F3FF);
}

size_t lm_tag_begin(const char *text, size_t length)
{
    uint32_t c;
    size_t at = 0, size;
    if (length < 4 && length && (!memcmp(text, LM_TAG_PERSON, length) || !memcmp(text, LM_TAG_AI, length)))
        return SIZE_MAX;
    size = length ? lm_utf8_decode(text, length, &c) : 0;
    if (!size || !sign(c))
        return 0;
    for (at = size; at < length; at += size) {
        size = lm_utf8_decode(text + at, length - at, &c);
        if (size && opens(c))
            return at + size;
        if (!size && at + lm_utf8_unfinished(text + at, length - at) == length)
            return SIZE_MAX;
        if (!size || !between_sign_and_bracket(c))
            return 0;
    }
    return SIZE_MAX;
}

int lm_harmless_text(const char *text, size_t length, struct lm_bytes *out, loam_error *error)
{
    bool after_sign = false;
    return lm_harmless_piece(text, length, &after_sign, out, error);
}

int lm_harmless_piece(const char *text, size_t length, bool *after_sign, struct lm_bytes *out, loam_error *error)
{
    int code = lm_bytes_reserve(out, length + 1, error);
    for (size_t at = 0; at < length && code == LOAM_OK;) {
        uint32_t c;
        const size_t size = character(text + at, length - at, &c);
        const bool line_end = c == '\r' || c == 0x2028 || c == 0x2029;
        at += size;
        if (c == '\r' && at < length && text[at] == '\n')
            continue;
        if (line_end)
            c = '\n';
        if (control(c) || (unseen(c) && !needed_unseen(c)))
            continue;
        if (*after_sign && opens(c))
            c = '(';
        *after_sign = sign(c) || (*after_sign && between_sign_and_bracket(c));
        char bytes[4];
        code = lm_bytes_append(out, bytes, lm_utf8_encode(c, bytes), error);
    }
    return code;
}

/* --- Names --- */

static bool blank(uint32_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ZS ||
           c == 0x2028 || c == 0x2029;
}

/* Whether the character may stand in a name. */
static bool shown(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
        return false;
    default:
        return !unseen(c) && !sign(c);
    }
}

static bool mark(uint32_t c)
{
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME;
}

void lm_harmless_name(const char *name, char out[LM_NAME_BYTES])
{
    const size_t length = strlen(name);
    size_t to = 0, characters = 0, marks = 0;
    bool gap = false;
    for (size_t at = 0; at < length && characters < NAME_CHARACTERS;) {
        uint32_t c;
        char bytes[4];
        at += character(name + at, length - at, &c);
        if (blank(c)) {
            gap = to > 0;
            continue;
        }
        c = opens(c) ? '(' : closes(c) ? ')' : c;
        if (!shown(c) || c == 0xFFFD || (mark(c) && (!to || marks == MARKS_IN_A_ROW)))
            continue;    /* what is left out parts no marks */
        marks = mark(c) ? marks + 1 : 0;
        const size_t size = lm_utf8_encode(c, bytes);
        if (to + gap + size >= LM_NAME_BYTES)
            break;
        if (gap)
            out[to++] = ' ';
        gap = false;
        memcpy(out + to, bytes, size);
        to += size;
        characters++;
    }
    out[to] = 0;
    if (!to)
        strcpy(out, "someone");
}

void lm_name_key(const char *name, char out[LM_NAME_BYTES])
{
    utf8proc_uint8_t *folded = NULL;
    const utf8proc_ssize_t length =
        utf8proc_map((const utf8proc_uint8_t *)name, 0, &folded,
                     UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE |
                         UTF8PROC_STRIPMARK);
    size_t to = 0;
    const char *text = length > 0 ? (const char *)folded : name;
    for (size_t at = 0, end = strlen(text); at < end;) {
        uint32_t c;
        char bytes[4];
        at += character(text + at, end - at, &c);
        const size_t size = lm_utf8_encode(c, bytes);
        if (blank(c) || !shown(c))
            continue;
        if (to + size >= LM_NAME_BYTES)
            break;
        memcpy(out + to, bytes, size);
        to += size;
    }
    out[to] = 0;
    free(folded);
}

bool lm_same_name(const char *a, const char *b)
{
    char key_a[LM_NAME_BYTES], key_b[LM_NAME_BYTES];
    lm_name_key(a, key_a);
    lm_name_key(b, key_b);
    return !strcmp(key_a, key_b);
}

/* --- Mentions --- */

static bool letter_or_digit(uint32_t c)
{
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) || category == UTF8PROC_CATEGORY_ND || c == '_';
}

/* Bytes of `text` that are the name, whatever the case of its letters; 0: they are not. */
static size_t same_letters(const char *text, size_t length, const char *name)
{
    size_t at = 0, in_name = 0;
    const size_t name_length = strlen(name);
    while (in_name < name_length) {
        uint32_t a, b;
        if (at >= length)
            return 0;
        at += character(text + at, length - at, &a);
        in_name += character(name + in_name, name_length - in_name, &b);
        if (utf8proc_tolower((utf8proc_int32_t)a) != utf8proc_tolower((utf8proc_int32_t)b))
            return 0;
    }
    return at;
}

size_t lm_mention_at(const char *text, size_t length, const char *name, bool plain, size_t *bytes)
{
    uint32_t before = ' ';
    for (size_t at = 0; at < length;) {
        uint32_t c, after = ' ';
        const size_t size = character(text + at, length - at, &c);
        const bool called = c == '@' && !letter_or_digit(before);
        const size_t from = called ? at + size : at;
        const size_t used = called || (plain && !letter_or_digit(before)) ? same_letters(text + from, length - from, name) : 0;
        if (used && from + used < length)
            character(text + from + used, length - from - used, &after);
        if (used && !letter_or_digit(after)) {
            *bytes = from - at + used;
            return at;
        }
        before = c;
        at += size;
    }
    return SIZE_MAX;
}

size_t lm_mention_place(const char *text, size_t length, const char *name, bool plain)
{
    size_t bytes;
    return lm_mention_at(text, length, name, plain, &bytes);
}

bool lm_mentions(const char *text, size_t length, const char *name, bool plain)
{
    return lm_mention_place(text, length, name, plain) != SIZE_MAX;
}
