/* AdamW over the table of parameters: decay for matrices, none for norms, biases and embeddings (Radford et al., 2019).
 */
#include "run.h"

/* What the random bits of stochastic rounding are a hash of, besides the place in the parameter. */
static uint64_t key_of(uint64_t seed, int64_t step, size_t parameter)
{
    uint32_t bits[4];
    lm_random_keyed(seed, (uint64_t)step, parameter, bits);
    return (uint64_t)bits[1] << 32 | bits[0];
}

static void step_piece(struct lm_run_memory *memory, const struct lm_run_settings *settings, const struct lm_state_piece *piece,
                       int64_t step, double lr, double grad_scale)
{
    struct lm_device *device = lm_model_device(memory->model);
    const struct lm_parameter *one = &memory->state.table[piece->parameter];
    const bool bf16 = settings->dtype == LM_BF16, narrow = memory->gradients.bf16 && one->rank == 2;
    char *weight = lm_model_weight(memory->model, piece->parameter);
    const struct lm_adamw adamw = {
        .count = piece->count,
        .step = step,
        .lr = lr,
        .beta1 = settings->beta1,
        .beta2 = settings->beta2,
        .eps = settings->epsilon,
        .decay = one->decay ? settings->weight_decay : 0,
        .grad_scale = grad_scale,
        .parameter = bf16 ? piece->masters : (float *)weight + piece->first,
        .rounded = bf16 ? (uint16_t *)weight + piece->first : NULL,
        .gradient = (const char *)memory->gradients.at[piece->parameter] + piece->first * (narrow ? 2 : 4),
        .gradient_bf16 = narrow,
        .state = settings->optimizer_state,
        .m = piece->m,
        .v = piece->v,
        .m_scale = piece->m_scale,
        .v_scale = piece->v_scale,
        .key = key_of(settings->seed, step, piece->parameter),
        .first = piece->first,
    };
    lm_device_ops(device)->adamw(device, &adamw);
}

int lm_optimizer_unit(struct lm_run_memory *memory, const struct lm_run_settings *settings, int64_t unit, int64_t step, double lr,
                      double grad_scale, loam_error *error)
{
    while (lm_state_in_unit(&memory->state, unit)) {
        struct lm_state_piece piece;
        int code = lm_state_next(&memory->state, &piece, error);
        if (code != LOAM_OK)
            return code;
        step_piece(memory, settings, &piece, step, lr, grad_scale);
        lm_state_done(&memory->state);
    }
    return memory->form.weights_on_disk ? lm_weights_changed(&memory->weights_on_disk, unit, error) : LOAM_OK;
}
