/* The two halves of training: counting the words of a corpus, and merging pairs of their symbols. */
#ifndef LOAM_TOKENIZER_TRAIN_H
#define LOAM_TOKENIZER_TRAIN_H

#include "internal.h"
#include "words.h"

/* Counts the pieces of all texts. `tokenizer` has the pattern as its only stage and the specials as added tokens. */
int lm_train_count(const struct lm_tokenizer_training *training, const struct lm_tokenizer *tokenizer,
                   struct lm_words *words, loam_error *error);
/* Adds a token a merge to the tokenizer's vocabulary, most frequent pair first, until it has
 * `training->vocabulary_size`. `words` is freed on the way, to make room. */
int lm_train_merge(const struct lm_tokenizer_training *training, struct lm_tokenizer *tokenizer, struct lm_words *words,
                   loam_error *error);

bool lm_train_cancelled(const struct lm_tokenizer_training *training);
void lm_train_progress(const struct lm_tokenizer_training *training, const char *stage, int64_t done, int64_t total);

#endif
