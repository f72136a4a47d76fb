/* Few rows of activations with weights in fp32 or bf16: decoding.
 *
 * A sum over k has PARTS parts, each of every PARTS-th run of RUN vectors of LM_W places, from the first to the last; what is left behind the
 * last whole PARTS runs goes to the first part. It is the same order however many rows of a there are, so that a row of c has the same bits
 * whatever stands beside it.
 *
 * One or two rows of a lie where they are, and go through a row of weights after the other: a single stream is the fastest way to read. More rows
 * are limited by what the processor does: they are packed, part by part, vector by vector, and go GROUP at a time through BLOCK rows of
 * weights, ABREAST at once so that these share what is loaded of a, and SEGMENT vectors of a part, so that a stays in the first cache.
 */
#include "simd.h"

enum { PARTS = 2, RUN = 8, WHOLE = PARTS * RUN * LM_W };
/* Where a row of a fits into NEAR_BYTES it is a single stream; where it does not fit it is fetched again for every row of weights and is
 * in the way of the stream: then SIDE_BY_SIDE rows share what is read of it. */
enum { NEAR_BYTES = 32 << 10, SIDE_BY_SIDE = LM_W == 16 ? 8 : 4, STREAMS = 2 };
/* As many sums as registers hold beside ABREAST weights and one of a. */
enum { GROUP = LM_W == 16 ? 8 : 4, ABREAST = 3, BLOCK = 4 * ABREAST, SEGMENT = 32 };
/* Rows of weights before the next group goes through them: so many stay in the second cache. */
enum { ROUND = 4 * BLOCK };

LM_INLINE vf weight(const void *weights, bool bf16, int64_t at)
{
    return bf16 ? vload_bf16((const uint16_t *)weights + at) : vload((const float *)weights + at);
}

LM_INLINE const void *weight_at(const void *weights, bool bf16, int64_t at)
{
    return (const char *)weights + at * (bf16 ? 2 : 4);
}

/* Places of k that are in whole PARTS runs. */
LM_INLINE int64_t whole_places(int64_t k)
{
    return k / WHOLE * WHOLE;
}

/* --- One or two rows of a --- */

/* sums[j*m + i] = row i of a times row j of the weights. Inlined with constant m, rows and type. */
LM_INLINE void dot_stream(const int m, const int rows, const bool bf16, int64_t k, const float *a, int64_t a_stride,
                          const void *weights, int64_t stride, float *sums)
{
    const int parts = PARTS;
    vf part[SIDE_BY_SIDE * PARTS];
    LM_UNROLL for (int i = 0; i < parts * m * rows; i++)
        part[i] = vset(0);
    const int64_t whole = whole_places(k);
    for (int64_t run = 0; run < whole; run += WHOLE)
        for (int64_t p = run; p < run + RUN * LM_W; p += LM_W) {
            vf x[STREAMS * PARTS];
            LM_UNROLL for (int i = 0; i < m * parts; i++)
                x[i] = vload(a + i / parts * a_stride + p + i % parts * RUN * LM_W);
            LM_UNROLL for (int j = 0; j < rows; j++)
                LM_UNROLL for (int s = 0; s < parts; s++) {
                    const void *at = weight_at(weights, bf16, j * stride + p + s * RUN * LM_W);
                    vahead(at);
                    const vf w = weight(at, bf16, 0);
                    LM_UNROLL for (int i = 0; i < m; i++)
                        part[(j * m + i) * parts + s] = vfma(w, x[i * parts + s], part[(j * m + i) * parts + s]);
                }
        }
    for (int64_t p = whole; p < k; p += LM_W)
        LM_UNROLL for (int j = 0; j < rows; j++) {
            const vf w = vload_any(weights, bf16, j * stride + p, k - p);
            LM_UNROLL for (int i = 0; i < m; i++)
                part[(j * m + i) * parts] = vfma(w, vload_n(a + i * a_stride + p, k - p), part[(j * m + i) * parts]);
        }
    LM_UNROLL for (int i = 0; i < m * rows; i++)
        sums[i] = vsum(part[i * parts] + part[i * parts + 1]);
}

/* --- More rows of a --- */

/* Vectors of a part, of k places; those of a group of m rows lie at packed + part * m * PART_VECTORS(k) * LM_W, [vectors][m][LM_W]. */
LM_INLINE int64_t part_vectors(int64_t k)
{
    return (k - whole_places(k) + LM_W - 1) / LM_W + k / WHOLE * RUN;
}

size_t lm_simd_matvec_scratch(const struct lm_matmul *op)
{
    return op->m > STREAMS ? (size_t)(op->m * PARTS * part_vectors(op->k)) * LM_W * sizeof(float) : 0;
}

