/* Counting words: how often each piece of text occurs.
 *
 *     struct lm_words words = {0};
 *     lm_words_count(&words, "the", 3, 1, error);
 *     words.items[0].count;      // 1
 *     lm_words_free(&words);
 */
#ifndef LOAM_TOKENIZER_WORDS_H
#define LOAM_TOKENIZER_WORDS_H

#include "base/base.h"

struct lm_word {
    uint64_t offset; /* in `text` */
    uint64_t count;
    uint32_t length, hash;
};

struct lm_words {
    struct lm_bytes text;
    struct lm_word *items;
    size_t count, capacity;
    uint32_t *slots; /* index + 1; 0: empty */
    size_t slot_count;
};

int lm_words_count(struct lm_words *words, const char *text, size_t length, uint64_t times, loam_error *error);
uint32_t lm_words_hash(const char *text, size_t length);
/* The same with the hash of the text. */
int lm_words_count_hashed(struct lm_words *words, const char *text, size_t length, uint32_t hash, uint64_t times,
                          loam_error *error);
/* Keeps the words for which `keep` is true, in their order. Takes no memory and gives none back. */
void lm_words_filter(struct lm_words *words, bool (*keep)(void *user, const struct lm_word *word), void *user);
/* Adds all of `from`. */
int lm_words_merge(struct lm_words *words, const struct lm_words *from, loam_error *error);
/* Bytes of memory that its words fill. */
size_t lm_words_memory(const struct lm_words *words);
void lm_words_free(struct lm_words *words);

#endif
