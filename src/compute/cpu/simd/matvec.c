#include "simd.h"

/* Rows of weights that one thread takes at a time, in bytes: enough to stream, little enough to share out evenly. */
enum { CHUNK_BYTES = 128 << 10 };
/* Where a row of a fits into NEAR_BYTES, one row of weights after the other is a single stream, the fastest way to read. Where it
 * does not it is fetched again for every row of weights and is in the way of the stream: then SIDE_BY_SIDE rows share what is
 * read of it. */
enum { NEAR_BYTES = 32 << 10, SIDE_BY_SIDE = 8 };
/* Sums of one pair of rows, each of every NEAR_PARTS-th vector: as many as k says and not m, so that a row of c has the same
 * bits whatever stands beside it. */
enum { NEAR_PARTS = 4, FAR_PARTS = 2, MOST_SUMS = 16 };

LM_INLINE vf weight(const void *weights, bool bf16, int64_t at)
{
    return bf16 ? vload_bf16((const uint16_t *)weights + at) : vload((const float *)weights + at);
}

/* sums[j*m + i] = row i of a times row j of the weights. Inlined with constant m, rows, parts and type. */
LM_INLINE void dot_rows(const int m, const int rows, const int parts, const bool bf16, int64_t k, const float *a,
                        int64_t a_stride, const void *weights, int64_t stride, float *sums)
{
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

/* `rows` 0: a single one because a is near; else as many as rows_at_once says, or one of those left over. */
#define CASE(m, rows, parts)                                                                                          \
    case 16 * (m) + (rows):                                                                                           \
        dot_rows(m, rows ? rows : 1, parts, bf16, k, a, a_stride, weights, stride, sums);                             \
        break;
LM_INLINE void dot(const bool bf16, int m, int rows, int64_t k, const float *a, int64_t a_stride, const void *weights,
                   int64_t stride, float *sums)
{
    const bool near = k * (int64_t)sizeof(float) <= NEAR_BYTES;
    switch (16 * m + (near ? 0 : rows)) {
        CASE(1, 0, NEAR_PARTS) CASE(2, 0, NEAR_PARTS) CASE(3, 0, NEAR_PARTS) CASE(4, 0, NEAR_PARTS)
        CASE(1, 1, FAR_PARTS) CASE(2, 1, FAR_PARTS) CASE(3, 1, FAR_PARTS) CASE(4, 1, FAR_PARTS)
#if defined(LM_SIMD_AVX512)
        CASE(1, 8, FAR_PARTS) CASE(2, 4, FAR_PARTS) CASE(3, 2, FAR_PARTS) CASE(4, 2, FAR_PARTS)
#else
        CASE(1, 4, FAR_PARTS) CASE(2, 2, FAR_PARTS)
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
    const int64_t row_bytes = op->k * (op->b.dtype == LM_BF16 ? 2 : 4);
    const int64_t wanted = (CHUNK_BYTES / row_bytes + SIDE_BY_SIDE - 1) / SIDE_BY_SIDE * SIDE_BY_SIDE;
    const int64_t share = (op->n + device->threads - 1) / device->threads;
    const int64_t chunk = wanted > share ? share : wanted > SIDE_BY_SIDE ? wanted : SIDE_BY_SIDE;
#pragma omp parallel for num_threads(device->threads) schedule(dynamic, 1) if (op->n * op->k > 4 * LM_SIMD_ALONE)
    for (int64_t from = 0; from < op->n; from += chunk) {
        const int64_t end = from + chunk < op->n ? from + chunk : op->n;
        /* Up to four rows of a at once; the weights are read from memory for the first of them and from the cache after. */
        for (int64_t block = from; block < end; block += SIDE_BY_SIDE)
            for (int64_t row = 0; row < op->m; row += 4)
                columns_of(op, row, op->m - row < 4 ? (int)(op->m - row) : 4, block,
                           block + SIDE_BY_SIDE < end ? block + SIDE_BY_SIDE : end);
    }
}
