/* Causal attention with grouped heads (Vaswani et al., 2017, arXiv:1706.03762; Ainslie et al., 2023, arXiv:2305.13245):
 * s[j] = scale * q·k[j], p = softmax(s), out = sum of p[j] v[j], over the keys j that a query sees. */
#include "compute/reference/reference.h"

#include <math.h>

/* One query: where its rows are and which keys it sees. */
struct query {
    const struct lm_attention *work;
    int64_t batch, head, kv_head, t;
    int64_t row;               /* of q, dq */
    int64_t first, last;       /* keys seen: first <= j <= last */
};

static struct query query_at(const struct lm_attention *work, int64_t batch, int64_t head, int64_t t)
{
    struct query query = {.work = work, .batch = batch, .head = head, .t = t, .row = batch * work->t_q + t,
                          .kv_head = head / (work->heads / work->kv_heads), .last = work->q_start + t};
    if (work->segment_start)
        query.first = work->segment_start[query.row];
    if (work->window && query.last - work->window + 1 > query.first)
        query.first = query.last - work->window + 1;
    return query;
}

/* Element d of the query's row in q or dq, and of key j's row in k, v, dk or dv. */
static int64_t q_index(const struct query *query, int64_t d)
{
    return query->row * query->work->q_stride + query->head * query->work->head_size + d;
}

static int64_t out_index(const struct query *query, int64_t d)
{
    return query->row * query->work->out_stride + query->head * query->work->head_size + d;
}

static int64_t kv_index(const struct query *query, int64_t j, int64_t d)
{
    const struct lm_attention *work = query->work;
    if (work->pages)
        j = work->pages[j / work->page_rows] * work->page_rows + j % work->page_rows;
    return query->batch * work->kv_batch_stride + j * work->kv_stride + query->kv_head * work->head_size + d;
}

static double kv_get(const struct query *query, const void *data, int64_t j, int64_t d)
{
    struct lm_matrix flat = {.data = (void *)data, .dtype = query->work->kv_dtype};
    return LM_PLAIN(get)(flat, 0, kv_index(query, j, d));
}

static double score(const struct query *query, int64_t j)
{
    const real *q = (const real *)query->work->q;    /* [B*Tq, q_stride] */
    double dot = 0;
    for (int64_t d = 0; d < query->work->head_size; d++)
        dot += q[q_index(query, d)] * kv_get(query, query->work->k, j, d);
    return dot * (double)query->work->scale;
}

/* p[j] = exp(s[j] - most) for the keys seen; gives their sum. */
static double weigh(const struct query *query, double *p /* [Tk] */, double *most)
{
    double sum = 0;
    *most = -INFINITY;
    for (int64_t j = query->first; j <= query->last; j++) {
        p[j] = score(query, j);
        *most = p[j] > *most ? p[j] : *most;
    }
    for (int64_t j = query->first; j <= query->last; j++) {
        p[j] = exp(p[j] - *most);
        sum += p[j];
    }
    return sum;
}

static void attend(const struct query *query, double *p /* [Tk] */)
{
    const struct lm_attention *work = query->work;
    real *out = (real *)work->out, *lse = (real *)work->lse;
    double most;
    const double sum = weigh(query, p, &most);
    for (int64_t d = 0; d < work->head_size; d++) {
        double value = 0;
        for (int64_t j = query->first; j <= query->last; j++)
            value += p[j] / sum * kv_get(query, work->v, j, d);
        out[out_index(query, d)] = (real)value;
    }
    if (lse)
        lse[(query->batch * work->heads + query->head) * work->t_q + query->t] = (real)(most + log(sum));
}

void LM_PLAIN(attention)(struct lm_device *device, const struct lm_attention *work)
{
    double *p = lm_device_scratch(device, LM_PLAIN(attention_scratch)(device, work, false));
    if (!p)
        return;
    for (int64_t batch = 0; batch < work->batch; batch++) {
        for (int64_t head = 0; head < work->heads; head++) {
            for (int64_t t = 0; t < work->t_q; t++) {
                struct query query = query_at(work, batch, head, t);
                attend(&query, p);
            }
        }
    }
}

