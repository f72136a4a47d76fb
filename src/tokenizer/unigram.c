/* Unigram: of all ways to cut a piece into tokens the one whose scores add up to most (Kudo, 2018), found by Viterbi's
 * algorithm as SentencePiece and Hugging Face's library have it. */
#include "internal.h"

enum { UNKNOWN_PENALTY = 10 }; /* the score of an unknown character: this much below the lowest */

/* The best way to a place in the piece: its score, and the token that ends there. */
struct lm_step {
    double score;
    uint32_t bytes; /* of the token; 0: no way known yet */
    int32_t id;
};

/* Tokens found, put out from left to right; unknown characters in a row are one token. */
struct output {
    struct lm_encoding *encoding;
    const struct lm_span *piece;
    size_t at, unknown; /* where the next token begins; bytes of the unknown run before it */
};

int lm_unigram_finish(struct lm_tokenizer *tokenizer, loam_error *error)
{
    struct lm_model_part *model = &tokenizer->model;
    double least = 0;
    for (size_t id = 0; id < model->score_count; id++)
        if (!id || model->scores[id] < least)
            least = model->scores[id];
    model->unknown_score = least - UNKNOWN_PENALTY;
    return lm_model_index(tokenizer, error);
}

static int grow(struct lm_workspace *w, size_t count, loam_error *error)
{
    if (count <= w->step_capacity)
        return LOAM_OK;
    size_t capacity = lm_round_up(count + count / 4, 256);
    struct lm_step *steps = lm_resize(w->steps, capacity, sizeof *steps, error);
    if (!steps)
        return LOAM_ENOMEM;
    for (size_t i = w->step_capacity; i < capacity; i++)
        steps[i] = (struct lm_step){0};
    w->steps = steps;
    w->step_capacity = capacity;
    return LOAM_OK;
}

static int no_unknown(struct output *out, size_t bytes)
{
    return lm_fail(out->encoding->error, LOAM_EFORMAT,
                   "the text has '%.*s', for which the vocabulary has no token, and the tokenizer has no unknown token",
                   (int)(bytes < 40 ? bytes : 40), out->piece->text + out->at);
}

/* Characters without a token: their bytes, where there are tokens for all of them, else the unknown token. */
static int put_unknown(struct output *out)
{
    const struct lm_model_part *model = &out->encoding->tokenizer->model;
    size_t at = out->at - out->unknown, end = out->at;
    bool bytes = model->byte_fallback;
    if (!out->unknown)
        return LOAM_OK;
    /* The text may be that of the unknown token itself. */
    out->unknown = 0;
    const struct lm_vocabulary *vocabulary = &out->encoding->tokenizer->vocabulary;
    int32_t known = lm_vocabulary_find(vocabulary, out->piece->text + at, end - at, false);
    if (known >= 0 && !(vocabulary->flags[known] & LM_TOKEN_SPECIAL))
        return lm_encoding_push(out->encoding, known, out->piece, at, end);
    for (size_t i = at; bytes && i < end; i++)
        bytes = model->bytes[(unsigned char)out->piece->text[i]] >= 0;
    int code = LOAM_OK;
    for (size_t i = at; bytes && code == LOAM_OK && i < end; i++)
        code = lm_encoding_push(out->encoding, model->bytes[(unsigned char)out->piece->text[i]], out->piece, i, i + 1);
    return bytes ? code : lm_encoding_push(out->encoding, model->unknown, out->piece, at, end);
}

static int put_step(struct output *out, const struct lm_step *step)
{
    int code = LOAM_OK;
    if (step->id == out->encoding->tokenizer->model.unknown) {
        out->unknown += step->bytes;
        out->at += step->bytes;
        return LOAM_OK;
    }
    code = put_unknown(out);
    if (code == LOAM_OK)
        code = lm_encoding_push(out->encoding, step->id, out->piece, out->at, out->at + step->bytes);
    out->at += step->bytes;
    return code;
}

