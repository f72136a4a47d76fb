/* Few rows of activations with weights in blocks: decoding. */
#include "blocks.h"

enum { ROWS = 4, SIDE_BY_SIDE = 8 };

#if defined(LM_SIMD_AVX2) || defined(LM_SIMD_AVX512)

/* One piece of weights: bytes, and what each place's sum is multiplied with; `m` with the sums of q. */
struct piece {
    vq u;
    vf d, m;
};

LM_INLINE vf halves(const uint8_t *first, const uint8_t *second)
{
#if defined(LM_SIMD_AVX512)
    return (vf)_mm512_cvtph_ps(_mm256_mask_broadcastw_epi16(_mm256_broadcastw_epi16(_mm_loadu_si16(first)), 0xff00,
                                                            _mm_loadu_si16(second)));
#else
    (void)second;
    return (vf)_mm256_cvtph_ps(lm_half_at(first));
#endif
}

/* `single`: AVX-512's last piece has one block only. */
LM_INLINE struct piece small_piece(const enum lm_dtype type, const uint8_t *in, const int bytes, const bool single)
{
    struct piece piece;
#if defined(LM_SIMD_AVX512)
    const uint8_t *second = single ? in : in + bytes;    /* a second first one meets zeros in the activations */
    piece.u = lm_unpack_two(type, in, second);
#else
    const uint8_t *second = in;
    (void)single, (void)bytes;
    piece.u = lm_unpack_small(type, in);
#endif
    piece.d = halves(in, second);
    if (lm_has_minimum(type))
        piece.m = halves(in + 2, second + 2);
    return piece;
}

/* Places of a vector of scales that piece `index` of a block of 256 takes: a scale each 8 places, or (Q6_K) each 4. */
LM_INLINE vf spread(const float *scales, const int index, const bool sixteen)
{
#if defined(LM_SIMD_AVX512)
    const vi each = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}, finer = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    const vi at = sixteen ? finer + 4 * index : each + 2 * index;
    const __m512 all = sixteen ? _mm512_loadu_ps(scales) : _mm512_castps256_ps512(_mm256_loadu_ps(scales));
    return (vf)_mm512_permutexvar_ps((__m512i)at, all);
#else
    if (!sixteen)
        return vset(scales[index]);
    return (vf)_mm256_set_m128(_mm_set1_ps(scales[2 * index + 1]), _mm_set1_ps(scales[2 * index]));
#endif
}

LM_INLINE struct piece large_piece(const enum lm_dtype type, const uint8_t *in, const struct lm_scales *scales, const int index)
{
    struct piece piece;
#if defined(LM_SIMD_AVX512)
    piece.u = vq_pair(lm_unpack_large(type, in, 2 * index), lm_unpack_large(type, in, 2 * index + 1));
#else
    piece.u = lm_unpack_large(type, in, index);
#endif
    piece.d = spread(scales->d, index, type == LM_Q6_K);
    if (lm_has_minimum(type))
        piece.m = spread(scales->m, index, false);
    return piece;
}

#if defined(LM_SIMD_AVX512)
LM_INLINE __m128i words(int a, int b, int c, int d, int e, int f, int g, int h)
{
    return _mm_setr_epi16((short)a, (short)b, (short)c, (short)d, (short)e, (short)f, (short)g, (short)h);
}

/* The halves at byte `at` of eight blocks, as floats: one load has those of four blocks of at most 20 bytes, else of two. */
LM_INLINE __m256 eight_halves(const uint8_t *in, const int bytes, const int at)
{
    const int step = bytes / 2, i = at / 2, j = i + step, k = i + 2 * step, l = i + 3 * step;
    if (bytes <= 20) {
        const __m512i places = _mm512_castsi128_si512(words(i, j, k, l, 32 + i, 32 + j, 32 + k, 32 + l));
        const __m512i all = _mm512_permutex2var_epi16(vq_load(in), places, vq_load(in + 4 * bytes));
        return _mm256_cvtph_ps(_mm512_castsi512_si128(all));
    }
    __m128i low, high;
    if (bytes <= 24) {
        const __m256i places = _mm256_castsi128_si256(words(i, j, 16 + i, 16 + j, 0, 0, 0, 0));
        const __m256i *two = (const __m256i *)in, *four = (const __m256i *)(in + 4 * bytes);
        low = _mm256_castsi256_si128(_mm256_permutex2var_epi16(
            _mm256_loadu_si256(two), places, _mm256_loadu_si256((const __m256i *)((const uint8_t *)two + 2 * bytes))));
        high = _mm256_castsi256_si128(_mm256_permutex2var_epi16(
            _mm256_loadu_si256(four), places, _mm256_loadu_si256((const __m256i *)((const uint8_t *)four + 2 * bytes))));
    } else {
        const __m512i places = _mm512_castsi128_si512(words(i, j, 32 + i, 32 + j, 0, 0, 0, 0));
        low = _mm512_castsi512_si128(_mm512_permutex2var_epi16(vq_load(in), places, vq_load(in + 2 * bytes)));
        high = _mm512_castsi512_si128(_mm512_permutex2var_epi16(vq_load(in + 4 * bytes), places, vq_load(in + 6 * bytes)));
    }
    return _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high));
}