void LM_PLAIN(attention_weights)(struct lm_device *device, const struct lm_attention *work, real *weights)
{
    double *p = lm_device_scratch(device, LM_PLAIN(attention_scratch)(device, work, false));
    for (int64_t row = 0; p && row < work->batch * work->heads * work->t_q; row++) {
        const int64_t t = row % work->t_q, head = row / work->t_q % work->heads, batch = row / work->t_q / work->heads;
        struct query query = query_at(work, batch, head, t);
        double most;
        const double sum = weigh(&query, p, &most);
        for (int64_t j = 0; j < work->t_k; j++)
            weights[row * work->t_k + j] = j < query.first || j > query.last ? 0 : (real)(p[j] / sum);
    }
}

/* Adds one query's share to dk and dv, and sets its dq. With dp[j] = dout·v[j]: ds[j] = p[j] * (dp[j] - sum of p*dp);
 * dq = scale * sum of ds[j] k[j]; dk[j] += scale * ds[j] q; dv[j] += p[j] dout. */
static void attend_backward(const struct query *query, double *p /* [Tk] */, double *ds /* [Tk] */,
                            double *dk, double *dv /* as k and v lie, in one sequence: [Tk, KV, D] */)
{
    const struct lm_attention *work = query->work;
    const real *q = (const real *)work->q, *dout = (const real *)work->dout, *lse = (const real *)work->lse;
    real *dq = (real *)work->dq;
    double log_sum = lse[(query->batch * work->heads + query->head) * work->t_q + query->t], mean = 0;
    for (int64_t j = query->first; j <= query->last; j++) {
        p[j] = exp(score(query, j) - log_sum);
        ds[j] = 0;
        for (int64_t d = 0; d < work->head_size; d++)
            ds[j] += dout[out_index(query, d)] * kv_get(query, work->v, j, d);
        mean += p[j] * ds[j];
    }
    for (int64_t j = query->first; j <= query->last; j++)
        ds[j] = p[j] * (ds[j] - mean) * (double)work->scale;
    for (int64_t d = 0; d < work->head_size; d++) {
        double value = 0;
        for (int64_t j = query->first; j <= query->last; j++) {
            int64_t at = (j * work->kv_heads + query->kv_head) * work->head_size + d;
            value += ds[j] * kv_get(query, work->k, j, d);
            dk[at] += ds[j] * q[q_index(query, d)];
            dv[at] += p[j] * dout[out_index(query, d)];
        }
        dq[q_index(query, d)] = (real)value;
    }
}

/* dk and dv gather in double over the queries and the heads of a group, then are rounded once. */
void LM_PLAIN(attention_backward)(struct lm_device *device, const struct lm_attention *work)
{
    double *p = lm_device_scratch(device, LM_PLAIN(attention_scratch)(device, work, true));
    if (!p)
        return;
    int64_t width = work->kv_heads * work->head_size;
    double *ds = p + work->t_k, *dk = ds + work->t_k, *dv = dk + work->t_k * width;
    for (int64_t batch = 0; batch < work->batch; batch++) {
        for (int64_t i = 0; i < work->t_k * width; i++)
            dk[i] = dv[i] = 0;
        for (int64_t head = 0; head < work->heads; head++) {
            for (int64_t t = 0; t < work->t_q; t++) {
                struct query query = query_at(work, batch, head, t);
                attend_backward(&query, p, ds, dk, dv);
            }
        }
        for (int64_t j = 0; j < work->t_k; j++) {
            for (int64_t c = 0; c < width; c++) {
                int64_t to = batch * work->kv_batch_stride + j * work->kv_stride + c;
                ((real *)work->dk)[to] = (real)dk[j * width + c];
                ((real *)work->dv)[to] = (real)dv[j * width + c];
            }
        }
    }
}

size_t LM_PLAIN(attention_scratch)(struct lm_device *device, const struct lm_attention *work, bool backward)
{
    (void)device;
    int64_t doubles = backward ? 2 * work->t_k * (1 + work->kv_heads * work->head_size) : work->t_k;
    return (size_t)doubles * sizeof(double);
}
