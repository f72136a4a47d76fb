/* Looking at a model while it runs. */
#include "network.h"

#include <string.h>

void lm_model_watch(struct lm_model *model, const struct lm_watcher *watcher)
{
    model->watcher = watcher;
}

void lm_model_rope(const struct lm_model *model, float *frequencies)
{
    const size_t bytes = (size_t)(model->config.head_size / 2) * sizeof *frequencies;
    if (model->inverse_frequency)
        memcpy(frequencies, model->inverse_frequency, bytes);
    else
        memset(frequencies, 0, bytes);
}

int lm_model_project(struct lm_model *model, int64_t rows, const float *residual, float *logits, loam_error *error)
{
    if (!model->complete)
        return lm_fail(error, LOAM_EUSAGE, "the model's weights are not loaded yet");
    struct lm_run run = {.model = model, .batch = 1, .length = rows};
    run.normed = lm_alloc((size_t)rows, (size_t)model->config.width * sizeof(float), error);
    run.statistics = lm_alloc((size_t)rows, (size_t)lm_statistics(&model->config) * sizeof(float), error);
    const bool there = run.normed && run.statistics;
    if (there) {
        lm_norm_forward(&run, &model->final_norm, rows, residual, run.normed);
        lm_linear_forward(model->device, &model->head, rows, run.normed, logits, false);
    }
    lm_free(run.normed);
    lm_free(run.statistics);
    return there ? lm_device_check(model->device, error) : LOAM_ENOMEM;
}