/* Vector `v` of part `part`; its first place of k in `from`. */
LM_INLINE int64_t place_of(int64_t k, int64_t v, int part)
{
    const int64_t whole = k / WHOLE * RUN;
    return v < whole ? ((v / RUN * PARTS + part) * RUN + v % RUN) * LM_W : whole_places(k) + (v - whole) * LM_W;
}

/* Vectors from..end of every part of a group of m rows. */
static void pack(int64_t m, int64_t k, const float *a, int64_t stride, int64_t from, int64_t end, float *packed)
{
    const int64_t vectors = part_vectors(k), whole = k / WHOLE * RUN;
    for (int part = 0; part < PARTS; part++)
        for (int64_t v = from; v < end && (part == 0 || v < whole); v++)
            for (int64_t i = 0; i < m; i++) {
                const int64_t p = place_of(k, v, part);
                vstore(packed + ((part * vectors + v) * m + i) * LM_W, vload_n(a + i * stride + p, k - p));
            }
}

/* sums[j][i] += row i of a times row j of the weights, over vectors from..end of a part. a is that part's. For each line of weights that the
 * first part reads a line from *ahead on is asked for, one behind the other: the processor reads fastest in that order. */
LM_INLINE void dot_segment(const int m, const int rows, const bool bf16, const int part, int64_t k, int64_t from, int64_t end,
                           const float *a, const void *weights, int64_t stride, const char **ahead, vf sums[][GROUP])
{
    vf sum[ABREAST][GROUP];
    const char *next = *ahead;
    LM_UNROLL for (int j = 0; j < rows; j++)
        LM_UNROLL for (int i = 0; i < m; i++)
            sum[j][i] = sums[j][i];
    const int64_t whole = k / WHOLE * RUN, stop = end < whole ? end : whole;
    a += from * m * LM_W;
    for (int64_t run = from; run < stop; run += RUN) {
        const void *first = weight_at(weights, bf16, place_of(k, run, part));
        LM_UNROLL for (int64_t v = 0; v < RUN; v++, a += m * LM_W) {
            vf w[ABREAST];
            LM_UNROLL for (int j = 0; j < rows; j++) {
                if (!bf16 || v % 2 == 0) {
                    __builtin_prefetch(next, 0, 2);
                    next += 64;
                }
                w[j] = weight(first, bf16, j * stride + v * LM_W);
            }
            LM_UNROLL for (int i = 0; i < m; i++) {
                const vf x = vkept(vload(a + i * LM_W));
                LM_UNROLL for (int j = 0; j < rows; j++)
                    sum[j][i] = vfma(w[j], x, sum[j][i]);
            }
        }
    }
    *ahead = next;
    for (int64_t v = stop; v < end; v++, a += m * LM_W)    /* only in the first part */
        LM_UNROLL for (int j = 0; j < rows; j++) {
            const int64_t p = place_of(k, v, part);
            const vf w = vload_any(weights, bf16, j * stride + p, k - p);
            LM_UNROLL for (int i = 0; i < m; i++)
                sum[j][i] = vfma(w, vload(a + i * LM_W), sum[j][i]);
        }
    LM_UNROLL for (int j = 0; j < rows; j++)
        LM_UNROLL for (int i = 0; i < m; i++)
            sums[j][i] = sum[j][i];
}

/* sums[j*m + i] = row i of a times row j of `rows` rows of weights, BLOCK at most. */
LM_INLINE void dot_packed(const int m, const bool bf16, int rows, int64_t k, const float *packed, const void *weights, int64_t stride,
                          float *sums)
{
    vf sum[PARTS][BLOCK][GROUP];
    const int64_t vectors = part_vectors(k), whole = k / WHOLE * RUN;
    const char *ahead = weight_at(weights, bf16, BLOCK * stride);
    for (int part = 0; part < PARTS; part++)
        for (int j = 0; j < rows; j++)
            LM_UNROLL for (int i = 0; i < m; i++)
                sum[part][j][i] = vset(0);
    for (int64_t from = 0; from < vectors; from += SEGMENT)
        LM_UNROLL for (int part = 0; part < PARTS; part++) {
            const int64_t all = part == 0 ? vectors : whole, end = from + SEGMENT < all ? from + SEGMENT : all;
            const float *a = packed + part * vectors * m * LM_W;
            int j = 0;
            for (; j + ABREAST <= rows; j += ABREAST)
                dot_segment(m, ABREAST, bf16, part, k, from, end, a, weight_at(weights, bf16, j * stride), stride, &ahead, sum[part] + j);
            for (; j < rows; j++)
                dot_segment(m, 1, bf16, part, k, from, end, a, weight_at(weights, bf16, j * stride), stride, &ahead, sum[part] + j);
        }
    for (int j = 0; j < rows; j++)
        LM_UNROLL for (int i = 0; i < m; i++)
            sums[j * m + i] = vsum(sum[0][j][i] + sum[1][j][i]);
}

