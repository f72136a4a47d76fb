/* Narrow optimizer state to and from fp32: for checkpoints, where rounding is to nearest. */
#include "compute.h"
#include "compute/narrow.h"

#include <math.h>

void lm_state_unpack(enum lm_state_kind kind, bool second, int64_t count, const void *from, const float *scales, float *values)
{
    if (kind != LM_STATE_8BIT) {
        lm_convert(LM_F32, values, kind == LM_STATE_F32 ? LM_F32 : LM_BF16, from, (size_t)count);
        return;
    }
    const uint8_t *codes = from;
    for (int64_t i = 0; i < count; i++) {
        const float scale = scales[i / LM_STATE_BLOCK];
        const float value = scale * (float)lm_code_value(second ? codes[i] : codes[i] & 127, second ? 4 : 3);
        values[i] = second ? value * value : codes[i] & 128 ? -value : value;
    }
}

static void pack_block(bool second, int64_t count, const float *values, uint8_t *codes, float *scale)
{
    const int bits = second ? 4 : 3;
    float most = 0;
    for (int64_t i = 0; i < count; i++) {
        const float size = second ? sqrtf(values[i]) : fabsf(values[i]);
        most = size > most ? size : most;
    }
    most = most < LM_LEAST_SCALE ? 0 : most;
    *scale = most / lm_greatest_code(bits);
    for (int64_t i = 0; i < count; i++) {
        const float size = second ? sqrtf(values[i]) : fabsf(values[i]);
        const float x = most > 0 ? size * (lm_greatest_code(bits) / most) : 0;
        codes[i] = (uint8_t)lm_code_of(x, bits, 1U << (22 - bits));
        if (second && codes[i] == 0 && x > 0)
            codes[i] = 1;
        if (!second && values[i] < 0)
            codes[i] |= 128;
    }
}

void lm_state_pack(enum lm_state_kind kind, bool second, int64_t count, const float *values, void *to, float *scales)
{
    if (kind != LM_STATE_8BIT) {
        lm_convert(kind == LM_STATE_F32 ? LM_F32 : LM_BF16, to, LM_F32, values, (size_t)count);
        return;
    }
    for (int64_t at = 0; at < count; at += LM_STATE_BLOCK)
        pack_block(second, count - at < LM_STATE_BLOCK ? count - at : LM_STATE_BLOCK, values + at, (uint8_t *)to + at,
                   &scales[at / LM_STATE_BLOCK]);
}
