#include "blocks.h"

#include <math.h>

int64_t lm_simd_row_block(int64_t rows, int64_t block)
{
    return rows * block / LM_SIMD_BLOCKS;
}

void lm_simd_add_blocks(struct lm_device *device, int64_t width, const float *partial, int64_t stride, float *sum)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (width * LM_SIMD_BLOCKS > LM_SIMD_ALONE)
    for (int64_t i = 0; i < width; i += LM_W) {
        vf total = vload_n(partial + i, width - i);
        for (int64_t block = 1; block < LM_SIMD_BLOCKS; block++)
            total += vload_n(partial + block * stride + i, width - i);
        vstore_n(sum + i, vload_n(sum + i, width - i) + total, width - i);
    }
}

void lm_simd_bias_backward(struct lm_device *device, int64_t rows, int64_t width, const float *dy, int64_t stride,
                           float *dbias)
{
    float *partial = lm_device_scratch(device, (size_t)(LM_SIMD_BLOCKS * width) * sizeof *partial);
    if (!partial)
        return;
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * width > LM_SIMD_ALONE)
    for (int64_t block = 0; block < LM_SIMD_BLOCKS; block++) {
        float *sum = partial + block * width;
        memset(sum, 0, (size_t)width * sizeof *sum);
        for (int64_t r = lm_simd_row_block(rows, block); r < lm_simd_row_block(rows, block + 1); r++)
            for (int64_t i = 0; i < width; i += LM_W)
                vstore_n(sum + i, vload_n(sum + i, width - i) + vload_n(dy + r * stride + i, width - i), width - i);
    }
    lm_simd_add_blocks(device, width, partial, width, dbias);
}

void lm_simd_embed(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids, struct lm_matrix table,
                   const int32_t *positions, struct lm_matrix positions_table, float *out)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * width > LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++) {
        if (lm_dtype_is_block(table.dtype)) {
            lm_convert(LM_F32, out + r * width, table.dtype, lm_block_row(&table, ids[r]), (size_t)width);
            for (int64_t i = 0; positions && i < width; i += LM_W)
                vstore_n(out + r * width + i,
                         vload_n(out + r * width + i, width - i) +
                             vload_any(positions_table.data, positions_table.dtype == LM_BF16,
                                       positions[r] * positions_table.stride + i, width - i), width - i);
            continue;
        }
        int64_t from = ids[r] * table.stride, place = positions ? positions[r] * positions_table.stride : 0;
        for (int64_t i = 0; i < width; i += LM_W) {
            vf v = vload_any(table.data, table.dtype == LM_BF16, from + i, width - i);
            if (positions)
                v += vload_any(positions_table.data, positions_table.dtype == LM_BF16, place + i, width - i);
            vstore_n(out + r * width + i, v, width - i);
        }
    }
}

/* The columns [from, end) of one row of `dout` are added to row `at` of `table`. */
static void add_columns(int64_t from, int64_t end, const float *dout, const struct lm_matrix *table, int64_t at)
{
    const bool bf16 = table->dtype == LM_BF16;
    for (int64_t i = from; table->data && i < end; i += LM_W) {
        const int64_t place = at * table->stride + i;
        const vf sum = vload_any(table->data, bf16, place, end - i) + vload_n(dout + i, end - i);
        if (bf16)
            vstore_bf16_n((uint16_t *)table->data + place, sum, end - i);
        else
            vstore_n((float *)table->data + place, sum, end - i);
    }
}

/* Each thread owns columns and goes through all rows in order: no two write one place, and the order of sums is fixed. */
void lm_simd_embed_backward(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids, const float *dout,
                            struct lm_matrix dtable, const int32_t *positions, struct lm_matrix dpositions)
{
    int64_t lines = (width + 15) / 16, share = (lines + device->threads - 1) / device->threads * 16;
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * width > LM_SIMD_ALONE)
    for (int64_t from = 0; from < width; from += share) {
        int64_t end = from + share < width ? from + share : width;
        for (int64_t r = 0; r < rows; r++) {
            add_columns(from, end, dout + r * width, &dtable, ids[r]);
            if (positions)
                add_columns(from, end, dout + r * width, &dpositions, positions[r]);
        }
    }
}

void lm_simd_rope_angles(struct lm_device *device, int64_t rows, int64_t half, const int32_t *positions,
                         const float *inverse_frequency, float scale, float *angles)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * half > LM_SIMD_ALONE / 16)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < half; i++) {
            float angle = (float)positions[r] * inverse_frequency[i];
            angles[(r * half + i) * 2] = cosf(angle) * scale;
            angles[(r * half + i) * 2 + 1] = sinf(angle) * scale;
        }
}

/* One row's angles apart: cosines, then sines, so that the heads can take them as vectors. */
static void rotate_row(float *x, int64_t heads, int64_t half, const float *angles, float sign, float *apart)
{
    float *sine = apart + half;
    for (int64_t i = 0; i < half; i++) {
        apart[i] = angles[2 * i];
        sine[i] = sign * angles[2 * i + 1];
    }
    for (int64_t h = 0; h < heads; h++) {
        float *low = x + h * 2 * half, *high = low + half;
        for (int64_t i = 0; i < half; i += LM_W) {
            int64_t n = half - i;
            vf a = vload_n(low + i, n), b = vload_n(high + i, n);
            vf c = vload_n(apart + i, n), s = vload_n(sine + i, n);
            vstore_n(low + i, a * c - b * s, n);
            vstore_n(high + i, b * c + a * s, n);
        }
    }
}

void lm_simd_rope(struct lm_device *device, int64_t rows, int64_t heads, int64_t head_size, float *x, int64_t stride,
                  const float *angles, bool inverse)
{
    enum { PIECE = 512 };    /* pairs whose angles are turned around at a time */
    float sign = inverse ? -1.0f : 1.0f;
    int64_t half = head_size / 2;
    if (half > PIECE) {
        lm_device_fail(device, LOAM_EUNSUPPORTED, "rope: head size: found %lld, wanted at most %d",
                       (long long)head_size, 2 * PIECE);
        return;
    }
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * heads * head_size > LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++) {
        float apart[2 * PIECE];
        rotate_row(x + r * stride, heads, half, angles + r * half * 2, sign, apart);
    }
}
