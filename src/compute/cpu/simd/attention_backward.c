/* The backward pass of attention, from the lse of the forward pass. For each tile, with q already scaled:
 *
 *     p  = e^(q k - lse)          dv += p' dout
 *     ds = p (dout v' - delta)    dq += scale ds k      dk += ds' q         delta = dout . out, a row
 *
 * One key-value head of one sequence is one thread's: all sums run in a fixed order. */
#include "attention.h"
#include "compute/reference/reference.h"

struct buffers {
    float *q, *dout, *p, *ds, *dq;                           /* [LM_QUERIES] rows */
    float *keys, *dk, *dv;                                   /* [LM_KEYS] rows */
    float *keys_turned, *values_turned;                      /* [D] rows */
    float *delta;                                            /* [T*group] */
};

static size_t thread_floats(const struct lm_attention *op)
{
    size_t delta = lm_round_up((size_t)(op->t_q * (op->heads / op->kv_heads)), 16);
    return (size_t)(5 * LM_QUERIES + 3 * LM_KEYS + 2 * op->head_size) * LM_TILE_STRIDE + delta;
}

static float *take(float **block, int64_t rows)
{
    float *taken = *block;
    *block += rows * LM_TILE_STRIDE;
    return taken;
}

static struct buffers bind(const struct lm_attention *op, float *block)
{
    return (struct buffers){.q = take(&block, LM_QUERIES), .dout = take(&block, LM_QUERIES), .p = take(&block, LM_QUERIES),
                            .ds = take(&block, LM_QUERIES), .dq = take(&block, LM_QUERIES), .keys = take(&block, LM_KEYS),
                            .dk = take(&block, LM_KEYS), .dv = take(&block, LM_KEYS),
                            .keys_turned = take(&block, op->head_size),
                            .values_turned = take(&block, op->head_size), .delta = block};
}

size_t lm_simd_attention_scratch(struct lm_device *device, const struct lm_attention *op, bool backward)
{
    if (op->head_size > LM_HEAD_MOST)
        return lm_plain_attention_scratch(device, op, backward);
    size_t floats = (size_t)(3 * LM_QUERIES + op->head_size + LM_KEYS) * LM_TILE_STRIDE + 2 * LM_QUERIES;
    return (size_t)device->threads * (backward ? thread_floats(op) : floats) * sizeof(float);
}

/* Where row r of the queries lies in a [B*T, H*D] matrix. */
static int64_t row_place(const struct lm_queries *q, int64_t r, int64_t stride)
{
    int64_t row = q->first + r;
    return (q->b * q->op->t_q + row / q->group) * stride + (q->kv_head * q->group + row % q->group) * q->op->head_size;
}

static void start_head(const struct lm_queries *head, const struct buffers *at)
{
    const struct lm_attention *op = head->op;
    for (int64_t r = 0; r < op->t_q * head->group; r++) {
        int64_t place = row_place(head, r, op->out_stride);
        vf sum = vset(0);
        for (int64_t d = 0; d < op->head_size; d += LM_W)
            sum = vfma(vload_n(op->out + place + d, op->head_size - d), vload_n(op->dout + place + d, op->head_size - d), sum);
        at->delta[r] = vsum(sum);
        memset(op->dq + row_place(head, r, op->q_stride), 0, (size_t)op->head_size * sizeof(float));
    }
}

/* p and ds of one row from its scores and dout v', in place; keys outside [from, end) get 0. */
static void weigh(float *p, float *ds, int64_t count, int64_t from, int64_t end, float lse, float delta)
{
    for (int64_t j = 0; j < count; j += LM_W) {
        vf e = vexp(vload(p + j) - lse);
        vstore(ds + j, e * (vload(ds + j) - delta));
        vstore(p + j, e);
    }
    for (int64_t j = 0; j < from && j < count; j++)
        p[j] = ds[j] = 0;
    for (int64_t j = end > 0 ? end : 0; j < count; j++)
        p[j] = ds[j] = 0;
}

