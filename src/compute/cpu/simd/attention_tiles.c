#include "attention.h"

void lm_simd_queries(struct lm_queries *q)
{
    const struct lm_attention *op = q->op;
    int64_t left = op->t_q * q->group - q->first;
    q->rows = left < LM_QUERIES ? left : LM_QUERIES;
    q->from_all = INT32_MAX;
    q->end_all = 0;
    for (int64_t r = 0; r < q->rows; r++) {
        int64_t t = (q->first + r) / q->group, place = op->q_start + t;
        int64_t from = op->segment_start ? op->segment_start[q->b * op->t_q + t] : 0;
        if (op->window && place - op->window + 1 > from)
            from = place - op->window + 1;
        int64_t end = place + 1 < op->t_k ? place + 1 : op->t_k;
        q->from[r] = (int32_t)from;
        q->end[r] = (int32_t)end;
        q->from_all = from < q->from_all ? from : q->from_all;
        q->end_all = end > q->end_all ? end : q->end_all;
    }
}

void lm_simd_load_rows(const struct lm_queries *q, const float *x, int64_t stride, float factor, float *to)
{
    int64_t size = q->op->head_size, columns = lm_head_columns(size);
    for (int64_t r = 0; r < q->rows; r++) {
        int64_t row = q->first + r;
        const float *from = x + (q->b * q->op->t_q + row / q->group) * stride + (q->kv_head * q->group + row % q->group) * size;
        for (int64_t d = 0; d < columns; d += LM_W)
            vstore(to + r * LM_TILE_STRIDE + d, d < size ? vload_n(from + d, size - d) * factor : vset(0));
    }
}

/* Where the head's elements of the keys [from, from + count) begin, count <= LM_KEYS. */
static void key_places(const struct lm_queries *q, int64_t from, int64_t count, int64_t *places)
{
    const struct lm_attention *op = q->op;
    const int64_t head = q->b * op->kv_batch_stride + q->kv_head * op->head_size;
    for (int64_t j = 0; j < count; j++) {
        int64_t key = from + j;
        if (op->pages)
            key = op->pages[key / op->page_rows] * op->page_rows + key % op->page_rows;
        places[j] = head + key * op->kv_stride;
    }
}

void lm_simd_load_keys(const struct lm_queries *q, const void *x, int64_t from, int64_t count, float *to)
{
    int64_t size = q->op->head_size, columns = lm_head_columns(size);
    bool bf16 = q->op->kv_dtype == LM_BF16;
    int64_t places[LM_KEYS];
    key_places(q, from, count, places);
    for (int64_t j = 0; j < count; j++)
        for (int64_t d = 0; d < columns; d += LM_W)
            vstore(to + j * LM_TILE_STRIDE + d,
                   d < size ? vload_any(x, bf16, places[j] + d, size - d) : vset(0));
}

void lm_simd_turn_keys(const struct lm_queries *q, const void *x, int64_t from, int64_t count, float *to)
{
    int64_t size = q->op->head_size;
    bool bf16 = q->op->kv_dtype == LM_BF16;
    int64_t places[LM_KEYS];
    key_places(q, from, count, places);
    for (int64_t j = 0; j < LM_KEYS; j += LM_W)
        for (int64_t d = 0; d < size; d += LM_W) {
            vf square[LM_W];
            LM_UNROLL for (int64_t i = 0; i < LM_W; i++)
                square[i] = j + i < count ? vload_any(x, bf16, places[j + i] + d, size - d) : vset(0);
            vtranspose(square);
            LM_UNROLL for (int64_t i = 0; i < LM_W; i++)
                if (d + i < size)
                    vstore(to + (d + i) * LM_TILE_STRIDE + j, square[i]);
        }
}

int64_t lm_simd_visible(const struct lm_queries *q, int64_t row, int64_t rows, int64_t key, int64_t count)
{
    int64_t from = INT32_MAX, end = 0;
    for (int64_t r = row; r < row + rows; r++) {
        from = q->from[r] < from ? q->from[r] : from;
        end = q->end[r] > end ? q->end[r] : end;
    }
    if (from >= key + count)
        return 0;
    return end - key < count ? end - key : count;
}
