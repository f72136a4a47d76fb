#include "compute/reference/reference.h"

double LM_PLAIN(get)(struct lm_matrix matrix, int64_t row, int64_t column)
{
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

/* c[i,j] = sum over p of a[i,p] * b[p,j] (+ bias[j]) (+ c[i,j]). Its backward pass is two more products:
 * da = dc·op(b)ᵀ and db = op(a)ᵀ·dc, and bias_backward for the bias. */
void LM_PLAIN(matmul)(struct lm_device *device, const struct lm_matmul *work)
{
    (void)device;
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