/* One panel of rows: p, ds and this tile's part of dq. */
static void panel(const struct lm_queries *q, const struct buffers *at, int64_t row, int64_t rows, int64_t seen, int64_t key)
{
    const struct lm_attention *op = q->op;
    int64_t size = op->head_size, at_row = row * LM_TILE_STRIDE;
    int64_t width = (seen + LM_TILE_COLUMNS - 1) / LM_TILE_COLUMNS * LM_TILE_COLUMNS;
    for (int64_t j = 0; j < width; j += LM_TILE_COLUMNS) {
        lm_simd_tile(LM_TILE_BY_ROW, rows, size, at->q + at_row, at->keys_turned + j, LM_TILE_STRIDE, at->p + at_row + j,
                     LM_TILE_STRIDE, LM_TILE_COLUMNS, false, NULL);
        lm_simd_tile(LM_TILE_BY_ROW, rows, size, at->dout + at_row, at->values_turned + j, LM_TILE_STRIDE,
                     at->ds + at_row + j, LM_TILE_STRIDE, LM_TILE_COLUMNS, false, NULL);
    }
    for (int64_t r = row; r < row + rows; r++) {
        int64_t t = (q->first + r) / q->group, head = q->kv_head * q->group + (q->first + r) % q->group;
        weigh(at->p + r * LM_TILE_STRIDE, at->ds + r * LM_TILE_STRIDE, width, q->from[r] - key, q->end[r] - key,
              op->lse[(q->b * op->heads + head) * op->t_q + t], at->delta[q->first + r]);
    }
    for (int64_t d = 0; d < size; d += LM_TILE_COLUMNS)
        lm_simd_tile(LM_TILE_BY_ROW, rows, seen, at->ds + at_row, at->keys + d, LM_TILE_STRIDE, at->dq + at_row + d,
                     LM_TILE_STRIDE, LM_TILE_COLUMNS, false, NULL);
    for (int64_t r = row; r < row + rows; r++) {
        float *dq = op->dq + row_place(q, r, op->q_stride);
        for (int64_t d = 0; d < size; d += LM_W)
            vstore_n(dq + d, vfma(vset(op->scale), vload(at->dq + r * LM_TILE_STRIDE + d), vload_n(dq + d, size - d)), size - d);
    }
}

/* One tile of queries against the keys packed now: rows that see none of them are left out of every product. */
static void run_tile(const struct lm_queries *q, const struct buffers *at, int64_t key, int64_t count)
{
    int64_t size = q->op->head_size, begin[LM_KEYS / LM_TILE_ROWS + 1];
    int64_t panels = (count + LM_TILE_ROWS - 1) / LM_TILE_ROWS;
    for (int64_t i = 0; i < panels; i++)
        begin[i] = q->rows;
    for (int64_t row = 0; row < q->rows; row += LM_TILE_ROWS) {
        int64_t rows = q->rows - row < LM_TILE_ROWS ? q->rows - row : LM_TILE_ROWS;
        int64_t seen = lm_simd_visible(q, row, rows, key, count);
        seen = seen > 0 ? seen : 0;
        if (seen)
            panel(q, at, row, rows, seen, key);
        for (int64_t r = row; r < row + rows; r++) {
            memset(at->p + r * LM_TILE_STRIDE + seen, 0, (size_t)(LM_KEYS - seen) * sizeof(float));
            memset(at->ds + r * LM_TILE_STRIDE + seen, 0, (size_t)(LM_KEYS - seen) * sizeof(float));
        }
        for (int64_t i = 0; i < panels; i++)
            if (seen > i * LM_TILE_ROWS && row < begin[i])
                begin[i] = row;
    }
    for (int64_t i = 0; i < panels; i++) {
        int64_t j = i * LM_TILE_ROWS, keys = count - j < LM_TILE_ROWS ? count - j : LM_TILE_ROWS;
        int64_t skip = begin[i] * LM_TILE_STRIDE, depth = q->rows - begin[i];
        for (int64_t d = 0; d < size; d += LM_TILE_COLUMNS) {
            lm_simd_tile(LM_TILE_BY_COLUMN, keys, depth, at->p + skip + j, at->dout + skip + d, LM_TILE_STRIDE,
                         at->dv + j * LM_TILE_STRIDE + d, LM_TILE_STRIDE, LM_TILE_COLUMNS, true, NULL);
            lm_simd_tile(LM_TILE_BY_COLUMN, keys, depth, at->ds + skip + j, at->q + skip + d, LM_TILE_STRIDE,
                         at->dk + j * LM_TILE_STRIDE + d, LM_TILE_STRIDE, LM_TILE_COLUMNS, true, NULL);
        }
    }
}