/* Eight small blocks of one row of weights with m rows of a, whose first block is `block`: four pieces, in turns to two sums, and the minima
 * to a third. */
LM_INLINE void add_eight(const enum lm_dtype type, const int m, const struct lm_rounded *a, int64_t block, const uint8_t *in,
                         vf part[2][ROWS], __m256 minima[ROWS])
{
    const int bytes = lm_block_bytes(type);
    const __m512i first = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m256 d = eight_halves(in, bytes, 0);
    __m512 scales[ROWS];
    LM_UNROLL for (int i = 0; i < m; i++)
        scales[i] = _mm512_castps256_ps512(_mm256_mul_ps(d, _mm256_loadu_ps(a[i].each + block)));
    if (lm_has_minimum(type)) {
        const __m256 least = eight_halves(in, bytes, 2);
        LM_UNROLL for (int i = 0; i < m; i++)
            minima[i] = _mm256_fmadd_ps(least, _mm256_loadu_ps(a[i].totals + block), minima[i]);
    }
    LM_UNROLL for (int s = 0; s < 4; s++) {
        const vq u = lm_unpack_two(type, in + 2 * s * bytes, in + (2 * s + 1) * bytes);
        const __m512i places = _mm512_add_epi32(first, _mm512_set1_epi32(2 * s));
        LM_UNROLL for (int i = 0; i < m; i++) {
            const int64_t at = block / 2 + s;
            vi sum = vseti(0);
            if (lm_zero_of(type) != 0)
                memcpy(&sum, a[i].comp + at * LM_W, sizeof sum);
            const vq q = vq_load(a[i].q + at * LM_PIECE);
            sum = type == LM_Q8_0 ? vq_dot_q8(sum, u, q) : vq_dot(sum, u, q);
            part[s % 2][i] = vfma(vq_floats(sum), (vf)_mm512_permutexvar_ps(places, scales[i]), part[s % 2][i]);
        }
    }
}
#endif

LM_INLINE vf add_piece(const enum lm_dtype type, const struct piece *piece, const struct lm_rounded *a, int64_t at, vf sum)
{
    vi comp;
    vf d, sums;
    memcpy(&comp, a->comp + at * LM_W, sizeof comp);
    if (lm_zero_of(type) == 0)
        comp = vseti(0);
    d = vload(a->d + at * LM_W);
    const vq q = vq_load(a->q + at * LM_PIECE);
    const vi whole = type == LM_Q8_0 ? vq_dot_q8(comp, piece->u, q) : vq_dot(comp, piece->u, q);
    sum = vfma(vq_floats(whole) * piece->d, d, sum);
    if (!lm_has_minimum(type))
        return sum;
    sums = vload(a->sums + at * LM_W);
    return vfma(piece->m, sums, sum);
}

/* Types of large blocks: sums[j][i] = row i of a times row j of the weights. Pieces take turns between two sums each, for the latency of
 * a multiply-add. */
LM_INLINE void dot_large(const enum lm_dtype type, const int m, int64_t k, const struct lm_rounded *a, const uint8_t *in,
                         float *sums)
{
    const int bytes = lm_block_bytes(type);
    vf part[2][ROWS];
    LM_UNROLL for (int i = 0; i < m; i++)
        part[0][i] = part[1][i] = vset(0);
    for (int64_t block = 0; block < k / LM_SUPER; block++, in += bytes) {
        struct lm_scales scales;
        lm_unpack_scales(type, in, &scales);
        for (int line = 0; line < bytes; line += 64)
            vahead(in + line);
        LM_UNROLL for (int p = 0; p < LM_SUPER / LM_PIECE; p++) {
            const struct piece piece = large_piece(type, in, &scales, p);
            LM_UNROLL for (int i = 0; i < m; i++)
                part[p % 2][i] = add_piece(type, &piece, &a[i], block * (LM_SUPER / LM_PIECE) + p, part[p % 2][i]);
        }
    }
    LM_UNROLL for (int i = 0; i < m; i++)
        sums[i] = vsum(part[0][i] + part[1][i]);
}

/* Types of small blocks, `rows` (1 or 2) rows of weights, which share what is read of a: for more than two rows of a, where computing takes
 * longer than reading. For fewer a single stream of weights is the fastest way to read. */
