#include "compute/reference/reference.h"

void LM_PLAIN(add)(struct lm_device *device, int64_t count, const real *x, real *y)
{
    (void)device;
    for (int64_t i = 0; i < count; i++)
        y[i] += x[i];
}

void LM_PLAIN(scale)(struct lm_device *device, int64_t count, float factor, real *y)
{
    (void)device;
    for (int64_t i = 0; i < count; i++)
        y[i] *= (real)factor;
}

void LM_PLAIN(fill)(struct lm_device *device, int64_t count, float value, real *y)
{
    (void)device;
    for (int64_t i = 0; i < count; i++)
        y[i] = (real)value;
}

/* The bias of y = x·wᵀ + bias stands in every row, so its gradient is the sum of the rows. */
void LM_PLAIN(bias_backward)(struct lm_device *device, int64_t rows, int64_t width, const real *dy, int64_t stride,
                             real *dbias)
{
    (void)device;
    for (int64_t c = 0; c < width; c++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += dy[r * stride + c];
        dbias[c] = (real)(dbias[c] + sum);
    }
}

void LM_PLAIN(convert)(struct lm_device *device, int64_t count, enum lm_dtype from, const void *x, enum lm_dtype to,
                       void *y)
{
    if (!lm_convert(to, y, from, x, (size_t)count))
        lm_device_fail(device, LOAM_EUNSUPPORTED, "convert: found %s to %s, wanted F32, BF16, F16 or F64",
                       lm_dtype_name(from), lm_dtype_name(to));
}

double LM_PLAIN(sum_squares)(struct lm_device *device, int64_t count, enum lm_dtype type, const void *x)
{
    (void)device;
    const struct lm_matrix row = {.data = (void *)(uintptr_t)x, .dtype = type, .stride = count};
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += LM_PLAIN(get)(row, 0, i) * LM_PLAIN(get)(row, 0, i);
    return sum;
}
