#include "simd.h"

/* Rows of weights that one thread takes at a time, in bytes: enough to stream, little enough to share out evenly. */
enum { CHUNK_BYTES = 128 << 10 };
/* How far ahead of the reader lines are asked for. The machine's own prefetchers stop at every page. */
enum { AHEAD_BYTES = 2048 };

LM_INLINE vf weight(const char *row, bool bf16, int64_t i)
{
    return bf16 ? vload_bf16((const uint16_t *)(const void *)row + i) : vload((const float *)(const void *)row + i);
}

LM_INLINE vf weight_n(const char *row, bool bf16, int64_t i, int64_t n)
{
    return vload_any(row, bf16, i, n);
}

/* One row of weights with `m` rows of a at once: m sums, each of `parts` vectors so that additions need not wait for each other.
 * Inlined with constant m, parts and type. */
LM_INLINE void dot_rows(const int m, const int parts, const bool bf16, int64_t k, const float *a, int64_t a_stride,
                        const char *row, float *sums)
{
    vf part[LM_MATVEC_ROWS];
    LM_UNROLL for (int i = 0; i < m * parts; i++)
        part[i] = vset(0);
    int64_t p = 0, step = parts * LM_W;
    for (; p + step <= k; p += step) {
        LM_UNROLL for (int s = 0; s < parts; s++) {
            __builtin_prefetch(row + (p + s * LM_W) * (bf16 ? 2 : 4) + AHEAD_BYTES);
            vf w = weight(row, bf16, p + s * LM_W);
            LM_UNROLL for (int i = 0; i < m; i++)
                part[i * parts + s] = vfma(w, vload(a + i * a_stride + p + s * LM_W), part[i * parts + s]);
        }
    }
    for (; p < k; p += LM_W) {
        vf w = weight_n(row, bf16, p, k - p);
        LM_UNROLL for (int i = 0; i < m; i++)
            part[i * parts] = vfma(w, vload_n(a + i * a_stride + p, k - p), part[i * parts]);
    }
    LM_UNROLL for (int i = 0; i < m; i++) {
        vf sum = part[i * parts];
        LM_UNROLL for (int s = 1; s < parts; s++)
            sum += part[i * parts + s];
        sums[i] = vsum(sum);
    }
}

static void dot_f32(int m, int64_t k, const float *a, int64_t a_stride, const char *row, float *sums)
{
    switch (m) {
    case 1: dot_rows(1, 8, false, k, a, a_stride, row, sums); break;
    case 2: dot_rows(2, 4, false, k, a, a_stride, row, sums); break;
    case 3: dot_rows(3, 2, false, k, a, a_stride, row, sums); break;
    default: dot_rows(4, 2, false, k, a, a_stride, row, sums); break;
    }
}

static void dot_bf16(int m, int64_t k, const float *a, int64_t a_stride, const char *row, float *sums)
{
    switch (m) {
    case 1: dot_rows(1, 8, true, k, a, a_stride, row, sums); break;
    case 2: dot_rows(2, 4, true, k, a, a_stride, row, sums); break;
    case 3: dot_rows(3, 2, true, k, a, a_stride, row, sums); break;
    default: dot_rows(4, 2, true, k, a, a_stride, row, sums); break;
    }
}

/* c[:, column] for all rows of a, four at a time; the row of weights is read from memory once and from the cache after. */
static void column_of(const struct lm_matmul *op, int64_t column)
{
    bool bf16 = op->b.dtype == LM_BF16;
    const char *row = (const char *)op->b.data + column * op->b.stride * (bf16 ? 2 : 4);
    float *c = (float *)op->c.data + column;
    for (int64_t i = 0; i < op->m; i += 4) {
        int m = op->m - i < 4 ? (int)(op->m - i) : 4;
        const float *a = (const float *)op->a.data + i * op->a.stride;
        float sums[4];
        if (bf16)
            dot_bf16(m, op->k, a, op->a.stride, row, sums);
        else
            dot_f32(m, op->k, a, op->a.stride, row, sums);
        for (int j = 0; j < m; j++) {
            float *to = c + (i + j) * op->c.stride;
            float sum = op->bias ? sums[j] + op->bias[column] : sums[j];
            *to = op->add ? *to + sum : sum;
        }
    }
}

void lm_simd_matvec(struct lm_device *device, const struct lm_matmul *op)
{
    int64_t row_bytes = op->k * (op->b.dtype == LM_BF16 ? 2 : 4);
    int64_t chunk = CHUNK_BYTES / row_bytes > 4 ? CHUNK_BYTES / row_bytes : 4;
    int64_t share = (op->n + device->threads - 1) / device->threads;
    chunk = chunk < share ? chunk : share;
#pragma omp parallel for num_threads(device->threads) schedule(dynamic, 1) if (op->n * op->k > 4 * LM_SIMD_ALONE)
    for (int64_t from = 0; from < op->n; from += chunk) {
        int64_t end = from + chunk < op->n ? from + chunk : op->n;
        for (int64_t column = from; column < end; column++)
            column_of(op, column);
    }
}
