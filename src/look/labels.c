#include "labels.h"

#include <string.h>

static const char *mark_of(unsigned char byte)
{
    return byte == ' ' ? "\xC2\xB7" : byte == '\n' ? "\xE2\x86\xB5" : byte == '\t' ? "\xE2\x86\x92" : NULL;
}

/* C1 controls, marks that turn the direction of writing, and line separators would drive or break a terminal. */
static bool is_hostile(uint32_t character)
{
    return character < 0x20 || (character >= 0x7F && character < 0xA0) || (character >= 0x200B && character <= 0x200F) ||
           (character >= 0x2028 && character <= 0x202E) || (character >= 0x2060 && character <= 0x206F) || character == 0xFEFF;
}

int lm_label_write(const char *text, size_t length, struct lm_bytes *out, loam_error *error)
{
    int code = lm_bytes_append(out, "", 0, error);
    for (size_t at = 0; at < length && !code;) {
        uint32_t character;
        const size_t used = lm_utf8_decode(text + at, length - at, &character);
        const char *mark = mark_of((unsigned char)text[at]);
        if (used == 0)
            code = lm_bytes_format(out, error, "\\x%02X", (unsigned)(unsigned char)text[at]);
        else if (mark)
            code = lm_bytes_append(out, mark, strlen(mark), error);
        else if (is_hostile(character))
            code = lm_bytes_format(out, error, "\\u%04X", (unsigned)character);
        else {
            if (at == 0 && lm_utf8_width(character) == 0)    /* a mark that wants a letter before it */
                code = lm_bytes_append(out, "\xE2\x97\x8C", 3, error);
            if (!code)
                code = lm_bytes_append(out, text + at, used, error);
        }
        at += used ? used : 1;
    }
    return code;
}

static char *label_of(const struct lm_tokenizer *tokenizer, int32_t id, loam_error *error)
{
    struct lm_bytes label = {0};
    size_t length;
    const char *text = tokenizer && id >= 0 && id < lm_tokenizer_size(tokenizer) ? lm_tokenizer_token(tokenizer, id, &length) : NULL;
    int code = text && length ? lm_label_write(text, length, &label, error) : lm_bytes_format(&label, error, "%d", (int)id);
    if (!code)
        return label.data;
    lm_bytes_free(&label);
    return NULL;
}

int lm_labels_make(const struct lm_tokenizer *tokenizer, const int32_t *ids, int64_t count, char ***labels, loam_error *error)
{
    char **made = lm_alloc((size_t)count + 1, sizeof *made, error);
    bool there = made != NULL;
    for (int64_t i = 0; there && i < count; i++)
        there = (made[i] = label_of(tokenizer, ids[i], error)) != NULL;
    if (!there) {
        if (made)
            lm_free_strings(made, (size_t)count);
        return LOAM_ENOMEM;
    }
    *labels = made;
    return LOAM_OK;
}
