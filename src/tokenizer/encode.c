/* Text to ids and back: the pipeline from end to end. */
#include "internal.h"

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
            code = lm_encoding_push(encoding, added->id, span, start);
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
            code = lm_encoding_push(encoding, added->id, text, start);
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
    }
    return code;
}

int lm_tokenizer_encode(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                        struct lm_ids *ids, struct lm_ids *starts, loam_error *error)
{
    if (starts && length >= INT32_MAX)
        return lm_fail(error, LOAM_EUNSUPPORTED, "a text of %zu bytes: offsets need a text under 2 GiB", length);
    struct lm_encoding encoding = {tokenizer, NULL, ids, starts, flags, error};
    struct lm_span span = {length ? text : "", length, 0, NULL, true};
    size_t old = ids->length, old_starts = starts ? starts->length : 0;
    int code = lm_pool_take(tokenizer->pool, &encoding.workspace, error);
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
    }
    return code;
}

static int check_id(const struct lm_tokenizer *tokenizer, int32_t id, loam_error *error)
{
    if (id >= 0 && (size_t)id < tokenizer->vocabulary.size && (tokenizer->vocabulary.flags[id] & LM_TOKEN_PRESENT))
        return LOAM_OK;
    return lm_fail(error, LOAM_EUSAGE, "id %d has no token: the tokenizer's ids are 0 to %d", id,
                   lm_tokenizer_size(tokenizer) - 1);
}

int lm_tokenizer_decode(const struct lm_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                        struct lm_bytes *text, loam_error *error)
{
    size_t old = text->length;
    bool first = true;
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        code = check_id(tokenizer, ids[i], error);
        if (code != LOAM_OK || (skip_special && lm_tokenizer_is_special(tokenizer, ids[i])))
            continue;
        code = lm_decode_token(tokenizer, ids[i], first, text, error);
        first = false;
    }
    if (code != LOAM_OK && text->data) {
        text->length = old;
        text->data[old] = 0;
    }
    return code;
}

/* How many bytes of what is no character one U+FFFD stands for: the longest beginning of a character, else one byte
 * (the practice that the Unicode Standard recommends in 3.9, and that Hugging Face's decoders have). */
static size_t broken(const char *text, size_t length)
{
    size_t most = length < 3 ? length : 3;
    while (most > 1 && lm_utf8_unfinished(text, most) != most)
        most--;
    return most;
}

/* Gives out what is held up to the last whole character, U+FFFD for what can no longer become one. */
static int give_out(struct lm_bytes *held, bool last, struct lm_bytes *out, loam_error *error)
{
    size_t at = 0, wait = last ? 0 : lm_utf8_unfinished(held->data, held->length);
    int code = LOAM_OK;
    while (code == LOAM_OK && at < held->length - wait) {
        size_t good = lm_utf8_check(held->data + at, held->length - wait - at);
        code = lm_bytes_append(out, held->data + at, good, error);
        at += good;
        if (code == LOAM_OK && at < held->length - wait) {
            code = lm_bytes_append(out, "\xEF\xBF\xBD", 3, error);
            at += broken(held->data + at, held->length - wait - at);
        }
    }
    if (code == LOAM_OK) {
        memmove(held->data, held->data + at, held->length - at);
        held->length -= at;
    }
    return code;
}

int lm_stream_push(const struct lm_tokenizer *tokenizer, struct lm_stream *stream, int32_t id, bool skip_special,
                   struct lm_bytes *out, loam_error *error)
{
    int code = check_id(tokenizer, id, error);
    if (code != LOAM_OK || (skip_special && lm_tokenizer_is_special(tokenizer, id)))
        return code;
    code = lm_decode_token(tokenizer, id, stream->emitted == 0, &stream->held, error);
    if (code == LOAM_OK)
        stream->emitted++;
    return code == LOAM_OK && stream->held.length ? give_out(&stream->held, false, out, error) : code;
}

int lm_stream_finish(struct lm_stream *stream, struct lm_bytes *out, loam_error *error)
{
    return stream->held.length ? give_out(&stream->held, true, out, error) : LOAM_OK;
}

void lm_stream_free(struct lm_stream *stream)
{
    lm_bytes_free(&stream->held);
    *stream = (struct lm_stream){0};
}
