#include "step.h"

static int open_step(struct lm_model *model, int64_t count, struct lm_step *step, loam_error *error)
{
    const struct lm_pass_options options = {.batch = 1, .length = count, .backward = true};
    const size_t bytes = lm_model_weight_bytes(lm_model_config(model), LM_F32);
    lm_layout_add(&step->layout, (void **)&step->gradients, "gradients", bytes);
    lm_layout_add(&step->layout, (void **)&step->targets, "targets", (size_t)count * sizeof *step->targets);
    lm_layout_add(&step->layout, (void **)&step->losses, "losses", (size_t)count * sizeof *step->losses);
    int code = lm_pass_create(model, &options, &step->layout, &step->pass, error);
    if (code == LOAM_OK)
        code = lm_layout_check(&step->layout, error);
    if (code != LOAM_OK)
        return code;
    step->block = lm_block_map(step->layout.size, error);
    if (!step->block)
        return LOAM_ENOMEM;
    lm_layout_bind(&step->layout, step->block);
    return LOAM_OK;
}

int lm_step_run(struct lm_model *model, const int32_t *ids, int64_t count, const char *trained, const struct lm_watcher *watcher,
                struct lm_step *step, loam_error *error)
{
    double sum = 0;
    *step = (struct lm_step){0};
    const int64_t context = lm_model_config(model)->context;
    if (count < 2)
        return lm_fail(error, LOAM_EUSAGE, "found %lld token, wanted at least 2: from the first the next is predicted",
                       (long long)count);
    if (count > context)
        return lm_fail(error, LOAM_EUSAGE, "%lld tokens: the model's context is %lld; shorten the text", (long long)count,
                       (long long)context);
    int code = open_step(model, count, step, error);
    int64_t counted = 0;
    for (int64_t i = 0; !code && i < count; i++) {
        const bool counts = i + 1 < count && (!trained || trained[i + 1]);
        step->targets[i] = counts ? ids[i + 1] : -1;
        counted += counts;
    }
    const double scale = 1 / (double)(counted ? counted : 1);
    if (!code) {
        const struct lm_pass_input input = {.ids = ids, .targets = step->targets};
        lm_model_watch(model, watcher);
        code = lm_pass_run(step->pass, &input, (float)scale, step->gradients, &sum, step->losses, error);
        lm_model_watch(model, NULL);
    }
    step->loss = (float)(sum * scale);
    if (code)
        lm_step_free(model, step);
    return code;
}

void lm_step_free(struct lm_model *model, struct lm_step *step)
{
    lm_device_give_scratch(lm_model_device(model), NULL, 0);
    lm_pass_free(step->pass);
    if (step->block)
        lm_block_unmap(step->block, step->layout.size);
    lm_layout_free(&step->layout);
    *step = (struct lm_step){0};
}
