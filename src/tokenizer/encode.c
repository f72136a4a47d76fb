/* Text to ids: the pipeline from end to end. */
#include "internal.h"

int lm_encoding_place(struct lm_encoding *encoding, const struct lm_span *span, size_t at, size_t end)
{
    size_t start = span->base + (span->origins && at < span->length ? (size_t)span->origins[at] : at);
    size_t stop = span->base + end;
    if (span->origins && end > at) {
        /* A byte kept is one byte of the source; what was put in place of a character has that character's origin. */
        const unsigned char *source = (const unsigned char *)encoding->source;
        size_t last = span->base + (size_t)span->origins[end - 1];
        uint32_t c;
        stop = last + lm_character(source + last, source + encoding->source_length, &c);
    } else if (span->origins) {
        stop = start;
    }
    int code = lm_ids_push(encoding->starts, (int32_t)start, encoding->error);
    return code == LOAM_OK && encoding->ends ? lm_ids_push(encoding->ends, (int32_t)stop, encoding->error) : code;
}

/* A stretch of normalized text: the added tokens matched there, the rest split and given to the model. */
static int encode_normal(struct lm_encoding *encoding, const struct lm_span *span)
{
    const struct lm_tokenizer *tokenizer = encoding->tokenizer;
    const struct lm_added *added;
    size_t at = 0, start, end;
    int code = LOAM_OK;
    while (code == LOAM_OK && lm_added_next(tokenizer, &tokenizer->normal, span->text, span->length, at,
                                            encoding->flags, &added, &start, &end)) {
        struct lm_span before = lm_span_part(span, at, start);
        code = lm_pretokenize(encoding, &before);
        if (code == LOAM_OK)
            code = lm_encoding_push(encoding, added->id, span, start, end);
        at = end;
    }
    struct lm_span rest = lm_span_part(span, at, span->length);
    return code == LOAM_OK ? lm_pretokenize(encoding, &rest) : code;
}

static int encode_section(struct lm_encoding *encoding, const struct lm_span *span)
{
    struct lm_span normal;
    if (!span->length)
        return LOAM_OK;
    int code = lm_normalize(encoding->tokenizer, encoding->workspace, span, encoding->starts != NULL, &normal,
                            encoding->error);
    return code == LOAM_OK ? encode_normal(encoding, &normal) : code;
}

static int encode_text(struct lm_encoding *encoding, const struct lm_span *text)
{
    const struct lm_tokenizer *tokenizer = encoding->tokenizer;
    const struct lm_added *added;
    size_t at = 0, start, end;
    int code = LOAM_OK;
    while (code == LOAM_OK && lm_added_next(tokenizer, &tokenizer->raw, text->text, text->length, at, encoding->flags,
                                            &added, &start, &end)) {
        struct lm_span before = lm_span_part(text, at, start);
        code = encode_section(encoding, &before);
        if (code == LOAM_OK)
            code = lm_encoding_push(encoding, added->id, text, start, end);
        at = end;
    }
    struct lm_span rest = lm_span_part(text, at, text->length);
    return code == LOAM_OK ? encode_section(encoding, &rest) : code;
}

static int put_around(struct lm_encoding *encoding, const struct lm_ids *ids, size_t at)
{
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < ids->length; i++) {
        code = lm_ids_push(encoding->ids, ids->data[i], encoding->error);
        if (code == LOAM_OK && encoding->starts)
            code = lm_ids_push(encoding->starts, (int32_t)at, encoding->error);
        if (code == LOAM_OK && encoding->ends)
            code = lm_ids_push(encoding->ends, (int32_t)at, encoding->error);
    }
    return code;
}

/* How many bytes of what is no character one U+FFFD stands for: the longest beginning of a character, else one byte
 * (the practice that the Unicode Standard recommends in 3.9). */
size_t lm_broken_length(const char *text, size_t length)
{
    size_t most = length < 3 ? length : 3;
    while (most > 1 && lm_utf8_unfinished(text, most) != most)
        most--;
    return most;
}

static bool takes_bytes(const struct lm_tokenizer *tokenizer)
{
    return tokenizer->byte_level || tokenizer->lettered;
}

size_t lm_tokenizer_count_broken(const struct lm_tokenizer *tokenizer, const char *text, size_t length)
{
    size_t count = 0;
    for (size_t at = 0; !takes_bytes(tokenizer); count++) {
        at += lm_utf8_check(text + at, length - at);
        if (at == length)
            break;
        at += lm_broken_length(text + at, length - at);
    }
    return count;
}

/* The text with U+FFFD for what is not UTF-8. */
static int repair(struct lm_encoding *encoding, struct lm_span *span)
{
    struct lm_text *clean = &encoding->workspace->clean;
    const char *text = span->text;
    size_t length = span->length;
    int code = LOAM_OK;
    clean->bytes.length = clean->origins.length = 0;
    for (size_t at = 0; code == LOAM_OK && at < length;) {
        size_t good = lm_utf8_check(text + at, length - at);
        code = lm_bytes_append(&clean->bytes, text + at, good, encoding->error);
        for (size_t i = 0; encoding->starts && code == LOAM_OK && i < good; i++)
            code = lm_ids_push(&clean->origins, (int32_t)(at + i), encoding->error);
        at += good;
        if (at == length || code != LOAM_OK)
            break;
        code = lm_bytes_append(&clean->bytes, "\xEF\xBF\xBD", 3, encoding->error);
        for (int i = 0; encoding->starts && code == LOAM_OK && i < 3; i++)
            code = lm_ids_push(&clean->origins, (int32_t)at, encoding->error);
        at += lm_broken_length(text + at, length - at);
    }
    *span = (struct lm_span){clean->bytes.data, clean->bytes.length, 0, encoding->starts ? clean->origins.data : NULL,
                             true};
    return code;
}

int lm_tokenizer_encode_places(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                               struct lm_ids *ids, struct lm_ids *starts, struct lm_ids *ends, loam_error *error)
{
    if (starts && length >= INT32_MAX)
        return lm_fail(error, LOAM_EUNSUPPORTED, "a text of %zu bytes: offsets need a text under 2 GiB", length);
    struct lm_span span = {length ? text : "", length, 0, NULL, true};
    struct lm_encoding encoding = {.tokenizer = tokenizer,
                                   .ids = ids,
                                   .starts = starts,
                                   .ends = ends,
                                   .source = span.text,
                                   .source_length = length,
                                   .flags = flags,
                                   .error = error};
    size_t old = ids->length, old_starts = starts ? starts->length : 0, old_ends = ends ? ends->length : 0;
    int code = lm_pool_take(tokenizer->pool, &encoding.workspace, error);
    if (code == LOAM_OK && !takes_bytes(tokenizer) && lm_utf8_check(span.text, length) != length)
        code = repair(&encoding, &span);
    if (code == LOAM_OK && flags & LM_ENCODE_ADD_SPECIAL)
        code = put_around(&encoding, &tokenizer->front, 0);
    if (code == LOAM_OK)
        code = encode_text(&encoding, &span);
    if (code == LOAM_OK && flags & LM_ENCODE_ADD_SPECIAL)
        code = put_around(&encoding, &tokenizer->back, length);
    lm_pool_give(tokenizer->pool, encoding.workspace);
    if (code != LOAM_OK) {
        ids->length = old;
        if (starts)
            starts->length = old_starts;
        if (ends)
            ends->length = old_ends;
    }
    return code;
}

int lm_tokenizer_encode(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                        struct lm_ids *ids, struct lm_ids *starts, loam_error *error)
{
    return lm_tokenizer_encode_places(tokenizer, text, length, flags, ids, starts, NULL, error);
}
