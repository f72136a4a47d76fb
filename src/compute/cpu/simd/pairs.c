#include "pairs.h"

#if LM_PAIR_PRODUCTS

/* Masks of the first n of 16 floats and of 32 halves. */
static inline __mmask16 first16(int64_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : n <= 0 ? 0 : (1u << n) - 1);
}

static inline __mmask32 first32(int64_t n)
{
    return n >= 32 ? 0xffffffffu : n <= 0 ? 0 : (1u << n) - 1;
}

static inline __m512i narrow(__m512 low, __m512 high)
{
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* 32 neighbours from element `at` on as 16 pairs; those from the n-th on count as 0. */
static inline __m512i along(const struct lm_matrix *m, int64_t at, int64_t n)
{
    if (m->dtype == LM_BF16) {
        const uint16_t *x = (const uint16_t *)m->data + at;
        return n >= 32 ? _mm512_loadu_si512(x) : _mm512_maskz_loadu_epi16(first32(n), x);
    }
    const float *x = (const float *)m->data + at;
    if (n >= 32)
        return narrow(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16));
    return narrow(_mm512_maskz_loadu_ps(first16(n), x), _mm512_maskz_loadu_ps(first16(n - 16), x + 16));
}

/* 32 columns of rows `first` and `first` + 1 as pairs: those of the first 16 columns and of the others. */
static inline void across(const struct lm_matrix *m, int64_t k, int64_t first, int64_t column, int64_t columns, __m512i pairs[2])
{
    static const uint16_t low[32] = {0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39,
                                     8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i index = _mm512_loadu_si512(low), other = _mm512_add_epi16(index, _mm512_set1_epi16(16));
    const int64_t at = first * m->stride + column, next = at + m->stride, there = first + 1 < k ? columns : 0;
    const __m512i one = along(m, at, columns), two = there ? along(m, next, there) : _mm512_setzero_si512();
    pairs[0] = _mm512_permutex2var_epi16(one, index, two);
    pairs[1] = _mm512_permutex2var_epi16(one, other, two);
}

static inline void ask(const struct lm_matrix *m, int64_t row, int64_t column)
{
    __builtin_prefetch((const char *)m->data + (row * m->stride + column) * (m->dtype == LM_BF16 ? 2 : 4));
}

void lm_simd_pairs_a(const struct lm_matrix *a, int64_t k, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = 0; p < depth; p += 16) {
            const int64_t first = 2 * (from + p);
            ask(a, row + i + LM_TILE_ROWS, first);
            ask(a, row + i + LM_TILE_ROWS, first + 16);
            _mm512_storeu_si512(to + i * LM_TILE_STRIDE + p, along(a, (row + i) * a->stride + first, k - first));
        }
}

void lm_simd_pairs_a_turned(const struct lm_matrix *a, int64_t k, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to)
{
    for (int64_t p = 0; p < depth; p++) {
        for (int64_t i = 0; i < rows; i += 16) {
            ask(a, 2 * (from + p) + 4, row + i);
            ask(a, 2 * (from + p) + 5, row + i);
        }
        for (int64_t i = 0; i < rows; i += LM_TILE_ROWS) {
            __m512i pairs[2];
            across(a, k, 2 * (from + p), row + i, rows - i < LM_TILE_ROWS ? rows - i : LM_TILE_ROWS, pairs);
            _mm512_storeu_si512(to + i / LM_TILE_ROWS * LM_TILE_DEPTH * 16 + p * 16, pairs[0]);
        }
    }
}

static void b_plain(const struct lm_matrix *b, int64_t k, int64_t from, int64_t depth, int64_t column, int64_t columns, float *to)
{
    for (int64_t p = 0; p < depth; p++) {
        __m512i pairs[2];
        for (int64_t ahead = 8; ahead < 10; ahead++) {
            ask(b, 2 * (from + p) + ahead, column);
            ask(b, 2 * (from + p) + ahead, column + 16);
        }
        across(b, k, 2 * (from + p), column, columns, pairs);
        _mm512_storeu_si512(to + p * LM_TILE_COLUMNS, pairs[0]);
        _mm512_storeu_si512(to + p * LM_TILE_COLUMNS + 16, pairs[1]);
    }
}

static void b_turned(const struct lm_matrix *b, int64_t k, int64_t from, int64_t depth, int64_t column, int64_t columns, float *to)
{
    for (int64_t half = 0; half < LM_TILE_COLUMNS; half += 16)
        for (int64_t p = 0; p < depth; p += 16) {
            const int64_t first = 2 * (from + p);
            vf square[16];
            for (int64_t j = 0; j < 16; j++) {
                ask(b, column + half + j, first + 128);
                ask(b, column + half + j, first + 144);
            }
            LM_UNROLL for (int64_t j = 0; j < 16; j++)
                square[j] = half + j < columns ? (vf)along(b, (column + half + j) * b->stride + first, k - first) : (vf){0};
            vtranspose(square);
            LM_UNROLL for (int64_t j = 0; j < 16; j++)
                if (p + j < depth)
                    vstore(to + (p + j) * LM_TILE_COLUMNS + half, square[j]);
        }
}

void lm_simd_pairs_b(const struct lm_matrix *b, int64_t k, bool turned, int64_t from, int64_t depth, int64_t column, int64_t columns,
                     float *to)
{
    (turned ? b_turned : b_plain)(b, k, from, depth, column, columns, to);
}

#else
typedef int lm_no_pairs;    /* a file must not be empty */
#endif
