#include "compute/reference/reference.h"

#include <math.h>

/* An element of a row of blocks: its block is made fp32. */
static double get_from_block(struct lm_matrix matrix, int64_t row, int64_t column)
{
    float values[256];
    int64_t elements = lm_dtype_block_elements(matrix.dtype), block = (row * matrix.stride + column) / elements;
    lm_convert(LM_F32, values, matrix.dtype, (const char *)matrix.data + block * lm_dtype_block_bytes(matrix.dtype),
               (size_t)elements);
    return values[column % elements];
}

double LM_PLAIN(get)(struct lm_matrix matrix, int64_t row, int64_t column)
{
    if (lm_dtype_is_block(matrix.dtype))
        return get_from_block(matrix, row, column);
    int64_t at = row * matrix.stride + column;
    if (matrix.dtype == LM_F64)
        return ((const double *)matrix.data)[at];
    if (matrix.dtype == LM_BF16)
        return lm_bf16_to_f32(((const uint16_t *)matrix.data)[at]);
    return ((const float *)matrix.data)[at];
}

void LM_PLAIN(put)(struct lm_matrix matrix, int64_t row, int64_t column, double value)
{
    int64_t at = row * matrix.stride + column;
    if (matrix.dtype == LM_F64)
        ((double *)matrix.data)[at] = value;
    else if (matrix.dtype == LM_BF16)
        ((uint16_t *)matrix.data)[at] = lm_f32_to_bf16((float)value);
    else
        ((float *)matrix.data)[at] = (float)value;
}

/* 32 elements of a as they count beside weights in blocks: q * (most/127) with q = a * (127/most), rounded to the nearest. What is not
 * finite makes all of them NaN. */
static void round_block(const float *a, double *to)
{
    float most = 0, wrong = 0;
    for (int i = 0; i < 32; i++) {
        most = fabsf(a[i]) > most ? fabsf(a[i]) : most;
        wrong += a[i] * 0;
    }
    float inverse = most > 1e-30F ? 127 / most : 0, d = (most > 1e-30F ? most / 127 : 0) + wrong;
    for (int i = 0; i < 32; i++)
        to[i] = (double)d * (wrong == 0 ? nearbyint((double)(a[i] * inverse)) : 1);
}

/* The same sums with b as rows of blocks and a rounded. */
static void matmul_blocks(struct lm_device *device, const struct lm_matmul *work)
{
    size_t elements = (size_t)work->k;
    int64_t row_bytes = work->b.stride / lm_dtype_block_elements(work->b.dtype) * lm_dtype_block_bytes(work->b.dtype);
    double *a = lm_device_scratch(device, elements * (sizeof(double) + sizeof(float)));
    float *b = (float *)(a + elements);
    for (int64_t i = 0; a && i < work->m; i++) {
        for (int64_t p = 0; p < work->k; p += 32)
            round_block((const float *)work->a.data + i * work->a.stride + p, a + p);
        for (int64_t j = 0; j < work->n; j++) {
            double sum = work->bias ? (double)work->bias[j] : 0;
            lm_convert(LM_F32, b, work->b.dtype, (const char *)work->b.data + j * row_bytes, elements);
            for (int64_t p = 0; p < work->k; p++)
                sum += a[p] * (double)b[p];
            if (work->add)
                sum += LM_PLAIN(get)(work->c, i, j);
            LM_PLAIN(put)(work->c, i, j, sum);
        }
    }
}

/* c[i,j] = sum over p of a[i,p] * b[p,j] (+ bias[j]) (+ c[i,j]). Its backward pass is two more products:
 * da = dc·op(b)ᵀ and db = op(a)ᵀ·dc, and bias_backward for the bias. */
void LM_PLAIN(matmul)(struct lm_device *device, const struct lm_matmul *work)
{
    if (lm_dtype_is_block(work->b.dtype)) {
        matmul_blocks(device, work);
        return;
    }
    const real *bias = (const real *)work->bias;    /* [n] */
    for (int64_t i = 0; i < work->m; i++) {
        for (int64_t j = 0; j < work->n; j++) {
            double sum = 0;
            for (int64_t p = 0; p < work->k; p++) {
                double a = work->transpose_a ? LM_PLAIN(get)(work->a, p, i) : LM_PLAIN(get)(work->a, i, p);
                double b = work->transpose_b ? LM_PLAIN(get)(work->b, j, p) : LM_PLAIN(get)(work->b, p, j);
                sum += a * b;
            }
            if (bias)
                sum += bias[j];
            if (work->add)
                sum += LM_PLAIN(get)(work->c, i, j);
            LM_PLAIN(put)(work->c, i, j, sum);
        }
    }
}
