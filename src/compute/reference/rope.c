/* Rotary positions (Su et al., 2021, arXiv:2104.09864), with the pairs (i, i + D/2) as `transformers` and the checkpoints
 * on the hub have them. */
#include "compute/reference/reference.h"

#include <math.h>

/* The product of position and frequency is rounded to fp32 before its cosine is taken, and that before it is scaled: what
 * models were trained with, although it is off by 1e-3 for positions in the ten thousands. */
void LM_PLAIN(rope_angles)(struct lm_device *device, int64_t rows, int64_t half, const int32_t *positions,
                           const real *inverse_frequency, float scale, real *angles)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < half; i++) {
            real angle = (real)positions[r] * inverse_frequency[i];
            angles[(r * half + i) * 2] = (real)cos(angle) * (real)scale;
            angles[(r * half + i) * 2 + 1] = (real)sin(angle) * (real)scale;
        }
    }
}

/* (x1, x2) becomes (x1 cos - x2 sin, x2 cos + x1 sin). The backward pass multiplies by the transposed matrix, which is the
 * same with -sin. */
void LM_PLAIN(rope)(struct lm_device *device, int64_t rows, int64_t heads, int64_t head_size, real *x, int64_t stride,
                    const real *angles, bool inverse)
{
    (void)device;
    int64_t half = head_size / 2;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t h = 0; h < heads; h++) {
            real *head = x + r * stride + h * head_size;
            for (int64_t i = 0; i < half; i++) {
                double cosine = angles[(r * half + i) * 2];
                double sine = inverse ? -angles[(r * half + i) * 2 + 1] : angles[(r * half + i) * 2 + 1];
                double x1 = head[i], x2 = head[i + half];
                head[i] = (real)(x1 * cosine - x2 * sine);
                head[i + half] = (real)(x2 * cosine + x1 * sine);
            }
        }
    }
}
