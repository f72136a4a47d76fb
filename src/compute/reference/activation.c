/* GELU (Hendrycks and Gimpel, 2016, arXiv:1606.08415) and SwiGLU (Shazeer, 2020, arXiv:2002.05202). */
#include "compute/reference/reference.h"

#include <math.h>

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* 2 * sqrt(2/pi) * (x + 0.044715 x^3), so that 0.5 * (1 + tanh(inner / 2)) = sigmoid(inner), without its cancellation. */
static double tanh_inner(double x)
{
    return 2 * M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x);
}

static double tanh_inner_slope(double x)
{
    return 2 * M_2_SQRTPI * M_SQRT1_2 * (1 + 3 * 0.044715 * x * x);
}

/* The normal distribution's cumulative function, which tends to 0 on the left without cancellation. */
static double normal_below(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

/* y = x * P(N < x), or x * 0.5 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). */
void LM_PLAIN(gelu)(struct lm_device *device, int64_t count, bool tanh_form, const real *x, real *y)
{
    (void)device;
    for (int64_t i = 0; i < count; i++)
        y[i] = (real)(x[i] * (tanh_form ? sigmoid(tanh_inner(x[i])) : normal_below(x[i])));
}

void LM_PLAIN(gelu_backward)(struct lm_device *device, int64_t count, bool tanh_form, const real *x, const real *dy,
                             real *dx)
{
    (void)device;
    for (int64_t i = 0; i < count; i++) {
        double share = tanh_form ? sigmoid(tanh_inner(x[i])) : normal_below(x[i]);
        double slope = tanh_form ? share * (1 - share) * tanh_inner_slope(x[i])
                                 : 0.5 * M_2_SQRTPI * M_SQRT1_2 * exp(-0.5 * x[i] * x[i]);
        dx[i] = (real)(dy[i] * (share + x[i] * slope));
    }
}

/* y = g * sigmoid(g) * u with g the first and u the second half of each row. */
void LM_PLAIN(swiglu)(struct lm_device *device, int64_t rows, int64_t width, const real *gate_up, real *y)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < width; c++) {
            double g = gate_up[r * 2 * width + c], u = gate_up[r * 2 * width + width + c];
            y[r * width + c] = (real)(g * sigmoid(g) * u);
        }
    }
}

void LM_PLAIN(swiglu_backward)(struct lm_device *device, int64_t rows, int64_t width, const real *gate_up,
                               const real *dy, real *d_gate_up)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < width; c++) {
            double g = gate_up[r * 2 * width + c], u = gate_up[r * 2 * width + width + c], above = dy[r * width + c];
            double s = sigmoid(g);
            d_gate_up[r * 2 * width + c] = (real)(above * u * s * (1 + g * (1 - s)));
            d_gate_up[r * 2 * width + width + c] = (real)(above * g * s);
        }
    }
}