/* Puts out the best way through the first `count` bytes of the window: turned around in place, then from the left. */
static int put_window(struct output *out, struct lm_step *steps, size_t count)
{
    size_t next = 0;
    for (size_t end = count; end;) {
        size_t start = end - steps[end].bytes;
        uint32_t bytes = steps[end].bytes;
        steps[end].bytes = (uint32_t)next; /* now: how far the next token's end is from this one's */
        next = bytes;
        end = start;
    }
    int code = LOAM_OK;
    for (size_t at = 0; code == LOAM_OK && at < count;) {
        size_t bytes = next;
        next = steps[at + bytes].bytes;
        struct lm_step step = {0, (uint32_t)bytes, steps[at + bytes].id};
        code = put_step(out, &step);
        at += bytes;
    }
    return code;
}

static void offer(struct lm_step *step, double score, size_t bytes, int32_t id)
{
    if (!step->bytes || score > step->score)
        *step = (struct lm_step){score, (uint32_t)bytes, id};
}

/* Tries every token that begins at `at` of the piece; *reach: the furthest end seen so far, from the window's start. */
static int extend(struct output *out, size_t window, size_t at, size_t character, size_t *reach)
{
    const struct lm_tokenizer *tokenizer = out->encoding->tokenizer;
    const struct lm_model_part *model = &tokenizer->model;
    struct lm_workspace *w = out->encoding->workspace;
    const struct lm_span *piece = out->piece;
    size_t most = piece->length - at < tokenizer->vocabulary.longest ? piece->length - at : tokenizer->vocabulary.longest;
    int code = grow(w, at - window + (most > character ? most : character) + 1, out->encoding->error);
    if (code != LOAM_OK)
        return code;
    struct lm_step *here = w->steps + (at - window);
    const double score = here->score;
    bool single = false;
    size_t furthest = 0;
    int32_t state = 0;
    for (size_t i = 0; i < most && lm_double_array_step(&model->pieces, &state, (unsigned char)piece->text[at + i]);
         i++) {
        int32_t id = lm_double_array_value(&model->pieces, state);
        if (id < 0)
            continue;
        offer(here + i + 1, score + model->scores[id], i + 1, id);
        single |= i + 1 == character;
        furthest = i + 1;
    }
    furthest = furthest > character ? furthest : character;
    if (at - window + furthest > *reach)
        *reach = at - window + furthest;
    if (single)
        return LOAM_OK;
    const struct lm_step *there = here + character;
    const bool better = !there->bytes || score + model->unknown_score > there->score;
    if (better && model->unknown < 0) {
        out->at = at;
        return no_unknown(out, character);
    }
    offer(here + character, score + model->unknown_score, character, model->unknown);
    return LOAM_OK;
}

/* The piece is gone through in windows that end where every way passes: memory is bounded by how far ways stay apart. */
int lm_unigram_encode(struct lm_encoding *encoding, const struct lm_span *piece)
{
    const unsigned char *text = (const unsigned char *)piece->text, *end = text + piece->length;
    struct lm_workspace *w = encoding->workspace;
    struct output out = {encoding, piece, 0, 0};
    size_t window = 0, reach = 0;
    if (piece->length >= UINT32_MAX)
        return lm_fail(encoding->error, LOAM_EUNSUPPORTED, "a word of %zu bytes: wanted under 4 GiB; split the text",
                       piece->length);
    int code = grow(w, 1, encoding->error);
    if (code == LOAM_OK)
        w->steps[0] = (struct lm_step){0};
    for (size_t at = 0; code == LOAM_OK && at < piece->length;) {
        if (at - window == reach && at > window) {
            double score = w->steps[reach].score;
            code = put_window(&out, w->steps, reach);
            memset(w->steps, 0, (reach + 1) * sizeof *w->steps);
            w->steps[0].score = score;
            window = at;
            reach = 0;
        }
        uint32_t c;
        size_t character = lm_character(text + at, end, &c);
        if (code == LOAM_OK)
            code = extend(&out, window, at, character, &reach);
        at += character;
    }
    if (code == LOAM_OK && piece->length > window)
        code = put_window(&out, w->steps, piece->length - window);
    if (code == LOAM_OK)
        code = put_unknown(&out);
    /* Steps are 0 between pieces. */
    if (w->steps)
        memset(w->steps, 0, (w->step_capacity < reach + 1 ? w->step_capacity : reach + 1) * sizeof *w->steps);
    return code;
}
