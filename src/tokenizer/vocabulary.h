/* The table of tokens: id to text and text to id.
 *
 *     struct lm_vocabulary vocabulary = {0};
 *     lm_vocabulary_add(&vocabulary, 0, "the", 3, 0, error);
 *     lm_vocabulary_find(&vocabulary, "the", 3, false);      // 0
 *     lm_vocabulary_free(&vocabulary);
 *
 * A token's text is what the model sees: plain bytes for byte-level models, the key of the file for all others.
 */
#ifndef LOAM_TOKENIZER_VOCABULARY_H
#define LOAM_TOKENIZER_VOCABULARY_H

#include "base/base.h"

enum lm_token_flags {
    LM_TOKEN_PRESENT = 1,
    LM_TOKEN_RAW = 2,   /* byte-level models: the key was not written in the byte alphabet, no text encodes to it */
    LM_TOKEN_ADDED = 4, /* listed among the added tokens */
    LM_TOKEN_SPECIAL = 8,
    LM_TOKEN_OUTSIDE = 16, /* added behind the model's own vocabulary: the model does not know it */
    LM_TOKEN_BYTE = 32,    /* <0xNN> of a vocabulary with byte fallback */
    LM_TOKEN_CONTROL = 64, /* a SentencePiece piece that text never gives */
};

struct lm_token {
    uint32_t offset, length; /* in `text` */
};

struct lm_vocabulary {
    struct lm_bytes text;
    struct lm_token *tokens; /* by id */
    uint8_t *flags;          /* by id: lm_token_flags; 0 for a hole */
    size_t size, capacity;   /* one more than the largest id */
    int32_t *slots;          /* open addressing: id or -1 */
    size_t slot_count, used;
    size_t longest; /* bytes of the longest token the model knows */
};

enum { LM_TOKEN_LIMIT = 1 << 26 }; /* ids and bytes of one token stay below this */

/* Makes room for `tokens` tokens at once. */
int lm_vocabulary_reserve(struct lm_vocabulary *vocabulary, size_t tokens, loam_error *error);
/* Two tokens with one id or one text: LOAM_EFORMAT. Tokens flagged OUTSIDE are not entered for lm_vocabulary_find. */
int lm_vocabulary_add(struct lm_vocabulary *vocabulary, int64_t id, const char *text, size_t length, unsigned flags,
                      loam_error *error);
/* The id, or -1. `raw` as LM_TOKEN_RAW. */
int32_t lm_vocabulary_find(const struct lm_vocabulary *vocabulary, const char *text, size_t length, bool raw);
/* The smallest id below `end` without a token, or -1. */
int64_t lm_vocabulary_hole(const struct lm_vocabulary *vocabulary, size_t end);
void lm_vocabulary_free(struct lm_vocabulary *vocabulary);

static inline const char *lm_vocabulary_text(const struct lm_vocabulary *vocabulary, int32_t id, size_t *length)
{
    *length = vocabulary->tokens[id].length;
    return vocabulary->text.data + vocabulary->tokens[id].offset;
}

#endif
