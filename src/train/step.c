/* One optimizer step. Nothing a later step depends on changes before loss and gradient are known to be finite; with a fused step,
 * before those of a unit are, the last ones first. */
#include "run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool all_finite(double value)
{
    return isfinite(value) != 0;
}

/* One step while it goes on. */
struct stepping {
    struct lm_run *run;
    int64_t step;
    double lr, scale;    /* of the optimizer; the gradient is multiplied by `scale` */
    bool steps;          /* fused: a unit is stepped when its gradients are complete */
    int64_t changed;     /* units stepped so far */
};

/* The first parameter whose gradient is not finite, or NULL. */
static const char *find_bad_gradient(const struct lm_run *run)
{
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(run->model, &count);
    for (size_t i = 0; i < count; i++)
        if (!all_finite(run->memory.squares[i]))
            return table[i].name;
    return NULL;
}

/* The first weight that is not all finite, or NULL; weights on disk are not looked at. */
static const char *find_bad_weight(const struct lm_run *run)
{
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(run->model, &count);
    const struct lm_ops *ops = lm_device_ops(run->device);
    for (size_t i = 0; i < count && !run->memory.form.weights_on_disk; i++)
        if (!all_finite(ops->sum_squares(run->device, table[i].count, run->settings.dtype, lm_model_weight(run->model, i))))
            return table[i].name;
    return NULL;
}

/* What is wrong and where to go on from, when the numbers of a step are no numbers. */
static int fail_numeric(const struct lm_run *run, const char *what, int64_t changed, loam_error *error)
{
    const char *bad = changed ? NULL : find_bad_weight(run);
    if (bad)
        return lm_fail(error, LOAM_ENUMERIC,
                       "step %lld: %s: the weight '%s' already held numbers that are not finite before "
                       "this step; nothing was changed; start from other weights",
                       (long long)run->state.step + 1, what, bad);
    if (changed)
        return lm_fail(error, LOAM_ENUMERIC,
                       "step %lld: %s; the layers behind it have been stepped already, so the weights in memory are of no "
                       "use: --resume goes on from the last checkpoint, which is whole; fused_clip exact finds this before "
                       "anything changes; try a smaller lr, a longer warmup or a smaller clip",
                       (long long)run->state.step + 1, what);
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
    return fail_numeric(run, what, 0, error);
}

static int fail_gradient(const struct lm_run *run, double norm, int64_t changed, loam_error *error)
{
    char what[256], digits[32];
    lm_format_double(norm, digits);
    const char *bad = find_bad_gradient(run);
    snprintf(what, sizeof what, "the gradient's norm is %s%s%s", digits, bad ? ", first not finite in " : "",
             bad ? bad : "");
    return fail_numeric(run, what, changed, error);
}

/* --- Gradients --- */

/* The sum of squares of a unit's gradients, one parameter after the other. */
static double square_unit(struct lm_run *run, int64_t unit)
{
    size_t count;
    const struct lm_run_memory *memory = &run->memory;
    const struct lm_parameter *table = lm_model_parameters(run->model, &count);
    const struct lm_unit range = lm_model_unit(run->model, unit);
    double sum = 0;
    for (size_t i = range.first; i < range.first + range.count; i++) {
        const enum lm_dtype type = memory->gradients.bf16 && table[i].rank == 2 ? LM_BF16 : LM_F32;
        memory->squares[i] =
            lm_device_ops(run->device)->sum_squares(run->device, table[i].count, type, memory->gradients.at[i]);
        sum += memory->squares[i];
    }
    return sum;
}

/* Always in the order of the table, so that it does not matter in which order the units came. */
static double norm_of(const struct lm_run *run)
{
    size_t count;
    lm_model_parameters(run->model, &count);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += run->memory.squares[i];
    return sqrt(sum);
}

/* The 1e-6 is torch's, so that curves can be laid over each other. */
static double clip_scale(const struct lm_run_settings *settings, double norm)
{
    const double factor = settings->clip > 0 ? settings->clip / (norm + 1e-6) : 1;
    return factor < 1 ? factor : 1;
}

/* --- Hooks --- */

static int enter_unit(void *user, int64_t unit, bool backward, loam_error *error)
{
    struct stepping *stepping = user;
    struct lm_run_memory *memory = &stepping->run->memory;
    const bool tied = lm_model_config(memory->model)->tied, last = unit + 1 == lm_model_units(memory->model);
    int code = memory->form.weights_on_disk ? lm_weights_enter(&memory->weights_on_disk, unit, backward, error) : LOAM_OK;
    if (code != LOAM_OK || !backward || memory->all_gradients)
        return code;
    if (unit > 0 || !tied)
        lm_run_clear_gradients(memory, unit);
    if (last && tied)    /* the head's share of the table's gradient comes first */
        lm_run_clear_gradients(memory, 0);
    return LOAM_OK;
}

static int leave_unit(void *user, int64_t unit, bool backward, loam_error *error)
{
    struct stepping *stepping = user;
    struct lm_run_memory *memory = &stepping->run->memory;
    if (!backward || !memory->form.fused)
        return LOAM_OK;
    const double squares = square_unit(stepping->run, unit);
    if (!all_finite(squares))
        return fail_gradient(stepping->run, sqrt(squares), stepping->changed, error);
    if (!stepping->steps)
        return LOAM_OK;
    stepping->changed++;
    return lm_optimizer_unit(memory, &stepping->run->settings, unit, stepping->step, stepping->lr, stepping->scale, error);
}

