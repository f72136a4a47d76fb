/* Inside look: one run of a model, written down while it goes on.
 *
 *     struct lm_record record;
 *     const struct lm_record_options options = {.attention = true};
 *     if (lm_record_run(model, ids, count, &options, &record, error)) return error->code;
 *     record.attention[((layer * record.heads + head) * count + row) * count + column]
 *     lm_record_free(&record);
 *
 * Letters as in model.h; T tokens, S layers that are recorded. The model's thread only.
 */
#ifndef LOAM_LOOK_RECORD_H
#define LOAM_LOOK_RECORD_H

#include "model/model.h"

struct lm_record_options {
    bool attention, residual, neurons, logits;
    int64_t first_layer, layers;    /* whose attention is kept; layers 0: all from the first */
};
struct lm_record {
    int64_t count, layers, heads, width, feed_forward, vocabulary;  /* T L H C F V */
    int64_t first_layer, shown_layers;                              /* S */
    float *attention;      /* [S,H,T,T] */
    float *residual;       /* [L+1,T,C]: before each layer, and behind the last */
    float *neurons;        /* [L,T,F] */
    float *logits;         /* [T,V] */
    struct lm_device *device;
    loam_error error;      /* the first failure while watching */
};
/* Runs the sequence as it stands: nothing is added. What would take more than a gibibyte is refused, with what to leave out. */
int lm_record_run(struct lm_model *model, const int32_t *ids, int64_t count, const struct lm_record_options *options,
                  struct lm_record *record, loam_error *error);
void lm_record_free(struct lm_record *record);

/* How the attention of all layers together reaches back, row by row: the product over layers of (A + I) / 2, A the mean over
 * heads (Abnar and Zuidema, 2020, arXiv:2005.00928). Layers first..last of the record. rollout [T,T], the caller frees. */
int lm_record_rollout(const struct lm_record *record, float **rollout, loam_error *error);
/* Mean over heads of one layer, or over all recorded layers and heads (layer -1). [T,T], the caller frees. */
int lm_record_mean(const struct lm_record *record, int64_t layer, float **mean, loam_error *error);

#endif
