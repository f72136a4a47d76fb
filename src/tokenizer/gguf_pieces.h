/* What tokenizer/ shares inside: pieces with scores as GGUF files of SentencePiece's vocabularies have them. */
#ifndef LOAM_GGUF_PIECES_H
#define LOAM_GGUF_PIECES_H

#include "base/base.h"

struct lm_piece {
    const char *text;    /* UTF-8 */
    size_t length;
    float score;         /* a number, not NaN */
    bool normal;         /* may be merged of others */
};
struct lm_pieces {
    struct lm_piece *data;
    size_t count;
};
/* Writes the member "merges". */
int lm_pieces_put_merges(struct lm_json_writer *json, const struct lm_pieces *pieces, loam_error *error);

#endif