static int keep_boundary(void *user, int64_t group, enum lm_boundary_event event, float *boundary, loam_error *error)
{
    struct stepping *stepping = user;
    return lm_boundaries_event(&stepping->run->memory.boundaries_on_disk, group, event, boundary, error);
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

static int run_batches(struct stepping *stepping, int64_t count, int64_t trained, double *loss, loam_error *error)
{
    struct lm_run *run = stepping->run;
    struct lm_run_memory *memory = &run->memory;
    const struct lm_pass_hooks hooks = {.user = stepping, .enter = enter_unit, .leave = leave_unit, .boundary = keep_boundary};
    const struct lm_pass_work work = {.scale = (float)(1 / (double)trained), .gradients = &memory->gradients, .hooks = &hooks};
    double sum = 0;
    for (int64_t unit = 0; unit < lm_model_units(run->model) && memory->all_gradients; unit++)
        lm_run_clear_gradients(memory, unit);
    size_t parameters;
    lm_model_parameters(run->model, &parameters);
    memset(memory->squares, 0, parameters * sizeof *memory->squares);
    for (int64_t i = 0; i < count; i++) {
        const struct lm_batch batch = lm_run_memory_batch(memory, &run->settings, i);
        const struct lm_pass_input input = {.ids = batch.ids,
                                            .targets = batch.targets,
                                            .positions = batch.positions,
                                            .segment_start = batch.segment_start};
        double one;
        int code = lm_pass_go(memory->pass, &input, &work, &one, NULL, error);
        if (code != LOAM_OK)
            return code;
        if (!all_finite(one))
            return fail_loss(run, i, count, one / (double)trained, error);
        sum += one;
    }
    *loss = sum / (double)trained;
    return LOAM_OK;
}

/* All gradients, then a step of all units. */
static int step_after(struct stepping *stepping, int64_t count, int64_t trained, double *loss, double *norm, loam_error *error)
{
    struct lm_run *run = stepping->run;
    int code = run_batches(stepping, count, trained, loss, error);
    if (code != LOAM_OK)
        return code;
    for (int64_t unit = lm_model_units(run->model) - 1; unit >= 0; unit--)
        square_unit(run, unit);
    *norm = norm_of(run);
    code = lm_device_check(run->device, error);
    if (code != LOAM_OK)
        return code;
    if (!all_finite(*norm))
        return fail_gradient(run, *norm, 0, error);
    stepping->scale = clip_scale(&run->settings, *norm);
    for (int64_t unit = lm_model_units(run->model) - 1; code == LOAM_OK && unit >= 0; unit--)
        code = lm_optimizer_unit(&run->memory, &run->settings, unit, stepping->step, stepping->lr, stepping->scale, error);
    return code;
}

/* Each unit is stepped when its gradients are complete. How much is clipped must be known before. */
static int step_inside(struct stepping *stepping, int64_t count, int64_t trained, double *loss, double *norm, loam_error *error)
{
    struct lm_run *run = stepping->run;
    const struct lm_run_settings *settings = &run->settings;
    double before = run->state.grad_norm;
    int code = LOAM_OK;
    if (settings->clip > 0 && (settings->exact_clip || isnan(before))) {
        code = run_batches(stepping, count, trained, loss, error);
        before = norm_of(run);
    }
    if (code != LOAM_OK)
        return code;
    stepping->scale = settings->clip > 0 ? clip_scale(settings, before) : 1;
    stepping->steps = true;
    code = run_batches(stepping, count, trained, loss, error);
    *norm = norm_of(run);
    return code;
}

static double epoch_of(const struct lm_run *run, const struct lm_place_in_data *place)
{
    return (double)place->epoch + (double)place->batch / (double)run->batches;
}

static double share_of_peak(const struct lm_run *run, int64_t batches, double seconds)
{
    const struct lm_run_settings *settings = &run->settings;
    const double flops = (double)batches * lm_config_flops(lm_model_config(run->model), settings->batch, settings->seq);
    return run->peak_gflops > 0 && seconds > 0 ? flops / seconds * 1e-9 / run->peak_gflops : NAN;
}

int lm_run_step(struct lm_run *run, struct lm_step_report *report, loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    const double begin = lm_seconds();
    struct lm_place_in_data place = run->state.place;
    int64_t count, tokens, trained;
    double loss = 0, norm = 0;
    struct stepping stepping = {.run = run, .step = run->state.step + 1};
    stepping.lr = lm_schedule_rate(settings, stepping.step);
    int code = fetch(run, &place, &count, &tokens, &trained, error);
    if (code == LOAM_OK)
        code = (run->memory.form.fused ? step_inside : step_after)(&stepping, count, trained, &loss, &norm, error);
    if (code != LOAM_OK)
        return code;
    run->state.step = stepping.step;
    run->state.place = place;
    run->state.loss = loss;
    run->state.grad_norm = norm;
    const double seconds = lm_seconds() - begin;
    run->seconds += seconds;
    *report = (struct lm_step_report){
        .step = stepping.step,
        .steps = settings->steps,
        .epoch = epoch_of(run, &place),
        .loss = loss,
        .lr = stepping.lr,
        .grad_norm = norm,
        .tokens = tokens,
        .trained = trained,
        .seconds = seconds,
        .tokens_per_second = seconds > 0 ? (double)tokens / seconds : 0,
        .of_peak = share_of_peak(run, count, seconds),
        .time = lm_time(),
        .memory_bytes = lm_memory_resident(),
    };
    return lm_device_check(run->device, error);
}