static void write_keys(const struct lm_queries *head, const struct buffers *at, int64_t key, int64_t count)
{
    const struct lm_attention *op = head->op;
    for (int64_t j = 0; j < count; j++) {
        int64_t place = head->b * op->kv_batch_stride + (key + j) * op->kv_stride + head->kv_head * op->head_size;
        for (int64_t d = 0; d < op->head_size; d += LM_W) {
            vstore_n(op->dk + place + d, vload(at->dk + j * LM_TILE_STRIDE + d), op->head_size - d);
            vstore_n(op->dv + place + d, vload(at->dv + j * LM_TILE_STRIDE + d), op->head_size - d);
        }
    }
}

static void run_head(const struct lm_queries *head, const struct buffers *at)
{
    const struct lm_attention *op = head->op;
    start_head(head, at);
    for (int64_t key = 0; key < op->t_k; key += LM_KEYS) {
        int64_t count = op->t_k - key < LM_KEYS ? op->t_k - key : LM_KEYS;
        lm_simd_load_keys(head, op->k, key, count, at->keys);
        lm_simd_turn_keys(head, op->k, key, count, at->keys_turned);
        lm_simd_turn_keys(head, op->v, key, count, at->values_turned);
        memset(at->dk, 0, (size_t)(LM_KEYS * LM_TILE_STRIDE) * sizeof(float));
        memset(at->dv, 0, (size_t)(LM_KEYS * LM_TILE_STRIDE) * sizeof(float));
        struct lm_queries q = *head;
        for (q.first = 0; q.first < op->t_q * head->group; q.first += LM_QUERIES) {
            lm_simd_queries(&q);
            if (q.end_all <= key || q.from_all >= key + count)
                continue;
            lm_simd_load_rows(&q, op->q, op->q_stride, op->scale, at->q);
            lm_simd_load_rows(&q, op->dout, op->out_stride, 1, at->dout);
            run_tile(&q, at, key, count);
        }
        write_keys(head, at, key, count);
    }
}

void lm_simd_attention_backward(struct lm_device *device, const struct lm_attention *op)
{
    if (op->head_size > LM_HEAD_MOST) {
        lm_plain_attention_backward(device, op);
        return;
    }
    size_t floats = thread_floats(op);
    float *scratch = lm_device_scratch(device, lm_simd_attention_scratch(device, op, true));
    if (!scratch)
        return;
    int64_t group = op->heads / op->kv_heads;
    bool many = op->batch * op->heads * op->t_q * op->t_k > LM_SIMD_ALONE;
#pragma omp parallel for num_threads(device->threads) schedule(dynamic, 1) if (many)
    for (int64_t task = 0; task < op->batch * op->kv_heads; task++) {
        struct buffers at = bind(op, scratch + floats * (size_t)omp_get_thread_num());
        struct lm_queries head = {.op = op, .b = task / op->kv_heads, .kv_head = task % op->kv_heads, .group = group};
        run_head(&head, &at);
    }
}
