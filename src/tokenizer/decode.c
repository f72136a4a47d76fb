/* Ids to text, all at once and one after the other. */
#include "internal.h"

static int check_id(const struct lm_tokenizer *tokenizer, int32_t id, loam_error *error)
{
    if (id >= 0 && (size_t)id < tokenizer->vocabulary.size && (tokenizer->vocabulary.flags[id] & LM_TOKEN_PRESENT))
        return LOAM_OK;
    return lm_fail(error, LOAM_EUSAGE, "id %d has no token: the tokenizer's ids are 0 to %d", id,
                   lm_tokenizer_size(tokenizer) - 1);
}

static int decode_each(const struct lm_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                       struct lm_bytes *text, loam_error *error)
{
    struct lm_decoding decoding = {.whole_runs = true};
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        code = check_id(tokenizer, ids[i], error);
        if (code == LOAM_OK && !(skip_special && lm_tokenizer_is_special(tokenizer, ids[i])))
            code = lm_decode_token(tokenizer, ids[i], &decoding, text, error);
    }
    return code == LOAM_OK ? lm_decode_end(&decoding, text, error) : code;
}

static int decode_together(const struct lm_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                           struct lm_bytes *text, loam_error *error)
{
    struct lm_ids kept = {0};
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        code = check_id(tokenizer, ids[i], error);
        if (code == LOAM_OK && !(skip_special && lm_tokenizer_is_special(tokenizer, ids[i])))
            code = lm_ids_push(&kept, ids[i], error);
    }
    if (code == LOAM_OK)
        code = lm_decode_list(tokenizer, kept.data, kept.length, text, error);
    lm_ids_free(&kept);
    return code;
}

int lm_tokenizer_decode(const struct lm_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                        struct lm_bytes *text, loam_error *error)
{
    size_t old = text->length;
    int code = tokenizer->decodes_alone ? decode_each(tokenizer, ids, count, skip_special, text, error)
                                        : decode_together(tokenizer, ids, count, skip_special, text, error);
    if (code != LOAM_OK && text->data) {
        text->length = old;
        text->data[old] = 0;
    }
    return code;
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
            at += lm_broken_length(held->data + at, held->length - wait - at);
        }
    }
    if (code == LOAM_OK) {
        memmove(held->data, held->data + at, held->length - at);
        held->length -= at;
    }
    return code;
}

/* Decoders that look at several tokens: everything is decoded again, and given out up to the place where the text can
 * still change with the next token. Such decoders are rare (BPEDecoder, Replace behind Fuse). */
static int push_together(const struct lm_tokenizer *tokenizer, struct lm_stream *stream, loam_error *error)
{
    struct lm_bytes all = {0};
    int code = lm_decode_list(tokenizer, stream->ids.data, stream->ids.length, &all, error);
    size_t same = 0, known = stream->together.length;
    while (code == LOAM_OK && same < known && same < all.length && all.data[same] == stream->together.data[same])
        same++;
    /* What two decodings in a row agree on is settled. */
    if (code == LOAM_OK && same > stream->given) {
        code = lm_bytes_append(&stream->held, all.data + stream->given, same - stream->given, error);
        stream->given = same;
    }
    lm_bytes_free(&stream->together);
    stream->together = all;
    return code;
}

int lm_stream_push(const struct lm_tokenizer *tokenizer, struct lm_stream *stream, int32_t id, bool skip_special,
                   struct lm_bytes *out, loam_error *error)
{
    int code = check_id(tokenizer, id, error);
    if (code != LOAM_OK || (skip_special && lm_tokenizer_is_special(tokenizer, id)))
        return code;
    if (tokenizer->decodes_alone) {
        struct lm_decoding decoding = {.tokens = stream->emitted, .stripped = stream->stripped, .begun = stream->begun};
        code = lm_decode_token(tokenizer, id, &decoding, &stream->held, error);
        stream->stripped = decoding.stripped;
        stream->begun = decoding.begun;
    } else {
        code = lm_ids_push(&stream->ids, id, error);
        /* A run of bytes may still become another text. */
        if (code == LOAM_OK && !lm_decoder_waits(tokenizer, id))
            code = push_together(tokenizer, stream, error);
    }
    if (code == LOAM_OK)
        stream->emitted++;
    return code == LOAM_OK && stream->held.length ? give_out(&stream->held, false, out, error) : code;
}

int lm_stream_finish(const struct lm_tokenizer *tokenizer, struct lm_stream *stream, struct lm_bytes *out,
                     loam_error *error)
{
    int code = LOAM_OK;
    if (stream->ids.length)
        code = push_together(tokenizer, stream, error);
    if (code != LOAM_OK)
        return code;
    if (stream->together.length > stream->given)
        code = lm_bytes_append(&stream->held, stream->together.data + stream->given,
                               stream->together.length - stream->given, error);
    stream->given = stream->together.length;
    return code == LOAM_OK && stream->held.length ? give_out(&stream->held, true, out, error) : code;
}

void lm_stream_free(struct lm_stream *stream)
{
    lm_bytes_free(&stream->held);
    lm_bytes_free(&stream->together);
    lm_ids_free(&stream->ids);
    *stream = (struct lm_stream){0};
}
