/* SentencePiece's vocabularies, whatever file they come from: pieces with scores and types, and how texts are prepared.
 *
 *     struct lm_pieces pieces = {.data = list, .count = n, .dummy_prefix = true, .escapes = true, .unknown = 0};
 *     lm_pieces_to_json(&pieces, "tokenizer.model", &json, error);    // as tokenizer.json
 */
#ifndef LOAM_TOKENIZER_PIECES_H
#define LOAM_TOKENIZER_PIECES_H

#include "base/base.h"

enum lm_piece_type { /* as SentencePiece and GGUF number them */
    LM_PIECE_NORMAL = 1,
    LM_PIECE_UNKNOWN = 2,
    LM_PIECE_CONTROL = 3,
    LM_PIECE_DEFINED = 4,
    LM_PIECE_UNUSED = 5,
    LM_PIECE_BYTE = 6,
};
struct lm_piece {
    const char *text;    /* UTF-8, not empty */
    size_t length;
    float score;         /* a number, not NaN */
    enum lm_piece_type type;
};
struct lm_pieces {
    struct lm_piece *data; /* by id */
    size_t count;
    bool unigram; /* else BPE */
    bool byte_fallback;
    bool dummy_prefix;     /* a blank is put in front of a text */
    bool removes_blanks;   /* at both ends, and all but one of several */
    bool escapes;          /* blanks become U+2581 */
    const char *charsmap;  /* base64 of the precompiled map, or NULL */
};
/* `name` is what messages call the input. */
int lm_pieces_to_json(const struct lm_pieces *pieces, const char *name, struct lm_bytes *out, loam_error *error);
/* Writes the member "merges" (BPE). */
int lm_pieces_put_merges(struct lm_json_writer *json, const struct lm_pieces *pieces, loam_error *error);

#endif
