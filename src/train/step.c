/* One optimizer step. Nothing a later step depends on changes before loss and gradient are known to be finite. */
#include "run.h"

#include <math.h>
#include <stdio.h>

static bool all_finite(double value)
{
    return isfinite(value) != 0;
}

/* The first parameter whose values (of the whole block `data`, fp32) are not all finite, or NULL. */
static const char *find_bad(const struct lm_run *run, const float *data)
{
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(run->model, &count);
    for (size_t i = 0; i < count; i++)
        if (!all_finite(lm_device_ops(run->device)->sum_squares(run->device, table[i].count, LM_F32, data + table[i].offset)))
            return table[i].name;
    return NULL;
}

/* What is wrong and where to go on from, when the numbers of a step are no numbers. */
static int fail_numeric(const struct lm_run *run, const char *what, loam_error *error)
{
    const float *weights = run->settings.dtype == LM_BF16 ? run->memory.masters : run->memory.weights;
    const char *bad = find_bad(run, weights);
    if (bad)
        return lm_fail(error, LOAM_ENUMERIC,
                       "step %lld: %s: the weight '%s' already held numbers that are not finite before "
                       "this step; nothing was changed; start from other weights",
                       (long long)run->state.step + 1, what, bad);
    return lm_fail(error, LOAM_ENUMERIC,
                   "step %lld: %s; the weights are still those of step %lld; try a smaller lr, a longer "
                   "warmup or a smaller clip, or look at the data at that place",
                   (long long)run->state.step + 1, what, (long long)run->state.step);
}

static int fail_loss(const struct lm_run *run, int64_t index, int64_t count, double loss, loam_error *error)
{
    char what[160], digits[32];
    lm_format_double(loss, digits);
    snprintf(what, sizeof what, "the loss is %s in batch %lld of %lld (epoch %lld, batch %lld of the data)", digits,
             (long long)index + 1, (long long)count, (long long)run->state.place.epoch,
             (long long)(run->state.place.batch + index));
    return fail_numeric(run, what, error);
}

static int fail_gradient(const struct lm_run *run, double norm, loam_error *error)
{
    char what[256], digits[32];
    lm_format_double(norm, digits);
    const char *bad = find_bad(run, run->memory.gradients);
    snprintf(what, sizeof what, "the gradient's norm is %s%s%s", digits, bad ? ", first not finite in " : "",
             bad ? bad : "");
    return fail_numeric(run, what, error);
}

/* Fetches the step's batches: `accumulate` of them, fewer at the end of an epoch. All come before the first forward
 * pass, since each token's share of the gradient is one over the number of all. */
static int fetch(struct lm_run *run, struct lm_place_in_data *place, int64_t *count, int64_t *tokens, int64_t *trained,
                 loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    if (settings->overfit_one_batch)
        *place = (struct lm_place_in_data){0};
    const int64_t epoch = place->epoch;
    *count = *tokens = *trained = 0;
    while (*count < run->memory.micro_batches && place->epoch == epoch) {
        struct lm_batch batch = lm_run_memory_batch(&run->memory, settings, *count);
        int code = lm_samples_next(run->samples, place, &batch, error);
        if (code != LOAM_OK)
            return code;
        *tokens += batch.tokens;
        *trained += batch.trained;
        ++*count;
    }
    if (*trained == 0)
        return lm_fail(error, LOAM_EUSAGE,
                       "step %lld: none of its tokens is trained on; give more data, or a larger batch",
                       (long long)run->state.step + 1);
    return LOAM_OK;
}

static int run_batches(struct lm_run *run, int64_t count, int64_t trained, double *loss, loam_error *error)
{
    const struct lm_run_memory *memory = &run->memory;
    double sum = 0;
    lm_device_ops(run->device)->fill(run->device, (int64_t)memory->parameters, 0, memory->gradients);
    for (int64_t i = 0; i < count; i++) {
        const struct lm_batch batch = lm_run_memory_batch(memory, &run->settings, i);
        const struct lm_pass_input input = {.ids = batch.ids,
                                            .targets = batch.targets,
                                            .positions = batch.positions,
                                            .segment_start = batch.segment_start};
        double one;
        int code =
            lm_pass_run(memory->pass, &input, (float)(1 / (double)trained), memory->gradients, &one, NULL, error);
        if (code != LOAM_OK)
            return code;
        if (!all_finite(one))
            return fail_loss(run, i, count, one / (double)trained, error);
        sum += one;
    }
    *loss = sum / (double)trained;
    return LOAM_OK;
}

static double epoch_of(const struct lm_run *run, const struct lm_place_in_data *place)
{
    return (double)place->epoch + (double)place->batch / (double)run->batches;
}

int lm_run_step(struct lm_run *run, struct lm_step_report *report, loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    const struct lm_run_memory *memory = &run->memory;
    const double begin = lm_seconds();
    struct lm_place_in_data place = run->state.place;
    int64_t count, tokens, trained;
    double loss = 0;
    int code = fetch(run, &place, &count, &tokens, &trained, error);
    if (code == LOAM_OK)
        code = run_batches(run, count, trained, &loss, error);
    if (code != LOAM_OK)
        return code;
    const double norm =
        sqrt(lm_device_ops(run->device)->sum_squares(run->device, (int64_t)memory->parameters, LM_F32, memory->gradients));
    code = lm_device_check(run->device, error);
    if (code != LOAM_OK)
        return code;
    if (!all_finite(norm))
        return fail_gradient(run, norm, error);

    /* The 1e-6 is torch's, so that curves can be laid over each other. */
    const double factor = settings->clip > 0 ? settings->clip / (norm + 1e-6) : 1;
    const int64_t step = run->state.step + 1;
    const double lr = lm_schedule_rate(settings, step);
    lm_optimizer_step(run->device, settings, memory, run->groups, run->group_count, step, lr, factor < 1 ? factor : 1);
    run->state.step = step;
    run->state.place = place;
    run->state.loss = loss;
    const double seconds = lm_seconds() - begin;
    run->seconds += seconds;
    *report = (struct lm_step_report){
        .step = step,
        .steps = settings->steps,
        .epoch = epoch_of(run, &place),
        .loss = loss,
        .lr = lr,
        .grad_norm = norm,
        .tokens = tokens,
        .tokens_per_second = seconds > 0 ? (double)tokens / seconds : 0,
        .memory_bytes = lm_memory_resident(),
    };
    return lm_device_check(run->device, error);
}
