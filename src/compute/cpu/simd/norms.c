#include "simd.h"

#include <math.h>

/* A norm's weight or bias, of either type, or absent: then every place is `absent`. */
LM_INLINE vf factor(struct lm_matrix m, float absent, int64_t at, int64_t n)
{
    return m.data ? vload_any(m.data, m.dtype == LM_BF16, at, n) : vset(absent);
}

/* Sum of (x - mean)^2; the places behind the end count nothing. */
static float squares(const float *x, int64_t width, float mean)
{
    int64_t whole = width / LM_W * LM_W;
    vf sums[4] = {{0}};
    for (int64_t i = 0; i < whole; i += LM_W) {
        vf d = vload(x + i) - mean;
        sums[i / LM_W % 4] = vfma(d, d, sums[i / LM_W % 4]);
    }
    float tail = 0;
    for (int64_t i = whole; i < width; i++)
        tail += (x[i] - mean) * (x[i] - mean);
    return vsum((sums[0] + sums[1]) + (sums[2] + sums[3])) + tail;
}

static float total(const float *x, int64_t width)
{
    vf sums[4] = {{0}};
    for (int64_t i = 0; i < width; i += LM_W)
        sums[i / LM_W % 4] += vload_n(x + i, width - i);
    return vsum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

void lm_simd_layer_norm(struct lm_device *device, int64_t rows, int64_t width, float eps, const float *x,
                        struct lm_matrix weight, struct lm_matrix bias, float *y, float *mean, float *rstd)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * width > LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * width;
        float centre = total(row, width) / (float)width;
        float inverse = 1.0f / sqrtf(squares(row, width, centre) / (float)width + eps);
        for (int64_t i = 0; i < width; i += LM_W) {
            int64_t n = width - i;
            vf unit = (vload_n(row + i, n) - centre) * inverse;
            vstore_n(y + r * width + i, vfma(unit, factor(weight, 1, i, n), factor(bias, 0, i, n)), n);
        }
        if (mean)
            mean[r] = centre;
        if (rstd)
            rstd[r] = inverse;
    }
}

/* With u = (x - mean) rstd and g = dy weight: dx = rstd (g - mean(g) - u mean(g u)). dweight and dbias: sums dy u and dy, into
 * this block's partial sums [2, width]. */
static void layer_norm_backward_row(int64_t width, const float *x, struct lm_matrix weight, float mean, float rstd,
                                    const float *dy, float *dx, bool add, float *dweight, float *dbias)
{
    vf sum_g = vset(0), sum_gu = vset(0);
    for (int64_t i = 0; i < width; i += LM_W) {
        int64_t n = width - i;
        vf d = vload_n(dy + i, n), u = (vload_n(x + i, n) - mean) * rstd;
        vf g = d * factor(weight, 1, i, n);
        sum_g += g;
        sum_gu = vfma(g, u, sum_gu);
        if (dweight)
            vstore_n(dweight + i, vfma(d, u, vload_n(dweight + i, n)), n);
        if (dbias)
            vstore_n(dbias + i, d + vload_n(dbias + i, n), n);
    }
    float mean_g = vsum(sum_g) / (float)width, mean_gu = vsum(sum_gu) / (float)width;
    for (int64_t i = 0; i < width; i += LM_W) {
        int64_t n = width - i;
        vf u = (vload_n(x + i, n) - mean) * rstd;
        vf d = rstd * (vload_n(dy + i, n) * factor(weight, 1, i, n) - mean_g - u * mean_gu);
        vstore_n(dx + i, add ? vload_n(dx + i, n) + d : d, n);
    }
}

