/* What a runner holds. Private to infer/. */
#ifndef LOAM_INFER_RUNNER_H
#define LOAM_INFER_RUNNER_H

#include "infer.h"

struct lm_runner {
    struct lm_device *device;               /* NULL: attached to somebody else's model */
    struct lm_model *model;
    struct lm_tokenizer *owned_tokenizer;
    const struct lm_tokenizer *tokenizer;   /* NULL: none */
    const struct lm_template *chat_template;/* NULL: none that fits; why_no_template says why */
    loam_error why_no_template;
    struct lm_ids ends;                     /* ids that end a text or a turn */
    int64_t context;
    struct lm_cache *cache;                 /* made at the first use */
    struct lm_ids held;                     /* the ids whose keys and values the cache holds */
};

/* lm_runner_generate where the oldest tokens may go: by an engine of one stream on the runner's model. */
int lm_runner_shift(struct lm_runner *runner, const int32_t *ids, size_t count, const struct lm_generation_options *options,
                    struct lm_generation *generation, loam_error *error);

#endif
