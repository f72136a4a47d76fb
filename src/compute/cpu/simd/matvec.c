#include "simd.h"

/* Where a row of a fits into NEAR_BYTES, one row of weights after the other is a single stream, the fastest way to read. Where it does
 * not fit it is fetched again for every row of weights and is in the way of the stream: then SIDE_BY_SIDE rows share what is read of
 * it. */
enum { NEAR_BYTES = 32 << 10, SIDE_BY_SIDE = 8 };
/* Columns that a group of rows of a goes through before the next group: one group and the weights of so many columns stay in the
 * second cache. */
enum { BLOCK = 4 * SIDE_BY_SIDE };
/* Sums of one pair of rows, each of every PARTS-th vector: always as many, so that a row of c has the same bits whatever stands
 * beside it. */
enum { PARTS = 2, MOST_SUMS = 16 };

LM_INLINE vf weight(const void *weights, bool bf16, int64_t at)
{
    return bf16 ? vload_bf16((const uint16_t *)weights + at) : vload((const float *)weights + at);
}

/* sums[j*m + i] = row i of a times row j of the weights. Inlined with constant m, rows and type. */
LM_INLINE void dot_rows(const int m, const int rows, const bool bf16, int64_t k, const float *a,
                        int64_t a_stride, const void *weights, int64_t stride, float *sums)
{
    const int parts = PARTS;
    vf part[MOST_SUMS];
    LM_UNROLL for (int i = 0; i < parts * m * rows; i++)
        part[i] = vset(0);
    const int64_t whole = k / (parts * LM_W) * (parts * LM_W);
    const int64_t element = bf16 ? 2 : 4;
    for (int64_t p = 0; p < whole; p += parts * LM_W) {
        LM_UNROLL for (int64_t line = 0; line < rows * parts * LM_W * element; line += 64)
            vahead((const char *)weights + (line / (parts * LM_W * element) * stride + p) * element + line % (parts * LM_W * element));
        vf x[MOST_SUMS];
        LM_UNROLL for (int i = 0; i < m * parts; i++)
            x[i] = vload(a + i / parts * a_stride + p + i % parts * LM_W);
        LM_UNROLL for (int j = 0; j < rows; j++)
            LM_UNROLL for (int s = 0; s < parts; s++) {
                vf w = weight(weights, bf16, j * stride + p + s * LM_W);
                LM_UNROLL for (int i = 0; i < m; i++)
                    part[(j * m + i) * parts + s] = vfma(w, x[i * parts + s], part[(j * m + i) * parts + s]);
            }
    }
    for (int64_t p = whole; p < k; p += LM_W)
        LM_UNROLL for (int j = 0; j < rows; j++) {
            vf w = vload_any(weights, bf16, j * stride + p, k - p);
            LM_UNROLL for (int i = 0; i < m; i++)
                part[(j * m + i) * parts] = vfma(w, vload_n(a + i * a_stride + p, k - p), part[(j * m + i) * parts]);
        }
    LM_UNROLL for (int i = 0; i < m * rows; i++)
        {
        vf sum = part[i * parts];
        LM_UNROLL for (int s = 1; s < parts; s++)
            sum += part[i * parts + s];
        sums[i] = vsum(sum);
    }
}

/* Rows of weights: as many as the registers hold sums for; narrower registers are fewer, too. */
static int rows_at_once(int m, int64_t k)
{
    enum { SUMS = LM_W == 16 ? SIDE_BY_SIDE : SIDE_BY_SIDE / 2 };
    if (k * (int64_t)sizeof(float) <= NEAR_BYTES)
        return 1;
    return m == 1 ? SUMS : m == 2 ? SUMS / 2 : SUMS / 4;
}

#define CASE(m, rows)                                                                                                 \
    case 16 * (m) + (rows):                                                                                           \
        dot_rows(m, rows, bf16, k, a, a_stride, weights, stride, sums);                                               \
        break;
LM_INLINE void dot(const bool bf16, int m, int rows, int64_t k, const float *a, int64_t a_stride, const void *weights,
                   int64_t stride, float *sums)
{
    switch (16 * m + rows) {
        CASE(1, 1) CASE(2, 1) CASE(3, 1) CASE(4, 1)
#if defined(LM_SIMD_AVX512)
        CASE(1, 8) CASE(2, 4) CASE(3, 2) CASE(4, 2)
#else
        CASE(1, 4) CASE(2, 2)
#endif
    }
}

static void dot_f32(int m, int rows, int64_t k, const float *a, int64_t a_stride, const void *weights, int64_t stride, float *sums)
{
    dot(false, m, rows, k, a, a_stride, weights, stride, sums);
}

static void dot_bf16(int m, int rows, int64_t k, const float *a, int64_t a_stride, const void *weights, int64_t stride, float *sums)
{
    dot(true, m, rows, k, a, a_stride, weights, stride, sums);
}

/* c[row..row+m, from..end). */
static void columns_of(const struct lm_matmul *op, int64_t row, int m, int64_t from, int64_t end)
{
    const bool bf16 = op->b.dtype == LM_BF16;
    const float *a = (const float *)op->a.data + row * op->a.stride;
    const int most = rows_at_once(m, op->k);
    for (int64_t column = from, rows; column < end; column += rows) {
        rows = end - column >= most ? most : 1;
        const void *weights = (const char *)op->b.data + column * op->b.stride * (bf16 ? 2 : 4);
        float sums[4 * SIDE_BY_SIDE];
        (bf16 ? dot_bf16 : dot_f32)(m, (int)rows, op->k, a, op->a.stride, weights, op->b.stride, sums);
        for (int64_t j = 0; j < rows; j++)
            for (int i = 0; i < m; i++) {
                float *to = (float *)op->c.data + (row + i) * op->c.stride + column + j;
                const float sum = op->bias ? sums[j * m + i] + op->bias[column + j] : sums[j * m + i];
                *to = op->add ? *to + sum : sum;
            }
    }
}

void lm_simd_matvec(struct lm_device *device, const struct lm_matmul *op)
{
    const int64_t chunk = lm_rows_at_a_time(device, op->n, op->b.stride * (op->b.dtype == LM_BF16 ? 2 : 4), SIDE_BY_SIDE);
#pragma omp parallel for num_threads(device->threads) schedule(dynamic, 1) if (op->n * op->k > 4 * LM_SIMD_ALONE)
    for (int64_t from = 0; from < op->n; from += chunk) {
        const int64_t end = from + chunk < op->n ? from + chunk : op->n;
        /* Up to four rows of a at once; the weights are read from memory for the first of them and from the cache after. */
        for (int64_t block = from; block < end; block += BLOCK)
            for (int64_t row = 0; row < op->m; row += 4)
                columns_of(op, row, op->m - row < 4 ? (int)(op->m - row) : 4, block, block + BLOCK < end ? block + BLOCK : end);
    }
}
