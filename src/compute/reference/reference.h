/* The plain operations: one thread, one loop after another, written to be read. They judge the fast ones, so every sum is
 * taken in double and rounded once, where it is stored.
 *
 *     for (int64_t r = 0; r < rows; r++)
 *         y[r] = (real)exp(x[r]);
 *
 * `real` is float. Tests compile the same files a second time with LM_REFERENCE_F64, which makes it double, so that
 * differences of the forward pass can judge the backward pass to eight digits; LM_PLAIN(matmul) is lm_plain_matmul in one
 * and lm_f64_matmul in the other. There, the float pointers of struct lm_matmul and struct lm_attention lead to doubles.
 *
 * What each operation does stands in compute.h; the members of lm_ops have the same names.
 */
#ifndef LOAM_COMPUTE_REFERENCE_H
#define LOAM_COMPUTE_REFERENCE_H

#include "compute/device.h"

#ifdef LM_REFERENCE_F64
typedef double real;
#define LM_PLAIN(name) lm_f64_##name
#else
typedef float real;
#define LM_PLAIN(name) lm_plain_##name
#endif

/* One element of a matrix of F32, BF16 or F64, and the same rounded to the matrix's type when put there. */
double LM_PLAIN(get)(struct lm_matrix matrix, int64_t row, int64_t column);
void LM_PLAIN(put)(struct lm_matrix matrix, int64_t row, int64_t column, double value);

void LM_PLAIN(matmul)(struct lm_device *device, const struct lm_matmul *work);

void LM_PLAIN(embed)(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids, struct lm_matrix table,
                     const int32_t *positions, struct lm_matrix positions_table, real *out);
void LM_PLAIN(embed_backward)(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids,
                              const real *dout, struct lm_matrix dtable, const int32_t *positions,
                              struct lm_matrix dpositions);

void LM_PLAIN(layer_norm)(struct lm_device *device, int64_t rows, int64_t width, float eps, const real *x,
                          struct lm_matrix weight, struct lm_matrix bias, real *y, real *mean, real *rstd);
void LM_PLAIN(layer_norm_backward)(struct lm_device *device, int64_t rows, int64_t width, const real *x,
                                   struct lm_matrix weight, const real *mean, const real *rstd, const real *dy,
                                   real *dx, bool add, real *dweight, real *dbias);
void LM_PLAIN(rms_norm)(struct lm_device *device, int64_t rows, int64_t groups, int64_t width, float eps,
                        const real *x, int64_t x_stride, struct lm_matrix weight, real *y, int64_t y_stride,
                        real *rstd);
void LM_PLAIN(rms_norm_backward)(struct lm_device *device, int64_t rows, int64_t groups, int64_t width, const real *x,
                                 int64_t x_stride, struct lm_matrix weight, const real *rstd, const real *dy,
                                 int64_t dy_stride, real *dx, int64_t dx_stride, bool add, real *dweight);

void LM_PLAIN(rope_angles)(struct lm_device *device, int64_t rows, int64_t half, const int32_t *positions,
                           const real *inverse_frequency, float scale, real *angles);
void LM_PLAIN(rope)(struct lm_device *device, int64_t rows, int64_t heads, int64_t head_size, real *x, int64_t stride,
                    const real *angles, bool inverse);

void LM_PLAIN(attention)(struct lm_device *device, const struct lm_attention *work);
void LM_PLAIN(attention_backward)(struct lm_device *device, const struct lm_attention *work);
void LM_PLAIN(attention_weights)(struct lm_device *device, const struct lm_attention *work, real *weights);
size_t LM_PLAIN(attention_scratch)(struct lm_device *device, const struct lm_attention *work, bool backward);

void LM_PLAIN(gelu)(struct lm_device *device, int64_t count, bool tanh_form, const real *x, real *y);
void LM_PLAIN(gelu_backward)(struct lm_device *device, int64_t count, bool tanh_form, const real *x, const real *dy,
                             real *dx);
void LM_PLAIN(swiglu)(struct lm_device *device, int64_t rows, int64_t width, const real *gate_up, real *y);
void LM_PLAIN(swiglu_backward)(struct lm_device *device, int64_t rows, int64_t width, const real *gate_up,
                               const real *dy, real *d_gate_up);

void LM_PLAIN(add)(struct lm_device *device, int64_t count, const real *x, real *y);
void LM_PLAIN(scale)(struct lm_device *device, int64_t count, float factor, real *y);
void LM_PLAIN(fill)(struct lm_device *device, int64_t count, float value, real *y);
void LM_PLAIN(bias_backward)(struct lm_device *device, int64_t rows, int64_t width, const real *dy, int64_t stride,
                             real *dbias);
void LM_PLAIN(convert)(struct lm_device *device, int64_t count, enum lm_dtype from, const void *x, enum lm_dtype to,
                       void *y);
double LM_PLAIN(sum_squares)(struct lm_device *device, int64_t count, enum lm_dtype type, const void *x);

void LM_PLAIN(cross_entropy)(struct lm_device *device, int64_t rows, int64_t vocabulary, real *logits, int64_t stride,
                             const int32_t *targets, float scale, bool gradient, real *loss);

void LM_PLAIN(adamw)(struct lm_device *device, const struct lm_adamw *work);

#endif
