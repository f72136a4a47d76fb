#include "compute/reference/reference.h"

#include <stdio.h>

/* Needs no scratch: sums in registers. */
static size_t matmul_scratch(struct lm_device *device, const struct lm_matmul *work)
{
    (void)device, (void)work;
    return 0;
}

static const struct lm_ops plain_ops = {
    .matmul = lm_plain_matmul,
    .matmul_scratch = matmul_scratch,
    .embed = lm_plain_embed,
    .embed_backward = lm_plain_embed_backward,
    .layer_norm = lm_plain_layer_norm,
    .layer_norm_backward = lm_plain_layer_norm_backward,
    .rms_norm = lm_plain_rms_norm,
    .rms_norm_backward = lm_plain_rms_norm_backward,
    .rope_angles = lm_plain_rope_angles,
    .rope = lm_plain_rope,
    .attention = lm_plain_attention,
    .attention_backward = lm_plain_attention_backward,
    .attention_weights = lm_plain_attention_weights,
    .attention_scratch = lm_plain_attention_scratch,
    .gelu = lm_plain_gelu,
    .gelu_backward = lm_plain_gelu_backward,
    .swiglu = lm_plain_swiglu,
    .swiglu_backward = lm_plain_swiglu_backward,
    .add = lm_plain_add,
    .scale = lm_plain_scale,
    .fill = lm_plain_fill,
    .bias_backward = lm_plain_bias_backward,
    .convert = lm_plain_convert,
    .cross_entropy = lm_plain_cross_entropy,
    .sum_squares = lm_plain_sum_squares,
    .adamw = lm_plain_adamw,
};

int lm_reference_open(struct lm_device *device, loam_error *error)
{
    (void)error;
    device->ops = &plain_ops;
    device->isa = LM_ISA_SCALAR;
    snprintf(device->name, sizeof device->name, "reference");
    return LOAM_OK;
}
