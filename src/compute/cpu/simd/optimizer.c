#include "simd.h"

#include <math.h>

void lm_simd_adamw(struct lm_device *device, const struct lm_adamw *op)
{
    enum { CHUNK = 4096 };
    double t = (double)op->step;
    const float keep = (float)(1 - op->lr * op->decay), scale = (float)op->grad_scale;
    const float b1 = (float)op->beta1, b2 = (float)op->beta2;
    const float c1 = (float)(1 - op->beta1), c2 = (float)(1 - op->beta2), eps = (float)op->eps;
    const float rate = (float)(op->lr / (1 - pow(op->beta1, t)));
    const float shrink = (float)(1 / sqrt(1 - pow(op->beta2, t)));
#pragma omp parallel for num_threads(device->threads) schedule(static) if (op->count > LM_SIMD_ALONE)
    for (int64_t chunk = 0; chunk < op->count; chunk += CHUNK) {
        int64_t end = op->count - chunk < CHUNK ? op->count : chunk + CHUNK;
        for (int64_t i = chunk; i < end; i += LM_W) {
            int64_t n = end - i;
            vf g = vload_n(op->gradient + i, n) * scale;
            vf m = vfma(vload_n(op->m + i, n), vset(b1), c1 * g);
            vf v = vfma(vload_n(op->v + i, n), vset(b2), c2 * g * g);
            vf p = vload_n(op->parameter + i, n) * keep - rate * m / vfma(vsqrt(v), vset(shrink), vset(eps));
            vstore_n(op->m + i, m, n);
            vstore_n(op->v + i, v, n);
            vstore_n(op->parameter + i, p, n);
            if (op->rounded)
                vstore_bf16_n(op->rounded + i, p, n);
        }
    }
}

/* One block's sum, in LM_W places of double. */
static double block_squares(const float *x, int64_t count)
{
    double sums[16] = {0}, total = 0;
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (int j = 0; j < 16; j++)
            sums[j] += (double)x[i + j] * x[i + j];
    for (; i < count; i++)
        sums[i % 16] += (double)x[i] * x[i];
    for (int j = 0; j < 16; j++)
        total += sums[j];
    return total;
}

double lm_simd_sum_squares(struct lm_device *device, int64_t count, const float *x)
{
    enum { BLOCKS = 256 };
    double sums[BLOCKS] = {0}, total = 0;
    int64_t length = ((count + BLOCKS - 1) / BLOCKS + 15) / 16 * 16;
#pragma omp parallel for num_threads(device->threads) schedule(static) if (count > LM_SIMD_ALONE)
    for (int64_t block = 0; block < BLOCKS; block++) {
        int64_t from = block * length;
        if (from < count)
            sums[block] = block_squares(x + from, count - from < length ? count - from : length);
    }
    for (int block = 0; block < BLOCKS; block++)
        total += sums[block];
    return total;
}
