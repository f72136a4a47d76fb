/* The parts of training: counting the words of a corpus, merging pairs of their symbols, describing the result. */
#ifndef LOAM_TOKENIZER_TRAIN_H
#define LOAM_TOKENIZER_TRAIN_H

#include "internal.h"
#include "words.h"

/* Counts the pieces of all texts. `tokenizer` has the pattern and the specials as added tokens. */
int lm_train_count(const struct lm_tokenizer_training *training, const struct lm_tokenizer *tokenizer,
                   struct lm_words *words, loam_error *error);
/* Adds a token a merge to the tokenizer's vocabulary, most frequent pair first, until it has
 * `training->vocabulary_size`. `words` is freed on the way, to make room. */
int lm_train_merge(const struct lm_tokenizer_training *training, struct lm_tokenizer *tokenizer, struct lm_words *words,
                   loam_error *error);
/* The kinds that are made by way of their tokenizer.json. */
int lm_train_characters(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer, loam_error *error);
int lm_train_word_list(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer, loam_error *error);

/* The regular expressions (at most LM_PATTERN_SPLITS) of the pattern asked for; gives their number. */
size_t lm_train_splits(const struct lm_tokenizer_training *training, const char **regexes);
/* What training may take for the words in memory and beside them, in bytes; SIZE_MAX: no limit. */
size_t lm_train_share(const struct lm_tokenizer_training *training, size_t parts, size_t of);
bool lm_train_cancelled(const struct lm_tokenizer_training *training);
void lm_train_progress(const struct lm_tokenizer_training *training, const char *stage, int64_t done, int64_t total);
void lm_train_note(const struct lm_tokenizer_training *training, const char *format, ...) LM_PRINTF(2, 3);

#endif
