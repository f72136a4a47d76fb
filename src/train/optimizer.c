/* AdamW over the table of parameters: decay for matrices, none for norms, biases and embeddings (Radford et al., 2019).
 */
#include "run.h"

int lm_groups_make(const struct lm_parameter *parameters, size_t count, struct lm_group **groups, size_t *group_count,
                   loam_error *error)
{
    struct lm_group *made = lm_alloc(count ? count : 1, sizeof *made, error);
    if (!made)
        return LOAM_ENOMEM;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const struct lm_parameter *one = &parameters[i];
        struct lm_group *last = used ? &made[used - 1] : NULL;
        if (last && last->decay == one->decay && last->offset + last->count == one->offset)
            last->count += (size_t)one->count;
        else
            made[used++] = (struct lm_group){.offset = one->offset, .count = (size_t)one->count, .decay = one->decay};
    }
    *groups = made;
    *group_count = used;
    return LOAM_OK;
}

void lm_optimizer_step(struct lm_device *device, const struct lm_run_settings *settings,
                       const struct lm_run_memory *memory, const struct lm_group *groups, size_t group_count,
                       int64_t step, double lr, double grad_scale)
{
    for (size_t i = 0; i < group_count; i++) {
        const struct lm_group *group = &groups[i];
        const bool masters = settings->dtype == LM_BF16;
        float *parameters = masters ? memory->masters : memory->weights;
        const struct lm_adamw adamw = {
            .count = (int64_t)group->count,
            .step = step,
            .lr = lr,
            .beta1 = settings->beta1,
            .beta2 = settings->beta2,
            .eps = settings->epsilon,
            .decay = group->decay ? settings->weight_decay : 0,
            .grad_scale = grad_scale,
            .parameter = parameters + group->offset,
            .rounded = masters ? (uint16_t *)memory->weights + group->offset : NULL,
            .gradient = memory->gradients + group->offset,
            .m = memory->m + group->offset,
            .v = memory->v + group->offset,
        };
        lm_device_ops(device)->adamw(device, &adamw);
    }
}