void lm_simd_layer_norm_backward(struct lm_device *device, int64_t rows, int64_t width, const float *x,
                                 struct lm_matrix weight, const float *mean, const float *rstd, const float *dy, float *dx,
                                 bool add, float *dweight, float *dbias)
{
    float *partial = lm_device_scratch(device, (size_t)(LM_SIMD_BLOCKS * 2 * width) * sizeof *partial);
    if (!partial)
        return;
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * width > LM_SIMD_ALONE)
    for (int64_t block = 0; block < LM_SIMD_BLOCKS; block++) {
        float *sums = partial + block * 2 * width;
        memset(sums, 0, (size_t)(2 * width) * sizeof *sums);
        for (int64_t r = lm_simd_row_block(rows, block); r < lm_simd_row_block(rows, block + 1); r++)
            layer_norm_backward_row(width, x + r * width, weight, mean[r], rstd[r], dy + r * width, dx + r * width, add,
                                    dweight ? sums : NULL, dbias ? sums + width : NULL);
    }
    if (dweight)
        lm_simd_add_blocks(device, width, partial, 2 * width, dweight);
    if (dbias)
        lm_simd_add_blocks(device, width, partial + width, 2 * width, dbias);
}

void lm_simd_rms_norm(struct lm_device *device, int64_t rows, int64_t groups, int64_t width, float eps, const float *x,
                      int64_t x_stride, struct lm_matrix weight, float *y, int64_t y_stride, float *rstd)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * groups * width > LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t g = 0; g < groups; g++) {
            const float *from = x + r * x_stride + g * width;
            float *to = y + r * y_stride + g * width;
            float inverse = 1.0f / sqrtf(squares(from, width, 0) / (float)width + eps);
            for (int64_t i = 0; i < width; i += LM_W) {
                int64_t n = width - i;
                vstore_n(to + i, vload_n(from + i, n) * inverse * factor(weight, 1, i, n), n);
            }
            if (rstd)
                rstd[r * groups + g] = inverse;
        }
}

/* With u = x rstd and g = dy weight: dx = rstd (g - u mean(g u)). */
static void rms_norm_backward_group(int64_t width, const float *x, struct lm_matrix weight, float rstd, const float *dy,
                                    float *dx, bool add, float *dweight)
{
    vf sum_gu = vset(0);
    for (int64_t i = 0; i < width; i += LM_W) {
        int64_t n = width - i;
        vf d = vload_n(dy + i, n), u = vload_n(x + i, n) * rstd;
        sum_gu = vfma(d * factor(weight, 1, i, n), u, sum_gu);
        if (dweight)
            vstore_n(dweight + i, vfma(d, u, vload_n(dweight + i, n)), n);
    }
    float mean_gu = vsum(sum_gu) / (float)width;
    for (int64_t i = 0; i < width; i += LM_W) {
        int64_t n = width - i;
        vf u = vload_n(x + i, n) * rstd;
        vf d = rstd * (vload_n(dy + i, n) * factor(weight, 1, i, n) - u * mean_gu);
        vstore_n(dx + i, add ? vload_n(dx + i, n) + d : d, n);
    }
}

void lm_simd_rms_norm_backward(struct lm_device *device, int64_t rows, int64_t groups, int64_t width, const float *x,
                               int64_t x_stride, struct lm_matrix weight, const float *rstd, const float *dy,
                               int64_t dy_stride, float *dx, int64_t dx_stride, bool add, float *dweight)
{
    float *partial = lm_device_scratch(device, (size_t)(LM_SIMD_BLOCKS * width) * sizeof *partial);
    if (!partial)
        return;
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * groups * width > LM_SIMD_ALONE)
    for (int64_t block = 0; block < LM_SIMD_BLOCKS; block++) {
        float *sums = dweight ? partial + block * width : NULL;
        if (sums)
            memset(sums, 0, (size_t)width * sizeof *sums);
        for (int64_t r = lm_simd_row_block(rows, block); r < lm_simd_row_block(rows, block + 1); r++)
            for (int64_t g = 0; g < groups; g++)
                rms_norm_backward_group(width, x + r * x_stride + g * width, weight, rstd[r * groups + g],
                                        dy + r * dy_stride + g * width, dx + r * dx_stride + g * width, add, sums);
    }
    if (dweight)
        lm_simd_add_blocks(device, width, partial, width, dweight);
}
