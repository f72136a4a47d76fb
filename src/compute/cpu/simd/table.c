#include "simd.h"
#include "compute/cpu/cpu.h"
#include "compute/reference/reference.h"

const struct lm_ops LM_SIMD(lm_simd_ops) = {
    .matmul = lm_simd_matmul,
    .matmul_scratch = lm_simd_matmul_scratch,
    .embed = lm_simd_embed,
    .embed_backward = lm_simd_embed_backward,
    .layer_norm = lm_simd_layer_norm,
    .layer_norm_backward = lm_simd_layer_norm_backward,
    .rms_norm = lm_simd_rms_norm,
    .rms_norm_backward = lm_simd_rms_norm_backward,
    .rope_angles = lm_simd_rope_angles,
    .rope = lm_simd_rope,
    .attention = lm_simd_attention,
    .attention_backward = lm_simd_attention_backward,
    .attention_weights = lm_simd_attention_weights,
    .attention_scratch = lm_simd_attention_scratch,
    .gelu = lm_simd_gelu,
    .gelu_backward = lm_simd_gelu_backward,
    .swiglu = lm_simd_swiglu,
    .swiglu_backward = lm_simd_swiglu_backward,
    .add = lm_simd_add,
    .scale = lm_simd_scale,
    .fill = lm_simd_fill,
    .bias_backward = lm_simd_bias_backward,
    .convert = lm_simd_convert,
    .cross_entropy = lm_simd_cross_entropy,
    .sum_squares = lm_simd_sum_squares,
    .adamw = lm_simd_adamw,
};
