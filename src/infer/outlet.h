/* Between the tokens and the reader: whole characters, and nothing of a stop text. Private to infer/. */
#ifndef LOAM_INFER_OUTLET_H
#define LOAM_INFER_OUTLET_H

#include "infer.h"

struct lm_outlet {
    const struct lm_tokenizer *tokenizer;    /* NULL: no text comes out */
    const struct lm_generation_options *options;
    struct lm_stream stream;
    struct lm_bytes *text;      /* all of it; what the reader has seen is its first `shown` bytes */
    size_t shown;
    bool stopped;               /* a stop text came; `text` ends before it */
};
int lm_outlet_push(struct lm_outlet *outlet, int32_t id, loam_error *error);
/* Gives out what was held back. */
int lm_outlet_finish(struct lm_outlet *outlet, loam_error *error);
void lm_outlet_free(struct lm_outlet *outlet);

#endif
