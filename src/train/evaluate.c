/* Evaluation: the mean loss of an epoch of samples, a batch at a time. */
#include "run.h"

#include <math.h>

int lm_evaluate_with(struct lm_pass *pass, const struct lm_pass_hooks *hooks, struct lm_samples *samples, struct lm_batch *batch,
                     const loam_observer *observer, struct lm_evaluation *evaluation, loam_error *error)
{
    const int64_t batches = lm_samples_batches(samples);
    struct lm_place_in_data place = {0};
    double sum = 0;
    int64_t tokens = 0;
    for (int64_t i = 0; i < batches; i++) {
        if (observer && observer->cancelled && observer->cancelled(observer->user))
            return lm_fail(error, LOAM_ECANCELLED, "stopped on request while evaluating");
        double loss;
        int code = lm_samples_next(samples, &place, batch, error);
        if (code != LOAM_OK)
            return code;
        const struct lm_pass_input input = {.ids = batch->ids,
                                            .targets = batch->targets,
                                            .positions = batch->positions,
                                            .segment_start = batch->segment_start};
        code = lm_pass_go(pass, &input, &(struct lm_pass_work){.hooks = hooks}, &loss, NULL, error);
        if (code != LOAM_OK)
            return code;
        if (!isfinite(loss))
            return lm_fail(error, LOAM_ENUMERIC,
                           "evaluation: the loss of batch %lld of %lld is %g; the weights are beyond use "
                           "(look weights shows them)",
                           (long long)i + 1, (long long)batches, loss);
        sum += loss;
        tokens += batch->trained;
        if (observer && observer->progress)
            observer->progress(observer->user, "evaluating", i + 1, batches, "");
    }
    if (tokens == 0)
        return lm_fail(error, LOAM_EUSAGE, "the evaluation data has no token to predict; give a longer file");
    struct lm_samples_summary summary;
    lm_samples_summarise(samples, &summary);
    *evaluation =
        (struct lm_evaluation){.loss = sum / (double)tokens, .tokens = tokens, .bytes = summary.trained_bytes};
    evaluation->perplexity = exp(evaluation->loss);
    evaluation->bits_per_byte = summary.trained_bytes > 0
                                    ? evaluation->loss / M_LN2 * (double)summary.trained / (double)summary.trained_bytes
                                    : NAN;
    return LOAM_OK;
}

int lm_evaluate(struct lm_model *model, struct lm_samples *samples, int64_t batch, int64_t length,
                const loam_observer *observer, struct lm_evaluation *evaluation, loam_error *error)
{
    struct lm_layout layout = {0};
    struct lm_pass *pass = NULL;
    struct lm_batch arrays = {.batch = batch, .length = length};
    size_t bytes;
    if (batch < 1 || length < 1 || !lm_mul((size_t)batch, (size_t)length, &bytes) ||
        !lm_mul(bytes, sizeof(int32_t), &bytes))
        return lm_fail(error, LOAM_EUSAGE, "evaluation: batch %lld and length %lld are out of range", (long long)batch,
                       (long long)length);
    lm_layout_add(&layout, (void **)&arrays.ids, "ids", bytes);
    lm_layout_add(&layout, (void **)&arrays.targets, "targets", bytes);
    lm_layout_add(&layout, (void **)&arrays.positions, "positions", bytes);
    lm_layout_add(&layout, (void **)&arrays.segment_start, "segments", bytes);
    int code =
        lm_pass_create(model, &(struct lm_pass_options){.batch = batch, .length = length}, &layout, &pass, error);
    if (code == LOAM_OK)
        code = lm_layout_check(&layout, error);
    void *block = code == LOAM_OK ? lm_block_map(layout.size, error) : NULL;
    if (block) {
        lm_layout_bind(&layout, block);
        code = lm_evaluate_with(pass, NULL, samples, &arrays, observer, evaluation, error);
        lm_device_give_scratch(lm_model_device(model), NULL, 0);
        lm_block_unmap(block, layout.size);
    } else if (code == LOAM_OK) {
        code = LOAM_ENOMEM;
    }
    lm_pass_free(pass);
    lm_layout_free(&layout);
    return code;
}
