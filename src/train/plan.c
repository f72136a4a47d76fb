/* The memory of a run: one arena, laid out by the code that the run itself uses. */
#include "run.h"

#include <string.h>

static void add(struct lm_layout *layout, void *where, const char *name, size_t count, size_t size)
{
    size_t bytes;
    if (!lm_mul(count, size, &bytes))
        layout->failed = true;
    else
        lm_layout_add(layout, where, name, bytes);
}

/* Gives the bytes since the last call to one part of the plan. */
static void account(const struct lm_layout *layout, size_t *seen, size_t *part)
{
    *part += layout->size - *seen;
    *seen = layout->size;
}

static bool count_positions(const struct lm_run_settings *settings, int64_t micro_batches, size_t *count)
{
    return lm_mul((size_t)settings->batch, (size_t)settings->seq, count) &&
           lm_mul(*count, (size_t)micro_batches, count);
}

int lm_run_memory_lay_out(struct lm_run_memory *memory, const struct lm_run_settings *settings, struct lm_model *model,
                          int64_t micro_batches, loam_error *error)
{
    struct lm_layout *layout = &memory->layout;
    const size_t weight_bytes = lm_model_weight_bytes(lm_model_config(model), settings->dtype);
    const size_t n = weight_bytes / (settings->dtype == LM_F32 ? sizeof(float) : sizeof(uint16_t));
    size_t positions, seen = 0;
    if (n == 0 || !count_positions(settings, micro_batches, &positions))
        return lm_fail(error, LOAM_EUSAGE,
                       "the sizes of this run do not fit into an address; use a smaller model, batch, "
                       "accumulate or seq");
    memory->parameters = n;
    memory->micro_batches = micro_batches;
    lm_layout_add(layout, &memory->weights, "weights", weight_bytes);
    account(layout, &seen, &memory->plan.weights);
    if (settings->dtype == LM_BF16)
        add(layout, &memory->masters, "masters", n, sizeof *memory->masters);
    account(layout, &seen, &memory->plan.masters);
    add(layout, &memory->gradients, "gradients", n, sizeof *memory->gradients);
    account(layout, &seen, &memory->plan.gradients);
    add(layout, &memory->m, "optimizer m", n, sizeof *memory->m);
    add(layout, &memory->v, "optimizer v", n, sizeof *memory->v);
    account(layout, &seen, &memory->plan.optimizer);
    add(layout, &memory->ids, "batch ids", positions, sizeof *memory->ids);
    add(layout, &memory->targets, "batch targets", positions, sizeof *memory->targets);
    add(layout, &memory->positions, "batch positions", positions, sizeof *memory->positions);
    add(layout, &memory->segment_start, "batch segments", positions, sizeof *memory->segment_start);
    account(layout, &seen, &memory->plan.batches);
    const struct lm_pass_options options = {.batch = settings->batch,
                                            .length = settings->seq,
                                            .backward = true,
                                            .recompute = settings->recompute,
                                            .recompute_every = settings->recompute_every};
    int code = lm_pass_create(model, &options, layout, &memory->pass, error);
    if (code == LOAM_OK)
        code = lm_layout_check(layout, error);
    if (code != LOAM_OK)
        return code;
    account(layout, &seen, &memory->plan.activations);
    memory->plan.total = layout->size;
    return LOAM_OK;
}

int lm_run_memory_fits(const struct lm_run_memory *memory, loam_error *error)
{
    const int64_t limit = lm_memory_limit();
    const struct lm_run_plan *plan = &memory->plan;
    if (limit <= 0 || plan->total <= (size_t)limit)
        return LOAM_OK;
    char total[32], here[32], fixed[32], activations[32];
    lm_format_size((int64_t)plan->total, total);
    lm_format_size(limit, here);
    lm_format_size((int64_t)(plan->weights + plan->masters + plan->gradients + plan->optimizer), fixed);
    lm_format_size((int64_t)plan->activations, activations);
    return lm_fail(
        error, LOAM_ENOMEM,
        "this run needs %s of memory and this process may use %s: weights, gradients and "
        "optimizer take %s, activations %s; what lowers activations: a smaller batch or seq, recompute layer; "
        "what lowers the rest: a smaller model",
        total, here, fixed, activations);
}

int lm_run_memory_map(struct lm_run_memory *memory, loam_error *error)
{
    memory->block = lm_block_map(memory->layout.size, error);
    if (!memory->block)
        return LOAM_ENOMEM;
    memset(memory->block, 0, memory->layout.size); /* every page is there before step 1 */
    lm_layout_bind(&memory->layout, memory->block);
    return LOAM_OK;
}

void lm_run_memory_free(struct lm_run_memory *memory)
{
    lm_pass_free(memory->pass);
    if (memory->block)
        lm_block_unmap(memory->block, memory->layout.size);
    lm_layout_free(&memory->layout);
    *memory = (struct lm_run_memory){0};
}

struct lm_batch lm_run_memory_batch(const struct lm_run_memory *memory, const struct lm_run_settings *settings,
                                    int64_t index)
{
    const size_t at = (size_t)index * (size_t)settings->batch * (size_t)settings->seq;
    return (struct lm_batch){.batch = settings->batch,
                             .length = settings->seq,
                             .ids = memory->ids + at,
                             .targets = memory->targets + at,
                             .positions = memory->positions + at,
                             .segment_start = memory->segment_start + at};
}

int lm_run_plan_make(const struct lm_run_settings *settings, struct lm_run_plan *plan, loam_error *error)
{
    if (!settings->model || settings->seq < 1)
        return lm_fail(error, LOAM_EUSAGE, "a plan needs the settings model and seq");
    struct lm_config config;
    char *path = lm_path_join(settings->model, "config.json", error);
    int code = path ? lm_config_read(path, &config, error) : LOAM_ENOMEM;
    lm_free(path);
    if (code != LOAM_OK)
        return code;
    struct lm_device *device;
    const int threads = settings->threads > 0 ? (int)settings->threads : 0;
    code = lm_device_open(&(struct lm_device_options){.threads = threads}, &device, error);
    if (code != LOAM_OK)
        return code;
    struct lm_model *model = NULL;
    struct lm_run_memory memory = {0};
    const struct lm_model_options options = {.load = true, .later = true, .dtype = settings->dtype};
    code = lm_model_create(&config, settings->seed, device, &options, &model, error);
    if (code == LOAM_OK)
        code = lm_run_memory_lay_out(&memory, settings, model, settings->accumulate, error);
    if (code == LOAM_OK)
        *plan = memory.plan;
    lm_run_memory_free(&memory);
    lm_model_close(model);
    lm_device_close(device);
    return code;
}
