/* The weights of attention, for looking: scores in the tiles of the forward pass, then the softmax of each whole row. */
#include "attention.h"
#include "compute/reference/reference.h"

#include <math.h>

struct buffers {
    float *q, *scores, *keys;    /* rows of the queries; keys turned */
};

/* Where row r of the queries lies among the weights. */
static float *row_of(const struct lm_queries *q, int64_t r, float *weights)
{
    const struct lm_attention *op = q->op;
    const int64_t row = q->first + r, head = q->kv_head * q->group + row % q->group;
    return weights + ((q->b * op->heads + head) * op->t_q + row / q->group) * op->t_k;
}

/* Softmax of the numbers in [from, end) of a row of scores, 0 for the others. */
static void soften(float *row, int64_t count, int64_t from, int64_t end)
{
    if (from >= end) {
        memset(row, 0, (size_t)count * sizeof *row);
        return;
    }
    const int64_t whole = from + (end - from) / LM_W * LM_W;
    vf greatest = vset(-INFINITY), total = vset(0);
    for (int64_t j = from; j < whole; j += LM_W)
        greatest = vmax(vload(row + j), greatest);
    float most = vgreatest(greatest);
    for (int64_t j = whole; j < end; j++)
        most = row[j] > most ? row[j] : most;
    for (int64_t j = from; j < end; j += LM_W)
        vstore_n(row + j, vexp(vload_n(row + j, end - j) - most), end - j);
    for (int64_t j = from; j < whole; j += LM_W)
        total += vload(row + j);
    float sum = vsum(total);
    for (int64_t j = whole; j < end; j++)
        sum += row[j];
    for (int64_t j = from; j < end; j += LM_W)
        vstore_n(row + j, vload_n(row + j, end - j) / sum, end - j);
    memset(row, 0, (size_t)from * sizeof *row);
    memset(row + end, 0, (size_t)(count - end) * sizeof *row);
}

/* One panel's scores against the keys packed now. */
static void panel(const struct lm_queries *q, const struct buffers *at, int64_t row, int64_t rows, int64_t key, int64_t count,
                  float *weights)
{
    const int64_t seen = lm_simd_visible(q, row, rows, key, count);
    for (int64_t j = 0; j < seen; j += LM_TILE_COLUMNS)
        lm_simd_tile(LM_TILE_BY_ROW, rows, q->op->head_size, at->q + row * LM_TILE_STRIDE, at->keys + j, LM_TILE_STRIDE,
                     at->scores + j, LM_TILE_STRIDE, LM_TILE_COLUMNS, false, NULL);
    for (int64_t r = 0; r < rows && seen > 0; r++)
        memcpy(row_of(q, row + r, weights) + key, at->scores + r * LM_TILE_STRIDE, (size_t)seen * sizeof(float));
}

static void run_queries(const struct lm_queries *q, const struct buffers *at, float *weights)
{
    const struct lm_attention *op = q->op;
    lm_simd_load_rows(q, op->q, op->q_stride, op->scale, at->q);
    for (int64_t key = q->from_all; key < q->end_all; key += LM_KEYS) {
        const int64_t count = q->end_all - key < LM_KEYS ? q->end_all - key : LM_KEYS;
        lm_simd_turn_keys(q, op->k, key, count, at->keys);
        for (int64_t row = 0; row < q->rows; row += LM_TILE_ROWS)
            panel(q, at, row, q->rows - row < LM_TILE_ROWS ? q->rows - row : LM_TILE_ROWS, key, count, weights);
    }
    for (int64_t r = 0; r < q->rows; r++)
        soften(row_of(q, r, weights), op->t_k, q->from[r], q->end[r]);
}

void lm_simd_attention_weights(struct lm_device *device, const struct lm_attention *op, float *weights)
{
    if (op->head_size > LM_HEAD_MOST) {
        lm_plain_attention_weights(device, op, weights);
        return;
    }
    /* Less than the forward pass takes, which is what has been asked for. */
    const size_t bytes = lm_simd_attention_scratch(device, op, false);
    const size_t floats = bytes / sizeof(float) / (size_t)device->threads;
    float *scratch = lm_device_scratch(device, bytes);
    if (!scratch)
        return;
    const int64_t group = op->heads / op->kv_heads, tiles = (op->t_q * group + LM_QUERIES - 1) / LM_QUERIES;
    const int64_t lanes = op->batch * op->kv_heads, work = lanes * op->t_q * group * op->t_k;
#pragma omp parallel for num_threads(device->threads) schedule(dynamic, 1) if (work > LM_SIMD_ALONE)
    for (int64_t task = 0; task < tiles * lanes; task++) {
        float *block = scratch + floats * (size_t)omp_get_thread_num();
        const struct buffers at = {.q = block, .scores = block + LM_QUERIES * LM_TILE_STRIDE,
                                   .keys = block + 2 * LM_QUERIES * LM_TILE_STRIDE};
        struct lm_queries q = {.op = op, .b = task % lanes / op->kv_heads, .kv_head = task % lanes % op->kv_heads,
                               .group = group, .first = (tiles - 1 - task / lanes) * LM_QUERIES};
        lm_simd_queries(&q);
        run_queries(&q, &at, weights);
    }
}
