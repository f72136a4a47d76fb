/* What the files of this folder share. Every function that one file calls in another has the instruction set in its name, so
 * that the three builds of the folder stand side by side in one program: lm_simd_matmul is lm_simd_matmul_avx512 here and
 * lm_simd_matmul_avx2 there. The one thing that leaves the folder is the table lm_simd_ops (in table.c).
 */
#ifndef LOAM_COMPUTE_CPU_SIMD_H
#define LOAM_COMPUTE_CPU_SIMD_H

#include "compute/device.h"
#include "functions.h"

#include <omp.h>

#define LM_SIMD_JOIN_NAMES(a, b) a##_##b
#define LM_SIMD_JOIN(a, b) LM_SIMD_JOIN_NAMES(a, b)
#define LM_SIMD(name) LM_SIMD_JOIN(name, LM_SIMD_SUFFIX)

/* A loop with less work than this (in elements touched) runs on the calling thread: waking others takes longer. */
enum { LM_SIMD_ALONE = 8192 };
/* Sums over rows (the gradients of biases and norms) are taken over this many blocks of rows, then over the blocks in order:
 * the same bits for any number of threads. */
enum { LM_SIMD_BLOCKS = 16 };

#define lm_simd_matmul LM_SIMD(lm_simd_matmul)
#define lm_simd_matmul_scratch LM_SIMD(lm_simd_matmul_scratch)
#define lm_simd_matvec LM_SIMD(lm_simd_matvec)
#define lm_simd_matvec_scratch LM_SIMD(lm_simd_matvec_scratch)
#define lm_simd_tile LM_SIMD(lm_simd_tile)
#define lm_simd_attention LM_SIMD(lm_simd_attention)
#define lm_simd_attention_backward LM_SIMD(lm_simd_attention_backward)
#define lm_simd_attention_weights LM_SIMD(lm_simd_attention_weights)
#define lm_simd_attention_scratch LM_SIMD(lm_simd_attention_scratch)
#define lm_simd_embed LM_SIMD(lm_simd_embed)
#define lm_simd_embed_backward LM_SIMD(lm_simd_embed_backward)
#define lm_simd_layer_norm LM_SIMD(lm_simd_layer_norm)
#define lm_simd_layer_norm_backward LM_SIMD(lm_simd_layer_norm_backward)
#define lm_simd_rms_norm LM_SIMD(lm_simd_rms_norm)
#define lm_simd_rms_norm_backward LM_SIMD(lm_simd_rms_norm_backward)
#define lm_simd_rope_angles LM_SIMD(lm_simd_rope_angles)
#define lm_simd_rope LM_SIMD(lm_simd_rope)
#define lm_simd_gelu LM_SIMD(lm_simd_gelu)
#define lm_simd_gelu_backward LM_SIMD(lm_simd_gelu_backward)
#define lm_simd_swiglu LM_SIMD(lm_simd_swiglu)
#define lm_simd_swiglu_backward LM_SIMD(lm_simd_swiglu_backward)
#define lm_simd_add LM_SIMD(lm_simd_add)
#define lm_simd_scale LM_SIMD(lm_simd_scale)
#define lm_simd_fill LM_SIMD(lm_simd_fill)
#define lm_simd_bias_backward LM_SIMD(lm_simd_bias_backward)
#define lm_simd_convert LM_SIMD(lm_simd_convert)
#define lm_simd_cross_entropy LM_SIMD(lm_simd_cross_entropy)
#define lm_simd_sum_squares LM_SIMD(lm_simd_sum_squares)
#define lm_simd_adamw LM_SIMD(lm_simd_adamw)
#define lm_simd_row_block LM_SIMD(lm_simd_row_block)
#define lm_simd_add_blocks LM_SIMD(lm_simd_add_blocks)

/* matmul.c, matvec.c */
void lm_simd_matmul(struct lm_device *device, const struct lm_matmul *op);
size_t lm_simd_matmul_scratch(struct lm_device *device, const struct lm_matmul *op);
/* m from 1 to LM_MATVEC_ROWS with fp32 rows of a and b transposed; c is F32. */
enum { LM_MATVEC_ROWS = 16 };
void lm_simd_matvec(struct lm_device *device, const struct lm_matmul *op, float *scratch);
size_t lm_simd_matvec_scratch(const struct lm_matmul *op);

/* Rows of weights that one thread takes at a time, in multiples of `step`: a quarter of its share, for it to be shared out evenly, but
 * neither so few bytes that beginning a stream counts nor more than it takes for that. */
