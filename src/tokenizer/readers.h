/* Readers of vocabulary files, each from bytes in memory. `name` is what messages call the input; data that is not in
 * the format: LOAM_EFORMAT with the place. */
#ifndef LOAM_TOKENIZER_READERS_H
#define LOAM_TOKENIZER_READERS_H

#include "tokenizer.h"

int lm_tokenizer_from_sentencepiece(const char *data, size_t size, const char *name, struct lm_tokenizer **tokenizer,
                                    loam_error *error);
/* llama2.c's tokenizer.bin. */
int lm_tokenizer_from_llama2c(const char *data, size_t size, const char *name, struct lm_tokenizer **tokenizer,
                              loam_error *error);
bool lm_looks_like_llama2c(const char *data, size_t size);
/* tiktoken's rank files. `family` as lm_tokenizer_load_as has it. */
int lm_tokenizer_from_ranks(const char *data, size_t size, const char *name, const char *family,
                            struct lm_tokenizer **tokenizer, loam_error *error);
bool lm_looks_like_ranks(const char *data, size_t size);
/* GPT-2's pair of vocab.json and merges.txt. */
int lm_tokenizer_from_merges(const char *vocabulary, size_t vocabulary_size, const char *vocabulary_name,
                             const char *merges, size_t merges_size, const char *merges_name, const char *family,
                             struct lm_tokenizer **tokenizer, loam_error *error);

/* What a vocabulary file of a family does not say itself: how texts are split, and the special tokens. */
struct lm_family {
    const char *name;
    int32_t ranks;               /* how many the family's rank file has; 0: no such file */
    const char *last;            /* the bytes of the last, where they are known */
    const char *patterns[4];     /* regular expressions one after the other; none: GPT-2's */
    bool composes;               /* NFC first */
    const char *bos, *eos, *pad; /* or NULL */
    const struct lm_family_token {
        int32_t id;
        const char *content; /* with %d: for each number from `first` to `last` one */
        int first, last;
        bool plain; /* not special */
    } * tokens; /* ended by one without a content */
};
/* NULL: no such family. */
const struct lm_family *lm_family_named(const char *name);
/* The family whose file has so many ranks and this last one. */
const struct lm_family *lm_family_of_ranks(size_t count, const char *last, size_t length);
/* "llama3, qwen, …": for messages. */
const char *lm_family_names(void);
/* Members of tokenizer.json: added_tokens (`ranks`: tokens of the vocabulary itself); normalizer, pre_tokenizer, decoder. */
void lm_family_put_added(struct lm_json_writer *json, const struct lm_family *family, int64_t ranks);
void lm_family_put_parts(struct lm_json_writer *json, const struct lm_family *family);
/* What begins, ends and pads texts, as far as the tokenizer has these tokens. */
int lm_family_set_specials(struct lm_tokenizer *tokenizer, const struct lm_family *family, loam_error *error);

/* A regular expression known by the name GGUF files give it (tokenizer.ggml.pre). */
struct lm_named_pattern {
    const char *name;
    const char *const *patterns;
    size_t count;
    bool ignores_merges;
};
const struct lm_named_pattern *lm_pattern_of_gguf(const char *name);
const struct lm_named_pattern *lm_pattern_of_gguf_at(size_t n);

#endif
