#include "tile.h"

LM_INLINE void finish(vf low, vf high, float *c, int64_t columns, bool add)
{
    if (add) {
        low += vload_n(c, columns);
        if (columns > LM_W)
            high += vload_n(c + LM_W, columns - LM_W);
    }
    vstore_n(c, low, columns);
    if (columns > LM_W)
        vstore_n(c + LM_W, high, columns - LM_W);
}

/* Inlined with constant rows, row, step and pairs: the sums then live in registers. */
LM_INLINE void tile(const int rows, const int64_t row, const int64_t step, const bool pairs, int64_t k, const float *a, const float *b,
                    int64_t b_stride, float *c, int64_t c_stride, int64_t columns, bool add, const float *bias)
{
    vf low[LM_TILE_ROWS], high[LM_TILE_ROWS];
    LM_UNROLL for (int i = 0; i < rows; i++)
        low[i] = high[i] = vset(0);
    /* c is wanted when k has run: until then it can come from memory. */
    LM_UNROLL for (int i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * c_stride, 1);
        __builtin_prefetch(c + i * c_stride + 16, 1);
    }
    for (int64_t p = 0; p < k; p++) {
        vf b_low = vload(b), b_high = vload(b + LM_W);
        LM_UNROLL for (int i = 0; i < rows; i++) {
            low[i] = pairs ? vpairs(a + i * row, b_low, low[i]) : vfma(vset(a[i * row]), b_low, low[i]);
            high[i] = pairs ? vpairs(a + i * row, b_high, high[i]) : vfma(vset(a[i * row]), b_high, high[i]);
        }
        a += step;
        b += b_stride;
    }
    vf bias_low = vset(0), bias_high = vset(0);
    if (bias) {
        bias_low = vload_n(bias, columns);
        if (columns > LM_W)
            bias_high = vload_n(bias + LM_W, columns - LM_W);
    }
    LM_UNROLL for (int i = 0; i < rows; i++)
        finish(low[i] + bias_low, high[i] + bias_high, c + i * c_stride, columns, add);
}

#define CASE(n, row, step, pairs)                                                                                            \
    case n:                                                                                                           \
        tile(n, row, step, pairs, k, a, b, b_stride, c, c_stride, columns, add, bias);                                       \
        break;
#if defined(LM_SANITIZED)
#define CASES(row, step, pairs)                                                                                              \
    default:                                                                                                          \
        tile((int)rows, row, step, pairs, k, a, b, b_stride, c, c_stride, columns, add, bias);
#elif defined(LM_SIMD_AVX512)
#define CASES(row, step, pairs)                                                                                              \
    CASE(1, row, step, pairs) CASE(2, row, step, pairs) CASE(3, row, step, pairs) CASE(4, row, step, pairs) CASE(5, row, step, pairs)                    \
    CASE(6, row, step, pairs) CASE(7, row, step, pairs) CASE(8, row, step, pairs) CASE(9, row, step, pairs) CASE(10, row, step, pairs)                   \
    CASE(11, row, step, pairs) CASE(12, row, step, pairs) CASE(13, row, step, pairs) CASE(14, row, step, pairs)
#elif defined(LM_SIMD_AVX2)
#define CASES(row, step, pairs)                                                                                              \
    CASE(1, row, step, pairs) CASE(2, row, step, pairs) CASE(3, row, step, pairs) CASE(4, row, step, pairs) CASE(5, row, step, pairs) CASE(6, row, step, pairs)
#else
#define CASES(row, step, pairs) CASE(1, row, step, pairs) CASE(2, row, step, pairs) CASE(3, row, step, pairs) CASE(4, row, step, pairs)
#endif

/* One function a layout: the compiler's registers are then not shared out among all of them. */
#define LAYOUT(name, row, step, pairs)                                                                                       \
    static void name(int64_t rows, int64_t k, const float *a, const float *b, int64_t b_stride, float *c,             \
                     int64_t c_stride, int64_t columns, bool add, const float *bias)                                  \
    {                                                                                                                 \
        switch (rows) {                                                                                               \
            CASES(row, step, pairs)                                                                                          \
        }                                                                                                             \
    }
LAYOUT(tile_by_row, LM_TILE_STRIDE, 1, false)
LAYOUT(tile_by_column, 1, LM_TILE_STRIDE, false)
LAYOUT(tile_panel, 1, 16, false)

void lm_simd_tile(enum lm_tile_layout layout, int64_t rows, int64_t k, const float *a, const float *b, int64_t b_stride,
                  float *c, int64_t c_stride, int64_t columns, bool add, const float *bias)
{
    if (layout == LM_TILE_BY_ROW)
        tile_by_row(rows, k, a, b, b_stride, c, c_stride, columns, add, bias);
    else if (layout == LM_TILE_BY_COLUMN)
        tile_by_column(rows, k, a, b, b_stride, c, c_stride, columns, add, bias);
    else
        tile_panel(rows, k, a, b, b_stride, c, c_stride, columns, add, bias);
}

#if LM_PAIR_PRODUCTS
LAYOUT(pairs_by_row, LM_TILE_STRIDE, 1, true)
LAYOUT(pairs_panel, 1, 16, true)

void lm_simd_tile_pairs(enum lm_tile_layout layout, int64_t rows, int64_t k, const float *a, const float *b, int64_t b_stride,
                        float *c, int64_t c_stride, int64_t columns, bool add, const float *bias)
{
    (layout == LM_TILE_BY_ROW ? pairs_by_row : pairs_panel)(rows, k, a, b, b_stride, c, c_stride, columns, add, bias);
}
#endif