static inline int64_t lm_rows_at_a_time(const struct lm_device *device, int64_t rows, int64_t row_bytes, int64_t step)
{
    enum { LEAST = 128 << 10, MOST = 512 << 10 };
    const int64_t share = (rows + device->threads - 1) / device->threads;
    int64_t bytes = share * row_bytes / 4;
    bytes = bytes < LEAST ? LEAST : bytes > MOST ? MOST : bytes;
    const int64_t wanted = (bytes / row_bytes + step - 1) / step * step;
    return wanted > share ? share : wanted > step ? wanted : step;
}

/* attention.c, attention_backward.c, attention_weights.c */
void lm_simd_attention(struct lm_device *device, const struct lm_attention *op);
void lm_simd_attention_backward(struct lm_device *device, const struct lm_attention *op);
void lm_simd_attention_weights(struct lm_device *device, const struct lm_attention *op, float *weights);
size_t lm_simd_attention_scratch(struct lm_device *device, const struct lm_attention *op, bool backward);

/* norms.c */
void lm_simd_layer_norm(struct lm_device *device, int64_t rows, int64_t width, float eps, const float *x,
                        struct lm_matrix weight, struct lm_matrix bias, float *y, float *mean, float *rstd);
void lm_simd_layer_norm_backward(struct lm_device *device, int64_t rows, int64_t width, const float *x,
                                 struct lm_matrix weight, const float *mean, const float *rstd, const float *dy, float *dx,
                                 bool add, float *dweight, float *dbias);
void lm_simd_rms_norm(struct lm_device *device, int64_t rows, int64_t groups, int64_t width, float eps, const float *x,
                      int64_t x_stride, struct lm_matrix weight, float *y, int64_t y_stride, float *rstd);
void lm_simd_rms_norm_backward(struct lm_device *device, int64_t rows, int64_t groups, int64_t width, const float *x,
                               int64_t x_stride, struct lm_matrix weight, const float *rstd, const float *dy,
                               int64_t dy_stride, float *dx, int64_t dx_stride, bool add, float *dweight);

/* rows.c: embeddings, rotary positions, sums over rows */
void lm_simd_embed(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids, struct lm_matrix table,
                   const int32_t *positions, struct lm_matrix positions_table, float *out);
void lm_simd_embed_backward(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids, const float *dout,
                            struct lm_matrix dtable, const int32_t *positions, struct lm_matrix dpositions);
void lm_simd_rope_angles(struct lm_device *device, int64_t rows, int64_t half, const int32_t *positions,
                         const float *inverse_frequency, float scale, float *angles);
void lm_simd_rope(struct lm_device *device, int64_t rows, int64_t heads, int64_t head_size, float *x, int64_t stride,
                  const float *angles, bool inverse);
void lm_simd_bias_backward(struct lm_device *device, int64_t rows, int64_t width, const float *dy, int64_t stride,
                           float *dbias);
/* First row of one of LM_SIMD_BLOCKS blocks of rows; block LM_SIMD_BLOCKS begins at `rows`. */
int64_t lm_simd_row_block(int64_t rows, int64_t block);
/* sum[c] += over the blocks in order, partial[block*stride + c]. */
void lm_simd_add_blocks(struct lm_device *device, int64_t width, const float *partial, int64_t stride, float *sum);

/* pointwise.c */
void lm_simd_gelu(struct lm_device *device, int64_t count, bool tanh_form, const float *x, float *y);
void lm_simd_gelu_backward(struct lm_device *device, int64_t count, bool tanh_form, const float *x, const float *dy,
                           float *dx);
void lm_simd_swiglu(struct lm_device *device, int64_t rows, int64_t width, const float *gate_up, float *y);
void lm_simd_swiglu_backward(struct lm_device *device, int64_t rows, int64_t width, const float *gate_up,
                             const float *dy, float *d_gate_up);
void lm_simd_add(struct lm_device *device, int64_t count, const float *x, float *y);
void lm_simd_scale(struct lm_device *device, int64_t count, float factor, float *y);
void lm_simd_fill(struct lm_device *device, int64_t count, float value, float *y);
void lm_simd_convert(struct lm_device *device, int64_t count, enum lm_dtype from, const void *x, enum lm_dtype to, void *y);

/* loss.c, optimizer.c */
void lm_simd_cross_entropy(struct lm_device *device, int64_t rows, int64_t vocabulary, float *logits, int64_t stride,
                           const int32_t *targets, float scale, bool gradient, float *loss);
double lm_simd_sum_squares(struct lm_device *device, int64_t count, enum lm_dtype type, const void *x);
void lm_simd_adamw(struct lm_device *device, const struct lm_adamw *op);

#endif
