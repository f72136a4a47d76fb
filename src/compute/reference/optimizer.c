#include "compute/narrow.h"
#include "compute/random_bits.h"
#include "compute/reference/reference.h"

#include <math.h>
#include <string.h>

/* The formulas stand at struct lm_adamw. A step is computed in double from the stored numbers; what is stored is rounded
 * once. */

static float largest(const float *x, int64_t count)
{
    float most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

/* 16 bits of x, up with the probability of what is cut off. Infinity and NaN stay. */
static uint16_t cut_bf16(float x, uint32_t noise)
{
    uint32_t pattern;
    memcpy(&pattern, &x, sizeof pattern);
    if ((pattern & 0x7f800000U) == 0x7f800000U)
        return lm_f32_to_bf16(x);
    return (uint16_t)((pattern + (noise & 0xffff)) >> 16);
}

static double gradient_at(const struct lm_adamw *work, int64_t i)
{
    return work->gradient_bf16 ? lm_bf16_to_f32(((const uint16_t *)work->gradient)[i]) : ((const float *)work->gradient)[i];
}

static double m_at(const struct lm_adamw *work, int64_t i)
{
    if (work->state == LM_STATE_F32)
        return ((const float *)work->m)[i];
    if (work->state == LM_STATE_BF16)
        return lm_bf16_to_f32(((const uint16_t *)work->m)[i]);
    const int code = ((const uint8_t *)work->m)[i];
    const double value = (double)work->m_scale[i / LM_STATE_BLOCK] * lm_code_value(code & 127, 3);
    return code & 128 ? -value : value;
}

static double v_at(const struct lm_adamw *work, int64_t i)
{
    if (work->state == LM_STATE_F32)
        return ((const float *)work->v)[i];
    if (work->state == LM_STATE_BF16)
        return lm_bf16_to_f32(((const uint16_t *)work->v)[i]);
    const double root = (double)work->v_scale[i / LM_STATE_BLOCK] * lm_code_value(((const uint8_t *)work->v)[i], 4);
    return root * root;
}

struct moments {
    float m[LM_STATE_BLOCK], v[LM_STATE_BLOCK];
};

static void store_8bit(const struct lm_adamw *work, int64_t block, int64_t count, struct moments *new, uint32_t low,
                       uint32_t high)
{
    uint8_t *m = (uint8_t *)work->m + block, *v = (uint8_t *)work->v + block;
    for (int64_t i = 0; i < count; i++)
        new->v[i] = sqrtf(new->v[i]);
    float most_m = largest(new->m, count), most_v = largest(new->v, count);
    most_m = most_m < LM_LEAST_SCALE ? 0 : most_m;
    most_v = most_v < LM_LEAST_SCALE ? 0 : most_v;
    work->m_scale[block / LM_STATE_BLOCK] = most_m / lm_greatest_code(3);
    work->v_scale[block / LM_STATE_BLOCK] = most_v / lm_greatest_code(4);
    const float m_inverse = most_m > 0 ? lm_greatest_code(3) / most_m : 0, v_inverse = most_v > 0 ? lm_greatest_code(4) / most_v : 0;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = lm_mix32((uint32_t)(work->first + block + i) ^ low);
        m[i] = (uint8_t)(lm_code_of(fabsf(new->m[i]) * m_inverse, 3, bits >> 12) | (new->m[i] < 0 ? 128 : 0));
        v[i] = (uint8_t)lm_code_of(new->v[i] * v_inverse, 4, lm_mix32(bits ^ high));
        if (v[i] == 0 && new->v[i] * v_inverse > 0)
            v[i] = 1;
    }
}

static void store_moments(const struct lm_adamw *work, int64_t block, int64_t count, struct moments *new, uint32_t low,
                          uint32_t high)
{
    if (work->state == LM_STATE_8BIT) {
        store_8bit(work, block, count, new, low, high);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        if (work->state == LM_STATE_F32) {
            ((float *)work->m)[block + i] = new->m[i];
            ((float *)work->v)[block + i] = new->v[i];
            continue;
        }
        const uint32_t bits = lm_mix32((uint32_t)(work->first + block + i) ^ low);
        ((uint16_t *)work->m)[block + i] = cut_bf16(new->m[i], bits >> 16);
        ((uint16_t *)work->v)[block + i] = cut_bf16(new->v[i], lm_mix32(bits ^ high));
    }
}

void LM_PLAIN(adamw)(struct lm_device *device, const struct lm_adamw *work)
{
    (void)device;
    double correction1 = 1 - pow(work->beta1, (double)work->step);
    double correction2 = 1 - pow(work->beta2, (double)work->step);
    uint32_t low, high;
    lm_rounding_key(work->key, work->first, &low, &high);
    for (int64_t block = 0; block < work->count; block += LM_STATE_BLOCK) {
        const int64_t count = work->count - block < LM_STATE_BLOCK ? work->count - block : LM_STATE_BLOCK;
        struct moments new;
        for (int64_t j = 0; j < count; j++) {
            const int64_t i = block + j;
            double g = work->grad_scale * gradient_at(work, i);
            double m = work->beta1 * m_at(work, i) + (1 - work->beta1) * g;
            double v = work->beta2 * v_at(work, i) + (1 - work->beta2) * g * g;
            double p = work->parameter ? work->parameter[i] : lm_bf16_to_f32(work->rounded[i]);
            p *= 1 - work->lr * work->decay;
            p -= work->lr / correction1 * m / (sqrt(v / correction2) + work->eps);
            new.m[j] = (float)m;
            new.v[j] = (float)v;
            if (work->parameter)
                work->parameter[i] = (float)p;
            if (work->rounded)
                work->rounded[i] = work->parameter ? lm_f32_to_bf16((float)p)
                                                   : cut_bf16((float)p, lm_mix32((uint32_t)(work->first + i) ^ low));
        }
        store_moments(work, block, count, &new, low, high);
    }
}
