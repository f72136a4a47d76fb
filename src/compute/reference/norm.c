/* LayerNorm (Ba, Kiros and Hinton, 2016, arXiv:1607.06450) and RMSNorm (Zhang and Sennrich, 2019, arXiv:1910.07467). */
#include "compute/reference/reference.h"

#include <math.h>

static double weight_at(struct lm_matrix weight, int64_t column)
{
    return weight.data ? LM_PLAIN(get)(weight, 0, column) : 1;
}

/* y = (x - mean) / sqrt(variance + eps) * weight + bias; the variance divides by width, not by width - 1. */
void LM_PLAIN(layer_norm)(struct lm_device *device, int64_t rows, int64_t width, float eps, const real *x,
                          struct lm_matrix weight, struct lm_matrix bias, real *y, real *mean, real *rstd)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        const real *row = x + r * width;
        double sum = 0, squares = 0;
        for (int64_t c = 0; c < width; c++)
            sum += row[c];
        double mu = sum / (double)width;
        for (int64_t c = 0; c < width; c++)
            squares += (row[c] - mu) * (row[c] - mu);
        double scale = 1 / sqrt(squares / (double)width + (double)eps);
        for (int64_t c = 0; c < width; c++) {
            double shift = bias.data ? LM_PLAIN(get)(bias, 0, c) : 0;
            y[r * width + c] = (real)((row[c] - mu) * scale * weight_at(weight, c) + shift);
        }
        if (mean)
            mean[r] = (real)mu;
        if (rstd)
            rstd[r] = (real)scale;
    }
}

/* With n = (x - mean) * rstd and g = dy * weight:
 * dx = rstd * (g - mean over the row of g - n * mean over the row of g*n); dweight += sum over rows of dy*n;
 * dbias += sum over rows of dy. */
void LM_PLAIN(layer_norm_backward)(struct lm_device *device, int64_t rows, int64_t width, const real *x,
                                   struct lm_matrix weight, const real *mean, const real *rstd, const real *dy,
                                   real *dx, bool add, real *dweight, real *dbias)
{
    (void)device;
    for (int64_t c = 0; c < width; c++) {
        double weight_sum = 0, bias_sum = 0;
        for (int64_t r = 0; r < rows; r++) {
            double n = ((double)x[r * width + c] - mean[r]) * rstd[r];
            weight_sum += dy[r * width + c] * n;
            bias_sum += dy[r * width + c];
        }
        if (dweight)
            dweight[c] = (real)(dweight[c] + weight_sum);
        if (dbias)
            dbias[c] = (real)(dbias[c] + bias_sum);
    }
    for (int64_t r = 0; r < rows; r++) {
        double g_mean = 0, gn_mean = 0;
        for (int64_t c = 0; c < width; c++) {
            double n = ((double)x[r * width + c] - mean[r]) * rstd[r];
            double g = dy[r * width + c] * weight_at(weight, c);
            g_mean += g / (double)width;
            gn_mean += g * n / (double)width;
        }
        for (int64_t c = 0; c < width; c++) {
            double n = ((double)x[r * width + c] - mean[r]) * rstd[r];
            double g = dy[r * width + c] * weight_at(weight, c);
            double value = rstd[r] * (g - g_mean - n * gn_mean);
            dx[r * width + c] = (real)(add ? dx[r * width + c] + value : value);
        }
    }
}

/* y = x / sqrt(mean of x*x + eps) * weight, in each group of `width` neighbours. */
void LM_PLAIN(rms_norm)(struct lm_device *device, int64_t rows, int64_t groups, int64_t width, float eps,
                        const real *x, int64_t x_stride, struct lm_matrix weight, real *y, int64_t y_stride,
                        real *rstd)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t group = 0; group < groups; group++) {
            const real *from = x + r * x_stride + group * width;
            real *to = y + r * y_stride + group * width;
            double squares = 0;
            for (int64_t c = 0; c < width; c++)
                squares += (double)from[c] * from[c];
            double scale = 1 / sqrt(squares / (double)width + (double)eps);
            for (int64_t c = 0; c < width; c++)
                to[c] = (real)(from[c] * scale * weight_at(weight, c));
            if (rstd)
                rstd[r * groups + group] = (real)scale;
        }
    }
}

/* With n = x * rstd and g = dy * weight: dx = rstd * (g - n * mean over the group of g*n); dweight += sum of dy*n over
 * rows and groups. */
void LM_PLAIN(rms_norm_backward)(struct lm_device *device, int64_t rows, int64_t groups, int64_t width, const real *x,
                                 int64_t x_stride, struct lm_matrix weight, const real *rstd, const real *dy,
                                 int64_t dy_stride, real *dx, int64_t dx_stride, bool add, real *dweight)
{
    (void)device;
    for (int64_t c = 0; c < width && dweight; c++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t group = 0; group < groups; group++)
                sum += (double)dy[r * dy_stride + group * width + c] * x[r * x_stride + group * width + c] *
                       rstd[r * groups + group];
        dweight[c] = (real)(dweight[c] + sum);
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t group = 0; group < groups; group++) {
            const real *from = x + r * x_stride + group * width;      /* [width] */
            const real *above = dy + r * dy_stride + group * width;   /* [width] */
            real *to = dx + r * dx_stride + group * width;            /* [width] */
            double scale = rstd[r * groups + group], gn_mean = 0;
            for (int64_t c = 0; c < width; c++)
                gn_mean += above[c] * weight_at(weight, c) * from[c] * scale / (double)width;
            for (int64_t c = 0; c < width; c++) {
                double value = scale * (above[c] * weight_at(weight, c) - from[c] * scale * gn_mean);
                to[c] = (real)(add ? to[c] + value : value);
            }
        }
    }
}
