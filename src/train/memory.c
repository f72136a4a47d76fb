/* The arena of a run while it is there, and the scratch files beside it. */
#include "run.h"

#include <string.h>

/* Measured: loam after training models of 10M and 124M parameters on files of ids, its arena taken off, holds 12.4 to 12.9 MiB on two
 * threads, the libraries of its other commands among it (bench/plan.py, docs/SPEED.md). */
size_t lm_run_other(void)
{
    return (size_t)13 << 20;
}

void lm_run_plan_count(struct lm_run_plan *plan)
{
    enum { TO_COME = 1 << 20 };    /* the threads' stacks, and buffers of checkpoints */
    lm_memory_trim();
    const size_t other = (size_t)lm_memory_resident() + TO_COME;
    if (other <= plan->other)
        return;
    plan->total += other - plan->other;
    plan->other = other;
}

int lm_run_memory_fits(const struct lm_run_memory *memory, const struct lm_run_settings *settings, loam_error *error)
{
    const int64_t machine = lm_memory_limit();
    const int64_t limit = settings->memory > 0 && (machine <= 0 || settings->memory < machine) ? settings->memory : machine;
    const struct lm_run_plan *plan = &memory->plan;
    if (limit <= 0 || plan->total <= (size_t)limit)
        return LOAM_OK;
    char total[32], here[32], fixed[32], activations[32];
    lm_format_size((int64_t)plan->total, total);
    lm_format_size(limit, here);
    lm_format_size((int64_t)(plan->weights + plan->gradients + plan->optimizer), fixed);
    lm_format_size((int64_t)(plan->activations + plan->logits + plan->workspace), activations);
    return lm_fail(
        error, LOAM_ENOMEM,
        "this run needs %s of memory and may use %s: weights, gradients and optimizer take %s, activations and what works on "
        "them %s",
        total, here, fixed, activations);
}

/* --- Gradients --- */

static size_t element_of(const struct lm_run_memory *memory)
{
    return memory->form.gradients_bf16 ? sizeof(uint16_t) : sizeof(float);
}

/* Matrices, then vectors: gives the bytes behind the unit. */
static char *bind_unit(struct lm_run_memory *memory, int64_t unit, char *at)
{
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(memory->model, &count);
    const struct lm_unit range = lm_model_unit(memory->model, unit);
    for (int rank = 2; rank >= 1; rank--) {
        size_t bytes = 0;
        for (size_t i = range.first; i < range.first + range.count; i++) {
            if (table[i].rank != rank)
                continue;
            memory->gradients.at[i] = at + bytes;
            bytes += (size_t)table[i].count * (rank == 2 ? element_of(memory) : sizeof(float));
        }
        at += lm_round_up(bytes, LM_ALIGN);
    }
    return at;
}

static void bind_gradients(struct lm_run_memory *memory)
{
    const int64_t last = lm_model_units(memory->model) - 1;
    char *at = memory->all_gradients;
    for (int64_t unit = 0; unit <= last; unit++) {
        if (memory->form.fused)
            at = unit == 0 ? memory->first_gradients : unit == last ? memory->last_gradients : memory->layer_gradients;
        else if (memory->unit_gradients)
            at = memory->unit_gradients[unit];
        at = bind_unit(memory, unit, at);
    }
}

void lm_run_clear_gradients(const struct lm_run_memory *memory, int64_t unit)
{
    size_t count;
    struct lm_device *device = lm_model_device(memory->model);
    const struct lm_parameter *table = lm_model_parameters(memory->model, &count);
    const struct lm_unit range = lm_model_unit(memory->model, unit);
    for (size_t i = range.first; i < range.first + range.count; i++) {
        const size_t bytes = (size_t)table[i].count * (table[i].rank == 2 ? element_of(memory) : sizeof(float));
        if (bytes % sizeof(float) == 0)
            lm_device_ops(device)->fill(device, (int64_t)(bytes / sizeof(float)), 0, memory->gradients.at[i]);
        else
            memset(memory->gradients.at[i], 0, bytes);
    }
}

/* --- Mapping --- */

/* fp32 masters of the weights, where there are any and no checkpoint brings them. */
static int make_masters(struct lm_run_memory *memory, loam_error *error)
{
    struct lm_state *state = &memory->state;
    if (!state->form.masters)
        return LOAM_OK;
    const bool fetched = memory->form.weights_on_disk || memory->form.state_on_disk;
    void *record = fetched ? lm_alloc(state->slot_bytes, 1, error) : NULL;
    uint16_t *weights = fetched ? lm_alloc(LM_STATE_CHUNK, sizeof *weights, error) : NULL;
    int code = !fetched || (record && weights) ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; code == LOAM_OK && i < state->count; i++) {
        struct lm_state_piece piece;
        code = lm_state_get(state, i, record, &piece, error);
        const uint16_t *from = (uint16_t *)lm_model_weight(memory->model, piece.parameter) + piece.first;
        if (code == LOAM_OK && memory->form.weights_on_disk) {
            code = lm_weights_source(&memory->weights_on_disk, piece.parameter, (size_t)piece.first, (size_t)piece.count, weights,
                                     error);
            from = weights;
        }
        if (code != LOAM_OK)
            break;
        lm_convert(LM_F32, piece.masters, LM_BF16, from, (size_t)piece.count);
        code = lm_state_put(state, i, record, error);
    }
    lm_free(record);
    lm_free(weights);
    return code;
}

static int open_disk(struct lm_run_memory *memory, const char *folder, loam_error *error)
{
    int code = LOAM_OK;
    if (memory->form.state_on_disk)
        code = lm_state_open(&memory->state, folder, error);
    if (code == LOAM_OK && memory->plan.scratch_activations > 0)
        code = lm_boundaries_open(&memory->boundaries_on_disk, folder, error);
    return code;
}

int lm_run_memory_map(struct lm_run_memory *memory, const char *folder, loam_error *error)
{
    memory->block = lm_block_map(memory->layout.size, error);
    if (!memory->block)
        return LOAM_ENOMEM;
    memset(memory->block, 0, memory->layout.size); /* every page is there before step 1 */
    lm_layout_bind(&memory->layout, memory->block);
    if (memory->weights_on_disk.first[1] == NULL)
        memory->weights_on_disk.first[1] = memory->weights_on_disk.first[0];
    bind_gradients(memory);
    int code = open_disk(memory, folder, error);
    if (code == LOAM_OK && memory->form.weights_on_disk)
        code = lm_weights_open(&memory->weights_on_disk, memory->model, folder,
                               lm_pass_groups(memory->pass) == lm_model_config(memory->model)->layers, error);
    else if (code == LOAM_OK)
        code = lm_model_load(memory->model, memory->weights, error);
    return code == LOAM_OK ? make_masters(memory, error) : code;
}

void lm_run_memory_free(struct lm_run_memory *memory)
{
    lm_pass_free(memory->pass);
    lm_state_free(&memory->state);
    lm_weights_close(&memory->weights_on_disk);
    lm_boundaries_close(&memory->boundaries_on_disk);
    lm_free(memory->gradients.at);
    lm_free(memory->unit_gradients);
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

/* --- Hooks --- */

static int enter(void *user, int64_t unit, bool backward, loam_error *error)
{
    struct lm_run_memory *memory = user;
    return memory->form.weights_on_disk ? lm_weights_enter(&memory->weights_on_disk, unit, backward, error) : LOAM_OK;
}

void lm_run_hooks_for(struct lm_run_memory *memory, struct lm_pass_hooks *hooks)
{
    *hooks = (struct lm_pass_hooks){.user = memory, .enter = enter};
}