LM_INLINE void dot_small(const enum lm_dtype type, const int m, const int rows, int64_t k, const struct lm_rounded *a,
                         const uint8_t *in, int64_t row_bytes, float sums[][ROWS])
{
    const int bytes = lm_block_bytes(type), step = LM_PIECE / LM_SUB * bytes;
    const int64_t whole = k / LM_PIECE;
    vf part[2][2][ROWS];
    LM_UNROLL for (int j = 0; j < rows; j++)
        LM_UNROLL for (int i = 0; i < m; i++)
            part[0][j][i] = part[1][j][i] = vset(0);
    int64_t p = 0;
#if defined(LM_SIMD_AVX512)
    vf eight[2][2][ROWS];
    __m256 minima[2][ROWS];
    LM_UNROLL for (int j = 0; j < rows; j++)
        LM_UNROLL for (int i = 0; i < m; i++) {
            eight[j][0][i] = eight[j][1][i] = vset(0);
            minima[j][i] = _mm256_setzero_ps();
        }
    for (; p + 4 <= whole; p += 4, in += 4 * step)
        LM_UNROLL for (int j = 0; j < rows; j++) {
            for (int line = 0; line < 4 * step; line += 64)
                vahead(in + j * row_bytes + line);
            add_eight(type, m, a, 2 * p, in + j * row_bytes, eight[j], minima[j]);
        }
    LM_UNROLL for (int j = 0; j < rows; j++)
        LM_UNROLL for (int i = 0; i < m; i++) {
            part[0][j][i] = eight[j][0][i] + (vf)_mm512_zextps256_ps512(minima[j][i]);
            part[1][j][i] = eight[j][1][i];
        }
#endif
    for (; p + 2 <= whole; p += 2, in += 2 * step)
        LM_UNROLL for (int s = 0; s < 2; s++)
            LM_UNROLL for (int j = 0; j < rows; j++) {
                const uint8_t *at = in + j * row_bytes + s * step;
                for (int line = 0; line < step - 32; line += 64)
                    vahead(at + line);
                const struct piece piece = small_piece(type, at, bytes, false);
                LM_UNROLL for (int i = 0; i < m; i++)
                    part[s][j][i] = add_piece(type, &piece, &a[i], p + s, part[s][j][i]);
            }
    for (; p * LM_PIECE < k; p++, in += step)
        LM_UNROLL for (int j = 0; j < rows; j++) {
            const struct piece last = p < whole ? small_piece(type, in + j * row_bytes, bytes, false)
                                                : small_piece(type, in + j * row_bytes, bytes, true);
            LM_UNROLL for (int i = 0; i < m; i++)
                part[0][j][i] = add_piece(type, &last, &a[i], p, part[0][j][i]);
        }
    LM_UNROLL for (int j = 0; j < rows; j++)
        LM_UNROLL for (int i = 0; i < m; i++)
            sums[j][i] = vsum(part[0][j][i] + part[1][j][i]);
}

LM_INLINE void dot_rows(const enum lm_dtype type, const int m, int64_t k, const struct lm_rounded *a, int rows, const uint8_t *in,
                        int64_t row_bytes, float sums[][ROWS])
{
    int j = 0;
    for (; m > 2 && !lm_is_large(type) && j + 2 <= rows; j += 2)
        dot_small(type, m, 2, k, a, in + j * row_bytes, row_bytes, sums + j);
    for (; j < rows; j++)
        if (lm_is_large(type))
            dot_large(type, m, k, a, in + j * row_bytes, sums[j]);
        else
            dot_small(type, m, 1, k, a, in + j * row_bytes, row_bytes, sums + j);
}

/* A function a type: `m` rows of a with `rows` rows of weights; sums [rows][ROWS]. */
#define CASE(type, m)                                                                                                 \
    case m:                                                                                                           \
        dot_rows(type, m, k, a, rows, in, row_bytes, sums);                                                           \
        break;
