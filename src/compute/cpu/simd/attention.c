/* Attention in tiles with a running softmax (Dao et al., 2022, arXiv:2205.14135): for each row the greatest score and the sum of
 * exponentials so far; what was summed under an older greatest score is scaled down when a greater one appears. */
#include "attention.h"
#include "compute/reference/reference.h"

#include <math.h>

struct buffers {
    float *q, *scores, *out;           /* [LM_QUERIES] rows */
    float *keys, *values;              /* keys turned [D], values [LM_KEYS] */
    float *greatest, *sum;             /* [LM_QUERIES] */
};

static size_t thread_floats(const struct lm_attention *op)
{
    return (size_t)(3 * LM_QUERIES + op->head_size + LM_KEYS) * LM_TILE_STRIDE + 2 * LM_QUERIES;
}

static struct buffers bind(const struct lm_attention *op, float *block)
{
    struct buffers to = {.q = block};
    to.scores = to.q + LM_QUERIES * LM_TILE_STRIDE;
    to.out = to.scores + LM_QUERIES * LM_TILE_STRIDE;
    to.keys = to.out + LM_QUERIES * LM_TILE_STRIDE;
    to.values = to.keys + op->head_size * LM_TILE_STRIDE;
    to.greatest = to.values + LM_KEYS * LM_TILE_STRIDE;
    to.sum = to.greatest + LM_QUERIES;
    return to;
}

/* Turns one row's scores into e^(score - greatest), with 0 for keys outside [from, end); returns what older sums are to be
 * scaled by. */
static float soften(float *scores, int64_t count, int64_t from, int64_t end, float *greatest, float *sum)
{
    if (from >= end || from >= count || end <= 0) {
        memset(scores, 0, (size_t)count * sizeof *scores);
        return 1;
    }
    for (int64_t j = 0; j < from; j++)
        scores[j] = -INFINITY;
    for (int64_t j = end; j < (count + LM_W - 1) / LM_W * LM_W; j++)
        scores[j] = -INFINITY;
    vf most = vset(*greatest);
    for (int64_t j = 0; j < count; j += LM_W)
        most = vmax(vload(scores + j), most);
    float now = vgreatest(most);
    vf total = vset(0);
    for (int64_t j = 0; j < count; j += LM_W) {
        vf e = vexp(vload(scores + j) - now);
        total += e;
        vstore(scores + j, e);
    }
    float shrink = *greatest == now ? 1 : expf(*greatest - now);
    *sum = *sum * shrink + vsum(total);
    *greatest = now;
    return shrink;
}

/* Scores, softmax and values of one panel of rows against the keys packed now. */
static void panel(const struct lm_queries *q, const struct buffers *at, int64_t row, int64_t rows, int64_t key, int64_t count)
{
    int64_t size = q->op->head_size, columns = lm_head_columns(size);
    int64_t seen = lm_simd_visible(q, row, rows, key, count);
    if (seen <= 0)
        return;
    float *scores = at->scores + row * LM_TILE_STRIDE, *out = at->out + row * LM_TILE_STRIDE;
    for (int64_t j = 0; j < seen; j += LM_TILE_COLUMNS)
        lm_simd_tile(LM_TILE_BY_ROW, rows, size, at->q + row * LM_TILE_STRIDE, at->keys + j, LM_TILE_STRIDE, scores + j,
                     LM_TILE_STRIDE, LM_TILE_COLUMNS, false, NULL);
    for (int64_t r = 0; r < rows; r++) {
        float shrink = soften(scores + r * LM_TILE_STRIDE, seen, q->from[row + r] - key, q->end[row + r] - key,
                              &at->greatest[row + r], &at->sum[row + r]);
        if (shrink != 1)
            for (int64_t d = 0; d < columns; d += LM_W)
                vstore(out + r * LM_TILE_STRIDE + d, vload(out + r * LM_TILE_STRIDE + d) * shrink);
    }
    for (int64_t d = 0; d < size; d += LM_TILE_COLUMNS)
        lm_simd_tile(LM_TILE_BY_ROW, rows, seen, scores, at->values + d, LM_TILE_STRIDE, out + d, LM_TILE_STRIDE,
                     LM_TILE_COLUMNS, true, NULL);
}

static void write_out(const struct lm_queries *q, const struct buffers *at)
{
    const struct lm_attention *op = q->op;
    for (int64_t r = 0; r < q->rows; r++) {
        int64_t t = (q->first + r) / q->group, head = q->kv_head * q->group + (q->first + r) % q->group;
        float inverse = at->sum[r] > 0 || at->sum[r] != at->sum[r] ? 1 / at->sum[r] : 0;
        float *out = op->out + (q->b * op->t_q + t) * op->out_stride + head * op->head_size;
        for (int64_t d = 0; d < op->head_size; d += LM_W)
            vstore_n(out + d, vload(at->out + r * LM_TILE_STRIDE + d) * inverse, op->head_size - d);
        if (op->lse)
            op->lse[(q->b * op->heads + head) * op->t_q + t] = at->greatest[r] + logf(at->sum[r]);
    }
}

static void run_queries(const struct lm_queries *q, const struct buffers *at)
{
    const struct lm_attention *op = q->op;
    lm_simd_load_rows(q, op->q, op->q_stride, op->scale, at->q);
    memset(at->out, 0, (size_t)(q->rows * LM_TILE_STRIDE) * sizeof(float));
    for (int64_t r = 0; r < q->rows; r++) {
        at->greatest[r] = -INFINITY;
        at->sum[r] = 0;
    }
    for (int64_t key = q->from_all; key < q->end_all; key += LM_KEYS) {
        int64_t count = q->end_all - key < LM_KEYS ? q->end_all - key : LM_KEYS;
        lm_simd_turn_keys(q, op->k, key, count, at->keys);
        lm_simd_load_keys(q, op->v, key, count, at->values);
        for (int64_t row = 0; row < q->rows; row += LM_TILE_ROWS)
            panel(q, at, row, q->rows - row < LM_TILE_ROWS ? q->rows - row : LM_TILE_ROWS, key, count);
    }
    write_out(q, at);
}

void lm_simd_attention(struct lm_device *device, const struct lm_attention *op)
{
    if (op->head_size > LM_HEAD_MOST) {
        lm_plain_attention(device, op);
        return;
    }
    size_t floats = thread_floats(op);
    float *scratch = lm_device_scratch(device, lm_simd_attention_scratch(device, op, false));
    if (!scratch)
        return;
    int64_t group = op->heads / op->kv_heads, tiles = (op->t_q * group + LM_QUERIES - 1) / LM_QUERIES;
    int64_t lanes = op->batch * op->kv_heads, work = lanes * op->t_q * group * op->t_k;
    /* The last queries see the most keys: they go first, so that no long piece of work is left for the end. */
#pragma omp parallel for num_threads(device->threads) schedule(dynamic, 1) if (work > LM_SIMD_ALONE)
    for (int64_t task = 0; task < tiles * lanes; task++) {
        struct buffers at = bind(op, scratch + floats * (size_t)omp_get_thread_num());
        struct lm_queries q = {.op = op, .b = task % lanes / op->kv_heads, .kv_head = task % lanes % op->kv_heads,
                               .group = group, .first = (tiles - 1 - task / lanes) * LM_QUERIES};
        lm_simd_queries(&q);
        run_queries(&q, &at);
    }
}
