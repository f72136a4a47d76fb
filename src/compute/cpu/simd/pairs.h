/* Products of bf16 numbers two at a time, where the instruction set has them (LM_PAIR_PRODUCTS): neighbours along k lie in 32 bits, the
 * first in the lower half, and stand where an fp32 product has one float.
 *
 *     lm_simd_pairs_a(a, k, row, rows, from, depth, panel);         // depth pairs of each row from pair `from` on
 *     lm_simd_pairs_b(b, k, turned, from, depth, column, columns, to);
 *     lm_simd_tile_pairs(LM_TILE_BY_ROW, rows, depth, panel, to, LM_TILE_COLUMNS, c, stride, columns, true, NULL);
 *
 * fp32 numbers are rounded to nearest on the way, ties to even; what is subnormal counts as 0 (the instruction's rule). An odd k ends
 * with a pair whose second is 0.
 */
#ifndef LOAM_COMPUTE_CPU_SIMD_PAIRS_H
#define LOAM_COMPUTE_CPU_SIMD_PAIRS_H

#include "tile.h"

#if LM_PAIR_PRODUCTS
#define lm_simd_pairs_a LM_SIMD(lm_simd_pairs_a)
#define lm_simd_pairs_a_turned LM_SIMD(lm_simd_pairs_a_turned)
#define lm_simd_pairs_b LM_SIMD(lm_simd_pairs_b)

/* One panel of a [m,k]: rows with LM_TILE_STRIDE between them. */
void lm_simd_pairs_a(const struct lm_matrix *a, int64_t k, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to);
/* Panels of LM_TILE_ROWS columns of a stored [k,m], LM_TILE_DEPTH times 16 places apart, 16 from pair to pair. */
void lm_simd_pairs_a_turned(const struct lm_matrix *a, int64_t k, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to);
/* A panel [depth, LM_TILE_COLUMNS] of b, stored [k,n] or, `turned`, [n,k]. Columns behind the end become 0. */
void lm_simd_pairs_b(const struct lm_matrix *b, int64_t k, bool turned, int64_t from, int64_t depth, int64_t column, int64_t columns,
                     float *to);
#else    /* never reached */
#define lm_simd_pairs_a(...) ((void)0)
#define lm_simd_pairs_a_turned(...) ((void)0)
#define lm_simd_pairs_b(...) ((void)0)
#define lm_simd_tile_pairs lm_simd_tile
#endif

#endif