/* --- Both --- */

/* Rows of weights at once: as many as the registers hold sums for. */
static int rows_at_once(int m, int64_t k)
{
    if (m > STREAMS)
        return BLOCK;
    if (k * (int64_t)sizeof(float) <= NEAR_BYTES)
        return 1;
    return m == 1 ? SIDE_BY_SIDE : SIDE_BY_SIDE / 2;
}

/* `packed`: of the group, with three rows and more. */
LM_INLINE void dot(const bool bf16, int m, int rows, const struct lm_matmul *op, const float *a, const float *packed, const void *weights,
                   float *sums)
{
#define STREAM(m, rows)                                                                                               \
    case 16 * (m) + (rows):                                                                                           \
        dot_stream(m, rows, bf16, op->k, a, op->a.stride, weights, op->b.stride, sums);                               \
        return;
#define PACKED(m)                                                                                                     \
    case m:                                                                                                           \
        dot_packed(m, bf16, rows, op->k, packed, weights, op->b.stride, sums);                                        \
        return;
    switch (m) {
        PACKED(3) PACKED(4)
#if defined(LM_SIMD_AVX512)
        PACKED(5) PACKED(6) PACKED(7) PACKED(8)
#endif
    }
    switch (16 * m + rows) {
        STREAM(1, 1) STREAM(1, SIDE_BY_SIDE) STREAM(2, 1) STREAM(2, SIDE_BY_SIDE / 2)
    }
#undef STREAM
#undef PACKED
}

static void dot_f32(int m, int rows, const struct lm_matmul *op, const float *a, const float *packed, const void *weights, float *sums)
{
    dot(false, m, rows, op, a, packed, weights, sums);
}

static void dot_bf16(int m, int rows, const struct lm_matmul *op, const float *a, const float *packed, const void *weights, float *sums)
{
    dot(true, m, rows, op, a, packed, weights, sums);
}

/* c[row..row+m, from..end). */
static void columns_of(const struct lm_matmul *op, const float *packed, int64_t row, int m, int64_t from, int64_t end)
{
    const bool bf16 = op->b.dtype == LM_BF16;
    const float *a = (const float *)op->a.data + row * op->a.stride;
    if (packed)
        packed += row * PARTS * part_vectors(op->k) * LM_W;
    const int most = rows_at_once(m, op->k);
    for (int64_t column = from, rows; column < end; column += rows) {
        rows = end - column >= most ? most : m > STREAMS ? end - column : 1;
        float sums[BLOCK * GROUP];
        (bf16 ? dot_bf16 : dot_f32)(m, (int)rows, op, a, packed, weight_at(op->b.data, bf16, column * op->b.stride), sums);
        for (int64_t j = 0; j < rows; j++)
            for (int i = 0; i < m; i++) {
                float *to = (float *)op->c.data + (row + i) * op->c.stride + column + j;
                const float sum = op->bias ? sums[j * m + i] + op->bias[column + j] : sums[j * m + i];
                *to = op->add ? *to + sum : sum;
            }
    }
}

static int group_at(const struct lm_matmul *op, int64_t row)
{
    return op->m - row < GROUP ? (int)(op->m - row) : GROUP;
}

void lm_simd_matvec(struct lm_device *device, const struct lm_matmul *op, float *packed)
{
    const int64_t chunk = lm_rows_at_a_time(device, op->n, op->b.stride * (op->b.dtype == LM_BF16 ? 2 : 4), BLOCK);
    const int64_t vectors = op->m > STREAMS ? part_vectors(op->k) : 0;
#pragma omp parallel num_threads(device->threads) if (op->n * op->k > 4 * LM_SIMD_ALONE)
    {
        if (vectors) {
#pragma omp for schedule(static)
            for (int64_t from = 0; from < vectors; from += SEGMENT)
                for (int64_t row = 0; row < op->m; row += GROUP)
                    pack(group_at(op, row), op->k, (const float *)op->a.data + row * op->a.stride, op->a.stride, from,
                         from + SEGMENT < vectors ? from + SEGMENT : vectors, packed + row * PARTS * vectors * LM_W);
        }
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t from = 0; from < op->n; from += chunk) {
            const int64_t end = from + chunk < op->n ? from + chunk : op->n;
            /* The weights are read from memory for the first group of a's rows and from the cache after. */
            for (int64_t round = from; round < end; round += ROUND)
                for (int64_t row = 0; row < op->m; row += GROUP)
                    columns_of(op, packed, row, group_at(op, row), round, round + ROUND < end ? round + ROUND : end);
        }
    }
}
