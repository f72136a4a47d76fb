/* The inner kernel of matrix products and of attention: a tile of c, LM_TILE_ROWS by LM_TILE_COLUMNS, kept in registers while k
 * runs.
 *
 *     lm_tile_rows(rows, k, a, b, LM_TILE_COLUMNS, c, stride, columns, true);     // c[rows, columns] += a·b
 *
 * a lies in one of three ways, so that its places are constant distances apart: rows of LM_TILE_STRIDE (a's rows as they are),
 * columns of LM_TILE_STRIDE (a transposed tile of attention) or columns of 16 (a packed panel of a transposed matrix).
 * b has LM_TILE_COLUMNS readable floats at every b + p*b_stride. The order of the sum over k is the same for every tile, so that
 * where a tile begins and how many threads there are does not show in the bits.
 */
#ifndef LOAM_COMPUTE_CPU_SIMD_TILE_H
#define LOAM_COMPUTE_CPU_SIMD_TILE_H

#include "simd.h"

#if defined(LM_SIMD_AVX512)
enum { LM_TILE_ROWS = 14 };    /* 28 sums, 2 of b, 1 of a: 31 of 32 registers */
#elif defined(LM_SIMD_AVX2)
enum { LM_TILE_ROWS = 6 };     /* 12 + 2 + 1 of 16 */
#else
enum { LM_TILE_ROWS = 4 };     /* 8 + 2 + 1 of 16 */
#endif
enum { LM_TILE_COLUMNS = 2 * LM_W, LM_TILE_DEPTH = 256, LM_TILE_STRIDE = LM_TILE_DEPTH + 16 };

enum lm_tile_layout { LM_TILE_BY_ROW, LM_TILE_BY_COLUMN, LM_TILE_PANEL };

/* c[rows, columns] = a·b + (start: what is in c where `add`; `bias`, which may be NULL, else). rows <= LM_TILE_ROWS,
 * columns <= LM_TILE_COLUMNS. `bias` has `columns` readable floats. */
void lm_simd_tile(enum lm_tile_layout layout, int64_t rows, int64_t k, const float *a, const float *b, int64_t b_stride,
                  float *c, int64_t c_stride, int64_t columns, bool add, const float *bias);
#if LM_PAIR_PRODUCTS
#define lm_simd_tile_pairs LM_SIMD(lm_simd_tile_pairs)
/* The same over pairs of bf16 numbers in a and b, k of them (pairs.h). Not by column. */
void lm_simd_tile_pairs(enum lm_tile_layout layout, int64_t rows, int64_t k, const float *a, const float *b, int64_t b_stride,
                        float *c, int64_t c_stride, int64_t columns, bool add, const float *bias);
#endif

#endif
