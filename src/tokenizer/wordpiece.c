/* WordPiece: the longest token that begins a word, then the longest that goes on, and so forth (Wu et al., 2016); and
 * word-level vocabularies, where a piece is a token or unknown. */
#include "internal.h"

int lm_model_index(struct lm_tokenizer *tokenizer, loam_error *error)
{
    const struct lm_vocabulary *vocabulary = &tokenizer->vocabulary;
    struct lm_double_key *keys = lm_alloc(vocabulary->size + 1, sizeof *keys, error);
    if (!keys)
        return LOAM_ENOMEM;
    size_t count = 0;
    for (size_t id = 0; id < vocabulary->size; id++) {
        size_t length;
        const char *text = lm_vocabulary_text(vocabulary, (int32_t)id, &length);
        const unsigned flags = vocabulary->flags[id];
        /* Special tokens are text like any other unless they are asked for. */
        if (length && flags & LM_TOKEN_PRESENT && !(flags & (LM_TOKEN_OUTSIDE | LM_TOKEN_SPECIAL)))
            keys[count++] = (struct lm_double_key){(const unsigned char *)text, (uint32_t)length, (int32_t)id};
    }
    int code = lm_double_array_build(&tokenizer->model.pieces, keys, count, error);
    lm_free(keys);
    return code;
}

int lm_wordpiece_finish(struct lm_tokenizer *tokenizer, loam_error *error)
{
    struct lm_model_part *model = &tokenizer->model;
    int code = lm_model_index(tokenizer, error);
    if (code != LOAM_OK)
        return code;
    model->inner = 0;
    for (const char *at = model->prefix; *at && model->inner >= 0; at++)
        if (!lm_double_array_step(&model->pieces, &model->inner, (unsigned char)*at))
            model->inner = -1;
    return LOAM_OK;
}

static int put_unknown(struct lm_encoding *encoding, const struct lm_span *piece)
{
    const int32_t unknown = encoding->tokenizer->model.unknown;
    if (unknown < 0)
        return lm_fail(encoding->error, LOAM_EFORMAT,
                       "the text has '%.*s', for which the vocabulary has no token, and the tokenizer has no unknown "
                       "token",
                       (int)(piece->length < 40 ? piece->length : 40), piece->text);
    return lm_encoding_push(encoding, unknown, piece, 0, piece->length);
}

static size_t count_characters(const struct lm_span *piece, size_t most)
{
    const unsigned char *at = (const unsigned char *)piece->text, *end = at + piece->length;
    size_t count = 0;
    for (uint32_t c; at < end && count <= most; count++)
        at += lm_character(at, end, &c);
    return count;
}

int lm_wordpiece_encode(struct lm_encoding *encoding, const struct lm_span *piece)
{
    const struct lm_model_part *model = &encoding->tokenizer->model;
    if (count_characters(piece, model->longest_word) > model->longest_word)
        return put_unknown(encoding, piece);
    const size_t old = encoding->ids->length, old_starts = encoding->starts ? encoding->starts->length : 0;
    int code = LOAM_OK;
    for (size_t at = 0; code == LOAM_OK && at < piece->length;) {
        int32_t state = at ? model->inner : 0, best = -1;
        size_t end = at;
        for (size_t i = at; state >= 0 && i < piece->length &&
                            lm_double_array_step(&model->pieces, &state, (unsigned char)piece->text[i]);
             i++) {
            int32_t id = lm_double_array_value(&model->pieces, state);
            if (id >= 0) {
                best = id;
                end = i + 1;
            }
        }
        if (best < 0) {
            encoding->ids->length = old;
            if (encoding->starts)
                encoding->starts->length = old_starts;
            if (encoding->ends)
                encoding->ends->length = old_starts;
            return put_unknown(encoding, piece);
        }
        code = lm_encoding_push(encoding, best, piece, at, end);
        at = end;
    }
    return code;
}

int lm_wordlevel_encode(struct lm_encoding *encoding, const struct lm_span *piece)
{
    const struct lm_vocabulary *vocabulary = &encoding->tokenizer->vocabulary;
    int32_t id = lm_vocabulary_find(vocabulary, piece->text, piece->length, false);
    if (id < 0 || vocabulary->flags[id] & LM_TOKEN_SPECIAL)
        return put_unknown(encoding, piece);
    return lm_encoding_push(encoding, id, piece, 0, piece->length);
}