#define TYPE(name)                                                                                                    \
    static void dot_##name(int m, int64_t k, const struct lm_rounded *a, int rows, const uint8_t *in,                 \
                           int64_t row_bytes, float sums[][ROWS])                                                     \
    {                                                                                                                 \
        switch (m) {                                                                                                  \
            CASE(LM_##name, 1) CASE(LM_##name, 2) CASE(LM_##name, 3) CASE(LM_##name, 4)                               \
        }                                                                                                             \
    }
TYPE(Q8_0) TYPE(Q4_0) TYPE(Q4_1) TYPE(Q5_0) TYPE(Q5_1) TYPE(Q4_K) TYPE(Q5_K) TYPE(Q6_K)

static void dot(const struct lm_matmul *op, int m, const struct lm_rounded *a, int rows, const uint8_t *in, int64_t row_bytes,
                float sums[][ROWS])
{
    static void (*const functions[])(int, int64_t, const struct lm_rounded *, int, const uint8_t *, int64_t, float[][ROWS]) = {
        [LM_Q8_0 - LM_Q8_0] = dot_Q8_0, [LM_Q4_0 - LM_Q8_0] = dot_Q4_0, [LM_Q4_1 - LM_Q8_0] = dot_Q4_1,
        [LM_Q5_0 - LM_Q8_0] = dot_Q5_0, [LM_Q5_1 - LM_Q8_0] = dot_Q5_1, [LM_Q4_K - LM_Q8_0] = dot_Q4_K,
        [LM_Q5_K - LM_Q8_0] = dot_Q5_K, [LM_Q6_K - LM_Q8_0] = dot_Q6_K};
    functions[op->b.dtype - LM_Q8_0](m, op->k, a, rows, in, row_bytes, sums);
}

#else

/* Plain C: the weights as fp32, a block at a time, and the activations as they were rounded. */
static void dot_row(const struct lm_matmul *op, int m, const struct lm_rounded *a, const uint8_t *in, float *sums)
{
    const int elements = lm_dtype_block_elements(op->b.dtype), bytes = lm_dtype_block_bytes(op->b.dtype);
    vf part[ROWS];
    for (int i = 0; i < m; i++)
        part[i] = vset(0);
    for (int64_t at = 0; at < op->k; at += elements, in += bytes) {
        float w[LM_SUPER];
        lm_convert(LM_F32, w, op->b.dtype, in, (size_t)elements);
        for (int i = 0; i < m; i++)
            for (int64_t sub = 0; sub < elements; sub += LM_SUB) {
                const int8_t *q = a[i].q + at + sub;
                vf sum = vset(0);
                for (int j = 0; j < LM_SUB; j += LM_W) {
                    vf x;
                    for (int l = 0; l < LM_W; l++)
                        x[l] = q[j + l];
                    sum = vfma(vload(w + sub + j), x, sum);
                }
                part[i] = vfma(sum, vload(a[i].d + (at + sub) / 4), part[i]);
            }
    }
    for (int i = 0; i < m; i++)
        sums[i] = vsum(part[i]);
}

static void dot(const struct lm_matmul *op, int m, const struct lm_rounded *a, int rows, const uint8_t *in, int64_t row_bytes,
                float sums[][ROWS])
{
    for (int j = 0; j < rows; j++)
        dot_row(op, m, a, in + j * row_bytes, sums[j]);
}
#endif

/* c[row..row+m, from..end), at most SIDE_BY_SIDE columns. */
static void columns_of(const struct lm_matmul *op, void *rounded, int64_t row, int m, int64_t from, int64_t end)
{
    struct lm_rounded a[ROWS];
    for (int i = 0; i < m; i++)
        a[i] = lm_rounded_at(rounded, op->k, row + i);
    float sums[SIDE_BY_SIDE][ROWS];
    const uint8_t *in = lm_block_row(&op->b, from);
    dot(op, m, a, (int)(end - from), in, lm_block_row(&op->b, from + 1) - in, sums);
    for (int64_t j = 0; j < end - from; j++)
        for (int i = 0; i < m; i++) {
            float *to = (float *)op->c.data + (row + i) * op->c.stride + from + j;
            const float sum = op->bias ? sums[j][i] + op->bias[from + j] : sums[j][i];
            *to = op->add ? *to + sum : sum;
        }
}

void lm_simd_block_vector(struct lm_device *device, const struct lm_matmul *op, void *scratch)
{
    const int64_t chunk = lm_rows_at_a_time(device, op->n, lm_block_row(&op->b, 1) - lm_block_row(&op->b, 0), SIDE_BY_SIDE);
    lm_simd_round_rows(device, op->m, op->k, op->a.data, op->a.stride, lm_zero_of(op->b.dtype), scratch);
#pragma omp parallel for num_threads(device->threads) schedule(dynamic, 1) if (op->n * op->k > 4 * LM_SIMD_ALONE)
    for (int64_t from = 0; from < op->n; from += chunk) {
        const int64_t end = from + chunk < op->n ? from + chunk : op->n;
        /* Up to four rows of a at once; the weights come from memory for the first of them and from the cache after. */
        for (int64_t block = from; block < end; block += SIDE_BY_SIDE)
            for (int64_t row = 0; row < op->m; row += ROWS)
                columns_of(op, scratch, row, op->m - row < ROWS ? (int)(op->m - row) : ROWS, block,
                           block + SIDE_BY_SIDE < end ? block + SIDE_BY_SIDE : end);
    }
}
