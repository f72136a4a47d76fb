#include "simd.h"

/* Rows of weights that one thread takes at a time, in bytes: enough to stream, little enough to share out evenly. */
enum { CHUNK_BYTES = 128 << 10 };
/* Rows of weights read side by side, each a stream of its own for the machine's prefetchers, which follow several and stop at
 * every page; asking for lines ahead by hand made it slower (docs/SPEED.md). What is read of a serves them all. */
enum { SIDE_BY_SIDE = 8 };

/* sums[j*m + i] = row i of a times row j of the weights. One vector of sums a pair, so that its order is the same however many
 * rows there are. Inlined with constant m, rows and type. */
LM_INLINE void dot_rows(const int m, const int rows, const bool bf16, int64_t k, const float *a, int64_t a_stride,
                        const void *weights, int64_t stride, float *sums)
{
    vf sum[4 * SIDE_BY_SIDE];
    LM_UNROLL for (int i = 0; i < m * rows; i++)
        sum[i] = vset(0);
    const int64_t whole = k / LM_W * LM_W;
    for (int64_t p = 0; p < whole; p += LM_W) {
        vf x[4];
        LM_UNROLL for (int i = 0; i < m; i++)
            x[i] = vload(a + i * a_stride + p);
        LM_UNROLL for (int j = 0; j < rows; j++) {
            vf w = bf16 ? vload_bf16((const uint16_t *)weights + j * stride + p) : vload((const float *)weights + j * stride + p);
            LM_UNROLL for (int i = 0; i < m; i++)
                sum[j * m + i] = vfma(w, x[i], sum[j * m + i]);
        }
    }
    if (whole < k)
        LM_UNROLL for (int j = 0; j < rows; j++) {
            vf w = vload_any(weights, bf16, j * stride + whole, k - whole);
            LM_UNROLL for (int i = 0; i < m; i++)
                sum[j * m + i] = vfma(w, vload_n(a + i * a_stride + whole, k - whole), sum[j * m + i]);
        }
    LM_UNROLL for (int i = 0; i < m * rows; i++)
        sums[i] = vsum(sum[i]);
}

/* As many rows of weights at once as the registers hold sums for. */
static int rows_at_once(int m)
{
    enum { SUMS = LM_W == 16 ? 16 : 8 };
    return m == 1 ? SIDE_BY_SIDE : m == 2 ? SUMS / 2 : SUMS / 4;
}

#define CASE(m, rows)                                                                                                 \
    case 16 * (m) + (rows):                                                                                           \
        dot_rows(m, rows, bf16, k, a, a_stride, weights, stride, sums);                                               \
        break;
LM_INLINE void dot(const bool bf16, int m, int rows, int64_t k, const float *a, int64_t a_stride, const void *weights,
                   int64_t stride, float *sums)
{
    switch (16 * m + rows) {
        CASE(1, SIDE_BY_SIDE) CASE(1, 1) CASE(2, 1) CASE(3, 1) CASE(4, 1)
#if defined(LM_SIMD_AVX512)
        CASE(2, 8) CASE(3, 4) CASE(4, 4)
#else
        CASE(2, 4) CASE(3, 2) CASE(4, 2)
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
    const int most = rows_at_once(m);
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
